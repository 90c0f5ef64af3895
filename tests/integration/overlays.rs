//! Overlays and recipe-ci.yml: what is wrong with them, what a plan makes of them, and `recipe-ci overlay`.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Done, TestEnv, command, git};

fn env() -> TestEnv {
    TestEnv::new("unix:///nowhere/docker.sock")
}

/// Plans `notes` with this recipe-ci.yml in its overlay.
fn plan(declared: &str) -> (TestEnv, Done) {
    let mut env = env();
    let recipe = env.recipe("notes");
    env.write("overlays/notes/recipe-ci.yml", declared);
    env.set(
        "CCCI_TESTS_DIR",
        env.root.join("overlays").display().to_string(),
    );
    let done = env.run(["run".as_ref(), recipe.as_os_str(), "--dry-run".as_ref()]);
    env.assert_quiet();
    (env, done)
}

#[track_caller]
fn planned(declared: &str) -> Value {
    let (_env, done) = plan(declared);
    done.expect(0);
    serde_json::from_str(&done.stdout).unwrap()
}

#[track_caller]
fn has(done: &Done, code: i32, words: &[&str]) {
    done.expect(code);
    let said = format!("{}{}", done.stdout, done.stderr);
    for word in words {
        assert!(said.contains(word), "no `{word}` in\n{said}");
    }
}

#[test]
fn a_file_that_is_wrong_is_refused_with_its_place_and_the_right_key() {
    for (declared, words) in [
        (
            "health:\n  paht: /x\n",
            vec![
                "overlays/notes/recipe-ci.yml:2:3",
                "`paht`",
                "did you mean `path`",
            ],
        ),
        (
            "health:\n  statuses: [404]\n",
            vec!["recipe-ci.yml:2:14", "404"],
        ),
        ("timeouts: {deploy: soon}\n", vec!["recipe-ci.yml:1:20"]),
        ("a: [\n", vec!["recipe-ci.yml:"]),
        (
            "recipe: gitea\n",
            vec!["recipe-ci.yml:1:9", "for `gitea`", "`notes`"],
        ),
        (
            "base: 9.9.9+1\n",
            vec!["recipe-ci.yml:1:7", "`9.9.9+1` is not a tag", "0.2.0+1.1.0"],
        ),
        (
            "dependencies: [gitea, notes]\n",
            vec!["recipe-ci.yml:1:23", "`notes` cannot need itself"],
        ),
        (
            "dependencies: [{recipe: gitea, requried: true}]\n",
            vec!["recipe-ci.yml:1:", "`requried`", "did you mean `required`?"],
        ),
        (
            "ready: [{tcp: 5, service: db}]\n",
            vec!["recipe-ci.yml:1:27", "no service `db`", "its services: app"],
        ),
    ] {
        let (_env, done) = plan(declared);
        has(&done, 2, &words);
        assert!(done.stderr.contains("hint"), "{}", done.stderr);
    }
    // The recipe's own file is called as it is in its repository.
    let env = env();
    let recipe = env.recipe("notes");
    std::fs::write(recipe.join("tests/recipe-ci.yml"), "cheks: []\n").unwrap();
    let done = env.run(["run".as_ref(), recipe.as_os_str(), "--dry-run".as_ref()]);
    has(
        &done,
        2,
        &["tests/recipe-ci.yml:1:1", "did you mean `checks`"],
    );
}

