//! Every end of a run while a dependency of it is there: neither app nor dependency stays, nor a lock.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::cancel::{child_of, kill_both};
use crate::dependencies::Pair;
use crate::engine::objects_of;
use crate::support::{Run, is_locked};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// Where a run is when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The dependency's services are there and never become healthy.
    Deploys,
    /// The dependency is up and stays in its hook `provide`.
    Provides,
    /// The app runs beside the dependency.
    Both,
}

/// Starts a run and waits until it is there.
fn at(moment: Moment) -> (Pair, Run) {
    let mut pair = Pair::new("notes");
    match moment {
        Moment::Deploys => {
            let sick = "services:\n  app:\n    healthcheck:\n      test: [CMD, 'false']\n      start_period: 10m\n";
            pair.env.overlay("notes", "compose.ccci.yml", sick);
            pair.env
                .overlay("notes", "recipe-ci.yml", "timeouts: {deploy: 600}\n");
        }
        Moment::Provides => drop(pair.env.hold("notes", "provide")),
        Moment::Both => drop(pair.env.hold("client", "custom/test_stays.sh")),
    }
    let run = pair.start(&[]);
    wait_until(LONG, "the run is there", || {
        let reached = match moment {
            Moment::Deploys => containers(&pair) == 1,
            _ => pair.env.root.join("reached").exists(),
        };
        reached.then_some(())
    });
    (pair, run)
}

fn containers(pair: &Pair) -> usize {
    let objects = objects_of(&pair.env.zone);
    objects
        .iter()
        .filter(|object| object.starts_with("container "))
        .count()
}

/// Returns the lock files of the run's apps, all of which are held.
fn held_locks(pair: &Pair) -> Vec<PathBuf> {
    let entries = harness::host_file::entries(pair.env.root.join("locks")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| is_locked(path)).collect()
}

fn ends(moment: Moment, code: i32, verdict: &str, end: impl Fn(&Run)) {
    let (pair, run) = at(moment);
    // Both locks are taken before anything of either app exists.
    let locks = held_locks(&pair);
    assert_eq!(locks.len(), 2, "{moment:?}: {locks:?}");
    let there = if moment == Moment::Both { 2 } else { 1 };
    assert_eq!(containers(&pair), there, "{moment:?}");
    end(&run);
    run.finish().expect(code);
    assert_eq!(pair.env.results()["verdict"], verdict, "{moment:?}");
    for lock in locks {
        assert!(!is_locked(&lock), "{moment:?}: {} is held", lock.display());
    }
    pair.env.assert_nothing_left();
}

#[test]
fn a_cancel_leaves_neither_app_nor_dependency() {
    for moment in [Moment::Deploys, Moment::Provides, Moment::Both] {
        ends(moment, 143, "cancelled", |run| {
            kill(run.pid, Signal::SIGTERM).unwrap();
        });
    }
}

#[test]
fn a_killed_worker_leaves_neither_app_nor_dependency() {
    for moment in [Moment::Deploys, Moment::Both] {
        ends(moment, 137, "orphaned", |run| {
            kill(child_of(run.pid), Signal::SIGKILL).unwrap();
        });
    }
}

/// Supervisor and worker at once: then the next sweep is what finds both.
#[test]
fn a_sweep_finds_app_and_dependency_of_a_run_of_which_nothing_lives() {
    let (pair, run) = at(Moment::Both);
    assert_eq!(kill_both(run).signal, Some(9));
    assert_eq!(containers(&pair), 2);
    let swept = pair.env.run(["janitor", "--json"]);
    swept.expect(0);
    let swept: Value = serde_json::from_str(&swept.stdout).unwrap();
    let findings = swept["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 2, "{swept:#}");
    for finding in findings {
        assert_eq!(finding["decision"], "reaped", "{swept:#}");
    }
    pair.env.assert_nothing_left();
}

/// As when a janitor is at the dependency that a dead run of the same app left.
#[test]
fn a_run_that_waits_for_the_lock_of_its_dependency_has_its_own_and_says_whom_it_waits_for() {
    let mut pair = Pair::new("notes");
    pair.env.set("STAGES", "install");
    let plan = pair.start(&["--dry-run"]).finish();
    plan.expect(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let needed = plan["dependencies"][0]["domain"].as_str().unwrap();
    let path = format!("locks/cc-ci-app-{needed}.lock");
    let lock = harness::host_file::open(pair.env.write(&path, "somebody else\n")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test is a live owner")]
    lock.lock().unwrap();
    let run = pair.start(&["--run-id", "waits"]);
    let line = run.wait_line("— waiting ==");
    assert!(
        line.contains(needed) && line.contains("somebody else"),
        "{line}"
    );
    let seen = wait_until(LONG, "it is listed as waiting", || {
        let seen: Value = serde_json::from_str(&pair.env.run(["ps", "--json"]).stdout).unwrap();
        (seen["runs"][0]["phase"] == "lock_wait").then_some(seen)
    });
    assert_eq!(seen["runs"][0]["waits_for"], "somebody else", "{seen:#}");
    // Its own lock is its own, and that of the dependency is not.
    let others = seen["held_by_others"].as_array().unwrap();
    assert_eq!(others.len(), 1, "{seen:#}");
    assert_eq!(others[0]["domain"], needed);
    drop(lock);
    run.finish().expect(0);
    pair.env.assert_nothing_left();
}
