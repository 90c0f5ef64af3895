//! The janitor: finds run apps whose owner is dead and removes them.
//!
//! A lock that can be had is the only proof of death. Whatever cannot be read is said and left alone,
//! never taken for nothing. Names that are not run apps of the zone are not even looked at.

mod candidates;
mod dead;
mod engines;
pub mod record;
mod tidy;
pub mod units;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

pub use dead::DeadRun;
pub use engines::{DeadEngine, end_engines};

use crate::abra::Abra;
use crate::hold;
use crate::warm::{self, Recovered};
use engine::app;
use engine::dirs::HostDirs;
use engine::lock::{Attempt, DomainLock, Left, LockError, Probe};
use engine::made;
use engine::swarm::teardown::{DeployerState, IN_FLIGHT};
use engine::swarm::{Engine, EngineError};
use engine::wait::{Deadline, pause, retry_while};
use ground::name::{Domain, RunId, Zone};
use ground::outcome::Residual;

/// How long the removal of one orphan may take.
pub(crate) const REAP_LIMIT: Duration = Duration::from_secs(120);

/// How long the sweep inside a run may take. What is not gone then is the janitor's: the orphans of others are no
/// reason for a run to be late.
pub const RUN_BUDGET: Duration = Duration::from_secs(20);

/// How long after its time the removal of one orphan is waited for.
const SILENCE: Duration = Duration::from_secs(5);

/// How much of that one orphan may take, so that one that is stuck does not keep all others.
const RUN_REAP_LIMIT: Duration = Duration::from_secs(8);

/// What the janitor decided about a candidate, and what came of it.
#[derive(Debug)]
pub enum Decision {
    /// Its owner is dead and it was removed (or would be, in a dry run).
    Reaped,
    /// Its owner is dead, and nothing of it is there any more: another janitor came first.
    Gone,
    /// Its owner is dead but something would not go.
    Incomplete(Residual),
    /// Its owner lives.
    Live {
        /// What the holder says about itself.
        holder: String,
        /// How long the lock has been held.
        held_for: Option<Duration>,
    },
    /// Its lock cannot be probed, so nothing is known about its owner.
    Skipped(LockError),
    /// Its objects cannot be listed or removed.
    Failed(EngineError),
    /// The sweep had no time left to look at it.
    Postponed,
}

/// A candidate with its decision.
#[derive(Debug)]
pub struct Finding {
    /// The app.
    pub domain: Domain,
    /// What happened to it.
    pub decision: Decision,
}

impl Finding {
    /// Returns the warning about a lock that has been held for more than twice `deadline`, the longest that a
    /// run may take: its owner lives, so it is not for the janitor to end it, but a person should look.
    #[must_use]
    pub fn long_held(&self, deadline: Duration) -> Option<String> {
        let Decision::Live {
            held_for: Some(held_for),
            holder,
        } = &self.decision
        else {
            return None;
        };
        if hold::is_meant(holder) {
            return None;
        }
        let limit = deadline * 2;
        (*held_for > limit).then(|| {
            let limit = if limit.as_secs().is_multiple_of(60) {
                format!("{}min", limit.as_secs() / 60)
            } else {
                format!("{}s", limit.as_secs())
            };
            format!(
                "!! lock for {} held >{limit} — possible leaked run; inspect with lslocks",
                self.domain
            )
        })
    }
}

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Sweep {
    /// One finding per candidate, by name.
    pub findings: Vec<Finding>,
    /// Runs whose processes are all dead, with what was ended and removed of them.
    pub dead: Vec<DeadRun>,
    /// Engines of single runs whose run is dead.
    pub engines: Vec<DeadEngine>,
    /// How many free lock files without an app were unlinked.
    pub tidied: usize,
    /// Warm apps whose last holder died, by recipe, with what became of each.
    pub warm: Vec<(String, Recovered)>,
    /// Objects that bear the label of a run app and were not made for it, in words. They are never touched.
    pub foreign: BTreeSet<String>,
    /// What could not be read.
    pub unreadable: Vec<String>,
}

