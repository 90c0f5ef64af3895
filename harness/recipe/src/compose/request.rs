//! What Docker's client asks the engine for when it deploys a service of a resolved project.
//!
//! It is worked out from the project alone, so that what a client really asked for can be held against it. The rules are
//! those of `cli/compose/convert` in github.com/docker/cli. A test deploys some hundred projects to an engine that
//! remembers every request and compares them: `tests/integration/deployed.rs`.

use serde_json::{Map, Value, json};

use super::canon::scalar;
use super::duration::nanoseconds;
use super::resolve::Resolved;
use super::restart;
use super::schema::{size, words};
use ground::label::{self, NAMESPACE};

/// Networks of the engine's own, on which services have no names.
const PREDEFINED: [&str; 4] = ["default", "bridge", "host", "none"];

/// The mode of a secret's or config's file where the recipe says nothing: 0444.
const FILE_MODE: u64 = 0o444;

impl Resolved {
    /// Returns the body of the request that makes `service`, a key below `services`, in `stack`. Secrets, configs and
    /// networks stand there by their names only, and lists are in the order of the document.
    #[must_use]
    pub fn request(&self, service: &str, stack: &str) -> Value {
        let document = self.document();
        let at = At {
            document,
            service: &document["services"][service],
            stack,
        };
        at.request(service)
    }
}

/// A service of a document.
struct At<'a> {
    document: &'a Value,
    service: &'a Value,
    stack: &'a str,
}

impl At<'_> {
    fn request(&self, name: &str) -> Value {
        let (service, deploy) = (self.service, &self.service["deploy"]);
        let mut labels = self.labels(&deploy["labels"]);
        labels[label::IMAGE] = text(&service["image"]).into();
        json!({
            "Name": format!("{}_{name}", self.stack),
            "Labels": labels,
            "TaskTemplate": {
                "ContainerSpec": self.container(),
                "LogDriver": service.get("logging").map(|logging| json!({
                    "Name": logging["driver"],
                    "Options": texts(pairs(&logging["options"])),
                })),
                "Resources": resources(&deploy["resources"]),
                "RestartPolicy": restart_policy(service),
                "Placement": placement(&deploy["placement"]),
                "Networks": self.networks(name),
            },
            "EndpointSpec": {
                "Mode": text(&deploy["endpoint_mode"]).to_lowercase(),
                "Ports": each(&service["ports"], |port| json!({
                    "Protocol": port["protocol"],
                    "TargetPort": number(&port["target"]),
                    "PublishedPort": number(&port["published"]),
                    "PublishMode": port["mode"],
                })),
            },
            "Mode": mode(deploy),
            "UpdateConfig": update(&deploy["update_config"]),
            "RollbackConfig": update(&deploy["rollback_config"]),
        })
    }

    fn container(&self) -> Value {
        let service = self.service;
        let (add, drop) = capabilities(&service["cap_add"], &service["cap_drop"]);
        json!({
            "Image": service["image"],
            "Command": command(&service["entrypoint"]),
            "Args": command(&service["command"]),
            "Hostname": service["hostname"],
            "Hosts": each(&service["extra_hosts"], |host| {
                let (host, address) = text(host).split_once(':').unwrap_or_default();
                format!("{address} {host}").into()
            }),
            "DNSConfig": {
                "Nameservers": service["dns"],
                "Search": service["dns_search"],
            },
            "Healthcheck": healthcheck(&service["healthcheck"]),
            "Env": pairs(&service["environment"]).into_iter().map(|(name, value)| {
                match value {
                    Value::String(value) => format!("{name}={value}"),
                    _ => name,
                }
            }).collect::<Vec<_>>(),
            "Labels": self.labels(&service["labels"]),
            "Dir": service["working_dir"],
            "User": service["user"],
            "Mounts": each(&service["volumes"], |mount| self.mount(mount)),
            "StopGracePeriod": span(&service["stop_grace_period"]),
            "StopSignal": service["stop_signal"],
            "TTY": service["tty"],
            "OpenStdin": service["stdin_open"],
            "Secrets": each(&service["secrets"], |one| self.file("secrets", "SecretName", one)),
            "Configs": self.configs(),
            "ReadOnly": service["read_only"],
            "Privileges": {"CredentialSpec": self.credentials()},
            "Isolation": service["isolation"],
            "Init": service["init"],
            "Sysctls": texts(pairs(&service["sysctls"])),
            "CapabilityAdd": add,
            "CapabilityDrop": drop,
            "Ulimits": ulimits(&service["ulimits"]),
            "OomScoreAdj": number(&service["oom_score_adj"]),
        })
    }

    /// Returns labels with that of the stack.
    fn labels(&self, own: &Value) -> Value {
        let mut labels = texts(pairs(own));
        labels.insert(NAMESPACE.to_owned(), self.stack.into());
        Value::Object(labels)
    }

    /// Returns the full name of an object.
    fn name_of(&self, section: &str, key: &str) -> String {
        let name = text(&self.document[section][key]["name"]);
        if name.is_empty() {
            format!("{}_{key}", self.stack)
        } else {
            name.to_owned()
        }
    }

    fn networks(&self, service: &str) -> Value {
        let networks = self.service["networks"].as_object().into_iter().flatten();
        networks
            .map(|(key, attached)| {
                let target = self.name_of("networks", key);
                let mut aliases = attached["aliases"].as_array().cloned().unwrap_or_default();
                if !PREDEFINED.contains(&target.as_str()) && !target.starts_with("container:") {
                    aliases.push(service.into());
                }
                json!({
                    "Target": target,
                    "Aliases": aliases,
                    "DriverOpts": texts(pairs(&attached["driver_opts"])),
                })
            })
            .collect()
    }

    fn mount(&self, mount: &Value) -> Value {
        let (kind, source) = (text(&mount["type"]), text(&mount["source"]));
        let mut made = json!({
            "Type": kind,
            "Target": mount["target"],
            "ReadOnly": mount["read_only"],
            "Source": source,
            "Consistency": mount["consistency"],
        });
        match kind {
            "volume" | "" if !source.is_empty() => {
                let volume = &self.document["volumes"][source];
                made["Source"] = self.name_of("volumes", source).into();
                made["VolumeOptions"] = json!({
                    "NoCopy": mount["volume"]["nocopy"],
                    "Subpath": mount["volume"]["subpath"],
                });
                if volume["external"] != true {
                    let options = &mut made["VolumeOptions"];
                    options["Labels"] = self.labels(&volume["labels"]);
                    options["DriverConfig"] = json!({
                        "Name": volume["driver"],
                        "Options": texts(pairs(&volume["driver_opts"])),
                    });
                }
            }
            "bind" | "npipe" => {
                made["BindOptions"] = json!({"Propagation": mount["bind"]["propagation"]});
            }
            "tmpfs" => made["TmpfsOptions"] = json!({"SizeBytes": number(&mount["tmpfs"]["size"])}),
            "image" => made["ImageOptions"] = json!({"Subpath": mount["image"]["subpath"]}),
            // A group of cluster volumes is no object of the stack.
            "cluster" if !source.starts_with("group:") => {
                made["Source"] = self.name_of("volumes", source).into();
            }
            _ => {}
        }
        made
    }

    /// Returns a use of a secret or a config.
    fn file(&self, section: &str, name: &str, used: &Value) -> Value {
        let or = |key: &str, default: &str| match text(&used[key]) {
            "" => default.to_owned(),
            given => given.to_owned(),
        };
        let source = text(&used["source"]);
        let mode = match number(&used["mode"]) {
            Value::Null => FILE_MODE.into(),
            mode => mode,
        };
        json!({
            "File": {
                "Name": or("target", source), "UID": or("uid", "0"), "GID": or("gid", "0"), "Mode": mode,
            },
            name: self.name_of(section, source),
        })
    }

    fn configs(&self) -> Value {
        let used = each(&self.service["configs"], |one| {
            self.file("configs", "ConfigName", one)
        });
        let config = text(&self.service["credential_spec"]["config"]);
        let of_runtime = (!config.is_empty())
            .then(|| json!({"Runtime": {}, "ConfigName": self.name_of("configs", config)}));
        used.into_iter().chain(of_runtime).collect()
    }

    fn credentials(&self) -> Value {
        let spec = &self.service["credential_spec"];
        let config = match text(&spec["config"]) {
            "" => Value::Null,
            key => self.name_of("configs", key).into(),
        };
        json!({"Config": config, "File": spec["file"], "Registry": spec["registry"]})
    }
}

