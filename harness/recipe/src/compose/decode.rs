//! The typed model of a merged, canonical document.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::canon::{Fault, fault, scalar};
use super::duration;
use super::model::{
    Config, Healthcheck, Mode, Mount, MountKind, Network, Port, PortMode, RestartPolicy, Secret,
    Service, UpdateConfig, Volume,
};
use super::yaml::join;
use super::{Project, restart};

/// Fills in `project` from the merged document.
pub(super) fn project(
    merged: &Value,
    version_variables: &BTreeMap<String, String>,
    project: &mut Project,
) -> Result<(), Fault> {
    let top = At {
        value: merged,
        path: String::new(),
    };
    project.services.clear();
    project.volumes.clear();
    project.networks.clear();
    project.secrets.clear();
    project.configs.clear();
    for (name, at) in top.entries("services")? {
        project.services.push(service(name, &at)?);
    }
    for (key, at) in top.entries("volumes")? {
        let (name, external) = name_and_external(key, &at)?;
        project.volumes.push(Volume {
            key: key.to_owned(),
            name,
            external,
            driver: at.text("driver")?,
            device: at.child("driver_opts").text("device")?,
        });
    }
    for (key, at) in top.entries("networks")? {
        let (name, external) = name_and_external(key, &at)?;
        project.networks.push(Network {
            key: key.to_owned(),
            name,
            external,
        });
    }
    for (key, at) in top.entries("secrets")? {
        let (name, external) = name_and_external(key, &at)?;
        project.secrets.push(Secret {
            key: key.to_owned(),
            name,
            external,
            file: at.text("file")?,
            version_variable: version_variables.get(&at.path).cloned(),
        });
    }
    for (key, at) in top.entries("configs")? {
        let (name, external) = name_and_external(key, &at)?;
        project.configs.push(Config {
            key: key.to_owned(),
            name,
            file: at.text("file")?,
            external,
            template_driver: at.text("template_driver")?,
            version_variable: version_variables.get(&at.path).cloned(),
        });
    }
    Ok(())
}

fn service(name: &str, at: &At<'_>) -> Result<Service, Fault> {
    let deploy = at.child("deploy");
    let update = deploy.child("update_config");
    let sources = |key: &str| -> Result<Vec<String>, Fault> {
        at.items(key)?
            .iter()
            .map(|item| item.required("source"))
            .collect()
    };
    Ok(Service {
        name: name.to_owned(),
        image: at.text("image")?,
        labels: deploy.strings("labels")?,
        container_labels: at.strings("labels")?,
        mode: mode(&deploy)?,
        replicas: deploy.number("replicas")?,
        ports: at
            .items("ports")?
            .iter()
            .map(port)
            .collect::<Result<_, _>>()?,
        volumes: at
            .items("volumes")?
            .iter()
            .map(mount)
            .collect::<Result<_, _>>()?,
        secrets: sources("secrets")?,
        configs: sources("configs")?,
        networks: at
            .entries("networks")?
            .into_iter()
            .map(|(name, _)| name.to_owned())
            .collect(),
        environment: at
            .entries("environment")?
            .into_iter()
            .map(|(name, at)| (name.to_owned(), at.value.as_str().map(str::to_owned)))
            .collect(),
        healthcheck: healthcheck(&at.child("healthcheck"))?,
        depends_on: at
            .items("depends_on")?
            .iter()
            .map(At::scalar)
            .collect::<Result<_, _>>()?,
        restart: restart_policy(at, &deploy.child("restart_policy"))?,
        endpoint_mode: deploy.text("endpoint_mode")?,
        update: UpdateConfig {
            order: update.text("order")?,
            failure_action: update.text("failure_action")?,
            monitor: update.duration("monitor")?,
        },
        stop_grace_period: at.duration("stop_grace_period")?,
    })
}

fn restart_policy(service: &At<'_>, policy: &At<'_>) -> Result<RestartPolicy, Fault> {
    if policy.value.is_null() {
        let restart = service.text("restart")?.unwrap_or_default();
        return match restart::policy(&restart) {
            Ok(policy) => Ok(policy.unwrap_or_default()),
            Err(reason) => fault(&join(&service.path, "restart"), reason),
        };
    }
    Ok(RestartPolicy {
        condition: policy.text("condition")?,
        max_attempts: policy.number("max_attempts")?,
        delay: policy.duration("delay")?,
        window: policy.duration("window")?,
    })
}

fn mode(deploy: &At<'_>) -> Result<Mode, Fault> {
    match deploy.text("mode")?.as_deref() {
        None | Some("replicated") => Ok(Mode::Replicated),
        Some("global") => Ok(Mode::Global),
        Some("replicated-job") => Ok(Mode::ReplicatedJob),
        Some("global-job") => Ok(Mode::GlobalJob),
        Some(other) => fault(
            &deploy.child("mode").path,
            format!("`{other}` is not a mode"),
        ),
    }
}

