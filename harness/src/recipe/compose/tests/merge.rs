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
    assert_eq!(app.depends_on, ["db", "web", "db"]);
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
