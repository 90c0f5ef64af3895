//! Runs that are alive on this host, as they say of themselves.
//!
//! Each run keeps a small record beside its state, and a lock on it for as long as its process lives: the
//! kernel says who is alive, the record only says what it does. Nothing is ever removed on its word.

mod mark;

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
pub(crate) use mark::Mark;
use serde::{Deserialize, Serialize};

use crate::event::{Consumer, Event, PlannedDependency, RunStarted};
use crate::hold;
use engine::dirs::{HostDirs, RunDirs};
use engine::lock::{DomainLock, LockError, Probe, SectionLock, probe};
use engine::process::Identity;
use engine::record::{Durability, replace};
use ground::host_file;
use ground::name::{Domain, Zone};
use ground::outcome::{Phase, Status};
use recipe::trust::TrustView;

/// What a run that is alive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRun {
    /// The run's id, which is also the name of its directory.
    pub run_id: String,
    /// Its worker; or the holder of its app, once that is held.
    pub process: Identity,
    /// The recipe.
    pub recipe: String,
    /// The pull request, when there is one.
    pub pr: Option<String>,
    /// The ref asked for, when one was.
    pub reference: Option<String>,
    /// How far its source is trusted; absent until that is fetched, and in records of older versions.
    #[serde(default)]
    pub trust: Option<TrustView>,
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
    /// The domain whose lock it waits for, while it does. Records of older versions do not say it.
    #[serde(default)]
    pub waiting_for: Option<String>,
    /// The apps that it deploys before its own, in that order. Records of older versions have none.
    #[serde(default)]
    pub dependencies: Vec<LiveDependency>,
    /// The domain of the app in which it installs the head afresh, where that is another one. Records of older versions
    /// have none.
    #[serde(default)]
    pub fresh: Option<String>,
    /// The other apps of the recipe that it makes under domains of their own. Records of older versions have none.
    #[serde(default)]
    pub others: Vec<LiveOther>,
}

/// Another app of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveOther {
    /// What it is there for: `from 1.2.0+3.4`.
    pub what: String,
    /// Its domain.
    pub domain: String,
}

/// An app that a run deploys before its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveDependency {
    /// Its recipe.
    pub recipe: String,
    /// Its domain.
    pub domain: String,
    /// `pass` when it is up, `fail` when it will not be; null until that is known.
    pub status: Option<Status>,
}