#[test]
fn what_is_declared_is_in_the_plan() {
    let plan = planned(
        "timeouts: {deploy: 1234}\nbase: 0.1.0+1.0.0\ndependencies: [keycloak]\ncanonical: true\n\
         expected_na: {custom: none}\n",
    );
    assert_eq!(plan["deploy_timeout_s"], 1234);
    assert_eq!(plan["base_version"], "0.1.0+1.0.0");
    // Two apps of this run; nothing was fetched to know it.
    assert_eq!(plan["deploy_count"], 3);
    let why = plan["fresh"]["why"].as_str().unwrap();
    assert!(why.starts_with("dependency `"), "{why}");
    let dependency = &plan["dependencies"][0];
    assert_eq!(dependency["recipe"], "keycloak");
    assert_eq!(dependency["required"], false);
    let domain = dependency["domain"].as_str().unwrap();
    assert!(domain.starts_with("keyc-"), "{domain}");
    assert_eq!(plan["canonical"], true);
    let warnings = plan["warnings"].to_string();
    assert!(
        warnings.contains("stale: `expected_na.custom`"),
        "{warnings}"
    );
    let upgrade = planned("expected_na: {upgrade: no version starts here}\n");
    assert_eq!(upgrade["base_version"], Value::Null);
    assert_eq!(upgrade["tiers"][1]["will"], "skip");
    assert_eq!(
        upgrade["tiers"][1]["reason"],
        "declared not applicable: no version starts here"
    );
    // A rung that does not apply and is not declared.
    let env = env();
    let recipe = env.recipe("no-backup");
    let done = env.run(["run".as_ref(), recipe.as_os_str(), "--dry-run".as_ref()]);
    has(&done, 0, &["undeclared: backup_restore"]);
}

#[test]
fn a_compose_overlay_is_part_of_the_plan_and_leaves_the_tree_clean() {
    let (mut env, _) = plan("");
    let recipe = env.root.join("recipes/notes");
    env.write(
        "overlays/notes/compose.ccci.yml",
        "services: {app: {environment: {A: b}}}\n",
    );
    let args = ["run".as_ref(), recipe.as_os_str(), "--dry-run".as_ref()];
    let done = env.run(args);
    done.expect(0);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        plan["compose_files"],
        json!(["compose.yml", "ccci.compose-overlay.yml"])
    );
    assert_eq!(plan["uncommitted_changes"], false);
    for (overlay, words) in [
        (
            "services: {app: {command: x}}",
            vec![
                "compose.ccci.yml:1:27",
                "services.app.command",
                "environment only",
            ],
        ),
        (
            "services: {ap: {environment: {A: b}}}",
            vec!["no such service", "app"],
        ),
        ("services: [", vec!["compose.ccci.yml:"]),
    ] {
        env.write("overlays/notes/compose.ccci.yml", overlay);
        has(&env.run(args), 2, &words);
    }
    std::fs::remove_file(env.root.join("overlays/notes/compose.ccci.yml")).unwrap();
    env.write(
        "overlays/notes/previous/compose.ccci.yml",
        "services: {app: {init: true}}",
    );
    has(&env.run(args), 2, &["previous/VERSION"]);
    env.set(
        "CCCI_TESTS_DIR",
        env.root.join("overlays/notes").display().to_string(),
    );
    has(
        &env.run(args),
        2,
        &["overlay of one recipe", "recipe-ci.yml", "directory above"],
    );
}

#[test]
fn the_list_among_the_overlays_approves_and_is_strict() {
    let mut env = env();
    let recipe = env.recipe("notes");
    std::fs::write(
        recipe.join("tests/recipe-ci.yml"),
        "timeouts: {deploy: 777}\n",
    )
    .unwrap();
    git(&recipe, &["add", "."]);
    git(&recipe, &["commit", "-q", "-m", "Take longer"]);
    // As a clone of the published recipe has it.
    let published = "https://git.coopcloud.tech/coop-cloud/notes.git";
    git(&recipe, &["remote", "add", "origin", published]);
    git(&recipe, &["update-ref", "refs/remotes/origin/HEAD", "HEAD"]);
    let staged = env.root.join("home/.abra/recipes");
    std::fs::create_dir_all(&staged).unwrap();
    std::fs::rename(&recipe, staged.join("notes")).unwrap();
    env.set("CCCI_SKIP_FETCH", "1");
    env.set("RECIPE", "notes");
    env.write("overlays/approved.txt", "ledger\n");
    env.set(
        "CCCI_TESTS_DIR",
        env.root.join("overlays").display().to_string(),
    );
    let plan = |env: &TestEnv| {
        let done = env.run(["run", "--dry-run"]);
        done.expect(0);
        serde_json::from_str::<Value>(&done.stdout).unwrap()
    };
    let denied = plan(&env);
    assert_eq!(denied["deploy_timeout_s"], 60);
    let manifest = denied["customization"].to_string();
    for line in [
        "setting: CCCI_SKIP_FETCH=1",
        "timeouts.deploy = 777 (not applied: its source is not granted `run_code`)",
        "recipe: test_install.sh (not run: its source is not granted `run_code`)",
    ] {
        assert!(manifest.contains(line), "no `{line}` in {manifest}");
    }
    env.write("overlays/approved.txt", "notes # ours\n");
    let granted = plan(&env);
    assert_eq!(granted["deploy_timeout_s"], 777);
    assert!(
        granted["warnings"].to_string().contains("deprecated"),
        "{granted:#}"
    );
    env.write("overlays/approved.txt", "notes\nno*\n");
    let done = env.run(["run", "--dry-run"]);
    has(&done, 2, &["approved.txt:2", "`no*`", "patterns"]);
}