fn healthcheck(check: &Value) -> Value {
    if check["disable"] == true {
        return json!({"Test": ["NONE"]});
    }
    json!({
        "Test": check["test"],
        "Interval": span(&check["interval"]),
        "Timeout": span(&check["timeout"]),
        "StartPeriod": span(&check["start_period"]),
        "StartInterval": span(&check["start_interval"]),
        "Retries": number(&check["retries"]),
    })
}

/// Returns how a service's tasks start again; `restart` counts where `deploy` says nothing.
fn restart_policy(service: &Value) -> Value {
    let policy = &service["deploy"]["restart_policy"];
    if policy.is_object() {
        return json!({
            "Condition": policy["condition"],
            "Delay": span(&policy["delay"]),
            "MaxAttempts": number(&policy["max_attempts"]),
            "Window": span(&policy["window"]),
        });
    }
    match restart::policy(text(&service["restart"])) {
        Ok(Some(policy)) => {
            json!({"Condition": policy.condition, "MaxAttempts": policy.max_attempts})
        }
        _ => Value::Null,
    }
}

fn update(config: &Value) -> Value {
    if !config.is_object() {
        return Value::Null;
    }
    let parallelism = match number(&config["parallelism"]) {
        Value::Null => 1.into(),
        count => count,
    };
    json!({
        "Parallelism": parallelism,
        "Delay": span(&config["delay"]),
        "FailureAction": config["failure_action"],
        "Monitor": span(&config["monitor"]),
        "MaxFailureRatio": config["max_failure_ratio"].as_f64().map(single),
        "Order": config["order"],
    })
}

