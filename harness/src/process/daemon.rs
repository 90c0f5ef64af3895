//! Daemons that are meant to outlive this process, unlike every other child.
//!
//! There is one use: an engine for a host that has none running. A daemon must be started before this
//! process becomes a child subreaper, for it would come back and be killed as a stray.

use std::path::Path;
use std::process::Stdio;

use super::{Cmd, ProcessError, Processes};

impl Processes {
    /// Starts `cmd` in a session of its own, adopted by init, and appends what it prints to `log`.
    ///
    /// Nothing more is known of it: whether it works is for the caller to find out, and `log` says why not.
    ///
    /// # Errors
    /// [`ProcessError::Follow`] when `log` cannot be opened, [`ProcessError::Spawn`] when `setsid(1)` of
    /// util-linux cannot be started or fails.
    pub fn spawn_daemon(&self, cmd: &Cmd, log: &Path) -> Result<(), ProcessError> {
        let open = || -> std::io::Result<(Stdio, Stdio)> {
            if let Some(dir) = log.parent() {
                std::fs::create_dir_all(dir)?;
            }
            let out = std::fs::File::options()
                .create(true)
                .append(true)
                .open(log)?;
            Ok((out.try_clone()?.into(), out.into()))
        };
        let (stdout, stderr) = open().map_err(|source| ProcessError::Follow {
            label: cmd.label.clone(),
            source,
        })?;
        // setsid(1) forks and leaves, so that init adopts the daemon. No death signal: it has to stay.
        #[expect(clippy::disallowed_methods, reason = "this module is the door")]
        let mut command = std::process::Command::new("setsid");
        {
            use std::os::unix::process::CommandExt as _;
            command.process_group(0);
        }
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
            .stdin(Stdio::null())
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
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
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
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            Ok(if text.contains("end") {
                Poll::Ready(text)
            } else {
                Poll::NotYet(text)
            })
        };
        let waited: Result<String, WaitError<std::convert::Infallible>> = poll_until(
            Deadline::after(Duration::from_secs(10)),
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
}
