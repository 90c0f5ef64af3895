//! The driver that has abra do it.
//!
//! abra works in a directory of its own within the run, with its own checkout of the recipe, because it moves
//! checkouts; the head's tree, which everything else reads, stays where it is. The checkout is set to the exact
//! version before and after whatever may have moved it, and what was deployed is read back from the labels.

mod secrets;

use std::path::{Path, PathBuf};

use super::backup::{self, AppSnapshot, Fault};
use super::readback::{self, Deployer};
use super::stack::{HostTraits, Stamp, tag_of};
use super::{DriverError, Site};
use crate::abra::{Abra, AbraError, Deploy};
use engine::lock::DomainLock;
use engine::swarm::object::{Belongings, Kind};
use engine::swarm::service::{StackState, UpdateState};
use ground::git::commit::CommitId;
use ground::git::{GitError, checkout, snapshot, tags};
use ground::host_file;
use ground::name::{RecipeName, StackName};
use recipe::backup::BackupPlan;
use recipe::compose::model::PortMode;
use recipe::compose::render::without_ipvs;
use recipe::release::Release;

/// The directory below `ABRA_DIR` for compose files that the harness adds.
const OVERLAYS: &str = "overlays";

/// The driver.
#[derive(Debug, Clone)]
pub struct AbraDriver {
    /// Where it deploys.
    pub site: Site,
    /// The command line.
    pub abra: Abra,
    /// The recipe's name.
    pub recipe: RecipeName,
    /// The head's tree, a repository that never moves.
    pub repository: PathBuf,
}

/// Returns why no version of the recipe at `repository` can be deployed as published, if that is so.
///
/// A tag without an object of its own fails abra's lint, wherever in the repository it is.
///
/// # Errors
/// [`GitError`] when the tags cannot be read.
pub(super) async fn why_chaos_is_needed(repository: &Path) -> Result<Option<String>, GitError> {
    let path = repository.to_owned();
    let listed = match tokio::task::spawn_blocking(move || tags::tags(&path)).await {
        Ok(listed) => listed?,
        Err(error) => {
            let failed = std::io::Error::other(error);
            return Err(GitError::io("list the tags of", repository)(failed));
        }
    };
    let lightweight = listed.into_iter().find(|tag| !tag.annotated);
    Ok(lightweight.map(|tag| {
        format!(
            "tag {} is lightweight, which abra's lint refuses: published versions are deployed by chaos",
            tag.name
        )
    }))
}

/// What a granted source has where abra deploys it, and would not have otherwise.
pub(super) const WITHOUT_CEILINGS: &str = "abra deploys the recipe's own files: ceilings are not filled in, and ports, labels and raw sockets that no grant lists are not left out";

/// Returns what `release` is deployed with that it does not say itself, as far as it is known before.
///
/// # Errors
/// [`GitError`] when the tags cannot be read.
pub(super) async fn deviations(
    traits: HostTraits,
    release: &Release,
    pinned: Option<&Path>,
) -> Result<Vec<String>, GitError> {
    let mut lines = Vec::new();
    if !traits.ipvs {
        lines
            .push("kernel without IPVS: services are deployed with endpoint_mode dnsrr".to_owned());
        let services = release.project.services.iter();
        if services
            .flat_map(|service| &service.ports)
            .any(|port| port.mode != PortMode::Host)
        {
            lines.push("kernel without IPVS: published ports are deployed in host mode".to_owned());
        }
    }
    if let Some(repository) = pinned {
        lines.extend(why_chaos_is_needed(repository).await?);
    }
    Ok(lines)
}

