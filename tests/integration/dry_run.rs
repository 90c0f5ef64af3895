//! Plans: what a run would do, as JSON, with nothing made.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{TestEnv, git};

pub(crate) fn env() -> TestEnv {
    TestEnv::new("unix:///nowhere/docker.sock")
}

/// Plans a run; a plan needs no engine and leaves no trace.
#[track_caller]
pub(crate) fn plan(env: &TestEnv, recipe: &Path, more: &[&str]) -> Value {
    let path = recipe.to_str().unwrap();
    let args = ["run", path, "--dry-run"].into_iter();
    let done = env.run(args.chain(more.iter().copied()));
    done.expect(0);
    assert!(env.run_dirs().is_empty(), "{:?}", env.run_dirs());
    env.assert_quiet();
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.stdout))
}

#[track_caller]
fn will(plan: &Value, tier: &str) -> String {
    let tiers = plan["tiers"].as_array().unwrap();
    let found = tiers.iter().find(|row| row["name"] == tier).unwrap();
    found["will"].as_str().unwrap().to_owned()
}

#[test]
fn what_only_docker_refuses_is_refused_in_the_plan() {
    let env = env();
    // Older ones have no `docker stack config`.
    if crate::deployed::newest().is_none() {
        return;
    }
    let recipe = env.recipe("notes");
    // Swarm builds nothing, so that we do not ask since when there is which key.
    let image = "    image: recipe-ci/notes:2\n";
    let build = format!("{image}    build: {{nope: 1}}\n");
    env.edit(&recipe.join("compose.yml"), image, &build);
    let done = env.run(["run", recipe.to_str().unwrap(), "--dry-run"]);
    done.expect(2);
    let said = "docker refuses the compose files: services.app.build";
    assert!(done.stderr.contains(said), "{}", done.stderr);
    assert!(env.run_dirs().is_empty());
}

#[test]
fn notes() {
    let env = env();
    let plan = plan(&env, &env.recipe("notes"), &[]);
    assert_eq!(plan["recipe"], "notes");
    assert_eq!(plan["head_version"], "0.3.0+1.2.0");
    assert_eq!(plan["base_version"], "0.2.0+1.1.0");
    assert_eq!(plan["domain"], format!("note-1ed9e6.{}", env.zone));
    assert_eq!(
        plan["images"],
        json!(["recipe-ci/notes:1", "recipe-ci/notes:2"])
    );
    assert_eq!(plan["backed_up_volumes"], json!(["data"]));
    assert_eq!(plan["deploy_count"], 2);
    let fresh = plan["fresh"]["domain"].as_str().unwrap();
    assert!(
        fresh.starts_with("note-") && plan["domain"] != fresh,
        "{fresh}"
    );
    assert_eq!(plan["fresh"]["how"], "parallel");
    assert_eq!(plan["deploy_timeout_s"], 60);
    assert_eq!(plan["uncommitted_changes"], false);
    let secrets = plan["secrets"].to_string();
    assert!(secrets.contains("_admin_token_v1"), "{secrets}");
    let customization = plan["customization"].to_string();
    assert!(
        customization.contains("recipe: ops/pre_backup"),
        "{customization}"
    );
    for tier in ["install", "upgrade", "backup", "restore", "custom"] {
        assert_eq!(will(&plan, tier), "run", "{tier}");
    }
}

