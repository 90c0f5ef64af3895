//! The engine, its swarm, its network and its clock.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{Check, Status, Subject, in_full};
use crate::host::{Way, addresses, overlay_port, parse_version, set_up};
use engine::room::{self, State};
use engine::swarm::host::{HostFacts, Membership, Socket, probe};
use engine::swarm::{Engine, EngineError};

/// How long the engine may take for an answer; a healthy one needs milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The oldest engine API that runs work with: that of 20.10.
const OLDEST_API: (u32, u32) = (1, 41);

/// How far the engine's clock may be from ours, in seconds.
const CLOCK_LIMIT_S: i64 = 5;

/// 2024-01-01: before this project began, so a clock that says so is not set.
const EARLIEST: i64 = 1_704_067_200;

const SWARM_COMMAND: &str =
    "docker swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1:2377";

/// What is known of the engine.
pub(super) struct Examined {
    pub(super) checks: Vec<Check>,
    pub(super) root_dir: Option<PathBuf>,
}

pub(super) async fn checks(subject: &Subject) -> Examined {
    let mut checks = Vec::new();
    let mut root_dir = None;
    match reach(subject).await {
        Err(check) => {
            checks.push(check);
            checks.push(clock(None, Timestamp::now()));
        }
        Ok((engine, facts, now)) => {
            checks.push(version(&facts, &subject.docker_host));
            let (swarm, manager) = membership(&facts);
            let deploys = facts.membership == Membership::Manager;
            checks.push(swarm);
            checks.extend(manager);
            if deploys {
                checks.push(nodes(&engine).await);
                checks.push(history(&engine).await);
                checks.push(proxy(&engine).await);
                if !subject.on_ci {
                    checks.push(overlay_port(subject, &engine).await);
                    checks.push(host_addresses(subject, &engine).await);
                }
                checks.extend(super::gateway::old_traefik(&engine, &facts).await);
            }
            checks.push(clock(Some(&facts.time), now));
            // Where CI's own keeps its data is said as it sees it.
            root_dir = (!subject.on_ci).then(|| PathBuf::from(facts.root_dir));
        }
    }
    checks.push(of_ci(subject).await);
    checks.push(of_runs(subject));
    Examined { checks, root_dir }
}

/// Returns the engine with what it says and our time at that moment, or the check that failed.
async fn reach(subject: &Subject) -> Result<(Engine, HostFacts, Timestamp), Check> {
    let host = &subject.docker_host;
    let fail = |found: String| Check::new("engine", "Docker engine", Status::Fail, found);
    match probe(host).await {
        Ok(Socket::Open) => {}
        Ok(Socket::Missing) => {
            return Err(fail(format!("there is none: `{host}` does not exist"))
                .by_hand("recipe-ci demo --setup   # as root; installs and starts it"));
        }
        Ok(Socket::Denied) => {
            return Err(fail(format!("this user may not connect to `{host}`"))
                .by_hand("sudo adduser \"$USER\" docker   # then log in again"));
        }
        Ok(Socket::Refused) => {
            return Err(
                fail(format!("it does not run: nothing listens at `{host}`"))
                    .by_hand("sudo systemctl start docker"),
            );
        }
        Err(error @ EngineError::Unsupported { .. }) => {
            return Err(fail(error.to_string()).by_hand("unset DOCKER_HOST"));
        }
        Err(error) => return Err(fail(in_full(&error)).by_hand("sudo systemctl status docker")),
    }
    let ask = async {
        let engine = Engine::connect(host)?;
        let facts = engine.host_facts().await?;
        Ok::<_, EngineError>((engine, facts, Timestamp::now()))
    };
    let found = match tokio::time::timeout(ANSWER_LIMIT, ask).await {
        Ok(Ok(reached)) => return Ok(reached),
        Ok(Err(error)) => in_full(&error),
        Err(_) => format!(
            "`{host}` accepts connections and does not answer within {} s",
            ANSWER_LIMIT.as_secs()
        ),
    };
    Err(fail(found).by_hand("sudo systemctl restart docker"))
}

