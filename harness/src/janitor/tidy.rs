//! The sweep of lock files that no app is behind.
//!
//! A run that is killed cannot remove its own, so a host collects them.

use std::collections::BTreeSet;

use super::candidates::{self, readable};
use super::{Decision, Finding, Sweep};
use engine::dirs::HostDirs;
use engine::lock::{DomainLock, Left, refuse_network_file_system};
use engine::swarm::{Engine, EngineError};
use ground::error::chain;
use ground::name::{Domain, Zone};

/// How many lock files are tidied with one listing of the engine, at the most.
const TIDY_BATCH: u64 = 4096;

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
    if let Err(error) = refuse_network_file_system(&host.locks) {
        sweep.unreadable.push(chain(&error));
        // Where no lock can be taken, the apps are still to be told.
        let found = candidates::of_zone(engine, host, zone).await?;
        return Ok(sweep.note(found));
    }
    let domains = lock_files(host, zone, &mut sweep.unreadable);
    let mut batches = domains.chunks(batch_size());
    let first = batches.next().unwrap_or(&[]);
    let mut apps = tidy_batch(engine, host, zone, first, sweep).await?;
    for batch in batches {
        match tidy_batch(engine, host, zone, batch, sweep).await {
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
    let entries = match ground::host_file::entries(&host.locks) {
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
/// made its app and died. While the lock is held no other process can.
///
/// # Errors
/// [`EngineError`] when the engine's objects cannot be listed; no file is unlinked then.
async fn tidy_batch(
    engine: &Engine,
    host: &HostDirs,
    zone: &Zone,
    domains: &[Domain],
    sweep: &mut Sweep,
) -> Result<BTreeSet<Domain>, EngineError> {
    let mut free = Vec::new();
    for domain in domains {
        match DomainLock::try_claim(host, domain) {
            Ok(Some(claim)) => free.push(claim),
            Ok(None) => {}
            Err(error) => sweep.findings.push(Finding {
                domain: domain.clone(),
                decision: Decision::Skipped(error),
            }),
        }
    }
    let found = candidates::of_zone(engine, host, zone).await?;
    for claim in free {
        // Whatever could not be read may be its app.
        let clear = found.unreadable.is_empty() && !found.apps.contains(claim.domain());
        let left = if clear {
            Left::Nothing
        } else {
            Left::Something
        };
        if claim.leave(left).is_ok() && clear {
            sweep.tidied += 1;
        }
    }
    Ok(sweep.note(found))
}
