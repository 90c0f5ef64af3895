//! Files that are written.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::render::{Changes, SchemaVersion, normalise, overlay};
use super::*;

#[test]
fn a_copy_is_rewritten_without_interpolation() {
    let dir = recipe(&[(
        "sub/compose.yml",
        r#"
services:
  app:
    image: a:${TAG}
    env_file: .env
    ports:
      - "${PORT}:80"
      - "${IP:-0.0.0.0}:${A:-1}:$B/udp"
      - 9090
      - "8000-8001:80"
      - {target: 443, published: 443, mode: ingress}
    volumes: ["./data:/data", "named:/n", {type: bind, source: ../x, target: /x}]
configs:
  c: {file: ./entry.sh}
  d: {file: "${WHERE}/x"}
"#,
    )]);
    let changes = Changes {
        version: SchemaVersion::WhenMissing("3.8".into()),
        host_ports: true,
        base_dir: Some("/r/$x".into()),
    };
    let value = normalise(dir.path(), "sub/compose.yml", &changes).unwrap();
    assert_eq!(value["version"], "3.8");
    let app = &value["services"]["app"];
    assert_eq!(app["image"], "a:${TAG}");
    assert_eq!(app["env_file"], "/r/$$x/.env");
    assert_eq!(
        app["ports"],
        json!([
            {"target": 80, "protocol": "tcp", "mode": "host", "published": "${PORT}"},
            {"target": "$B", "protocol": "udp", "mode": "host", "published": "${A:-1}"},
            {"target": 9090, "protocol": "tcp", "mode": "host"},
            {"target": 80, "protocol": "tcp", "mode": "host", "published": 8000},
            {"target": 80, "protocol": "tcp", "mode": "host", "published": 8001},
            {"target": 443, "published": 443, "mode": "host"},
        ])
    );
    assert_eq!(
        app["volumes"],
        json!(["/r/$$x/data:/data", "named:/n", {"type": "bind", "source": "/r/$$x/../x", "target": "/x"}])
    );
    assert_eq!(value["configs"]["c"]["file"], "/r/$$x/entry.sh");
    assert_eq!(value["configs"]["d"]["file"], "${WHERE}/x");

    let kept = normalise(dir.path(), "sub/compose.yml", &Changes::default()).unwrap();
    assert_eq!(kept.get("version"), None);
    assert_eq!(kept["services"]["app"]["ports"][0], "${PORT}:80");
}

#[test]
fn an_overlay_carries_labels_and_endpoint_modes() {
    let labels = [("coop-cloud.x.chaos".to_owned(), "a$b".to_owned())].into();
    let none = BTreeMap::new();
    let vars = [("ONE".to_owned(), "1".to_owned())].into();
    let project = one(TYPICAL);
    assert_eq!(
        overlay(&project, &labels, &none, true),
        json!({
            "version": "3.8",
            "services": {"app": {"deploy": {"labels": {"coop-cloud.x.chaos": "a$$b"}, "endpoint_mode": "dnsrr"}}},
        })
    );
    let without_app = one("services:\n  web: {image: a}\n  db: {image: b}\n");
    assert_eq!(
        overlay(&without_app, &labels, &vars, false),
        json!({"version": "3.8", "services": {"web": {"deploy": {"labels": {"coop-cloud.x.chaos": "a$$b"}}}}})
    );
}

#[test]
fn app_alone_gets_the_variables_that_it_does_not_set() {
    let exposed = [
        ("SET", "no"),
        ("EMPTY", "x"),
        ("NEW", "p$1"),
        ("NAMED", "n"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let none = BTreeMap::new();
    for environment in [
        "[SET=yes, NAMED, EMPTY=]",
        "{SET: yes, NAMED: null, EMPTY: \"\"}",
    ] {
        let project = one(&format!(
            "services:\n  app: {{image: a, environment: {environment}}}\n  db: {{image: b}}\n"
        ));
        assert_eq!(
            overlay(&project, &none, &exposed, false)["services"],
            json!({"app": {"environment": {"NEW": "p$$1", "NAMED": "n"}}}),
            "{environment}"
        );
    }
    let project = one("services:\n  app: {image: a}\n");
    assert_eq!(
        overlay(&project, &none, &none, false)["services"],
        json!({})
    );
}
