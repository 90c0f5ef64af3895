//! What routers refer to, and what is defined twice.

use std::collections::BTreeMap;

use super::{Check, Fault, Labelled, fault};
use crate::traefik::{Group, Key, Label, Protocol, is_own};
use ground::nearest::nearest;

/// What Co-op Cloud's gateway defines for recipes without saying where.
const GATEWAYS: [&str; 1] = ["error-pages-middleware"];

/// The providers of what stands in the labels of a Swarm's services.
const OWN: [&str; 2] = ["docker", "swarm"];

/// The options of a router or the like, with their values.
type Options<'a> = BTreeMap<String, &'a str>;

impl Check<'_> {
    pub(super) fn references(&mut self) {
        let mut found = Vec::new();
        for one in self.meant() {
            for label in &one.labels.all {
                let Key::Part {
                    protocol,
                    group,
                    option,
                    ..
                } = &label.key
                else {
                    continue;
                };
                let option: Vec<&str> = option.iter().map(String::as_str).collect();
                let wanted = match (group, &option[..]) {
                    (Group::Routers, ["middlewares"])
                    | (Group::Middlewares, ["chain", "middlewares"]) => Group::Middlewares,
                    (Group::Routers, ["service"]) | (Group::Middlewares, ["errors", "service"]) => {
                        Group::Services
                    }
                    _ => continue,
                };
                for name in label.value.split(',').map(str::trim) {
                    if !name.is_empty() {
                        found.extend(self.reference(one, label, *protocol, wanted, name));
                    }
                }
            }
            self.without_service(one, &mut found);
        }
        self.found.extend(found);
    }

    fn reference(
        &self,
        one: &Labelled<'_>,
        label: &Label<'_>,
        protocol: Protocol,
        group: Group,
        reference: &str,
    ) -> Option<Fault> {
        let (name, provider) = match reference.rsplit_once('@') {
            None => (reference, None),
            Some((name, provider)) => (name, Some(provider)),
        };
        // What bears the app's own name no operator has defined.
        let others =
            provider.is_some_and(|provider| !OWN.contains(&provider) || !is_own(self.stack, name));
        if others || provider.is_none() && GATEWAYS.contains(&name) {
            return None;
        }
        let defined: Vec<&str> = self
            .meant()
            .flat_map(|one| one.labels.names(protocol, group))
            .collect();
        if defined.contains(&name) {
            return None;
        }
        let what = group.name().trim_end_matches('s');
        let hint = match nearest(name, defined.iter().copied()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if is_own(self.stack, name) => String::new(),
            None => format!("; if it is the operator's, say where: `{name}@file`"),
        };
        Some(fault(
            "T007",
            one.path(label),
            format!("no service of the recipe defines the {what} `{name}`{hint}"),
        ))
    }

    /// A router without a service gets that of its labels, if they define one only.
    fn without_service(&self, one: &Labelled<'_>, found: &mut Vec<Fault>) {
        for protocol in [Protocol::Http, Protocol::Tcp, Protocol::Udp] {
            let services = one.labels.names(protocol, Group::Services);
            for router in one.labels.names(protocol, Group::Routers) {
                let option = |option| {
                    one.labels
                        .option(protocol, Group::Routers, router, &[option])
                };
                let given = option("service").is_some_and(|label| !label.value.is_empty());
                if given || services.len() < 2 {
                    continue;
                }
                let mut parts = one.labels.parts(protocol, Group::Routers, router);
                let path = parts.next().map(|(_, label)| one.path(label));
                found.push(fault(
                    "T007",
                    path.unwrap_or_else(|| one.place()),
                    format!(
                        "the router `{router}` names no service, and there are several: `{}`",
                        services.join("`, `")
                    ),
                ));
            }
        }
    }

    /// Traefik drops routers and middlewares that two services define differently, and shares a service among all
    /// that define it.
    pub(super) fn twice(&mut self) {
        let mut seen: BTreeMap<(Protocol, Group, &str), (&str, Options<'_>)> = BTreeMap::new();
        let mut found = Vec::new();
        for one in self.meant() {
            for protocol in [Protocol::Http, Protocol::Tcp, Protocol::Udp] {
                for group in [Group::Routers, Group::Services, Group::Middlewares] {
                    for name in one.labels.names(protocol, group) {
                        let parts: Vec<_> = one.labels.parts(protocol, group, name).collect();
                        let options = parts.iter();
                        let options = options.map(|(option, one)| (option.join("."), one.value));
                        let options: Options<'_> = options.collect();
                        let service = one.service.name.as_str();
                        let key = (protocol, group, name);
                        let Some((other, there)) = seen.get(&key) else {
                            seen.insert(key, (service, options));
                            continue;
                        };
                        if *there == options {
                            continue;
                        }
                        let what = group.name().trim_end_matches('s');
                        let then = match group {
                            Group::Services => "Traefik sends each request to any of them",
                            Group::Routers | Group::Middlewares => "Traefik drops it",
                        };
                        let first = parts.first().map(|(_, label)| one.path(label));
                        found.push(fault(
                            "T009",
                            first.unwrap_or_else(|| one.place()),
                            format!(
                                "services `{other}` and `{service}` define the {what} `{name}` differently: {then}"
                            ),
                        ));
                    }
                }
            }
        }
        self.found.extend(found);
    }
}
