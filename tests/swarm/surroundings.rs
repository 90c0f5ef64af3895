//! What runners and shells do around a run changes nothing but when it ends.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};

use crate::cancel::{Phase, Scene, stop, worker_of};
use crate::engine::{SwarmEnv, docker, objects_of};
use crate::support::{Run, binary, read_results};
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
fn closed_output_and_input_change_nothing() {
    assert_eq!(step(&["sh"], "\"$0\" run \"$1\" >&- 2>&-"), Some(0));
    assert_eq!(step(&["sh"], "\"$0\" run \"$1\" <&- >&- 2>&-"), Some(0));
}

#[test]
fn a_reader_that_went_away_changes_nothing() {
    let script = "{ \"$0\" run \"$1\" --json; echo $? >code; } 2>&1 | true; exit $(cat code)";
    assert_eq!(step(&["sh"], script), Some(0));
}

#[test]
fn errexit_shells_get_the_code() {
    let script = "\"$0\" run \"$1\"; exit 42";
    assert_eq!(step(&["sh", "-e"], script), Some(42));
    assert_eq!(step(&["bash", "-e", "-o", "pipefail"], script), Some(42));
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("serves-404");
    let done = env
        .follow(shell(&env, &["sh", "-e"], script, &recipe))
        .finish();
    done.expect(1);
    env.assert_nothing_left();
}

#[test]
fn ignored_signals_of_the_starter_change_nothing() {
    let script = "trap '' HUP PIPE; exec \"$0\" run \"$1\"";
    assert_eq!(step(&["sh"], script), Some(0));
}

/// `nohup` and a shell's `&` mean a run to outlive its terminal.
#[test]
fn a_hangup_that_the_starter_ignores_ends_nothing() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let script = "trap '' HUP INT; exec \"$0\" run \"$1\"";
    let run = env.follow(shell(&env, &["sh"], script, &recipe));
    run.wait_line("] converge");
    kill(run.pid, Signal::SIGHUP).unwrap();
    kill(run.pid, Signal::SIGINT).unwrap();
    run.finish().expect(0);
    env.assert_nothing_left();
}

