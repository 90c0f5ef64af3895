//! What becomes of the network that recipes share with the gateway.

use std::collections::BTreeMap;
use std::path::Path;

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

fn project(text: &str) -> Project {
    let dir = recipe(&[("compose.yml", text)]);
    let files = ["compose.yml".to_owned()];
    Project::load(dir.path(), &files, &BTreeMap::new()).unwrap()
}

fn resolve(text: &str, deployment: &Deployment) -> Resolved {
    project(text).resolve(Path::new("/r"), deployment).unwrap()
}

/// How a host with a gateway deploys the stack `x_ci`.
fn through_gateway() -> Deployment {
    let own = Own {
        gateway: true,
        ..Own::of("x_ci")
    };
    Deployment {
        shared: SharedNetwork::Own(own),
        ..deployment()
    }
}

const ROUTED: &str = "version: '3.8'
services:
  app:
    image: a
    networks: [proxy, inner]
    deploy:
      labels: [traefik.enable=true, LABEL]
  db: {image: a, networks: {proxy: {aliases: [web]}, inner: null}}
networks:
  proxy: {external: true}
  inner:
";

#[test]
fn only_a_routed_service_is_on_the_network_that_the_gateway_joins_and_traefik_is_told_which_it_is()
{
    const OURS: &str = "x_ci_recipe-ci-gateway";
    for (label, key, value) in [
        ("a=b", "traefik.docker.network", OURS),
        (
            "traefik.docker.network=proxy",
            "traefik.docker.network",
            OURS,
        ),
        ("traefik.docker.network=", "traefik.docker.network", OURS),
        // Traefik passes over a service that has labels of both providers.
        ("Traefik.Swarm.Network=proxy", "Traefik.Swarm.Network", OURS),
        ("traefik.swarm.lbswarm=true", "traefik.swarm.network", OURS),
        // A fault of the recipe's stays one.
        (
            "traefik.docker.network=web",
            "traefik.docker.network",
            "web",
        ),
        ("traefik.swarm.network=web", "traefik.swarm.network", "web"),
    ] {
        let resolved = resolve(&ROUTED.replace("LABEL", label), &through_gateway());
        let document = resolved.document();
        assert_eq!(
            document["networks"]["recipe-ci-gateway"],
            json!({"driver": "overlay", "attachable": true, "internal": true, "name": "x_ci_recipe-ci-gateway"})
        );
        let networks = |service: &str| document["services"][service]["networks"].clone();
        assert_eq!(
            networks("app"),
            json!({"proxy": null, "inner": null, "recipe-ci-gateway": null})
        );
        assert!(networks("db").get("recipe-ci-gateway").is_none());
        let labels = &resolved.project.service("app").unwrap().labels;
        let names: Vec<(&str, &str)> = labels
            .iter()
            .filter(|(key, _)| key.to_lowercase().ends_with(".network"))
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(names, [(key, value)], "{label}");
        let said = resolved.deviations.join("; ");
        assert_eq!(said.contains("names that network"), value == OURS, "{said}");
    }
}

#[test]
fn the_gateway_joins_nothing_for_a_service_that_it_could_not_reach() {
    for (from, to) in [
        ("traefik.enable=true", "traefik.enable=false"),
        ("traefik.enable=true", "x=y"),
        ("networks: [proxy, inner]", "networks: [inner]"),
        (
            "proxy: {external: true}",
            "proxy: {external: true, name: web}",
        ),
    ] {
        let text = ROUTED.replace("LABEL", "a=b").replace(from, to);
        let resolved = resolve(&text, &through_gateway());
        let networks = &resolved.document()["networks"];
        assert!(networks.get("recipe-ci-gateway").is_none(), "{to}");
    }
}

/// A stranger's service on it could answer the gateway to any name.
#[test]
fn no_network_of_a_recipe_is_called_as_the_one_that_the_gateway_joins() {
    for network in [
        "recipe-ci-gateway: null",
        "n: {name: x_ci_recipe-ci-gateway}",
        "n: {name: x_ci_recipe-ci-gateway, external: true}",
        "n: {external: {name: x_ci_recipe-ci-gateway}}",
    ] {
        let text = format!("{}  {network}\n", ROUTED.replace("LABEL", "a=b"));
        let refused = project(&text).resolve(Path::new("/r"), &through_gateway());
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("is recipe-ci's own"), "{network}: {said}");
    }
    // An undeclared one is made for the routed service, and would take this one in.
    for networks in [
        "[recipe-ci-gateway]",
        "{recipe-ci-gateway: {aliases: [authelia]}}",
    ] {
        let db = "  db: {image: a, networks: {proxy: {aliases: [web]}, inner: null}}";
        let text = ROUTED.replace("LABEL", "a=b");
        let text = text.replace(
            db,
            &format!("  authelia: {{image: a, networks: {networks}}}"),
        );
        let refused = project(&text).resolve(Path::new("/r"), &through_gateway());
        let said = refused.unwrap_err().to_string();
        assert!(
            said.contains("compose.yml:8") && said.contains("is recipe-ci's own"),
            "{networks}: {said}"
        );
    }
}

#[test]
fn the_network_of_the_run_is_the_one_of_the_app_that_needs_the_others() {
    let own = Own {
        guest: true,
        ..Own::of("parent_ci")
    };
    let deployment = Deployment {
        shared: SharedNetwork::Own(own),
        ..deployment()
    };
    let resolved = resolve(&ROUTED.replace("LABEL", "a=b"), &deployment);
    assert_eq!(
        resolved.document()["networks"]["proxy"],
        json!({"external": true, "name": "parent_ci_proxy"})
    );
    assert!(resolved.added.has("proxy") && !resolved.added.has("inner"));
}

#[test]
fn a_name_that_the_gateway_may_look_up_is_said() {
    let says = |text: &str| project(text).confuses_gateway("x.ci");
    let routed = ROUTED.replace("LABEL", "a=b");
    assert_eq!(says(&routed), None, "an alias is not on its network");
    let hostname =
        |name: &str| routed.replace("image: a\n", &format!("image: a\n    hostname: {name}\n"));
    assert_eq!(says(&hostname("X.ci")), None);
    assert_eq!(says(&hostname("app")), None);
    assert!(says(&hostname("authelia")).unwrap().contains("`authelia`"));
    let other = routed.replace("  app:", "  socket-proxy:");
    assert!(says(&other).unwrap().contains("`socket-proxy`"));
}
