//! What the rest of the harness asks a project.

use std::fmt;

use serde_json::Value;

use super::model::{Network, Service};
use super::{Location, Project};
use crate::compose::yaml::join;
use crate::traefik::{Enabled, Group, Labels, Protocol};
use ground::name::{OBJECT_NAME_LIMIT, SERVICE_NAME_LIMIT};

/// The service that abra, and so every recipe, treats as the main one.
pub const MAIN_SERVICE: &str = "app";

/// Where a recipe serves HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// The service.
    pub service: String,
    /// The port in its containers.
    pub port: u16,
    /// Whether the gateway is told to speak TLS to it.
    pub tls: bool,
}

/// A label of the recipe, and the service that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecipeLabel<'a> {
    /// The service. abra only looks at [`MAIN_SERVICE`].
    pub service: &'a str,
    /// The value.
    pub value: &'a str,
}

/// A kind of engine object whose name is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A service.
    Service,
    /// A network.
    Network,
    /// A secret.
    Secret,
    /// A config.
    Config,
}

impl ObjectKind {
    /// Returns how many bytes the engine allows.
    fn limit(self) -> usize {
        match self {
            Self::Service | Self::Network => SERVICE_NAME_LIMIT,
            Self::Secret | Self::Config => OBJECT_NAME_LIMIT,
        }
    }

    /// Returns whether Swarm takes a name of that form: `isValidDNSName` and `isValidConfigOrSecretName` in swarmkit's
    /// `manager/controlapi/common.go`. Docker's loader takes more.
    fn takes(self, name: &str) -> bool {
        let inner = |c: char| {
            let dots = matches!(self, Self::Secret | Self::Config) && c == '.';
            c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || dots
        };
        let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        name.chars().all(inner) && outer(name.chars().next()) && outer(name.chars().next_back())
    }
}

/// A name that the engine refuses because of its length or its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameProblem {
    /// What it names.
    pub kind: ObjectKind,
    /// The key in the compose files.
    pub key: String,
    /// The full name.
    pub name: String,
    /// Where the object is declared.
    pub place: Option<Location>,
}

impl NameProblem {
    /// Returns the keys that lead to the object.
    #[must_use]
    pub fn path(&self) -> String {
        let section = match self.kind {
            ObjectKind::Service => "services",
            ObjectKind::Network => "networks",
            ObjectKind::Secret => "secrets",
            ObjectKind::Config => "configs",
        };
        join(section, &self.key)
    }

    /// Returns whether the name would fit if the name of its stack, `stack`, had `length` bytes.
    #[must_use]
    pub fn would_fit(&self, stack: &str, length: usize) -> bool {
        let rest = self.name.strip_prefix(stack);
        self.kind.takes(&self.name)
            && rest.is_some_and(|rest| rest.len() + length <= self.kind.limit())
    }
}

impl std::error::Error for NameProblem {}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ObjectKind::Service => "service",
            ObjectKind::Network => "network",
            ObjectKind::Secret => "secret",
            ObjectKind::Config => "config",
        };
        let (name, limit) = (&self.name, self.kind.limit());
        if !self.kind.takes(name) {
            let dots = match self.kind {
                ObjectKind::Service | ObjectKind::Network => "",
                ObjectKind::Secret | ObjectKind::Config => ", dots",
            };
            return write!(
                f,
                "{kind} `{name}` is no name that Swarm takes: letters, digits, hyphens and underscores{dots}, with a letter or a digit at either end"
            );
        }
        write!(
            f,
            "{kind} `{name}` has {} bytes; docker allows {limit}",
            name.len()
        )
    }
}

impl Project {
    /// Returns a service as its compose files have it together.
    #[must_use]
    pub fn raw_service(&self, name: &str) -> Option<&Value> {
        self.document.get("services")?.get(name)
    }

