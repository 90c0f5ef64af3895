//! Every way to end a run, in every phase: right exit code, right verdict, nothing left.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::engine::{SwarmEnv, docker};
use crate::hold::Server;
use crate::support::{Done, Run, binary, command, pids};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Fetch,
    Prepull,
    Deploy,
    Converge,
    Upgrade,
    Backup,
    Restore,
    Custom,
    Teardown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Signal(Signal),
    Deadline,
    KillWorker,
    KillSupervisor,
}

/// A run that will stay in a phase.
pub(crate) struct Scene {
    pub(crate) env: SwarmEnv,
    phase: Phase,
    server: Server,
    args: Vec<OsString>,
    reached: PathBuf,
}

impl Scene {
    pub(crate) fn new(phase: Phase) -> Self {
        let mut env = SwarmEnv::new();
        let server = Server::start();
        let recipe = env.recipe("notes");
        let compose = recipe.join("compose.yml");
        std::fs::remove_dir_all(recipe.join("tests")).unwrap();
        let reached = env.root.join("reached");
        let fifo = env.fifo();
        // A child that wants to stay, with an unknown daemon that holds its output.
        let stubborn = format!(
            "#!/bin/sh\ntrap '' TERM HUP INT\n\
             (setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 1; done' &)\n\
             : >{}\nwhile :; do read -r never <{}; done\n",
            reached.display(),
            fifo.display()
        );
        let mut args = vec!["run".into(), recipe.clone().into_os_string()];
        let stages = match phase {
            Phase::Fetch => {
                let url = format!("http://{}/owner/notes.git", server.address);
                env.set("CCCI_FORGES", format!("http://{}", server.address));
                args = vec!["run".into(), "--src".into(), url.into()];
                "install"
            }
            Phase::Prepull => {
                let image = format!("{}/slow:1", server.address);
                env.edit(&compose, "recipe-ci/notes:2", &image);
                "install"
            }
            Phase::Deploy => {
                env.hold("notes", "install_steps.sh");
                "install"
            }
            Phase::Converge => {
                env.edit(&compose, "\"CMD\", \"wget\"", "\"CMD\", \"false\"");
                env.edit(&compose, "start_period: 10s", "start_period: 10m");
                env.edit(&compose, "TIMEOUT:-60", "TIMEOUT:-600");
                "install"
            }
            Phase::Upgrade => {
                env.hold("notes", "ops/pre_upgrade");
                "upgrade"
            }
            Phase::Backup => {
                env.hold("notes", "ops/pre_backup");
                "backup"
            }
            Phase::Restore => {
                env.hold("notes", "ops/pre_restore");
                "backup,restore"
            }
            Phase::Custom => {
                env.overlay("notes", "custom/test_hang.sh", &stubborn);
                "custom"
            }
            Phase::Teardown => {
                // Somebody else's container has the app's volume, so that teardown goes on until `unblock`.
                let hold = format!(
                    "#!/bin/sh\nset -eu\nstack=$(echo \"$CCCI_APP_DOMAIN\" | tr . _)\n\
                     exec docker run --detach --name {} --volume \"${{stack}}_data:/data\" \
                     recipe-ci/notes:1 sleep 9999\n",
                    blocker(&env)
                );
                env.overlay("notes", "test_install.sh", &hold);
                "install"
            }
        };
        env.set("STAGES", stages);
        Self {
            env,
            phase,
            server,
            args,
            reached,
        }
    }

    /// Lets a teardown end that this scene holds up.
    pub(crate) fn unblock(&self) {
        remove_container(&blocker(&self.env));
    }

    pub(crate) fn start(&self, more: &[&str]) -> Run {
        self.env
            .start(self.args.iter().cloned().chain(more.iter().map(Into::into)))
    }

