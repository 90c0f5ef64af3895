//! What an upgrade takes from an app and from those who reach it: ports of the host, TLS at the gateway, services that
//! run, secrets and configs that the head declares and has no service read, the files of secrets that variables name,
//! volumes that the backup saved, and what database servers take at their first start.
//!
//! A run asks the app itself, on an address of its own, so it never meets the ways in that an operator's users have, and
//! it does not know what a secret is for. What is lost is seen by holding the compose files of the two versions against
//! each other.

use std::collections::BTreeMap;
use std::path::Path;

use super::backup::BackupPlan;
use super::backup::database::Server;
use super::compose::Project;
use super::compose::model::{MountKind, Service};
use super::traefik::faults::Fault;
use super::traefik::rule::Rule;
use super::traefik::{Enabled, Group, Labels, Protocol};
use ground::source_tree::SourceTree;

mod first_start;
mod transport;
mod variables;

pub use variables::{dropped, first_account};

/// The rule about published ports.
pub const PORTS: &str = "C026";

/// The rule about TLS.
pub const TLS: &str = "T011";

/// The rule about how Traefik asks a backend in HTTPS.
pub const TRANSPORT: &str = "T012";

/// The rule about secrets and configs.
pub const OBJECTS: &str = "C028";

/// The rule about services that run.
pub const SERVICES: &str = "C029";

/// The rule about database servers whose updates start first.
pub const START_FIRST: &str = "C019";

/// The rule about volumes that the backup saves.
pub const BACKUPS: &str = "C030";

/// The rule about variables that name the file of a secret.
pub const FILES: &str = "C031";

/// The rule about variables that only a new app reads: those that a database server takes at its first start, and those
/// that make the first account.
pub const FIRST_START: &str = "C032";

/// The rule about variables that services had.
pub const DROPPED: &str = "C033";

/// Returns the path of the variables of a service, or of the service where it has none.
fn variables_of(service: &Service) -> String {
    match service.environment.is_empty() {
        true => format!("services.{}", service.name),
        false => format!("services.{}.environment", service.name),
    }
}

/// Returns what `head` tells operators before they upgrade: `release/next`, and the notes of the version that its label
/// says. What cannot be read tells them nothing.
#[must_use]
pub fn notes(head: &SourceTree, version: Option<&str>) -> String {
    let text = |name: &str| head.text(format!("release/{name}")).ok().flatten();
    // A label is the recipe's text, and one with a slash would name another file.
    let own = version.filter(|version| !version.contains('/'));
    let notes = std::iter::once("next").chain(own).filter_map(text);
    notes.collect::<Vec<_>>().join("\n")
}

/// Returns what an upgrade from `base` to `head` takes away, both with the base's variables. A port, and a service, secret,
/// config, volume or variable in backticks, that the release `notes` name is announced: operators are told.
#[must_use]
pub fn lost(base: &Project, head: &Project, domain: Option<&str>, notes: &str) -> Vec<Fault> {
    let mut lost = lost_ports(base, head, notes);
    lost.extend(lost_tls(base, head, domain));
    lost.extend(transport::lost(base, head, notes));
    lost.extend(lost_objects(base, head, notes));
    lost.extend(stopped(base, head, notes));
    lost.extend(start_first(base, head));
    lost.extend(no_longer_saved(base, head, notes));
    lost.extend(lost_files(base, head, notes));
    lost.extend(first_start::lost(base, head, notes));
    lost
}

