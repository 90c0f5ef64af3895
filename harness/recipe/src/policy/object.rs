//! Volumes, secrets, configs and networks: only the run's own.

use serde_json::Value;

use super::rules::{
    DRIVER, FOREIGN_CONFIG, FOREIGN_NETWORK, FOREIGN_SECRET, FOREIGN_VOLUME, NETWORK_DRIVER,
    NETWORK_OPTIONS, NO_EFFECT, Rule, SHARED_NETWORK, VOLUME_OPTIONS,
};
use super::{Case, scalar};
use crate::compose::query::MAIN_SERVICE;
use crate::compose::resolve::Resolved;
use crate::compose::shared::PROXY;
use crate::trust::grant::Key;
use crate::trust::{Grant, Level};
use ground::name::is_plain;

/// One kind of object.
struct Kind {
    section: &'static str,
    rule: &'static Rule,
    listed: fn(&Grant) -> &[String],
    /// Whether an object of the run's own name may be made outside of the stack: the harness makes secrets.
    made_before: bool,
}

static KINDS: [Kind; 4] = [
    Kind {
        section: "volumes",
        rule: &FOREIGN_VOLUME,
        listed: |grant| &grant.foreign.volumes,
        made_before: false,
    },
    Kind {
        section: "secrets",
        rule: &FOREIGN_SECRET,
        listed: |grant| &grant.foreign.secrets,
        made_before: true,
    },
    Kind {
        section: "configs",
        rule: &FOREIGN_CONFIG,
        listed: |grant| &grant.foreign.configs,
        made_before: false,
    },
    Kind {
        section: "networks",
        rule: &FOREIGN_NETWORK,
        listed: |grant| &grant.foreign.networks,
        made_before: false,
    },
];

pub(super) fn check(case: &mut Case<'_>) {
    for kind in &KINDS {
        for (key, entry) in case.section(kind.section) {
            // What the harness puts in the place of the host's own is the run's.
            if kind.section == "networks" && case.resolved.added.has(key) {
                continue;
            }
            let path = format!("{}.{key}", kind.section);
            whose(case, kind, &path, entry);
            match kind.section {
                "volumes" => volume(case, &path, key, entry),
                "networks" => network(case, &path, entry),
                _ => driver(case, &path, entry),
            }
        }
    }
    shared(case);
}

fn is_external(entry: &Value) -> bool {
    !matches!(
        entry.get("external"),
        None | Some(Value::Null | Value::Bool(false))
    )
}

fn name_of(entry: &Value) -> &str {
    entry
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_shared(entry: &Value) -> bool {
    is_external(entry) && name_of(entry) == PROXY
}

/// Refuses what is not the run's.
fn whose(case: &mut Case<'_>, kind: &Kind, path: &str, entry: &Value) {
    let (external, name) = (is_external(entry), name_of(entry));
    let own = is_own(case.stack, name);
    if own && (!external || kind.made_before) {
        return;
    }
    if kind.section == "networks" && is_shared(entry) {
        return;
    }
    let listed = |grant: &Grant| (kind.listed)(grant).iter().any(|listed| listed == name);
    if case.granted(listed) {
        return;
    }
    let one = kind.section.trim_end_matches('s');
    let message = match (own, external) {
        (true, _) => {
            format!("the {one} `{name}` is made outside of the run, so the run could not remove it")
        }
        (false, true) => format!("the {one} `{name}` is not this run's"),
        (false, false) => format!(
            "the {one} `{name}` would not be known as this run's: its name does not begin with `{}_`",
            case.stack
        ),
    };
    let grant =
        is_plain(name).then(|| format!("foreign: {{{}: [{}]}}", kind.section, scalar(name)));
    let at = match entry.get("name") {
        Some(_)
            if case
                .resolved
                .project
                .exact_location(&format!("{path}.name"))
                .is_some() =>
        {
            format!("{path}.name")
        }
        _ if external => format!("{path}.external"),
        _ => format!("{path}.name"),
    };
    case.find(kind.rule, &at, &Value::from(name), message, grant);
}

/// Takes what is granted by its name as it is, external or not: made here, it would be taken for the run's.
pub(super) fn lend(resolved: &mut Resolved, level: &Level) {
    let Level::Granted(grant) = level else {
        return;
    };
    let mut lent: Vec<(&str, String, String)> = Vec::new();
    for kind in &KINDS {
        let entries = resolved.document().get(kind.section);
        for (key, entry) in entries.and_then(Value::as_object).into_iter().flatten() {
            let name = name_of(entry);
            if !is_external(entry) && (kind.listed)(grant).iter().any(|listed| listed == name) {
                lent.push((kind.section, key.clone(), name.to_owned()));
            }
        }
    }
    for (section, key, name) in lent {
        resolved.take_as_it_is(section, &key, &name);
        let one = section.trim_end_matches('s');
        resolved
            .deviations
            .push(format!("the {one} `{name}` is granted, and taken as it is"));
    }
}

fn is_own(stack: &str, name: &str) -> bool {
    is_plain(name)
        && name
            .strip_prefix(stack)
            .is_some_and(|rest| rest.len() > 1 && rest.starts_with('_'))
}

fn set<'a>(entry: &'a Value, key: &str) -> Option<&'a Value> {
    let value = entry.get(key)?;
    let empty = match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    (!empty).then_some(value)
}

