//! Every key of recipe-ci.yml, compose.ccci.yml and previous/ takes effect in a run, or the run goes red.

use serde_json::Value;

use crate::engine::SwarmEnv;
use crate::support::Done;

/// Runs a fixture with this recipe-ci.yml in its overlay.
fn run(fixture: &str, declared: &str, stages: &str) -> (SwarmEnv, Done, Value) {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe(fixture);
    env.overlay(fixture, "recipe-ci.yml", declared);
    env.set("STAGES", stages);
    go(env, &recipe)
}

fn go(env: SwarmEnv, recipe: &std::path::Path) -> (SwarmEnv, Done, Value) {
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    let results = env.results();
    env.assert_nothing_left();
    (env, done, results)
}

#[track_caller]
fn tier<'a>(results: &'a Value, name: &str) -> &'a Value {
    let tiers = results["tiers"].as_array().unwrap();
    tiers.iter().find(|tier| tier["name"] == name).unwrap()
}

/// Asserts that a row passed, and returns what it saw.
#[track_caller]
fn held(results: &Value, name: &str, row: &str) -> String {
    let tests = tier(results, name)["tests"].as_array().unwrap();
    let found = tests.iter().find(|test| test["name"] == row);
    let found = found.unwrap_or_else(|| panic!("no `{row}` in {results:#}"));
    assert_eq!(found["status"], "pass", "{found}");
    found["message"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn red(run: &(SwarmEnv, Done, Value), stage: &str, words: &[&str]) {
    let (_, done, results) = run;
    done.expect(1);
    let reason = tier(results, stage)["reason"].as_str().unwrap_or_default();
    for word in words {
        assert!(
            reason.contains(word),
            "`{reason}` lacks `{word}`\n{}",
            done.stderr
        );
    }
}

#[test]
fn what_is_declared_is_done() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.edit(
        &recipe.join("index.html"),
        "<title>Notes</title>",
        "<title>Notes</title><link rel=alternate href=/none><link rel=icon href=cgi-bin/notes>",
    );
    let declared = r#"
health: {path: /cgi-bin/notes, statuses: [200]}
timeouts: {deploy: 90, http: 30}
env: {NOTES_MAX_BYTES: 5000, SIDE: "side.${DOMAIN}", CI_SECRET: hide-me-please}
upgrade_env: {NOTES_MAX_BYTES: 6000}
ready:
  - {tcp: 8080}
  - {http: /index.html, service: app, port: 8080, stable: 2}
backup:
  verify: {command: "[ -e /tmp/again ] || { touch /tmp/again; echo truncated; exit 3; }"}
checks:
  - {path: /, title: Notes, contains: [<h1>Notes 1.2.0, cgi-bin], header: {content-type: text/html}, assets: true}
  - {path: /cgi-bin/notes, json: {/version: 1.2.0}}
  - {path: /none, status: 404}
data:
  - {none: notes are files}
"#;
    env.overlay("notes", "recipe-ci.yml", declared);
    env.overlay(
        "notes",
        "compose.ccci.yml",
        "version: '3.8'\nservices:\n  app:\n    environment: [CI_COLOUR=blue]\n",
    );
    // The install tests meet a new app of the head, the custom ones one that was upgraded. Nothing of SIDE, CI_SECRET
    // and what follows stands in the compose file.
    let asks = |bytes: u32| {
        format!(
            "#!/bin/sh\nset -eu\nrecipe-ci app exec -- env | tee /dev/stderr > seen.$$\n\
             grep -qx NOTES_MAX_BYTES={bytes} seen.$$\ngrep -qx CI_COLOUR=blue seen.$$\n\
             grep -qx \"SIDE=side.$CCCI_APP_DOMAIN\" seen.$$\ngrep -qx CI_SECRET=hide-me-please seen.$$\n\
             grep -qx LETS_ENCRYPT_ENV= seen.$$\ngrep -q ^APP_NOTES_VERSION=v seen.$$\ngrep -q ^TYPE=notes: seen.$$\n\
             [ \"$(recipe-ci app env SIDE)\" = \"side.$CCCI_APP_DOMAIN\" ]\n"
        )
    };
    env.overlay("notes", "test_install.sh", &asks(5000));
    env.overlay("notes", "custom/test_head.sh", &asks(6000));
    // It fails once and passes then, which was asked for.
    let once = env.root.join("once");
    let flaky = format!(
        "#!/bin/sh\n[ -e {0} ] || {{ : >{0}; exit 1; }}\n",
        once.display()
    );
    env.overlay("notes", "custom/test_flaky.sh", &flaky);
    env.set("CCCI_RETRIES", "1");
    let (env, done, results) = go(env, &recipe);
    done.expect(0);
    let served = held(&results, "install", "generic: serving");
    assert!(served.contains("200 at /cgi-bin/notes"), "{served}");
    assert!(served.contains("2 readiness probes hold"), "{served}");
    // The recipe's own and the overlay's.
    let rows = tier(&results, "install")["tests"].as_array().unwrap();
    let same = rows.iter().filter(|row| row["name"] == "test_install.sh");
    let same: Vec<_> = same.map(|row| &row["status"]).collect();
    assert_eq!(same, ["pass", "pass"], "{results:#}");
    held(&results, "custom", "custom/test_head.sh");
    // Shown, not red, and nothing that counts.
    let custom = tier(&results, "custom");
    assert_eq!(custom["status"], "flaky", "{results:#}");
    assert_eq!(results["rungs"]["custom"], "flaky", "{results:#}");
    assert_eq!(results["level"], 3, "{results:#}");
    let reason = custom["reason"].as_str().unwrap();
    assert!(reason.contains("custom/test_flaky.sh"), "{reason}");
    assert!(done.stderr.contains("flaky"), "{}", done.stderr);
    for stage in ["upgrade", "backup"] {
        let rows = tier(&results, stage)["tests"].as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row["name"] == "generic: data seeded — databases");
        let row = row.unwrap_or_else(|| panic!("{results:#}"));
        assert_eq!(row["status"], "skip", "{row}");
        assert_eq!(
            row["message"], "declared to be none: notes are files",
            "{row}"
        );
    }
    // The base is not what the checks describe, and no install judges it.
    for stage in ["install", "upgrade", "restore"] {
        let page = held(&results, stage, "check: /");
        assert_eq!(
            page,
            "status 200, title, 2 texts, header content-type, 1 assets load"
        );
        held(&results, stage, "check: /cgi-bin/notes");
        held(&results, stage, "check: /none");
    }
    let verified = held(&results, "backup", "declared: backup verified");
    assert_eq!(verified, "held at attempt 2 of 3");
    assert!(
        results["warnings"].to_string().contains("truncated"),
        "{results:#}"
    );
    let lint = results["lint"].to_string();
    assert!(
        !lint.contains("compose-overlay"),
        "a copy of an overlay was linted: {lint}"
    );
    let manifest = results["customization"].to_string();
    for line in [
        "overlay: recipe-ci.yml: health.path = /cgi-bin/notes",
        "overlay: recipe-ci.yml: env.CI_SECRET = (hidden)",
        "overlay: recipe-ci.yml: 3 HTTP checks",
        "overlay: compose.ccci.yml",
        "recipe: ops/pre_backup",
    ] {
        assert!(manifest.contains(line), "no `{line}` in {manifest}");
        assert!(
            done.stderr.contains(line),
            "no `{line}` in\n{}",
            done.stderr
        );
    }
    assert!(!done.stderr.contains("hide-me-please"), "{}", done.stderr);
    let log = harness::host_file::text(env.run_dirs()[0].join("run.log")).unwrap();
    assert!(!log.contains("hide-me-please"), "{log}");
}

