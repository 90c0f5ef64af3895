use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::compose::Project;
use crate::compose::resolve::Deployment;
use crate::compose::shared::SharedNetwork;

mod amounts;
mod gateway;
mod hostile;
mod rows;

const STACK: &str = "evil-00aa11_ci_localhost";
const DOMAIN: &str = "evil-00aa11.ci.localhost";

/// Returns the project of a recipe's files, resolved as a host with a gateway does.
fn resolved(dir: &Path, files: &[(&str, &str)]) -> Resolved {
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let vars = BTreeMap::from([
        ("STACK_NAME".to_owned(), STACK.to_owned()),
        ("DOMAIN".to_owned(), DOMAIN.to_owned()),
    ]);
    let names: Vec<String> = files
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .filter(|name| name.ends_with(".yml"))
        .collect();
    let mut project =
        Project::load(dir, &names, &vars).unwrap_or_else(|error| panic!("{error}: {files:?}"));
    project.read_contents(dir).unwrap();
    let deployment = Deployment {
        stack: STACK.to_owned(),
        shared: SharedNetwork::AsShipped,
        schema: "3.13".to_owned(),
        ..Deployment::default()
    };
    project.resolve(dir, &deployment).unwrap()
}

fn terms(level: Level) -> Terms {
    Terms {
        level,
        domain: DOMAIN.to_owned(),
        images: Vec::new(),
        schema: "3.13".to_owned(),
        pins: ground::pins::Pins::default(),
    }
}

fn granted(line: &str) -> Level {
    let text = format!("sources:\n  git.example.org/a/b: {{branches: [main], {line}}}\n");
    let grants = crate::trust::read::parse(&text, "grants.yml").expect(line);
    let grant = grants.sources.into_values().next().unwrap();
    Level::Granted(Box::new(grant))
}

fn judged(level: Level, files: &[(&str, &str)]) -> Result<Judged, Refused> {
    let dir = tempfile::tempdir().unwrap();
    judge(resolved(dir.path(), files), STACK, &terms(level))
}

fn ids(found: &[Violation]) -> Vec<&str> {
    let refused = found.iter().filter(|found| found.refused);
    let mut ids: Vec<&str> = refused.map(|found| found.rule.as_str()).collect();
    ids.dedup();
    ids
}

/// A recipe may not name an image of this host by its id; what was judged by its name is deployed so.
#[test]
fn what_an_image_is_deployed_as_is_filled_in_after_the_judgement() {
    let dir = tempfile::tempdir().unwrap();
    let id = format!("sha256:{}", "ab".repeat(32));
    let mut terms = terms(Level::Stranger);
    let pinned = ground::pins::Pinned {
        reference: id.clone(),
        check: None,
    };
    terms.pins.insert("nginx:1.27".to_owned(), pinned);
    let files = [("compose.yml", app(""))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let judged = judge(resolved(dir.path(), &files), STACK, &terms).unwrap();
    let deployed = judged.resolved();
    assert_eq!(deployed.document()["services"]["app"]["image"], id.as_str());
    assert_eq!(deployed.project.images(), [id.as_str()]);
    let text = app("").replace("nginx:1.27", &id);
    let refused = judge(
        resolved(dir.path(), &[("compose.yml", &text)]),
        STACK,
        &terms,
    );
    assert!(refused.is_err());
}

/// A compose file with one service `app` that has these lines besides its image.
fn app(lines: &str) -> String {
    format!("version: '3.8'\nservices:\n  app:\n    image: nginx:1.27\n{lines}\n")
}

#[test]
fn the_ids_are_in_order_and_each_is_there_once() {
    for (index, rule) in rules::RULES.iter().enumerate() {
        assert_eq!(rule.id, format!("P{:03}", index + 1));
    }
}

#[test]
fn the_table_in_the_docs_is_that_of_the_rules() {
    let page = include_str!("../../../../docs/policy.md");
    let begin = page.find("| rule |").expect("docs/policy.md has the table");
    let table: String = page[begin..]
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| format!("{line}\n"))
        .collect();
    let wanted = rules::table();
    assert!(
        table == wanted,
        "put this table into docs/policy.md:\n{wanted}"
    );
}

