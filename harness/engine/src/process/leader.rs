//! A child that leads a process group, until it is reaped.

use std::io;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;

/// A child that leads a group of its own.
///
/// Its group is signalled only while the child has not been reaped: its number is nobody else's until then
/// (`setpgid(2)`, `wait(2)`), and any stranger's afterwards. So its end is seen by a pidfd, which reaps nothing.
#[derive(Debug)]
pub(super) struct Leader {
    child: Child,
    /// Readable once the child has ended (`pidfd_open(2)`). What reads a pipe when it is readable waits for one, too.
    end: Receiver,
}

impl Leader {
    /// Takes a child that was started as the leader of a group.
    ///
    /// # Errors
    /// What the system says, for instance that there are no more descriptors; the child is killed then.
    pub(super) fn new(mut child: Child) -> io::Result<Self> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("a child that was not waited for has a pid");
        let end = pidfd_open(pid, PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(Receiver::from_owned_fd_unchecked);
        match end {
            Ok(end) => Ok(Self { child, end }),
            Err(error) => {
                drop(child.start_kill());
                Err(error)
            }
        }
    }

    /// Returns the child, for its streams.
    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Returns its pid, which is its group's number; none once it was reaped.
    pub(super) fn pid(&self) -> Option<Pid> {
        let pid = i32::try_from(self.child.id()?).ok()?;
        Some(Pid::from_raw(pid))
    }

    /// Waits until it has ended, and leaves it to be reaped.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.end.readable().await
    }

    /// Sends a signal to all of the group; to nobody once the child was reaped.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(group) = self.pid() {
            let _ = killpg(group, signal);
        }
    }

    /// Kills what is left of the group, the child itself included, and reaps it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn reap(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.child.wait().await
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;
    use crate::process::identity::proc_text;
    use crate::wait::{Deadline, pause};

    fn state(pid: i32) -> Option<char> {
        let stat = proc_text(pid, "stat").ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_group_is_signalled_while_its_leader_waits_to_be_reaped_and_not_after() {
        #[expect(clippy::disallowed_methods, reason = "this module is behind the door")]
        let mut command = tokio::process::Command::new("/bin/sh");
        command
            .args(["-c", "sleep 600 & echo $!"])
            .stdout(Stdio::piped())
            .process_group(0);
        let mut leader = Leader::new(command.spawn().unwrap()).unwrap();
        let pid = leader.pid().unwrap().as_raw();
        leader.ended().await.unwrap();
        // Its number is its own still.
        assert_eq!(state(pid), Some('Z'));
        assert_eq!(leader.pid().map(Pid::as_raw), Some(pid));

        let mut said = leader.child().stdout.take().unwrap();
        assert!(leader.reap().await.unwrap().success());
        assert_eq!((state(pid), leader.pid()), (None, None));
        let mut text = String::new();
        // Its other end is closed with the grandchild, which was killed with the group.
        tokio::io::AsyncReadExt::read_to_string(&mut said, &mut text)
            .await
            .unwrap();
        let limit = Deadline::after(Duration::from_secs(60));
        while state(text.trim().parse().unwrap()).is_some_and(|state| state != 'Z') {
            assert!(!limit.passed(), "the grandchild lives");
            pause(Duration::from_millis(5)).await;
        }
        leader.signal(Signal::SIGKILL);
    }
}
