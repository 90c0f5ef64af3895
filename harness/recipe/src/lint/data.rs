//! Rules about where a service's data lies, and what becomes of it in an update and a backup.

use super::finding::Severity;
use super::finding::{Checked, Hit};
use super::view::{Member, View};
use crate::backup::BackupPlan;
use crate::backup::database::{Server, files_beside_a_dump, live_copies, makes_a_dump};
use crate::compose::model::{MountKind, PortMode};

const START_FIRST: &str = "start-first";

fn add(hits: &mut Vec<Hit>, hit: Hit) {
    // The same service is part of several deploys.
    if !hits.contains(&hit) {
        hits.push(hit);
    }
}

pub(super) fn dump_is_loaded(view: &View) -> Checked {
    let mut hits = Vec::new();
    for project in &view.deploys {
        let plan = BackupPlan::from_project(project);
        let loads = plan
            .services
            .iter()
            .any(|hooks| hooks.restore_pre.is_some() || hooks.restore_post.is_some());
        for hooks in &plan.services {
            let name = &hooks.service;
            let Some(command) = &hooks.backup_pre else {
                continue;
            };
            let is_server = || {
                let service = project.service(name);
                let server = service.and_then(Server::of_service);
                server.is_some_and(|server| !server.is_whole())
            };
            if !loads && (makes_a_dump(command) || is_server()) {
                let message = format!(
                    "service `{name}` makes a dump before the backup, and nothing loads it after a restore"
                );
                let labels = format!("services.{name}.deploy.labels");
                add(&mut hits, view.hit(&labels, message));
            }
        }
    }
    Ok(hits)
}

pub(super) fn live_copy(view: &View) -> Checked {
    let mut hits = Vec::new();
    for project in &view.deploys {
        for copy in live_copies(project, &BackupPlan::from_project(project)) {
            let path = format!("services.{}.volumes", copy.service);
            add(&mut hits, view.hit(&path, copy.to_string()));
        }
    }
    Ok(hits)
}

pub(super) fn dump_alone_is_saved(view: &View) -> Checked {
    let mut hits = Vec::new();
    for project in &view.deploys {
        let plan = BackupPlan::from_project(project);
        for copy in files_beside_a_dump(project, &plan) {
            let message = format!(
                "volume `{volume}` has the files of the {kind} of service `{service}`, and they are saved though a hook \
                 dumps the database: a restore changes them beneath a running server; save only the dump \
                 (`backupbot.backup.volumes.{volume}.path`)",
                volume = copy.volume,
                kind = copy.kind,
                service = copy.service,
            );
            let path = format!("services.{}.volumes", copy.service);
            add(&mut hits, view.hit(&path, message));
        }
    }
    Ok(hits)
}

pub(super) fn database_starts_first(view: &View) -> Checked {
    Ok(starts_first(view, Severity::Error))
}

pub(super) fn data_starts_first(view: &View) -> Checked {
    Ok(starts_first(view, Severity::Warning))
}

/// Returns a hit for each service whose updates start first and whose data that harms for sure, or may harm.
fn starts_first(view: &View, how_bad: Severity) -> Vec<Hit> {
    let hit = |member: &Member| {
        let service = &member.service;
        if service.update.order.as_deref() != Some(START_FIRST) {
            return None;
        }
        let name = &service.name;
        let of_server = Server::of_service(service).and_then(|server| {
            let volumes = server.volumes(service);
            let (volume, _) = *volumes.first()?;
            Some((server.kind, volume.to_owned()))
        });
        let message = match (of_server, how_bad) {
            (Some((kind, volume)), Severity::Error) => format!(
                "updates of service `{name}` start a second {kind} on the files of the first, in volume `{volume}`"
            ),
            (None, Severity::Warning) => {
                let volume = service.volumes.iter().find_map(|mount| {
                    let writes = mount.kind == MountKind::Volume && !mount.read_only;
                    mount.source.as_deref().filter(|_| writes)
                })?;
                format!(
                    "updates of service `{name}` run two of its containers on volume `{volume}`"
                )
            }
            _ => return None,
        };
        let path = format!("services.{name}.deploy.update_config.order");
        Some(view.hit(&path, message))
    };
    view.services.iter().filter_map(hit).collect()
}

pub(super) fn host_port_starts_first(view: &View) -> Checked {
    let hit = |member: &Member| {
        let service = &member.service;
        let on_host = |mode| mode == PortMode::Host;
        let port = (service.ports.iter())
            .find(|port| on_host(port.mode) && port.published.is_some())
            .and_then(|port| port.published)?;
        let first = service.update.order.as_deref() == Some(START_FIRST);
        first.then(|| {
            let name = &service.name;
            let message = format!(
                "updates of service `{name}` start the new task first, and the old one holds the host's port {port}"
            );
            let path = format!("services.{name}.deploy.update_config.order");
            view.hit(&path, message)
        })
    };
    Ok(view.services.iter().filter_map(hit).collect())
}
