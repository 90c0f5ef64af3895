//! The policy on a real engine: what it refuses makes nothing, and what it fills in is what the engine has.

use std::path::PathBuf;

use harness::host_file;
use serde_json::Value;

use crate::engine::{SwarmEnv, docker, objects_of};
use crate::support::{command, git};

fn commit(env: &SwarmEnv, name: &str, compose: &str) -> PathBuf {
    let path = env.root.join("recipes").join(name);
    env.write(&format!("recipes/{name}/compose.yml"), compose);
    git(&path, &["init", "-q", "-b", "main"]);
    git(&path, &["add", "-A"]);
    git(&path, &["commit", "-qm", "first"]);
    path
}

/// Findings A1, A4, A6, A7 and A9: none of them reaches the engine, and what they name stays as it is.
#[test]
fn a_refused_proposal_makes_nothing_and_what_it_names_stays_as_it_is() {
    let env = SwarmEnv::new();
    let victim = format!("victim_{}", env.zone.replace('.', "_"));
    let file = env.write("victim", "victim-canary").display().to_string();
    docker(&["secret", "create", &victim, &file]);
    docker(&["config", "create", &victim, &file]);
    docker(&["volume", "create", &victim]);
    docker(&["network", "create", "--driver", "overlay", &victim]);
    let facts = || {
        ["secret", "config", "volume", "network"].map(|kind| docker(&[kind, "inspect", &victim]))
    };
    let before = facts();
    let app = "version: '3.8'\nservices:\n  app:\n    image: recipe-ci/notes:1\n";
    for (index, (rule, more)) in [
        ("P007", "secrets: {s: {name: VICTIM, file: ./compose.yml}}"),
        ("P007", "    secrets: [s]\nsecrets: {s: {name: VICTIM, external: true}}"),
        ("P008", "    configs: [c]\nconfigs: {c: {name: VICTIM, external: true}}"),
        ("P006", "    volumes: ['data:/v']\nvolumes: {data: {name: VICTIM}}"),
        ("P006", "    volumes: ['data:/v']\nvolumes: {data: {name: VICTIM, external: true}}"),
        ("P005", "    volumes: ['data:/v']\nvolumes: {data: {driver_opts: {type: none, o: bind, device: /etc}}}"),
        ("P009", "    networks: [n]\nnetworks: {n: {name: VICTIM, external: true}}"),
        ("P003", "    volumes: ['/var/run/docker.sock:/s']"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("{app}{}\n", more.replace("VICTIM", &victim));
        let path = commit(&env, &format!("evil{index}"), &text);
        let done = env.run(["run", "--src", path.to_str().unwrap()]);
        done.expect(2);
        assert!(done.stderr.contains(rule), "no {rule} in\n{}", done.stderr);
        let out = format!("{}{}", done.stdout, done.stderr);
        assert!(!out.contains("victim-canary"), "{out}");
        assert_eq!(facts(), before, "{more}");
    }
    let mut left = objects_of(&env.zone.replace('.', "_"));
    left.retain(|object| !object.ends_with(&victim));
    assert_eq!(left, [""; 0]);
    for kind in ["secret", "config", "volume", "network"] {
        docker(&[kind, "rm", &victim]);
    }
}

/// Finding A11: a task of a stranger had no limit at all.
#[test]
fn a_strangers_tasks_run_within_the_ceilings_and_the_report_says_so() {
    // It goes after what is made of it.
    let image;
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let [facts, bounding] = ["facts", "bounding"].map(|name| env.root.join(name));
    env.overlay(
        "notes",
        "custom/test_limits.sh",
        &format!(
            "#!/bin/sh\nset -e\ndocker service inspect \"$(echo $CCCI_APP_DOMAIN | tr . _)_app\" >'{}'\n\
             recipe-ci app exec -- sed -n 's/^CapBnd://p' /proc/self/status >'{}'\n",
            facts.display(),
            bounding.display()
        ),
    );
    env.set("STAGES", "install,custom");
    // An image asks for health checks without a line in any compose file.
    image = Outside::of(&env, "image", "recipe-ci/hasty");
    let from = docker(&["create", "recipe-ci/notes:2"]);
    let check = "HEALTHCHECK --interval=1ms --retries=1000 CMD wget -q -O /dev/null http://127.0.0.1:8080/cgi-bin/notes";
    docker(&["commit", "--change", check, &from, &image.name]);
    docker(&["rm", &from]);
    let compose = recipe.join("compose.yml");
    env.edit(
        &compose,
        "image: recipe-ci/notes:2",
        &format!("image: {}", image.name),
    );
    env.edit(&compose, "      interval: 1s\n", "");
    git(&recipe, &["commit", "-qam", "hasty"]);
    let done = env.run(["run", "--src", recipe.to_str().unwrap()]);
    done.expect(0);
    let spec: Value = serde_json::from_str(&host_file::text(&facts).unwrap()).unwrap();
    let task = &spec[0]["Spec"]["TaskTemplate"];
    let limits = &task["Resources"]["Limits"];
    assert_eq!(limits["MemoryBytes"], 1 << 30, "{task:#}");
    assert_eq!(limits["NanoCPUs"], 1_000_000_000, "{task:#}");
    assert_eq!(limits["Pids"], 512, "{task:#}");
    assert_eq!(task["LogDriver"]["Options"]["max-size"], "5m", "{task:#}");
    let dropped = task["ContainerSpec"]["CapabilityDrop"].to_string();
    assert!(dropped.contains("CAP_NET_RAW"), "{task:#}");
    let bounding = host_file::text(&bounding).unwrap();
    let bounding = u64::from_str_radix(bounding.trim(), 16).unwrap();
    assert_eq!(bounding & 1 << 13, 0, "{bounding:x}: CAP_NET_RAW is bit 13");
    let check = &task["ContainerSpec"]["Healthcheck"];
    assert_eq!(check["Interval"], 1_000_000_000, "{task:#}");
    // Nor is it on the network of the host's gateway, which the recipe names.
    let proxy = docker(&["network", "inspect", "--format", "{{.ID}}", "proxy"]);
    let networks = task["Networks"].to_string();
    assert!(
        networks.contains("Target") && !networks.contains(&proxy),
        "{networks}"
    );
    let deviations = env.results()["deviations"].to_string();
    for word in [
        "memory 1g",
        "cpus 1",
        "512 processes",
        "log of 10m",
        "has no raw sockets",
        "network `proxy` of the host is replaced",
        "is checked for health once a second at most",
    ] {
        assert!(deviations.contains(word), "no `{word}` in {deviations}");
    }
    env.assert_nothing_left();
    image.end();
}

/// A private image on the host was any proposal's by its name.
#[test]
fn an_image_that_only_lies_on_this_host_is_not_a_strangers() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("wild-zero-replicas");
    env.set("STAGES", "install");
    env.set("CCCI_LOCAL_IMAGES", "");
    let path = recipe.to_str().unwrap();
    let done = env.run(["run", "--src", path]);
    done.refused(&[
        "P002",
        "never pulled from a registry",
        "images: [docker.io/recipe-ci/notes]",
    ]);
    assert_eq!(env.results()["verdict"], "refused");
    env.assert_nothing_left();
    // By hand it is the person's own matter.
    env.run(["run", path]).expect(0);
}

