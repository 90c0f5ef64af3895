//! How much a project may have, and how much is said of it.

use super::*;

/// Returns what stands at a JSON pointer of the judged project.
fn at<'a>(judged: &'a Judged, pointer: &str) -> Option<&'a Value> {
    judged.resolved().document().pointer(pointer)
}

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
    for (key, most) in [
        ("networks", 49),
        ("volumes", 50),
        ("mounts", 100),
        ("secrets", 100),
        ("configs", 100),
        ("aliases", 100),
    ] {
        for (count, fine) in [(most, true), (most + 1, false)] {
            let file = match key {
                "mounts" => app(&format!(
                    "    volumes: [{}]",
                    list(count, &|at| format!("/v{at}"))
                )),
                "secrets" | "configs" => app(&format!(
                    "    {key}: [{}]\n{key}: {{s: {{file: compose.yml}}}}",
                    list(count, &|at| format!("{{source: s, target: /s{at}}}"))
                )),
                "aliases" => app(&format!(
                    "    networks: {{n: {{aliases: [{}]}}}}\nnetworks: {{n: {{}}}}",
                    list(count, &|at| format!("a{at}"))
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
fn tasks_are_on_a_bounded_number_of_networks_together() {
    let app_on = |count: usize, replicas: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("n{at}: {{}}")).collect();
        let names = names.join(", ");
        app(&format!(
            "    deploy: {{replicas: {replicas}}}\n    networks: {{{names}}}\nnetworks: {{{names}}}"
        ))
    };
    for (count, replicas, fine) in [(33, 3, true), (34, 3, false), (49, 2, true)] {
        let judged = judged(
            Level::Stranger,
            &[("compose.yml", &app_on(count, replicas))],
        );
        assert_eq!(
            judged.is_ok(),
            fine,
            "{count} networks, {replicas} replicas"
        );
    }
}

#[test]
fn a_log_of_many_or_tiny_files_is_not_deployed() {
    for (size, files, stays) in [
        ("1", "10000000", false),
        ("1m", "11", false),
        ("63k", "2", false),
        ("64k", "10", true),
    ] {
        let file = app(&format!(
            "    logging: {{driver: json-file, options: {{max-size: '{size}', max-file: '{files}'}}}}"
        ));
        let judged = judged(Level::Stranger, &[("compose.yml", &file)]).unwrap();
        let options = &judged.resolved().document()["services"]["app"]["logging"]["options"];
        let is_kept = options["max-file"] == files && options["max-size"] == size;
        assert_eq!(is_kept, stays, "{options}");
    }
}

#[test]
fn of_endless_violations_the_first_are_said_and_a_refusal_behind_warnings_is_not_lost() {
    let labels: Vec<String> = (0..2000).map(|at| format!("com.docker.x{at}: y")).collect();
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
fn the_tasks_of_an_app_share_memory_processors_and_processes() {
    let limits = |level: Level, count: usize| {
        let all: String = (0..count)
            .map(|at| format!("  s{at}: {{image: a}}\n"))
            .collect();
        let text = format!(
            "services:\n  mine: {{image: a, deploy: {{resources: {{limits: {{memory: 64m}}}}}}}}\n{all}"
        );
        let judged = judged(level, &[("compose.yml", &text)]).unwrap();
        let of = |service: &str, key: &str| {
            let place = format!("/services/{service}/deploy/resources/limits/{key}");
            at(&judged, &place).unwrap().as_str().unwrap().to_owned()
        };
        [of("s0", "memory"), of("s0", "cpus"), of("mine", "memory")]
    };
    assert_eq!(limits(Level::Stranger, 7), ["1g", "1", "64m"]);
    assert_eq!(limits(Level::Stranger, 15), ["512m", "0.5", "64m"]);
    assert_eq!(limits(Level::Stranger, 11), ["682m", "0.666", "64m"]);
    let text = "services: {a: {image: a, deploy: {replicas: 3, update_config: {order: start-first}}}, b: {image: b, deploy: {replicas: 2}}}";
    let shared = judged(Level::Stranger, &[("compose.yml", text)]).unwrap();
    let memory = at(&shared, "/services/b/deploy/resources/limits/memory");
    assert_eq!(
        memory,
        Some(&Value::from("1g")),
        "eight at a time in an upgrade"
    );
    let text = text.replace("replicas: 2", "replicas: 3");
    let shared = judged(Level::Stranger, &[("compose.yml", &text)]).unwrap();
    let memory = at(&shared, "/services/b/deploy/resources/limits/memory");
    assert_eq!(memory, Some(&Value::from("910m")));
    let more = granted("ceilings: {memory: 2g, cpus: 3}");
    assert_eq!(limits(more, 15), ["2g", "3", "64m"]);
    let pids = |level, replicas| {
        let text = format!(
            "services: {{a: {{image: a, deploy: {{replicas: {replicas}}}}}, b: {{image: b, deploy: {{replicas: 3}}}}, c: {{image: c, deploy: {{replicas: 3}}}}}}"
        );
        let judged = judged(level, &[("compose.yml", &text)]).unwrap();
        at(&judged, "/services/b/deploy/resources/limits/pids").cloned()
    };
    assert_eq!(pids(Level::Stranger, 2), Some(512.into()), "eight tasks");
    assert_eq!(pids(Level::Stranger, 3), Some(455.into()), "nine tasks");
    let more = granted("ceilings: {pids: 600}");
    assert_eq!(pids(more, 3), Some(600.into()));
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
        .map(|at| format!("coop-cloud.{at}.version: {}", "x".repeat(30)))
        .collect();
    assert_eq!(ids(&found(many.join(", "))), ["P026"]);
}

/// What an image asks for itself stands in no compose file.
#[test]
fn the_healthcheck_of_an_image_is_slowed_down_as_one_of_the_recipe_is() {
    use std::time::Duration;

    use ground::pins::ImageCheck;
    use ground::pins::Pinned;

    let deployed = |lines: &str, interval: u64, start: u64, schema: &str, level: Level| {
        let mut terms = terms(level);
        terms.schema = schema.to_owned();
        let pinned = Pinned {
            reference: "nginx:1.27@sha256:00".to_owned(),
            check: Some(ImageCheck {
                interval: Duration::from_millis(interval),
                start_interval: Duration::from_millis(start),
                retries: 0,
            }),
        };
        let said = terms.slowed("nginx:1.27", &pinned);
        terms.pins.insert("nginx:1.27".to_owned(), pinned);
        let dir = tempfile::tempdir().unwrap();
        let file = app(lines);
        let resolved = resolved(dir.path(), &[("compose.yml", &file)]);
        let judged = judge(resolved, STACK, &terms).unwrap();
        let document = judged.resolved().document();
        let check = document["services"]["app"]["healthcheck"].to_string();
        (
            check,
            document["version"].as_str().unwrap().to_owned(),
            said.is_some(),
        )
    };
    let check =
        |lines: &str, interval, start| deployed(lines, interval, start, "3.13", Level::Stranger);
    let (found, version, said) = check("", 1, 0);
    assert_eq!((found.as_str(), said), (r#"{"interval":"1s"}"#, true));
    assert_eq!(version, "3.13");
    // The recipe's own test with the image's interval, and an interval that leaves it to the image.
    let own = "    healthcheck: {test: [CMD, x]}";
    assert!(check(own, 1, 0).0.contains(r#""interval":"1s""#));
    let zero = "    healthcheck: {interval: 0s}";
    assert_eq!(check(zero, 1, 0).0, r#"{"interval":"1s"}"#);
    for (lines, interval) in [
        ("", 1000),
        ("", 0),
        ("    healthcheck: {disable: true}", 1),
        ("    healthcheck: {test: [NONE]}", 1),
        ("    healthcheck: {interval: 5s}", 1),
    ] {
        assert!(!check(lines, interval, 0).0.contains("1s"), "{lines}");
    }
    assert!(!check("", 5000, 0).2);
    // While it starts; older clients cannot say it.
    assert_eq!(check("", 0, 1).0, r#"{"start_interval":"1s"}"#);
    let old = deployed("", 0, 1, "3.9", Level::Stranger);
    assert_eq!(old.0, r#"{"start_period":"1s"}"#);
    let file = "    healthcheck: {test: [CMD, x], start_period: 10s}";
    assert!(
        check(file, 0, 1)
            .0
            .contains(r#""start_period":"10s","start_interval":"1s""#)
    );
    let by_hand = deployed("", 1, 1, "3.13", Level::ByHand);
    assert_eq!((by_hand.0.as_str(), by_hand.2), ("null", false));
}

/// The driver `local` takes no file for one, and its log was as large as the recipe liked.
#[test]
fn a_log_of_no_file_has_a_ceiling_too() {
    let file = app(
        "    logging: {driver: local, options: {max-size: 900g, max-file: '0', compress: 'false'}}",
    );
    let judged = judged(Level::Stranger, &[("compose.yml", &file)]).unwrap();
    let options = at(&judged, "/services/app/logging/options/max-size");
    assert_eq!(options, Some(&Value::from("5m")));
}

#[test]
fn secrets_and_configs_have_a_bounded_size_together() {
    let file = app("    configs: [a, b]\nconfigs: {a: {file: a.txt}, b: {file: b.txt}}");
    let with = |level: Level, size: usize| {
        let (half, rest) = ("x".repeat(size / 2), "x".repeat(size - size / 2));
        let files = [
            ("compose.yml", file.as_str()),
            ("a.txt", &half),
            ("b.txt", &rest),
        ];
        judged(level, &files)
    };
    let refused = with(Level::Stranger, (900 << 10) + (200 << 10)).unwrap_err();
    assert_eq!(ids(&refused.violations), ["P026"]);
    assert!(with(Level::Stranger, 900 << 10).is_ok());
    assert!(with(Level::ByHand, 1100 << 10).is_ok());
}

#[test]
fn a_stranger_reserves_nothing_that_others_would_lack() {
    let file = app(
        "    deploy: {resources: {reservations: {cpus: '2', memory: 64m}, limits: {memory: 128m}}}",
    );
    let reserved = |level: Level| {
        let judged = judged(level, &[("compose.yml", &file)]).unwrap();
        let place = "/services/app/deploy/resources/reservations";
        let said = judged.resolved().deviations.join(" ");
        assert_eq!(
            said.contains("reserves nothing of the host: `app`"),
            at(&judged, place).is_none(),
            "{said}"
        );
        at(&judged, place).cloned()
    };
    assert_eq!(reserved(Level::Stranger), None);
    let capped = serde_json::json!({"cpus": "1", "memory": "64m"});
    assert_eq!(reserved(granted("ceilings: {cpus: 1}")), Some(capped));
    assert!(reserved(Level::ByHand).is_some());
    // What the operator's overlay reserves stays.
    let overlay =
        "version: '3.8'\nservices:\n  app: {deploy: {resources: {reservations: {memory: 32m}}}}\n";
    let files = [("compose.yml", &*file), ("ccci.compose-host.yml", overlay)];
    let laid = judged(Level::Stranger, &files).unwrap();
    let kept = at(&laid, "/services/app/deploy/resources/reservations").cloned();
    assert_eq!(kept, Some(serde_json::json!({"memory": "32m"})));
}

#[test]
fn the_definitions_of_services_have_a_bounded_size() {
    let with = |services: usize, replicas: usize, size: usize| {
        let service = format!(
            "{{image: a, deploy: {{replicas: {replicas}}}, environment: {{X: '{}'}}}}",
            "x".repeat(size)
        );
        let all: Vec<String> = (0..services)
            .map(|at| format!("s{at}: {service}"))
            .collect();
        let file = format!("services: {{{}}}", all.join(", "));
        judged(Level::Stranger, &[("compose.yml", &file)])
            .map_err(|refused| ids(&refused.violations).join(" "))
    };
    assert!(with(1, 1, 60 << 10).is_ok());
    assert_eq!(with(1, 1, 65 << 10).unwrap_err(), "P026");
    assert!(with(5, 3, 60 << 10).is_ok());
    assert_eq!(with(6, 3, 60 << 10).unwrap_err(), "P026");
}