fn version(facts: &HostFacts, host: &str) -> Check {
    let found = format!("{} at {host}, API {}", facts.version, facts.api_version);
    let check = |status, found| Check::new("engine", "Docker engine", status, found);
    match parse_version(&facts.api_version) {
        Some(api) if api >= OLDEST_API => check(Status::Ok, found),
        Some(_) => check(
            Status::Fail,
            format!("{found}: too old, 20.10 (API 1.41) is the oldest that works"),
        )
        .by_hand("apt-get install docker.io   # of Debian 12 or newer"),
        None => check(
            Status::Warn,
            format!("{found}: it does not say which API it speaks"),
        ),
    }
}

/// Returns whether containers reach the host's overlay networks from outside them.
async fn overlay_port(subject: &Subject, engine: &Engine) -> Check {
    let check =
        |status, found: String| Check::new("overlay_port", "overlay networks", status, found);
    let port = match engine.data_path_port().await {
        Ok(port) => port,
        Err(error) => {
            return check(Status::Warn, format!("not known: {}", in_full(&error)))
                .by_hand("docker info");
        }
    };
    match overlay_port::look(&subject.processes, port).await {
        Way::Closed => check(Status::Ok, format!("UDP {port} is closed to containers")),
        Way::Open => check(
            Status::Warn,
            format!("containers reach all of them through UDP {port}, until a run of a stranger closes it"),
        )
        .safely(overlay_port::command(port)),
        Way::Unknown(reason) => check(
            Status::Warn,
            format!("not known whether containers reach all of them through UDP {port}: {reason}; runs of strangers end with exit 3"),
        )
        .by_hand(format!("{}   # as root", overlay_port::command(port))),
    }
}

/// Returns whether containers reach what listens at the host's own addresses.
async fn host_addresses(subject: &Subject, engine: &Engine) -> Check {
    let check =
        |status, found: String| Check::new("host_addresses", "host's addresses", status, found);
    let refused = "runs of strangers end with exit 3 without `--accept-shared-engine`";
    if let Ok(Some(odd)) = engine.odd_bridge().await {
        return check(
            Status::Warn,
            format!("`docker_gwbridge` is not as Docker makes it: {odd}; {refused}"),
        )
        .by_hand("https://docs.docker.com/engine/swarm/networking/#customize-the-docker_gwbridge");
    }
    match addresses::look(&subject.processes).await {
        Way::Closed => check(Status::Ok, "closed to containers".to_owned()),
        Way::Open => check(
            Status::Warn,
            format!("containers reach whatever listens there; {refused}"),
        )
        .by_hand(format!(
            "{}   # as root; exceptions: docs/security.md",
            addresses::command()
        )),
        Way::Unknown(reason) => check(
            Status::Warn,
            format!("not known whether containers reach what listens there: {reason}; {refused}"),
        )
        .by_hand(format!("{}   # as root", addresses::command())),
    }
}

/// Returns how CI's own engine stands: that there is none is fine, unless runs are to be on it.
async fn of_ci(subject: &Subject) -> Check {
    let check =
        |status, found: String| Check::new("ci_engine", "engine of CI's own", status, found);
    let bad = if subject.on_ci {
        Status::Fail
    } else {
        Status::Warn
    };
    let up = "recipe-ci engine up   # as root";
    match subject.room.state() {
        Ok(State::Absent { .. }) if !subject.on_ci => check(
            Status::Ok,
            "none; `recipe-ci engine up` starts one for recipes of strangers".to_owned(),
        ),
        Ok(State::Ready(record)) => match subject.room.closed(&subject.processes).await {
            Ok(()) => check(
                Status::Ok,
                format!("{} at {}", record.version, subject.room.docker_host()),
            ),
            Err(why) => check(bad, format!("it may reach this host's addresses: {why}"))
                .by_hand("recipe-ci engine down --keep-data && recipe-ci engine up   # as root"),
        },
        Ok(state) => check(bad, state.why_not_ready().unwrap_or_default()).by_hand(up),
        Err(error) => check(bad, in_full(&error)).by_hand(up),
    }
}

/// Returns whether engines of dead runs are left.
fn of_runs(subject: &Subject) -> Check {
    let check = |status, found: String| Check::new("run_engines", "engines of runs", status, found);
    match room::dead(&subject.dirs.rooms) {
        Ok(dead) if dead.is_empty() => check(Status::Ok, "none is left of a dead run".to_owned()),
        Ok(dead) => {
            let runs: Vec<String> = dead.iter().map(|(room, _)| room.run()).collect();
            let found = format!("left of dead runs: {}", runs.join(", "));
            check(Status::Warn, found).by_hand("recipe-ci janitor   # as root")
        }
        Err(error) => check(Status::Warn, format!("not known: {}", in_full(&error))),
    }
}