#[test]
fn what_the_operators_overlay_sets_is_not_judged_as_the_strangers() {
    let base = app("");
    let overlay = "version: '3.8'\nservices:\n  app:\n    extra_hosts: ['mail:10.0.0.1']\n    ulimits: {nofile: 9}\n    deploy: {resources: {limits: {memory: 4g}}}\n";
    let files = [
        ("compose.yml", base.as_str()),
        ("ccci.compose-operator.yml", overlay),
    ];
    let ok = judged(Level::Stranger, &files).unwrap();
    let memory = ok
        .resolved()
        .document()
        .pointer("/services/app/deploy/resources/limits/memory");
    assert_eq!(memory, Some(&Value::from("4g")));
    // Beside a stranger's list nobody can tell whose an item is.
    let base = app("    extra_hosts: ['victim:10.0.0.9']");
    let files = [
        ("compose.yml", base.as_str()),
        ("ccci.compose-operator.yml", overlay),
    ];
    let refused = judged(Level::Stranger, &files).unwrap_err();
    assert_eq!(ids(&refused.violations), ["P020"]);
}

#[test]
fn a_violation_says_file_line_key_and_a_short_value_without_control_characters() {
    let text = app("    cap_add: [NET_BIND_SERVICE, \"SYS\\u001b[31m_ADMIN\"]");
    let refused = judged(Level::Stranger, &[("compose.yml", &text)]).unwrap_err();
    let found = &refused.violations[0];
    assert_eq!(
        (found.place().as_str(), found.key.as_str()),
        ("compose.yml:5:33", "services.app.cap_add[1]")
    );
    assert_eq!(found.value, "SYS\\u{1b}[31m_ADMIN");
    let text = app(&format!("    hostname: '{{{{ {} }}}}'", "x".repeat(200)));
    let refused = judged(Level::Stranger, &[("compose.yml", &text)]).unwrap_err();
    assert_eq!(refused.violations[0].value.chars().count(), SHOWN + 1);
    // A label in a list stands where its line is.
    let text = app("    deploy:\n      labels:\n        - a=b\n        - com.docker.x=y");
    let refused = judged(Level::Stranger, &[("compose.yml", &text)]).unwrap_err();
    assert_eq!(refused.violations[0].line, Some(8));
}

#[test]
fn a_strangers_ports_are_not_published_and_a_granted_ones_are() {
    let text = app("    ports: ['53:53', '53:53/udp', '80']");
    let ports = |level: Level| {
        let by_hand = level == Level::ByHand;
        let judged = judged(level, &[("compose.yml", &text)]).unwrap();
        let said = judged.warnings().iter().map(|found| found.rule.as_str());
        assert!(said.eq(std::iter::repeat_n("P013", 2 * usize::from(by_hand))));
        let resolved = judged.resolved();
        let ports = resolved.document().pointer("/services/app/ports").cloned();
        let ports = ports.unwrap_or_default();
        let published = ports.as_array().into_iter().flatten();
        let published: Vec<String> = published
            .map(|port| {
                format!(
                    "{}/{}",
                    port["published"],
                    port["protocol"].as_str().unwrap()
                )
            })
            .collect();
        (published, resolved.deviations.join("; "))
    };
    let (none, said) = ports(Level::Stranger);
    assert!(
        none.is_empty() && said.contains("ports are not published"),
        "{none:?} {said}"
    );
    let (one, said) = ports(granted("ports: [53/udp]"));
    assert_eq!(one, ["53/udp"]);
    assert!(said.contains("ports are not published"), "{said}");
    let (all, said) = ports(Level::ByHand);
    assert_eq!((all.len(), said.as_str()), (3, ""));
}

