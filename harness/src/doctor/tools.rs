//! Programs on `PATH`, and the kernel's part in Swarm.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Check, Status};
use crate::abra::proof::{COMMAND, Proof};
use crate::abra::{Abra, AbraError};
use crate::host::{self, Ipvs};
use engine::dirs::HostDirs;
use engine::process::{Cmd, Processes};

/// How long a program may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(60);

/// The oldest Docker client that runs work with.
const OLDEST_CLIENT: (u32, u32) = (20, 10);

pub(super) async fn checks(processes: &Processes, host: &HostDirs) -> Vec<Check> {
    let (client, abra, git, pytest) = futures_util::join!(
        client(processes),
        abra(processes, host),
        program(processes, "git"),
        program(processes, "pytest"),
    );
    let git = match git {
        Program::Works(version) => Check::new("git", "git", Status::Ok, version),
        Program::Missing => Check::new(
            "git",
            "git",
            Status::Ok,
            "not on PATH; recipe-ci does without, only a recipe's own tests could miss it",
        ),
        Program::Broken(how) => {
            Check::new("git", "git", Status::Warn, how).by_hand("git --version")
        }
    };
    let install = "apt-get install python3-pytest";
    let pytest = match pytest {
        Program::Works(version) => Check::new("pytest", "pytest", Status::Ok, version),
        Program::Missing => Check::new(
            "pytest",
            "pytest",
            Status::Warn,
            "not on PATH; a recipe with Python tests cannot be run",
        )
        .by_hand(install),
        Program::Broken(how) => Check::new(
            "pytest",
            "pytest",
            Status::Warn,
            format!("{how}; a recipe with Python tests cannot be run"),
        )
        .by_hand(install),
    };
    vec![client, abra, git, pytest]
}

/// Says which driver `--driver auto` takes. A host may well do without abra, so none of it is a fault.
async fn abra(processes: &Processes, host: &HostDirs) -> Check {
    let check = |status, found: String| Check::new("abra", "abra", status, found);
    let stack = "`--driver auto` takes the embedded driver";
    // It is asked for its version alone; no engine.
    match Abra::find(processes, &host.abra, "").await {
        Err(AbraError::Missing) => check(Status::Ok, format!("not on PATH; {stack}")),
        Err(error) => check(Status::Warn, format!("{error}; {stack}")).by_hand("abra --version"),
        Ok(abra) => {
            let place = format!("{} at {}", abra.version, abra.program.display());
            match Proof::lacks(&host.state, &abra.program, &abra.version) {
                None => check(
                    Status::Ok,
                    format!("{place}; it kept its contract, and `--driver auto` takes it"),
                ),
                Some(why) => check(
                    Status::Ok,
                    format!("{place}; {why}, so {stack}; `{COMMAND}` checks it"),
                ),
            }
        }
    }
}

async fn client(processes: &Processes) -> Check {
    let check = |status, found: String| Check::new("client", "Docker client", status, found);
    let install = "apt-get install docker.io   # docker-cli since Debian 13";
    let Some(path) = processes.which("docker") else {
        return check(
            Status::Fail,
            "not on PATH; `docker stack deploy` is its work".to_owned(),
        )
        .by_hand(install);
    };
    let path = path.display();
    match host::client_version(processes).await {
        Some(version) if version >= OLDEST_CLIENT => {
            check(Status::Ok, format!("{}.{} at {path}", version.0, version.1))
        }
        Some(version) => check(
            Status::Fail,
            format!(
                "{}.{} at {path}: too old, 20.10 is the oldest that works",
                version.0, version.1
            ),
        )
        .by_hand(install),
        None => check(
            Status::Fail,
            format!("{path} does not say a version that is known; is it Docker's own?"),
        )
        .by_hand(install),
    }
}

/// What became of asking a program for its version.
enum Program {
    Missing,
    Broken(String),
    Works(String),
}

