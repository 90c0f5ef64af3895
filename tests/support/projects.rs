//! Proposals of strangers: compose projects that take what is the run's own, and now and then what is not.

use std::collections::BTreeMap;
use std::path::Path;

use harness::policy::{self, Judged, Terms};
use harness::recipe::compose::Project;
use harness::recipe::compose::resolve::Deployment;
use harness::recipe::compose::shared::{Own, SharedNetwork};
use harness::trust::Level;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

/// A proposal: compose files, in the order in which they are merged. JSON is YAML.
#[derive(Debug, Clone)]
pub(crate) struct Proposal {
    pub(crate) files: Vec<(String, String)>,
    pub(crate) place: Place,
}

/// What network the run has in the place of the one that recipes share with the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// One of its own, which the gateway does not reach.
    Direct,
    /// One of its own, and a second one that the gateway joins.
    Gateway,
    /// That of the app that needs it, which is there first.
    Guest,
}

/// The stack of the app whose network a guest is on.
pub(crate) const HOST: &str = "main-00aa11_ci_localhost";

impl Proposal {
    /// Returns the project as it would be deployed as `stack`, with its files in `root`; none where it is refused.
    pub(crate) fn judged(
        &self,
        root: &Path,
        stack: &str,
        level: Level,
        schema: &str,
    ) -> Option<Judged> {
        drop(std::fs::remove_dir_all(root));
        std::fs::create_dir_all(root).unwrap();
        let own = self
            .files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        for (name, text) in own.chain(FILES) {
            std::fs::write(root.join(name), text).unwrap();
        }
        let names: Vec<String> = self.files.iter().map(|(name, _)| name.clone()).collect();
        let domain = stack.replace('_', ".");
        let vars = BTreeMap::from([
            ("STACK_NAME".to_owned(), stack.to_owned()),
            ("DOMAIN".to_owned(), domain.clone()),
        ]);
        let mut project = Project::load(root, &names, &vars).ok()?;
        project.read_contents(root).ok()?;
        // As a run decides it, of a stranger and of whom no grant lets onto the gateway's network.
        let gateway = self.place == Place::Gateway
            && (level == Level::ByHand || project.confuses_gateway(&domain).is_none());
        let guest = self.place == Place::Guest;
        let own = Own {
            gateway,
            guest,
            ..Own::of(if guest { HOST } else { stack })
        };
        let deployment = Deployment {
            stack: stack.to_owned(),
            shared: SharedNetwork::Own(own),
            schema: schema.to_owned(),
            ..Deployment::default()
        };
        let resolved = project.resolve(root, &deployment).ok()?;
        let terms = Terms {
            level,
            domain,
            images: Vec::new(),
            schema: schema.to_owned(),
            pins: harness::pins::Pins::default(),
        };
        policy::judge(resolved, stack, &terms).ok()
    }
}

/// What files of the recipe the proposals name.
const FILES: [(&str, &str); 5] = [
    ("secret.txt", "secret"),
    ("conf.txt", "conf"),
    ("env.txt", "FROM_FILE=yes\n"),
    (
        "template.txt",
        "{{ if eq (env \"A\") \"1\" }}{{ secret \"s\" }}{{ end }}",
    ),
    ("bomb.txt", "{{ printf \"%1000000d\" 1 }}"),
];

/// A secret of the run's own name that the harness makes before the deploy, as the recipe's text has it.
pub(crate) const MADE: &str = "${STACK_NAME}_made";

/// How often a value is one that a stranger must not have, in a hundred.
const HOSTILE: u32 = 4;

/// Returns proposals, some of which want `victim`, the name of an object of somebody else.
pub(crate) fn proposals(victim: &'static str) -> impl Strategy<Value = Proposal> {
    (
        file(victim, true),
        proptest::option::weighted(0.4, file(victim, false)),
        select(vec![
            Place::Direct,
            Place::Gateway,
            Place::Gateway,
            Place::Guest,
        ]),
    )
        .prop_map(|(first, second, place)| {
            let files = [("compose.yml", Some(first)), ("compose.over.yml", second)];
            let files = files
                .into_iter()
                .filter_map(|(name, document)| Some((name.to_owned(), document?.to_string())));
            Proposal {
                files: files.collect(),
                place,
            }
        })
}

