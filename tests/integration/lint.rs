//! `recipe-ci lint`: exit codes, places and formats; what each rule finds is tested beside the rules.

use serde_json::Value;

use crate::support::TestEnv;

fn env() -> TestEnv {
    TestEnv::new("unix:///nowhere/docker.sock")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn ids<'a>(lint: &'a Value, list: &str) -> Vec<&'a str> {
    let list = lint[list].as_array().unwrap();
    list.iter()
        .map(|found| found["id"].as_str().unwrap())
        .collect()
}

/// The bundled recipe has no error, and what it is warned about is known.
#[test]
fn the_model_recipes_pass() {
    let env = env();
    for (name, expected) in [
        // Its updates run two containers on one volume, as the catalogue's template has it.
        ("notes", &["C001", "C014", "C020"][..]),
        // As in the catalogue, its database is looked up by its short name.
        ("ledger", &["C001", "C014", "C024"]),
    ] {
        let recipe = env.recipe(name);
        let done = env.run(["lint".as_ref(), recipe.as_os_str(), "--json".as_ref()]);
        done.expect(0);
        let lint = json(&done.stdout);
        assert_eq!(
            (&lint["schema"], &lint["status"]),
            (&1.into(), &"pass".into())
        );
        let mut found = ids(&lint, "findings");
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, expected, "{lint:#}");
        assert_eq!(ids(&lint, "skipped"), ["C012"]);
    }
    // Nothing is made on the host, and no engine is asked.
    for dir in ["runs", "locks", "state"] {
        assert!(!env.root.join(dir).exists(), "{dir} was made");
    }
    env.assert_quiet();
}

#[test]
fn errors_are_exit_1_and_a_ref_is_taken_as_it_is() {
    let env = env();
    let recipe = env.recipe("notes");
    let compose = recipe.join("compose.yml");
    let text = harness::host_file::text(&compose).unwrap();
    std::fs::write(
        &compose,
        text.replace("interval: 1s", "interval: ${EVERY:-1s}"),
    )
    .unwrap();
    let path = recipe.to_str().unwrap();
    let done = env.run(["lint", path]);
    done.expect(1);
    for words in [
        "error[C004]: ",
        "--> compose.yml:25:7",
        "why: ",
        "fix: ",
        "skipped C012: ",
        "fail: 1 error, ",
    ] {
        assert!(
            done.stdout.contains(words),
            "no `{words}` in\n{}",
            done.stdout
        );
    }
    env.run(["lint", path, "--ref", "0.2.0+1.1.0"]).expect(0);
    let done = env.run(["lint", path, "--sarif"]);
    done.expect(1);
    let log = json(&done.stdout);
    let first = &log["runs"][0]["results"][0];
    assert_eq!(
        (&first["ruleId"], &first["level"]),
        (&"C004".into(), &"error".into())
    );
    // Text that is no YAML is a finding like any other.
    let broken = env.recipe("bad-yaml");
    let done = env.run(["lint", broken.to_str().unwrap()]);
    done.expect(1);
    assert!(
        done.stdout.contains("error[C015]: ") && done.stdout.contains("--> compose.yml:6"),
        "{}",
        done.stdout
    );
    env.assert_quiet();
}

#[test]
fn what_is_no_recipe_is_exit_2() {
    let env = env();
    let recipe = env.recipe("notes");
    let path = recipe.to_str().unwrap();
    let empty = env.root.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = empty.to_str().unwrap();
    for (args, words) in [
        (vec!["lint", empty], "is no recipe"),
        (
            vec!["lint", "/no/such/recipe"],
            "there is no directory `/no/such/recipe`",
        ),
        (
            vec!["lint", "https://git.example.org/notes"],
            "is an address, and lint reads a directory",
        ),
        (
            vec!["lint", path, "--ref", "no-such"],
            "`no-such` is no tag",
        ),
        (vec!["lint", path, "--ref=--upload-pack=x"], "ref `"),
        (
            vec!["lint", empty, "--ref", "main"],
            "cannot open the git repository",
        ),
    ] {
        let done = env.run(&args);
        done.expect(2);
        assert!(done.stderr.contains(words), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains("hint: "), "{args:?}: {}", done.stderr);
        assert_eq!(done.stdout, "");
    }
    env.assert_quiet();
}
