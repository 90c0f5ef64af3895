//! Warm apps: the last-good app of a recipe, undeployed, with its data kept for quick runs.
//!
//! A recipe's warm app has a domain of its own that no janitor ever takes for a run app, and a directory:
//!
//! - `canonical.json` says which version it is, where its snapshot is, and what it is doing;
//! - `snapshot-<id>/` has its data. The one that `canonical.json` names is the last good one; any other is
//!   what a dead process left.
//!
//! So there is one atomic step, the rename that replaces `canonical.json`: version, commit and snapshot change
//! together, and no kill leaves one without the others. It is written *before* the data is touched. Whoever
//! takes the app's lock and finds `busy` knows that the last holder died, and puts the snapshot back.

pub mod canonical;
pub mod enrolled;
pub mod snapshot;
mod tree;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use canonical::{Canonical, Status, WarmDir};
use engine::app;
use engine::dirs::HostDirs;
use engine::lock::{Attempt, DomainLock, LockError, Probe};
use engine::swarm::teardown::DeployerState;
use engine::swarm::{Engine, EngineError};
use engine::wait::Deadline;
use ground::name::{Domain, NameError, RecipeName, RunId, Zone};
use ground::outcome::Residual;
use snapshot::Verified;

/// How long an undeploy may take; it is the janitor's limit for an orphan.
const UNDEPLOY_LIMIT: Duration = Duration::from_secs(120);

/// Why a warm app cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WarmError {
    /// Its record is no record.
    #[error("`{}` is not the record of a warm app: {reason}", path.display())]
    Garbled {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Its snapshot is not what was taken.
    #[error("the snapshot in `{}` is corrupt: {reason}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or directory of it cannot be read or written.
    #[error("failed to {doing} `{}`", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Something of the app would not go.
    #[error("the warm app {domain} would not be undeployed: {residual}")]
    Stuck {
        /// The app.
        domain: String,
        /// What is left.
        residual: Residual,
    },
    /// What was put back is not what the snapshot has.
    #[error("volume `{volume}` does not hold what the snapshot has, after it was put back")]
    NotRestored {
        /// Which volume.
        volume: String,
    },
    /// It has data that is not its own.
    #[error("{reason}: a warm app keeps only data of its own")]
    NotOwn {
        /// Which volume, and why.
        reason: String,
    },
    /// A secret is gone whose value cannot be read back.
    #[error("secret `{name}` of the warm app is gone")]
    SecretGone {
        /// Its full name.
        name: String,
    },
    /// The lock failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The recipe cannot have one.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl WarmError {
    pub(crate) fn io(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Garbled { path, .. } => format!(
                "nothing was touched; look at it, then remove `{}` to start without a canonical",
                path.parent().unwrap_or(path).display()
            ),
            Self::NotOwn { .. } => "run it without --quick, and do not enroll it".to_owned(),
            Self::Corrupt { .. } | Self::NotRestored { .. } | Self::SecretGone { .. } => {
                "the next green cold run of a release makes a new canonical".to_owned()
            }
            Self::Io { doing: "read", .. } => {
                "nothing was given up; make it readable for this user, or choose another place with CCCI_WARM_DIR"
                    .to_owned()
            }
            Self::Io { .. } => {
                "make it writable for this user, make room, or choose another place with CCCI_WARM_DIR"
                    .to_owned()
            }
            Self::Engine(_) | Self::Stuck { .. } | Self::Lock(_) => {
                "`recipe-ci doctor` says what is wrong with this host".to_owned()
            }
            Self::Name(_) => "run it without --quick".to_owned(),
        }
    }

    /// Returns whether another snapshot would help: the record is sound, its data is not.
    #[must_use]
    pub fn is_lost_data(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. }
                | Self::NotRestored { .. }
                | Self::NotOwn { .. }
                | Self::SecretGone { .. }
        )
    }
}

/// A recipe's warm app, owned: no other process touches it while this lives.
#[derive(Debug, Clone)]
pub struct WarmApp {
    /// Its record.
    pub place: WarmDir,
    /// Proof that it is ours.
    pub lock: Rc<DomainLock>,
    pub(crate) engine: Engine,
    pub(crate) host: HostDirs,
}

impl WarmApp {
    /// Returns the warm app whose lock is `lock`.
    #[must_use]
    pub fn new(
        engine: &Engine,
        host: &HostDirs,
        recipe: &RecipeName,
        lock: Rc<DomainLock>,
    ) -> Self {
        Self {
            place: WarmDir::of(host, recipe),
            lock,
            engine: engine.clone(),
            host: host.clone(),
        }
    }

