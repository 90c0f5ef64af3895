//! No project that the policy accepts for a stranger makes Docker's client touch what is not the run's.
//!
//! Proposals are generated, judged as a stranger's, and what is accepted is deployed to an engine that remembers every
//! request, with an object of somebody else in it.

use std::cell::Cell;

use harness::trust::Level;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;

use crate::deployed::{Bench, clients};
use crate::projects::{Proposal, proposals};
use crate::recorder::{Kind, Request};

const STACK: &str = "evil-00aa11_ci_localhost";

/// How many proposals are made; Docker sees those that are accepted.
const PROPOSALS: u32 = 250;

/// Returns what the requests name that is not the run's.
fn foreign(requests: &[Request]) -> Vec<String> {
    let is_own = |name: &str| name.starts_with(&format!("{STACK}_"));
    let mut found = Vec::new();
    for request in requests {
        if !is_own(request.name()) {
            found.push(format!(
                "{} {} {}",
                request.method,
                request.path,
                request.name()
            ));
        }
        let task = &request.body["TaskTemplate"];
        let container = &task["ContainerSpec"];
        let names = |list: &Value, key: &str| -> Vec<String> {
            let items = list.as_array().into_iter().flatten();
            items
                .map(|item| item[key].as_str().unwrap_or_default().to_owned())
                .collect()
        };
        let mut named = names(&task["Networks"], "Target");
        named.extend(names(&container["Secrets"], "SecretName"));
        named.extend(names(&container["Configs"], "ConfigName"));
        for mount in container["Mounts"].as_array().into_iter().flatten() {
            match (
                mount["Type"].as_str().unwrap_or_default(),
                mount["Source"].as_str(),
            ) {
                ("tmpfs" | "volume", None) => {}
                ("volume", Some(source)) => named.push(source.to_owned()),
                (kind, source) => found.push(format!("{kind} {source:?}")),
            }
            let driver = &mount["VolumeOptions"]["DriverConfig"];
            if !driver["Options"].is_null()
                || !matches!(driver["Name"].as_str(), None | Some("" | "local"))
            {
                found.push(format!("driver {driver}"));
            }
        }
        if request.body["EndpointSpec"]["Ports"]
            .as_array()
            .is_some_and(|ports| !ports.is_empty())
        {
            found.push(format!("ports {}", request.body["EndpointSpec"]["Ports"]));
        }
        found.extend(named.into_iter().filter(|name| !is_own(name)));
    }
    found
}

#[test]
fn what_the_policy_accepts_of_a_stranger_touches_nothing_but_the_runs_own() {
    const VICTIM: &str = "victim_data";
    let dir = tempfile::tempdir().unwrap();
    let existing = [Kind::Network, Kind::Secret, Kind::Config].map(|kind| {
        [
            (kind, VICTIM),
            (kind, "proxy"),
            (kind, "other-00aa11_ci_localhost_data"),
        ]
    });
    let bench = Bench::with(dir.path().join("bench"), existing.as_flattened());
    let client = &clients()[0];
    let config = Config {
        cases: PROPOSALS,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let (accepted, deployed) = (Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(config).run(&proposals(VICTIM), |proposal| {
        let root = dir.path().join("recipe");
        let Some(judged) = proposal.judged(&root, STACK, Level::Stranger, client.schema) else {
            return Ok(());
        };
        accepted.set(accepted.get() + 1);
        let (said, requests) = bench.deploy_resolved(client, judged.resolved(), STACK);
        let foreign = foreign(&requests);
        if !foreign.is_empty() {
            return Err(TestCaseError::fail(format!("{foreign:?}")));
        }
        match said {
            None => deployed.set(deployed.get() + 1),
            // Docker may refuse it; what it has asked for until then was looked at.
            Some(said) => drop(said),
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (accepted, deployed) = (accepted.get(), deployed.get());
    assert!(
        accepted > PROPOSALS / 10 && deployed > accepted / 2 && accepted < PROPOSALS,
        "of {PROPOSALS} proposals {accepted} were accepted and {deployed} deployed: that shows little"
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
    assert_eq!(foreign(&requests).len(), 4, "{:?}", foreign(&requests));
}
