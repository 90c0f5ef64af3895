//! Labels, which programs beside the Swarm obey.

use serde_json::Value;

use super::rules::{DOCKER_LABEL, GATEWAY, OTHERS_LABEL, PRIORITY, ROUTE, ROUTE_NAME};
use super::{Case, route, scalar};
use crate::recipe::traefik::rule::is_among;
use crate::recipe::traefik::{self, Group, Key, Protocol, is_own};
use crate::trust::Grant;

/// Namespaces of labels by which programs that operators run reach beyond the service that bears them: they route
/// hosts, or run commands elsewhere. What only restarts, updates or scales its own service is not among them.
const OTHERS: [&str; 4] = ["caddy", "ofelia", "com.df", "docker-volume-backup"];

/// Middlewares that act on their own router and ask no other machine.
const MIDDLEWARES: [&str; 23] = [
    "addprefix",
    "basicauth",
    "buffering",
    "chain",
    "circuitbreaker",
    "compress",
    "contenttype",
    "digestauth",
    "grpcweb",
    "headers",
    "ipallowlist",
    "ipwhitelist",
    "inflightreq",
    "inflightconn",
    "ratelimit",
    "redirectregex",
    "redirectscheme",
    "replacepath",
    "replacepathregex",
    "retry",
    "stripprefix",
    "stripprefixregex",
    "passtlsclientcert",
];

/// Options of a router that stay within it.
const ROUTER: [&str; 7] = [
    "entrypoints",
    "middlewares",
    "tls",
    "observability",
    "rulesyntax",
    "rule",
    "service",
];

/// Options of a service's load balancer that stay with its own containers.
const BALANCER: [&str; 8] = [
    "healthcheck",
    "passhostheader",
    "sticky",
    "responseforwarding",
    "serverstransport",
    "strategy",
    "terminationdelay",
    "proxyprotocol",
];

pub(super) fn check(case: &mut Case<'_>) {
    for (name, service) in case.section("services") {
        let path = format!("services.{name}");
        labels(case, &format!("{path}.labels"), service.get("labels"));
        let deploy = service.pointer("/deploy/labels");
        labels(case, &format!("{path}.deploy.labels"), deploy);
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        for (key, entry) in case.section(section) {
            labels(
                case,
                &format!("{section}.{key}.labels"),
                entry.get("labels"),
            );
        }
    }
}

fn labels(case: &mut Case<'_>, path: &str, labels: Option<&Value>) {
    // Labels of networks and the like may still be a list.
    let pairs: Vec<(String, Value)> = match labels {
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
        _ => return,
    };
    for (label, value) in pairs {
        let at = format!("{path}.{label}");
        let lower = label.trim().to_ascii_lowercase();
        let in_space = |space: &str| {
            lower
                .strip_prefix(space)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_', '-']))
        };
        if in_space("com.docker") {
            let message =
                format!("the label `{label}` says whose something is, to the engine and its tools");
            case.find(&DOCKER_LABEL, &at, &value, message, None);
        } else if let Some(space) = OTHERS.iter().find(|space| in_space(space)) {
            let message =
                format!("labels of `{space}` are obeyed by a program that an operator may run");
            case.find(&OTHERS_LABEL, &at, &value, message, None);
        } else if let Some(key) = traefik::key(&label) {
            traefik(case, &at, &key, &value);
        }
    }
}

/// Judges a label that Traefik reads. It takes names in any case.
fn traefik(case: &mut Case<'_>, at: &str, key: &Key<'_>, value: &Value) {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    match key {
        Key::Enable | Key::Network | Key::Whole => {}
        Key::Part {
            protocol: protocol @ (Protocol::Http | Protocol::Tcp),
            group,
            name,
            option,
        } => {
            let what = group.name().trim_end_matches('s');
            named(case, at, name, value, &format!("the {what} `{name}`"));
            let option: Vec<&str> = option.iter().map(String::as_str).collect();
            let [option, ref rest @ ..] = option[..] else {
                return;
            };
            match group {
                Group::Routers => router(case, at, *protocol, option, rest, &text),
                Group::Services => service(case, at, option, rest, value),
                Group::Middlewares => middleware(case, at, option, rest, &text),
            }
        }
        Key::Part { .. } | Key::Other => beyond(
            case,
            at,
            value,
            "it is no option of the app's own routers, services and middlewares",
        ),
    }
}

fn beyond(case: &mut Case<'_>, at: &str, value: &Value, message: &str) {
    case.find(&GATEWAY, at, value, message, None);
}

