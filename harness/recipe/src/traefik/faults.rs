//! What keeps Traefik from routing to a recipe, seen in its labels.
//!
//! Facts are those of the Swarm provider of Traefik 2 and 3. References to other providers, such as `auth@file`, are
//! the operator's, and never judged.

mod names;
mod network;

use super::options::{self, Unknown};
use super::rule::Rule;
use super::{Enabled, Group, Key, Label, Labels, Protocol};
use crate::compose::Project;
use crate::compose::model::Service;
use ground::nearest::nearest;

/// The rule that allows what is odd and works for some operator.
pub const ODD: &str = "T010";

/// The rule about ports.
pub const PORT: &str = "T008";

/// The resolvers of certificates that Co-op Cloud's gateway has.
const RESOLVERS: [&str; 3] = ["", "production", "staging"];

/// What the entry points of Co-op Cloud's gateway are called elsewhere.
const ENTRY_POINTS: [(&str, &str); 5] = [
    ("websecure", "web-secure"),
    ("web_secure", "web-secure"),
    ("https", "web-secure"),
    ("http", "web"),
    ("secure", "web-secure"),
];

/// Something about a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The lint rule that does not hold.
    pub rule: &'static str,
    /// The keys that lead to it in the compose files.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl Fault {
    /// Returns whether it keeps the app from every operator's users.
    #[must_use]
    pub fn breaks(&self) -> bool {
        self.rule != ODD
    }
}

/// Returns what is wrong with the labels of `project`, deployed as `stack`; `domain` is the app's, if it has one.
#[must_use]
pub fn faults(project: &Project, stack: &str, domain: Option<&str>) -> Vec<Fault> {
    let services = project.running().map(|service| Labelled {
        service,
        labels: Labels::of(service),
    });
    let mut check = Check {
        project,
        stack,
        services: services.collect(),
        found: Vec::new(),
    };
    check.outside();
    check.enabled();
    check.known();
    check.rules();
    check.ports();
    check.networks();
    check.references();
    check.twice();
    check.odd();
    if let Some(domain) = domain.filter(|domain| !domain.is_empty()) {
        check.leads(&domain.to_ascii_lowercase());
    }
    check.found
}

struct Labelled<'a> {
    service: &'a Service,
    labels: Labels<'a>,
}

impl Labelled<'_> {
    fn path(&self, label: &Label<'_>) -> String {
        format!(
            "services.{}.deploy.labels.{}",
            self.service.name, label.label
        )
    }

    fn has_routers(&self) -> bool {
        [Protocol::Http, Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .any(|protocol| !self.labels.names(protocol, Group::Routers).is_empty())
    }

    /// Returns whether Traefik looks at the service, or is meant to.
    fn is_meant(&self) -> bool {
        match self.labels.enabled() {
            Enabled::Yes => true,
            Enabled::Unset => self.has_routers(),
            Enabled::No | Enabled::Unreadable(_) => false,
        }
    }

    fn first_router(&self) -> String {
        let routers = |label: &&Label<'_>| {
            matches!(
                label.key,
                Key::Part {
                    group: Group::Routers,
                    ..
                }
            )
        };
        let first = self.labels.all.iter().find(routers);
        first.map_or_else(|| self.place(), |label| self.path(label))
    }

    /// Returns the place of what enables the service, or of its labels.
    fn place(&self) -> String {
        let enable = self.labels.all.iter().find(|one| one.key == Key::Enable);
        enable.map_or_else(
            || format!("services.{}.deploy.labels", self.service.name),
            |label| self.path(label),
        )
    }
}

struct Check<'a> {
    project: &'a Project,
    stack: &'a str,
    services: Vec<Labelled<'a>>,
    found: Vec<Fault>,
}

fn fault(rule: &'static str, path: String, message: impl Into<String>) -> Fault {
    Fault {
        rule,
        path,
        message: message.into(),
    }
}

