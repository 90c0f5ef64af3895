//! Runs of this host that are over, by their directories; and which of these are kept.
//!
//! A record is removed only where everything says that it is one and that nothing needs it: a directory of its own,
//! whose report names it and has an end, and without the state files that a live run, a held app, or a dead run that
//! was not swept yet has. Whatever is less is left, and said where it cannot be read.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::report::file::{self, ResultsError};
use crate::report::results::Results;
use engine::dirs::RunDirs;
use ground::error::chain;
use ground::host_file;
use ground::name::{RecipeName, RunId};
use ground::outcome::{Stage, Verdict};

/// What a record is called while it is being removed: no run has such an id.
const GOING: &str = ".going-";

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A run, by its directory.
#[derive(Debug)]
pub struct Run {
    /// Where its files are.
    pub dir: PathBuf,
    /// Its report.
    pub results: Results,
}

/// What is in the directory of runs.
#[derive(Debug, Default)]
pub struct Runs {
    /// Every run that has a report, the newest first.
    pub runs: Vec<Run>,
    /// What could not be read, with the reason.
    pub unreadable: Vec<String>,
    /// Records whose removal was cut short.
    going: Vec<PathBuf>,
}

/// Which records are kept: those that are young enough, and as many of the newest of each recipe. Where both are given,
/// a record goes that is neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// How many days a record is kept after the end of its run.
    pub days: Option<u32>,
    /// How many of each recipe are kept, whatever their age.
    pub runs: Option<u32>,
}

impl Retention {
    /// Returns whether it says anything at all.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.days.is_some() || self.runs.is_some()
    }

    /// Returns whether a record goes that is so old and before which there are so many of its recipe.
    fn lets_go(&self, age: Duration, newer: u32) -> bool {
        let is_old = self.days.is_none_or(|days| age > DAY * days);
        let is_beyond = self.runs.is_none_or(|runs| newer >= runs);
        self.is_some() && is_old && is_beyond
    }
}

/// What came of a collection.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// The ids of the runs whose records went, or would.
    pub removed: Vec<String>,
    /// How many stayed.
    pub kept: usize,
    /// What would not go or could not be read, with the reason.
    pub left: Vec<String>,
}

/// Lists the runs below `dir`.
#[must_use]
pub fn list(dir: &Path) -> Runs {
    let mut found = Runs::default();
    let entries = match host_file::entries(dir) {
        Ok(entries) => entries,
        // A host that never had a run.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return found,
        Err(error) => {
            found
                .unreadable
                .push(format!("`{}`: {error}", dir.display()));
            return found;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found
                    .unreadable
                    .push(format!("`{}`: {error}", dir.display()));
                continue;
            }
        };
        // A link is no run's directory.
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let at = entry.path();
        let name = entry.file_name();
        if let Some(going) = name.to_str().and_then(|name| name.strip_prefix(GOING)) {
            if is_of_run(&at, going) {
                found.going.push(at);
            }
            continue;
        }
        match file::read(&at.join("results.json")) {
            Ok(results) => found.runs.push(Run { dir: at, results }),
            // One that has just begun, or what is no run.
            Err(ResultsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found.unreadable.push(chain(&error)),
        }
    }
    let began = |run: &Run| run.results.started_at.parse::<Timestamp>().ok();
    found
        .runs
        .sort_by(|a, b| (began(b), &b.dir).cmp(&(began(a), &a.dir)));
    found
}

impl Run {
    /// Returns whether nothing but its record is left, and that is of the run that its directory is called by.
    fn is_over(&self) -> io::Result<bool> {
        let name = self.dir.file_name().unwrap_or_default();
        let is_named = name.to_str() == Some(self.results.run_id.as_str());
        let mut is_over = is_named && self.results.finished_at.is_some();
        for path in RunDirs::working(&self.dir) {
            is_over &= !path.try_exists()?;
        }
        Ok(is_over)
    }

    /// Returns how long ago it ended; nothing for one that has not, or will.
    fn age(&self, now: Timestamp) -> Option<Duration> {
        let ended: Timestamp = self.results.finished_at.as_ref()?.parse().ok()?;
        Duration::try_from(now.duration_since(ended)).ok()
    }

    /// Removes the record. It is renamed first, so that one whose removal is cut short is no half run.
    fn remove(&self) -> io::Result<()> {
        let name = self.dir.file_name().unwrap_or_default();
        let mut going = std::ffi::OsString::from(GOING);
        going.push(name);
        let going = self.dir.with_file_name(going);
        match std::fs::rename(&self.dir, &going) {
            // Another one removes it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => clear(&going),
        }
    }
}

/// Returns whether a directory is the record of the run with this id: an empty one is, of which nothing else is left.
fn is_of_run(dir: &Path, id: &str) -> bool {
    if id.parse::<RunId>().is_err() {
        return false;
    }
    match file::read(&dir.join("results.json")) {
        Ok(results) => results.run_id == id,
        Err(_) => host_file::entries(dir).is_ok_and(|mut entries| entries.next().is_none()),
    }
}

