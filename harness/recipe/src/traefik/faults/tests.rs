//! A recipe as the catalogue has it, what breaks it for every operator, and what does not.

use std::collections::BTreeMap;

use super::*;

const STACK: &str = "blog-0a1b2c_ci_localhost";
const DOMAIN: &str = "blog-0a1b2c.ci.localhost";

const RECIPE: &str = r#"version: "3.8"
services:
  app:
    image: a
    networks:
      - proxy
      - internal
    deploy:
      labels:
        - "traefik.enable=true"
        - "traefik.docker.network=proxy"
        - "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80"
        - "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`${EXTRA_DOMAINS})"
        - "traefik.http.routers.${STACK_NAME}.entrypoints=web-secure"
        - "traefik.http.routers.${STACK_NAME}.tls.certresolver=${LETS_ENCRYPT_ENV}"
        - "traefik.http.routers.${STACK_NAME}.middlewares=${STACK_NAME}-redirect,auth@file"
        - "traefik.http.middlewares.${STACK_NAME}-redirect.headers.SSLForceHost=true"
        - "traefik.http.middlewares.${STACK_NAME}-redirect.headers.SSLHost=${DOMAIN}"
  db:
    image: b
    networks:
      - internal
networks:
  proxy:
    external: true
  internal:
"#;

/// Returns what is wrong with the recipe, each as `rule line: message`.
fn found(text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yml"), text).unwrap();
    let vars = [("STACK_NAME", STACK), ("DOMAIN", DOMAIN)];
    let vars: BTreeMap<String, String> = vars
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let project = Project::load(dir.path(), &["compose.yml".to_owned()], &vars).unwrap();
    faults(&project, STACK, Some(DOMAIN))
        .into_iter()
        .map(|fault| {
            let line = project.location(&fault.path).map_or(0, |place| place.line);
            format!("{} {line}: {}", fault.rule, fault.message)
        })
        .collect()
}

fn edited(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(RECIPE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no `{from}`");
        text.replace(from, to)
    })
}

