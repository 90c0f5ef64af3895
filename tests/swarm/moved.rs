//! Tags that move while a run goes on: what was judged is what runs, and what the host has stays what it is.

use crate::engine::{SwarmEnv, docker, id_of};
use crate::registry::Registry;
use crate::support::git;

/// Names of this test's own; an image that only they name goes with them.
struct Names([String; 2]);

impl Drop for Names {
    fn drop(&mut self) {
        for name in &self.0 {
            docker(&["rmi", "--force", name]);
        }
    }
}

/// Swarm's agent asks the registry for every tag when it starts a task, and moves what the host has.
#[test]
fn what_runs_is_the_image_that_was_judged_though_its_tag_moves_and_though_it_is_in_no_registry() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,custom");
    let registry = Registry::start(env.root.join("registry"));
    let names = Names([registry.name("notes:1"), registry.name("built-here:1")]);
    let Names([pulled, built]) = &names;
    registry.tag("recipe-ci/notes:1");
    docker(&["pull", "--quiet", pulled]);
    docker(&["tag", "recipe-ci/notes:1", built]);
    let judged = id_of(pulled);
    assert_eq!(judged, id_of(built));
    // Anyone who may push there, or has the operator's own name in a registry, puts another image into its place.
    registry.tag("recipe-ci/notes:2");
    registry.asked();

    let service = |image: &str| {
        format!(
            "    image: {image}\n    init: true\n    command: [sh, -c, 'exec sleep 9999']\n    \
             healthcheck: {{test: 'test -d /', interval: 1s}}\n"
        )
    };
    let compose = format!(
        "version: '3.8'\nservices:\n  app:\n{}    deploy:\n      labels:\n        \
         - \"coop-cloud.${{STACK_NAME}}.version=0.1.0+1\"\n  beside:\n{}",
        service(pulled),
        service(built)
    );
    env.write("recipes/moved/compose.yml", &compose);
    env.write("recipes/moved/.env.sample", "TYPE=moved\nDOMAIN=x\n");
    let ran = env.root.join("ran");
    let test = format!(
        "#!/bin/sh\nset -e\nstack=$(echo \"$CCCI_APP_DOMAIN\" | tr . _)\n\
         ids=$(docker ps --quiet --no-trunc --filter label=com.docker.stack.namespace=\"$stack\")\n\
         docker inspect --format '{{{{.Image}}}} {{{{.Config.Image}}}}' $ids >'{}'\n",
        ran.display()
    );
    env.write("recipes/moved/tests/custom/test_image.sh", &test);
    let dir = env.root.join("recipes/moved");
    git(&dir, &["init", "-q", "-b", "main"]);
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-q", "-m", "x"]);

    let done = env.run(["run", "recipes/moved"]);
    done.expect(0);
    let ran = harness::host_file::text(&ran).unwrap();
    assert_eq!(ran.lines().count(), 2, "{ran}");
    for line in ran.lines() {
        assert!(line.starts_with(&judged), "{line} is not {judged}");
    }
    assert!(ran.contains(&format!(" {pulled}@sha256:")), "{ran}");
    // A registry that is not asked cannot move anything.
    assert_eq!(registry.asked(), Vec::<String>::new());
    assert_eq!((id_of(pulled), id_of(built)), (judged.clone(), judged));
    let deviations = env.results()["deviations"].to_string();
    let said = format!("image `{built}` came from no registry: deployed by its id");
    assert!(deviations.contains(&said), "{deviations}");
    assert!(
        !deviations.contains(&format!("image `{pulled}`")),
        "{deviations}"
    );
    env.assert_nothing_left();
}
