//! Whether two apps of a run can be there at the same time.

use std::collections::BTreeSet;
use std::path::Path;

use super::audit;
use super::dependencies::Named;
use super::ownership;
use super::plan::Plan;
use super::settings::{self, Settings};
use crate::driver::Chosen;
use ground::host_file;
use ground::name::{Domain, StackName};
use recipe::compose::Project;
use recipe::compose::model::MountKind;
use recipe::compose::shared::PROXY;
use recipe::release::Release;
use recipe::room::Room;
use recipe::traefik::{self, Group, Key, Protocol};
use recipe::trust::Level;

/// An app, as far as another one can meet it on the host.
pub(super) struct Neighbour<'a> {
    stack: StackName,
    /// What it is, one after the other.
    projects: Vec<&'a Project>,
}

impl<'a> Neighbour<'a> {
    /// Returns the app at `domain` of a plan.
    pub(super) fn of_plan(plan: &'a Plan, domain: &Domain) -> Self {
        // The head comes first, and is never deployed as a new app where there is a base.
        let releases = ownership::releases(plan).into_iter();
        let deployed = releases.skip(usize::from(plan.base.is_some()));
        Self {
            stack: domain.stack(),
            projects: deployed.map(|release| &release.project).collect(),
        }
    }

    /// Returns the app at `domain` that is nothing but this release.
    pub(super) fn of_release(release: &'a Release, domain: &Domain) -> Self {
        Self {
            stack: domain.stack(),
            projects: vec![&release.project],
        }
    }
}

/// Returns why an app under `domain` cannot be beside the one under test, whatever it is made of.
pub(super) fn alone(
    domain: &Domain,
    settings: &Settings,
    chosen: &Chosen,
    needed: &[Named],
) -> Option<String> {
    let taken = needed.iter().any(|one| one.domain == *domain) || *domain == settings.domain;
    if settings.fresh == settings::Fresh::Serial {
        Some("asked for".to_owned())
    } else if !chosen.deploys_what_was_judged() {
        Some("abra has one checkout of the recipe".to_owned())
    } else if taken {
        Some(format!("the run has the domain {domain} already"))
    } else {
        let one = needed.first()?;
        Some(format!(
            "dependency `{}` knows the app by its domain",
            one.recipe
        ))
    }
}

/// Returns what two apps of a source of this trust have in common, so that they cannot be up at once.
pub(super) fn in_common(
    one: &Neighbour<'_>,
    other: &Neighbour<'_>,
    level: &Level,
) -> Option<String> {
    // Of a stranger none is published.
    let publishes = *level != Level::Stranger;
    let pairs = one.projects.iter().flat_map(|project| {
        let others = other.projects.iter();
        others.map(move |other| (*project, *other))
    });
    for (here, there) in pairs {
        if let Some(object) = audit::in_common((here, &one.stack), (there, &other.stack)) {
            return Some(format!("both apps have {object}"));
        }
        if let Some(network) = network_in_common(here, there) {
            return Some(network);
        }
        if let Some(route) = route_in_common(here, there) {
            return Some(route);
        }
        if publishes && let Some(port) = ports(here).intersection(&ports(there)).next() {
            return Some(format!("both apps publish port {}/{}", port.0, port.1));
        }
        if let Some(path) = path_in_common(here, there) {
            return Some(format!(
                "both apps have `{path}` of the host, and one writes to it"
            ));
        }
        let device = devices(here);
        if let Some(device) = device.intersection(&devices(there)).next() {
            return Some(format!("both apps have a volume on `{device}`"));
        }
    }
    None
}

/// Returns a network of the host, or of others on it, that both projects are on: there the names and ports of one are the
/// other's. `proxy` is a network of each app's own in a run.
fn network_in_common(one: &Project, other: &Project) -> Option<String> {
    fn names(project: &Project) -> BTreeSet<&str> {
        let external = project.networks.iter().filter(|network| network.external);
        external
            .map(|network| network.name.as_deref().unwrap_or(&network.key))
            .filter(|name| *name != PROXY)
            .collect()
    }
    let shared = names(one).intersection(&names(other)).next().copied()?;
    Some(format!("both apps are on network `{shared}`"))
}

/// Returns what of the gateway's configuration both projects have under one name: Traefik drops a router or middleware that
/// two services define otherwise, and sends the requests for a service to both (`pkg/provider/configuration.go`).
fn route_in_common(one: &Project, other: &Project) -> Option<String> {
    fn names(project: &Project) -> BTreeSet<(Protocol, Group, &str)> {
        let labels = project
            .services
            .iter()
            .flat_map(|service| service.labels.keys());
        labels
            .filter_map(|label| match traefik::key(label)? {
                Key::Part {
                    protocol,
                    group,
                    name,
                    ..
                } => Some((protocol, group, name)),
                _ => None,
            })
            .collect()
    }
    let shared = names(one).intersection(&names(other)).next().copied();
    let (protocol, group, name) = shared?;
    let (protocol, group) = (protocol.name(), group.name());
    Some(format!(
        "both apps have `{name}` among the gateway's {protocol} {group}"
    ))
}

