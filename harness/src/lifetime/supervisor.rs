//! The supervisor: what the step shell starts. One thread, no lock, no work.

use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpgrp, getpid, getppid, getsid};
use rustix::process::{WaitOptions, waitpid};

use super::Note;
use super::worker::{Notes, WorkerError};
use engine::process;
use engine::sys::{self, OwnStatus};
use engine::wait::Deadline;

/// What a worker may take beyond deadline and teardown budget before it counts as wedged.
const WEDGED_AFTER: Duration = Duration::from_secs(30);

/// How many files a run may have to open at once. A small recipe needs 22; the objects of an app are removed
/// all together, on a connection each, and the largest recipes have some dozens.
pub const DESCRIPTORS: u64 = 128;

/// What the limit is raised to where it is lower and may be: what most systems begin with.
const ENOUGH_DESCRIPTORS: u64 = 1024;

/// The signals that a person or a runner ends a run with.
const FORWARDED: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// What to supervise.
#[derive(Debug)]
pub struct Request {
    /// The run's hard deadline.
    pub deadline: Duration,
    /// How long its teardown may take.
    pub teardown_budget: Duration,
    /// The runs that are meant to be without a parent: `--detached`, or started by an init.
    pub detached: bool,
}

impl Request {
    /// Returns how long the worker may live before it counts as wedged.
    fn limit(&self) -> Duration {
        self.deadline + self.teardown_budget + WEDGED_AFTER
    }
}

/// The two processes that come out of [`supervise`].
#[derive(Debug)]
pub enum Side {
    /// This is the worker, with its guards armed.
    Worker(Notes),
    /// This is the supervisor, and its worker has ended.
    Supervisor(Ended),
}

/// How a worker ended.
#[derive(Debug)]
pub enum Ended {
    /// By itself, with this exit code.
    Exited(u8),
    /// By a signal, a panic or an out-of-memory kill; these are the notes that it left.
    Killed {
        /// `killed by SIGKILL`.
        how: String,
        /// What it may have made.
        notes: Vec<Note>,
    },
    /// By this supervisor, because it did not end long after it should have.
    Wedged {
        /// What it may have made.
        notes: Vec<Note>,
    },
}

/// Why a worker could not be supervised.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The process that started this one is already gone, so its end will never end the run.
    #[error("this run is orphaned: the process that started it is gone already")]
    Orphaned,
    /// A run could get stuck half-way, its teardown included.
    #[error("this process may open {limit} files at once, and a run may need {DESCRIPTORS}")]
    Descriptors {
        /// The hard limit (`ulimit -Hn`).
        limit: u64,
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
    /// This is the worker, and it may not work.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// Becomes two processes: a worker, for which this returns at once, and its supervisor, which forwards signals to
/// it and waits for its end.
///
/// The worker is a copy of this process and does not execute the program again: that was half of the time to the
/// lock, and the file may have been replaced meanwhile.
///
/// The caller has called [`process::stop_ignoring`]: the end of a child that is ignored is never reported.
///
/// # Errors
/// [`SupervisorError`] when the run may not or cannot start; nothing has been created then.
pub fn supervise(request: &Request) -> Result<Side, SupervisorError> {
    super::keep_files_private();
    ensure_descriptors()?;
    let parent = getppid();
    if !request.detached && is_orphan(parent) {
        return Err(SupervisorError::Orphaned);
    }
    let own = OwnStatus::read().map_err(guard("read what the kernel says about this process"))?;
    let ignored = ignored_by_starter(&own);
    // Signals are read from a descriptor, so that waiting for them, for the worker's end and for the
    // deadline is one call, with no handler that could run in between.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    for signal in FORWARDED {
        signals.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).map_err(guard("block signals"))?;
    let descriptor = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(guard("open a signal descriptor"))?;
    if !request.detached {
        prctl::set_pdeathsig(Signal::SIGTERM).map_err(guard("arm the parent-death signal"))?;
        if getppid() != parent {
            return Err(SupervisorError::Orphaned);
        }
    }
    // When the worker is killed, its strays come here instead of to init.
    prctl::set_child_subreaper(true).map_err(guard("become a child subreaper"))?;

    let (notes, write_end) = std::io::pipe().map_err(guard("open a pipe"))?;
    let supervisor = getpid();
    let Some(pid) = sys::fork(&own).map_err(guard("start the worker"))? else {
        drop((notes, descriptor));
        return Ok(Side::Worker(super::worker::arm(supervisor, write_end)?));
    };
    // Its name is known before its end: a child's `/proc` is gone with that.
    let group = process::cgroup::OfWorker::of(pid);
    drop(write_end);
    let backstop = Deadline::after(request.limit());
    let (status, wedged) = wait_for_end(pid, &descriptor, &ignored, backstop)?;
    if let Some(group) = group {
        group.end();
    }
    Ok(Side::Supervisor(end_of(status, wedged, read_notes(notes))))
}