#[test]
fn ceilings_are_filled_in_and_what_is_lower_stays() {
    let text = "services:\n  app:\n    image: nginx\n    stop_grace_period: 10h\n    healthcheck: {interval: 1ms, test: [CMD, 'true']}\n    volumes: [{type: tmpfs, target: /t, tmpfs: {size: 99999999999}}, {type: tmpfs, target: /u}]\n    deploy: {restart_policy: {delay: 0s}, resources: {limits: {memory: 64m, cpus: '9', pids: 0}, reservations: {cpus: '2'}}}\n  db:\n    image: postgres\n    logging: {driver: json-file, options: {max-size: 1g}}\n";
    let limits = |level| {
        let judged = judged(level, &[("compose.yml", text)]).unwrap();
        (
            judged.resolved().document().clone(),
            judged.resolved().deviations.clone(),
        )
    };
    let (document, deviations) = limits(Level::Stranger);
    let at = |path: &str| {
        document
            .pointer(&format!("/services/{path}"))
            .cloned()
            .unwrap_or_default()
    };
    for (path, value) in [
        ("app/deploy/resources/limits/memory", Value::from("64m")),
        ("app/deploy/resources/limits/cpus", "1".into()),
        ("app/deploy/resources/limits/pids", 512.into()),
        ("app/deploy/resources/reservations", Value::Null),
        ("app/stop_grace_period", "120s".into()),
        ("app/healthcheck/interval", "1s".into()),
        ("app/deploy/restart_policy/delay", "5s".into()),
        ("db/deploy/restart_policy", Value::Null),
        ("app/volumes/0/tmpfs/size", (1_u64 << 30).into()),
        ("app/volumes/1/tmpfs/size", (1_u64 << 30).into()),
        ("app/logging/options/max-size", "5m".into()),
        ("db/deploy/resources/limits/memory", "1g".into()),
        ("db/logging/options/max-size", "5m".into()),
        ("db/logging/options/max-file", "2".into()),
    ] {
        assert_eq!(at(path), value, "{path}");
    }
    assert_eq!(document["version"], "3.13");
    let said = |what: &str| deviations.iter().any(|line| line == what);
    assert!(said("limited to memory 1g a task: `db`"), "{deviations:?}");
    assert!(
        said("started again after 5 s at the soonest: `app`"),
        "{deviations:?}"
    );
    assert!(
        said("limited to cpus 1 a task: `app`, `db`"),
        "{deviations:?}"
    );
    let (document, _) = limits(granted(
        "ceilings: {memory: 2g, cpus: 3, pids: 9, log_size: 2g}",
    ));
    let at = |path: &str| {
        document
            .pointer(&format!("/services/{path}"))
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(at("db/deploy/resources/limits/memory"), "2g");
    assert_eq!(at("app/deploy/resources/limits/cpus"), "3");
    assert_eq!(at("app/deploy/resources/limits/pids"), 9);
    assert_eq!(at("db/logging/options/max-size"), "1g");
    let (document, deviations) = limits(Level::ByHand);
    assert!(
        document.pointer("/services/db/deploy").is_none() && deviations.len() == 1,
        "{deviations:?}"
    );
}

/// With raw sockets a container took its neighbours' addresses on `docker_gwbridge`.
#[test]
fn no_service_has_raw_sockets_unless_the_operator_gives_them() {
    let text = "services:\n  app: {image: a}\n  bare: {image: a, cap_drop: [all], cap_add: [CHOWN]}\n  \
                named: {image: a, cap_drop: [cap_net_raw, KILL]}\n  other: {image: a, cap_drop: [KILL]}\n  \
                empty: {image: a, cap_drop: []}\n";
    let deployed = |level, files: &[(&str, &str)]| {
        let judged = judged(level, files).unwrap();
        let services = judged.resolved().document()["services"].clone();
        let drops = |name: &str| services[name]["cap_drop"].to_string();
        let drops = ["app", "bare", "named", "other", "empty"].map(drops);
        let deviations = judged.resolved().deviations.clone();
        let said = deviations.into_iter().find(|line| line.contains("NET_RAW"));
        (drops.join(" "), said.unwrap_or_default())
    };
    let without = (
        r#"["NET_RAW"] ["all"] ["cap_net_raw","KILL"] ["KILL","NET_RAW"] ["NET_RAW"]"#.to_owned(),
        "has no raw sockets (NET_RAW): `app`, `other`, `empty`".to_owned(),
    );
    let recipes = [("compose.yml", text)];
    assert_eq!(deployed(Level::Stranger, &recipes), without);
    let other = granted("capabilities: [NET_ADMIN]");
    assert_eq!(deployed(other, &recipes), without);
    let as_it_is = r#"null ["all"] ["cap_net_raw","KILL"] ["KILL"] []"#;
    for level in [
        granted("capabilities: [NET_RAW]"),
        granted("capabilities: [ALL]"),
        Level::ByHand,
    ] {
        let (drops, said) = deployed(level, &recipes);
        assert_eq!((&*drops, &*said), (as_it_is, ""));
    }
    let overlay = "services:\n  app: {cap_add: [NET_RAW]}\n";
    let overlaid = [("compose.yml", text), ("ccci.compose-host.yml", overlay)];
    let (drops, said) = deployed(Level::Stranger, &overlaid);
    assert!(drops.starts_with("null "), "{drops}");
    assert_eq!(said, "has no raw sockets (NET_RAW): `other`, `empty`");
}

#[test]
fn labels_of_other_programs_are_not_deployed_unless_a_grant_lists_them() {
    let text = "services:\n  app:\n    image: a\n    labels: {caddy: cloud.example.org, swag: enable, org.opencontainers.image.title: x}\n    deploy:\n      labels:\n        - homepage.href=http://x\n        - backupbot.backup=true\n        - traefik.enable=true\n        - Caddy_1.reverse_proxy=x\n        - coop-cloud.${STACK_NAME}.version=1.0.0+1\n        - coop-cloud.${STACK_NAME}.autoupdate=true\nvolumes: {v: {labels: [ofelia.enabled=true, org.label-schema.name=v]}}\n";
    let deployed = |level: Level| {
        let judged = judged(level, &[("compose.yml", text)]).unwrap();
        let document = judged.resolved().document();
        let keys = |at: &str| {
            let labels = document.pointer(at).cloned().unwrap_or_default();
            let mut keys: Vec<String> = match labels {
                Value::Object(map) => map.into_iter().map(|(key, _)| key).collect(),
                Value::Array(items) => items
                    .iter()
                    .map(|item| item.as_str().unwrap().to_owned())
                    .collect(),
                _ => Vec::new(),
            };
            keys.sort();
            keys.join(" ")
        };
        let all = [
            "/services/app/labels",
            "/services/app/deploy/labels",
            "/volumes/v/labels",
        ]
        .map(keys);
        let said = judged
            .resolved()
            .deviations
            .iter()
            .find(|line| line.contains("labels"));
        (all.join(" | "), said.cloned().unwrap_or_default())
    };
    let (labels, said) = deployed(Level::Stranger);
    assert_eq!(
        labels,
        "org.opencontainers.image.title | backupbot.backup coop-cloud.evil-00aa11_ci_localhost.version traefik.enable | org.label-schema.name=v"
    );
    for word in [
        "no grant lists",
        "`caddy`",
        "`swag` of `app`",
        "`homepage.href`",
        "`coop-cloud.evil-00aa11_ci_localhost.autoupdate` of `app`",
        "`ofelia.enabled` of `volumes.v`",
    ] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    let (labels, _) = deployed(granted("labels: [caddy, homepage]"));
    assert_eq!(
        labels,
        "caddy org.opencontainers.image.title | Caddy_1.reverse_proxy backupbot.backup coop-cloud.evil-00aa11_ci_localhost.version homepage.href traefik.enable | org.label-schema.name=v"
    );
    let by_hand = judged(Level::ByHand, &[("compose.yml", text)]).unwrap();
    let warned = by_hand
        .warnings()
        .iter()
        .filter(|found| found.rule == "P033");
    assert_eq!(warned.count(), 6);
    let (labels, said) = deployed(Level::ByHand);
    assert!(
        labels.contains("swag") && said.is_empty(),
        "{labels} {said}"
    );
    // Of endless labels the first are named.
    let many: Vec<String> = (0..4000).map(|at| format!("x{at}: y")).collect();
    let many = app(&format!("    labels: {{{}}}", many.join(", ")));
    let judged = judged(Level::Stranger, &[("compose.yml", &many)]).unwrap();
    let said = judged.resolved().deviations.join("; ");
    assert!(
        said.contains("and 3995 more of `app`") && said.len() < 1000,
        "{said}"
    );
}

#[test]
fn what_is_granted_by_its_name_is_taken_as_it_is() {
    let text = "services: {app: {image: a, volumes: ['v:/v'], networks: [n], secrets: [s], configs: [c]}}\nvolumes: {v: {name: shared_data, labels: {traefik.enable: 'false'}}}\nnetworks: {n: {name: shared_net, internal: true}}\nsecrets: {s: {file: ./compose.yml, name: shared_s}}\nconfigs: {c: {file: ./compose.yml, name: shared_c, template_driver: golang}}\n";
    let files = [("compose.yml", text)];
    assert!(judged(Level::Stranger, &files).is_err());
    let grant = "foreign: {volumes: [shared_data], networks: [shared_net], secrets: [shared_s], configs: [shared_c]}";
    let judged = judged(granted(grant), &files).unwrap_or_else(|refused| panic!("{refused}"));
    let (document, contents) = judged.resolved().render(Path::new("/d"), "t");
    for (at, name) in [
        ("/volumes/v", "shared_data"),
        ("/networks/n", "shared_net"),
        ("/secrets/s", "shared_s"),
        ("/configs/c", "shared_c"),
    ] {
        let whole = serde_json::json!({"external": true, "name": name});
        assert_eq!(document.pointer(at), Some(&whole), "{at}");
    }
    assert!(contents.is_empty());
    let said = judged.resolved().deviations.join("; ");
    assert!(
        said.contains("`shared_data`") && said.contains("taken as it is"),
        "{said}"
    );
}

#[test]
fn what_a_catalogue_recipe_carries_passes_as_a_strangers() {
    let text = r#"
version: "3.8"
services:
  app:
    image: ghcr.io/example/app:1.2.3@sha256:0000000000000000000000000000000000000000000000000000000000000000
    restart: always
    container_name: app
    depends_on: [db]
    init: true
    hostname: ${DOMAIN}
    user: "1000"
    cap_drop: [ALL]
    cap_add: [CHOWN, CAP_SETUID, net_bind_service]
    security_opt: ["no-new-privileges:true"]
    networks: [proxy, internal]
    environment:
      - DB_PASSWORD_FILE=/run/secrets/db_password
    secrets: [db_password, {source: db_password, target: /etc/other, mode: 0400}]
    configs: [{source: conf, target: /etc/app.conf}]
    volumes: [data:/data, /anonymous, {type: tmpfs, target: /tmp}]
    healthcheck: {test: curl -f localhost, interval: 30s, start_period: 1m}
    logging: {driver: json-file, options: {max-size: 1m, max-file: "3"}}
    tmpfs: /run
    deploy:
      replicas: 2
      update_config: {failure_action: rollback, order: start-first}
      restart_policy: {condition: on-failure, max_attempts: 3}
      placement: {constraints: [node.role == manager]}
      labels:
        - "traefik.enable=true"
        - "traefik.docker.network=proxy"
        - "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80"
        - "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`) && PathPrefix(`/a`)"
        - "traefik.http.routers.${STACK_NAME}-www.rule=Host(`www.${DOMAIN}`, `${DOMAIN}`)"
        - "traefik.http.routers.${STACK_NAME}.entrypoints=web-secure"
        - "traefik.http.routers.${STACK_NAME}.tls.certresolver=${LETS_ENCRYPT_ENV}"
        - "traefik.http.routers.${STACK_NAME}.middlewares=${STACK_NAME}-redirect,security@file"
        - "traefik.http.middlewares.${STACK_NAME}-redirect.headers.SSLForceHost=true"
        - "coop-cloud.${STACK_NAME}.version=1.0.0+1.2.3"
        - "backupbot.backup=true"
  db:
    image: postgres:16
    hostname: "{{.Node.Hostname}}-{{.Task.Slot}}"
    networks: {internal: {aliases: [database]}}
    volumes: [db:/var/lib/postgresql/data]
volumes: {data: {}, db: {name: "${STACK_NAME}_database"}}
networks: {proxy: {external: true}, internal: {internal: true, driver: overlay}}
secrets: {db_password: {external: true, name: "${STACK_NAME}_db_password_v1"}}
configs:
  conf: {file: conf.tmpl, name: "${STACK_NAME}_conf_v1", template_driver: golang}
"#;
    let template = r#"{{- /* a word */ -}}
{{ if eq (env "MODE") "`x`" }}{{ secret "db_password" }}{{ else if not (env "X") }}a{{ else }}b{{ end -}}
"#;
    let files = [("compose.yml", text), ("conf.tmpl", template)];
    let ok = judged(Level::Stranger, &files).unwrap_or_else(|refused| panic!("{refused}"));
    let harmless = ok.warnings().iter().map(|found| found.rule.as_str());
    assert!(harmless.eq(["P035"; 3]), "{:?}", ok.warnings());
}

#[test]
fn what_is_evaluated_as_a_template_stays_in_the_bounded_part() {
    let count = |text: &str| {
        let long =
            "configs: {c: {file: t, template_driver: golang}}\nservices: {app: {image: a}}\n";
        let refused = judged(Level::Stranger, &[("compose.yml", long), ("t", text)]).err();
        refused.map(|refused| refused.violations[0].message.clone())
    };
    for fine in [
        "no action } at all {",
        "{{ secret `a` }}{{ config \"b\" }}{{env \"C\"}}",
        "{{ if and (eq 1 1) (ne .Task.Slot 2) }}x{{end}}",
        "{{/* }} */}}",
    ] {
        assert_eq!(count(fine), None, "{fine}");
    }
    for wrong in [
        "{{printf \"%1000000d\" 1}}",
        "{{define \"a\"}}{{template \"a\"}}{{end}}",
        "{{block \"a\" .}}{{end}}",
        "{{range .Service.Labels}}{{end}}",
        "{{with env \"a\"}}{{.}}{{end}}",
        "{{$x := env \"a\"}}",
        "{{env \"a\" | printf}}",
        "{{index .Service.Labels \"a\"}}",
        "{{.}}",
        "{{call .}}",
        "{{ env \"a\\\"\" printf }}",
        "{{ \"}}\" }}{{ print }}",
        "{{",
        "{{ `a }}",
        "{{if len .Service.Labels}}{{end}}",
    ] {
        assert!(count(wrong).is_some(), "{wrong}");
    }
    let many = "{{env \"A\"}}".repeat(900);
    assert!(count(&many).unwrap().contains("of at most"), "{many}");
    // Go 1.19 recurses into each, and ends the engine when its stack is full.
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(200_000), ")".repeat(200_000));
    assert!(count(&deep).unwrap().contains("100 words"));
    let nested = "{{if true}}".repeat(1001) + &"{{end}}".repeat(1001);
    assert!(count(&nested).unwrap().contains("1000 actions"));
}

