//! The keys of a compose file.

use super::Shape::{
    CommandLine, Count, Duration, Either, Extensible, Flag, Keys, List, Map, Null, Number, Objects,
    Open, Port, Set, Since, Size, Text, Whole, Word,
};
use super::{Key, Shape};

/// A key that there always was.
const fn key(name: &'static str, shape: Shape) -> Key {
    since(0, name, shape)
}

/// A key that came with a version.
const fn since(since: u32, name: &'static str, shape: Shape) -> Key {
    Key {
        name,
        since,
        required: false,
        shape,
    }
}

const fn required(name: &'static str, shape: Shape) -> Key {
    Key {
        name,
        since: 0,
        required: true,
        shape,
    }
}

const TEXTS: Shape = List(&Text);
const NAMES: Shape = Set(&Text);
const TEXT_OR_NAMES: Shape = Either(&[Text, NAMES]);
const COMMAND: Shape = Either(&[CommandLine, TEXTS]);
const TEST: Shape = Either(&[Text, TEXTS]);
const TEXT_OR_NUMBER: Shape = Either(&[Text, Number]);
/// `KEY: value` or `KEY=value`.
const PAIRS: Shape = Either(&[Map(&Either(&[Text, Number, Null])), NAMES]);
const OPTIONS: Shape = Map(&TEXT_OR_NUMBER);

/// From this version on objects have keys that begin with `x-`.
const EXTENSIONS: u32 = 7;

pub(super) const FILE: Shape = Extensible(
    4,
    &[
        key("version", Text),
        key("services", Objects(&SERVICE)),
        // Docker checks no name of a network.
        key("networks", Map(&NETWORK)),
        key("volumes", Objects(&VOLUME)),
        since(1, "secrets", Objects(&SECRET)),
        since(3, "configs", Objects(&CONFIG)),
    ],
);

const SERVICE: Shape = Extensible(
    EXTENSIONS,
    &[
        key("build", Either(&[Text, Open(&BUILD)])),
        key("cap_add", NAMES),
        key("cap_drop", NAMES),
        key("cgroup_parent", Text),
        since(9, "cgroupns_mode", Text),
        key("command", COMMAND),
        since(3, "configs", List(&REFERENCE)),
        key("container_name", Text),
        since(
            3,
            "credential_spec",
            Keys(&[
                since(8, "config", Text),
                key("file", Text),
                key("registry", Text),
            ]),
        ),
        key("depends_on", NAMES),
        key("deploy", Either(&[DEPLOY, Null])),
        key("devices", NAMES),
        key("dns", TEXT_OR_NAMES),
        key("dns_search", TEXT_OR_NAMES),
        key("domainname", Text),
        key("entrypoint", COMMAND),
        key("env_file", TEXT_OR_NAMES),
        key("environment", PAIRS),
        key("expose", Set(&TEXT_OR_NUMBER)),
        key("external_links", NAMES),
        key("extra_hosts", PAIRS),
        key("healthcheck", HEALTHCHECK),
        key("hostname", Text),
        key("image", Text),
        since(7, "init", Flag),
        key("ipc", Text),
        since(5, "isolation", Text),
        key("labels", PAIRS),
        key("links", NAMES),
        key(
            "logging",
            Keys(&[
                key("driver", Text),
                key("options", Map(&Either(&[Text, Number, Null]))),
            ]),
        ),
        key("mac_address", Text),
        key("network_mode", Text),
        key("networks", Either(&[NAMES, Objects(&ATTACHMENT)])),
        since(13, "oom_score_adj", Whole),
        key("pid", Either(&[Text, Null])),
        key("ports", Set(&Either(&[Port, Since(2, &LONG_PORT)]))),
        key("privileged", Flag),
        key("read_only", Flag),
        key("restart", Text),
        since(1, "secrets", List(&REFERENCE)),
        key("security_opt", NAMES),
        key("shm_size", TEXT_OR_NUMBER),
        key("stdin_open", Flag),
        key("stop_grace_period", Duration),
        key("stop_signal", Text),
        key("sysctls", PAIRS),
        key("tmpfs", TEXT_OR_NAMES),
        key("tty", Flag),
        key("ulimits", Map(&ULIMIT)),
        key("user", Text),
        key("userns_mode", Text),
        key("volumes", List(&Either(&[Text, Since(2, &MOUNT)]))),
        key("working_dir", Text),
    ],
);

/// Swarm builds nothing, and Docker's client reads it none the less.
const BUILD: [Key; 9] = [
    key("context", Text),
    key("dockerfile", Text),
    key("args", PAIRS),
    key("labels", PAIRS),
    key("cache_from", TEXTS),
    key("network", Text),
    key("target", Text),
    key("shm_size", Either(&[Text, Whole])),
    key("extra_hosts", PAIRS),
];

const LONG_PORT: Shape = Keys(&[
    key("mode", Text),
    key("target", Count),
    key("published", Count),
    key("protocol", Text),
]);

const MOUNT: Shape = Keys(&[
    required("type", Text),
    key("source", Text),
    key("target", Text),
    key("read_only", Flag),
    key("consistency", Text),
    key("bind", Open(&[key("propagation", Text)])),
    key("volume", Open(&[key("nocopy", Flag)])),
    since(6, "tmpfs", Open(&[key("size", Count)])),
]);

