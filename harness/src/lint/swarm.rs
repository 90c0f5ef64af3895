//! What Docker's stack loader reads and a Swarm never hears of.

use serde_json::Value;

use super::rules::Checked;
use super::view::{View, in_file};

/// Keys of a service that `docker stack deploy` passes over, and what does the same on a Swarm.
///
/// The list is that of `UnsupportedProperties` and `DeprecatedProperties` of docker/cli's loader, and `tmpfs`, of which
/// it says nothing.
const WITHOUT_EFFECT: [(&str, &str); 19] = [
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
    ("restart", "set `deploy.restart_policy`"),
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
