//! A stranger's proposal beside a victim: every row of what once harmed the host, as a stranger, with a grant, and by
//! hand. Whatever the run comes to, the victim's objects, their versions, labels and contents stay, and its canary is
//! in no output and in no file of the run.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::engine::{SwarmEnv, docker};
use crate::forge::Forge;
use crate::support::{Done, git, read_results};

/// What the victim's secrets, configs and volume hold.
const CANARY: &str = "canary-b7f3e1";

/// A stack of somebody else's, with objects in use and objects that nothing uses.
struct Victim {
    stack: String,
}

impl Victim {
    fn deploy(env: &SwarmEnv) -> Self {
        // Not in the test's zone, of which nothing may be left.
        let stack = format!("victim-{}", env.zone.split('.').next().unwrap());
        let canary = env.write("victim/canary", CANARY);
        let file = canary.display();
        let text = format!(
            r#"{{"version": "3.8", "services": {{"db": {{"image": "recipe-ci/notes:1",
                "command": ["sh", "-c", "echo {CANARY} > /data/canary; exec sleep 100000"],
                "healthcheck": {{"disable": true}}, "secrets": ["used"], "configs": ["used"],
                "volumes": ["data:/data"], "networks": ["inner"], "deploy": {{"endpoint_mode": "dnsrr"}}}}}},
              "secrets": {{"used": {{"file": "{file}"}}}}, "configs": {{"used": {{"file": "{file}"}}}},
              "volumes": {{"data": {{}}}}, "networks": {{"inner": {{"attachable": true}}}}}}"#
        );
        let compose = env.write("victim/compose.json", &text);
        docker(&["stack", "deploy", "-c", compose.to_str().unwrap(), &stack]);
        for kind in ["secret", "config"] {
            let name = format!("{stack}_unused");
            docker(&[kind, "create", &name, canary.to_str().unwrap()]);
        }
        let victim = Self { stack };
        let up = crate::wait::wait_for(std::time::Duration::from_secs(60), || {
            victim.canary().is_some().then_some(())
        });
        up.expect("the victim comes up");
        victim
    }

    /// Returns what its volume holds, by its running container.
    fn canary(&self) -> Option<String> {
        let label = format!("label=com.docker.stack.namespace={}", self.stack);
        let container = docker(&["ps", "-q", "--filter", &label]);
        let container = container.lines().next()?.to_owned();
        let command = [
            "exec",
            &container,
            "sh",
            "-c",
            "ls -la /data; cat /data/* /data/.[!.]* 2>/dev/null; true",
        ];
        let said = docker(&command);
        said.contains(CANARY).then_some(said)
    }

    fn name(&self, object: &str) -> String {
        format!("{}_{object}", self.stack)
    }

    /// Returns everything of it with ids, versions, labels and contents.
    fn state(&self) -> String {
        let mut all = String::new();
        for (kind, objects) in [
            ("service", &["db"][..]),
            ("secret", &["used", "unused"]),
            ("config", &["used", "unused"]),
            ("volume", &["data"]),
            ("network", &["inner"]),
        ] {
            for object in objects {
                let name = self.name(object);
                let inspected = docker(&[kind, "inspect", &name]);
                // Who is attached to a network is said as well, with the times of its containers.
                all.push_str(&inspected);
            }
        }
        all.push_str(&self.canary().expect("its data is there"));
        all
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let run = |args: &[&str]| {
            let output = crate::support::command("docker").args(args).output();
            output.is_ok_and(|output| output.status.success())
        };
        run(&["stack", "rm", &self.stack]);
        for kind in ["secret", "config"] {
            run(&[kind, "rm", &self.name("unused")]);
        }
        // It goes once its container has; with `-f` the client calls it done before.
        crate::wait::wait_for(std::time::Duration::from_secs(60), || {
            run(&["volume", "rm", &self.name("data")]).then_some(())
        });
    }
}

/// A host with a victim and a forge that strangers propose on.
struct Scene {
    victim: Victim,
    forge: Forge,
    env: SwarmEnv,
}

/// What a hostile recipe is made of.
#[derive(Clone, Copy, Default)]
struct Recipe<'a> {
    /// What stands in the service `app` beyond its image.
    service: &'a str,
    /// What stands below the services.
    top: &'a str,
    /// More of `.env.sample`.
    env: &'a str,
}

impl Scene {
    fn new() -> Self {
        let mut env = SwarmEnv::new();
        let victim = Victim::deploy(&env);
        let forge = Forge::start(env.root.join("forge"));
        env.set("CCCI_FORGE_URL", forge.url());
        env.set("STAGES", "install");
        Self { victim, forge, env }
    }