    /// Brings the app to rest after whatever the last holder of its lock died of; returns its record and its
    /// snapshot, whose checksums have been compared.
    ///
    /// Nothing of it is deployed afterwards. Its data is the snapshot's, or, when the status is `used`, what a
    /// passed quick run left. `None` means that there is no canonical, and nothing of an app either where the
    /// last holder died while it made the first one.
    ///
    /// # Errors
    /// [`WarmError`]; the record is as it was, so that the next holder tries again.
    pub async fn recover(&self) -> Result<Option<(Canonical, Verified)>, WarmError> {
        let Some(canonical) = self.place.read()? else {
            return Ok(None);
        };
        self.check_domain(&canonical)?;
        match canonical.status {
            Status::Making => {
                self.discard().await?;
                Ok(None)
            }
            Status::Busy => {
                let (canonical, snapshot) = self.restore(canonical).await?;
                Ok(Some((canonical, snapshot)))
            }
            Status::Idle | Status::Used => {
                // It was undeployed before the record said so, and a deploy of it writes `busy` first.
                let snapshot = self.undeployed(&canonical, DeployerState::Done).await?;
                self.place.sweep(Some(&canonical))?;
                Ok(Some((canonical, snapshot)))
            }
        }
    }

    /// Undeploys the app while the checksums of its snapshot are compared.
    ///
    /// It is undeployed whatever they are, so that a canonical whose snapshot is corrupt is at rest, too.
    async fn undeployed(
        &self,
        canonical: &Canonical,
        maker: DeployerState,
    ) -> Result<Verified, WarmError> {
        let (undeployed, snapshot) =
            futures_util::join!(self.undeploy(maker), self.verified(canonical));
        // What is deployed would write into what is put back.
        undeployed?;
        snapshot
    }

    /// Undeploys the app and puts its last good data back, however its last user ended: what
    /// the engine still makes for them would write into that data.
    async fn restore(&self, canonical: Canonical) -> Result<(Canonical, Verified), WarmError> {
        let snapshot = self.undeployed(&canonical, DeployerState::CutOff).await?;
        self.put_back(&canonical, &snapshot).await?;
        self.place.sweep(Some(&canonical))?;
        let canonical = self.rest(canonical, Status::Idle)?;
        Ok((canonical, snapshot))
    }

    fn check_domain(&self, canonical: &Canonical) -> Result<(), WarmError> {
        if canonical.domain == self.lock.domain().as_str() {
            return Ok(());
        }
        Err(WarmError::Garbled {
            path: self.place.record(),
            reason: format!(
                "it is of the app {}, and the zone makes it {}",
                canonical.domain,
                self.lock.domain()
            ),
        })
    }

    /// Announces that the app is about to change, and makes its data the snapshot's if it is not.
    ///
    /// The app and its `snapshot` are as [`Self::recover`] returned them, with the lock held ever since.
    ///
    /// # Errors
    /// [`WarmError`].
    pub async fn begin(
        &self,
        canonical: Canonical,
        snapshot: &Verified,
    ) -> Result<Canonical, WarmError> {
        let used = canonical.status == Status::Used;
        let canonical = self.rest(canonical, Status::Busy)?;
        if used {
            self.put_back(&canonical, snapshot).await?;
        }
        Ok(canonical)
    }

    /// Undeploys the app and verifies by listing that only volumes and secrets are left.
    ///
    /// # Errors
    /// [`WarmError::Stuck`] when something would not go.
    pub async fn undeploy(&self, maker: DeployerState) -> Result<(), WarmError> {
        let deadline = Deadline::after(UNDEPLOY_LIMIT);
        let removal = app::undeploy(&self.engine, &self.host, &self.lock, maker, deadline).await?;
        self.none_left(removal.residual)
    }

    fn none_left(&self, residual: Residual) -> Result<(), WarmError> {
        if residual.is_empty() {
            return Ok(());
        }
        Err(WarmError::Stuck {
            domain: self.lock.domain().to_string(),
            residual,
        })
    }

