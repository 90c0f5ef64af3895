//! `recipe-ci once`: real processes, real locks, real kills.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{Done, Run, TestEnv, binary, copy};

/// A directory of tasks with a task that counts its runs and ends when it is let go.
pub(crate) struct Tasks {
    pub(crate) env: TestEnv,
    pub(crate) dir: PathBuf,
}

/// Counts a run, says so, and waits for the file `go`; its exit code is in `code`.
pub(crate) const TASK: &str =
    "echo run >>count; until test -e go; do read -t 0.02 _ <>fifo; done; exit $(cat code)";

impl Tasks {
    pub(crate) fn new() -> Self {
        let mut env = TestEnv::new("unix:///nowhere/docker.sock");
        let dir = env.root.join("once");
        env.set("CCCI_ONCE_DIR", dir.display().to_string());
        env.write("code", "7");
        nix::unistd::mkfifo(
            &env.root.join("fifo"),
            nix::sys::stat::Mode::from_bits_truncate(0o600),
        )
        .unwrap();
        Self { env, dir }
    }

    pub(crate) fn once(&self, args: &[&str]) -> Run {
        self.env.start(std::iter::once(&"once").chain(args))
    }

    /// Asks for the task `x` with `args` before the command.
    pub(crate) fn task(&self, args: &[&str]) -> Run {
        let words = [args, &["-i", "x", "--", "bash", "-c", TASK]].concat();
        self.once(&words)
    }

    pub(crate) fn runs(&self) -> usize {
        let text = harness::host_file::text(self.env.root.join("count")).unwrap_or_default();
        text.lines().count()
    }

    pub(crate) fn go(&self) {
        self.env.write("go", "");
    }

    pub(crate) fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("x.{what}"))
    }

    pub(crate) fn text(&self, what: &str) -> String {
        harness::host_file::text(self.file(what)).unwrap()
    }

    /// Returns what the attempt's file says of itself.
    pub(crate) fn record(&self) -> Value {
        serde_json::from_str(self.text("task").lines().nth(1).unwrap()).unwrap()
    }

    pub(crate) fn pid(&self) -> i32 {
        let text = self.text("pid");
        text.strip_suffix('\n').unwrap().parse().unwrap()
    }

    pub(crate) fn runner(&self) -> i32 {
        i32::try_from(self.record()["runner"]["pid"].as_i64().unwrap()).unwrap()
    }

    /// Returns the names of the files, in order.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = harness::host_file::entries(&self.dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[track_caller]
    pub(crate) fn state(&self, expected: &str) {
        let done = self.once(&["-p", "-i", "x"]).finish();
        assert_eq!(done.stdout, expected, "{}", done.stderr);
    }

    /// Edits one of its files.
    pub(crate) fn forge(&self, what: &str, edit: impl FnOnce(String) -> String) {
        let path = self.file(what);
        let text = edit(harness::host_file::text(&path).unwrap());
        std::fs::write(&path, text).unwrap();
    }
}

pub(crate) fn kill9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_start_returns_at_once_and_the_result_is_everybodys() {
    let tasks = Tasks::new();
    tasks.state("none");
    assert!(!tasks.dir.exists(), "a peek made the directory");
    // `finish` also proves that the task holds none of the starter's output.
    tasks.task(&[]).finish().expect(0);
    tasks.task(&["-s"]).finish().expect(0);
    tasks.state(&format!("running {}", tasks.pid()));
    assert_eq!(mode(&tasks.dir), 0o711);
    assert_eq!(mode(&tasks.file("pid")), 0o644);
    let waiter = tasks.task(&["-w", "-m", "one moment"]);
    let line = waiter.wait_line("one moment");
    assert!(line.contains(&tasks.pid().to_string()), "{line}");
    let quiet = tasks.once(&["-w", "-q", "-i", "x"]);
    tasks.go();
    waiter.finish().expect(7);
    let done = quiet.finish();
    done.expect(7);
    assert_eq!(done.stderr, "");
    tasks.state("done 7");
    // Later ones get it without a run, and have nothing to wait for.
    let done = tasks.task(&["-w"]).finish();
    done.expect(7);
    assert_eq!(done.stderr, "");
    assert_eq!(tasks.runs(), 1);
}

#[test]
fn twenty_at_once_run_it_once() {
    let tasks = Tasks::new();
    let waiters: Vec<Run> = (0..20).map(|_| tasks.task(&["-w"])).collect();
    for waiter in &waiters {
        waiter.wait_line("waiting for task `x`");
    }
    tasks.go();
    for waiter in waiters {
        waiter.finish().expect(7);
    }
    assert_eq!(tasks.runs(), 1);
}

