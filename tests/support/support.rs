//! The hermetic environment of every test: a root of its own, a cleared environment, the real binary.
//!
//! Nothing here sleeps: tests wait for lines, files and the ends of processes, each with a limit. This is
//! the tests' door for spawning, locking and the environment, as `clippy.toml` wants one.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

mod abra;
mod mount;
mod schema;
pub(crate) use mount::Mount;

/// How long a run may take before its test gives up on it.
const RUN_LIMIT: Duration = Duration::from_secs(240);

/// Where this repository is.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the runner is in the workspace")
        .to_owned()
}

/// A command, with the environment of the tests: the door.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the tests' door")]
    Command::new(program)
}

/// Runs git in a repository, also in one of another user; returns what it prints.
#[track_caller]
pub(crate) fn git(repository: &Path, args: &[&str]) -> String {
    const ANYWHERE: [&str; 3] = ["safe.directory=*", "user.name=t", "user.email=t@localhost"];
    let output = command("git")
        .args(ANYWHERE.iter().flat_map(|setting| ["-c", setting]))
        .arg("-C")
        .arg(repository)
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Copies a tree to `to`, whose parents are made; returns `to`.
#[track_caller]
pub(crate) fn copy(from: &Path, to: PathBuf) -> PathBuf {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let copied = command("cp").arg("-a").arg(from).arg(&to).status().unwrap();
    assert!(copied.success());
    to
}

/// Returns a variable of the tests' own environment.
pub(crate) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the tests' door")]
    std::env::var(name).ok()
}

/// Whether somebody holds an exclusive `flock` of the file.
pub(crate) fn is_locked(path: &Path) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the tests' door")]
    File::open(path).is_ok_and(|file| match file.try_lock_shared() {
        // To close it is not enough: the child of another test's fork has a copy until it executes its program.
        Ok(()) => file.unlock().is_err(),
        Err(_) => true,
    })
}

/// A mutex that a failed test may have poisoned.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A root of its own with everything that a run needs, removed at the end.
pub(crate) struct TestEnv {
    /// The root; every path of the test is below it.
    pub(crate) root: PathBuf,
    /// The zone of this test alone: no janitor of another test sees its apps.
    pub(crate) zone: String,
    vars: BTreeMap<String, String>,
    /// What a test of the engine does with what is left of the zone.
    pub(crate) sweep: Option<fn(&str)>,
    _dir: tempfile::TempDir,
}

impl TestEnv {
    /// Creates the environment. `docker_host` is the engine's address.
    pub(crate) fn new(docker_host: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("recipe-ci-test-")
            .tempdir()
            .expect("a temporary directory can be made");
        let root = dir.path().to_owned();
        let tail: String =
            root.to_string_lossy()
                .bytes()
                .rev()
                .take(6)
                .fold(String::new(), |mut text, byte| {
                    text.push_str(&format!("{byte:02x}"));
                    text
                });
        let zone = format!("t{tail}.localhost");
        let at = |name: &str| root.join(name).display().to_string();
        let mut vars = BTreeMap::from([
            ("HOME".to_owned(), at("home")),
            ("CCCI_RUNS_DIR".to_owned(), at("runs")),
            ("CCCI_STATE_DIR".to_owned(), at("state")),
            ("CCCI_WARM_DIR".to_owned(), at("warm")),
            ("CCCI_APP_LOCK_DIR".to_owned(), at("locks")),
            ("CCCI_SRC_DIRS".to_owned(), root.display().to_string()),
            ("CCCI_LOCAL_IMAGES".to_owned(), "recipe-ci".to_owned()),
            ("CCCI_ZONE".to_owned(), zone.clone()),
            ("DOCKER_HOST".to_owned(), docker_host.to_owned()),
            ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
        ]);
        vars.insert("PATH".to_owned(), variable("PATH").unwrap_or_default());
        std::fs::create_dir(root.join("home")).expect("the root is new");
        Self {
            root,
            zone,
            vars,
            sweep: None,
            _dir: dir,
        }
    }

