//! The embedded driver: deploys a recipe with nothing but Docker.
//!
//! Docker's own loader merges and interpolates what is deployed: this driver only adds one override file
//! with labels, and rewrites copies of compose files where the host forces it. So what runs is what abra
//! would run. The harness's own reading of the recipe serves for planning and assertions only.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::dirs::{HostDirs, RunDirs};
use crate::lock::DomainLock;
use crate::name::RecipeName;
use crate::process::{Cmd, ProcessError, Processes};
use crate::recipe::compose::ComposeError;
use crate::recipe::compose::render::{
    Changes, DEFAULT_SCHEMA_VERSION, SchemaVersion, normalise, overlay,
};
use crate::recipe::release::Release;
use crate::recipe::secret::{self, SecretError, SecretSpec};
use crate::swarm::{Engine, EngineError};

/// How long `docker stack deploy` may take; it only hands the stack to the engine.
const DEPLOY_LIMIT: Duration = Duration::from_secs(120);

/// Why an app could not be made or deployed.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// `docker stack deploy` refused the recipe.
    #[error("`docker stack deploy` refused the stack: {reason}")]
    Refused {
        /// The line that explains it.
        reason: String,
        /// All that it said.
        tail: Vec<String>,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The client could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A compose file cannot be rewritten.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The recipe's secrets cannot be made.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A secret that nobody may generate was not supplied.
    #[error("secret `{secret}` is `generate=false` and nobody supplied it")]
    NotSupplied {
        /// Its name.
        secret: String,
    },
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

/// What this host can and cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostTraits {
    /// Whether the kernel has IPVS, without which service VIPs and ingress ports are dead.
    pub ipvs: bool,
    /// Whether the Docker client knows `--detach` of `stack deploy` (26 and newer).
    pub detach_flag: bool,
}

impl HostTraits {
    /// Returns what has to be changed about `release` for this host, for the report.
    #[must_use]
    pub fn deviations(self, release: &Release) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.ipvs {
            lines.push(
                "kernel without IPVS: services are deployed with endpoint_mode dnsrr".to_owned(),
            );
        }
        if self.needs_host_ports(release) {
            lines.push("kernel without IPVS: published ports are deployed in host mode".to_owned());
        }
        // COMPOSE_FILE is read by the harness; a client of stacks does not look at it.
        for name in release
            .vars
            .keys()
            .filter(|name| steers(name) && *name != "COMPOSE_FILE")
        {
            lines.push(format!("variable `{name}` of the recipe is kept from the docker client, which it would steer"));
        }
        for (file, version) in &release.project.versions {
            if version.is_none() {
                lines.push(format!(
                    "{file} has no `version`: deployed as {}",
                    schema_of(release)
                ));
            }
        }
        lines
    }

    fn needs_host_ports(self, release: &Release) -> bool {
        !self.ipvs
            && release
                .project
                .services
                .iter()
                .flat_map(|service| &service.ports)
                .any(|port| port.mode != crate::recipe::compose::model::PortMode::Host)
    }
}

/// The driver with everything that it needs of the host.
#[derive(Debug, Clone)]
pub struct StackDriver {
    /// The engine.
    pub engine: Engine,
    /// How the client is run.
    pub processes: Processes,
    /// The host's places.
    pub host: HostDirs,
    /// The run's places.
    pub dirs: RunDirs,
    /// abra's name of the server that apps are filed under.
    pub server: String,
    /// What the host can do.
    pub traits: HostTraits,
    /// Values of secrets that may not be generated, by their name.
    pub supplied: BTreeMap<String, String>,
    /// How often Docker was told to deploy, to be held against what the run meant to do.
    pub deploys: Rc<Cell<u32>>,
}

/// How a release is to be labelled when it is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The recipe's name.
    pub recipe: RecipeName,
    /// What `coop-cloud.<stack>.version` says: the label of the compose file, or the tag.
    pub version: Option<String>,
    /// Whether this is a commit under test rather than a published version.
    pub chaos: bool,
}

