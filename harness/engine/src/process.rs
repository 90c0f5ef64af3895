//! The only module that spawns.
//!
//! Theory of operation: every child is the leader of its own process group, is killed by the kernel when
//! this process dies, has no standard input unless it is given one, and an environment made from nothing.
//! A child whose caller goes away (a cancelled run) is not forgotten: it is told to end at once, and
//! [`Processes::end_all`] sees to it, with its group, before anything is torn down. Daemons that left
//! their group come back to this process, which is a child subreaper, and are killed there too.
//!
//! This module does not know Docker, git or abra.

pub mod cgroup;
mod cmd;
mod cpu;
mod daemon;
mod identity;
mod leader;
mod marked;
mod output;
mod pty;
mod stray;
mod task;
mod usage;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};
use tokio::io::{AsyncRead, AsyncWriteExt as _};

pub use cmd::Cmd;
pub use daemon::Daemon;
pub use identity::{Identity, Process};
use leader::Leader;
pub use marked::{RUN_MARK, shed};
pub use marked::{end_marked, kill_marked, marked, search};
pub use output::{Output, Stream, Tail};
pub(crate) use task::{Kept, Task};
pub use usage::Usage;

use crate::sys;
use crate::wait::{Deadline, Stopwatch};

/// How long a child may take to end after TERM, before its group is killed.
pub const TERM_GRACE: Duration = Duration::from_secs(3);

/// How long a child's pipes may stay open after its exit. Still open means that a grandchild holds them.
const PIPE_GRACE: Duration = Duration::from_millis(300);

/// Why a command did not come to an end of its own.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("failed to start `{program}`")]
    Spawn {
        /// What was to be started.
        program: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It did not end in time and was killed with its group.
    #[error("`{label}` did not end within {} s and was killed", .limit.as_secs())]
    TimedOut {
        /// What it was.
        label: String,
        /// How long it had.
        limit: Duration,
        /// The last lines that it wrote.
        tail: Vec<String>,
    },
    /// Its pipes or its end could not be read.
    #[error("failed to follow `{label}`")]
    Follow {
        /// What it was.
        label: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A command that has ended by itself.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output, up to the capture limit.
    pub stdout: Vec<u8>,
    /// The last lines of both streams, in the order of arrival.
    pub tail: Vec<String>,
    /// How long it ran.
    pub elapsed: Duration,
    /// Whether a grandchild still held its output open after it had ended.
    pub leaked_pipes: bool,
}

impl Finished {
    /// Returns whether it exited with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Returns `exit code 3` or `killed by signal 9`.
    #[must_use]
    pub fn how(&self) -> String {
        describe(self.status)
    }
}

/// Returns `exit code 3` or `killed by SIGKILL`, for messages.
#[must_use]
pub fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {number}"),
        },
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// Resets SIGCHLD and SIGTERM, which the process that started this one may have set to be ignored: with SIGCHLD ignored a
/// child cannot be waited for, with SIGTERM ignored a run cannot be cancelled.
///
/// # Errors
/// What the system says.
pub fn stop_ignoring() -> std::io::Result<()> {
    sys::stop_ignoring()
}

/// Becomes another program, with `args`; the process and its children stay.
///
/// Returns only when that is not possible, with what the system says.
#[must_use]
pub fn exec(exe: &Path, args: &[OsString]) -> std::io::Error {
    use std::os::unix::process::CommandExt as _;
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    std::process::Command::new(exe).args(args).exec()
}

/// Every child of this process; cheap to clone, all clones are the same.
#[derive(Debug, Clone)]
pub struct Processes {
    base: Rc<BTreeMap<OsString, OsString>>,
    /// Children whose callers went away before they had ended.
    abandoned: Rc<RefCell<Vec<Leader>>>,
    /// Children that only their callers end.
    kept: Rc<RefCell<BTreeSet<i32>>>,
}

impl Processes {
    /// Creates the door with the environment that every child starts from.
    #[must_use]
    pub fn new(base: BTreeMap<OsString, OsString>) -> Self {
        Self {
            base: Rc::new(base),
            abandoned: Rc::default(),
            kept: Rc::default(),
        }
    }

    /// Returns a variable of the base environment.
    #[must_use]
    pub fn base_var(&self, key: &str) -> Option<&OsStr> {
        self.base.get(OsStr::new(key)).map(OsString::as_os_str)
    }