/// Returns a fraction as a float of 32 bits has it, in its shortest form: that is what the engine keeps.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the engine keeps as much of it"
)]
fn single(value: f64) -> Value {
    let text = (value as f32).to_string();
    number(&text.parse::<f64>().map_or(Value::Null, Value::from))
}

fn resources(resources: &Value) -> Value {
    let part = |part: &Value| {
        json!({
            "NanoCPUs": nano_cpus(text(&part["cpus"])),
            "MemoryBytes": size(text(&part["memory"])),
        })
    };
    let (limits, reserved) = (&resources["limits"], &resources["reservations"]);
    let mut made = json!({"Limits": part(limits), "Reservations": part(reserved)});
    made["Limits"]["Pids"] = number(&limits["pids"]);
    made["Reservations"]["GenericResources"] = each(&reserved["generic_resources"], |one| {
        let spec = &one["discrete_resource_spec"];
        json!({"DiscreteResourceSpec": {"Kind": spec["kind"], "Value": number(&spec["value"])}})
    })
    .into();
    made
}

/// Returns billionths of a CPU. Docker takes no text of which any would be left.
#[expect(
    clippy::cast_possible_truncation,
    reason = "no host has as many CPUs as do not fit"
)]
fn nano_cpus(text: &str) -> Option<i64> {
    let cpus: f64 = text.parse().ok()?;
    Some((cpus * 1e9).round() as i64)
}

fn placement(placement: &Value) -> Value {
    json!({
        "Constraints": placement["constraints"],
        "Preferences": each(&placement["preferences"], |one| {
            json!({"Spread": {"SpreadDescriptor": one["spread"]}})
        }),
        "MaxReplicas": number(&placement["max_replicas_per_node"]),
    })
}

fn mode(deploy: &Value) -> Value {
    let replicas = number(&deploy["replicas"]);
    match text(&deploy["mode"]) {
        "global" => json!({"Global": {}}),
        "global-job" => json!({"GlobalJob": {}}),
        "replicated-job" => {
            json!({"ReplicatedJob": {"MaxConcurrent": replicas, "TotalCompletions": replicas}})
        }
        _ => json!({"Replicated": {"Replicas": replicas}}),
    }
}

/// Returns capabilities in Docker's spelling: `EffectiveCapAddCapDrop` in `opts/capabilities.go`.
fn capabilities(add: &Value, drop: &Value) -> (Vec<String>, Vec<String>) {
    let read = |list: &Value| -> Vec<String> {
        let names = list.as_array().into_iter().flatten().map(text);
        let mut names: Vec<String> = names
            .map(|name| match name.trim().to_uppercase() {
                name if name == "ALL" || name.starts_with("CAP_") => name,
                name => format!("CAP_{name}"),
            })
            .collect();
        names.sort();
        names.dedup();
        if names.iter().any(|name| name == "ALL") {
            names = vec!["ALL".to_owned()];
        }
        names
    };
    let (add, mut drop) = (read(add), read(drop));
    drop.retain(|name| !add.contains(name));
    (add, drop)
}

fn ulimits(ulimits: &Value) -> Value {
    let ulimits = ulimits.as_object().into_iter().flatten();
    ulimits
        .map(|(name, limit)| {
            let of = |key: &str| number(limit.get(key).unwrap_or(limit));
            json!({"Name": name, "Soft": of("soft"), "Hard": of("hard")})
        })
        .collect()
}

/// Returns a command as its words.
fn command(value: &Value) -> Value {
    match value.as_str() {
        Some(line) => words(line).unwrap_or_default().into(),
        None => value.clone(),
    }
}

/// Returns a mapping, or a list of `key=value`, as a mapping of texts; what has no value is null.
fn pairs(value: &Value) -> Map<String, Value> {
    let line = |item: &Value| match text(item).split_once('=') {
        Some((key, value)) => (key.to_owned(), value.into()),
        None => (text(item).to_owned(), Value::Null),
    };
    match value {
        Value::Array(items) => items.iter().map(line).collect(),
        Value::Object(entries) => {
            let entries = entries.iter();
            entries
                .map(|(key, value)| {
                    (
                        key.clone(),
                        scalar(value, key).map_or(Value::Null, Value::from),
                    )
                })
                .collect()
        }
        _ => Map::new(),
    }
}

/// Returns the mapping with an empty text for what has no value.
fn texts(mut pairs: Map<String, Value>) -> Map<String, Value> {
    for value in pairs.values_mut().filter(|value| value.is_null()) {
        *value = "".into();
    }
    pairs
}

fn each(list: &Value, make: impl Fn(&Value) -> Value) -> Vec<Value> {
    list.as_array().into_iter().flatten().map(make).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns nanoseconds.
fn span(value: &Value) -> Option<i64> {
    nanoseconds(value.as_str()?)
}

/// Returns a number without the fraction that is zero; null for what is none.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a whole number within 53 bits is one of 64"
)]
fn number(value: &Value) -> Value {
    match value.as_f64() {
        Some(whole) if value.is_f64() && whole.fract() == 0.0 && whole.abs() < 9e15 => {
            (whole as i64).into()
        }
        Some(_) => value.clone(),
        None => Value::Null,
    }
}