    /// Sets a variable of every run that is started from now on.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        let link = self.root.join("state/engine/socket/docker.sock");
        if name == "DOCKER_HOST" && link.is_symlink() {
            // Of the engine that all tests share the address is given: what is before it is put in its place.
            let path = value.strip_prefix("unix://").expect("a socket");
            std::fs::remove_file(&link).expect("it is a link");
            std::os::unix::fs::symlink(path, link).expect("it can be made");
        }
        self.vars.insert(name.to_owned(), value);
    }

    /// Puts a directory in front of the `PATH` of every run that is started from now on.
    pub(crate) fn prepend_path(&mut self, dir: &Path) {
        let path = self.vars.remove("PATH").unwrap_or_default();
        self.set("PATH", format!("{}:{path}", dir.display()));
    }

    /// Loads `tests/fakes/preload.c` into every program that is started from now on: with `name`, one of its variables,
    /// set to a path below the root, which is returned.
    pub(crate) fn preload(&mut self, name: &str, path: &str) -> PathBuf {
        let library = self.root.join("preload.so");
        // Where Rust is built there is a C compiler: rustc links with it.
        let built = command("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(repository().join("tests/fakes/preload.c"))
            .output()
            .expect("cc is there");
        assert!(built.status.success(), "{built:?}");
        self.set("LD_PRELOAD", library.display().to_string());
        let path = self.root.join(path);
        self.set(name, path.display().to_string());
        path
    }

    /// Writes a file below the root, with its directories; one that begins with `#!` becomes executable.
    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().expect("it is below the root"))
            .expect("directories can be made");
        if text.starts_with("#!") {
            // By a child: another test's fork would keep a file open that this process wrote, and what somebody has open
            // for writing cannot be executed.
            const WRITE: &str = r#"printf %s "$2" >"$1" && chmod 755 "$1""#;
            let mut write = command("sh");
            let written = write
                .args(["-c", WRITE, "sh"])
                .arg(&path)
                .arg(text)
                .status();
            assert!(
                written.is_ok_and(|status| status.success()),
                "it can be written"
            );
        } else {
            std::fs::write(&path, text).expect("a file can be written");
        }
        path
    }

    /// Returns a repository of the fixture that is this test's own: `recipes/NAME` below the root.
    pub(crate) fn recipe(&self, name: &str) -> PathBuf {
        self.recipe_of("tests/recipes", name)
    }

    /// The same of a fixture below `set`, a path in this repository.
    pub(crate) fn recipe_of(&self, set: &str, name: &str) -> PathBuf {
        let ours = self.root.join("recipes").join(name);
        std::fs::create_dir_all(ours.parent().expect("it has one")).expect("it can be made");
        let copied = command("cp")
            .arg("-a")
            .arg(built(set, name))
            .arg(&ours)
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "cp failed");
        ours
    }

    /// Replaces text in a file of a recipe's work tree, leaving the change uncommitted.
    pub(crate) fn edit(&self, file: &Path, from: &str, to: &str) {
        let text = harness::host_file::text(file).expect("the file exists");
        assert!(text.contains(from), "`{from}` is not in {}", file.display());
        std::fs::write(file, text.replace(from, to)).expect("the file can be written");
    }

    /// Returns `program` with this environment and nothing else; the process that started the tests may ignore
    /// signals (`nohup`), which the program must not inherit. `env` becomes the program, pid and all.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = command("env");
        command.arg("--default-signal=HUP,INT,QUIT").arg(program);
        command
            .env_clear()
            .envs(&self.vars)
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command
    }

    /// Starts a command and follows it.
    pub(crate) fn follow(&self, mut command: Command) -> Run {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C at `cargo test` must not look like a cancel of the run.
        command.process_group(0);
        Run::new(command.spawn().expect("the command starts"))
    }

    /// Starts `recipe-ci` with these arguments.
    pub(crate) fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        let mut command = self.program(binary());
        command.args(args);
        self.follow(command)
    }

    /// Runs `recipe-ci` to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Done {
        self.start(args).finish()
    }

    /// Returns the run directories, oldest first.
    pub(crate) fn run_dirs(&self) -> Vec<PathBuf> {
        let Ok(entries) = harness::host_file::entries(self.root.join("runs")) else {
            return Vec::new();
        };
        let mut dirs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        dirs.sort_by_key(|dir| dir.metadata().and_then(|meta| meta.modified()).ok());
        dirs
    }

    /// Returns the report of the only run.
    #[track_caller]
    pub(crate) fn results(&self) -> Value {
        let dirs = self.run_dirs();
        assert_eq!(dirs.len(), 1, "run directories: {dirs:?}");
        read_results(&dirs[0])
    }

    /// Returns the processes that this test started, or whose descendants they are: their environment or
    /// their command line names the root.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let root = self.root.as_os_str().as_encoded_bytes();
        let has = |bytes: &[u8]| bytes.windows(root.len()).any(|window| window == root);
        let own = i32::try_from(std::process::id()).expect("pids are small");
        pids()
            .into_iter()
            .filter(|pid| *pid != own)
            .filter_map(|pid| {
                let read =
                    |name: &str| harness::host_file::bytes(format!("/proc/{pid}/{name}")).ok();
                let line = read("cmdline")?;
                (has(&line) || has(&read("environ")?)).then(|| {
                    (
                        pid,
                        String::from_utf8_lossy(&line)
                            .replace('\0', " ")
                            .to_string(),
                    )
                })
            })
            .collect()
    }

    /// Asserts that nothing runs and nothing is locked or left in the files of this test.
    #[track_caller]
    pub(crate) fn assert_quiet(&self) {
        assert_eq!(self.processes(), [], "processes are left");
        for entry in harness::host_file::entries(self.root.join("locks"))
            .into_iter()
            .flatten()
            .flatten()
        {
            assert!(!is_locked(&entry.path()), "{:?} is held", entry.path());
        }
        let servers = self.root.join("home/.abra/servers");
        for server in harness::host_file::entries(servers)
            .into_iter()
            .flatten()
            .flatten()
        {
            let files: Vec<_> = harness::host_file::entries(server.path())
                .expect("it is a directory")
                .flatten()
                .map(|file| file.path())
                .collect();
            assert!(files.is_empty(), "env files are left: {files:?}");
        }
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Some(sweep) = self.sweep {
            sweep(&self.zone);
        }
    }
}

