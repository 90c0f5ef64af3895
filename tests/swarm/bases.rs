//! A run that upgrades from several published versions: an app for each, and a row for each in the report.

use std::path::Path;

use serde_json::Value;

use crate::engine::SwarmEnv;
use crate::fresh::{Cause, end_held};
use crate::support::git;

/// Publishes a version of the recipe that is the one at `of` with this change.
fn publish(env: &SwarmEnv, recipe: &Path, of: &str, version: &str, changes: &[(&str, &str)]) {
    git(recipe, &["checkout", "-q", of]);
    for (from, to) in changes {
        env.edit(&recipe.join("compose.yml"), from, to);
    }
    git(recipe, &["commit", "-q", "-a", "-m", version]);
    git(recipe, &["tag", "-a", "-m", version, version]);
    git(recipe, &["checkout", "-q", "main"]);
}

/// Returns the row of the app that is called so, and its upgrade.
fn row<'a>(results: &'a Value, name: &str) -> (&'a Value, &'a Value) {
    let apps = results["apps"].as_array().unwrap();
    let app = apps.iter().find(|app| app["name"] == name);
    let app = app.unwrap_or_else(|| panic!("no app {name} in {results:#}"));
    let tiers = app["tiers"].as_array().unwrap();
    assert_eq!(tiers.len(), 1, "{app:#}");
    (app, &tiers[0])
}

/// What is wrong with the upgrade from one version shows in its row alone, and what cannot deploy is no fault of the head.
#[test]
fn each_base_is_upgraded_in_an_app_of_its_own_and_its_fault_shows_in_its_row_alone() {
    let env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let command = r#"command: ["httpd", "-f", "-p", "8080", "-h", "/www"]"#;
    let renamed = [
        ("      - data:/data\n", "      - store:/data\n"),
        ("volumes:\n  data:\n", "volumes:\n  store:\n"),
        (
            "        - \"backupbot.backup=${ENABLE_BACKUPS:-true}\"\n",
            "        - \"backupbot.backup=${ENABLE_BACKUPS:-true}\"\n        - \"backupbot.backup.volumes.store.path=notes\"\n",
        ),
    ];
    let (old, lost, broken) = ("0.1.0+1.0.0", "0.1.5+1.0.0", "0.1.7+1.0.0");
    publish(&env, &recipe, old, lost, &renamed);
    let dead = [(command, r#"command: ["no-such-command"]"#)];
    publish(&env, &recipe, old, broken, &dead);
    let done = env.run(["run".as_ref(), recipe.as_os_str(), "--bases=all".as_ref()]);
    done.expect(1);
    let results = env.results();
    assert_eq!(results["base_version"], "0.2.0+1.1.0", "{results:#}");
    for tier in results["tiers"].as_array().unwrap() {
        assert_eq!(tier["status"], "pass", "{tier:#}");
    }
    let (good, upgrade) = row(&results, old);
    assert_eq!(upgrade["status"], "pass", "{good:#}");
    let seen: Vec<&str> = (upgrade["tests"].as_array().unwrap().iter())
        .map(|test| test["name"].as_str().unwrap())
        .collect();
    assert!(seen.contains(&"generic: data survived"), "{seen:?}");
    assert!(seen.contains(&"ops/verify_upgrade"), "{seen:?}");
    let (_, upgrade) = row(&results, broken);
    assert_eq!(upgrade["status"], "unver", "{results:#}");
    let why = upgrade["reason"].as_str().unwrap();
    assert!(why.starts_with("base-broken: "), "{why}");
    let (red, upgrade) = row(&results, lost);
    assert_eq!(upgrade["status"], "fail", "{red:#}");
    let why = results["reason"].as_str().unwrap();
    let says = format!("upgrade from {lost}: generic: ");
    assert!(why.starts_with(&says), "{why}");
    assert_eq!(results["rungs"]["upgrade"], "fail");
    // The base, the head and three older ones.
    assert_eq!(results["deploy_count"], 5);
    let mut domains: Vec<&str> = (results["apps"].as_array().unwrap().iter())
        .map(|app| app["domain"].as_str().unwrap())
        .chain(results["domain"].as_str())
        .collect();
    domains.sort_unstable();
    domains.dedup();
    assert_eq!(domains.len(), 5, "{domains:?}");
    // A failure's output says whose it is, and so does the time.
    let output = results["output"].as_array().unwrap();
    let of_broken = format!("from {broken}");
    assert!(output.iter().any(|shown| shown["app"] == *of_broken));
    assert!(done.stderr.contains(&format!("{of_broken}: ")));
    assert!(red["phases"]["converge_ms"].as_u64() > Some(0), "{red:#}");
    let junit = harness::host_file::text(env.run_dirs()[0].join("junit.xml")).unwrap();
    assert!(junit.contains(&format!("name=\"upgrade from {old}\"")));
    env.assert_nothing_left();
}

/// A port of the host is one app's at a time.
#[test]
fn bases_that_would_meet_on_the_host_come_one_after_the_other() {
    let env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let port = 30000 + std::process::id() % 10000;
    env.edit(
        &recipe.join("compose.yml"),
        "    networks:\n      - proxy\n    healthcheck",
        &format!(
            "    ports: [{{target: 8080, published: {port}, mode: host}}]\n    networks:\n      - proxy\n    healthcheck"
        ),
    );
    env.edit(
        &recipe.join("compose.yml"),
        "order: start-first",
        "order: stop-first",
    );
    let run = [
        "run".as_ref(),
        recipe.as_os_str(),
        "--bases=last:2".as_ref(),
    ];
    env.run(run).expect(0);
    let results = env.results();
    let (app, upgrade) = row(&results, "0.1.0+1.0.0");
    assert_eq!(app["how"], "serial", "{results:#}");
    assert_eq!(app["domain"], results["domain"]);
    let why = app["why"].as_str().unwrap();
    assert_eq!(why, format!("both apps publish port {port}/tcp"));
    assert_eq!(upgrade["status"], "pass");
    assert_eq!(results["rungs"]["backup_restore"], "pass");
    assert_eq!(results["deploy_count"], 3);
    env.assert_nothing_left();
}

#[test]
fn a_run_that_ends_while_the_apps_of_all_bases_come_up_leaves_nothing() {
    for cause in [Cause::Terminate, Cause::KillBoth] {
        end_held(("install_steps", 3), &["--bases=last:2"], cause);
    }
}