/// Picks of the first, or rarely of the second.
fn mostly(
    good: impl Strategy<Value = Value> + 'static,
    bad: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<Value> {
    prop_oneof![100 - HOSTILE => good, HOSTILE => bad].boxed()
}

fn one_of(values: impl IntoIterator<Item = Value>) -> impl Strategy<Value = Value> {
    select(values.into_iter().collect::<Vec<_>>())
}

fn file(victim: &'static str, whole: bool) -> impl Strategy<Value = Value> {
    // A second file names some objects and services again.
    let some = |keys: &'static [&'static str]| {
        let least = if whole { keys.len() } else { 0 };
        subsequence(keys.to_vec(), least..=keys.len())
    };
    let section = |keys: &'static [&'static str], entry: BoxedStrategy<Value>| {
        (some(keys), vec(entry, keys.len())).prop_map(|(keys, entries)| -> Map<String, Value> {
            let keys = keys.into_iter().map(str::to_owned);
            keys.zip(entries).collect()
        })
    };
    (
        section(&["app", "db", "web"], service(whole)),
        section(&["data", "other"], volume(victim)),
        section(&["inner", "proxy", "default"], network(victim)),
        section(&["s", "t"], secret(victim)),
        section(&["c"], file_object(victim, "conf.txt")),
        (routes(), proptest::option::weighted(0.1, routes()), proptest::bool::weighted(0.6)),
    )
        .prop_map(|(mut services, volumes, mut networks, secrets, configs, gateway)| {
            let (first, second, shares) = gateway;
            // Mostly one service is routed, and what is called `proxy` is the network that recipes share.
            let routed = [("app", Some(first)), ("web", second)];
            for (name, labels) in routed {
                let service = services.get_mut(name).zip(labels);
                if let Some((service, labels)) = service
                    && service.pointer("/deploy/labels").is_none()
                {
                    service["deploy"]["labels"] = labels;
                }
            }
            if let Some(proxy) = networks.get_mut("proxy").filter(|_| shares) {
                *proxy = json!({"external": true, "name": "proxy"});
            }
            json!({
                "version": "3.8", "services": services, "volumes": volumes, "networks": networks,
                "secrets": secrets, "configs": configs,
            })
        })
}

/// Names of the run's own, and others.
fn name(victim: &'static str) -> (Vec<Value>, Vec<Value>) {
    let own = [
        "${STACK_NAME}_own",
        "${STACK_NAME}_b-c",
        "${STACK_NAME}_${UNSET:-x}",
    ];
    let other = [
        victim,
        "${STACK_NAME}",
        "${STACK_NAME}x_data",
        "x${STACK_NAME}_data",
        "${UNSET}data",
        "{{.Node.Hostname}}",
        "${STACK_NAME}_{{.Task.Name}}",
        "other-00aa11_ci_localhost_data",
        "host",
        "ingress",
        "/etc",
        "..",
        "${STACK_NAME}_/../x",
        // The network that the gateway joins, and that of the app that a guest is on.
        "${STACK_NAME}_recipe-ci-gateway",
        "main-00aa11_ci_localhost_proxy",
    ];
    (
        own.into_iter().map(Value::from).collect(),
        other.into_iter().map(Value::from).collect(),
    )
}

/// Ways to want an object that exists.
fn external(victim: &'static str) -> impl Strategy<Value = Value> {
    let (own, mut other) = name(victim);
    other.extend(own);
    one_of(other).prop_flat_map(|name| {
        one_of([
            json!({"external": true}),
            json!({"external": {}}),
            json!({"external": {"name": name}}),
            json!({"external": true, "name": name}),
        ])
    })
}

fn named(victim: &'static str, with: Value) -> BoxedStrategy<Value> {
    let (own, other) = name(victim);
    let again = with.clone();
    let named = move |with: Value| {
        move |name: Value| {
            let mut object = with.clone();
            object["name"] = name;
            object
        }
    };
    mostly(
        one_of(own).prop_map(named(with)),
        one_of(other).prop_map(named(again)),
    )
}

