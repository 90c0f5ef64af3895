use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::model::{Healthcheck, Mode, MountKind, PortMode};
use super::*;

mod merge;
mod references;
mod resolve;
mod shared;

const STACK: &str = "note-012345_ci_localhost";

fn recipe(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn vars() -> BTreeMap<String, String> {
    [
        ("STACK_NAME", STACK),
        ("DOMAIN", "note.ci.localhost"),
        ("SECRET_DB_PASSWORD_VERSION", "v1"),
        ("FILLED", "set"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn load(files: &[(&str, &str)]) -> Result<Project, ComposeError> {
    let dir = recipe(files);
    let names: Vec<String> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
    Project::load(dir.path(), &names, &vars())
}

fn one(text: &str) -> Project {
    load(&[("compose.yml", text)]).unwrap()
}

fn refusal(text: &str) -> String {
    load(&[("compose.yml", text)]).unwrap_err().to_string()
}

const TYPICAL: &str = r#"version: "3.8"
x-common: &common
  networks: [internal]
  environment: &env
    DB_HOST: db
    EMPTY:
    FILLED:
services:
  app:
    <<: *common
    image: example/notes:${TAG:-1.2.0}
    environment:
      <<: *env
      DOMAIN: $DOMAIN
      UNSET: "${NOBODY}"
      PRICE: "5$$"
    networks:
      - proxy
      - internal
    secrets:
      - db_password
    configs:
      - source: entrypoint
        target: /entrypoint.sh
        mode: 0555
    volumes:
      - data:/data
      - /var/run/docker.sock:/var/run/docker.sock:ro
      - {type: tmpfs, target: /tmp}
    depends_on: [db]
    stop_grace_period: 1m30s
    healthcheck:
      test: curl -f http://localhost:3000
    deploy:
      replicas: 0
      restart_policy: {condition: on-failure, max_attempts: "${ATTEMPTS:-3}"}
      update_config: {order: start-first, failure_action: rollback, monitor: 10s}
      labels:
        - "traefik.enable=true"
        - "traefik.http.services.${STACK_NAME}-x.loadbalancer.server.port=9000"
        - "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=3000"
        - "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)"
        - "coop-cloud.${STACK_NAME}.version=1.0.0+1.2.0"
        - "coop-cloud.${STACK_NAME}.timeout=${TIMEOUT:-300}"
        - bare
  db:
    <<: *common
    image: postgres:16
    labels: {number: 1.10, nothing: }
    healthcheck: {disable: true}
    deploy: {mode: global, endpoint_mode: dnsrr}
networks:
  proxy: {external: true}
  internal:
volumes:
  data:
  shared: {external: {name: elsewhere}}
secrets:
  db_password:
    external: true
    name: ${STACK_NAME}_db_password_${SECRET_DB_PASSWORD_VERSION}
configs:
  entrypoint:
    name: ${STACK_NAME}_entrypoint_${ENTRYPOINT_VERSION}
    file: entrypoint.sh.tmpl
    template_driver: golang
"#;

#[test]
fn a_typical_recipe_is_decoded() {
    let project = one(TYPICAL);
    assert_eq!(project.schema_version.as_deref(), Some("3.8"));
    assert_eq!(project.unset, ["ENTRYPOINT_VERSION", "NOBODY"]);
    assert_eq!(project.warnings, []);
    assert_eq!(project.images(), ["example/notes:1.2.0", "postgres:16"]);

    let app = project.service("app").unwrap();
    let environment = |name: &str| app.environment[name].as_deref();
    assert_eq!(environment("DB_HOST"), Some("db"));
    assert_eq!(environment("DOMAIN"), Some("note.ci.localhost"));
    assert_eq!(environment("UNSET"), Some(""));
    assert_eq!(environment("PRICE"), Some("5$"));
    assert_eq!(environment("EMPTY"), None);
    assert_eq!(environment("FILLED"), Some("set"));
    assert_eq!(app.networks, ["proxy", "internal"]);
    assert_eq!(
        (app.desired_replicas(), app.mode),
        (Some(0), Mode::Replicated)
    );
    assert_eq!(
        app.healthcheck,
        Healthcheck::Test(vec![
            "CMD-SHELL".into(),
            "curl -f http://localhost:3000".into()
        ])
    );
    assert_eq!(app.restart.max_attempts, Some(3));
    assert_eq!(app.update.monitor, Some(Duration::from_secs(10)));
    assert_eq!(app.stop_grace_period, Some(Duration::from_secs(90)));
    assert_eq!(app.labels["bare"], "");
    assert_eq!(app.depends_on, ["db"]);
    assert_eq!(
        (app.secrets.as_slice(), app.configs.as_slice()),
        (&["db_password".into()][..], &["entrypoint".into()][..])
    );
    let kinds: Vec<_> = app
        .volumes
        .iter()
        .map(|m| (m.kind.clone(), m.source.as_deref(), m.read_only))
        .collect();
    assert_eq!(
        kinds,
        [
            (MountKind::Volume, Some("data"), false),
            (MountKind::Bind, Some("/var/run/docker.sock"), true),
            (MountKind::Tmpfs, None, false),
        ]
    );

    let db = project.service("db").unwrap();
    assert_eq!(
        (db.desired_replicas(), &db.healthcheck),
        (None, &Healthcheck::Disabled)
    );
    assert_eq!(db.container_labels["number"], "1.1");
    assert_eq!(db.container_labels["nothing"], "");
}

#[test]
fn names_are_scoped_by_the_stack() {
    let project = one(TYPICAL);
    let names: Vec<_> = project
        .volumes
        .iter()
        .map(|volume| volume.full_name("s"))
        .collect();
    assert_eq!(names, ["s_data", "elsewhere"]);
    let names: Vec<_> = project
        .networks
        .iter()
        .map(|network| network.full_name("s"))
        .collect();
    assert_eq!(names, ["proxy", "s_internal"]);
    assert_eq!(
        project.secrets[0].full_name("s"),
        format!("{STACK}_db_password_v1")
    );
    assert_eq!(
        project.secrets[0].version_variable.as_deref(),
        Some("SECRET_DB_PASSWORD_VERSION")
    );
    assert_eq!(
        project.configs[0].full_name("s"),
        format!("{STACK}_entrypoint_")
    );
    assert_eq!(
        project.configs[0].version_variable.as_deref(),
        Some("ENTRYPOINT_VERSION")
    );
    assert_eq!(
        project.configs[0].template_driver.as_deref(),
        Some("golang")
    );
}

#[test]
fn questions_about_a_typical_recipe_are_answered() {
    let project = one(TYPICAL);
    assert_eq!(
        project.web(),
        Some(query::Web {
            service: "app".into(),
            port: 3000,
            tls: false,
        })
    );
    let label = project.version_label(STACK).unwrap();
    assert_eq!((label.service, label.value), ("app", "1.0.0+1.2.0"));
    assert_eq!(project.timeout_label(STACK).unwrap().value, "300");
    assert_eq!(project.version_label("other"), None);
    assert_eq!(
        project.location("services.app.image").unwrap().to_string(),
        "compose.yml:11:12"
    );
    assert_eq!(
        project
            .location("services.app.deploy.labels[2]")
            .unwrap()
            .line,
        41
    );
    assert_eq!(
        project
            .location("services.app.deploy.nothing.here")
            .unwrap()
            .line,
        35
    );
}

#[test]
fn a_healthcheck_that_passes_whatever_the_service_does_asks_nothing() {
    let asks_nothing = |test: &str| {
        let text = format!("services: {{app: {{image: a, healthcheck: {{test: {test}}}}}}}");
        one(&text).services[0].healthcheck.asks_nothing()
    };
    for test in [
        "exit 0",
        "'true'",
        "curl -f http://localhost || exit 0",
        "[CMD, 'true']",
        "[CMD-SHELL, 'pg_isready || true']",
        "[CMD, sh, -c, ':']",
    ] {
        assert!(asks_nothing(test), "{test}");
    }
    for test in [
        "curl -f http://localhost || exit 1",
        "[CMD, curl, 'true']",
        "[CMD, test, -d, /]",
        "[NONE]",
        "[CMD-SHELL, 'a || exit 1; b || true']",
        "curl -f http://localhost && exit 0",
    ] {
        assert!(!asks_nothing(test), "{test}");
    }
}

#[test]
fn every_port_that_a_router_leads_to_is_routed() {
    let project = one("
services:
  app:
    image: a
    deploy:
      labels:
        - traefik.enable=true
        - traefik.http.services.x.loadbalancer.server.port=80
        - traefik.http.services.y.loadbalancer.server.port=81
        - traefik.http.services.z.loadbalancer.server.port=82
        - traefik.http.routers.x.rule=Host(`a`)
        - traefik.http.routers.x.service=x
        - traefik.http.routers.y.rule=Host(`b`)
        - traefik.http.routers.y.service=y@swarm
  admin:
    image: a
    deploy:
      labels:
        traefik.enable: 'true'
        traefik.http.services.admin.loadbalancer.server.port: '9000'
        traefik.http.routers.admin.rule: Host(`c`)
  hidden:
    image: a
    deploy:
      labels:
        traefik.http.services.hidden.loadbalancer.server.port: '9001'
        traefik.http.routers.hidden.rule: Host(`d`)
  off:
    image: a
    deploy:
      replicas: 0
      labels:
        traefik.enable: 'true'
        traefik.http.services.off.loadbalancer.server.port: '9002'
        traefik.http.routers.off.rule: Host(`e`)
");
    let routed = project.routed().into_iter();
    let routed: Vec<_> = routed.map(|web| (web.service, web.port)).collect();
    let expected = [("app", 80), ("app", 81), ("admin", 9000)];
    assert_eq!(routed, expected.map(|(name, port)| (name.to_owned(), port)));
}

#[test]
fn labels_on_another_service_are_found_and_named() {
    let project = one("
services:
  worker: {image: a}
  web:
    image: b
    deploy:
      labels:
        coop-cloud.note-012345_ci_localhost.version: ${COOP_CLOUD_VERSION:-latest}
        traefik.http.services.notes.loadbalancer.server.port: 8080
");
    let label = project.version_label(STACK).unwrap();
    assert_eq!((label.service, label.value), ("web", "latest"));
    assert_eq!(
        project.web(),
        Some(query::Web {
            service: "web".into(),
            port: 8080,
            tls: false,
        })
    );
    assert_eq!(project.main_service().unwrap().name, "worker");
    assert_eq!(project.versions, [("compose.yml".to_owned(), None)]);
}

#[test]
fn a_variable_in_a_key_is_warned_about() {
    let project = one(
        "services:\n  app:\n    image: a\n    deploy:\n      labels:\n        coop-cloud.${STACK_NAME}.version: 1.0.0+1\n",
    );
    assert_eq!(project.version_label(STACK), None);
    let warnings: Vec<String> = project.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("compose.yml:6:43: services.app.deploy.labels."),
        "{warnings:?}"
    );
}

#[test]
fn ports_have_two_syntaxes() {
    let project = one(r#"
services:
  app:
    image: a
    ports:
      - "127.0.0.1:5000:5001"
      - "53:53/udp"
      - 9090
      - "3000-3001:4000-4001"
      - {target: 80, published: "${PORT:-8080}", mode: host}
"#);
    let ports: Vec<_> = project.services[0]
        .ports
        .iter()
        .map(|port| {
            (
                port.published,
                port.target,
                port.protocol.as_str(),
                port.mode,
            )
        })
        .collect();
    assert_eq!(
        ports,
        [
            (Some(5000), 5001, "tcp", PortMode::Ingress),
            (Some(53), 53, "udp", PortMode::Ingress),
            (None, 9090, "tcp", PortMode::Ingress),
            (Some(3000), 4000, "tcp", PortMode::Ingress),
            (Some(3001), 4001, "tcp", PortMode::Ingress),
            (Some(8080), 80, "tcp", PortMode::Host),
        ]
    );
}

#[test]
fn twelve_services_share_an_anchor() {
    use std::fmt::Write;
    let mut text = "x-app: &app\n  image: a\n  environment: {A: 1}\nservices:\n".to_owned();
    for index in 0..12 {
        writeln!(text, "  s{index}:\n    <<: *app\n    command: run {index}").unwrap();
    }
    let project = one(&text);
    assert_eq!(project.services.len(), 12);
    assert!(
        project
            .services
            .iter()
            .all(|s| s.environment["A"].as_deref() == Some("1"))
    );
    assert_eq!(project.images(), ["a"]);
}

#[test]
fn files_outside_and_files_missing_are_refused() {
    let dir = recipe(&[
        ("recipe/compose.yml", "services: {}"),
        ("escape.yml", "services: {}"),
    ]);
    let root = dir.path().join("recipe");
    std::os::unix::fs::symlink("/etc/hostname", root.join("link.yml")).unwrap();
    let message = |root: &Path, file: &str| {
        Project::load(root, &[file.to_owned()], &BTreeMap::new())
            .unwrap_err()
            .to_string()
    };
    for outside in ["../escape.yml", "/etc/hostname", "sub/../../x.yml"] {
        assert_eq!(
            message(&root, outside),
            format!("compose file `{outside}` is outside the recipe")
        );
    }
    assert_eq!(
        message(&root, "link.yml"),
        "compose file `link.yml` leads out of the repository: a link in it goes to a place outside"
    );
    assert_eq!(
        message(&root, "compose.x.yml"),
        "compose file `compose.x.yml` does not exist"
    );
    let empty = recipe(&[("README.md", "")]);
    assert!(message(empty.path(), "compose.yml").starts_with("the recipe has no compose file"));
}

#[test]
fn compose_file_is_split() {
    let list = |text: &str| compose_files(&[("COMPOSE_FILE".to_owned(), text.to_owned())].into());
    assert_eq!(compose_files(&BTreeMap::new()), ["compose.yml"]);
    assert_eq!(list(""), ["compose.yml"]);
    assert_eq!(
        list("compose.yml:postgres/compose.tune.yml"),
        ["compose.yml", "postgres/compose.tune.yml"]
    );
    assert_eq!(list(":compose.x.yml"), ["compose.x.yml"]);
}

#[test]
fn interpolation_errors_have_place_and_path() {
    assert_eq!(
        refusal("services:\n  app:\n    image: a:${TAG:?set the tag}\n"),
        "compose.yml:3:12: services.app.image: required variable `TAG` is missing a value: set the tag"
    );
    let message = refusal("services:\n  app:\n    labels:\n      - a=${TAG:+x}\n");
    assert!(
        message.starts_with("compose.yml:4:9: services.app.labels[0]: invalid interpolation"),
        "{message}"
    );
}

#[test]
fn wrong_forms_have_place_and_path() {
    for (text, expected) in [
        ("- a\n", "compose.yml:1:1: file: the file is not a mapping"),
        (
            "services:\n  app:\n",
            "compose.yml:2:6: services.app: it is not a mapping",
        ),
        (
            "services:\n  app:\n    deploy:\n      replicas: many\n",
            "compose.yml:4:17: services.app.deploy.replicas: it is not a whole number from 0",
        ),
        (
            "services:\n  app:\n    volumes: [\"data:\"]\n",
            "compose.yml:3:15: services.app.volumes[0]: `data:` has an empty part",
        ),
        (
            "services:\n  app:\n    ports: [\"x:80\"]\n",
            "compose.yml:3:13: services.app.ports[0]: `x` is not a port",
        ),
        (
            "services:\n  app: {}\n  app: {}\n",
            "compose.yml:3:3: the key `app` occurs twice in the same mapping",
        ),
    ] {
        assert_eq!(refusal(text), expected);
    }
}

#[test]
fn extends_is_refused_and_a_circle_is_named() {
    assert_eq!(
        refusal("services:\n  app:\n    extends: {service: base}\n  base: {image: a}\n"),
        "compose.yml:3:14: service `app` uses `extends`, which `docker stack deploy` does not support"
    );
    assert!(
        refusal("services:\n  app:\n    extends: app\n")
            .contains("compose.yml:app → compose.yml:app")
    );
    let dir = recipe(&[
        (
            "compose.yml",
            "services:\n  app:\n    extends: {file: sub/b.yml, service: b}\n",
        ),
        (
            "sub/b.yml",
            "services:\n  b:\n    extends: {file: ../compose.yml, service: app}\n",
        ),
    ]);
    let error =
        Project::load(dir.path(), &["compose.yml".to_owned()], &BTreeMap::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "compose.yml:3:14: `extends` goes in a circle: compose.yml:app → sub/b.yml:b → compose.yml:app"
    );
}

#[test]
fn long_names_are_found() {
    let long = "a".repeat(45);
    let project = one(&format!(
        "services:\n  {long}: {{image: a}}\n  b: {{image: a}}\nconfigs:\n  c: {{file: x, name: \"{long}{long}\"}}\nsecrets:\n  s: {{file: x}}\n"
    ));
    let problems: Vec<String> = project
        .object_name_problems(STACK)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].ends_with("has 70 bytes; docker allows 63"),
        "{problems:?}"
    );
    assert!(
        problems[1].ends_with("has 90 bytes; docker allows 64"),
        "{problems:?}"
    );
}

#[test]
fn files_that_grow_without_end_are_refused_with_their_place() {
    let vars = [("V".to_owned(), "x".repeat(64 << 10))].into();
    let value = "${V}".repeat(200);
    let text = format!("services:\n  app:\n    image: a\n    labels:\n      x: '{value}'\n");
    let one = recipe(&[("compose.yml", &text)]);
    let load =
        |root: &Path, files: &[String]| Project::load(root, files, &vars).unwrap_err().to_string();
    let message = load(one.path(), &["compose.yml".to_owned()]);
    assert!(
        message.starts_with("compose.yml:5:10: services.app.labels.x: the compose files come to"),
        "{message}"
    );
    // Half a budget twice is all of it.
    let half = text.replacen(&value, &"${V}".repeat(100), 1);
    let two = recipe(&[("compose.yml", &half), ("compose.b.yml", &half)]);
    let files = ["compose.yml", "compose.b.yml"].map(str::to_owned);
    assert!(load(two.path(), &files).starts_with("compose.b.yml:5:10: "));
    let often = vec!["compose.yml".to_owned(); 51];
    assert!(load(one.path(), &often).contains("more than 50 compose files"));
    let some: String = (0..500).map(|n| format!("  v{n}: {{name: n}}\n")).collect();
    let values = recipe(&[("compose.yml", &format!("services: {{}}\nvolumes:\n{some}"))]);
    let message = load(values.path(), &often[..50]);
    assert!(message.contains("12000 values in all files"), "{message}");
}

#[test]
fn a_long_way_of_extends_ends() {
    let mut text = "services:\n".to_owned();
    for n in 0..2400 {
        text += &format!("  s{n}: {{extends: s{}}}\n", n + 1);
    }
    let dir = recipe(&[("compose.yml", &text)]);
    let error = Project::load(dir.path(), &["compose.yml".to_owned()], &BTreeMap::new());
    assert!(matches!(error, Err(ComposeError::Extends { .. })));
}