impl AbraDriver {
    /// Has abra make the app, then puts checkout and env file right.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn new_app(&self, lock: &DomainLock, release: &Release) -> Result<(), DriverError> {
        self.place(release).await?;
        let (recipe, domain) = (self.recipe.as_str(), lock.domain().as_str());
        let made = self.abra.app_new(recipe, domain, &self.site.server).await;
        let made = made.map_err(|error| self.refused(error))?;
        // Only there is it found by the janitor and by operators.
        let canonical = self.site.host.env_file(&self.site.server, lock.domain());
        if !canonical.is_file() {
            return Err(DriverError::Abra(AbraError::Hollow {
                call: "app new",
                what: format!(
                    "it replaced the link `{}` instead of writing `{}` through it",
                    made.display(),
                    canonical.display()
                ),
            }));
        }
        // abra leaves the checkout at the newest published version.
        self.prepare(lock, release).await
    }

    /// Has abra deploy: the published version of `stamp`, or the checkout by chaos.
    ///
    /// A published version that abra refuses for its form alone (lint) is deployed by chaos, as an operator would
    /// have to; that is what is returned.
    ///
    /// # Errors
    /// [`DriverError::Refused`].
    pub async fn deploy(
        &self,
        lock: &DomainLock,
        release: &Release,
        stamp: &Stamp,
    ) -> Result<Option<String>, DriverError> {
        self.prepare(lock, release).await?;
        self.site.count_deploy();
        let stack = lock.domain().stack();
        let first = self
            .site
            .engine
            .stack_state(&stack)
            .await?
            .services
            .is_empty();
        let domain = lock.domain().as_str();
        let pinned = match (&stamp.version, stamp.chaos) {
            (Some(version), false) if why_chaos_is_needed(&self.repository).await?.is_none() => {
                Some(version.as_str())
            }
            _ => None,
        };
        let what = pinned.map_or(Deploy::Chaos, Deploy::Pinned);
        let mut remark = None;
        let mut chaos = pinned.is_none();
        match self.abra.app_deploy(domain, what).await {
            Ok(()) => {}
            Err(error) if pinned.is_some() && error.is_lint() => {
                remark = Some(format!("{error}: it is deployed by chaos"));
                chaos = true;
                self.prepare(lock, release).await?;
                let again = self.abra.app_deploy(domain, Deploy::Chaos).await;
                self.judge(again).await?;
            }
            other => self.judge(other).await?,
        }
        let state = self.site.engine.stack_state(&stack).await?;
        // An upgrade is judged by its tier, which knows what a rollback looks like.
        if first {
            let version = if chaos {
                None
            } else {
                stamp.version.as_deref()
            };
            check_version(&state, stack.as_str(), release, version).map_err(|what| {
                DriverError::Abra(AbraError::Hollow {
                    call: "app deploy",
                    what,
                })
            })?;
        }
        self.prune(lock, release).await?;
        self.read_back(&stack, release, stamp).await?;
        Ok(remark)
    }

    /// Holds what abra made against the resolved project. Of a service that Swarm rolls back the spec is the one from
    /// before, and its tier says so.
    async fn read_back(
        &self,
        stack: &StackName,
        release: &Release,
        stamp: &Stamp,
    ) -> Result<(), DriverError> {
        let state = self.site.engine.stack_state(stack).await?;
        let rolls_back =
            |update| matches!(update, UpdateState::RollingBack | UpdateState::RolledBack);
        if state.services.values().any(|one| rolls_back(one.update)) {
            return Ok(());
        }
        let resolved = self.site.means.unjudged(release, stack, stamp)?;
        let there = self.site.engine.stack_spec(stack).await?;
        match readback::difference(&resolved, stack, &there, Deployer::Abra) {
            None => Ok(()),
            Some(difference) => Err(DriverError::Otherwise {
                client: "abra app deploy",
                difference,
            }),
        }
    }

    /// An engine that is gone is not the recipe's fault; ask it.
    async fn judge(&self, deployed: Result<(), AbraError>) -> Result<(), DriverError> {
        match deployed {
            Ok(()) => Ok(()),
            Err(error) => {
                self.site.engine.info().await?;
                Err(self.refused(error))
            }
        }
    }

    /// abra deploys without pruning: services that the release does not have would stay.
    async fn prune(&self, lock: &DomainLock, release: &Release) -> Result<(), DriverError> {
        let stack = lock.domain().stack();
        let prefix = format!("{stack}_");
        let app = Belongings::of(stack);
        for object in self.site.engine.objects_of(&app).await? {
            let Some(name) = object
                .name
                .strip_prefix(&prefix)
                .filter(|_| object.kind == Kind::Service)
            else {
                continue;
            };
            if release.project.service(name).is_none() {
                self.site.engine.remove(&object).await?;
            }
        }
        Ok(())
    }

    /// Has the backup bot save the app, and takes the archive apart.
    ///
    /// # Errors
    /// [`DriverError`] when abra or the disk fails; what is the recipe's is a [`Fault`].
    pub async fn back_up(
        &self,
        lock: &DomainLock,
        state: &StackState,
        plan: &BackupPlan,
    ) -> Result<Result<AppSnapshot, Fault>, DriverError> {
        let domain = lock.domain().as_str();
        let failed = |error| DriverError::Abra(error);
        let before = self.abra.backup_snapshots(domain).await.map_err(failed)?;
        let said = match self.abra.backup_create(domain).await {
            Ok(said) => said,
            Err(error) => return self.fault(error),
        };
        if let Some(line) = crate::abra::bot_error(&said) {
            return Ok(Err(Fault {
                reason: format!("a hook or the copy failed, though abra went on: {line}"),
                tail: said,
            }));
        }
        let after = self.abra.backup_snapshots(domain).await.map_err(failed)?;
        let Some(id) = after.into_iter().find(|id| !before.contains(id)) else {
            return Ok(Err(Fault {
                reason: "abra said that it saved the app, and there is no new snapshot".to_owned(),
                tail: said,
            }));
        };
        let dir = self.site.dirs.backups.clone();
        let archive = match self.abra.backup_download(domain, &id, &dir).await {
            Ok(archive) => archive,
            Err(error) if error.is_not_there() => {
                return Ok(Ok(AppSnapshot::sealed(id, error.to_string())));
            }
            Err(error) => return Err(failed(error)),
        };
        let wanted = backup::wanted(plan, state, lock.domain().stack().as_str());
        let unpacked =
            tokio::task::spawn_blocking(move || backup::unpack(&archive, &dir, wanted)).await;
        match unpacked
            .map_err(std::io::Error::other)
            .and_then(|parts| parts)
        {
            Ok(Ok(parts)) => Ok(Ok(AppSnapshot {
                id,
                parts,
                sealed: None,
            })),
            Ok(Err(fault)) => Ok(Err(fault)),
            Err(error) => Ok(Err(Fault {
                reason: format!("the archive is not readable: {error}"),
                tail: Vec::new(),
            })),
        }
    }

    /// Has the backup bot put the newest snapshot back.
    ///
    /// # Errors
    /// As [`AbraDriver::back_up`].
    pub async fn restore(&self, lock: &DomainLock) -> Result<Result<(), Fault>, DriverError> {
        let said = match self.abra.restore(lock.domain().as_str()).await {
            Ok(said) => said,
            Err(error) => return self.fault(error),
        };
        Ok(match crate::abra::bot_error(&said) {
            None => Ok(()),
            Some(line) => Err(Fault {
                reason: format!("a hook or the copy failed, though abra went on: {line}"),
                tail: said.clone(),
            }),
        })
    }

    fn fault<T>(&self, error: AbraError) -> Result<Result<T, Fault>, DriverError> {
        match error {
            AbraError::Fatal { ref tail, .. } if error.is_refusal() => Ok(Err(Fault {
                reason: error.to_string(),
                tail: tail.clone(),
            })),
            error => Err(DriverError::Abra(error)),
        }
    }

    fn refused(&self, error: AbraError) -> DriverError {
        match error {
            AbraError::Fatal {
                call,
                ref line,
                ref tail,
            } if error.is_refusal() => DriverError::Refused {
                client: format!("abra {call}"),
                reason: line.clone(),
                tail: tail.clone(),
            },
            error => DriverError::Abra(error),
        }
    }

    /// Sets checkout and env file to `release`.
    async fn prepare(&self, lock: &DomainLock, release: &Release) -> Result<(), DriverError> {
        self.place(release).await?;
        let mut env = release.env.clone();
        // A version behind the name, which abra writes there, would decide what later commands check out.
        env.set("TYPE", self.recipe.as_str());
        if let Some(files) = self.compose_files(release)? {
            env.set("COMPOSE_FILE", &files);
        }
        let path = self.site.host.env_file(&self.site.server, lock.domain());
        self.site.write(&path, env.to_string().as_bytes())
    }

    /// Makes abra's checkout exactly what `release` is: the head with everything uncommitted, or a commit.
    async fn place(&self, release: &Release) -> Result<(), DriverError> {
        let commit = (release.root != self.repository).then_some(release.commit);
        place(&self.abra.dir, &self.recipe, &self.repository, commit).await
    }

    /// Returns what `COMPOSE_FILE` must say where files have to be added; they lie outside of the checkout, so
    /// that it stays clean.
    fn compose_files(&self, release: &Release) -> Result<Option<String>, DriverError> {
        let traits = self.site.means.traits;
        let mut files = Vec::new();
        let mut added = false;
        for file in &release.project.files {
            let path = Path::new(file);
            if path.is_absolute() {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let copy = self.abra.dir.join(OVERLAYS).join(&*name);
                let text = host_file::bytes(path).map_err(|source| DriverError::Write {
                    path: path.to_owned(),
                    source,
                })?;
                self.site.write(&copy, &text)?;
                files.push(format!("../../{OVERLAYS}/{name}"));
                added = true;
            } else {
                files.push(file.clone());
            }
        }
        if !traits.ipvs {
            let name = format!("no-ipvs-{}.json", tag_of(release));
            let value = without_ipvs(&release.project);
            let path = self.abra.dir.join(OVERLAYS).join(&name);
            self.site.write(&path, value.to_string().as_bytes())?;
            files.push(format!("../../{OVERLAYS}/{name}"));
            added = true;
        }
        Ok(added.then(|| files.join(":")))
    }
}