/// Hands signals on to the worker until it has ended; returns how, and whether it had to be killed because it was
/// still there at `backstop`.
fn wait_for_end(
    worker: Pid,
    signals: &SignalFd,
    ignored: &[Signal],
    backstop: Deadline,
) -> Result<(ExitStatus, bool), SupervisorError> {
    let mut wedged = false;
    loop {
        if let Some(status) = ended(worker).map_err(guard("wait for the worker"))? {
            return Ok((status, wedged));
        }
        if backstop.passed() {
            wedged = true;
            let _ = kill(worker, Signal::SIGKILL);
        }
        // A wait that is too long for poll(2) is cut; the loop comes round again.
        let wait = if wedged {
            Duration::from_millis(50)
        } else {
            backstop.left()
        };
        let timeout =
            PollTimeout::try_from(wait.min(Duration::from_secs(600))).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(guard("wait for signals")(error)),
        }
        while let Ok(Some(info)) = signals.read_signal() {
            if let Some(signal) =
                forwarded(info.ssi_signo).filter(|signal| !ignored.contains(signal))
            {
                // The worker may have ended meanwhile; then there is no process to tell.
                let _ = kill(worker, signal);
            }
        }
    }
}

/// Returns what the end of a worker means that left `notes`.
fn end_of(status: ExitStatus, wedged: bool, notes: Vec<Note>) -> Ended {
    match (status.code(), wedged) {
        (_, true) => Ended::Wedged { notes },
        // 101 is a panic: the worker is as dead as after a signal.
        (Some(code), false) if code != 101 => Ended::Exited(u8::try_from(code).unwrap_or(3)),
        // A signal that came before the worker listened: it had made nothing, so this is a plain cancel.
        (None, false) if notes.is_empty() && cancelled_by(status).is_some() => {
            Ended::Exited(128 + cancelled_by(status).unwrap_or_default())
        }
        (_, false) => Ended::Killed {
            how: how(status),
            notes,
        },
    }
}

/// Returns how the worker ended, if it has.
fn ended(worker: Pid) -> Result<Option<ExitStatus>, Errno> {
    let pid = rustix::process::Pid::from_raw(worker.as_raw());
    match waitpid(pid, WaitOptions::NOHANG) {
        Ok(found) => Ok(found.map(|(_, status)| ExitStatus::from_raw(status.as_raw()))),
        Err(rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(Errno::from_raw(error.raw_os_error())),
    }
}

/// Returns what makes the system's refusal to do `what` an error.
fn guard<E: Into<std::io::Error>>(what: &'static str) -> impl Fn(E) -> SupervisorError {
    move |error| SupervisorError::Guard {
        what,
        source: error.into(),
    }
}

/// Raises the soft limit of open files to what a run needs, for this process and the worker.
///
/// A run that gets no descriptor in the middle cannot even ask the engine for the removal of its app.
fn ensure_descriptors() -> Result<(), SupervisorError> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(guard("read the limit of open files"))?;
    if hard < DESCRIPTORS {
        return Err(SupervisorError::Descriptors { limit: hard });
    }
    if soft < ENOUGH_DESCRIPTORS && soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, ENOUGH_DESCRIPTORS.min(hard), hard)
            .map_err(guard("raise the limit of open files"))?;
    }
    Ok(())
}

