//! The recipe's warm app in a run: a quick run works on it, a promotion makes its data the canonical.

use std::rc::Rc;

use super::context::Context;
use super::error::RunError;
use super::fetched::Subject;
use super::locks::wait_for_lock;
use super::settings::{Bases, Settings};
use crate::driver::Chosen;
use crate::lifetime::Note;
use crate::tier::Bench;
use crate::warm::canonical::Canonical;
use crate::warm::snapshot::Snapshot;
use crate::warm::{WarmApp, WarmError};
use engine::swarm::Engine;
use ground::name::Domain;
use ground::outcome::Stage;
use recipe::secret::{self, SecretSpec};

/// A canonical with what its app has.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) canonical: Canonical,
    pub(super) env: String,
    pub(super) secret_values: Vec<String>,
}

impl Kept {
    /// Returns `canonical` with what `snapshot` has of it.
    ///
    /// # Errors
    /// [`WarmError`] when the snapshot is not what was taken.
    pub(super) fn of(canonical: &Canonical, snapshot: &Snapshot) -> Result<Self, WarmError> {
        Ok(Self {
            canonical: canonical.clone(),
            env: snapshot.env()?,
            secret_values: snapshot.secret_values(),
        })
    }

    /// Returns whether what was judged over this holds over `other`.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let key = |kept: &Self| {
            let Canonical {
                version, commit, ..
            } = &kept.canonical;
            (version.clone(), *commit, kept.env.clone())
        };
        key(self) == key(other)
    }
}

impl From<WarmError> for RunError {
    fn from(error: WarmError) -> Self {
        let hints = vec![error.advice()];
        let theirs = match &error {
            WarmError::Io { source, .. } => engine::dirs::is_usage(source),
            WarmError::Name(_) => true,
            _ => false,
        };
        let error = error.into();
        if theirs {
            Self::Usage { error, hints }
        } else {
            Self::Infra { error, hints }
        }
    }
}

/// Returns the driver of warm apps: the embedded one, because only it deploys onto kept volumes and secrets.
pub(super) fn embedded() -> Chosen {
    Chosen::embedded("warm apps are deployed by the embedded driver")
}

/// Returns the context of the warm app at `domain`, for these stages: an upgrade of what is kept, with the env file that
/// it has, so that secrets keep the versions that the data was made with; a new app where nothing is kept.
pub(super) fn context<'a>(
    run: &Context<'a>,
    domain: &Domain,
    stages: Vec<Stage>,
    kept: Option<&Kept>,
) -> Context<'a> {
    let settings = Settings {
        domain: domain.clone(),
        stages,
        base: kept.map(|kept| kept.canonical.version.clone()),
        bases: Bases::One,
        ..Settings::clone(&run.settings)
    };
    Context {
        settings: Rc::new(settings),
        subject: match kept {
            Some(kept) => Subject::Upgrade {
                env: kept.env.clone(),
            },
            None => Subject::Proposal,
        },
        ..run.clone()
    }
}

/// Waits for the lock of the warm app at `domain`.
///
/// # Errors
/// [`RunError`] when it cannot be had.
pub(super) async fn lock(
    run: &Context<'_>,
    engine: &Engine,
    domain: &Domain,
) -> Result<WarmApp, RunError> {
    let lock = Rc::new(wait_for_lock(run, domain).await?);
    let settings = &run.settings;
    run.notes.borrow_mut().tell(&Note::Warm {
        recipe: settings.recipe.to_string(),
    });
    Ok(WarmApp::new(engine, &settings.host, &settings.recipe, lock))
}

/// Returns the secrets of the bench's release that the app has: those are never made again.
pub(super) fn kept_secrets(bench: &Bench, snapshot: &Snapshot) -> Vec<SecretSpec> {
    let release = &bench.current;
    let planned = secret::plan(&release.project, &release.env, &release.vars).unwrap_or_default();
    planned
        .into_iter()
        .filter(|spec| snapshot.meta.secrets.contains(&spec.full_name))
        .collect()
}