impl Sweep {
    /// Notes what a look found; returns the apps.
    fn note(&mut self, found: candidates::Found) -> BTreeSet<Domain> {
        for place in found.unreadable {
            if !self.unreadable.contains(&place) {
                self.unreadable.push(place);
            }
        }
        self.foreign.extend(found.foreign);
        found.apps
    }

    /// Returns whether every orphan that was found is gone.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unreadable.is_empty()
            && self.dead.iter().all(|run| run.left.is_empty())
            && self.engines.iter().all(|engine| engine.failed.is_none())
            && !self
                .warm
                .iter()
                .any(|(_, became)| matches!(became, Recovered::Failed(_)))
            && self.findings.iter().all(|finding| match finding.decision {
                Decision::Reaped | Decision::Gone | Decision::Live { .. } => true,
                Decision::Incomplete(_)
                | Decision::Skipped(_)
                | Decision::Failed(_)
                | Decision::Postponed => false,
            })
    }
}

/// Sweeps what is about no engine: what dead runs left running, and their working files.
pub async fn sweep_beside_engines(host: &HostDirs) -> Sweep {
    let mut sweep = Sweep::default();
    sweep.dead = dead::clear(host, false, &mut sweep.unreadable).await;
    sweep
}

/// Sweeps the host once: every run app of `zone` whose lock is free is removed.
///
/// `run` names the sweeper in the lock files that it holds meanwhile. With `dry_run` nothing is removed.
///
/// # Errors
/// [`EngineError`] when the engine's objects cannot be listed at all, and where other nodes of its swarm take tasks.
pub async fn sweep(
    engine: &Engine,
    host: &HostDirs,
    zone: &Zone,
    run: &RunId,
    dry_run: bool,
) -> Result<Sweep, EngineError> {
    sweep_with(engine, host, zone, run, dry_run, None, None).await
}

/// The same with one source of candidates more: what `abra` lists, where abra deploys. A listing that cannot be
/// read is among what is unreadable. With a `budget` the sweep ends about then, and says what it has not looked at.
///
/// # Errors
/// As [`sweep`].
pub async fn sweep_with(
    engine: &Engine,
    host: &HostDirs,
    zone: &Zone,
    run: &RunId,
    dry_run: bool,
    abra: Option<&Abra>,
    budget: Option<Duration>,
) -> Result<Sweep, EngineError> {
    // A run that another host makes holds its lock there, so here it would look dead.
    engine.is_alone().await?;
    let deadline = budget.map(Deadline::after);
    let mut sweep = Sweep::default();
    // First what may still work on an app, as at the end of a run that lives to see it.
    sweep.dead = dead::clear(host, dry_run, &mut sweep.unreadable).await;
    let mut found = if dry_run {
        sweep.note(candidates::of_zone(engine, host, zone).await?)
    } else {
        tidy::tidy(engine, host, zone, &mut sweep).await?
    };
    if let Some(abra) = abra {
        match abra.app_ls().await {
            Ok(names) => found.extend(
                names
                    .iter()
                    .filter_map(|name| Domain::parse(name, zone).ok()),
            ),
            Err(error) => sweep.unreadable.push(ground::error::chain(&error)),
        }
    }
    // Their lock files could not be used; it has been said.
    for finding in &sweep.findings {
        found.remove(&finding.domain);
    }
    for domain in in_order(host, zone, found) {
        let limit = match deadline {
            Some(deadline) if deadline.passed() => {
                let decision = Decision::Postponed;
                sweep.findings.push(Finding { domain, decision });
                continue;
            }
            Some(deadline) => deadline.left().min(RUN_REAP_LIMIT),
            None => REAP_LIMIT,
        };
        match decide_in(limit, engine, host, &domain, run, dry_run).await {
            // The process that removed it says so.
            Decision::Gone => sweep.tidied += 1,
            decision => sweep.findings.push(Finding { domain, decision }),
        }
    }
    sweep.findings.sort_by(|a, b| a.domain.cmp(&b.domain));
    if !dry_run && budget.is_none() {
        forget_clones(&host.clones(), &mut sweep.unreadable);
    }
    Ok(sweep)
}

