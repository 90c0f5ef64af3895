//! A sample of what the policy accepts of a stranger, on the real engine: all of it bears the run's prefix, and what is
//! somebody else's stays as it is. The requests of many more are looked at in `tests/integration/prefixed.rs`.

use harness::trust::Level;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use crate::engine::{SOCKET, SwarmEnv, docker};
use crate::projects::{MADE, Place, proposals};

/// How many accepted proposals are deployed.
const SAMPLE: usize = 3;

/// The kinds of objects that a stack has, and how they are listed with a label.
const KINDS: [&str; 4] = ["service", "network", "secret", "config"];

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
    let mut number = 0;
    while number < SAMPLE {
        let proposal = strategy.new_tree(&mut runner).unwrap().current();
        let stack = format!("evil-00aa1{number}_{zone}");
        let root = env.root.join("proposal");
        // A guest's network is made with the app that it is a guest of.
        let judged = (proposal.place != Place::Guest)
            .then(|| proposal.judged(&root, &stack, Level::Stranger, "3.9"));
        let Some(judged) = judged.flatten() else {
            continue;
        };
        let gateway = format!("{stack}_recipe-ci-gateway");
        let joins = judged.resolved().document().to_string().contains(&gateway);
        // One is reached by the gateway.
        if number == 0 && !joins {
            continue;
        }
        let made = MADE.replace("${STACK_NAME}", &stack);
        docker(&["secret", "create", &made, &secret]);
        let (document, contents) = judged.resolved().render(&env.root, "content");
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
            &stack,
        ];
        docker(&args);
        let (label, prefix) = (
            format!("label=com.docker.stack.namespace={stack}"),
            format!("{stack}_"),
        );
        for kind in KINDS {
            let names = docker(&[kind, "ls", "--filter", &label, "--format", "{{.Name}}"]);
            let foreign: Vec<&str> = names
                .lines()
                .filter(|name| !name.starts_with(&prefix))
                .collect();
            assert!(foreign.is_empty(), "{kind}: {foreign:?} of {proposal:?}");
            assert!(kind != "service" || !names.is_empty(), "{proposal:?}");
            if kind == "network" {
                assert_eq!(names.lines().any(|name| name == gateway), joins, "{names}");
            }
        }
        docker(&["stack", "rm", &stack]);
        docker(&["secret", "rm", &made]);
        number += 1;
    }
    assert_eq!(victims(), before);
}
