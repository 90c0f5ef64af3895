//! The resolved project, and the file that is written from it.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::resolve::{Deployment, Resolved};
use super::super::shared::{Own, SharedNetwork};
use super::*;

fn deployment() -> Deployment {
    Deployment {
        stack: "x_ci".to_owned(),
        schema: "3.13".to_owned(),
        ..Deployment::default()
    }
}

fn resolve(text: &str, deployment: &Deployment) -> Resolved {
    let dir = recipe(&[
        ("sub/compose.yml", text),
        ("sub/entry.sh", "#!/bin/sh\n"),
        (
            "sub/their.env",
            "FROM_FILE=f$1\nBOTH=file\nLOOKED_UP\nNOT_THERE\n",
        ),
    ]);
    let vars = [
        ("TAG", "2"),
        ("LOOKED_UP", "up"),
        ("N", "3"),
        ("DOCKER_HOST", "d"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let mut project = Project::load(dir.path(), &["sub/compose.yml".to_owned()], &vars).unwrap();
    project.read_contents(dir.path()).unwrap();
    project
        .resolve(std::path::Path::new("/r/$x"), deployment)
        .unwrap()
}

#[test]
fn nothing_is_left_to_substitute_to_read_or_to_name() {
    let resolved = resolve(
        r#"
version: "3.8"
x-common: {a: "${NOT_USED}"}
services:
  app:
    image: a:${TAG:-1}
    command: echo $$HOME
    env_file: their.env
    environment: [BOTH=service, DOCKER_HOST, EMPTY_ONE]
    volumes: ["./data:/data", "named:/n", {type: bind, source: ../x, target: /x}]
    secrets: [s, {source: s, target: other}]
    configs: [c]
    deploy: {replicas: "${N}"}
volumes: {named: }
secrets: {s: {external: true, name: "x_ci_s_v1"}, old: {external: {name: o}}}
configs: {c: {file: ./entry.sh}}
"#,
        &deployment(),
    );
    let document = resolved.document();
    let app = &document["services"]["app"];
    assert_eq!(app["image"], "a:2");
    assert_eq!(app["deploy"]["replicas"], 3);
    assert_eq!(
        app["environment"],
        json!({
            "FROM_FILE": "f$1", "BOTH": "service", "LOOKED_UP": "up", "DOCKER_HOST": "d", "EMPTY_ONE": null,
        })
    );
    assert_eq!(app.get("env_file"), None);
    let sources: Vec<_> = app["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| &v["source"])
        .collect();
    assert_eq!(sources, ["/r/$x/sub/data", "named", "/r/$x/x"]);
    assert_eq!(app["secrets"].as_array().unwrap().len(), 2);
    assert_eq!(document["volumes"]["named"]["name"], "x_ci_named");
    assert_eq!(
        document["secrets"]["old"],
        json!({"external": true, "name": "o"})
    );
    assert_eq!(document["networks"]["default"]["name"], "x_ci_default");
    assert_eq!(document.get("x-common"), None);

    let (file, contents) = resolved.render(std::path::Path::new("/state"), "t");
    assert_eq!(contents.len(), 1);
    assert_eq!(contents[0].1, b"#!/bin/sh\n");
    assert_eq!(
        file["configs"]["c"]["file"],
        contents[0].0.display().to_string()
    );
    // Docker makes one `$` of two.
    assert_eq!(file["services"]["app"]["command"], "echo $$HOME");
    assert_eq!(file["services"]["app"]["environment"]["FROM_FILE"], "f$$1");
}

#[test]
fn two_protocols_of_one_port_and_ports_without_a_number_stay() {
    let deployment = Deployment {
        no_ipvs: true,
        ..deployment()
    };
    let resolved = resolve(
        "version: '3.8'\nservices:\n  dns:\n    image: a\n    ports: ['53:53/tcp', '53:53/udp', 9000]\n    \
         deploy: {update_config: {order: start-first}}\n",
        &deployment,
    );
    let dns = &resolved.document()["services"]["dns"];
    let ports: Vec<_> = dns["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| (&port["published"], &port["protocol"], &port["mode"]))
        .map(|(published, protocol, mode)| {
            (
                published.as_u64(),
                protocol.as_str().unwrap(),
                mode.as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        ports,
        [
            (Some(53), "tcp", "host"),
            (Some(53), "udp", "host"),
            (None, "tcp", "host")
        ]
    );
    assert_eq!(dns["deploy"]["endpoint_mode"], "dnsrr");
    // The new task could not bind a port that the old one holds.
    assert_eq!(dns["deploy"]["update_config"]["order"], "stop-first");
    assert_eq!(resolved.deviations.len(), 3, "{:?}", resolved.deviations);
}

#[test]
fn app_alone_gets_the_variables_that_it_does_not_set_and_the_main_service_the_labels() {
    let deployment = Deployment {
        labels: [("coop-cloud.x.chaos".to_owned(), "a$b".to_owned())].into(),
        exposed: [
            ("SET", "no"),
            ("EMPTY", "x"),
            ("NEW", "p$1"),
            ("NAMED", "n"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        ..deployment()
    };
    for environment in [
        "[SET=yes, NAMED, EMPTY=]",
        "{SET: yes, NAMED: null, EMPTY: \"\"}",
    ] {
        let text = format!(
            "version: '3.8'\nservices:\n  app: {{image: a, environment: {environment}}}\n  db: {{image: b}}\n"
        );
        let resolved = resolve(&text, &deployment);
        let services = &resolved.document()["services"];
        assert_eq!(
            services["app"]["environment"],
            json!({"SET": "yes", "EMPTY": "", "NAMED": "n", "NEW": "p$1"}),
            "{environment}"
        );
        assert_eq!(
            services["app"]["deploy"]["labels"]["coop-cloud.x.chaos"],
            "a$b"
        );
        assert_eq!(services["db"].get("environment"), None);
        assert_eq!(services["db"].get("deploy"), None);
    }
    let text = "version: '3.8'\nservices:\n  web: {image: a}\n  db: {image: b}\n";
    let resolved = resolve(text, &deployment);
    assert_eq!(
        resolved.project.service("web").unwrap().labels,
        BTreeMap::from([("coop-cloud.x.chaos".to_owned(), "a$b".to_owned())])
    );
    assert!(
        resolved
            .project
            .service("web")
            .unwrap()
            .environment
            .is_empty()
    );
}

#[test]
fn the_network_shared_with_the_gateway_becomes_the_apps_own() {
    let text = "version: '3.8'\nservices: {app: {image: a, networks: [web, other]}}\n\
                networks: {web: {external: true, name: proxy}, other: {external: true}}\n";
    let shipped = resolve(text, &deployment());
    assert_eq!(
        shipped.document()["networks"]["web"],
        json!({"external": true, "name": "proxy"})
    );
    assert!(shipped.deviations.is_empty());
    let own = Deployment {
        shared: SharedNetwork::Own(Own::of("x_ci")),
        ..deployment()
    };
    let own = resolve(text, &own);
    assert_eq!(
        own.document()["networks"]["web"],
        json!({"driver": "overlay", "name": "x_ci_proxy"})
    );
    assert_eq!(
        own.document()["networks"]["other"],
        json!({"external": true, "name": "other"})
    );
    assert_eq!(own.deviations.len(), 1);
}

#[test]
fn a_version_is_given_where_there_is_none_and_raised_where_it_knows_no_names() {
    for (version, expected) in [
        ("", "3.13"),
        ("version: '3'\n", "3.13"),
        ("version: '3.1'\n", "3.5"),
        ("version: '3.9'\n", "3.9"),
    ] {
        let resolved = resolve(
            &format!("{version}services: {{app: {{image: a}}}}\n"),
            &deployment(),
        );
        assert_eq!(resolved.document()["version"], expected);
    }
}
