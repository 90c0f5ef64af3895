//! Runs that are alive on this host, as they say of themselves.
//!
//! Each run keeps a small record beside its state, and a lock on it for as long as its process lives: the
//! kernel says who is alive, the record only says what it does. Nothing is ever removed on its word.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dirs::{HostDirs, RunDirs};
use crate::event::{Consumer, Event, RunStarted};
use crate::lock::{DomainLock, LockError, Probe, SectionLock, probe};
use crate::name::{Domain, Zone};
use crate::outcome::Phase;
use crate::process::Identity;
use crate::record::{Durability, replace};

/// What a run that is alive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRun {
    /// The run's id, which is also the name of its directory.
    pub run_id: String,
    /// Its worker.
    pub process: Identity,
    /// The recipe.
    pub recipe: String,
    /// The pull request, when there is one.
    pub pr: Option<String>,
    /// The ref asked for, when one was.
    pub reference: Option<String>,
    /// The app's domain.
    pub domain: String,
    /// What it does: a phase, or a tier between two phases.
    pub phase: String,
    /// Since when, RFC 3339 in UTC.
    pub phase_since: String,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// When its hard deadline ends it, RFC 3339 in UTC.
    pub deadline_at: String,
}

impl LiveRun {
    /// Returns whether it waits for another run of its domain.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.phase == Phase::LockWait.name()
    }
}

/// Every run of this host that is alive.
#[derive(Debug, Default)]
pub struct Roster {
    /// They, oldest first.
    pub runs: Vec<LiveRun>,
    /// What could not be read, with the reason.
    pub unreadable: Vec<String>,
}

fn lock_path(state: &Path) -> PathBuf {
    state.join("live.lock")
}

fn record_path(state: &Path) -> PathBuf {
    state.join("live.json")
}

/// Returns the consumer that keeps the record of a run whose hard deadline is `deadline` after its start.
///
/// It holds the record's lock until it is dropped, which is when the process ends. A record that cannot be
/// written is no reason to fail a run.
///
/// # Errors
/// [`LockError`] when the lock cannot be made.
pub(crate) fn consumer(dirs: &RunDirs, deadline: Duration) -> Result<Consumer, LockError> {
    let lock = SectionLock::try_acquire(&lock_path(&dirs.state))?;
    let path = record_path(&dirs.state);
    let mut record = None;
    Ok(Box::new(move |event| {
        let _held = &lock;
        let doing = match event {
            Event::RunStarted(started) => {
                record = begin(started, deadline);
                record.as_ref().map(|record| record.phase.clone())
            }
            Event::Moved { domain, .. } => record.as_mut().map(|record| {
                record.domain.clone_from(domain);
                record.phase.clone()
            }),
            Event::PhaseStarted { phase, .. } => Some(phase.name().to_owned()),
            Event::TierStarted(stage) => Some(stage.to_string()),
            Event::TeardownStarted { .. } => Some(Phase::Teardown.name().to_owned()),
            _ => None,
        };
        let (Some(record), Some(doing)) = (record.as_mut(), doing) else {
            return;
        };
        record.phase = doing;
        record.phase_since = Timestamp::now().to_string();
        if let Ok(text) = serde_json::to_vec_pretty(record) {
            drop(replace(&path, &text, Durability::Kill));
        }
    }))
}

fn begin(started: &RunStarted, deadline: Duration) -> Option<LiveRun> {
    let now = Timestamp::now();
    Some(LiveRun {
        run_id: started.run_id.clone(),
        process: Identity::own().ok()?,
        recipe: started.recipe.clone(),
        pr: started.pr.clone(),
        reference: started.reference.clone(),
        domain: started.domain.clone(),
        phase: "start".to_owned(),
        phase_since: now.to_string(),
        started_at: started.started_at.clone(),
        deadline_at: now.saturating_add(deadline).unwrap_or(now).to_string(),
    })
}

