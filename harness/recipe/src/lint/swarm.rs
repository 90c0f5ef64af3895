//! What Docker's stack loader reads and a Swarm never hears of.

use serde_json::Value;

use super::finding::Checked;
use super::view::{View, in_file};
use crate::compose::restart::has_effect;

/// Keys of a service that `docker stack deploy` passes over, and what does the same on a Swarm.
///
/// The list is that of `UnsupportedProperties` and `DeprecatedProperties` of docker/cli's loader without `restart`, which
/// the client takes all the same (see [`restart`]), and `tmpfs`, of which it says nothing.
const WITHOUT_EFFECT: [(&str, &str); 18] = [
    ("build", "build the image before, and name it in `image`"),
    ("cgroup_parent", "set `deploy.resources`"),
    ("cgroupns_mode", "nothing does on a Swarm"),
    (
        "container_name",
        "other services reach it by the service's name",
    ),
    ("devices", "nothing does on a Swarm"),
    ("domainname", "write the whole name into `hostname`"),
    (
        "expose",
        "services of one network reach every port of each other anyway",
    ),
    ("external_links", "attach both services to one network"),
    (
        "ipc",
        "share files in a volume, or a `tmpfs` mount for shared memory",
    ),
    (
        "links",
        "services of one network reach each other by their names; another name is in `networks.<network>.aliases`",
    ),
    ("mac_address", "nothing does on a Swarm"),
    ("network_mode", "attach the service to a network"),
    ("pid", "nothing does on a Swarm"),
    ("privileged", "name the capabilities in `cap_add`"),
    ("security_opt", "nothing does on a Swarm"),
    (
        "shm_size",
        "mount a `tmpfs` at `/dev/shm` below `volumes`, with `tmpfs.size`",
    ),
    ("tmpfs", "mount it below `volumes`, with `type: tmpfs`"),
    ("userns_mode", "nothing does on a Swarm"),
];

/// Keys of an attachment to a network that it passes over.
const OF_ATTACHMENT: [&str; 2] = ["ipv4_address", "ipv6_address"];

pub(super) fn without_effect(view: &View) -> Checked {
    let mut hits = Vec::new();
    for (file, name, service) in view.raw_services() {
        let mut hit = |path: &str, instead: &str| {
            let place = file.document.key(&format!("services.{name}.{path}"));
            let message =
                format!("`{path}` of service `{name}` has no effect on a Swarm: {instead}");
            hits.push(in_file(&file.name, place.map(|place| place.line), message));
        };
        for (key, instead) in WITHOUT_EFFECT {
            if service.get(key).is_some_and(says_something) {
                hit(key, instead);
            }
        }
        if let Some(instead) = restart(service) {
            hit("restart", instead);
        }
        let networks = service.get("networks").and_then(Value::as_object);
        for (network, attachment) in networks.into_iter().flatten() {
            for key in OF_ATTACHMENT {
                if attachment.get(key).is_some_and(says_something) {
                    let path = format!("networks.{network}.{key}");
                    hit(&path, "a Swarm gives the address; use the service's name");
                }
            }
        }
    }
    Ok(hits)
}

/// Returns why `restart` of a service has no effect and what has it; none where it has.
fn restart(service: &Value) -> Option<&'static str> {
    let restart = service.get("restart").filter(|it| says_something(it))?;
    let policy = service
        .get("deploy")
        .and_then(|it| it.get("restart_policy"));
    if policy.is_some_and(|policy| !policy.is_null()) {
        return Some("`deploy.restart_policy` counts; remove one of them");
    }
    // A value with a variable in it may have one; what Docker refuses is C015's.
    let text = restart.as_str().filter(|text| !text.contains('$'))?;
    (!has_effect(text))
        .then_some("tasks start again for ever; set `condition: none` in `deploy.restart_policy`")
}

/// Returns whether a value differs from saying nothing.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn restart_has_no_effect_beside_a_policy_or_as_no() {
        let policy = json!({"restart_policy": {"condition": "any"}});
        for (restart, deploy, instead) in [
            (json!("always"), json!({"restart_policy": null}), ""),
            (json!("unless-stopped"), json!({}), ""),
            (json!("on-failure:3"), json!(null), ""),
            (json!("${RESTART:-no}"), json!({}), ""),
            (json!(""), policy.clone(), ""),
            (json!("no"), json!({}), "`condition: none`"),
            (
                json!("always"),
                policy.clone(),
                "`deploy.restart_policy` counts",
            ),
            (json!("no"), policy, "`deploy.restart_policy` counts"),
        ] {
            let service = json!({"restart": restart, "deploy": deploy});
            let found = super::restart(&service);
            assert_eq!(found.is_none(), instead.is_empty(), "{service}");
            assert!(
                found.unwrap_or_default().contains(instead),
                "{service}: {found:?}"
            );
        }
    }
}
