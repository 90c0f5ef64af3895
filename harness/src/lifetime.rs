//! The two processes of a run and what ties their lives together.
//!
//! The chain: lock ⊆ worker ⊆ supervisor + teardown ⊆ step + teardown ⊆ deadline + teardown budget. The
//! worker has a session of its own, so a runner that kills the step's process group misses it; the kernel
//! then tells it (`PR_SET_PDEATHSIG`) that the supervisor died, and it tears down. Both are needed: own
//! session alone leaks under every kind of cancel, the death signal alone dies with the group.

pub mod reap;
pub mod supervisor;
pub mod worker;

use std::path::PathBuf;

use nix::sys::stat::{Mode, umask};
use serde::{Deserialize, Serialize};

use ground::name::Domain;

/// Has this process and its children make files for its user alone: nothing of a run is another's to read, not even
/// while it goes on. What others must read gets its mode where it is made (lock files, records of sweeps and watchers,
/// the tasks of `once`).
fn keep_files_private() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}

/// What the worker tells its supervisor *before* it acts, so that a supervisor whose worker was killed
/// knows what may exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The run has this directory.
    Run {
        /// The run directory.
        root: PathBuf,
    },
    /// The worker is about to make an app of this domain.
    App {
        /// The domain, which it has locked.
        domain: String,
    },
    /// The worker is about to work on the warm app of this recipe.
    Warm {
        /// The recipe, whose warm app it has locked.
        recipe: String,
    },
}

/// Returns the domains among `notes` that are run apps of `zone`, the last first, in the order in which they can be
/// removed: a run notes its app before those that it needs, and these are on its network. Anything else is never touched.
#[must_use]
fn domains(notes: &[Note], zone: &ground::name::Zone) -> Vec<Domain> {
    notes
        .iter()
        .rev()
        .filter_map(|note| match note {
            Note::App { domain } => Domain::parse(domain, zone).ok(),
            Note::Run { .. } | Note::Warm { .. } => None,
        })
        .collect()
}
