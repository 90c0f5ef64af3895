//! Makes a fresh Debian host ready for runs: an engine, a swarm, the `proxy` network, the demo's images.
//!
//! Every step looks first and changes only what is missing, so it may be called again at any time. It never
//! touches an engine that answers, nor a swarm that exists. It must be called before this process becomes a
//! child subreaper, see [`crate::process`]'s daemons.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::demo::{self, DemoError, Origin};
use crate::dirs::{DirsError, HostDirs, ensure_writable};
use crate::process::{Cmd, ProcessError, Processes};
use crate::swarm::host::{Membership, Socket, probe};
use crate::swarm::{Engine, EngineError};
use crate::wait::{Deadline, Poll, WaitError, poll_until};

/// The overlay network that Co-op Cloud's recipes share with their gateway.
pub const PROXY: &str = "proxy";

/// Where the engine of a Debian host listens.
const SYSTEM_SOCKET: &str = "unix:///var/run/docker.sock";

/// What `--no-install-recommends` would leave out and an engine needs: without `ca-certificates` it trusts
/// no registry. `iptables`, which it cannot do without, is a dependency of Debian's `docker.io`.
const PACKAGES: [&str; 2] = ["docker.io", "ca-certificates"];

/// The package of the client where it is one of its own.
const CLIENT_PACKAGE: &str = "docker-cli";

/// Where an engine that we started ourselves writes.
const ENGINE_LOG: &str = "/var/log/recipe-ci-dockerd.log";

/// How long apt may take; a slow mirror needs minutes for the 60 MB of an engine.
const APT_LIMIT: Duration = Duration::from_secs(900);

/// How long the engine may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long the engine that a package's own script starts may take, before we start one.
const PACKAGE_START_LIMIT: Duration = Duration::from_secs(5);

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
    /// Nobody answers where the engine was said to be, and that is not where this host's own would be.
    #[error(
        "nobody answers at `{host}`, and only this host's own engine can be started, at `{SYSTEM_SOCKET}`"
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
    /// There is a network of that name which is none that services can use.
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
    let engine = engine(set_up, progress).await?;
    client(set_up, progress).await?;
    swarm(&engine, progress).await?;
    network(&engine, progress).await?;
    images(set_up, &engine, progress).await
}

/// Returns an engine that answers.
async fn engine(set_up: &SetUp, progress: &mut dyn FnMut(Step)) -> Result<Engine, SetUpError> {
    if let Some(engine) = answering(&set_up.docker_host).await? {
        let facts = engine.host_facts().await?;
        progress(Step::Found(format!(
            "Docker engine {} answers at {}",
            facts.version, set_up.docker_host
        )));
        return Ok(engine);
    }
    if probe(&set_up.docker_host).await? == Socket::Denied {
        return Err(SetUpError::NotRoot {
            what: "talk to this host's Docker engine",
            commands: vec!["adduser \"$USER\" docker   # then log in again".to_owned()],
        });
    }
    if !is_system_socket(&set_up.docker_host) {
        return Err(SetUpError::ForeignEngine {
            host: set_up.docker_host.clone(),
        });
    }
    if dockerd(&set_up.processes).is_none() {
        install(set_up, Wanted::Engine, progress).await?;
        // The package's own script starts the engine where there is an init system.
        drop(wait_for_answer(&set_up.docker_host, PACKAGE_START_LIMIT).await);
    }
    if answering(&set_up.docker_host).await?.is_none() {
        start(set_up, progress).await?;
    }
    let Some(engine) = answering(&set_up.docker_host).await? else {
        return Err(SetUpError::Silent {
            log: ENGINE_LOG.to_owned(),
            tail: Vec::new(),
        });
    };
    let facts = engine.host_facts().await?;
    progress(Step::Done(format!(
        "Docker engine {} answers at {}",
        facts.version, set_up.docker_host
    )));
    Ok(engine)
}

