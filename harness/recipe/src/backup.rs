//! What a recipe's backup labels ask for.
//!
//! The switch is the stack's: `backupbot.backup=true` in the `deploy.labels` of one service is enough, and by the
//! specification no more than one should have it. Then the hooks and the labels of volumes count on whichever service
//! they stand, as backup-bot-two reads them, whatever that service's own switch says. By the convention's second
//! version all volumes of the stack are saved, except those that `backupbot.backup.volumes.<volume>=false` excludes,
//! and only the named paths of those with `….<volume>.path=a,b`.
//!
//! The first version names absolute paths in the container, `backupbot.backup.path=/a,/b`. It applies when a
//! service that takes part has this label and none has a label of a volume. The paths become paths on the
//! volumes that are mounted there; a service that takes part without the label saves all of its own volumes.
//!
//! External volumes are never part of a backup: they belong to somebody else, and a restore would wipe them.
//! Neither are bind mounts and anonymous volumes, nor volumes that no service mounts, which docker never creates.

pub mod database;
mod volumes;

use super::compose::Project;
use super::compose::model::{Mount, MountKind, Service};

const BACKUP: &str = "backupbot.backup";
const PATH_V1: &str = "backupbot.backup.path";
const VOLUMES: &str = "backupbot.backup.volumes.";
/// The first version's switch for restores; every restore runs the hooks, so it changes nothing.
const RESTORE_V1: &str = "backupbot.restore";
const HOOKS: [&str; 4] = [
    "backupbot.backup.pre-hook",
    "backupbot.backup.post-hook",
    "backupbot.restore.pre-hook",
    "backupbot.restore.post-hook",
];

/// What to save, and the commands around it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackupPlan {
    /// The services that take part, because they have the switch or a label that acts, in the order of the files.
    /// Empty when the recipe has no backup.
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
    /// Whether its labels name paths that its own containers have: on a volume that it mounts, or the first
    /// version's.
    pub names_paths: bool,
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
    /// A label in a stack without a backup.
    #[error(
        "service `{service}`: `{label}` has no effect: no service of the stack has `backupbot.backup=true`"
    )]
    NoEffect {
        /// The service.
        service: String,
        /// The label.
        label: String,
    },
    /// A label that no version of the convention knows.
    #[error("service `{service}`: no backup tool knows the label `{label}`")]
    UnknownLabel {
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
    #[error("service `{service}` has backup labels, but none of its volumes is saved")]
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
        let switched = |service: &Service| is_true(service.labels.get(BACKUP));
        let on = project.services.iter().any(switched);
        plan.check_places(project, on);
        if !on {
            return plan;
        }
        let backed: Vec<&Service> = project
            .services
            .iter()
            .filter(|service| switched(service) || service.labels.keys().any(|label| acts(label)))
            .collect();
        plan.services = backed.iter().map(|service| hooks(service)).collect();
        let paths = volumes::saved(project, &backed, &mut plan.problems);
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

    /// Returns the labels that ask for a backup and get none; empty when there is one.
    #[must_use]
    pub fn asked_in_vain(&self) -> Vec<&BackupProblem> {
        let asks = |problem: &&BackupProblem| match problem {
            BackupProblem::OnContainer { label, .. } | BackupProblem::NotBoolean { label, .. } => {
                label == BACKUP
            }
            BackupProblem::NoEffect { .. } => true,
            _ => false,
        };
        let problems = self.problems.iter();
        problems
            .filter(|_| !self.is_backup_capable())
            .filter(asks)
            .collect()
    }

    /// Returns what the labels promise to save and do not: named paths that are on no volume, and services with a
    /// dump or a path of which nothing is saved. A service that has only the switch may have nothing to lose.
    #[must_use]
    pub fn not_saved(&self) -> Vec<&BackupProblem> {
        let promised = |problem: &&BackupProblem| match problem {
            BackupProblem::PathNotOnVolume { .. } => true,
            BackupProblem::NothingSaved { service } => self.services.iter().any(|hooks| {
                hooks.service == *service && (hooks.backup_pre.is_some() || hooks.names_paths)
            }),
            _ => false,
        };
        self.problems.iter().filter(promised).collect()
    }

    /// Returns whether a command makes what is saved, such as a dump.
    #[must_use]
    pub fn has_pre_hook(&self) -> bool {
        self.services.iter().any(|hooks| hooks.backup_pre.is_some())
    }

    fn check_places(&mut self, project: &Project, on: bool) {
        for service in &project.services {
            let name = || service.name.clone();
            for (label, _) in service
                .container_labels
                .iter()
                .filter(|(label, _)| label.starts_with("backupbot."))
                // What is off is off in either place.
                .filter(|(label, value)| *label != BACKUP || !is_false(value))
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
            for label in service
                .labels
                .keys()
                .filter(|label| label.starts_with("backupbot."))
            {
                if !acts(label) && label != BACKUP && label != RESTORE_V1 {
                    self.problems.push(BackupProblem::UnknownLabel {
                        service: name(),
                        label: label.clone(),
                    });
                }
                // With `backupbot.backup=false` the other labels only wait for the switch.
                if acts(label) && !on && switch.is_none() {
                    self.problems.push(BackupProblem::NoEffect {
                        service: name(),
                        label: label.clone(),
                    });
                }
            }
        }
    }
}

/// Returns whether a label does something, once the stack's switch is on.
fn acts(label: &str) -> bool {
    label.starts_with(VOLUMES) || label == PATH_V1 || HOOKS.contains(&label)
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
        names_paths: service.labels.keys().any(|label| {
            let volume = |label: &str| {
                let volume = label.strip_prefix(VOLUMES)?.strip_suffix(".path")?;
                volume_mounts(service).find(|mount| mount.source.as_deref() == Some(volume))
            };
            label == PATH_V1 || volume(label).is_some()
        }),
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

#[cfg(test)]
mod tests;
