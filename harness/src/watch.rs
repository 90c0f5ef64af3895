//! The watcher: sweeps a host that has no timer for it.
//!
//! One per state directory. A `flock` decides who it is, never a pid file: a record that outlives its writer
//! must not keep the next one out, and one that is copied elsewhere must not speak for anybody. The record
//! says what the watcher does, and who it is for the one command that may end it.

mod arm;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use arm::{ArmError, Armed, arm};

use engine::lock::{LockError, Probe, SectionLock, probe};
use engine::process::{Identity, Process};
use engine::record::replace_shared;
use engine::wait::{Deadline, pause, retry_while};
use ground::host_file;

/// How often a watcher looks at its lock and says that it lives.
pub const POLL: Duration = Duration::from_secs(10);

/// How often a watcher sweeps when nothing else is said.
pub const EVERY: Duration = Duration::from_secs(10 * 60);

/// How long a sweep may take before it is given up and the next one gets its turn. An engine that hangs must
/// not end the watch for good; but the data of a warm app that is put back may take half of this to upload, and would
/// be begun anew by the next sweep.
const SWEEP_LIMIT: Duration = Duration::from_secs(60 * 60);

/// How long a watcher's lock may be held by those who look at it (`arm` does so every 20 ms) before it counts as
/// another watcher's.
const LOOKED_AT: Duration = Duration::from_secs(2);

/// How many polls a heartbeat may be old before the watcher does not count as alive.
const MISSED_POLLS: u32 = 3;

/// Why a watcher could not be had, read or ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Its lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file of the state directory or a process cannot be used.
    #[error("failed to {what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was told to end, then killed, and is still there.
    #[error("the watcher (pid {pid}) does not end")]
    Immortal {
        /// Its pid.
        pid: i32,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> WatchError {
    let what = what.into();
    move |source| WatchError::System { what, source }
}

/// What a watcher says of itself at every poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The process.
    pub process: Identity,
    /// Device and inode of the lock that it holds: a record copied to another directory names another lock.
    pub lock: (u64, u64),
    /// The zone that it sweeps.
    pub zone: String,
    /// How often it sweeps, in seconds.
    pub every_s: u64,
    /// How often it says that it lives, in milliseconds.
    pub poll_ms: u64,
    /// When it last did, RFC 3339 in UTC.
    pub beat_at: String,
    /// How many sweeps it has ended.
    pub sweeps: u64,
    /// What the last one came to.
    pub last: Option<String>,
    /// Whether the last one failed: a watcher that lives and cannot sweep cares for nothing.
    #[serde(default)]
    pub failed: bool,
}

impl Heartbeat {
    /// Returns how long ago the watcher said that it lives, and whether that is recent enough.
    #[must_use]
    pub fn age(&self) -> (Duration, bool) {
        let limit = Duration::from_millis(self.poll_ms) * MISSED_POLLS;
        match self.beat_at.parse::<Timestamp>() {
            Ok(at) => {
                let age = Timestamp::now().duration_since(at);
                // A clock that was set back makes a beat look like one of the future; it is as good as now.
                let age = age.max(SignedDuration::ZERO).unsigned_abs();
                (age, age <= limit)
            }
            Err(_) => (Duration::MAX, false),
        }
    }
}

/// Whether a watcher lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It holds its lock and has said so lately.
    Healthy(Heartbeat),
    /// A process holds the lock, but what is recorded is too old, of another process or missing.
    Silent(Option<Heartbeat>),
    /// It left its record and holds its lock no more: it was killed, or its host was. A watcher that is told to stop
    /// takes its record back. Nothing when the record cannot be read.
    Died(Option<Heartbeat>),
    /// There is neither a holder of the lock nor a record.
    Absent,
}

/// Returns the lock that makes one process the watcher of `state`.
#[must_use]
pub fn lock_file(state: &Path) -> PathBuf {
    state.join("watcher.lock")
}

/// Returns where the watcher of `state` says that it lives.
#[must_use]
pub fn heartbeat_file(state: &Path) -> PathBuf {
    state.join("watcher.json")
}

/// Returns where an armed watcher of `state` writes what it does.
#[must_use]
pub fn log_file(state: &Path) -> PathBuf {
    state.join("watcher.log")
}

