//! What runners and shells do around a run changes nothing but when it ends.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::cancel::{Phase, Scene, child_of, stop, wait_pending};
use crate::engine::{SwarmEnv, objects_of};
use crate::janitor::{hold, let_go, lock_file};
use crate::support::{binary, is_locked, read_results};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// A shell that runs `script` with the binary as `$0` and the recipe as `$1`.
fn shell(env: &SwarmEnv, flags: &[&str], script: &str, recipe: &Path) -> Command {
    let mut command = env.program(flags[0]);
    command
        .args(&flags[1..])
        .args(["-c", script, binary()])
        .arg(recipe);
    command
}

/// Runs the install stage of `notes` in a shell; returns the shell's exit code.
fn step(flags: &[&str], script: &str) -> Option<i32> {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let done = env.follow(shell(&env, flags, script, &recipe)).finish();
    let results = env.results();
    assert_eq!(results["verdict"], "passed", "{results:#}\n{}", done.stderr);
    env.assert_nothing_left();
    done.code
}

#[test]
fn closed_output_and_input_and_ignored_signals_of_the_starter_change_nothing() {
    let ignores = "trap '' HUP PIPE; exec \"$0\" run \"$1\" >&- 2>&-";
    assert_eq!(step(&["sh"], ignores), Some(0));
    assert_eq!(step(&["sh"], "\"$0\" run \"$1\" <&- >&- 2>&-"), Some(0));
}

#[test]
fn a_reader_that_went_away_changes_nothing() {
    let script = "{ \"$0\" run \"$1\" --json; echo $? >code; } 2>&1 | true; exit $(cat code)";
    assert_eq!(step(&["sh"], script), Some(0));
}

/// A step with its run in the background, as some wrap it, and a trap that kills what is gone already.
const WRAPPED: &str =
    "\"$0\" run \"$1\" & pid=$!; trap 'kill $pid 2>/dev/null || :' EXIT; wait $pid; exit 42";

#[test]
fn t24_green_stays_green_and_red_keeps_its_code_through_errexit_shells_and_their_kill() {
    let plain = "\"$0\" run \"$1\"; exit 42";
    let bash: &[&str] = &["bash", "-e", "-o", "pipefail"];
    assert_eq!(step(&["sh", "-e"], plain), Some(42));
    assert_eq!(step(bash, WRAPPED), Some(42));
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("serves-404");
    for (flags, script) in [(&["sh", "-e"][..], WRAPPED), (bash, plain)] {
        env.follow(shell(&env, flags, script, &recipe))
            .finish()
            .expect(1);
        env.assert_nothing_left();
    }
}

/// `nohup` and a shell's `&` mean a run to outlive its terminal.
#[test]
fn a_hangup_that_the_starter_ignores_ends_nothing() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let reached = env.hold("notes", "test_install.sh");
    let script = "trap '' HUP INT; exec \"$0\" run \"$1\"";
    let run = env.follow(shell(&env, &["sh"], script, &recipe));
    wait_until(LONG, "the run holds", || reached.exists().then_some(()));
    kill(run.pid, Signal::SIGHUP).unwrap();
    kill(run.pid, Signal::SIGINT).unwrap();
    let _open = env.release();
    run.finish().expect(0);
    env.assert_nothing_left();
}

/// A shell that ignores SIGTERM and SIGCHLD hands that on, if it is bash; dash keeps the second for itself. A cancel
/// must still come through, and the children that end must be seen to.
#[test]
fn a_run_whose_starter_ignores_sigterm_can_be_cancelled() {
    let scene = Scene::new(Phase::Converge);
    let recipe = scene.env.root.join("recipes/notes");
    let script = "trap '' TERM CHLD; exec \"$0\" run \"$1\"";
    let run = scene
        .env
        .follow(shell(&scene.env, &["bash"], script, &recipe));
    scene.wait_reached(&run);
    kill(run.pid, Signal::SIGTERM).unwrap();
    run.finish().expect(143);
    scene.env.assert_nothing_left();
}