impl<'a> Check<'a> {
    fn meant(&self) -> impl Iterator<Item = &Labelled<'a>> {
        self.services.iter().filter(|one| one.is_meant())
    }

    /// Routers beside `deploy` are the container's labels, which Traefik does not see.
    fn outside(&mut self) {
        for one in &self.services {
            let outside = Labels::among(&one.service.container_labels);
            let router = outside.all.iter().find(|label| {
                let group = Group::Routers;
                matches!(label.key, Key::Part { group: there, .. } if there == group)
            });
            if let Some(router) = router.filter(|_| !one.has_routers()) {
                let (name, label) = (&one.service.name, router.label);
                self.found.push(fault(
                    "C005",
                    format!("services.{name}.labels.{label}"),
                    format!("service `{name}`: the label `{label}` is outside `deploy`, where Traefik does not look"),
                ));
            }
        }
    }

    fn enabled(&mut self) {
        for one in &self.services {
            let name = &one.service.name;
            match one.labels.enabled() {
                Enabled::Unreadable(value) => self.found.push(fault(
                    "T001",
                    one.place(),
                    format!("service `{name}`: `{value}` is neither true nor false, and Traefik passes over the service"),
                )),
                Enabled::Unset if one.has_routers() => {
                    let others = one.labels.all.iter().filter(|one| one.key == Key::Other);
                    let near = others.into_iter().find(|one| {
                        nearest(one.label, ["traefik.enable"]).is_some()
                    });
                    let (path, hint) = match near {
                        Some(near) => (
                            one.path(near),
                            format!("; `{}` is no label of Traefik's", near.label),
                        ),
                        None => (one.first_router(), String::new()),
                    };
                    self.found.push(fault(
                        "T002",
                        path,
                        format!("service `{name}` has a router, and no label `traefik.enable=true`{hint}"),
                    ));
                }
                _ => {}
            }
        }
    }

    /// One option that Traefik does not know makes it drop all labels of a service.
    fn known(&mut self) {
        let mut found = Vec::new();
        for one in self.meant() {
            for label in &one.labels.all {
                let Key::Part {
                    protocol,
                    group,
                    name,
                    option,
                } = &label.key
                else {
                    continue;
                };
                let Some(Unknown { word, nearest }) = options::unknown(*protocol, *group, option)
                else {
                    continue;
                };
                let what = format!(
                    "`{}`: {} of Traefik have no `{word}`",
                    label.label,
                    group.name()
                );
                let rest = &option[1..];
                let (rule, hint) = match nearest {
                    Some(nearest) => ("T001", format!("; did you mean `{nearest}`?")),
                    // `routers.notes.example.org.rule`: the domain was taken for a name.
                    None if !rest.is_empty()
                        && options::unknown(*protocol, *group, &rest[rest.len() - 1..])
                            .is_none() =>
                    {
                        (
                            "T001",
                            format!("; a name such as `{name}.{word}` cannot have dots"),
                        )
                    }
                    None => (ODD, String::new()),
                };
                found.push(fault(rule, one.path(label), format!("{what}{hint}")));
            }
        }
        self.found.extend(found);
    }

    fn rules(&mut self) {
        let mut found = Vec::new();
        for one in self.meant() {
            for protocol in [Protocol::Http, Protocol::Tcp] {
                for router in one.labels.names(protocol, Group::Routers) {
                    let what = format!("the router `{router}` of service `{}`", one.service.name);
                    let rule = one
                        .labels
                        .option(protocol, Group::Routers, router, &["rule"]);
                    let Some(label) = rule else {
                        let mut parts = one.labels.parts(protocol, Group::Routers, router);
                        let path = parts.next().map(|(_, label)| one.path(label));
                        let path = path.unwrap_or_else(|| one.place());
                        found.push(fault("T005", path, format!("{what} has no rule")));
                        continue;
                    };
                    if label.value.trim().is_empty() {
                        let message = format!("{what} has an empty rule");
                        found.push(fault("T005", one.path(label), message));
                    } else if let Err(error) = Rule::parse(label.value) {
                        let message = format!("{what}: {error}");
                        found.push(fault("T005", one.path(label), message));
                    }
                }
            }
        }
        self.found.extend(found);
    }

    /// A Swarm does not tell Traefik which port is meant; without one it drops all labels of a service, routers to
    /// `api@internal` included.
    fn ports(&mut self) {
        let mut found = Vec::new();
        for one in self.meant() {
            let is_for = |protocol: Protocol| {
                let any = |group| !one.labels.names(protocol, group).is_empty();
                any(Group::Routers) || any(Group::Services)
            };
            let other = is_for(Protocol::Tcp) || is_for(Protocol::Udp);
            for protocol in [Protocol::Http, Protocol::Tcp, Protocol::Udp] {
                let asked = match protocol {
                    Protocol::Http => is_for(protocol) || !other,
                    Protocol::Tcp | Protocol::Udp => is_for(protocol),
                };
                if asked {
                    one.ports(protocol, self.stack, &mut found);
                }
            }
        }
        self.found.extend(found);
    }

    /// The app's domain leads to one of its routers.
    fn leads(&mut self, domain: &str) {
        let (mut elsewhere, mut off) = (None, None);
        for one in &self.services {
            let routers = one.labels.names(Protocol::Http, Group::Routers);
            match one.labels.enabled() {
                // Said already.
                Enabled::Unreadable(_) if !routers.is_empty() => return,
                Enabled::No if !routers.is_empty() => {
                    off.get_or_insert((one.place(), &one.service.name));
                    continue;
                }
                Enabled::Yes if !one.has_routers() => {
                    // Traefik makes a router of its own, for the name of the service.
                    elsewhere.get_or_insert((one.place(), "it has no router".to_owned()));
                }
                Enabled::Yes | Enabled::Unset => {}
                Enabled::No | Enabled::Unreadable(_) => continue,
            }
            for router in routers {
                let rule = one
                    .labels
                    .option(Protocol::Http, Group::Routers, router, &["rule"]);
                let Some(label) = rule else { return };
                match Rule::parse(label.value) {
                    Err(_) => return,
                    Ok(rule) if rule.admits(domain) => return,
                    Ok(_) => {
                        let said = format!("the router `{router}` has `{}`", label.value);
                        elsewhere.get_or_insert((one.path(label), said));
                    }
                }
            }
        }
        let (path, said) = match (elsewhere, off) {
            (Some((path, said)), _) => (path, said),
            (None, Some((path, name))) => (
                path,
                format!("the router of service `{name}` is switched off by `traefik.enable`"),
            ),
            (None, None) => return,
        };
        self.found.push(fault(
            "T006",
            path,
            format!("no router takes requests for the app's domain `{domain}`: {said}"),
        ));
    }

    /// What works for some operator, or is no use.
    fn odd(&mut self) {
        let mut found = Vec::new();
        for one in self.meant() {
            for router in one.labels.names(Protocol::Http, Group::Routers) {
                let option = |option: &[&str]| {
                    one.labels
                        .option(Protocol::Http, Group::Routers, router, option)
                };
                let mut odd = |label: &Label<'_>, message: String| {
                    found.push(fault(ODD, one.path(label), message));
                };
                let mut secure = None;
                if let Some(label) = option(&["entrypoints"]) {
                    for name in label.value.split(',').map(str::trim) {
                        let known = ENTRY_POINTS.iter().find(|(other, _)| *other == name);
                        if let Some((_, ours)) = known {
                            odd(
                                label,
                                format!(
                                    "Co-op Cloud's gateway calls the entry point `{name}` `{ours}`"
                                ),
                            );
                        }
                        if name == "web-secure" {
                            secure = Some(label);
                        }
                    }
                }
                if let Some(label) = option(&["tls", "certresolver"])
                    && !RESOLVERS.contains(&label.value)
                {
                    odd(
                        label,
                        format!(
                            "Co-op Cloud's gateway has no certificate resolver `{}`; write `${{LETS_ENCRYPT_ENV}}`",
                            label.value
                        ),
                    );
                }
                let tls = one.labels.parts(Protocol::Http, Group::Routers, router);
                let mut tls = tls.filter(|(option, _)| option[0] == "tls");
                if let Some(label) = secure
                    && tls.next().is_none()
                {
                    odd(
                        label,
                        format!(
                            "the router `{router}` is on `web-secure` and says nothing of TLS: a gateway whose entry point does not say it either answers 404"
                        ),
                    );
                }
                if let Some(label) = option(&["rule"])
                    && let Ok(rule) = Rule::parse(label.value)
                    && rule.matchers().iter().any(|matcher| {
                        let mut texts = matcher.arguments.iter();
                        matcher.names_hosts() && texts.any(|text| text.text.trim().is_empty())
                    })
                {
                    odd(
                        label,
                        format!("the rule of the router `{router}` names an empty host"),
                    );
                }
            }
        }
        self.found.extend(found);
    }
}