    /// Ends a quick run: with `keep`, which means that it passed, its data stays until the next one, else the
    /// snapshot is put back.
    ///
    /// Its checksums are compared again: a run is long, and has had tests of a recipe on this host.
    ///
    /// # Errors
    /// [`WarmError`]; the record still says `busy` then.
    pub async fn settle(&self, canonical: Canonical, keep: bool) -> Result<Canonical, WarmError> {
        if keep {
            self.undeploy(DeployerState::Done).await?;
            return self.rest(canonical, Status::Used);
        }
        let (canonical, _) = self.restore(canonical).await?;
        Ok(canonical)
    }

    /// Removes the app and its record: nothing of it was good.
    ///
    /// # Errors
    /// [`WarmError`].
    pub async fn discard(&self) -> Result<(), WarmError> {
        let deadline = Deadline::after(UNDEPLOY_LIMIT);
        let removal = app::remove(
            &self.engine,
            &self.host,
            &self.lock,
            DeployerState::CutOff,
            deadline,
        )
        .await?;
        self.none_left(removal.residual)?;
        self.place.forget()
    }

    fn rest(&self, mut canonical: Canonical, status: Status) -> Result<Canonical, WarmError> {
        canonical.status = status;
        self.place.write(&canonical)?;
        Ok(canonical)
    }
}

/// What became of a warm app whose last user may have died.
#[derive(Debug)]
pub enum Recovered {
    /// Its last holder had died; it is at rest again.
    Yes,
    /// There was nothing to do.
    AtRest,
    /// A live process holds it.
    Live,
    /// It could not be brought to rest.
    Failed(WarmError),
}

/// Brings the warm app of `recipe` to rest if its last holder died. Takes its lock for that, if it is free.
/// With `dry_run` nothing is changed.
pub async fn recover(
    engine: &Engine,
    host: &HostDirs,
    zone: &Zone,
    recipe: &RecipeName,
    run: &RunId,
    dry_run: bool,
) -> Recovered {
    let work = async {
        let unfinished = |canonical: &Canonical| canonical.status.is_unfinished();
        let Some(canonical) = WarmDir::of(host, recipe).read()?.filter(unfinished) else {
            return Ok(Recovered::AtRest);
        };
        let domain = Domain::warm(recipe, zone)?;
        if is_of_another_zone(&canonical, &domain) {
            return Ok(Recovered::AtRest);
        }
        if dry_run {
            return Ok(match DomainLock::probe(host, &domain)? {
                Probe::Free => Recovered::Yes,
                Probe::Held { .. } => Recovered::Live,
            });
        }
        let lock = match DomainLock::try_acquire(host, &domain, run)? {
            Attempt::Acquired(lock) => lock,
            Attempt::Held { .. } => return Ok(Recovered::Live),
        };
        let app = WarmApp::new(engine, host, recipe, Rc::new(lock));
        app.recover().await?;
        Ok(Recovered::Yes)
    };
    work.await.unwrap_or_else(Recovered::Failed)
}

/// Returns whether a record is of the same warm app in another zone, as its label says: zones share this directory
/// unless they are told not to, and an app is for the janitor of its own zone, whose lock is another.
fn is_of_another_zone(canonical: &Canonical, domain: &Domain) -> bool {
    let label = |domain: &str| domain.split_once('.').map(|(label, _)| label.to_owned());
    canonical.domain != domain.as_str() && label(&canonical.domain) == label(domain.as_str())
}