/// Returns a connection if the engine answers.
async fn answering(host: &str) -> Result<Option<Engine>, SetUpError> {
    if probe(host).await? != Socket::Open {
        return Ok(None);
    }
    let engine = Engine::connect(host)?;
    match engine.info().await {
        Ok(_) => Ok(Some(engine)),
        Err(EngineError::Unreachable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn wait_for_answer(host: &str, limit: Duration) -> Result<(), WaitError<SetUpError>> {
    poll_until(
        Deadline::after(limit),
        Duration::from_millis(200),
        || async {
            Ok(match answering(host).await? {
                Some(_) => Poll::Ready(()),
                None => Poll::NotYet("no answer".to_owned()),
            })
        },
    )
    .await
}

fn is_system_socket(host: &str) -> bool {
    // /var/run is a link to /run on every Debian since 7.
    host == SYSTEM_SOCKET || host == "unix:///run/docker.sock"
}

fn dockerd(processes: &Processes) -> Option<PathBuf> {
    // A user's PATH often lacks sbin.
    processes.which("dockerd").or_else(|| {
        [
            "/usr/sbin/dockerd",
            "/usr/bin/dockerd",
            "/usr/local/bin/dockerd",
        ]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
    })
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn install_command(packages: &[&str]) -> String {
    format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

fn apt(processes: &Processes) -> Result<Cmd, SetUpError> {
    let apt = processes.which("apt-get").ok_or(SetUpError::NoApt)?;
    Ok(Cmd::new(apt, Path::new("/"))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300"]))
}

/// Returns whether the client is a package of its own here, as it is from Debian 13 on; before, it is part
/// of `docker.io`.
async fn has_client_package(processes: &Processes) -> Result<bool, SetUpError> {
    let show = Cmd::new("apt-cache", Path::new("/")).args(["show", CLIENT_PACKAGE]);
    Ok(processes.run(&show, APT_LIMIT).await?.success())
}

/// What is to be installed.
enum Wanted {
    Engine,
    Client,
}

async fn install(
    set_up: &SetUp,
    wanted: Wanted,
    progress: &mut dyn FnMut(Step),
) -> Result<(), SetUpError> {
    let apt = apt(&set_up.processes)?;
    if is_root() {
        progress(Step::Doing("asking apt what there is".to_owned()));
        // A mirror that fails makes `update` fail or only complain; either way `install` is the judge.
        let update = apt.clone().arg("update");
        set_up.processes.run(&update, APT_LIMIT).await?;
    }
    let apart = has_client_package(&set_up.processes).await?;
    let mut packages = match wanted {
        Wanted::Engine => PACKAGES.to_vec(),
        Wanted::Client if apart => Vec::new(),
        Wanted::Client => vec!["docker.io"],
    };
    if apart {
        packages.push(CLIENT_PACKAGE);
    }
    if !is_root() {
        return Err(SetUpError::NotRoot {
            what: match wanted {
                Wanted::Engine => "install a Docker engine",
                Wanted::Client => "install a Docker client",
            },
            commands: vec!["apt-get update".to_owned(), install_command(&packages)],
        });
    }
    let listed = packages.join(", ");
    progress(Step::Doing(format!(
        "installing {listed} (this takes a minute)"
    )));
    let install = apt
        .args(["install", "--no-install-recommends"])
        .args(&packages);
    let finished = set_up.processes.run(&install, APT_LIMIT).await?;
    if !finished.success() {
        return Err(SetUpError::Command {
            command: install_command(&packages),
            how: finished.how(),
            tail: finished.tail,
        });
    }
    progress(Step::Done(format!("installed {listed}")));
    Ok(())
}

/// Makes sure that there is a client: an engine may have come without one.
async fn client(set_up: &SetUp, progress: &mut dyn FnMut(Step)) -> Result<(), SetUpError> {
    if set_up.processes.which("docker").is_some() {
        return Ok(());
    }
    install(set_up, Wanted::Client, progress).await
}

/// Starts the engine by systemd where that runs this host, else by hand.
async fn start(set_up: &SetUp, progress: &mut dyn FnMut(Step)) -> Result<(), SetUpError> {
    // sd_booted(3): this directory tells that systemd is the init system.
    let systemd = Path::new("/run/systemd/system").is_dir();
    if !is_root() {
        let command = if systemd {
            "systemctl start docker"
        } else {
            "service docker start"
        };
        return Err(SetUpError::NotRoot {
            what: "start the Docker engine",
            commands: vec![command.to_owned()],
        });
    }
    progress(Step::Doing("starting the Docker engine".to_owned()));
    let log = if systemd {
        let start = Cmd::new("systemctl", Path::new("/")).args(["start", "docker"]);
        let finished = set_up.processes.run(&start, START_LIMIT).await?;
        if !finished.success() {
            return Err(SetUpError::Command {
                command: "systemctl start docker".to_owned(),
                how: finished.how(),
                tail: finished.tail,
            });
        }
        "the journal: `journalctl -u docker`".to_owned()
    } else {
        let program = dockerd(&set_up.processes).unwrap_or_else(|| PathBuf::from("dockerd"));
        set_up
            .processes
            .spawn_daemon(&Cmd::new(program, Path::new("/")), Path::new(ENGINE_LOG))?;
        format!("`{ENGINE_LOG}`")
    };
    match wait_for_answer(&set_up.docker_host, START_LIMIT).await {
        Ok(()) => Ok(()),
        Err(WaitError::Failed(error)) => Err(error),
        Err(WaitError::TimedOut { .. }) => Err(SetUpError::Silent {
            log,
            tail: if systemd { Vec::new() } else { last_lines() },
        }),
    }
}

fn last_lines() -> Vec<String> {
    let text = std::fs::read_to_string(ENGINE_LOG).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

async fn swarm(engine: &Engine, progress: &mut dyn FnMut(Step)) -> Result<(), SetUpError> {
    let facts = engine.host_facts().await?;
    let why = match facts.membership {
        Membership::Manager => {
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
