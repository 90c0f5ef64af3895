//! What the engine was told to run: the specs of a stack's services, as far as they are held against a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard::models::{
    Config, Mount, Network, Service, ServiceSpec as ApiSpec, TaskSpecContainerSpec,
};
use bollard::query_parameters::{
    InspectNetworkOptions, ListConfigsOptionsBuilder, ListNetworksOptions,
};
use serde_json::Value;

use super::service::exact_image;
use super::{Engine, EngineError, NAMESPACE, filters};
use crate::name::StackName;

/// The label in which `docker stack deploy` keeps the image as the compose file writes it: `convert/service.go` of
/// docker/cli.
const IMAGE_LABEL: &str = "com.docker.stack.image";

/// One service's spec. Everything is by name and as text, so that two of them can be compared and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceSpec {
    /// The image, as [`exact_image`] has it.
    pub image: String,
    /// The service's labels, without those that `docker stack deploy` adds.
    pub labels: BTreeMap<String, String>,
    /// The containers' labels, without the namespace.
    pub container_labels: BTreeMap<String, String>,
    /// The environment: `NAME=value`, or `NAME` of a variable that is taken away.
    pub environment: BTreeSet<String>,
    /// The mounts: `volume note_data at /data`, `ro` behind it where the container cannot write.
    pub mounts: BTreeSet<String>,
    /// The ports: `8080 → 80/tcp ingress`; 0 is one that the engine chooses.
    pub ports: BTreeSet<String>,
    /// The secrets: `note_key_v1 at key`.
    pub secrets: BTreeSet<String>,
    /// The configs, in the same way.
    pub configs: BTreeSet<String>,
    /// The names of the networks.
    pub networks: BTreeSet<String>,
    /// The healthcheck; `None` where it is left to the image.
    pub healthcheck: Option<HealthSpec>,
}

/// A healthcheck, in what all engines know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthSpec {
    /// The test: `CMD`, `CMD-SHELL` or `NONE`, and what follows; empty for the image's.
    pub test: Vec<String>,
    /// How long after a check the next one comes; zero is left to the image or to Docker, as in all below.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How long the first failures do not count.
    pub start_period: Duration,
    /// After how many failures a container is unhealthy.
    pub retries: u64,
}

impl std::fmt::Display for HealthSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            test,
            interval,
            timeout,
            start_period,
            retries,
        } = self;
        write!(
            f,
            "{test:?} every {interval:?} for {timeout:?} after {start_period:?}, {retries} times"
        )
    }
}

/// What the engine has of a stack.
#[derive(Debug, Clone, Default)]
pub struct StackSpec {
    /// The services, by full name.
    pub services: BTreeMap<String, ServiceSpec>,
    /// What the configs of the stack hold, by full name.
    pub configs: BTreeMap<String, Vec<u8>>,
}