/// Looks through every record of the host, and brings those to rest whose last holder died.
///
/// Apps are found by their records and never by their names. What cannot be read is a finding, too.
///
/// # Errors
/// [`WarmError::Io`] when the directory is there and cannot be read.
pub async fn recover_all(
    engine: &Engine,
    host: &HostDirs,
    zone: &Zone,
    run: &RunId,
    dry_run: bool,
) -> Result<Vec<(String, Recovered)>, WarmError> {
    let entries = match ground::host_file::entries(&host.warm) {
        Ok(entries) => entries,
        // A host that never had a canonical.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(WarmError::io("read", &host.warm)(error)),
    };
    let mut findings = Vec::new();
    for entry in entries {
        let entry = entry.map_err(WarmError::io("read", &host.warm))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(recipe) = name.parse::<RecipeName>() else {
            continue;
        };
        match recover(engine, host, zone, &recipe, run, dry_run).await {
            Recovered::AtRest => {}
            finding => findings.push((name, finding)),
        }
    }
    findings.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use canonical::SnapshotRef;
    use engine::swarm::testing::late;
    use ground::git::commit::CommitId;

    #[tokio::test(flavor = "current_thread")]
    async fn an_unfinished_warm_app_of_another_zone_is_left_to_its_janitor() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::with_locks(root.path());
        let engine = Engine::gone(root.path());
        let recipe: RecipeName = "notes".parse().unwrap();
        let place = WarmDir::of(&host, &recipe);
        let record = |domain: &str| {
            // It is `making`.
            let canonical =
                Canonical::new(&recipe, "0.1.0+1", CommitId::sample('a'), domain, "default");
            place.write(&canonical).unwrap();
        };
        let ours: Zone = "ci.ours".parse().unwrap();
        let run = "7".parse().unwrap();
        let sweep = async |dry_run| {
            recover_all(&engine, &host, &ours, &run, dry_run)
                .await
                .unwrap()
        };
        record("warm-notes.ci.theirs");
        for dry_run in [false, true] {
            let found = sweep(dry_run).await;
            assert!(found.is_empty(), "{found:?}");
        }
        assert_eq!(ground::host_file::entries(&host.locks).unwrap().count(), 0);
        // What is no name of this warm app at all is not passed over, nor is our own.
        record("notes.ci.theirs");
        assert!(matches!(
            &sweep(false).await[..],
            [(_, Recovered::Failed(WarmError::Garbled { .. }))]
        ));
        record("warm-notes.ci.ours");
        assert!(matches!(
            &sweep(false).await[..],
            [(_, Recovered::Failed(WarmError::Engine(_)))]
        ));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_unfinished_warm_app_that_somebody_holds_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::with_locks(root.path());
        // Whatever is done to the app begins with the engine, which would fail.
        let engine = Engine::gone(root.path());
        let (recipe, zone): (RecipeName, Zone) = ("notes".parse().unwrap(), "z".parse().unwrap());
        let domain = Domain::warm(&recipe, &zone).unwrap();
        let place = WarmDir::of(&host, &recipe);
        let canonical = Canonical::new(
            &recipe,
            "0.1.0+1",
            CommitId::sample('a'),
            domain.as_str(),
            "default",
        );
        place.write(&canonical).unwrap();
        let run = "7".parse().unwrap();
        let recover = async |dry_run| recover(&engine, &host, &zone, &recipe, &run, dry_run).await;
        let lock = DomainLock::acquire(&host, &domain, &run).await.unwrap();
        for dry_run in [true, false] {
            let found = recover(dry_run).await;
            assert!(matches!(found, Recovered::Live), "{dry_run}: {found:?}");
            assert_eq!(place.read().unwrap().as_ref(), Some(&canonical));
        }
        drop(lock);
        assert!(matches!(recover(true).await, Recovered::Yes));
        assert!(matches!(recover(false).await, Recovered::Failed(_)));
    }

    /// The data is put back afterwards, and what the engine makes then would write into it.
    #[tokio::test(flavor = "current_thread")]
    async fn what_the_engine_still_makes_for_who_died_at_the_app_is_gone_before_its_data_is_put_back()
     {
        for by in ["recover", "settle"] {
            let root = tempfile::tempdir().unwrap();
            let host = HostDirs::with_locks(root.path());
            let recipe: RecipeName = "notes".parse().unwrap();
            let domain = Domain::warm(&recipe, &"z".parse().unwrap()).unwrap();
            let (engine, removed) = late(root.path(), domain.stack());
            let run = "7".parse().unwrap();
            let lock = DomainLock::acquire(&host, &domain, &run).await.unwrap();
            let app = WarmApp::new(&engine, &host, &recipe, Rc::new(lock));
            let mut canonical = Canonical::new(
                &recipe,
                "0.1.0+1",
                CommitId::sample('a'),
                domain.as_str(),
                "default",
            );
            canonical.status = Status::Busy;
            app.place.make().unwrap();
            canonical.snapshot = Some(SnapshotRef {
                dir: app.place.new_snapshot().unwrap(),
                sha256: String::new(),
            });
            app.place.write(&canonical).unwrap();
            // The snapshot is empty, which is said when the app has been undeployed.
            let error = match by {
                "recover" => app.recover().await.map(drop),
                _ => app.settle(canonical, false).await.map(drop),
            };
            let error = error.unwrap_err();
            assert!(matches!(error, WarmError::Corrupt { .. }), "{by}: {error}");
            let removed = removed.load(std::sync::atomic::Ordering::SeqCst);
            assert!(removed, "{by}: it came after two empty listings");
        }
    }
}
