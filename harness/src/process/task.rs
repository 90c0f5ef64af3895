//! A child whose output goes straight to a file and whose end is waited for by somebody who may be told to
//! end it: the task of a background runner.

use std::fs::File;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};

use super::{Cmd, Identity, ProcessError, Processes, Running};

/// A task that runs. Dropping it abandons it, as every child.
#[derive(Debug)]
pub(crate) struct Task(Running);

impl Processes {
    /// Starts `cmd` in a group of its own, writing to `log`; the kernel kills it when this process dies.
    ///
    /// # Errors
    /// [`ProcessError::Spawn`].
    pub(crate) fn spawn_task(&self, cmd: &Cmd, log: &File) -> Result<Task, ProcessError> {
        let copy = || -> Result<Stdio, ProcessError> {
            log.try_clone()
                .map(Stdio::from)
                .map_err(|source| ProcessError::Follow {
                    label: cmd.label.clone(),
                    source,
                })
        };
        self.spawn(cmd, copy()?, copy()?).map(Task)
    }
}

impl Task {
    /// Returns who it is; nobody else gets its pid before it was waited for.
    pub(crate) fn identity(&self) -> Option<Identity> {
        // It may be dead already, but it has not been reaped.
        Identity::of(self.0.group.as_raw()).ok()
    }

    /// Waits for its end, then ends what is left of its group.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let child = self.0.child.as_mut().expect("it was not ended yet");
        let status = child.wait().await?;
        self.0.child = None;
        // As in `run`: a process that is to stay leaves the group.
        let _ = killpg(self.0.group, Signal::SIGKILL);
        Ok(status)
    }

    /// Ends it with its group: TERM, a grace, KILL.
    pub(crate) async fn end(mut self) {
        self.0.end().await;
    }
}
