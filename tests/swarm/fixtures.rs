//! Every fixture recipe ends as its `fixture.json` says, and leaves nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;

use crate::engine::SwarmEnv;
use crate::support::{Done, TestEnv, command, locked, read_results, repository};

/// Returns what the fixture `name` below `set` says of itself.
pub(crate) fn described(set: &str, name: &str) -> Value {
    let path = repository().join(set).join(name).join("fixture.json");
    let text = harness::host_file::text(&path).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()
}

/// Returns what a fixture says of why its run is red: words of the reason, of an assertion that fails, of the console.
fn words_of(expected: &Value) -> [&str; 3] {
    ["reason_contains", "fails", "shows"].map(|key| expected[key].as_str().unwrap_or_default())
}

/// Asserts that a red fixture says why it is red: any fault would do otherwise.
#[track_caller]
pub(crate) fn assert_says_why(name: &str, expected: &Value) {
    let is_red = expected["exit_code"] != 0;
    let words = words_of(expected);
    let says = words.iter().any(|words| !words.is_empty());
    assert!(says || !is_red, "{name} does not say why it is red");
}

fn tier<'a>(results: &'a Value, name: &Value) -> &'a Value {
    let tiers = results["tiers"].as_array().unwrap();
    let found = tiers.iter().find(|tier| tier["name"] == *name);
    found.unwrap_or_else(|| panic!("no tier {name} in {results:#}"))
}

/// Asserts that the console and every form of the report say what the fixture's fault is.
#[track_caller]
fn assert_shown(env: &SwarmEnv, done: &Done, words: [&str; 3]) {
    let run = env.run_dirs().remove(0);
    let form = |name: &str| harness::host_file::text(run.join(name)).unwrap();
    let shown = [
        ("the console", done.stderr.clone()),
        ("results.json", form("results.json").replace("\\\"", "\"")),
        ("report.html", unescaped(&form("report.html"))),
        ("junit.xml", unescaped(&form("junit.xml"))),
    ];
    for (place, text) in shown {
        // A form of the report may have the name of an assertion apart from what it saw.
        for words in words.iter().flat_map(|words| words.split(": ")) {
            assert!(text.contains(words), "{place} lacks `{words}`\n{text}");
        }
    }
}

/// Returns the text of an XML or HTML file as a reader sees it.
fn unescaped(text: &str) -> String {
    let entities = [("lt", "<"), ("gt", ">"), ("quot", "\""), ("apos", "'")];
    let numbers = [("#60", "<"), ("#62", ">"), ("#34", "\""), ("#39", "'")];
    let entities = entities.iter().chain(&numbers);
    let text = entities.fold(text.to_owned(), |text, (entity, plain)| {
        text.replace(&format!("&{entity};"), plain)
    });
    text.replace("&#38;", "&").replace("&amp;", "&")
}

/// Runs a fixture with the embedded driver and compares; returns its results. All tests that want them share one
/// run, so nobody may ask who holds a place on the engine.
pub(crate) fn judge(name: &'static str) -> Value {
    static RUNS: Mutex<BTreeMap<&str, Arc<OnceLock<Value>>>> = Mutex::new(BTreeMap::new());
    let run = Arc::clone(locked(&RUNS).entry(name).or_default());
    // A run that fails its test leaves nothing, so the next who asks fails by itself.
    run.get_or_init(|| judge_in(SwarmEnv::new(), name).2)
        .clone()
}

/// The same in an environment that was prepared for it.
pub(crate) fn judge_in(env: SwarmEnv, name: &str) -> (SwarmEnv, Done, Value) {
    let recipe = env.recipe(name);
    judge_repository(env, &recipe, &described("tests/recipes", name)["expect"])
}

