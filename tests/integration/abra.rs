//! abra without an engine: choosing it, what it says that is not understood, its contract, its stand-in.

use std::path::Path;

use harness::abra::proof::Proof;
use serde_json::Value;

use crate::support::{Done, TestEnv, command};

fn env(quirks: &str, hang: &str) -> TestEnv {
    let mut env = TestEnv::new("unix:///nowhere/docker.sock");
    env.with_abra(quirks, hang);
    env
}

fn run(env: &TestEnv, more: &[&str]) -> Done {
    let recipe = env.root.join("recipes/notes");
    let recipe = if recipe.is_dir() {
        recipe
    } else {
        env.recipe("notes")
    };
    let args = ["run", recipe.to_str().unwrap()].into_iter();
    env.run(args.chain(more.iter().copied()))
}

fn driver(done: &Done) -> String {
    done.expect(0);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    plan["driver"].as_str().unwrap().to_owned()
}

#[test]
fn auto_takes_an_abra_that_kept_its_contract_here_and_nothing_else() {
    let dry = |env: &TestEnv, more: &[&str]| {
        let done = run(env, &[&["--dry-run"], more].concat());
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        let reason = plan["driver_reason"].as_str().unwrap();
        (driver(&done), reason.to_owned())
    };
    let mut env = env("", "");
    Proof::remove(&env.root.join("state")).unwrap();
    let (name, reason) = dry(&env, &[]);
    assert_eq!(name, "stack");
    let never =
        "is not used: it was never checked on this host; `recipe-ci doctor --abra` checks it";
    assert!(reason.ends_with(never), "{reason}");
    assert_eq!(dry(&env, &["--driver", "abra"]).0, "abra");
    env.run(["doctor", "--abra"]).expect(0);
    let (name, reason) = dry(&env, &[]);
    assert_eq!(name, "abra");
    assert!(reason.ends_with("which kept its contract here"), "{reason}");
    assert_eq!(dry(&env, &["--driver", "stack"]).0, "stack");
    // Another program in its place, which says the same of itself.
    let program = env.root.join("bin/abra");
    env.edit(&program, "#!/bin/sh\n", "#!/bin/sh\n# another one\n");
    let (name, reason) = dry(&env, &[]);
    assert_eq!(name, "stack");
    assert!(
        reason.contains("it has changed since it was checked"),
        "{reason}"
    );
    // One that breaks the contract takes back what an older one proved.
    env.run(["doctor", "--abra"]).expect(0);
    env.with_abra("+no-offline", "");
    env.run(["doctor", "--abra"]).expect(3);
    let (name, reason) = dry(&env, &[]);
    assert_eq!(name, "stack");
    assert!(
        reason.contains("it was never checked on this host"),
        "{reason}"
    );
    // What is written down cannot save one that does not say a version.
    env.with_abra("+version-shape", "");
    assert_eq!(dry(&env, &[]).0, "stack");
}

#[test]
fn a_result_of_the_contract_that_cannot_be_written_down_is_said() {
    let env = env("", "");
    Proof::remove(&env.root.join("state")).unwrap();
    std::fs::remove_dir_all(env.root.join("state")).unwrap();
    std::fs::write(env.root.join("state"), "").unwrap();
    let done = env.run(["doctor", "--abra"]);
    done.expect(3);
    assert!(
        done.stderr.contains("cannot be written to"),
        "{}",
        done.stderr
    );
}

