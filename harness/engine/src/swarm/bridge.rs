//! The bridge by which tasks of a swarm reach what is outside its networks, and are reached by the host.

use std::collections::HashMap;

use bollard::models::{
    Ipam, IpamConfig, NetworkCreateRequest, NetworkDisconnectRequest, NetworkInspect,
};

use super::{Engine, EngineError};

/// Its name, and that of its interface as Docker makes it. Every container of an overlay network has a leg on it; the host
/// reaches it there, without DNS, gateway or IPVS.
pub const GATEWAY_BRIDGE: &str = "docker_gwbridge";

impl Engine {
    /// Returns in which way the bridge is not as Docker makes it, if it is there and is not.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be asked for.
    pub async fn odd_bridge(&self) -> Result<Option<String>, EngineError> {
        let network = self.network(GATEWAY_BRIDGE).await?;
        Ok(network.as_ref().and_then(odd))
    }

    /// Returns whether the bridge by which tasks of a swarm are reached is there and has the network `subnet`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn gateway_bridge_is(&self, subnet: &str) -> Result<bool, EngineError> {
        let found = self.docker.inspect_network(GATEWAY_BRIDGE, None).await;
        let found =
            found.map_err(|error| self.failed(format!("inspect `{GATEWAY_BRIDGE}`"), error));
        match found {
            Ok(network) => Ok(network
                .ipam
                .and_then(|ipam| ipam.config)
                .is_some_and(|parts| {
                    parts
                        .iter()
                        .any(|part| part.subnet.as_deref() == Some(subnet))
                })),
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the bridge, where there is one, with what is on it of containers and of a swarm that are gone: an engine
    /// that was killed goes on with the endpoints that it had.
    async fn remove_gateway_bridge(&self) -> Result<(), EngineError> {
        let Some(network) = self.network(GATEWAY_BRIDGE).await? else {
            return Ok(());
        };
        for endpoint in network.containers.unwrap_or_default().into_values() {
            // By its own name, which is what force goes by where there is no container of that name.
            let request = NetworkDisconnectRequest {
                container: endpoint.name.unwrap_or_default(),
                force: Some(true),
            };
            // What stays keeps the network, which says so.
            drop(
                self.docker
                    .disconnect_network(GATEWAY_BRIDGE, request)
                    .await,
            );
        }
        let removed = self.docker.remove_network(GATEWAY_BRIDGE).await;
        removed.map_err(|error| self.failed(format!("remove `{GATEWAY_BRIDGE}`"), error))
    }

    /// Makes the bridge by which tasks of a swarm are reached, with the network `subnet`, in the place of any other. For
    /// an engine that is in no swarm.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn make_gateway_bridge(&self, subnet: &str) -> Result<(), EngineError> {
        self.remove_gateway_bridge().await?;
        // As an engine makes it (`daemon/cluster/executor/container/executor.go`), but for the last one: since Docker 28
        // a container is not reached from another link than its bridge.
        let options = [
            ("com.docker.network.bridge.name", GATEWAY_BRIDGE),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
            ("com.docker.network.bridge.trusted_host_interfaces", "eth0"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request = NetworkCreateRequest {
            name: GATEWAY_BRIDGE.to_owned(),
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from(options)),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(subnet.to_owned()),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            ..NetworkCreateRequest::default()
        };
        let made = self.docker.create_network(request).await;
        made.map(drop)
            .map_err(|error| self.failed(format!("make `{GATEWAY_BRIDGE}`"), error))
    }
}

/// Returns in which way the bridge is not as Docker makes it, if it is not: with a name of its own for its interface, for
/// containers that reach each other, or with IPv6
/// (<https://docs.docker.com/engine/swarm/networking/#customize-the-docker_gwbridge>).
fn odd(bridge: &NetworkInspect) -> Option<String> {
    let option = |name: &str| {
        let options = bridge.options.as_ref()?;
        options.get(&format!("com.docker.network.bridge.{name}"))
    };
    let interface = option("name").map(String::as_str);
    if interface != Some(GATEWAY_BRIDGE) {
        let interface = interface.unwrap_or("one of the engine's choice");
        Some(format!("its interface is {interface}"))
    } else if option("enable_icc").is_none_or(|icc| icc != "false") {
        Some("containers reach each other there (`enable_icc`)".to_owned())
    } else if bridge.enable_ipv6 == Some(true) {
        Some("it has IPv6".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(options: &[(&str, &str)], ipv6: Option<bool>) -> NetworkInspect {
        let options = options.iter().map(|(name, value)| {
            let name = format!("com.docker.network.bridge.{name}");
            (name, (*value).to_owned())
        });
        NetworkInspect {
            options: Some(options.collect()),
            enable_ipv6: ipv6,
            ..NetworkInspect::default()
        }
    }

    #[test]
    fn a_bridge_that_is_not_as_docker_makes_it_is_odd() {
        let (name, icc) = (("name", GATEWAY_BRIDGE), ("enable_icc", "false"));
        let masquerade = ("enable_ip_masquerade", "true");
        assert_eq!(odd(&bridge(&[name, icc, masquerade], Some(false))), None);
        assert_eq!(odd(&bridge(&[name, icc], None)), None);
        for (options, ipv6, word) in [
            (&[("name", "br-swarm"), icc][..], None, "br-swarm"),
            (&[icc], None, "of the engine's choice"),
            (&[name, ("enable_icc", "true")], None, "enable_icc"),
            // What Docker takes for true where it is not said.
            (&[name], None, "enable_icc"),
            (&[name, icc], Some(true), "IPv6"),
        ] {
            let said = odd(&bridge(options, ipv6)).unwrap();
            assert!(said.contains(word), "{said}");
        }
        assert!(odd(&NetworkInspect::default()).is_some());
    }
}