async fn program(processes: &Processes, name: &str) -> Program {
    let Some(path) = processes.which(name) else {
        return Program::Missing;
    };
    let cmd = Cmd::new(&path, Path::new("/")).arg("--version");
    match processes.run(&cmd, VERSION_LIMIT).await {
        Ok(finished) if finished.success() => Program::Works(
            finished
                .tail
                .iter()
                .find(|line| !line.is_empty())
                .cloned()
                .unwrap_or_else(|| path.display().to_string()),
        ),
        Ok(finished) => Program::Broken(format!(
            "`{} --version` ended with {}",
            path.display(),
            finished.how()
        )),
        Err(error) => Program::Broken(super::in_full(&error)),
    }
}

/// Returns whether a run gets a control group of its own; `found` is where, or why not.
pub(super) fn control_group(found: &io::Result<PathBuf>) -> Check {
    let check = |status, found: String| Check::new("cgroup", "control groups", status, found);
    match found {
        Ok(home) => check(
            Status::Ok,
            format!("each run has one, below `{}`", home.display()),
        ),
        Err(error) => check(
            Status::Warn,
            format!(
                "a run can make none here ({error}): when both of its processes are killed, a child of it that cleared \
                 its environment stays"
            ),
        ),
    }
}

pub(super) fn ipvs(root: &Path) -> Check {
    let check = |status, found: &str| Check::new("ipvs", "kernel IPVS", status, found);
    match host::ipvs(root) {
        Ipvs::Works => check(Status::Ok, "the kernel has it, and lets the engine use it"),
        Ipvs::Loadable => check(
            Status::Ok,
            "a module of this kernel (/lib/modules); the engine loads it",
        ),
        Ipvs::Denied => check(
            Status::Warn,
            "the kernel has it and denies it to this container: service addresses and published ports lead nowhere. \
             Runs deploy with `dnsrr` and host ports instead and say so in their reports",
        )
        .by_hand("# a virtual machine, or a container with the privileges of its host"),
        Ipvs::Absent => check(
            Status::Warn,
            "neither loaded nor a module of this kernel: service addresses and published ports lead nowhere. \
             Runs deploy with `dnsrr` and host ports instead and say so in their reports",
        )
        .by_hand("sudo modprobe ip_vs   # or a kernel that has it"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn with(programs: &[(&str, &str)]) -> (tempfile::TempDir, Processes) {
        let dir = tempfile::tempdir().unwrap();
        for (name, body) in programs {
            let path = dir.path().join(name);
            engine::process::write_program(&path, &format!("#!/bin/sh\n{body}\n"));
        }
        let path = BTreeMap::from([("PATH".into(), dir.path().as_os_str().to_owned())]);
        (dir, Processes::new(path))
    }

    async fn statuses(processes: &Processes) -> Vec<(&'static str, Status)> {
        checks(processes, &HostDirs::below(Path::new("/nowhere")))
            .await
            .iter()
            .map(|check| (check.id, check.status))
            .collect()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn only_a_docker_client_is_indispensable() {
        let (_dir, processes) = with(&[]);
        assert_eq!(
            statuses(&processes).await,
            [
                ("client", Status::Fail),
                ("abra", Status::Ok),
                ("git", Status::Ok),
                ("pytest", Status::Warn)
            ]
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn programs_that_fail_or_are_too_old_are_told_from_good_ones() {
        let host = HostDirs::below(Path::new("/nowhere"));
        let (_dir, processes) = with(&[
            ("docker", "echo 'Docker version 19.03.15, build 99e3ed8919'"),
            ("abra", "exit 3"),
            ("git", "echo git version 2.39.5"),
            ("pytest", "echo pytest 7.2.1"),
        ]);
        assert_eq!(
            statuses(&processes).await,
            [
                ("client", Status::Fail),
                ("abra", Status::Warn),
                ("git", Status::Ok),
                ("pytest", Status::Ok)
            ]
        );
        let found = &checks(&processes, &host).await[2].found;
        assert_eq!(found, "git version 2.39.5");
    }
}