/// Both apps at once would take each other's place on the host, or its last memory; so the head comes first.
#[test]
fn a_head_that_cannot_be_beside_the_base_is_installed_first() {
    let changed = |from: &str, to: &str, more: &[&str]| {
        let env = env();
        let recipe = env.recipe("notes");
        env.edit(&recipe.join("compose.yml"), from, to);
        plan(&env, &recipe, more)
    };
    let total = harness::host_file::text("/proc/meminfo").unwrap();
    let total = total.lines().next().unwrap().split_whitespace().nth(1);
    let much = total.unwrap().parse::<u64>().unwrap() / 10 * 6;
    let networks = "    networks:\n      - proxy\n";
    let ports = format!("    ports: ['4711:8080']\n{networks}");
    let policy = "    deploy:\n";
    let memory = format!("{policy}      resources: {{reservations: {{memory: {much}k}}}}\n");
    let cpus = format!("{policy}      resources: {{reservations: {{cpus: '9999'}}}}\n");
    let data = "      - data:/data\n";
    let bind = format!("{data}      - /srv/notes:/srv/notes\n");
    let read = format!("{data}      - /srv/notes:/srv/notes:ro\n");
    let volume = "volumes:\n  data:\n";
    let named = "volumes:\n  data: {name: notes_of_all}\n";
    let top = "\nnetworks:\n";
    let shared = "  other:\n    image: recipe-ci/notes:2\n    networks: [of_all]\n\nnetworks:\n  of_all: {external: true}\n";
    let enable = "        - \"traefik.enable=true\"\n";
    let middleware =
        format!("{enable}        - traefik.http.middlewares.strip.stripprefix.prefixes=/x\n");
    let port = "http.services.${STACK_NAME}.loadbalancer.server.port";
    for (from, to, why) in [
        (networks, ports.as_str(), "both apps publish port 4711/tcp"),
        (policy, &memory, "MiB are available"),
        (
            policy,
            &cpus,
            "both apps reserve more processors than there are",
        ),
        (
            data,
            &bind,
            "both apps have `/srv/notes` of the host, and one writes to it",
        ),
        (
            volume,
            named,
            "both apps have `notes_of_all` among their volumes",
        ),
        (
            volume,
            "volumes:\n  data: {driver_opts: {type: none, o: bind, device: /srv/notes}}\n",
            "both apps have a volume on `/srv/notes`",
        ),
        (top, shared, "both apps are on network `of_all`"),
        (
            "recipe-ci/notes:2",
            "${STACK_NAME}/notes:2",
            "/notes:2` is named after the app",
        ),
        (
            "http.routers.${STACK_NAME}.",
            "http.routers.notes.",
            "both apps have `notes` among the gateway's http routers",
        ),
        (
            port,
            "http.services.Notes.loadBalancer.server.port",
            "both apps have `Notes` among the gateway's http services",
        ),
        (
            enable,
            &middleware,
            "both apps have `strip` among the gateway's http middlewares",
        ),
    ] {
        let plan = changed(from, to, &[]);
        let fresh = &plan["fresh"];
        assert_eq!(
            (&fresh["how"], &fresh["domain"]),
            (&json!("serial"), &plan["domain"])
        );
        let said = fresh["why"].as_str().unwrap();
        assert!(said.ends_with(why), "{said} lacks {why}");
    }
    // The gateway takes apart what is called after the stack, whatever is behind it.
    let own = "http.routers.${STACK_NAME}-notes.";
    let renamed = ("http.routers.${STACK_NAME}.", own);
    let memory = "volumes:\n  data: {driver_opts: {type: tmpfs, device: tmpfs}}\n";
    for (from, to) in [
        (data, read.as_str()),
        (data, data),
        (volume, memory),
        renamed,
    ] {
        let plan = changed(from, to, &[]);
        assert_eq!(plan["fresh"]["how"], "parallel", "{to}: {}", plan["fresh"]);
    }
    let asked = changed(data, data, &["--fresh", "serial"]);
    assert_eq!(asked["fresh"]["why"], "asked for");
}

#[test]
fn there_is_a_fresh_install_where_an_upgrade_would_be_the_only_proof() {
    let mut env = env();
    let recipe = env.recipe("notes");
    for more in [
        ["--fresh", "never"],
        ["--stages", "install"],
        ["--stages", "upgrade"],
    ] {
        let plan = plan(&env, &recipe, &more);
        assert_eq!(
            (&plan["fresh"], &plan["deploy_count"]),
            (&Value::Null, &json!(1)),
            "{more:?}"
        );
    }
    env.set("CCCI_FRESH", "serial");
    assert_eq!(plan(&env, &recipe, &[])["fresh"]["how"], "serial");
    env.set("CCCI_FRESH", "");
    assert_eq!(plan(&env, &recipe, &[])["fresh"]["how"], "parallel");
    let alone = plan(&env, &env.recipe("no-upgrade-base"), &[]);
    assert_eq!(alone["fresh"], Value::Null);
    env.set("CCCI_FRESH", "now");
    let done = env.run(["run".as_ref(), recipe.as_os_str(), "--dry-run".as_ref()]);
    done.expect(2);
    assert!(
        done.stderr
            .contains("possible values: parallel, serial, never"),
        "{}",
        done.stderr
    );
}