    /// Returns the command of such a run.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.env.program(binary());
        command.args(&self.args);
        command
    }

    /// Whether the server that holds a fetch or a pull was asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.server.asked()
    }

    pub(crate) fn is_reached(&self, run: &Run) -> bool {
        match self.phase {
            Phase::Fetch | Phase::Prepull => self.server.asked(),
            // The line comes before the first look at the services.
            Phase::Converge => run.stderr().contains("] converge"),
            Phase::Teardown => run.stderr().contains("] teardown"),
            _ => self.reached.exists(),
        }
    }

    #[track_caller]
    pub(crate) fn wait_reached(&self, run: &Run) {
        wait_until(LONG, &format!("{:?}: {}", self.phase, run.stderr()), || {
            self.is_reached(run).then_some(())
        });
    }
}

/// Returns the name of the container that keeps an app of `env` from being removed.
pub(crate) fn blocker(env: &SwarmEnv) -> String {
    format!("blocker_{}", env.zone.replace('.', "_"))
}

/// Removes a container, whether it is there or not. The engine gives up when a busy machine takes ten seconds to end it.
#[track_caller]
pub(crate) fn remove_container(name: &str) {
    wait_until(LONG, &format!("{name} is removed"), || {
        let filter = format!("name=^{name}$");
        let there = docker(&["ps", "-aq", "--filter", &filter]);
        if there.is_empty() {
            return Some(());
        }
        drop(
            command("docker")
                .args(["rm", "--force", name])
                .output()
                .unwrap(),
        );
        None
    });
}

/// Kills both processes of a run, the supervisor first stopped so that it cannot see its worker's end.
#[track_caller]
pub(crate) fn kill_both(run: Run) -> Done {
    let worker = child_of(run.pid);
    stop(run.pid);
    kill(worker, Signal::SIGKILL).unwrap();
    kill(run.pid, Signal::SIGKILL).unwrap();
    let done = run.finish();
    wait_gone(worker);
    done
}