/// A secret or config of a service.
const REFERENCE: Shape = Either(&[
    Text,
    Open(&[
        key("source", Text),
        key("target", Text),
        key("uid", Text),
        key("gid", Text),
        key("mode", Number),
    ]),
]);

const ATTACHMENT: Shape = Either(&[
    Keys(&[
        key("aliases", NAMES),
        since(13, "driver_opts", OPTIONS),
        key("ipv4_address", Text),
        key("ipv6_address", Text),
    ]),
    Null,
]);

const ULIMIT: Shape = Either(&[
    Whole,
    Keys(&[required("soft", Whole), required("hard", Whole)]),
]);

const HEALTHCHECK: Shape = Keys(&[
    key("disable", Flag),
    key("interval", Duration),
    key("retries", Number),
    key("test", TEST),
    key("timeout", Duration),
    since(4, "start_period", Duration),
    since(12, "start_interval", Duration),
]);

const DEPLOY: Shape = Keys(&[
    key("mode", Text),
    since(2, "endpoint_mode", Text),
    key("replicas", Count),
    key("labels", PAIRS),
    key("update_config", Keys(&UPDATE)),
    since(7, "rollback_config", Keys(&UPDATE)),
    key(
        "resources",
        Keys(&[key("limits", LIMITS), key("reservations", RESERVATIONS)]),
    ),
    key(
        "restart_policy",
        Keys(&[
            key("condition", Text),
            key("delay", Duration),
            key("max_attempts", Count),
            key("window", Duration),
        ]),
    ),
    key(
        "placement",
        Keys(&[
            key("constraints", TEXTS),
            since(3, "preferences", List(&Keys(&[key("spread", Text)]))),
            since(8, "max_replicas_per_node", Count),
        ]),
    ),
]);

const UPDATE: [Key; 6] = [
    key("parallelism", Count),
    key("delay", Duration),
    key("failure_action", Text),
    key("monitor", Duration),
    key("max_failure_ratio", Number),
    since(4, "order", Word(&["start-first", "stop-first"])),
];

const LIMITS: Shape = Keys(&[
    key("cpus", Text),
    key("memory", Size),
    since(9, "pids", Whole),
]);

const RESERVATIONS: Shape = Keys(&[
    key("cpus", Text),
    key("memory", Size),
    since(
        5,
        "generic_resources",
        List(&Keys(&[key(
            "discrete_resource_spec",
            Keys(&[key("kind", Text), key("value", Number)]),
        )])),
    ),
]);

const NETWORK: Shape = Either(&[
    Extensible(
        EXTENSIONS,
        &[
            since(5, "name", Text),
            key("driver", Text),
            key("driver_opts", OPTIONS),
            key(
                "ipam",
                Keys(&[
                    key("driver", Text),
                    key("config", List(&Keys(&[key("subnet", Text)]))),
                ]),
            ),
            key("external", EXTERNAL),
            key("internal", Flag),
            since(2, "attachable", Flag),
            key("labels", PAIRS),
        ],
    ),
    Null,
]);

const VOLUME: Shape = Either(&[
    Extensible(
        EXTENSIONS,
        &[
            since(4, "name", Text),
            key("driver", Text),
            key("driver_opts", OPTIONS),
            key("external", EXTERNAL),
            key("labels", PAIRS),
            key("x-cluster-spec", CLUSTER),
        ],
    ),
    Null,
]);

const TOPOLOGIES: Shape = List(&Open(&[key("segments", PAIRS)]));

/// What a volume of the cluster is like. Before 3.11 it is an extension, which could have any form.
const CLUSTER: Shape = Open(&[
    key("group", Text),
    key(
        "access_mode",
        Open(&[
            key("scope", Text),
            key("sharing", Text),
            key("block_volume", Open(&[])),
            key(
                "mount_volume",
                Open(&[key("fs_type", Text), key("mount_flags", TEXTS)]),
            ),
        ]),
    ),
    key(
        "accessibility_requirements",
        Open(&[key("requisite", TOPOLOGIES), key("preferred", TOPOLOGIES)]),
    ),
    key(
        "capacity_range",
        Open(&[key("required_bytes", Text), key("limit_bytes", Text)]),
    ),
    key("availability", Text),
]);

const EXTERNAL: Shape = Either(&[Flag, Keys(&[key("name", Text)])]);

/// That of secrets and configs may have other keys.
const EXTERNAL_FILE: Shape = Either(&[Flag, Open(&[key("name", Text)])]);

const SECRET: Shape = Extensible(
    EXTENSIONS,
    &[
        since(5, "name", Text),
        key("file", Text),
        key("external", EXTERNAL_FILE),
        key("labels", PAIRS),
        since(8, "driver", Text),
        since(8, "driver_opts", OPTIONS),
        since(8, "template_driver", Text),
    ],
);

const CONFIG: Shape = Extensible(
    EXTENSIONS,
    &[
        since(5, "name", Text),
        key("file", Text),
        key("external", EXTERNAL_FILE),
        key("labels", PAIRS),
        since(8, "template_driver", Text),
    ],
);