/// Finding A11: a sparse file of 3 GiB became 3 GiB on the disk of the host.
#[test]
fn a_strangers_backup_ends_at_a_ceiling_and_the_tier_says_so() {
    const MIB: u64 = 1 << 20;
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.set("STAGES", "install,backup");
    let hook = "#!/bin/sh\nset -e\nservice=$(echo $CCCI_APP_DOMAIN | tr . _)_app\n\
        id=$(docker ps -q --filter label=com.docker.swarm.service.name=$service)\n\
        docker exec $id truncate -s 3G /data/big\n";
    env.overlay("notes", "ops/pre_backup", hook);
    let done = env.run(["run", "--src", recipe.to_str().unwrap()]);
    done.expect(1);
    let results = env.results();
    let tiers = results["tiers"].to_string();
    let said = format!(
        "is too much to save: this host keeps at most {} bytes",
        1024 * MIB
    );
    assert!(tiers.contains(&said), "{tiers}");
    let memory = results["resources"]["peak_rss_bytes"].as_u64().unwrap();
    assert!(memory < 200 * MIB, "{memory}");
    env.assert_nothing_left();
}

/// What is outside of the test's zone, which the test's own end sweeps: it goes with this, whatever the test comes to.
struct Outside {
    kind: &'static str,
    name: String,
}

