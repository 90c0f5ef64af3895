//! The sweep of lock files that no app is behind.
//!
//! Hosts gather them: a run that is killed cannot remove its own, and a thousand must cost a sweep nothing
//! that anybody waits for.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, fcntl};

use super::candidates::{self, readable};
use super::{Decision, Finding, Sweep};
use crate::dirs::HostDirs;
use crate::error::chain;
use crate::lock::Left;
use crate::lock::claim::LockDir;
use crate::name::{Domain, Zone};
use crate::swarm::{Engine, EngineError};

/// How many lock files are tidied with one listing of the engine, at the most.
const TIDY_BATCH: u64 = 4096;

/// How many lock files a thread takes at once; a thread more is worth it only for more than that. Halves made
/// beforehand were done in 11 and 27 ms, so whoever is free takes the next few.
const AT_ONCE: usize = 32;

/// How many files a sweep has open beside them, rounded up: about 20, and a connection for each kind of object.
const OTHER_FILES: u64 = 128;

/// Unlinks the free lock files that have no app behind them, and returns the apps that it saw while it
/// looked: with the first listing the candidates, so that a sweep asks the engine once.
///
/// # Errors
/// [`EngineError`] when the engine's objects cannot be listed at all.
pub(super) async fn tidy(
    engine: &Engine,
    host: &HostDirs,
    zone: &Zone,
    sweep: &mut Sweep,
) -> Result<BTreeSet<Domain>, EngineError> {
    let dir = match LockDir::open(host) {
        Ok(dir) => dir,
        Err(error) => {
            sweep.unreadable.push(chain(&error));
            // Where no lock can be taken, the apps are still to be told.
            let found = candidates::of_zone(engine, host, zone).await?;
            return Ok(sweep.note(found));
        }
    };
    let domains = lock_files(host, zone, &mut sweep.unreadable);
    let mut batches = domains.chunks(batch_size());
    let first = batches.next().unwrap_or(&[]);
    let mut apps = tidy_batch(engine, host, zone, &dir, first, sweep).await?;
    for batch in batches {
        match tidy_batch(engine, host, zone, &dir, batch, sweep).await {
            Ok(more) => apps.extend(more),
            Err(error) => {
                sweep.unreadable.push(chain(&error));
                break;
            }
        }
    }
    Ok(apps)
}

/// Returns the domains of the lock files of run apps.
fn lock_files(host: &HostDirs, zone: &Zone, unreadable: &mut Vec<String>) -> Vec<Domain> {
    let entries = match std::fs::read_dir(&host.locks) {
        Ok(entries) => entries,
        Err(error) => {
            unreadable.push(format!("`{}`: {error}", host.locks.display()));
            return Vec::new();
        }
    };
    readable(entries, &host.locks, unreadable)
        .iter()
        .filter_map(|entry| HostDirs::domain_of_lock_file(&entry.file_name(), zone))
        .collect()
}

/// Returns how many lock files are taken at once: each is an open file until the listing has been read, and
/// the process and the listing need some of their own.
fn batch_size() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let batch = (files / 4).max(files.saturating_sub(OTHER_FILES));
    usize::try_from(batch.clamp(1, TIDY_BATCH)).unwrap_or(1)
}

/// Takes the free locks among `domains`, lists once, and unlinks the files of those without an app. Returns
/// the apps that are there.
///
/// The listing comes after the locks: between one that came before and the probe a run may have come,
/// made its app and died. Only while the lock is held nobody can.
///
/// # Errors
/// [`EngineError`] when the engine's objects cannot be listed; no file is unlinked then.
async fn tidy_batch(
    engine: &Engine,
    host: &HostDirs,
    zone: &Zone,
    dir: &LockDir,
    domains: &[Domain],
    sweep: &mut Sweep,
) -> Result<BTreeSet<Domain>, EngineError> {
    let mut free = Vec::new();
    if domains.len() > AT_ONCE {
        make_room(dir, domains.len());
    }
    let claims = in_parallel(domains.iter().collect(), |domain| {
        (domain, dir.try_claim(domain))
    });
    for (domain, claim) in claims {
        match claim {
            Ok(Some(claim)) => free.push(claim),
            Ok(None) => {}
            Err(error) => sweep.findings.push(Finding {
                domain: domain.clone(),
                decision: Decision::Skipped(error),
            }),
        }
    }
    let found = candidates::of_zone(engine, host, zone).await?;
    let tidied = in_parallel(free, |claim| {
        // Whatever could not be read may be its app.
        let clear = found.unreadable.is_empty() && !found.apps.contains(claim.domain());
        let left = if clear {
            Left::Nothing
        } else {
            Left::Something
        };
        dir.leave(claim, left).is_ok() && clear
    });
    sweep.tidied += tidied.into_iter().filter(|tidied| *tidied).count();
    Ok(sweep.note(found))
}

/// Has the kernel make room for `count` more open files at once. It doubles the table when it is full, and waits
/// for a grace period of all cores each time if there are threads: 30 ms for a thousand files, more than all else.
fn make_room(dir: &LockDir, count: usize) {
    let room = i32::try_from(count as u64 + OTHER_FILES).unwrap_or(i32::MAX);
    // It is only about time: where this fails, room is made as it is needed.
    if let Ok(high) = fcntl(dir.file(), FcntlArg::F_DUPFD_CLOEXEC(room)) {
        let _ = nix::unistd::close(high);
    }
}

/// Does `work` on each of `items`, on every core when they are many: it is the kernel that takes the time,
/// a few microseconds for each call. Returns the results in any order.
fn in_parallel<I: Send, O: Send>(items: Vec<I>, work: impl Fn(I) -> O + Sync) -> Vec<O> {
    if items.len() <= AT_ONCE {
        return items.into_iter().map(work).collect();
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.min(items.len().div_ceil(AT_ONCE));
    let queue = Mutex::new(items.into_iter());
    let next = || -> Vec<I> {
        // What panicked was the work of another thread, not the taking.
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.by_ref().take(AT_ONCE).collect()
    };
    let take_part = || {
        let mut done = Vec::new();
        loop {
            let share = next();
            if share.is_empty() {
                return done;
            }
            done.extend(share.into_iter().map(&work));
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take_part)).collect();
        let mut done = take_part();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_parallel_is_done_once_for_each() {
        for count in [0, 1, 32, 33, 1000] {
            let mut doubled = in_parallel((0..count).collect(), |item: usize| item * 2);
            doubled.sort_unstable();
            let wanted: Vec<usize> = (0..count).map(|item| item * 2).collect();
            assert_eq!(doubled, wanted);
        }
    }
}