/// Returns the volumes that a backup of the base saves, and of the head does not, though the head still mounts them. One
/// whose service has a dump to save instead is left alone; that a recipe has no backup any more is said elsewhere.
fn no_longer_saved(base: &Project, head: &Project, notes: &str) -> Vec<Fault> {
    let (then, now) = (
        BackupPlan::from_project(base),
        BackupPlan::from_project(head),
    );
    if !now.is_backup_capable() {
        return Vec::new();
    }
    let is_saved = |key: &str| now.volumes.iter().any(|volume| volume.volume == key);
    let is_dumped = |service: &Service| {
        let mut hooks = now.services.iter();
        hooks.any(|hooks| hooks.service == service.name && hooks.backup_pre.is_some())
    };
    let mut faults = Vec::new();
    for volume in then.volumes.iter().map(|volume| volume.volume.as_str()) {
        let is_mounted = |service: &&Service| {
            let mut mounts = service.volumes.iter();
            mounts.any(|mount| {
                mount.kind == MountKind::Volume && mount.source.as_deref() == Some(volume)
            })
        };
        let mut mounting = head.services.iter().filter(is_mounted).peekable();
        let Some(service) = mounting.peek().map(|service| service.name.clone()) else {
            continue;
        };
        if is_saved(volume) || tells_of(notes, volume) || mounting.any(is_dumped) {
            continue;
        }
        faults.push(Fault {
            rule: BACKUPS,
            path: format!("services.{service}.deploy.labels"),
            message: format!(
                "the backup of the version before saves the volume `{volume}`, which service `{service}` still has, and this one's does not: save it, or name `{volume}` in backticks in `release/next` if it needs no backup"
            ),
        });
    }
    faults
}

/// Where Docker puts secrets.
const SECRETS: &str = "/run/secrets/";

/// Returns the variables that name the file of a secret that the service does not have, where the same variable named one
/// that it had.
fn lost_files(base: &Project, head: &Project, notes: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for service in &head.services {
        let Some(then) = base.service(&service.name) else {
            continue;
        };
        for (variable, path) in &service.environment {
            let Some(name) = path.as_deref().and_then(|path| path.strip_prefix(SECRETS)) else {
                continue;
            };
            let had = then.environment.get(variable).and_then(Option::as_deref);
            let had_one =
                had.is_some_and(|path| path.starts_with(SECRETS) && has_file(base, then, path));
            let path = format!("{SECRETS}{name}");
            if !had_one || has_file(head, service, &path) || tells_of(notes, name) {
                continue;
            }
            faults.push(Fault {
                rule: FILES,
                path: format!("services.{}.environment.{variable}", service.name),
                message: format!(
                    "`{variable}` of service `{}` names `{path}`, and the service has no secret there: in the version before it had one. Give it the secret, correct the name, or name `{name}` in backticks in `release/next` if it is dropped on purpose",
                    service.name,
                ),
            });
        }
    }
    faults
}

/// Returns whether a secret, a config or a mount of the service puts something at `path`. A name that is not absolute is
/// below `/run/secrets` for a secret and in the root for a config: `getSecretTargetPath` and `getConfigTargetPath` in
/// moby's `container/container.go`.
fn has_file(project: &Project, service: &Service, path: &str) -> bool {
    let raw = project.raw_service(&service.name);
    let is_at = |section: &str, directory: &str| {
        let list = raw.and_then(|raw| raw.get(section)?.as_array());
        list.into_iter().flatten().any(|entry| {
            let target = || entry.get("target").or(entry.get("source"))?.as_str();
            let name = entry.as_str().or_else(target).unwrap_or_default();
            // A name that is absolute replaces the directory.
            Path::new(directory).join(name) == Path::new(path)
        })
    };
    let mut mounts = service.volumes.iter();
    is_at("secrets", SECRETS)
        || is_at("configs", "/")
        || mounts.any(|mount| Path::new(path).starts_with(&mount.target))
}

/// Returns the database servers whose updates start first in the head and did not in the base: this upgrade, or the next one
/// where this one leaves the container alone, runs two servers on the same files.
fn start_first(base: &Project, head: &Project) -> Vec<Fault> {
    let first = |service: &Service| service.update.order.as_deref() == Some("start-first");
    let mut faults = Vec::new();
    for service in head.services.iter().filter(|service| first(service)) {
        let Some(server) = Server::of_service(service) else {
            continue;
        };
        let is_new = base.service(&service.name).is_some_and(|then| !first(then));
        let Some((volume, _)) = server
            .volumes(service)
            .into_iter()
            .next()
            .filter(|_| is_new)
        else {
            continue;
        };
        faults.push(Fault {
            rule: START_FIRST,
            path: format!("services.{}.deploy.update_config.order", service.name),
            message: format!(
                "updates of service `{}` start first now: one starts a second {} on the files of the first, in volume `{volume}`, which destroys them; use `order: stop-first`",
                service.name, server.kind
            ),
        });
    }
    faults
}

