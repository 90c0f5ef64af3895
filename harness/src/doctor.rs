//! Every precondition of a run, looked at without changing anything, each with what to do about it.
//!
//! What hangs on a precondition that fails is left out instead of failing too: without an engine there is
//! one finding, not five. [`apply`] does only what cannot hurt: it makes directories, a swarm where there is
//! none, the `proxy` network, and the rules that close overlay networks to containers. Packages and daemons are
//! [`crate::host::set_up`]'s.

mod dirs;
mod docker;
mod gateway;
mod tools;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::coverage::Coverage;
use crate::report::human;
use engine::dirs::HostDirs;
use engine::http::Gateway;
use engine::process::{self, Processes};
use engine::room::Room;
use ground::name::Zone;
use recipe::trust;

/// What is examined.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The engine's address.
    pub docker_host: String,
    /// Where CI's own engine is, or would be.
    pub room: Room,
    /// Whether that is the engine that is examined.
    pub on_ci: bool,
    /// The places of this host.
    pub dirs: HostDirs,
    /// The door to programs.
    pub processes: Processes,
    /// The zone of run apps.
    pub zone: Zone,
    /// The gateway through which apps are to be reached, if any.
    pub gateway: Option<Gateway>,
    /// The file that says which sources are trusted, if there is one.
    pub grants: Option<PathBuf>,
    /// The root of the file system: `/` but for tests.
    pub root: PathBuf,
}

/// How a precondition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Runs work, but not all of them or not as well.
    Warn,
    /// Runs cannot work.
    Fail,
}

/// What can be done about a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// What a person types.
    pub command: String,
    /// Whether [`apply`] may do it.
    pub safe: bool,
}

/// A precondition with what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its stable name, for machines.
    pub id: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// How it stands.
    pub status: Status,
    /// What was found, and what follows from it when that is not plain.
    pub found: String,
    /// What to do about it.
    pub fix: Option<Fix>,
}

impl Check {
    fn new(
        id: &'static str,
        title: &'static str,
        status: Status,
        found: impl Into<String>,
    ) -> Self {
        Self {
            id,
            title,
            status,
            found: found.into(),
            fix: None,
        }
    }

    /// Adds a command that only a person may decide on.
    fn by_hand(mut self, command: impl Into<String>) -> Self {
        self.fix = Some(Fix {
            command: command.into(),
            safe: false,
        });
        self
    }

    /// Adds a command that [`apply`] may carry out.
    fn safely(mut self, command: impl Into<String>) -> Self {
        self.fix = Some(Fix {
            command: command.into(),
            safe: true,
        });
        self
    }
}

/// What came of a fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The check that it was for.
    pub id: &'static str,
    /// What was done, as a person would have typed it.
    pub command: String,
    /// Why it did not work, or nothing.
    pub error: Option<String>,
}

/// Looks at every precondition. The order is that in which a person would repair them.
pub async fn examine(subject: &Subject) -> Vec<Check> {
    let (engine, tools) = futures_util::join!(
        docker::checks(subject),
        tools::checks(&subject.processes, &subject.dirs)
    );
    let mut checks = engine.checks;
    checks.extend(dirs::checks(&subject.dirs, engine.root_dir.as_deref()));
    checks.push(tools::ipvs(&subject.root));
    checks.push(tools::control_group(&process::cgroup::check()));
    checks.extend(tools);
    checks.push(dirs::zone(&subject.zone));
    checks.push(sweeping(subject));
    checks.push(grants(subject.grants.as_deref()));
    if let Some(gateway) = &subject.gateway {
        checks.push(gateway::check(gateway, &subject.zone).await);
    }
    checks
}

/// Returns whether the file of grants can be used: one that cannot stops every run.
fn grants(file: Option<&Path>) -> Check {
    let check = |status, found: String| Check::new("grants", "grants", status, found);
    let Some(file) = file else {
        let found = "there is no grants.yml: every source is a stranger's";
        return check(Status::Ok, found.to_owned());
    };
    match trust::read::read(file) {
        Ok(_) => check(Status::Ok, file.display().to_string()),
        Err(error) => {
            let found = format!("{}; {}", in_full(&error), error.advice());
            check(Status::Fail, found).by_hand("recipe-ci grants check")
        }
    }
}

/// Returns whether anything sweeps this host when no run does.
fn sweeping(subject: &Subject) -> Check {
    let check = |status, found: String| Check::new("sweeping", "janitor", status, found);
    let coverage = Coverage::of(&subject.dirs, &subject.zone, &subject.root);
    if let Some(place) = coverage.unreadable.first() {
        return check(Status::Warn, format!("not known: {place}"))
            .by_hand("recipe-ci janitor status");
    }
    match coverage.gap() {
        Some(gap) => check(
            Status::Warn,
            format!("nothing sweeps this host: {gap}; what a killed run leaves stays"),
        )
        .by_hand("recipe-ci janitor install, or recipe-ci janitor arm"),
        None => check(
            Status::Ok,
            coverage.newest_between_runs().map_or_else(
                || "a watcher lives".to_owned(),
                |(sweep, age)| format!("last swept {} ago by {}", human(age), sweep.by.name()),
            ),
        ),
    }
}