    /// Returns where `program` is on the base environment's `PATH`.
    #[must_use]
    pub fn which(&self, program: &str) -> Option<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        std::env::split_paths(self.base_var("PATH")?)
            .map(|dir| dir.join(program))
            .find(|path| {
                path.metadata()
                    .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
            })
    }

    /// Finds a program by the base environment's `PATH`, never by one that the command itself brings: std
    /// would look there, and a recipe's variables must not choose which `docker` runs.
    fn resolve(&self, program: &OsStr) -> PathBuf {
        let plain = program.to_str().filter(|name| !name.contains('/'));
        plain
            .and_then(|name| self.which(name))
            .unwrap_or_else(|| PathBuf::from(program))
    }

    /// Runs `cmd` to its end, or kills it with its group when `limit` passes.
    ///
    /// When the returned future is dropped, the child gets TERM and is left to [`Processes::end_all`].
    ///
    /// # Errors
    /// [`ProcessError`]; an exit code other than 0 is not an error.
    pub async fn run(&self, cmd: &Cmd, limit: Duration) -> Result<Finished, ProcessError> {
        let deadline = Deadline::after(limit);
        let watch = Stopwatch::start();
        let follow = |source| ProcessError::Follow {
            label: cmd.label.clone(),
            source,
        };
        let mut running = self.spawn(cmd, Stdio::piped(), Stdio::piped())?;
        let terminal = running.terminal.take();
        let child = running.leader().child();
        let stdin = child.stdin.take();
        let stdout = match terminal {
            Some(terminal) => Some(Box::new(terminal) as Box<dyn AsyncRead + Unpin>),
            None => child.stdout.take().map(|out| Box::new(out) as _),
        };
        let streams = (stdout, child.stderr.take());
        let mut output = Output::new(cmd.log.as_deref()).map_err(follow)?;

        let feed = async {
            if let (Some(mut stdin), Some(bytes)) = (stdin, cmd.input.as_deref()) {
                // A child that does not read its input to the end is within its rights.
                drop(stdin.write_all(bytes).await);
                drop(stdin.shutdown().await);
            }
        };
        let ended = {
            let mut reading = std::pin::pin!(output.read(streams));
            let mut reading_done = false;
            let mut feeding = std::pin::pin!(feed);
            let mut fed = false;
            let mut expiry = std::pin::pin!(tokio::time::sleep_until(deadline.instant()));
            let ended = loop {
                tokio::select! {
                    ended = running.leader().ended() => break ended.map(|()| true).map_err(follow)?,
                    () = &mut reading, if !reading_done => reading_done = true,
                    () = &mut feeding, if !fed => fed = true,
                    () = &mut expiry => break false,
                }
            };
            if !ended {
                running.end().await;
            }
            let leaked = !reading_done
                && tokio::time::timeout(PIPE_GRACE, &mut reading)
                    .await
                    .is_err();
            // What is left of its group is a stray that outlived it.
            let status = if ended {
                Some(running.reap().await.map_err(follow)?)
            } else {
                None
            };
            status.map(|status| (status, leaked))
        };
        let Some((status, leaked_pipes)) = ended else {
            return Err(ProcessError::TimedOut {
                label: cmd.label.clone(),
                limit,
                tail: output.tail(),
            });
        };
        tracing::debug!(command = %cmd.label, %status, elapsed = ?watch.elapsed(), leaked_pipes, "ended");
        let tail = output.tail();
        Ok(Finished {
            status,
            stdout: output.into_stdout(),
            tail,
            elapsed: watch.elapsed(),
            leaked_pipes,
        })
    }

    fn spawn(&self, cmd: &Cmd, stdout: Stdio, stderr: Stdio) -> Result<Running, ProcessError> {
        #[expect(clippy::disallowed_methods, reason = "this module is the door")]
        let mut command = std::process::Command::new(self.resolve(&cmd.program));
        let failed = |source| ProcessError::Spawn {
            program: cmd.program.to_string_lossy().into_owned(),
            source,
        };
        let terminal = if cmd.pty {
            let pty::Pty { ours, theirs } = pty::open().map_err(failed)?;
            let clone = || theirs.try_clone().map(Stdio::from).map_err(failed);
            command.stdin(clone()?).stdout(clone()?).stderr(clone()?);
            Some(ours)
        } else {
            use std::os::unix::process::CommandExt as _;
            command.process_group(0);
            command.stdin(if cmd.input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            });
            command.stdout(stdout).stderr(stderr);
            None
        };
        command
            .args(&cmd.args)
            .env_clear()
            .envs(
                self.base
                    .iter()
                    .filter(|(name, _)| !cmd.bare || *name == RUN_MARK),
            )
            .envs(&cmd.env)
            .current_dir(&cmd.dir);
        sys::tie(
            &mut command,
            sys::Tie {
                parent: getpid(),
                death_signal: Some(Signal::SIGKILL),
                // The leader of a session leads a group of that number as well.
                own_session: cmd.pty,
                terminal: cmd.pty,
                alone: false,
            },
        );
        let child = tokio::process::Command::from(command)
            .spawn()
            .map_err(failed)?;
        Ok(Running {
            leader: Some(Leader::new(child).map_err(failed)?),
            terminal,
            abandoned: Rc::clone(&self.abandoned),
        })
    }

    /// Ends every child that was abandoned, with its group, and every stray daemon, by the run's control group where it
    /// has one; returns the command names of those that would not die.
    ///
    /// A group gets TERM when it is abandoned; here it has until `grace` before KILL.
    pub async fn end_all(&self, grace: Duration) -> Vec<String> {
        self.end_abandoned(grace).await;
        let mut left = cgroup::leave_behind().await;
        let is_kept = |pid: Pid, _| self.kept.borrow().contains(&pid.as_raw());
        left.extend(stray::kill_all(STRAYS_LIMIT, is_kept).await);
        left.sort();
        left.dedup();
        left
    }

    async fn end_abandoned(&self, grace: Duration) {
        let abandoned = std::mem::take(&mut *self.abandoned.borrow_mut());
        let deadline = Deadline::after(grace);
        for mut leader in abandoned {
            drop(tokio::time::timeout(deadline.left(), leader.ended()).await);
            drop(tokio::time::timeout(Duration::from_secs(2), leader.reap()).await);
        }
    }
}