#[test]
fn a_task_that_is_killed_is_run_again_for_all_who_wait() {
    let tasks = Tasks::new();
    let waiters: Vec<Run> = (0..3).map(|_| tasks.task(&["-w"])).collect();
    for waiter in &waiters {
        waiter.wait_line("waiting for task");
    }
    let first = tasks.pid();
    // Killed before it counted itself, it would never be two runs.
    until("the first run", || tasks.runs() == 1);
    kill9(first);
    until("a second run", || tasks.runs() == 2);
    tasks.go();
    for waiter in waiters {
        waiter.finish().expect(7);
    }
    assert_eq!(tasks.runs(), 2);
}

#[test]
fn a_task_that_is_always_killed_is_not_run_for_ever() {
    let tasks = Tasks::new();
    let words = ["-i", "x", "--", "sh", "-c", "echo run >>count; kill -9 $$"];
    tasks
        .once(&[&["-w"], &words[..]].concat())
        .finish()
        .expect(137);
    assert_eq!(tasks.runs(), 3);
    // It is no result: a later caller has the task run again.
    tasks.state("dead");
    tasks
        .once(&[&["-w"], &words[..]].concat())
        .finish()
        .expect(137);
    assert_eq!(tasks.runs(), 6);
}

#[test]
fn a_runner_that_is_killed_takes_the_task_along_and_another_one_starts() {
    let tasks = Tasks::new();
    // A child of the task outlives the kernel's signal to the task, and must not run beside the next attempt.
    let script =
        "echo run >>count; sleep 1000 & until test -e go; do read -t 0.02 _ <>fifo; done; exit 7";
    let words = ["-w", "-i", "x", "--", "bash", "-c", script];
    let waiter = tasks.once(&words);
    waiter.wait_line("waiting for task");
    let sleeps = || {
        let all = tasks.env.processes();
        all.iter()
            .filter(|(_, line)| line.starts_with("sleep"))
            .count()
    };
    until("its child", || sleeps() == 1);
    let first = tasks.pid();
    kill9(tasks.runner());
    until("a second run", || tasks.runs() == 2 && tasks.pid() != first);
    until("one child", || sleeps() == 1);
    tasks.go();
    waiter.finish().expect(7);
    assert_eq!(tasks.runs(), 2);
}

#[test]
fn a_task_survives_the_process_that_started_it() {
    let tasks = Tasks::new();
    let starter = tasks.task(&["-w"]);
    starter.wait_line("waiting for task");
    let waiter = tasks.task(&["-w"]);
    waiter.wait_line("waiting for task");
    kill9(starter.pid.as_raw());
    assert_eq!(starter.finish().signal, Some(9));
    tasks.state(&format!("running {}", tasks.pid()));
    tasks.go();
    waiter.finish().expect(7);
    assert_eq!(tasks.runs(), 1);
}

#[test]
fn either_file_may_be_removed_while_it_runs() {
    for what in ["lock", "task", "pid"] {
        let tasks = Tasks::new();
        let first = tasks.task(&["-w"]);
        first.wait_line("waiting for task");
        std::fs::remove_file(tasks.file(what)).unwrap();
        let second = tasks.task(&["-w"]);
        second.wait_line("waiting for task");
        tasks.task(&[]).finish().expect(0);
        tasks.go();
        first.finish().expect(7);
        second.finish().expect(7);
        assert_eq!(tasks.runs(), 1, "{what}");
    }
}

#[test]
fn a_result_of_something_else_is_not_believed() {
    let tasks = Tasks::new();
    tasks.go();
    tasks.task(&["-w"]).finish().expect(7);
    tasks.env.write("code", "8");
    let mut runs = 1;
    let mut again = |case: &str| {
        tasks.task(&["-w"]).finish().expect(8);
        runs += 1;
        assert_eq!(tasks.runs(), runs, "{case}");
    };
    // Written by hand, or of another attempt.
    for text in ["0\n", "7\n", "", "no number\n", "8 9\n", "300\n"] {
        tasks.forge("exit", |was| {
            assert_ne!(was, text);
            text.to_owned()
        });
        again(text);
        if text == "0\n" {
            // That attempt's own code was 7, which is another one's now.
            assert_eq!(tasks.text("exit"), "8\n");
        }
    }
    // Copied from elsewhere, without the attempt that announced it, or with one of another task of that pid.
    std::fs::remove_file(tasks.file("task")).unwrap();
    again("no attempt");
    tasks.forge("task", |text| {
        text.replacen(&tasks.pid().to_string(), "1", 1)
    });
    again("another pid");
    // All of it from before a crash of the system: the boot is another one.
    let boot = harness::host_file::text("/proc/sys/kernel/random/boot_id").unwrap();
    tasks.forge("task", |text| text.replace(boot.trim(), "another-boot"));
    tasks.state("none");
    let done = tasks.once(&["-E", "-i", "x"]).finish();
    done.expect(1);
    assert_eq!(done.stdout, "");
    again("another boot");
    // The number for shells decides nothing.
    std::fs::write(tasks.file("pid"), "1\n").unwrap();
    tasks.state("done 8");
    tasks.task(&["-w"]).finish().expect(8);
    assert_eq!(tasks.runs(), runs);
}