    /// Returns what the file holds that a secret or config names, such as `configs.entrypoint`, where it was read.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        self.contents.get(path).map(Vec::as_slice)
    }

    /// Returns the service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// Returns the service `app`, or the first when there is none.
    #[must_use]
    pub fn main_service(&self) -> Option<&Service> {
        self.service(MAIN_SERVICE).or_else(|| self.services.first())
    }

    /// Returns the services with [`MAIN_SERVICE`] in front.
    fn main_first(&self) -> impl Iterator<Item = &Service> {
        let rest = self
            .services
            .iter()
            .filter(|service| service.name != MAIN_SERVICE);
        self.service(MAIN_SERVICE).into_iter().chain(rest)
    }

    /// Returns the distinct images, in the order of the services.
    #[must_use]
    pub fn images(&self) -> Vec<String> {
        let mut images = Vec::new();
        for image in self
            .services
            .iter()
            .filter_map(|service| service.image.as_ref())
        {
            if !images.contains(image) {
                images.push(image.clone());
            }
        }
        images
    }

    /// Returns where the recipe serves HTTP, as its Traefik label says.
    ///
    /// `app` comes first, then the services that Traefik is told to serve, then the others.
    #[must_use]
    pub fn web(&self) -> Option<Web> {
        let of = web_of;
        self.service(MAIN_SERVICE)
            .and_then(of)
            .or_else(|| self.services.iter().filter(|s| is_enabled(s)).find_map(of))
            .or_else(|| self.services.iter().find_map(of))
    }

    /// Returns the services that are deployed with at least one task.
    pub fn running(&self) -> impl Iterator<Item = &Service> {
        let services = self.services.iter();
        services.filter(|service| service.desired_replicas() != Some(0))
    }

    /// Returns how many of the services that run say a port for HTTP.
    #[must_use]
    pub fn web_count(&self) -> usize {
        self.running()
            .filter(|service| web_of(service).is_some())
            .count()
    }

    /// Returns where the service `name` serves HTTP, as its Traefik label says.
    #[must_use]
    pub fn web_at(&self, name: &str) -> Option<Web> {
        self.service(name).and_then(web_of)
    }

    /// Returns every port of a service that runs to which an HTTP router of its labels leads.
    #[must_use]
    pub fn routed(&self) -> Vec<Web> {
        let enabled = self.running().filter(|service| is_enabled(service));
        enabled.flat_map(routed_of).collect()
    }

    /// Returns the version label of the stack, from `app` or else from the first service that has one.
    #[must_use]
    pub fn version_label(&self, stack: &str) -> Option<RecipeLabel<'_>> {
        self.recipe_label(stack, "version")
    }

    /// Returns the label with the deploy timeout in seconds, found as [`Project::version_label`] is.
    #[must_use]
    pub fn timeout_label(&self, stack: &str) -> Option<RecipeLabel<'_>> {
        self.recipe_label(stack, "timeout")
    }

    fn recipe_label(&self, stack: &str, name: &str) -> Option<RecipeLabel<'_>> {
        let key = format!("coop-cloud.{stack}.{name}");
        self.main_first().find_map(|service| {
            let value = service.labels.get(&key)?;
            Some(RecipeLabel {
                service: &service.name,
                value,
            })
        })
    }

    /// Returns the networks that a service is on: Docker makes these, and no other.
    pub fn used_networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.iter().filter(|network| {
            let mut services = self.services.iter();
            services.any(|service| service.networks.contains(&network.key))
        })
    }

    /// Returns the names of services, networks, secrets and configs that the engine refuses.
    #[must_use]
    pub fn object_name_problems(&self, stack: &str) -> Vec<NameProblem> {
        let services = self.services.iter();
        let services = services.map(|s| (ObjectKind::Service, &s.name, s.full_name(stack), true));
        let made = self.used_networks().filter(|network| !network.external);
        let networks = made.map(|n| (ObjectKind::Network, &n.key, n.full_name(stack), true));
        let secrets = self.secrets.iter();
        let secrets =
            secrets.map(|s| (ObjectKind::Secret, &s.key, s.full_name(stack), !s.external));
        let configs = self.configs.iter();
        let configs =
            configs.map(|c| (ObjectKind::Config, &c.key, c.full_name(stack), !c.external));
        services
            .chain(networks)
            .chain(secrets)
            .chain(configs)
            // What exists already has a name that Swarm took; what is wrong with one that does not is said of it.
            .filter(|(kind, _, name, is_made)| {
                name.len() > kind.limit() || (*is_made && !kind.takes(name))
            })
            .map(|(kind, key, name, _)| {
                let mut problem = NameProblem {
                    kind,
                    key: key.clone(),
                    name,
                    place: None,
                };
                problem.place = self.location(&problem.path()).cloned();
                problem
            })
            .collect()
    }
}

fn is_enabled(service: &Service) -> bool {
    Labels::of(service).enabled() == Enabled::Yes
}

/// Returns where a service serves, as its Traefik labels say; of several, as those of the shortest service name say,
/// which is the stack's own, as in `<stack>` and `<stack>-admin`.
fn web_of(service: &Service) -> Option<Web> {
    let labels = Labels::of(service);
    let names = labels.names(Protocol::Http, Group::Services).into_iter();
    let ports = names.filter_map(|name| {
        let label = labels.server(Protocol::Http, name, "port")?;
        Some((name, label.value.trim().parse().ok()?))
    });
    let (name, port) = ports.min_by_key(|(name, _)| name.len())?;
    let scheme = labels.server(Protocol::Http, name, "scheme");
    Some(Web {
        service: service.name.clone(),
        port,
        tls: scheme.is_some_and(|label| label.value == "https"),
    })
}

fn routed_of(service: &Service) -> Vec<Web> {
    let labels = Labels::of(service);
    let routers = labels.names(Protocol::Http, Group::Routers);
    let names = labels.names(Protocol::Http, Group::Services);
    let leads = |name: &&str| {
        routers.iter().any(|router| {
            let to = labels.option(Protocol::Http, Group::Routers, router, &["service"]);
            match to {
                Some(label) => label.value.split('@').next() == Some(*name),
                // Traefik links a router to the only service of its labels.
                None => names.len() == 1,
            }
        })
    };
    let web = |name: &str| {
        let port = labels.server(Protocol::Http, name, "port")?;
        Some(Web {
            service: service.name.clone(),
            port: port.value.trim().parse().ok()?,
            tls: false,
        })
    };
    let names = names.iter().copied().filter(leads);
    names.filter_map(web).collect()
}

/// Returns the seconds that a timeout label says; `None` when it is no whole number above zero.
#[must_use]
pub fn seconds(label: &str) -> Option<u64> {
    label.trim().parse().ok().filter(|seconds| *seconds > 0)
}
