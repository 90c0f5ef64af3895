//! Whether rules of Traefik's routers match requests for given hosts only.

use crate::recipe::traefik::rule::{Matcher, Rule, RuleError, is_among};

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

/// Makes sure that a rule matches requests for `hosts` and what is below them, and no others.
pub(super) fn confined(rule: &str, tcp: bool, hosts: &[String]) -> Result<(), Refusal> {
    let rule = Rule::parse(rule)?;
    let escaped = |matcher: &&Matcher<'_>| matcher.arguments.iter().any(|one| one.is_escaped);
    if rule.matchers().iter().any(escaped) {
        return Err(RuleError("a text of the rule has escapes".to_owned()).into());
    }
    let mut other = None;
    if is_confined(&rule, tcp, hosts, &mut other) {
        return Ok(());
    }
    let own = hosts.first().map_or("", String::as_str);
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

/// Returns whether a rule is confined to `hosts`; `other` becomes the first host that is not among them.
fn is_confined(rule: &Rule<'_>, tcp: bool, hosts: &[String], other: &mut Option<String>) -> bool {
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
            let mut texts = matcher.arguments.iter().map(|argument| argument.text);
            let foreign = texts.find(|host| !is_among(host, hosts));
            if let Some(host) = foreign {
                other.get_or_insert_with(|| host.to_owned());
            }
            foreign.is_none()
        }
    }
}