impl Outside {
    /// Takes a name for what is going to be made.
    fn of(env: &SwarmEnv, kind: &'static str, name: &str) -> Self {
        let zone = env.zone.split('.').next().unwrap();
        let name = format!("{name}-{zone}");
        Self { kind, name }
    }

    fn inspect(&self) -> String {
        docker(&[self.kind, "inspect", &self.name])
    }

    /// Removes it, and asserts that it is gone: nobody else looks for it.
    #[track_caller]
    fn end(self) {
        let (kind, name) = (self.kind, self.name.clone());
        drop(self);
        let left = command("docker").args([kind, "inspect", &name]).output();
        assert!(!left.unwrap().status.success(), "{kind} {name} is left");
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let mut remove = command("docker");
        drop(remove.args([self.kind, "rm", &self.name]).output());
    }
}

/// A quick run has the recipe's kept data in its hands before it knows what the head asks for: one that is refused leaves
/// the kept app, and what the head names, as they were.
pub(crate) fn assert_refused_over_a_canonical(scene: &crate::quick::Scene) {
    let env = &scene.env;
    let good = scene.good();
    // Of the test's zone only the kept app is there.
    let config = Outside::of(env, "config", "victim");
    let file = env.write("victim", "victim-canary").display().to_string();
    docker(&["config", "create", &config.name, &file]);
    let (victim, before) = (&config.name, config.inspect());
    let compose = scene.recipe.join("compose.yml");
    let plain = host_file::text(&compose).unwrap();
    let path = scene.recipe.to_str().unwrap();
    let evil = "services:\n  evil:\n    image: recipe-ci/notes:1\n";
    let named = format!("\nconfigs:\n  evil: {{file: ./compose.yml, name: {victim}}}\n");
    for (id, source, from, to, word) in [
        (
            "stranger",
            "--src",
            "services:\n",
            format!("{evil}    volumes: ['/etc:/mnt']\n"),
            "P003",
        ),
        ("named", "--src", "\nconfigs:\n", named.clone(), "P008"),
        ("by-hand", "", "\nconfigs:\n", named, victim.as_str()),
    ] {
        std::fs::write(&compose, plain.replacen(from, &to, 1)).unwrap();
        git(
            &scene.recipe,
            &["commit", "-q", "-am", "x", "--allow-empty"],
        );
        let mut args = vec!["run", source, path, "--quick", "--run-id", id];
        args.retain(|word| !word.is_empty());
        let done = env.run(args);
        done.expect(2);
        assert!(
            done.stderr.contains(word),
            "no `{word}` in\n{}",
            done.stderr
        );
        let results = scene.results(id);
        assert_eq!(results["quick"], true, "{results:#}");
        assert_eq!(results["deploy_count"], 0, "{results:#}");
        if source == "--src" {
            assert_eq!(results["verdict"], "refused", "{results:#}");
        }
        assert_eq!(config.inspect(), before, "{id}");
        scene.assert_at_rest("idle");
        assert_eq!(scene.good(), good, "{id}");
    }
    std::fs::write(&compose, plain).unwrap();
    git(&scene.recipe, &["commit", "-q", "-am", "as it was"]);
    config.end();
}

