//! The override file that abra is given on a kernel without IPVS.

use serde_json::{Map, Value, json};

use super::Project;
use super::model::PortMode;

/// The schema version for files that have none: the newest that abra's loader and every docker of the last years know.
const DEFAULT_SCHEMA_VERSION: &str = "3.8";

/// Returns an override file for `project`: the endpoint mode `dnsrr` for every service that has none, and its
/// published ports in host mode.
///
/// It has the `version` of the other files, because Docker refuses files that differ. Docker merges ports by their
/// published number, so these take the place of the recipe's.
#[must_use]
pub fn without_ipvs(project: &Project) -> Value {
    let mut services = Map::new();
    for service in &project.services {
        let mut entry = Map::new();
        if service.endpoint_mode.is_none() {
            entry.insert("deploy".to_owned(), json!({"endpoint_mode": "dnsrr"}));
        }
        let ports: Vec<Value> = service
            .ports
            .iter()
            .filter(|port| port.mode != PortMode::Host && port.published.is_some())
            .map(|port| {
                json!({"target": port.target, "published": port.published, "protocol": port.protocol, "mode": "host"})
            })
            .collect();
        if !ports.is_empty() {
            entry.insert("ports".to_owned(), ports.into());
        }
        if !entry.is_empty() {
            services.insert(service.name.clone(), entry.into());
        }
    }
    let version = project.schema_version.as_deref();
    json!({"version": version.unwrap_or(DEFAULT_SCHEMA_VERSION), "services": services})
}
