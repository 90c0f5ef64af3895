//! What the engine was told to run: the specs of a stack's services, in a form in which two of them can be compared.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard::models::{Config, Network};
use bollard::query_parameters::{
    InspectNetworkOptions, ListConfigsOptionsBuilder, ListNetworksOptions,
};
use serde_json::{Value, json};

use super::service::exact_image;
use super::{Engine, EngineError, filters};
use ground::label::NAMESPACE;
use ground::name::StackName;

/// What the engine has of a stack.
#[derive(Debug, Clone, Default)]
pub struct StackSpec {
    /// The specs of the services by full name, as [`kept`] has them.
    pub services: BTreeMap<String, Value>,
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
        let mut names = network_names(networks);
        // The swarm has objects of its own for `host`, `bridge` and `none`, which no listing holds.
        let specs = || {
            let services = services.as_array().into_iter().flatten();
            services.filter_map(|service| service.get("Spec"))
        };
        let mut unlisted: Vec<String> = specs().flat_map(attached).collect();
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
        for service in specs() {
            let name = service.get("Name").and_then(Value::as_str);
            let read = kept(&by_name(service.clone(), &names));
            spec.services
                .insert(name.unwrap_or_default().to_owned(), read);
        }
        for config in configs.map_err(|error| failed("configs", error))? {
            let (name, data) = read_config(config);
            spec.configs.insert(name, data);
        }
        Ok(spec)
    }
}

/// Returns the ids of the networks that a service is attached to.
fn attached(spec: &Value) -> Vec<String> {
    let networks = spec.pointer("/TaskTemplate/Networks");
    let networks = networks.and_then(Value::as_array).into_iter().flatten();
    networks
        .filter_map(|network| Some(network.get("Target")?.as_str()?.to_owned()))
        .collect()
}

/// Returns a spec with the names of its networks in the place of ids.
fn by_name(mut spec: Value, networks: &BTreeMap<String, String>) -> Value {
    let attached = spec.pointer_mut("/TaskTemplate/Networks");
    for network in attached.and_then(Value::as_array_mut).into_iter().flatten() {
        let name = network["Target"].as_str().and_then(|id| networks.get(id));
        if let Some(name) = name {
            network["Target"] = name.as_str().into();
        }
    }
    spec
}

/// What is zero and is not the same as what is not said.
const MEANT: [&str; 4] = ["Replicas", "Init", "StopGracePeriod", "Delay"];

/// Lists whose order is a matter of the program that reads them.
const ORDERED: [&str; 8] = [
    "Command",
    "Args",
    "Test",
    "Hosts",
    "Nameservers",
    "Search",
    "Options",
    "Preferences",
];

/// What is no part of a project: ids that follow from names, a counter, and what the engine knows of one kind only.
const ELSEWHERE: [&str; 5] = [
    "SecretID",
    "ConfigID",
    "ForceUpdate",
    "Runtime",
    "Consistency",
];

/// Returns a spec as the engine keeps it, in one form: what it fills in is filled in, what says nothing is left out,
/// and lists without an order are sorted. Applied to a request it is what the engine should show afterwards, and applied
/// to what the engine shows it changes the form alone.
///
/// The rules are those of `daemon/cluster/convert` in moby.
#[must_use]
pub fn kept(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let template = &mut spec["TaskTemplate"];
    let container = &mut template["ContainerSpec"];
    let image = container["Image"].as_str().map(exact_image);
    container["Image"] = image.into();
    one_of(
        &mut container["Isolation"],
        &["process", "hyperv"],
        Value::Null,
    );
    // The config with the credentials is named by its id, and is among the others by its name.
    let id = container.pointer("/Privileges/CredentialSpec/Config");
    let configs = container["Configs"].as_array().into_iter().flatten();
    let mut configs = configs.filter(|one| id.is_some() && id == one.get("ConfigID"));
    if let Some(name) = configs.next().map(|one| one["ConfigName"].clone()) {
        container["Privileges"]["CredentialSpec"]["Config"] = name;
    }
    for mount in container["Mounts"].as_array_mut().into_iter().flatten() {
        // The first of the engine's kinds, which it takes where none is said.
        one_of(
            &mut mount["Type"],
            &["volume", "tmpfs", "npipe", "cluster", "image"],
            "bind".into(),
        );
        if mount["BindOptions"]["Propagation"] == "rprivate" {
            mount["BindOptions"]["Propagation"] = Value::Null;
        }
    }
    let policy = &mut template["RestartPolicy"];
    if policy.is_object() {
        one_of(
            &mut policy["Condition"],
            &["none", "on-failure"],
            "any".into(),
        );
    }
    let endpoint = &mut spec["EndpointSpec"];
    if endpoint.is_object() {
        one_of(&mut endpoint["Mode"], &["dnsrr"], Value::Null);
        for port in endpoint["Ports"].as_array_mut().into_iter().flatten() {
            one_of(&mut port["Protocol"], &["udp", "sctp"], "tcp".into());
            one_of(&mut port["PublishMode"], &["host"], "ingress".into());
        }
    }
    for config in ["UpdateConfig", "RollbackConfig"] {
        let config = &mut spec[config];
        if config.is_object() {
            one_of(
                &mut config["FailureAction"],
                &["continue", "rollback"],
                "pause".into(),
            );
            one_of(&mut config["Order"], &["start-first"], "stop-first".into());
            // Not to wait between two tasks is what is done where nothing is said.
            if config["Delay"] == 0 {
                config["Delay"] = Value::Null;
            }
        }
    }
    spec["Mode"] = mode(&spec["Mode"]);
    tidy("", &mut spec);
    spec
}

