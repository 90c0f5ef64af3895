//! No project that the policy accepts for a stranger makes Docker's client touch what is not the run's.
//!
//! Proposals are generated, judged as a stranger's, and what is accepted is deployed to an engine that remembers every
//! request, with an object of somebody else in it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use harness::trust::grant::{Bind, Foreign, Routers, VolumeOptions};
use harness::trust::{Grant, Level};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;

use crate::deployed::{Bench, clients};
use crate::projects::{HOST, MADE, Place, Proposal, proposals};
use crate::recorder::{Kind, Request};

const STACK: &str = "evil-00aa11_ci_localhost";
const DOMAIN: &str = "evil-00aa11.ci.localhost";
const VICTIM: &str = "victim_data";

/// How many proposals are made; Docker sees those that are accepted.
const PROPOSALS: u32 = 250;

/// How many of a source that is granted something.
const GRANTED: u32 = 80;

fn is_own(name: &str) -> bool {
    name.starts_with(&format!("{STACK}_"))
}

/// Returns what the requests do beyond the run's own and what `grant` lists.
fn foreign(requests: &[Request], place: Place, grant: &Grant) -> Vec<String> {
    let lent = &grant.foreign;
    let of_host = format!("{HOST}_proxy");
    let may_use =
        |name: &str, listed: &[String]| is_own(name) || listed.iter().any(|one| one == name);
    let may_join =
        |name: &str| may_use(name, &lent.networks) || place == Place::Guest && name == of_host;
    let mut found = Vec::new();
    for request in requests {
        let name = request.name();
        let may_see = |kind: &str| match kind {
            "networks" => may_join(name),
            "secrets" => may_use(name, &lent.secrets),
            "configs" => may_use(name, &lent.configs),
            _ => false,
        };
        // What is lent is looked up, and never made or changed.
        let kind = request.path.split('/').next().unwrap_or_default();
        if !is_own(name) && (request.changes() || !may_see(kind)) {
            found.push(format!("{} {} {name}", request.method, request.path));
        }
        let container = &request.body["TaskTemplate"]["ContainerSpec"];
        let mut others = Vec::new();
        let mut named = |names: Vec<String>, may: &dyn Fn(&str) -> bool| {
            others.extend(names.into_iter().filter(|name| !may(name)));
        };
        named(
            texts(&request.body["TaskTemplate"]["Networks"], "Target"),
            &may_join,
        );
        named(texts(&container["Secrets"], "SecretName"), &|name| {
            may_use(name, &lent.secrets)
        });
        named(texts(&container["Configs"], "ConfigName"), &|name| {
            may_use(name, &lent.configs)
        });
        for mount in items(&container["Mounts"]) {
            let reads = mount["ReadOnly"] == true;
            match (
                mount["Type"].as_str().unwrap_or_default(),
                mount["Source"].as_str(),
            ) {
                ("tmpfs" | "volume", None) => {}
                ("volume", Some(source)) => {
                    named(vec![source.to_owned()], &|name| {
                        may_use(name, &lent.volumes)
                    });
                }
                ("bind", Some(source)) if grant.allows_bind(source.as_ref(), !reads) => {}
                (kind, source) => found.push(format!("{kind} {source:?}")),
            }
            let driver = &mount["VolumeOptions"]["DriverConfig"];
            let source = mount["Source"].as_str().unwrap_or_default();
            let key = source.trim_start_matches(&format!("{STACK}_"));
            if !grant.volume_options.allow(key)
                && (!driver["Options"].is_null()
                    || !matches!(driver["Name"].as_str(), None | Some("" | "local")))
            {
                found.push(format!("driver {driver}"));
            }
        }
        for port in items(&request.body["EndpointSpec"]["Ports"]) {
            let number = u16::try_from(port["PublishedPort"].as_u64().unwrap_or(0)).unwrap();
            if !grant.allows_port(number, port["Protocol"].as_str().unwrap_or("tcp")) {
                found.push(format!("port {port}"));
            }
        }
        found.extend(others);
        found.extend(beside_the_gateway(&request.body));
        found.extend(routed(&request.body, &grant.routers));
    }
    found
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn texts(list: &Value, key: &str) -> Vec<String> {
    let texts = items(list).map(|item| item[key].as_str().unwrap_or_default());
    texts.map(str::to_owned).collect()
}

/// Returns the names that a service answers to on the network that the gateway joins, and under which the gateway may
/// look for somebody else.
fn beside_the_gateway(service: &Value) -> Vec<String> {
    let gateways = format!("{STACK}_recipe-ci-gateway");
    let networks = items(&service["TaskTemplate"]["Networks"]);
    let joined: Vec<&Value> = networks
        .filter(|network| network["Target"] == gateways.as_str())
        .collect();
    if joined.is_empty() {
        return Vec::new();
    }
    let container = &service["TaskTemplate"]["ContainerSpec"];
    let aliases = joined.iter().flat_map(|network| items(&network["Aliases"]));
    let names = aliases.chain([&container["Hostname"]]);
    names
        .filter_map(Value::as_str)
        .filter(|name| !is_own(name) && !matches!(*name, "app" | DOMAIN))
        .map(|name| format!("the gateway finds it as {name}"))
        .collect()
}

/// Returns what a service's labels make of the gateway that is neither the run's nor granted.
fn routed(service: &Value, routers: &Routers) -> Vec<String> {
    let labels: BTreeMap<String, String> =
        serde_json::from_value(service["Labels"].clone()).unwrap_or_default();
    let mut found = Vec::new();
    for (label, value) in labels {
        let parts: Vec<&str> = label.splitn(5, '.').collect();
        let ["traefik", "http" | "tcp", _, name, option] = parts[..] else {
            continue;
        };
        let is_named = |listed: &String| listed == name;
        if !name.starts_with(STACK) && !routers.names.iter().any(is_named) {
            found.push(format!("router {label}"));
        }
        if option == "priority" && !routers.priority {
            found.push(format!("{label}={value}"));
        }
        let texts: Vec<&str> = value.split('`').skip(1).step_by(2).collect();
        let mut hosts = texts
            .iter()
            .filter(|text| !text.starts_with('/'))
            .peekable();
        let is_any = hosts.peek().is_none();
        let is_foreign = |host: &&&str| {
            let below = host.ends_with(&format!(".{DOMAIN}"));
            **host != DOMAIN && !below && !routers.hosts.iter().any(|one| one == **host)
        };
        if option == "rule" && (is_any || hosts.any(|host| is_foreign(&host))) {
            found.push(format!("{label}={value}"));
        }
    }
    found
}

/// How many proposals were judged in a way, and what came of them.
#[derive(Default)]
struct Tally {
    accepted: Cell<u32>,
    deployed: Cell<u32>,
    /// Services on a network with the gateway, and guests.
    gateway: Cell<u32>,
    guests: Cell<u32>,
    /// Those in which a grant was used: without it they would do what is not the run's.
    lent: Cell<u32>,
}

/// An engine that remembers, with objects of somebody else in it, and whom proposals are judged as.
struct Court<'a> {
    dir: tempfile::TempDir,
    bench: Bench,
    level: &'a Level,
    grant: &'a Grant,
    tally: Tally,
}