/// Removes the clones of recipes that earlier versions kept. A run of one that has them open fetches again.
fn forget_clones(dir: &std::path::Path, problems: &mut Vec<String>) {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            problems.push(format!("`{}`: {error}", dir.display()));
        }
        _ => {}
    }
}

/// Returns the apps in the order in which they can be removed: one whose network others are on comes after them.
fn in_order(host: &HostDirs, zone: &Zone, found: BTreeSet<Domain>) -> Vec<Domain> {
    // Of a record that cannot be read its removal says so.
    let has_guests =
        |domain: &Domain| made::guests(host, domain, zone).is_ok_and(|guests| !guests.is_empty());
    let (last, mut first): (Vec<_>, Vec<_>) = found.into_iter().partition(has_guests);
    first.extend(last);
    first
}

/// Brings the warm apps to rest that dead processes were at. They are found by their records alone: no name
/// of a warm app is ever a reason to touch it. Runs leave this to the command, because it may take long.
pub async fn rest_warm_apps(
    engine: &Engine,
    host: &HostDirs,
    zone: &Zone,
    run: &RunId,
    dry_run: bool,
    sweep: &mut Sweep,
) {
    match warm::recover_all(engine, host, zone, run, dry_run).await {
        Ok(findings) => sweep.warm = findings,
        Err(error) => sweep.unreadable.push(ground::error::chain(&error)),
    }
}

/// Removes one app if its owner is dead.
pub async fn decide(
    engine: &Engine,
    host: &HostDirs,
    domain: &Domain,
    run: &RunId,
    dry_run: bool,
) -> Decision {
    decide_in(REAP_LIMIT, engine, host, domain, run, dry_run).await
}

/// The same, with a removal that takes `limit` at the most.
async fn decide_in(
    limit: Duration,
    engine: &Engine,
    host: &HostDirs,
    domain: &Domain,
    run: &RunId,
    dry_run: bool,
) -> Decision {
    if dry_run {
        return match DomainLock::probe(host, domain) {
            Err(error) => Decision::Skipped(error),
            Ok(Probe::Held { holder, since }) => live(holder, since),
            Ok(Probe::Free) => Decision::Reaped,
        };
    }
    match DomainLock::try_acquire(host, domain, run) {
        Err(error) => Decision::Skipped(error),
        Ok(Attempt::Held { holder, since }) => live(holder, since),
        // Between the listing and the probe another janitor may have reaped it and unlinked its lock file;
        // then the file is this probe's own.
        Ok(Attempt::Acquired(lock)) => match exists_or_comes(engine, host, domain).await {
            Ok(true) => reap_in(limit, engine, host, lock).await,
            Ok(false) => match lock.unlink() {
                Ok(()) => Decision::Gone,
                Err(error) => Decision::Skipped(error),
            },
            Err(error) => Decision::Failed(error),
        },
    }
}

/// Returns whether anything of an app exists whose owner is dead, or comes from a request that he had made.
async fn exists_or_comes(
    engine: &Engine,
    host: &HostDirs,
    domain: &Domain,
) -> Result<bool, EngineError> {
    if app::exists(engine, host, domain).await? {
        return Ok(true);
    }
    pause(IN_FLIGHT).await;
    app::exists(engine, host, domain).await
}

/// Removes one app whose owner is known to be dead, as [`decide`] does, and tries for up to `limit` again while its
/// lock is held: a look (`ps`, a dry run) or a janitor that tidies holds it for a moment only.
pub async fn decide_within(
    limit: Duration,
    engine: &Engine,
    host: &HostDirs,
    domain: &Domain,
    run: &RunId,
) -> Decision {
    retry_while(
        Deadline::after(limit),
        Duration::from_millis(20),
        |decision| matches!(decision, Decision::Live { .. }),
        || decide(engine, host, domain, run, false),
    )
    .await
}

