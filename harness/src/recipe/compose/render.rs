//! Compose files that the harness writes: copies with changes, and an overlay.
//!
//! Both are JSON, which is YAML. Nothing is interpolated here: `docker stack deploy` does that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::model::Service;
use super::query::MAIN_SERVICE;
use super::yaml::join;
use super::{ComposeError, Project, load, locate, ports};
use crate::recipe::interpolate::escape;

/// The schema version for files that have none: the newest that every docker of the last years knows.
pub const DEFAULT_SCHEMA_VERSION: &str = "3.8";

/// What [`normalise`] changes in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What to do about `version`.
    pub version: SchemaVersion,
    /// Publish every port on the node of its task. The long syntax that this takes needs schema 3.2.
    pub host_ports: bool,
    /// The directory that relative paths refer to, for a copy that is written elsewhere: the paths of
    /// configs, secrets, environment files and bind mounts are made absolute with it.
    pub base_dir: Option<PathBuf>,
}

/// What to do about a file's `version`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SchemaVersion {
    /// Leave it alone.
    #[default]
    Keep,
    /// Set it where it is missing: old clients take such a file for schema 1.
    WhenMissing(String),
    /// Set it, because docker refuses files that differ.
    Always(String),
}

/// Returns the uninterpolated content of `file` in the recipe at `root`, with `changes`.
///
/// # Errors
/// [`ComposeError`] when the file cannot be parsed, uses `extends`, or has a port that cannot be rewritten.
pub fn normalise(root: &Path, file: &str, changes: &Changes) -> Result<Value, ComposeError> {
    let document = load::document(root, file)?;
    let mut value = document.value;
    let place = |path: &str, reason: String| ComposeError::Invalid {
        location: locate(&document.marks, path)
            .cloned()
            .unwrap_or_else(|| load::start_of(file)),
        path: path.to_owned(),
        reason,
    };
    let Value::Object(top) = &mut value else {
        return Err(place("", "the file is not a mapping".to_owned()));
    };
    set_version(top, &changes.version);
    if let Some(base) = &changes.base_dir {
        absolute_paths(top, base);
    }
    if changes.host_ports
        && let Some(Value::Object(services)) = top.get_mut("services")
    {
        for (name, service) in services {
            let Some(Value::Array(list)) = service.get_mut("ports") else {
                continue;
            };
            let path = join(&join("services", name), "ports");
            let mut long = Vec::new();
            for (index, item) in list.iter().enumerate() {
                let ports = host_ports(item)
                    .map_err(|reason| place(&format!("{path}[{index}]"), reason))?;
                long.extend(ports);
            }
            *list = long;
        }
    }
    Ok(value)
}

fn set_version(top: &mut Map<String, Value>, version: &SchemaVersion) {
    let version = match version {
        SchemaVersion::Keep => return,
        SchemaVersion::WhenMissing(_)
            if top.get("version").is_some_and(|version| !version.is_null()) =>
        {
            return;
        }
        SchemaVersion::WhenMissing(version) | SchemaVersion::Always(version) => version.clone(),
    };
    top.insert("version".to_owned(), version.into());
}

fn host_ports(item: &Value) -> Result<Vec<Value>, String> {
    let text = match item {
        Value::Object(port) => {
            let mut port = port.clone();
            port.insert("mode".to_owned(), "host".into());
            return Ok(vec![Value::Object(port)]);
        }
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err("it is not a port".to_owned()),
    };
    let spec = ports::split(&text);
    let port = |published: Option<Value>, target: Value| {
        let mut port = json!({"target": target, "protocol": spec.protocol, "mode": "host"});
        if let Some(published) = published {
            port["published"] = published;
        }
        port
    };
    if !text.contains('$') {
        let pairs = ports::expand(&spec)?;
        let long = |(published, target): (Option<u16>, u16)| {
            port(published.map(Value::from), target.into())
        };
        return Ok(pairs.into_iter().map(long).collect());
    }
    // Docker turns the text into a number after it has interpolated it.
    let part = |part: &str| match part.parse::<u16>() {
        Ok(number) => Ok(Value::from(number)),
        Err(_) if part.contains('$') => Ok(Value::from(part)),
        Err(_) => Err(format!(
            "`{part}` is not a port, and a range next to a variable cannot be rewritten"
        )),
    };
    Ok(vec![port(
        spec.published.map(part).transpose()?,
        part(spec.target)?,
    )])
}