impl<'a> Court<'a> {
    fn new(level: &'a Level, grant: &'a Grant) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (of_host, made) = (
            format!("{HOST}_proxy"),
            MADE.replace("${STACK_NAME}", STACK),
        );
        let existing = [Kind::Network, Kind::Secret, Kind::Config].map(|kind| {
            [
                (kind, VICTIM),
                (kind, "proxy"),
                (kind, "other-00aa11_ci_localhost_data"),
                (kind, of_host.as_str()),
            ]
        });
        let existing = [existing.as_flattened(), &[(Kind::Secret, made.as_str())]].concat();
        let bench = Bench::with(dir.path().join("bench"), &existing);
        Self {
            dir,
            bench,
            level,
            grant,
            tally: Tally::default(),
        }
    }

    /// Deploys a proposal if it is accepted; returns what it asks for beyond the grant.
    fn deploy(&self, proposal: &Proposal) -> Result<(), String> {
        let root = self.dir.path().join("recipe");
        let client = &clients()[0];
        let Some(judged) = proposal.judged(&root, STACK, self.level.clone(), client.schema) else {
            return Ok(());
        };
        let (said, requests) = self.bench.deploy_resolved(client, judged.resolved(), STACK);
        let beyond = foreign(&requests, proposal.place, self.grant);
        if !beyond.is_empty() {
            return Err(format!("{beyond:?}"));
        }
        let count = |cell: &Cell<u32>, is: bool| cell.set(cell.get() + u32::from(is));
        let without = foreign(&requests, proposal.place, &Grant::default());
        count(&self.tally.lent, !without.is_empty());
        // Docker may refuse it; what it has asked for until then was looked at.
        count(&self.tally.accepted, true);
        count(&self.tally.deployed, said.is_none());
        let targets = requests
            .iter()
            .flat_map(|request| texts(&request.body["TaskTemplate"]["Networks"], "Target"));
        let targets: Vec<String> = targets.collect();
        let joins = |end: &str| targets.iter().any(|target| target.ends_with(end));
        count(&self.tally.gateway, joins("_recipe-ci-gateway"));
        count(&self.tally.guests, joins(&format!("{HOST}_proxy")));
        Ok(())
    }
}