/// Removes a record, `results.json` last: by that it is known.
fn clear(dir: &Path) -> io::Result<()> {
    let entries = match host_file::entries(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name() == "results.json" {
            continue;
        }
        let removed = match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path()),
            false => std::fs::remove_file(entry.path()),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What failed in the newest run that judged a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailed {
    /// The run's id.
    pub run: String,
    /// The stages that failed, in the order of a run, with those that they need; none where it passed.
    pub stages: Vec<Stage>,
}

/// Returns what failed in the newest run below `dir` that judged `recipe`; nothing where there is none. A run that was
/// cancelled, or ended for want of the host, judged nothing.
#[must_use]
pub fn last_failed(dir: &Path, recipe: &RecipeName) -> Option<LastFailed> {
    let judged = |run: &Run| {
        let results = &run.results;
        results.recipe == recipe.as_str()
            && results.finished_at.is_some()
            && matches!(results.verdict, Verdict::Passed | Verdict::Failed)
    };
    let results = list(dir).runs.into_iter().find(judged)?.results;
    let failed = |stage: Stage| {
        let others = results.apps.iter().flat_map(|app| &app.tiers);
        let mut tiers = results.tiers.iter().chain(others);
        tiers.any(|tier| tier.name == stage && tier.blames_recipe)
    };
    // A run restores what it saved itself.
    let is_needed = |stage| stage == Stage::Backup && failed(Stage::Restore);
    let mut stages = Stage::ALL.to_vec();
    stages.retain(|stage| failed(*stage) || is_needed(*stage));
    let run = results.run_id;
    Some(LastFailed { run, stages })
}

/// Removes the records below `dir` that `retention` does not keep at `now`; none in a dry run.
#[must_use]
pub fn collect(dir: &Path, retention: Retention, now: Timestamp, dry_run: bool) -> Collection {
    let found = list(dir);
    let mut collected = Collection {
        left: found.unreadable,
        ..Collection::default()
    };
    let mut of_recipe: BTreeMap<String, u32> = BTreeMap::new();
    for run in found.runs {
        let newer = of_recipe.entry(run.results.recipe.clone()).or_default();
        let goes = match run.is_over() {
            Ok(true) => (run.age(now)).is_some_and(|age| retention.lets_go(age, *newer)),
            Ok(false) => false,
            Err(error) => {
                let at = run.dir.display();
                collected.left.push(format!("`{at}`: {error}"));
                false
            }
        };
        *newer += 1;
        if !goes {
            collected.kept += 1;
            continue;
        }
        match if dry_run { Ok(()) } else { run.remove() } {
            Ok(()) => collected.removed.push(run.results.run_id),
            Err(error) => {
                let at = run.dir.display();
                collected.left.push(format!("`{at}`: {error}"));
            }
        }
    }
    for going in found.going.iter().filter(|_| !dry_run) {
        if let Err(error) = clear(going) {
            let at = going.display();
            collected.left.push(format!("`{at}`: {error}"));
        }
    }
    collected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::Tier;
    use ground::outcome::Status;

    const NOW: &str = "2026-12-01T12:00:00Z";

    /// Makes the directory of a run that ended so many days ago.
    fn record(runs: &Path, id: &str, recipe: &str, days: i64) -> PathBuf {
        let now: Timestamp = NOW.parse().unwrap();
        let at = now - jiff::SignedDuration::from_hours(24 * days);
        let mut results = Results::default();
        results.run_id = id.to_owned();
        results.recipe = recipe.to_owned();
        results.started_at = at.to_string();
        results.finished_at = Some(at.to_string());
        write(runs, id, &results)
    }

    fn write(runs: &Path, name: &str, results: &Results) -> PathBuf {
        let dir = runs.join(name);
        std::fs::create_dir_all(dir.join("logs")).unwrap();
        let text = serde_json::to_string(results).unwrap();
        std::fs::write(dir.join("results.json"), text).unwrap();
        dir
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = host_file::entries(dir).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn at(days: Option<u32>, runs: Option<u32>) -> Retention {
        Retention { days, runs }
    }

    #[test]
    fn a_record_goes_that_is_neither_young_nor_among_the_newest_of_its_recipe() {
        let root = tempfile::tempdir().unwrap();
        let now: Timestamp = NOW.parse().unwrap();
        for (id, recipe, days) in [
            ("1", "notes", 40),
            ("2", "notes", 20),
            ("3", "notes", 2),
            ("4", "ledger", 90),
            ("5", "notes", -1),
        ] {
            record(root.path(), id, recipe, days);
        }
        let dry = |retention| collect(root.path(), retention, now, true);
        let ids: Vec<String> = list(root.path())
            .runs
            .iter()
            .map(|run| run.results.run_id.clone())
            .collect();
        assert_eq!(ids, ["5", "3", "2", "1", "4"]);
        assert_eq!(dry(at(Some(30), None)).removed, ["1", "4"]);
        assert_eq!(dry(at(None, Some(2))).removed, ["2", "1"]);
        assert_eq!(dry(at(Some(10), Some(1))).removed, ["2", "1"]);
        assert_eq!(dry(at(Some(30), Some(3))).removed, ["1"]);
        assert_eq!(dry(at(Some(0), Some(0))).removed, ["3", "2", "1", "4"]);
        // Nothing was asked for.
        assert_eq!(dry(Retention::default()).removed, [""; 0]);
        assert_eq!(names(root.path()), ["1", "2", "3", "4", "5"]);
        let collected = collect(root.path(), at(Some(30), None), now, false);
        assert_eq!((collected.kept, collected.left), (3, Vec::new()));
        assert_eq!(names(root.path()), ["2", "3", "5"]);
    }

    #[test]
    fn what_is_live_held_unswept_or_no_record_of_a_run_stays() {
        let root = tempfile::tempdir().unwrap();
        let runs = root.path().join("runs");
        let now: Timestamp = NOW.parse().unwrap();
        let old = |id: &str| record(&runs, id, "notes", 900);
        // A held app, and a dead run that no janitor has seen.
        std::fs::create_dir(old("held").join("state")).unwrap();
        std::fs::create_dir(old("dead").join("backups")).unwrap();
        // One that has not ended, and one that was copied.
        let mut open = file::read(&old("open").join("results.json")).unwrap();
        open.finished_at = None;
        write(&runs, "open", &open);
        let copied = file::read(&old("whose").join("results.json")).unwrap();
        std::fs::remove_dir_all(runs.join("whose")).unwrap();
        write(&runs, "copied", &copied);
        // No run at all.
        std::fs::create_dir(runs.join("photos")).unwrap();
        std::fs::write(runs.join("results.json"), "{}").unwrap();
        std::fs::create_dir(runs.join("garbled")).unwrap();
        std::fs::write(runs.join("garbled/results.json"), "{").unwrap();
        let elsewhere = record(root.path(), "elsewhere", "notes", 900);
        std::os::unix::fs::symlink(&elsewhere, runs.join("elsewhere")).unwrap();
        let before = names(&runs);
        let collected = collect(&runs, at(Some(1), Some(0)), now, false);
        assert_eq!(collected.removed, [""; 0]);
        assert_eq!(names(&runs), before);
        assert!(elsewhere.join("results.json").exists());
        assert_eq!(collected.left.len(), 1, "{:?}", collected.left);
        assert!(collected.left[0].contains("garbled"));
    }

    #[test]
    fn what_failed_last_is_known_by_the_newest_run_that_judged_the_recipe() {
        let root = tempfile::tempdir().unwrap();
        let recipe: RecipeName = "notes".parse().unwrap();
        let last = || last_failed(root.path(), &recipe);
        assert_eq!(last(), None);
        let judge = |id: &str, days, recipe: &str, verdict, red: &[Stage]| {
            let at = record(root.path(), id, recipe, days);
            let mut results = file::read(&at.join("results.json")).unwrap();
            results.verdict = verdict;
            results.tiers = Stage::ALL
                .map(|name| Tier {
                    name,
                    status: Status::Unver,
                    reason: None,
                    blames_recipe: red.contains(&name),
                    duration_ms: 0,
                    tests: Vec::new(),
                })
                .to_vec();
            write(root.path(), id, &results);
        };
        let found = |run: &str, stages: &[Stage]| {
            let run = run.to_owned();
            let stages = stages.to_vec();
            Some(LastFailed { run, stages })
        };
        judge(
            "1",
            9,
            "notes",
            Verdict::Failed,
            &[Stage::Restore, Stage::Custom],
        );
        assert_eq!(
            last(),
            found("1", &[Stage::Backup, Stage::Restore, Stage::Custom])
        );
        // Neither of these says anything of it.
        judge("2", 8, "ledger", Verdict::Failed, &[Stage::Install]);
        judge("3", 7, "notes", Verdict::Cancelled, &[Stage::Install]);
        assert_eq!(last().unwrap().run, "1");
        judge("4", 6, "notes", Verdict::Passed, &[]);
        assert_eq!(last(), found("4", &[]));
    }

    #[test]
    fn a_removal_that_was_cut_short_is_finished_by_the_next() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join(".going-7")).unwrap();
        // Somebody else's, in whatever name.
        for other in [".going-photos", ".going-8"] {
            std::fs::create_dir_all(root.path().join(other).join("2026")).unwrap();
        }
        let now: Timestamp = NOW.parse().unwrap();
        let collected = collect(root.path(), at(Some(1), None), now, true);
        assert_eq!(
            (collected, names(root.path()).len()),
            (Collection::default(), 3)
        );
        let collected = collect(root.path(), at(Some(1), None), now, false);
        assert_eq!(
            (collected, names(root.path()).len()),
            (Collection::default(), 2)
        );
    }
}
