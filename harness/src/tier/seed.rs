//! Markers: files that the harness puts into an app's volumes to see whether they survive.
//!
//! They go in and out through the engine's archive API, so they need nothing from the image. A marker is
//! overwritten, not deleted, before a restore: the API cannot delete, and a wrong content that turns right
//! again proves the same as an absent file that comes back.

use std::collections::BTreeMap;

use super::Bench;
use crate::recipe::backup::{BackupPaths, BackupPlan};
use crate::recipe::compose::model::MountKind;
use crate::swarm::EngineError;

/// The marker's name. Hidden, so that a program that lists its directory does not take it for data.
const NAME: &str = ".recipe-ci-marker";

/// What has been seeded, by the volume's compose name.
#[derive(Debug, Clone, Default)]
pub struct Seeds {
    /// The content of each volume's marker, and where it is below the volume's root.
    pub markers: BTreeMap<String, Marker>,
    /// When the last seeding was, in seconds since the epoch by the host's clock.
    pub at: u64,
}

/// A marker in one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The directory below the volume's root, empty for the root.
    pub dir: String,
    /// What it says.
    pub content: String,
}

impl Marker {
    /// Returns the marker's path below the volume's root.
    #[must_use]
    pub fn path(&self) -> String {
        if self.dir.is_empty() {
            NAME.to_owned()
        } else {
            format!("{}/{NAME}", self.dir)
        }
    }
}

/// What became of a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It says what it should.
    Same,
    /// It says something else.
    Different,
    /// It is not there.
    Missing,
    /// No running container mounts the volume any more.
    Unmounted,
}

/// Returns the volumes to seed: those that are backed up, else all of the stack, with the directory that
/// is saved. Volumes of which only files are saved get no marker.
#[must_use]
pub fn targets(bench: &Bench, plan: Option<&BackupPlan>) -> BTreeMap<String, String> {
    let mut targets = BTreeMap::new();
    match plan {
        Some(plan) => {
            for volume in &plan.volumes {
                match &volume.paths {
                    BackupPaths::Whole => {
                        targets.insert(volume.volume.clone(), String::new());
                    }
                    // Whether a named path is a directory only the container knows; the backup tier asks.
                    BackupPaths::Named(_) => {}
                }
            }
        }
        None => {
            for service in &bench.current.project.services {
                for mount in service
                    .volumes
                    .iter()
                    .filter(|mount| mount.kind == MountKind::Volume)
                {
                    if let Some(source) = &mount.source {
                        targets.insert(source.clone(), String::new());
                    }
                }
            }
        }
    }
    targets
}

impl Bench {
    /// Writes a new marker into every volume of `targets` that a running container mounts.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn seed(
        &mut self,
        targets: &BTreeMap<String, String>,
        word: &str,
    ) -> Result<usize, EngineError> {
        let mut markers = BTreeMap::new();
        for (volume, dir) in targets {
            let content = format!("{word} {volume} {:016x}\n", rand::random::<u64>());
            let marker = Marker {
                dir: dir.clone(),
                content,
            };
            if self.write_marker(volume, &marker).await? {
                markers.insert(volume.clone(), marker);
            }
        }
        let count = markers.len();
        self.seeds = Seeds {
            markers,
            at: jiff::Timestamp::now().as_second().unsigned_abs(),
        };
        Ok(count)
    }

    /// Overwrites every marker; the seeds keep what they said.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn spoil(&self) -> Result<(), EngineError> {
        for (volume, marker) in &self.seeds.markers {
            let spoiled = Marker {
                dir: marker.dir.clone(),
                content: "wiped by recipe-ci\n".to_owned(),
            };
            self.write_marker(volume, &spoiled).await?;
        }
        Ok(())
    }

    async fn write_marker(&self, volume: &str, marker: &Marker) -> Result<bool, EngineError> {
        let Some((container, target)) = self.mounted(volume).await? else {
            return Ok(false);
        };
        let dir = if marker.dir.is_empty() {
            target
        } else {
            format!("{target}/{}", marker.dir)
        };
        self.engine()
            .put_file(&container, &dir, NAME, marker.content.as_bytes())
            .await?;
        Ok(true)
    }

    /// Looks for every marker.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn find_markers(&self) -> Result<BTreeMap<String, Found>, EngineError> {
        let mut found = BTreeMap::new();
        for (volume, marker) in &self.seeds.markers {
            let what = match self.mounted(volume).await? {
                None => Found::Unmounted,
                Some((container, target)) => {
                    match self
                        .engine()
                        .get_file(&container, &format!("{target}/{}", marker.path()))
                        .await?
                    {
                        None => Found::Missing,
                        Some(content) if content == marker.content.as_bytes() => Found::Same,
                        Some(_) => Found::Different,
                    }
                }
            };
            found.insert(volume.clone(), what);
        }
        Ok(found)
    }

    /// Returns a running container that mounts `volume` and may write to it, and where; `None` when there
    /// is none.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn mounted(&self, volume: &str) -> Result<Option<(String, String)>, EngineError> {
        let state = self.state().await?;
        for service in &self.current.project.services {
            let mount = service.volumes.iter().find(|mount| {
                mount.kind == MountKind::Volume
                    && !mount.read_only
                    && mount.source.as_deref() == Some(volume)
            });
            if let (Some(mount), Some(container)) = (mount, state.container_of(&service.name)) {
                let target = mount.target.trim_end_matches('/').to_owned();
                return Ok(Some((container.to_owned(), target)));
            }
        }
        Ok(None)
    }
}

/// Turns what was found into an assertion.
///
/// # Errors
/// What is wrong with which volume, in one line.
pub fn all_same(found: &BTreeMap<String, Found>) -> Result<Option<String>, String> {
    let wrong: Vec<String> = found
        .iter()
        .filter_map(|(volume, found)| {
            let what = match found {
                Found::Same => return None,
                Found::Different => "holds something else",
                Found::Missing => "lost it",
                Found::Unmounted => "is not mounted by any running service any more",
            };
            Some(format!("volume `{volume}` {what}"))
        })
        .collect();
    if wrong.is_empty() {
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        return Ok(Some(format!("markers in {}", names.join(", "))));
    }
    Err(format!("data seeded before is gone: {}", wrong.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lost_marker_fails_them_all() {
        let mut found = BTreeMap::from([("a".to_owned(), Found::Same)]);
        assert!(all_same(&found).is_ok());
        for wrong in [Found::Different, Found::Missing, Found::Unmounted] {
            found.insert("b".to_owned(), wrong);
            let reason = all_same(&found).unwrap_err();
            assert!(
                reason.contains("`b`") && !reason.contains("`a`"),
                "{reason}"
            );
        }
    }
}
