//! What counts as up: every cell of the table in docs/verdict.md.

use serde_json::Value;

use crate::engine::SwarmEnv;
use crate::support::{Done, git};

/// A service that serves at 8080, with a healthcheck, as a proposal of the catalogue has it.
const WEB: &str = "  app:\n    image: recipe-ci/notes:1\n    healthcheck: {test: 'test -d /', interval: 1s}\n    \
                   command: [sh, -c, 'mkdir /www; echo hello > /www/index.html; SERVE']\n    deploy:\n      labels:\n        \
                   - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=8080\"\n";

/// The web service, as it goes on.
fn web() -> String {
    WEB.replace("SERVE", "exec httpd -f -p 8080 -h /www")
}

/// Installs a recipe of these services; returns what came of it.
fn install(services: &str) -> (Done, Value) {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let dir = env.root.join("recipes/life");
    std::fs::create_dir_all(&dir).unwrap();
    let compose = format!("version: \"3.8\"\nservices:\n{services}");
    std::fs::write(dir.join("compose.yml"), compose).unwrap();
    std::fs::write(dir.join(".env.sample"), "TYPE=life\nDOMAIN=x\n").unwrap();
    git(&dir, &["init", "-q", "-b", "main"]);
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-q", "-m", "x"]);
    let done = env.run(["run".as_ref(), dir.as_os_str()]);
    let results = env.results();
    env.assert_nothing_left();
    (done, results)
}

fn worker(command: &str, more: &str) -> String {
    format!(
        "  worker:\n    image: recipe-ci/notes:1\n    healthcheck: {{disable: true}}\n    \
         command: [sh, -c, '{command}']\n{more}"
    )
}

#[track_caller]
fn red(services: &str, words: &[&str]) {
    let (done, results) = install(services);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let reason = results["tiers"][0]["reason"].as_str().unwrap();
    for word in words {
        assert!(reason.contains(word), "`{reason}` lacks `{word}`");
    }
}

#[test]
fn a_service_without_a_healthcheck_that_dies_after_seconds_is_red_alone_and_beside_a_healthy_one() {
    for seconds in [1, 4] {
        let dies = worker(&format!("sleep {seconds}; exit 3"), "");
        red(&dies, &["`worker`", "exit code 3"]);
    }
    let beside = format!("{}{}", web(), worker("sleep 3; exit 3", ""));
    red(&beside, &["`worker`", "exit code 3"]);
    // Started again and again after a good end is a crash loop as well.
    red(&worker("sleep 2", ""), &["`worker`"]);
}

#[test]
fn a_web_service_that_ends_well_is_red_and_a_worker_that_does_is_said() {
    let ends = "    deploy: {restart_policy: {condition: on-failure}}\n";
    let web_ends = WEB
        .replace("SERVE", "httpd -p 8080 -h /www; sleep 4")
        .replace(
            "    deploy:\n",
            "    deploy:\n      restart_policy: {condition: on-failure}\n",
        );
    // Something without a healthcheck makes the tier last for longer than the web service lives: Docker's own 5 s are
    // over before, where the web service starts a second later.
    let long = "    deploy: {update_config: {monitor: 12s}}\n";
    let beside = format!("{web_ends}{}", worker("exec sleep 1000", long));
    red(&beside, &["`app` ended with exit code 0", "restart policy"]);

    let (done, results) = install(&format!("{}{}", web(), worker("sleep 3", ends)));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let warnings = results["warnings"].to_string();
    assert!(
        warnings.contains("`worker` ended with exit code 0"),
        "{results:#}"
    );
}

#[test]
fn a_one_shot_and_a_job_are_up_when_they_are_done() {
    let once = "    deploy: {restart_policy: {condition: on-failure}}\n";
    // Its image's healthcheck is that of a server, and fails while it works.
    let once = worker("sleep 2; exit 0", once).replace(
        "healthcheck: {disable: true}",
        "healthcheck: {test: 'exit 1', interval: 1s, retries: 30}",
    );
    let (done, results) = install(&format!("{}{once}", web()));
    assert_eq!(done.code, Some(0), "{results:#}\n{}", done.stderr);

    let job =
        "    deploy: {mode: replicated-job, replicas: 2, restart_policy: {condition: none}}\n";
    let (done, results) = install(&format!("{}{}", web(), worker("sleep 1", job)));
    assert_eq!(done.code, Some(0), "{results:#}\n{}", done.stderr);
    assert_eq!(
        results["teardown"]["clean"],
        Value::Bool(true),
        "{results:#}"
    );
    // One after the other, and Swarm's own policy is to start again whatever ends.
    let many = "    environment: ['SLOT={{.Task.Slot}}']\n    deploy: {mode: replicated-job, replicas: 6}\n";
    let many = worker("sleep $$((SLOT * 2))", many);
    let (done, results) = install(&format!("{}{many}", web()));
    assert_eq!(done.code, Some(0), "{results:#}\n{}", done.stderr);
}

