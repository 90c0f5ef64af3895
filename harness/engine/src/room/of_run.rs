//! An engine of one run's own: its worker makes it and is its supervisor, and the end of that is the end of everything in
//! it.
//!
//! Nobody keeps what it held. So what a dead worker leaves is taken away, and never brought back.

use std::path::Path;

use super::manage::remove;
use super::supervise::{Started, claim, claim_as_root, clear, start};
use super::{Ceilings, Record, Room, RoomError, State, system};
use crate::lock::SectionLock;
use crate::process::Processes;
use crate::wait::Stopwatch;
use ground::host_file;
use ground::name::RunId;

/// How long a name may be: the path of a socket has 107 bytes (`unix(7)`).
const NAME: usize = 32;

/// An engine of this process's own.
#[derive(Debug)]
pub struct Own {
    room: Room,
    processes: Processes,
    lock: SectionLock,
    engine: Started,
    /// What it is.
    pub record: Record,
}

impl Room {
    /// Returns the one of a run, below `rooms`.
    #[must_use]
    pub fn of_run(rooms: &Path, run: &RunId) -> Self {
        use sha2::{Digest as _, Sha256};
        let id = run.to_string();
        // A lock is a file beside the directory, with a name that ends with `.lock`.
        let name = if id.len() <= NAME && !id.contains('.') {
            id
        } else {
            let begin: String = id.chars().take(NAME - 9).collect();
            let digest = hex::encode(&Sha256::digest(&id)[..4]);
            format!("{}-{digest}", begin.replace('.', "_"))
        };
        Self {
            dir: rooms.join(name),
            is_kept: false,
        }
    }

    /// Returns the run whose engine it is, or what stands for its name.
    #[must_use]
    pub fn run(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Starts the engine of a run, as its supervisor, and waits until it can be worked with. It ends with this process.
    ///
    /// When the future is dropped, what was begun is for [`Room::discard`].
    ///
    /// # Errors
    /// [`RoomError`] when there is none.
    pub async fn open(&self, processes: &Processes, ceilings: Ceilings) -> Result<Own, RoomError> {
        let watch = Stopwatch::start();
        let Some(lock) = claim_as_root(self).await? else {
            return Err(self.held()?);
        };
        clear(self, processes, &lock).await?;
        remove(self)?;
        let mut engine = start(self, processes, ceilings)?;
        let record = engine.ready(self, &lock, ceilings, watch).await?;
        Ok(Own {
            room: self.clone(),
            processes: processes.clone(),
            lock,
            engine,
            record,
        })
    }

    /// Ends and removes all that is left of the engine of a run that is dead.
    ///
    /// # Errors
    /// [`RoomError::Held`] where the run lives; [`RoomError::Left`] when something would not go.
    pub async fn discard(&self, processes: &Processes) -> Result<(), RoomError> {
        let Some(lock) = claim(self).await? else {
            return Err(self.held()?);
        };
        close(self, processes, lock).await
    }

    fn held(&self) -> Result<RoomError, RoomError> {
        let why = match self.state()? {
            State::Ready(record) => format!("by pid {}, whose engine it is", record.process.pid),
            state => state.why_not_ready().unwrap_or_default(),
        };
        Ok(RoomError::Held {
            lock: self.lock_file(),
            why,
        })
    }
}

impl Own {
    /// Ends it, and removes all that is its.
    ///
    /// # Errors
    /// [`RoomError::Left`] when something would not go.
    pub async fn close(self) -> Result<(), RoomError> {
        let closed = close(&self.room, &self.processes, self.lock).await;
        self.engine.child.end().await;
        closed
    }
}

async fn close(room: &Room, processes: &Processes, lock: SectionLock) -> Result<(), RoomError> {
    clear(room, processes, &lock).await?;
    remove(room)?;
    // While it is held: who opened the file before takes it for what it is (`lock::protocol`).
    let what = format!("remove `{}`", room.lock_file().display());
    if lock.is_current().map_err(system("look at the lock"))? {
        std::fs::remove_file(room.lock_file()).map_err(system(what))?;
    }
    Ok(())
}

/// Returns the engines of runs below `rooms` whose run is dead, with what is left of each in words.
///
/// # Errors
/// What cannot be read: nothing is known then.
pub fn dead(rooms: &Path) -> Result<Vec<(Room, Vec<String>)>, RoomError> {
    let what = || format!("list `{}`", rooms.display());
    let entries = match host_file::entries(rooms) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(system(what())(error)),
    };
    let mut names = std::collections::BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(system(what()))?.file_name();
        let name = name.to_string_lossy();
        names.insert(name.strip_suffix(".lock").unwrap_or(&name).to_owned());
    }
    let mut dead = Vec::new();
    for name in names {
        let room = Room {
            dir: rooms.join(name),
            is_kept: false,
        };
        match room.state()? {
            State::Ready(_) | State::Busy { .. } => {}
            State::Died(left) => dead.push((room, left)),
            // With its images and volumes nothing can be done any more.
            State::Absent { .. } => dead.push((room, vec!["its data".to_owned()])),
        }
    }
    Ok(dead)
}