    /// Makes the repository of a recipe; `VICTIM` stands for the victim's stack.
    fn repository(&self, name: &str, recipe: Recipe<'_>) -> PathBuf {
        let dir = self.env.root.join("recipes").join(name);
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).unwrap();
        let fill = |text: &str| {
            text.replace("VICTIM", &self.victim.stack)
                .replace("ROOT", self.env.root.to_str().unwrap())
        };
        let compose = format!(
            "version: \"3.8\"\nservices:\n  app:\n    image: recipe-ci/notes:1\n    \
             healthcheck: {{disable: true}}\n    \
             command: [sh, -c, 'exec sleep 10000']\n{}\n{}\n",
            fill(recipe.service),
            fill(recipe.top)
        );
        std::fs::write(dir.join("compose.yml"), compose).unwrap();
        let sample = format!(
            "TYPE={name}\nDOMAIN=x\nLETS_ENCRYPT_ENV=\n{}\n",
            fill(recipe.env)
        );
        std::fs::write(dir.join(".env.sample"), sample).unwrap();
        std::fs::write(dir.join("file"), "of the recipe").unwrap();
        git(&dir, &["init", "-q", "-b", "main"]);
        commit(&dir);
        dir
    }

    /// Runs a recipe as a stranger's proposal.
    fn stranger(&mut self, name: &str, recipe: Recipe<'_>) -> Done {
        let dir = self.repository(name, recipe);
        self.proposed(name, &dir)
    }

    fn proposed(&mut self, name: &str, dir: &Path) -> Done {
        let proposal = format!("stranger/{name}");
        let at = self.env.root.join("forge").join(format!("{proposal}.git"));
        drop(std::fs::remove_dir_all(at));
        self.forge.publish_as(&proposal, dir);
        self.env.set("SRC", format!("stranger/{name}"));
        let done = self.env.run(["run"]);
        self.env.set("SRC", "");
        done
    }

    /// Runs a recipe of a source that has this grant.
    fn granted(&mut self, name: &str, recipe: Recipe<'_>, grant: &str) -> Done {
        let host = self.forge.url().replace("http://", "");
        let grant = grant.replace("VICTIM", &self.victim.stack);
        let grant = grant.replace("ROOT", self.env.root.to_str().unwrap());
        let grants = self.env.write(
            "grants.yml",
            &format!("sources:\n  {host}/stranger/{name}:\n    branches: [main]\n    {grant}\n"),
        );
        self.env.set("CCCI_GRANTS", grants.display().to_string());
        self.env.set("REF", "main");
        let done = self.stranger(name, recipe);
        self.env.set("REF", "");
        self.env.set("CCCI_GRANTS", "");
        done
    }

    /// Runs a recipe by its path on the command line.
    fn by_hand(&self, name: &str, recipe: Recipe<'_>) -> Done {
        let dir = self.repository(name, recipe);
        self.env.run(["run".as_ref(), dir.as_os_str()])
    }

    /// Asserts that the canary is in no output and no file of a run, and that nothing of the zone is left.
    #[track_caller]
    fn assert_unharmed(&self, before: &str, done: &Done) {
        assert_eq!(
            self.victim.state(),
            before,
            "the victim changed\n{}",
            done.stderr
        );
        for text in [&done.stdout, &done.stderr] {
            assert!(!text.contains(CANARY), "{text}");
        }
        for dir in self.env.run_dirs() {
            assert_no_canary(&dir);
        }
    }
}

fn commit(dir: &Path) {
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "-m", "x"]);
}

#[track_caller]
fn assert_no_canary(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap();
        if kind.is_dir() {
            assert_no_canary(&path);
        } else if kind.is_file() {
            let content = harness::host_file::bytes(&path).unwrap();
            let content = String::from_utf8_lossy(&content);
            assert!(
                !content.contains(CANARY),
                "{} has the canary",
                path.display()
            );
        }
    }
}

