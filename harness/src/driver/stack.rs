//! The embedded driver: deploys a recipe with nothing but Docker.
//!
//! What `docker stack deploy` gets is the resolved project, whole, as its only file, and an environment without any
//! variable: there is nothing left for the client to merge, to substitute or to look up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::readback::{self, Deployer};
use super::{DriverError, Site};
use engine::lock::DomainLock;
use engine::process::Cmd;
use ground::name::{RecipeName, StackName};
use recipe::compose::ComposeError;
use recipe::compose::pace::Pace;
use recipe::compose::resolve::{Deployment, Resolved, as_yaml};
use recipe::compose::shared::SharedNetwork;
use recipe::policy::{self, Judged, Refused, Terms};
use recipe::release::Release;
use recipe::secret::{self, SecretSpec};

/// How long `docker stack deploy` may take; it only hands the stack to the engine.
const DEPLOY_LIMIT: Duration = Duration::from_secs(120);

/// What this host can and cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostTraits {
    /// Whether the kernel has IPVS, without which service VIPs and ingress ports are dead.
    pub ipvs: bool,
    /// Whether the Docker client knows `--detach` of `stack deploy` (26 and newer).
    pub detach_flag: bool,
    /// The newest compose schema that the Docker client knows.
    pub schema: &'static str,
    /// Whether the Docker client has `docker stack config` (24 and newer).
    pub stack_config: bool,
}

/// How releases are deployed on this host in this run.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploySetup {
    /// What the host can do.
    pub traits: HostTraits,
    /// What becomes of the network that recipes share with the gateway.
    pub shared: SharedNetwork,
    /// How often containers are checked for health.
    pub pace: Pace,
    /// What they are judged by.
    pub terms: Terms,
}

/// Why a release cannot be deployed.
#[derive(Debug, thiserror::Error)]
pub enum NotDeployable {
    /// It depends on the place or the person that deploys.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The policy of this host is against it.
    #[error(transparent)]
    Policy(#[from] Refused),
}

impl From<NotDeployable> for DriverError {
    fn from(error: NotDeployable) -> Self {
        match error {
            NotDeployable::Compose(error) => error.into(),
            NotDeployable::Policy(refused) => refused.into(),
        }
    }
}

impl DeploySetup {
    /// Returns `release` as it is deployed as `stack` under `stamp`, judged: the value that is shown and deployed.
    ///
    /// # Errors
    /// [`NotDeployable`].
    pub fn resolve(
        &self,
        release: &Release,
        stack: &StackName,
        stamp: &Stamp,
    ) -> Result<Judged, NotDeployable> {
        let resolved = self.unjudged(release, stack, stamp)?;
        Ok(policy::judge(resolved, stack.as_str(), &self.terms)?)
    }