#[test]
fn an_image_that_no_engine_takes_is_refused_for_everybody() {
    for image in ["--help", "Nginx:1", "a b"] {
        let text = app("").replace("nginx:1.27", image);
        let overlay = text.replace("nginx:1.27", image);
        for level in [
            Level::Stranger,
            granted("images: [docker.io]"),
            Level::ByHand,
        ] {
            for files in [
                vec![("compose.yml", text.as_str())],
                // The operator's own is no better.
                vec![
                    ("compose.yml", "version: '3.8'\nservices: {app: {image: a}}"),
                    ("ccci.compose-operator.yml", overlay.as_str()),
                ],
            ] {
                let refused = judged(level.clone(), &files).unwrap_err();
                assert_eq!(ids(&refused.violations), ["P002"], "{image}");
            }
        }
    }
    // What only this engine knows by its id is for who works by hand.
    let text = app("").replace("nginx:1.27", "sha256:beef");
    assert!(judged(Level::Stranger, &[("compose.yml", &text)]).is_err());
    assert!(judged(Level::ByHand, &[("compose.yml", &text)]).is_ok());
}

#[test]
fn a_healthcheck_at_which_the_engine_crashes_is_refused_for_everybody() {
    for level in [Level::Stranger, granted("run_code: true"), Level::ByHand] {
        let with = |test: &str| {
            let text = app(&format!("    healthcheck: {{test: {test}}}"));
            judged(level.clone(), &[("compose.yml", &text)])
        };
        let refused = with("[CMD]").unwrap_err();
        assert_eq!(ids(&refused.violations), ["P040"]);
        for taken in [
            "[CMD, 'true']",
            "CMD",
            "[CMD-SHELL, 'true']",
            "[NONE]",
            "[]",
        ] {
            assert!(with(taken).is_ok(), "{taken}");
        }
    }
}

/// Lists of several files are one list: what stands in the place of the operator's word may be the recipe's.
#[test]
fn a_capability_of_the_recipe_is_not_the_operators_because_the_overlay_adds_another() {
    let overlay = "services:\n  app: {cap_add: [CHOWN]}\n";
    for capability in ["SYS_ADMIN", "NET_RAW", "ALL", "AAA", "ZZZ"] {
        let text = format!("services:\n  app: {{image: a, cap_add: [{capability}]}}\n");
        let files = [("compose.yml", &*text), ("ccci.compose-host.yml", overlay)];
        assert!(judged(Level::Stranger, &files).is_err(), "{capability}");
    }
}

#[test]
fn a_granted_image_of_dockers_own_is_no_namespace() {
    for (prefix, repository, covered) in [
        ("docker.io/library/nginx", "docker.io/library/nginx", true),
        ("docker.io/library/nginx", "docker.io/nginx/unit", false),
        ("library/nginx", "docker.io/nginx/unit", false),
        ("recipe-ci", "docker.io/recipe-ci/notes", true),
        ("recipe-ci", "docker.io/recipe-cix/notes", false),
    ] {
        assert_eq!(
            image::covers(prefix, repository),
            covered,
            "{prefix} {repository}"
        );
    }
}