/// Makes abra's checkout of `recipe` below its `dir` anew: a copy of `repository` with everything uncommitted,
/// or of its `commit`.
///
/// # Errors
/// [`DriverError::Write`] or [`DriverError::Git`] when it cannot be made.
pub(super) async fn place(
    dir: &Path,
    recipe: &RecipeName,
    repository: &Path,
    commit: Option<CommitId>,
) -> Result<(), DriverError> {
    let copy = dir.join("recipes").join(recipe.as_str());
    let repository = repository.to_owned();
    let work = move || -> Result<(), DriverError> {
        match std::fs::remove_dir_all(&copy) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(DriverError::Write { path: copy, source });
            }
            _ => {}
        }
        snapshot::copy_tree(&repository, &copy)?;
        if let Some(commit) = commit {
            checkout::checkout(&copy, &commit.to_string())?;
        }
        Ok(())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(DriverError::Write {
            path: dir.to_owned(),
            source: std::io::Error::other(error),
        }),
    }
}

/// Has abra take the app's services down, if it has any.
///
/// # Errors
/// [`AbraError`], but not for an app that is not deployed, of which abra makes an error.
pub(super) async fn undeploy(abra: &Abra, lock: &DomainLock) -> Result<(), AbraError> {
    match abra.app_undeploy(lock.domain().as_str()).await {
        Err(AbraError::Fatal { line, .. })
            if line.contains("not deployed") || line.contains("cannot find app") =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Holds the labels of a first deploy against what it should have been: `version` of a published one, else the
/// release's commit.
fn check_version(
    state: &StackState,
    stack: &str,
    release: &Release,
    version: Option<&str>,
) -> Result<(), String> {
    let label = |name: &str| {
        let key = format!("coop-cloud.{stack}.{name}");
        let services = state.services.values();
        services
            .into_iter()
            .find_map(|service| service.labels.get(&key))
            .map_or("", String::as_str)
    };
    let (name, wanted, holds) = match version {
        Some(version) => ("version", version.to_owned(), label("version") == version),
        None => (
            "chaos-version",
            release.commit.short(),
            release.is_chaos_version(label("chaos-version")),
        ),
    };
    if holds {
        return Ok(());
    }
    Err(format!(
        "label {name} is `{}` where `{wanted}` was to be deployed",
        label(name)
    ))
}