fn absolute_paths(top: &mut Map<String, Value>, base: &Path) {
    for section in ["configs", "secrets"] {
        for entry in entries(top.get_mut(section)) {
            if let Some(file) = entry.get_mut("file") {
                make_absolute(file, base);
            }
        }
    }
    for service in entries(top.get_mut("services")) {
        match service.get_mut("env_file") {
            Some(Value::Array(files)) => {
                for file in files {
                    make_absolute(file, base);
                }
            }
            Some(file) => make_absolute(file, base),
            None => {}
        }
        let Some(Value::Array(mounts)) = service.get_mut("volumes") else {
            continue;
        };
        for mount in mounts {
            match mount {
                Value::Object(long) if long.get("type").and_then(Value::as_str) == Some("bind") => {
                    if let Some(source) = long.get_mut("source") {
                        make_absolute(source, base);
                    }
                }
                Value::String(short) if short.starts_with('.') => {
                    *short = absolute(short, base);
                }
                _ => {}
            }
        }
    }
}

fn entries(section: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    section
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|map| map.values_mut())
}

fn make_absolute(value: &mut Value, base: &Path) {
    // A path that begins with a variable may turn out to be absolute; it is left to docker.
    if let Value::String(text) = value
        && !text.starts_with(['/', '~', '$'])
    {
        *text = absolute(text, base);
    }
}

fn absolute(text: &str, base: &Path) -> String {
    let relative = text.strip_prefix("./").unwrap_or(text);
    format!("{}/{relative}", escape(&base.display().to_string()))
}

/// Returns an override file for `project`: `labels` on the service `app`, or on the first when there is none,
/// and, with `dnsrr`, that endpoint mode on every service that has none.
///
/// Of `exposed` the service `app`, and no other, gets what its `environment` does not have: abra gives it the
/// app's whole environment.
///
/// It has the `version` of the other files. Values are escaped, so that docker leaves their `$` alone; keys
/// are not, because docker does not interpolate keys.
#[must_use]
pub fn overlay(
    project: &Project,
    labels: &BTreeMap<String, String>,
    exposed: &BTreeMap<String, String>,
    dnsrr: bool,
) -> Value {
    let main = project.main_service().map(|service| service.name.as_str());
    let mut services = Map::new();
    for service in &project.services {
        let mut entry = Map::new();
        let environment = missing(service, exposed);
        if service.name == MAIN_SERVICE && !environment.is_empty() {
            entry.insert("environment".to_owned(), environment.into());
        }
        let mut deploy = Map::new();
        if main == Some(service.name.as_str()) && !labels.is_empty() {
            let labels: Map<String, Value> = labels
                .iter()
                .map(|(key, value)| (key.clone(), escape(value).into()))
                .collect();
            deploy.insert("labels".to_owned(), labels.into());
        }
        if dnsrr && service.endpoint_mode.is_none() {
            deploy.insert("endpoint_mode".to_owned(), "dnsrr".into());
        }
        if !deploy.is_empty() {
            entry.insert("deploy".to_owned(), deploy.into());
        }
        if !entry.is_empty() {
            services.insert(service.name.clone(), entry.into());
        }
    }
    let version = project
        .schema_version
        .as_deref()
        .unwrap_or(DEFAULT_SCHEMA_VERSION);
    json!({ "version": version, "services": services })
}

/// Returns what `service` does not set of `vars`. A variable that is named without a value is not set: where
/// docker had a value for it, the model has it too.
fn missing(service: &Service, vars: &BTreeMap<String, String>) -> Map<String, Value> {
    let is_set = |name: &String| matches!(service.environment.get(name), Some(Some(_)));
    vars.iter()
        .filter(|(name, _)| !is_set(name))
        .map(|(name, value)| (name.clone(), escape(value).into()))
        .collect()
}
