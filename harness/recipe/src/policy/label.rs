//! Labels, which programs beside the Swarm obey.

mod gateway;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::route::Hosts;
use super::rules::{BACKUP, DOCKER_LABEL, NAME, OTHERS_LABEL, ROUTE, SIZE};
use super::{Case, scalar};
use crate::compose::resolve::Resolved;
use crate::traefik::{self};
use crate::trust::{Grant, Level};
use ground::name::is_plain;

/// Namespaces of labels that are deployed without a word of the operator: those of the catalogue and its gateway, and
/// those that only describe. By any other label a program that operators run beside the Swarm may route hosts, or run
/// commands elsewhere.
const KNOWN: [&str; 5] = [
    "traefik",
    "coop-cloud",
    "backupbot",
    "org.opencontainers",
    "org.label-schema",
];

/// What a stranger's labels below `coop-cloud` say. By `autoupdate` kadabra deploys what the catalogue has next over the
/// app: nothing that was judged, with the variables of the stranger.
const CATALOGUE: [&str; 5] = ["version", "timeout", "recipe", "chaos", "chaos-version"];

/// The most labels of one place that are named where they are left out.
const NAMED: usize = 5;

/// How much text the labels of one object may be, and a label that Traefik reads. Traefik compiles the regular expressions of
/// rules: 1 MB of `\pL` in one took 2.3 GB of its memory.
const LABELS: usize = 32 << 10;
const TRAEFIK_LABEL: usize = 4 << 10;

pub(super) fn check(case: &mut Case<'_>) {
    gateways_share(case);
    for (name, service) in case.section("services") {
        let path = format!("services.{name}");
        labels(case, &format!("{path}.labels"), service.get("labels"));
        let deploy = service.pointer("/deploy/labels");
        labels(case, &format!("{path}.deploy.labels"), deploy);
        environment(case, &path, service);
    }
    for section in SECTIONS {
        for (key, entry) in case.section(section) {
            labels(
                case,
                &format!("{section}.{key}.labels"),
                entry.get("labels"),
            );
        }
    }
}

/// Bounds what Traefik is given to read of a whole app.
fn gateways_share(case: &mut Case<'_>) {
    let services = case.section("services");
    let size: usize = services
        .flat_map(|(_, service)| {
            let both = [service.get("labels"), service.pointer("/deploy/labels")];
            both.into_iter().flat_map(pairs).collect::<Vec<_>>()
        })
        .filter(|(label, _)| traefik::key(label).is_some())
        .map(|(label, value)| label.len() + text_of(&value).len())
        .sum();
    if size > LABELS {
        let message = format!("{size} bytes of Traefik's labels are more than {LABELS}");
        case.find(&SIZE, "services", &size.into(), message, None);
    }
}

