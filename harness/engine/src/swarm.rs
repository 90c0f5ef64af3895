//! The Docker engine and its Swarm, as far as a run needs them.
//!
//! This module knows stacks, services and containers. It does not know recipes, tiers or locks; nothing
//! here decides that something may be removed.

pub mod archive;
pub(crate) mod ask;
pub mod bridge;
pub mod container;
pub mod converge;
pub mod crash;
mod ending;
pub mod gateway;
mod hand_over;
pub mod holder;
pub mod host;
pub mod image;
pub mod judgement;
pub mod mounts;
pub mod node;
pub mod object;
pub mod placement;
pub mod probe;
pub mod rest;
pub mod service;
pub mod spec;
pub mod steady;
pub mod teardown;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod unhealthy;
pub mod volume;
pub mod watch;

use bollard::Docker;
use bollard::errors::Error as ApiError;

/// How long the engine may take to begin an answer, in seconds. What streams afterwards takes as long as it
/// takes; a request whose body is long is another matter, because its answer begins when all of it was taken.
const ANSWER_LIMIT: u64 = 60;

/// How many tasks of a replica the swarm must keep: two that failed, which make it red, beside the one that runs.
const TASK_HISTORY: i64 = 3;

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `DOCKER_HOST` names something besides a unix socket.
    #[error("`{host}` is not a unix socket; recipe-ci reaches the engine on `unix://…` only")]
    Unsupported {
        /// The host that was given.
        host: String,
    },
    /// There is no answer.
    #[error("the Docker engine at `{host}` does not answer")]
    Unreachable {
        /// The host that was asked.
        host: String,
        /// What the connection said.
        #[source]
        source: Box<ApiError>,
    },
    /// It answered that it will not.
    #[error("failed to {what}")]
    Refused {
        /// What was asked, as a verb with its object: `list the services of note-…`.
        what: String,
        /// What it said.
        #[source]
        source: Box<ApiError>,
    },
    /// An image is neither there nor to be had.
    #[error("image `{image}` is not on this engine and cannot be pulled: {reason}")]
    Pull {
        /// Which image.
        image: String,
        /// What the registry said.
        reason: String,
    },
    /// An image is there, and cannot be pulled without this host's logins.
    #[error("image `{image}` is on this engine, and {reason}")]
    NotPublic {
        /// Which image.
        image: String,
        /// Why it is not known to be public.
        reason: String,
    },
    /// An image has a healthcheck at which dockerd crashes.
    #[error(
        "image `{image}` has a healthcheck without a command, `[CMD]`, at which dockerd crashes"
    )]
    CrashesEngine {
        /// Which image.
        image: String,
    },
    /// What was to be written to a file of this host is larger than it may be.
    #[error("`{path}` of a container is larger than {limit} bytes")]
    TooLarge {
        /// The path in the container.
        path: String,
        /// How large it may be, in bytes.
        limit: u64,
    },
    /// Other apps leave no room for a service.
    #[error("this host has no room for service `{service}`: {reason}")]
    NoRoom {
        /// Which service.
        service: String,
        /// Why, in Swarm's words.
        reason: String,
    },
    /// Tasks may run on other nodes of the swarm.
    #[error(
        "this swarm has other nodes that take tasks: {}; runs work where this node is the only one",
        others.join(", ")
    )]
    NotAlone {
        /// The other nodes, in words.
        others: Vec<String>,
    },
    /// What failed of a service is forgotten before a run can see it.
    #[error(
        "this swarm keeps {kept} tasks of each replica, so what failed is forgotten when the next one has begun; runs need \
         {TASK_HISTORY}"
    )]
    Forgets {
        /// How many it keeps.
        kept: i64,
    },
    /// A command inside a container took too long.
    #[error("`{command}` in a container of this stack did not end within {limit_s} s")]
    ExecTimedOut {
        /// The command.
        command: String,
        /// How long it had, in seconds.
        limit_s: u64,
    },
    /// It has not answered in time; others of its answers may come.
    #[error("the Docker engine at `{host}` has not answered within {limit_s} s")]
    Silent {
        /// The host that was asked.
        host: String,
        /// How long it had, in seconds.
        limit_s: u64,
    },
    /// The engine's answer lacks what it must have.
    #[error("the engine's answer to `{what}` lacks {lacks}")]
    Incomplete {
        /// What was asked.
        what: String,
        /// What is missing.
        lacks: &'static str,
    },
    /// A local file or directory failed in the middle of a transfer.
    #[error("failed to {what}")]
    Local {
        /// What was being done.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The lock that keeps two runs from pulling one image failed.
    #[error(transparent)]
    Once(#[from] crate::once::OnceError),
}

impl EngineError {
    /// Returns whether the engine works and only would not do this to this app: a container that is gone, a
    /// command that hangs. In the middle of a tier that is the recipe's doing, not the host's.
    #[must_use]
    pub fn is_about_the_app(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::ExecTimedOut { .. } | Self::Incomplete { .. }
        )
    }

    /// Returns whether the recipe names an image that cannot be deployed, which no second try changes: a registry answered
    /// that it has no such image, so the name or the tag is wrong, or dockerd would crash at it. The words are those of the registry API (`MANIFEST_UNKNOWN` in
    /// github.com/distribution/distribution) and of dockerd, which names the manifest.
    #[must_use]
    pub fn is_wrong_image(&self) -> bool {
        let reason = match self {
            Self::Pull { reason, .. } => reason,
            error => return matches!(error, Self::CrashesEngine { .. }),
        };
        reason.contains("manifest unknown")
            || (reason.contains("manifest for ") && reason.contains(" not found"))
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Pull { .. } => {
                "check the image's name in the recipe, and the registry's limits and this host's login"
            }
            Self::NoRoom { .. } => {
                "end what else runs here, or run on a larger host; `docker node ls` says whether the node takes tasks"
            }
            Self::NotAlone { .. } => {
                "`docker node update --availability drain NODE` for each of them, `docker node rm NODE` for one that is gone, or a host whose swarm is its own"
            }
            Self::Forgets { .. } => "`docker swarm update --task-history-limit 5`",
            _ => "`recipe-ci doctor` says what is wrong with this host",
        }
    }

    /// Returns whether the thing asked about does not exist (any more).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { source, .. }
            if matches!(**source, ApiError::DockerResponseServerError { status_code: 404, .. }))
    }
}

