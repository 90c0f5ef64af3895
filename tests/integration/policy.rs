//! The policy: a stranger's proposal is refused before anything is made.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Done, TestEnv, git};

fn env() -> TestEnv {
    TestEnv::new("unix:///nowhere/docker.sock")
}

/// Returns a repository whose recipe has one compose file.
fn recipe(env: &TestEnv, name: &str, compose: &str) -> PathBuf {
    let path = env.root.join("recipes").join(name);
    env.write(&format!("recipes/{name}/compose.yml"), compose);
    git(&path, &["init", "-q", "-b", "main"]);
    git(&path, &["add", "-A"]);
    git(&path, &["commit", "-qm", "first"]);
    path
}

fn as_stranger(env: &TestEnv, recipe: &Path, more: &[&str]) -> Done {
    let args = ["run", "--src", recipe.to_str().unwrap()];
    env.run(args.iter().chain(more))
}

/// A service `app` that has these lines besides its image.
fn app(lines: &str) -> String {
    format!("version: '3.8'\nservices:\n  app:\n    image: nginx:1.27\n{lines}\n")
}

#[test]
fn a_hostile_recipe_is_refused_with_its_rule_and_place_before_the_engine_is_asked() {
    let env = env();
    for (index, (rule, place, compose)) in [
        ("P003", "compose.yml:5:", app("    volumes: ['/etc:/mnt']")),
        ("P034", "compose.yml:5:", app("    privileged: true")),
        ("P001", "compose.yml:5:", app("    volumes: [{type: tmpfs, target: /x, tmpfs: {mode: 1}}]")),
        (
            "P007",
            "compose.yml:5:",
            app("secrets: {s: {external: true, name: victim_unused}}"),
        ),
        (
            "P028",
            "compose.yml:7:",
            app("    deploy:\n      labels:\n        - \"traefik.http.routers.${STACK_NAME}.rule=Host(`cloud.example.org`)\""),
        ),
        ("P002", "compose.yml:4:", app("").replace("nginx:1.27", "--help")),
    ]
    .into_iter()
    .enumerate()
    {
        let path = recipe(&env, &format!("evil{index}"), &compose);
        let done = as_stranger(&env, &path, &[]);
        done.expect(2);
        for word in [rule, place, "refused"] {
            assert!(done.stderr.contains(word), "no `{word}` in\n{}", done.stderr);
        }
        let results = env.results();
        assert_eq!(results["verdict"], "refused");
        assert_eq!(results["policy"][0]["rule"], rule);
        assert_eq!(results["policy"][0]["refused"], true);
        assert_eq!(results["trust"]["level"], "stranger");
        std::fs::remove_dir_all(env.root.join("runs")).unwrap();
        // The same for who only wants to know.
        let done = as_stranger(&env, &path, &["--dry-run"]);
        done.expect(2);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!((&plan["verdict"], &plan["policy"][0]["rule"]), (&"refused".into(), &rule.into()));
        assert!(env.run_dirs().is_empty());
        // By hand it is said, and the plan is made.
        let done = env.run(["run".as_ref(), path.as_os_str(), "--dry-run".as_ref()]);
        done.expect(0);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(plan["policy"][0]["rule"], rule);
        assert!(done.stderr.contains(rule), "{}", done.stderr);
    }
}

#[test]
fn the_fixtures_are_what_a_stranger_may_deploy() {
    let env = env();
    for name in [
        "notes",
        "ledger",
        "wild-port",
        "wild-read-only",
        "wild-backup-v1",
        "wild-backup-paths",
        "wild-web-elsewhere",
        "wild-no-abra-sh",
        "wild-zero-replicas",
    ] {
        let done = as_stranger(&env, &env.recipe(name), &["--dry-run"]);
        done.expect(0);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        let deviations = plan["deviations"].to_string();
        assert!(
            deviations.contains("limited to memory 1g a task"),
            "{name}: {deviations}"
        );
        let ports = plan["project"]["services"]
            .to_string()
            .contains("published");
        assert!(!ports, "{name} publishes ports");
    }
}

#[test]
fn abra_reads_the_recipe_on_its_own_and_is_not_for_strangers() {
    let mut env = env();
    env.with_abra("", "");
    let path = recipe(&env, "notes", &app(""));
    let done = as_stranger(&env, &path, &["--dry-run"]);
    done.expect(0);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(plan["driver"], "stack");
    let done = as_stranger(&env, &path, &["--dry-run", "--driver", "abra"]);
    done.expect(2);
    for word in ["abra", "driver: abra"] {
        assert!(
            done.stderr.contains(word),
            "no `{word}` in\n{}",
            done.stderr
        );
    }
    let done = env.run(["run".as_ref(), path.as_os_str(), "--dry-run".as_ref()]);
    done.expect(0);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(plan["driver"], "abra");
}

#[test]
fn the_lint_says_what_a_host_would_refuse_in_a_strangers_proposal() {
    let env = env();
    let compose = app("    volumes: ['/srv/x:/x:ro']");
    let path = recipe(&env, "notes", &compose);
    let path = path.to_str().unwrap();
    let done = env.run(["lint", path]);
    for word in [
        "warning P003 compose.yml:5 ",
        "a stranger's proposal would be refused",
        "binds: [{path: /srv/x}]",
    ] {
        assert!(
            done.stdout.contains(word),
            "no `{word}` in\n{}",
            done.stdout
        );
    }
    let done = env.run(["lint", path, "--sarif"]);
    let log: Value = serde_json::from_str(&done.stdout).unwrap();
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    let found = results.iter().find(|one| one["ruleId"] == "P003").unwrap();
    let index = usize::try_from(found["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(run["tool"]["driver"]["rules"][index]["id"], "P003");
}