impl Engine {
    /// Reads what the engine was told to run of `stack`.
    ///
    /// # Errors
    /// [`EngineError`] when services, networks or configs cannot be listed.
    pub async fn stack_spec(&self, stack: &StackName) -> Result<StackSpec, EngineError> {
        let mine = filters([("label", format!("{NAMESPACE}={stack}"))]);
        let configs = ListConfigsOptionsBuilder::new().filters(&mine).build();
        let (services, networks, configs) = futures_util::join!(
            self.raw_services(&mine),
            self.docker.list_networks(None::<ListNetworksOptions>),
            self.docker.list_configs(Some(configs)),
        );
        let failed = |kind: &str, error| self.failed(format!("list the {kind} of {stack}"), error);
        let networks = networks.map_err(|error| failed("networks", error))?;
        let services = services?;
        let mut checks = healthchecks(&services);
        let services: Vec<Service> =
            serde_json::from_value(services).map_err(|error| failed("services", error.into()))?;
        let mut names = network_names(networks);
        // The swarm has objects of its own for `host`, `bridge` and `none`, which no listing holds.
        let specs = services.iter().filter_map(|service| service.spec.as_ref());
        let mut unlisted: Vec<String> = specs.flat_map(attached).collect();
        unlisted.retain(|target| !names.contains_key(target));
        for target in unlisted {
            let found = self
                .docker
                .inspect_network(&target, None::<InspectNetworkOptions>);
            match found.await.map_err(|error| failed("networks", error)) {
                Ok(network) => {
                    names.insert(target, network.name.unwrap_or_default());
                }
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        let mut spec = StackSpec::default();
        for service in services {
            let read = service.spec.unwrap_or_default();
            let name = read.name.clone().unwrap_or_default();
            let mut read = read_spec(read, &names);
            read.healthcheck = checks.remove(&name);
            spec.services.insert(name, read);
        }
        for config in configs.map_err(|error| failed("configs", error))? {
            let (name, data) = read_config(config);
            spec.configs.insert(name, data);
        }
        Ok(spec)
    }
}

/// Returns the healthchecks of services by full name, from the engine's own words: bollard's model calls the key
/// `HealthCheck`, the engine `Healthcheck`.
fn healthchecks(services: &Value) -> BTreeMap<String, HealthSpec> {
    let services = services.as_array().into_iter().flatten();
    services
        .filter_map(|service| {
            let name = service.pointer("/Spec/Name")?.as_str()?;
            let check = service.pointer("/Spec/TaskTemplate/ContainerSpec/Healthcheck")?;
            let span = |key: &str| {
                let nanoseconds = check.get(key).and_then(Value::as_u64);
                Duration::from_nanos(nanoseconds.unwrap_or(0))
            };
            let test = check.get("Test").and_then(Value::as_array);
            let words = test.into_iter().flatten().filter_map(Value::as_str);
            let check = HealthSpec {
                test: words.map(str::to_owned).collect(),
                interval: span("Interval"),
                timeout: span("Timeout"),
                start_period: span("StartPeriod"),
                retries: check.get("Retries").and_then(Value::as_u64).unwrap_or(0),
            };
            Some((name.to_owned(), check)).filter(|(_, check)| *check != HealthSpec::default())
        })
        .collect()
}

/// Returns the ids of the networks that a service is attached to.
fn attached(spec: &ApiSpec) -> Vec<String> {
    let template = spec.task_template.as_ref();
    let networks = template.and_then(|template| template.networks.as_ref());
    let networks = networks.or(spec.networks.as_ref());
    let networks = networks.into_iter().flatten();
    networks
        .filter_map(|network| network.target.clone())
        .collect()
}

fn network_names(networks: Vec<Network>) -> BTreeMap<String, String> {
    networks
        .into_iter()
        .map(|network| {
            (
                network.id.unwrap_or_default(),
                network.name.unwrap_or_default(),
            )
        })
        .collect()
}

fn read_config(config: Config) -> (String, Vec<u8>) {
    let spec = config.spec.unwrap_or_default();
    // What cannot be decoded is no content that was planned.
    let data = BASE64_STANDARD.decode(spec.data.unwrap_or_default());
    (spec.name.unwrap_or_default(), data.unwrap_or_default())
}

fn read_spec(spec: ApiSpec, networks: &BTreeMap<String, String>) -> ServiceSpec {
    let attached = attached(&spec);
    let template = spec.task_template.unwrap_or_default();
    let container = template.container_spec.unwrap_or_default();
    let ports = spec.endpoint_spec.and_then(|endpoint| endpoint.ports);
    let own = |labels: Option<std::collections::HashMap<String, String>>| {
        let labels = labels.unwrap_or_default().into_iter();
        labels
            .filter(|(key, _)| key != NAMESPACE && key != IMAGE_LABEL)
            .collect()
    };
    ServiceSpec {
        image: exact_image(container.image.as_deref().unwrap_or_default()),
        labels: own(spec.labels),
        container_labels: own(container.labels.clone()),
        environment: container.env.iter().flatten().cloned().collect(),
        mounts: container.mounts.iter().flatten().map(mount).collect(),
        ports: ports
            .into_iter()
            .flatten()
            .map(|port| {
                let word = |value: Option<String>, default: &str| {
                    let value = value.filter(|value| !value.is_empty());
                    value.unwrap_or_else(|| default.to_owned())
                };
                format!(
                    "{} → {}/{} {}",
                    port.published_port.unwrap_or_default(),
                    port.target_port.unwrap_or_default(),
                    word(port.protocol.map(|value| value.to_string()), "tcp"),
                    word(port.publish_mode.map(|value| value.to_string()), "ingress"),
                )
            })
            .collect(),
        secrets: secrets(&container),
        configs: configs(&container),
        networks: attached
            .into_iter()
            .map(|target| networks.get(&target).cloned().unwrap_or(target))
            .collect(),
        healthcheck: None,
    }
}

fn mount(mount: &Mount) -> String {
    let kind = mount.typ.map(|kind| kind.to_string()).unwrap_or_default();
    let source = mount.source.as_deref().unwrap_or_default();
    let target = mount.target.as_deref().unwrap_or_default();
    mount_text(&kind, source, target, mount.read_only.unwrap_or(false))
}

/// Returns a mount as [`ServiceSpec::mounts`] has it.
#[must_use]
pub fn mount_text(kind: &str, source: &str, target: &str, read_only: bool) -> String {
    let source = if source.is_empty() {
        String::new()
    } else {
        format!(" {source}")
    };
    let mode = if read_only { " ro" } else { "" };
    format!("{kind}{source} at {target}{mode}")
}

fn secrets(container: &TaskSpecContainerSpec) -> BTreeSet<String> {
    let secrets = container.secrets.iter().flatten();
    secrets
        .map(|secret| {
            let file = secret.file.as_ref().and_then(|file| file.name.as_deref());
            format!(
                "{} at {}",
                secret.secret_name.as_deref().unwrap_or_default(),
                file.unwrap_or_default()
            )
        })
        .collect()
}

fn configs(container: &TaskSpecContainerSpec) -> BTreeSet<String> {
    let configs = container.configs.iter().flatten();
    configs
        .map(|config| {
            let file = config.file.as_ref().and_then(|file| file.name.as_deref());
            format!(
                "{} at {}",
                config.config_name.as_deref().unwrap_or_default(),
                file.unwrap_or_default()
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn healthchecks_are_read_in_the_engines_own_words() {
        let service = |name: &str, container: Value| json!({"Spec": {"Name": name, "TaskTemplate": {"ContainerSpec": container}}});
        let check = json!({"Test": ["CMD", "x"], "Interval": 2_000_000_000_u64, "Retries": 45});
        let found = healthchecks(&json!([
            service("a", json!({"Healthcheck": check})),
            service("b", json!({"Healthcheck": {}})),
            service("c", json!({})),
        ]));
        let expected = HealthSpec {
            test: vec!["CMD".to_owned(), "x".to_owned()],
            interval: Duration::from_secs(2),
            retries: 45,
            ..HealthSpec::default()
        };
        assert_eq!(found, BTreeMap::from([("a".to_owned(), expected)]));
    }
}