/// `exec` makes the jobs of the step's shell children of the supervisor, which takes what a dead worker leaves.
#[test]
fn a_job_of_the_step_is_no_stray_of_its_run() {
    let scene = Scene::new(Phase::Converge);
    let recipe = scene.env.root.join("recipes/notes");
    let script = "sleep 600 >/dev/null 2>&1 & echo $! >\"$1/../job\"; exec \"$0\" run \"$1\"";
    let command = shell(&scene.env, &["sh"], script, &recipe);
    let run = scene.env.follow(command);
    scene.wait_reached(&run);
    let job = harness::host_file::text(scene.env.root.join("recipes/job")).unwrap();
    let job: i32 = job.trim().parse().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", run.pid);
    let children = harness::host_file::text(children).unwrap();
    let mut children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    let worker = children.find(|pid: &i32| *pid != job).unwrap();
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    run.finish().expect(137);
    let job = Pid::from_raw(job);
    kill(job, Signal::SIGTERM).expect("the job lives on");
    wait_until(LONG, "the job ends", || {
        scene.env.processes().is_empty().then_some(())
    });
    scene.env.assert_nothing_left();
}

#[test]
fn a_working_directory_that_is_deleted_changes_nothing() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,backup,custom");
    env.recipe("notes");
    let step = env.root.join("recipes");
    // The recipe is named by a relative path, as in a pipeline.
    let mut command = env.program(binary());
    command.current_dir(&step).args(["run", "./notes"]);
    let run = env.follow(command);
    run.wait_line("] converge");
    std::fs::remove_dir_all(&step).unwrap();
    run.finish().expect(0);
    env.assert_nothing_left();
}

/// Starts a run whose parent is gone before it begins, adopted by this process, which is in another session
/// and passes the run's exit code on.
const ORPHAN: &str = r#"
import ctypes, os, sys, time
if sys.argv[1] == "subreaper":
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
top = os.getpid()
first = os.fork()
if first == 0:
    os.setsid()
    if os.fork() == 0:
        while os.getppid() != top:
            time.sleep(0.01)
        if "ORPHAN_IS_MAIN" in os.environ:
            os.environ["SYSTEMD_EXEC_PID"] = str(os.getpid())
        os.execv(sys.argv[2], sys.argv[2:])
    os._exit(0)
os.waitpid(first, 0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"#;

/// A pid namespace of its own, as a container has, with the command that follows as its init.
const CONTAINER: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

#[test]
fn t14_a_run_that_is_orphaned_at_start_refuses_unless_it_is_meant_to_be() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let dry_run = |env: &SwarmEnv, start: &[&str], more: &[&str]| {
        let mut command = env.program(start[0]);
        command
            .args(&start[1..])
            .args([binary(), "run", "--dry-run"]);
        command.arg(&recipe).args(more);
        env.follow(command).finish()
    };
    let reaper = ["python3", "-c", ORPHAN, "subreaper"];
    let init: Vec<&str> = [&CONTAINER[..], &["python3", "-c", ORPHAN, "init"]].concat();
    for adopted in [&reaper[..], &init] {
        let refused = dry_run(&env, adopted, &[]);
        refused.expect(3);
        assert!(refused.stderr.contains("orphaned"), "{}", refused.stderr);
        assert!(refused.stderr.contains("--detached"), "{}", refused.stderr);
        assert!(env.run_dirs().is_empty());
        dry_run(&env, adopted, &["--detached"]).expect(0);
    }
    // As a container's only process, and as the child of its shell.
    dry_run(&env, &CONTAINER, &[]).expect(0);
    let shell = [&CONTAINER[..], &["sh", "-c", "\"$0\" \"$@\"; exit $?"]].concat();
    dry_run(&env, &shell, &[]).expect(0);
    // systemd, which names the main process of a unit; what a unit's process starts inherits the rest.
    env.set("INVOCATION_ID", "0123456789abcdef");
    dry_run(&env, &reaper, &[]).expect(3);
    env.set("SYSTEMD_EXEC_PID", "1");
    dry_run(&env, &reaper, &[]).expect(3);
    env.set("ORPHAN_IS_MAIN", "1");
    dry_run(&env, &reaper, &[]).expect(0);
    env.assert_nothing_left();
}

