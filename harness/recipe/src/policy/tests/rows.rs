//! What the policy refuses of a stranger, a row for each form: the rule, the grant that lifts it, a form that passes.

use super::*;

pub(super) struct Row {
    pub(super) rule: &'static str,
    /// Lines of the service `app`, or whole files where they begin with `services:`.
    pub(super) hostile: &'static str,
    /// The grant that a refusal has to name; empty where nothing allows it.
    pub(super) grant: &'static str,
    /// A form that passes.
    pub(super) legal: &'static str,
}

fn row(rule: &'static str, hostile: &'static str, grant: &'static str, legal: &'static str) -> Row {
    Row {
        rule,
        hostile,
        grant,
        legal,
    }
}

pub(super) fn whole(text: &str) -> String {
    if text.starts_with("services:") {
        return format!("version: '3.13'\n{text}\n");
    }
    app(&format!("    {text}"))
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row(
            "P036",
            "environment: {'VIRTUAL_HOST=cloud.example.org':}",
            "",
            "environment: {VIRTUAL_HOST: '${DOMAIN}'}",
        ),
        row(
            "P039",
            "deploy: {labels: ['backupbot.backup.volumes.data.path=../../victim_data/_data']}",
            "",
            "deploy: {labels: ['backupbot.backup.volumes.data.path=a,b/..c']}",
        ),
        row(
            "P039",
            "deploy: {labels: {backupbot.backup.volumes.data.path: 'a,/etc'}}",
            "",
            "deploy: {labels: {backupbot.backup.path: '/data'}}",
        ),
        // Of keys that Docker refuses itself no recipe is read; these it passes over.
        row(
            "P001",
            "volumes: [{type: tmpfs, target: /x, tmpfs: {mode: 1}}]",
            "",
            "volumes: [{type: tmpfs, target: /x, tmpfs: {size: 1}}]",
        ),
        row(
            "P001",
            "volumes: [{type: volume, target: /x, volume: {driver: x}}]",
            "",
            "volumes: [{type: volume, target: /x, volume: {nocopy: true}}]",
        ),
        row(
            "P002",
            "services: {app: {image: 'registry.example.org/team/app:1'}}",
            "images: [registry.example.org/team/app]",
            "services: {app: {image: 'ghcr.io/team/app:1'}}",
        ),
        row(
            "P002",
            "services: {app: {image: 'localhost:5000/app'}}",
            "images: [\"localhost:5000/app\"]",
            "services: {app: {image: 'docker.io/app'}}",
        ),
        row(
            "P002",
            "services: {app: {image: beef}}",
            "",
            "services: {app: {image: 'help'}}",
        ),
        row(
            "P002",
            "services: {app: {image: '0123456789ab'}}",
            "",
            "services: {app: {image: 'a_b'}}",
        ),
        row(
            "P003",
            "volumes: ['/srv/data:/data:ro']",
            "binds: [{path: /srv/data}]",
            "volumes: ['/data']",
        ),
        row(
            "P003",
            "volumes: ['/srv/data:/data']",
            "binds: [{path: /srv/data, write: true}]",
            "volumes: [{type: volume, target: /data}]",
        ),
        row(
            "P003",
            "volumes: ['/var/run/docker.sock:/var/run/docker.sock:ro']",
            "binds: [{path: /var/run/docker.sock}]",
            "tmpfs: /run",
        ),
        row(
            "P003",
            "volumes: [{type: bind, source: /srv, target: /x, read_only: true, bind: {propagation: rshared}}]",
            "",
            "volumes: [{type: tmpfs, target: /x}]",
        ),
        // Half of the catalogue has the host's time; nobody may set it.
        row(
            "P003",
            "volumes: ['/etc/localtime:/etc/localtime']",
            "binds: [{path: /etc/localtime, write: true}]",
            "volumes: ['/etc/localtime:/etc/localtime:ro', '/etc/timezone:/etc/timezone:ro']",
        ),
        row(
            "P003",
            "volumes: [{type: bind, source: /etc/timezone, target: /x, read_only: true, bind: {propagation: shared}}]",
            "",
            "volumes: [{type: bind, source: /etc/timezone, target: /x, read_only: true}]",
        ),
        row(
            "P004",
            "volumes: [{type: npipe, source: a, target: /x}]",
            "",
            "volumes: [/x]",
        ),
        row(
            "P004",
            "volumes: [{type: cluster, source: a, target: /x}]",
            "",
            "volumes: [/x]",
        ),
        row(
            "P004",
            "volumes: [{type: image, source: a, target: /x}]",
            "",
            "volumes: [/x]",
        ),
        row(
            "P005",
            "services: {app: {image: a}}\nvolumes: {v: {driver_opts: {type: none, o: bind, device: /etc}}}",
            "volume_options: [v]",
            "services: {app: {image: a}}\nvolumes: {v: {driver: local}}",
        ),
        row(
            "P005",
            "services: {app: {image: a}}\nvolumes: {v: {driver: rexray}}",
            "volume_options: [v]",
            "services: {app: {image: a}}\nvolumes: {v: {driver: ''}}",
        ),
        row(
            "P006",
            "services: {app: {image: a}}\nvolumes: {v: {external: true, name: victim_data}}",
            "foreign: {volumes: [victim_data]}",
            "services: {app: {image: a}}\nvolumes: {v: {}}",
        ),
        row(
            "P006",
            "services: {app: {image: a}}\nvolumes: {v: {name: victim_data}}",
            "foreign: {volumes: [victim_data]}",
            "services: {app: {image: a}}\nvolumes: {v: {name: '${STACK_NAME}_d'}}",
        ),
        row(
            "P006",
            "services: {app: {image: a}}\nvolumes: {v: {external: true, name: '${STACK_NAME}_v'}}",
            "foreign: {volumes: [evil-00aa11_ci_localhost_v]}",
            "services: {app: {image: a}}\nvolumes: {v: {external: false}}",
        ),
        row(
            "P006",
            "services: {app: {image: a}}\nvolumes: {v: {name: '${STACK_NAME}_{{.Task.ID}}'}}",
            "",
            "services: {app: {image: a}}\nvolumes: {v: {name: '${STACK_NAME}_x.y'}}",
        ),
        row(
            "P006",
            "volumes: [{type: volume, source: victim_data, target: /x}]",
            "",
            "volumes: [{type: volume, target: /x}]",
        ),
        row(
            "P007",
            "services: {app: {image: a}}\nsecrets: {s: {external: true, name: victim_s}}",
            "foreign: {secrets: [victim_s]}",
            "services: {app: {image: a}}\nsecrets: {s: {external: true, name: '${STACK_NAME}_s_v1'}}",
        ),
        row(
            "P007",
            "services: {app: {image: a}}\nsecrets: {victim: {external: true}}",
            "foreign: {secrets: [victim]}",
            "services: {app: {image: a}}\nsecrets: {s: {external: {name: '${STACK_NAME}_s'}}}",
        ),
        row(
            "P008",
            "services: {app: {image: a}}\nconfigs: {c: {external: true, name: victim_c}}",
            "foreign: {configs: [victim_c]}",
            "services: {app: {image: a}}\nconfigs: {c: {name: '${STACK_NAME}_c'}}",
        ),
        // The app of a zone below this one begins with the same name, and no run makes a config before its deploy.
        row(
            "P008",
            "services: {app: {image: a}}\nconfigs: {c: {external: true, name: '${STACK_NAME}_inner_c'}}",
            "foreign: {configs: [evil-00aa11_ci_localhost_inner_c]}",
            "services: {app: {image: a}}\nconfigs: {c: {name: '${STACK_NAME}_inner_c'}}",
        ),
        row(
            "P009",
            "services: {app: {image: a}}\nnetworks: {n: {external: true, name: victim_net}}",
            "foreign: {networks: [victim_net]}",
            "services: {app: {image: a}}\nnetworks: {n: {}}",
        ),
        row(
            "P009",
            "services: {app: {image: a, networks: [h]}}\nnetworks: {h: {external: true, name: host}}",
            "foreign: {networks: [host]}",
            "services: {app: {image: a, networks: [h]}}\nnetworks: {h: {}}",
        ),
        row(
            "P010",
            "services: {app: {image: a, networks: {proxy: {aliases: [victim_db]}}}}\nnetworks: {proxy: {external: true}}",
            "foreign: {networks: [proxy]}",
            "services: {app: {image: a, networks: [proxy]}}\nnetworks: {proxy: {external: true}}",
        ),
        row(
            "P010",
            "services: {app: {image: a}, db: {image: a, networks: [proxy]}}\nnetworks: {proxy: {external: true}}",
            "foreign: {networks: [proxy]}",
            "services: {app: {image: a, networks: [proxy]}, db: {image: a}}\nnetworks: {proxy: {external: true}}",
        ),
        // The engine makes an alias of it.
        row(
            "P010",
            "services: {app: {image: a, hostname: victim_db, networks: [proxy]}}\nnetworks: {proxy: {external: true}}",
            "foreign: {networks: [proxy]}",
            "services: {app: {image: a, hostname: '${DOMAIN}', networks: [proxy]}, db: {image: a, hostname: db}}\nnetworks: {proxy: {external: true}}",
        ),
        row(
            "P011",
            "services: {app: {image: a}}\nnetworks: {n: {driver: macvlan}}",
            "keys: [network_driver]",
            "services: {app: {image: a}}\nnetworks: {n: {driver: overlay}}",
        ),
        row(
            "P012",
            "services: {app: {image: a}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/8}]}}}",
            "keys: [network_options]",
            "services: {app: {image: a}}\nnetworks: {n: {internal: true}}",
        ),
        row(
            "P012",
            "services: {app: {image: a}}\nnetworks: {n: {attachable: true}}",
            "keys: [network_options]",
            "services: {app: {image: a}}\nnetworks: {n: {attachable: false}}",
        ),
        row(
            "P014",
            "cap_add: [SYS_ADMIN]",
            "capabilities: [SYS_ADMIN]",
            "cap_add: [NET_BIND_SERVICE]",
        ),
        row(
            "P014",
            "cap_add: [cap_net_admin]",
            "capabilities: [NET_ADMIN]",
            "cap_add: [cap_chown]",
        ),
        row(
            "P014",
            "cap_add: [Cap_Net_Raw]",
            "capabilities: [NET_RAW]",
            "cap_add: [net_bind_service]",
        ),
        row(
            "P014",
            "cap_add: [ALL]",
            "capabilities: [ALL]",
            "cap_drop: [ALL]",
        ),
        row(
            "P015",
            "sysctls: {net.core.somaxconn: 9}",
            "keys: [sysctls]",
            "init: true",
        ),
        row(
            "P016",
            "ulimits: {nofile: 9}",
            "keys: [ulimits]",
            "read_only: true",
        ),
        row(
            "P017",
            "logging: {driver: syslog}",
            "keys: [logging]",
            "logging: {driver: local}",
        ),
        row(
            "P017",
            "logging: {options: {syslog-address: 'tcp://10.0.0.1'}}",
            "keys: [logging]",
            "logging: {options: {max-size: 1m}}",
        ),
        // The engine compiles it, in its own memory.
        row(
            "P017",
            "logging: {options: {env-regex: '\\pL\\pL'}}",
            "keys: [logging]",
            "logging: {options: {tag: x}}",
        ),
        // It is written into every line, beside the ceiling.
        row(
            "P017",
            "logging: {options: {env: A}}",
            "keys: [logging]",
            "logging: {options: {max-file: '3', max-size: 1m}}",
        ),
        row(
            "P017",
            "logging: {options: {labels: A}}",
            "keys: [logging]",
            "logging: {options: {compress: 'true', max-size: 1m}}",
        ),
        row(
            "P018",
            "isolation: process",
            "keys: [isolation]",
            "isolation: ''",
        ),
        row(
            "P019",
            "credential_spec: {file: a.json}",
            "keys: [credential_spec]",
            "credential_spec: {}",
        ),
        row(
            "P020",
            "extra_hosts: ['host:host-gateway']",
            "keys: [extra_hosts]",
            "extra_hosts: []",
        ),
        row("P021", "dns: 10.0.0.1", "keys: [dns]", "dns: []"),
        row(
            "P022",
            "deploy: {placement: {constraints: [node.labels.db == true]}}",
            "keys: [placement]",
            "deploy: {placement: {constraints: [node.role==manager, node.platform.arch==x86_64]}}",
        ),
        row(
            "P023",
            "deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: gpu, value: 1}}]}}}",
            "keys: [generic_resources]",
            "deploy: {resources: {reservations: {memory: 1m}}}",
        ),
        row(
            "P024",
            "services: {app: {image: a}}\nsecrets: {s: {driver: vault, external: true, name: '${STACK_NAME}_s'}}",
            "",
            "services: {app: {image: a}}\nsecrets: {s: {external: true, name: '${STACK_NAME}_s'}}",
        ),
        row(
            "P025",
            "environment: ['A={{printf \"%1000000d\" 1}}']",
            "template_driver: true",
            "environment: ['A={{.Task.Slot}}']",
        ),
        row(
            "P025",
            "hostname: '{{define \"a\"}}{{end}}'",
            "template_driver: true",
            "hostname: '{{.Node.Hostname}}'",
        ),
        // The engine evaluates it for the driver `json-file` as for every other.
        row(
            "P025",
            "logging: {options: {tag: '{{printf \"%1000000d\" 1}}'}}",
            "template_driver: true",
            "logging: {options: {tag: '{{.Name}}/{{.ID}}'}}",
        ),
        row(
            "P026",
            "deploy: {replicas: 4}",
            "ceilings: {replicas: 4}",
            "deploy: {replicas: 3}",
        ),
        // To Docker this is a whole number as well.
        row(
            "P026",
            "deploy: {replicas: 4.0}",
            "ceilings: {replicas: 4}",
            "deploy: {replicas: 3.0}",
        ),
        row(
            "P026",
            "deploy: {replicas: 30, mode: replicated-job}",
            "ceilings: {replicas: 30}",
            "deploy: {replicas: 30, mode: global}",
        ),
        row(
            "P032",
            "labels: {com.docker.stack.namespace: victim}",
            "",
            "labels: {org.docker: x}",
        ),
        row(
            "P032",
            "services: {app: {image: a}}\nvolumes: {v: {labels: [COM.docker.x=y]}}",
            "",
            "services: {app: {image: a}}\nvolumes: {v: {labels: [a=b]}}",
        ),
        // What nginx-proxy and its companion obey.
        row(
            "P028",
            "environment: {VIRTUAL_HOST: 'www.${DOMAIN},cloud.example.org'}",
            "routers: {hosts: [cloud.example.org]}",
            "environment: {VIRTUAL_HOST: '${DOMAIN}, www.${DOMAIN}', VIRTUAL_PORT: 80}",
        ),
        row(
            "P028",
            "environment: [LETSENCRYPT_HOST=cloud.example.org]",
            "routers: {hosts: [cloud.example.org]}",
            "environment: [LETSENCRYPT_HOST=, 'LETSENCRYPT_EMAIL=a@example.org']",
        ),
        row(
            "P028",
            "environment: {VIRTUAL_HOST_MULTIPORTS: '{cloud.example.org: {/: {port: 80}}}'}",
            "",
            "environment: {VHOST: cloud.example.org}",
        ),
        // A proxy makes more of these than a name: an expression, YAML, a line of its configuration.
        row(
            "P028",
            "environment: {VIRTUAL_HOST: '~^.*$$|.${DOMAIN}'}",
            "",
            "environment: {VIRTUAL_HOST: '*.${DOMAIN}'}",
        ),
        row(
            "P028",
            "environment: {VIRTUAL_HOST_MULTIPORTS: \"cloud.example.org: {}\\n#.${DOMAIN}\"}",
            "",
            "environment: {VIRTUAL_PATH: /x}",
        ),
        row(
            "P028",
            "environment: {LETSENCRYPT_HOST: 'x.com;}#.${DOMAIN}'}",
            "",
            "environment: {LETSENCRYPT_HOST: 'x.${DOMAIN}'}",
        ),
        // SSH of a forge: without TLS a connection names no host.
        row(
            "P028",
            "labels: ['traefik.tcp.routers.${STACK_NAME}-ssh.rule=HostSNI(`*`)', 'traefik.tcp.routers.${STACK_NAME}-ssh.entrypoints=gitea-ssh']",
            "routers: {entrypoints: [gitea-ssh]}",
            "labels: ['traefik.tcp.routers.${STACK_NAME}-ssh.rule=HostSNI(`${DOMAIN}`)', 'traefik.tcp.routers.${STACK_NAME}-ssh.entrypoints=gitea-ssh']",
        ),
        row(
            "P028",
            "labels: {traefik.udp.routers.evil-00aa11_ci_localhost.entrypoints: 'a, b', traefik.udp.routers.evil-00aa11_ci_localhost.service: evil-00aa11_ci_localhost, traefik.udp.services.evil-00aa11_ci_localhost.loadbalancer.server.port: '53'}",
            "routers: {entrypoints: [a, b]}",
            "labels: {traefik.udp.services.evil-00aa11_ci_localhost.loadbalancer.server.port: '53'}",
        ),
        row(
            "P034",
            "services: {app: {image: a, oom_score_adj: -1000}}",
            "",
            "services: {app: {image: a}}",
        ),
        row(
            "P036",
            "services: {'-a': {image: a}}",
            "",
            "services: {'a.b-': {image: a}}",
        ),
    ];
    for (key, value, legal) in [
        ("privileged", "true", "false"),
        ("devices", "['/dev/sda:/dev/sda']", "[]"),
        ("network_mode", "host", "bridge"),
        ("pid", "host", "''"),
        ("ipc", "host", "private"),
        ("userns_mode", "host", "''"),
        ("cgroup_parent", "/", "''"),
        (
            "security_opt",
            "['seccomp:unconfined']",
            "['no-new-privileges:true']",
        ),
    ] {
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        rows.push(row(
            "P034",
            leak(format!("{key}: {value}")),
            "",
            leak(format!("{key}: {legal}")),
        ));
    }
    rows
}
