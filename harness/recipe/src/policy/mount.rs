//! What services mount.

use std::path::Path;

use serde_json::Value;

use super::rules::{BIND, FOREIGN_VOLUME, MOUNT};
use super::{Case, scalar};

pub(super) fn check(case: &mut Case<'_>) {
    for (name, service) in case.section("services") {
        let mounts = service.get("volumes").and_then(Value::as_array);
        for (index, mount) in mounts.into_iter().flatten().enumerate() {
            let path = format!("services.{name}.volumes[{index}]");
            match mount.get("type").and_then(Value::as_str) {
                Some("volume") => volume(case, &path, mount),
                Some("tmpfs") => {}
                Some("bind") => bind(case, &path, mount),
                other => {
                    let kind = other.unwrap_or("none");
                    let message = format!("a mount of type `{kind}` is not a volume of the run");
                    case.find(&MOUNT, &path, mount, message, None);
                }
            }
        }
    }
}

fn volume(case: &mut Case<'_>, path: &str, mount: &Value) {
    for key in ["bind", "tmpfs", "cluster", "image"] {
        if mount.get(key).is_some_and(|options| !options.is_null()) {
            let message = format!("options of `{key}` do not belong to a volume");
            case.find(&MOUNT, &format!("{path}.{key}"), mount, message, None);
        }
    }
    match mount.get("source") {
        // An anonymous volume goes with its container.
        None | Some(Value::Null) => {}
        Some(Value::String(source)) if source.is_empty() || case.has("volumes", source) => {}
        Some(source) => {
            let message =
                "the volume is not declared under `volumes`, so it is not known whose it is";
            case.find(&FOREIGN_VOLUME, path, source, message, None);
        }
    }
}

/// Files of the host that every container may read: they say which time it is there.
const HARMLESS: [&str; 2] = ["/etc/localtime", "/etc/timezone"];

fn bind(case: &mut Case<'_>, path: &str, mount: &Value) {
    let source = mount
        .get("source")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let write = mount.get("read_only").and_then(Value::as_bool) != Some(true);
    // Only the default keeps mounts that the container makes from the host.
    let propagates = mount
        .pointer("/bind/propagation")
        .and_then(Value::as_str)
        .is_some_and(|how| !matches!(how, "" | "private" | "rprivate"));
    let host_path = Path::new(source);
    if !propagates && !write && HARMLESS.contains(&source) {
        return;
    }
    if !propagates && case.granted(|grant| grant.allows_bind(host_path, write)) {
        return;
    }
    let readable = case.granted(|grant| grant.allows_bind(host_path, false));
    let is_relative = case.resolved.relative_binds.contains(path);
    let message = match (propagates, readable) {
        // Each run has its own copy of the repository.
        _ if is_relative => format!(
            "`{source}` is a path of the host that each run has elsewhere, so no grant can name it"
        ),
        (true, _) => {
            format!("`{source}` of the host would be mounted so that mounts reach the host")
        }
        (false, true) => {
            format!("`{source}` of the host is granted to be read, and is mounted to be written")
        }
        (false, false) => format!("`{source}` is a path of the host"),
    };
    let write = if write { ", write: true" } else { "" };
    let grant = (!propagates && !is_relative && host_path.is_absolute())
        .then(|| format!("binds: [{{path: {}{write}}}]", scalar(source)));
    case.find(&BIND, path, &Value::from(source), message, grant);
}