/// Returns whether the watcher of `state` lives.
///
/// # Errors
/// [`WatchError`] when that cannot be found out.
pub fn state(state: &Path) -> Result<State, WatchError> {
    if probe(&lock_file(state))? == Probe::Free {
        return left(state);
    }
    let Some(beat) = heartbeat(state)? else {
        return Ok(State::Silent(None));
    };
    let alive = beat.age().1
        && beat.lock == inode(&lock_file(state)).map_err(system("look at the watcher's lock"))?
        && beat
            .process
            .open()
            .map_err(system("look for the watcher's process"))?
            .is_some();
    Ok(if alive {
        State::Healthy(beat)
    } else {
        State::Silent(Some(beat))
    })
}

/// Returns what there is of a watcher whose lock is free.
fn left(state: &Path) -> Result<State, WatchError> {
    let Some(beat) = heartbeat(state)? else {
        let recorded = heartbeat_file(state)
            .try_exists()
            .map_err(system("look for the watcher's record"))?;
        return Ok(if recorded {
            State::Died(None)
        } else {
            State::Absent
        });
    };
    let its_lock = match inode(&lock_file(state)) {
        Ok(inode) => inode == beat.lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(system("look at the watcher's lock")(error)),
    };
    // A record that was copied here is of a watcher that may live elsewhere; one that was killed may be on its way out
    // for a moment after it let go of its lock.
    let lives = !its_lock
        && beat
            .process
            .open()
            .map_err(system("look for the watcher's process"))?
            .is_some();
    Ok(if lives {
        State::Absent
    } else {
        State::Died(Some(beat))
    })
}