/// Returns labels as pairs; those of networks and the like may still be a list.
fn pairs(labels: Option<&Value>) -> Vec<(String, Value)> {
    match labels {
        Some(Value::Object(map)) => map
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        Some(Value::Array(items)) => {
            let text = items.iter().filter_map(Value::as_str);
            text.map(|item| item.split_once('=').unwrap_or((item, "")))
                .map(|(key, value)| (key.to_owned(), Value::from(value)))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Returns whether a label is in a namespace: its name, or what follows it behind one of `ends`.
fn in_space(label: &str, space: &str, ends: &[char]) -> bool {
    let label = label.trim().to_ascii_lowercase();
    label
        .strip_prefix(&space.to_ascii_lowercase())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(ends))
}

/// Returns whether a label is deployed for a source of this trust. One with space around it is in no namespace: the programs
/// that read labels do not find it, and nothing may rest on it.
fn is_deployed(label: &str, level: &Level) -> bool {
    if label.trim() != label && *level != Level::ByHand {
        return false;
    }
    let within = |space: &str| in_space(label, space, &['.']);
    let granted = |grant: &Grant| {
        let mut spaces = grant.labels.iter();
        spaces.any(|space| in_space(label, space, &['.', '_', '-']))
    };
    let last = label.trim().rsplit('.').next().unwrap_or_default();
    let is_known = |space: &str| {
        space != "coop-cloud" || CATALOGUE.iter().any(|one| one.eq_ignore_ascii_case(last))
    };
    KNOWN.iter().any(|space| within(space) && is_known(space))
        || match level {
            Level::ByHand => true,
            Level::Granted(grant) => granted(grant),
            Level::Stranger => false,
        }
}

/// Where labels may stand in a service, as keys.
const OF_SERVICES: [&str; 2] = ["labels", "deploy.labels"];

/// The other sections that have labels.
const SECTIONS: [&str; 4] = ["networks", "volumes", "secrets", "configs"];

/// Takes out every label that no table and no grant knows, unless the operator's overlay sets it.
pub(super) fn leave_out(resolved: &mut Resolved, level: &Level) {
    let mut places: Vec<(String, String, Vec<String>)> = Vec::new();
    let document = resolved.document();
    let entries = |section: &str| {
        let section = document.get(section).and_then(Value::as_object);
        section.into_iter().flatten()
    };
    let mut note =
        |pointer: String, path: &str, shown: String, labels: Option<&Value>, plain: bool| {
            let theirs =
                |label: &str| plain && resolved.project.is_overlaid(&format!("{path}.{label}"));
            let left_out = pairs(labels).into_iter().map(|(label, _)| label);
            let left_out = left_out.filter(|label| !is_deployed(label, level) && !theirs(label));
            let left_out: Vec<String> = left_out.collect();
            if !left_out.is_empty() {
                places.push((pointer, shown, left_out));
            }
        };
    for (name, service) in entries("services") {
        for key in OF_SERVICES {
            let below = key.replace('.', "/");
            let path = format!("services.{name}.{key}");
            let labels = service.pointer(&format!("/{below}"));
            // Keys of a service with a dot in its name could be read as those of another.
            let plain = !name.contains('.');
            note(
                format!("/services/{name}/{below}"),
                &path,
                name.clone(),
                labels,
                plain,
            );
        }
    }
    for section in SECTIONS {
        for (key, entry) in entries(section) {
            let path = format!("{section}.{key}.labels");
            let shown = format!("{section}.{key}");
            note(
                format!("/{section}/{key}/labels"),
                &path,
                shown,
                entry.get("labels"),
                false,
            );
        }
    }
    if places.is_empty() {
        return;
    }
    resolved.edit(|document| {
        for (pointer, _, left_out) in &places {
            let is_out = |label: &str| left_out.iter().any(|out| out == label);
            match document.pointer_mut(pointer) {
                Some(Value::Object(map)) => map.retain(|label, _| !is_out(label)),
                Some(Value::Array(items)) => items.retain(|item| {
                    let text = item.as_str().unwrap_or_default();
                    !is_out(text.split_once('=').map_or(text, |(label, _)| label))
                }),
                _ => {}
            }
        }
    });
    let shown = places.iter().map(|(_, place, left_out)| {
        let named = left_out.iter().take(NAMED);
        let named: Vec<String> = named
            .map(|label| format!("`{}`", super::shortened(label)))
            .collect();
        let more = match left_out.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more} of `{place}`", named.join(", "))
    });
    let shown: Vec<String> = shown.collect();
    resolved.deviations.push(format!(
        "labels are not deployed, because no grant lists them: {}",
        shown.join("; ")
    ));
}

fn labels(case: &mut Case<'_>, path: &str, labels: Option<&Value>) {
    let pairs = pairs(labels);
    let mut beside = BTreeMap::new();
    let mut spelled_twice = BTreeSet::new();
    for (label, value) in &pairs {
        let label = label.to_ascii_lowercase();
        if beside.insert(label.clone(), text_of(value)).is_some() {
            spelled_twice.insert(label);
        }
    }
    let deployed = pairs
        .iter()
        .filter(|(label, _)| is_deployed(label, &case.terms.level));
    let size: usize = deployed
        .map(|(label, value)| label.len() + text_of(value).len())
        .sum();
    if size > LABELS {
        let message = format!("{size} bytes of labels are more than {LABELS}");
        case.find(&SIZE, path, &size.into(), message, None);
        return;
    }
    for (label, value) in pairs {
        let at = format!("{path}.{label}");
        if in_space(&label, "com.docker", &['.', '_', '-']) {
            let message =
                format!("the label `{label}` says whose something is, to the engine and its tools");
            case.find(&DOCKER_LABEL, &at, &value, message, None);
        } else if is_saved_path(&label) && leads_out(&text_of(&value)) {
            let message = "the path leads out of the volume, to other files of the host";
            case.find(&BACKUP, &at, &value, message, None);
        } else if let Some(key) = traefik::key(&label) {
            if text_of(&value).len() > TRAEFIK_LABEL {
                let message = format!("a label of Traefik's has at most {TRAEFIK_LABEL} bytes");
                case.find(&SIZE, &at, &value, message, None);
            }
            // Traefik takes letters for equal as Unicode does, `ſ` for `s`, and has one value for labels that are equal then:
            // https://github.com/traefik/paerser/blob/master/parser/node.go
            if !label.is_ascii() || spelled_twice.contains(&label.to_ascii_lowercase()) {
                gateway::is_ambiguous(case, &at, &value);
            }
            gateway::judge(case, &at, &key, &value, &beside);
        } else if case.terms.level == Level::ByHand && !is_deployed(&label, &Level::Stranger) {
            let message = "a program that an operator runs may obey this label";
            let space = label.split('.').next().unwrap_or_default();
            let grant = Some(format!("labels: [{}]", scalar(space)));
            case.find(&OTHERS_LABEL, &at, &value, message, grant);
        }
    }
}

/// Returns whether a label names what of a volume is saved.
fn is_saved_path(label: &str) -> bool {
    let label = label.trim().to_ascii_lowercase();
    label.starts_with("backupbot.backup.volumes.") && label.ends_with(".path")
}

/// Returns whether one of a list of paths, joined to a directory, is not below it.
fn leads_out(paths: &str) -> bool {
    paths
        .split(',')
        .map(str::trim)
        .any(|path| path.starts_with('/') || path.split('/').any(|part| part.trim() == ".."))
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Judges variables by which a proxy beside the Swarm routes hosts to the container, or has certificates made.
fn environment(case: &mut Case<'_>, path: &str, service: &Value) {
    let environment = service.get("environment").and_then(Value::as_object);
    for (name, value) in environment.into_iter().flatten() {
        if name.contains('=') {
            // The container gets `A=b` of a name `A=b` without a value: every check of `A` would miss it.
            let message = format!("`{name}` is a name and a value");
            let at = format!("{path}.environment.{name}");
            case.find(&NAME, &at, &Value::from(name.as_str()), message, None);
        }
        let routes = name.starts_with("VIRTUAL_HOST")
            || name.starts_with("LETSENCRYPT_") && name.ends_with("HOST");
        if !routes || value.is_null() {
            continue;
        }
        let hosts = Hosts::of(case);
        let text = text_of(value);
        let mut named = text
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty());
        if let Some(host) = named.find(|host| !hosts.have(host)) {
            let message =
                format!("a proxy that obeys `{name}` would send visitors of `{host}` to the app");
            let grant = is_plain(host).then(|| format!("routers: {{hosts: [{}]}}", scalar(host)));
            case.find(
                &ROUTE,
                &format!("{path}.environment.{name}"),
                value,
                message,
                grant,
            );
        }
    }
}
