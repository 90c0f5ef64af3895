//! Which parts of which volumes the labels save, by either version of the convention.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    BackupPaths, BackupProblem, PATH_V1, VOLUMES, is_false, is_true, mounts_of, volume_mounts,
};
use crate::compose::Project;
use crate::compose::model::{MountKind, Service};

/// Returns what is saved of each volume; `backed` are the services that take part.
pub(super) fn saved(
    project: &Project,
    backed: &[&Service],
    problems: &mut Vec<BackupProblem>,
) -> BTreeMap<String, BackupPaths> {
    let has_volumes = |service: &&Service| {
        service
            .labels
            .keys()
            .any(|label| label.starts_with(VOLUMES))
    };
    let has_path = |service: &&Service| service.labels.contains_key(PATH_V1);
    if !backed.iter().any(has_volumes) && backed.iter().any(has_path) {
        return first_version(project, backed, problems);
    }
    for service in backed.iter().filter(|service| has_path(service)) {
        problems.push(BackupProblem::MixedVersions {
            service: service.name.clone(),
        });
    }
    second_version(project, backed, problems)
}

/// Returns what the second version saves: everything, less what the labels of volumes say.
fn second_version(
    project: &Project,
    backed: &[&Service],
    problems: &mut Vec<BackupProblem>,
) -> BTreeMap<String, BackupPaths> {
    let mut saved = BTreeMap::new();
    for volume in &project.volumes {
        if mounts_of(project, &volume.key).is_empty() {
            continue;
        }
        if volume.external {
            problems.push(BackupProblem::ExternalVolume {
                volume: volume.key.clone(),
            });
        } else {
            saved.insert(volume.key.clone(), BackupPaths::Whole);
        }
    }
    let mut excluded = BTreeSet::new();
    for service in backed {
        let name = || service.name.clone();
        for (label, value) in &service.labels {
            let Some(rest) = label.strip_prefix(VOLUMES) else {
                continue;
            };
            let (volume, paths) = match rest.strip_suffix(".path") {
                Some(volume) => (volume, Some(value)),
                None => (rest, None),
            };
            if !project.volumes.iter().any(|known| known.key == volume) {
                let problem = BackupProblem::UnknownVolume {
                    service: name(),
                    volume: volume.to_owned(),
                };
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
                continue;
            }
            if let Some(list) = paths {
                let named = relative_paths(service, list, problems);
                if let Some(paths) = saved.get_mut(volume) {
                    *paths = joined(paths, named);
                }
            } else if is_false(value) {
                excluded.insert(volume);
            } else if !is_true(Some(value)) {
                let (label, value) = (label.clone(), value.clone());
                problems.push(BackupProblem::NotBoolean {
                    service: name(),
                    label,
                    value,
                });
            }
        }
    }
    saved.retain(|volume, paths| {
        !excluded.contains(volume.as_str()) && *paths != BackupPaths::Named(Vec::new())
    });
    saved
}

fn relative_paths(service: &Service, list: &str, problems: &mut Vec<BackupProblem>) -> Vec<String> {
    let mut paths = Vec::new();
    for path in list.split(',').map(str::trim) {
        let reason = if path.is_empty() {
            "it is empty"
        } else if path.starts_with('/') {
            "it is absolute; it has to be relative to the root of the volume"
        } else if path.split('/').any(|part| part == "..") {
            "it contains `..`"
        } else {
            let parts: Vec<&str> = path
                .split('/')
                .filter(|part| !matches!(*part, "" | "."))
                .collect();
            paths.push(parts.join("/"));
            continue;
        };
        problems.push(BackupProblem::BadPath {
            service: service.name.clone(),
            path: path.to_owned(),
            reason,
        });
    }
    paths
}

/// Returns what the first version saves: the volumes below the named paths.
fn first_version(
    project: &Project,
    backed: &[&Service],
    problems: &mut Vec<BackupProblem>,
) -> BTreeMap<String, BackupPaths> {
    let mut saved: BTreeMap<String, BackupPaths> = BTreeMap::new();
    let mut save = |volume: &str, path: &str| {
        let paths = saved
            .entry(volume.to_owned())
            .or_insert_with(|| BackupPaths::Named(Vec::new()));
        match paths {
            _ if path.is_empty() => *paths = BackupPaths::Whole,
            BackupPaths::Named(list) if !list.iter().any(|known| known == path) => {
                list.push(path.to_owned());
            }
            _ => {}
        }
    };
    let own = |source: &str| {
        project
            .volumes
            .iter()
            .any(|volume| volume.key == source && !volume.external)
    };
    for service in backed {
        let Some(list) = service.labels.get(PATH_V1) else {
            for source in volume_mounts(service).filter_map(|mount| mount.source.as_deref()) {
                if own(source) {
                    save(source, "");
                }
            }
            continue;
        };
        for path in list.split(',').map(str::trim) {
            let problem = |reason| BackupProblem::BadPath {
                service: service.name.clone(),
                path: path.to_owned(),
                reason,
            };
            if !path.starts_with('/') {
                problems.push(problem("it has to be absolute, in the container"));
                continue;
            }
            if path.split('/').any(|part| part == "..") {
                problems.push(problem("it contains `..`"));
                continue;
            }
            let mut found = false;
            // The innermost mount that holds the path.
            let holder = service
                .volumes
                .iter()
                .filter_map(|mount| Some((mount, below(path, &mount.target)?)))
                .min_by_key(|(_, rest)| rest.len());
            if let Some((mount, rest)) = holder
                && let (MountKind::Volume, Some(source)) = (&mount.kind, mount.source.as_deref())
                && own(source)
            {
                save(source, &rest);
                found = true;
            }
            // Volumes that are mounted somewhere inside the path.
            for mount in volume_mounts(service) {
                if let Some(source) = mount.source.as_deref()
                    && below(&mount.target, path).is_some_and(|rest| !rest.is_empty())
                    && own(source)
                {
                    save(source, "");
                    found = true;
                }
            }
            if !found {
                let (service, path) = (service.name.clone(), path.to_owned());
                problems.push(BackupProblem::PathNotOnVolume { service, path });
            }
        }
    }
    saved
}

/// Returns the paths with `named` added; a first list of paths replaces the whole volume.
fn joined(paths: &BackupPaths, named: Vec<String>) -> BackupPaths {
    let mut all = match paths {
        BackupPaths::Whole => Vec::new(),
        BackupPaths::Named(list) => list.clone(),
    };
    for path in named {
        if !all.contains(&path) {
            all.push(path);
        }
    }
    // `.` is the root of the volume.
    if all.iter().any(String::is_empty) {
        BackupPaths::Whole
    } else {
        BackupPaths::Named(all)
    }
}

/// Returns `path` relative to `root`, empty when it is the root, or nothing when it is elsewhere.
fn below(path: &str, root: &str) -> Option<String> {
    let parts = |path: &str| -> Vec<String> {
        path.split('/')
            .filter(|part| !matches!(*part, "" | "."))
            .map(str::to_owned)
            .collect()
    };
    let (path, root) = (parts(path), parts(root));
    path.strip_prefix(root.as_slice())
        .map(|rest| rest.join("/"))
}
