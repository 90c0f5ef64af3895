//! The fresh install of the head in a run that upgrades a base: whether there is one, where, and when.
//!
//! An upgrade keeps the env file, the secrets and the data of the base, so it does not show that a new app of the head
//! comes up. That needs an app of its own: beside the one that is upgraded where both fit on the host and have nothing
//! in common, else before it under the same domain.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::audit;
use super::base::Base;
use super::context::Context;
use super::dependencies::Named;
use super::error::RunError;
use super::plan::Plan;
use super::resolved::{self, Releases};
use super::settings::{self, Settings};
use super::step;
use crate::driver::Chosen;
use crate::driver::stack::DeploySetup;
use crate::event::PlannedFresh;
use ground::host_file;
use ground::name::Domain;
use recipe::compose::Project;
use recipe::compose::model::MountKind;
use recipe::compose::shared::{Own, PROXY, SharedNetwork};
use recipe::release::Release;
use recipe::room::Room;
use recipe::traefik::{self, Group, Key, Protocol};
use recipe::trust::Level;

/// The fresh install of a run.
pub(super) struct Install<'a> {
    pub(super) how: step::Fresh,
    /// Why it is not beside the other app.
    why: Option<String>,
    /// Its context: that of the app under test, but for its domain and its places where it has its own.
    pub(super) context: Context<'a>,
    /// Its plan: the head, and no base.
    pub(super) plan: Plan,
}

impl<'a> Install<'a> {
    /// Returns the fresh install of a run of `plan`, which deploys `resolved` with `means`; `None` where the head is
    /// deployed as a new app anyway, or that was not asked for.
    ///
    /// # Errors
    /// [`RunError`] when it may not be deployed, or has no place in the run's directory.
    pub(super) fn of(
        context: &Context<'a>,
        plan: &Plan,
        (resolved, means): (&Releases, &DeploySetup),
        (chosen, needed): (&Chosen, &[Named]),
    ) -> Result<Option<Self>, RunError> {
        let (Some(base), Some(release)) = (&plan.base, &plan.fresh) else {
            return Ok(None);
        };
        let settings = &context.settings;
        let Some(domain) = settings.fresh_domain() else {
            return Ok(None);
        };
        let alone = Plan {
            base: None,
            no_base: None,
            fresh: None,
            ..plan.clone()
        };
        let taken = needed.iter().any(|one| one.domain == domain) || domain == settings.domain;
        let why = if settings.fresh == settings::Fresh::Serial {
            Some("asked for".to_owned())
        } else if !chosen.deploys_what_was_judged() {
            Some("abra has one checkout of the recipe".to_owned())
        } else if taken {
            Some(format!("the run has the domain {domain} already"))
        } else if let Some(one) = needed.first() {
            Some(format!(
                "dependency `{}` knows the app by its domain",
                one.recipe
            ))
        } else {
            in_common((release, &domain), base, plan, settings)
                .or_else(|| named_after_the_app(&release.project, plan))
                .or_else(|| no_room(resolved))
        };
        if why.is_some() {
            return Ok(Some(Self {
                how: step::Fresh::First,
                why,
                context: context.clone(),
                plan: alone,
            }));
        }
        let install = Self {
            how: step::Fresh::Beside,
            why,
            context: Context {
                settings: Rc::new(Settings {
                    domain,
                    ..Settings::clone(settings)
                }),
                dirs: context.dirs.of_fresh().map_err(RunError::infra)?,
                ..context.clone()
            },
            plan: Plan {
                head: release.clone(),
                ..alone
            },
        };
        resolved::refuse(&install.context, &install.plan, &install.means(means))?;
        Ok(Some(install))
    }

    /// Returns how it is deployed in a run whose other app is deployed with `means`.
    pub(super) fn means(&self, means: &DeploySetup) -> DeploySetup {
        let mut means = means.clone();
        if self.how == step::Fresh::Beside {
            let domain = &self.context.settings.domain;
            means.terms.domain = domain.to_string();
            if let SharedNetwork::Own(own) = &mut means.shared {
                own.network = Own::of(domain.stack().as_str()).network;
            }
        }
        means
    }

