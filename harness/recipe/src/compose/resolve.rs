//! The resolved project: what is judged, shown and deployed, as one value.
//!
//! Every variable is substituted, every file read, every name final. It is written as one compose file in JSON,
//! which is YAML, with `$` doubled: the client that deploys it finds nothing to substitute, to merge or to look up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::canon::SECTIONS;
use super::mounts::is_windows;
use super::pace::{self, Pace};
use super::query::MAIN_SERVICE;
use super::shared::{self, Added, SharedNetwork};
use super::walk::{entries, mapping};
use super::yaml::join;
use super::{ComposeError, Project};
use crate::interpolate::escape;

/// The oldest schema in which every object may have a name of its own and every port the long syntax.
const OLDEST_SCHEMA: &str = "3.5";

/// How a project is deployed: what is added to the recipe's text, and what the host forces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deployment {
    /// The stack's name.
    pub stack: String,
    /// Labels of the main service.
    pub labels: BTreeMap<String, String>,
    /// Variables that `app` gets where its `environment` has none of the name, as abra gives it the app's whole
    /// environment.
    pub exposed: BTreeMap<String, String>,
    /// Whether the kernel has no IPVS: services without an endpoint mode get `dnsrr`, published ports host mode.
    pub no_ipvs: bool,
    /// The network shared with the gateway.
    pub shared: SharedNetwork,
    /// The `version` of a recipe that has none: the newest that the client knows.
    pub schema: String,
    /// How often containers are checked for health.
    pub pace: Pace,
}

/// A project of which nothing is left open.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The typed view of it.
    pub project: Project,
    /// What differs from the recipe as shipped.
    pub deviations: Vec<String>,
    /// Its networks that are the harness's.
    pub added: Added,
    /// The keys that lead to bind mounts whose source the recipe gives from where it lies.
    pub relative_binds: BTreeSet<String>,
}

impl Project {
    /// Returns the project as `deployment` deploys it.
    ///
    /// # Errors
    /// [`ComposeError::Invalid`] for a path that depends on whose home it is deployed from, and for a network that is
    /// named like the harness's own.
    pub fn resolve(&self, root: &Path, deployment: &Deployment) -> Result<Resolved, ComposeError> {
        let mut project = self.clone();
        let mut deviations = Vec::new();
        let mut document = std::mem::take(&mut project.document);
        if let Some(top) = document.as_object_mut() {
            top.retain(|key, _| !key.starts_with("x-"));
        }
        set_version(&mut document, deployment, &mut deviations);
        names(&mut document, &deployment.stack);
        let added = shared::replace(
            &mut document,
            &project,
            (&deployment.shared, &deployment.stack),
            &mut deviations,
        )
        .map_err(|fault| project.invalid(fault))?;
        default_network(&mut document, &deployment.stack);
        let relative_binds = binds(&mut document, root, &project)?;
        let main = project.main_service().map(|service| service.name.clone());
        for (name, service) in entries(&mut document, "services") {
            if main.as_deref() == Some(name.as_str()) {
                add(service, &["deploy", "labels"], &deployment.labels);
            }
            if name == MAIN_SERVICE {
                expose(service, &deployment.exposed);
            }
        }
        pace::shorten(&mut document, &deployment.pace, &mut deviations);
        if deployment.no_ipvs {
            without_ipvs(&mut document, &mut deviations);
        }
        project.document = document;
        project.decode()?;
        Ok(Resolved {
            project,
            deviations,
            added,
            relative_binds,
        })
    }
}

