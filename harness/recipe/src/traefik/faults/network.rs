//! On which network the gateway reaches a service.

use super::{Check, Fault, Labelled, ODD, fault};
use crate::compose::shared::PROXY;
use crate::traefik::{Key, Label, Labels};

impl Check<'_> {
    pub(super) fn networks(&mut self) {
        let mut found = Vec::new();
        for one in self.meant().filter(|one| one.has_routers()) {
            let attached = self.attached(one);
            if attached.iter().any(|name| name == PROXY) {
                labels(one, &attached, self.stack, &mut found);
                continue;
            }
            let name = &one.service.name;
            let path = format!("services.{name}.networks");
            let shown = attached.join("`, `");
            found.push(fault(
                "T003",
                path,
                format!(
                    "service `{name}` has a router, and is not on the gateway's network `{PROXY}`, only on `{shown}`"
                ),
            ));
        }
        self.found.extend(found);
    }

    /// Returns the names of the networks that a service is attached to, as the engine has them.
    fn attached(&self, one: &Labelled<'_>) -> Vec<String> {
        let full = |key: &str| {
            let network = self.project.networks.iter().find(|one| one.key == key);
            network.map_or_else(
                || format!("{}_{key}", self.stack),
                |one| one.full_name(self.stack),
            )
        };
        match &one.service.networks[..] {
            [] => vec![full("default")],
            keys => keys.iter().map(|key| full(key)).collect(),
        }
    }
}

/// A label may say which network to take. Of several, Traefik takes any when it is wrong, another one each time.
fn labels(one: &Labelled<'_>, attached: &[String], stack: &str, found: &mut Vec<Fault>) {
    let Labels { all } = &one.labels;
    let networks = all.iter().filter(|label| label.key == Key::Network);
    let networks: Vec<&Label<'_>> = networks.collect();
    let name = &one.service.name;
    for label in &networks {
        let value = label.value;
        let several = attached.len() > 1;
        let (rule, message) = if value == PROXY || (value.is_empty() && !several) {
            continue;
        } else if attached.iter().any(|one| one == value) {
            (
                "T004",
                format!("the gateway is not on the network `{value}`; write `{PROXY}`"),
            )
        } else {
            let own = format!("{stack}_{value}");
            let hint = match attached.contains(&own) {
                true => format!(", which is called `{own}`"),
                false => String::new(),
            };
            (
                if several { "T004" } else { ODD },
                format!("service `{name}` is not on the network `{value}`{hint}; write `{PROXY}`"),
            )
        };
        found.push(fault(rule, one.path(label), message));
    }
    let of = |provider: &str| {
        let mut all = networks.iter();
        all.any(|label| label.label.to_ascii_lowercase().contains(provider))
    };
    if let [first, ..] = networks[..]
        && of(".docker.")
        && of(".swarm.")
    {
        let message = format!(
            "service `{name}` has labels `traefik.docker` and `traefik.swarm`: Traefik 3 passes over it"
        );
        found.push(fault(ODD, one.path(first), message));
    }
}