/// Returns how many packets the rule that closes overlay networks to containers has dropped, if there is one.
fn dropped() -> Option<u64> {
    let listed = command("iptables")
        .args(["-w", "-vnxL", "INPUT"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let rule = listed.lines().find(|line| {
        let words = ["DROP", "docker_gwbridge", "udp dpt:4789"];
        words.iter().all(|word| line.contains(word))
    });
    Some(rule?.split_whitespace().next()?.parse().unwrap())
}

/// A breaker's app spoke VXLAN to the host, and so to the database of another app in a network of its own.
#[test]
fn what_a_container_sends_into_overlay_networks_is_dropped() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.set("STAGES", "install,custom");
    // Of busybox only `tftp` sends to a UDP port of choice; it gets no answer, and would ask for long.
    env.overlay(
        "notes",
        "custom/test_overlay.sh",
        "#!/bin/sh\nset -e\n\
         host=$(recipe-ci app exec -- ip route | sed -n 's/^default via \\([0-9.]*\\) .*/\\1/p')\n\
         [ -n \"$host\" ]\n\
         recipe-ci app exec -- timeout 2 tftp -g -r x -l /tmp/x \"$host\" 4789 || true\n",
    );
    // Where it was closed before, by the set-up or by the run of another test, this counts from there.
    let before = dropped();
    env.run(["run", "--src", recipe.to_str().unwrap()])
        .expect(0);
    let after = dropped().expect("the run closes it");
    assert!(after > before.unwrap_or_default(), "nothing was dropped");
    // The rule that counted is what a run makes where it is not there.
    let warnings = env.results()["warnings"].to_string();
    let is_said = warnings.contains("overlay networks");
    assert!(before.is_none() || !is_said, "{warnings}");
    env.assert_nothing_left();
}

#[test]
fn a_stranger_is_not_deployed_where_overlay_networks_stay_open() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.set("STAGES", "install");
    env.write(
        "denied/iptables",
        "#!/bin/sh\necho 'Permission denied (you must be root)' >&2\nexit 4\n",
    );
    let denied = env.root.join("denied");
    env.prepend_path(&denied);
    let path = recipe.to_str().unwrap();
    let done = env.run(["run", "--src", path]);
    done.expect(3);
    for word in [
        "may reach all of its overlay networks through UDP 4789",
        "you must be root",
        "iptables -w -I INPUT -i docker_gwbridge -p udp --dport 4789 -j DROP",
        "--accept-shared-engine",
    ] {
        assert!(
            done.stderr.contains(word),
            "no `{word}` in\n{}",
            done.stderr
        );
    }
    env.assert_nothing_left();
    env.run(["run", path]).expect(0);
    env.set("CCCI_ACCEPT_SHARED_ENGINE", "1");
    env.run(["run", "--src", path]).expect(0);
}

/// Writes an `iptables` that lists INPUT without what closes the host's addresses, and is the real one otherwise.
fn open_addresses(env: &mut SwarmEnv) {
    env.write(
        "open/iptables",
        "#!/bin/sh\n[ \"$*\" != '-w -S INPUT' ] || { echo '-P INPUT ACCEPT'; \
         echo '-A INPUT -i docker_gwbridge -p udp -m udp --dport 4789 -j DROP'; exit; }\n\
         PATH=/usr/sbin:/sbin exec iptables \"$@\"\n",
    );
    let open = env.root.join("open");
    env.prepend_path(&open);
}

#[test]
fn a_stranger_is_not_deployed_where_the_hosts_addresses_are_open() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.set("STAGES", "install");
    open_addresses(&mut env);
    let path = recipe.to_str().unwrap();
    let done = env.run(["run", "--src", path]);
    done.expect(3);
    for word in [
        "containers of this host reach whatever listens at its own addresses",
        "iptables -w -I INPUT -i docker_gwbridge -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP",
        "--accept-shared-engine",
    ] {
        assert!(
            done.stderr.contains(word),
            "no `{word}` in\n{}",
            done.stderr
        );
    }
    env.assert_nothing_left();
    env.run(["run", path]).expect(0);
    env.set("CCCI_ACCEPT_SHARED_ENGINE", "1");
    env.run(["run", "--src", path]).expect(0);
    env.assert_nothing_left();
}