/// Closes the host's overlay networks to containers.
///
/// # Errors
/// Why it could not be done.
pub(super) async fn close_overlay_port(subject: &Subject) -> Result<(), String> {
    let engine = Engine::connect(&subject.docker_host).map_err(|error| in_full(&error))?;
    let port = engine
        .data_path_port()
        .await
        .map_err(|error| in_full(&error))?;
    overlay_port::close(&subject.processes, port)
        .await
        .map(drop)
}

/// Returns whether there is a swarm, and whether this node may deploy in it.
fn membership(facts: &HostFacts) -> (Check, Option<Check>) {
    let swarm = |status, found: &str| Check::new("swarm", "swarm", status, found);
    let manager = |status, found: &str| Check::new("manager", "swarm manager", status, found);
    match facts.membership {
        Membership::Manager => (
            swarm(Status::Ok, "active"),
            Some(manager(Status::Ok, "this node is a manager")),
        ),
        Membership::Worker => (
            swarm(Status::Ok, "active"),
            Some(
                manager(
                    Status::Fail,
                    "this node is a worker, and only a manager can deploy",
                )
                .by_hand("docker node promote NODE   # on a manager"),
            ),
        ),
        Membership::None => (
            swarm(Status::Fail, "this engine is in no swarm").safely(SWARM_COMMAND),
            None,
        ),
        Membership::Locked => (
            swarm(Status::Fail, "the swarm is locked").by_hand("docker swarm unlock"),
            None,
        ),
        Membership::Broken => (
            swarm(
                Status::Fail,
                &format!("the swarm does not work: {}", facts.swarm_error),
            )
            .by_hand("docker info   # `Swarm: error` says why"),
            None,
        ),
    }
}

/// Returns whether this node is the only one that takes tasks.
async fn nodes(engine: &Engine) -> Check {
    let check = |status, found: String| Check::new("nodes", "swarm nodes", status, found);
    match engine.is_alone().await {
        Ok(()) => check(Status::Ok, "no other node takes tasks".to_owned()),
        Err(error @ EngineError::NotAlone { .. }) => check(Status::Fail, error.to_string())
            .by_hand("docker node update --availability drain NODE   # or docker node rm NODE"),
        Err(error) => check(Status::Fail, in_full(&error)).by_hand("docker node ls"),
    }
}

/// Returns whether the swarm remembers what failed.
async fn history(engine: &Engine) -> Check {
    let check = |status, found: String| Check::new("history", "swarm history", status, found);
    let remembers = engine.info().await.and_then(|info| info.remembers());
    match remembers {
        Ok(()) => check(Status::Ok, "ended tasks are kept".to_owned()),
        Err(error @ EngineError::Forgets { .. }) => check(Status::Fail, error.to_string())
            .by_hand("docker swarm update --task-history-limit 5"),
        Err(error) => check(Status::Fail, in_full(&error)).by_hand("docker info"),
    }
}

async fn proxy(engine: &Engine) -> Check {
    let check = |status, found: String| Check::new("proxy", "network `proxy`", status, found);
    match engine.network_driver(set_up::PROXY).await {
        Ok(Some(driver)) if driver == "overlay" => check(Status::Ok, "overlay".to_owned()),
        Ok(Some(driver)) => check(
            Status::Fail,
            format!("it is a {driver} network, and services need an overlay"),
        )
        .by_hand(format!(
            "docker network rm proxy && {}",
            set_up::PROXY_COMMAND
        )),
        Ok(None) => check(
            Status::Warn,
            "missing; runs with abra or a gateway need it".to_owned(),
        )
        .safely(set_up::PROXY_COMMAND),
        Err(error) => check(Status::Fail, in_full(&error)).by_hand("docker network ls"),
    }
}

