//! The abra driver, with a stand-in for abra that really deploys: the same results as the embedded driver, and
//! every quirk met.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::engine::SwarmEnv;
use crate::fixtures::{SUPPLIED, hides_its_secret, judge, judge_in};
use crate::support::{self, Done};
use crate::wait::wait_until;

fn with_abra(quirks: &str) -> SwarmEnv {
    let mut env = SwarmEnv::new();
    env.with_abra(quirks, "");
    env
}

fn tests_of<'a>(results: &'a Value, tier: &str) -> &'a Vec<Value> {
    let tiers = results["tiers"].as_array().unwrap();
    let tier = tiers.iter().find(|row| row["name"] == tier).unwrap();
    tier["tests"].as_array().unwrap()
}

/// What must be the same with both drivers.
fn essence(results: &Value) -> BTreeMap<String, Value> {
    let mut essence: BTreeMap<String, Value> = [
        "verdict",
        "exit_code",
        "rungs",
        "level",
        "base_version",
        "head_version",
        "deploy_count",
    ]
    .into_iter()
    .map(|key| (key.to_owned(), results[key].clone()))
    .collect();
    essence.insert("left".to_owned(), results["teardown"]["residual"].clone());
    for tier in results["tiers"].as_array().into_iter().flatten() {
        essence.insert(format!("tier {}", tier["name"]), tier["status"].clone());
    }
    essence
}

/// Runs a fixture with both drivers and compares.
fn equal(name: &'static str) -> (SwarmEnv, Value) {
    equal_in(|| with_abra(""), name)
}

/// The same with abra in an environment that is prepared for it, once the embedded driver's run has given its place back.
fn equal_in(prepare: impl FnOnce() -> SwarmEnv, name: &'static str) -> (SwarmEnv, Value) {
    let stack = judge(name);
    assert_eq!(stack["driver"].as_str().unwrap_or("stack"), "stack");
    let (env, done, abra) = judge_in(prepare(), name);
    if abra["verdict"] != "refused" {
        assert_eq!(abra["driver"], "abra", "{}", done.stderr);
        let reason = abra["driver_reason"].as_str().unwrap();
        assert!(
            reason.starts_with("abra 0.13.0-beta-06a57de at /"),
            "{reason}"
        );
    }
    let (mut stack, mut abras) = (essence(&stack), essence(&abra));
    if abra["fresh"]["how"] == "serial" {
        // The head makes way for the base: where that is broken it is made once more, and a red one does not.
        let in_turn = match abra["rungs"]["install"] == "fail" {
            true => 1,
            false if abra["tiers"].to_string().contains("base-broken") => 3,
            false => 2,
        };
        let [one, other] = [&mut stack, &mut abras].map(|essence| essence.remove("deploy_count"));
        let counts = (Some(2.into()), Some(in_turn.into()));
        assert_eq!((one, other), counts, "{}", done.stderr);
    }
    assert_eq!(stack, abras, "{}", done.stderr);
    (env, abra)
}

macro_rules! parity {
    (always { $($test:ident: $name:literal,)* } full { $($more:ident: $other:literal,)* }) => {
        $(#[test]
        fn $test() {
            equal($name);
        })*

        $(#[cfg(feature = "full")]
        #[test]
        fn $more() {
            equal($other);
        })*

        #[test]
        fn every_fixture_is_compared() {
            let mut listed = vec![$($name,)* $($other,)* "notes"];
            listed.sort_unstable();
            let dir = crate::support::repository().join("tests/recipes");
            let mut there: Vec<String> = harness::host_file::entries(dir).unwrap().flatten()
                .filter(|entry| entry.path().join("fixture.json").is_file())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            there.sort_unstable();
            assert_eq!(listed, there);
        }
    };
}