    /// Returns whether it is an app of its own.
    pub(super) fn is_beside(&self) -> bool {
        self.how == step::Fresh::Beside
    }

    /// Returns what is said of it.
    pub(super) fn planned(&self) -> PlannedFresh {
        PlannedFresh {
            domain: self.context.settings.domain.to_string(),
            how: self.name().to_owned(),
            why: self.why.clone(),
        }
    }

    fn name(&self) -> &'static str {
        match self.how {
            step::Fresh::Beside => settings::Fresh::Parallel.name(),
            step::Fresh::First => settings::Fresh::Serial.name(),
        }
    }
}

/// Returns what a new app of the head has in common with the app that is upgraded, so that they cannot be up at once.
fn in_common(
    (fresh, domain): (&Release, &Domain),
    base: &Base,
    plan: &Plan,
    settings: &Settings,
) -> Option<String> {
    // Of a stranger none is published.
    let publishes = plan.trust.level != Level::Stranger;
    let upgraded = base.upgraded.as_ref().ok();
    let others = || std::iter::once(&base.release).chain(upgraded);
    let here = (&fresh.project, domain.stack());
    let there = others().map(|other| (&other.project, settings.domain.stack()));
    for (project, stack) in there {
        if let Some(object) = audit::in_common((here.0, &here.1), (project, &stack)) {
            return Some(format!("both apps have {object}"));
        }
        if let Some(network) = network_in_common(&fresh.project, project) {
            return Some(network);
        }
        if let Some(route) = route_in_common(&fresh.project, project) {
            return Some(route);
        }
        if publishes && let Some(port) = ports(&fresh.project).intersection(&ports(project)).next()
        {
            return Some(format!("both apps publish port {}/{}", port.0, port.1));
        }
        if let Some(path) = paths(&fresh.project).intersection(&paths(project)).next() {
            return Some(format!("both apps write to `{path}` of the host"));
        }
        let device = devices(&fresh.project);
        if let Some(device) = device.intersection(&devices(project)).next() {
            return Some(format!("both apps have a volume on `{device}`"));
        }
    }
    None
}

/// Returns the image that only the fresh app has, because its domain is in the name: what is judged, pulled and pinned are
/// the images of the app that is upgraded.
fn named_after_the_app(fresh: &Project, plan: &Plan) -> Option<String> {
    let known = plan.images();
    let mut images = fresh.images().into_iter();
    let image = images.find(|image| !known.contains(image))?;
    Some(format!("image `{image}` is named after the app"))
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

/// Returns what a project mounts from the host and may write to.
fn paths(project: &Project) -> BTreeSet<&str> {
    let mounts = project.services.iter().flat_map(|service| &service.volumes);
    let written = mounts.filter(|mount| mount.kind == MountKind::Bind && !mount.read_only);
    written
        .filter_map(|mount| mount.source.as_deref())
        .collect()
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

/// Returns why this host has no room for both apps at once.
fn no_room(releases: &Releases) -> Option<String> {
    let of = |one: &recipe::policy::Judged| Room::of(one.resolved().document());
    let base = releases.base.as_ref().map(of).unwrap_or_default();
    let upgraded = releases.upgraded.as_ref().map(of).unwrap_or_default();
    lacks(of(&releases.head).and(base.or(upgraded)), there_is())
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

fn lacks(both: Room, there: Room) -> Option<String> {
    let mib = |bytes: u64| bytes >> 20;
    if both.memory > there.memory {
        return Some(format!(
            "both apps are counted with {} MiB of memory, and {} MiB are available",
            mib(both.memory),
            mib(there.memory)
        ));
    }
    (both.nano_cpus > there.nano_cpus)
        .then(|| "both apps reserve more processors than there are".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_has_no_room_for_both_installs_the_head_first() {
        let there = |memory, nano_cpus| Room { memory, nano_cpus };
        let both = there(512 << 20, 2_000_000_000);
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