/// A child that runs. Dropping it abandons the child, see [`Processes::end_all`].
#[derive(Debug)]
struct Running {
    leader: Option<Leader>,
    terminal: Option<pty::Ours>,
    abandoned: Rc<RefCell<Vec<Leader>>>,
}

impl Running {
    fn leader(&mut self) -> &mut Leader {
        let leader = self.leader.as_mut();
        leader.expect("a running child is there until it was reaped")
    }

    /// Kills what is left of the group and reaps the child.
    async fn reap(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.leader().reap().await;
        self.leader = None;
        status
    }

    /// Ends the child and its group: TERM, a grace, KILL; then reaps it.
    async fn end(&mut self) {
        if self.leader.is_none() {
            return;
        }
        self.leader().signal(Signal::SIGTERM);
        drop(tokio::time::timeout(TERM_GRACE, self.leader().ended()).await);
        drop(self.reap().await);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(leader) = self.leader.take() {
            leader.signal(Signal::SIGTERM);
            self.abandoned.borrow_mut().push(leader);
        }
    }
}

/// How long strays that got KILL may take to go away.
const STRAYS_LIMIT: Duration = Duration::from_secs(5);

/// Kills every child of this process that is left, but for those of its own session: daemons that came back to it
/// included. And reaps them.
///
/// Returns the command names of those that would not die. For the supervisor, once its worker is gone.
pub async fn kill_strays() -> Vec<String> {
    let own = nix::unistd::getsid(None).ok();
    stray::kill_all(STRAYS_LIMIT, |_, session| own == Some(session)).await
}