/// Waits until a killed process has let go of everything. Its output is closed before its locks are.
#[track_caller]
pub(crate) fn wait_gone(pid: Pid) {
    wait_until(LONG, "the process is gone", || {
        let stat = harness::host_file::text(format!("/proc/{pid}/stat")).unwrap_or_default();
        let threads =
            harness::host_file::entries(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        let ended = stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ");
        (ended && threads <= 1).then_some(())
    });
}

/// Returns the only child of a process: the worker of a supervisor, the supervisor of a step's shell.
#[track_caller]
pub(crate) fn child_of(of: Pid) -> Pid {
    wait_until(LONG, "it has a child", || {
        pids().into_iter().find_map(|pid| {
            let stat = harness::host_file::text(format!("/proc/{pid}/stat")).ok()?;
            let after = stat.rsplit_once(')')?.1;
            let parent: i32 = after.split_whitespace().nth(1)?.parse().ok()?;
            (parent == of.as_raw()).then_some(Pid::from_raw(pid))
        })
    })
}

/// Stops a process; it does nothing more, not even dequeue a signal, when this returns.
pub(crate) fn stop(pid: Pid) {
    kill(pid, Signal::SIGSTOP).unwrap();
    wait_until(LONG, "the process stops", || {
        let stat = harness::host_file::text(format!("/proc/{pid}/stat")).ok()?;
        stat.contains(") T ").then_some(())
    });
}

/// Waits until a stopped process has been sent `signal`.
pub(crate) fn wait_pending(pid: Pid, signal: Signal) {
    wait_until(LONG, "the signal is pending", || {
        let status = harness::host_file::text(format!("/proc/{pid}/status")).ok()?;
        let pending = status.lines().filter_map(|line| {
            let mask = line
                .strip_prefix("SigPnd:")
                .or(line.strip_prefix("ShdPnd:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        });
        let all = pending.fold(0, |all, mask| all | mask);
        (all & (1 << (signal as i32 - 1)) != 0).then_some(())
    });
}

/// Brings a run into its phase, and stops the worker there when the phase would pass by itself. With a
/// deadline the run is started again with a longer one until it gets there in time.
fn bring(phase: Phase, cause: Cause) -> (Scene, Run, Instant, Duration) {
    let mut seconds = if phase == Phase::Teardown { 12 } else { 5 };
    loop {
        let scene = Scene::new(phase);
        let deadline = format!("{seconds}s");
        let started = Instant::now();
        let run = match cause {
            Cause::Deadline => scene.start(&["--deadline", &deadline]),
            _ => scene.start(&[]),
        };
        let mut too_late = false;
        wait_until(LONG, &format!("{phase:?}"), || {
            let text = run.stderr();
            too_late = text.contains("hard deadline");
            assert!(
                too_late || !text.contains("verdict"),
                "ended too early:\n{text}"
            );
            (too_late || scene.is_reached(&run)).then_some(())
        });
        // It may have passed between the two looks.
        too_late = too_late || run.stderr().contains("hard deadline");
        if !too_late {
            return (scene, run, started, Duration::from_secs(seconds));
        }
        wait_until(LONG, "the late run ends", || {
            scene.unblock();
            scene.env.processes().is_empty().then_some(())
        });
        drop(run.finish());
        seconds *= 2;
        assert!(seconds < 200, "{phase:?} is never reached");
    }
}

fn cell(phase: Phase, cause: Cause) {
    let (scene, run, started, deadline) = bring(phase, cause);
    let supervisor = run.pid;
    let passing = phase == Phase::Teardown;
    // Where the phase stays by itself the worker is not needed, which may have met its deadline by now.
    let worker = passing.then(|| {
        let worker = child_of(supervisor);
        stop(worker);
        scene.unblock();
        worker
    });
    match cause {
        Cause::Signal(signal) => {
            kill(supervisor, signal).unwrap();
            if let Some(worker) = worker {
                wait_pending(worker, signal);
            }
        }
        Cause::Deadline => {
            if passing {
                wait_until(LONG, "the deadline passes", || {
                    (started.elapsed() > deadline + Duration::from_millis(200)).then_some(())
                });
            }
        }
        Cause::KillWorker => {
            let worker = worker.unwrap_or_else(|| child_of(supervisor));
            kill(worker, Signal::SIGKILL).unwrap();
        }
        Cause::KillSupervisor => kill(supervisor, Signal::SIGKILL).unwrap(),
    }
    if let Some(worker) = worker
        && cause != Cause::KillWorker
    {
        if cause == Cause::KillSupervisor {
            wait_pending(worker, Signal::SIGTERM);
        }
        kill(worker, Signal::SIGCONT).unwrap();
    }
    // The worker holds the output until it has torn down.
    if cause == Cause::KillSupervisor {
        wait_until(LONG, "the worker ends", || {
            scene.env.processes().is_empty().then_some(())
        });
    }
    let done = run.finish();
    let (code, verdict) = match cause {
        Cause::KillWorker => (137, "orphaned"),
        // Once teardown has begun, nothing changes what the run came to.
        _ if passing => (0, "passed"),
        Cause::Signal(signal) => (128 + signal as i64, "cancelled"),
        Cause::Deadline => (142, "deadline"),
        Cause::KillSupervisor => (143, "cancelled"),
    };
    if cause == Cause::KillSupervisor {
        assert_eq!(done.signal, Some(9), "{done:?}");
    } else {
        done.expect(i32::try_from(code).unwrap());
    }
    let results = scene.env.results();
    let report = format!("{results:#}\n{}", done.stderr);
    if verdict == "deadline" {
        let limit = match deadline.as_secs() {
            seconds @ 0..60 => format!("{seconds}-second"),
            seconds => format!("{}-minute", seconds / 60),
        };
        let line = format!("run exceeded {limit} hard deadline");
        assert!(done.stderr.contains(&line), "{report}");
    }
    assert_eq!(results["verdict"], verdict, "{report}");
    assert_eq!(results["exit_code"], code, "{report}");
    assert!(results["finished_at"].is_string(), "{report}");
    assert_eq!(results["teardown"]["clean"], true, "{report}");
    scene.env.assert_nothing_left();
}

macro_rules! cells {
    ($(mod $module:ident = $cause:expr;)*) => {
        $(mod $module {
            use super::{Cause, Phase, cell};

            const CAUSE: Cause = $cause;

            #[test]
            fn fetch() {
                cell(Phase::Fetch, CAUSE);
            }

            #[test]
            fn prepull() {
                cell(Phase::Prepull, CAUSE);
            }

            #[test]
            fn deploy() {
                cell(Phase::Deploy, CAUSE);
            }

            #[test]
            fn converge() {
                cell(Phase::Converge, CAUSE);
            }

            #[test]
            fn upgrade() {
                cell(Phase::Upgrade, CAUSE);
            }

            #[test]
            fn backup() {
                cell(Phase::Backup, CAUSE);
            }

            #[test]
            fn restore() {
                cell(Phase::Restore, CAUSE);
            }

            #[test]
            fn custom() {
                cell(Phase::Custom, CAUSE);
            }

            #[test]
            fn t23_during_normal_teardown() {
                cell(Phase::Teardown, CAUSE);
            }
        })*
    };
}

cells! {
    mod t15_a_deadline_is_142 = Cause::Deadline;
    mod t16_sigterm_is_143 = Cause::Signal(nix::sys::signal::Signal::SIGTERM);
    mod t16_sigint_is_130 = Cause::Signal(nix::sys::signal::Signal::SIGINT);
    mod t16_sighup_is_129 = Cause::Signal(nix::sys::signal::Signal::SIGHUP);
    mod t26_a_killed_worker_is_reaped_by_its_supervisor = Cause::KillWorker;
    mod t26_the_worker_of_a_killed_supervisor_tears_down = Cause::KillSupervisor;
}

/// A person who loses patience changes nothing: the first signal decides, the others are noted.
#[test]
fn t23_second_and_third_signals_during_teardown_are_noted() {
    let mut scene = Scene::new(Phase::Teardown);
    // Cancelled in its custom tier, with a teardown that waits for `unblock`.
    let reached = scene.env.hold("notes", "custom/test_hold.sh");
    scene.env.set("STAGES", "install,custom");
    let run = scene.start(&[]);
    wait_until(LONG, "the custom tier holds", || {
        reached.exists().then_some(())
    });
    let worker = child_of(run.pid);
    kill(run.pid, Signal::SIGTERM).unwrap();
    let line = "== SIGTERM received (cancel / parent death) — tearing down ==";
    run.wait_line(line);
    stop(worker);
    scene.unblock();
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        kill(run.pid, signal).unwrap();
        wait_pending(worker, signal);
    }
    kill(worker, Signal::SIGCONT).unwrap();
    run.wait_line("SIGINT received during teardown");
    run.wait_line("SIGHUP received during teardown");
    let done = run.finish();
    done.expect(143);
    assert_eq!(done.stderr.matches(line).count(), 1, "{}", done.stderr);
    assert_eq!(scene.env.results()["verdict"], "cancelled");
    scene.env.assert_nothing_left();
}

/// A worker that does not even end at its deadline: the supervisor, which hears nothing of it, is the backstop.
#[test]
fn a_worker_that_is_wedged_long_after_its_deadline_is_killed_and_its_app_removed() {
    let mut scene = Scene::new(Phase::Converge);
    let ahead = scene.env.preload("FAKE_AHEAD", "ahead");
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    let worker = child_of(run.pid);
    stop(worker);
    // The deadline of 60 min, the teardown's 10 min, and 30 s.
    std::fs::write(ahead, (3600 + 600 + 30).to_string()).unwrap();
    // It wakes the supervisor, whose poll(2) has the kernel's clock; a worker that is stopped does not hear of it.
    kill(run.pid, Signal::SIGTERM).unwrap();
    let done = run.finish();
    done.expect(142);
    assert!(
        done.stderr.contains("== worker wedged long after"),
        "{}",
        done.stderr
    );
    let results = scene.env.results();
    assert_eq!(results["verdict"], "deadline", "{results:#}");
    assert_eq!(results["exit_code"], 142, "{results:#}");
    assert_eq!(results["teardown"]["clean"], true, "{results:#}");
    scene.env.assert_nothing_left();
}