fn ports(project: &Project) -> BTreeSet<(u16, &str)> {
    let ports = project.services.iter().flat_map(|service| &service.ports);
    let published = ports.filter_map(|port| Some((port.published?, port.protocol.as_str())));
    published.collect()
}

/// A directory or file of the host in a project, and whether it may be written to.
type OfHost<'a> = (&'a str, bool);

fn of_host(project: &Project) -> impl Iterator<Item = OfHost<'_>> {
    let mounts = project.services.iter().flat_map(|service| &service.volumes);
    let binds = mounts.filter(|mount| mount.kind == MountKind::Bind);
    binds.filter_map(|mount| Some((mount.source.as_deref()?, !mount.read_only)))
}

/// Returns a path of the host that both projects have, where one writes to what the other has.
fn path_in_common<'a>(one: &'a Project, other: &'a Project) -> Option<&'a str> {
    of_host(one)
        .find(|here| of_host(other).any(|there| meet(*here, there)))
        .map(|(path, _)| path)
}

/// Returns whether one path is the other or below it, and at least one of both is written to.
fn meet((here, writes): OfHost<'_>, (there, they_write): OfHost<'_>) -> bool {
    let (here, there) = (Path::new(here), Path::new(there));
    (writes || they_write) && (here.starts_with(there) || there.starts_with(here))
}

/// Returns what is behind the volumes of a project that are not only the engine's: a directory of the host, a share.
fn devices(project: &Project) -> BTreeSet<&str> {
    let devices = project
        .volumes
        .iter()
        .filter_map(|volume| volume.device.as_deref());
    // What is called so lies in memory, and is each volume's own.
    devices.filter(|device| *device != "tmpfs").collect()
}

/// Returns why this host has no room for apps that need these at once.
pub(super) fn no_room(rooms: &[Room]) -> Option<String> {
    let who = match rooms.len() {
        2 => "both".to_owned(),
        count => format!("the {count}"),
    };
    let all = rooms.iter().copied().reduce(Room::and)?;
    lacks(&who, all, there_is())
}

/// Returns the room that this host has now; what cannot be read counts as enough.
fn there_is() -> Room {
    let meminfo = host_file::text("/proc/meminfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(u64::MAX, |cores| cores.get() as u64);
    Room {
        memory: available(&meminfo).unwrap_or(u64::MAX),
        nano_cpus: cores.saturating_mul(1_000_000_000),
    }
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn lacks(who: &str, all: Room, there: Room) -> Option<String> {
    let mib = |bytes: u64| bytes >> 20;
    if all.memory > there.memory {
        return Some(format!(
            "{who} apps are counted with {} MiB of memory, and {} MiB are available",
            mib(all.memory),
            mib(there.memory)
        ));
    }
    (all.nano_cpus > there.nano_cpus)
        .then(|| format!("{who} apps reserve more processors than there are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_app_writes_and_the_other_has_is_in_common() {
        assert!(meet(("/srv/x", true), ("/srv/x", false)));
        assert!(meet(("/srv/x", false), ("/srv/x/sub", true)));
        assert!(!meet(("/srv/x", false), ("/srv/x/sub", false)));
        assert!(!meet(("/srv/x", true), ("/srv/xy", true)));
    }

    #[test]
    fn a_host_that_has_no_room_for_both_installs_the_head_first() {
        let there = |memory, nano_cpus| Room { memory, nano_cpus };
        let both = there(512 << 20, 2_000_000_000);
        let lacks = |all, there| super::lacks("both", all, there);
        assert_eq!(lacks(both, there(512 << 20, 2_000_000_000)), None);
        let said = lacks(both, there(511 << 20, 4_000_000_000)).unwrap();
        assert_eq!(
            said,
            "both apps are counted with 512 MiB of memory, and 511 MiB are available"
        );
        let said = lacks(both, there(1 << 40, 1_000_000_000)).unwrap();
        assert!(said.contains("processors"), "{said}");
    }

    #[test]
    fn what_is_available_is_what_the_kernel_says() {
        let text = "MemTotal:       24731924 kB\nMemFree:         8187960 kB\nMemAvailable:   22071200 kB\n";
        assert_eq!(available(text), Some(22_071_200 << 10));
        assert_eq!(available("MemFree: 1 kB\n"), None);
    }
}
