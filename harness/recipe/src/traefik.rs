//! Traefik's labels, as its Swarm provider reads them.
//!
//! It reads the labels of services, which are those below `deploy`, and drops all of a service that has one that it
//! does not know or no port. Names of options it takes in any case, names of routers and the like only as written.

pub mod faults;
mod options;
pub mod rule;

use std::collections::BTreeMap;

use crate::compose::model::Service;

/// What a part of Traefik's configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Requests.
    Http,
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// Returns its name in labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// What a part of Traefik's configuration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Which requests go where.
    Routers,
    /// Where they go.
    Services,
    /// What is done to them on the way.
    Middlewares,
}

impl Group {
    /// Returns its name in labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Routers => "routers",
            Self::Services => "services",
            Self::Middlewares => "middlewares",
        }
    }
}

/// What a label of Traefik is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key<'a> {
    /// `traefik.enable`.
    Enable,
    /// `traefik.docker.network` or `traefik.swarm.network`: on which network the service is reached.
    Network,
    /// Another label about the service as a whole.
    Whole,
    /// A part of a router, service or middleware.
    Part {
        /// For what.
        protocol: Protocol,
        /// Which kind.
        group: Group,
        /// Its name, as written.
        name: &'a str,
        /// The option with what is below it, in lower case: `["loadbalancer", "server", "port"]`.
        option: Vec<String>,
    },
    /// Anything else.
    Other,
}

/// Returns what `label` is about, if it is one of Traefik's: one with a space before it is not.
#[must_use]
pub fn key(label: &str) -> Option<Key<'_>> {
    let lower = label.to_ascii_lowercase();
    if lower != "traefik" && !lower.starts_with("traefik.") {
        return None;
    }
    let parts: Vec<&str> = lower.split('.').collect();
    Some(match parts[..] {
        ["traefik", "enable"] => Key::Enable,
        ["traefik", "docker" | "swarm", "network"] => Key::Network,
        ["traefik"] | ["traefik", "tags"] | ["traefik", "docker" | "swarm", "lbswarm"] => {
            Key::Whole
        }
        ["traefik", protocol, group, _, ref option @ ..] if !option.is_empty() => {
            let protocol = match protocol {
                "http" => Protocol::Http,
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                _ => return Some(Key::Other),
            };
            let group = match group {
                "routers" => Group::Routers,
                "services" => Group::Services,
                "middlewares" => Group::Middlewares,
                _ => return Some(Key::Other),
            };
            Key::Part {
                protocol,
                group,
                name: label.split('.').nth(3).unwrap_or_default(),
                option: option.iter().map(|part| (*part).to_owned()).collect(),
            }
        }
        _ => Key::Other,
    })
}

/// One label.
#[derive(Debug, Clone)]
pub struct Label<'a> {
    /// The whole key, as written.
    pub label: &'a str,
    /// The value.
    pub value: &'a str,
    /// What it is about.
    pub key: Key<'a>,
}

/// Whether Traefik looks at a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enabled<'a> {
    /// It does.
    Yes,
    /// It is told not to.
    No,
    /// It is told nothing, and does not: Co-op Cloud's gateway looks only at what is enabled.
    Unset,
    /// It cannot read what it is told, and does not.
    Unreadable(&'a str),
}

/// Traefik's labels of a service.
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    /// Every one, sorted by its key.
    pub all: Vec<Label<'a>>,
}

impl<'a> Labels<'a> {
    /// Returns those that Traefik reads.
    #[must_use]
    pub fn of(service: &'a Service) -> Self {
        Self::among(&service.labels)
    }

    /// Returns those of `labels`.
    #[must_use]
    pub fn among(labels: &'a BTreeMap<String, String>) -> Self {
        let all = labels.iter().filter_map(|(label, value)| {
            let key = key(label)?;
            Some(Label { label, value, key })
        });
        Self { all: all.collect() }
    }

    /// Returns whether Traefik looks at the service.
    #[must_use]
    pub fn enabled(&self) -> Enabled<'a> {
        let label = self.all.iter().find(|label| label.key == Key::Enable);
        // As Go reads a boolean.
        match label.map(|label| label.value) {
            None => Enabled::Unset,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Enabled::Yes,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Enabled::No,
            Some(value) => Enabled::Unreadable(value),
        }
    }

    /// Returns the names of everything of a kind, each once, sorted.
    #[must_use]
    pub fn names(&self, of: Protocol, kind: Group) -> Vec<&'a str> {
        let names = self.all.iter().filter_map(|label| match label.key {
            Key::Part {
                protocol,
                group,
                name,
                ..
            } if protocol == of && group == kind => Some(name),
            _ => None,
        });
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns every label of one router, service or middleware, with its option.
    pub fn parts(
        &self,
        of: Protocol,
        kind: Group,
        what: &str,
    ) -> impl Iterator<Item = (&[String], &Label<'a>)> {
        self.all.iter().filter_map(move |label| match &label.key {
            Key::Part {
                protocol,
                group,
                name,
                option,
            } if *protocol == of && *group == kind && *name == what => Some((&option[..], label)),
            _ => None,
        })
    }

    /// Returns the label with this option of a router, service or middleware.
    #[must_use]
    pub fn option(
        &self,
        of: Protocol,
        kind: Group,
        name: &str,
        wanted: &[&str],
    ) -> Option<&Label<'a>> {
        let mut parts = self.parts(of, kind, name);
        let found = parts.find(|(option, _)| option.iter().eq(wanted.iter()));
        found.map(|(_, label)| label)
    }

    /// Returns what the servers of a service are told, such as their `port`.
    #[must_use]
    pub fn server(&self, of: Protocol, name: &str, what: &str) -> Option<&Label<'a>> {
        self.option(of, Group::Services, name, &["loadbalancer", "server", what])
    }
}

/// Returns whether a name in the gateway's configuration begins with the stack's, as recipes write it.
#[must_use]
pub fn is_own(stack: &str, name: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    plain(name)
        .strip_prefix(&plain(stack))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
