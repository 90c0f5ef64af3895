//! Drivers turn a run's operations into actions on the Swarm; everything above them is the same.

pub mod abra;
pub mod backup;
mod choice;
pub mod opinion;
pub mod readback;
pub mod stack;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::abra::AbraError;
use crate::report::redact::Redactor;
use backup::{AppSnapshot, Fault, Room};
pub use choice::{Choice, Chosen, NotGranted, choose};
use engine::dirs::{DirsError, HostDirs, RunDirs};
use engine::lock::DomainLock;
use engine::process::{ProcessError, Processes};
use engine::record::write_private;
use engine::swarm::gateway::Gateway;
use engine::swarm::holder::OwnVolumes;
use engine::swarm::service::StackState;
use engine::swarm::{Engine, EngineError};
use ground::name::RecipeName;
use ground::pins::Pins;
use recipe::backup::BackupPlan;
use recipe::compose::ComposeError;
use recipe::compose::pace::Pace;
use recipe::release::Release;
use recipe::secret::{SecretError, SecretSpec};
use stack::{DeploySetup, StackDriver, Stamp};

/// Why an app could not be made or deployed.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The recipe was refused.
    #[error("`{client}` refused the recipe: {reason}{}", way_out(reason))]
    Refused {
        /// What refused it: `docker stack deploy`, `abra app deploy`.
        client: String,
        /// The line that explains it.
        reason: String,
        /// All that it said.
        tail: Vec<String>,
    },
    /// The policy of this host is against it.
    #[error(transparent)]
    Policy(#[from] recipe::policy::Refused),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The client could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// abra failed, and not because of the recipe.
    #[error(transparent)]
    Abra(AbraError),
    /// abra's checkout of the recipe cannot be put right.
    #[error(transparent)]
    Git(#[from] ground::git::GitError),
    /// A compose file cannot be rewritten.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The recipe's secrets cannot be made.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It cannot be written down what is about to be made.
    #[error(transparent)]
    Made(#[from] engine::made::MadeError),
    /// A secret with `generate=false` was not supplied.
    #[error("secret `{secret}` is `generate=false`, and no value was supplied")]
    NotSupplied {
        /// Its name.
        secret: String,
    },
    /// What the engine has is not what was to be deployed.
    #[error("what `{client}` made of the project is not what was planned: {difference}")]
    Otherwise {
        /// What deployed it.
        client: &'static str,
        /// How they differ.
        difference: String,
    },
    /// A directory of the run cannot be made.
    #[error(transparent)]
    Dirs(#[from] DirsError),
    /// A file of the run cannot be written.
    #[error("failed to write `{path}`")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Returns what to do about a refusal in whose words that is not said.
fn way_out(reason: &str) -> &'static str {
    // `UpdateConfig` and `UpdateSecret` in swarmkit's `manager/controlapi`.
    match reason.contains("only updates to Labels are allowed") {
        true => {
            "; a config or a secret keeps the content that it was made with, so a changed one needs a new name: count its \
             version up in abra.sh (`recipe-ci explain C002`)"
        }
        false => "",
    }
}

/// Where an app is deployed, and with what: the same for every driver.
#[derive(Debug, Clone)]
pub struct Site {
    /// The engine.
    pub engine: Engine,
    /// How programs are run.
    pub processes: Processes,
    /// The host's places.
    pub host: HostDirs,
    /// The run's places.
    pub dirs: RunDirs,
    /// abra's name of the server that apps are filed under.
    pub server: String,
    /// How releases are deployed here.
    pub means: DeploySetup,
    /// The gateway whose containers join a network of the app.
    pub gateway: Option<Gateway>,
    /// Values of secrets that may not be generated, by their name.
    pub supplied: BTreeMap<String, String>,
    /// Replaces secrets in everything that the run writes.
    pub redactor: Redactor,
    /// Values of the secrets that were made for the app, by their name.
    pub values: Rc<RefCell<BTreeMap<String, String>>>,
    /// How often a deploy of the app was asked for, to be held against what the run meant to do.
    pub deploys: Rc<Cell<u32>>,
}

impl Site {
    fn create_dir(&self, path: &Path) -> Result<(), DriverError> {
        fs::create_dir_all(path).map_err(|source| DriverError::Write {
            path: path.to_owned(),
            source,
        })
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), DriverError> {
        let failed = |source| DriverError::Write {
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            self.create_dir(parent)?;
        }
        write_private(path, content).map_err(failed)
    }

    /// Makes the env file of the app of `lock` known to abra and to tests, which find no other there.
    fn link_env_file(&self, lock: &DomainLock) -> Result<(), DirsError> {
        self.dirs
            .link_env_file(&self.host, &self.server, lock.domain())
    }

    /// Keeps the value of a secret out of all that the run says, and for those who have to know it. It comes before
    /// anything can print it.
    fn note_value(&self, secret: &str, value: &str) {
        self.redactor.add(value);
        let mut values = self.values.borrow_mut();
        values.insert(secret.replace('-', "_"), value.to_owned());
    }

    /// Returns the values of the secrets that were made for the app, by name, `-` as `_`.
    #[must_use]
    pub fn made_values(&self) -> BTreeMap<String, String> {
        self.values.borrow().clone()
    }

    fn count_deploy(&self) {
        self.deploys.set(self.deploys.get() + 1);
    }
}

/// What turns operations into actions.
#[derive(Debug, Clone)]
pub enum Driver {
    /// The embedded driver.
    Stack(Box<StackDriver>),
    /// abra.
    Abra(Box<abra::AbraDriver>),
}

impl Driver {
    /// Returns where it deploys.
    #[must_use]
    pub fn site(&self) -> &Site {
        match self {
            Self::Stack(driver) => &driver.site,
            Self::Abra(driver) => &driver.site,
        }
    }

    /// Sets how often containers are checked for health in what is deployed from now on. abra deploys the recipe's own
    /// files, which say it themselves.
    pub fn set_pace(&mut self, pace: Pace) {
        match self {
            Self::Stack(driver) => driver.site.means.pace = pace,
            Self::Abra(_) => {}
        }
    }

    /// Sets what images are deployed as from now on. abra deploys the recipe's own files, whose tags it resolves itself.
    pub fn set_pins(&mut self, pins: Pins) {
        match self {
            Self::Stack(driver) => driver.site.means.terms.pins = pins,
            Self::Abra(_) => {}
        }
    }

    /// Returns the driver for another app of the same run, that is deployed with `means`: `recipe` at the head of its
    /// checkout in `dirs`.
    #[must_use]
    pub fn for_app(&self, recipe: &RecipeName, dirs: &RunDirs, means: DeploySetup) -> Self {
        let mut driver = self.clone();
        let site = match &mut driver {
            Self::Stack(stack) => &mut stack.site,
            Self::Abra(abra) => &mut abra.site,
        };
        site.dirs = dirs.clone();
        site.means = means;
        site.values = Rc::default();
        site.deploys = Rc::default();
        match &mut driver {
            Self::Stack(_) => {}
            Self::Abra(abra) => {
                abra.repository = dirs.recipe(recipe.as_str());
                abra.recipe = recipe.clone();
            }
        }
        driver
    }

    /// Makes the app's env file.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn new_app(
        &self,
        lock: &DomainLock,
        release: &Release,
        stamp: &Stamp,
    ) -> Result<(), DriverError> {
        self.site().link_env_file(lock)?;
        match self {
            Self::Stack(driver) => driver.new_app(lock, release, stamp).map(drop),
            Self::Abra(driver) => driver.new_app(lock, release).await,
        }
    }

    /// Makes the secrets of `release` that the app does not have yet; returns all that it needs. `keep` gets
    /// every value before anything can print it.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn make_secrets(
        &self,
        lock: &DomainLock,
        release: &Release,
        have: &[SecretSpec],
    ) -> Result<Vec<SecretSpec>, DriverError> {
        match self {
            Self::Stack(driver) => driver.make_secrets(lock, release, have).await,
            Self::Abra(driver) => driver.make_secrets(lock, release, have).await,
        }
    }

    /// Deploys `release` over whatever the stack is now; services that it does not have are removed. Returns
    /// what was done otherwise than planned.
    ///
    /// # Errors
    /// [`DriverError::Refused`] when the recipe is not accepted.
    pub async fn deploy(
        &self,
        lock: &DomainLock,
        release: &Release,
        stamp: &Stamp,
    ) -> Result<Option<String>, DriverError> {
        self.site().link_env_file(lock)?;
        match self {
            Self::Stack(driver) => {
                driver.deploy(lock, release, stamp).await?;
                Ok(None)
            }
            Self::Abra(driver) => driver.deploy(lock, release, stamp).await,
        }
    }

    /// Notes the deployed version in the app's env file; abra has done so by itself.
    ///
    /// # Errors
    /// [`DriverError::Write`].
    pub fn note_version(
        &self,
        lock: &DomainLock,
        release: &Release,
        stamp: &Stamp,
    ) -> Result<(), DriverError> {
        match self {
            Self::Stack(driver) => driver.note_version(lock, release, stamp),
            Self::Abra(_) => Ok(()),
        }
    }

    /// Returns whether it runs the hooks of the backup labels itself, as a part of [`Driver::back_up`] and
    /// [`Driver::restore`].
    #[must_use]
    pub fn runs_label_hooks(&self) -> bool {
        matches!(self, Self::Abra(_))
    }

    /// Returns whether it runs functions of `abra.sh` inside containers itself once a deploy has converged.
    #[must_use]
    pub fn runs_app_commands(&self) -> bool {
        matches!(self, Self::Abra(_))
    }

    /// Returns whether a restore writes whatever the labels name, also into what is not the run's own.
    #[must_use]
    pub fn restores_what_is_foreign(&self) -> bool {
        matches!(self, Self::Abra(_))
    }

    /// Saves the app as its labels ask, out of its `own` volumes, as far as this is the harness's work. The inner error
    /// is the recipe's fault.
    ///
    /// # Errors
    /// [`DriverError`] when the host fails.
    pub async fn back_up(
        &self,
        lock: &DomainLock,
        state: &StackState,
        plan: &BackupPlan,
        own: &OwnVolumes<'_>,
    ) -> Result<Result<AppSnapshot, Fault>, DriverError> {
        match self {
            Self::Stack(driver) => {
                let (dir, means) = (&driver.site.dirs.backups, &driver.site.means);
                let room = Room::of(&means.terms.level);
                Ok(backup::save(own, lock, state, plan, dir, room).await?)
            }
            Self::Abra(driver) => driver.back_up(lock, state, plan).await,
        }
    }

    /// Puts `snapshot` back into the app's `own` volumes. The inner error is the recipe's fault.
    ///
    /// # Errors
    /// As [`Driver::back_up`].
    pub async fn restore(
        &self,
        lock: &DomainLock,
        state: &StackState,
        snapshot: &AppSnapshot,
        own: &OwnVolumes<'_>,
    ) -> Result<Result<(), Fault>, DriverError> {
        match self {
            Self::Stack(_) => Ok(backup::put_back(own, lock, state, snapshot).await?),
            Self::Abra(driver) => driver.restore(lock).await,
        }
    }

    /// Has the driver take the app down, where it does so its own way.
    ///
    /// # Errors
    /// [`AbraError`].
    pub async fn undeploy(&self, lock: &DomainLock) -> Result<(), AbraError> {
        match self {
            Self::Stack(_) => Ok(()),
            Self::Abra(driver) => abra::undeploy(&driver.abra, lock).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_whose_words_do_not_say_it_says_what_to_do() {
        let refused = |reason: &str| {
            let refused = DriverError::Refused {
                client: "docker stack deploy".to_owned(),
                reason: reason.to_owned(),
                tail: Vec::new(),
            };
            refused.to_string()
        };
        let of_swarm = "failed to update config s_conf_v1: Error response from daemon: rpc error: code = InvalidArgument \
                        desc = only updates to Labels are allowed";
        let said = refused(of_swarm);
        assert!(
            said.contains(of_swarm) && said.contains("count its version up"),
            "{said}"
        );
        assert!(refused("no such image").ends_with(": no such image"));
    }
}
