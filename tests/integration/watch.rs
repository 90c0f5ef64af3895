//! The watcher, with real processes and without an engine: every sweep fails, the watch goes on.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{Done, TestEnv, binary, command, is_locked};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(60);

fn env() -> TestEnv {
    TestEnv::new("unix:///nonexistent/docker.sock")
}

fn heartbeat(env: &TestEnv) -> Option<Value> {
    let text = harness::host_file::text(env.root.join("state/watcher.json")).ok()?;
    serde_json::from_str(&text).ok()
}

fn pid(env: &TestEnv) -> i32 {
    let beat = heartbeat(env).expect("a watcher has a heartbeat");
    i32::try_from(beat["process"]["pid"].as_i64().unwrap()).unwrap()
}

#[track_caller]
fn said(done: &Done, code: i32, word: &str) {
    done.expect(code);
    assert!(done.stdout.starts_with(word), "{}", done.stdout);
    assert_eq!(
        done.stdout.lines().count(),
        1,
        "one honest line: {}",
        done.stdout
    );
}

fn lives(env: &TestEnv, pid: i32) -> bool {
    env.processes().iter().any(|(other, _)| *other == pid)
}

#[test]
fn arm_says_started_then_healthy_and_restart_replaces_the_recorded_one() {
    let env = env();
    said(&env.run(["janitor", "arm"]), 0, "started: watcher pid ");
    let first = pid(&env);
    assert!(lives(&env, first));
    said(&env.run(["janitor", "arm"]), 0, "healthy: watcher pid ");
    assert_eq!(pid(&env), first);
    wait_until(LONG, "a sweep that fails is recorded", || {
        let beat = heartbeat(&env)?;
        beat["last"].as_str()?.starts_with("failed: ").then_some(())
    });
    // It lives, and nothing is swept.
    let status = env.run(["janitor", "status"]);
    status.expect(3);
    assert!(status.stdout.starts_with("healthy: "), "{}", status.stdout);
    let why = "a watcher whose last sweep failed: the Docker engine";
    assert!(status.stdout.contains(why), "{}", status.stdout);
    said(
        &env.run(["janitor", "arm", "--restart"]),
        0,
        "started: watcher pid ",
    );
    assert_ne!(pid(&env), first);
    assert!(
        !lives(&env, first),
        "arm --restart waits for the end of the old one"
    );
    kill(Pid::from_raw(pid(&env)), Signal::SIGTERM).unwrap();
    wait_until(LONG, "it takes its heartbeat back", || {
        heartbeat(&env).is_none().then_some(())
    });
}

/// A hook that takes the run's mark out of the environment, as `sudo` does, does not take a watcher out of its group.
#[test]
fn a_watcher_that_a_run_starts_without_its_mark_leaves_the_runs_control_group() {
    let env = env();
    let home = harness::process::cgroup::check().expect("control groups can be made here");
    // No worker is called so.
    let name = format!("watch-{}", std::process::id());
    let group = home.join(&name);
    std::fs::create_dir_all(group.join("0")).unwrap();
    let script = format!(
        "echo 0 >{}/0/cgroup.procs && exec \"$0\" janitor arm",
        group.display()
    );
    let mut shell = env.program("/bin/sh");
    shell.arg("-c").arg(script).arg(binary());
    said(&env.follow(shell).finish(), 0, "started: watcher pid ");
    let groups = harness::host_file::text(format!("/proc/{}/cgroup", pid(&env))).unwrap();
    assert!(!groups.contains(&name), "{groups}");
    kill(Pid::from_raw(pid(&env)), Signal::SIGTERM).unwrap();
    wait_until(LONG, "it takes its heartbeat back", || {
        heartbeat(&env).is_none().then_some(())
    });
    for dir in [group.join("0"), group] {
        std::fs::remove_dir(dir).unwrap();
    }
}

#[test]
fn a_killed_watcher_is_said_to_have_died_at_once_however_recent_its_last_sweep_was() {
    let env = env();
    env.run(["janitor", "arm"]).expect(0);
    let first = pid(&env);
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    // A process that ends shows no environment any more a moment before it lets its lock go.
    let lock = env.root.join("state/watcher.lock");
    wait_until(LONG, "it is gone", || {
        (!lives(&env, first) && !is_locked(&lock)).then_some(())
    });
    assert!(heartbeat(&env).is_some(), "the record is still there");
    // It swept a moment ago, and so did somebody by hand.
    for by in ["watcher", "janitor"] {
        let at = jiff::Timestamp::now().to_string();
        let sweep = serde_json::json!({ "by": by, "at": at, "zone": env.zone, "reaped": 0, "failed": 0, "live": 0 });
        env.write(&format!("state/last-sweep-{by}.json"), &sweep.to_string());
    }
    let status = env.run(["janitor", "status"]);
    status.expect(3);
    let died = format!("died: a watcher that died (pid {first}, it last said that it lives at 20");
    assert!(status.stdout.starts_with(&died), "{}", status.stdout);
    for word in [
        "nothing sweeps unless a timer does",
        "!! nothing sweeps this host: no timer, a watcher that died",
    ] {
        assert!(status.stdout.contains(word), "{}", status.stdout);
    }
    let json: Value =
        serde_json::from_str(&env.run(["janitor", "status", "--json"]).stdout).unwrap();
    assert_eq!(json["watcher"]["state"], "died");
    assert_eq!(json["watcher"]["heartbeat"]["process"]["pid"], first);
    let banner = format!("no timer, a watcher that died (pid {first}, ");
    for command in ["ps", "doctor"] {
        let done = env.run([command]);
        assert!(done.stdout.contains(&banner), "{command}: {}", done.stdout);
    }
    said(&env.run(["janitor", "arm"]), 0, "started: ");
    assert_ne!(pid(&env), first);
    let status = env.run(["janitor", "status"]);
    assert!(status.stdout.starts_with("healthy: "), "{}", status.stdout);
}