/// Returns how long the reason says that was waited, in seconds: as late as the machine is busy.
#[track_caller]
fn waited(run: &(SwarmEnv, Done, Value)) -> u64 {
    let reason = tier(&run.2, "install")["reason"].as_str().unwrap();
    let rest = reason.split_once(" after ").map_or("", |(_, rest)| rest);
    let seconds = rest
        .split_once(" s")
        .and_then(|(number, _)| number.parse().ok());
    seconds.unwrap_or_else(|| panic!("{reason}"))
}

#[test]
fn a_health_path_that_is_not_there_is_red_after_the_http_timeout() {
    let declared = "health: {path: /none}\ntimeouts: {http: 2}\n";
    let late = run("notes", declared, "install");
    red(&late, "install", &["status 404"]);
    // Undeclared it would be 60.
    assert!((2..40).contains(&waited(&late)), "{}", waited(&late));
    drop(late);
    let declared = "health: {statuses: [204]}\ntimeouts: {http: 2}\n";
    red(
        &run("notes", declared, "install"),
        "install",
        &["status 200 (accepted: 204)"],
    );
}

/// What an app with a login answers: red within seconds with what to write, and green when that is written.
#[test]
fn an_answer_that_stays_is_the_answer_and_can_be_declared() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let compose = recipe.join("compose.yml");
    env.edit(
        &compose,
        r#"["httpd", "-f", "-p", "8080", "-h", "/www"]"#,
        r#"["sh", "-c", "echo '/:user:word' >/etc/httpd.conf; exec httpd -f -p 8080 -h /www"]"#,
    );
    env.edit(
        &compose,
        r#"["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/cgi-bin/notes"]"#,
        r#"["CMD", "true"]"#,
    );
    std::fs::remove_dir_all(recipe.join("tests")).unwrap();
    env.set("STAGES", "install");
    let red_run = go(env, &recipe);
    // The recipe gives it a minute.
    let words = [
        "does not serve: status 401 (accepted: 200 to 299",
        "it said so for 1",
        "`health: {statuses: [401]}`",
    ];
    red(&red_run, "install", &words);
    let mut env = red_run.0;
    let declared = "health: {statuses: [401], port: 8080, scheme: http, host: 'side.${DOMAIN}'}\n";
    env.overlay("notes", "recipe-ci.yml", declared);
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(0);
    env.assert_nothing_left();
}

