//! Recipes of real software through a real Traefik, in HTTPS with the certificate of a private authority; and labels
//! that the rules of the lint call broken, which lead nowhere in it, beside others that they let pass.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use harness::recipe::compose::Project;
use harness::recipe::traefik::faults::{Fault, faults};

use crate::engine::{SwarmEnv, docker};
use crate::support::{command, read_results, repository};
use crate::wait::wait_for;

use super::{SET, say};

/// Makes an authority, and of it a certificate for the apps of the zone; prints nothing that a test reads.
const CERTIFICATES: &str = r#"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=authority -keyout ca.key -out ca.pem
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout key.pem -out csr.pem
printf 'subjectAltName=DNS:%s,DNS:*.%s\n' "$1" "$1" >names
openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out cert.pem
"#;

const DYNAMIC: &str = "\
tls:
  stores:
    default:
      defaultCertificate: {certFile: /gateway/cert.pem, keyFile: /gateway/key.pem}
http:
  serversTransports:
    insecure: {insecureSkipVerify: true}
";

#[test]
fn an_app_and_one_that_speaks_https_only_are_served_through_traefik() {
    let mut env = SwarmEnv::new();
    env.write("gateway/dynamic.yml", DYNAMIC);
    let dir = env.root.join("gateway");
    let mut made = command("sh");
    made.args(["-euc", CERTIFICATES, "sh", &env.zone])
        .current_dir(&dir);
    let made = made.output().unwrap();
    assert!(made.status.success(), "{made:?}");

    // Free a moment ago; nothing else on this machine takes ports of its own accord.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let zone = env.zone.replace('.', "_");
    let mut deploy = command("docker");
    deploy
        .args(["stack", "deploy", "--resolve-image", "never", "-c"])
        .arg(repository().join("tests/real/gateway.yml"))
        .arg(format!("gate_{zone}"))
        .env("PORT", port.to_string())
        .env("ZONE", &zone)
        .env("DIR", &dir);
    let deployed = deploy.output().unwrap();
    assert!(deployed.status.success(), "{deployed:?}");
    // Docker accepts connections to the port before Traefik does.
    let up = || {
        let mut asked = command("curl");
        asked.args([
            "--silent",
            "--insecure",
            &format!("https://127.0.0.1:{port}/"),
        ]);
        asked.output().unwrap().status.success().then_some(())
    };
    wait_for(Duration::from_secs(60), up).expect("Traefik answers");

    env.set("CCCI_GATEWAY", format!("https://127.0.0.1:{port}"));
    env.set("SSL_CERT_FILE", dir.join("ca.pem").display().to_string());
    for name in ["site", "secure"] {
        let begin = Instant::now();
        let recipe = env.recipe_of(SET, name);
        env.run(["run".as_ref(), recipe.as_os_str()]).expect(0);
        let results = read_results(env.run_dirs().last().unwrap());
        assert_eq!(results["level"], 5, "{results:#}");
        say(&format!(
            "{name}: through Traefik after {:.1?}",
            begin.elapsed()
        ));
    }
    is_red_where_traefik_drops_the_router(&env);
    labels_lead_where_the_rules_say(&env, port);
}

/// The red twin: the labels are in order as far as the recipe's text tells, and the operator's Traefik has no such
/// middleware, so that it drops the router. The app itself serves.
fn is_red_where_traefik_drops_the_router(env: &SwarmEnv) {
    let recipe = env.root.join("recipes/site");
    const TLS: &str = "        - \"traefik.http.routers.${STACK_NAME}.tls.certresolver";
    let absent = "        - \"traefik.http.routers.${STACK_NAME}.middlewares=absent@file\"\n";
    env.edit(&recipe.join("compose.yml"), TLS, &format!("{absent}{TLS}"));
    let begin = Instant::now();
    env.run(["run".as_ref(), recipe.as_os_str()]).expect(1);
    let results = read_results(env.run_dirs().last().unwrap());
    let tiers = results["tiers"].as_array().unwrap();
    let red = tiers.iter().find(|tier| tier["status"] == "fail").unwrap();
    let reason = red["reason"].as_str().unwrap();
    assert_eq!(red["name"], "upgrade", "{results:#}");
    assert!(
        reason.contains("through the gateway: status 404")
            && reason.contains("the gateway does not lead to it"),
        "{reason}"
    );
    say(&format!(
        "site without a router: red after {:.1?}",
        begin.elapsed()
    ));
}

/// What the labels of a service are, what is changed in them, and whether Traefik leads to it then.
const LABELS: &str = r#"
        traefik.enable: "true"
        traefik.docker.network: proxy
        traefik.http.services.NAME.loadbalancer.server.port: "80"
        traefik.http.routers.NAME.rule: Host(`DOMAIN`)
        traefik.http.routers.NAME.entrypoints: web-secure
        traefik.http.routers.NAME.tls: "true"
"#;