/// The label of what starts services by the clock: <https://crazymax.dev/swarm-cronjob/>.
const CRONJOB: &str = "swarm.cronjob.enable";

/// Returns whether release notes name this service, secret or config: in backticks, because many are called as a word is.
fn tells_of(notes: &str, name: &str) -> bool {
    notes.contains(&format!("`{name}`"))
}

/// Returns the services that run in the base and have no replica in the head; one that is gone was meant to go.
fn stopped(base: &Project, head: &Project, notes: &str) -> Vec<Fault> {
    let runs = |service: &Service| service.desired_replicas() != Some(0);
    let stops = head.services.iter().filter(|service| {
        let is_started = service
            .labels
            .get(CRONJOB)
            .is_some_and(|value| value == "true");
        !runs(service)
            && !tells_of(notes, &service.name)
            && !is_started
            && base.service(&service.name).is_some_and(runs)
    });
    let fault = |service: &Service| Fault {
        rule: SERVICES,
        path: format!("services.{}.deploy.replicas", service.name),
        message: format!(
            "service `{0}` runs in the version before, and has 0 replicas now: the upgrade stops it. If that is meant, remove it, or name `{0}` in backticks in `release/next`",
            service.name
        ),
    };
    stops.map(fault).collect()
}

/// Returns the secrets and configs that a service of the base reads, that the head still declares, and that none of its
/// services reads: who drops one on purpose drops the declaration, too, or keeps it for an optional compose file and says
/// so to operators.
fn lost_objects(base: &Project, head: &Project, notes: &str) -> Vec<Fault> {
    type Keys = fn(&Service) -> &[String];
    let secrets = head.secrets.iter().map(|secret| &secret.key);
    let configs = head.configs.iter().map(|config| &config.key);
    let mut faults = Vec::new();
    for (section, kind, declared, of) in [
        (
            "secrets",
            "secret",
            secrets.collect::<Vec<_>>(),
            (|service| &service.secrets) as Keys,
        ),
        ("configs", "config", configs.collect(), |service| {
            &service.configs
        }),
    ] {
        for key in declared {
            let reads = |service: &&Service| of(service).contains(key);
            let Some(then) = base.services.iter().find(reads) else {
                continue;
            };
            let there = head.service(&then.name);
            if there.is_none()
                || tells_of(notes, key)
                || head
                    .services
                    .iter()
                    .any(|service| of(service).contains(key))
            {
                continue;
            }
            faults.push(Fault {
                rule: OBJECTS,
                path: format!("{section}.{key}"),
                message: format!(
                    "service `{}` has the {kind} `{key}` in the version before, and no service has it now, though it is still declared: give it to the service again, remove it from `{section}`, or name `{key}` in backticks in `release/next` if it is dropped on purpose",
                    then.name
                ),
            });
        }
    }
    faults
}

/// Returns the ports that `project` has on its hosts, each with its service.
fn published(project: &Project) -> BTreeMap<(u16, &str), &Service> {
    let mut all = BTreeMap::new();
    for service in project.running() {
        for port in &service.ports {
            // One that the engine chooses is nothing that clients know.
            if let Some(published) = port.published {
                all.insert((published, port.protocol.as_str()), service);
            }
        }
    }
    all
}

