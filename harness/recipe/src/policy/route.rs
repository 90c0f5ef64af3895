//! Whether rules of Traefik's routers match requests for given hosts only.

use super::Case;
use crate::traefik::rule::{Matcher, Rule, RuleError, is_among, is_host};

/// The hosts whose requests an app may have.
#[derive(Debug)]
pub(super) struct Hosts {
    /// The run's own domain, with all below it.
    own: [String; 1],
    /// What the operator grants: exactly that, or with `*.` in front all that is below.
    granted: Vec<String>,
}

impl Hosts {
    pub(super) fn of(case: &Case<'_>) -> Self {
        let granted = case.grant().map(|grant| grant.routers.hosts.iter());
        let granted = granted.into_iter().flatten();
        Self {
            own: [case.terms.domain.to_ascii_lowercase()],
            granted: granted.map(|host| host.to_ascii_lowercase()).collect(),
        }
    }

    /// Returns whether `host` is among them.
    pub(super) fn have(&self, host: &str) -> bool {
        let lower = host.to_ascii_lowercase();
        let mut granted = self.granted.iter();
        is_among(host, &self.own)
            || granted.any(|listed| match listed.strip_prefix('*') {
                Some(below) => {
                    is_host(&lower) && lower.len() > below.len() && lower.ends_with(below)
                }
                None => lower == *listed,
            })
    }
}

/// Why a rule is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: String,
    /// The host that would have to be granted, where there is one.
    pub(super) host: Option<String>,
}

impl From<RuleError> for Refusal {
    fn from(error: RuleError) -> Self {
        Self {
            message: error.to_string(),
            host: None,
        }
    }
}

/// Makes sure that a rule matches requests for `hosts`, and no others.
pub(super) fn confined(rule: &str, tcp: bool, hosts: &Hosts) -> Result<(), Refusal> {
    let rule = Rule::parse(rule)?;
    let escaped = |matcher: &&Matcher<'_>| matcher.arguments.iter().any(|one| one.is_escaped);
    if rule.matchers().iter().any(escaped) {
        return Err(RuleError("a text of the rule has escapes".to_owned()).into());
    }
    let [own] = &hosts.own;
    // Traefik looks for TLS options and certificates by every host that stands in a rule, whether a request for it can match
    // or not: beside another app's router for that host it takes the default options for both, without client certificates.
    // https://github.com/traefik/traefik/blob/master/pkg/muxer/http/mux.go (`ParseDomains`)
    let mut named = rule.matchers().into_iter().filter(|one| names_hosts(one));
    let beside = named.find_map(|matcher| foreign(matcher, hosts));
    let mut other = None;
    if is_confined(&rule, tcp, hosts, &mut other) {
        let Some(host) = beside else {
            return Ok(());
        };
        return Err(Refusal {
            message: format!(
                "the rule names `{host}`, whose TLS options and certificates would be the app's, and the run has `{own}`"
            ),
            host: Some(host.to_owned()),
        });
    }
    Err(match other {
        Some(host) => Refusal {
            message: format!("the rule matches `{host}`, and the run has `{own}`"),
            host: Some(host),
        },
        None => Refusal {
            message: format!("the rule matches requests for other hosts than `{own}`"),
            host: None,
        },
    })
}

/// Returns whether Traefik takes the arguments for hosts, in HTTP or in TCP.
fn names_hosts(matcher: &Matcher<'_>) -> bool {
    matcher.names_hosts() || matcher.name == "hostsni"
}

/// Returns the first host of a matcher that is not among `hosts`.
fn foreign<'rule>(matcher: &Matcher<'rule>, hosts: &Hosts) -> Option<&'rule str> {
    let mut texts = matcher.arguments.iter().map(|argument| argument.text);
    texts.find(|host| !hosts.have(host))
}

/// Returns whether a rule is confined to `hosts`; `other` becomes the first host that is not among them.
fn is_confined(rule: &Rule<'_>, tcp: bool, hosts: &Hosts, other: &mut Option<String>) -> bool {
    let mut each = |rules: &[Rule<'_>]| -> Vec<bool> {
        let all = rules.iter();
        all.map(|rule| is_confined(rule, tcp, hosts, other))
            .collect()
    };
    match rule {
        // Each has to be confined.
        Rule::Any(rules) => !each(rules).contains(&false),
        // One is enough.
        Rule::All(rules) => each(rules).contains(&true),
        Rule::Not(rule) => {
            is_confined(rule, tcp, hosts, other);
            false
        }
        Rule::Matcher(matcher) => {
            let names_hosts = match tcp {
                true => matcher.name == "hostsni",
                false => matcher.names_hosts(),
            };
            if !names_hosts || matcher.arguments.is_empty() {
                return false;
            }
            let foreign = foreign(matcher, hosts);
            if let Some(host) = foreign {
                other.get_or_insert_with(|| host.to_owned());
            }
            foreign.is_none()
        }
    }
}