/// The binary under test.
pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_recipe-ci")
}

/// Reads a report; it must be valid at any time, and as the published schema has it.
#[track_caller]
pub(crate) fn read_results(run_dir: &Path) -> Value {
    let path = run_dir.join("results.json");
    let text = harness::host_file::text(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let results: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let faults = schema::faults(&results);
    assert!(faults.is_empty(), "{}: {faults:#?}", path.display());
    results
}

/// Returns a fixture's repository, built once per process.
fn built(set: &str, name: &str) -> PathBuf {
    static BUILT: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let binary = std::env::current_exe().expect("this binary has a path");
    let binary = binary.file_name().expect("and a name").to_string_lossy();
    let (binary, _hash) = binary.split_once('-').unwrap_or((&binary, ""));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("fixtures-{binary}"))
        .join(set)
        .join(name);
    let mut done = locked(&BUILT);
    if done.get_or_insert_default().insert(dir.clone()) {
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(dir.parent().expect("it has one")).expect("it can be made");
        let made = command("sh")
            .arg(repository().join("tests/recipes/make.sh"))
            .env("RECIPES", repository().join(set))
            .arg(name)
            .arg(&dir)
            .output()
            .expect("sh starts");
        assert!(
            made.status.success(),
            "make.sh {name}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
    dir
}

/// Returns every process of this machine.
pub(crate) fn pids() -> Vec<i32> {
    harness::host_file::entries("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Lines as they come.
#[derive(Default)]
struct Lines {
    state: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Lines {
    fn follow(stream: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let ours = Arc::clone(&lines);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                locked(&ours.state).0.push(text);
                ours.changed.notify_all();
            }
            locked(&ours.state).1 = true;
            ours.changed.notify_all();
        });
        lines
    }

    /// Waits until `found` answers or the stream or the limit ends.
    fn wait<T>(
        &self,
        limit: Duration,
        mut found: impl FnMut(&[String], bool) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + limit;
        let mut state = locked(&self.state);
        loop {
            if let Some(found) = found(&state.0, state.1) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.1 {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
    }

    fn text(&self) -> String {
        locked(&self.state).0.join("\n")
    }
}

/// A command that runs.
pub(crate) struct Run {
    /// Its process.
    pub(crate) pid: Pid,
    out: Arc<Lines>,
    err: Arc<Lines>,
    ended: Receiver<ExitStatus>,
    done: bool,
}

impl Run {
    fn new(mut child: Child) -> Self {
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("pids are small"));
        let out = Lines::follow(child.stdout.take().expect("it is piped"));
        let err = Lines::follow(child.stderr.take().expect("it is piped"));
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            if let Ok(status) = child.wait() {
                let _ = sender.send(status);
            }
        });
        Self {
            pid,
            out,
            err,
            ended,
            done: false,
        }
    }

    /// Waits for a line of stderr that contains `pattern`.
    #[track_caller]
    pub(crate) fn wait_line(&self, pattern: &str) -> String {
        let line = self.err.wait(RUN_LIMIT, |lines, _| {
            lines.iter().find(|line| line.contains(pattern)).cloned()
        });
        line.unwrap_or_else(|| panic!("no line has `{pattern}`:\n{}", self.err.text()))
    }

    /// Returns what it wrote to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.err.text()
    }

    /// Waits for its end, also while its output is still open elsewhere.
    #[track_caller]
    pub(crate) fn ended(mut self) -> ExitStatus {
        let Ok(status) = self.ended.recv_timeout(RUN_LIMIT) else {
            panic!("no end within {RUN_LIMIT:?}:\n{}", self.err.text());
        };
        self.done = true;
        status
    }

    /// Waits for its end; fails when it does not come, or when somebody still holds its output then.
    #[track_caller]
    pub(crate) fn finish(self) -> Done {
        self.finish_within(RUN_LIMIT)
    }

    /// The same with a limit of its own.
    #[track_caller]
    pub(crate) fn finish_within(mut self, limit: Duration) -> Done {
        let Ok(status) = self.ended.recv_timeout(limit) else {
            panic!("no end within {limit:?}:\n{}", self.err.text());
        };
        self.done = true;
        for (name, lines) in [("stdout", &self.out), ("stderr", &self.err)] {
            let closed = lines.wait(Duration::from_secs(60), |_, ended| ended.then_some(()));
            assert!(closed.is_some(), "{name} is held open after the end");
        }
        Done {
            code: status.code(),
            signal: status.signal(),
            stdout: self.out.text(),
            stderr: self.err.text(),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.done && self.ended.try_recv().is_err() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Asserts how it ended.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) {
        assert!(
            self.code == Some(code),
            "exit {:?} signal {:?} instead of {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.code,
            self.signal,
            self.stdout,
            self.stderr
        );
    }

    /// Asserts that it was refused as wrong input, and said all of `words` on standard error.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str]) {
        self.expect(2);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "no `{word}` in\n{}",
                self.stderr
            );
        }
    }
}

/// Returns the SHA-256 of a file in hexadecimal, as `sha256sum` has it.
pub(crate) fn digest(file: &Path) -> String {
    let out = command("sha256sum").arg(file).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}
