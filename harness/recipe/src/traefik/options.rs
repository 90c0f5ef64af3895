//! The options that Traefik knows, and the nearest one to a word that it does not.

use super::{Group, Protocol};
use ground::nearest::nearest;

const HTTP_ROUTER: &[&str] = &[
    "rule",
    "entrypoints",
    "middlewares",
    "service",
    "tls",
    "priority",
    "rulesyntax",
    "observability",
    "parentrefs",
];
const TCP_ROUTER: &[&str] = &[
    "rule",
    "entrypoints",
    "middlewares",
    "service",
    "tls",
    "priority",
    "rulesyntax",
];
const UDP_ROUTER: &[&str] = &["entrypoints", "service"];
const TLS: &[&str] = &["certresolver", "options", "domains", "passthrough"];
const SERVICE: &[&str] = &[
    "loadbalancer",
    "weighted",
    "mirroring",
    "failover",
    "highestrandomweight",
];
const BALANCER: &[&str] = &[
    // Never `servers[0]`: Traefik's labels have the list's one entry under this name (`label-slice-as-struct`).
    "server",
    "sticky",
    "healthcheck",
    "passivehealthcheck",
    "passhostheader",
    "responseforwarding",
    "serverstransport",
    "strategy",
    "terminationdelay",
    "proxyprotocol",
];
const SERVER: &[&str] = &[
    "port",
    "scheme",
    "url",
    "address",
    "weight",
    "tls",
    "preservepath",
];
const HTTP_MIDDLEWARE: &[&str] = &[
    "addprefix",
    "basicauth",
    "buffering",
    "chain",
    "circuitbreaker",
    "compress",
    "contenttype",
    "digestauth",
    "encodedcharacters",
    "errors",
    "forwardauth",
    "gatewayapirequestheadermodifier",
    "grpcweb",
    "headers",
    "inflightreq",
    "ipallowlist",
    "ipwhitelist",
    "passtlsclientcert",
    "plugin",
    "ratelimit",
    "redirectregex",
    "redirectscheme",
    "replacepath",
    "replacepathregex",
    "requestheadermodifier",
    "responseheadermodifier",
    "retry",
    "stripprefix",
    "stripprefixregex",
    "urlrewrite",
];
const TCP_MIDDLEWARE: &[&str] = &["inflightconn", "ipallowlist", "ipwhitelist"];

/// An option that Traefik does not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// The word.
    pub(super) word: String,
    /// The word that was probably meant.
    pub(super) nearest: Option<String>,
}

/// Returns the first word of an option that Traefik does not know, if there is one. Below the options that are known
/// here anything may stand.
pub(super) fn unknown(protocol: Protocol, group: Group, option: &[String]) -> Option<Unknown> {
    let top = match (group, protocol) {
        (Group::Routers, Protocol::Http) => HTTP_ROUTER,
        (Group::Routers, Protocol::Tcp) => TCP_ROUTER,
        (Group::Routers, Protocol::Udp) => UDP_ROUTER,
        (Group::Services, _) => SERVICE,
        (Group::Middlewares, Protocol::Http) => HTTP_MIDDLEWARE,
        (Group::Middlewares, _) => TCP_MIDDLEWARE,
    };
    let mut known = top;
    for word in option {
        let plain = word.split('[').next().unwrap_or_default();
        if !known.contains(&plain) {
            return Some(Unknown {
                word: word.clone(),
                nearest: nearest(plain, known.iter().copied()).map(str::to_owned),
            });
        }
        known = match (group, plain) {
            (Group::Routers, "tls") => TLS,
            (Group::Services, "loadbalancer") => BALANCER,
            (Group::Services, "server") => SERVER,
            _ => return None,
        };
    }
    None
}
