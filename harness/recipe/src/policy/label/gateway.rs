//! Labels that the gateway reads: what of a router, a service and a middleware stays with its own app.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::text_of;
use crate::policy::route::{self, Hosts};
use crate::policy::rules::{GATEWAY, PRIORITY, ROUTE, ROUTE_NAME};
use crate::policy::{Case, scalar};
use crate::traefik::{Group, Key, Protocol, is_own};
use crate::trust::Grant;
use ground::name::is_plain;

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

/// What a middleware of a stranger may cost the gateway, which serves everybody: how often it tries again, how many bytes
/// of a request or answer it keeps in memory and on its disk, and the cost of a password's hash.
const ATTEMPTS: u64 = 10;
const IN_MEMORY: u64 = 1 << 20;
const BUFFERED: u64 = 64 << 20;
const BCRYPT: u32 = 12;

/// How far apart the gateway's health checks are at the least.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// Judges a label that Traefik reads. It takes names in any case.
pub(super) fn judge(
    case: &mut Case<'_>,
    at: &str,
    key: &Key<'_>,
    value: &Value,
    beside: &BTreeMap<String, String>,
) {
    let text = text_of(value);
    match key {
        Key::Enable | Key::Network | Key::Whole => {}
        Key::Part {
            protocol,
            group,
            name,
            option,
        } => {
            let what = group.name().trim_end_matches('s');
            named(case, at, name, value, &format!("the {what} `{name}`"));
            let option: Vec<&str> = option.iter().map(String::as_str).collect();
            let entries = Entries::of(beside, *protocol, name);
            if *protocol == Protocol::Udp {
                return udp(case, at, (*group, &option), value, &entries);
            }
            let [option, ref rest @ ..] = option[..] else {
                return;
            };
            match group {
                Group::Routers => router(case, at, (*protocol, &entries), option, rest, &text),
                Group::Services => service(case, at, (name, beside), (option, rest), value),
                Group::Middlewares => middleware(case, at, (name, beside), (option, rest), &text),
            }
        }
        Key::Other => beyond(
            case,
            at,
            value,
            "it is no option of the app's own routers, services and middlewares",
        ),
    }
}

/// Refuses a label of which it cannot be told whether it is the one that Traefik takes.
pub(super) fn is_ambiguous(case: &mut Case<'_>, at: &str, value: &Value) {
    let message = "another label has the same name in other letters, or the name has letters beyond ASCII: write it once, in ASCII";
    beyond(case, at, value, message);
}

