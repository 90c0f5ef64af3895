//! Which driver deploys and why, and what a run that is planned for it must know.

use std::path::{Path, PathBuf};

use super::abra::{self, AbraDriver};
use super::stack::{HostTraits, StackDriver};
use super::{Driver, DriverError, Site};
use crate::abra::proof::{COMMAND, Proof};
use crate::abra::{Abra, AbraError};
use engine::dirs::HostDirs;
use engine::lock::DomainLock;
use engine::process::Processes;
use ground::git::GitError;
use ground::name::RecipeName;
use recipe::compose::pace::Pace;
use recipe::compose::shared::{Own, SharedNetwork};
use recipe::release::Release;
use recipe::trust::grant::GrantedDriver;
use recipe::trust::{Level, Trust};

/// Which driver was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// abra where the one on `PATH` has kept its contract on this host (`doctor --abra`), else the embedded one.
    #[default]
    Auto,
    /// The embedded one.
    Stack,
    /// abra, or nothing.
    Abra,
}

/// A driver that was chosen, and why.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// abra, unless the embedded driver was chosen.
    abra: Option<Abra>,
    /// Why, for the report.
    pub reason: String,
}

/// abra was asked for, for a source that is not granted it.
#[derive(Debug, thiserror::Error)]
#[error("this source may not be deployed by abra, which deploys what was not judged")]
pub struct NotGranted;

/// Chooses the driver of a run on `host`. `dir` is the `ABRA_DIR` that abra would get.
///
/// # Errors
/// [`AbraError`] when abra was asked for and does not answer.
pub async fn choose(
    choice: Choice,
    processes: &Processes,
    host: &HostDirs,
    dir: &Path,
    docker_host: &str,
) -> Result<Chosen, AbraError> {
    if choice == Choice::Stack {
        return Ok(Chosen::embedded("asked for"));
    }
    match (Abra::find(processes, dir, docker_host).await, choice) {
        (Ok(abra), _) => {
            let place = format!("abra {} at {}", abra.version, abra.program.display());
            if choice == Choice::Abra {
                return Ok(Chosen::abra(abra, format!("asked for; {place}")));
            }
            let (state, program) = (host.state.clone(), abra.program.clone());
            let version = abra.version.clone();
            // Hashing a program of 100 MB takes a tenth of a second and more.
            let lacks = move || Proof::lacks(&state, &program, &version);
            let lacks = tokio::task::spawn_blocking(lacks).await;
            Ok(match lacks.expect("the question does not panic") {
                None => Chosen::abra(abra, format!("{place}, which kept its contract here")),
                Some(why) => {
                    Chosen::embedded(format!("{place} is not used: {why}; `{COMMAND}` checks it"))
                }
            })
        }
        (Err(error), Choice::Abra) => Err(error),
        (Err(AbraError::Missing), _) => Ok(Chosen::embedded("no abra on PATH")),
        (Err(error), _) => Ok(Chosen::embedded(format!("abra is not used: {error}"))),
    }
}

impl Chosen {
    fn abra(abra: Abra, reason: String) -> Self {
        Self {
            abra: Some(abra),
            reason,
        }
    }

    /// Returns the embedded driver, chosen for this reason.
    #[must_use]
    pub fn embedded(reason: impl Into<String>) -> Self {
        Self {
            abra: None,
            reason: reason.into(),
        }
    }

    /// Returns the choice for a source, which is another where it may not have the one that was chosen for the host.
    ///
    /// # Errors
    /// [`NotGranted`] when that one was `asked` for.
    pub fn for_source(self, asked: Choice, trust: &Trust) -> Result<Self, NotGranted> {
        if self.not_for(trust).is_none() {
            return Ok(self);
        }
        match asked {
            Choice::Abra => Err(NotGranted),
            _ => Ok(Self::embedded("abra is for sources that are granted it")),
        }
    }

