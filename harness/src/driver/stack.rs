//! The embedded driver: deploys a recipe with nothing but Docker.
//!
//! Docker's own loader merges and interpolates what is deployed: this driver only adds one override file
//! with labels and the environment of `app`, and rewrites copies of compose files where the host forces it. So what runs is what abra
//! would run. The harness's own reading of the recipe serves for planning and assertions only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{DriverError, Site};
use crate::lock::DomainLock;
use crate::name::RecipeName;
use crate::process::Cmd;
use crate::recipe::compose::query::MAIN_SERVICE;
use crate::recipe::compose::render::{
    Changes, DEFAULT_SCHEMA_VERSION, SchemaVersion, normalise, overlay,
};
use crate::recipe::release::Release;
use crate::recipe::secret::{self, SecretSpec};

/// How long `docker stack deploy` may take; it only hands the stack to the engine.
const DEPLOY_LIMIT: Duration = Duration::from_secs(120);

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
        let mut lines = self.without_ipvs(release);
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

    /// Returns what a kernel without IPVS forces on `release`, whatever the driver.
    #[must_use]
    pub fn without_ipvs(self, release: &Release) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.ipvs {
            lines.push(
                "kernel without IPVS: services are deployed with endpoint_mode dnsrr".to_owned(),
            );
        }
        if self.needs_host_ports(release) {
            lines.push("kernel without IPVS: published ports are deployed in host mode".to_owned());
        }
        lines
    }

    pub(super) fn needs_host_ports(self, release: &Release) -> bool {
        !self.ipvs
            && release
                .project
                .services
                .iter()
                .flat_map(|service| &service.ports)
                .any(|port| port.mode != crate::recipe::compose::model::PortMode::Host)
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
        keep: &mut dyn FnMut(&str),
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
            // The redactor must know it before anything can print it.
            keep(&value);
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
        let mut files = Vec::new();
        let host_ports = self.site.traits.needs_host_ports(release);
        for (number, (file, version)) in release.project.versions.iter().enumerate() {
            if version.is_some() && !host_ports {
                files.push(release.root.join(file));
                continue;
            }
            let changes = Changes {
                version: SchemaVersion::WhenMissing(schema_of(release)),
                host_ports,
                // Docker takes relative paths from the directory of the first file.
                base_dir: Some(base_dir(release)),
            };
            let copy = self
                .site
                .dirs
                .state
                .join(format!("compose-{}-{number}.json", tag_of(release)));
            self.site.write(
                &copy,
                normalise(&release.root, file, &changes)?
                    .to_string()
                    .as_bytes(),
            )?;
            files.push(copy);
        }
        let extra = self
            .site
            .dirs
            .state
            .join(format!("overlay-{}.json", tag_of(release)));
        let value = overlay(
            &release.project,
            &labels(stack.as_str(), stamp, release),
            &exposed(stamp, release),
            !self.site.traits.ipvs,
        );
        self.site.write(&extra, value.to_string().as_bytes())?;
        files.push(extra);

        let mut cmd = Cmd::new("docker", &release.root)
            .args([
                "--host",
                self.site.engine.host(),
                "stack",
                "deploy",
                "--prune",
                "--resolve-image",
                "never",
            ])
            .envs(client_vars(release))
            .label("docker stack deploy");
        if self.site.traits.detach_flag {
            cmd = cmd.arg("--detach=true");
        }
        for file in &files {
            cmd = cmd.arg("--compose-file").arg(file);
        }
        self.site.count_deploy();
        let finished = self
            .site
            .processes
            .run(&cmd.arg(stack.as_str()), DEPLOY_LIMIT)
            .await?;
        if finished.success() {
            return Ok(());
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

fn schema_of(release: &Release) -> String {
    let known = release.project.schema_version.as_deref();
    known.unwrap_or(DEFAULT_SCHEMA_VERSION).to_owned()
}

/// Returns what tells the files of one release from another's.
pub(super) fn tag_of(release: &Release) -> String {
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

/// Returns where the relative paths of the compose files are meant from.
fn base_dir(release: &Release) -> PathBuf {
    let first = release.project.files.first();
    let dir = first.and_then(|file| Path::new(file).parent());
    release.root.join(dir.unwrap_or(Path::new("")))
}

/// Returns what abra gives the service `app` for variables of which its `environment` says nothing: everything
/// that the compose files are interpolated with, and as `TYPE` the version that is deployed.
///
/// What an `env_file` sets is left out, because `environment` would win over it.
fn exposed(stamp: &Stamp, release: &Release) -> BTreeMap<String, String> {
    let mut vars = release.vars.clone();
    for name in ["TYPE", "RECIPE"] {
        if let Some(value) = vars.get_mut(name) {
            *value = type_of(stamp, release);
        }
    }
    let files = release.project.service(MAIN_SERVICE);
    for file in files.iter().flat_map(|service| &service.env_files) {
        // Docker says what is wrong with one that cannot be read, and deploys nothing.
        let tree = crate::source_tree::SourceTree::open(&base_dir(release));
        let text = tree.and_then(|tree| tree.text(file)).ok().flatten();
        let text = text.unwrap_or_default();
        for line in text.trim_start_matches('\u{feff}').lines() {
            vars.remove(line.trim_start().split('=').next().unwrap_or_default());
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
    use crate::recipe::release::{Additions, AppName, Tree};

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

    #[test]
    fn app_gets_what_the_files_are_interpolated_with() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            (
                ".env.sample",
                "TYPE=x\nSMTP_HOST=mail\nCOMPOSE_FILE=sub/c.yml\nTHEIRS=no\n",
            ),
            ("abra.sh", "export APP_CONF_VERSION=v2\n"),
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
            commit: "0123456789".repeat(4),
            dirty: true,
        };
        let recipe: RecipeName = "x".parse().unwrap();
        let zone = "ci.localhost".parse().unwrap();
        let domain = crate::name::Domain::parse("x-012345.ci.localhost", &zone).unwrap();
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
            ("TYPE", "x:01234567+U"),
        ];
        assert!(
            vars.iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .eq(expected),
            "{vars:?}"
        );
        stamp.chaos = false;
        assert_eq!(exposed(&stamp, &release)["TYPE"], "x:1.0.0+1");
    }
}