// Every place where the drivers go different ways is in `always`, and what needs no engine, which costs nothing. What
// is below `full` meets no other code of a driver than those; `tests/run --features full` compares all of it.
parity! {
    always {
        alias_bomb: "alias-bomb",
        backup_archives_nothing: "backup-archives-nothing",
        backup_empty_dump: "backup-empty-dump",
        backup_hook_fails: "backup-hook-fails",
        bad_yaml: "bad-yaml",
        base_cannot_deploy: "base-cannot-deploy",
        extends_cycle: "extends-cycle",
        fresh_first_boot_fails: "fresh-first-boot-fails",
        ledger: "ledger",
        never_starts: "never-starts",
        no_compose: "no-compose",
        required_variable: "required-variable",
        restore_ignores_dump: "restore-ignores-dump",
        upgrade_image_of_the_hub: "upgrade-image-of-the-hub",
        upgrade_loses_volume: "upgrade-loses-volume",
        upgrade_moves_nothing: "upgrade-moves-nothing",
        upgrade_needs_variable: "upgrade-needs-variable",
        upgrade_rolls_back: "upgrade-rolls-back",
        wild_backup_paths: "wild-backup-paths",
        wild_backup_v1: "wild-backup-v1",
        wild_no_abra_sh: "wild-no-abra-sh",
        wild_port: "wild-port",
    }
    full {
        backup_dumps_wrong_database: "backup-dumps-wrong-database",
        backup_label_misplaced: "backup-label-misplaced",
        backup_live_copy: "backup-live-copy",
        crash_loop: "crash-loop",
        fresh_secret_too_short: "fresh-secret-too-short",
        fresh_variable_dropped: "fresh-variable-dropped",
        never_healthy: "never-healthy",
        no_backup: "no-backup",
        no_upgrade_base: "no-upgrade-base",
        notes_pytest: "notes-pytest",
        optional_files: "optional-files",
        pull_missing: "pull-missing",
        restore_adds_to_the_data: "restore-adds-to-the-data",
        restore_does_not_restore: "restore-does-not-restore",
        serves_404: "serves-404",
        slow_start: "slow-start",
        test_fails: "test-fails",
        test_skipped: "test-skipped",
        upgrade_drops_data: "upgrade-drops-data",
        wild_read_only: "wild-read-only",
        wild_web_elsewhere: "wild-web-elsewhere",
        wild_zero_replicas: "wild-zero-replicas",
        worker_crash_loops: "worker-crash-loops",
    }
}

