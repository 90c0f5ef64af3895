//! `grants.yml`: what is wrong with it, and `recipe-ci grants`.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::TestEnv;

const GRANTS: &str = "sources:
  git.example.org/team/app:
    branches: [main, stable]
    run_code: true
    secrets: [smtp_password]
    ceilings: {memory: 2g}
";

fn env() -> TestEnv {
    TestEnv::new("unix:///nowhere/docker.sock")
}

#[test]
fn a_check_prints_what_each_source_may_do() {
    let mut env = env();
    env.write("overlays/grants.yml", GRANTS);
    env.set(
        "CCCI_TESTS_DIR",
        env.root.join("overlays").display().to_string(),
    );
    let done = env.run(["grants", "check"]);
    done.expect(0);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert!(lines[0].starts_with("ok    ") && lines[0].ends_with("/overlays/grants.yml"));
    let words: Vec<Vec<&str>> = lines[1..]
        .iter()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(
        words,
        [
            vec!["SOURCE", "AT", "MAY"],
            vec![
                "git.example.org/team/app",
                "main",
                "run its tests and hooks on this host"
            ],
            vec!["stable", "have the supplied secrets smtp_password"],
            vec!["use 2g of memory a task"],
        ]
    );
    // One that is named counts before the other.
    let other = env.write("other.yml", "sources: {}\n");
    let done = env.run(["grants".as_ref(), "check".as_ref(), other.as_os_str()]);
    done.expect(0);
    assert!(done.stdout.contains("it grants nothing"), "{}", done.stdout);
}

#[test]
fn a_wrong_file_stops_the_check_and_every_run() {
    for (text, mode, words) in [
        (
            "sources: {h/a/b: {branch: [main]}}",
            0o644,
            vec![
                ":1:",
                "`branch`",
                "did you mean `branches`?",
                "grants schema",
            ],
        ),
        (
            "sources: {h/a/b: {run_code: true}}",
            0o644,
            vec!["name the protected `branches`", "grants check"],
        ),
        (
            GRANTS,
            0o666,
            vec!["may be written by others", "chmod go-w"],
        ),
    ] {
        let mut env = env();
        let recipe = env.recipe("notes");
        let file = env.write("grants.yml", text);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        env.set("CCCI_GRANTS", file.display().to_string());
        for args in [
            vec!["grants", "check"],
            vec!["run", recipe.to_str().unwrap()],
        ] {
            let done = env.run(&args);
            done.expect(2);
            for word in words.iter().chain([&"grants.yml"]) {
                assert!(
                    done.stderr.contains(word),
                    "no `{word}` in\n{}",
                    done.stderr
                );
            }
        }
        assert!(
            !env.root.join("runs").exists(),
            "a refused run has no directory"
        );
    }
    let env = env();
    let done = env.run(["grants", "check", "/no/such/file"]);
    done.expect(2);
    assert!(done.stderr.contains("CCCI_GRANTS"), "{}", done.stderr);
}