#[test]
fn a_result_expires_for_who_asks_and_for_all_when_the_starter_says_so() {
    let tasks = Tasks::new();
    tasks.go();
    tasks.task(&["-w"]).finish().expect(7);
    tasks.task(&["-w", "-t", "3600"]).finish().expect(7);
    assert_eq!(tasks.runs(), 1);
    tasks.task(&["-w", "-t", "0"]).finish().expect(7);
    assert_eq!(tasks.runs(), 2);
    // That one was started for 0 seconds: it does not count.
    tasks.state("stale 7");
    tasks.task(&["-w"]).finish().expect(7);
    assert_eq!(tasks.runs(), 3);
}

#[test]
fn a_reset_ends_and_forgets_one_task() {
    let tasks = Tasks::new();
    let waiter = tasks.task(&["-w"]);
    waiter.wait_line("waiting for task");
    // Ended before it counted itself, it would never be three runs.
    until("the first run", || tasks.runs() == 1);
    tasks.once(&["-r", "-i", "x"]).finish().expect(0);
    // It was ended on purpose: it is not run again for those who waited.
    waiter.finish().expect(143);
    tasks.state("none");
    assert_eq!(harness::host_file::entries(&tasks.dir).unwrap().count(), 0);
    tasks.go();
    tasks.task(&["-w"]).finish().expect(7);
    tasks.once(&["-r", "-i", "x"]).finish().expect(0);
    tasks.task(&["-w"]).finish().expect(7);
    assert_eq!(tasks.runs(), 3);
}

#[test]
fn killing_all_touches_this_directory_only() {
    let mut tasks = Tasks::new();
    tasks.env.set(
        "CCCI_ONCE_DIR",
        tasks.env.root.join("other").display().to_string(),
    );
    tasks.task(&[]).finish().expect(0);
    tasks
        .env
        .set("CCCI_ONCE_DIR", tasks.dir.display().to_string());
    // One that ignores TERM, with a process that left its group, and one whose record is another's pid.
    let script = "trap '' TERM; setsid sleep 1000 & echo run >>count; while :; do sleep 0.1; done";
    tasks
        .once(&["-i", "y", "--", "sh", "-c", script])
        .finish()
        .expect(0);
    let waiter = tasks.task(&["-w"]);
    waiter.wait_line("waiting for task");
    until("all three", || tasks.runs() == 3);
    let text = tasks.text("task");
    let mut bystander = tasks.env.program("sleep");
    let bystander = tasks.env.follow({
        bystander.arg("1000");
        bystander
    });
    let stale = text.replacen(&tasks.pid().to_string(), &bystander.pid.to_string(), 2);
    let stale = stale.replace(&tasks.runner().to_string(), &bystander.pid.to_string());
    std::fs::write(tasks.dir.join("z.task"), stale).unwrap();
    let done = tasks.once(&["-G"]).finish();
    done.expect(0);
    assert_eq!(tasks.files(), [""; 0], "they are not forgotten");
    assert!(
        done.stderr.contains("ended x") && done.stderr.contains("ended y"),
        "{}",
        done.stderr
    );
    waiter.finish().expect(143);
    let left: Vec<String> = tasks
        .env
        .processes()
        .into_iter()
        .map(|(_, line)| line)
        .collect();
    assert!(
        left.iter().any(|line| line.trim() == "sleep 1000"),
        "the bystander: {left:?}"
    );
    let others = left
        .iter()
        .filter(|line| line.contains("once runner"))
        .count();
    assert_eq!(others, 1, "{left:?}");
    assert!(!left.iter().any(|line| line.contains("trap")), "{left:?}");
    assert_eq!(
        left.iter()
            .filter(|line| line.trim() == "sleep 1000")
            .count(),
        1,
        "{left:?}"
    );
    tasks.env.set(
        "CCCI_ONCE_DIR",
        tasks.env.root.join("other").display().to_string(),
    );
    tasks.go();
    tasks.task(&["-w"]).finish().expect(7);
    drop(bystander);
}

#[test]
fn every_task_is_listed_with_its_state_and_code() {
    let tasks = Tasks::new();
    tasks.task(&[]).finish().expect(0);
    for (id, script, code) in [("a", "exit 3", 3), ("b", "kill -SEGV $$", 139)] {
        tasks
            .once(&["-w", "-i", id, "--", "sh", "-c", script])
            .finish()
            .expect(code);
    }
    let done = tasks.once(&["list", "--json"]).finish();
    let rows: Value = serde_json::from_str(&done.stdout).unwrap();
    let shown: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (&row["id"], &row["state"], &row["code"]))
        .collect();
    assert_eq!(
        serde_json::json!(shown),
        serde_json::json!([["a", "done", 3], ["b", "dead", 139], ["x", "running", null]])
    );
    let done = tasks.once(&["list"]).finish();
    assert!(
        done.stdout.contains(&format!("x  running {}", tasks.pid())),
        "{}",
        done.stdout
    );
    tasks.go();
    tasks.task(&["-w"]).finish().expect(7);
}