fn volume(victim: &'static str) -> BoxedStrategy<Value> {
    let bad = prop_oneof![
        external(victim),
        one_of([
            json!({"driver": "nfs"}),
            json!({"driver_opts": {"type": "none", "o": "bind", "device": "/etc"}}),
            json!({"driver": "local", "driver_opts": {"type": "nfs", "device": ":/x", "o": "addr=10.0.0.1"}}),
        ]),
    ];
    let good = prop_oneof![
        3 => one_of([Value::Null, json!({}), json!({"driver": "local"}), json!({"labels": {"traefik.x": "{{.Node.ID}}"}})]),
        1 => named(victim, json!({})),
    ];
    mostly(good, bad)
}

fn network(victim: &'static str) -> BoxedStrategy<Value> {
    let bad = prop_oneof![
        external(victim),
        one_of([
            json!({"driver": "host"}),
            json!({"driver": "macvlan", "driver_opts": {"parent": "eth0"}}),
            json!({"attachable": true, "driver_opts": {"x": "y"}}),
            json!({"ipam": {"config": [{"subnet": "10.0.0.0/8"}]}}),
        ]),
    ];
    let good = prop_oneof![
        3 => one_of([Value::Null, json!({}), json!({"driver": "overlay"}), json!({"internal": true})]),
        1 => named(victim, json!({})),
        // What recipes say of the network that they share with the gateway.
        1 => one_of([json!({"external": true, "name": "proxy"})]),
    ];
    mostly(good, bad)
}

fn file_object(victim: &'static str, file: &'static str) -> BoxedStrategy<Value> {
    let bad = prop_oneof![
        external(victim),
        one_of([
            json!({"file": "/etc/hostname"}),
            json!({"file": "../outside"}),
            json!({"file": "bomb.txt", "template_driver": "golang"}),
            json!({"file": file, "driver": "plugin"}),
        ]),
    ];
    let good = prop_oneof![
        3 => one_of([
            json!({"file": file}),
            json!({"file": format!("./{file}"), "labels": ["a=b"]}),
            json!({"file": "template.txt", "template_driver": "golang"}),
        ]),
        1 => named(victim, json!({"file": file})),
    ];
    mostly(good, bad)
}

/// Secrets may be external under a name of the run's: the harness makes them.
fn secret(victim: &'static str) -> BoxedStrategy<Value> {
    let made = one_of([
        json!({"external": true, "name": MADE}),
        json!({"external": {"name": MADE}}),
    ]);
    prop_oneof![4 => file_object(victim, "secret.txt"), 1 => made].boxed()
}

/// What recipes say to Traefik, and what they must not.
fn routes() -> BoxedStrategy<Value> {
    const RULE: &str = "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)";
    const PORT: &str = "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80";
    mostly(
        one_of([
            json!([]),
            json!(["traefik.enable=true", RULE, PORT]),
            json!([
                "traefik.enable=true",
                RULE,
                PORT,
                "traefik.docker.network=proxy"
            ]),
            json!([
                "traefik.enable=true",
                RULE,
                PORT,
                "traefik.swarm.network=proxy"
            ]),
            json!([
                RULE,
                PORT,
                "traefik.docker.network=victim_inner",
                "traefik.enable=false"
            ]),
            json!([
                "traefik.tcp.routers.${STACK_NAME}-t.rule=HostSNI(`${DOMAIN}`)",
                "traefik.http.routers.${STACK_NAME}-b.rule=Host(`b.${DOMAIN}`) && PathPrefix(`/x`)",
                "traefik.http.routers.${STACK_NAME}-b.middlewares=${STACK_NAME}-m,auth@file",
                "traefik.http.middlewares.${STACK_NAME}-m.headers.sslredirect=true",
            ]),
        ]),
        one_of([
            json!([
                "traefik.http.routers.${STACK_NAME}.rule=Host(`victim.example.org`)",
                PORT
            ]),
            json!([
                "traefik.http.routers.${STACK_NAME}.rule=PathPrefix(`/`)",
                PORT
            ]),
            json!([
                RULE,
                PORT,
                "traefik.http.routers.${STACK_NAME}.priority=9999"
            ]),
            json!(["traefik.http.routers.victim.rule=Host(`${DOMAIN}`)", PORT]),
            json!([
                RULE,
                "traefik.http.services.victim.loadbalancer.server.port=80"
            ]),
            json!(["traefik.tcp.routers.${STACK_NAME}.rule=HostSNI(`*`)"]),
        ]),
    )
}

