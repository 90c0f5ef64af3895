//! Every key of the compose format, as Docker's stack loader knows it; what is not here is refused.

use serde_json::Value;

use super::Case;
use super::rules::{ISOLATION_LOST, NAME, NO_EFFECT, UNKNOWN};
use crate::compose::yaml::join;
use ground::name::is_plain;

/// What may stand at a place.
#[derive(Debug, Clone, Copy)]
enum Node {
    /// A value that this table does not look into; other checks do where they must.
    Value,
    /// A mapping with these keys.
    Keys(&'static [(&'static str, Self)]),
    /// A mapping with any keys.
    Named(&'static Self),
    /// A list.
    List(&'static Self),
    /// What Swarm ignores, and does no harm.
    Ignored,
    /// What Swarm ignores, and would do harm if it did not.
    Harmful,
}

use Node::{Harmful, Ignored, Keys, List, Named};
const V: Node = Node::Value;

static TOP: Node = Keys(&[
    ("version", V),
    ("services", Named(&Keys(SERVICE))),
    ("networks", Named(&Keys(NETWORK))),
    ("volumes", Named(&Keys(VOLUME))),
    ("secrets", Named(&Keys(SECRET))),
    ("configs", Named(&Keys(CONFIG))),
]);

static SERVICE: &[(&str, Node)] = &[
    ("build", Ignored),
    ("cap_add", V),
    ("cap_drop", V),
    ("cgroup_parent", Harmful),
    ("cgroupns_mode", Harmful),
    ("command", V),
    ("configs", List(&Keys(FILE_REFERENCE))),
    ("container_name", Ignored),
    ("credential_spec", V),
    ("depends_on", V),
    ("deploy", Keys(DEPLOY)),
    ("devices", Harmful),
    ("dns", V),
    ("dns_opt", V),
    ("dns_search", V),
    ("domainname", Ignored),
    ("entrypoint", V),
    ("environment", V),
    ("expose", Ignored),
    ("external_links", Ignored),
    ("extra_hosts", V),
    ("healthcheck", Keys(HEALTHCHECK)),
    ("hostname", V),
    ("image", V),
    ("init", V),
    ("ipc", Harmful),
    ("isolation", V),
    ("labels", V),
    ("links", Ignored),
    ("logging", Keys(LOGGING)),
    ("mac_address", Ignored),
    ("network_mode", Harmful),
    ("networks", Named(&Keys(ATTACHMENT))),
    ("oom_score_adj", Harmful),
    ("pid", Harmful),
    ("ports", List(&Keys(PORT))),
    ("privileged", Harmful),
    ("read_only", V),
    ("restart", V),
    ("secrets", List(&Keys(FILE_REFERENCE))),
    ("security_opt", Harmful),
    ("shm_size", Ignored),
    ("stdin_open", V),
    ("stop_grace_period", V),
    ("stop_signal", V),
    ("sysctls", V),
    ("tmpfs", Ignored),
    ("tty", V),
    ("ulimits", V),
    ("user", V),
    ("userns_mode", Harmful),
    ("volumes", List(&Keys(MOUNT))),
    ("working_dir", V),
];

static DEPLOY: &[(&str, Node)] = &[
    ("mode", V),
    ("endpoint_mode", V),
    ("replicas", V),
    ("labels", V),
    ("rollback_config", Keys(UPDATE)),
    ("update_config", Keys(UPDATE)),
    ("resources", Keys(RESOURCES)),
    (
        "restart_policy",
        Keys(&[
            ("condition", V),
            ("delay", V),
            ("max_attempts", V),
            ("window", V),
        ]),
    ),
    (
        "placement",
        Keys(&[
            ("constraints", V),
            ("preferences", List(&Keys(&[("spread", V)]))),
            ("max_replicas_per_node", V),
        ]),
    ),
];

static UPDATE: &[(&str, Node)] = &[
    ("parallelism", V),
    ("delay", V),
    ("failure_action", V),
    ("monitor", V),
    ("max_failure_ratio", V),
    ("order", V),
];

static RESOURCES: &[(&str, Node)] = &[
    ("limits", Keys(&[("cpus", V), ("memory", V), ("pids", V)])),
    (
        "reservations",
        Keys(&[("cpus", V), ("memory", V), ("generic_resources", V)]),
    ),
];

static HEALTHCHECK: &[(&str, Node)] = &[
    ("disable", V),
    ("interval", V),
    ("retries", V),
    ("test", V),
    ("timeout", V),
    ("start_period", V),
    ("start_interval", V),
];

static LOGGING: &[(&str, Node)] = &[("driver", V), ("options", V)];

static PORT: &[(&str, Node)] = &[
    ("mode", V),
    ("target", V),
    ("published", V),
    ("protocol", V),
];

static FILE_REFERENCE: &[(&str, Node)] = &[
    ("source", V),
    ("target", V),
    ("uid", V),
    ("gid", V),
    ("mode", V),
];

static ATTACHMENT: &[(&str, Node)] = &[
    ("aliases", V),
    ("ipv4_address", V),
    ("ipv6_address", V),
    ("driver_opts", V),
];

static MOUNT: &[(&str, Node)] = &[
    ("type", V),
    ("source", V),
    ("target", V),
    ("read_only", V),
    ("consistency", V),
    ("bind", Keys(&[("propagation", V)])),
    ("volume", Keys(&[("nocopy", V), ("subpath", V)])),
    ("tmpfs", Keys(&[("size", V)])),
    ("cluster", V),
    ("image", V),
];

static NETWORK: &[(&str, Node)] = &[
    ("name", V),
    ("driver", V),
    ("driver_opts", V),
    ("external", V),
    ("internal", V),
    ("attachable", V),
    ("enable_ipv6", V),
    ("ipam", V),
    ("labels", V),
];

static VOLUME: &[(&str, Node)] = &[
    ("name", V),
    ("driver", V),
    ("driver_opts", V),
    ("external", V),
    ("labels", V),
];

static SECRET: &[(&str, Node)] = &[
    ("name", V),
    ("file", V),
    ("external", V),
    ("labels", V),
    ("driver", V),
    ("driver_opts", V),
    ("template_driver", V),
];

static CONFIG: &[(&str, Node)] = SECRET;

/// Refuses every key that is in no table, and what Swarm ignores today.
pub(super) fn check(case: &mut Case<'_>) {
    let document = case.resolved.document();
    walk(case, "", document, TOP);
}

fn walk(case: &mut Case<'_>, path: &str, value: &Value, node: Node) {
    match node {
        Node::Value => {}
        Node::Ignored if is_set(value) => {
            let message = "it has no effect on a Swarm";
            case.find(&NO_EFFECT, path, value, message, None);
        }
        Node::Harmful if is_set(value) => harmful(case, path, value),
        Node::Ignored | Node::Harmful => {}
        Node::Keys(keys) => {
            for (key, value) in value.as_object().into_iter().flatten() {
                let path = join(path, key);
                match keys.iter().find(|(known, _)| known == key) {
                    Some((_, node)) => walk(case, &path, value, *node),
                    // Docker drops them before it looks at anything.
                    None if key.starts_with("x-") => {}
                    None => {
                        let message = format!("unknown key `{key}`");
                        case.find(&UNKNOWN, &path, value, message, None);
                    }
                }
            }
        }
        Node::Named(node) => {
            for (key, value) in value.as_object().into_iter().flatten() {
                let path = join(path, key);
                if !is_plain(key) {
                    let message = format!("`{key}` is no plain name");
                    case.find(&NAME, &path, &Value::from(key.as_str()), message, None);
                }
                walk(case, &path, value, *node);
            }
        }
        Node::List(node) => {
            for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                walk(case, &format!("{path}[{index}]"), value, *node);
            }
        }
    }
}

