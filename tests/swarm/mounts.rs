//! Where data really lies: mounts that moved, live copies of a database, two servers on one directory, hooks that said
//! `Access denied`.

use serde_json::Value;

use crate::engine::{SwarmEnv, docker};
use crate::support::{Done, command, git};

/// An image of this test's own that keeps its data in a `VOLUME`.
struct Image(String);

impl Image {
    /// Makes it of the image of the notes.
    fn new(env: &SwarmEnv) -> Self {
        let name = format!("recipe-ci/keeps-{}:1", env.zone.replace('.', "-"));
        let script = format!(
            "id=$(docker create recipe-ci/notes:1 true) && \
             docker export \"$id\" | docker import --change 'VOLUME /srv/data' --change 'ENV PATH=/bin' - {name} && \
             docker rm \"$id\""
        );
        let made = command("sh").args(["-ec", &script]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Self(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        docker(&["rmi", "--force", &self.0]);
    }
}

/// A service that serves at 8080 and keeps what it has at `/srv`.
fn web(image: &str, mount: &str, labels: &str) -> String {
    format!(
        "  app:\n    image: {image}\n    healthcheck: {{test: 'test -d /', interval: 1s}}\n    \
         command: [sh, -c, 'mkdir -p /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www']\n    \
         init: true\n    volumes: ['{mount}']\n    deploy:\n      labels:\n        \
         - \"traefik.http.services.${{STACK_NAME}}.loadbalancer.server.port=8080\"\n        \
         - \"coop-cloud.${{STACK_NAME}}.version=VERSION\"\n{labels}"
    )
}

/// A service whose volume is where only one server keeps its files.
fn db(more: &str) -> String {
    format!(
        "  db:\n    image: recipe-ci/notes:1\n    healthcheck: {{test: 'test -d /', interval: 1s}}\n    init: true\n    \
         command: [sh, -c, 'exec sleep 9999']\n    volumes: ['db:/var/lib/mysql']\n{more}"
    )
}

/// Runs a recipe of these services, the last being the proposal and the others published.
fn run(env: &mut SwarmEnv, stages: &str, versions: &[String]) -> (Done, Value) {
    env.set("STAGES", stages);
    let dir = env.root.join("recipes/mounts");
    std::fs::create_dir_all(&dir).unwrap();
    git(&dir, &["init", "-q", "-b", "main"]);
    for (number, services) in versions.iter().enumerate() {
        let version = format!("0.{number}.0+1.0.0");
        let services = services.replace("VERSION", &version);
        let text = format!("version: \"3.8\"\nservices:\n{services}volumes: {{data: , db: }}\n");
        std::fs::write(dir.join("compose.yml"), text).unwrap();
        std::fs::write(dir.join(".env.sample"), "TYPE=mounts\nDOMAIN=x\n").unwrap();
        git(&dir, &["add", "-A"]);
        git(&dir, &["commit", "-q", "-m", &version]);
        if number + 1 < versions.len() {
            git(&dir, &["tag", "-a", "-m", &version, &version]);
        }
    }
    let done = env.run(["run".as_ref(), dir.as_os_str()]);
    let results = env.results();
    env.assert_nothing_left();
    (done, results)
}

/// Returns the message of an assertion, which must have this status.
#[track_caller]
fn message<'a>(results: &'a Value, name: &str, status: &str) -> &'a str {
    let tiers = results["tiers"].as_array().unwrap();
    let tests = tiers.iter().filter_map(|tier| tier["tests"].as_array());
    let test = tests.flatten().find(|test| test["name"] == name);
    let test = test.unwrap_or_else(|| panic!("no `{name}` in {results:#}"));
    assert_eq!(test["status"], status, "{test:#}");
    test["message"].as_str().unwrap_or_default()
}

