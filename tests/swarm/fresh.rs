//! A run that upgrades a base installs the head afresh, too: two apps, of which nothing is left however the run ends.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::cancel::{child_of, kill_both};
use crate::engine::{SwarmEnv, objects_of};
use crate::fixtures::{described, judge, judge_repository};
use crate::support::Run;
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// Returns the stacks of which `env` has services.
fn stacks(env: &SwarmEnv) -> BTreeSet<String> {
    let objects = objects_of(&env.zone);
    let services = objects
        .iter()
        .filter_map(|one| one.strip_prefix("service "));
    let stack = |service: &str| service.rsplit_once('_').map(|(stack, _)| stack.to_owned());
    services.filter_map(stack).collect()
}

fn ps(env: &SwarmEnv) -> Value {
    let done = env.run(["ps", "--json"]);
    serde_json::from_str(&done.stdout).unwrap()
}

/// Makes every app that gets to `path` of the overlay stay there, and says so in a file of its own.
fn hold(env: &mut SwarmEnv, path: &str) -> PathBuf {
    let reached = env.root.join("reached");
    std::fs::create_dir(&reached).unwrap();
    let (at, pipe) = (reached.display(), env.fifo());
    let text = format!(
        "#!/bin/sh\n: >{at}/$CCCI_APP_DOMAIN\nread -r go <{}\n",
        pipe.display()
    );
    env.overlay("notes", path, &text);
    reached
}