/// A connection to the engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    host: String,
    repeated: ask::Repeated,
}

/// What the engine says about itself.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// Its version: `20.10.24+dfsg1`.
    pub version: String,
    /// The newest API version that it speaks: `1.41`.
    pub api_version: String,
    /// Whether this engine is part of a swarm.
    pub swarm_active: bool,
    /// Whether this node may be asked to deploy.
    pub manager: bool,
    /// Where it keeps its data.
    pub root_dir: String,
    /// How many tasks of each replica its swarm keeps, running or not; none are forgotten where it is negative.
    pub task_history: Option<i64>,
}

impl EngineInfo {
    /// Makes sure that the swarm remembers for long enough what failed: the oldest tasks of a replica are removed first
    /// (`tick` in swarmkit's `manager/orchestrator/taskreaper/task_reaper.go`).
    ///
    /// # Errors
    /// [`EngineError::Forgets`].
    pub fn remembers(&self) -> Result<(), EngineError> {
        match self.task_history {
            Some(kept) if (0..TASK_HISTORY).contains(&kept) => Err(EngineError::Forgets { kept }),
            _ => Ok(()),
        }
    }
}

impl Engine {
    /// Prepares a connection to `host` (`unix:///var/run/docker.sock`). Nothing is asked yet.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for anything but a unix socket, [`EngineError::Unreachable`] when there
    /// is no such socket.
    pub fn connect(host: &str) -> Result<Self, EngineError> {
        if !host.starts_with("unix://") {
            return Err(EngineError::Unsupported {
                host: host.to_owned(),
            });
        }
        #[expect(clippy::disallowed_methods, reason = "this module is the door")]
        let docker = Docker::connect_with_unix(host, ANSWER_LIMIT, bollard::API_DEFAULT_VERSION)
            .map_err(|source| EngineError::Unreachable {
                host: host.to_owned(),
                source: Box::new(source),
            })?;
        Ok(Self {
            docker,
            host: host.to_owned(),
            repeated: ask::Repeated::default(),
        })
    }

    /// Returns the engine of a socket in `dir` without a listener: every request fails.
    #[cfg(any(test, feature = "testing"))]
    pub fn gone(dir: &std::path::Path) -> Self {
        let socket = dir.join("engine.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("it can be made"));
        Self::connect(&format!("unix://{}", socket.display())).expect("the socket is there")
    }

    /// Returns the host that this connection is to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Asks the engine about itself.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] when it does not answer.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        let (version, info) =
            futures_util::future::try_join(self.docker.version(), self.docker.info())
                .await
                .map_err(|source| self.failed("ask the engine about itself", source))?;
        let swarm = info.swarm.unwrap_or_default();
        Ok(EngineInfo {
            version: version.version.unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
            swarm_active: swarm
                .local_node_state
                .is_some_and(|state| state == bollard::models::LocalNodeState::ACTIVE),
            manager: swarm.control_available.unwrap_or(false),
            root_dir: info.docker_root_dir.unwrap_or_default(),
            task_history: swarm
                .cluster
                .and_then(|cluster| cluster.spec?.orchestration?.task_history_retention_limit),
        })
    }

    /// Turns the API's error into this module's: no connection is another matter than a refusal.
    fn failed(&self, what: impl Into<String>, source: ApiError) -> EngineError {
        match source {
            ApiError::HyperResponseError { .. }
            | ApiError::HyperLegacyError { .. }
            | ApiError::RequestTimeoutError
            | ApiError::IOError { .. }
            | ApiError::SocketNotFoundError(_) => EngineError::Unreachable {
                host: self.host.clone(),
                source: Box::new(source),
            },
            source => EngineError::Refused {
                what: what.into(),
                source: Box::new(source),
            },
        }
    }
}

/// Returns a filter in the form that the API takes.
fn filters<const N: usize>(
    pairs: [(&str, String); N],
) -> std::collections::HashMap<String, Vec<String>> {
    let mut filters = std::collections::HashMap::<String, Vec<String>>::new();
    for (key, value) in pairs {
        filters.entry(key.to_owned()).or_default().push(value);
    }
    filters
}
