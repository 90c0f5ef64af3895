//! A bound on the memory that a stranger's objects take.
//!
//! An object is as large as it says. libgit2 keeps one whole that is a commit, a tag or the base of a delta, and has no
//! limit for it (`packfile_unpack_compressed` in its `pack.c`): 8 MB of a pack are 8 GB of zeros. It takes memory that it
//! does not get for an error, so the kernel refuses it (`RLIMIT_DATA` in `setrlimit(2)`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use git2::ErrorClass;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::content::BYTES_CEILING;
use crate::host_file;

/// How much a fetch may take: the largest file that is checked out, what it is a delta of, and the rest.
pub const FETCH_CEILING: u64 = 2 * BYTES_CEILING + (256 << 20);

static STATE: Mutex<State> = Mutex::new(State {
    inside: 0,
    before: None,
});

/// The limit is the process's, and several threads may fetch.
struct State {
    inside: usize,
    /// The limit without any of them, where it was lowered.
    before: Option<u64>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While there is one, this process gets no more than [`FETCH_CEILING`] of memory. Children that are started meanwhile
/// keep the limit.
#[must_use]
pub(super) struct Bound(());

impl Bound {
    /// Lowers the limit, unless a lower one is in force.
    pub(super) fn enter() -> Self {
        let mut state = state();
        if state.inside == 0 {
            state.before = lower();
        }
        state.inside += 1;
        Self(())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let mut state = state();
        state.inside -= 1;
        if state.inside == 0
            && let Some(before) = state.before.take()
            && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_DATA)
        {
            let _ = setrlimit(Resource::RLIMIT_DATA, before, hard);
        }
    }
}

/// Returns the limit before, if it was lowered.
fn lower() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_DATA).ok()?;
    let limit = used()?.checked_add(FETCH_CEILING)?;
    (limit < soft && setrlimit(Resource::RLIMIT_DATA, limit, hard).is_ok()).then_some(soft)
}

/// Returns how much the limit counts already, in bytes.
fn used() -> Option<u64> {
    let status = host_file::text("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmData:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Returns whether libgit2 did not get the memory that it wanted.
pub(super) fn is_short(error: &git2::Error) -> bool {
    error.class() == ErrorClass::NoMemory
}
