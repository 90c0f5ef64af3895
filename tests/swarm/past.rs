//! What once went wrong with recipes in production and needs an engine to be shown; docs/regressions.md has the list.

use serde_json::Value;

use crate::engine::SwarmEnv;
use crate::support::{self, TestEnv};

fn git(env: &TestEnv, args: &[&str]) {
    support::git(&env.root.join("recipes/notes"), args);
}

#[track_caller]
fn row(results: &Value, tier: &str, name: &str) -> Value {
    let tiers = results["tiers"].as_array().unwrap();
    let tier = tiers.iter().find(|row| row["name"] == tier).unwrap();
    let tests = tier["tests"].as_array().unwrap();
    let found = tests.iter().find(|test| test["name"] == name);
    found
        .unwrap_or_else(|| panic!("no `{name}` in {tier:#}"))
        .clone()
}

/// A published version with a second service, and a head without it.
fn dropped(mut env: SwarmEnv) {
    let recipe = env.recipe("notes");
    let compose = recipe.join("compose.yml");
    let head = harness::host_file::text(&compose).unwrap();
    let more = "services:\n  side:\n    image: recipe-ci/notes:1\n    command: [sleep, '3600']\n    init: true\n";
    let base = head
        .replacen("services:\n", more, 1)
        .replace("version=0.3.0+1.2.0", "version=0.2.9+1.1.9");
    std::fs::write(&compose, base).unwrap();
    git(&env, &["commit", "-qam", "with a side"]);
    git(&env, &["tag", "-a", "-m", "0.2.9+1.1.9", "0.2.9+1.1.9"]);
    std::fs::write(&compose, head).unwrap();
    git(&env, &["commit", "-qam", "without"]);
    env.set("STAGES", "install,upgrade");
    // The install says what the base has.
    env.set("CCCI_FRESH", "never");
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(0);
    let results = env.results();
    assert_eq!(results["base_version"], "0.2.9+1.1.9", "{results:#}");
    let both = row(&results, "install", "generic: converged");
    assert_eq!(both["message"], "2 of 2 services", "the base has both");
    let gone = row(&results, "upgrade", "generic: dropped services are gone");
    assert_eq!(gone["status"], "pass", "{gone}");
    env.assert_nothing_left();
}

#[test]
fn a_service_that_the_head_drops_is_gone_after_the_upgrade() {
    dropped(SwarmEnv::new());
}

/// abra does not prune.
#[test]
fn a_service_that_the_head_drops_is_gone_after_abras_upgrade_too() {
    let mut env = SwarmEnv::new();
    env.with_abra("", "");
    dropped(env);
}

/// Output of a command that failed is no answer of the app: the code comes back whatever was printed.
#[test]
fn an_exec_that_fails_is_never_an_empty_answer() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let test = "#!/bin/sh\n\
        code() { \"$@\" >/dev/null; echo $?; }\n\
        [ \"$(code recipe-ci app exec -- sh -c 'echo half; exit 3')\" = 3 ] || exit 1\n\
        [ \"$(code recipe-ci app exec -- no-such-program)\" != 0 ] || exit 1\n\
        [ \"$(code recipe-ci app exec --service nobody -- true)\" != 0 ] || exit 1\n\
        [ \"$(recipe-ci app exec -- echo whole)\" = whole ]\n";
    env.overlay("notes", "custom/test_exec.sh", test);
    env.set("STAGES", "install,custom");
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(0);
    let found = row(&env.results(), "custom", "custom/test_exec.sh");
    assert_eq!(found["status"], "pass", "{found}\n{}", done.stderr);
    env.assert_nothing_left();
}

/// A file that other hosts have (`/etc/timezone`) and this one does not: no task runs, and the engine's reason is
/// the report's.
#[test]
fn a_bind_of_a_path_that_the_host_lacks_is_red_with_the_engines_reason() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.edit(
        &recipe.join("compose.yml"),
        "      - data:/data\n",
        "      - data:/data\n      - /nowhere/timezone:/etc/timezone:ro\n",
    );
    git(&env, &["tag", "-d", "0.1.0+1.0.0", "0.2.0+1.1.0"]);
    env.set("STAGES", "install");
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(1);
    let results = env.results();
    let reason = results["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("bind source path does not exist"),
        "{reason}\n{}",
        done.stderr
    );
    env.assert_nothing_left();
}