impl Labelled<'_> {
    fn ports(&self, protocol: Protocol, stack: &str, found: &mut Vec<Fault>) {
        let name = &self.service.name;
        let mut add = |path, label: &str, what: &str| {
            let message = format!(
                "service `{name}` has a Traefik router, and its label `{label}` {what}: Traefik does not route to it"
            );
            found.push(fault(PORT, path, message));
        };
        let missing = |service: &str| {
            let protocol = protocol.name();
            format!("traefik.{protocol}.services.{service}.loadbalancer.server.port")
        };
        let services = self.labels.names(protocol, Group::Services);
        if services.is_empty() {
            let router = self.labels.names(protocol, Group::Routers).first().copied();
            let first = router.and_then(|router| {
                let mut parts = self.labels.parts(protocol, Group::Routers, router);
                parts.next().map(|(_, label)| self.path(label))
            });
            let path = first.unwrap_or_else(|| self.place());
            add(path, &missing(router.unwrap_or(stack)), "is missing");
        }
        for service in services {
            // Since Traefik 3.2 a whole address may stand in the port's place.
            let url = self.labels.server(protocol, service, "url");
            if url.is_some_and(|label| !label.value.is_empty()) {
                continue;
            }
            match self.labels.server(protocol, service, "port") {
                None => {
                    let mut parts = self.labels.parts(protocol, Group::Services, service);
                    let path = parts.next().map(|(_, label)| self.path(label));
                    let path = path.unwrap_or_else(|| self.place());
                    add(path, &missing(service), "is missing");
                }
                Some(label) if !is_port(label.value) => {
                    let what = format!("is `{}`, which is no port", label.value);
                    add(self.path(label), label.label, &what);
                }
                Some(_) => {}
            }
        }
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests;
