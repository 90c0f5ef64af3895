//! A sample of what the policy accepts of a stranger, on the real engine: all of it bears the run's prefix, and what is
//! somebody else's stays as it is. The requests of many more are looked at in `tests/integration/prefixed.rs`.

use std::time::Duration;

use harness::driver::readback::{self, Deployer};
use harness::name::{Domain, StackName};
use harness::recipe::compose::resolve::Resolved;
use harness::swarm::Engine;
use harness::trust::Level;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::engine::{SOCKET, SwarmEnv, docker};
use crate::projects::{MADE, Place, Proposal, proposals};
use crate::support::command;
use crate::wait::wait_for;

/// How many accepted proposals are deployed.
const SAMPLE: usize = 5;

/// What their services run on: it is on the host, so that tasks start and volumes are made.
const IMAGE: &str = "recipe-ci/notes:1";

/// The kinds of objects that a stack has, and how they are listed with a label.
const KINDS: [&str; 5] = ["service", "network", "secret", "config", "volume"];

/// A deployed proposal.
struct Deployed {
    proposal: Proposal,
    stack: StackName,
    resolved: Resolved,
    joins: bool,
}

impl Deployed {
    fn listed(&self, kind: &str) -> Vec<String> {
        let label = format!("label=com.docker.stack.namespace={}", self.stack);
        let names = docker(&[kind, "ls", "--filter", &label, "--format", "{{.Name}}"]);
        names.lines().map(str::to_owned).collect()
    }

    /// Returns the containers of its tasks.
    fn containers(&self) -> Vec<String> {
        let label = format!("label=com.docker.stack.namespace={}", self.stack);
        let ids = docker(&["ps", "-aq", "--filter", &label]);
        ids.lines().map(str::to_owned).collect()
    }

    fn is_own(&self, name: &str) -> bool {
        name.starts_with(&format!("{}_", self.stack))
    }
}

/// Returns the names of the networks, secrets, configs and volumes that a service is given.
fn given(spec: &Value) -> impl Iterator<Item = &str> {
    const LISTS: [(&str, &str); 4] = [
        ("Networks", "Target"),
        ("ContainerSpec/Secrets", "SecretName"),
        ("ContainerSpec/Configs", "ConfigName"),
        ("ContainerSpec/Mounts", "Source"),
    ];
    LISTS.iter().flat_map(|(list, name)| {
        let items = spec.pointer(&format!("/TaskTemplate/{list}"));
        let items = items.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item[*name].as_str())
    })
}

