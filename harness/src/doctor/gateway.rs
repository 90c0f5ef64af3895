//! The gateway: whether it can be used, and whether it can still hear the engine.

use super::{Check, Status, in_full};
use engine::http::{Gateway, Http};
use engine::swarm::Engine;
use engine::swarm::host::HostFacts;
use ground::name::image::Reference;
use ground::name::{Domain, Zone};

/// The first engine that no longer answers clients of the old API.
const STRICT_ENGINE: u32 = 29;

/// The first versions of Traefik that ask with an API that such an engine has.
const NEW_ENOUGH: [(u32, u32, u32); 2] = [(2, 11, 31), (3, 6, 1)];

/// Returns whether the gateway answers, with a certificate for an app in `zone` that this host trusts.
pub(super) async fn check(gateway: &Gateway, zone: &Zone) -> Check {
    let check = |status, found: String| Check::new("gateway", "gateway", status, found);
    let any = "gateway".parse().expect("it is a name of a recipe");
    let domain = Domain::for_run(&any, "", "", zone);
    let http = match Http::new(&domain, Some(gateway)) {
        Ok(http) => http,
        Err(error) => return check(Status::Fail, in_full(&error)),
    };
    match http.examine().await {
        Ok(()) => check(Status::Ok, format!("{} answers", gateway.shown())),
        Err(fault) => {
            let hint = fault.hint();
            check(Status::Fail, fault.to_string()).by_hand(format!("# {hint}"))
        }
    }
}

/// Returns what is wrong with a Traefik on this engine that cannot ask it; nothing where there is none, or it can.
/// Every app is 404 behind it, and no recipe is to blame.
pub(super) async fn old_traefik(engine: &Engine, facts: &HostFacts) -> Option<Check> {
    // Another check says what is wrong with an engine that does not answer.
    let images = engine.running_images().await.ok()?;
    let image = images
        .iter()
        .find(|image| is_too_old(&facts.version, image))?;
    let found = format!(
        "`{image}` asks engines with an API that {} no longer has: it sees no app, and answers 404 to all",
        facts.version
    );
    let check = Check::new("traefik", "Traefik", Status::Warn, found);
    Some(check.by_hand("# upgrade Traefik to 3.6.1, 2.11.31 or newer"))
}

fn is_too_old(engine: &str, image: &str) -> bool {
    let major = engine.split('.').next().and_then(|text| text.parse().ok());
    if major.is_none_or(|major: u32| major < STRICT_ENGINE) {
        return false;
    }
    let image = Reference::parse(image).ok();
    let image = image.filter(|image| image.last_part() == "traefik");
    let Some(tag) = image.and_then(|image| image.tag()) else {
        return false;
    };
    let plain = tag.trim_start_matches('v');
    let plain = plain.split('-').next().unwrap_or_default();
    let numbers: Option<Vec<u32>> = plain.split('.').map(|text| text.parse().ok()).collect();
    // A tag without all numbers moves, and may be new.
    let Some([major, minor, patch]) = numbers.as_deref() else {
        return false;
    };
    let version = (*major, *minor, *patch);
    let first = NEW_ENOUGH.iter().find(|first| first.0 == *major);
    match first {
        Some(first) => version < *first,
        None => *major < 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_gateway_that_nobody_serves_fails() {
        // Not one that is closed: another test may get its port.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let gateway: Gateway = format!("http://{}", socket.local_addr().unwrap())
            .parse()
            .unwrap();
        let zone = "ci.localhost".parse().unwrap();
        let found = check(&gateway, &zone).await;
        assert_eq!(found.status, Status::Fail);
        assert!(found.found.contains("refused"), "{}", found.found);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_traefik_that_runs_and_cannot_ask_this_engine_is_warned_of() {
        for (version, warned) in [("29.0.0", true), ("28.5.2", false)] {
            let dir = tempfile::tempdir().unwrap();
            let engine = engine::swarm::testing::engine(dir.path(), |request| {
                let containers = r#"[{"Image": "recipe-ci/notes:1"}, {"Image": "traefik:v3.6.0"}]"#;
                assert!(request.contains("/containers/json"), "{request}");
                (200, containers.to_owned())
            });
            let facts = HostFacts {
                version: version.to_owned(),
                ..super::super::docker::tests::facts(engine::swarm::host::Membership::Manager)
            };
            let check = old_traefik(&engine, &facts).await;
            let found = check.map(|check| (check.status, check.found.contains("`traefik:v3.6.0`")));
            assert_eq!(found, warned.then_some((Status::Warn, true)), "{version}");
        }
    }

    #[test]
    fn a_traefik_that_a_new_engine_does_not_answer_is_known_by_its_tag() {
        for (engine, image, old) in [
            ("29.0.0", "traefik:v3.6.0", true),
            (
                "29.1.3",
                "docker.io/library/traefik:v3.3.6@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                true,
            ),
            ("30.0.0", "traefik:2.11.30-alpine", true),
            ("29.0.0", "traefik:v1.7.34", true),
            ("29.0.0", "traefik:v3.6.1", false),
            ("29.0.0", "traefik:v2.11.31", false),
            ("29.0.0", "traefik:v3", false),
            ("29.0.0", "traefik:latest", false),
            ("29.0.0", "traefik", false),
            ("28.5.2", "traefik:v3.3.6", false),
            ("20.10.24+dfsg1", "traefik:v2.9.1", false),
            ("29.0.0", "example/traefik-forward-auth:2.2.0", false),
        ] {
            assert_eq!(is_too_old(engine, image), old, "{engine} {image}");
        }
    }
}