/// Every row that the table refuses, with the rule or the words that refuse it.
const REFUSED: [(&str, Recipe<'static>, &str); 27] = [
    // A1: Docker's client would update the object, and teardown would delete it.
    (
        "a1-secret",
        r(
            "    secrets: [s]",
            "secrets: {s: {file: ./file, name: VICTIM_unused}}",
        ),
        "VICTIM_unused",
    ),
    (
        "a1-config",
        r(
            "    configs: [c]",
            "configs: {c: {file: ./file, name: VICTIM_unused}}",
        ),
        "VICTIM_unused",
    ),
    // A3: files that are not the recipe's.
    (
        "a3-absolute",
        r(
            "    secrets: [s]",
            "secrets: {s: {file: ROOT/victim/canary}}",
        ),
        "outside the recipe",
    ),
    (
        "a3-up",
        r(
            "    configs: [c]",
            "configs: {c: {file: ../../victim/canary}}",
        ),
        "outside the recipe",
    ),
    (
        "a3-env-file",
        r("    env_file: ROOT/victim/canary", ""),
        "outside the recipe",
    ),
    // A4: foreign objects.
    (
        "a4-secret",
        r(
            "    secrets: [s]",
            "secrets: {s: {external: true, name: VICTIM_used}}",
        ),
        "VICTIM_used",
    ),
    (
        "a4-config",
        r(
            "    configs: [c]",
            "configs: {c: {external: true, name: VICTIM_used}}",
        ),
        "VICTIM_used",
    ),
    (
        "a4-volume",
        r(
            "    volumes: ['vol:/v']",
            "volumes: {vol: {external: true, name: VICTIM_data}}",
        ),
        "VICTIM_data",
    ),
    (
        "a4-network",
        r(
            "    networks: [n]",
            "networks: {n: {external: true, name: VICTIM_inner}}",
        ),
        "VICTIM_inner",
    ),
    (
        "a4-named-network",
        r("    networks: [n]", "networks: {n: {name: VICTIM_inner}}"),
        "VICTIM_inner",
    ),
    // A6: foreign data.
    (
        "a6-name",
        r(
            "    volumes: ['vol:/v']\n    deploy: {labels: {backupbot.backup: 'true'}}",
            "volumes: {vol: {name: VICTIM_data}}",
        ),
        "VICTIM_data",
    ),
    (
        "a6-bind",
        r(
            "    volumes: ['vol:/v']",
            "volumes: {vol: {driver_opts: {type: none, o: bind, device: ROOT/victim}}}",
        ),
        "driver_opts",
    ),
    // A7: the host itself.
    ("a7-root", r("    volumes: ['/:/host']", ""), "volumes"),
    (
        "a7-socket",
        r("    volumes: ['/var/run/docker.sock:/s']", ""),
        "docker.sock",
    ),
    ("a7-relative", r("    volumes: ['./file:/f']", ""), "bind"),
    (
        "a7-capability",
        r("    cap_add: [SYS_ADMIN]", ""),
        "SYS_ADMIN",
    ),
    (
        "a7-host-network",
        r(
            "    networks: [n]",
            "networks: {n: {external: true, name: host}}",
        ),
        "host",
    ),
    (
        "a7-logging",
        r(
            "    logging: {driver: syslog, options: {syslog-address: 'udp://127.0.0.1:514'}}",
            "",
        ),
        "logging",
    ),
    (
        "a7-sysctls",
        r("    sysctls: {net.core.somaxconn: '1'}", ""),
        "sysctls",
    ),
    (
        "a7-image",
        Recipe {
            service: "    stop_signal: SIGTERM\n  other:\n    image: registry.internal:5000/VICTIM/private:1",
            top: "",
            env: "",
        },
        "registry.internal:5000",
    ),
    (
        "a7-driver",
        r("    volumes: ['vol:/v']", "volumes: {vol: {driver: other}}"),
        "driver",
    ),
    // A9: the gateway and its network.
    (
        "a9-router",
        r(
            "    deploy: {labels: [\"traefik.http.routers.evil.rule=Host(`cloud.example.org`)\"]}",
            "",
        ),
        "traefik.http.routers.evil.rule",
    ),
    (
        "a9-priority",
        r(
            "    deploy: {labels: [\"traefik.http.routers.${STACK_NAME}.priority=100000\"]}",
            "",
        ),
        "priority",
    ),
    // A11: ceilings.
    (
        "a11-replicas",
        r("    deploy: {replicas: 1000}", ""),
        "replicas",
    ),
    // A14: what is no image.
    (
        "a14-image",
        Recipe {
            service: "    stop_signal: SIGTERM\n  other:\n    image: --help",
            top: "",
            env: "",
        },
        "--help",
    ),
    // What is in no table.
    ("unknown-key", r("    surprise: true", ""), "surprise"),
    (
        "namespace",
        r("    labels: {com.docker.stack.namespace: VICTIM}", ""),
        "com.docker",
    ),
];

const fn r(service: &'static str, top: &'static str) -> Recipe<'static> {
    Recipe {
        service,
        top,
        env: "",
    }
}

