//! Merged files.

use super::*;

/// The first of two files whose merge was captured from `docker stack config` 28.2.2.
const BASE: &str = r#"
version: "3.8"
services:
  app:
    image: x:1
    healthcheck: {test: ["CMD", "a"], interval: 3s, retries: 3}
    labels: [c1=a]
    depends_on: [db]
    networks: [proxy, internal]
    ports: ["80:80", "81:81"]
    volumes: ["data:/data", "other:/o", "/host:/h:ro"]
    secrets: [s1]
    configs: [{source: c1, target: /c1, mode: 0440}]
    environment: {A: x, B: y, C: z}
    deploy:
      replicas: 2
      labels: ["l=1", "m=2", "bare"]
      update_config: {order: start-first, monitor: 5s}
      endpoint_mode: dnsrr
  db: {image: db}
volumes:
  data: {driver: foo, labels: [a=b]}
  other:
networks:
  proxy: {external: true}
  internal:
secrets:
  s1: {external: true, name: foo}
configs:
  c1: {file: ./a.yml, name: c1_v1}
"#;

const OVER: &str = r#"
version: "3.8"
services:
  app:
    image: ""
    healthcheck: {test: ["CMD", "b"], retries: 0}
    labels: {c2: b}
    depends_on: [web, db]
    networks: {third: {aliases: [q]}}
    ports: ["80:80", {target: 81, published: 81, mode: host}]
    volumes: [{type: volume, source: data2, target: /data}, "other:/o2"]
    secrets: [{source: s1, target: t1}, s2]
    environment: [A=, B, D]
    deploy:
      replicas: 0
      labels: {l: "", n: 3}
      update_config: {failure_action: rollback}
  web: {image: web}
volumes:
  data: {driver_opts: {x: "1"}}
  data2: {name: "real"}
networks:
  third:
  proxy: {name: realproxy}
secrets:
  s1: {name: bar}
  s2: {external: {name: xx}}
configs:
  c1: {name: c1_v2}
"#;

#[test]
fn files_are_merged_as_docker_merges_them() {
    let project = load(&[("compose.yml", BASE), ("more/compose.over.yml", OVER)]).unwrap();
    let names: Vec<_> = project
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["app", "db", "web"]);
    let app = project.service("app").unwrap();
    assert_eq!(app.image.as_deref(), Some("x:1"));
    let labels: Vec<_> = app.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["bare=", "l=", "m=2", "n=3"]);
    let labels: Vec<_> = app
        .container_labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(labels, ["c1=a", "c2=b"]);
    let environment: Vec<_> = app
        .environment
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_deref()))
        .collect();
    assert_eq!(
        environment,
        [
            ("A", Some("x")),
            ("B", Some("y")),
            ("C", Some("z")),
            ("D", None)
        ]
    );
    // One file may not repeat an item, so the merged one does not.
    assert_eq!(app.depends_on, ["db", "web"]);
    assert_eq!(app.networks, ["proxy", "internal", "third"]);
    let ports: Vec<_> = app
        .ports
        .iter()
        .map(|port| (port.published, port.mode))
        .collect();
    assert_eq!(
        ports,
        [(Some(80), PortMode::Ingress), (Some(81), PortMode::Host)]
    );
    let mounts: Vec<_> = app
        .volumes
        .iter()
        .map(|m| (m.source.as_deref().unwrap(), m.target.as_str()))
        .collect();
    assert_eq!(
        mounts,
        [
            ("data2", "/data"),
            ("/host", "/h"),
            ("other", "/o"),
            ("other", "/o2")
        ]
    );
    assert_eq!(app.secrets, ["s1", "s2"]);
    assert_eq!(app.replicas, Some(0));
    assert_eq!(app.update.order.as_deref(), Some("start-first"));
    assert_eq!(app.update.failure_action.as_deref(), Some("rollback"));
    assert_eq!(app.endpoint_mode.as_deref(), Some("dnsrr"));
    assert_eq!(
        app.healthcheck,
        Healthcheck::Test(["CMD", "a", "CMD", "b"].map(str::to_owned).into())
    );
    assert_eq!(project.warnings.len(), 1, "{:?}", project.warnings);

    // An entry of the top level is replaced as a whole, so these are no longer external.
    assert_eq!(
        (
            project.volumes[0].driver.as_deref(),
            project.volumes[2].full_name("s").as_str()
        ),
        (None, "real")
    );
    assert_eq!(
        (
            project.networks[0].external,
            project.networks[0].full_name("s").as_str()
        ),
        (false, "realproxy")
    );
    assert_eq!(
        (
            project.secrets[0].external,
            project.secrets[0].full_name("s").as_str()
        ),
        (false, "bar")
    );
    assert_eq!(
        (
            project.secrets[1].external,
            project.secrets[1].full_name("s").as_str()
        ),
        (true, "xx")
    );
    assert_eq!(project.configs[0].full_name("s"), "c1_v2");
    assert_eq!(
        project
            .location("services.app.deploy.replicas")
            .unwrap()
            .file,
        "more/compose.over.yml"
    );
}

