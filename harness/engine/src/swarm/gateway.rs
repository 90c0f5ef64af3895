//! The containers of the host's gateway: which they are, and how they join a network of an app and leave it.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models::{
    ContainerSummary, ContainerSummaryStateEnum, EndpointIpamConfig, EndpointSettings,
    NetworkConnectRequest, NetworkDisconnectRequest, NetworkInspect,
};
use bollard::query_parameters::{
    InspectContainerOptions, InspectNetworkOptions, ListServicesOptions,
};

use super::{Engine, EngineError, filters};
use ground::label::NAMESPACE;
use ground::name::StackName;

/// The label of a task's container that names its service.
const SERVICE: &str = "com.docker.swarm.service.id";

/// What the gateway's containers are found by, also after they were replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gateway {
    /// The Swarm service of this id.
    Service {
        /// The id.
        id: String,
        /// Its name, for people.
        name: String,
    },
    /// The container of this name, which is no service's.
    Container(String),
}

impl std::fmt::Display for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service { name, .. } => write!(f, "service `{name}`"),
            Self::Container(name) => write!(f, "container `{name}`"),
        }
    }
}

/// A running container of the gateway's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its whole id.
    pub id: String,
    /// Whether it is a task's.
    is_task: bool,
}

/// How a container stands with a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is in it.
    In,
    /// It may join.
    Out(Seat),
    /// The network is not there.
    NoNetwork,
    /// The network of that name is another stack's, or of no stack.
    Foreign,
}

/// The place that a container gets in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    address: Option<Ipv4Addr>,
}