/// None of them is waited for: the deploy's own limit is five minutes.
#[test]
fn a_service_that_no_node_takes_is_named_with_swarms_words() {
    let nowhere = |mode: &str| {
        let deploy = "    deploy:\n      placement: {constraints: ['node.labels.none == such']}\n";
        worker("exec sleep 1000", &format!("{deploy}      mode: {mode}\n"))
    };
    red(
        &nowhere("global"),
        &["no node takes service `worker`: 0 tasks: no node fits its placement"],
    );
    red(
        &nowhere("replicated"),
        &[
            "no node takes service `worker`: no suitable node (scheduling constraints not satisfied on 1 node)",
        ],
    );
    let huge = "    deploy: {resources: {reservations: {memory: 4096g}}}\n";
    red(
        &worker("exec sleep 1000", huge),
        &[
            "`worker`",
            "insufficient resources",
            "reserves more than this node has",
        ],
    );
}

/// What ends well on SIGTERM is not started again by `on-failure`, and is no job that is done.
#[test]
fn a_worker_that_swarm_kills_as_unhealthy_and_that_ends_well_is_red() {
    let graceful = "trap \"exit 0\" TERM; while :; do sleep 1; done";
    let ends = "    deploy: {restart_policy: {condition: on-failure}}\n";
    let services = worker(graceful, ends).replace(
        "healthcheck: {disable: true}",
        "healthcheck: {test: 'echo no queue; exit 1', interval: 1s, retries: 2}",
    );
    red(
        &format!("{}{services}", web()),
        // Seen before or after all else has converged, which is chance.
        &["`worker`", "leaves it so", "exit code 1: `no queue`"],
    );
    // Swarm counts a job's task that it has killed among those that are completed.
    let job = services.replace(
        "deploy: {restart_policy: {condition: on-failure}}",
        "deploy: {mode: replicated-job}",
    );
    red(
        &format!("{}{job}", web()),
        &["`worker`", "leaves it so", "exit code 1: `no queue`"],
    );
}

/// Swarm lets it fail for minutes, and a run is over before.
#[test]
fn a_check_that_fails_when_its_tier_ends_is_red_unless_it_passes_again() {
    // Something without a healthcheck makes the tier last until then.
    let long = "    deploy: {update_config: {monitor: 15s}}\n";
    let beside = worker("exec sleep 1000", long).replace("worker:", "other:");
    let checked = |command: &str| {
        let worker = worker(command, "").replace(
            "healthcheck: {disable: true}",
            "healthcheck: {test: '! ls /lost', interval: 1s, retries: 120}",
        );
        format!("{}{beside}{worker}", web())
    };
    red(
        &checked("sleep 5; touch /lost; exec sleep 1000"),
        &["`worker`", "healthcheck", "exit code 1: `/lost`"],
    );
    let passes_again = checked("sleep 8; touch /lost; sleep 14; rm /lost; exec sleep 1000");
    let (done, results) = install(&passes_again);
    assert_eq!(done.code, Some(0), "{results:#}\n{}", done.stderr);
}

#[test]
fn a_loop_is_named_beside_a_service_whose_healthcheck_fails() {
    let often = "    deploy: {restart_policy: {delay: 1s}}\n";
    let loops = format!("{}{}", worker("sleep 1; exit 7", often), web());
    let services = loops.replace(
        "healthcheck: {test: 'test -d /', interval: 1s}",
        "healthcheck: {test: 'exit 1', interval: 1s, retries: 1}",
    );
    let services = services.replace(
        "    deploy:\n      labels",
        "    deploy:\n      restart_policy: {delay: 1s}\n      labels",
    );
    let (done, results) = install(&services);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let reason = results["tiers"][0]["reason"].as_str().unwrap();
    for word in ["`worker`", "`app`", "crash-loops", "fails as well"] {
        assert!(reason.contains(word), "`{reason}` lacks `{word}`");
    }
}
