//! The lock and the places of a run, with real processes and the real kernel, and no engine.
//!
//! The numbers are those of docs/concurrency.md; what needs an engine is in `tests/swarm`.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::dirs::{DirsError, HostDirs, RunDirs};
use harness::lock::{Attempt, DomainLock};
use harness::name::{Domain, RunId};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Mount, Run, TestEnv, command, is_locked, read_results, variable};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(60);

/// Says what the process that [`Place::start`] starts is to do.
const ROLE: &str = "RECIPE_CI_TEST_ROLE";

const DOMAIN: &str = "note-012345.ci.localhost";

fn host(root: &Path) -> HostDirs {
    HostDirs {
        locks: root.join("locks"),
        runs: root.join("runs"),
        state: root.join("state"),
        rooms: root.join("state/rooms"),
        warm: root.join("warm"),
        abra: root.join("home/.abra"),
    }
}

fn domain() -> Domain {
    Domain::parse(DOMAIN, &"ci.localhost".parse().unwrap()).unwrap()
}

fn run_id(id: &str) -> RunId {
    id.parse().unwrap()
}

/// A lock directory, and processes that hold or want the lock of one domain in it.
struct Place {
    env: TestEnv,
    host: HostDirs,
}

impl Place {
    fn new() -> Self {
        let env = TestEnv::new("unix:///nowhere");
        let host = host(&env.root);
        std::fs::create_dir(&host.locks).unwrap();
        Self { env, host }
    }

    fn path(&self) -> PathBuf {
        self.host.lock_file(&domain())
    }

    fn inode(&self) -> u64 {
        std::fs::metadata(self.path()).unwrap().ino()
    }

    fn attempt(&self) -> Attempt {
        DomainLock::try_acquire(&self.host, &domain(), &run_id("probe")).unwrap()
    }

    /// Starts a process with a role of [`process_of_a_test`].
    fn start(&self, role: &str) -> Run {
        let mut command = self.env.program(std::env::current_exe().unwrap());
        command
            .args(["locks::process_of_a_test", "--exact", "--nocapture"])
            .env(ROLE, role);
        self.env.follow(command)
    }

    /// Starts a process that holds the lock, and waits until it does.
    fn hold(&self) -> Run {
        let holder = self.start("hold");
        holder.wait_line("acquired");
        holder
    }

    /// Waits until the kernel says that somebody waits for this inode.
    fn wait_blocked(&self, inode: u64) {
        let tail = format!(":{inode} ");
        wait_until(LONG, "somebody blocks on the lock", || {
            let locks = harness::host_file::text("/proc/locks").unwrap();
            locks
                .lines()
                .any(|line| line.contains("-> FLOCK") && line.contains(&tail))
                .then_some(())
        });
    }
}

#[track_caller]
fn acquired(attempt: Attempt) -> DomainLock {
    match attempt {
        Attempt::Acquired(lock) => lock,
        Attempt::Held { holder, .. } => panic!("held by `{holder}`"),
    }
}

#[track_caller]
fn holder_of(attempt: Attempt) -> String {
    match attempt {
        Attempt::Held { holder, .. } => holder,
        Attempt::Acquired(_) => panic!("the lock was free"),
    }
}

#[track_caller]
fn end(run: Run) {
    kill(run.pid, Signal::SIGKILL).unwrap();
    assert_eq!(run.ended().signal(), Some(9));
}

/// What the tests below start, a process that holds or wants a lock; on its own it proves nothing.
#[test]
fn process_of_a_test() {
    let Some(role) = variable(ROLE) else { return };
    let locks = PathBuf::from(variable("CCCI_APP_LOCK_DIR").unwrap());
    let host = host(locks.parent().unwrap());
    let say = |text: &str| writeln!(std::io::stderr(), "{text}").unwrap();
    let _lock = if role == "wait" {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let run = run_id("waiter");
        let domain = domain();
        runtime
            .block_on(DomainLock::acquire(&host, &domain, &run))
            .unwrap()
    } else {
        acquired(DomainLock::try_acquire(&host, &domain(), &run_id("holder")).unwrap())
    };
    if role == "hold with a child" {
        let mut child = command("sleep")
            .arg("1000")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        say(&format!("child {}", child.id()));
        say("acquired");
        child.wait().unwrap();
    }
    say("acquired");
    loop {
        std::thread::park();
    }
}

#[test]
fn t01_sigkill_of_a_holder_frees_the_lock_at_once() {
    let place = Place::new();
    let holder = place.hold();
    assert!(is_locked(&place.path()));
    end(holder);
    drop(acquired(place.attempt()));
}

#[test]
fn t02_a_probe_does_not_wait_and_says_held_or_free() {
    let place = Place::new();
    drop(acquired(place.attempt()));
    let holder = place.hold();
    let text = holder_of(place.attempt());
    assert_eq!(text, format!("run holder (pid {})", holder.pid));
    // A probe changes nothing for the holder.
    assert!(is_locked(&place.path()));
    assert_eq!(holder_of(place.attempt()), text);
    end(holder);
    drop(acquired(place.attempt()));
}