impl LiveRun {
    /// Returns whether it waits for another run of its domain.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.phase == Phase::LockWait.name()
    }

    /// Returns whether it is over, and its app held for a look at it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.phase == hold::PHASE
    }

    /// Returns the domain whose lock it waits for.
    #[must_use]
    pub fn waits_for(&self) -> Option<&str> {
        let domain = self.waiting_for.as_deref().unwrap_or(&self.domain);
        self.is_waiting().then_some(domain)
    }

    /// Returns the domains of the apps that are its own: a lock of one of these is held by it. One that waits for
    /// its app's lock has none yet; one that waits for a dependency's has the others.
    #[must_use]
    pub fn domains(&self) -> Vec<&str> {
        let waits_for = self.waits_for();
        if waits_for == Some(self.domain.as_str()) {
            return Vec::new();
        }
        let all = self.dependencies.iter().map(|one| one.domain.as_str());
        let others = self.others.iter().map(|one| one.domain.as_str());
        let own = std::iter::once(self.domain.as_str()).chain(self.fresh.as_deref());
        let all = own.chain(others).chain(all);
        all.filter(|domain| Some(*domain) != waits_for).collect()
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

/// The record of a run, among its state files.
pub(crate) const RECORD: &str = "live.json";

fn record_path(state: &Path) -> PathBuf {
    state.join(RECORD)
}

/// How long the lock of a run that begins may be held by those who look at it. A look takes microseconds, so only a
/// machine that stops its processes for long comes near this; no other process ever has this lock.
const LOOKED_AT: Duration = Duration::from_secs(60);

/// Takes the lock that says that this process is the run of `dirs` and lives.
///
/// # Errors
/// [`LockError`] when the lock cannot be made.
pub(crate) async fn hold(dirs: &RunDirs) -> Result<SectionLock, LockError> {
    let path = RunDirs::live_lock(&dirs.root);
    if let Some(lock) = SectionLock::try_acquire(&path)? {
        return Ok(lock);
    }
    // No other run has this directory; another process may look whether one does, and a look takes the lock.
    match tokio::time::timeout(LOOKED_AT, SectionLock::acquire(&path)).await {
        Ok(lock) => lock,
        Err(_) => Err(LockError::Unusable {
            path,
            source: io::ErrorKind::TimedOut.into(),
        }),
    }
}

/// Returns the consumer that keeps the record of a run whose hard deadline is `deadline` after its start.
///
/// It holds `lock` until it is dropped, which is when the process ends, unless the lock is handed on. A record that cannot be written is no
/// reason to fail a run.
pub(crate) fn consumer(dirs: &RunDirs, lock: Rc<SectionLock>, deadline: Duration) -> Consumer {
    let path = record_path(&dirs.state);
    let mut record = None;
    Box::new(move |event| {
        let _held = &lock;
        if let Event::RunStarted(started) = event {
            record = begin(started, deadline);
        }
        let Some(record) = record.as_mut() else {
            return;
        };
        if note(record, event)
            && let Ok(text) = serde_json::to_vec_pretty(record)
        {
            drop(replace(&path, &text, Durability::Kill));
        }
    })
}

/// Notes what an event says of the run; returns whether it says anything.
fn note(record: &mut LiveRun, event: &Event) -> bool {
    let phase = match event.what() {
        Event::RunStarted(_) => return true,
        Event::Moved { domain, .. } => {
            record.domain.clone_from(domain);
            return true;
        }
        Event::Trusted(trust) => {
            record.trust = Some((**trust).clone());
            return true;
        }
        Event::Planned(plan) => {
            let dependency = |one: &PlannedDependency| LiveDependency {
                recipe: one.recipe.clone(),
                domain: one.domain.clone(),
                status: None,
            };
            record.dependencies = plan.dependencies.iter().map(dependency).collect();
            let fresh = plan.fresh.as_ref().map(|fresh| fresh.domain.clone());
            record.fresh = fresh.filter(|domain| *domain != record.domain);
            let others = plan.others.iter();
            let others = others.filter(|other| other.domain != record.domain);
            let others = others.map(|other| LiveOther {
                what: other.app.to_string(),
                domain: other.domain.clone(),
            });
            record.others = others.collect();
            return true;
        }
        Event::DependencyFinished(outcome) => {
            let mut all = record.dependencies.iter_mut();
            if let Some(one) = all.find(|one| one.domain == outcome.domain) {
                one.status = Some(outcome.status);
            }
            return true;
        }
        Event::PhaseStarted { phase, detail } => {
            record.waiting_for = (*phase == Phase::LockWait).then(|| detail.clone());
            phase.name().to_owned()
        }
        Event::Held { hold, holder } => {
            let needs = |one: &LiveDependency| hold.dependencies.contains(&one.domain);
            record.dependencies.retain(needs);
            record.domain.clone_from(&hold.domain);
            record.fresh = None;
            record.others.clear();
            record.process = holder.clone();
            record.deadline_at.clone_from(&hold.until);
            hold::PHASE.to_owned()
        }
        Event::TierStarted(stage) => stage.to_string(),
        Event::TeardownStarted { .. } => Phase::Teardown.name().to_owned(),
        _ => return false,
    };
    record.phase = phase;
    record.phase_since = Timestamp::now().to_string();
    true
}

fn begin(started: &RunStarted, deadline: Duration) -> Option<LiveRun> {
    let now = Timestamp::now();
    Some(LiveRun {
        run_id: started.run_id.clone(),
        process: Identity::own().ok()?,
        recipe: started.recipe.clone(),
        pr: started.pr.clone(),
        reference: started.reference.clone(),
        trust: None,
        domain: started.domain.clone(),
        phase: "start".to_owned(),
        phase_since: now.to_string(),
        started_at: started.started_at.clone(),
        deadline_at: now.saturating_add(deadline).unwrap_or(now).to_string(),
        waiting_for: None,
        dependencies: Vec::new(),
        fresh: None,
        others: Vec::new(),
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
            ground::error::chain(error)
        ));
    };
    let entries = match host_file::entries(&host.runs) {
        Ok(entries) => entries,
        // A host that never had a run has no directory for them.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return roster,
        Err(error) => {
            unreadable(&host.runs, &error);
            return roster;
        }
    };
    for entry in entries {
        let root = match entry {
            Ok(entry) => entry.path(),
            Err(error) => {
                unreadable(&host.runs, &error);
                continue;
            }
        };
        let state = root.join("state");
        match probe(&RunDirs::live_lock(&root)) {
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
    for entry in host_file::entries(&host.locks).map_err(unusable)? {
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
    match host_file::bytes(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Planned;
    use ground::outcome::DependencyOutcome;

    fn started(dirs: &RunDirs) -> Event {
        Event::RunStarted(Box::new(RunStarted {
            run_id: dirs.id.to_string(),
            recipe: "notes".to_owned(),
            pr: Some("12".to_owned()),
            reference: None,
            domain: "note-012345.ci.localhost".to_owned(),
            host: "ci1".to_owned(),
            build_url: None,
            repeat: "recipe-ci run notes".to_owned(),
            run_dir: dirs.root.clone(),
            started_at: Timestamp::now().to_string(),
        }))
    }

    async fn alive(dirs: &RunDirs) -> Consumer {
        let lock = Rc::new(hold(dirs).await.unwrap());
        consumer(dirs, lock, Duration::from_secs(3600))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_run_is_listed_with_its_phase_as_long_as_its_lock_is_held() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        assert!(list(&host).runs.is_empty() && list(&host).unreadable.is_empty());
        let dirs = RunDirs::create(&host, &"7".parse().unwrap()).unwrap();
        let mut live = alive(&dirs).await;
        live(&started(&dirs));
        live(&Event::PhaseStarted {
            phase: Phase::LockWait,
            detail: "note-012345.ci.localhost".to_owned(),
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
        assert_eq!(run.waits_for(), Some("note-012345.ci.localhost"));
        assert_eq!(run.domains(), Vec::<&str>::new(), "it has not even its own");
        assert_eq!(run.process, Identity::own().unwrap());
        drop(live);
        assert!(list(&host).runs.is_empty(), "a dead run is listed");
        assert!(record_path(&dirs.state).exists());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn dependencies_are_part_of_the_run_that_deploys_them() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let dirs = RunDirs::create(&host, &"7".parse().unwrap()).unwrap();
        let mut live = alive(&dirs).await;
        live(&started(&dirs));
        let planned = |recipe: &str| PlannedDependency {
            recipe: recipe.to_owned(),
            domain: format!("{recipe}-0a1b2c.ci.localhost"),
        };
        live(&Event::Planned(Box::new(Planned {
            dependencies: vec![planned("gite"), planned("keyc")],
            ..Planned::default()
        })));
        let own = "note-012345.ci.localhost";
        let (gitea, keycloak) = ("gite-0a1b2c.ci.localhost", "keyc-0a1b2c.ci.localhost");
        let seen = |host: &HostDirs| list(host).runs.remove(0);
        assert_eq!(seen(&host).domains(), [own, gitea, keycloak]);
        // Another run holds the lock that it waits for.
        live(&Event::PhaseStarted {
            phase: Phase::LockWait,
            detail: keycloak.to_owned(),
        });
        assert_eq!(seen(&host).waits_for(), Some(keycloak));
        assert_eq!(seen(&host).domains(), [own, gitea]);
        live(&Event::PhaseStarted {
            phase: Phase::Deploy,
            detail: String::new(),
        });
        live(&Event::DependencyFinished(Box::new(DependencyOutcome {
            recipe: "keyc".to_owned(),
            domain: keycloak.to_owned(),
            version: None,
            required: false,
            status: Status::Fail,
            reason: None,
        })));
        let run = seen(&host);
        assert_eq!((run.phase.as_str(), run.waits_for()), ("deploy", None));
        let statuses: Vec<_> = run.dependencies.iter().map(|one| one.status).collect();
        assert_eq!(statuses, [None, Some(Status::Fail)]);
    }

    #[test]
    fn a_record_of_an_older_version_is_read() {
        let old = r#"{"run_id": "7", "process": PROCESS, "recipe": "notes", "pr": null, "reference": null,
            "domain": "note-012345.ci.localhost", "phase": "lock_wait", "phase_since": "2026-01-02T03:04:05Z",
            "started_at": "2026-01-02T03:04:05Z", "deadline_at": "2026-01-02T04:04:05Z"}"#;
        let process = serde_json::to_string(&Identity::own().unwrap()).unwrap();
        let run: LiveRun = serde_json::from_str(&old.replace("PROCESS", &process)).unwrap();
        assert_eq!(run.waits_for(), Some("note-012345.ci.localhost"));
        assert!(run.dependencies.is_empty() && run.domains().is_empty());
    }

    /// A look takes the lock for a moment. A run that lost it then would look dead to the next one.
    #[tokio::test(flavor = "current_thread")]
    async fn a_run_that_is_looked_at_as_it_begins_has_its_lock_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let dirs = RunDirs::create(&host, &"7".parse().unwrap()).unwrap();
        let path = RunDirs::live_lock(&dirs.root);
        #[expect(clippy::disallowed_methods, reason = "another process that looks")]
        let mut looker = std::process::Command::new("flock")
            .args(["--shared", "--no-fork"])
            .arg(&path)
            .args(["sleep", "600"])
            .spawn()
            .unwrap();
        let limit = engine::wait::Deadline::after(Duration::from_secs(60));
        while !path.exists() || SectionLock::try_acquire(&path).unwrap().is_some() {
            assert!(!limit.passed(), "no look came");
            engine::wait::pause(Duration::from_millis(5)).await;
        }
        let (lock, ()) = futures_util::join!(hold(&dirs), async {
            // The run has tried for the first time.
            looker.kill().unwrap();
            looker.wait().unwrap();
        });
        let lock = lock.unwrap();
        assert!(matches!(probe(&path), Ok(Probe::Held { .. })));
        let mark = Mark::make(&dirs, None, &lock).unwrap();
        assert_eq!(Mark::read(&dirs.root).unwrap(), Some(mark));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_live_run_whose_record_is_garbled_is_said_and_not_left_out() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let dirs = RunDirs::create(&host, &"7".parse().unwrap()).unwrap();
        std::fs::write(host.runs.join("a-file"), "").unwrap();
        let _live = alive(&dirs).await;
        std::fs::write(record_path(&dirs.state), "{").unwrap();
        let roster = list(&host);
        assert_eq!(roster.unreadable.len(), 1, "{:?}", roster.unreadable);
        assert!(roster.unreadable[0].contains("live.json"));
    }
}