fn named(case: &mut Case<'_>, at: &str, name: &str, value: &Value, what: &str) {
    let listed = |grant: &Grant| {
        grant
            .routers
            .names
            .iter()
            .any(|one| one.eq_ignore_ascii_case(name))
    };
    if is_own(case.stack, name) || case.granted(listed) {
        return;
    }
    let message = format!("{what} of the gateway does not begin with `{}`", case.stack);
    let grant = Some(format!("routers: {{names: [{}]}}", scalar(name)));
    case.find(&ROUTE_NAME, at, value, message, grant);
}

fn router(
    case: &mut Case<'_>,
    at: &str,
    protocol: Protocol,
    option: &str,
    rest: &[&str],
    text: &str,
) {
    let value = Value::from(text);
    match (option, rest) {
        ("rule", []) => {
            let hosts = hosts(case);
            if let Err(reason) = route::confined(text, protocol == Protocol::Tcp, &hosts) {
                let grant = reason
                    .host
                    .as_deref()
                    .filter(|host| super::keys::is_name(host));
                let grant = grant.map(|host| format!("routers: {{hosts: [{}]}}", scalar(host)));
                case.find(&ROUTE, at, &value, reason.message, grant);
            }
        }
        ("priority", []) => {
            if !text.is_empty() && !case.granted(|grant| grant.routers.priority) {
                let message = "a priority can go before other apps' routers";
                let grant = Some("routers: {priority: true}".to_owned());
                case.find(&PRIORITY, at, &value, message, grant);
            }
        }
        ("service", []) => named(case, at, text, &value, &format!("the service `{text}`")),
        ("tls", ["certresolver"]) => {
            if !text.is_empty() {
                beyond(
                    case,
                    at,
                    &value,
                    "the gateway would ask for a certificate in the operator's name",
                );
            }
        }
        ("tls", [domains, ..]) if domains.starts_with("domains") => {
            let hosts = hosts(case);
            let other = text
                .split(',')
                .map(str::trim)
                .find(|host| !host.is_empty() && !is_among(host, &hosts));
            if let Some(host) = other {
                let message = format!("the gateway would ask for a certificate of `{host}`");
                let grant = super::keys::is_name(host)
                    .then(|| format!("routers: {{hosts: [{}]}}", scalar(host)));
                case.find(&ROUTE, at, &value, message, grant);
            }
        }
        (option, _) if ROUTER.contains(&option) => {}
        _ => beyond(
            case,
            at,
            &value,
            "this option of a router is not known here",
        ),
    }
}

fn hosts(case: &Case<'_>) -> Vec<String> {
    let mut hosts = vec![case.terms.domain.to_ascii_lowercase()];
    if let Some(grant) = case.grant() {
        hosts.extend(
            grant
                .routers
                .hosts
                .iter()
                .map(|host| host.to_ascii_lowercase()),
        );
    }
    hosts
}

fn service(case: &mut Case<'_>, at: &str, option: &str, rest: &[&str], value: &Value) {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    // The gateway puts the address together as text, and joins a path as a browser joins a link.
    let fine = option == "loadbalancer"
        && match rest {
            ["server" | "servers[0]" | "healthcheck", "port"] => {
                text.bytes().all(|b| b.is_ascii_digit())
            }
            ["server" | "servers[0]" | "healthcheck", "scheme"] => {
                matches!(text.as_str(), "" | "http" | "https" | "h2c")
            }
            ["server" | "servers[0]", "weight" | "tls" | "preservepath"] => true,
            ["healthcheck", "path"] => {
                text.is_empty()
                    || text.starts_with('/') && !text.starts_with("//") && !text.contains('\\')
            }
            [option, ..] => BALANCER.contains(option),
            [] => false,
        };
    if !fine {
        beyond(
            case,
            at,
            value,
            "the gateway would ask other machines than the app's own containers",
        );
    }
}

fn middleware(case: &mut Case<'_>, at: &str, kind: &str, rest: &[&str], text: &str) {
    let value = Value::from(text);
    let last = rest.last().copied().unwrap_or_default();
    let reaches = last == "usersfile" || rest.contains(&"redis");
    if kind == "errors" {
        // It serves another service's page.
        if last == "service" {
            named(case, at, text, &value, &format!("the service `{text}`"));
        }
    } else if !MIDDLEWARES.contains(&kind) || reaches {
        let message = format!(
            "the middleware `{kind}` makes the gateway read its files or ask other machines"
        );
        beyond(case, at, &value, &message);
    }
}