/// Removes what an app has beside its engine, which is gone, once its lock is free; returns the files that would not go.
///
/// # Errors
/// Why nothing was removed.
pub async fn forget_within(
    limit: Duration,
    host: &HostDirs,
    domain: &Domain,
    run: &RunId,
) -> Result<Vec<String>, String> {
    let attempt = retry_while(
        Deadline::after(limit),
        Duration::from_millis(20),
        |attempt| matches!(attempt, Ok(Attempt::Held { .. })),
        || async { DomainLock::try_acquire(host, domain, run) },
    );
    match attempt
        .await
        .map_err(|error| ground::error::chain(&error))?
    {
        Attempt::Held { holder, .. } => Err(format!("its lock is held: {holder}")),
        Attempt::Acquired(lock) => {
            let files = app::remove_files(host, &lock);
            let left = files.map_err(|error| ground::error::chain(&error))?;
            let is = if left.is_empty() {
                Left::Nothing
            } else {
                Left::Something
            };
            let let_go = lock.leave(is);
            let_go.map_err(|error| ground::error::chain(&error))?;
            Ok(left)
        }
    }
}

fn live(holder: String, since: Option<SystemTime>) -> Decision {
    let held_for = since.and_then(|since| SystemTime::now().duration_since(since).ok());
    Decision::Live { holder, held_for }
}

/// Removes the app behind `lock`, then unlinks the lock file: for a holder whose hold is over.
pub(crate) async fn reap(engine: &Engine, host: &HostDirs, lock: DomainLock) -> Decision {
    reap_in(REAP_LIMIT, engine, host, lock).await
}

/// The same within about `limit`. A removal looks at the time between its requests. One that the engine never answers,
/// because a container of the app is stuck in it, must not keep others.
async fn reap_in(limit: Duration, engine: &Engine, host: &HostDirs, lock: DomainLock) -> Decision {
    let reaping = reap_until(Deadline::after(limit), engine, host, lock);
    let reaped = tokio::time::timeout(limit + SILENCE, reaping).await;
    reaped.unwrap_or_else(|_| {
        Decision::Failed(EngineError::Silent {
            host: engine.host().to_owned(),
            limit_s: (limit + SILENCE).as_secs(),
        })
    })
}