/// How a runner cancels a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    /// Drone's exec runner: SIGKILL to the shell alone, and the directory is gone at once.
    KillShell,
    /// Woodpecker's local runner: SIGKILL to the group.
    KillGroup,
    /// GitLab's shell runner and Buildkite: SIGTERM to the group, after a grace SIGKILL.
    TermThenKillGroup,
}

/// Starts a run in a step shell, brings it into a phase, and cancels the step.
fn cancel_step(cancel: Cancel, phase: Phase) {
    let scene = Scene::new(phase);
    let recipe = scene.env.root.join("recipes/notes");
    let dir = scene.env.root.join("step");
    std::fs::create_dir(&dir).unwrap();
    // Without the last command many a shell would exec the run, and be no shell any more.
    let mut command = shell(&scene.env, &["sh"], "\"$0\" run \"$1\"; exit $?", &recipe);
    command.current_dir(&dir);
    let run = scene.env.follow(command);
    scene.wait_reached(&run);
    let supervisor = child_of(run.pid);
    let worker = child_of(supervisor);
    let passing = phase == Phase::Teardown;
    if passing {
        stop(worker);
        scene.unblock();
    }
    match cancel {
        Cancel::KillShell => {
            kill(run.pid, Signal::SIGKILL).unwrap();
            std::fs::remove_dir_all(&dir).unwrap();
        }
        Cancel::KillGroup => killpg(run.pid, Signal::SIGKILL).unwrap(),
        Cancel::TermThenKillGroup => {
            killpg(run.pid, Signal::SIGTERM).unwrap();
            if !passing {
                run.wait_line("== SIGTERM received");
            }
            // The quick ones have torn down by now.
            let _ = killpg(run.pid, Signal::SIGKILL);
        }
    }
    if passing {
        wait_pending(worker, Signal::SIGTERM);
        kill(worker, Signal::SIGCONT).unwrap();
    }
    wait_until(LONG, "every process ends", || {
        scene.env.processes().is_empty().then_some(())
    });
    let results = scene.env.results();
    // Once teardown has begun, nothing changes what the run came to.
    let (verdict, code) = if passing {
        ("passed", 0)
    } else {
        ("cancelled", 143)
    };
    assert_eq!(results["verdict"], verdict, "{results:#}");
    assert_eq!(results["exit_code"], code, "{results:#}");
    assert_eq!(results["teardown"]["clean"], true, "{results:#}");
    scene.env.assert_nothing_left();
}

#[test]
fn t13_a_killed_parent_is_a_cancel() {
    cancel_step(Cancel::KillShell, Phase::Converge);
}

/// How a step ends that its runner cancels, by the runner and by what the run is doing.
mod t25_a_step_that_its_runner_cancels_is_torn_down {
    use super::{Cancel, Phase, cancel_step};

    #[test]
    fn kill_shell_during_deploy() {
        cancel_step(Cancel::KillShell, Phase::Deploy);
    }

    #[test]
    fn kill_shell_during_a_stubborn_test() {
        cancel_step(Cancel::KillShell, Phase::Custom);
    }

    #[test]
    fn kill_shell_during_teardown() {
        cancel_step(Cancel::KillShell, Phase::Teardown);
    }

    #[test]
    fn kill_group_during_deploy() {
        cancel_step(Cancel::KillGroup, Phase::Deploy);
    }

    #[test]
    fn kill_group_during_a_stubborn_test() {
        cancel_step(Cancel::KillGroup, Phase::Custom);
    }

    #[test]
    fn kill_group_during_teardown() {
        cancel_step(Cancel::KillGroup, Phase::Teardown);
    }

    #[test]
    fn term_then_kill_group_during_deploy() {
        cancel_step(Cancel::TermThenKillGroup, Phase::Deploy);
    }

    #[test]
    fn term_then_kill_group_during_a_stubborn_test() {
        cancel_step(Cancel::TermThenKillGroup, Phase::Custom);
    }

    #[test]
    fn term_then_kill_group_during_teardown() {
        cancel_step(Cancel::TermThenKillGroup, Phase::Teardown);
    }
}