impl StackDriver {
    /// Writes the app's env file, as `abra app new` would; returns where.
    ///
    /// # Errors
    /// [`DriverError::Write`].
    pub fn new_app(
        &self,
        lock: &DomainLock,
        release: &Release,
        stamp: &Stamp,
    ) -> Result<PathBuf, DriverError> {
        let path = self.host.env_file(&self.server, lock.domain());
        let mut env = release.env.clone();
        env.set("TYPE", &type_of(stamp, release));
        self.write(&path, env.to_string().as_bytes())?;
        Ok(path)
    }

    /// Makes the secrets of `release` that the app does not have yet; returns their names and values.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn make_secrets(
        &self,
        lock: &DomainLock,
        release: &Release,
        have: &[SecretSpec],
        keep: &mut dyn FnMut(&str),
    ) -> Result<Vec<SecretSpec>, DriverError> {
        let stack = lock.domain().stack();
        let wanted = secret::plan(&release.project, &release.env, &release.vars)?;
        for spec in &wanted {
            if have.iter().any(|old| old.full_name == spec.full_name) {
                continue;
            }
            let generated = secret::generate(spec, &mut rand::rng());
            let Some(value) =
                generated.or_else(|| self.supplied.get(&spec.name.replace('-', "_")).cloned())
            else {
                return Err(DriverError::NotSupplied {
                    secret: spec.name.clone(),
                });
            };
            // The redactor must know it before anything can print it.
            keep(&value);
            self.engine
                .create_secret(&stack, &spec.full_name, &value)
                .await?;
        }
        Ok(wanted)
    }

    /// Deploys `release` over whatever the stack is now; services that it does not have are pruned.
    ///
    /// # Errors
    /// [`DriverError::Refused`] when Docker does not accept the recipe.
    pub async fn deploy(
        &self,
        lock: &DomainLock,
        release: &Release,
        stamp: &Stamp,
    ) -> Result<(), DriverError> {
        let stack = lock.domain().stack();
        let mut files = Vec::new();
        let host_ports = self.traits.needs_host_ports(release);
        let first_dir = release
            .project
            .files
            .first()
            .and_then(|file| Path::new(file).parent())
            .unwrap_or(Path::new(""));
        for (number, (file, version)) in release.project.versions.iter().enumerate() {
            if version.is_some() && !host_ports {
                files.push(release.root.join(file));
                continue;
            }
            let changes = Changes {
                version: SchemaVersion::WhenMissing(schema_of(release)),
                host_ports,
                // Docker takes relative paths from the directory of the first file.
                base_dir: Some(release.root.join(first_dir)),
            };
            let copy = self
                .dirs
                .state
                .join(format!("compose-{}-{number}.json", tag_of(release)));
            self.write(
                &copy,
                normalise(&release.root, file, &changes)?
                    .to_string()
                    .as_bytes(),
            )?;
            files.push(copy);
        }
        let extra = self
            .dirs
            .state
            .join(format!("overlay-{}.json", tag_of(release)));
        let value = overlay(
            &release.project,
            &labels(stack.as_str(), stamp, release),
            !self.traits.ipvs,
        );
        self.write(&extra, value.to_string().as_bytes())?;
        files.push(extra);

        let mut cmd = Cmd::new("docker", &release.root)
            .args([
                "--host",
                self.engine.host(),
                "stack",
                "deploy",
                "--prune",
                "--resolve-image",
                "never",
            ])
            .envs(client_vars(release))
            .label("docker stack deploy");
        if self.traits.detach_flag {
            cmd = cmd.arg("--detach=true");
        }
        for file in &files {
            cmd = cmd.arg("--compose-file").arg(file);
        }
        self.deploys.set(self.deploys.get() + 1);
        let finished = self
            .processes
            .run(&cmd.arg(stack.as_str()), DEPLOY_LIMIT)
            .await?;
        if finished.success() {
            return Ok(());
        }
        // An engine that is gone is not the recipe's fault; ask it.
        self.engine.info().await?;
        let reason = finished
            .tail
            .iter()
            .rev()
            .find(|line| !line.trim().is_empty())
            .cloned()
            .unwrap_or_default();
        Err(DriverError::Refused {
            reason,
            tail: finished.tail,
        })
    }

    /// Notes the version in the env file, as abra does after a deploy.
    ///
    /// # Errors
    /// [`DriverError::Write`].
    pub fn note_version(
        &self,
        lock: &DomainLock,
        release: &Release,
        stamp: &Stamp,
    ) -> Result<(), DriverError> {
        self.new_app(lock, release, stamp).map(drop)
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), DriverError> {
        let failed = |source| DriverError::Write {
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::write(path, content).map_err(failed)
    }
}