#[test]
fn a_sample_of_accepted_projects_has_only_objects_with_the_runs_prefix() {
    let env = SwarmEnv::new();
    let zone = env.zone.replace('.', "_");
    let victim: &'static str = Box::leak(format!("victim_{zone}").into_boxed_str());
    let secret = env.write("victim", "canary").display().to_string();
    docker(&["secret", "create", victim, &secret]);
    docker(&["config", "create", victim, &secret]);
    docker(&["network", "create", "--driver", "overlay", victim]);
    docker(&["volume", "create", victim]);
    let victims =
        || ["secret", "config", "network", "volume"].map(|kind| docker(&[kind, "inspect", victim]));
    let before = victims();

    // The same ones in every run: what chance can do is tried where no engine is needed.
    let (mut runner, strategy) = (TestRunner::deterministic(), proposals(victim));
    let mut all: Vec<Deployed> = Vec::new();
    while all.len() < SAMPLE {
        let mut proposal = strategy.new_tree(&mut runner).unwrap().current();
        for (_, text) in &mut proposal.files {
            *text = text.replace("docker.io/library/busybox:1", IMAGE);
            *text = text.replace("nginx:1.27", IMAGE);
        }
        let domain = format!("evil-00aa1{}.{}", all.len(), env.zone);
        let domain = Domain::parse(&domain, &env.zone.parse().unwrap()).unwrap();
        let stack = domain.stack();
        let root = env.root.join("proposal");
        // A guest's network is made with the app that it is a guest of.
        let judged = (proposal.place != Place::Guest)
            .then(|| proposal.judged(&root, stack.as_str(), Level::Stranger, "3.9"));
        let Some(judged) = judged.flatten() else {
            continue;
        };
        let gateway = format!("{stack}_recipe-ci-gateway");
        let joins = judged.resolved().document().to_string().contains(&gateway);
        // One is reached by the gateway.
        if all.is_empty() && !joins {
            continue;
        }
        let made = MADE.replace("${STACK_NAME}", stack.as_str());
        docker(&["secret", "create", &made, &secret]);
        let resolved = judged.resolved().clone();
        let (document, contents) = resolved.render(&env.root, "content");
        for (path, content) in contents {
            std::fs::write(path, content).unwrap();
        }
        let file = env
            .write("compose.json", &document.to_string())
            .display()
            .to_string();
        let host = format!("unix://{SOCKET}");
        let args = [
            "--host",
            &host,
            "stack",
            "deploy",
            "--resolve-image",
            "never",
            "--compose-file",
            &file,
            stack.as_str(),
        ];
        docker(&args);
        all.push(Deployed {
            proposal,
            stack,
            resolved,
            joins,
        });
    }
    // Volumes are made when tasks start, and not every service of a proposal can.
    let started = wait_for(Duration::from_secs(120), || {
        let has = |one: &Deployed| !one.containers().is_empty();
        let volumes = all
            .iter()
            .map(|one| one.listed("volume").len())
            .sum::<usize>();
        (all.iter().all(has) && volumes > 0).then_some(())
    });
    assert!(
        started.is_some(),
        "no task of some proposal has a container"
    );
    let engine = Engine::connect(&format!("unix://{SOCKET}")).unwrap();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    for one in &all {
        let Deployed {
            proposal, stack, ..
        } = one;
        for kind in KINDS {
            let names = one.listed(kind);
            let foreign: Vec<&String> = names.iter().filter(|name| !one.is_own(name)).collect();
            assert!(foreign.is_empty(), "{kind}: {foreign:?} of {proposal:?}");
            if kind == "network" {
                let gateway = format!("{stack}_recipe-ci-gateway");
                assert_eq!(names.contains(&gateway), one.joins, "{names:?}");
            }
        }
        for id in one.containers() {
            // One that ended meanwhile had its mounts, and others of its service have them.
            let mounts = command("docker")
                .args(["inspect", "--format", "{{json .Mounts}}", &id])
                .output()
                .unwrap();
            let mounts: Value = serde_json::from_slice(&mounts.stdout).unwrap_or_default();
            for mount in mounts.as_array().into_iter().flatten() {
                let name = mount["Name"].as_str().unwrap_or_default();
                let anonymous = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
                let fine = match mount["Type"].as_str() {
                    Some("volume") => anonymous || one.is_own(name),
                    Some("tmpfs") => true,
                    _ => false,
                };
                assert!(fine, "{mount} of {proposal:?}");
            }
        }
        let there = runtime.block_on(engine.stack_spec(stack)).unwrap();
        // What a stack is given of somebody else's does not bear its label.
        let mut given = there.services.values().flat_map(given);
        let foreign = given.find(|name| !one.is_own(name));
        assert_eq!(foreign, None, "{proposal:?}");
        // Nor does a run take anything for something else than was planned.
        let otherwise = readback::difference(&one.resolved, stack, &there, Deployer::Docker);
        assert_eq!(otherwise, None, "{proposal:?}");
    }
    assert_eq!(victims(), before);
    for one in &all {
        docker(&["stack", "rm", one.stack.as_str()]);
        docker(&[
            "secret",
            "rm",
            &MADE.replace("${STACK_NAME}", one.stack.as_str()),
        ]);
    }
    assert_eq!(victims(), before);
}