fn service(whole: bool) -> BoxedStrategy<Value> {
    let mounts = mostly(
        one_of([
            json!("data:/data"),
            json!("other:/other:ro"),
            json!("/anonymous"),
            json!({"type": "volume", "source": "data", "target": "/again", "volume": {"nocopy": true}}),
            json!({"type": "tmpfs", "target": "/t", "tmpfs": {"size": 1_000_000}}),
        ]),
        one_of([
            json!("/etc:/x"),
            json!("./here:/x"),
            json!("/var/run/docker.sock:/s:ro"),
            json!({"type": "bind", "source": "/srv", "target": "/x"}),
            json!({"type": "cluster", "source": "group:g", "target": "/x"}),
            json!({"type": "npipe", "source": "x", "target": "/x"}),
            json!({"type": "volume", "source": "data", "target": "/{{.Node.ID}}"}),
            json!({"type": "tmpfs", "target": "/t"}),
        ]),
    );
    let networks = mostly(
        one_of([
            json!(["inner"]),
            json!(["inner", "proxy"]),
            json!({"inner": {"aliases": ["web"]}, "default": null}),
            json!({"inner": {"aliases": ["web", "www"]}, "proxy": {"aliases": ["web"]}, "default": {"aliases": ["x"]}}),
            json!(["proxy"]),
            json!({"proxy": {"aliases": ["victim_db"]}, "inner": null}),
            json!([]),
        ]),
        one_of([
            json!({"inner": {"driver_opts": {"x": "y"}}}),
            json!({"inner": {"ipv4_address": "10.0.0.5"}}),
            json!(["recipe-ci-gateway", "proxy"]),
        ]),
    );
    let references = |key: &'static str| {
        one_of([
            json!([]),
            json!([key]),
            json!([
                {"source": key, "target": format!("{key}-x"), "mode": 0o440},
                {"source": key, "target": format!("{key}-y")},
            ]),
        ])
    };
    let others = mostly(
        one_of([
            json!({}),
            json!({"command": "echo $$HOME", "environment": ["A=1", "DOMAIN"]}),
            json!({"deploy": {"replicas": 2, "labels": ["a=b"]}}),
            json!({"healthcheck": {"test": "true", "interval": "5s"}}),
            json!({"cap_add": ["NET_BIND_SERVICE"], "read_only": true, "user": "1000"}),
            json!({"labels": {"x": "y"}, "stop_grace_period": "5s", "init": true}),
            json!({"entrypoint": ["/bin/sh", "-c"], "working_dir": "/srv", "tty": true, "stdin_open": true}),
            json!({"cap_drop": ["ALL"], "stop_signal": "SIGQUIT", "shm_size": "64m", "expose": ["80"]}),
            json!({"depends_on": ["db"], "restart": "always", "container_name": "x", "tmpfs": "/run"}),
            json!({"env_file": "env.txt", "hostname": "here", "domainname": "example.org"}),
            json!({"logging": {"driver": "json-file", "options": {"max-size": "1m", "max-file": "3"}}}),
            json!({"deploy": {"mode": "global", "endpoint_mode": "dnsrr"}}),
            json!({"deploy": {
                "update_config": {"order": "start-first", "failure_action": "rollback", "monitor": "5s", "parallelism": 1},
                "rollback_config": {"order": "stop-first", "delay": "1s"},
            }}),
            json!({"deploy": {"restart_policy": {"condition": "on-failure", "max_attempts": 3, "window": "30s"}}}),
            json!({"deploy": {"resources": {
                "limits": {"memory": "64m", "cpus": "0.5", "pids": 20}, "reservations": {"memory": "16m"},
            }}}),
            // Beyond the ceilings.
            json!({"stop_grace_period": "1h", "healthcheck": {"test": "true", "interval": "1ms"}}),
            json!({"volumes": [{"type": "tmpfs", "target": "/u"}]}),
            json!({"logging": {"options": {"max-size": "1g"}}, "deploy": {
                "restart_policy": {"delay": "0s"},
                "resources": {
                    "limits": {"memory": "64m", "cpus": "0.2"}, "reservations": {"memory": "96m", "cpus": "0.3"},
                },
            }}),
            json!({"deploy": {"placement": {"constraints": ["node.role == manager"], "max_replicas_per_node": 2}}}),
            json!({"deploy": {"labels": {
                "traefik.enable": "true", "backupbot.backup": "true", "backupbot.backup.path": "/data",
            }}}),
            json!({"healthcheck": {"disable": true}, "security_opt": ["no-new-privileges:true"]}),
            json!({"labels": ["caddy=victim.example.org", "ofelia.enabled=true"]}),
            json!({"deploy": {"mode": "replicated-job", "replicas": 2}}),
            json!({"deploy": {"mode": "global-job"}}),
            json!({"hostname": "${DOMAIN}", "extra_hosts": []}),
            json!({"hostname": "app", "healthcheck": {"test": ["NONE"], "start_period": "10s"}}),
            json!({"hostname": "{{.Node.Hostname}}", "environment": {"X": "{{.Task.Name}}", "EMPTY": null}}),
            json!({"hostname": "victim_db"}),
        ]),
        one_of([
            json!({"ports": ["8080:80"]}),
            json!({"ports": [{"target": 80, "published": 80, "mode": "host"}]}),
            json!({"cap_add": ["SYS_ADMIN"]}),
            json!({"sysctls": {"net.core.somaxconn": 1}}),
            json!({"logging": {"driver": "syslog"}}),
            json!({"credential_spec": {"config": "c"}}),
            json!({"hostname": "{{ printf \"%1000000d\" 1 }}"}),
            json!({"deploy": {"replicas": 1000}}),
            json!({"deploy": {"labels": ["traefik.http.routers.x.rule=Host(`victim.example.org`)"]}}),
            json!({"privileged": true}),
            json!({"deploy": {"placement": {"preferences": [{"spread": "node.labels.zone"}]}}}),
            json!({"deploy": {"placement": {"constraints": ["node.labels.victim == true"]}}}),
            json!({"deploy": {"resources": {"reservations": {"generic_resources": [
                {"discrete_resource_spec": {"kind": "gpu", "value": 1}},
            ]}}}}),
            json!({"extra_hosts": ["victim:10.0.0.1"], "dns": "10.0.0.1"}),
            json!({"ulimits": {"nofile": 1_000_000}, "isolation": "default"}),
            json!({"devices": ["/dev/sda:/dev/sda"], "pid": "host", "ipc": "host"}),
            json!({"env_file": "/etc/hostname"}),
            json!({"network_mode": "host", "userns_mode": "host", "cgroup_parent": "/"}),
            json!({"environment": ["X={{ .Node.ID }}", "VIRTUAL_HOST=victim.example.org"]}),
            json!({"labels": {"com.docker.stack.namespace": "victim"}}),
            json!({"made_up": 1}),
        ]),
    );
    let image = mostly(
        one_of([json!("nginx:1.27"), json!("docker.io/library/busybox:1")]),
        one_of([
            json!("--help"),
            json!("localhost:5000/x"),
            json!("registry.example.org/x"),
        ]),
    );
    (
        vec(mounts, 0..3),
        networks,
        references("s"),
        references("t"),
        references("c"),
        others,
        image,
    )
        .prop_map(
            move |(mut mounts, networks, s, t, configs, others, image)| {
                // No engine takes two mounts at one place.
                mounts.dedup();
                let mut service =
                    json!({"volumes": mounts, "networks": networks, "configs": configs});
                let secrets = [s, t].into_iter().flat_map(|list| match list {
                    Value::Array(items) => items,
                    _ => Vec::new(),
                });
                service["secrets"] = secrets.collect();
                if let (Value::Object(service), Value::Object(others)) = (&mut service, others) {
                    service.extend(others);
                }
                if whole {
                    service["image"] = image;
                }
                service
            },
        )
        .boxed()
}