#[test]
fn a_stranger_is_refused_before_anything_is_made_and_the_victim_stays() {
    let mut scene = Scene::new();
    let before = scene.victim.state();
    for (name, recipe, word) in REFUSED {
        let done = scene.stranger(name, recipe);
        assert_eq!(done.code, Some(2), "{name}: {}", done.stderr);
        let word = word.replace("VICTIM", &scene.victim.stack);
        assert!(
            done.stderr.contains(&word),
            "{name} lacks `{word}`: {}",
            done.stderr
        );
        let results = read_results(scene.env.run_dirs().last().unwrap());
        assert!(
            ["refused", "usage"].contains(&results["verdict"].as_str().unwrap()),
            "{name}: {results:#}"
        );
        assert_eq!(results["deploy_count"], Value::from(0), "{name}");
        scene.assert_unharmed(&before, &done);
    }
    scene.env.assert_nothing_left();
}

#[test]
fn by_hand_it_warns_and_never_touches_what_is_there() {
    let scene = Scene::new();
    let before = scene.victim.state();
    // Docker's client would update what is there: that is refused for everybody.
    for name in ["a1-secret", "a1-config", "a4-named-network", "a6-name"] {
        let (_, recipe, word) = REFUSED.into_iter().find(|row| row.0 == name).unwrap();
        let done = scene.by_hand(name, recipe);
        let word = word.replace("VICTIM", &scene.victim.stack);
        assert_eq!(done.code, Some(2), "{name}: {}", done.stderr);
        assert!(done.stderr.contains(&word), "{name}: {}", done.stderr);
        scene.assert_unharmed(&before, &done);
    }
    // What only reads or joins is that person's own matter; it says so and stays away from the data.
    for name in [
        "a4-config",
        "a4-volume",
        "a4-network",
        "a7-relative",
        "a7-capability",
    ] {
        let (_, recipe, _) = REFUSED.into_iter().find(|row| row.0 == name).unwrap();
        let done = scene.by_hand(name, recipe);
        assert_eq!(done.code, Some(0), "{name}: {}", done.stderr);
        assert!(
            done.stderr.contains("P0"),
            "{name} warns by no rule: {}",
            done.stderr
        );
        // Who was attached for a moment leaves no trace.
        scene.assert_unharmed(&before, &done);
    }
    scene.env.assert_nothing_left();
}

#[test]
fn a_grant_allows_what_it_names_and_nothing_beside() {
    let mut scene = Scene::new();
    let before = scene.victim.state();
    for (name, grant) in [
        ("a4-config", "foreign: {configs: [VICTIM_used]}"),
        ("a4-volume", "foreign: {volumes: [VICTIM_data]}"),
        ("a4-network", "foreign: {networks: [VICTIM_inner]}"),
        ("a7-capability", "capabilities: [SYS_ADMIN]"),
    ] {
        let (_, recipe, _) = REFUSED.into_iter().find(|row| row.0 == name).unwrap();
        let images = "images: [recipe-ci]";
        let done = scene.granted(name, recipe, &format!("{images}\n    {grant}"));
        assert_eq!(done.code, Some(0), "{name}: {}", done.stderr);
        scene.assert_unharmed(&before, &done);
        // The next name is not granted.
        let other = grant
            .replace("VICTIM", "other")
            .replace("SYS_ADMIN", "CHOWN");
        let done = scene.granted(name, recipe, &format!("{images}\n    {other}"));
        assert_eq!(done.code, Some(2), "{name}: {}", done.stderr);
        scene.assert_unharmed(&before, &done);
    }
    scene.env.assert_nothing_left();
}

/// An image of the host's own that is called like one of the public hub was never published there.
#[test]
fn an_image_that_only_lies_on_this_host_is_not_given_to_a_stranger() {
    let mut scene = Scene::new();
    let image = format!("{}/private:1", scene.victim.stack);
    docker(&["tag", "recipe-ci/notes:1", &image]);
    let recipe = Recipe {
        service: "    stop_signal: SIGTERM\n  other:\n    image: VICTIM/private:1",
        ..Recipe::default()
    };
    let done = scene.stranger("private", recipe);
    docker(&["rmi", &image]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("never pulled from a registry"),
        "{}",
        done.stderr
    );
    let results = read_results(scene.env.run_dirs().last().unwrap());
    assert_eq!(results["deploy_count"], Value::from(0));
    scene.env.assert_nothing_left();
}