/// The same of any repository; `expected` is what its run has to say.
pub(crate) fn judge_repository(
    env: SwarmEnv,
    recipe: &Path,
    expected: &Value,
) -> (SwarmEnv, Done, Value) {
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    let results = env.results();
    let code = expected["exit_code"].as_i64().unwrap();
    done.expect(i32::try_from(code).unwrap());
    let report = format!("{results:#}\n{}", done.stderr);
    assert_eq!(results["exit_code"], expected["exit_code"], "{report}");
    assert_eq!(results["verdict"], expected["verdict"], "{report}");
    let place = match expected.get("tier") {
        Some(name) => {
            let tier = tier(&results, name);
            assert_eq!(tier["status"], expected["status"], "{report}");
            tier
        }
        None => &results,
    };
    let [reason, fails, shows] = words_of(expected);
    let said = place["reason"].as_str().unwrap_or_default();
    assert!(said.contains(reason), "`{said}` lacks `{reason}`\n{report}");
    let tests = place["tests"].as_array().into_iter().flatten();
    let mut failed = tests.filter(|test| test["status"] == "fail").map(|test| {
        let text = |key: &str| test[key].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", text("name"), text("message"))
    });
    let has_failed = fails.is_empty() || failed.any(|test| test.contains(fails));
    assert!(has_failed, "no assertion fails with `{fails}`\n{report}");
    assert_shown(&env, &done, [reason, fails, shows]);
    if let Some(level) = expected.get("level") {
        assert_eq!(&results["level"], level, "{report}");
    }
    for (rung, status) in expected["rungs"].as_object().into_iter().flatten() {
        assert_eq!(&results["rungs"][rung], status, "{rung}: {report}");
    }
    if expected["verdict"] != "refused" {
        assert_eq!(results["teardown"]["clean"], true, "{report}");
    }
    env.assert_nothing_left();
    (env, done, results)
}

macro_rules! fixtures {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            judge($name);
        })*

        #[test]
        fn every_fixture_is_listed_and_builds() {
            let mut listed = vec![$($name,)* "notes", "ledger"];
            listed.sort_unstable();
            let dir = repository().join("tests/recipes");
            let mut there: Vec<String> = harness::host_file::entries(dir).unwrap().flatten()
                .filter(|entry| entry.path().join("fixture.json").is_file())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            there.sort_unstable();
            assert_eq!(listed, there);
            let env = TestEnv::new("unix:///nowhere");
            for name in listed {
                assert_says_why(name, &described("tests/recipes", name)["expect"]);
                assert!(env.recipe(name).join(".git").is_dir(), "{name}");
            }
        }
    };
}

fixtures! {
    alias_bomb: "alias-bomb",
    backup_archives_nothing: "backup-archives-nothing",
    backup_dumps_wrong_database: "backup-dumps-wrong-database",
    backup_empty_dump: "backup-empty-dump",
    backup_hook_fails: "backup-hook-fails",
    backup_label_misplaced: "backup-label-misplaced",
    backup_live_copy: "backup-live-copy",
    bad_yaml: "bad-yaml",
    base_cannot_deploy: "base-cannot-deploy",
    crash_loop: "crash-loop",
    extends_cycle: "extends-cycle",
    fresh_first_boot_fails: "fresh-first-boot-fails",
    fresh_secret_too_short: "fresh-secret-too-short",
    fresh_variable_dropped: "fresh-variable-dropped",
    never_healthy: "never-healthy",
    never_starts: "never-starts",
    no_backup: "no-backup",
    no_compose: "no-compose",
    no_upgrade_base: "no-upgrade-base",
    notes_pytest: "notes-pytest",
    optional_files: "optional-files",
    pull_missing: "pull-missing",
    required_variable: "required-variable",
    restore_adds_to_the_data: "restore-adds-to-the-data",
    restore_does_not_restore: "restore-does-not-restore",
    restore_ignores_dump: "restore-ignores-dump",
    serves_404: "serves-404",
    slow_start: "slow-start",
    test_fails: "test-fails",
    test_skipped: "test-skipped",
    upgrade_drops_data: "upgrade-drops-data",
    upgrade_image_of_the_hub: "upgrade-image-of-the-hub",
    upgrade_loses_volume: "upgrade-loses-volume",
    upgrade_moves_nothing: "upgrade-moves-nothing",
    upgrade_needs_variable: "upgrade-needs-variable",
    upgrade_rolls_back: "upgrade-rolls-back",
    wild_backup_paths: "wild-backup-paths",
    wild_backup_v1: "wild-backup-v1",
    wild_no_abra_sh: "wild-no-abra-sh",
    wild_port: "wild-port",
    wild_read_only: "wild-read-only",
    wild_web_elsewhere: "wild-web-elsewhere",
    wild_zero_replicas: "wild-zero-replicas",
    worker_crash_loops: "worker-crash-loops",
}

