//! What becomes of the network that recipes share with the host's gateway.
//!
//! On the host every app of the catalogue is on it, each with services of the same names. A run has a network of its
//! own in its place, so that nothing of the run answers to somebody else, and nothing of somebody else to the run.
//!
//! Where the run goes through the gateway, the gateway joins a second network of the app, on which the routed services
//! are alone: whatever names a service has on a network, the gateway resolves them as well.

use serde_json::{Value, json};

use super::Project;
use super::canon::Fault;
use super::model::Service;
use super::query::MAIN_SERVICE;
use super::walk::{entries, mapping};
use super::yaml::join;

/// The network that a recipe shares with the host's gateway, by the catalogue's convention.
pub const PROXY: &str = "proxy";

/// The key of the network that the gateway joins. No recipe may use it.
const GATEWAY: &str = "recipe-ci-gateway";

/// The labels by which Traefik chooses among a container's networks: of its Docker and of its Swarm provider.
const CHOICES: [&str; 2] = ["traefik.docker.network", "traefik.swarm.network"];

/// What becomes of the network that recipes share with the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SharedNetwork {
    /// It stays as the recipe has it.
    #[default]
    AsShipped,
    /// It becomes a network of the run.
    Own(Own),
}

/// The network of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its full name.
    pub network: String,
    /// Whether it belongs to another app of the run, which is there first.
    pub guest: bool,
    /// Whether the gateway is to reach the app.
    pub gateway: bool,
}

impl Own {
    /// Returns the network of the app `stack`, which the gateway does not reach.
    #[must_use]
    pub fn of(stack: &str) -> Self {
        Self {
            network: format!("{stack}_{PROXY}"),
            guest: false,
            gateway: false,
        }
    }
}

/// Returns the full name of the network on which the gateway reaches the app `stack`.
#[must_use]
pub fn gateway_network(stack: &str) -> String {
    format!("{stack}_{GATEWAY}")
}

/// The networks of a resolved project that are no part of the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Added {
    /// Their keys.
    keys: Vec<String>,
}

impl Added {
    /// Returns whether the network of this key stands for the one that the recipe shares with the gateway, or is the one
    /// that the gateway joins.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known == key)
    }
}

impl Project {
    /// Returns whether a service is attached to the network that the host's gateway is on.
    #[must_use]
    pub fn is_on_proxy(&self, service: &Service) -> bool {
        let is_proxy = |key: &String| {
            let mut networks = self.networks.iter();
            networks.any(|network| {
                network.key == *key
                    && network.external
                    && network.name.as_ref().unwrap_or(&network.key) == PROXY
            })
        };
        service.networks.iter().any(is_proxy)
    }

    /// Returns the services that Traefik is told to route to and could reach.
    #[must_use]
    pub fn behind_gateway(&self) -> Vec<&Service> {
        let services = self.services.iter();
        services
            .filter(|service| is_routed(service) && self.is_on_proxy(service))
            .collect()
    }

    /// Returns why the gateway must not join a network of this project's, of which nothing is known: on that network its
    /// services answer for their names, and the gateway may look another app up by one of these. `app` is what every
    /// app of the catalogue answers to.
    #[must_use]
    pub fn confuses_gateway(&self, domain: &str) -> Option<String> {
        self.behind_gateway().into_iter().find_map(|service| {
            let name = &service.name;
            let hostname = self.document["services"][name]["hostname"].as_str();
            let hostname = hostname.filter(|hostname| !hostname.is_empty());
            // The engine takes a container's hostname for one more of its names.
            let names = std::iter::once(name.as_str()).chain(hostname);
            let mut odd = names.filter(|name| {
                *name != MAIN_SERVICE && !name.eq_ignore_ascii_case(domain)
            });
            let odd = odd.next()?;
            Some(format!(
                "the gateway would find the service `{name}` under the name `{odd}`, under which it may look for another app"
            ))
        })
    }
}

fn is_routed(service: &Service) -> bool {
    let mut labels = service
        .labels
        .iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value));
    let mut routed = false;
    let off = labels.any(|(key, value)| {
        let is = |text: &str| value.eq_ignore_ascii_case(text);
        routed |= key.starts_with("traefik.http.") || key.starts_with("traefik.tcp.");
        routed |= key == "traefik.enable" && is("true");
        key == "traefik.enable" && is("false")
    });
    routed && !off
}

