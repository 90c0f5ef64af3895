//! The engine and its client: there already, started, or installed first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{START_LIMIT, SYSTEM_SOCKET, SetUp, SetUpError, Step};
use engine::process::{Cmd, Processes};
use engine::swarm::host::{Socket, probe};
use engine::swarm::{Engine, EngineError};
use engine::wait::{Deadline, Poll, WaitError, poll_until};
use ground::host_file;

/// What `--no-install-recommends` would leave out and an engine needs: without `ca-certificates` it trusts
/// no registry. `iptables`, which it cannot do without, is a dependency of Debian's `docker.io`.
const PACKAGES: [&str; 2] = ["docker.io", "ca-certificates"];

/// The package of the client where it is one of its own.
const CLIENT_PACKAGE: &str = "docker-cli";

/// Where an engine that we started ourselves writes.
const ENGINE_LOG: &str = "/var/log/recipe-ci-dockerd.log";

/// How long apt may take; a slow mirror needs minutes for the 60 MB of an engine.
const APT_LIMIT: Duration = Duration::from_secs(900);

/// How long the engine that a package's own script starts may take, before we start one.
const PACKAGE_START_LIMIT: Duration = Duration::from_secs(5);

/// Returns an engine that answers.
pub(super) async fn ready(
    set_up: &SetUp,
    progress: &mut dyn FnMut(Step),
) -> Result<Engine, SetUpError> {
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
        install(set_up, Package::Engine, progress).await?;
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
enum Package {
    Engine,
    Client,
}

async fn install(
    set_up: &SetUp,
    wanted: Package,
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
        Package::Engine => PACKAGES.to_vec(),
        Package::Client if apart => Vec::new(),
        Package::Client => vec!["docker.io"],
    };
    if apart {
        packages.push(CLIENT_PACKAGE);
    }
    if !is_root() {
        return Err(SetUpError::NotRoot {
            what: match wanted {
                Package::Engine => "install a Docker engine",
                Package::Client => "install a Docker client",
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
pub(super) async fn client(
    set_up: &SetUp,
    progress: &mut dyn FnMut(Step),
) -> Result<(), SetUpError> {
    if set_up.processes.which("docker").is_some() {
        return Ok(());
    }
    install(set_up, Package::Client, progress).await
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
    let text = host_file::text(ENGINE_LOG).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}