/// Writes a program. A child does, because another test's fork would keep a file open that this process wrote, and what
/// somebody has open for writing cannot be executed.
#[cfg(any(test, feature = "testing"))]
pub fn write_program(path: &Path, text: &str) {
    const WRITE: &str = r#"rm -f "$1" && printf %s "$2" >"$1" && chmod 755 "$1""#;
    #[expect(clippy::disallowed_methods, reason = "a child that nobody forks from")]
    let done = std::process::Command::new("sh")
        .args(["-c", WRITE, "sh"])
        .arg(path)
        .arg(text)
        .status();
    assert!(done.expect("a shell").success());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes() -> Processes {
        let path = OsString::from("/usr/local/bin:/usr/bin:/bin");
        Processes::new(BTreeMap::from([(OsString::from("PATH"), path)]))
    }

    fn sh(script: &str) -> Cmd {
        Cmd::new("/bin/sh", Path::new("/")).arg("-c").arg(script)
    }

    /// Whether a process runs; one that is dead and waits to be reaped does not.
    fn lives(pid: &str) -> bool {
        let stat = ground::host_file::text(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_child_gets_nothing_but_the_given_environment() {
        let cmd = Cmd::new("/usr/bin/env", Path::new("/")).env("A", "1");
        let finished = processes()
            .run(&cmd, Duration::from_secs(60))
            .await
            .unwrap();
        let text = String::from_utf8(finished.stdout).unwrap();
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["A", "PATH"]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn output_beyond_the_pipe_does_not_block_and_input_is_fed() {
        let cmd = sh("cat; head -c 300000 /dev/zero | tr '\\0' 'x'; echo; echo err >&2")
            .input(b"in\n".to_vec());
        let finished = processes()
            .run(&cmd, Duration::from_secs(60))
            .await
            .unwrap();
        assert!(finished.success());
        assert!(finished.stdout.starts_with(b"in\nxxx"));
        assert!(
            finished.tail.iter().any(|line| line == "err"),
            "{:?}",
            finished.tail.len()
        );
    }

    /// Runs what never ends up to a limit within which it has said something; returns what that was.
    async fn timed_out(cmd: &Cmd) -> Vec<String> {
        for limit in [1, 5, 60].map(Duration::from_secs) {
            let watch = Stopwatch::start();
            let error = processes().run(cmd, limit).await.unwrap_err();
            let ProcessError::TimedOut { tail, .. } = error else {
                panic!("{error}")
            };
            assert!(watch.elapsed() < limit + Duration::from_secs(55));
            if !tail.is_empty() {
                return tail;
            }
        }
        panic!("it never began");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_child_that_ignores_term_is_killed_at_the_limit_with_its_group() {
        let cmd = sh(
            "trap '' TERM; (while :; do sleep 0.1; done) & echo $! $$; while :; do sleep 0.1; done",
        );
        let tail = timed_out(&cmd).await;
        let limit = Deadline::after(Duration::from_secs(30));
        for pid in tail[0].split(' ') {
            // Its pipes close before it has ended, and nobody here waits for the subshell.
            while lives(pid) {
                assert!(!limit.passed(), "{pid} lives");
                crate::wait::pause(Duration::from_millis(5)).await;
            }
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_grandchild_that_holds_the_pipes_does_not_hang_the_run() {
        let finished = processes()
            .run(&sh("sleep 600 & echo done"), Duration::from_secs(120))
            .await
            .unwrap();
        assert!(finished.leaked_pipes);
        assert!(finished.elapsed < Duration::from_secs(60));
        assert_eq!(finished.tail, ["done"]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_cancelled_command_is_told_to_end_and_ended() {
        let processes = processes();
        let marker = tempfile::tempdir().unwrap();
        let file = marker.path().join("pid");
        let cmd = sh(&format!(
            "echo $$ > {}.new && mv {0}.new {0}; exec sleep 60",
            file.display()
        ));
        let pid = {
            let mut run = std::pin::pin!(processes.run(&cmd, Duration::from_secs(60)));
            let deadline = Deadline::after(Duration::from_secs(30));
            loop {
                assert!(!deadline.passed(), "the child never said its pid");
                drop(tokio::time::timeout(Duration::from_millis(5), run.as_mut()).await);
                if let Ok(pid) = ground::host_file::text(&file) {
                    break pid;
                }
            }
        };
        // Not `end_all`: the strays of this process are the children of the other tests' threads.
        processes.end_abandoned(Duration::from_secs(5)).await;
        assert!(!lives(pid.trim()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_commands_own_path_does_not_choose_the_program() {
        let evil = tempfile::tempdir().unwrap();
        let file = evil.path().join("true");
        std::fs::write(&file, "#!/bin/sh\nexit 9\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let cmd = Cmd::new("true", Path::new("/")).env("PATH", evil.path());
        assert!(
            processes()
                .run(&cmd, Duration::from_secs(60))
                .await
                .unwrap()
                .success()
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_command_on_a_terminal_sees_one_and_ends_like_any_other() {
        let script = "test -t 0 && test -t 1 && test -t 2 && stty size && : >/dev/tty && exit 7";
        let finished = processes()
            .run(&sh(script).pty(), Duration::from_secs(60))
            .await
            .unwrap();
        assert_eq!(finished.how(), "exit code 7", "{:?}", finished.tail);
        assert_eq!(finished.tail, ["50 400"]);
        let without = processes()
            .run(&sh(script), Duration::from_secs(60))
            .await
            .unwrap();
        assert_eq!(without.how(), "exit code 1");
        let hangs = sh("trap '' TERM HUP; echo up; while :; do sleep 0.1; done").pty();
        assert_eq!(timed_out(&hangs).await, ["up"]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_missing_program_is_named() {
        let error = processes()
            .run(
                &Cmd::new("/nowhere/tool", Path::new("/")),
                Duration::from_secs(1),
            )
            .await;
        assert_eq!(
            error.unwrap_err().to_string(),
            "failed to start `/nowhere/tool`"
        );
    }
}