const VARIANTS: [(&str, &str, bool); 14] = [
    ("", "", true),
    ("        traefik.docker.network: proxy\n", "", true),
    (
        "        traefik.http.routers.NAME.entrypoints: web-secure\n",
        "",
        true,
    ),
    ("Host(`DOMAIN`)", "Host(`DOMAIN`) && PathPrefix(`/`)", true),
    (
        "Host(`DOMAIN`)",
        "Host(`other.example.org`) || Host(`DOMAIN`)",
        true,
    ),
    (
        "        traefik.http.routers.NAME.tls",
        "        traefik.http.middlewares.NAME-h.headers.customresponseheaders.x-a: b\n        \
         traefik.http.routers.NAME.middlewares: NAME-h\n        traefik.http.routers.NAME.tls",
        true,
    ),
    ("        traefik.enable: \"true\"\n", "", false),
    (
        "        traefik.http.routers.NAME.rule: Host(`DOMAIN`)\n",
        "",
        false,
    ),
    ("Host(`DOMAIN`)", "Host(`DOMAIN`", false),
    ("Host(`DOMAIN`)", "Host(`other.example.org`)", false),
    ("port: \"80\"", "port: web", false),
    ("loadbalancer.server.port", "loadbalancer.servr.port", false),
    (
        "        traefik.http.routers.NAME.tls",
        "        traefik.http.routers.NAME.middlewares: NAME-none\n        traefik.http.routers.NAME.tls",
        false,
    ),
    (
        "        traefik.http.routers.NAME.tls",
        "        traefik.http.routers.NAME.service: NAME-none\n        traefik.http.routers.NAME.tls",
        false,
    ),
];

/// Asks the rules and a Traefik about the same labels.
fn labels_lead_where_the_rules_say(env: &SwarmEnv, port: u16) {
    let stack = format!("labels_{}", env.zone.replace('.', "_"));
    let name = |number: usize| format!("{stack}-{number}");
    let domain = |number: usize| format!("v{number}.{}", env.zone);
    let service = |key: &str, number: usize, labels: &str| {
        let labels = labels
            .replace("NAME", &name(number))
            .replace("DOMAIN", &domain(number));
        format!(
            "  {key}:\n    image: nginx:1.22.1\n    networks: [inner, proxy]\n    deploy:\n      \
             endpoint_mode: dnsrr\n      labels:{labels}"
        )
    };
    let file = |services: &str| {
        format!(
            "version: '3.8'\nservices:\n{services}networks: {{inner: , proxy: {{external: true}}}}\n"
        )
    };
    let mut services = String::new();
    for (number, (from, to, leads)) in VARIANTS.iter().enumerate() {
        assert!(LABELS.contains(from), "{from}");
        let labels = if from.is_empty() {
            LABELS.to_owned()
        } else {
            LABELS.replace(from, to)
        };
        env.write(
            "variant/compose.yml",
            &file(&service("app", number, &labels)),
        );
        let files = ["compose.yml".to_owned()];
        let project = Project::load(&env.root.join("variant"), &files, &BTreeMap::new()).unwrap();
        let found = faults(&project, &stack, Some(&domain(number)));
        let breaks: Vec<&Fault> = found.iter().filter(|fault| fault.breaks()).collect();
        assert_eq!(breaks.is_empty(), *leads, "{from} -> {to}: {breaks:?}");
        services += &service(&format!("v{number}"), number, &labels);
    }
    // What is there when the last one is led to was there for Traefik, too.
    let last = VARIANTS.len();
    let deploy = |services: &str| {
        let path = env.write("variants.yml", &file(services));
        let path = path.to_str().unwrap();
        docker(&[
            "stack",
            "deploy",
            "--resolve-image",
            "never",
            "-c",
            path,
            &stack,
        ]);
        let up = || {
            let all = docker(&["stack", "services", "--format", "{{.Replicas}}", &stack]);
            all.lines().all(|line| line == "1/1").then_some(())
        };
        wait_for(Duration::from_secs(120), up).expect("all run");
    };
    deploy(&services);
    deploy(&(services.clone() + &service("last", last, LABELS)));
    let status = |number: usize| {
        let domain = domain(number);
        let mut asked = command("curl");
        asked
            .args([
                "--silent",
                "--insecure",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
            ])
            .args(["--resolve", &format!("{domain}:{port}:127.0.0.1")])
            .arg(format!("https://{domain}:{port}/"));
        String::from_utf8(asked.output().unwrap().stdout).unwrap()
    };
    wait_for(Duration::from_secs(60), || {
        (status(last) == "200").then_some(())
    })
    .expect("Traefik leads to the last one");
    for (number, (from, to, leads)) in VARIANTS.iter().enumerate() {
        let expected = if *leads { "200" } else { "404" };
        // The server of one that leads somewhere may begin a moment later.
        let as_expected = || (status(number) == expected).then_some(());
        let is = wait_for(Duration::from_secs(30), as_expected);
        assert!(
            is.is_some(),
            "{from} -> {to}: {}, not {expected}",
            status(number)
        );
    }
    docker(&["stack", "rm", &stack]);
    let rules = VARIANTS.len();
    say(&format!("{rules} variants of labels: as the rules say"));
}
