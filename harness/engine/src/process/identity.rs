//! Which process a recorded pid means.
//!
//! A pid alone means nothing: the kernel gives it to another process, and a reboot to another again. With
//! the start time that the kernel keeps and the id of the boot it is unique.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::poll::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::wait::is_ready;
use ground::host_file;

/// A process, so that no other one can be taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its pid, in the pid namespace of the process that wrote this down.
    pub pid: i32,
    /// When it started, in clock ticks since the boot: field 22 of `/proc/PID/stat`.
    pub started: u64,
    /// The boot, as `/proc/sys/kernel/random/boot_id` has it.
    pub boot: String,
}

impl Identity {
    /// Returns the identity of this process.
    ///
    /// # Errors
    /// What the system says when `/proc` cannot be read.
    pub fn own() -> io::Result<Self> {
        Self::of(nix::unistd::getpid().as_raw())
    }

    /// Returns the identity of the process that has `pid` now.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it does not exist, and what else the system says of `/proc`.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            started: started(pid)?,
            boot: host_file::text("/proc/sys/kernel/random/boot_id")?
                .trim()
                .to_owned(),
        })
    }

    /// Returns a hold on the process, or nothing when it has ended. One whose parent has not waited for it has, too:
    /// in a container whose first process never waits it would live for ever.
    ///
    /// # Errors
    /// What the system says when that cannot be found out.
    pub fn open(&self) -> io::Result<Option<Process>> {
        let pid = Pid::from_raw(self.pid)
            .filter(|_| self.pid > 0)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            // Before Linux 6.15 it is EINVAL, since then ENOENT, when the pid is another process's thread by now, or
            // when its process is being reaped at this moment; with a good pid and no flags they mean nothing else.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        // In this order: what the descriptor means cannot change any more, so if the process that has the
        // pid now is the recorded one, the descriptor is the recorded one's.
        match Self::of(self.pid) {
            Ok(now) if now == *self => {
                let process = Process { descriptor };
                let ended = process.wait(Duration::ZERO)?;
                Ok((!ended).then_some(process))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns field 22 of `/proc/PID/stat`.
fn started(pid: i32) -> io::Result<u64> {
    let stat = proc_text(pid, "stat")?;
    // `pid (comm) state ppid …`, and comm may itself contain `) `.
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Returns the text of `/proc/PID/name`. The kernel writes a command's name into it as it is, cut after 15 bytes, so it
/// need not be UTF-8; one such process must not end a search through all of them.
///
/// # Errors
/// What the system says.
pub(super) fn proc_text(pid: i32, name: &str) -> io::Result<String> {
    let text = host_file::bytes(format!("/proc/{pid}/{name}"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A hold on one process, which its pid's reuse cannot turn into another.
#[derive(Debug)]
pub struct Process {
    descriptor: OwnedFd,
}

impl Process {
    /// Asks it to end. One that is gone already is fine.
    ///
    /// # Errors
    /// What the system says, [`io::ErrorKind::PermissionDenied`] for another user's.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends it. One that is gone already is fine.
    ///
    /// # Errors
    /// What the system says, [`io::ErrorKind::PermissionDenied`] for another user's.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Blocks until it has ended or `limit` has passed; returns whether it has ended.
    ///
    /// # Errors
    /// What the system says when it cannot be waited for.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        use std::os::fd::AsFd as _;
        is_ready(self.descriptor.as_fd(), PollFlags::POLLIN, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a process to look at")]
    fn child() -> std::process::Child {
        std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap()
    }

    fn identity(child: &std::process::Child) -> Identity {
        Identity::of(i32::try_from(child.id()).unwrap()).unwrap()
    }

    #[test]
    fn a_process_is_found_again_ended_and_then_gone() {
        let mut child = child();
        let identity = identity(&child);
        let process = identity.open().unwrap().unwrap();
        assert!(!process.wait(Duration::ZERO).unwrap());
        process.terminate().unwrap();
        assert!(process.wait(Duration::from_secs(60)).unwrap());
        child.wait().unwrap();
        assert!(identity.open().unwrap().is_none());
        process.kill().unwrap();
    }

    #[test]
    fn a_process_that_nobody_waited_for_has_ended() {
        let mut child = child();
        let identity = identity(&child);
        let process = identity.open().unwrap().unwrap();
        process.kill().unwrap();
        assert!(process.wait(Duration::from_secs(60)).unwrap());
        // `/proc` and `pidfd_open` have it still.
        assert_eq!(Identity::of(identity.pid).unwrap(), identity);
        assert!(identity.open().unwrap().is_none());
        child.wait().unwrap();
    }

    #[test]
    fn a_name_that_is_no_text_hides_no_process() {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join(std::ffi::OsStr::from_bytes(b"\xffsleep"));
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a process to look at")]
        let mut child = std::process::Command::new(&program)
            .arg("60")
            .spawn()
            .unwrap();
        let identity = identity(&child);
        assert!(identity.is_alive());
        assert!(identity.open().unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_taken_for_it() {
        let mut child = child();
        let now = identity(&child);
        let reused = Identity {
            started: now.started - 1,
            ..now.clone()
        };
        let rebooted = Identity {
            boot: "another".to_owned(),
            ..now
        };
        assert!(reused.open().unwrap().is_none());
        assert!(rebooted.open().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
