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
        ("P003", "compose.yml:5:", app("    volumes: ['./config:/mnt']")),
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
        // Where a run has its copy of the repository is nothing that an operator could grant.
        let grant = results["policy"][0]["grant"].as_str().unwrap_or_default();
        assert!(!grant.contains("/runs/"), "{grant}");
        assert_eq!(results["trust"]["level"], "stranger");
        std::fs::remove_dir_all(env.root.join("runs")).unwrap();
        // The same for who only wants to know.
        let done = as_stranger(&env, &path, &["--dry-run"]);
        done.expect(2);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!((&plan["verdict"], &plan["policy"][0]["rule"]), (&"refused".into(), &rule.into()));
        assert!(env.run_dirs().is_empty());
        // By hand it is said, and the plan is made, but of what no engine takes.
        let done = env.run(["run".as_ref(), path.as_os_str(), "--dry-run".as_ref()]);
        // What is routed to somebody else's host alone is no operator's app either.
        done.expect(match rule {
            "P028" => 1,
            "P002" => 2,
            _ => 0,
        });
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
        "warning[P003]",
        "compose.yml:5:",
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

/// What the operator's overlay sets is not judged as the proposal's, and its copies have names of their own. A proposal
/// that uses these names gets nothing by it.
#[test]
fn a_strangers_file_that_is_called_like_the_operators_overlay_is_not_exempt() {
    let env = env();
    let evil = "version: '3.8'\nservices:\n  app:\n    cap_add: [SYS_ADMIN]\n    extra_hosts: ['h:10.0.0.1']\n";
    let name = "ccci.compose-overlay.yml";
    for (index, listed) in [
        name.to_owned(),
        format!("./{name}"),
        format!("sub/../{name}"),
        format!("{name}:{name}"),
        format!(" {name}"),
        format!(".//{name}"),
    ]
    .into_iter()
    .enumerate()
    {
        let recipe_name = format!("evil{index}");
        let dir = format!("recipes/{recipe_name}");
        env.write(&format!("{dir}/{name}"), evil);
        env.write(&format!("{dir}/sub/x"), "");
        let sample = format!("TYPE=x\nCOMPOSE_FILE=\"compose.yml:{listed}\"\n");
        env.write(&format!("{dir}/.env.sample"), &sample);
        let path = recipe(&env, &recipe_name, &app(""));
        let done = as_stranger(&env, &path, &["--dry-run"]);
        if done.code == Some(2) {
            continue;
        }
        done.expect(0);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        let project = plan["project"].to_string();
        assert!(
            !project.contains("SYS_ADMIN") && !project.contains("10.0.0.1"),
            "{listed}: {project}"
        );
    }
}

/// Findings A4: what another run's object is called can be computed.
#[test]
fn an_object_of_another_run_or_of_a_longer_name_is_not_this_runs() {
    let env = env();
    for (index, (rule, top)) in [
        (
            "P007",
            "secrets: {s: {external: true, name: note-0a1b2c_ci_localhost_token_v1}}",
        ),
        (
            "P007",
            "secrets: {s: {external: true, name: '${STACK_NAME}2_token_v1'}}",
        ),
        (
            "P008",
            "configs: {c: {external: true, name: '${STACK_NAME}'}}",
        ),
        ("P006", "volumes: {v: {name: '${STACK_NAME}-data'}}"),
        (
            "P009",
            "networks: {n: {external: true, name: note-0a1b2c_ci_localhost_default}}",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let path = recipe(
            &env,
            &format!("near{index}"),
            &format!("{}{top}\n", app("")),
        );
        let done = as_stranger(&env, &path, &["--dry-run"]);
        done.expect(2);
        assert!(done.stderr.contains(rule), "no {rule} in\n{}", done.stderr);
    }
}

/// The base is deployed as well: what an older commit of the same source asks for is judged before anything is made.
#[test]
fn a_base_that_asks_for_too_much_is_refused_with_its_version_and_place() {
    let env = env();
    let path = recipe(&env, "notes", &app("    volumes: ['/etc:/mnt']"));
    git(&path, &["tag", "-a", "-m", "x", "0.1.0+1.27.0"]);
    env.write("recipes/notes/compose.yml", &app(""));
    git(&path, &["commit", "-qam", "second"]);
    for more in [&[][..], &["--dry-run"]] {
        let done = as_stranger(&env, &path, more);
        done.expect(2);
        for word in [
            "P003",
            "compose.yml:5:",
            "in published version 0.1.0+1.27.0",
        ] {
            assert!(
                done.stderr.contains(word),
                "no `{word}` in\n{}",
                done.stderr
            );
        }
    }
    let results = env.results();
    assert_eq!(results["verdict"], "refused");
    assert_eq!(
        results["policy"].as_array().unwrap().len(),
        1,
        "{results:#}"
    );
    // Without an upgrade it is not deployed, and nothing is against the head.
    let done = as_stranger(&env, &path, &["--dry-run", "--stages", "install"]);
    done.expect(0);
}

/// What a refusal repeats of a stranger's may name a variable of the operator's overlay.
#[test]
fn a_refusal_shows_no_secret_of_the_operators_overlay() {
    const CANARY: &str = "canary-7d21c0";
    let mut env = env();
    let path = recipe(
        &env,
        "notes",
        &app("").replace("nginx:1.27", "${SMTP_PASSWORD}/x:latest@"),
    );
    env.write(
        "overlays/notes/recipe-ci.yml",
        &format!("env:\n  SMTP_PASSWORD: {CANARY}\n"),
    );
    let overlays = env.root.join("overlays").display().to_string();
    env.set("CCCI_TESTS_DIR", overlays);
    for more in [&[][..], &["--dry-run"]] {
        let done = as_stranger(&env, &path, more);
        done.expect(2);
        assert!(done.stderr.contains("P002"), "{}", done.stderr);
        for text in [&done.stdout, &done.stderr] {
            assert!(!text.contains(CANARY), "{text}");
        }
    }
    let grep = crate::support::command("grep")
        .args(["-rl", CANARY, env.root.join("runs").to_str().unwrap()])
        .output()
        .unwrap();
    assert!(grep.stdout.is_empty(), "{grep:?}");
}
