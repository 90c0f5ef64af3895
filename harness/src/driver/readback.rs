//! Holds what the engine has against what was to be deployed.
//!
//! Between the resolved project and the engine stands a client with rules of its own. Where its result differs from
//! what was judged and planned, every later assertion is about something else, so the run is red for that reason.
//! Everything that a service's spec says is compared: what the project asks for ([`Resolved::request`]) and what the
//! engine shows, both in the form of [`kept`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use engine::swarm::service::familiar_image;
use engine::swarm::spec::{StackSpec, kept};
use ground::name::StackName;
use recipe::compose::resolve::Resolved;

/// How many differences a message names.
const SHOWN: usize = 10;

/// How much of a value is shown, in characters.
const LENGTH: usize = 200;

/// What older clients and engines pass over without a word, and none of which a wrong result would follow: Docker's client
/// 28.2 drops the first, engines before 25 the second.
const PASSED_OVER: [&str; 2] = [
    "ContainerSpec.OomScoreAdj",
    "ContainerSpec.Healthcheck.StartInterval",
];

/// Whose deploy it was: abra adds labels and variables of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployer {
    /// `docker stack deploy` with the resolved project as its only file.
    Docker,
    /// abra, with the recipe's own files.
    Abra,
}

/// Returns how `there` differs from `resolved` as the stack `stack`, in one line; `None` when it does not.
#[must_use]
pub fn difference(
    resolved: &Resolved,
    stack: &StackName,
    there: &StackSpec,
    by: Deployer,
) -> Option<String> {
    let mut lines = Vec::new();
    let mut planned: BTreeMap<String, Value> = resolved
        .project
        .services
        .iter()
        .map(|service| {
            let request = resolved.request(&service.name, stack.as_str());
            (service.full_name(stack.as_str()), kept(&request))
        })
        .collect();
    let mut there_services = there.services.clone();
    if by == Deployer::Abra {
        let specs = planned.values_mut().chain(there_services.values_mut());
        specs.for_each(without_abras_own);
    }
    for (name, wanted) in &planned {
        match there_services.get(name) {
            None => lines.push(format!("service `{name}` is missing")),
            Some(found) => {
                let mut said = Vec::new();
                compare("", wanted, found, &mut said);
                lines.extend(
                    said.into_iter()
                        .map(|what| format!("service `{name}` {what}")),
                );
            }
        }
    }
    let more = there_services
        .keys()
        .filter(|name| !planned.contains_key(*name));
    lines.extend(more.map(|name| format!("service `{name}` was not planned")));
    for config in resolved.project.configs.iter().filter(|one| !one.external) {
        let name = config.full_name(stack.as_str());
        let wanted = resolved.content(&format!("configs.{}", config.key));
        // A config that no service uses is not made.
        if let (Some(wanted), Some(found)) = (wanted, there.configs.get(&name))
            && wanted != found.as_slice()
        {
            lines.push(format!("config `{name}` holds something else"));
        }
    }
    if lines.is_empty() {
        return None;
    }
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Some(lines.join("; "))
}

/// Takes out of a spec what abra has to itself: labels, the app's whole environment, digests and platforms, for which it
/// asks the registry itself.
fn without_abras_own(spec: &mut Value) {
    if let Some(labels) = spec["Labels"].as_object_mut() {
        labels.retain(|key, _| !key.starts_with("coop-cloud."));
    }
    let template = &mut spec["TaskTemplate"];
    if let Some(placement) = template["Placement"].as_object_mut() {
        placement.remove("Platforms");
    }
    let empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    if let Some(template) = template.as_object_mut() {
        template.retain(|key, value| key != "Placement" || !(value.is_null() || empty(value)));
    }
    let container = &mut template["ContainerSpec"];
    container["Env"] = Value::Null;
    let image = container["Image"].as_str().map(familiar_image);
    container["Image"] = image.into();
}

/// Says how `found`, at `path` of a spec, differs from `wanted`.
fn compare(path: &str, wanted: &Value, found: &Value, said: &mut Vec<String>) {
    if wanted == found || (found.is_null() && PASSED_OVER.contains(&path)) {
        return;
    }
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            let keys: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
            for key in keys {
                let at = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
                let (wanted, found) = (
                    at(wanted).unwrap_or_default(),
                    at(found).unwrap_or_default(),
                );
                compare(&join(path, key), &wanted, &found, said);
            }
        }
        _ if path == "ContainerSpec.Env" => variables(wanted, found, said),
        (Value::Array(_), _) | (_, Value::Array(_)) if !is_command(path) => {
            let before = said.len();
            let items = |list: &Value| list.as_array().cloned().unwrap_or_default();
            let (wanted, found) = (items(wanted), items(found));
            let missing = wanted.iter().filter(|one| !found.contains(one));
            said.extend(missing.map(|one| format!("lacks {path} {}", shown(one))));
            let more = found.iter().filter(|one| !wanted.contains(one));
            said.extend(
                more.map(|one| format!("has {path} {}, which was not planned", shown(one))),
            );
            if said.len() == before {
                said.push(format!(
                    "has {path} in another order or number than was planned"
                ));
            }
        }
        (Value::Object(_), Value::Null) | (Value::Null, Value::Object(_)) => {
            let empty = Value::Object(serde_json::Map::new());
            let or_empty = |value: &Value| match value {
                Value::Null => empty.clone(),
                value => value.clone(),
            };
            compare(path, &or_empty(wanted), &or_empty(found), said);
        }
        _ => said.push(format!(
            "has {path} {} where {} was planned",
            shown(found),
            shown(wanted)
        )),
    }
}

/// Returns whether the list at `path` is one text to those who read it.
fn is_command(path: &str) -> bool {
    let last = path.strip_prefix("ContainerSpec.").unwrap_or_default();
    matches!(last, "Command" | "Args" | "Healthcheck.Test")
}

/// Names the variables that differ: values may be secret, names are not.
fn variables(wanted: &Value, found: &Value, said: &mut Vec<String>) {
    let pairs = |list: &Value| -> BTreeSet<String> {
        let pairs = list.as_array().into_iter().flatten();
        pairs
            .filter_map(|pair| pair.as_str().map(str::to_owned))
            .collect()
    };
    let (wanted, found) = (pairs(wanted), pairs(found));
    let names: BTreeSet<&str> = wanted
        .symmetric_difference(&found)
        .map(|pair| pair.split('=').next().unwrap_or_default())
        .collect();
    said.extend(
        names
            .into_iter()
            .map(|name| format!("has another value of variable `{name}` than was planned")),
    );
}

/// Returns the keys that lead to a value, without the one that nearly all of them have.
fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", "TaskTemplate") => String::new(),
        ("", key) => key.to_owned(),
        (path, key) => format!("{path}.{key}"),
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => return "nothing".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let short: String = text.chars().take(LENGTH).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{short}{more}`")
}

#[cfg(test)]
mod tests;
