//! abra without an engine: choosing it, what it says that is not understood, its contract, its stand-in.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::support::{Done, TestEnv, command};
use crate::wait::wait_until;

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
fn auto_takes_an_abra_that_answers_and_nothing_else() {
    assert_eq!(driver(&run(&env("", ""), &["--dry-run"])), "abra");
    assert_eq!(
        driver(&run(&env("", ""), &["--dry-run", "--driver", "stack"])),
        "stack"
    );
    assert_eq!(
        driver(&run(&env("+version-shape", ""), &["--dry-run"])),
        "stack"
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

/// Runs with abra on a host without an engine, to which the lint does not come any more; returns what the lint
/// says. abra's word about it is `said`, or nothing.
fn lint_with(quirk: &str, hang: &str, status: &str, said: Option<&str>) {
    let env = env(quirk, hang);
    let done = run(&env, &["--driver", "abra"]);
    done.expect(3);
    let results = env.results();
    let lint = &results["lint"];
    assert_eq!(lint["status"], status, "{quirk}{hang}: {lint:#}");
    assert_eq!(lint["reason"].as_str(), said, "{quirk}{hang}");
    assert_eq!(results["rungs"]["lint"], status);
    let sides = lint["abra"].as_array().unwrap();
    let side = sides.iter().find(|side| side["id"] == "R014");
    assert_eq!(
        side.map(|side| (side["ours"].as_str(), side["abra"].as_str())),
        (status != "unver").then_some((Some("pass"), Some("pass"))),
        "{lint:#}"
    );
    let said = said.unwrap_or("pass — 0 errors, ");
    assert!(done.stderr.contains(said), "{}", done.stderr);
    env.assert_quiet();
}

#[test]
fn abras_lint_is_beside_ours_and_one_that_cannot_be_read_is_no_pass() {
    lint_with("", "", "pass", None);
    lint_with(
        "+lint-fails",
        "",
        "fail",
        Some("abra's own lint fails R099"),
    );
    let unknown = "abra's own lint cannot be read: a line of abra's table has an unknown form: \
                   ┃ number ┃ what is asked ┃ well? ┃";
    lint_with("+lint-mumbles", "", "unver", Some(unknown));
    let refused = "abra's own lint did not run: `abra recipe lint` failed: unknown flag: -o";
    lint_with("+no-offline", "", "unver", Some(refused));
}

#[test]
fn an_abra_that_hangs_over_its_lint_is_killed_and_the_rung_is_not_verified() {
    let line = "abra's own lint did not run: `abra recipe lint` did not end within 30 s and was killed; \
                it said last: INFO waiting for a registry";
    lint_with("", "recipe lint", "unver", Some(line));
}

/// abra lints every compose file that it finds; one that a run laid beside them has no image.
#[test]
fn abra_lints_the_recipe_and_not_what_is_laid_over_it() {
    let mut env = env("", "");
    env.write(
        "overlays/notes/compose.ccci.yml",
        "services: {app: {environment: {A: b}}}\n",
    );
    let overlays = env.root.join("overlays").display().to_string();
    env.set("CCCI_TESTS_DIR", overlays);
    run(&env, &["--driver", "abra"]).expect(3);
    let results = env.results();
    assert_eq!(results["lint"]["status"], "pass", "{:#}", results["lint"]);
    let laid_over = results["customization"].to_string();
    assert!(laid_over.contains("compose.ccci.yml"), "{laid_over}");
}

#[test]
fn what_our_lint_found_is_not_lost_to_the_silence_of_abras() {
    let env = env("+lint-mumbles", "");
    let recipe = env.recipe("notes");
    env.edit(
        &recipe.join("compose.yml"),
        "interval: 1s",
        "interval: ${EVERY:-1s}",
    );
    run(&env, &["--driver", "abra"]).expect(3);
    let lint = env.results()["lint"].clone();
    assert_eq!(lint["status"], "fail", "{lint:#}");
    let reason = lint["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("rules that must hold do not: C004; abra's own lint cannot be read: "),
        "{reason}"
    );
}

/// Who hangs is ended with the run.
#[test]
fn a_cancel_while_abra_lints_leaves_no_process() {
    let env = env("", "recipe lint");
    let recipe = env.recipe("notes");
    let run = env.start(["run".as_ref(), recipe.as_os_str()]);
    let hangs = env.root.join("abra/hangs");
    wait_until(Duration::from_secs(60), "abra hangs", || {
        hangs.exists().then_some(())
    });
    kill(run.pid, Signal::SIGTERM).unwrap();
    run.finish().expect(143);
    assert_eq!(env.results()["verdict"], "cancelled");
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
    assert_eq!(held, 15, "{list:?}");
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
        &["recipe", "lint", "notes", "-n", "-C", "-o"],
        "inappropriate ioctl for device",
    );
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