/// Returns the number of the signal that ended the worker, if it is one that ends runs.
fn cancelled_by(status: ExitStatus) -> Option<u8> {
    let number = status.signal()?;
    FORWARDED
        .iter()
        .any(|signal| *signal as i32 == number)
        .then(|| u8::try_from(number).ok())?
}

fn how(status: ExitStatus) -> String {
    if status.signal().is_some() {
        process::describe(status)
    } else {
        "panicked".to_owned()
    }
}

fn forwarded(number: u32) -> Option<Signal> {
    let signal = Signal::try_from(i32::try_from(number).ok()?).ok()?;
    FORWARDED.contains(&signal).then_some(signal)
}

/// Returns which of a terminal's signals the starter made this process ignore, as `nohup` and a shell's `&`
/// do: a caller that does so means the run to go on. The kernel queues a blocked signal for a descriptor whether it
/// is ignored or not, so this must be known.
///
/// SIGTERM is not among them: a cancel must reach every run.
fn ignored_by_starter(own: &OwnStatus) -> Vec<Signal> {
    let mut terminals = vec![Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT];
    terminals.retain(|signal| own.ignores(*signal));
    terminals
}

/// Reads what the worker wrote until its end. Its children never have the write end: it is closed when they
/// execute their program.
fn read_notes(pipe: std::io::PipeReader) -> Vec<Note> {
    BufReader::new(pipe)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect()
}

/// Whether this process was started by somebody who is gone.
///
/// A process whose parent died belongs to init or to a subreaper; nothing in `/proc` says which parent it
/// had. But who starts a step is in the step's session, while who adopts it is not, unless this process
/// leads a session or group of its own, which an init, `setsid` or an interactive shell arranges.
fn is_orphan(parent: Pid) -> bool {
    let own = getpid();
    let same_session = getsid(Some(parent)).is_ok_and(|theirs| getsid(None) == Ok(theirs));
    !same_session && getpgrp() != own && getsid(None) != Ok(own)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use engine::wait::Stopwatch;

    /// Starts a program that stays, and stops it: it hears of no signal but SIGKILL.
    fn stopped() -> Pid {
        #[expect(clippy::disallowed_methods, reason = "no runtime, as in a supervisor")]
        let child = std::process::Command::new("sleep").arg("1000").spawn();
        let pid = Pid::from_raw(i32::try_from(child.unwrap().id()).unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        pid
    }

    #[test]
    fn a_worker_that_is_wedged_is_killed_at_the_backstop_and_not_before() {
        let hour = Duration::from_secs(3600);
        let request = Request {
            deadline: hour,
            teardown_budget: hour / 6,
            detached: false,
        };
        // docs/operating.md: deadline + 10 min + 30 s.
        assert_eq!(request.limit(), Duration::from_secs(3600 + 600 + 30));

        let signals = SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_NONBLOCK).unwrap();
        let worker = stopped();
        let watch = Stopwatch::start();
        let limit = Duration::from_millis(300);
        let (status, wedged) = wait_for_end(worker, &signals, &[], Deadline::after(limit)).unwrap();
        assert!(watch.elapsed() >= limit, "{:?}", watch.elapsed());
        assert_eq!((status.signal(), wedged), (Some(9), true));
        assert!(!Path::new(&format!("/proc/{worker}")).exists());

        // What it may have made is known all the same.
        let note = Note::App {
            domain: "note-0a1b2c.ci.localhost".to_owned(),
        };
        let end = end_of(status, wedged, vec![note]);
        assert!(matches!(end, Ended::Wedged { notes } if notes.len() == 1));
    }
}