#[track_caller]
fn refused(tasks: &Tasks, done: &Done, words: &[&str]) {
    done.refused(words);
    assert!(!tasks.dir.exists(), "the directory was made");
}

#[test]
fn bad_input_is_refused_before_anything_is_made() {
    let tasks = Tasks::new();
    for id in ["../x", "a/b", ".x", "-x", "a..b", "a b", ""] {
        let option = format!("--id={id}");
        let done = tasks.once(&["-w", &option, "--", "true"]).finish();
        refused(&tasks, &done, &["task id `", id, "hint: "]);
    }
    refused(
        &tasks,
        &tasks.once(&["-w", "--", "true"]).finish(),
        &["no task", "hint: "],
    );
    refused(
        &tasks,
        &tasks.once(&["-w", "-i", "x"]).finish(),
        &["`x`", "no command", "hint: "],
    );
    for words in [&["-W", "1"][..], &["-c"], &["-w", "-W", "soon"]] {
        let done = tasks
            .once(&[words, &["-i", "x", "--", "true"]].concat())
            .finish();
        done.expect(2);
        assert!(!tasks.dir.exists(), "{words:?}");
    }
    refused(
        &tasks,
        &tasks.once(&["-w", "-p", "-i", "x"]).finish(),
        &["cannot be used with"],
    );
    refused(
        &tasks,
        &tasks.once(&["-G", "-i", "x"]).finish(),
        &["cannot be used with"],
    );
    let done = tasks
        .once(&["-w", "-i", "x", "--", "/no/such/program"])
        .finish();
    done.expect(2);
    assert!(
        done.stderr.contains("/no/such/program") && done.stderr.contains("hint: "),
        "{}",
        done.stderr
    );
    // What others can write, others can forge.
    std::fs::set_permissions(&tasks.dir, PermissionsExt::from_mode(0o777)).unwrap();
    let done = tasks.task(&["-w"]).finish();
    done.expect(2);
    assert!(done.stderr.contains("chmod go-w"), "{}", done.stderr);
}

/// Another user sees the pid, waits, gets the code, and can do nothing else.
#[test]
fn another_user_may_wait() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "only root can become another user: run this test as root"
    );
    let tasks = Tasks::new();
    let open =
        |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o711)).unwrap();
    open(&tasks.env.root);
    let program = copy(Path::new(binary()), tasks.env.root.join("recipe-ci"));
    let nobody = |words: &[&str]| {
        let mut command = tasks.env.program("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(&program).arg("once").args(words);
        tasks.env.follow(command)
    };
    let done = nobody(&["-w", "-i", "x"]).finish();
    done.expect(2);
    tasks.task(&[]).finish().expect(0);
    until("the first run", || tasks.runs() == 1);
    // No caller waits, so it is not run again.
    kill9(tasks.pid());
    until("it to be dead", || {
        nobody(&["-p", "-i", "x"]).finish().stdout == "dead"
    });
    tasks.task(&[]).finish().expect(0);
    let waiter = nobody(&["-w", "-i", "x"]);
    let line = waiter.wait_line("waiting for task");
    assert!(line.contains(&tasks.pid().to_string()), "{line}");
    assert_eq!(
        nobody(&["-p", "-i", "x"]).finish().stdout,
        format!("running {}", tasks.pid())
    );
    // Killed and run again by a waiter that may: the one that may not stays with it.
    let own = tasks.task(&["-w"]);
    own.wait_line("waiting for task");
    until("the second run", || tasks.runs() == 2);
    kill9(tasks.pid());
    until("the third run", || tasks.runs() == 3);
    let forgetting = ["-w", "-c", "-i", "x"];
    for words in [
        &["-G"][..],
        &["-r", "-i", "x"],
        &["-F"],
        &["list"],
        &forgetting,
    ] {
        let done = nobody(words).finish();
        done.expect(2);
        assert!(done.stderr.contains("belongs to user 0"), "{}", done.stderr);
    }
    tasks.go();
    own.finish().expect(7);
    waiter.finish().expect(7);
    nobody(&["-w", "-i", "x"]).finish().expect(7);
    let done = nobody(&["-w", "-i", "z", "--", "true"]).finish();
    done.expect(2);
    assert!(done.stderr.contains("belongs to user 0"), "{}", done.stderr);
    assert_eq!(tasks.runs(), 3);
}