#[test]
fn what_breaks_an_operator_is_found_with_its_rule_and_its_line() {
    const ENABLE: &str = "        - \"traefik.enable=true\"\n";
    const PORT: &str =
        "        - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80\"\n";
    const RULE: &str = "Host(`${DOMAIN}`${EXTRA_DOMAINS})";
    const RULE_LINE: &str =
        "        - \"traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`${EXTRA_DOMAINS})\"\n";
    const SECOND: &str = "        - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80\"\n        - \"traefik.http.services.${STACK_NAME}-admin.loadbalancer.server.port=81\"\n";
    const DB: &str = "    image: b\n    networks:\n      - internal\n";
    let db = |labels: &[&str]| {
        let labels: Vec<String> = labels.iter().map(|one| format!("\"{one}\"")).collect();
        format!(
            "    image: b\n    networks: [proxy]\n    deploy: {{labels: [\"traefik.enable=true\", {}]}}\n",
            labels.join(", ")
        )
    };
    let twice = db(&[
        "traefik.http.routers.${STACK_NAME}.rule=Host(`b.${DOMAIN}`)",
        "traefik.http.services.${STACK_NAME}-b.loadbalancer.server.port=80",
    ]);
    let shared = db(&[
        "traefik.http.routers.${STACK_NAME}-b.rule=Host(`b.${DOMAIN}`)",
        "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=3000",
    ]);
    let other = db(&[
        "traefik.http.routers.${STACK_NAME}-b.rule=Host(`b.${DOMAIN}`)",
        "traefik.http.routers.${STACK_NAME}-b.service=${STACK_NAME}-bb",
        "traefik.http.services.${STACK_NAME}-b.loadbalancer.server.port=3000",
    ]);
    let tcp = db(&["traefik.tcp.routers.${STACK_NAME}-b.rule=HostSNI(`*`)"]);
    let mut missed = Vec::new();
    for (from, to, wanted) in [
        (
            ENABLE,
            "",
            "T002 13: service `app` has a router, and no label `traefik.enable=true`",
        ),
        (
            "traefik.enable=true",
            "traefik.enabled=true",
            "T002 10: service `app` has a router, and no label `traefik.enable=true`; `traefik.enabled`",
        ),
        (
            "enable=true",
            "enable=yes",
            "T001 10: service `app`: `yes` is neither true nor false",
        ),
        (
            "enable=true",
            "enable=false",
            "T006 10: no router takes requests for the app's domain `blog-0a1b2c.ci.localhost`: the router of service `app` is switched off",
        ),
        (
            "      - proxy\n      - internal\n",
            "      - internal\n",
            "T003 6: service `app` has a router, and is not on the gateway's network `proxy`, only on `blog-0a1b2c_ci_localhost_internal`",
        ),
        (
            "    networks:\n      - proxy\n      - internal\n",
            "",
            "T003 4: service `app` has a router, and is not on the gateway's network `proxy`, only on `blog-0a1b2c_ci_localhost_default`",
        ),
        ("  proxy:\n    external: true\n", "  proxy:\n", "T003 6:"),
        (
            "network=proxy",
            "network=web",
            "T004 11: service `app` is not on the network `web`; write `proxy`",
        ),
        (
            "network=proxy",
            "network=internal",
            "T004 11: service `app` is not on the network `internal`, which is called `blog-0a1b2c_ci_localhost_internal`",
        ),
        (
            "network=proxy",
            "network=${STACK_NAME}_internal",
            "T004 11: the gateway is not on the network",
        ),
        ("docker.network=proxy", "swarm.network=", "T004 11:"),
        (
            RULE,
            "",
            "T005 13: the router `blog-0a1b2c_ci_localhost` of service `app` has an empty rule",
        ),
        (
            RULE_LINE,
            "",
            "T005 13: the router `blog-0a1b2c_ci_localhost` of service `app` has no rule",
        ),
        (
            RULE,
            "Host(`${DOMAIN})",
            "T005 13: the router `blog-0a1b2c_ci_localhost` of service `app`: a text of the rule is not closed",
        ),
        (
            RULE,
            "Host(`blog.example.org`)",
            "T006 13: no router takes requests for the app's domain",
        ),
        (
            RULE,
            "Host(`${DOMIAN}`)",
            "T006 13: no router takes requests",
        ),
        (
            "${STACK_NAME}-redirect,auth",
            "${STACK_NAME}-redirct,auth",
            "T007 16: no service of the recipe defines the middleware `blog-0a1b2c_ci_localhost-redirct`; did you mean `blog-0a1b2c_ci_localhost-redirect`?",
        ),
        (
            "middlewares=${STACK_NAME}-redirect,auth@file",
            "middlewares=compress",
            "T007 16: no service of the recipe defines the middleware `compress`; if it is the operator's, say where: `compress@file`",
        ),
        (
            "middlewares=${STACK_NAME}-redirect,auth@file",
            "middlewares=${STACK_NAME}-rdr@docker",
            "T007 16:",
        ),
        (
            ".entrypoints=web-secure",
            ".service=${STACK_NAME}_app",
            "T007 14: no service of the recipe defines the service `blog-0a1b2c_ci_localhost_app`",
        ),
        (
            PORT,
            SECOND,
            "T007 15: the router `blog-0a1b2c_ci_localhost` names no service, and there are several",
        ),
        (
            PORT,
            "",
            "T008 13: service `app` has a Traefik router, and its label `traefik.http.services.blog-0a1b2c_ci_localhost.loadbalancer.server.port` is missing",
        ),
        (
            "port=80",
            "port=web",
            "T008 12: service `app` has a Traefik router, and its label `traefik.http.services.blog-0a1b2c_ci_localhost.loadbalancer.server.port` is `web`, which is no port",
        ),
        ("port=80", "port=${PORT}", "T008 12:"),
        ("port=80", "port=0", "T008 12:"),
        ("port=80", "port=80000", "T008 12:"),
        ("server.port=80", "passhostheader=true", "T008 12:"),
        (
            "server.port=80",
            "server.prot=80",
            "T001 12: `traefik.http.services.blog-0a1b2c_ci_localhost.loadbalancer.server.prot`: services of Traefik have no `prot`; did you mean `port`?",
        ),
        // As in Traefik's files; seen to be passed over by 3.0.4 and 3.7.15.
        (
            "loadbalancer.server.port",
            "loadbalancer.servers[0].port",
            "T001 12: `traefik.http.services.blog-0a1b2c_ci_localhost.loadbalancer.servers[0].port`: services of Traefik have no `servers[0]`; did you mean `server`?",
        ),
        (
            "entrypoints",
            "entrypoint",
            "T001 14: `traefik.http.routers.blog-0a1b2c_ci_localhost.entrypoint`: routers of Traefik have no `entrypoint`; did you mean `entrypoints`?",
        ),
        (".headers.", ".header.", "T001 17:"),
        (
            "routers.${STACK_NAME}.rule",
            "routers.example.org.rule",
            "T001 13: `traefik.http.routers.example.org.rule`: routers of Traefik have no `org`; a name such as `example.org` cannot have dots",
        ),
        (
            DB,
            &twice,
            "T009 22: services `app` and `db` define the router `blog-0a1b2c_ci_localhost` differently: Traefik drops it",
        ),
        (
            DB,
            &shared,
            "T009 22: services `app` and `db` define the service `blog-0a1b2c_ci_localhost` differently: Traefik sends each request to any of them",
        ),
        (
            DB,
            &other,
            "T007 22: no service of the recipe defines the service `blog-0a1b2c_ci_localhost-bb`; did you mean",
        ),
        (
            DB,
            &tcp,
            "T008 22: service `db` has a Traefik router, and its label `traefik.tcp.services.blog-0a1b2c_ci_localhost-b.loadbalancer.server.port` is missing",
        ),
    ] {
        let found = found(&edited(&[(from, to)]));
        if !found.iter().any(|one| one.starts_with(wanted)) {
            missed.push(format!("{from} -> {to}: no `{wanted}` in {found:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_router_beside_deploy_is_the_containers() {
    let found = found(
        &edited(&[("    deploy:\n      labels:\n", "    labels:\n")])
            .replace("        - ", "      - "),
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("C005 ") && found[0].contains("is outside `deploy`"),
        "{found:#?}"
    );
}

#[test]
fn what_works_for_an_operator_is_no_fault() {
    const RULE: &str = "Host(`${DOMAIN}`${EXTRA_DOMAINS})";
    const PORT: &str =
        "        - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80\"\n";
    const DB: &str = "    image: b\n    networks:\n      - internal\n";
    assert_eq!(found(RECIPE), [""; 0]);
    for changes in [
        // Other forms of the same.
        &[("enable=true", "enable=True")][..],
        &[("        - \"traefik.docker.network=proxy\"\n", "")],
        &[("docker.network", "swarm.network")],
        &[("loadbalancer.server.port", "loadBalancer.server.port")],
        &[(
            "port=80",
            "port=80\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.scheme=https\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.serverstransport=insecure@file",
        )],
        &[("server.port=80", "server.url=http://127.0.0.1:80")],
        // Other rules.
        &[(RULE, "Host(`${DOMAIN}`) || Host(`www.example.org`)")],
        &[(RULE, "Host(`${DOMAIN}`, `www.example.org`)")],
        &[(RULE, "Host(`www.${DOMAIN}`)")],
        &[(RULE, "(Host(`${DOMAIN}`) && !PathPrefix(`/admin`))")],
        &[(RULE, "HostRegexp(`{sub:[a-z]+}.${DOMAIN}`)")],
        // What is the operator's.
        &[(
            "${STACK_NAME}-redirect,auth@file",
            "${STACK_NAME}-redirect@swarm,sso@swarm,x@docker",
        )],
        &[("${STACK_NAME}-redirect,auth@file", "error-pages-middleware")],
        // Several services behind one, each router with its own.
        &[
            (
                PORT,
                "        - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80\"\n        - \"traefik.http.services.${STACK_NAME}-admin.loadbalancer.server.port=81\"\n",
            ),
            (
                ".entrypoints=web-secure\"",
                ".service=${STACK_NAME}\"\n        - \"traefik.http.routers.${STACK_NAME}-admin.rule=Host(`admin.example.org`)\"\n        - \"traefik.http.routers.${STACK_NAME}-admin.service=${STACK_NAME}-admin\"",
            ),
        ],
        // Connections and datagrams beside requests.
        &[(
            DB,
            "    image: b\n    networks: [proxy]\n    deploy:\n      labels:\n        - traefik.enable=true\n        - \"traefik.tcp.routers.${STACK_NAME}-ssh.rule=HostSNI(`*`)\"\n        - traefik.tcp.routers.${STACK_NAME}-ssh.entrypoints=gitea-ssh\n        - traefik.tcp.services.${STACK_NAME}-ssh.loadbalancer.server.port=22\n        - traefik.udp.routers.${STACK_NAME}-dns.entrypoints=dns\n        - traefik.udp.routers.${STACK_NAME}-dns.service=${STACK_NAME}-dns\n        - traefik.udp.services.${STACK_NAME}-dns.loadbalancer.server.port=53\n",
        )],
        // A part that is switched off, or does not run.
        &[(
            DB,
            "    image: b\n    deploy: {labels: [\"traefik.enable=false\", \"traefik.http.routers.${STACK_NAME}-b.rule=x\"]}\n",
        )],
        &[(
            DB,
            "    image: b\n    deploy: {replicas: 0, labels: [\"traefik.enable=true\"]}\n",
        )],
        // The same network by another key, and labels that are not a router's.
        &[
            ("      - proxy\n", "      - web\n"),
            (
                "  proxy:\n    external: true\n",
                "  web:\n    external: true\n    name: proxy\n",
            ),
        ],
        &[(
            DB,
            "    image: b\n    deploy: {labels: [\"traefik.http.services.${STACK_NAME}-b.loadbalancer.server.port=8080\"]}\n",
        )],
    ] {
        assert_eq!(found(&edited(changes)), [""; 0], "{changes:?}");
    }
}

#[test]
fn what_works_for_some_operators_is_only_odd() {
    for (from, to, wanted) in [
        (
            "=web-secure",
            "=websecure",
            "T010 14: Co-op Cloud's gateway calls the entry point `websecure` `web-secure`",
        ),
        (
            "${LETS_ENCRYPT_ENV}",
            "letsencrypt",
            "T010 15: Co-op Cloud's gateway has no certificate resolver `letsencrypt`",
        ),
        (
            "        - \"traefik.http.routers.${STACK_NAME}.tls.certresolver=${LETS_ENCRYPT_ENV}\"\n",
            "",
            "T010 14: the router `blog-0a1b2c_ci_localhost` is on `web-secure`",
        ),
        (
            "`)${EXTRA",
            "an empty host",
            "T010 13: the rule of the router",
        ),
        (
            "loadbalancer.server.port=80",
            "loadbalancer.server.port=80\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.brandnew=1",
            "T010 13:",
        ),
        (
            "docker.network=proxy",
            "docker.network=proxy\"\n        - \"traefik.swarm.network=proxy",
            "T010 11:",
        ),
    ] {
        let text = match from {
            "`)${EXTRA" => edited(&[(
                "`${DOMAIN}`${EXTRA_DOMAINS})",
                "`${DOMAIN}`) || Host(`${SIDE_DOMAIN}`)",
            )]),
            _ => edited(&[(from, to)]),
        };
        let found = found(&text);
        assert_eq!(found.len(), 1, "{to}: {found:#?}");
        assert!(found[0].starts_with(wanted), "{to}: {found:#?}");
    }
    let alone = edited(&[
        ("      - proxy\n      - internal\n", "      - proxy\n"),
        ("network=proxy", "network=web"),
    ]);
    assert!(found(&alone)[0].starts_with("T010 10: service `app` is not on the network `web`"));
}

#[test]
fn a_recipe_that_traefik_has_nothing_to_do_with_has_no_fault() {
    assert_eq!(found("services:\n  app:\n    image: a\n"), [""; 0]);
    let bare = found(
        "services:\n  app:\n    image: a\n    networks: [proxy]\n    deploy: {labels: [\"traefik.enable=true\"]}\nnetworks: {proxy: {external: true}}\n",
    );
    let rules: Vec<&str> = bare.iter().map(|one| &one[..4]).collect();
    assert_eq!(rules, ["T008", "T006"], "{bare:#?}");
}