/// Removes the app behind `lock` while holding it, then unlinks the lock file.
async fn reap_until(
    deadline: Deadline,
    engine: &Engine,
    host: &HostDirs,
    lock: DomainLock,
) -> Decision {
    let removal = app::remove(engine, host, &lock, DeployerState::CutOff, deadline).await;
    let left = match &removal {
        Ok(removal) if removal.residual.is_empty() => Left::Nothing,
        _ => Left::Something,
    };
    let let_go = lock.leave(left);
    match removal {
        Err(error) => Decision::Failed(error),
        Ok(removal) if left == Left::Something => Decision::Incomplete(removal.residual),
        Ok(_) => let_go.map_or_else(Decision::Skipped, |()| Decision::Reaped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_long_held_after_twice_the_deadline_and_only_then() {
        let zone: Zone = "ci.localhost".parse().unwrap();
        let held = |minutes: u64| Finding {
            domain: Domain::parse("note-0a1b2c.ci.localhost", &zone).unwrap(),
            decision: Decision::Live {
                holder: String::new(),
                held_for: Some(Duration::from_secs(minutes * 60 + 1)),
            },
        };
        let hour = Duration::from_secs(3600);
        assert_eq!(
            held(120).long_held(hour).as_deref(),
            Some(
                "!! lock for note-0a1b2c.ci.localhost held >120min — possible leaked run; inspect with lslocks"
            )
        );
        assert_eq!(held(119).long_held(hour), None);
    }

    fn place() -> (tempfile::TempDir, HostDirs, Domain) {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::with_locks(root.path());
        let domain = Domain::parse("note-0a1b2c.z", &"z".parse().unwrap()).unwrap();
        (root, host, domain)
    }

    #[test]
    fn a_sweep_is_clean_when_every_orphan_is_gone_and_everything_was_read() {
        let unusable = || LockError::Unusable {
            path: "/l".into(),
            source: std::io::ErrorKind::PermissionDenied.into(),
        };
        let failed = || EngineError::Local {
            what: "list".to_owned(),
            source: std::io::ErrorKind::PermissionDenied.into(),
        };
        let live = Decision::Live {
            holder: String::new(),
            held_for: None,
        };
        for (decision, clean) in [
            (Decision::Reaped, true),
            (Decision::Gone, true),
            (live, true),
            (Decision::Incomplete(Residual::default()), false),
            (Decision::Skipped(unusable()), false),
            (Decision::Failed(failed()), false),
            (Decision::Postponed, false),
        ] {
            let (_, _, domain) = place();
            let said = format!("{decision:?}");
            let sweep = Sweep {
                findings: vec![Finding { domain, decision }],
                ..Sweep::default()
            };
            assert_eq!(sweep.is_clean(), clean, "{said}");
        }
        let with = |became| Sweep {
            warm: vec![("notes".to_owned(), became)],
            ..Sweep::default()
        };
        for became in [Recovered::Yes, Recovered::AtRest, Recovered::Live] {
            assert!(with(became).is_clean());
        }
        assert!(!with(Recovered::Failed(unusable().into())).is_clean());
        let unreadable = Sweep {
            unreadable: vec!["`/x`".to_owned()],
            ..Sweep::default()
        };
        assert!(!unreadable.is_clean());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_would_not_go_is_named_and_its_lock_file_stays_for_the_next_sweep() {
        let (root, host, domain) = place();
        let reap = async |engine: &Engine| {
            let lock = DomainLock::of_test(&host, &domain);
            let decision = reap_until(Deadline::after(Duration::ZERO), engine, &host, lock).await;
            assert!(host.lock_file(&domain).exists(), "{decision:?}");
            let probe = DomainLock::probe(&host, &domain).unwrap();
            assert_eq!(probe, Probe::Free, "{decision:?}");
            decision
        };
        let decision = reap(&engine::swarm::testing::stuck(root.path(), domain.stack())).await;
        let Decision::Incomplete(left) = decision else {
            panic!("{decision:?}")
        };
        assert_eq!(left.to_string(), "volumes: note-0a1b2c_z_data");
        let decision = reap(&Engine::gone(tempfile::tempdir().unwrap().path())).await;
        assert!(matches!(decision, Decision::Failed(_)), "{decision:?}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_engine_that_never_answers_a_removal_keeps_no_sweep() {
        let (root, host, domain) = place();
        let engine = engine::swarm::testing::silent(root.path(), domain.stack());
        let run: RunId = "7".parse().unwrap();
        let decision = decide_in(Duration::ZERO, &engine, &host, &domain, &run, false).await;
        assert!(
            matches!(decision, Decision::Failed(EngineError::Silent { .. })),
            "{decision:?}"
        );
        // The next sweep finds it, and may have its lock.
        assert!(host.lock_file(&domain).exists());
        assert_eq!(DomainLock::probe(&host, &domain).unwrap(), Probe::Free);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_look_at_the_lock_does_not_keep_a_dead_runs_app() {
        let (root, host, domain) = place();
        let run: RunId = "7".parse().unwrap();
        // To ask it for the app's objects proves that the lock was had.
        let engine = Engine::gone(root.path());
        let path = host.lock_file(&domain);
        std::fs::write(&path, "").unwrap();
        let look = ground::host_file::open(&path).unwrap();
        #[expect(clippy::disallowed_methods, reason = "as a look does")]
        look.try_lock_shared().unwrap();
        let decide = |ms| decide_within(Duration::from_millis(ms), &engine, &host, &domain, &run);
        assert!(matches!(decide(1).await, Decision::Live { .. }));
        let (decision, ()) = futures_util::join!(decide(60_000), async {
            // The other one has tried for the first time.
            look.unlock().unwrap();
        });
        assert!(matches!(decision, Decision::Failed(_)), "{decision:?}");
    }
}
