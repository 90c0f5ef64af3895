//! What a recipe's backup labels ask for.
//!
//! A service takes part when its `deploy.labels` have `backupbot.backup=true`. Then, by the convention's second
//! version, all volumes of the stack are saved, except those that `backupbot.backup.volumes.<volume>=false`
//! excludes, and only the named paths of those with `….<volume>.path=a,b`.
//!
//! The first version names absolute paths in the container, `backupbot.backup.path=/a,/b`. It applies when a
//! service that takes part has this label and none has a label of a volume; the paths become paths on the
//! volumes that are mounted there.
//!
//! External volumes are never part of a backup: they belong to somebody else, and a restore would wipe them.
//! Neither are bind mounts and anonymous volumes, nor volumes that no service mounts, which docker never creates.

use std::collections::{BTreeMap, BTreeSet};

use super::compose::Project;
use super::compose::model::{Mount, MountKind, Service};

const BACKUP: &str = "backupbot.backup";
const PATH_V1: &str = "backupbot.backup.path";
const VOLUMES: &str = "backupbot.backup.volumes.";
const HOOKS: [&str; 4] = [
    "backupbot.backup.pre-hook",
    "backupbot.backup.post-hook",
    "backupbot.restore.pre-hook",
    "backupbot.restore.post-hook",
];

/// What to save, and the commands around it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackupPlan {
    /// The services that take part, in the order of the files. Empty when the recipe has no backup.
    pub services: Vec<ServiceHooks>,
    /// The volumes to save, in the order of the files.
    pub volumes: Vec<VolumeBackup>,
    /// What is wrong with the labels.
    pub problems: Vec<BackupProblem>,
}

/// The commands of a service that takes part; they run in its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceHooks {
    /// The service.
    pub service: String,
    /// Before the volumes are saved.
    pub backup_pre: Option<String>,
    /// After they were.
    pub backup_post: Option<String>,
    /// Before the volumes are restored.
    pub restore_pre: Option<String>,
    /// After they were.
    pub restore_post: Option<String>,
}

/// A volume to save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeBackup {
    /// The key below `volumes` in the compose files.
    pub volume: String,
    /// Where it is mounted.
    pub mounts: Vec<VolumeMount>,
    /// Which part of it is saved.
    pub paths: BackupPaths,
}

/// A place where a volume is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    /// The service.
    pub service: String,
    /// The path in its containers.
    pub target: String,
    /// Whether it cannot write to it.
    pub read_only: bool,
}

/// Which part of a volume is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupPaths {
    /// All of it.
    Whole,
    /// These paths, relative to the root of the volume.
    Named(Vec<String>),
}

/// Something wrong with the backup labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupProblem {
    /// A label among the container's labels, where no backup looks.
    #[error("service `{service}`: `{label}` is in `labels`; it has to be in `deploy.labels`")]
    OnContainer {
        /// The service.
        service: String,
        /// The label.
        label: String,
    },
    /// A label on a service that does not take part.
    #[error("service `{service}`: `{label}` has no effect without `backupbot.backup=true`")]
    NoEffect {
        /// The service.
        service: String,
        /// The label.
        label: String,
    },
    /// A value that a label cannot have.
    #[error("service `{service}`: `{label}={value}` is neither `true` nor `false`")]
    NotBoolean {
        /// The service.
        service: String,
        /// The label.
        label: String,
        /// Its value.
        value: String,
    },
    /// A volume that the files do not have.
    #[error(
        "service `{service}`: the backup labels name the volume `{volume}`, which does not exist"
    )]
    UnknownVolume {
        /// The service.
        service: String,
        /// The volume.
        volume: String,
    },
    /// A volume that belongs to somebody else.
    #[error("the volume `{volume}` is external, so it is not part of the backup")]
    ExternalVolume {
        /// The volume.
        volume: String,
    },
    /// A path that leaves its volume, or that has the wrong form.
    #[error("service `{service}`: the backup path `{path}` is not usable: {reason}")]
    BadPath {
        /// The service.
        service: String,
        /// The path.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A path that is on no volume of the stack, so that it is not saved.
    #[error(
        "service `{service}`: the backup path `{path}` is on no volume of the stack, so it is not saved"
    )]
    PathNotOnVolume {
        /// The service.
        service: String,
        /// The path.
        path: String,
    },
    /// A service that takes part, and of whose volumes none is saved.
    #[error("service `{service}` has `backupbot.backup=true`, but none of its volumes is saved")]
    NothingSaved {
        /// The service.
        service: String,
    },
    /// Labels of both versions of the convention.
    #[error(
        "service `{service}`: `backupbot.backup.path` has no effect next to `backupbot.backup.volumes` labels"
    )]
    MixedVersions {
        /// The service.
        service: String,
    },
}