/// What abra was called with, oldest first.
fn calls_of(env: &SwarmEnv) -> Vec<Value> {
    let text = harness::host_file::text(env.root.join("abra/calls.jsonl")).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn words(call: &Value) -> Vec<&str> {
    let argv = call["argv"].as_array().unwrap();
    argv.iter().filter_map(Value::as_str).collect()
}

/// A whole run with an overlay's compose file, and every single call that it made. The file lies in the checkout that
/// abra deploys the base from, pinned, which it does from a clean one only.
#[test]
fn notes_and_how_abra_was_called() {
    let prepare = || {
        let mut env = with_abra("");
        let blue = "version: '3.8'\nservices:\n  app:\n    environment: [CI_COLOUR=blue]\n";
        env.overlay("notes", "compose.ccci.yml", blue);
        // The install tests meet a new app of the head, the custom ones the one that was the base.
        let arrives = "#!/bin/sh\nrecipe-ci app exec -- sh -c '[ \"$CI_COLOUR\" = blue ]'\n";
        env.overlay("notes", "test_install.sh", arrives);
        env.overlay("notes", "custom/test_colour.sh", arrives);
        env
    };
    let (env, results) = equal_in(prepare, "notes");
    let rows = |tier: &str, name: &str| {
        let rows = tests_of(&results, tier).iter();
        let rows = rows.filter(|row| row["name"] == name && row["status"] == "pass");
        rows.count()
    };
    assert_eq!(rows("install", "test_install.sh"), 2, "{results:#}");
    assert_eq!(rows("custom", "custom/test_colour.sh"), 1, "{results:#}");
    let calls = calls_of(&env);
    let lines: Vec<String> = calls.iter().map(|call| words(call).join(" ")).collect();
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    let shown = lines.join("\n");
    for (command, times) in [
        // The head, which makes way for the base.
        ("app new", 2),
        ("app deploy", 3),
        ("app secret generate", 2),
        ("app backup create", 1),
        ("app restore", 1),
        ("app undeploy", 2),
    ] {
        assert_eq!(count(command), times, "{command}\n{shown}");
    }
    let base = lines
        .iter()
        .filter(|line| line.starts_with("app deploy"))
        .nth(1)
        .unwrap();
    assert!(
        base.contains(" 0.2.0+1.1.0 ") && !base.contains("-C"),
        "{base}"
    );
    for call in &calls {
        let (words, line) = (words(call), words(call).join(" "));
        if words == ["--version"] {
            continue;
        }
        assert!(words.contains(&"-n") && words.contains(&"-o"), "{line}");
        // Its own wait for convergence gives up while a heavy image still starts.
        let deploys = line.starts_with("app deploy");
        assert_eq!(words.contains(&"-c"), deploys, "{line}");
        let recipe = !["app undeploy", "app ls"]
            .iter()
            .any(|start| line.starts_with(start));
        assert!(words.contains(&"-C") || !recipe || line == *base, "{line}");
        let terminal = ["app backup", "app restore"]
            .iter()
            .any(|start| line.starts_with(start));
        assert_eq!(call["tty"], terminal, "{line}");
        let env_of = &call["env"];
        assert_eq!(
            (&env_of["LANG"], &env_of["ABRA_LANG"]),
            (&"C.UTF-8".into(), &"en".into())
        );
        let dir = env_of["ABRA_DIR"].as_str().unwrap();
        assert!(
            dir.starts_with(env.root.join("runs").to_str().unwrap()) || line.starts_with("app ls"),
            "{dir}"
        );
    }
    let moved = tests_of(&results, "upgrade")
        .iter()
        .find(|row| row["name"] == "generic: it moved");
    assert_eq!(moved.unwrap()["status"], "pass");
    let archive = tests_of(&results, "backup")
        .iter()
        .find(|row| row["name"] == "generic: archive holds what was seeded");
    assert_eq!(archive.unwrap()["status"], "pass");
}

fn run_notes(env: &SwarmEnv) -> (Done, Value) {
    let recipe = env.root.join("recipes/notes");
    let recipe = if recipe.is_dir() {
        recipe
    } else {
        env.recipe("notes")
    };
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    let results = env.results();
    (done, results)
}

fn git(env: &SwarmEnv, args: &[&str]) {
    support::git(&env.root.join("recipes/notes"), args);
}

/// A tag without an object of its own anywhere makes lint refuse every published version; and what is
/// uncommitted adds `+U` to the label that proves the upgrade.
#[test]
fn lightweight_tags_deploy_the_base_by_chaos_and_uncommitted_changes_do_not_hide_the_move() {
    let mut env = with_abra("");
    let recipe = env.recipe("notes");
    git(&env, &["tag", "snapshot"]);
    env.edit(&recipe.join("README.md"), "notes", "notices");
    env.set("STAGES", "install,upgrade");
    let (done, results) = run_notes(&env);
    done.expect(0);
    let deploys: Vec<String> = calls_of(&env)
        .iter()
        .map(|call| words(call).join(" "))
        .filter(|line| line.starts_with("app deploy"))
        .collect();
    assert_eq!(deploys.len(), 3, "{deploys:?}");
    assert!(
        deploys.iter().all(|line| line.contains(" -C ")),
        "{deploys:?}"
    );
    assert!(
        done.stderr.contains("tag snapshot is lightweight"),
        "{}",
        done.stderr
    );
    assert_eq!(results["base_version"], "0.2.0+1.1.0");
    assert_eq!(results["rungs"]["upgrade"], "pass", "{results:#}");
    env.assert_nothing_left();
}

/// A backup that ends well and holds empty files is the recipe's red, as it is with the embedded driver.
#[test]
fn a_backup_that_succeeds_with_an_empty_dump_is_red() {
    for (quirk, fixture, words) in [
        ("+empty-dump", "ledger", "is empty"),
        ("+old-snapshot", "notes", "no new snapshot"),
    ] {
        let mut env = with_abra(quirk);
        let recipe = env.recipe(fixture);
        env.set("STAGES", "backup,restore");
        let done = env.run(["run".as_ref(), recipe.as_os_str()]);
        done.expect(1);
        let results = env.results();
        let reason = results["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(words), "{reason}\n{}", done.stderr);
        env.assert_nothing_left();
    }
}

/// A restore that ends well and puts nothing back is red, though no hook of the recipe looks: its only saved path is a
/// dump, so there is no marker either.
#[test]
fn a_restore_that_succeeds_and_restores_nothing_is_red() {
    let mut env = with_abra("+restore-nothing");
    let recipe = env.recipe("ledger");
    for hook in ["pre_restore", "verify_restore"] {
        std::fs::remove_file(recipe.join("tests/ops").join(hook)).unwrap();
    }
    env.set("STAGES", "backup,restore");
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(1);
    let results = env.results();
    let reason = results["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("backup.sql` was emptied before the restore and still is"),
        "{reason}\n{}",
        done.stderr
    );
    env.assert_nothing_left();
}

/// What abra or the host gets wrong is no recipe's fault: exit 3, with the line and with what to do.
#[test]
fn what_abra_gets_wrong_does_not_blame_the_recipe() {
    for (quirk, stages, said) in [
        ("+no-bot", "backup", "no backupbot discovered"),
        ("+deploys-tag", "install", "label chaos-version is `"),
        ("+garbage", "backup", "there were snapshots once"),
        ("+table", "install", "not JSON in spite of `-m`"),
        ("+env-by-rename", "install", "instead of writing"),
        ("+no-offline", "install", "unknown flag: -o"),
        (
            "+ignores-offline",
            "install",
            "authentication required: Unauthorized",
        ),
        (
            "+docker-gone",
            "install",
            "Cannot connect to the Docker daemon",
        ),
    ] {
        let mut env = with_abra(quirk);
        env.set("STAGES", stages);
        let (done, results) = run_notes(&env);
        done.expect(3);
        assert_eq!(results["verdict"], "infra", "{quirk}");
        let reason = results["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(said), "{quirk}: {reason}");
        assert!(
            done.stderr.contains("--driver stack"),
            "{quirk}: {}",
            done.stderr
        );
        env.assert_nothing_left();
    }
}

/// An operator keeps env files in git, and an abra of tomorrow commits and pushes them by itself.
#[test]
fn an_abra_that_commits_env_files_finds_no_repository_of_the_operators() {
    let mut env = with_abra("+commits-env");
    let theirs = env.root.join("home/.abra/servers/default");
    env.write(
        "home/.abra/servers/default/cloud.example.env",
        "TYPE=cloud\n",
    );
    support::git(&theirs, &["init", "-q", "-b", "main"]);
    support::git(&theirs, &["add", "-A"]);
    support::git(&theirs, &["commit", "-qm", "by hand"]);
    let root = env.root.display().to_string();
    let test = format!("#!/bin/sh\nls \"$ABRA_DIR\"/servers/* >{root}/seen\n");
    env.overlay("notes", "custom/test_seen.sh", &test);
    let (done, results) = run_notes(&env);
    done.expect(0);
    let commits = support::git(&theirs, &["log", "--format=%s"]);
    assert_eq!(commits, "by hand");
    // A test has the env file of its own app, and no other.
    let seen = harness::host_file::text(env.root.join("seen")).unwrap();
    let own = format!("{}.env", results["domain"].as_str().unwrap());
    assert!(seen.contains(&own) && !seen.contains("cloud"), "{seen}");
    // What is theirs stays, and nothing else.
    let mut left = support::git(&theirs, &["ls-files", "--cached", "--others"]);
    left.push_str(&support::git(&theirs, &["status", "--short"]));
    assert_eq!(left, "cloud.example.env");
    std::fs::remove_dir_all(&theirs).unwrap();
    env.assert_nothing_left();
}

/// Three peculiarities in one run, each of which is met and none of which changes the verdict:
///
/// - An archive that cannot be had: the restored marker is the proof, and the report says so.
/// - The version that abra deploys is written into the env file. Were it still there at the next deploy, and did it count,
///   the upgrade would deploy the base once more.
/// - An app that abra does not take down is taken down all the same, and that is said.
#[test]
fn what_abra_does_otherwise_than_it_should_is_met_and_said() {
    let mut env = with_abra("+no-download,+pin-wins,+undeploy-refuses");
    let root = env.root.display().to_string();
    let test = format!("#!/bin/sh\nrecipe-ci app env TYPE >{root}/type\n");
    env.overlay("notes", "custom/test_type.sh", &test);
    let (done, results) = run_notes(&env);
    done.expect(0);
    let report = format!("{results:#}\n{}", done.stderr);
    assert_eq!(results["verdict"], "passed", "{report}");

    let row = |tier: &str, name: &str| {
        let row = tests_of(&results, tier)
            .iter()
            .find(|row| row["name"] == name);
        row.unwrap()["status"].clone()
    };
    assert_eq!(
        row("backup", "generic: archive holds what was seeded"),
        "skip"
    );
    assert_eq!(row("restore", "generic: seeded data is back"), "pass");

    assert_eq!(results["rungs"]["upgrade"], "pass", "{report}");
    // It did write it.
    let kind = harness::host_file::text(env.root.join("type")).unwrap();
    let commit = results["head_commit"].as_str().unwrap();
    assert_eq!(kind.trim(), format!("notes:{}", &commit[..8]));

    assert_eq!(results["teardown"]["clean"], true, "{report}");
    let said = "`abra app undeploy` failed: unable to remove";
    assert!(
        done.stderr.contains(said) && done.stderr.contains("removed through the engine"),
        "{report}"
    );
    env.assert_nothing_left();
}

#[test]
fn a_cancel_during_abras_deploy_leaves_nothing() {
    let mut env = SwarmEnv::new();
    env.with_abra("", "app deploy");
    let recipe = env.recipe("notes");
    let run = env.start(["run".as_ref(), recipe.as_os_str()]);
    let hangs = env.root.join("abra/hangs");
    wait_until(Duration::from_secs(120), "abra hangs", || {
        hangs.exists().then_some(())
    });
    kill(run.pid, Signal::SIGTERM).unwrap();
    run.finish().expect(143);
    assert_eq!(env.results()["verdict"], "cancelled");
    env.assert_nothing_left();
}

/// What a lint refuses that knows more rules than anybody here is deployed by chaos, as an operator would.
#[test]
fn a_base_that_lint_refuses_is_deployed_by_chaos_and_said() {
    let mut env = with_abra("+lint-refuses");
    env.set("STAGES", "install,upgrade");
    let (done, results) = run_notes(&env);
    done.expect(0);
    assert!(done.stderr.contains("R099"), "{}", done.stderr);
    assert_eq!(results["rungs"]["upgrade"], "pass", "{results:#}");
    assert_eq!(results["deploy_count"], 2);
    env.assert_nothing_left();
}

/// abra makes the secrets, so their values are known only from what it prints; one that the operator supplies goes in
/// through a file.
#[test]
fn a_secret_that_abra_made_is_in_no_file_and_no_line() {
    let env = hides_its_secret(with_abra(""));
    let calls = calls_of(&env);
    let mut inserts = calls
        .iter()
        .map(words)
        .filter(|words| words.contains(&"insert"));
    let insert = inserts.next().unwrap();
    assert!(
        insert.contains(&"licence_key") && !insert.contains(&SUPPLIED),
        "{insert:?}"
    );
    assert_eq!(inserts.next(), None);
}

/// A listing of abra's that cannot be read is not an empty one; one that can be read is a source of orphans.
#[test]
fn the_janitor_reads_abras_listing_or_says_that_it_cannot() {
    let env = with_abra("+garbage");
    std::fs::create_dir(env.root.join("locks")).unwrap();
    let done = env.run(["janitor"]);
    done.expect(4);
    let said = "skipping `abra app ls` ended with exit code 0 and said what is not understood: the servers are";
    assert!(done.stdout.contains(said), "{}", done.stdout);
    // Two environments in one test could wait for each other's place on the engine.
    drop(env);
    let env = with_abra("+remembers");
    std::fs::create_dir(env.root.join("locks")).unwrap();
    let domain = format!("note-0a1b2c.{}", env.zone);
    // What no env file has, nor the engine: abra alone knows its name.
    let remembered = format!("note-0a1b2d.{}", env.zone);
    env.write("abra/remembered", &format!("{remembered}\n"));
    env.write(
        &format!("home/.abra/servers/far/{domain}.env"),
        "TYPE=notes\n",
    );
    let done = env.run(["janitor", "--dry-run"]);
    done.expect(0);
    let would = |domain: &str| format!("{domain}: owner is dead, would be removed");
    let both = [would(&domain), would(&remembered)].join("\n");
    assert_eq!(done.stdout, both);
    let done = env.run(["janitor"]);
    done.expect(0);
    // There was nothing of the other one but the lock file that the janitor made itself.
    let said = format!("{domain}: owner was dead, removed\n1 stale lock file removed");
    assert_eq!(done.stdout, said);
    env.assert_nothing_left();
}
