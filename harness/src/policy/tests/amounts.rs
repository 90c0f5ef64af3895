//! How much a project may have, and how much is said of it.

use super::*;

#[test]
fn many_services_and_tasks_are_too_many() {
    let services = |count: usize, replicas: u64| {
        let service =
            |index| format!("  s{index}: {{image: a, deploy: {{replicas: {replicas}}}}}\n");
        let all: String = (0..count).map(service).collect();
        let text = format!("services:\n{all}");
        judged(Level::Stranger, &[("compose.yml", &text)]).is_ok()
    };
    assert!(services(20, 2));
    assert!(!services(21, 1));
    assert!(!services(14, 3));
    let volumes = |count: usize| {
        let all: Vec<String> = (0..count).map(|index| format!("v{index}: {{}}")).collect();
        let text = format!(
            "services: {{app: {{image: a}}}}\nvolumes: {{{}}}\n",
            all.join(", ")
        );
        judged(Level::Stranger, &[("compose.yml", &text)]).is_ok()
    };
    assert!(volumes(50) && !volumes(51));
}

#[test]
fn many_networks_volumes_and_mounts_are_too_many() {
    let list = |count: usize, each: &dyn Fn(usize) -> String| {
        let all: Vec<String> = (0..count).map(each).collect();
        all.join(", ")
    };
    // The services that name no network have one of their own.
    for (key, most) in [("networks", 49), ("volumes", 50), ("mounts", 100)] {
        for (count, fine) in [(most, true), (most + 1, false)] {
            let file = match key {
                "mounts" => app(&format!(
                    "    volumes: [{}]",
                    list(count, &|at| format!("/v{at}"))
                )),
                _ => app(&format!(
                    "{key}: {{{}}}",
                    list(count, &|at| format!("n{at}: {{}}"))
                )),
            };
            let judged = judged(Level::Stranger, &[("compose.yml", &file)]);
            let found = judged
                .err()
                .map_or(Vec::new(), |refused| refused.violations);
            let expected: &[&str] = if fine { &[] } else { &["P026"] };
            assert_eq!(ids(&found), expected, "{count} {key}");
        }
    }
}

#[test]
fn of_endless_violations_the_first_are_said_and_a_refusal_behind_warnings_is_not_lost() {
    let labels: Vec<String> = (0..5000).map(|at| format!("com.docker.x{at}: y")).collect();
    let file = app(&format!("    labels: {{{}}}", labels.join(", ")));
    let refused = judged(Level::Stranger, &[("compose.yml", &file)]).unwrap_err();
    assert_eq!(refused.violations.len(), 200);
    let names: Vec<String> = (0..300)
        .map(|at| format!("n{at}: {{ipv4_address: 10.0.0.1}}"))
        .collect();
    let known: Vec<String> = (0..300).map(|at| format!("n{at}: {{}}")).collect();
    let file = app(&format!(
        "    networks: {{{}}}\nnetworks: {{{}}}",
        names.join(", "),
        known.join(", ")
    ));
    let found = judged(Level::Stranger, &[("compose.yml", &file)]).unwrap_err();
    assert_eq!(ids(&found.violations), ["P026"]);
}

#[test]
fn the_tasks_of_an_app_share_eight_gib_and_eight_cpus() {
    let limits = |level: Level, count: usize| {
        let all: String = (0..count)
            .map(|at| format!("  s{at}: {{image: a}}\n"))
            .collect();
        let text = format!(
            "services:\n  mine: {{image: a, deploy: {{resources: {{limits: {{memory: 64m}}}}}}}}\n{all}"
        );
        let judged = judged(level, &[("compose.yml", &text)]).unwrap();
        let of = |service: &str, key: &str| {
            let at = format!("/services/{service}/deploy/resources/limits/{key}");
            let value = judged.resolved().document().pointer(&at).cloned();
            value.unwrap().as_str().unwrap().to_owned()
        };
        [of("s0", "memory"), of("s0", "cpus"), of("mine", "memory")]
    };
    assert_eq!(limits(Level::Stranger, 7), ["1g", "1", "64m"]);
    assert_eq!(limits(Level::Stranger, 15), ["512m", "0.5", "64m"]);
    assert_eq!(limits(Level::Stranger, 11), ["682m", "0.666", "64m"]);
    let text = "services: {a: {image: a, deploy: {replicas: 3, update_config: {order: start-first}}}, b: {image: b, deploy: {replicas: 2}}}";
    let shared = judged(Level::Stranger, &[("compose.yml", text)]).unwrap();
    let memory = shared
        .resolved()
        .document()
        .pointer("/services/b/deploy/resources/limits/memory");
    assert_eq!(
        memory,
        Some(&Value::from("1g")),
        "eight at a time in an upgrade"
    );
    let text = text.replace("replicas: 2", "replicas: 3");
    let shared = judged(Level::Stranger, &[("compose.yml", &text)]).unwrap();
    let memory = shared
        .resolved()
        .document()
        .pointer("/services/b/deploy/resources/limits/memory");
    assert_eq!(memory, Some(&Value::from("910m")));
    let more = granted("ceilings: {memory: 2g, cpus: 3}");
    assert_eq!(limits(more, 15), ["2g", "3", "64m"]);
}

#[test]
fn labels_are_bounded_because_a_gateway_compiles_them() {
    let found = |labels: String| {
        let file = app(&format!("    deploy: {{labels: {{{labels}}}}}"));
        let judged = judged(Level::Stranger, &[("compose.yml", &file)]);
        judged
            .err()
            .map_or(Vec::new(), |refused| refused.violations)
    };
    let rule = |length: usize| {
        let rule = format!("Host(`{DOMAIN}`) && PathRegexp(`^/{}`)", "a".repeat(length));
        format!("traefik.http.routers.{STACK}.rule: '{rule}'")
    };
    assert_eq!(ids(&found(rule(3000))), Vec::<&str>::new());
    assert_eq!(ids(&found(rule(5000))), ["P026"]);
    let services = |count: usize| {
        let rule = format!("Host(`{DOMAIN}`) && PathRegexp(`^/{}`)", "a".repeat(3000));
        let all: String = (0..count)
            .map(|at| format!("  s{at}: {{image: a, labels: {{traefik.http.routers.{STACK}-{at}.rule: '{rule}'}}}}\n"))
            .collect();
        let judged = judged(
            Level::Stranger,
            &[("compose.yml", &format!("services:\n{all}"))],
        );
        judged
            .err()
            .map_or(Vec::new(), |refused| refused.violations)
    };
    assert_eq!(ids(&services(9)), Vec::<&str>::new());
    assert_eq!(ids(&services(12)), ["P026"]);
    let many: Vec<String> = (0..1000)
        .map(|at| format!("coop-cloud.{at}: {}", "x".repeat(30)))
        .collect();
    assert_eq!(ids(&found(many.join(", "))), ["P026"]);
}
