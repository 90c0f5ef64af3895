//! A child whose streams and whose end are followed by a caller that may be told to end it: the task of a background
//! runner.

use std::os::fd::OwnedFd;
use std::process::ExitStatus;

use tokio::net::unix::pipe::Receiver;

use super::{Cmd, Identity, ProcessError, Processes, Running};

/// A task that runs. Dropping it abandons it, as every child.
#[derive(Debug)]
pub(crate) struct Task(Running);

impl Processes {
    /// Starts `cmd` in a group of its own; the kernel kills it when this process dies. Returns it with the ends of its
    /// standard output and standard error, which whatever it leaves behind may hold open.
    ///
    /// # Errors
    /// [`ProcessError::Spawn`]; [`ProcessError::Follow`] when there can be no pipe.
    pub(crate) fn spawn_task(&self, cmd: &Cmd) -> Result<(Task, [Receiver; 2]), ProcessError> {
        let follow = |source| ProcessError::Follow {
            label: cmd.label.clone(),
            source,
        };
        let pipe = || {
            let (reader, writer) = std::io::pipe()?;
            Ok((Receiver::from_owned_fd(OwnedFd::from(reader))?, writer))
        };
        let (out, to_out) = pipe().map_err(follow)?;
        let (err, to_err) = pipe().map_err(follow)?;
        let task = self.spawn(cmd, to_out.into(), to_err.into()).map(Task)?;
        Ok((task, [out, err]))
    }
}

impl Task {
    /// Returns who it is; no other process gets its pid before it was waited for.
    pub(crate) fn identity(&self) -> Option<Identity> {
        // It may be dead already, but it has not been reaped.
        Identity::of(self.0.leader.as_ref()?.pid()?.as_raw()).ok()
    }

    /// Waits for its end, then ends what is left of its group.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.0.leader().ended().await?;
        // As in `run`: a process that is to stay leaves the group.
        self.0.reap().await
    }

    /// Ends it with its group: TERM, a grace, KILL.
    pub(crate) async fn end(mut self) {
        self.0.end().await;
    }
}