fn port(at: &At<'_>) -> Result<Port, Fault> {
    let number = |key: &str| -> Result<Option<u16>, Fault> {
        let Some(number) = at.number(key)? else {
            return Ok(None);
        };
        u16::try_from(number)
            .map(Some)
            .or_else(|_| fault(&at.path, format!("`{number}` is not a port")))
    };
    let Some(target) = number("target")? else {
        return fault(&at.path, "it has no target port");
    };
    Ok(Port {
        target,
        published: number("published")?.filter(|published| *published > 0),
        mode: match at.text("mode")?.as_deref() {
            Some("host") => PortMode::Host,
            _ => PortMode::Ingress,
        },
        protocol: at.text("protocol")?.unwrap_or_else(|| "tcp".to_owned()),
    })
}

/// Returns a path as the engine has it: `path.Clean` of a mount's destination, in `ParseMountSpec` of moby's
/// `volume/mounts/linux_parser.go`. A target `/srv/../data` that was compared as it is written was found on no volume,
/// and an upgrade that lost all data there was green.
fn cleaned(target: &str) -> String {
    if !target.starts_with('/') {
        return target.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn mount(at: &At<'_>) -> Result<Mount, Fault> {
    Ok(Mount {
        kind: match at.text("type")?.as_deref() {
            None | Some("volume") => MountKind::Volume,
            Some("bind") => MountKind::Bind,
            Some("tmpfs") => MountKind::Tmpfs,
            Some(other) => MountKind::Other(other.to_owned()),
        },
        source: at.text("source")?,
        target: cleaned(&at.required("target")?),
        read_only: at.flag("read_only")?,
    })
}

fn healthcheck(at: &At<'_>) -> Result<Healthcheck, Fault> {
    let test: Vec<String> = at
        .items("test")?
        .iter()
        .map(At::scalar)
        .collect::<Result<_, _>>()?;
    Ok(
        if at.flag("disable")? || test.first().is_some_and(|first| first == "NONE") {
            Healthcheck::Disabled
        } else if test.is_empty() {
            Healthcheck::None
        } else {
            Healthcheck::Test(test)
        },
    )
}

/// Returns the explicit name and whether the object is external, in the old form `external: {name: x}` too.
fn name_and_external(key: &str, at: &At<'_>) -> Result<(Option<String>, bool), Fault> {
    let name = at.text("name")?;
    let external = at.child("external");
    if let Value::Object(_) = external.value {
        let old = external.text("name")?;
        return Ok((name.or(old).or_else(|| Some(key.to_owned())), true));
    }
    let external = at.flag("external")?;
    Ok((name.or_else(|| external.then(|| key.to_owned())), external))
}

/// A value and the keys that lead to it.
struct At<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> At<'a> {
    fn child(&self, key: &str) -> Self {
        At {
            value: self.value.get(key).unwrap_or(&Value::Null),
            path: join(&self.path, key),
        }
    }

    fn entries(&self, key: &str) -> Result<Vec<(&'a str, Self)>, Fault> {
        let at = self.child(key);
        match at.value {
            Value::Null => Ok(Vec::new()),
            Value::Object(map) => {
                let child = |(key, value): (&'a String, &'a Value)| {
                    (
                        key.as_str(),
                        At {
                            value,
                            path: join(&at.path, key),
                        },
                    )
                };
                Ok(map.iter().map(child).collect())
            }
            _ => fault(&at.path, "it is not a mapping"),
        }
    }

    fn items(&self, key: &str) -> Result<Vec<Self>, Fault> {
        let at = self.child(key);
        match at.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(index, value)| At {
                    value,
                    path: format!("{}[{index}]", at.path),
                })
                .collect()),
            _ => fault(&at.path, "it is not a list"),
        }
    }

    fn strings(&self, key: &str) -> Result<BTreeMap<String, String>, Fault> {
        self.entries(key)?
            .into_iter()
            .map(|(key, at)| Ok((key.to_owned(), at.scalar()?)))
            .collect()
    }

    fn scalar(&self) -> Result<String, Fault> {
        scalar(self.value, &self.path)
    }

    /// Returns the text of a key; none when it is missing, null or empty, which docker does not tell apart.
    fn text(&self, key: &str) -> Result<Option<String>, Fault> {
        let at = self.child(key);
        if at.value.is_null() {
            return Ok(None);
        }
        Ok(Some(at.scalar()?).filter(|text| !text.is_empty()))
    }

    fn required(&self, key: &str) -> Result<String, Fault> {
        match self.text(key)? {
            Some(text) => Ok(text),
            None => fault(&self.path, format!("it has no `{key}`")),
        }
    }

    fn number(&self, key: &str) -> Result<Option<u64>, Fault> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .or_else(|_| fault(&join(&self.path, key), format!("`{text}` is not a number")))
    }

    fn flag(&self, key: &str) -> Result<bool, Fault> {
        let Some(text) = self.text(key)? else {
            return Ok(false);
        };
        match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "true" | "on" => Ok(true),
            "n" | "no" | "false" | "off" => Ok(false),
            _ => fault(&join(&self.path, key), format!("`{text}` is not a boolean")),
        }
    }

    fn duration(&self, key: &str) -> Result<Option<Duration>, Fault> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match duration::parse(&text) {
            Some(duration) => Ok(Some(duration)),
            None => fault(
                &join(&self.path, key),
                format!("`{text}` is not a duration, such as `1m30s`"),
            ),
        }
    }
}
