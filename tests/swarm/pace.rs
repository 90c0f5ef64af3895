//! Health is checked every two seconds in a run, and what is red for it is repeated as shipped.

use serde_json::Value;

use crate::engine::{SwarmEnv, docker};
use crate::support::{Done, git, read_results};

/// An image with a healthcheck of its own; it goes with the test.
struct Image(String);

impl Image {
    fn new(env: &SwarmEnv, check: &str) -> Self {
        let file = format!("FROM recipe-ci/notes:1\nHEALTHCHECK {check}\n");
        let file = env.write("image/Dockerfile", &file);
        let name = format!("recipe-ci/checked-{}:1", std::process::id());
        let dir = file.parent().unwrap().to_str().unwrap().to_owned();
        docker(&["build", "--quiet", "--tag", &name, &dir]);
        Self(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        docker(&["image", "rm", "--no-prune", &self.0]);
    }
}

/// Installs a recipe of these services; returns what came of it.
fn install(env: &mut SwarmEnv, services: &str, more: &[&str]) -> (Done, Value) {
    env.set("STAGES", "install");
    let dir = env.root.join("recipes/pace");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::create_dir_all(&dir).unwrap();
    let compose = format!("version: \"3.8\"\nservices:\n{services}");
    std::fs::write(dir.join("compose.yml"), compose).unwrap();
    std::fs::write(dir.join(".env.sample"), "TYPE=pace\nDOMAIN=x\n").unwrap();
    git(&dir, &["init", "-q", "-b", "main"]);
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-q", "-m", "x"]);
    let mut args = vec!["run".as_ref(), dir.as_os_str()];
    args.extend(more.iter().map(std::ffi::OsStr::new));
    let done = env.run(args);
    let dirs = env.run_dirs();
    let newest = dirs
        .iter()
        .max_by_key(|dir| dir.metadata().unwrap().modified().unwrap());
    let results = read_results(newest.unwrap());
    env.assert_nothing_left();
    (done, results)
}

fn list(results: &Value, key: &str) -> Vec<String> {
    let list = results[key].as_array().unwrap().iter();
    list.map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn health_is_seen_sooner_than_the_recipe_and_its_image_ask_for_it_unless_run_as_shipped() {
    let mut env = SwarmEnv::new();
    let image = Image::new(&env, "--interval=9s --retries=4 CMD true");
    let services = format!(
        "  app:\n    image: recipe-ci/notes:1\n    healthcheck: {{test: 'test -d /', interval: 30s}}\n    \
         command: [sleep, '1000']\n  worker:\n    image: {}\n    command: [sleep, '1000']\n",
        image.0
    );
    let (done, results) = install(&mut env, &services, &[]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let said = list(&results, "deviations").join("\n");
    for words in [
        "`app` is checked for health every 2 s instead of every 30 s, and unhealthy after 45 failures instead of 3",
        "`worker` is checked for health every 2 s instead of every 9 s, and unhealthy after 18 failures instead of 4",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let soon = results["phases"]["converge_ms"].as_u64().unwrap();

    let services = services.replace("30s", "9s");
    let (done, results) = install(&mut env, &services, &["--as-shipped"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let said = list(&results, "deviations").join("\n");
    assert!(!said.contains("checked for health"), "{said}");
    let late = results["phases"]["converge_ms"].as_u64().unwrap();
    assert!(soon < late && late >= 9000, "{soon} ms, {late} ms");
}

/// An app that a check disturbs may be asked every five seconds, as its recipe does.
#[test]
fn what_is_unhealthy_only_when_it_is_asked_often_is_repeated_as_shipped_and_green() {
    let check = "now=$$(date +%s); last=$$(cat /tmp/last); echo $$now >/tmp/last; [ $$((now - last)) -ge 4 ]";
    let services = format!(
        "  app:\n    image: recipe-ci/notes:1\n    healthcheck: {{test: '{check}', interval: 5s, retries: 1}}\n    \
         command: [sh, -c, 'date +%s >/tmp/last; exec sleep 1000']\n"
    );
    let mut env = SwarmEnv::new();
    let (done, results) = install(&mut env, &services, &[]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(results["tiers"][0]["status"], "pass", "{results:#}");
    let attempts = results["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{results:#}");
    let reason = attempts[0]["reason"].as_str().unwrap();
    assert!(reason.contains("`app` was killed as unhealthy"), "{reason}");
    assert!(done.stderr.contains("as shipped"), "{}", done.stderr);
}

/// Its second task comes no further than the first, and no pace changes what it says.
#[test]
fn a_healthcheck_that_says_why_it_fails_is_red_after_two_tasks_and_not_repeated() {
    let services = "  app:\n    image: recipe-ci/notes:1\n    healthcheck: {test: 'echo refused; exit 1', interval: 3s, retries: 1}\n    \
                    command: [sh, -c, 'trap \"exit 3\" TERM; while :; do sleep 1; done']\n    deploy: {restart_policy: {delay: 1s}}\n";
    let mut env = SwarmEnv::new();
    let (done, results) = install(&mut env, services, &[]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let reason = results["tiers"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("killed 2 tasks for it") && reason.contains("exit code 1: `refused`"),
        "{reason}"
    );
    assert_eq!(
        results["attempts"].as_array().unwrap().len(),
        0,
        "{results:#}"
    );
}