/// Returns the service `app` of two files.
fn merged(base: &str, over: &str) -> serde_json::Value {
    let file = |keys: &str| format!("version: '3.13'\nservices:\n  app: {keys}\n");
    let files = [("compose.yml", &*file(base)), ("over.yml", &*file(over))];
    load(&files).unwrap().document["services"]["app"].take()
}

#[test]
fn every_key_is_merged_as_docker_merges_it() {
    // Each was found by the differential test, tests/integration/deployed.rs.
    for (base, over, key, expected) in [
        // An empty duration overrides nothing.
        (
            "{stop_grace_period: 5s}",
            "{stop_grace_period: 0s}",
            "stop_grace_period",
            "\"5s\"",
        ),
        (
            "{sysctls: {a: 1}}",
            "{sysctls: [b=2]}",
            "sysctls",
            r#"{"a":"1","b":"2"}"#,
        ),
        (
            "{ulimits: {a: {soft: 1, hard: 2}}}",
            "{ulimits: {a: 0}}",
            "ulimits",
            r#"{"a":0}"#,
        ),
        (
            "{dns: 1.1.1.1}",
            "{dns: [2.2.2.2, 1.1.1.1]}",
            "dns",
            r#"["1.1.1.1","2.2.2.2"]"#,
        ),
        (
            "{cap_add: [A]}",
            "{cap_add: [A, B]}",
            "cap_add",
            r#"["A","B"]"#,
        ),
        (
            "{extra_hosts: {b: 1.1.1.1, a: '[::1]'}}",
            "{extra_hosts: [c=2.2.2.2]}",
            "extra_hosts",
            r#"["a:::1","b:1.1.1.1","c:2.2.2.2"]"#,
        ),
        // What is in the first file alone becomes one, too.
        (
            "{volumes: [/z, /a]}",
            "{user: '1'}",
            "volumes",
            r#"[{"type":"volume","target":"/a"},{"type":"volume","target":"/z"}]"#,
        ),
        (
            "{ports: ['53:53/tcp', '53:53/udp']}",
            "{user: '1'}",
            "ports",
            r#"[{"mode":"ingress","target":53,"protocol":"udp","published":53}]"#,
        ),
        (
            "{secrets: [{source: s, target: a}, s]}",
            "{user: '1'}",
            "secrets",
            r#"[{"source":"s"}]"#,
        ),
        (
            "{user: '1'}",
            "{volumes: [/z, /a, /z]}",
            "volumes",
            r#"[{"type":"volume","target":"/z"},{"type":"volume","target":"/a"},{"type":"volume","target":"/z"}]"#,
        ),
        ("{command: a}", "{command: '# b'}", "command", "\"a\""),
        (
            "{deploy: {update_config: {delay: 5s}}}",
            "{deploy: {update_config: {delay: -5s}}}",
            "deploy",
            r#"{"update_config":{"delay":"-5s"}}"#,
        ),
        (
            "{build: {args: [a=1]}}",
            "{build: {args: [a=1]}}",
            "build",
            r#"{"args":["a=1"]}"#,
        ),
        (
            "{environment: [A=, 'B=x', C]}",
            "{environment: [A, B, 'C=']}",
            "environment",
            r#"{"A":null,"B":"x","C":""}"#,
        ),
        (
            "{logging: {driver: a, options: {x: 1}}}",
            "{logging: {options: {x: ''}}}",
            "logging",
            r#"{"driver":"a","options":{"x":""}}"#,
        ),
        (
            "{logging: {driver: a, options: {x: 1}}}",
            "{logging: {driver: b}}",
            "logging",
            r#"{"driver":"b"}"#,
        ),
        (
            "{logging: {driver: a}}",
            "{logging: {options: {x: 1}}}",
            "logging",
            r#"{"driver":"a"}"#,
        ),
        (
            "{networks: {n: {aliases: [a], ipv4_address: '1'}}}",
            "{networks: {n: {ipv6_address: '2'}}}",
            "networks",
            r#"{"n":{"ipv4_address":"1","ipv6_address":"2"}}"#,
        ),
    ] {
        assert_eq!(
            merged(base, over)[key].to_string(),
            expected,
            "{base} {over}"
        );
    }
}

#[test]
fn a_fault_is_not_hidden_by_a_later_file() {
    for (base, over) in [
        ("user: 1", "user: '1'"),
        ("command: \"'\"", "command: x"),
        (
            "deploy: {resources: {limits: {memory: lots}}}",
            "deploy: {resources: {limits: {memory: 1G}}}",
        ),
    ] {
        let file = |keys: &str| format!("version: '3.8'\nservices:\n  app: {{{keys}}}\n");
        let error = load(&[("compose.yml", &file(base)), ("over.yml", &file(over))]).unwrap_err();
        assert!(error.to_string().starts_with("compose.yml:3:"), "{error}");
    }
    let versions = [
        ("compose.yml", "version: '3.8'\n"),
        ("over.yml", "services: {}\n"),
    ];
    let error = load(&versions).unwrap_err().to_string();
    assert!(
        error.starts_with("over.yml:1:1: version: docker refuses files of different"),
        "{error}"
    );
}