/// What a good recipe with a base must show beyond its verdict.
fn whole(name: &'static str, base: &str, services: &str, rows: &[(&str, &str)]) {
    let results = judge(name);
    assert_eq!(results["base_version"], base);
    // The base and a fresh install of the head; the upgrade is no deploy of its own.
    assert_eq!(results["deploy_count"], 2);
    for phase in [
        "fetch", "plan", "prepull", "deploy", "converge", "upgrade", "backup", "restore", "custom",
        "teardown",
    ] {
        let took = &results["phases"][format!("{phase}_ms")];
        assert!(took.is_u64(), "{phase}: {took}");
    }
    for used in [
        "peak_rss_bytes",
        "cpu_ms",
        "children_cpu_ms",
        "peak_memory_bytes",
    ] {
        let least = if used.ends_with("_ms") { 10 } else { 1 << 20 };
        let used = &results["resources"][used];
        assert!(used.as_u64() > Some(least), "{}", results["resources"]);
    }
    let always = [
        ("install", "generic: serving"),
        ("upgrade", "generic: it moved"),
        ("upgrade", "generic: no task of before"),
        ("upgrade", "ops/verify_upgrade"),
        ("backup", "generic: archive holds what was seeded"),
        ("restore", "ops/verify_restore"),
    ];
    for (stage, test) in always.iter().chain(rows) {
        let stage = Value::from(*stage);
        let tests = tier(&results, &stage)["tests"].as_array().unwrap();
        let found = tests.iter().find(|row| row["name"] == *test);
        let row = found.unwrap_or_else(|| panic!("no `{test}` in {results:#}"));
        assert_eq!(row["status"], "pass", "{row}");
    }
    let converged = &tier(&results, &"install".into())["tests"][0]["message"];
    assert_eq!(converged, services);
}

#[test]
fn notes() {
    whole(
        "notes",
        "0.2.0+1.1.0",
        "1 of 1 services",
        &[
            ("upgrade", "generic: data survived"),
            ("restore", "generic: seeded data is back"),
        ],
    );
}

/// Its backup is one dump on a volume, so what comes back is for the database to say; the upgrade is held to a marker
/// beside the dump, too.
#[test]
fn ledger() {
    whole(
        "ledger",
        "1.0.0+15.1",
        "2 of 2 services",
        &[
            ("upgrade", "generic: data survived"),
            (
                "upgrade",
                "generic: data survived — PostgreSQL database ledger of service db",
            ),
            ("backup", "generic: backup pre-hooks"),
            ("restore", "generic: saved files are back"),
            (
                "restore",
                "generic: seeded data is back — PostgreSQL database ledger of service db",
            ),
            ("restore", "generic: restore post-hooks"),
        ],
    );
}

