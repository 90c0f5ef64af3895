//! What `systemctl stop` of a runner's unit does to a run: `KillMode=control-group` sends SIGTERM to every process of
//! the unit at once, and again to those that are left when the runner itself has ended.
//!
//! `nix/modules/drone-runner.nix` relies on it. And what a run does whose output is not read, or whose worker is killed
//! while its logs hold what tests printed.

use std::io::{PipeReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cancel::{Phase, Scene, child_of};
use crate::support::command;
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

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

/// Starts a run whose stderr is a full pipe without a reader, as of a runner that hangs, and waits until it
/// fetches; returns how many bytes are in it, too.
fn unread(scene: &Scene) -> (Child, PipeReader, usize) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl(&writer, FcntlArg::F_GETFL).unwrap();
    let flags = OFlag::from_bits_retain(flags);
    fcntl(&writer, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    let mut filled = 0;
    while let Ok(count) = writer.write(&[b'x'; 4096]) {
        filled += count;
    }
    // The run has the same open file.
    fcntl(&writer, FcntlArg::F_SETFL(flags)).unwrap();
    let mut command = scene.command();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(writer).spawn().unwrap();
    wait_until(LONG, "it fetches", || scene.is_asked().then_some(()));
    (child, reader, filled)
}

fn ends_with(mut child: Child, code: i32) {
    let status = wait_until(LONG, "it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(code));
}

#[test]
fn a_cancel_reaches_a_run_whose_output_nobody_reads() {
    let scene = Scene::new(Phase::Fetch);
    let (child, _reader, _) = unread(&scene);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    ends_with(child, 143);
    assert_eq!(scene.env.results()["verdict"], "cancelled");
    let log = harness::host_file::text(scene.env.run_dirs()[0].join("run.log")).unwrap();
    assert!(log.contains("SIGTERM received"), "{log}");
    scene.env.assert_nothing_left();
}

#[test]
fn what_nobody_read_is_said_to_be_missing_when_somebody_reads_again() {
    let scene = Scene::new(Phase::Fetch);
    let (child, mut reader, filled) = unread(&scene);
    // All that was in the way.
    reader.read_exact(&mut vec![0; filled]).unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    ends_with(child, 143);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(
        said.contains("bytes of output were left out here"),
        "{said}"
    );
    assert!(said.contains("SIGTERM received"), "{said}");
    scene.env.assert_nothing_left();
}

#[test]
fn a_supervisor_whose_output_nobody_reads_cleans_up_after_its_worker() {
    let scene = Scene::new(Phase::Fetch);
    let (child, _reader, _) = unread(&scene);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(child_of(pid), Signal::SIGKILL).unwrap();
    ends_with(child, 137);
    assert_eq!(scene.env.results()["verdict"], "orphaned");
    scene.env.assert_nothing_left();
}

/// A test prints a secret that the operator supplied, and the run is killed before it cleans its record.
#[test]
fn a_killed_worker_leaves_no_secret_in_the_logs() {
    const SECRET: &str = "hunter22-hunter22";
    let mut scene = Scene::new(Phase::Custom);
    scene.env.set("CCCI_SECRET_SMTP", SECRET);
    let reached = scene.env.root.join("reached");
    let script = format!(
        "#!/bin/sh\necho 'login {SECRET}'\n: >{}\nwhile :; do sleep 1; done\n",
        reached.display()
    );
    scene.env.overlay("notes", "custom/test_hang.sh", &script);
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    let dir = scene.env.run_dirs().remove(0);
    let logs = || dir.join("logs").metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(logs(), 0o700, "others may read what no one has cleaned yet");
    let holds = |dir: &Path| {
        let mut grep = command("grep");
        let found = grep.args(["-rlF", SECRET]).arg(dir).output().unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    // The worker writes down what the test said, whenever it gets to it.
    wait_until(LONG, "the log has it", || {
        (!holds(&dir).is_empty()).then_some(())
    });
    kill(child_of(run.pid), Signal::SIGKILL).unwrap();
    run.finish().expect(137);
    assert_eq!(holds(&dir), "");
    assert_eq!(logs(), 0o700);
    scene.env.assert_nothing_left();
}
