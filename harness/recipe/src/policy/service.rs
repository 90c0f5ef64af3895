//! Keys of services that a stranger has no need of.

use serde_json::Value;

use super::rules::{
    CAPABILITIES, CREDENTIAL_SPEC, DNS, EXTRA_HOSTS, GENERIC_RESOURCES, HEALTHCHECK, ISOLATION,
    LOGGING, PLACEMENT, PORTS, Rule, SYSCTLS, ULIMITS,
};
use super::{Case, scalar};
use crate::trust::Level;
use crate::trust::grant::Key;

/// What Docker gives every container except [`RAW`](super::raw::RAW). The Pod Security "baseline" has the same list, and
/// `NET_RAW` in it. Adding one of them gives back at most what `cap_drop` took.
const DOCKERS_OWN: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Keys that need a word of the operator, by where they are below a service.
static GRANTED: [(&str, Key, &Rule); 9] = [
    ("sysctls", Key::Sysctls, &SYSCTLS),
    ("ulimits", Key::Ulimits, &ULIMITS),
    ("isolation", Key::Isolation, &ISOLATION),
    ("credential_spec", Key::CredentialSpec, &CREDENTIAL_SPEC),
    ("extra_hosts", Key::ExtraHosts, &EXTRA_HOSTS),
    ("dns", Key::Dns, &DNS),
    ("dns_search", Key::Dns, &DNS),
    ("dns_opt", Key::Dns, &DNS),
    (
        "deploy.resources.reservations.generic_resources",
        Key::GenericResources,
        &GENERIC_RESOURCES,
    ),
];

/// Options of the log drivers that are read on the host and bounded by their size. `labels-regex` and `env-regex` are not
/// among them: the engine compiles them, and 30 KB of `\pL` took 70 MB of its memory at each start of a task.
///
/// `env` and `labels` write values of the container into every line, beside the ceiling.
const LOG_OPTIONS: [&str; 4] = ["max-size", "max-file", "compress", "tag"];

/// How long the tag of a log's lines may be, in bytes: it is in each of them.
const LOG_TAG: usize = 256;

pub(super) fn check(case: &mut Case<'_>) {
    for (name, service) in case.section("services") {
        let path = format!("services.{name}");
        for (key, needed, rule) in &GRANTED {
            let value = service.pointer(&format!("/{}", key.replace('.', "/")));
            if let Some(value) = value {
                needs(case, rule, *needed, &format!("{path}.{key}"), value);
            }
        }
        capabilities(case, &path, service);
        ports(case, &path, service);
        logging(case, &path, service);
        placement(case, &path, service);
        healthcheck(case, &path, service);
    }
}

/// Refuses a healthcheck without its command for everybody: dockerd takes the word behind `CMD` without a look whether
/// there is one (`cmdProbe.run` in <https://github.com/moby/moby/blob/v20.10.24/daemon/health.go>).
fn healthcheck(case: &mut Case<'_>, path: &str, service: &Value) {
    let Some(test) = service.pointer("/healthcheck/test") else {
        return;
    };
    if test
        .as_array()
        .is_some_and(|words| matches!(&words[..], [only] if only == "CMD"))
    {
        let at = format!("{path}.healthcheck.test");
        let message = "dockerd crashes at a healthcheck that has no command".to_owned();
        case.find_for_everybody(&HEALTHCHECK, &at, test, message);
    }
}

/// Notes every part of a value that needs a grant, so that what the operator's overlay adds stays out of it.
fn needs(case: &mut Case<'_>, rule: &'static Rule, key: Key, path: &str, value: &Value) {
    if case.granted(|grant| grant.allows_key(key)) {
        return;
    }
    let mut parts: Vec<(String, &Value)> = Vec::new();
    match value {
        Value::Null => {}
        Value::Object(map) => parts.extend(
            map.iter()
                .map(|(key, part)| (format!("{path}.{key}"), part)),
        ),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            parts.extend(items.map(|(index, part)| (format!("{path}[{index}]"), part)));
        }
        Value::String(text) if text.is_empty() => {}
        one => parts.push((path.to_owned(), one)),
    }
    for (at, part) in parts {
        let name = path.rsplit('.').next().unwrap_or_default();
        let grant = Some(format!("keys: [{}]", key.name()));
        case.find(rule, &at, part, format!("`{name}` needs a grant"), grant);
    }
}