/// Refuses what would take a container's walls down, and lets pass what strengthens or repeats the default.
fn harmful(case: &mut Case<'_>, path: &str, value: &Value) {
    let key = path.rsplit('.').next().unwrap_or_default();
    let text = value.as_str().unwrap_or_default();
    let harmless = match key {
        "security_opt" => value.as_array().is_some_and(|items| {
            items.iter().all(|item| {
                let text = item.as_str().unwrap_or("?").to_ascii_lowercase();
                text == "no-new-privileges"
                    || text == "no-new-privileges:true"
                    || text == "no-new-privileges=true"
            })
        }),
        "network_mode" => matches!(text, "bridge" | "none" | "default"),
        "ipc" => matches!(text, "private" | "none" | "shareable"),
        "cgroupns_mode" | "cgroup" => text == "private",
        _ => false,
    };
    let (rule, message) = if harmless {
        (&NO_EFFECT, "it has no effect on a Swarm".to_owned())
    } else if key == "oom_score_adj" {
        let message = "it decides whom the kernel ends when the host's memory is used up";
        (&ISOLATION_LOST, message.to_owned())
    } else {
        let message =
            format!("`{key}` has no effect on a Swarm, and would give the container the host");
        (&ISOLATION_LOST, message)
    };
    case.find(rule, path, value, message, None);
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}
