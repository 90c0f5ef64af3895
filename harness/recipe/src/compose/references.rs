//! What services name has to be declared.
//!
//! Docker says it at the deploy only, when it has made the networks, secrets and configs already:
//! `convertServiceNetworks`, `convertFileObject` and `handleVolumeToMount` in `cli/compose/convert` of docker/cli 28.
//! `docker stack config` takes a file with such a name.

use serde_json::Value;

use super::canon::Fault;
use super::schema::nearest;
use super::yaml::join;
use super::{ComposeError, Location, Project};

/// The network that every stack has.
const DEFAULT_NETWORK: &str = "default";

/// Something that a service names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Where it is declared, such as `volumes`.
    pub(super) section: &'static str,
    /// What it is called there.
    pub(super) name: String,
    /// The service.
    service: String,
    /// The keys that lead to it.
    pub(super) path: String,
}

impl Reference {
    /// Returns whether it is the same of another file, wherever it is there.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.section, &self.name, &self.service) == (other.section, &other.name, &other.service)
    }

    fn kind(&self) -> &'static str {
        self.section.trim_end_matches('s')
    }
}

/// Returns what the services of a document of the canonical form name.
pub(super) fn of(document: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    let services = document.get("services").and_then(Value::as_object);
    for (service, value) in services.into_iter().flatten() {
        let at = join("services", service);
        let mut add = |section, name: &str, path| {
            found.push(Reference {
                section,
                name: name.to_owned(),
                service: service.clone(),
                path,
            });
        };
        let networks = value.get("networks").and_then(Value::as_object);
        for name in networks.into_iter().flat_map(|map| map.keys()) {
            if name != DEFAULT_NETWORK {
                add("networks", name, join(&join(&at, "networks"), name));
            }
        }
        for section in ["volumes", "secrets", "configs"] {
            let items = value.get(section).and_then(Value::as_array);
            for (index, item) in items.into_iter().flatten().enumerate() {
                let Some(name) = item.get("source").and_then(Value::as_str) else {
                    continue;
                };
                if section == "volumes" && !is_of_volume(item, name) {
                    continue;
                }
                add(section, name, format!("{}[{index}]", join(&at, section)));
            }
        }
        let spec = value.pointer("/credential_spec/config");
        if let Some(name) = spec.and_then(Value::as_str).filter(|name| !name.is_empty()) {
            add("configs", name, join(&at, "credential_spec.config"));
        }
    }
    found
}

/// Returns whether a mount's source is the name of a volume of the file.
fn is_of_volume(mount: &Value, source: &str) -> bool {
    match mount.get("type").and_then(Value::as_str) {
        None | Some("volume") => !source.is_empty(),
        // A group of volumes is the cluster's.
        Some("cluster") => !source.is_empty() && !source.starts_with("group:"),
        Some(_) => false,
    }
}

impl Project {
    /// Checks what Docker checks at the deploy only: its own rules for services, and that everything that they name is
    /// declared, by the project or, as `elsewhere` says of section and name, by a file that is not part of it.
    ///
    /// # Errors
    /// [`ComposeError::Invalid`] for the first value that Docker refuses and the first name that is not declared, at its
    /// place, with the nearest that is.
    pub fn check_deployable(
        &self,
        elsewhere: impl Fn(&str, &str) -> bool,
    ) -> Result<(), ComposeError> {
        self.check_conversion()?;
        self.check_references(elsewhere)
    }

    fn check_references(&self, elsewhere: impl Fn(&str, &str) -> bool) -> Result<(), ComposeError> {
        for reference in of(&self.document) {
            let declared = self
                .document
                .get(reference.section)
                .and_then(Value::as_object);
            let Reference { section, name, .. } = &reference;
            if declared.is_some_and(|declared| declared.contains_key(name))
                || elsewhere(section, name)
            {
                continue;
            }
            let names = declared
                .into_iter()
                .flat_map(|map| map.keys().map(String::as_str));
            let hint = match nearest(name, names) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!(": add it to `{section}`"),
            };
            let kind = reference.kind();
            let fault = Fault {
                reason: format!("no top-level `{section}` declares the {kind} `{name}`{hint}"),
                path: reference.path.clone(),
            };
            return Err(match self.place_of(&reference) {
                Some(location) => ComposeError::Invalid {
                    location: location.clone(),
                    path: fault.path,
                    reason: fault.reason,
                },
                None => self.invalid(fault),
            });
        }
        Ok(())
    }

    /// Returns where the last file that has a reference has it: after the merge its index in a list may be another.
    fn place_of(&self, reference: &Reference) -> Option<&Location> {
        let mut placed = self.references.iter().rev();
        let found = placed.find(|(placed, _)| placed.is(reference));
        found.map(|(_, location)| location)
    }
}