/// Deploys every proposal that is accepted as of `level`, and asserts that what is asked for stays within `grant`.
fn deploy_all(level: &Level, grant: &Grant, cases: u32) -> Tally {
    let court = Court::new(level, grant);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&proposals(VICTIM), |proposal| {
        court.deploy(&proposal).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    court.tally
}

/// A service that uses a part of the grant each: what a stranger may not have.
const GRANTED_PARTS: [&str; 7] = [
    "volumes: [\"data:/d\"]}}\nvolumes: {data: {external: true, name: VICTIM}}",
    "secrets: [x]}}\nsecrets: {x: {external: true, name: VICTIM}}",
    "configs: [x]}}\nconfigs: {x: {external: true, name: VICTIM}}",
    "networks: [x]}}\nnetworks: {x: {external: true, name: VICTIM}}",
    "volumes: [\"/srv:/d\"]}}",
    "ports: [{target: 80, published: 8080, mode: host}]}}",
    "deploy: {labels: [traefik.enable=true, \"traefik.http.routers.${STACK_NAME}.rule=Host(`victim.example.org`)\", \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80\"]}}}",
];

#[test]
fn what_the_policy_accepts_of_a_stranger_touches_nothing_but_the_runs_own() {
    let tally = deploy_all(&Level::Stranger, &Grant::default(), PROPOSALS);
    let (accepted, deployed) = (tally.accepted.get(), tally.deployed.get());
    assert!(
        accepted > PROPOSALS / 10 && deployed > accepted / 2 && accepted < PROPOSALS,
        "of {PROPOSALS} proposals {accepted} were accepted and {deployed} deployed: that shows little"
    );
    assert_eq!(tally.lent.get(), 0);
    // Not by chance: which proposals the gateway can serve is decided by all of their labels.
    let text = "version: \"3.8\"\nservices: {app: {image: nginx:1.27.0, networks: [proxy], deploy: {labels: \
                [traefik.enable=true, \"traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)\", \
                \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80\"]}}}\n\
                networks: {proxy: {external: true}}\n";
    for (place, joined) in [
        (Place::Gateway, (1, 0)),
        (Place::Guest, (0, 1)),
        (Place::Direct, (0, 0)),
    ] {
        let files = vec![("compose.yml".to_owned(), text.to_owned())];
        let nothing = Grant::default();
        let court = Court::new(&Level::Stranger, &nothing);
        assert_eq!(court.deploy(&Proposal { files, place }), Ok(()));
        let tally = court.tally;
        assert_eq!((tally.gateway.get(), tally.guests.get()), joined);
        assert_eq!((tally.deployed.get(), tally.lent.get()), (1, 0));
    }
}

#[test]
fn what_the_policy_accepts_of_a_granted_source_stays_inside_its_grant() {
    let victim = || vec![VICTIM.to_owned()];
    let grant = Grant {
        binds: vec![Bind {
            path: "/srv".into(),
            write: true,
        }],
        ports: vec!["8080".to_owned()],
        foreign: Foreign {
            volumes: victim(),
            secrets: victim(),
            configs: victim(),
            networks: victim(),
        },
        volume_options: VolumeOptions::Listed(vec!["data".to_owned()]),
        routers: Routers {
            hosts: vec!["victim.example.org".to_owned()],
            ..Routers::default()
        },
        ..Grant::default()
    };
    let level = Level::Granted(Box::new(grant.clone()));
    for part in GRANTED_PARTS {
        let text = format!("version: \"3.8\"\nservices: {{app: {{image: nginx:1.27.0, {part}");
        let proposal = Proposal {
            files: vec![("compose.yml".to_owned(), text.replace("VICTIM", VICTIM))],
            place: Place::Direct,
        };
        let granted = Court::new(&level, &grant);
        assert_eq!(granted.deploy(&proposal), Ok(()), "{text}");
        assert_eq!(
            granted.tally.lent.get(),
            1,
            "it uses nothing of the grant: {text}"
        );
        // Refused, or left out.
        let nothing = Grant::default();
        let stranger = Court::new(&Level::Stranger, &nothing);
        assert_eq!(stranger.deploy(&proposal), Ok(()), "{text}");
    }
    let tally = deploy_all(&level, &grant, GRANTED);
    let (accepted, deployed) = (tally.accepted.get(), tally.deployed.get());
    assert!(
        accepted > GRANTED / 10 && deployed > accepted / 2 && accepted < GRANTED,
        "of {GRANTED} proposals {accepted} were accepted and {deployed} deployed: that shows little"
    );
}

#[test]
fn what_a_person_deploys_by_hand_may_touch_what_is_foreign_and_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with(dir.path().join("bench"), &[(Kind::Secret, "victim_data")]);
    let client = &clients()[0];
    let text = r#"{"version": "3.8", "services": {"app": {"image": "a", "secrets": ["s"], "volumes": ["v1:/v", "/etc:/e"],
        "ports": ["80:80"]}}, "secrets": {"s": {"external": true, "name": "victim_data"}},
        "volumes": {"v1": {"name": "victim_data"}}}"#;
    let proposal = Proposal {
        files: vec![("compose.yml".to_owned(), text.to_owned())],
        place: Place::Direct,
    };
    let root = dir.path().join("recipe");
    assert!(
        proposal
            .judged(&root, STACK, Level::Stranger, client.schema)
            .is_none()
    );
    let judged = proposal
        .judged(&root, STACK, Level::ByHand, client.schema)
        .unwrap();
    let (said, requests) = bench.deploy_resolved(client, judged.resolved(), STACK);
    assert_eq!(said, None);
    let found = foreign(&requests, proposal.place, &Grant::default());
    assert_eq!(found.len(), 4, "{found:?}");
}

