//! A swarm of more nodes: refused before anything is made. A second node needs a second engine, so the answers of one
//! that knows of it are told by a stand-in, in the form of the API (`GET /info`, `GET /nodes`).

use serde_json::{Value, json};

use crate::judged_first::canonical;
use crate::recorder::{Kind, Recorder};
use crate::support::{TestEnv, git};

/// Starts an engine beside one other node of this availability and state; returns it with an environment that has it.
fn beside(availability: &str, state: &str) -> (TestEnv, Recorder) {
    let other = json!({
        "ID": "b", "Spec": {"Role": "manager", "Availability": availability},
        "Description": {"Hostname": "second"}, "Status": {"State": state},
    });
    let mut env = TestEnv::new("unix:///nowhere/docker.sock");
    let proxy = [(Kind::Network, "proxy")];
    let engine = Recorder::start_beside(env.root.join("engine.sock"), &proxy, vec![other]);
    env.set("DOCKER_HOST", engine.address());
    (env, engine)
}

#[test]
fn a_swarm_where_another_node_takes_tasks_is_refused_before_anything_is_made() {
    for state in ["ready", "down"] {
        let (env, engine) = beside("active", state);
        let recipe = env.recipe("notes");
        let path = recipe.to_str().unwrap();
        canonical(&env, &git(&recipe, &["rev-parse", "0.1.0+1.0.0^{commit}"]));
        for command in [
            &["run", path][..],
            &["run", "--quick", path],
            &["demo"],
            &["demo", "--setup"],
            &["janitor"],
            &["janitor", "--dry-run"],
            &["doctor"],
        ] {
            let done = env.run(command);
            done.expect(3);
            let said = [&done.stderr, &done.stdout]
                .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
            let said = said.concat();
            let words = format!("other nodes that take tasks: `second` ({state})");
            assert!(said.contains(&words), "{command:?}: {said}");
            if command[0] != "demo" || command.len() > 1 {
                let fix = "docker node update --availability drain NODE";
                assert!(said.contains(fix), "{command:?}: {said}");
            }
            let changes: Vec<_> = engine
                .take()
                .into_iter()
                .filter(|one| one.changes())
                .collect();
            assert_eq!(changes, [], "{command:?}");
        }
        assert!(!env.run_dirs().is_empty());
        for run in env.run_dirs() {
            assert_eq!(crate::support::read_results(&run)["verdict"], "infra");
        }
        env.assert_quiet();
    }
}

#[test]
fn a_node_that_only_manages_is_no_matter() {
    let (env, _engine) = beside("drain", "ready");
    let done = env.run(["doctor", "--json"]);
    let checks: Value = serde_json::from_str(&done.stdout).unwrap();
    let checks = checks["checks"].as_array().unwrap();
    let nodes = checks.iter().find(|check| check["id"] == "nodes").unwrap();
    assert_eq!(nodes["status"], "ok", "{nodes}");
    // It goes on to what this engine has no answer to.
    let done = env.run(["janitor"]);
    assert!(!done.stderr.contains("other nodes"), "{}", done.stderr);
}

/// It forgets the first failure when the second task has begun, so a service that dies again and again looks as new.
#[test]
fn a_swarm_that_forgets_what_failed_is_refused_before_anything_is_made() {
    for (kept, is_enough) in [(0, false), (1, false), (2, false), (3, true), (-1, true)] {
        let mut env = TestEnv::new("unix:///nowhere/docker.sock");
        let engine = Recorder::start_with_history(env.root.join("engine.sock"), kept);
        env.set("DOCKER_HOST", engine.address());
        let done = env.run(["doctor", "--json"]);
        let checks: Value = serde_json::from_str(&done.stdout).unwrap();
        let checks = checks["checks"].as_array().unwrap();
        let history = checks
            .iter()
            .find(|check| check["id"] == "history")
            .unwrap();
        let status = if is_enough { "ok" } else { "fail" };
        assert_eq!(history["status"], status, "{kept}: {history}");
        if is_enough {
            continue;
        }
        let recipe = env.recipe("notes");
        let done = env.run(["run", recipe.to_str().unwrap()]);
        done.expect(3);
        for words in [&format!("keeps {kept} tasks")[..], "--task-history-limit 5"] {
            assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
        }
        let made = engine.take();
        assert!(!made.iter().any(|one| one.changes()), "{made:?}");
    }
}
