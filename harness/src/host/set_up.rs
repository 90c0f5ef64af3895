//! Makes a fresh Debian host ready for runs: an engine, a swarm, the `proxy` network, the demo's images.
//!
//! Every step looks first and changes only what is missing, so it may be called again at any time. It never
//! touches an engine that answers, nor a swarm that exists. It must be called before this process becomes a
//! child subreaper, see [`engine::process`]'s daemons.

mod docker;

use std::time::Duration;

use crate::demo::{self, DemoError, Origin};
use engine::dirs::{DirsError, HostDirs, ensure_writable};
use engine::process::{ProcessError, Processes};
use engine::swarm::host::Membership;
use engine::swarm::{Engine, EngineError};

/// The overlay network that Co-op Cloud's recipes share with their gateway.
pub const PROXY: &str = recipe::compose::shared::PROXY;

/// What a person types to make it.
pub const PROXY_COMMAND: &str = "docker network create --driver overlay proxy";

/// Where the engine of a Debian host listens.
const SYSTEM_SOCKET: &str = "unix:///var/run/docker.sock";

/// How long the engine may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What is needed to set up a host.
#[derive(Debug, Clone)]
pub struct SetUp {
    /// The engine's address.
    pub docker_host: String,
    /// The places of this host.
    pub dirs: HostDirs,
    /// The door to programs; `PATH` should have the `sbin` directories.
    pub processes: Processes,
}

/// A step on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It was so already.
    Found(String),
    /// It is being done, and may take a while.
    Doing(String),
    /// It was done.
    Done(String),
}

/// Why a host could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// It takes root.
    #[error("only root can {what}")]
    NotRoot {
        /// What has to be done.
        what: &'static str,
        /// The commands that do it, as a person types them.
        commands: Vec<String>,
    },
    /// This is no Debian, so nothing is known about how to install an engine.
    #[error("Docker is missing here, and there is no apt-get to install it with")]
    NoApt,
    /// No engine answers where it was said to be, and that is not where this host's own would be.
    #[error(
        "no engine answers at `{host}`, and only this host's own engine can be started, at `{SYSTEM_SOCKET}`"
    )]
    ForeignEngine {
        /// Where the engine was said to be.
        host: String,
    },
    /// A command failed.
    #[error("`{command}` failed ({how})")]
    Command {
        /// The command, as a person types it.
        command: String,
        /// How it ended.
        how: String,
        /// The last lines that it wrote.
        tail: Vec<String>,
    },
    /// The engine was started and does not answer.
    #[error("the Docker engine was started and does not answer after {} s; it writes to {log}", START_LIMIT.as_secs())]
    Silent {
        /// Where it writes.
        log: String,
        /// The last lines that it wrote, where that is a file.
        tail: Vec<String>,
    },
    /// The engine is part of a swarm in which it cannot deploy.
    #[error("this engine cannot deploy in its swarm: {why}")]
    Swarm {
        /// What is the matter.
        why: String,
    },
    /// There is a network of that name which services cannot use.
    #[error("network `{PROXY}` exists and is a {driver} network, not an overlay")]
    Proxy {
        /// What it is.
        driver: String,
    },
    /// A directory cannot be used.
    #[error(transparent)]
    Dirs(#[from] DirsError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A program could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The demo's images could not be made.
    #[error(transparent)]
    Demo(#[from] DemoError),
}

impl SetUpError {
    /// Returns the last lines of whatever failed, for people.
    #[must_use]
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Command { tail, .. } | Self::Silent { tail, .. } => tail,
            _ => &[],
        }
    }

    /// Returns the commands that would do what this process may not.
    #[must_use]
    pub fn commands(&self) -> &[String] {
        match self {
            Self::NotRoot { commands, .. } => commands,
            _ => &[],
        }
    }
}

/// Sets the host up and tells `progress` what it finds and does.
///
/// # Errors
/// [`SetUpError`]; what was done before it stays, and the next call goes on from there.
pub async fn set_up(set_up: &SetUp, progress: &mut dyn FnMut(Step)) -> Result<(), SetUpError> {
    for (what, path) in [
        ("lock directory", &set_up.dirs.locks),
        ("runs directory", &set_up.dirs.runs),
        ("state directory", &set_up.dirs.state),
    ] {
        ensure_writable(what, path)?;
    }
    let engine = docker::ready(set_up, progress).await?;
    docker::client(set_up, progress).await?;
    swarm(&engine, progress).await?;
    network(&engine, progress).await?;
    overlay_port(set_up, &engine, progress).await?;
    images(set_up, &engine, progress).await
}

async fn swarm(engine: &Engine, progress: &mut dyn FnMut(Step)) -> Result<(), SetUpError> {
    let facts = engine.host_facts().await?;
    let why = match facts.membership {
        Membership::Manager => {
            engine.is_alone().await?;
            progress(Step::Found("this node manages a swarm".to_owned()));
            return Ok(());
        }
        Membership::None => {
            engine.init_swarm().await?;
            progress(Step::Done("made this engine a swarm of one".to_owned()));
            return Ok(());
        }
        Membership::Worker => {
            "it is a worker; use a manager, or `docker node promote` it".to_owned()
        }
        Membership::Locked => "the swarm is locked; `docker swarm unlock` it".to_owned(),
        Membership::Broken => facts.swarm_error,
    };
    Err(SetUpError::Swarm { why })
}

async fn network(engine: &Engine, progress: &mut dyn FnMut(Step)) -> Result<(), SetUpError> {
    match engine.network_driver(PROXY).await? {
        Some(driver) if driver == "overlay" => {
            progress(Step::Found(format!("overlay network `{PROXY}` is there")));
            Ok(())
        }
        Some(driver) => Err(SetUpError::Proxy { driver }),
        None => {
            engine.create_overlay(PROXY).await?;
            progress(Step::Done(format!("created overlay network `{PROXY}`")));
            Ok(())
        }
    }
}

/// Closes overlay networks to containers, where that can be done: what runs by hand goes on without it.
async fn overlay_port(
    set_up: &SetUp,
    engine: &Engine,
    progress: &mut dyn FnMut(Step),
) -> Result<(), SetUpError> {
    let port = engine.data_path_port().await?;
    progress(
        match super::overlay_port::close(&set_up.processes, port).await {
            Ok(true) => Step::Done(format!(
                "closed UDP {port}, the way into overlay networks, to containers"
            )),
            Ok(false) => Step::Found(format!(
                "UDP {port}, the way into overlay networks, is closed to containers"
            )),
            Err(reason) => Step::Found(format!(
                "UDP {port}, the way into overlay networks, is not known to be closed to containers: {reason}"
            )),
        },
    );
    Ok(())
}

async fn images(
    set_up: &SetUp,
    engine: &Engine,
    progress: &mut dyn FnMut(Step),
) -> Result<(), SetUpError> {
    let dir = set_up.dirs.state.join("demo");
    let fallback = demo::image::Fallback::Package;
    let origin = demo::images(engine, &set_up.processes, &dir, fallback).await?;
    progress(match origin {
        Origin::Kept => Step::Found("the demo's images are there".to_owned()),
        Origin::Host(path) => Step::Done(format!("made the demo's images from {}", path.display())),
        Origin::Registry => {
            Step::Done("made the demo's images from the registry's busybox".to_owned())
        }
        Origin::Package => Step::Done(
            "made the demo's images from Debian's busybox-static (unpacked, not installed)"
                .to_owned(),
        ),
    });
    Ok(())
}
