//! A child whose streams and whose end are followed by a caller that may be told to end it: the task of a background
//! runner.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;

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

    /// Starts `cmd`, which says nothing, as a child that its owner alone ends: [`Processes::end_all`] leaves it.
    ///
    /// # Errors
    /// [`ProcessError::Spawn`].
    pub(crate) fn spawn_kept(&self, cmd: &Cmd) -> Result<Kept, ProcessError> {
        let task = self.spawn(cmd, Stdio::null(), Stdio::null()).map(Task)?;
        let leader = task.0.leader.as_ref();
        let pid = leader
            .and_then(|leader| leader.pid())
            .map(|pid| pid.as_raw());
        let kept = Rc::clone(&self.kept);
        kept.borrow_mut().extend(pid);
        Ok(Kept { task, pid, kept })
    }
}

/// A child that stays until its owner ends it; dropping it abandons it, as every child.
#[derive(Debug)]
pub(crate) struct Kept {
    task: Task,
    pid: Option<i32>,
    kept: Rc<RefCell<BTreeSet<i32>>>,
}

impl Kept {
    /// Waits for its end.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.task.wait().await
    }

    /// Ends it with its group, where it has not ended: TERM, a grace, KILL.
    pub(crate) async fn end(mut self) {
        self.task.0.end().await;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            self.kept.borrow_mut().remove(&pid);
        }
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
