//! `recipe-ci explain`: every id that is printed is known, and one that is not leads to the nearest.

use crate::support::{TestEnv, repository};
use crate::tidy::files;

fn env() -> TestEnv {
    TestEnv::new("unix:///nowhere/docker.sock")
}

#[test]
fn an_id_is_explained_as_it_is_printed_and_without_quotes() {
    let env = env();
    for (words, said) in [
        (vec!["C004"], "durations do not come from variables"),
        (vec!["p013"], "ports in grants.yml"),
        (vec!["F001"], "SIGTERM"),
        (vec!["4"], "Teardown left something behind"),
        (vec!["upgrade/generic:", "it", "moved#2"], "`.env.sample`"),
        (vec!["routing: T001"], "labels"),
        (vec!["unver"], "could not verify"),
    ] {
        let mut args = vec!["explain"];
        args.extend(&words);
        let done = env.run(&args);
        done.expect(0);
        let plain = done.stdout.replace('`', "");
        assert!(
            plain.contains(&said.replace('`', "")),
            "{words:?}: {}",
            done.stdout
        );
    }
    let all = env.run(["explain"]);
    all.expect(0);
    for id in [
        "R001",
        "C004",
        "P013",
        "F001",
        "generic: converged",
        "137",
        "refused",
    ] {
        assert!(
            all.stdout
                .lines()
                .any(|line| line.starts_with(&format!("{id} "))),
            "{id}"
        );
    }
}

#[test]
fn what_is_not_known_leads_to_the_nearest() {
    let env = env();
    env.run(["explain", "generic: convergd"]).refused(&[
        "nothing is called `generic: convergd`",
        "generic: converged",
    ]);
    env.run(["explain", "C999x!"])
        .refused(&["recipe-ci explain"]);
}

/// A name that is made of parts is known by the table of assertions; this finds those that are written out.
#[test]
fn every_assertion_in_the_sources_is_explained() {
    let mut names: Vec<String> = files("harness/src", "rs")
        .iter()
        .filter(|path| !path.to_string_lossy().contains("tests"))
        .flat_map(|path| {
            let text = harness::host_file::text(path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
            let parts = text.split('"').skip(1).step_by(1);
            parts.map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|text| text.starts_with("generic: ") && !text.contains('{'))
        .collect();
    names.sort();
    names.dedup();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(
            harness::tier::assertion::of(&name).is_some(),
            "`{name}` is not in harness/src/tier/assertion.rs"
        );
    }
    assert!(repository().join("docs/assertions.md").is_file());
}
