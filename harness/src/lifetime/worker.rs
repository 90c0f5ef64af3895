//! The worker's side: its guards, its notes to the supervisor, the signals that end it.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;

use nix::sys::prctl;
use nix::unistd::{Pid, getppid};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::Note;

/// The variable by which a process knows that it is the worker of the supervisor with this pid.
pub const PARENT_VARIABLE: &str = "RECIPE_CI_WORKER_OF";

/// Why a worker refuses to work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The supervisor is gone, or it never was this process's parent.
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
    pipe: File,
}

impl Notes {
    /// Tells the supervisor before the thing is done. A supervisor that is gone needs no notes.
    pub fn tell(&mut self, note: &Note) {
        if let Ok(line) = serde_json::to_string(note) {
            drop(writeln!(self.pipe, "{line}"));
        }
    }
}

/// Arms the guards of a worker whose supervisor is `expected`, and leaves the step's directory, which the
/// runner may delete under us.
///
/// The death signal was set between fork and exec, with the exact parent check; it is checked again here
/// because the supervisor may have died since.
///
/// # Errors
/// [`WorkerError`]; the worker must not do anything then.
pub fn arm(expected: i32) -> Result<Notes, WorkerError> {
    let guard = |what| move |source: std::io::Error| WorkerError::Guard { what, source };
    prctl::set_child_subreaper(true)
        .map_err(|error| guard("become a child subreaper")(error.into()))?;
    if getppid() != Pid::from_raw(expected) {
        return Err(WorkerError::Orphaned { expected });
    }
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    std::env::set_current_dir("/").map_err(guard("leave the step's directory"))?;
    // The supervisor handed the pipe over as standard input.
    let pipe = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(guard("take over the supervisor's pipe"))?;
    Ok(Notes {
        pipe: File::from(pipe),
    })
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
    /// Starts receiving: from now on none of them ends the process by itself.
    ///
    /// # Errors
    /// What the system says when a handler cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
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