#[test]
fn t03_a_child_that_outlives_the_holder_does_not_keep_the_lock() {
    let place = Place::new();
    let holder = place.start("hold with a child");
    let line = holder.wait_line("child ");
    holder.wait_line("acquired");
    let child: i32 = line.strip_prefix("child ").unwrap().parse().unwrap();
    end(holder);
    let stat = || harness::host_file::text(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(
        stat().contains("(sleep)") && !stat().contains(") Z"),
        "{}",
        stat()
    );
    drop(acquired(place.attempt()));
    kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
    wait_until(LONG, "the child has ended", || {
        (stat().is_empty() || stat().contains(") Z")).then_some(())
    });
}

#[test]
fn t04_a_second_acquire_blocks_until_the_first_ends() {
    let place = Place::new();
    let first = place.hold();
    let inode = place.inode();
    let second = place.start("wait");
    place.wait_blocked(inode);
    assert!(!second.stderr().contains("acquired"), "{}", second.stderr());
    end(first);
    second.wait_line("acquired");
    assert_eq!(place.inode(), inode);
    let text = holder_of(place.attempt());
    assert_eq!(text, format!("run waiter (pid {})", second.pid));
    end(second);
}

/// A janitor unlinks the file of an app that it reaped: a process that waited for that inode owns nothing.
#[test]
fn t22_a_waiter_that_wins_an_unlinked_inode_waits_again_on_the_live_path() {
    let place = Place::new();
    let reaper = place.hold();
    let old = place.inode();
    let waiter = place.start("wait");
    place.wait_blocked(old);
    std::fs::remove_file(place.path()).unwrap();
    let third = acquired(place.attempt());
    let live = place.inode();
    assert_ne!(live, old);
    end(reaper);
    place.wait_blocked(live);
    assert!(
        !waiter.stderr().contains("acquired"),
        "two own it: {}",
        waiter.stderr()
    );
    drop(third);
    waiter.wait_line("acquired");
    assert_eq!(place.inode(), live);
    end(waiter);
}

#[test]
fn t28_flock_of_util_linux_and_we_see_the_same_lock() {
    let place = Place::new();
    let path = place.path();
    let flock = |args: &[&str]| {
        let mut command = place.env.program("flock");
        command.args(&args[..args.len() - 1]).arg(&path);
        command.arg(args[args.len() - 1]);
        command
    };
    let ours = place.hold();
    assert_eq!(
        flock(&["--nonblock", "true"]).status().unwrap().code(),
        Some(1)
    );
    let waiting = place.env.follow(flock(&["true"]));
    place.wait_blocked(place.inode());
    end(ours);
    waiting.finish().expect(0);

    let mut theirs = flock(&["--no-fork", "sleep"]);
    theirs.arg("1000");
    let theirs = place.env.follow(theirs);
    wait_until(LONG, "flock(1) holds it", || is_locked(&path).then_some(()));
    // What the file says is of an earlier holder, and only for messages.
    holder_of(place.attempt());
    let ours = place.start("wait");
    place.wait_blocked(place.inode());
    end(theirs);
    ours.wait_line("acquired");
    end(ours);
}

/// The names below `dir`, two levels deep.
fn names_below(dir: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in harness::host_file::entries(dir).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            let below = harness::host_file::entries(entry.path()).unwrap().flatten();
            names.extend(below.map(|one| format!("{name}/{}", one.file_name().to_string_lossy())));
        } else {
            names.push(name);
        }
    }
    names
}

#[test]
fn t17_a_runs_own_abra_directory_has_its_own_env_files_alone_and_may_be_built_twice() {
    let root = tempfile::tempdir().unwrap();
    let host = host(root.path());
    // What an abra that commits and pushes would find at an operator's.
    let theirs = host.abra.join("servers/default");
    std::fs::create_dir_all(theirs.join(".git")).unwrap();
    std::fs::write(theirs.join("cloud.example.org.env"), "A=1\n").unwrap();
    let dirs = RunDirs::create(&host, &run_id("x")).unwrap();
    for _ in 0..2 {
        dirs.make_abra(&host).unwrap();
        dirs.make_abra_work(&host).unwrap();
        dirs.link_env_file(&host, "default", &domain()).unwrap();
    }
    for abra in [&dirs.abra, &dirs.abra_work] {
        let link = std::fs::read_link(abra.join("catalogue")).unwrap();
        assert_eq!(link, host.abra.join("catalogue"));
        assert!(link.is_dir(), "{link:?}");
        assert!(!abra.join("recipes").is_symlink());
        assert_eq!(names_below(&abra.join("recipes")), [""; 0]);
        assert!(!abra.join("servers").is_symlink());
        assert_eq!(
            names_below(&abra.join("servers")),
            [format!("default/{DOMAIN}.env")]
        );
    }
}

#[test]
fn t17_a_file_in_the_place_of_a_link_is_an_error_that_names_both() {
    let root = tempfile::tempdir().unwrap();
    let host = host(root.path());
    let dirs = RunDirs::create(&host, &run_id("x")).unwrap();
    dirs.make_abra(&host).unwrap();
    let own = dirs.abra.join("servers/default");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join(format!("{DOMAIN}.env")), "").unwrap();
    let error = dirs.link_env_file(&host, "default", &domain()).unwrap_err();
    assert!(matches!(error, DirsError::InTheWay { .. }), "{error}");
    let text = error.to_string();
    for place in ["runs/x/abra/servers/default", "home/.abra/servers/default"] {
        assert!(text.contains(&format!("{place}/{DOMAIN}.env")), "{text}");
    }
}