/// A daemon that forked twice, left group and session, ignores every polite signal and holds the hook's
/// output: the hook is over when its process is, and the daemon ends with the run.
#[test]
fn t27_a_hooks_daemon_that_holds_the_pipes_is_killed_and_hangs_nothing() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let pid = env.root.join("daemon");
    let hook = format!(
        "#!/bin/sh\n\
         (setsid sh -c 'trap \"\" TERM HUP INT; echo $$ >{0}.new; mv {0}.new {0}; while :; do sleep 1; done' &)\n\
         until [ -e {0} ]; do sleep 0.05; done\n",
        pid.display()
    );
    env.overlay("notes", "install_steps.sh", &hook);
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(0);
    let pid = harness::host_file::text(pid).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
    env.assert_nothing_left();
}

/// A waiter that is cancelled leaves no trace of itself, and the holder does not notice.
#[test]
fn a_waiter_can_be_cancelled() {
    let scene = Scene::new(Phase::Converge);
    let first = scene.start(&[]);
    scene.wait_reached(&first);
    let waiter = scene.start(&[]);
    waiter.wait_line("— waiting ==");
    kill(waiter.pid, Signal::SIGTERM).unwrap();
    waiter.finish().expect(143);
    assert!(
        !objects_of(&scene.env.zone).is_empty(),
        "the first app is gone"
    );
    // The one signal that has no phases of its own in `cancel`.
    kill(first.pid, Signal::SIGQUIT).unwrap();
    let first = first.finish();
    first.expect(131);
    let line = "== SIGQUIT received (cancel / parent death) — tearing down ==";
    assert!(first.stderr.contains(line), "{}", first.stderr);
    scene.env.assert_nothing_left();
}

/// Nor when its deadline passes, or one of its processes is killed; here somebody else holds the lock.
#[test]
fn a_waiter_that_ends_in_any_other_way_leaves_no_trace_either() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let domain = format!("note-0a1b2c.{}", env.zone);
    env.set("CCCI_APP_DOMAIN", &domain);
    std::fs::create_dir(env.root.join("locks")).unwrap();
    let holder = hold(&env, &domain);
    let path = lock_file(&env, &domain);
    let state = || {
        let meta = path.metadata().unwrap();
        (meta.ino(), meta.len(), meta.modified().unwrap())
    };
    let before = state();
    let check = |waiter: Pid, verdict: &str, code: u8| {
        let results = read_results(&env.root.join(format!("runs/manual-{waiter}")));
        assert_eq!(results["verdict"], verdict, "{results:#}");
        assert_eq!(results["exit_code"], code, "{results:#}");
        assert!(is_locked(&path));
        assert_eq!(state(), before);
        assert_eq!(objects_of(&env.zone), [""; 0]);
        // The holder is the only one.
        let processes = env.processes();
        assert_eq!(processes.len(), 1, "{processes:?}");
    };
    let start = |more: &[&str]| {
        let args = ["run", recipe.to_str().unwrap()];
        env.start(args.iter().chain(more))
    };

    // On a busy host it may pass before the lock is asked for.
    let mut seconds = 5;
    loop {
        let waiter = start(&["--deadline", &format!("{seconds}s")]);
        let pid = waiter.pid;
        let done = waiter.finish();
        done.expect(142);
        check(pid, "deadline", 142);
        if done.stderr.contains("— waiting ==") {
            break;
        }
        seconds *= 2;
        assert!(seconds < 200, "the lock is never asked for");
    }
    for (verdict, code) in [("orphaned", 137), ("cancelled", 143)] {
        let waiter = start(&[]);
        let pid = waiter.pid;
        waiter.wait_line("— waiting ==");
        if code == 137 {
            kill(child_of(pid), Signal::SIGKILL).unwrap();
            waiter.finish().expect(137);
        } else {
            kill(pid, Signal::SIGKILL).unwrap();
            wait_until(LONG, "the worker ends", || {
                (env.processes().len() == 1).then_some(())
            });
            assert_eq!(waiter.finish().signal, Some(9));
        }
        check(pid, verdict, code);
    }
    let_go(holder);
    env.assert_nothing_left();
}