fn clock(engine: Option<&str>, now: Timestamp) -> Check {
    let check = |status, found: String| Check::new("clock", "clock", status, found);
    let ours = now.strftime("%Y-%m-%d %H:%M:%S UTC");
    let fix = "sudo timedatectl set-ntp true";
    if now.as_second() < EARLIEST {
        return check(
            Status::Fail,
            format!("{ours} is in the past; certificates and ages cannot be right"),
        )
        .by_hand(fix);
    }
    match engine.map(str::parse::<Timestamp>) {
        None => check(Status::Ok, ours.to_string()),
        Some(Err(_)) => check(
            Status::Warn,
            format!("{ours}; the engine does not say what time it has"),
        ),
        Some(Ok(theirs)) => {
            let apart = (now.as_second() - theirs.as_second()).abs();
            if apart <= CLOCK_LIMIT_S {
                check(Status::Ok, format!("{ours}, as the engine has it"))
            } else {
                check(
                    Status::Fail,
                    format!(
                        "{ours}, and the engine's is {apart} s off; ages of tasks would be wrong"
                    ),
                )
                .by_hand(fix)
            }
        }
    }
}

pub(super) async fn init_swarm(subject: &Subject) -> Result<(), String> {
    let init = async { Engine::connect(&subject.docker_host)?.init_swarm().await };
    init.await.map_err(|error| in_full(&error))
}

pub(super) async fn create_proxy(subject: &Subject) -> Result<(), String> {
    let create = async {
        let engine = Engine::connect(&subject.docker_host)?;
        if engine.network_driver(set_up::PROXY).await?.is_none() {
            engine.create_overlay(set_up::PROXY).await?;
        }
        Ok::<_, EngineError>(())
    };
    create.await.map_err(|error| in_full(&error))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::doctor) fn facts(membership: Membership) -> HostFacts {
        HostFacts {
            version: "20.10.24+dfsg1".to_owned(),
            api_version: "1.41".to_owned(),
            root_dir: "/var/lib/docker".to_owned(),
            membership,
            swarm_error: String::new(),
            time: "2026-01-01T00:00:04.5Z".to_owned(),
        }
    }

    #[test]
    fn the_oldest_engine_passes_and_an_older_one_fails() {
        let mut facts = facts(Membership::Manager);
        assert_eq!(version(&facts, "unix:///s").status, Status::Ok);
        for (api, status) in [
            ("1.40", Status::Fail),
            ("1.100", Status::Ok),
            ("2.0", Status::Ok),
            ("", Status::Warn),
        ] {
            facts.api_version = api.to_owned();
            assert_eq!(version(&facts, "unix:///s").status, status, "{api}");
        }
    }

    #[test]
    fn a_swarm_is_only_made_safely_where_there_is_none() {
        for (membership_, safe) in [
            (Membership::None, Some(true)),
            (Membership::Locked, Some(false)),
            (Membership::Broken, Some(false)),
            (Membership::Worker, None),
            (Membership::Manager, None),
        ] {
            let (swarm, manager) = membership(&facts(membership_));
            assert_eq!(swarm.fix.map(|fix| fix.safe), safe, "{membership_:?}");
            let expected = (membership_ == Membership::Worker).then_some(Status::Fail);
            let failed = manager
                .map(|check| check.status)
                .filter(|status| *status == Status::Fail);
            assert_eq!(failed, expected, "{membership_:?}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_swarm_of_more_nodes_fails_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine::swarm::testing::engine(dir.path(), |request| {
            let info = r#"{"Swarm": {"NodeID": "a", "Nodes": 2}}"#;
            let nodes = r#"[{"ID": "a"}, {"ID": "b", "Description": {"Hostname": "big"}}]"#;
            (
                200,
                if request.contains("/info") {
                    info
                } else {
                    nodes
                }
                .to_owned(),
            )
        });
        let check = nodes(&engine).await;
        assert_eq!(check.status, Status::Fail);
        assert!(check.found.contains("take tasks: `big`"), "{check:?}");
        assert!(check.fix.is_some_and(|fix| !fix.safe));
    }

    #[test]
    fn a_clock_is_held_against_the_engine_and_the_calendar() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let theirs = Some("2026-01-01T00:00:04.5Z");
        for (engine, now, status) in [
            (theirs, "2026-01-01T00:00:09Z", Status::Ok),
            (theirs, "2026-01-01T00:00:10Z", Status::Fail),
            (None, "2026-01-01T00:00:00Z", Status::Ok),
            (None, "1970-01-01T00:03:00Z", Status::Fail),
            (Some("soon"), "2026-01-01T00:00:00Z", Status::Warn),
        ] {
            assert_eq!(clock(engine, at(now)).status, status, "{engine:?} {now}");
        }
    }
}
