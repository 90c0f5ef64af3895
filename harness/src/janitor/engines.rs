//! Engines of single runs whose run is dead: the kernel has ended all that was in them, and what is left of each is taken
//! away.

use super::Sweep;
use engine::dirs::HostDirs;
use engine::process::Processes;
use engine::room::{self, RoomError};
use ground::error::chain;

/// The engine of a run that is dead, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadEngine {
    /// The run.
    pub run: String,
    /// What there was of it, in words.
    pub found: Vec<String>,
    /// Why it did not go.
    pub failed: Option<String>,
}

/// Takes away what is left of the engines of dead runs; with `dry_run` it only looks.
pub async fn end_engines(processes: &Processes, host: &HostDirs, dry_run: bool, sweep: &mut Sweep) {
    let dead = match room::dead(&host.rooms) {
        Ok(dead) => dead,
        Err(error) => return sweep.unreadable.push(chain(&error)),
    };
    for (room, found) in dead {
        let failed = if dry_run {
            None
        } else {
            match room.discard(processes).await {
                Ok(()) => None,
                // Another sweep takes it away, or a run of this name has begun.
                Err(RoomError::Held { .. }) => continue,
                Err(error) => Some(chain(&error)),
            }
        };
        let run = room.run();
        sweep.engines.push(DeadEngine { run, found, failed });
    }
}