/// Makes `value` one of `known`, in lower case, or `other`.
fn one_of(value: &mut Value, known: &[&str], other: Value) {
    let given = value.as_str().unwrap_or_default().to_lowercase();
    *value = match known.contains(&given.as_str()) {
        true => given.into(),
        false => other,
    };
}

/// Returns how many tasks there are to be, with what the engine fills in.
fn mode(mode: &Value) -> Value {
    let count = |value: &Value, or: &Value| match value {
        Value::Null => or.clone(),
        count => count.clone(),
    };
    let (one, job) = (json!(1), &mode["ReplicatedJob"]);
    if mode["Global"].is_object() {
        json!("global")
    } else if mode["GlobalJob"].is_object() {
        json!("global-job")
    } else if job.is_object() {
        let at_a_time = count(&job["MaxConcurrent"], &one);
        let total = count(&job["TotalCompletions"], &at_a_time);
        json!({"ReplicatedJob": {"MaxConcurrent": at_a_time, "TotalCompletions": total}})
    } else {
        json!({"Replicas": count(&mode["Replicated"]["Replicas"], &one)})
    }
}

/// Mappings from names of the recipe's to texts.
const MAPS: [&str; 4] = ["Labels", "Options", "Sysctls", "DriverOpts"];

/// Leaves out what says nothing, and sorts lists without an order.
fn tidy(key: &str, value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.sort_keys();
            if MAPS.contains(&key) {
                return;
            }
            for (key, value) in entries.iter_mut() {
                tidy(key, value);
            }
            entries.retain(|key, value| says(key, value) && !ELSEWHERE.contains(&key.as_str()));
        }
        Value::Array(items) => {
            for item in items.iter_mut() {
                tidy("", item);
            }
            if !ORDERED.contains(&key) {
                items.sort_by_cached_key(Value::to_string);
            }
        }
        _ => {}
    }
}

fn says(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(entries) => !entries.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0) || MEANT.contains(&key),
        Value::Bool(is) => *is || MEANT.contains(&key),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn container(container: &Value) -> Value {
        let spec = json!({"Name": "a", "TaskTemplate": {"ContainerSpec": container}});
        kept(&spec)["TaskTemplate"]["ContainerSpec"].take()
    }

    #[test]
    fn what_is_asked_for_is_what_the_engine_shows_of_it() {
        // Captured from docker 20.10.24: what is created, and what is listed then.
        let asked = json!({
            "Name": "a", "Labels": {"empty": ""}, "TaskTemplate": {"ContainerSpec": {
                "Image": "docker.io/library/busybox", "Env": ["B=2", "A=1"], "Init": false, "StopGracePeriod": 0,
                "Mounts": [{"Type": "volume", "Source": "v", "Target": "/v", "BindOptions": {"Propagation": "rprivate"}}],
                "Privileges": {"CredentialSpec": null}, "Healthcheck": {"Interval": 0},
            }, "RestartPolicy": {}, "Resources": {"Limits": {"MemoryBytes": 5}}},
            "EndpointSpec": {"Ports": [{"TargetPort": 80, "PublishMode": "banana"}]},
            "UpdateConfig": {"Parallelism": 1, "Delay": 0}, "Mode": {},
        });
        let shown = json!({
            "Name": "a", "Labels": {"empty": ""}, "TaskTemplate": {"ContainerSpec": {
                "Image": "busybox:latest", "Env": ["A=1", "B=2"], "Init": false, "Isolation": "default",
                "DNSConfig": {}, "StopGracePeriod": 0, "Mounts": [{"Type": "volume", "Source": "v", "Target": "/v"}],
                "Privileges": {"CredentialSpec": null, "SELinuxContext": null},
                "Healthcheck": {},
            }, "Resources": {"Limits": {"MemoryBytes": 5}}, "RestartPolicy": {"Condition": "any", "MaxAttempts": 0},
            "ForceUpdate": 0, "Runtime": "container"},
            "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress"}]},
            "UpdateConfig": {"Parallelism": 1, "FailureAction": "pause", "MaxFailureRatio": 0, "Order": "stop-first"},
            "Mode": {"Replicated": {"Replicas": 1}},
        });
        assert_eq!(kept(&asked), kept(&shown));
    }

    #[test]
    fn what_is_zero_and_meant_is_told_from_what_is_not_said() {
        for said in [
            json!({"Init": false}),
            json!({"StopGracePeriod": 0}),
            json!({"Labels": {"Runtime": ""}}),
            json!({"Args": [""]}),
        ] {
            assert_ne!(container(&said), container(&json!({})), "{said}");
        }
        for nothing in [
            json!({"TTY": false, "Hosts": [], "Hostname": "", "DNSConfig": {"Search": null}}),
            json!({"Healthcheck": {"Test": null, "Retries": 0}}),
        ] {
            assert_eq!(container(&nothing), container(&json!({})), "{nothing}");
        }
        let order = |key: &str| {
            let of = |items: Value| container(&json!({key: items}));
            of(json!(["b", "a"])) == of(json!(["a", "b"]))
        };
        assert!(!order("Args") && !order("Command") && order("CapabilityAdd"));
    }

    #[test]
    fn networks_and_credentials_are_read_by_name() {
        let names = BTreeMap::from([("n1".to_owned(), "proxy".to_owned())]);
        let spec = json!({"TaskTemplate": {"Networks": [{"Target": "n1"}, {"Target": "gone"}]}});
        assert_eq!(attached(&by_name(spec, &names)), ["proxy", "gone"]);
        let read = container(&json!({
            "Configs": [{"ConfigID": "c1", "ConfigName": "x_c"}],
            "Privileges": {"CredentialSpec": {"Config": "c1"}},
        }));
        let config = read.pointer("/Privileges/CredentialSpec/Config");
        assert_eq!(config, Some(&json!("x_c")));
    }
}
