//! Real processes with real locks: the worker that is killed is `flock(1)`, which takes the lock as we do.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use engine::process::Identity;
use engine::wait::Deadline;

struct Place {
    _root: tempfile::TempDir,
    host: HostDirs,
}

/// A run whose worker is a process that this test may kill.
struct FakeRun {
    dirs: RunDirs,
    worker: Child,
    token: String,
}

/// A child that goes with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for FakeRun {
    fn drop(&mut self) {
        self.kill();
    }
}

impl FakeRun {
    fn kill(&mut self) {
        drop(self.worker.kill());
        drop(self.worker.wait());
    }
}

impl Daemon {
    fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

fn identity(child: &Child) -> Identity {
    Identity::of(i32::try_from(child.id()).unwrap()).unwrap()
}

fn command(program: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a process to look at")]
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Deadline::after(Duration::from_secs(60));
    while !done() {
        assert!(!limit.passed(), "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        Self { _root: root, host }
    }

    fn run(&self, id: &str) -> FakeRun {
        let dirs = RunDirs::create(&self.host, &id.parse().unwrap()).unwrap();
        dirs.make_abra(&self.host).unwrap();
        std::fs::write(dirs.results(), "{}").unwrap();
        std::fs::write(dirs.logs.join("step.log"), "said").unwrap();
        std::fs::write(dirs.root.join("base"), "a file, of all things").unwrap();
        std::fs::write(dirs.state.join("live.json"), "{}").unwrap();
        let lock = RunDirs::live_lock(&dirs.root);
        let worker = command("flock")
            .arg("--no-fork")
            .arg(&lock)
            .args(["sleep", "600"])
            .spawn()
            .unwrap();
        until("the worker has its lock", || {
            matches!(probe(&lock), Ok(Probe::Held { .. }))
        });
        let token = format!("{:032x}", worker.id());
        let run = FakeRun {
            dirs,
            worker,
            token,
        };
        run.say(&run.token, &identity(&run.worker));
        run
    }

    async fn sweep(&self, dry_run: bool) -> (Vec<DeadRun>, Vec<String>) {
        let mut unreadable = Vec::new();
        let dead = clear(&self.host, dry_run, &mut unreadable).await;
        (dead, unreadable)
    }

    async fn assert_left_alone(&self, run: &FakeRun, daemon: &mut Daemon) {
        let (dead, unreadable) = self.sweep(false).await;
        assert_eq!((dead, unreadable), (Vec::new(), Vec::new()));
        assert!(!daemon.ended(), "a daemon was ended");
        assert!(run.dirs.abra.exists() && run.dirs.state.exists());
    }
}

impl FakeRun {
    fn say(&self, token: &str, process: &Identity) {
        let mark = Mark {
            group: None,
            token: token.to_owned(),
            process: process.clone(),
        };
        let text = serde_json::to_string(&mark).unwrap();
        std::fs::write(RunDirs::mark(&self.dirs.root), text).unwrap();
    }

    /// Starts what a hook may: a process in a session of its own, which has nothing of the run but its mark.
    fn daemon(&self, script: &str) -> Daemon {
        daemon(&self.token, script)
    }
}

fn daemon(token: &str, script: &str) -> Daemon {
    let ready = tempfile::tempdir().unwrap();
    let file = ready.path().join("ready");
    let mut command = command("setsid");
    command
        .args(["sh", "-c", &format!(": >\"$READY\"; {script}")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("READY", &file)
        .env(RUN_MARK, token)
        .stderr(Stdio::null());
    let daemon = Daemon(command.spawn().unwrap());
    until("the daemon runs", || file.exists());
    daemon
}

const STUBBORN: &str = "trap '' TERM; while :; do sleep 0.2; done";

#[tokio::test(flavor = "current_thread")]
async fn of_a_dead_run_daemons_and_working_files_go_and_the_record_stays() {
    let place = Place::new();
    let mut run = place.run("7");
    let mut plain = run.daemon("exec sleep 600");
    let mut stubborn = run.daemon(STUBBORN);
    place.assert_left_alone(&run, &mut plain).await;
    let name = format!("/proc/{}/comm", plain.0.id());
    let limit = Deadline::after(Duration::from_secs(60));
    while ground::host_file::text(&name).unwrap() != "sleep\n" {
        assert!(!limit.passed(), "it is still the shell");
        engine::wait::pause(Duration::from_millis(5)).await;
    }
    run.kill();

    let (dry, unreadable) = place.sweep(true).await;
    assert_eq!(unreadable, [""; 0]);
    let [dead] = dry.as_slice() else {
        panic!("{dry:?}")
    };
    // Beside the two there may be the stubborn one's sleep, or one after the other.
    assert!(dead.ended.len() >= 2, "{dead:?}");
    assert!(run.dirs.abra.exists() && !plain.ended() && !stubborn.ended());

    let (dead, unreadable) = place.sweep(false).await;
    assert_eq!(unreadable, [""; 0]);
    let [dead] = dead.as_slice() else {
        panic!("{dead:?}")
    };
    assert!(plain.ended() && stubborn.ended());
    assert_eq!((dead.run.as_str(), dead.left.len()), ("7", 0), "{dead:?}");
    for process in [
        format!("sleep (pid {})", plain.0.id()),
        format!("sh (pid {})", stubborn.0.id()),
    ] {
        assert!(dead.ended.contains(&process), "{process}: {dead:?}");
    }
    let gone = ["backups", "abra", "tests", "bin", "base", "state"];
    assert_eq!(dead.removed, gone);
    assert_eq!(dead.removed, dry[0].removed);
    let mut names: Vec<_> = ground::host_file::entries(&run.dirs.root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["logs", "results.json"]);
    assert!(run.dirs.logs.join("step.log").exists());
    // What the links led to is the host's.
    assert!(place.host.abra.join("servers").exists());
    assert_eq!(place.sweep(false).await, (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "current_thread")]
async fn who_has_another_mark_or_none_or_is_older_than_the_run_is_not_hit() {
    let place = Place::new();
    let other = place.run("8");
    let mut theirs = other.daemon("exec sleep 600");
    let mut unmarked = daemon("", "exec sleep 600");
    let mut run = place.run("7");
    let mut older = run.daemon("exec sleep 600");
    run.kill();
    // As if the run had begun after that process, so that it cannot be its child.
    let since = identity(&older.0).started;
    let mut worker = Daemon(command("true").spawn().unwrap());
    while identity(&worker.0).started <= since {
        drop(worker.0.wait());
        worker = Daemon(command("true").spawn().unwrap());
    }
    run.say(&run.token, &identity(&worker.0));
    drop(worker);
    let (dead, unreadable) = place.sweep(false).await;
    assert_eq!((dead.len(), unreadable), (1, Vec::new()), "{dead:?}");
    assert_eq!(
        (&dead[0].run, dead[0].ended.len()),
        (&run.dirs.id.to_string(), 0)
    );
    assert_eq!(dead[0].left, [""; 0]);
    assert!(!theirs.ended() && !unmarked.ended() && !older.ended());
    assert!(other.dirs.state.exists());
}

#[tokio::test(flavor = "current_thread")]
async fn less_than_the_whole_proof_leaves_a_run_alone() {
    let place = Place::new();
    let mut run = place.run("7");
    let mut daemon = run.daemon("exec sleep 600");
    let (lock, mark) = (
        RunDirs::live_lock(&run.dirs.root),
        RunDirs::mark(&run.dirs.root),
    );
    let whole = ground::host_file::bytes(&mark).unwrap();
    let worker = identity(&run.worker);

    // A worker that lives, though its lock can be had: somebody replaced the file.
    std::fs::remove_file(&lock).unwrap();
    std::fs::write(&lock, "").unwrap();
    place.assert_left_alone(&run, &mut daemon).await;

    // A dead worker whose lock somebody holds.
    run.kill();
    let held = engine::lock::SectionLock::try_acquire(&lock)
        .unwrap()
        .unwrap();
    place.assert_left_alone(&run, &mut daemon).await;
    drop(held);

    // It has its directory and its lock, but has not said its mark.
    std::fs::remove_file(&mark).unwrap();
    place.assert_left_alone(&run, &mut daemon).await;

    // A mark that would be found in anything.
    run.say("", &worker);
    let (dead, unreadable) = place.sweep(false).await;
    assert_eq!(dead, []);
    assert!(unreadable[0].contains("its token"), "{unreadable:?}");
    std::fs::write(&mark, "{").unwrap();
    let (dead, unreadable) = place.sweep(false).await;
    assert_eq!((dead, unreadable.len()), (Vec::new(), 1));

    // A mark without a lock says nothing about who lives.
    std::fs::write(&mark, &whole).unwrap();
    std::fs::remove_file(&lock).unwrap();
    let (dead, unreadable) = place.sweep(false).await;
    assert_eq!(dead, []);
    assert!(unreadable[0].contains("no lock"), "{unreadable:?}");

    // Another janitor is at it.
    std::fs::write(&lock, "").unwrap();
    let other = ground::host_file::open(&run.dirs.root).map(file::try_exclusive);
    place.assert_left_alone(&run, &mut daemon).await;
    drop(other);
    assert_eq!(place.sweep(false).await.0.len(), 1);
    assert!(daemon.ended() && !run.dirs.state.exists());
}

/// As a power cut in the first seconds of a run leaves it.
#[tokio::test(flavor = "current_thread")]
async fn of_a_run_whose_garbled_mark_is_older_than_this_boot_the_working_files_go() {
    let place = Place::new();
    let mut run = place.run("7");
    let mark = RunDirs::mark(&run.dirs.root);
    let write = |text: &str, old: bool| {
        std::fs::write(&mark, text).unwrap();
        let file = ground::host_file::options()
            .write(true)
            .open(&mark)
            .unwrap();
        if old {
            file.set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
        }
    };
    // Somebody has its lock.
    let mut daemon = run.daemon("exec sleep 600");
    write("", true);
    place.assert_left_alone(&run, &mut daemon).await;
    run.kill();
    for text in ["", "\0\0\0\0", "{"] {
        write(text, false);
        let (dead, unreadable) = place.sweep(false).await;
        assert_eq!((dead.len(), unreadable.len()), (0, 1), "{text:?}");
        assert!(run.dirs.state.exists());
        write(text, true);
        let (dead, unreadable) = place.sweep(true).await;
        assert_eq!((dead.len(), unreadable.len()), (1, 0), "{text:?}");
        assert!(run.dirs.state.exists());
    }
    // Without a lock nothing is proven.
    let lock = RunDirs::live_lock(&run.dirs.root);
    std::fs::remove_file(&lock).unwrap();
    let (dead, unreadable) = place.sweep(false).await;
    assert_eq!((dead.len(), unreadable.len()), (0, 1));
    std::fs::write(&lock, "").unwrap();
    let (dead, unreadable) = place.sweep(false).await;
    assert_eq!(unreadable, [""; 0]);
    assert!(dead[0].left.is_empty() && dead[0].ended.is_empty());
    assert!(!run.dirs.state.exists() && !run.dirs.abra.exists());
    assert!(run.dirs.results().exists() && !daemon.ended());
    assert_eq!(place.sweep(false).await, (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "current_thread")]
async fn a_directory_that_is_replaced_meanwhile_is_not_touched() {
    let place = Place::new();
    let mut run = place.run("7");
    run.kill();
    let dead = find(&run.dirs.root, || true).unwrap().unwrap();
    // Removed by hand, and a new run has got the id.
    std::fs::rename(&run.dirs.root, place.host.runs.join("old")).unwrap();
    let new = place.run("7");
    let cleared = dead.clear(false, &mut Vec::new()).await.unwrap();
    assert!(cleared.left.is_empty() && !cleared.removed.is_empty());
    assert!(new.dirs.abra.exists() && new.dirs.state.exists());
    assert!(!place.host.runs.join("old/abra").exists());
}

#[tokio::test(flavor = "current_thread")]
async fn where_locks_prove_nothing_no_run_is_dead() {
    let place = Place::new();
    let mut run = place.run("7");
    run.kill();
    assert!(find(&run.dirs.root, || false).unwrap().is_none());
    std::fs::write(place.host.runs.join("a-file"), "").unwrap();
    std::os::unix::fs::symlink(&run.dirs.root, place.host.runs.join("a-link")).unwrap();
    let (dead, unreadable) = place.sweep(true).await;
    assert_eq!((dead.len(), unreadable), (1, Vec::new()));
}