impl Resolved {
    /// Returns the whole document as it is judged, with nothing escaped.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.project.document
    }

    /// Changes the document.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.project.document);
        self.project
            .decode()
            .expect("limits and left out ports leave a project readable");
    }

    /// Makes the object `key` of `section` one that exists already under `name`: what the recipe says of it otherwise
    /// goes.
    pub(crate) fn take_as_it_is(&mut self, section: &str, key: &str, name: &str) {
        self.project.contents.remove(&join(section, key));
        self.edit(|document| {
            if let Some(entry) = document.get_mut(section).and_then(|all| all.get_mut(key)) {
                *entry = json!({"external": true, "name": name});
            }
        });
    }

    /// Returns the compose file to deploy, and the files that it names with their contents, all of them below
    /// `dir`. Their names begin with `tag`.
    #[must_use]
    pub fn render(&self, dir: &Path, tag: &str) -> (Value, Vec<(PathBuf, &[u8])>) {
        let mut document = self.project.document.clone();
        let mut files = Vec::new();
        for (path, content) in &self.project.contents {
            let file = dir.join(format!("{tag}-{}", files.len()));
            let at = path.split_once('.').and_then(|(section, key)| {
                document.get_mut(section)?.get_mut(key)?.as_object_mut()
            });
            if let Some(entry) = at {
                entry.insert("file".to_owned(), file.display().to_string().into());
            }
            files.push((file, content.as_slice()));
        }
        for section in SECTIONS {
            if let Some(value) = document.get_mut(section) {
                escape_all(value);
            }
        }
        (document, files)
    }

    /// Returns how many bytes its secrets and configs have together, of those that have a file.
    #[must_use]
    pub fn size_of_contents(&self) -> usize {
        self.project.contents.values().map(Vec::len).sum()
    }

    /// Returns what the file holds that the secret or config at `path` names: `configs.entrypoint`.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        self.project.contents.get(path).map(Vec::as_slice)
    }
}

/// Returns the document as JSON that every reader of YAML takes for the same: raw, some characters are refused by
/// Docker's, and others are breaks of lines, of which it makes a space.
#[must_use]
pub fn as_yaml(document: &Value) -> String {
    let odd = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}'..='\u{ffff}');
    escaped(&document.to_string(), odd)
}

