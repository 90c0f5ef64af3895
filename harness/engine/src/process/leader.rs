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

    use nix::sys::signal::kill;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
    use tokio::process::ChildStdout;

    use super::*;
    use crate::process::identity::proc_text;
    use crate::wait::{Deadline, pause};

    /// What never happens is said before whatever runs the tests gives them up.
    const LONG: Duration = Duration::from_secs(60);

    /// A process of the leader's group that outlives the leader, and goes with the test.
    struct Follower {
        pid: i32,
        /// What it holds the other end of.
        out: BufReader<ChildStdout>,
    }

    impl Drop for Follower {
        fn drop(&mut self) {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    async fn pair() -> (Leader, Follower) {
        #[expect(clippy::disallowed_methods, reason = "this module is behind the door")]
        let mut command = tokio::process::Command::new("/bin/sh");
        command
            .args(["-c", "sleep 600 & echo $!"])
            .stdout(Stdio::piped())
            .process_group(0);
        let mut leader = Leader::new(command.spawn().unwrap()).unwrap();
        let mut out = BufReader::new(leader.child().stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).await.unwrap();
        let pid = line.trim().parse().unwrap();
        (leader, Follower { pid, out })
    }

    fn state(pid: i32) -> Option<char> {
        let stat = proc_text(pid, "stat").ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        let limit = Deadline::after(LONG);
        while !holds() {
            assert!(!limit.passed(), "not within {LONG:?}: {what}");
            pause(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_group_is_killed_while_its_leader_waits_to_be_reaped() {
        let (mut leader, mut follower) = pair().await;
        let pid = leader.pid().unwrap().as_raw();
        leader.ended().await.unwrap();
        // Its number is its own still.
        assert_eq!(state(pid), Some('Z'));
        assert_eq!(leader.pid().map(Pid::as_raw), Some(pid));

        assert!(leader.reap().await.unwrap().success());
        assert_eq!((state(pid), leader.pid()), (None, None));
        // Its other end is closed with the follower. One that was not killed would hold it for ten minutes.
        let mut rest = String::new();
        let end = tokio::time::timeout(LONG, follower.out.read_to_string(&mut rest)).await;
        assert!(end.is_ok_and(|end| end.is_ok()), "the follower lives");
        let has_ended = || state(follower.pid).is_none_or(|state| state == 'Z');
        until("the follower has ended", has_ended).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_group_is_not_signalled_once_its_leader_was_reaped() {
        let (mut leader, follower) = pair().await;
        assert!(leader.child().wait().await.unwrap().success());
        assert_eq!(leader.pid(), None);
        // Of who stands still a signal that came is seen, and that none came.
        kill(Pid::from_raw(follower.pid), Signal::SIGSTOP).unwrap();
        until("the follower stands still", || {
            state(follower.pid) == Some('T')
        })
        .await;
        leader.signal(Signal::SIGTERM);
        let status = proc_text(follower.pid, "status").unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
        let pending = u64::from_str_radix(pending.unwrap().trim(), 16).unwrap();
        assert_eq!(pending, 0, "{status}");
    }
}
