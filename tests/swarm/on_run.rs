//! Runs on an engine that is made for one of them and ends with it.

use std::path::PathBuf;
use std::time::Duration;

use harness::room::Room;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cancel::{child_of, kill_both};
use crate::engine::{SOCKET, SwarmEnv, names, objects_of};
use crate::room::{assert_gone, groups};
use crate::support::Run;
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// A host on which runs have engines of their own.
struct OnRun {
    env: SwarmEnv,
    recipe: PathBuf,
}

/// The engine of a run that goes on.
struct Seen {
    room: Room,
    link: String,
}

impl OnRun {
    fn new() -> Self {
        let mut env = SwarmEnv::new();
        env.set("CCCI_ENGINE", "run");
        let recipe = env.recipe("notes");
        Self { env, recipe }
    }

    fn rooms(&self) -> PathBuf {
        self.env.root.join("state/rooms")
    }

    /// Returns the engine of the run `id`, which is ready.
    #[track_caller]
    fn seen(&self, id: &str) -> Seen {
        let room = Room::of_run(&self.rooms(), &id.parse().unwrap());
        let record = harness::host_file::text(room.dir().join("record.json")).unwrap();
        let record: Value = serde_json::from_str(&record).unwrap();
        Seen {
            room,
            link: format!("rci{}", record["block"]),
        }
    }

    /// Starts a run that stays in its install tier.
    fn held(&mut self, id: &str) -> (Run, Seen) {
        self.env.set("STAGES", "install");
        let reached = self.env.hold("notes", "test_install.sh");
        let recipe = self.recipe.to_str().unwrap();
        let run = self.env.start(["run", recipe, "--run-id", id]);
        wait_until(LONG, "the run holds", || reached.exists().then_some(()));
        std::fs::remove_file(reached).unwrap();
        let seen = self.seen(id);
        assert_ne!(groups(&seen.room), [""; 0]);
        (run, seen)
    }

    /// Asserts that nothing is left of the run's engine, on the host and in the files.
    #[track_caller]
    fn assert_gone(&self, seen: &Seen) {
        assert_gone(&self.env, &seen.room, &seen.link);
        assert_eq!(names(&self.rooms()), [""; 0]);
        self.env.assert_nothing_left();
    }
}

#[test]
fn a_run_on_an_engine_of_its_own_goes_all_the_way_and_takes_it_along() {
    let mut host = OnRun::new();
    let root = host.env.root.display().to_string();
    let look = format!(
        "#!/bin/sh\nset -eu\nstack=$(echo \"$CCCI_APP_DOMAIN\" | tr . _)\n\
         docker info --format '{{{{.Name}}}}' >{root}/name\n\
         docker -H unix://{SOCKET} ps -aq --filter name=$stack >{root}/operators\n\
         docker ps -q --filter name=$stack >{root}/own\n\
         cat {root}/state/rooms/*/record.json >{root}/record\n"
    );
    host.env.overlay("notes", "custom/test_look.sh", &look);
    let recipe = host.recipe.to_str().unwrap();
    let done = host.env.run(["run", recipe, "--run-id", "own.1"]);
    done.expect(0);
    let results = host.env.results();
    assert_eq!(results["verdict"], "passed");
    assert_eq!(results["level"], 5, "{results:#}");
    assert_eq!(results["residual"], Value::Null, "{results:#}");
    let read = |name: &str| harness::host_file::text(host.env.root.join(name)).unwrap();
    assert_eq!(read("name").trim(), "recipe-ci");
    assert_eq!(read("operators"), "");
    assert_ne!(read("own"), "");
    let record: Value = serde_json::from_str(&read("record")).unwrap();
    let seen = Seen {
        room: Room::of_run(&host.rooms(), &"own.1".parse().unwrap()),
        link: format!("rci{}", record["block"]),
    };
    host.assert_gone(&seen);
    assert_eq!(objects_of(&host.env.zone), [""; 0]);
}