impl Engine {
    /// Returns the service or container of this name; `None` when there is neither.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn gateway_named(&self, name: &str) -> Result<Option<Gateway>, EngineError> {
        let by_name = filters([("name", name.to_owned())]);
        let services = self.services_by(Some(by_name)).await?;
        // The filter takes prefixes, and ids.
        if let Some((id, name, _)) = services.into_iter().find(|one| one.1 == name) {
            return Ok(Some(Gateway::Service { id, name }));
        }
        let by_name = filters([("name", format!("^/{name}$"))]);
        let containers = self.containers_by(by_name).await?;
        Ok(containers.iter().find(|one| name_of(one) == name).map(of))
    }

    /// Returns what publishes `port` of this host and has a running container in `network`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn gateways_at(&self, port: u16, network: &str) -> Result<Vec<Gateway>, EngineError> {
        let services = self.services_by(None).await?;
        let running = self
            .containers_by(filters([("status", "running".to_owned())]))
            .await?;
        let inside = running.iter().filter(|container| {
            let networks = container.network_settings.as_ref();
            let networks = networks.and_then(|settings| settings.networks.as_ref());
            networks.is_some_and(|networks| networks.contains_key(network))
        });
        let mut found = Vec::new();
        for container in inside {
            let mut gateway = of(container);
            let service = match &gateway {
                Gateway::Service { id, .. } => services.iter().find(|service| service.0 == *id),
                Gateway::Container(_) => None,
            };
            let mut published = container.ports.iter().flatten();
            let publishes = published.any(|one| one.public_port == Some(port))
                || service.is_some_and(|service| service.2.contains(&port));
            if let (Gateway::Service { name, .. }, Some(service)) = (&mut gateway, service) {
                name.clone_from(&service.1);
            }
            if publishes && !found.contains(&gateway) {
                found.push(gateway);
            }
        }
        Ok(found)
    }

    /// Returns the running containers of the gateway.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn running_of(&self, gateway: &Gateway) -> Result<Vec<Running>, EngineError> {
        let mut by = match gateway {
            Gateway::Service { id, .. } => filters([("label", format!("{SERVICE}={id}"))]),
            Gateway::Container(name) => filters([("name", format!("^/{name}$"))]),
        };
        by.extend(filters([("status", "running".to_owned())]));
        let containers = self.containers_by(by).await?.into_iter();
        let running = containers
            .filter(|container| container.state == Some(ContainerSummaryStateEnum::RUNNING))
            .map(|container| Running {
                is_task: service_of(&container).is_some(),
                id: container.id.unwrap_or_default(),
            });
        Ok(running.collect())
    }

    /// Returns how a container stands with the network `name` of `stack`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn standing(
        &self,
        container: &Running,
        name: &str,
        stack: &StackName,
    ) -> Result<Standing, EngineError> {
        let Some(network) = self.network(name).await? else {
            return Ok(Standing::NoNetwork);
        };
        let labels = network.labels.as_ref();
        let owner = labels.and_then(|labels| labels.get(NAMESPACE));
        if owner.map(String::as_str) != Some(stack.as_str()) || !stack.owns(name) {
            return Ok(Standing::Foreign);
        }
        let inside = network.containers.as_ref();
        if inside.is_some_and(|inside| inside.contains_key(&container.id)) {
            return Ok(Standing::In);
        }
        let address = container.is_task.then(|| last_free(&network)).flatten();
        Ok(Standing::Out(Seat { address }))
    }

    /// Has a container join a network. Returns whether it could: the engine knows a Swarm's network from the moment on
    /// at which a task of it runs here.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn join(
        &self,
        container: &Running,
        network: &str,
        seat: Seat,
    ) -> Result<bool, EngineError> {
        let ipam = seat.address.map(|address| EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        });
        let request = NetworkConnectRequest {
            container: container.id.clone(),
            endpoint_config: Some(EndpointSettings {
                ipam_config: ipam,
                ..EndpointSettings::default()
            }),
        };
        let joined = self.docker.connect_network(network, request).await;
        let what = || format!("join the gateway's container to network `{network}`");
        match joined.map_err(|error| self.failed(what(), error)) {
            Ok(()) => Ok(true),
            // The gateway's container may have gone meanwhile, too; the next look tells.
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has a container leave a network. One that is not in it, or not there any more, has left.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn leave(&self, container: &str, network: &str) -> Result<(), EngineError> {
        let what = || format!("look at the gateway's container `{container}`");
        let inspected = self
            .docker
            .inspect_container(container, None::<InspectContainerOptions>)
            .await
            .map_err(|error| self.failed(what(), error));
        let networks = match inspected {
            Ok(found) => found.network_settings.and_then(|found| found.networks),
            Err(error) if error.is_gone() => return Ok(()),
            Err(error) => return Err(error),
        };
        if !networks.is_some_and(|networks| networks.contains_key(network)) {
            return Ok(());
        }
        let request = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: Some(true),
        };
        let left = self.docker.disconnect_network(network, request).await;
        let what = || format!("have the gateway's container leave network `{network}`");
        match left.map_err(|error| self.failed(what(), error)) {
            Err(error) if error.is_gone() => Ok(()),
            other => other,
        }
    }

    pub(super) async fn network(&self, name: &str) -> Result<Option<NetworkInspect>, EngineError> {
        let found = self
            .docker
            .inspect_network(name, None::<InspectNetworkOptions>)
            .await
            .map_err(|error| self.failed(format!("inspect network `{name}`"), error));
        match found {
            // The engine takes the beginning of an id for a name.
            Ok(network) => Ok(Some(network).filter(|one| one.name.as_deref() == Some(name))),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns id, name and published ports of services.
    async fn services_by(
        &self,
        by: Option<HashMap<String, Vec<String>>>,
    ) -> Result<Vec<(String, String, Vec<u16>)>, EngineError> {
        let options = ListServicesOptions {
            filters: by,
            ..ListServicesOptions::default()
        };
        let services = self
            .docker
            .list_services(Some(options))
            .await
            .map_err(|error| self.failed("list the services", error))?;
        let each = services.into_iter().map(|service| {
            let ports = service.endpoint.and_then(|endpoint| endpoint.ports);
            let ports = ports.into_iter().flatten();
            let ports = ports.filter_map(|port| u16::try_from(port.published_port?).ok());
            (
                service.id.unwrap_or_default(),
                service.spec.and_then(|spec| spec.name).unwrap_or_default(),
                ports.collect(),
            )
        });
        Ok(each.collect())
    }
}

fn name_of(container: &ContainerSummary) -> &str {
    let names = container.names.as_ref();
    let name = names.and_then(|names| names.first());
    name.map_or("", |name| name.trim_start_matches('/'))
}

fn service_of(container: &ContainerSummary) -> Option<&String> {
    container.labels.as_ref()?.get(SERVICE)
}

/// A task's container has another name each time, so its service stands for it.
fn of(container: &ContainerSummary) -> Gateway {
    match service_of(container) {
        Some(id) => Gateway::Service {
            id: id.clone(),
            name: id.clone(),
        },
        None => Gateway::Container(name_of(container).to_owned()),
    }
}

/// Returns the last address of a network that no container here has. A task's container gets its address here and not
/// from the Swarm, which gives the first free ones to tasks and does not know of it.
fn last_free(network: &NetworkInspect) -> Option<Ipv4Addr> {
    let configs = network.ipam.as_ref()?.config.as_ref()?;
    let subnet = configs.iter().find_map(|one| {
        let (address, bits) = one.subnet.as_deref()?.split_once('/')?;
        Some((address.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?))
    });
    let (base, bits) = subnet.filter(|(_, bits)| *bits <= 30)?;
    let mask = u32::MAX.checked_shr(bits).unwrap_or(0);
    let first = u32::from(base) & !mask;
    let taken: Vec<Ipv4Addr> = network
        .containers
        .iter()
        .flatten()
        .filter_map(|(_, one)| one.ipv4_address.as_deref()?.split('/').next()?.parse().ok())
        .collect();
    let addresses = (first + 2..first + mask).rev().map(Ipv4Addr::from);
    addresses.take(256).find(|one| !taken.contains(one))
}

#[cfg(test)]
mod tests {
    use bollard::models::{EndpointResource, Ipam, IpamConfig};

    use super::*;

    fn network(subnet: &str, taken: &[&str]) -> NetworkInspect {
        let containers = taken.iter().map(|address| {
            let resource = EndpointResource {
                ipv4_address: Some(format!("{address}/24")),
                ..EndpointResource::default()
            };
            ((*address).to_owned(), resource)
        });
        NetworkInspect {
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(subnet.to_owned()),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            containers: Some(containers.collect()),
            ..NetworkInspect::default()
        }
    }

    #[test]
    fn a_gateway_sits_at_the_far_end_of_a_network() {
        let last = |subnet: &str, taken: &[&str]| {
            last_free(&network(subnet, taken)).map(|address| address.to_string())
        };
        assert_eq!(last("10.0.7.0/24", &[]).as_deref(), Some("10.0.7.254"));
        let taken = ["10.0.7.254", "10.0.7.2"];
        assert_eq!(last("10.0.7.0/24", &taken).as_deref(), Some("10.0.7.253"));
        assert_eq!(last("10.1.0.0/16", &[]).as_deref(), Some("10.1.255.254"));
        assert_eq!(last("10.0.7.0/31", &[]), None);
        assert_eq!(last("fd00::/64", &[]), None);
    }
}