#[test]
fn ledger() {
    let env = env();
    let plan = plan(&env, &env.recipe("ledger"), &[]);
    assert_eq!(plan["base_version"], "1.0.0+15.1");
    assert_eq!(
        plan["compose_files"],
        json!(["compose.yml", "compose.db.yml"])
    );
    assert_eq!(plan["images"], json!(["recipe-ci/ledger:15"]));
    assert_eq!(plan["deploy_timeout_s"], 120);
}

#[test]
fn recipes_of_the_wild() {
    let env = env();
    for name in ["wild-port", "wild-zero-replicas"] {
        let plan = plan(&env, &env.recipe(name), &[]);
        assert_eq!(will(&plan, "upgrade"), "skip", "{name}");
        assert_eq!(will(&plan, "backup"), "skip", "{name}");
        let custom = &plan["tiers"][4];
        assert_eq!(custom["will"], "skip", "{name}");
        let reason = custom["reason"].as_str().unwrap();
        assert!(reason.contains("ships custom tests"), "{reason}");
        assert_eq!(plan["secrets"], json!([]), "{name}");
    }
    let none = plan(&env, &env.recipe("wild-no-abra-sh"), &[]);
    assert_eq!(none["head_version"], Value::Null);
    assert!(
        none["no_base"]
            .as_str()
            .unwrap()
            .contains("no published version"),
        "{none:#}"
    );
    let elsewhere = plan(&env, &env.recipe("wild-web-elsewhere"), &[]);
    assert_eq!(will(&elsewhere, "custom"), "run");
    let folder = plan(&env, &env.recipe("wild-backup-v1"), &[]);
    assert!(
        folder["compose_files"]
            .to_string()
            .contains("backup/compose.v1.yml"),
        "{folder:#}"
    );
}

#[test]
fn labels_that_lose_data_are_going_to_fail_the_backup() {
    let foretold = |env: &TestEnv, recipe: &Path| {
        let plan = plan(env, recipe, &[]);
        let warnings = plan["warnings"].to_string();
        (will(&plan, "backup"), warnings)
    };
    let fails = "the backup is going to fail: ";
    let mut env = env();
    let (backup, warnings) = foretold(&env, &env.recipe("backup-label-misplaced"));
    assert_eq!(backup, "run");
    assert!(warnings.contains(&format!("{fails}nothing is backed up: service `app`")));
    assert!(
        !warnings.contains("undeclared: backup_restore"),
        "{warnings}"
    );

    // Nothing is wrong with a recipe that has no labels but that its base had some.
    let recipe = env.recipe("notes");
    let label = "        - \"backupbot.backup=${ENABLE_BACKUPS:-true}\"\n";
    env.edit(&recipe.join("compose.yml"), label, "");
    let (backup, warnings) = foretold(&env, &recipe);
    assert_eq!(backup, "run");
    assert!(
        warnings.contains(&format!("{fails}the base is backed up")),
        "{warnings}"
    );
    let declared = "expected_na: {backup_restore: kept elsewhere}\n";
    env.write("overlays/notes/recipe-ci.yml", declared);
    env.set(
        "CCCI_TESTS_DIR",
        env.root.join("overlays").display().to_string(),
    );
    let (backup, warnings) = foretold(&env, &recipe);
    assert_eq!(backup, "skip");
    assert!(!warnings.contains(fails), "{warnings}");

    let env = self::env();
    let recipe = env.recipe("wild-backup-v1");
    let labels = recipe.join("backup/compose.v1.yml");
    assert!(!foretold(&env, &recipe).1.contains(fails));
    env.edit(&labels, "path=/data/notes", "path=/tmp/notes,/data/notes");
    let (_, warnings) = foretold(&env, &recipe);
    assert!(
        warnings.contains(&format!(
            "{fails}service `app`: the backup path `/tmp/notes`"
        )),
        "{warnings}"
    );
}

#[test]
fn tags_annotated_lightweight_and_unparsable() {
    let env = env();
    let recipe = env.recipe("notes");
    git(&recipe, &["tag", "0.2.5+1.1.5", "0.1.0+1.0.0"]);
    git(&recipe, &["tag", "nightly", "0.1.0+1.0.0"]);
    git(&recipe, &["tag", "9.0.0+9.0.0", "0.1.0+1.0.0"]);
    let plan = plan(&env, &recipe, &[]);
    assert_eq!(
        plan["base_version"], "0.2.5+1.1.5",
        "a lightweight tag counts as well"
    );
    assert!(plan["warnings"].to_string().contains("nightly"), "{plan:#}");
}

