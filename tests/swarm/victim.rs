//! Somebody else's stack, which every hostile recipe of the tests wants something of.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::engine::{SwarmEnv, docker};
use crate::support::command;
use crate::wait::{wait_for, wait_until};

/// What the victim's secrets, configs and volume hold.
pub(crate) const CANARY: &str = "canary-b7f3e1";

const LONG: Duration = Duration::from_secs(120);

/// What it has of each kind that was made by hand: it bears no label, as most of what recipes call external.
const PLAIN: [&str; 3] = ["secret", "config", "volume"];

/// A stack with objects in use and objects that nothing uses, on the network of the gateway as every app is.
pub(crate) struct Victim {
    pub(crate) stack: String,
    /// Volumes of no stack that are called like a run app's; the victim's container has them in use.
    pub(crate) lookalikes: Vec<String>,
    before: Facts,
}

/// Ids, versions, labels and contents of all that a victim has.
#[derive(Debug, PartialEq)]
struct Facts {
    objects: Vec<Value>,
    /// Which containers, and since when they run: Swarm replaces one that was killed, and changes nothing else.
    containers: String,
    files: String,
    answers: String,
}

impl Victim {
    /// Deploys it; `ROOT/victim/canary` has what its secret says.
    pub(crate) fn deploy(env: &SwarmEnv) -> Self {
        // Not in the test's zone, of which nothing may be left.
        let stack = format!("victim-{}", env.zone.split('.').next().unwrap());
        let canary = env.write("victim/canary", CANARY);
        let file = canary.display();
        let part = env.zone.replace('.', "_");
        let lookalikes: Vec<String> = (0..2).map(|n| format!("evil-00000{n}_{part}_x")).collect();
        let text = format!(
            r#"{{"version": "3.8", "services": {{"db": {{"image": "recipe-ci/notes:1", "init": true,
                "command": ["sh", "-c", "echo {CANARY} > /data/canary; exec sleep 100000"],
                "healthcheck": {{"disable": true}}, "secrets": ["used"], "configs": ["used"],
                "volumes": ["data:/data"], "deploy": {{"endpoint_mode": "dnsrr"}},
                "networks": {{"inner": null, "proxy": {{"aliases": ["{stack}_web"]}}}}}}}},
              "secrets": {{"used": {{"file": "{file}"}}, "unused": {{"file": "{file}"}}}},
              "configs": {{"used": {{"file": "{file}"}}, "unused": {{"file": "{file}"}}}},
              "volumes": {{"data": {{}}}},
              "networks": {{"inner": {{"attachable": true}}, "proxy": {{"external": true}}}}}}"#
        );
        let compose = env.write("victim/compose.json", &text);
        docker(&["stack", "deploy", "-c", compose.to_str().unwrap(), &stack]);
        let plain = format!("{stack}_plain");
        for kind in PLAIN {
            let from = canary.to_str().filter(|_| kind != "volume");
            let args = [kind, "create", plain.as_str()].into_iter().chain(from);
            docker(&args.collect::<Vec<_>>());
        }
        let name = format!("{stack}-beside");
        let mounts = lookalikes
            .iter()
            .map(|name| format!("--volume={name}:/{name}"));
        let mounts: Vec<String> = mounts.collect();
        let mut args = vec![
            "run",
            "--detach",
            "--init",
            "--network=none",
            "--name",
            &name,
        ];
        args.extend(mounts.iter().map(String::as_str));
        args.extend(["recipe-ci/notes:1", "sleep", "100000"]);
        docker(&args);
        let mut victim = Self {
            stack,
            lookalikes,
            before: Facts {
                objects: Vec::new(),
                containers: String::new(),
                files: String::new(),
                answers: String::new(),
            },
        };
        let up = || {
            let up = victim.inside("cat /data/canary")?.contains(CANARY);
            (up && !victim.answers().is_empty()).then_some(())
        };
        wait_until(LONG, "the victim runs", up);
        victim.before = victim.facts();
        env.write("victim/answers", &victim.before.answers);
        victim
    }

    /// Returns the name of one of its objects.
    pub(crate) fn object(&self, object: &str) -> String {
        format!("{}_{object}", self.stack)
    }

    /// Runs a command in its container; returns what it prints.
    fn inside(&self, script: &str) -> Option<String> {
        let label = format!("label=com.docker.stack.namespace={}", self.stack);
        let container = docker(&["ps", "-q", "--filter", &label]);
        let container = container.lines().next()?.to_owned();
        let mut command = command("docker");
        let output = command
            .args(["exec", &container, "sh", "-c", script])
            .output();
        Some(String::from_utf8_lossy(&output.ok()?.stdout).into_owned())
    }

    /// Returns where its own name leads to, for itself.
    fn answers(&self) -> String {
        let asked = self.inside(&format!("nslookup -type=a {}_web 127.0.0.11", self.stack));
        let asked = asked.unwrap_or_default();
        let lines = asked.lines().filter(|line| line.starts_with("Address: "));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Returns what its volume holds.
    pub(crate) fn files(&self) -> String {
        let script = "ls -A /data; cat /data/* /data/.[!.]* 2>/dev/null";
        self.inside(script).expect("it runs")
    }

    fn facts(&self) -> Facts {
        let mut objects = Vec::new();
        let of = |names: &[&str]| names.iter().map(|name| self.object(name)).collect();
        let volumes = ["data", "plain"].map(|name| self.object(name));
        let volumes = self.lookalikes.iter().cloned().chain(volumes);
        let all: [(&str, Vec<String>); 5] = [
            ("service", of(&["db"])),
            ("secret", of(&["used", "unused", "plain"])),
            ("config", of(&["used", "unused", "plain"])),
            ("network", of(&["inner"])),
            ("volume", volumes.collect()),
        ];
        for (kind, names) in &all {
            let args = [*kind, "inspect"]
                .into_iter()
                .chain(names.iter().map(String::as_str));
            let found: Vec<Value> =
                serde_json::from_str(&docker(&args.collect::<Vec<_>>())).unwrap();
            objects.extend(found);
        }
        for object in &mut objects {
            // Who is attached to a network is the engine's matter.
            for key in ["Containers", "Peers"] {
                if object.get(key).is_some() {
                    object[key].take();
                }
            }
        }
        let label = format!("label=com.docker.stack.namespace={}", self.stack);
        let tasks = docker(&["ps", "-aq", "--filter", &label]);
        let beside = format!("{}-beside", self.stack);
        let format = "{{.Id}} {{.State.StartedAt}}";
        let containers = tasks.lines().chain([beside.as_str()]);
        let args: Vec<&str> = ["inspect", "--format", format]
            .into_iter()
            .chain(containers)
            .collect();
        Facts {
            objects,
            containers: docker(&args),
            files: self.files(),
            answers: self.answers(),
        }
    }

    /// Returns ids and names of its objects, as requests have them.
    pub(crate) fn keys(&self) -> BTreeSet<&str> {
        let objects = self.before.objects.iter();
        let keys = objects.flat_map(|object| {
            let name = object.pointer("/Spec/Name").or(object.get("Name"));
            [object.get("ID"), object.get("Id"), name]
        });
        keys.flatten().filter_map(Value::as_str).collect()
    }

    /// Asserts that it has what it had: ids, versions, labels and contents.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(self.before, self.facts(), "the victim was changed");
    }

    /// The same while an app may write to the volume that its operator gave it.
    #[track_caller]
    pub(crate) fn assert_same_but_data(&self) {
        let objects = |facts: &Facts| {
            let mut objects = facts.objects.clone();
            for object in &mut objects {
                if object["Mountpoint"].is_string() {
                    // Of a volume that is when its directory was last changed.
                    object["CreatedAt"].take();
                }
            }
            objects
        };
        let now = self.facts();
        assert_eq!(objects(&self.before), objects(&now));
        assert_eq!(self.before.containers, now.containers);
        assert!(self.files().contains(CANARY), "{}", self.files());
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let run = |args: &[&str]| {
            let output = command("docker").args(args).output();
            output.is_ok_and(|output| output.status.success())
        };
        run(&["stack", "rm", &self.stack]);
        run(&["rm", "-f", &format!("{}-beside", self.stack)]);
        for kind in PLAIN {
            run(&[kind, "rm", &self.object("plain")]);
        }
        // They go once their containers have; with `-f` the client calls it done before.
        for name in self.lookalikes.iter().chain([&self.object("data")]) {
            wait_for(LONG, || run(&["volume", "rm", name]).then_some(()));
        }
        let inner = self.object("inner");
        wait_for(LONG, || {
            (!run(&["network", "inspect", &inner])).then_some(())
        });
    }
}