/// Returns a capability as `grants.yml` writes it.
pub(super) fn capability(text: &str) -> String {
    let text = text.to_ascii_uppercase();
    text.strip_prefix("CAP_")
        .map_or(text.clone(), str::to_owned)
}

fn capabilities(case: &mut Case<'_>, path: &str, service: &Value) {
    let added = service.get("cap_add").and_then(Value::as_array);
    for (index, item) in added.into_iter().flatten().enumerate() {
        let name = capability(item.as_str().unwrap_or("?"));
        if DOCKERS_OWN.contains(&name.as_str())
            || case.granted(|grant| grant.capabilities.contains(&name))
        {
            continue;
        }
        let message = format!("the capability {name} needs a grant");
        let grant = Some(format!("capabilities: [{}]", scalar(&name)));
        case.find(
            &CAPABILITIES,
            &format!("{path}.cap_add[{index}]"),
            item,
            message,
            grant,
        );
    }
}

/// Says what is published by hand. What a stranger publishes is left out, and said as a deviation.
fn ports(case: &mut Case<'_>, path: &str, service: &Value) {
    if case.terms.level != Level::ByHand {
        return;
    }
    let ports = service.get("ports").and_then(Value::as_array);
    for (index, port) in ports.into_iter().flatten().enumerate() {
        let Some(number) = port.get("published").and_then(Value::as_u64) else {
            continue;
        };
        let protocol = port.get("protocol").and_then(Value::as_str);
        let name = match protocol {
            None | Some("tcp") => number.to_string(),
            Some(protocol) => format!("{number}/{protocol}"),
        };
        let message = format!("the port {name} of the whole host is published");
        let grant = Some(format!("ports: [{}]", scalar(&name)));
        let at = format!("{path}.ports[{index}]");
        case.find(&PORTS, &at, &Value::from(name), message, grant);
    }
}

fn logging(case: &mut Case<'_>, path: &str, service: &Value) {
    let Some(logging) = service.get("logging").and_then(Value::as_object) else {
        return;
    };
    if case.granted(|grant| grant.allows_key(Key::Logging)) {
        return;
    }
    let grant = || Some("keys: [logging]".to_owned());
    if let Some(driver) = logging.get("driver")
        && !matches!(driver.as_str(), Some("" | "json-file" | "local"))
        && !driver.is_null()
    {
        let message =
            "another log driver than `json-file` or `local` sends to an address, or hides the log";
        case.find(
            &LOGGING,
            &format!("{path}.logging.driver"),
            driver,
            message,
            grant(),
        );
    }
    let options = logging.get("options").and_then(Value::as_object);
    for (key, value) in options.into_iter().flatten() {
        let is_long = key == "tag" && value.to_string().len() > LOG_TAG;
        if is_long || !LOG_OPTIONS.contains(&key.as_str()) {
            let message = match is_long {
                true => format!("a tag of a log has at most {LOG_TAG} bytes: it is in every line"),
                false => format!("the log option `{key}` needs a grant"),
            };
            case.find(
                &LOGGING,
                &format!("{path}.logging.options.{key}"),
                value,
                message,
                grant(),
            );
        }
    }
}

fn placement(case: &mut Case<'_>, path: &str, service: &Value) {
    if case.granted(|grant| grant.allows_key(Key::Placement)) {
        return;
    }
    let constraints = service
        .pointer("/deploy/placement/constraints")
        .and_then(Value::as_array);
    for (index, item) in constraints.into_iter().flatten().enumerate() {
        let text = item.as_str().unwrap_or_default();
        let key = text.split(['=', '!']).next().unwrap_or_default().trim();
        if key == "node.role" || key.starts_with("node.platform.") {
            continue;
        }
        let message = format!("`{key}` chooses nodes by what the operator keeps apart");
        let at = format!("{path}.deploy.placement.constraints[{index}]");
        let grant = Some("keys: [placement]".to_owned());
        case.find(&PLACEMENT, &at, item, message, grant);
    }
}