#[test]
fn t19_an_env_file_written_through_the_link_is_in_the_canonical_place() {
    let root = tempfile::tempdir().unwrap();
    let host = host(root.path());
    let dirs = RunDirs::create(&host, &run_id("x")).unwrap();
    dirs.make_abra(&host).unwrap();
    dirs.link_env_file(&host, "default", &domain()).unwrap();
    let own = dirs.abra.join("servers/default");
    std::fs::write(own.join(format!("{DOMAIN}.env")), "A=1\n").unwrap();
    let canonical = host.env_file("default", &domain());
    assert_eq!(harness::host_file::text(&canonical).unwrap(), "A=1\n");
    std::fs::remove_dir_all(&dirs.root).unwrap();
    assert!(canonical.exists(), "the link was followed");
}

#[test]
fn t20_state_files_carry_run_and_process_and_never_the_domain() {
    let root = tempfile::tempdir().unwrap();
    let dirs = RunDirs::create(&host(root.path()), &run_id("9")).unwrap();
    let name = dirs.state_file("deploy-count");
    assert!(name.starts_with(&dirs.root), "{name:?}");
    assert!(name.ends_with(format!("deploy-count-9-{}", std::process::id())));
}

/// A host without an engine, where a run gets as far as its report.
fn without_engine() -> (TestEnv, Vec<std::ffi::OsString>) {
    let env = TestEnv::new("unix:///nowhere");
    let recipe = env.recipe("notes");
    (env, vec!["run".into(), recipe.into()])
}

#[test]
fn t18b_two_runs_that_were_given_one_id_do_not_share_a_directory() {
    let (mut env, args) = without_engine();
    env.set("CCCI_RUN_ID", "nightly");
    let runs = [env.start(&args), env.start(&args)];
    for run in runs {
        run.finish().expect(3);
    }
    let mut ids: Vec<String> = env
        .run_dirs()
        .iter()
        .map(|dir| read_results(dir)["run_id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    assert_eq!(ids, ["nightly", "nightly-2"]);
    env.assert_quiet();
}

#[test]
fn t20b_manual_runs_differ_by_pid() {
    let (env, args) = without_engine();
    let runs = [env.start(&args), env.start(&args)];
    let pids = runs.each_ref().map(|run| run.pid);
    for run in runs {
        run.finish().expect(3);
    }
    for pid in pids {
        let dir = env.root.join(format!("runs/manual-{pid}"));
        assert_eq!(read_results(&dir)["run_id"], format!("manual-{pid}"));
    }
    assert_eq!(env.run_dirs().len(), 2);
    env.assert_quiet();
}

/// None of them can be mounted in a test, so the programs are lied to about the file system of their directories;
/// which ones are refused is tested in `harness::lock`, runs and janitors in `tests/swarm/infra.rs`.
#[test]
fn t29_a_network_file_system_is_refused_for_every_lock_that_proves_an_owner() {
    let mut env = TestEnv::new("unix:///nowhere");
    let root = env.root.clone();
    std::fs::create_dir(root.join("locks")).unwrap();
    let once = ["once", "-w", "-i", "x", "--", "true"];
    env.preload("FAKE_NFS", "state");
    for (args, code) in [
        (&once[..], 2),
        (&["once", "-p", "-i", "x"], 2),
        (&["janitor", "watch"], 3),
    ] {
        let done = env.run(args);
        done.expect(code);
        let said = format!("`{}", root.join("state").display());
        for words in [&said[..], "is on a network file system"] {
            assert!(done.stderr.contains(words), "{args:?}: {}", done.stderr);
        }
    }
    for (place, words) in [
        ("locks", "a lock does not prove a live owner"),
        ("warm", "a snapshot and its record may part"),
    ] {
        std::fs::create_dir_all(root.join(place)).unwrap();
        env.set("FAKE_NFS", root.join(place).display().to_string());
        let said = env.run(["doctor"]).stdout;
        assert!(said.contains(words), "{place}: {said}");
    }
    env.set("FAKE_NFS", "/nowhere");
    env.run(once).expect(0);
    let said = env.run(["doctor"]).stdout;
    assert!(!said.contains("network file system"), "{said}");
    env.assert_quiet();
}

#[test]
fn t29_a_read_only_lock_directory_is_refused_before_anything_is_made() {
    let (env, args) = without_engine();
    let locks = Mount::tmpfs(env.root.join("locks"), "size=64k,ro");
    let done = env.run(&args);
    done.expect(2);
    for word in [
        "lock directory",
        "Read-only file system",
        "CCCI_APP_LOCK_DIR",
    ] {
        assert!(done.stderr.contains(word), "{word}: {}", done.stderr);
    }
    assert!(env.run_dirs().is_empty());
    drop(locks);
    env.assert_quiet();
}