impl BackupPlan {
    /// Returns what the backup labels of `project` ask for.
    ///
    /// It never fails: what is wrong is in [`BackupPlan::problems`], even when there is no backup at all.
    #[must_use]
    pub fn from_project(project: &Project) -> Self {
        let mut plan = Self::default();
        plan.check_places(project);
        let backed: Vec<&Service> = project
            .services
            .iter()
            .filter(|service| is_true(service.labels.get(BACKUP)))
            .collect();
        if backed.is_empty() {
            return plan;
        }
        plan.services = backed.iter().map(|service| hooks(service)).collect();
        let has_v2 = |service: &&Service| {
            service
                .labels
                .keys()
                .any(|label| label.starts_with(VOLUMES))
        };
        let with_path: Vec<&Service> = backed
            .iter()
            .filter(|service| service.labels.contains_key(PATH_V1))
            .copied()
            .collect();
        let paths = if backed.iter().any(has_v2) || with_path.is_empty() {
            let mixed = with_path
                .iter()
                .map(|service| BackupProblem::MixedVersions {
                    service: service.name.clone(),
                });
            plan.problems.extend(mixed);
            plan.second_version(project, &backed)
        } else {
            plan.first_version(project, &with_path)
        };
        for volume in &project.volumes {
            if let Some(paths) = paths.get(volume.key.as_str()) {
                plan.volumes.push(VolumeBackup {
                    volume: volume.key.clone(),
                    mounts: mounts_of(project, &volume.key),
                    paths: paths.clone(),
                });
            }
        }
        for service in backed {
            let mut sources = volume_mounts(service)
                .filter_map(|mount| mount.source.as_deref())
                .peekable();
            if sources.peek().is_some() && !sources.any(|source| paths.contains_key(source)) {
                plan.problems.push(BackupProblem::NothingSaved {
                    service: service.name.clone(),
                });
            }
        }
        plan
    }

    /// Returns whether the recipe has a backup.
    #[must_use]
    pub fn is_backup_capable(&self) -> bool {
        !self.services.is_empty()
    }

    fn check_places(&mut self, project: &Project) {
        for service in &project.services {
            let name = || service.name.clone();
            for label in service
                .container_labels
                .keys()
                .filter(|label| label.starts_with("backupbot."))
            {
                self.problems.push(BackupProblem::OnContainer {
                    service: name(),
                    label: label.clone(),
                });
            }
            let switch = service.labels.get(BACKUP);
            if let Some(value) = switch
                && !is_true(switch)
                && !is_false(value)
            {
                let (label, value) = (BACKUP.to_owned(), value.clone());
                self.problems.push(BackupProblem::NotBoolean {
                    service: name(),
                    label,
                    value,
                });
            }
            // With `backupbot.backup=false` the other labels only wait for the switch.
            if switch.is_none() {
                let label = |label: &&String| {
                    label.starts_with(VOLUMES)
                        || *label == PATH_V1
                        || HOOKS.contains(&label.as_str())
                };
                for label in service.labels.keys().filter(label) {
                    self.problems.push(BackupProblem::NoEffect {
                        service: name(),
                        label: label.clone(),
                    });
                }
            }
        }
    }

    fn second_version(
        &mut self,
        project: &Project,
        backed: &[&Service],
    ) -> BTreeMap<String, BackupPaths> {
        let mut saved = BTreeMap::new();
        for volume in &project.volumes {
            if mounts_of(project, &volume.key).is_empty() {
                continue;
            }
            if volume.external {
                self.problems.push(BackupProblem::ExternalVolume {
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
                    if !self.problems.contains(&problem) {
                        self.problems.push(problem);
                    }
                    continue;
                }
                if let Some(list) = paths {
                    let named = self.relative_paths(service, list);
                    if let Some(paths) = saved.get_mut(volume) {
                        *paths = joined(paths, named);
                    }
                } else if is_false(value) {
                    excluded.insert(volume);
                } else if !is_true(Some(value)) {
                    let (label, value) = (label.clone(), value.clone());
                    self.problems.push(BackupProblem::NotBoolean {
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

    fn relative_paths(&mut self, service: &Service, list: &str) -> Vec<String> {
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
            self.problems.push(BackupProblem::BadPath {
                service: service.name.clone(),
                path: path.to_owned(),
                reason,
            });
        }
        paths
    }

    fn first_version(
        &mut self,
        project: &Project,
        with_path: &[&Service],
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
        for service in with_path {
            for path in service.labels[PATH_V1].split(',').map(str::trim) {
                let problem = |reason| BackupProblem::BadPath {
                    service: service.name.clone(),
                    path: path.to_owned(),
                    reason,
                };
                if !path.starts_with('/') {
                    self.problems
                        .push(problem("it has to be absolute, in the container"));
                    continue;
                }
                if path.split('/').any(|part| part == "..") {
                    self.problems.push(problem("it contains `..`"));
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
                    && let (MountKind::Volume, Some(source)) =
                        (&mount.kind, mount.source.as_deref())
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
                    self.problems
                        .push(BackupProblem::PathNotOnVolume { service, path });
                }
            }
        }
        saved
    }
}

fn is_true(value: Option<&String>) -> bool {
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

fn is_false(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("false")
}

fn hooks(service: &Service) -> ServiceHooks {
    let [backup_pre, backup_post, restore_pre, restore_post] = HOOKS.map(|label| {
        service
            .labels
            .get(label)
            .filter(|command| !command.trim().is_empty())
            .cloned()
    });
    ServiceHooks {
        service: service.name.clone(),
        backup_pre,
        backup_post,
        restore_pre,
        restore_post,
    }
}

fn volume_mounts(service: &Service) -> impl Iterator<Item = &Mount> {
    service
        .volumes
        .iter()
        .filter(|mount| mount.kind == MountKind::Volume)
}

fn mounts_of(project: &Project, volume: &str) -> Vec<VolumeMount> {
    let mut mounts = Vec::new();
    for service in &project.services {
        for mount in volume_mounts(service).filter(|mount| mount.source.as_deref() == Some(volume))
        {
            mounts.push(VolumeMount {
                service: service.name.clone(),
                target: mount.target.clone(),
                read_only: mount.read_only,
            });
        }
    }
    mounts
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

#[cfg(test)]
mod tests;