#[test]
fn a_live_runs_engine_is_left_alone_and_a_dead_ones_is_taken_away_by_the_next_command() {
    let mut host = OnRun::new();
    let (run, first) = host.held("1");
    let sweep = host.env.run(["janitor"]);
    sweep.expect(0);
    assert!(sweep.stdout.contains("left alone"), "{}", sweep.stdout);
    assert!(!sweep.stdout.contains("engine"), "{}", sweep.stdout);
    host.seen("1");

    // Both: nobody is left to see to it but the kernel.
    kill_both(run);
    wait_until(LONG, "the kernel ends all of it", || {
        host.env.processes().is_empty().then_some(())
    });
    let seen = host.env.run(["ps"]);
    assert!(
        seen.stdout.contains("left: run 1 is dead"),
        "{}",
        seen.stdout
    );
    let doctor = host.env.run(["doctor"]);
    assert!(
        doctor.stdout.contains("left of dead runs: 1"),
        "{}",
        doctor.stdout
    );
    let dry = host.env.run(["janitor", "--dry-run"]);
    assert!(dry.stdout.contains("would be taken away"), "{}", dry.stdout);
    let sweep = host.env.run(["janitor"]);
    sweep.expect(0);
    assert!(
        sweep
            .stdout
            .contains("engine of run 1: its run is dead, taken away"),
        "{}",
        sweep.stdout
    );
    host.assert_gone(&first);

    // The next run does as the janitor does.
    let (run, second) = host.held("2");
    kill_both(run);
    let (run, third) = host.held("3");
    assert!(
        run.stderr().contains("took the engine of run 2 away"),
        "{}",
        run.stderr()
    );
    assert!(groups(&second.room).is_empty());
    let _open = host.env.release();
    run.finish().expect(0);
    host.assert_gone(&third);
}

#[test]
fn an_engine_ends_with_its_run_whichever_of_its_processes_is_killed() {
    let mut host = OnRun::new();
    let (run, worker) = host.held("1");
    kill(child_of(run.pid), Signal::SIGKILL).unwrap();
    let done = run.finish();
    done.expect(137);
    assert!(
        done.stderr.contains("own engine is gone"),
        "{}",
        done.stderr
    );
    host.assert_gone(&worker);

    let (run, supervisor) = host.held("2");
    kill(run.pid, Signal::SIGKILL).unwrap();
    let _ = run.ended();
    wait_until(LONG, "the worker tears down", || {
        host.env.processes().is_empty().then_some(())
    });
    host.assert_gone(&supervisor);

    let (run, cancelled) = host.held("3");
    kill(run.pid, Signal::SIGTERM).unwrap();
    run.finish().expect(143);
    host.assert_gone(&cancelled);

    // Before it is ready there is nothing in hand but its name.
    let recipe = host.recipe.to_str().unwrap();
    let run = host.env.start(["run", recipe, "--run-id", "4"]);
    let room = Room::of_run(&host.rooms(), &"4".parse().unwrap());
    wait_until(LONG, "it begins", || {
        room.dir().join("block").exists().then_some(())
    });
    let block = harness::host_file::text(room.dir().join("block")).unwrap();
    kill(run.pid, Signal::SIGTERM).unwrap();
    run.finish().expect(143);
    let link = format!("rci{}", block.trim());
    host.assert_gone(&Seen { room, link });
}

/// As the kernel's own killer of processes does, or a fault of dockerd.
#[test]
fn an_engine_that_dies_under_its_run_is_the_hosts_fault_and_leaves_nothing() {
    let mut host = OnRun::new();
    let (run, seen) = host.held("1");
    let processes = host.env.processes();
    let (engine, _) = processes
        .iter()
        .find(|(_, line)| line.starts_with("unshare "))
        .expect("the parent of its first process");
    kill(Pid::from_raw(*engine), Signal::SIGKILL).unwrap();
    let _open = host.env.release();
    run.finish().expect(3);
    host.assert_gone(&seen);
}

#[test]
fn what_would_outlive_the_run_is_refused_on_an_engine_that_does_not() {
    let host = OnRun::new();
    let recipe = host.recipe.to_str().unwrap();
    for option in [
        &["--keep", "failed"][..],
        &["--quick"],
        &["--gateway", "127.0.0.1"],
    ] {
        let run = [&["run", recipe], option].concat();
        host.env.run(run).refused(&["ends with the run", option[0]]);
    }
    assert!(!host.rooms().exists());
}