fn wait_for_apps(run: &Run, reached: &std::path::Path, count: usize) {
    let what = format!("{count} apps are held: {}", run.stderr());
    wait_until(LONG, &what, || {
        let entries = harness::host_file::entries(reached).unwrap();
        (entries.count() == count).then_some(())
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Terminate,
    Deadline,
    KillWorker,
    KillBoth,
}

fn cell(path: &str, held: usize, cause: Cause) {
    end_held((path, held), &[], cause);
}

/// Ends a run that is held with all of its apps where so many get to `path`, and looks at what is left.
pub(crate) fn end_held((path, held): (&str, usize), more: &[&str], cause: Cause) {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let reached = hold(&mut env, path);
    let mut args = vec!["run".into(), recipe.into_os_string()];
    args.extend(more.iter().map(Into::into));
    if cause == Cause::Deadline {
        args.extend(["--deadline".into(), "40s".into()]);
    }
    let run = env.start(&args);
    wait_for_apps(&run, &reached, held);
    let live = ps(&env)["runs"][0].clone();
    let fresh = live["fresh"].as_str().unwrap().to_owned();
    assert_ne!(live["domain"], fresh.as_str(), "{live:#}");
    let code = match cause {
        Cause::Terminate => {
            kill(run.pid, Signal::SIGTERM).unwrap();
            143
        }
        Cause::Deadline => 142,
        Cause::KillWorker => {
            kill(child_of(run.pid), Signal::SIGKILL).unwrap();
            137
        }
        Cause::KillBoth => {
            drop(kill_both(run));
            // Both locks are free, and the janitor knows both apps by that.
            env.run(["janitor"]).expect(0);
            env.assert_nothing_left();
            return;
        }
    };
    let done = run.finish();
    assert_eq!(done.code, Some(code), "{cause:?}: {}", done.stderr);
    env.assert_nothing_left();
}

#[test]
fn a_run_that_ends_while_both_apps_come_up_leaves_nothing() {
    for cause in [Cause::Terminate, Cause::KillWorker, Cause::KillBoth] {
        cell("install_steps", 2, cause);
    }
}

#[test]
fn a_run_that_ends_while_the_head_is_tested_leaves_nothing_of_both_apps() {
    for cause in [
        Cause::Terminate,
        Cause::Deadline,
        Cause::KillWorker,
        Cause::KillBoth,
    ] {
        cell("test_install.sh", 1, cause);
    }
}

#[test]
fn a_run_that_ends_in_its_upgrade_leaves_nothing_of_both_apps() {
    for cause in [Cause::Terminate, Cause::KillWorker, Cause::KillBoth] {
        cell("ops/pre_upgrade", 1, cause);
    }
}

/// The tests of the install meet the head, those of the upgrade the app that was the base; secrets and volumes are each
/// one's own, and so is the count of deploys.
#[test]
fn the_install_meets_the_head_and_the_upgrade_the_base() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let says = |what: &str| {
        format!(
            "#!/bin/sh\necho {what} $CCCI_APP_DOMAIN $(cat $CCCI_DEPLOY_COUNT_FILE) $(recipe-ci app http /cgi-bin/notes | \
             sed -n 's/.*\"version\":\"\\([^\"]*\\)\".*/\\1/p') >>{}/said\n",
            env.root.display()
        )
    };
    let (install, upgrade, pre) = (says("install"), says("upgrade"), says("pre"));
    env.overlay("notes", "test_install.sh", &install);
    env.overlay("notes", "ops/pre_install", &pre);
    env.overlay("notes", "test_upgrade.sh", &upgrade);
    let reached = hold(&mut env, "ops/pre_backup");
    let run = env.start(["run".as_ref(), recipe.as_os_str()]);
    wait_for_apps(&run, &reached, 1);
    assert_eq!(stacks(&env).len(), 2, "{:?}", objects_of(&env.zone));
    let volumes = objects_of(&env.zone);
    let of = |kind: &str| volumes.iter().filter(|one| one.starts_with(kind)).count();
    assert_eq!((of("volume "), of("secret ")), (2, 2), "{volumes:?}");
    // Both have an owner that lives.
    let apps = stacks(&env);
    env.run(["janitor"]).expect(0);
    assert_eq!(stacks(&env), apps);
    assert_eq!(objects_of(&env.zone), volumes);
    drop(env.release());
    let done = run.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let results = env.results();
    let (domain, fresh) = (
        results["domain"].as_str().unwrap(),
        results["fresh"]["domain"].as_str().unwrap(),
    );
    assert_eq!(results["fresh"]["how"], "parallel", "{results:#}");
    assert_eq!(results["deploy_count"], 2);
    let said = harness::host_file::text(env.root.join("said")).unwrap();
    let mut said: Vec<&str> = said.lines().collect();
    said.sort_unstable();
    let mut expected = [
        format!("install {fresh} 1 1.2.0"),
        format!("pre {domain} 1 1.1.0"),
        format!("pre {fresh} 1 1.2.0"),
        format!("upgrade {domain} 1 1.2.0"),
    ];
    expected.sort_unstable();
    assert_eq!(said, expected);
    env.assert_nothing_left();
}

/// A port of the host is one app's at a time; so is what else a recipe calls by a name of its own.
#[test]
fn apps_that_would_meet_on_the_host_come_one_after_the_other() {
    let env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let compose = recipe.join("compose.yml");
    let port = 20000 + std::process::id() % 10000;
    env.edit(
        &compose,
        "    networks:\n      - proxy\n    healthcheck",
        &format!(
            "    ports: [{{target: 8080, published: {port}, mode: host}}]\n    networks:\n      - proxy\n    healthcheck"
        ),
    );
    env.edit(&compose, "order: start-first", "order: stop-first");
    let expected = described("tests/recipes", "notes")["expect"].clone();
    let (_, _, results) = judge_repository(env, &recipe, &expected);
    let fresh = &results["fresh"];
    assert_eq!(fresh["how"], "serial", "{results:#}");
    assert_eq!(fresh["domain"], results["domain"]);
    let why = fresh["why"].as_str().unwrap();
    assert_eq!(why, format!("both apps publish port {port}/tcp"));
    assert_eq!(results["deploy_count"], 2);
}

/// What a new app cannot do is known before the base is made.
#[test]
fn a_head_that_is_installed_first_and_is_red_is_red_without_the_base() {
    let env = SwarmEnv::new();
    let recipe = env.recipe("fresh-first-boot-fails");
    let done = env.run([
        "run".as_ref(),
        recipe.as_os_str(),
        "--fresh".as_ref(),
        "serial".as_ref(),
    ]);
    done.expect(1);
    let results = env.results();
    assert_eq!(results["fresh"]["why"], "asked for", "{results:#}");
    assert_eq!(results["rungs"]["install"], "fail");
    assert_eq!(results["deploy_count"], 1);
    env.assert_nothing_left();
}

/// An operator may do without, and then sees what was seen before.
#[test]
fn without_a_fresh_install_the_base_is_what_is_installed() {
    let env = SwarmEnv::new();
    let recipe = env.recipe("fresh-first-boot-fails");
    let done = env.run([
        "run".as_ref(),
        recipe.as_os_str(),
        "--fresh".as_ref(),
        "never".as_ref(),
    ]);
    done.expect(0);
    let results = env.results();
    assert_eq!(results["fresh"], Value::Null, "{results:#}");
    assert_eq!(results["deploy_count"], 1);
    env.assert_nothing_left();
}

#[test]
fn a_broken_base_leaves_the_app_that_is_up_and_makes_no_third() {
    let results = judge("base-cannot-deploy");
    assert_eq!(results["fresh"]["how"], "parallel", "{results:#}");
    assert_eq!(results["deploy_count"], 2);
    assert_eq!(results["rungs"]["backup_restore"], "pass", "{results:#}");
    let env = SwarmEnv::new();
    let recipe = env.recipe("base-cannot-deploy");
    env.run([
        "run".as_ref(),
        recipe.as_os_str(),
        "--fresh".as_ref(),
        "serial".as_ref(),
    ])
    .expect(0);
    let results = env.results();
    assert_eq!(results["deploy_count"], 3, "{results:#}");
    let installs = results["tiers"].as_array().unwrap().iter();
    let installs = installs.filter(|tier| tier["name"] == "install").count();
    assert_eq!(installs, 1);
    assert_eq!(results["rungs"]["upgrade"], "unver");
    env.assert_nothing_left();
}

/// Of a green run the app that was upgraded is held, and the fresh one goes.
#[test]
fn the_upgraded_app_of_a_green_run_is_held_and_the_fresh_one_goes() {
    let env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.run([
        "run".as_ref(),
        recipe.as_os_str(),
        "--keep".as_ref(),
        "always".as_ref(),
    ])
    .expect(0);
    let results = env.results();
    assert_eq!(results["hold"]["domain"], results["domain"]);
    assert_eq!(stacks(&env).len(), 1, "{:?}", objects_of(&env.zone));
    env.run(["release"]).expect(0);
    env.assert_nothing_left();
}

/// What nobody could tell by its name to be the fresh app's is in a record of its own, as `ownership.rs` has it of one
/// app.
#[test]
fn objects_with_names_of_their_own_of_a_fresh_app_are_in_its_record_before_they_are_made() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,upgrade");
    let recipe = env.recipe("notes");
    let compose = recipe.join("compose.yml");
    let data = "volumes:\n  data: {name: \"own_${STACK_NAME}_data\"}\n";
    env.edit(&compose, "volumes:\n  data:\n", data);
    let notes = "name: own_${STACK_NAME}_notes_";
    env.edit(&compose, "name: ${STACK_NAME}_app_notes_", notes);
    let root = env.root.display();
    let copy = format!(
        "for deployed; do :; done; /bin/cp -r {root}/state/made {root}/at-the-deploy-of-$deployed"
    );
    crate::deployed::client(&mut env, &copy);
    let reached = env.hold("notes", "test_install.sh");
    let run = env.start(["run".as_ref(), recipe.as_os_str()]);
    wait_until(LONG, "the run holds", || reached.exists().then_some(()));
    let live = ps(&env)["runs"][0].clone();
    let fresh = live["fresh"].as_str().unwrap().replace('.', "_");
    kill_both(run);
    let mut own = objects_of(&env.zone);
    own.retain(|object| object.contains(" own_"));
    assert_eq!(own.len(), 2, "{own:?}");
    let names = [format!("own_{fresh}_data"), format!("own_{fresh}_notes_")];
    let at_the_deploy = env.root.join(format!("at-the-deploy-of-{fresh}"));
    let records = crate::engine::names(&at_the_deploy);
    let records = records.iter().map(|record| at_the_deploy.join(record));
    let before: String = records
        .map(|record| harness::host_file::text(record).unwrap())
        .collect();
    for name in &names {
        assert!(own.iter().any(|object| object.contains(name)), "{own:?}");
        assert!(before.contains(name), "{name}: {before}");
    }
    env.run(["janitor"]).expect(0);
    env.assert_nothing_left();
}
