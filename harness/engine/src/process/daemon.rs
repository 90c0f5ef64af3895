//! Daemons that are meant to outlive this process, unlike every other child.
//!
//! There are four uses: an engine for a host that has none running, the watcher, the runner of a background task
//! ([`crate::once`]), and the holder of an app. A daemon must be started before this process becomes a child subreaper,
//! for it would come back and be killed as a stray; or, as a holder, after the last time that strays are killed.

use std::fs::File;
use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};

use nix::unistd::getpid;

use super::{Cmd, ProcessError, Processes};
use crate::sys;

/// A daemon whose start is followed. Dropping this leaves it alone.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Returns its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Returns how it ended, or nothing while it lives.
    ///
    /// # Errors
    /// What the system says.
    pub fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

/// Opens the log of a daemon for both of its streams.
fn streams(log: &Path) -> std::io::Result<(Stdio, Stdio)> {
    if let Some(dir) = log.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let out = ground::host_file::options()
        .create(true)
        .append(true)
        .open(log)?;
    Ok((out.try_clone()?.into(), out.into()))
}

impl Processes {
    /// Starts `cmd` in a session of its own, adopted by init, and appends what it prints to `log`.
    ///
    /// Nothing more is known of it: whether it works is for the caller to find out, and `log` says why not.
    ///
    /// # Errors
    /// [`ProcessError::Follow`] when `log` cannot be opened, [`ProcessError::Spawn`] when `setsid(1)` of
    /// util-linux cannot be started or fails.
    pub fn spawn_daemon(&self, cmd: &Cmd, log: &Path) -> Result<(), ProcessError> {
        let (stdout, stderr) = streams(log).map_err(|source| ProcessError::Follow {
            label: cmd.label.clone(),
            source,
        })?;
        self.detach(cmd, Stdio::null(), stdout, stderr)
    }

    /// Starts `cmd` as [`Processes::spawn_daemon`] does, with `stdin` as its standard input, and returns what
    /// it writes to its standard output.
    ///
    /// A descriptor that is passed in a standard place needs no unsafe code to pick up.
    ///
    /// # Errors
    /// [`ProcessError::Spawn`].
    pub(crate) fn spawn_heir(
        &self,
        cmd: &Cmd,
        stdin: File,
        stderr: File,
    ) -> Result<PipeReader, ProcessError> {
        let (reader, writer) = std::io::pipe().map_err(|source| ProcessError::Follow {
            label: cmd.label.clone(),
            source,
        })?;
        self.detach(cmd, stdin.into(), writer.into(), stderr.into())?;
        Ok(reader)
    }

    fn detach(
        &self,
        cmd: &Cmd,
        stdin: Stdio,
        stdout: Stdio,
        stderr: Stdio,
    ) -> Result<(), ProcessError> {
        // setsid(1) forks and leaves, so that init adopts the daemon. No death signal: it has to stay.
        #[expect(clippy::disallowed_methods, reason = "this module is the door")]
        let mut command = std::process::Command::new("setsid");
        {
            use std::os::unix::process::CommandExt as _;
            command.process_group(0);
        }
        sys::tie(
            &mut command,
            sys::Tie {
                parent: getpid(),
                death_signal: None,
                own_session: false,
                terminal: false,
                alone: true,
            },
        );
        let failed = |source| ProcessError::Spawn {
            program: "setsid".to_owned(),
            source,
        };
        let status = command
            .arg("--fork")
            .arg(&cmd.program)
            .args(&cmd.args)
            .env_clear()
            .envs(self.base.iter())
            .envs(&cmd.env)
            .current_dir(&cmd.dir)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .status()
            .map_err(failed)?;
        if status.success() {
            Ok(())
        } else {
            Err(failed(std::io::Error::other(super::describe(status))))
        }
    }

    /// Starts `cmd` in a session of its own as a child that may be followed while this process lives and
    /// goes on when it ends; appends what it prints to `log`.
    ///
    /// # Errors
    /// [`ProcessError::Follow`] when `log` cannot be opened, [`ProcessError::Spawn`].
    pub fn spawn_followed(&self, cmd: &Cmd, log: &Path) -> Result<Daemon, ProcessError> {
        self.follow(cmd, Stdio::null(), log)
    }

    /// Starts `cmd` as [`Processes::spawn_followed`] does, with `line` as its standard input.
    ///
    /// # Errors
    /// As [`Processes::spawn_followed`].
    pub fn spawn_on_line(
        &self,
        cmd: &Cmd,
        line: OwnedFd,
        log: &Path,
    ) -> Result<Daemon, ProcessError> {
        self.follow(cmd, line.into(), log)
    }