/// What is set or left out of a stranger's service, and the words by which a report says so.
const DEVIATIONS: [(&str, &str); 14] = [
    ("deploy/resources/limits/memory", "limited to memory "),
    ("deploy/resources/limits/cpus", "limited to cpus "),
    ("deploy/resources/limits/pids", " processes a task"),
    (
        "deploy/resources/reservations/memory",
        "reserves nothing of the host",
    ),
    (
        "deploy/resources/reservations/cpus",
        "reserves nothing of the host",
    ),
    ("deploy/restart_policy/delay", "started again after "),
    ("deploy/labels", "labels are not deployed"),
    ("labels", "labels are not deployed"),
    ("logging", "limited to a log of "),
    ("volumes", "a tmpfs is limited to "),
    ("cap_drop", "has no raw sockets"),
    ("healthcheck", "checked for health once a second"),
    ("ports", "ports are not published"),
    ("stop_grace_period", "stopped within "),
];

/// Returns the paths at which two documents differ; a list is one value.
fn differing(path: &str, one: &Value, other: &Value) -> Vec<String> {
    let (nothing, null) = (serde_json::Map::new(), Value::Null);
    let map = |value: &Value| match value {
        Value::Object(map) => Some(map.clone()),
        Value::Null => Some(nothing.clone()),
        _ => None,
    };
    if one == other {
        return Vec::new();
    }
    let (Some(mine), Some(theirs)) = (map(one), map(other)) else {
        return vec![path.to_owned()];
    };
    let keys: BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
    let of =
        |map: &serde_json::Map<String, Value>, key: &str| map.get(key).unwrap_or(&null).clone();
    let below = keys.into_iter().flat_map(|key| {
        let path = format!("{path}/{key}");
        differing(&path, &of(&mine, key), &of(&theirs, key))
    });
    below.collect()
}

/// What is not listed as a deviation is deployed as the recipe's files say, which is what `deployed.rs` holds against
/// Docker.
#[test]
fn what_is_deployed_of_a_stranger_otherwise_than_by_hand_is_listed_as_a_deviation() {
    let dir = tempfile::tempdir().unwrap();
    let (mut runner, strategy) = (TestRunner::deterministic(), proposals(VICTIM));
    let mut seen = BTreeSet::new();
    for _ in 0..PROPOSALS {
        let mut proposal = strategy.new_tree(&mut runner).unwrap().current();
        proposal.place = Place::Direct;
        let judged = |level| proposal.judged(dir.path(), STACK, level, "3.13");
        let (Some(stranger), Some(by_hand)) = (judged(Level::Stranger), judged(Level::ByHand))
        else {
            continue;
        };
        let (deployed, as_it_is) = (stranger.resolved(), by_hand.resolved());
        let lines = || {
            deployed
                .deviations
                .iter()
                .filter(|line| !as_it_is.deviations.contains(line))
        };
        for path in differing("", as_it_is.document(), deployed.document()) {
            let parts: Vec<&str> = path.splitn(4, '/').collect();
            let (name, words) = match parts[..] {
                // So that the client takes what is filled in.
                ["", "version"] => continue,
                ["", "services", name, key] => {
                    let known = DEVIATIONS.iter().find(|(at, _)| key.starts_with(at));
                    let (_, words) = known.unwrap_or_else(|| panic!("{path} of {proposal:?}"));
                    (format!("`{name}`"), *words)
                }
                ["", section, name, key] if key.starts_with("labels") => {
                    (format!("`{section}.{name}`"), "labels are not deployed")
                }
                _ => panic!("{path} of {proposal:?}"),
            };
            let said = lines().any(|line| line.contains(words) && line.contains(&name));
            assert!(said, "{path}: {:?} of {proposal:?}", deployed.deviations);
            seen.insert(words);
        }
    }
    let all: BTreeSet<&str> = DEVIATIONS.iter().map(|(_, words)| *words).collect();
    assert_eq!(seen, all, "the proposals ask for too little");
}