    /// Returns `release` as a driver deploys it that reads the recipe on its own: without what the policy fills in.
    pub(super) fn unjudged(
        &self,
        release: &Release,
        stack: &StackName,
        stamp: &Stamp,
    ) -> Result<Resolved, ComposeError> {
        let deployment = Deployment {
            stack: stack.to_string(),
            labels: labels(stack.as_str(), stamp, release),
            exposed: exposed(stamp, release),
            no_ipvs: !self.traits.ipvs,
            shared: self.shared.clone(),
            schema: self.traits.schema.to_owned(),
            pace: self.pace.clone(),
        };
        release.project.resolve(&release.root, &deployment)
    }
}

/// The driver.
#[derive(Debug, Clone)]
pub struct StackDriver {
    /// Where it deploys.
    pub site: Site,
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
        let path = self.site.host.env_file(&self.site.server, lock.domain());
        let mut env = release.env.clone();
        env.set("TYPE", &type_of(stamp, release));
        self.site.write(&path, env.to_string().as_bytes())?;
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
    ) -> Result<Vec<SecretSpec>, DriverError> {
        let stack = lock.domain().stack();
        let wanted = secret::plan(&release.project, &release.env, &release.vars)?;
        for spec in &wanted {
            if have.iter().any(|old| old.full_name == spec.full_name) {
                continue;
            }
            let generated = secret::generate(spec, &mut rand::rng());
            let Some(value) = generated.or_else(|| {
                self.site
                    .supplied
                    .get(&spec.name.replace('-', "_"))
                    .cloned()
            }) else {
                return Err(DriverError::NotSupplied {
                    secret: spec.name.clone(),
                });
            };
            self.site.note_value(&spec.name, &value);
            self.site
                .engine
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
        let judged = self.site.means.resolve(release, &stack, stamp)?;
        let file = self.write(&judged, &tag_of(release))?;
        // A directory of the run's own instead of `~/.docker`: neither a context, nor a plugin, nor a credential
        // helper of the operator's has a part in it.
        let config = self.site.dirs.state.join("docker");
        self.site.create_dir(&config)?;
        let mut cmd = Cmd::new("docker", &self.site.dirs.state)
            .no_env()
            .arg("--config")
            .arg(&config)
            .args([
                "--host",
                self.site.engine.host(),
                "stack",
                "deploy",
                "--prune",
                "--resolve-image",
                "never",
            ])
            .label("docker stack deploy");
        if self.site.means.traits.detach_flag {
            cmd = cmd.arg("--detach=true");
        }
        cmd = cmd.arg("--compose-file").arg(&file);
        self.site.count_deploy();
        let finished = self
            .site
            .processes
            .run(&cmd.arg(stack.as_str()), DEPLOY_LIMIT)
            .await?;
        if finished.success() {
            let there = self.site.engine.stack_spec(&stack).await?;
            return match readback::difference(judged.resolved(), &stack, &there, Deployer::Docker) {
                None => Ok(()),
                Some(difference) => Err(DriverError::Otherwise {
                    client: "docker stack deploy",
                    difference,
                }),
            };
        }
        // An engine that is gone is not the recipe's fault; ask it.
        self.site.engine.info().await?;
        let reason = finished
            .tail
            .iter()
            .rev()
            .find(|line| !line.trim().is_empty())
            .cloned()
            .unwrap_or_default();
        Err(DriverError::Refused {
            client: "docker stack deploy".to_owned(),
            reason,
            tail: finished.tail,
        })
    }

    /// Writes the compose file of `judged` and the files that it names; returns the first.
    fn write(&self, judged: &Judged, tag: &str) -> Result<PathBuf, DriverError> {
        let dir = &self.site.dirs.state;
        let (document, files) = judged.resolved().render(dir, &format!("file-{tag}"));
        for (path, content) in files {
            self.site.write(&path, content)?;
        }
        let path = dir.join(format!("compose-{tag}.json"));
        self.site.write(&path, as_yaml(&document).as_bytes())?;
        Ok(path)
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
}

/// Returns what tells the files of one release from another's.
pub(super) fn tag_of(release: &Release) -> String {
    release.chaos_version().replace('+', "-")
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

/// Returns what abra gives the service `app` for variables of which its `environment` says nothing: everything
/// that the compose files are interpolated with, and as `TYPE` the version that is deployed.
fn exposed(stamp: &Stamp, release: &Release) -> BTreeMap<String, String> {
    let mut vars = release.vars.clone();
    for name in ["TYPE", "RECIPE"] {
        if let Some(value) = vars.get_mut(name) {
            *value = type_of(stamp, release);
        }
    }
    vars
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
    use recipe::release::{Additions, AppName, Tree};

    #[test]
    fn app_gets_what_the_files_are_interpolated_with() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            (
                ".env.sample",
                "TYPE=x\nSMTP_HOST=mail\nCOMPOSE_FILE=sub/c.yml\nTHEIRS=no\n",
            ),
            // What the app is and where is for the run to say.
            (
                "abra.sh",
                "export APP_CONF_VERSION=v2\nexport DOMAIN=cloud.example.org\nexport STACK_NAME=victim TYPE=victim\n\
                 export LETS_ENCRYPT_ENV=production\n",
            ),
            ("sub/their.env", "# THEIRS\nTHEIRS=yes\n"),
            (
                "sub/c.yml",
                "version: '3.8'\nservices:\n  app: {image: a, env_file: their.env}\n",
            ),
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let tree = Tree {
            root: dir.path().to_owned(),
            commit: "0123456789".repeat(4).parse().unwrap(),
            dirty: true,
        };
        let recipe: RecipeName = "x".parse().unwrap();
        let zone = "ci.localhost".parse().unwrap();
        let domain = ground::name::Domain::parse("x-012345.ci.localhost", &zone).unwrap();
        let app = AppName {
            recipe: &recipe,
            domain: &domain,
        };
        let release = Release::read(&tree, app, &Additions::default()).unwrap();
        let mut stamp = Stamp {
            recipe: recipe.clone(),
            version: Some("1.0.0+1".to_owned()),
            chaos: true,
        };
        let vars = exposed(&stamp, &release);
        let expected = [
            ("APP_CONF_VERSION", "v2"),
            ("COMPOSE_FILE", "sub/c.yml"),
            ("DOMAIN", "x-012345.ci.localhost"),
            ("LETS_ENCRYPT_ENV", ""),
            ("SMTP_HOST", "mail"),
            ("STACK_NAME", "x-012345_ci_localhost"),
            // What `env_file` says of it wins at the end.
            ("THEIRS", "no"),
            ("TYPE", "x:01234567+U"),
        ];
        assert!(
            vars.iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .eq(expected),
            "{vars:?}"
        );
        let said = release.remarks.join("; ");
        assert!(said.contains("abra.sh exports `DOMAIN`"), "{said}");
        stamp.chaos = false;
        assert_eq!(exposed(&stamp, &release)["TYPE"], "x:1.0.0+1");
    }
}
