//! What `systemctl stop` of a runner's unit does to a run: `KillMode=control-group` sends SIGTERM to every process of
//! the unit at once, and again to those that are left when the runner itself has ended.
//!
//! `nix/modules/drone-runner.nix` relies on it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cancel::{Phase, Scene};

/// Sends SIGTERM to supervisor, worker, and whatever they started; to the last one first, which may die of it
/// before the worker hears of anything.
fn stop(scene: &Scene) -> usize {
    let mut processes = scene.env.processes();
    processes.sort_by_key(|(pid, _)| std::cmp::Reverse(*pid));
    for (pid, _) in &processes {
        // One may have ended meanwhile.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGTERM);
    }
    processes.len()
}

fn stopped_in(phase: Phase) {
    let scene = Scene::new(phase);
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    assert!(
        stop(&scene) >= 2,
        "supervisor and worker are processes of the run"
    );
    run.wait_line("tearing down ==");
    stop(&scene);
    let done = run.finish();
    done.expect(143);
    let results = scene.env.results();
    assert_eq!(
        results["verdict"], "cancelled",
        "{results:#}\n{}",
        done.stderr
    );
    assert_eq!(
        results["teardown"]["clean"], true,
        "{results:#}\n{}",
        done.stderr
    );
    scene.env.assert_nothing_left();
}

#[test]
fn of_the_unit_tears_down_during_a_deploy() {
    stopped_in(Phase::Deploy);
}

#[test]
fn of_the_unit_tears_down_during_a_test() {
    stopped_in(Phase::Custom);
}