    fn follow(&self, cmd: &Cmd, stdin: Stdio, log: &Path) -> Result<Daemon, ProcessError> {
        let (stdout, stderr) = streams(log).map_err(|source| ProcessError::Follow {
            label: cmd.label.clone(),
            source,
        })?;
        #[expect(clippy::disallowed_methods, reason = "this module is the door")]
        let mut command = std::process::Command::new(self.resolve(&cmd.program));
        command
            .args(&cmd.args)
            .env_clear()
            .envs(self.base.iter())
            .envs(&cmd.env)
            .current_dir(&cmd.dir)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr);
        sys::tie(
            &mut command,
            sys::Tie {
                parent: getpid(),
                death_signal: None,
                own_session: true,
                terminal: false,
                alone: true,
            },
        );
        match command.spawn() {
            Ok(child) => Ok(Daemon { child }),
            Err(source) => Err(ProcessError::Spawn {
                program: cmd.program.to_string_lossy().into_owned(),
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::AsRawFd as _;
    use std::time::Duration;

    use super::*;
    use crate::wait::{Deadline, Poll, WaitError, poll_until};

    #[tokio::test(flavor = "current_thread")]
    async fn a_daemon_has_its_own_session_and_another_parent_and_writes_to_its_log() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("log/daemon.log");
        let path = ("PATH".into(), "/usr/bin:/bin".into());
        let processes = Processes::new(BTreeMap::from([path]));
        let cmd = Cmd::new("/bin/sh", Path::new("/")).args([
            "-c",
            "read -r stat </proc/$$/stat; echo \"$stat\" end; sleep 1",
        ]);
        processes.spawn_daemon(&cmd, &log).unwrap();
        let read = || async {
            let text = ground::host_file::text(&log).unwrap_or_default();
            Ok(if text.contains("end") {
                Poll::Ready(text)
            } else {
                Poll::NotYet(text)
            })
        };
        let waited: Result<String, WaitError<std::convert::Infallible>> = poll_until(
            Deadline::after(Duration::from_secs(60)),
            Duration::from_millis(10),
            read,
        )
        .await;
        let text = waited.unwrap();
        // pid (comm) state ppid pgrp session
        let fields: Vec<&str> = text.split(' ').collect();
        assert_ne!(fields[3], std::process::id().to_string(), "{text}");
        assert_eq!(fields[0], fields[5], "{text}");
    }

    /// As cron does with `flock x.lock recipe-ci janitor arm`.
    #[tokio::test(flavor = "current_thread")]
    async fn a_daemon_does_not_keep_the_lock_of_who_started_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.lock");
        let lock = File::create(&path).unwrap();
        #[expect(clippy::disallowed_methods, reason = "as flock(1) does")]
        lock.try_lock().unwrap();
        // flock(1) leaves it open for what it starts.
        let inherited = rustix::io::dup(&lock).unwrap();
        assert!(inherited.as_raw_fd() > 2);
        rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
        drop(lock);
        let processes = Processes::new(BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]));
        let cmd = Cmd::new("/bin/sleep", Path::new("/")).args(["600"]);
        let mut followed = processes
            .spawn_followed(&cmd, &root.path().join("log"))
            .unwrap();
        let ended = "echo $$; exec sleep 600";
        let cmd = Cmd::new("/bin/sh", Path::new("/")).args(["-c", ended]);
        let log = root.path().join("daemon");
        processes.spawn_daemon(&cmd, &log).unwrap();
        drop(inherited);
        let limit = crate::wait::Deadline::after(Duration::from_secs(60));
        let pid: i32 = loop {
            let text = ground::host_file::text(&log).unwrap_or_default();
            if let Ok(pid) = text.trim().parse() {
                break pid;
            }
            assert!(!limit.passed(), "the daemon says nothing");
            crate::wait::pause(Duration::from_millis(5)).await;
        };
        let other = ground::host_file::open(&path).unwrap();
        // The child of another test's fork may have it until it executes its program.
        #[expect(clippy::disallowed_methods, reason = "as flock(1) does")]
        while other.try_lock().is_err() {
            assert!(!limit.passed(), "a daemon has the lock");
            crate::wait::pause(Duration::from_millis(5)).await;
        }
        followed.child.kill().unwrap();
        followed.child.wait().unwrap();
        let daemon = crate::process::Identity::of(pid).unwrap().open().unwrap();
        daemon.unwrap().kill().unwrap();
    }
}