#[test]
fn a_probe_and_a_check_that_do_not_hold_are_red() {
    let declared = "ready: [{tcp: 9}]\ntimeouts: {http: 2}\n";
    let late = run("notes", declared, "install");
    red(&late, "install", &["not ready after", "tcp port 9"]);
    // Of its two seconds what came before the probe has used some.
    assert!(waited(&late) < 40, "{}", waited(&late));
    drop(late);
    let declared = "checks: [{path: /, assets: true}]\n";
    red(
        &run("notes", declared, "install"),
        "install",
        &["check: /", "names no script"],
    );
}

#[test]
fn a_deploy_that_takes_longer_than_declared_is_red() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("never-healthy");
    // The recipe itself gives it five minutes.
    env.edit(&recipe.join("compose.yml"), "TIMEOUT:-30", "TIMEOUT:-300");
    env.overlay("never-healthy", "recipe-ci.yml", "timeouts: {deploy: 3}\n");
    env.set("STAGES", "install");
    let run = go(env, &recipe);
    red(&run, "install", &["converged"]);
    assert!(waited(&run) < 150, "{}", waited(&run));
}

#[test]
fn a_backup_that_is_never_good_is_red_after_its_attempts() {
    let declared = "backup: {verify: {command: 'echo short; exit 1', attempts: 2}}\n";
    let run = run("notes", declared, "install,backup");
    red(
        &run,
        "backup",
        &["declared: backup verified", "short", "each of 2 attempts"],
    );
}

#[test]
fn backup_capability_is_as_declared() {
    let red_run = run("no-backup", "backup: {capable: true}\n", "install,backup");
    red(&red_run, "backup", &["select nothing"]);
    // A test has one slot of the engine at a time.
    drop(red_run);
    let (_env, done, results) = run("notes", "backup: {capable: false}\n", "install,backup");
    done.expect(0);
    assert_eq!(tier(&results, "backup")["status"], "skip", "{results:#}");
}