#[test]
fn an_upgrade_that_leaves_the_data_on_an_anonymous_volume_and_one_that_runs_two_servers_are_red() {
    let mut env = SwarmEnv::new();
    let image = Image::new(&env);
    let first = "    deploy: {update_config: {order: start-first}}\n";
    let base = format!("{}{}", web(&image.0, "data:/srv/data", ""), db(first));
    let changed = format!("{first}    environment: {{X: y}}\n");
    let head = format!("{}{}", web(&image.0, "data:/srv/files", ""), db(&changed));
    let (done, results) = run(&mut env, "install,upgrade", &[base, head]);
    done.expect(1);
    let said = message(&results, "generic: data stays on its volumes", "fail");
    for words in ["service `app`", "`/srv/data`", "volume `data`", &image.0] {
        assert!(said.contains(words), "`{said}` lacks `{words}`");
    }
    let said = message(&results, "generic: one server on its files", "fail");
    assert!(
        said.contains("service `db`") && said.contains("stop-first"),
        "{said}"
    );
    let findings = results["findings"].to_string();
    for words in ["is on an anonymous volume", "is mounted at `/srv/files`"] {
        assert!(findings.contains(words), "{findings} lacks `{words}`");
    }
}

/// The engine cleans a path, and what was compared as it is written was on no volume: nothing was seeded there.
#[test]
fn data_that_an_upgrade_removes_is_missed_however_its_path_is_written() {
    let mut env = SwarmEnv::new();
    let base = web("recipe-ci/notes:1", "data:/www/../srv/.//", "");
    let head = base.replace(
        "mkdir -p /www;",
        "rm -rf /srv/* /srv/.[!.]*; mkdir -p /www;",
    );
    let (done, results) = run(&mut env, "install,upgrade", &[base, head]);
    done.expect(1);
    let said = message(&results, "generic: data survived", "fail");
    assert!(said.contains("volume `data` lost it"), "{said}");
}

#[test]
fn a_volume_that_the_head_mounts_to_read_only_is_looked_into() {
    let mut env = SwarmEnv::new();
    let base = web("recipe-ci/notes:1", "data:/srv", "");
    let head = base.replace("data:/srv", "data:/srv:ro");
    let (done, results) = run(&mut env, "install,upgrade", &[base, head]);
    assert_eq!(done.code, Some(0), "{results:#}");
    let said = message(&results, "generic: data survived", "pass");
    assert!(said.contains("markers in data"), "{said}");
}

#[test]
fn a_live_copy_of_a_database_is_red() {
    let mut env = SwarmEnv::new();
    let switch = "        - backupbot.backup=true\n";
    let head = format!(
        "{}{}",
        web("recipe-ci/notes:1", "data:/srv", switch),
        db("")
    );
    let (done, results) = run(&mut env, "install,backup,restore", &[head]);
    done.expect(1);
    let said = message(&results, "generic: databases are dumped", "fail");
    assert!(
        said.contains("volume `db`") && said.contains("pre-hook"),
        "{said}"
    );
}

#[test]
fn hooks_without_a_switch_of_their_own_run_and_what_they_wrote_explains_what_fails_later() {
    let mut env = SwarmEnv::new();
    let switch = "        - backupbot.backup=true\n";
    let hooks = "    deploy:\n      labels:\n        \
                 - backupbot.backup.volumes.db.path=dump.sql\n        \
                 - \"backupbot.backup.pre-hook=echo Access denied >&2; : > /var/lib/mysql/dump.sql\"\n";
    let head = format!(
        "{}{}",
        web("recipe-ci/notes:1", "data:/srv", switch),
        db(hooks)
    );
    let (done, results) = run(&mut env, "install,backup,restore", &[head]);
    done.expect(1);
    let said = message(&results, "generic: backup pre-hooks", "pass");
    assert_eq!(said, "1 ended with 0");
    message(&results, "generic: archive holds what was seeded", "fail");
    let title = "backup pre-hook of service `db`, which ended with 0";
    assert!(
        done.stderr.contains(title) && done.stderr.contains("Access denied"),
        "{}",
        done.stderr
    );
    let dirs = env.run_dirs();
    let log = dirs[0].join("logs/hook-db-backup-pre-hook.log");
    let log = harness::host_file::text(&log).unwrap();
    assert!(
        log.starts_with("$ echo Access denied") && log.ends_with("Access denied\nexit code 0\n"),
        "{log}"
    );
}