/// Returns JSON of the same meaning without what is `odd`: characters up to U+FFFF, which are valid in texts only.
#[must_use]
pub fn escaped(json: &str, odd: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if odd(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

fn escape_all(value: &mut Value) {
    match value {
        Value::String(text) => *text = escape(text),
        Value::Array(items) => items.iter_mut().for_each(escape_all),
        Value::Object(entries) => entries.values_mut().for_each(escape_all),
        _ => {}
    }
}

fn add(service: &mut Value, keys: &[&str], more: &BTreeMap<String, String>) {
    if more.is_empty() {
        return;
    }
    if let Some(map) = mapping(service, keys) {
        map.extend(
            more.iter()
                .map(|(key, value)| (key.clone(), value.clone().into())),
        );
    }
}

/// Gives `app` the variables that it does not set. One that is named without a value is not set.
fn expose(service: &mut Value, vars: &BTreeMap<String, String>) {
    if vars.is_empty() {
        return;
    }
    let Some(environment) = mapping(service, &["environment"]) else {
        return;
    };
    for (name, value) in vars {
        let slot = environment.entry(name.clone()).or_insert(Value::Null);
        if slot.is_null() {
            *slot = value.clone().into();
        }
    }
}

fn set_version(document: &mut Value, deployment: &Deployment, deviations: &mut Vec<String>) {
    let Some(top) = document.as_object_mut() else {
        return;
    };
    let given = top.get("version").and_then(Value::as_str);
    let version = match given {
        None => {
            deviations.push(format!(
                "no compose file has a `version`: deployed as {}",
                deployment.schema
            ));
            deployment.schema.clone()
        }
        // Docker takes both for the newest.
        Some("" | "3") => deployment.schema.clone(),
        Some(given) if is_older(given, OLDEST_SCHEMA) => OLDEST_SCHEMA.to_owned(),
        Some(_) => return,
    };
    top.insert("version".to_owned(), version.into());
}

/// Returns whether a schema version of the third line is older than another: `3`, `3.4`.
pub(crate) fn is_older(one: &str, other: &str) -> bool {
    let number = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    // What is no version is left for the client to refuse.
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.0 == other.0 && one < other,
        _ => false,
    }
}

/// Writes the full name into everything that has one.
fn names(document: &mut Value, stack: &str) {
    for section in ["volumes", "networks", "secrets", "configs"] {
        for (key, entry) in entries(document, section) {
            if entry.is_null() {
                *entry = json!({});
            }
            let Some(map) = entry.as_object_mut() else {
                continue;
            };
            // The old form: `external: {name: x}`.
            let old = map.get("external").and_then(Value::as_object);
            let old_name = old.and_then(|old| old.get("name").cloned());
            let is_old = old.is_some();
            if is_old {
                map.insert("external".to_owned(), true.into());
            }
            let external = map.get("external") == Some(&Value::Bool(true));
            let old_name = old_name.filter(|name| name.as_str() != Some(""));
            let named = map
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(|name| !name.is_empty());
            if named {
                continue;
            }
            let name = match (old_name, external) {
                (Some(Value::String(name)), _) => name,
                (_, true) => key.clone(),
                (_, false) => format!("{stack}_{key}"),
            };
            map.insert("name".to_owned(), name.into());
        }
    }
}

/// Names the network that services without one are attached to.
fn default_network(document: &mut Value, stack: &str) {
    let mut used = false;
    for (_, service) in entries(document, "services") {
        let Some(map) = service.as_object_mut() else {
            continue;
        };
        let none = match map.get("networks") {
            None | Some(Value::Null) => true,
            Some(Value::Object(networks)) => networks.is_empty(),
            Some(_) => false,
        };
        if none {
            map.insert("networks".to_owned(), json!({"default": null}));
            used = true;
        }
    }
    if !used {
        return;
    }
    if let Some(networks) = mapping(document, &["networks"]) {
        networks
            .entry("default")
            .or_insert_with(|| json!({"name": format!("{stack}_default")}));
    }
}

/// Makes the sources of bind mounts absolute; returns the keys that lead to those that were not.
fn binds(
    document: &mut Value,
    root: &Path,
    project: &Project,
) -> Result<BTreeSet<String>, ComposeError> {
    let mut relative = BTreeSet::new();
    for (name, service) in entries(document, "services") {
        let Some(mounts) = service.get_mut("volumes").and_then(Value::as_array_mut) else {
            continue;
        };
        for (index, mount) in mounts.iter_mut().enumerate() {
            if mount.get("type").and_then(Value::as_str) != Some("bind") {
                continue;
            }
            let Some(Value::String(source)) = mount.get_mut("source") else {
                continue;
            };
            let path = format!("{}[{index}]", join(&join("services", name), "volumes"));
            if source.starts_with('~') {
                return Err(project.invalid(super::canon::Fault {
                    path,
                    reason: format!("`{source}` depends on whose home it is deployed from"),
                }));
            }
            if !source.starts_with('/') && !is_windows(source) {
                let whole = root.join(&project.base).join(&*source);
                *source = lexical(&whole).display().to_string();
                relative.insert(path);
            }
        }
    }
    Ok(relative)
}

/// Returns `path` with `.` and `..` worked out without a look at the disk, as Go's `filepath.Join` does.
fn lexical(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// Does what a kernel without IPVS forces: service addresses and the routing mesh are dead there.
fn without_ipvs(document: &mut Value, deviations: &mut Vec<String>) {
    let (mut host_ports, mut stop_first) = (false, Vec::new());
    for (name, service) in entries(document, "services") {
        if let Some(deploy) = mapping(service, &["deploy"])
            && deploy.get("endpoint_mode").is_none_or(Value::is_null)
        {
            deploy.insert("endpoint_mode".to_owned(), "dnsrr".into());
        }
        let mut changed = false;
        let ports = service.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            if port.get("mode").and_then(Value::as_str) != Some("host") {
                port["mode"] = "host".into();
                changed = true;
            }
        }
        host_ports |= changed;
        // The new task could not bind the port that the old one holds.
        let order = changed
            .then(|| service.pointer_mut("/deploy/update_config/order"))
            .flatten()
            .filter(|order| order.as_str() == Some("start-first"));
        if let Some(order) = order {
            *order = "stop-first".into();
            stop_first.push(name.clone());
        }
    }
    deviations
        .push("kernel without IPVS: services are deployed with endpoint_mode dnsrr".to_owned());
    if host_ports {
        deviations
            .push("kernel without IPVS: published ports are deployed in host mode".to_owned());
    }
    if !stop_first.is_empty() {
        deviations.push(format!(
            "kernel without IPVS: updates of `{}` stop the old task first, because it holds the port",
            stop_first.join("`, `")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_reads_otherwise_in_yaml_is_escaped() {
        let document = json!({"a": "\u{7f}\u{85}\u{9b}\u{2028}\u{feff}\u{ffff}é💥"});
        let text = as_yaml(&document);
        assert_eq!(text, r#"{"a":"\u007f\u0085\u009b\u2028\ufeff\uffffé💥"}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }
}