fn lost_ports(base: &Project, head: &Project, notes: &str) -> Vec<Fault> {
    let told: Vec<u16> = notes
        // A version is no list of ports.
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .filter_map(|number| number.trim_matches('.').parse().ok())
        .collect();
    let now = published(head);
    let mut ranges: BTreeMap<(&str, &str), Vec<(u16, u16)>> = BTreeMap::new();
    for ((port, protocol), service) in published(base) {
        if now.contains_key(&(port, protocol)) {
            continue;
        }
        let of_service = ranges.entry((&service.name, protocol));
        let of_service = of_service.or_default();
        match of_service.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => of_service.push((port, port)),
        }
    }
    let mut faults = Vec::new();
    for ((service, protocol), mut ranges) in ranges {
        // Of a range its ends are enough.
        ranges.retain(|(first, last)| !told.contains(first) || !told.contains(last));
        if ranges.is_empty() {
            continue;
        }
        let ports = ranges.iter().map(|(first, last)| match first == last {
            true => format!("`{first}/{protocol}`"),
            false => format!("`{first}-{last}/{protocol}`"),
        });
        let ports = ports.collect::<Vec<_>>().join(", ");
        let at = match head.service(service) {
            Some(other) if other.ports.is_empty() => format!("services.{service}"),
            Some(_) => format!("services.{service}.ports"),
            None => "services".to_owned(),
        };
        faults.push(Fault {
            rule: PORTS,
            path: at,
            message: format!(
                "the host's port {ports}, which service `{service}` publishes in the version before, is not published any more: every client that uses it is cut off"
            ),
        });
    }
    faults
}

/// A router, with what the service that defines it says.
struct Router<'a> {
    protocol: Protocol,
    name: &'a str,
    service: &'a Service,
    labels: Labels<'a>,
}

impl<'a> Router<'a> {
    fn all(project: &'a Project) -> Vec<Self> {
        let mut all = Vec::new();
        for service in project.running() {
            let labels = Labels::of(service);
            if labels.enabled() != Enabled::Yes {
                continue;
            }
            for protocol in [Protocol::Http, Protocol::Tcp] {
                for name in labels.names(protocol, Group::Routers) {
                    let labels = labels.clone();
                    all.push(Self {
                        protocol,
                        name,
                        service,
                        labels,
                    });
                }
            }
        }
        all
    }

    fn speaks_tls(&self) -> bool {
        let mut options = self.labels.parts(self.protocol, Group::Routers, self.name);
        options.any(|(option, label)| {
            option[0] == "tls" && (option.len() > 1 || !label.value.eq_ignore_ascii_case("false"))
        })
    }

    fn admits(&self, domain: &str) -> bool {
        let rule = self
            .labels
            .option(self.protocol, Group::Routers, self.name, &["rule"]);
        let rule = rule.and_then(|label| Rule::parse(label.value).ok());
        self.protocol == Protocol::Http && rule.is_some_and(|rule| rule.admits(domain))
    }

    fn path(&self) -> String {
        let mut options = self.labels.parts(self.protocol, Group::Routers, self.name);
        let labels = format!("services.{}.deploy.labels", self.service.name);
        match options.next() {
            Some((_, label)) => format!("{labels}.{}", label.label),
            None => labels,
        }
    }
}

/// A router without TLS takes no request from an entry point that is asked in HTTPS, unless the entry point itself says
/// TLS, and that of Co-op Cloud's gateway does not.
fn lost_tls(base: &Project, head: &Project, domain: Option<&str>) -> Vec<Fault> {
    let domain = domain.map(str::to_ascii_lowercase);
    let is_for_domain = |router: &Router<'_>| {
        let domain = domain.as_deref().filter(|domain| !domain.is_empty());
        domain.is_some_and(|domain| router.admits(domain))
    };
    let now = Router::all(head);
    let mut faults: Vec<Fault> = Vec::new();
    for then in Router::all(base) {
        if !then.speaks_tls() {
            continue;
        }
        let is_same =
            |router: &&Router<'_>| router.protocol == then.protocol && router.name == then.name;
        // One that is renamed is known by what it is for.
        let same: Vec<&Router<'_>> = match now.iter().find(is_same) {
            Some(router) => vec![router],
            None if is_for_domain(&then) => now.iter().filter(|one| is_for_domain(one)).collect(),
            None => continue,
        };
        let Some(first) = same.first() else {
            continue;
        };
        let message = format!(
            "the router `{}` of service `{}` says nothing of TLS, and that of the version before does: Co-op Cloud's gateway answers 404 in HTTPS",
            first.name, first.service.name
        );
        let is_known = faults.iter().any(|fault| fault.message == message);
        if !is_known && !same.iter().any(|router| router.speaks_tls()) {
            faults.push(Fault {
                rule: TLS,
                path: first.path(),
                message,
            });
        }
    }
    faults
}

#[cfg(test)]
mod tests;
