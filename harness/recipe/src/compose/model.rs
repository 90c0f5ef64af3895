//! The parts of a project.

use std::collections::BTreeMap;
use std::time::Duration;

/// A service, as merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The key below `services`.
    pub name: String,
    /// The image; `None` when no file names one.
    pub image: Option<String>,
    /// `deploy.labels`: those of the Swarm service, which abra, Traefik and the backup convention read.
    pub labels: BTreeMap<String, String>,
    /// `labels`: those of the containers.
    pub container_labels: BTreeMap<String, String>,
    /// `deploy.mode`.
    pub mode: Mode,
    /// `deploy.replicas`; see [`Service::desired_replicas`] for the default.
    pub replicas: Option<u64>,
    /// The published ports.
    pub ports: Vec<Port>,
    /// The mounts.
    pub volumes: Vec<Mount>,
    /// The keys of the secrets it uses.
    pub secrets: Vec<String>,
    /// The keys of the configs it uses.
    pub configs: Vec<String>,
    /// The keys of the networks it is attached to; none means the stack's default network.
    pub networks: Vec<String>,
    /// The environment, that of `env_file` included; `None` is a variable that is named and has no value.
    pub environment: BTreeMap<String, Option<String>>,
    /// The health check.
    pub healthcheck: Healthcheck,
    /// `depends_on`, which a Swarm passes over.
    pub depends_on: Vec<String>,
    /// `deploy.restart_policy`, and `restart` where that is missing, as Docker has it.
    pub restart: RestartPolicy,
    /// `deploy.endpoint_mode`: `vip`, `dnsrr`, or `None` for the default, `vip`.
    pub endpoint_mode: Option<String>,
    /// `deploy.update_config`.
    pub update: UpdateConfig,
    /// `stop_grace_period`.
    pub stop_grace_period: Option<Duration>,
}

impl Service {
    /// Returns how many tasks the service should have; `None` when that depends on the number of nodes.
    #[must_use]
    pub fn desired_replicas(&self) -> Option<u64> {
        match self.mode {
            Mode::Replicated | Mode::ReplicatedJob => Some(self.replicas.unwrap_or(1)),
            Mode::Global | Mode::GlobalJob => None,
        }
    }

    /// Returns the name of the Swarm service.
    #[must_use]
    pub fn full_name(&self, stack: &str) -> String {
        scoped(stack, &self.name)
    }
}

/// `deploy.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// A fixed number of tasks; the default.
    #[default]
    Replicated,
    /// One task on every node.
    Global,
    /// A fixed number of tasks that run once.
    ReplicatedJob,
    /// One task on every node that runs once.
    GlobalJob,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The port in the container.
    pub target: u16,
    /// The port outside; `None` for one that the engine chooses.
    pub published: Option<u16>,
    /// Where it is published.
    pub mode: PortMode,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Where a port is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PortMode {
    /// On every node, through the routing mesh; the default.
    #[default]
    Ingress,
    /// On the node of the task.
    Host,
}

/// A mount of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// The key of the volume, or the path on the host; `None` for an anonymous volume and a tmpfs.
    pub source: Option<String>,
    /// The path in the container, as the engine has it: without `..` and without a slash at its end.
    pub target: String,
    /// Whether the container cannot write to it.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A volume, named or anonymous.
    Volume,
    /// A path on the host.
    Bind,
    /// Memory.
    Tmpfs,
    /// Another kind that docker knows, such as `cluster` and `npipe`.
    Other(String),
}

/// The health check of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// None in the files: the image's own counts, if it has one.
    None,
    /// Switched off, by `disable: true` or the test `NONE`.
    Disabled,
    /// The test, with `CMD` or `CMD-SHELL` in front.
    Test(Vec<String>),
}

impl Healthcheck {
    /// Returns whether the test passes whatever the service does, as `exit 0` and `curl … || true` do.
    #[must_use]
    pub fn asks_nothing(&self) -> bool {
        let Self::Test(test) = self else {
            return false;
        };
        let words: Vec<&str> = test.iter().map(String::as_str).collect();
        let is_nothing =
            |command: &str| matches!(command.trim(), "true" | "/bin/true" | ":" | "exit 0");
        match words[..] {
            ["CMD", command] => is_nothing(command),
            ["CMD-SHELL", line] | ["CMD", "sh" | "/bin/sh" | "bash" | "/bin/bash", "-c", line] => {
                // Of a longer script only a shell knows.
                let (before, last) = line.rsplit_once("||").unwrap_or(("", line));
                is_nothing(last) && !before.contains(';') && !before.contains("exit")
            }
            _ => false,
        }
    }
}

/// `deploy.restart_policy`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestartPolicy {
    /// `none`, `on-failure` or `any`, the default.
    pub condition: Option<String>,
    /// How many times; `None` is for ever.
    pub max_attempts: Option<u64>,
    /// How long after its end a task is started again.
    pub delay: Option<Duration>,
    /// How long a task runs before its start counts as a success.
    pub window: Option<Duration>,
}

/// `deploy.update_config`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateConfig {
    /// `start-first` or `stop-first`, the default.
    pub order: Option<String>,
    /// `continue`, `rollback` or `pause`, the default.
    pub failure_action: Option<String>,
    /// How long a new task is watched for a failure.
    pub monitor: Option<Duration>,
}

/// A named volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The key below `volumes`.
    pub key: String,
    /// The name that replaces the default.
    pub name: Option<String>,
    /// Whether it exists outside the stack.
    pub external: bool,
    /// The driver; `None` for the engine's default.
    pub driver: Option<String>,
    /// `driver_opts.device`: what of the host or its network is behind it.
    pub device: Option<String>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The key below `networks`.
    pub key: String,
    /// The name that replaces the default.
    pub name: Option<String>,
    /// Whether it exists outside the stack.
    pub external: bool,
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The key below `secrets`.
    pub key: String,
    /// The name that replaces the default.
    pub name: Option<String>,
    /// Whether it exists outside the stack; docker creates the others from their file.
    pub external: bool,
    /// The file with its value, as written.
    pub file: Option<String>,
    /// The variable in its name that holds the version, such as `SECRET_DB_PASSWORD_VERSION`.
    pub version_variable: Option<String>,
}

/// A config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The key below `configs`.
    pub key: String,
    /// The name that replaces the default.
    pub name: Option<String>,
    /// The file, as written: docker resolves it against the directory of the first compose file.
    pub file: Option<String>,
    /// Whether it exists outside the stack.
    pub external: bool,
    /// The template driver, such as `golang`.
    pub template_driver: Option<String>,
    /// The variable in its name that holds the version, such as `APP_ENTRYPOINT_VERSION`.
    pub version_variable: Option<String>,
}

macro_rules! full_name {
    ($($object:ident),+) => {$(
        impl $object {
            /// Returns the name that the engine knows it by.
            #[must_use]
            pub fn full_name(&self, stack: &str) -> String {
                self.name.clone().unwrap_or_else(|| match self.external {
                    true => self.key.clone(),
                    false => scoped(stack, &self.key),
                })
            }
        }
    )+};
}

full_name!(Volume, Network, Secret, Config);

fn scoped(stack: &str, name: &str) -> String {
    format!("{stack}_{name}")
}