fn heartbeat(state: &Path) -> Result<Option<Heartbeat>, WatchError> {
    let path = heartbeat_file(state);
    match host_file::bytes(&path) {
        // A garbled record is as good as none: the lock decides.
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(system(format!("read `{}`", path.display()))(error)),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

/// What happened to a watcher, for a caller that tells people.
#[derive(Debug)]
pub enum Event {
    /// A sweep ended with this summary.
    Swept(String),
    /// The record could not be written; `arm` and `status` will think it dead.
    Unheard(io::Error),
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Its lock file is not at its path any more: another watcher may have replaced it.
    Displaced,
}

/// The right to watch, which this process has and no other.
#[derive(Debug)]
pub struct Watcher {
    state: PathBuf,
    lock: SectionLock,
    beat: Heartbeat,
    poll: Duration,
    every: Duration,
}

impl Watcher {
    /// Makes this process the watcher of `state`, or returns nothing when there is one.
    ///
    /// # Errors
    /// [`WatchError`] when the directory cannot be used.
    pub async fn claim(
        state: &Path,
        zone: &str,
        every: Duration,
        poll: Duration,
    ) -> Result<Option<Self>, WatchError> {
        std::fs::create_dir_all(state).map_err(system(format!("make `{}`", state.display())))?;
        engine::lock::refuse_network_file_system(state)?;
        let taken = retry_while(
            Deadline::after(LOOKED_AT),
            Duration::from_millis(7),
            |taken| matches!(taken, Ok(None)),
            || async { SectionLock::try_acquire(&lock_file(state)) },
        );
        let Some(lock) = taken.await? else {
            return Ok(None);
        };
        // What a dead watcher said may be fresh still; under this lock it would be taken for ours.
        forget(state).map_err(system("remove the last watcher's record"))?;
        let beat = Heartbeat {
            process: Identity::own().map_err(system("read /proc"))?,
            lock: lock.inode().map_err(system("look at the lock"))?,
            zone: zone.to_owned(),
            every_s: every.as_secs(),
            poll_ms: u64::try_from(poll.as_millis()).unwrap_or(u64::MAX),
            beat_at: String::new(),
            sweeps: 0,
            last: None,
            failed: false,
        };
        Ok(Some(Self {
            state: state.to_owned(),
            lock,
            beat,
            poll,
            every,
        }))
    }

    /// Sweeps at once and then again and again until `stop` or until the lock file is replaced.
    ///
    /// `sweep` returns what one sweep came to, or why it failed, in words.
    ///
    /// # Errors
    /// [`WatchError`] when the lock cannot be looked at any more.
    pub async fn watch<F>(
        mut self,
        mut sweep: impl FnMut() -> F,
        stop: impl Future<Output = ()>,
        mut tell: impl FnMut(Event),
    ) -> Result<Ended, WatchError>
    where
        F: Future<Output = Result<String, String>>,
    {
        let mut stop = std::pin::pin!(stop);
        let mut due = Deadline::after(Duration::ZERO);
        let mut sweeping = std::pin::pin!(None);
        loop {
            if !self
                .lock
                .is_current()
                .map_err(system("look at the watcher's lock"))?
            {
                return Ok(Ended::Displaced);
            }
            self.beat.beat_at = Timestamp::now().to_string();
            if let Err(error) = self.write() {
                tell(Event::Unheard(error));
            }
            if sweeping.is_none() && due.passed() {
                due = Deadline::after(self.every);
                sweeping.set(Some(limited(sweep())));
            }
            let poll = self.poll.min(if sweeping.is_none() {
                due.left()
            } else {
                Duration::MAX
            });
            tokio::select! {
                biased;
                () = &mut stop => {
                    // While the lock is held; the lock file stays, unlocked. Under another file's
                    // lock the record is another watcher's.
                    if self.lock.is_current().unwrap_or(false) {
                        drop(forget(&self.state));
                    }
                    return Ok(Ended::Stopped);
                }
                done = swept(sweeping.as_mut().as_pin_mut()) => {
                    sweeping.set(None);
                    self.beat.sweeps += 1;
                    self.beat.failed = done.is_err();
                    let done = done.unwrap_or_else(|why| format!("failed: {why}"));
                    self.beat.last = Some(done.clone());
                    tell(Event::Swept(done));
                }
                () = pause(poll) => {}
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.beat)?;
        replace_shared(&heartbeat_file(&self.state), &text)
    }
}

/// Removes what is recorded of a watcher.
fn forget(state: &Path) -> io::Result<()> {
    match std::fs::remove_file(heartbeat_file(state)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn limited(sweep: impl Future<Output = Result<String, String>>) -> Result<String, String> {
    let limit = format!("gave up after {} min", SWEEP_LIMIT.as_secs() / 60);
    let done = tokio::time::timeout(SWEEP_LIMIT, sweep).await;
    done.unwrap_or(Err(limit))
}

/// Waits for a sweep that is under way; without one it never ends.
async fn swept<F: Future>(sweep: Option<std::pin::Pin<&mut F>>) -> F::Output {
    match sweep {
        Some(sweep) => sweep.await,
        None => std::future::pending().await,
    }
}

/// Ends the watcher that `state` records, and waits for its end. Returns its pid, or nothing when there was
/// none to end.
///
/// The recorded process is signalled only when it is the one that wrote the record (pid, start time and
/// boot) *and* the record names this directory's lock: a pid that was reused and a directory that was copied
/// both name another process.
///
/// # Errors
/// [`WatchError::Immortal`] when it is there even after `grace` and a kill.
pub fn end(state: &Path, grace: Duration) -> Result<Option<i32>, WatchError> {
    if probe(&lock_file(state))? == Probe::Free {
        return Ok(None);
    }
    let Some((beat, process)) = recorded(state)? else {
        return Ok(None);
    };
    let pid = beat.process.pid;
    let ends = |process: &Process, limit| {
        process
            .wait(limit)
            .map_err(system(format!("wait for the watcher (pid {pid})")))
    };
    let signalled =
        |result: io::Result<()>| result.map_err(system(format!("signal the watcher (pid {pid})")));
    signalled(process.terminate())?;
    if ends(&process, grace)? {
        return Ok(Some(pid));
    }
    signalled(process.kill())?;
    if ends(&process, Duration::from_secs(5))? {
        return Ok(Some(pid));
    }
    Err(WatchError::Immortal { pid })
}

fn recorded(state: &Path) -> Result<Option<(Heartbeat, Process)>, WatchError> {
    let Some(beat) = heartbeat(state)? else {
        return Ok(None);
    };
    if beat.lock != inode(&lock_file(state)).map_err(system("look at the watcher's lock"))? {
        return Ok(None);
    }
    let process = beat
        .process
        .open()
        .map_err(system("look for the watcher's process"))?;
    Ok(process.map(|process| (beat, process)))
}

#[cfg(test)]
mod tests;
