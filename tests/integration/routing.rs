//! What would keep an operator's users from the app is red before anything is made, and what is wrong with the gateway
//! is the host's: no engine is needed to see either.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{TestEnv, git};

fn env() -> TestEnv {
    TestEnv::new("unix:///nowhere/docker.sock")
}

const PORT: &str = "server.port=8080";

#[test]
fn a_run_and_its_plan_are_red_for_labels_that_no_gateway_can_use() {
    for (from, to, rule, words) in [
        (
            PORT,
            "server.port=${PORT}",
            "T008",
            "compose.yml:36:11: service `app` has a Traefik router, and its label",
        ),
        (
            "    networks:\n      - proxy\n",
            "",
            "T003",
            "compose.yml:5:5: service `app` has a router, and is not on the gateway's network",
        ),
        (
            "${EXTRA_DOMAINS:-})",
            "",
            "T005",
            "compose.yml:37:11: the router `note-",
        ),
        (
            "rule=Host(`${DOMAIN}`${EXTRA_DOMAINS:-})",
            "rule=PathPrefix(`/notes`) && Host(`notes.example.com`)",
            "T006",
            "compose.yml:",
        ),
        (
            ".entrypoints=web-secure",
            ".middlewares=nobody-defines-it",
            "T007",
            "compose.yml:38:11: ",
        ),
        (
            "      labels:\n",
            "      endpoint_mode: vip\n    labels:\n",
            "C005",
            "is outside `deploy`",
        ),
    ] {
        let env = env();
        let recipe = env.recipe("notes");
        let compose = recipe.join("compose.yml");
        env.edit(&compose, from, to);
        let path = recipe.to_str().unwrap();
        let done = env.run(["run", path, "--dry-run"]);
        done.expect(1);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(plan["routing"][0]["rule"], rule, "{:#}", plan["routing"]);
        let said = format!("routing: {rule}: ");
        assert!(done.stderr.contains(&said), "{}", done.stderr);
        assert!(env.run_dirs().is_empty());

        let done = env.run(["run", path]);
        done.expect(1);
        let results = env.results();
        let install = &results["tiers"][0];
        let reason = install["reason"].as_str().unwrap_or_default();
        assert!(
            reason.starts_with(&said) && reason.contains(words),
            "no `{words}` in {reason}"
        );
        let rest: Vec<&Value> = (1..5)
            .map(|tier| &results["tiers"][tier]["status"])
            .collect();
        assert_eq!(rest, ["unver"; 4], "{results:#}");
        env.assert_quiet();
    }
}

/// An operator's app keeps its env file through the upgrade.
#[test]
fn labels_that_only_a_new_app_can_use_are_red_in_the_upgrade() {
    let env = env();
    let recipe = env.recipe("notes");
    env.edit(&recipe.join("compose.yml"), PORT, "server.port=${WEB_PORT}");
    let sample = recipe.join(".env.sample");
    let text = harness::host_file::text(&sample).unwrap();
    std::fs::write(&sample, format!("{text}\nWEB_PORT=8080\n")).unwrap();
    let done = env.run(["run", recipe.to_str().unwrap(), "--dry-run"]);
    done.expect(1);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    let faults = plan["routing"].as_array().unwrap();
    assert_eq!(faults.len(), 1, "{faults:#?}");
    let message = faults[0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("with the base's env file, service `app`"),
        "{message}"
    );
}