    /// Returns why it is not for what is trusted so: abra reads a recipe's files on its own, so it deploys what was not
    /// judged.
    #[must_use]
    pub fn not_for(&self, trust: &Trust) -> Option<String> {
        let granted = || trust.allows(|grant| grant.driver == Some(GrantedDriver::Abra));
        (!self.deploys_what_was_judged() && !granted())
            .then(|| "abra, which deploys what was not judged, is not for it".to_owned())
    }

    /// Returns the driver's name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        if self.abra.is_some() { "abra" } else { "stack" }
    }

    /// Returns whether it deploys the judged project, and not the recipe's own files: only then do grants by name,
    /// ceilings and a network of the run's own have an effect.
    #[must_use]
    pub fn deploys_what_was_judged(&self) -> bool {
        self.abra.is_none()
    }

    /// Returns what becomes of the network that a recipe shares with the gateway, where it could be `own`.
    #[must_use]
    pub fn network(&self, own: Own) -> SharedNetwork {
        match &self.abra {
            None => SharedNetwork::Own(own),
            Some(_) => SharedNetwork::AsShipped,
        }
    }

    /// Returns how often containers are checked for health, where that could be `pace`.
    #[must_use]
    pub fn pace(&self, pace: Pace) -> Pace {
        match &self.abra {
            None => pace,
            Some(_) => Pace::AsShipped,
        }
    }

    /// Returns what `head` is deployed with that the recipe does not say. `judged` is what the judged project has more;
    /// `pinned` is its repository, where a published version of it is deployed, too.
    ///
    /// # Errors
    /// [`GitError`] when the tags cannot be read.
    pub async fn deviations(
        &self,
        judged: Vec<String>,
        traits: HostTraits,
        (head, level): (&Release, &Level),
        pinned: Option<&Path>,
    ) -> Result<Vec<String>, GitError> {
        if self.abra.is_none() {
            return Ok(judged);
        }
        let mut lines = abra::deviations(traits, head, pinned).await?;
        if matches!(level, Level::Granted(_)) {
            lines.push(abra::WITHOUT_CEILINGS.to_owned());
        }
        Ok(lines)
    }

    /// The same for a dependency, beside what is said of the app that needs it.
    ///
    /// # Errors
    /// As [`Chosen::deviations`].
    pub async fn deviations_of_dependency(
        &self,
        judged: Vec<String>,
        pinned: Option<&Path>,
    ) -> Result<Vec<String>, GitError> {
        match (&self.abra, pinned) {
            (None, _) => Ok(judged),
            (Some(_), None) => Ok(Vec::new()),
            (Some(_), Some(pinned)) => Ok(abra::why_chaos_is_needed(pinned)
                .await?
                .into_iter()
                .collect()),
        }
    }

    /// Returns the driver at its `site`, for `recipe`, whose head is the tree of `repository`.
    ///
    /// # Errors
    /// [`DriverError::Write`] when a directory that it needs cannot be made.
    pub fn driver(
        self,
        site: Site,
        recipe: &RecipeName,
        repository: PathBuf,
    ) -> Result<Driver, DriverError> {
        let Some(abra) = self.abra else {
            return Ok(Driver::Stack(Box::new(StackDriver { site })));
        };
        Ok(Driver::Abra(Box::new(AbraDriver {
            site,
            abra,
            recipe: recipe.clone(),
            repository,
        })))
    }

    /// Returns abra as it sees the whole host, where it deploys: it lists apps that have no trace elsewhere.
    #[must_use]
    pub fn lister(&self, host: &HostDirs) -> Option<Abra> {
        self.abra.as_ref().map(|abra| abra.at(&host.abra))
    }

    /// Has the driver take down the app of `lock`, where it does so its own way. What it leaves, and everything where it
    /// has no way of its own, is removed through the engine.
    ///
    /// # Errors
    /// [`AbraError`].
    pub async fn undeploy(&self, lock: &DomainLock) -> Result<(), AbraError> {
        match &self.abra {
            None => Ok(()),
            Some(abra) => abra::undeploy(abra, lock).await,
        }
    }
}
