//! The only unsafe code: what a child does between `fork` and `exec`.
//!
//! Only system calls happen there. Logging, allocating or locking in that window can deadlock, because
//! another thread may have held the lock when the process was copied.

#![expect(
    unsafe_code,
    reason = "`pre_exec` is unsafe by its nature; each use says why it is sound"
)]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, getppid, setsid};

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
        // A supervisor blocks its signals to read them from a descriptor; its children must not.
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        Ok(())
    };
    // SAFETY: the closure makes at most six system calls and touches only `tie`, which is `Copy` and was moved
    // into it. It neither allocates nor takes locks, so it is sound in a forked copy of a threaded process.
    unsafe {
        command.pre_exec(before_exec);
    }
}