/// Clients of the base would be cut off, which an app that is asked at its container does not show; nor does it show
/// that it lacks a secret, or that nothing of it runs.
#[test]
fn a_run_and_its_plan_are_red_for_what_an_upgrade_takes_away() {
    const UDP: &str = "      - target: 64738\n        published: 64738\n        protocol: udp\n        mode: host\n";
    const TLS: &str =
        "        - \"traefik.http.routers.${STACK_NAME}.tls.certresolver=${LETS_ENCRYPT_ENV}\"\n";
    const SECRET: &str = "    secrets:\n      - admin_token\n";
    for (set, name, (from, to), rule, words) in [
        (
            "tests/real/recipes",
            "voice",
            (UDP, ""),
            "routing: C026",
            "compose.yml:13:7: the host's port `64738/udp`",
        ),
        (
            "tests/recipes",
            "notes",
            (TLS, ""),
            "routing: T011",
            "says nothing of TLS, and that of the version before does",
        ),
        (
            "tests/recipes",
            "notes",
            (SECRET, ""),
            "compose files: C028",
            "service `app` has the secret `admin_token` in the version before, and no service has it now",
        ),
        (
            "tests/recipes",
            "notes",
            ("    deploy:\n", "    deploy:\n      replicas: 0\n"),
            "compose files: C029",
            "service `app` runs in the version before, and has 0 replicas now",
        ),
        (
            "tests/recipes",
            "notes",
            (
                "        - \"backupbot.backup=",
                "        - \"backupbot.backup.volumes.data=false\"\n        - \"backupbot.backup=",
            ),
            "compose files: C030",
            "the backup of the version before saves the volume `data`",
        ),
    ] {
        let env = env();
        let recipe = env.recipe_of(set, name);
        env.edit(&recipe.join("compose.yml"), from, to);
        let (_, id) = rule.split_once(": ").unwrap();
        let path = recipe.to_str().unwrap();
        let done = env.run(["run", path, "--dry-run"]);
        done.expect(1);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        let faults = plan["routing"].as_array().unwrap();
        assert_eq!((faults.len(), &faults[0]["rule"]), (1, &id.into()));

        env.run(["run", path]).expect(1);
        let results = env.results();
        let statuses: Vec<&str> = results["tiers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tier| tier["status"].as_str().unwrap())
            .collect();
        assert_eq!(statuses, ["unver", "fail", "unver", "unver", "unver"]);
        let reason = results["tiers"][1]["reason"].as_str().unwrap();
        assert!(
            reason.starts_with(rule) && reason.contains(words),
            "no `{words}` in {reason}"
        );
        let found = results["lint"]["findings"].as_array().unwrap();
        assert!(found.iter().any(|one| one["id"] == id), "{found:#?}");
        env.assert_quiet();
    }

    // Operators are told.
    let env = env();
    let recipe = env.recipe_of("tests/real/recipes", "voice");
    env.edit(&recipe.join("compose.yml"), UDP, "");
    let notes = recipe.join("release/next");
    std::fs::write(&notes, "Voice goes over TCP alone: close 64738/udp.\n").unwrap();
    env.run(["run", recipe.to_str().unwrap(), "--dry-run"])
        .expect(0);
}

/// An upgrade keeps the env file, and the run's app is given its domain by the run.
#[test]
fn a_run_is_red_for_what_a_new_app_would_miss() {
    for (line, name) in [
        ("DOMAIN=notes.example.com\n", "DOMAIN"),
        ("LETS_ENCRYPT_ENV=production\n", "LETS_ENCRYPT_ENV"),
    ] {
        let env = env();
        let recipe = env.recipe("notes");
        env.edit(&recipe.join(".env.sample"), line, "");
        env.run(["run", recipe.to_str().unwrap()]).expect(1);
        let results = env.results();
        let reason = results["tiers"][0]["reason"].as_str().unwrap();
        let said = format!("new app: C027: .env.sample: `{name}` is gone");
        assert!(reason.starts_with(&said), "{reason}");
        // A comment says that it is optional.
        env.edit(
            &recipe.join(".env.sample"),
            "TYPE=notes\n",
            &format!("TYPE=notes\n#{line}"),
        );
        env.run(["run", recipe.to_str().unwrap(), "--dry-run"])
            .expect(0);
    }
    // What the server of a new app is made with; one that is upgraded has it.
    let env = env();
    let recipe = env.recipe_of("tests/real/recipes", "wordpress");
    let line = "      - MYSQL_DATABASE=wordpress\n";
    env.edit(&recipe.join("compose.yml"), line, "");
    env.run(["run", recipe.to_str().unwrap()]).expect(1);
    let results = env.results();
    let reason = results["tiers"][0]["reason"].as_str().unwrap();
    let said = "new app: C032: compose.yml:44:7: `MYSQL_DATABASE` of service `db` is gone";
    assert!(reason.starts_with(said), "{reason}");
    env.assert_quiet();
}

/// A published fault is repaired by the proposal.
#[test]
fn a_base_that_no_gateway_could_use_is_no_fault_of_the_head() {
    let env = env();
    let recipe = env.recipe("notes");
    let compose = recipe.join("compose.yml");
    let release = |root: &Path, version: &str, label: &str, port: &str| {
        env.edit(
            &compose,
            "version=0.3.0+1.2.0",
            &format!("version={version}"),
        );
        env.edit(&compose, PORT, &format!("server.port={port}"));
        git(root, &["commit", "-qam", label]);
    };
    release(&recipe, "0.2.5+1.2.0", "broken", "web");
    git(&recipe, &["tag", "-a", "0.2.5+1.2.0", "-m", "broken"]);
    env.edit(&compose, "version=0.2.5+1.2.0", "version=0.3.0+1.2.0");
    env.edit(&compose, "server.port=web", PORT);
    git(&recipe, &["commit", "-qam", "repaired"]);
    let done = env.run(["run", recipe.to_str().unwrap(), "--dry-run"]);
    done.expect(0);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&plan["routing"], &plan["base_version"]),
        (&json!([]), &"0.2.5+1.2.0".into())
    );
}

#[test]
fn a_gateway_that_cannot_be_used_is_the_hosts_fault_before_anything_is_made() {
    let mut env = env();
    let recipe = env.recipe("notes");
    let path = recipe.to_str().unwrap();
    // Something listens there, and says nothing that is TLS.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    env.set("CCCI_GATEWAY", format!("https://{address}"));
    let done = env.run(["run", path]);
    done.expect(3);
    let results = env.results();
    let reason = results["reason"].as_str().unwrap();
    let said = format!("the gateway https://{address} cannot be used: ");
    assert!(reason.contains(&said), "{reason}");
    assert!(
        results["hints"]
            .to_string()
            .contains("the recipe is not to blame"),
        "{results:#}"
    );
    // A plan sends no request.
    env.run(["run", path, "--dry-run"]).expect(0);
    for (file, text, words) in [
        ("none.pem", None, "cannot be read"),
        (
            "empty.pem",
            Some("no certificate\n"),
            "holds no certificate",
        ),
    ] {
        let file = env.root.join(file);
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let done = env.run([
            "run",
            path,
            "--dry-run",
            "--gateway-ca",
            file.to_str().unwrap(),
        ]);
        done.expect(2);
        assert!(done.stderr.contains(words), "{}", done.stderr);
        assert!(done.stderr.contains("CCCI_GATEWAY_CA"), "{}", done.stderr);
    }
    env.assert_quiet();
}