#[test]
fn a_lock_that_somebody_else_holds_is_failed_and_its_holder_is_left_alone() {
    let env = env();
    let lock = env.write("state/watcher.lock", "");
    // Without a fork, so that its end is the end of what holds the lock.
    let mut holder = command("flock")
        .arg("--no-fork")
        .arg(&lock)
        .args(["sh", "-c", "echo held; exec sleep 600"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 4];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let done = env.run(["janitor", "arm", "--restart"]);
    said(&done, 3, "FAILED: no fresh heartbeat");
    assert!(holder.try_wait().unwrap().is_none(), "the holder was ended");
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_watcher_that_cannot_start_is_failed_with_the_reason() {
    let env = env();
    env.write("state", "a file where the directory belongs");
    let done = env.run(["janitor", "arm"]);
    said(&done, 3, "FAILED: ");
    assert!(done.stdout.contains("state"), "{}", done.stdout);
}

#[test]
fn restart_never_touches_the_watcher_of_another_directory() {
    let mut env = env();
    // It writes again after its first sweep, and then not for an hour.
    env.run(["janitor", "arm", "--poll", "1h"]).expect(0);
    let first = pid(&env);
    wait_until(LONG, "a first sweep has ended", || {
        heartbeat(&env)?["last"].is_string().then_some(())
    });
    // The whole state directory is copied, record and all: it names a live watcher, with the right start time.
    let copied = command("cp")
        .arg("-a")
        .arg(env.root.join("state"))
        .arg(env.root.join("copy"))
        .status()
        .unwrap();
    assert!(copied.success());
    let copy = env.root.join("copy").display().to_string();
    env.set("CCCI_STATE_DIR", copy);
    said(&env.run(["janitor", "arm", "--restart"]), 0, "started: ");
    assert!(lives(&env, first), "another directory's watcher was ended");
}

#[test]
fn a_watcher_of_another_zone_is_not_taken_for_one_of_this() {
    let env = env();
    let arm = |zone: &str| env.run(["janitor", "arm", "--zone", zone]);
    said(&arm("a.localhost"), 0, "started: ");
    let first = pid(&env);
    let other = arm("b.localhost");
    said(&other, 3, "FAILED: this state directory's watcher (pid ");
    assert!(
        other.stdout.contains("sweeps the zone `a.localhost`"),
        "{}",
        other.stdout
    );
    assert!(lives(&env, first), "it was ended");
    said(&arm("a.localhost"), 0, "healthy: ");
}

#[test]
fn of_forty_watchers_at_once_one_stays_and_the_others_leave_with_0() {
    let env = env();
    // A stale lock, as a dead watcher leaves it.
    env.write("state/watcher.lock", "");
    let runs: Vec<_> = (0..40)
        .map(|_| env.start(["janitor", "watch", "--poll", "50ms"]))
        .collect();
    let winner = wait_until(LONG, "one watches", || {
        let beat = heartbeat(&env)?;
        i32::try_from(beat["process"]["pid"].as_i64()?).ok()
    });
    let (stay, leave): (Vec<_>, Vec<_>) =
        runs.into_iter().partition(|run| run.pid.as_raw() == winner);
    for run in leave {
        let done = run.finish();
        done.expect(0);
        assert!(
            done.stderr.contains("has a watcher already"),
            "{}",
            done.stderr
        );
    }
    let [stay] = <[_; 1]>::try_from(stay)
        .ok()
        .expect("the winner is one of them");
    kill(stay.pid, Signal::SIGTERM).unwrap();
    stay.finish().expect(0);
}

#[test]
fn a_watcher_whose_lock_file_is_replaced_leaves_and_the_next_one_comes() {
    let env = env();
    let first = env.start(["janitor", "watch", "--poll", "50ms"]);
    first.wait_line("watching: ");
    let lock: PathBuf = env.root.join("state/watcher.lock");
    std::fs::remove_file(&lock).unwrap();
    let done = first.finish();
    done.expect(0);
    assert!(
        done.stderr.contains("leaving the watch to others"),
        "{}",
        done.stderr
    );
    said(&env.run(["janitor", "arm"]), 0, "started: ");
}

#[test]
fn ps_says_that_leaks_are_unknown_when_the_engine_does_not_answer() {
    let env = env();
    let done = env.run(["ps"]);
    done.expect(3);
    assert!(
        done.stdout.contains("leaked apps are not known"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("!! nothing sweeps this host"),
        "{}",
        done.stdout
    );
    let json: Value = serde_json::from_str(&env.run(["ps", "--json"]).stdout).unwrap();
    assert_eq!(json["leaked"], Value::Null);
    assert_eq!(json["runs"], Value::Array(Vec::new()));
    assert_eq!(json["sweeping"]["covered"], false);
}

#[test]
fn bad_spans_and_zones_are_exit_2() {
    let env = env();
    for args in [
        vec!["janitor", "watch", "--every", "soon"],
        vec!["janitor", "arm", "--poll", "0s"],
        vec!["janitor", "status", "--zone", "no zone"],
        vec!["ps", "--zone", "-"],
        vec!["janitor", "--deadline", "yesterday"],
    ] {
        let done = env.run(&args);
        done.expect(2);
        assert!(done.stderr.contains("hint: "), "{args:?}: {}", done.stderr);
    }
    assert!(!env.root.join("state").exists());
}