fn volume(case: &mut Case<'_>, path: &str, key: &str, entry: &Value) {
    if case.granted(|grant| grant.volume_options.allow(key)) {
        return;
    }
    let grant = || Some(format!("volume_options: [{}]", scalar(key)));
    if let Some(driver) = set(entry, "driver").filter(|driver| driver.as_str() != Some("local")) {
        let message = format!("the volume `{key}` has another driver than `local`");
        case.find(
            &VOLUME_OPTIONS,
            &format!("{path}.driver"),
            driver,
            message,
            grant(),
        );
    }
    if let Some(options) = set(entry, "driver_opts") {
        let message = format!("the volume `{key}` has options, which can mount any path or device");
        case.find(
            &VOLUME_OPTIONS,
            &format!("{path}.driver_opts"),
            options,
            message,
            grant(),
        );
    }
}

fn network(case: &mut Case<'_>, path: &str, entry: &Value) {
    let driver = set(entry, "driver").filter(|driver| driver.as_str() != Some("overlay"));
    if let Some(driver) = driver
        && !case.granted(|grant| grant.allows_key(Key::NetworkDriver))
    {
        let message = "a network of a stack is an overlay";
        let grant = Some("keys: [network_driver]".to_owned());
        case.find(
            &NETWORK_DRIVER,
            &format!("{path}.driver"),
            driver,
            message,
            grant,
        );
    }
    if case.granted(|grant| grant.allows_key(Key::NetworkOptions)) {
        return;
    }
    for key in ["driver_opts", "ipam", "attachable", "enable_ipv6"] {
        if let Some(value) = set(entry, key) {
            let message = format!("`{key}` reaches beyond the run's own network");
            let grant = Some("keys: [network_options]".to_owned());
            case.find(
                &NETWORK_OPTIONS,
                &format!("{path}.{key}"),
                value,
                message,
                grant,
            );
        }
    }
}

fn driver(case: &mut Case<'_>, path: &str, entry: &Value) {
    for key in ["driver", "driver_opts"] {
        if let Some(value) = set(entry, key) {
            let message = "a plugin of the engine would be asked for it";
            case.find(&DRIVER, &format!("{path}.{key}"), value, message, None);
        }
    }
}

/// Holds the services to what they may do on networks that others are on, and with options of their attachments.
fn shared(case: &mut Case<'_>) {
    let networks: Vec<(&String, &Value)> = case.section("networks").collect();
    let lent = case.granted(|grant| grant.foreign.networks.iter().any(|name| name == PROXY));
    for (name, service) in case.section("services") {
        let attachments = service.get("networks").and_then(Value::as_object);
        for (key, attachment) in attachments.into_iter().flatten() {
            let path = format!("services.{name}.networks.{key}");
            if let Some(options) = set(attachment, "driver_opts")
                && !case.granted(|grant| grant.allows_key(Key::NetworkOptions))
            {
                let message = "options of an attachment reach beyond the run's own network";
                let grant = Some("keys: [network_options]".to_owned());
                let path = format!("{path}.driver_opts");
                case.find(&NETWORK_OPTIONS, &path, options, message, grant);
            }
            for key in ["ipv4_address", "ipv6_address"] {
                if let Some(address) = set(attachment, key) {
                    let message = "it has no effect on a Swarm";
                    case.find(&NO_EFFECT, &format!("{path}.{key}"), address, message, None);
                }
            }
            let network = networks.iter().find(|(other, _)| *other == key);
            let Some((_, network)) = network else {
                continue;
            };
            let aliases = set(attachment, "aliases");
            let grant = || Some(format!("foreign: {{networks: [{PROXY}]}}"));
            if is_shared(network) && !lent {
                if name != MAIN_SERVICE {
                    let message = format!(
                        "the service `{name}` would answer for its name on the gateway's network, where other apps look names up"
                    );
                    case.find(
                        &SHARED_NETWORK,
                        &path,
                        &Value::from(key.as_str()),
                        message,
                        grant(),
                    );
                }
                // The engine takes a container's hostname for an alias on each of its networks.
                let hostname = set(service, "hostname").filter(|hostname| {
                    let own = [case.terms.domain.to_ascii_lowercase()];
                    hostname.as_str().is_none_or(|hostname| {
                        hostname != MAIN_SERVICE && !crate::traefik::rule::is_among(hostname, &own)
                    })
                });
                if let Some(hostname) = hostname {
                    let message =
                        "a hostname on the gateway's network takes a name that other apps look up";
                    let path = format!("services.{name}.hostname");
                    case.find(&SHARED_NETWORK, &path, hostname, message, grant());
                }
                if let Some(aliases) = aliases {
                    let message =
                        "an alias on the gateway's network takes a name that other apps look up";
                    case.find(
                        &SHARED_NETWORK,
                        &format!("{path}.aliases"),
                        aliases,
                        message,
                        grant(),
                    );
                }
            }
        }
    }
}