#[test]
fn a_base_by_hand() {
    let env = env();
    let recipe = env.recipe("notes");
    let given = plan(&env, &recipe, &["--base", "0.1.0+1.0.0"]);
    assert_eq!(given["base_version"], "0.1.0+1.0.0");
    let done = env.run([
        "run",
        recipe.to_str().unwrap(),
        "--dry-run",
        "--base",
        "7.0.0+1",
    ]);
    done.expect(2);
    assert!(
        env.run_dirs().is_empty(),
        "a red plan left {:?}",
        env.run_dirs()
    );
    assert!(
        done.stderr.contains("base version `7.0.0+1`"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("0.2.0+1.1.0"), "{}", done.stderr);
}

/// The label is bumped by the release commit, so a proposal has that of the newest release: this is what it upgrades.
#[test]
fn the_base_of_a_proposal_is_the_newest_release_also_where_it_has_its_version_label() {
    let env = env();
    let recipe = env.recipe("notes");
    // The head itself is the release: the one before it is the base.
    git(&recipe, &["tag", "0.3.0+1.2.0", "HEAD"]);
    assert_eq!(plan(&env, &recipe, &[])["base_version"], "0.2.0+1.1.0");
    git(
        &recipe,
        &[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "--allow-empty",
            "-m",
            "x",
        ],
    );
    let above = plan(&env, &recipe, &[]);
    assert_eq!(above["base_version"], "0.3.0+1.2.0", "{above:#}");
    assert_eq!(will(&above, "upgrade"), "run");
    // One that is newer than the head's label would be a downgrade.
    git(&recipe, &["tag", "0.4.0+1.2.0", "HEAD~1"]);
    assert_eq!(plan(&env, &recipe, &[])["base_version"], "0.3.0+1.2.0");
}

#[test]
fn a_head_that_no_installed_app_can_be_upgraded_to_keeps_its_base() {
    let mut env = env();
    let needs = env.recipe("upgrade-needs-variable");
    let refused = plan(&env, &needs, &[]);
    // It is no base-broken, which would be `unver` and green.
    assert_eq!(refused["no_base"], Value::Null, "{refused:#}");
    assert_eq!(refused["base_version"], "0.2.0+1.1.0", "{refused:#}");
    assert_eq!(will(&refused, "upgrade"), "run");
    let warnings = refused["warnings"].to_string();
    for words in [
        "the env file of published version 0.2.0+1.1.0 cannot be upgraded to the head",
        "`NOTES_MAX_BYTES` is missing a value",
        "upgrade_env",
    ] {
        assert!(warnings.contains(words), "no `{words}` in {warnings}");
    }
    // What the operator is told to set, the upgrade has.
    env.set(
        "CCCI_TESTS_DIR",
        env.root.join("overlays").display().to_string(),
    );
    env.write(
        "overlays/upgrade-needs-variable/recipe-ci.yml",
        "upgrade_env: {NOTES_MAX_BYTES: 4096}\n",
    );
    let told = plan(&env, &needs, &[]);
    assert_eq!(told["base_version"], "0.2.0+1.1.0", "{told:#}");
    let warnings = told["warnings"].to_string();
    assert!(!warnings.contains("cannot be upgraded"), "{warnings}");

    // A compose file that the env files of installed apps name is gone; what is laid over it does not change that.
    env.write(
        "overlays/ledger/compose.ccci.yml",
        "version: '3.8'\nservices:\n  app:\n    environment: [CI_COLOUR=blue]\n",
    );
    let ledger = env.recipe("ledger");
    env.edit(
        &ledger.join(".env.sample"),
        "compose.db.yml",
        "compose.pg.yml",
    );
    std::fs::rename(ledger.join("compose.db.yml"), ledger.join("compose.pg.yml")).unwrap();
    let dropped = plan(&env, &ledger, &[]);
    assert_eq!(dropped["base_version"], "1.0.0+15.1", "{dropped:#}");
    let warnings = dropped["warnings"].to_string();
    assert!(warnings.contains("compose.db.yml"), "{warnings}");
}

#[test]
fn uncommitted_changes_are_run_and_marked() {
    let env = env();
    let recipe = env.recipe("notes");
    env.edit(&recipe.join("compose.yml"), "TIMEOUT:-60", "TIMEOUT:-77");
    let dirty = plan(&env, &recipe, &[]);
    assert_eq!(dirty["uncommitted_changes"], true);
    assert_eq!(dirty["head_version"], "0.3.0+1.2.0+U");
    assert_eq!(dirty["deploy_timeout_s"], 77);
    // A ref is a commit, whatever lies in the work tree.
    let clean = plan(&env, &recipe, &["--ref", "main"]);
    assert_eq!(clean["uncommitted_changes"], false);
    assert_eq!(clean["deploy_timeout_s"], 60);
}

#[test]
fn what_a_host_must_have_and_what_an_upgrade_cannot_change_is_said() {
    let env = env();
    let recipe = env.recipe("notes");
    let clean = plan(&env, &recipe, &[]);
    assert_eq!(clean["host_needs"], serde_json::json!([]));
    let compose = recipe.join("compose.yml");
    env.edit(&compose, "TIMEOUT:-60", "TIMEOUT:-10m");
    env.edit(
        &compose,
        "\nnetworks:\n",
        "\nnetworks:\n  lan:\n    external: true\n",
    );
    env.edit(
        &compose,
        "\nvolumes:\n  data:\n",
        "\nvolumes:\n  data:\n    driver_opts: {type: tmpfs, device: tmpfs}\n",
    );
    env.edit(
        &compose,
        "    deploy:\n",
        "    deploy:\n      placement: {constraints: ['node.labels.ssd == true']}\n",
    );
    let told = plan(&env, &recipe, &[]);
    assert_eq!(
        told["host_needs"],
        serde_json::json!([
            "network `lan`, which is external",
            "a node for service `app` with `node.labels.ssd == true`",
        ])
    );
    assert_eq!(told["deploy_timeout_s"], 300);
    let warnings = told["warnings"].to_string();
    for words in [
        "`10m`, which is no number of seconds",
        "volume `data` has another driver or other options",
    ] {
        assert!(warnings.contains(words), "{warnings} lacks {words}");
    }
}

#[test]
fn stages_that_are_not_asked_for_say_so() {
    let env = env();
    let plan = plan(&env, &env.recipe("notes"), &["--stages", "install,custom"]);
    assert_eq!(will(&plan, "install"), "run");
    assert_eq!(will(&plan, "upgrade"), "unver");
    assert_eq!(plan["base_version"], Value::Null);
}

/// Puts `notes` where an earlier step of a pipeline leaves it, and returns that place.
pub(crate) fn stage(env: &mut TestEnv, recipe: &Path) -> PathBuf {
    let staged = env.root.join("home/.abra/recipes/notes");
    std::fs::create_dir_all(staged.parent().unwrap()).unwrap();
    std::fs::rename(recipe, &staged).unwrap();
    env.set("CCCI_SKIP_FETCH", "1");
    env.set("RECIPE", "notes");
    staged
}

#[test]
fn a_staged_checkout_is_taken_as_it_is() {
    let mut env = env();
    let recipe = env.recipe("notes");
    stage(&mut env, &recipe);
    let done = env.run(["run", "--dry-run"]);
    done.expect(0);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(plan["base_version"], "0.2.0+1.1.0");
    // Nothing says whose it is, and nothing is granted.
    assert_eq!(plan["trust"]["level"], "stranger", "{plan:#}");
    assert!(
        plan["warnings"]
            .to_string()
            .contains("not granted `run_code`"),
        "{plan:#}"
    );
}

#[test]
fn a_staged_checkout_with_changes_is_no_release() {
    let mut env = env();
    let recipe = env.recipe("notes");
    git(&recipe, &["tag", "0.3.0+1.2.0"]);
    env.edit(
        &recipe.join("compose.yml"),
        "version=0.3.0+1.2.0",
        "version=0.4.0+1.2.0",
    );
    stage(&mut env, &recipe);
    let done = env.run(["run", "--dry-run"]);
    done.expect(0);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(plan["uncommitted_changes"], true, "{plan:#}");
    assert_eq!(plan["head_version"], "0.4.0+1.2.0+U");
    // The tag is of the commit below the changes: it is what they upgrade.
    assert_eq!(plan["base_version"], "0.3.0+1.2.0", "{plan:#}");
    assert_eq!(will(&plan, "upgrade"), "run");
}
