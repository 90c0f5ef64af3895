//! The only unsafe code: `fork`, and what a child does between that and `exec`.
//!
//! Only system calls happen there. Logging, allocating or locking in that window can deadlock, because
//! another thread may have held the lock when the process was copied. A copy that goes on without `exec` is
//! made only of a process that has no other thread.

#![expect(
    unsafe_code,
    reason = "`fork` and `pre_exec` are unsafe by their nature; each use says why it is sound"
)]

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{ForkResult, Pid, getppid, setsid};

use ground::host_file;

/// How a child is tied to the process that spawns it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tie {
    /// The process that spawns it; the child refuses to start when that one is already gone.
    pub(crate) parent: Pid,
    /// The signal that the kernel sends to the child when the spawning *thread* ends; none for a child that
    /// is meant to outlive it.
    pub(crate) death_signal: Option<Signal>,
    /// Whether the child becomes the leader of a session of its own.
    pub(crate) own_session: bool,
    /// Whether its standard input is a terminal that becomes its session's own.
    pub(crate) terminal: bool,
    /// Whether it gets no descriptor above 2, even one left open by mistake: a daemon would keep the lock of the
    /// `flock x.lock recipe-ci …` that started it.
    pub(crate) alone: bool,
}

/// Arranges that the child of `command` is tied as `tie` says, with an empty signal mask.
///
/// The death signal belongs to the thread that spawns, not to the process (`PR_SET_PDEATHSIG(2const)`), so
/// the caller must spawn from a thread that lives as long as the process.
pub(crate) fn tie(command: &mut Command, tie: Tie) {
    let before_exec = move || -> io::Result<()> {
        if let Some(signal) = tie.death_signal {
            prctl::set_pdeathsig(signal)?;
            // The parent may have died between fork and prctl: then no signal will ever come.
            if getppid() != tie.parent {
                return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
            }
        }
        if tie.own_session {
            setsid()?;
        }
        if tie.terminal {
            // SAFETY: TIOCSCTTY takes a number and no pointer, and descriptor 0 is open: the caller has put the
            // terminal there before this runs.
            let set = unsafe { nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) };
            if set == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        if tie.alone {
            // Closed by exec and not here: the pipe over which the parent hears of a failure is among them.
            let all = nix::libc::c_uint::MAX;
            let flags = nix::libc::CLOSE_RANGE_CLOEXEC as nix::libc::c_int;
            // SAFETY: close_range takes numbers and no pointer.
            if unsafe { nix::libc::close_range(3, all, flags) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        // A supervisor blocks its signals to read them from a descriptor; its children must not.
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        Ok(())
    };
    // SAFETY: the closure makes at most seven system calls and touches only `tie`, which is `Copy` and was moved
    // into it. It neither allocates nor takes locks, so it is sound in a forked copy of a threaded process.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Has the kernel do by default what the starter may have told it to ignore: SIGCHLD, without which no child can be
/// waited for (a Python or Perl daemon hands that on), and SIGTERM, because a cancel must reach every run.
///
/// # Errors
/// What the system says.
pub(crate) fn stop_ignoring() -> io::Result<()> {
    for signal in [Signal::SIGCHLD, Signal::SIGTERM] {
        // SAFETY: no handler is installed, so no code runs in a signal's context.
        unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// What the kernel says about this process.
#[derive(Debug)]
pub struct OwnStatus {
    threads: u32,
    ignored: u64,
}

impl OwnStatus {
    /// Reads it.
    ///
    /// # Errors
    /// What the system says, and `InvalidData` when a line that every kernel writes is not there.
    pub fn read() -> io::Result<Self> {
        // `std::fs` takes the size of such a file for its length, which is 0, and needs ten calls.
        let mut text = String::with_capacity(4096);
        host_file::open("/proc/self/status")?.read_to_string(&mut text)?;
        Self::parse(&text).ok_or_else(|| {
            let what = "`/proc/self/status` lacks its lines `Threads:` and `SigIgn:`";
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key| text.lines().find_map(|line| line.strip_prefix(key));
        Some(Self {
            threads: value("Threads:")?.trim().parse().ok()?,
            ignored: u64::from_str_radix(value("SigIgn:")?.trim(), 16).ok()?,
        })
    }

    /// Returns whether this process ignores `signal`.
    pub fn ignores(&self, signal: Signal) -> bool {
        self.ignored & (1 << (signal as i32 - 1)) != 0
    }
}

/// Makes a copy of this process that goes on from here. Returns its pid, and nothing in the copy.
///
/// # Errors
/// What the system says; and when there is another thread, because the copy would have what that one had locked
/// at this moment locked for ever.
pub fn fork(own: &OwnStatus) -> io::Result<Option<Pid>> {
    if own.threads != 1 {
        let why = format!("this process has {} threads, and may have one", own.threads);
        return Err(io::Error::other(why));
    }
    // SAFETY: this is the only thread, so nothing is locked or half-way changed by another one, and the copy may do
    // whatever this process may.
    Ok(match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Some(child),
        ForkResult::Child => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_whole_or_not_at_all() {
        let text =
            "Name:\tcat\nThreads:\t3\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000000000\n";
        let status = OwnStatus::parse(text).unwrap();
        assert_eq!(status.threads, 3);
        assert!(status.ignores(Signal::SIGHUP) && !status.ignores(Signal::SIGINT));
        assert!(OwnStatus::parse("Name:\tcat\nThreads:\t3\n").is_none());
        assert!(OwnStatus::parse("Threads:\tmany\nSigIgn:\t0\n").is_none());
    }

    #[test]
    fn a_process_with_threads_is_not_copied() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || stopped.recv());
        let own = OwnStatus::read().unwrap();
        assert!(own.threads > 1);
        let error = fork(&own).unwrap_err().to_string();
        assert!(error.contains("threads, and may have one"), "{error}");
        drop(stop);
        assert!(other.join().unwrap().is_err());
    }
}
