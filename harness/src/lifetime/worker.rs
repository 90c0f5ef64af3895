//! The worker's side: its guards, its notes to the supervisor, the signals that end it.

use std::io::{PipeWriter, Write as _};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, dup2_stdin, getppid, setsid};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::Note;

use ground::host_file;

/// Why a worker refuses to work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The supervisor is gone.
    #[error("the supervisor (pid {expected}) is not this worker's parent any more")]
    Orphaned {
        /// The supervisor's pid.
        expected: i32,
    },
    /// A guard could not be set up.
    #[error("failed to {what}")]
    Guard {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// The worker's line to its supervisor.
#[derive(Debug)]
pub struct Notes {
    pipe: PipeWriter,
}

impl Notes {
    /// Returns one that nobody listens to.
    #[cfg(test)]
    pub(crate) fn unheard() -> Self {
        let (_, pipe) = std::io::pipe().expect("a pipe can be made");
        Self { pipe }
    }

    /// Tells the supervisor before the thing is done. A supervisor that is gone needs no notes.
    pub fn tell(&mut self, note: &Note) {
        if let Ok(line) = serde_json::to_string(note) {
            drop(writeln!(self.pipe, "{line}"));
        }
    }
}

/// Arms the guards of the worker whose supervisor is `expected`: TERM when that dies, a session of its own, no
/// signal blocked, no standard input. And leaves the step's directory, which the runner may delete under us.
///
/// The death signal belongs to the thread that forked (`PR_SET_PDEATHSIG(2const)`); the supervisor has only one.
///
/// # Errors
/// [`WorkerError`]; the worker must not do anything then.
pub(super) fn arm(expected: Pid, pipe: PipeWriter) -> Result<Notes, WorkerError> {
    let guard = |what| move |source: std::io::Error| WorkerError::Guard { what, source };
    let refused = |what| move |error: nix::errno::Errno| guard(what)(error.into());
    prctl::set_pdeathsig(Signal::SIGTERM).map_err(refused("arm the parent-death signal"))?;
    // It may have died between fork and prctl: then no signal will ever come.
    if getppid() != expected {
        return Err(WorkerError::Orphaned {
            expected: expected.as_raw(),
        });
    }
    setsid().map_err(refused("lead a session of its own"))?;
    // A daemon that a hook starts comes back here instead of to init.
    prctl::set_child_subreaper(true).map_err(refused("become a child subreaper"))?;
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    std::env::set_current_dir("/").map_err(guard("leave the step's directory"))?;
    host_file::open("/dev/null")
        .and_then(|null| Ok(dup2_stdin(null)?))
        .map_err(guard("let go of standard input"))?;
    // The supervisor blocks its signals to read them from a descriptor. One that waits comes now, and ends a
    // worker that has made nothing.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(refused("unblock signals"))?;
    Ok(Notes { pipe })
}

/// A signal that ends a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGHUP.
    Hangup,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTERM: a cancel, or the death of the parent.
    Terminate,
}

impl EndSignal {
    /// Returns the signal's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// Returns the exit code of a run that it ended: 128 + its number.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Quit => 131,
            Self::Terminate => 143,
        }
    }
}

/// Receives the signals that end a run.
#[derive(Debug)]
pub struct Signals {
    hangup: Stream,
    interrupt: Stream,
    quit: Stream,
    terminate: Stream,
}

impl Signals {
    /// Starts receiving: from now on none of them ends the process by itself, and this thread is the one that obeys
    /// them.
    ///
    /// # Errors
    /// What the system says when a handler cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        ground::signal_thread::is_here();
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> EndSignal {
        tokio::select! {
            _ = self.hangup.recv() => EndSignal::Hangup,
            _ = self.interrupt.recv() => EndSignal::Interrupt,
            _ = self.quit.recv() => EndSignal::Quit,
            _ = self.terminate.recv() => EndSignal::Terminate,
        }
    }
}
