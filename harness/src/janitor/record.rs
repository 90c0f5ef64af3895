//! What the last sweeps came to, so that a person can see whether anything sweeps this host.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Decision, Sweep};
use engine::record::{overwrite, read_overwritten};
use ground::name::Zone;

/// Who swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sweeper {
    /// A run, at its start. No run, no sweep: it does not count as care for a host.
    Run,
    /// `recipe-ci janitor`, from a timer or by hand.
    Janitor,
    /// `recipe-ci janitor watch`.
    Watcher,
}

impl Sweeper {
    const ALL: [Self; 3] = [Self::Run, Self::Janitor, Self::Watcher];

    /// Returns the sweeper's name: `a run`, `the janitor`, `the watcher`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "a run",
            Self::Janitor => "the janitor",
            Self::Watcher => "the watcher",
        }
    }

    /// One file for each: two that end at once must not overwrite what the other says.
    fn path(self, state: &Path) -> PathBuf {
        state.join(match self {
            Self::Run => "last-sweep-run.json",
            Self::Janitor => "last-sweep-janitor.json",
            Self::Watcher => "last-sweep-watcher.json",
        })
    }
}

/// A sweep that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepRecord {
    /// Who swept.
    pub by: Sweeper,
    /// When it ended, RFC 3339 in UTC.
    pub at: String,
    /// The zone that was swept.
    pub zone: String,
    /// How many orphans were removed.
    pub reaped: usize,
    /// How many orphans would not go, or could not be decided on.
    pub failed: usize,
    /// How many runs were alive.
    pub live: usize,
    /// How many dead runs left processes or files, which are gone now.
    #[serde(default)]
    pub dead_runs: usize,
}

impl SweepRecord {
    /// Returns the record of a sweep of `zone` that has just ended.
    #[must_use]
    pub fn of(sweep: &Sweep, by: Sweeper, zone: &Zone) -> Self {
        let count = |wanted: fn(&Decision) -> bool| {
            let decisions = sweep.findings.iter().map(|finding| &finding.decision);
            decisions.filter(|decision| wanted(decision)).count()
        };
        let reaped = count(|decision| matches!(decision, Decision::Reaped));
        let stuck = sweep.dead.iter().filter(|run| !run.left.is_empty()).count();
        let engines = sweep.engines.iter();
        let engines = engines.filter(|engine| engine.failed.is_some()).count();
        let live = count(|decision| matches!(decision, Decision::Live { .. }));
        Self {
            by,
            at: Timestamp::now().to_string(),
            zone: zone.to_string(),
            reaped,
            failed: sweep.findings.len() - reaped - live + sweep.unreadable.len() + stuck + engines,
            live,
            dead_runs: sweep.dead.len() - stuck,
        }
    }

    /// Keeps the record under the state directory.
    ///
    /// # Errors
    /// What the system says.
    pub fn store(&self, state: &Path) -> io::Result<()> {
        std::fs::create_dir_all(state)?;
        let text = serde_json::to_vec_pretty(self)?;
        overwrite(&self.by.path(state), &text)
    }

    /// Returns when it ended, or nothing when the record says no time.
    #[must_use]
    pub fn ended(&self) -> Option<Timestamp> {
        self.at.parse().ok()
    }
}

/// Returns the last sweep of every sweeper, the newest first.
///
/// # Errors
/// What the system says of a record that is there and cannot be read, with its path.
pub fn last(state: &Path) -> io::Result<Vec<SweepRecord>> {
    let mut found: Vec<SweepRecord> = Vec::new();
    for sweeper in Sweeper::ALL {
        let path = sweeper.path(state);
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        };
        match read_overwritten(&path) {
            Ok(record) => found.push(record),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(named(error)),
        }
    }
    found.sort_by_key(|record| std::cmp::Reverse(record.ended()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_record_comes_first_and_a_garbled_one_is_said() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(last(state.path()).unwrap(), []);
        let zone: Zone = "ci.localhost".parse().unwrap();
        for (by, at) in [
            (Sweeper::Run, "2026-01-01T00:00:00Z"),
            (Sweeper::Watcher, "2026-01-03T00:00:00Z"),
            (Sweeper::Janitor, "2026-01-02T00:00:00Z"),
        ] {
            let mut record = SweepRecord::of(&Sweep::default(), by, &zone);
            record.at = at.to_owned();
            record.store(state.path()).unwrap();
        }
        let order: Vec<Sweeper> = last(state.path()).unwrap().iter().map(|r| r.by).collect();
        assert_eq!(order, [Sweeper::Watcher, Sweeper::Janitor, Sweeper::Run]);
        std::fs::write(state.path().join("last-sweep-run.json"), "{").unwrap();
        let error = last(state.path()).unwrap_err().to_string();
        assert!(error.contains("last-sweep-run.json"), "{error}");
    }
}