#[test]
fn an_overlay_that_pins_what_the_proposal_changed_is_red_and_nothing_is_deployed() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let pin = "services:\n  app:\n    image: recipe-ci/notes:1\n";
    env.overlay("notes", "compose.ccci.yml", pin);
    let run = go(env, &recipe);
    let words = [
        "compose.ccci.yml",
        "replaces the image of `app`",
        "recipe-ci/notes:2",
        "recipe-ci/notes:1",
    ];
    red(&run, "install", &words);
    assert_eq!(run.2["deploy_count"], 0);
    assert_eq!(tier(&run.2, "upgrade")["status"], "unver");
}

#[test]
fn a_repair_is_for_the_base_alone_and_only_for_its_version() {
    let repair = "services:\n  app:\n    command: [httpd, -f, -p, '8080', -h, /www]\n    environment: [REPAIRED=yes]\n";
    let run = |version: &str| {
        let mut env = SwarmEnv::new();
        let recipe = env.recipe("base-cannot-deploy");
        env.overlay("base-cannot-deploy", "previous/VERSION", version);
        env.overlay("base-cannot-deploy", "previous/compose.ccci.yml", repair);
        let asks = "#!/bin/sh\nrecipe-ci app exec -- env > seen\n! grep REPAIRED seen\n";
        env.overlay("base-cannot-deploy", "custom/test_head.sh", asks);
        env.set("STAGES", "install,upgrade,custom");
        go(env, &recipe)
    };
    let (env, done, results) = run("0.2.0+1.1.0\n");
    done.expect(0);
    assert_eq!(
        tier(&results, "upgrade")["status"],
        "pass",
        "{results:#}\n{}",
        done.stderr
    );
    held(&results, "custom", "custom/test_head.sh");
    drop(env);
    let (_env, done, results) = run("0.1.0+1.0.0\n");
    done.expect(0);
    assert_eq!(tier(&results, "upgrade")["status"], "unver", "{results:#}");
    assert!(
        results["warnings"]
            .to_string()
            .contains("stale: overlay's previous/ repairs 0.1.0+1.0.0")
    );
}

/// A gateway answers 502 there, and the app that is asked has nothing to do with it.
#[test]
fn a_second_port_that_a_router_leads_to_is_listened_at_or_declared_to_be_silent() {
    const ADMIN: &str = r#"  admin:
    image: recipe-ci/notes:2
    command: ["httpd", "-f", "-p", "9000", "-h", "/"]
    init: true
    networks: [proxy]
    deploy:
      labels:
        - "traefik.enable=true"
        - "traefik.http.services.${STACK_NAME}-admin.loadbalancer.server.port=9000"
        - "traefik.http.routers.${STACK_NAME}-admin.rule=Host(`admin.${DOMAIN}`)"
        - "traefik.http.routers.${STACK_NAME}-admin.entrypoints=web-secure"
        - "traefik.http.routers.${STACK_NAME}-admin.tls.certresolver=${LETS_ENCRYPT_ENV}"

networks:
"#;
    let run = |port: &str, declared: &str| {
        let mut env = SwarmEnv::new();
        let recipe = env.recipe("no-upgrade-base");
        let admin = ADMIN.replace("server.port=9000", port);
        env.edit(
            &recipe.join("compose.yml"),
            "networks:\n  proxy",
            &format!("{admin}  proxy"),
        );
        env.overlay("no-upgrade-base", "recipe-ci.yml", declared);
        env.set("STAGES", "install");
        go(env, &recipe)
    };
    for (port, declared) in [
        ("server.port=9000", "timeouts: {http: 60}\n"),
        ("server.port=9001", "health: {silent: [admin]}\n"),
    ] {
        let (_, done, _) = run(port, declared);
        done.expect(0);
    }
    red(
        &run("server.port=9001", "timeouts: {http: 3}\n"),
        "install",
        &[
            "a router leads to `admin` port 9001",
            "connection refused",
            "silent: [admin]",
        ],
    );
}
