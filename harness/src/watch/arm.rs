//! Starting a watcher and being sure of it.

use std::path::Path;
use std::time::Duration;

use super::{Heartbeat, State, WatchError, end, log_file, state};
use engine::process::{Cmd, Daemon, ProcessError, Processes, describe};
use engine::wait::{Deadline, Poll, WaitError, poll_until};
use ground::host_file;

/// How long a new watcher may take to say that it lives.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a watcher may take to end when it is replaced, before it is killed.
const END_GRACE: Duration = Duration::from_secs(10);

/// A log that has grown beyond this is put aside when a watcher is armed.
const LOG_LIMIT: u64 = 1 << 20;

/// What arming came to: a watcher with a fresh heartbeat, or an [`ArmError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Armed {
    /// It was started just now.
    Started(Heartbeat),
    /// There is one already, or another was quicker.
    Healthy(Heartbeat),
}

/// Why no live watcher can be confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// The state of the watcher cannot be found out, or the old one not ended.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// It cannot be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It ended at once.
    #[error("the watcher ended at once: {how}")]
    Ended {
        /// `exit code 2`.
        how: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// There is one, and it sweeps another zone.
    #[error(
        "this state directory's watcher (pid {pid}) sweeps the zone `{zone}`, and there is one per state directory: give \
         this zone a timer or another CCCI_STATE_DIR, or replace that watcher with `--restart`"
    )]
    OtherZone {
        /// Its pid.
        pid: i32,
        /// What it sweeps.
        zone: String,
    },
    /// A process holds the lock and does not say that it lives.
    #[error("no fresh heartbeat within {} s: {last}", START_LIMIT.as_secs())]
    Silent {
        /// What was last seen.
        last: String,
    },
}

/// Sees to it that `state` has a live watcher of `zone`: starts `cmd` when there is none.
///
/// With `restart` the recorded watcher is ended first, see [`end`]. A live one is never displaced otherwise.
///
/// # Errors
/// [`ArmError`] when no live watcher with a fresh heartbeat can be confirmed.
pub async fn arm(
    dir: &Path,
    processes: &Processes,
    cmd: &Cmd,
    zone: &str,
    restart: bool,
) -> Result<Armed, ArmError> {
    if restart {
        end(dir, END_GRACE)?;
    } else if let State::Healthy(beat) = state(dir)? {
        return of_zone(beat, zone).map(Armed::Healthy);
    }
    let log = log_file(dir);
    if log.metadata().is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        drop(std::fs::rename(&log, log.with_extension("log.old")));
    }
    let before = log.metadata().map_or(0, |meta| meta.len());
    let start = || processes.spawn_followed(cmd, &log);
    let mut daemon = start()?;
    let confirmed = poll_until(
        Deadline::after(START_LIMIT),
        Duration::from_millis(20),
        || {
            let looked = look(dir, &mut daemon, start, || tail(&log, before));
            async { looked }
        },
    )
    .await;
    match confirmed {
        Ok(beat) if beat.process.pid == daemon.pid() => Ok(Armed::Started(beat)),
        Ok(beat) => of_zone(beat, zone).map(Armed::Healthy),
        Err(WaitError::Failed(error)) => Err(error),
        Err(WaitError::TimedOut { last, .. }) => Err(ArmError::Silent { last }),
    }
}

fn of_zone(beat: Heartbeat, zone: &str) -> Result<Heartbeat, ArmError> {
    if beat.zone == zone {
        return Ok(beat);
    }
    Err(ArmError::OtherZone {
        pid: beat.process.pid,
        zone: beat.zone,
    })
}

fn look(
    dir: &Path,
    daemon: &mut Daemon,
    start: impl Fn() -> Result<Daemon, ProcessError>,
    log: impl FnOnce() -> Vec<String>,
) -> Result<Poll<Heartbeat>, ArmError> {
    let ended = daemon.ended();
    // Looked at after that, so that another's heartbeat is one that our own watcher gave way to.
    let gave_way = matches!(&ended, Ok(Some(status)) if status.success());
    let seen = match state(dir)? {
        State::Healthy(beat) if gave_way || beat.process.pid == daemon.pid() => {
            return Ok(Poll::Ready(beat));
        }
        State::Healthy(beat) => format!("pid {} seems to watch, too", beat.process.pid),
        State::Silent(Some(beat)) => format!(
            "the lock is held, and pid {} last said so {} s ago; `recipe-ci janitor arm --restart` replaces it",
            beat.process.pid,
            beat.age().0.as_secs()
        ),
        State::Silent(None) => "the lock is held by a process that has said nothing".to_owned(),
        State::Absent | State::Died(_) if gave_way => {
            // To a process that only looked, or has ended since.
            *daemon = start()?;
            return Ok(Poll::NotYet(
                "nobody held the lock, and it was started again".to_owned(),
            ));
        }
        State::Absent | State::Died(_) => "nobody holds the lock".to_owned(),
    };
    match ended {
        // It found another watcher: whether that one lives will show.
        Ok(Some(status)) if !status.success() => {
            return Err(ArmError::Ended {
                how: describe(status),
                log: log(),
            });
        }
        _ => {}
    }
    Ok(Poll::NotYet(seen))
}

/// Returns the last lines that were written since the log had `before` bytes.
fn tail(log: &Path, before: u64) -> Vec<String> {
    let bytes = host_file::bytes(log).unwrap_or_default();
    let from = usize::try_from(before)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[from..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(10);
    lines[skipped..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}