/// A service that dies while the recipe's tests run is red, though all of them pass.
#[test]
fn a_service_that_dies_after_convergence_is_red() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    // The command may die with its container; that it killed it is what the loop waits for.
    let text = "#!/bin/sh\nset -eu\nservice=$(printf %s \"$CCCI_APP_DOMAIN\" | tr . _)_app\n\
         recipe-ci app exec -- sh -c 'kill 1' || :\n\
         until docker service ps --format '{{.CurrentState}}' \"$service\" | grep -q ^Failed; do sleep 0.1; done\n";
    env.overlay("notes", "custom/test_kills.sh", text);
    // Whatever holds up this test or the run, nothing comes up again before the look at the end.
    let never = "services:\n  app:\n    deploy:\n      restart_policy:\n        delay: 10m\n";
    env.overlay("notes", "compose.ccci.yml", never);
    env.set("STAGES", "install,custom");
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(1);
    let results = env.results();
    let custom = tier(&results, &"custom".into());
    let words =
        "generic: stayed up: service `app` ended 1 time since it had converged and is not up";
    let reason = custom["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with(words), "{reason}\n{}", done.stderr);
    env.assert_nothing_left();
}

/// A generated secret that a test prints in several forms is in no report.
#[test]
fn a_generated_secret_is_in_no_file_and_no_line() {
    hides_its_secret(SwarmEnv::new());
}

/// The secret that the operator supplies.
pub(crate) const SUPPLIED: &str = "licence-7f3a9c-of-the-operator";

/// Runs a test that shows a generated secret and a supplied one, and looks for them in everything that the run wrote.
pub(crate) fn hides_its_secret(mut env: SwarmEnv) -> SwarmEnv {
    let recipe = env.recipe("notes");
    let compose = recipe.join("compose.yml");
    env.edit(
        &compose,
        "- admin_token\n",
        "- admin_token\n      - licence_key\n",
    );
    let key = "licence_key:\n    external: true\n    name: ${STACK_NAME}_licence_key_${SECRET_LICENCE_KEY_VERSION}";
    let both = format!("\nsecrets:\n  {key}\n");
    env.edit(&compose, "\nsecrets:\n", &both);
    let length = "# length=32\n";
    let more = format!("{length}SECRET_LICENCE_KEY_VERSION=v1 # generate=false\n");
    env.edit(&recipe.join(".env.sample"), length, &more);
    env.set("CCCI_SECRET_LICENCE_KEY", SUPPLIED);
    let spied = env.root.join("spied");
    let text = format!(
        "#!/bin/sh\nset -eu\nkey=$(recipe-ci app exec -- cat /run/secrets/licence_key)\n\
         [ \"$key\" = \"$(cat {}.key)\" ] || exit 2\necho \"key: $key\"\n\
         secret=$(recipe-ci app exec -- cat /run/secrets/admin_token)\n\
         printf %s \"$secret\" > {}\necho \"out: $secret\"\necho \"err: ${{secret}}x\" >&2\n\
         printf %s \"$secret\" | base64 -w0\necho\nexit 1\n",
        spied.display(),
        spied.display()
    );
    env.write("spied.key", SUPPLIED);
    env.overlay("notes", "custom/test_spy.sh", &text);
    env.set("STAGES", "install,custom");
    let done = env.run(["run".as_ref(), recipe.as_os_str(), "--json".as_ref()]);
    done.expect(1);
    let secret = harness::host_file::text(&spied).unwrap();
    assert_eq!(secret.len(), 32, "{secret}");
    assert!(done.stderr.contains("[redacted]"), "{}", done.stderr);
    let run_dir = env.run_dirs().remove(0);
    let encoded = command("base64").arg("-w0").arg(&spied).output().unwrap();
    let encoded = String::from_utf8(encoded.stdout).unwrap();
    for form in [secret, encoded, SUPPLIED.to_owned()] {
        for (name, text) in [("stdout", &done.stdout), ("stderr", &done.stderr)] {
            assert!(!text.contains(&form), "{name} shows the secret");
        }
        let grep = command("grep")
            .args(["-rlF", &form])
            .arg(&run_dir)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
    }
    assert_eq!(read_results(&run_dir)["verdict"], "failed");
    env.assert_nothing_left();
    env
}