/// Carries out the safe fixes of `checks`. What came of them is for another [`examine`] to say.
pub async fn apply(subject: &Subject, checks: &[Check]) -> Vec<Applied> {
    let mut applied: Vec<Applied> = Vec::new();
    for check in checks {
        let Some(fix) = check.fix.as_ref().filter(|fix| fix.safe) else {
            continue;
        };
        let result = match check.id {
            "swarm" => docker::init_swarm(subject).await,
            "proxy" => docker::create_proxy(subject).await,
            "overlay_port" => docker::close_overlay_port(subject).await,
            id => dirs::make(&subject.dirs, id),
        };
        applied.push(Applied {
            id: check.id,
            command: fix.command.clone(),
            error: result.err(),
        });
    }
    // The network was not looked at while there was no swarm that could have it.
    let swarm_is_new = applied
        .iter()
        .any(|fix| fix.id == "swarm" && fix.error.is_none());
    if swarm_is_new && !applied.iter().any(|fix| fix.id == "proxy") {
        applied.push(Applied {
            id: "proxy",
            command: crate::host::set_up::PROXY_COMMAND.to_owned(),
            error: docker::create_proxy(subject).await.err(),
        });
    }
    applied
}

/// Returns an error with its causes in one line.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::janitor::Sweep;
    use crate::janitor::record::{SweepRecord, Sweeper};

    fn subject(root: &std::path::Path) -> Subject {
        Subject {
            docker_host: format!("unix://{}/absent.sock", root.display()),
            room: Room::of(&root.join("state")),
            on_ci: false,
            dirs: HostDirs::below(root),
            processes: Processes::new(BTreeMap::from([(
                "PATH".into(),
                root.join("bin").into_os_string(),
            )])),
            zone: "ci.localhost".parse().unwrap(),
            gateway: None,
            grants: None,
            root: root.to_owned(),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_bare_host_fails_for_its_engine_once_and_its_client_and_lock_directory() {
        let root = tempfile::tempdir().unwrap();
        let checks = examine(&subject(root.path())).await;
        let failed: Vec<&str> = checks
            .iter()
            .filter(|check| check.status == Status::Fail)
            .map(|check| check.id)
            .collect();
        assert_eq!(failed, ["engine", "locks", "client"], "{checks:#?}");
        for check in &checks {
            assert!(
                check.status != Status::Fail || check.fix.is_some(),
                "{check:?} has no fix"
            );
        }
    }

    #[test]
    fn a_file_of_grants_that_stops_every_run_is_a_failure_with_its_place() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("grants.yml");
        assert_eq!(grants(None).status, Status::Ok);
        engine::record::write_private(&file, b"sources: {}\n").unwrap();
        assert_eq!(
            grants(Some(&file)).status,
            Status::Ok,
            "{:?}",
            grants(Some(&file))
        );
        engine::record::write_private(&file, b"sorces: {}\n").unwrap();
        let check = grants(Some(&file));
        assert_eq!(check.status, Status::Fail, "{check:?}");
        assert!(check.found.contains("grants.yml:1:1"), "{check:?}");
        let absent = grants(Some(&root.path().join("absent.yml")));
        assert_eq!(absent.status, Status::Fail, "{absent:?}");
    }

    #[test]
    fn a_host_that_nothing_sweeps_is_warned_of() {
        let root = tempfile::tempdir().unwrap();
        let subject = subject(root.path());
        let check = sweeping(&subject);
        assert_eq!(check.status, Status::Warn);
        assert!(
            check.found.starts_with("nothing sweeps this host"),
            "{check:?}"
        );
        let record = SweepRecord::of(&Sweep::default(), Sweeper::Janitor, &subject.zone);
        record.store(&subject.dirs.state).unwrap();
        assert_eq!(super::sweeping(&subject).status, Status::Ok);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_safe_fix_is_applied_and_the_others_are_not() {
        let root = tempfile::tempdir().unwrap();
        let subject = subject(root.path());
        let applied = apply(&subject, &examine(&subject).await).await;
        assert_eq!(applied.len(), 1, "{applied:?}");
        assert_eq!((applied[0].id, &applied[0].error), ("locks", &None));
        assert!(subject.dirs.locks.is_dir());
        assert!(apply(&subject, &examine(&subject).await).await.is_empty());
    }

    #[test]
    fn the_json_has_stable_names() {
        let check = Check::new("locks", "lock directory", Status::Warn, "odd").by_hand("look");
        let json = serde_json::to_string(&check).unwrap();
        assert_eq!(
            json,
            r#"{"id":"locks","title":"lock directory","status":"warn","found":"odd","fix":{"command":"look","safe":false}}"#
        );
    }
}