#[test]
fn overlays_are_checked_without_a_run() {
    let env = env();
    env.write("overlays/notes/recipe-ci.yml", "canonical: true\n");
    env.write("overlays/notes/custom/test_x.sh", "");
    env.write("overlays/notes/tset_install.sh", "");
    env.write("overlays/notes/ops/pre_instal", "");
    let overlays = env.root.join("overlays");
    let check =
        |dir: &std::path::Path| env.run(["overlay".as_ref(), "check".as_ref(), dir.as_os_str()]);
    let words = [
        "canonical = true",
        "custom/test_x.sh",
        "not used: tset_install.sh",
        "warning: overlay: ops/pre_instal is no hook: nothing runs it",
    ];
    has(&check(&overlays), 0, &words);
    has(&check(&overlays.join("notes")), 0, &words);
    env.write("overlays/ledger/recipe-ci.yml", "recipe: notes\n");
    has(&check(&overlays), 2, &["FAIL", "for `notes`", "ok  "]);
    // The list is read as a run reads it, and what no run uses is not `ok`.
    env.write("overlays/ledger/recipe-ci.yml", "");
    env.write("overlays/_shared/pg.sh", "");
    env.write("overlays/gitea/pg.sh", "");
    env.write("overlays/approved.txt", "notes\n");
    let done = check(&overlays);
    let words = [
        "warning: ",
        "approved.txt",
        "deprecated",
        "none  ",
        "`_shared` is no name of a recipe",
        "nothing in it is used",
        "not used: pg.sh",
    ];
    has(&done, 0, &words);
    for dir in ["_shared", "gitea"] {
        let ok = format!("ok    {}", overlays.join(dir).display());
        assert!(!done.stdout.contains(&ok), "{}", done.stdout);
    }
    env.write("overlays/approved.txt", "a b\n");
    let words = ["FAIL", "approved.txt:1: `a b` is no name", "hint", "ok  "];
    has(&check(&overlays), 2, &words);
    std::fs::create_dir(env.root.join("empty")).unwrap();
    has(&check(&env.root.join("empty")), 2, &["no overlay", "hint"]);
}

#[test]
fn the_predecessors_settings_are_translated_into_a_file_that_is_accepted() {
    let env = env();
    let meta = env.write("recipe_meta.py", include_str!("overlays/recipe_meta.py"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/recipe_meta_import.py");
    let done = command("python3").arg(script).arg(&meta).output().unwrap();
    let listed = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{listed}");
    let words = |line: &str| line.split_once(".py:").unwrap().1.to_owned();
    assert_eq!(
        listed.lines().map(words).collect::<Vec<_>>(),
        [
            "2: import os",
            "3: _KEY = \"a\" * 64",
            "20: def UPGRADE_EXTRA_ENV(ctx): (`${DOMAIN}` in a value is the app's domain)",
            "24: def BACKUP_VERIFY(ctx): (write the check as a command under `backup.verify`)",
            "28: SIDE = f\"side.{os.name}\"",
            "29: HTTP_TIMEOUT = \"soon\"",
            "30: HTTP_TIMEOUTS = 5",
        ]
    );
    let text = String::from_utf8(done.stdout).unwrap();
    let file = env.write("overlays/notes/recipe-ci.yml", &text);
    let done = env.run([
        "overlay".as_ref(),
        "check".as_ref(),
        file.parent().unwrap().as_os_str(),
    ]);
    has(
        &done,
        0,
        &[
            "health.path = /x",
            "health.statuses = [200,302]",
            "timeouts.deploy = 2400",
        ],
    );
}
