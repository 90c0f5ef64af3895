//! Bringing CI's engine up and down, from a command that ends.

use std::time::Duration;

use super::supervise::{claim, clear, unready};
use super::{Record, Room, RoomError, State, system, tail};
use crate::process::{Cmd, Daemon, Processes, describe};
use crate::wait::{Deadline, Poll, poll_until};
use ground::host_file;

/// How long a supervisor may take to have its engine ready.
const UP_LIMIT: Duration = Duration::from_secs(200);

/// How long a supervisor may take to see that there is another.
const GIVES_WAY: Duration = Duration::from_secs(30);

/// How long a supervisor may take to end, before it is killed.
const DOWN_GRACE: Duration = Duration::from_secs(60);

/// How long a process may take to go that was killed.
const KILLED: Duration = Duration::from_secs(10);

/// A log that has grown beyond this is put aside when an engine is brought up.
const LOG_LIMIT: u64 = 1 << 20;

/// What bringing it up came to: an engine that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    /// What its supervisor says of it.
    pub record: Record,
    /// How it came to be there.
    pub brought: Brought,
}

/// How an engine came to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brought {
    /// It was there already.
    Already,
    /// It was started just now.
    Started,
    /// One that had died was brought back; what had been left of it, in words.
    Back(Vec<String>),
}

/// What bringing it down came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// There was nothing.
    Nothing,
    /// It ran, and is gone.
    Stopped,
    /// It had died, and what was left of it is gone.
    Cleared(Vec<String>),
}

/// Sees to it that there is an engine that is ready: has `cmd` supervise one when there is none.
///
/// # Errors
/// [`RoomError`] when there is none.
pub async fn bring_up(room: &Room, processes: &Processes, cmd: &Cmd) -> Result<Up, RoomError> {
    let before = room.state()?;
    if let State::Ready(record) = before {
        return Ok(Up {
            record,
            brought: Brought::Already,
        });
    }
    let log = room.log_file();
    if log.metadata().is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        drop(std::fs::rename(&log, log.with_extension("old")));
    }
    let from = log.metadata().map_or(0, |meta| meta.len());
    let mut daemon = processes.spawn_followed(cmd, &log)?;
    let ready = poll_until(Deadline::after(UP_LIMIT), Duration::from_millis(10), || {
        let looked = look(room, &mut daemon, from);
        async { looked }
    });
    let record = ready.await.map_err(|error| unready(error, UP_LIMIT))?;
    if record.process.pid != daemon.pid() {
        // It gives way, and must have: if the other engine is brought down first, it would start one of its own.
        let gave_way = poll_until(Deadline::after(GIVES_WAY), Duration::from_millis(5), || {
            let ended = daemon.ended().map_err(system("wait for a supervisor"));
            let poll = ended.map(|ended| match ended {
                Some(_) => Poll::Ready(()),
                None => Poll::NotYet("a second supervisor does not give way".to_owned()),
            });
            async { poll }
        });
        gave_way.await.map_err(|error| unready(error, GIVES_WAY))?;
    }
    let brought = match before {
        _ if record.process.pid != daemon.pid() => Brought::Already,
        State::Died(left) => Brought::Back(left),
        _ => Brought::Started,
    };
    Ok(Up { record, brought })
}

fn look(room: &Room, daemon: &mut Daemon, from: u64) -> Result<Poll<Record>, RoomError> {
    let ended = daemon.ended().map_err(system("wait for the supervisor"))?;
    // Looked at after that: one that gave way to another ended well.
    match (room.state()?, ended) {
        (State::Ready(record), _) => Ok(Poll::Ready(record)),
        (_, Some(status)) if !status.success() => Err(RoomError::Over {
            who: "the supervisor of CI's engine",
            how: describe(status),
            log: tail(&room.log_file(), from),
        }),
        (State::Busy { why }, _) => Ok(Poll::NotYet(format!("the lock is held, {why}"))),
        (State::Died(_) | State::Absent { .. }, _) => {
            Ok(Poll::NotYet("nobody holds the lock".to_owned()))
        }
    }
}

/// Ends the engine, takes back everything that is its, and removes its data unless that is to be kept.
///
/// The recorded supervisor is signalled only when it is the one that wrote the record under this lock.
///
/// # Errors
/// [`RoomError::Held`] when something else holds the lock; [`RoomError::Left`] when something would not go.
pub async fn bring_down(
    room: &Room,
    processes: &Processes,
    keep_data: bool,
) -> Result<Ended, RoomError> {
    let state = room.state()?;
    if let State::Ready(record) = &state {
        end_supervisor(record)?;
    }
    let Some(lock) = claim(room).await? else {
        let why = match room.state()? {
            State::Busy { why } => why,
            State::Ready(record) => format!("by its supervisor, pid {}", record.process.pid),
            State::Died(_) | State::Absent { .. } => "by a process that only looked".to_owned(),
        };
        return Err(RoomError::Held {
            lock: room.lock_file(),
            why,
        });
    };
    clear(room, processes, &lock).await?;
    if !keep_data {
        remove(room)?;
    }
    Ok(match state {
        State::Died(left) => Ended::Cleared(left),
        State::Absent { kept: false } => Ended::Nothing,
        State::Absent { kept: true } if keep_data => Ended::Nothing,
        State::Absent { .. } => Ended::Cleared(vec!["its data".to_owned()]),
        State::Ready(_) | State::Busy { .. } => Ended::Stopped,
    })
}

fn end_supervisor(record: &Record) -> Result<(), RoomError> {
    let Some(process) = record.process.open().map_err(system("read /proc"))? else {
        return Ok(());
    };
    let pid = record.process.pid;
    let what = || format!("end the supervisor of CI's engine (pid {pid})");
    process.terminate().map_err(system(what()))?;
    if !process.wait(DOWN_GRACE).map_err(system(what()))? {
        process.kill().map_err(system(what()))?;
        process.wait(KILLED).map_err(system(what()))?;
    }
    Ok(())
}

/// Removes the directory with the engine's data, of which nothing is mounted any more.
pub(super) fn remove(room: &Room) -> Result<(), RoomError> {
    let dir = room.dir();
    let mounts = host_file::text("/proc/self/mountinfo").map_err(system("read the mounts"))?;
    // `remove_dir_all` would go on into what somebody mounted there.
    let inside: Vec<String> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|mount| std::path::Path::new(mount).starts_with(&dir))
        .map(|mount| format!("what is mounted at {mount}"))
        .collect();
    if !inside.is_empty() {
        return Err(RoomError::Left { left: inside });
    }
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(system(format!("remove `{}`", dir.display()))(error))
        }
        _ => Ok(()),
    }
}