/// A shell that ignores SIGTERM and SIGCHLD hands that on; a cancel must still come through.
#[test]
fn a_starter_that_ignores_sigterm_cannot_make_a_run_that_nobody_can_cancel() {
    let scene = Scene::new(Phase::Converge);
    let recipe = scene.env.root.join("recipes/notes");
    let script = "trap '' TERM CHLD; exec \"$0\" run \"$1\"";
    let run = scene
        .env
        .follow(shell(&scene.env, &["sh"], script, &recipe));
    scene.wait_reached(&run);
    kill(run.pid, Signal::SIGTERM).unwrap();
    run.finish().expect(143);
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

/// Starts a run whose parent is gone before it begins, adopted by a process of another session that
/// passes its exit code on.
const ORPHAN: &str = r#"
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
top = os.getpid()
first = os.fork()
if first == 0:
    os.setsid()
    if os.fork() == 0:
        while os.getppid() != top:
            time.sleep(0.01)
        os.execv(sys.argv[1], sys.argv[1:])
    os._exit(0)
os.waitpid(first, 0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"#;

#[test]
fn an_orphan_at_start_refuses_to_run_unless_it_is_meant_to_be_one() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let orphan = |env: &SwarmEnv, more: &[&str]| {
        let mut command = env.program("python3");
        command.args(["-c", ORPHAN, binary(), "run", "--dry-run"]);
        command.arg(&recipe).args(more);
        env.follow(command).finish()
    };
    let refused = orphan(&env, &[]);
    refused.expect(3);
    assert!(refused.stderr.contains("orphaned"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--detached"), "{}", refused.stderr);
    assert!(env.run_dirs().is_empty());
    orphan(&env, &["--detached"]).expect(0);
    env.set("INVOCATION_ID", "0123456789abcdef");
    orphan(&env, &[]).expect(0);
    env.assert_nothing_left();
}

/// A run in a step shell, waiting for services that never become healthy.
fn step_in_converge() -> (Scene, Run, std::path::PathBuf) {
    let scene = Scene::new(Phase::Converge);
    let recipe = scene.env.root.join("recipes/notes");
    let dir = scene.env.root.join("step");
    std::fs::create_dir(&dir).unwrap();
    // Without the last command many a shell would exec the run, and be no shell any more.
    let mut command = shell(&scene.env, &["sh"], "\"$0\" run \"$1\"; exit $?", &recipe);
    command.current_dir(&dir);
    let run = scene.env.follow(command);
    scene.wait_reached(&run);
    (scene, run, dir)
}

#[track_caller]
fn assert_torn_down(scene: &Scene) {
    wait_until(LONG, "every process ends", || {
        scene.env.processes().is_empty().then_some(())
    });
    let results = scene.env.results();
    assert_eq!(results["verdict"], "cancelled", "{results:#}");
    assert_eq!(results["teardown"]["clean"], true, "{results:#}");
    scene.env.assert_nothing_left();
}

/// Drone's exec runner.
#[test]
fn a_killed_step_shell_whose_directory_is_deleted_is_a_cancel() {
    let (scene, run, dir) = step_in_converge();
    kill(run.pid, Signal::SIGKILL).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    assert_torn_down(&scene);
}

/// Woodpecker's local runner.
#[test]
fn a_killed_process_group_is_a_cancel() {
    let (scene, run, _dir) = step_in_converge();
    killpg(run.pid, Signal::SIGKILL).unwrap();
    assert_torn_down(&scene);
}

/// GitLab's shell runner and Buildkite.
#[test]
fn a_group_that_gets_term_and_then_kill_is_a_cancel() {
    let (scene, run, _dir) = step_in_converge();
    killpg(run.pid, Signal::SIGTERM).unwrap();
    run.wait_line("== SIGTERM received");
    killpg(run.pid, Signal::SIGKILL).unwrap();
    assert_torn_down(&scene);
}

#[test]
fn a_second_run_of_a_domain_waits_for_the_first() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,custom");
    let recipe = env.recipe("notes");
    let root = env.root.display().to_string();
    nix::unistd::mkfifo(&env.root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let hook = format!(
        "#!/bin/sh\nif mkdir {root}/once; then : >{root}/reached; read -r go <{root}/fifo; fi\n"
    );
    env.overlay("notes", "custom/test_wait.sh", &hook);
    let args = ["run".as_ref(), recipe.as_os_str()];
    let first = env.start(args);
    wait_until(LONG, "the first run holds", || {
        env.root.join("reached").exists().then_some(())
    });
    let second = env.start(args);
    let line = second.wait_line("== app lock: another run of note-");
    assert!(line.contains("is in flight (run manual-"), "{line}");
    assert!(line.ends_with("— waiting =="), "{line}");
    let mut fifo = OpenOptions::new()
        .write(true)
        .open(env.root.join("fifo"))
        .unwrap();
    writeln!(fifo, "go").unwrap();
    first.finish().expect(0);
    let second = second.finish();
    second.expect(0);
    assert!(
        second.stderr.contains("== app lock: acquired"),
        "{}",
        second.stderr
    );
    let waited: Vec<u64> = env
        .run_dirs()
        .iter()
        .filter_map(|dir| read_results(dir)["phases"]["lock_wait_ms"].as_u64())
        .filter(|waited| *waited > 0)
        .collect();
    assert_eq!(waited.len(), 1, "{waited:?}");
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
    kill(first.pid, Signal::SIGINT).unwrap();
    first.finish().expect(130);
    scene.env.assert_nothing_left();
}

/// Leaves an app whose supervisor and worker were both killed, so that nobody could tear it down.
fn leave_an_app() -> Scene {
    let scene = Scene::new(Phase::Converge);
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    wait_until(LONG, "there is a container", || {
        let objects = objects_of(&scene.env.zone);
        objects
            .iter()
            .any(|object| object.starts_with("container"))
            .then_some(())
    });
    let worker = worker_of(run.pid);
    stop(run.pid);
    kill(worker, Signal::SIGKILL).unwrap();
    kill(run.pid, Signal::SIGKILL).unwrap();
    assert_eq!(run.finish().signal, Some(9));
    assert!(!objects_of(&scene.env.zone).is_empty());
    scene
}

#[test]
fn the_janitor_removes_what_two_killed_processes_left() {
    let scene = leave_an_app();
    let dry = scene.env.run(["janitor", "--dry-run"]);
    dry.expect(0);
    assert!(dry.stdout.contains("would be removed"), "{}", dry.stdout);
    assert!(!objects_of(&scene.env.zone).is_empty());
    let swept = scene.env.run(["janitor"]);
    swept.expect(0);
    assert!(swept.stdout.contains("removed"), "{}", swept.stdout);
    scene.env.assert_nothing_left();
}

#[test]
fn the_next_run_removes_what_two_killed_processes_left() {
    let scene = leave_an_app();
    let recipe = scene.env.root.join("recipes/notes");
    let compose = recipe.join("compose.yml");
    scene
        .env
        .edit(&compose, "\"CMD\", \"false\"", "\"CMD\", \"wget\"");
    let done = scene.env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(0);
    assert!(
        done.stderr.contains("== janitor: reaped orphan note-"),
        "{}",
        done.stderr
    );
    scene.env.assert_nothing_left();
}

#[test]
fn a_neighbour_is_left_alone() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let part = env.zone.replace('.', "_");
    // Names that look almost like a run app's, in this very zone.
    for name in [
        format!("notes-0a1b2c_{part}_data"),
        format!("note-0a1b2_{part}_data"),
        format!("warm-notes_{part}_data"),
    ] {
        docker(&["volume", "create", &name]);
    }
    let service = format!("warm-notes_{part}_app");
    docker(&[
        "service",
        "create",
        "--quiet",
        "--detach",
        "--name",
        &service,
        "recipe-ci/notes:1",
        "sleep",
        "9999",
    ]);
    let objects = |kind: &str| -> Vec<String> {
        let mut all = objects_of(&env.zone);
        all.retain(|object| object.starts_with(kind));
        all
    };
    let before = (objects("volume"), objects("service"));
    env.run(["run".as_ref(), recipe.as_os_str()]).expect(0);
    env.run(["janitor"]).expect(0);
    assert_eq!((objects("volume"), objects("service")), before);
    assert!(!objects("container").is_empty(), "its task was removed");
    env.assert_quiet();
}