#[test]
fn an_abra_that_was_asked_for_and_is_not_to_be_had_ends_the_run_with_what_to_do() {
    let without = TestEnv::new("unix:///nowhere/docker.sock");
    let done = run(&without, &["--driver", "abra"]);
    done.expect(3);
    assert!(
        done.stderr.contains("abra is not on PATH"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("--driver stack"), "{}", done.stderr);
    let done = run(&env("+version-shape", ""), &["--driver", "abra"]);
    done.expect(3);
    assert!(
        done.stderr.contains("abra, the magician"),
        "{}",
        done.stderr
    );
}

#[test]
fn an_abra_that_hangs_is_killed_and_its_call_is_named() {
    let env = env("", "--version");
    let done = run(&env, &["--driver", "abra"]);
    done.expect(3);
    assert!(
        done.stderr
            .contains("`abra --version` did not end within 20 s"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("`docker info`"), "{}", done.stderr);
    env.assert_quiet();
}

fn contract(env: &TestEnv) -> (Done, Vec<(String, String)>) {
    let done = env.run(["doctor", "--abra", "--json"]);
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    let assumptions = json["assumptions"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = assumptions
        .map(|one| (text(&one["standing"]), text(&one["what"])))
        .collect();
    (done, list)
}

#[test]
fn the_contract_holds_with_the_stand_in_and_changes_nothing() {
    let env = env("", "");
    let (done, list) = contract(&env);
    done.expect(0);
    let held = list
        .iter()
        .filter(|(standing, _)| standing == "held")
        .count();
    assert_eq!(held, 14, "{list:?}");
    assert!(
        list.iter().all(|(standing, _)| standing != "broken"),
        "{list:?}"
    );
    assert!(!env.root.join("home/.abra/servers").exists());
    let table = env.run(["doctor", "--abra"]);
    table.expect(0);
    assert!(
        table
            .stdout
            .contains("Nothing that the abra driver assumes is broken"),
        "{}",
        table.stdout
    );
}

#[test]
fn each_broken_assumption_is_found() {
    for (quirk, words) in [
        ("+no-offline", "`app deploy` knows"),
        ("+garbage", "`app ls -m` prints"),
        ("+table", "`app ls -m` prints"),
        ("+version-shape", "`abra --version` says"),
        ("+german", "errors are lines that begin with FATA"),
    ] {
        let env = env(quirk, "");
        env.write(
            "home/.abra/servers/default/a.example.env",
            "TYPE=notes\nDOMAIN=a.example\n",
        );
        let (done, list) = contract(&env);
        done.expect(3);
        let found = list
            .iter()
            .any(|(standing, what)| standing == "broken" && what.starts_with(words));
        assert!(found, "{quirk}: {list:?}");
    }
}

/// The stand-in must bite, or runs with it would prove nothing.
#[test]
fn the_stand_in_has_the_quirks_that_abra_is_known_for() {
    let mut env = env("", "");
    let recipe = env.recipe("notes");
    let abra_dir = env.root.join("home/.abra");
    std::fs::create_dir_all(abra_dir.join("recipes")).unwrap();
    std::fs::rename(&recipe, abra_dir.join("recipes/notes")).unwrap();
    let recipe = abra_dir.join("recipes/notes");
    let head = |recipe: &Path| {
        let args = ["-c", "safe.directory=*", "rev-parse", "HEAD"];
        command("git")
            .arg("-C")
            .arg(recipe)
            .args(args)
            .output()
            .unwrap()
            .stdout
    };
    let abra = |env: &TestEnv, args: &[&str]| {
        let mut abra = env.program(env.root.join("bin/abra"));
        abra.args(args).env("ABRA_DIR", &abra_dir);
        env.follow(abra).finish()
    };
    let fails = |env: &TestEnv, args: &[&str], words: &str| {
        let done = abra(env, args);
        done.expect(1);
        assert!(done.stderr.contains(words), "{args:?}: {}", done.stderr);
    };
    let before = head(&recipe);
    abra(
        &env,
        &[
            "app",
            "new",
            "notes",
            "-n",
            "-C",
            "-o",
            "--domain=a.example",
        ],
    )
    .expect(0);
    assert_ne!(before, head(&recipe), "app new moves the checkout");
    fails(
        &env,
        &["app", "restore", "a.example", "-n", "-C", "-o"],
        "inappropriate ioctl for device",
    );
    fails(
        &env,
        &["app", "deploy", "a.example", "-n", "-C"],
        "authentication required: Unauthorized",
    );
    fails(
        &env,
        &["app", "undeploy", "a.example", "-o"],
        "inappropriate ioctl for device",
    );
    std::fs::write(recipe.join("untracked"), "").unwrap();
    fails(
        &env,
        &["app", "deploy", "a.example", "-n", "-o"],
        "has locally unstaged changes",
    );
    std::fs::remove_file(recipe.join("untracked")).unwrap();
    let tagged = command("git")
        .arg("-C")
        .arg(&recipe)
        .args(["-c", "safe.directory=*", "tag", "light"])
        .status()
        .unwrap();
    assert!(tagged.success());
    fails(
        &env,
        &[
            "app",
            "deploy",
            "a.example",
            "0.2.0+1.1.0",
            "-n",
            "-o",
            "-D",
        ],
        "R014",
    );
    fails(&env, &["app", "logs", "a.example"], "unknown command");
    env.with_abra("-new-checks-out-tag", "");
    let before = head(&recipe);
    abra(
        &env,
        &[
            "app",
            "new",
            "notes",
            "-n",
            "-C",
            "-o",
            "--domain=b.example",
        ],
    )
    .expect(0);
    assert_eq!(before, head(&recipe));
}