/// Puts the run's own network in the place of the shared one. `project` is what `document` was before it had full names.
pub(super) fn replace(
    document: &mut Value,
    project: &Project,
    (network, stack): (&SharedNetwork, &str),
    deviations: &mut Vec<String>,
) -> Result<Added, Fault> {
    let SharedNetwork::Own(own) = network else {
        return Ok(Added::default());
    };
    let gateway = gateway_network(stack);
    let own_alone = |path| Fault {
        path,
        reason: format!("the network `{gateway}` is recipe-ci's own: choose another name"),
    };
    // Everything on it meets the gateway; an undeclared one that a service names would become it below.
    for (name, service) in entries(document, "services") {
        if service
            .get("networks")
            .is_some_and(|all| all.get(GATEWAY).is_some())
        {
            let path = join(&join("services", name), "networks");
            return Err(own_alone(join(&path, GATEWAY)));
        }
    }
    let mut added = Added::default();
    for (key, entry) in entries(document, "networks") {
        let name = entry.get("name").and_then(Value::as_str);
        if key == GATEWAY || name == Some(&gateway) {
            return Err(own_alone(join("networks", key)));
        }
        let is_shared = entry.get("external") == Some(&Value::Bool(true)) && name == Some(PROXY);
        if !is_shared {
            continue;
        }
        *entry = match own.guest {
            true => json!({"external": true, "name": own.network}),
            false => json!({"driver": "overlay", "name": own.network}),
        };
        added.keys.push(key.clone());
    }
    if added.keys.is_empty() {
        return Ok(added);
    }
    deviations.push(format!(
        "network `{PROXY}` of the host is replaced by one of the run's own"
    ));
    let routed = project.behind_gateway();
    if !own.gateway || routed.is_empty() {
        return Ok(added);
    }
    if let Some(networks) = mapping(document, &["networks"]) {
        // Internal, so that whatever name the gateway finds on another of its networks, it finds there.
        let network =
            json!({"driver": "overlay", "attachable": true, "internal": true, "name": gateway});
        networks.insert(GATEWAY.to_owned(), network);
    }
    added.keys.push(GATEWAY.to_owned());
    for service in routed {
        let name = &service.name;
        if let Some(networks) = mapping(document, &["services", name, "networks"]) {
            networks.insert(GATEWAY.to_owned(), Value::Null);
        }
        deviations.push(format!(
            "service `{name}` is on a network with the gateway that nothing else is on"
        ));
        deviations.extend(choose(document, service, &gateway));
    }
    Ok(added)
}

/// Has Traefik take `network` for a service, unless the recipe names another one than the gateway's; returns what was
/// changed, in words.
///
/// One label must do: Traefik passes over a service that has labels of both of its providers, and each of its versions
/// reads that of Docker's.
fn choose(document: &mut Value, service: &Service, network: &str) -> Option<String> {
    let choice = |key: &str| CHOICES.iter().any(|one| key.eq_ignore_ascii_case(one));
    let given = service.labels.iter().filter(|(key, _)| choice(key));
    let given: Vec<(&String, &String)> = given.collect();
    // That is a fault of the recipe's, which must not be covered up.
    if given
        .iter()
        .any(|(_, value)| !matches!(value.as_str(), "" | PROXY))
    {
        return None;
    }
    let mut keys = service.labels.keys();
    let of_swarm = keys.any(|key| key.to_ascii_lowercase().starts_with("traefik.swarm."));
    let labels = mapping(document, &["services", &service.name, "deploy", "labels"])?;
    let mut named: Vec<&str> = given.iter().map(|(key, _)| key.as_str()).collect();
    if named.is_empty() {
        named.push(CHOICES[usize::from(of_swarm)]);
    }
    for key in &named {
        labels.insert((*key).to_owned(), network.into());
    }
    Some(format!(
        "label `{}` of service `{}` names that network",
        named.join("`, `"),
        service.name
    ))
}