fn schema_of(release: &Release) -> String {
    let known = release.project.schema_version.as_deref();
    known.unwrap_or(DEFAULT_SCHEMA_VERSION).to_owned()
}

/// Returns what tells the files of one release from another's.
fn tag_of(release: &Release) -> String {
    release.chaos_version().replace('+', "-")
}

/// Variables that steer the client or the loader of programs instead of the recipe. A recipe's text comes
/// from a pull request; it must not choose a library to preload or a credential helper to run.
const STEERING: [&str; 6] = ["LD_", "DOCKER_", "SSL_CERT_", "XDG_", "OTEL_", "COMPOSE_"];

/// The same as whole names. Not every name in `GO…`: recipes have GOOGLE_CLIENT_ID and GOTIFY_URL.
const STEERING_NAMES: [&str; 11] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "GODEBUG",
    "GOTRACEBACK",
    "GOMAXPROCS",
    "NOTIFY_SOCKET",
];

fn steers(name: &str) -> bool {
    let upper = name.to_uppercase();
    STEERING.iter().any(|prefix| upper.starts_with(prefix))
        || STEERING_NAMES.contains(&upper.as_str())
}

/// Returns the recipe's variables that the client gets: it interpolates the compose files with them.
fn client_vars(release: &Release) -> impl Iterator<Item = (&String, &String)> {
    release.vars.iter().filter(|(name, _)| !steers(name))
}

/// Returns what `TYPE=` says of a deployed app.
fn type_of(stamp: &Stamp, release: &Release) -> String {
    let version = if stamp.chaos {
        Some(release.chaos_version())
    } else {
        stamp.version.clone()
    };
    version.map_or_else(
        || stamp.recipe.to_string(),
        |version| format!("{}:{version}", stamp.recipe),
    )
}

/// Returns the labels that abra sets on the main service.
fn labels(stack: &str, stamp: &Stamp, release: &Release) -> BTreeMap<String, String> {
    let key = |name: &str| format!("coop-cloud.{stack}.{name}");
    let mut labels = BTreeMap::from([
        (key("recipe"), stamp.recipe.to_string()),
        (key("chaos"), stamp.chaos.to_string()),
    ]);
    if stamp.chaos {
        labels.insert(key("chaos-version"), release.chaos_version());
    }
    if let Some(version) = &stamp.version {
        labels.insert(key("version"), version.clone());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_cannot_steer_the_client() {
        for name in [
            "LD_PRELOAD",
            "PATH",
            "DOCKER_CONFIG",
            "docker_host",
            "GODEBUG",
            "HOME",
            "https_proxy",
        ] {
            assert!(steers(name), "{name} would reach the client");
        }
        for name in [
            "DOMAIN",
            "STACK_NAME",
            "SECRET_DB_PASSWORD_VERSION",
            "TIMEOUT",
            "APP_PATH",
            "GOOGLE_CLIENT_ID",
        ] {
            assert!(!steers(name), "{name} is kept from the client");
        }
    }
}