/// Lists the runs of this host whose processes live.
#[must_use]
pub fn list(host: &HostDirs) -> Roster {
    let mut roster = Roster::default();
    let mut unreadable = |path: &Path, error: &(dyn std::error::Error + 'static)| {
        roster.unreadable.push(format!(
            "`{}`: {}",
            path.display(),
            crate::error::chain(error)
        ));
    };
    let entries = match std::fs::read_dir(&host.runs) {
        Ok(entries) => entries,
        // A host that never had a run has no directory for them.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return roster,
        Err(error) => {
            unreadable(&host.runs, &error);
            return roster;
        }
    };
    for entry in entries {
        let state = match entry {
            Ok(entry) => entry.path().join("state"),
            Err(error) => {
                unreadable(&host.runs, &error);
                continue;
            }
        };
        match probe(&lock_path(&state)) {
            Ok(Probe::Free) => {}
            Ok(Probe::Held { .. }) => match read(&record_path(&state)) {
                Ok(Some(run)) => roster.runs.push(run),
                // It has begun a moment ago, or has ended since the look.
                Ok(None) => {}
                Err(error) => unreadable(&record_path(&state), &error),
            },
            // What is no run has no such file: a plain file among the run directories.
            Err(LockError::Unusable { source, .. })
                if source.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => unreadable(&state, &error),
        }
    }
    roster
        .runs
        .sort_by(|a, b| (&a.started_at, &a.run_id).cmp(&(&b.started_at, &b.run_id)));
    roster
}

/// Looks at every lock file of a run app of `zone`, by domain. Other files are not even opened.
///
/// # Errors
/// [`LockError`] when the directory or one of the files cannot be looked at.
pub fn held_locks(host: &HostDirs, zone: &Zone) -> Result<Vec<(Domain, Probe)>, LockError> {
    let unusable = |source| LockError::Unusable {
        path: host.locks.clone(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&host.locks).map_err(unusable)? {
        let name = entry.map_err(unusable)?.file_name();
        let Some(domain) = HostDirs::domain_of_lock_file(&name, zone) else {
            continue;
        };
        let seen = DomainLock::probe(host, &domain)?;
        found.push((domain, seen));
    }
    found.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    Ok(found)
}

fn read(path: &Path) -> io::Result<Option<LiveRun>> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(dirs: &RunDirs) -> Event {
        Event::RunStarted(Box::new(RunStarted {
            run_id: dirs.id.to_string(),
            recipe: "notes".to_owned(),
            pr: Some("12".to_owned()),
            reference: None,
            domain: "note-012345.ci.localhost".to_owned(),
            run_dir: dirs.root.clone(),
            started_at: Timestamp::now().to_string(),
        }))
    }

    #[test]
    fn a_run_is_listed_with_its_phase_as_long_as_its_lock_is_held() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        assert!(list(&host).runs.is_empty() && list(&host).unreadable.is_empty());
        let dirs = RunDirs::create(&host, &"7".parse().unwrap()).unwrap();
        let mut live = consumer(&dirs, Duration::from_secs(3600)).unwrap();
        live(&started(&dirs));
        live(&Event::PhaseStarted {
            phase: Phase::LockWait,
            detail: String::new(),
        });
        let roster = list(&host);
        assert_eq!(roster.unreadable, Vec::<String>::new());
        let [run] = roster.runs.as_slice() else {
            panic!("{:?}", roster.runs)
        };
        assert_eq!(
            (run.run_id.as_str(), run.phase.as_str()),
            ("7", "lock_wait")
        );
        assert!(run.is_waiting());
        assert_eq!(run.process, Identity::own().unwrap());
        drop(live);
        assert!(list(&host).runs.is_empty(), "a dead run is listed");
        assert!(record_path(&dirs.state).exists());
    }

    #[test]
    fn a_live_run_whose_record_is_garbled_is_said_and_not_left_out() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let dirs = RunDirs::create(&host, &"7".parse().unwrap()).unwrap();
        std::fs::write(host.runs.join("a-file"), "").unwrap();
        let _live = consumer(&dirs, Duration::from_secs(3600)).unwrap();
        std::fs::write(record_path(&dirs.state), "{").unwrap();
        let roster = list(&host);
        assert_eq!(roster.unreadable.len(), 1, "{:?}", roster.unreadable);
        assert!(roster.unreadable[0].contains("live.json"));
    }
}