/// Judges a UDP router, which takes every packet of its entry points, and its service.
fn udp(
    case: &mut Case<'_>,
    at: &str,
    (group, option): (Group, &[&str]),
    value: &Value,
    entries: &Entries,
) {
    let text = text_of(value);
    match (group, option) {
        (Group::Routers, ["entrypoints"]) => {
            if !entries.are_granted(case) {
                let message = "every packet of an entry point would go to the app";
                case.find(&ROUTE, at, value, message, entries.grant());
            }
        }
        // Without entry points it would take all of the gateway's.
        (Group::Routers, ["service"]) if !entries.0.is_empty() => {
            named(case, at, &text, value, &format!("the service `{text}`"));
        }
        (Group::Services, ["loadbalancer", "server", "port"])
            if text.bytes().all(|b| b.is_ascii_digit()) => {}
        _ => {
            let message = "it is no option of a UDP router with entry points of its own";
            beyond(case, at, value, message);
        }
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

/// The entry points that a router names, all of whose TCP connections or UDP packets it may take where that is granted.
struct Entries(Vec<String>);

impl Entries {
    fn of(beside: &BTreeMap<String, String>, protocol: Protocol, router: &str) -> Self {
        let label = format!("traefik.{}.routers.{router}.entrypoints", protocol.name());
        let names = beside.get(&label.to_ascii_lowercase());
        let names = names.map_or("", String::as_str).split(',').map(str::trim);
        Self(
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }

    fn are_granted(&self, case: &Case<'_>) -> bool {
        let listed = |grant: &Grant, name: &String| grant.routers.entrypoints.contains(name);
        let all = |grant: &Grant| self.0.iter().all(|name| listed(grant, name));
        !self.0.is_empty() && case.granted(all)
    }

    /// Returns the grant that would let a router take all of them.
    fn grant(&self) -> Option<String> {
        let plain = !self.0.is_empty() && self.0.iter().all(|name| is_plain(name));
        let names: Vec<String> = self.0.iter().map(|name| scalar(name)).collect();
        plain.then(|| format!("routers: {{entrypoints: [{}]}}", names.join(", ")))
    }
}

fn router(
    case: &mut Case<'_>,
    at: &str,
    (protocol, entries): (Protocol, &Entries),
    option: &str,
    rest: &[&str],
    text: &str,
) {
    let value = Value::from(text);
    match (option, rest) {
        ("rule", []) => {
            let hosts = Hosts::of(case);
            if let Err(mut reason) = route::confined(text, protocol == Protocol::Tcp, &hosts) {
                // Without TLS a connection names no host, so such a router can only have an entry point to itself.
                if protocol == Protocol::Tcp && reason.host.as_deref() == Some("*") {
                    if entries.are_granted(case) {
                        return;
                    }
                    reason.message = match entries.0.is_empty() {
                        true => "the rule takes every TCP connection of the gateway: name an entry point of its own".to_owned(),
                        false => "the rule takes every connection of its entry points".to_owned(),
                    };
                    case.find(&ROUTE, at, &value, reason.message, entries.grant());
                    return;
                }
                let grant = reason.host.as_deref().filter(|host| is_plain(host));
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
            let hosts = Hosts::of(case);
            let other = text
                .split(',')
                .map(str::trim)
                .find(|host| !host.is_empty() && !hosts.have(host));
            if let Some(host) = other {
                let message = format!("the gateway would ask for a certificate of `{host}`");
                let name = host.strip_prefix("*.").unwrap_or(host);
                let grant =
                    is_plain(name).then(|| format!("routers: {{hosts: [{}]}}", scalar(host)));
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

/// What is beside a label: the name of its service or middleware, and all labels in lower case.
type Beside<'a> = (&'a str, &'a BTreeMap<String, String>);

fn service(
    case: &mut Case<'_>,
    at: &str,
    (name, beside): Beside<'_>,
    (option, rest): (&str, &[&str]),
    value: &Value,
) {
    let text = text_of(value);
    if let ["healthcheck", check] = rest {
        let label =
            format!("traefik.http.services.{name}.loadbalancer.healthcheck.followredirects");
        let stays = beside.get(&label.to_ascii_lowercase());
        if stays.is_none_or(|follows| !follows.trim().eq_ignore_ascii_case("false")) {
            let message = "the gateway would follow a redirect of the app to other machines: set `followredirects` of this health check to `false`";
            beyond(case, at, value, message);
        }
        // A number alone is seconds.
        let span = || match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => crate::compose::duration(&text),
        };
        let is_hot = || span().is_none_or(|span| span < PATIENCE);
        if matches!(*check, "interval" | "unhealthyinterval") && !text.is_empty() && is_hot() {
            let message = "the gateway would ask more often than once a second";
            beyond(case, at, value, message);
        }
    }
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

fn middleware(
    case: &mut Case<'_>,
    at: &str,
    (name, beside): Beside<'_>,
    (kind, rest): (&str, &[&str]),
    text: &str,
) {
    let value = Value::from(text);
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (kind, rest) {
        ("retry", ["attempts"]) if number(text).is_none_or(|attempts| attempts > ATTEMPTS) => {
            let message = format!("the gateway would try more than {ATTEMPTS} times");
            beyond(case, at, &value, &message);
        }
        ("buffering", ["memrequestbodybytes" | "memresponsebodybytes"])
            if number(text).is_none_or(|bytes| bytes > IN_MEMORY) =>
        {
            let message = format!("the gateway would keep more than {IN_MEMORY} bytes in memory");
            beyond(case, at, &value, &message);
        }
        ("buffering", _) => {
            // Without them it writes what has no end to its disk.
            let bounded = ["maxrequestbodybytes", "maxresponsebodybytes"]
                .iter()
                .all(|most| {
                    let label = format!("traefik.http.middlewares.{name}.buffering.{most}");
                    let bytes = beside
                        .get(&label.to_ascii_lowercase())
                        .and_then(|text| number(text));
                    bytes.is_some_and(|bytes| (1..=BUFFERED).contains(&bytes))
                });
            if !bounded {
                let message = format!(
                    "the gateway would keep whole requests and answers: set `maxRequestBodyBytes` and `maxResponseBodyBytes` to {BUFFERED} at most"
                );
                beyond(case, at, &value, &message);
            }
        }
        ("basicauth", [users, ..]) if users.starts_with("users") && is_costly(text) => {
            let message =
                format!("a password's hash costs the gateway more than bcrypt of {BCRYPT}");
            beyond(case, at, &value, &message);
        }
        _ => {}
    }
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

/// Returns whether text has a hash of bcrypt, `$2y$10$…`, that takes long to compare with: each step doubles it.
fn is_costly(text: &str) -> bool {
    text.split("$2").skip(1).any(|hash| {
        let cost = hash.split('$').nth(1);
        cost.is_some_and(|cost| cost.parse::<u32>().is_ok_and(|cost| cost > BCRYPT))
    })
}
