//! Markers: files that the harness puts into an app's volumes to see whether they survive.
//!
//! They go in and out through the engine's archive API, so they need nothing from the image. A marker is
//! overwritten, not deleted, before a restore: the API cannot delete, and a wrong content that turns right
//! again proves the same as an absent file that comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bench, Tally};
use engine::made;
use engine::swarm::EngineError;
use engine::swarm::holder::OwnVolumes;
use engine::swarm::object::Belongings;
use ground::outcome::Stage;
use recipe::backup::{BackupPaths, BackupPlan};
use recipe::compose::Project;
use recipe::compose::model::MountKind;

/// The marker's name. Hidden, so that a program that lists its directory does not take it for data.
const NAME: &str = ".recipe-ci-marker";

/// What has been seeded.
#[derive(Debug, Clone, Default)]
pub struct Seeds {
    /// What each marker says, by the directory that it is in.
    pub markers: BTreeMap<MarkerDir, String>,
    /// When the last seeding was, in seconds since the epoch by the host's clock.
    pub at: u64,
}

/// A directory of a volume that a marker goes into. A volume has one for each directory that is saved by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkerDir {
    /// The volume's compose name.
    pub volume: String,
    /// The directory below the volume's root, empty for the root.
    pub dir: String,
}

impl MarkerDir {
    /// Returns the root of `volume`.
    #[must_use]
    pub fn root(volume: &str) -> Self {
        Self {
            volume: volume.to_owned(),
            dir: String::new(),
        }
    }

    /// Returns the marker's path below the volume's root.
    #[must_use]
    pub fn marker(&self) -> String {
        if self.dir.is_empty() {
            NAME.to_owned()
        } else {
            format!("{}/{NAME}", self.dir)
        }
    }
}

impl std::fmt::Display for MarkerDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.volume)?;
        if self.dir.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.dir)
        }
    }
}

/// Where a volume can be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounted {
    /// In this running container, at this path.
    At(String, String),
    /// Nothing is written into it, for this reason: it is not the app's own.
    Foreign(String),
    /// In no running container that may write to it.
    Nowhere,
}

/// What a container is asked for with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
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

/// Returns the volumes to seed before `stage`: those that are backed up, without a backup all of the stack.
///
/// Before the backup a volume of which only paths are saved gets none in its root, which is in no archive. An upgrade
/// may lose all of it, whatever a backup takes, so before that it gets one.
#[must_use]
pub fn targets(project: &Project, plan: Option<&BackupPlan>, stage: Stage) -> BTreeSet<MarkerDir> {
    let Some(plan) = plan else {
        let mounts = project.services.iter().flat_map(|service| &service.volumes);
        return mounts
            .filter(|mount| mount.kind == MountKind::Volume)
            .filter_map(|mount| mount.source.as_deref().map(MarkerDir::root))
            .collect();
    };
    let mut targets = BTreeSet::new();
    for volume in &plan.volumes {
        match &volume.paths {
            // Whether a named path is a directory only the container knows; the backup tier asks.
            BackupPaths::Named(_) if stage == Stage::Backup => {}
            BackupPaths::Whole | BackupPaths::Named(_) => {
                targets.insert(MarkerDir::root(&volume.volume));
            }
        }
    }
    targets
}

impl Bench {
    /// Writes a new marker into every place of `targets` whose volume is the app's own and mounted by a running
    /// container; returns why the others that are mounted got none.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn seed(
        &mut self,
        targets: &BTreeSet<MarkerDir>,
        word: &str,
    ) -> Result<BTreeSet<String>, EngineError> {
        let mut markers = BTreeMap::new();
        let mut left_out = BTreeSet::new();
        for place in targets {
            let content = format!("{word} {place} {:016x}\n", rand::random::<u64>());
            match self.write_marker(place, &content).await? {
                Mounted::At(..) => drop(markers.insert(place.clone(), content)),
                Mounted::Foreign(reason) => drop(left_out.insert(reason)),
                Mounted::Nowhere => {}
            }
        }
        self.seeds = Seeds {
            markers,
            at: jiff::Timestamp::now().as_second().unsigned_abs(),
        };
        Ok(left_out)
    }

    /// Overwrites every marker; the seeds keep what they said.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn spoil(&self) -> Result<(), EngineError> {
        for place in self.seeds.markers.keys() {
            self.write_marker(place, "wiped by recipe-ci\n").await?;
        }
        Ok(())
    }

    async fn write_marker(&self, place: &MarkerDir, content: &str) -> Result<Mounted, EngineError> {
        let mounted = self.own_mount(&place.volume).await?;
        let Mounted::At(container, target) = &mounted else {
            return Ok(mounted);
        };
        let dir = if place.dir.is_empty() {
            target.clone()
        } else {
            format!("{target}/{}", place.dir)
        };
        match self.own_volumes()?.place(container, &dir).await? {
            Ok(at) => {
                let put = self.engine();
                put.put_file(&at.container, &at.path, NAME, content.as_bytes())
                    .await?;
                Ok(mounted)
            }
            Err(reason) => Ok(Mounted::Foreign(reason)),
        }
    }

    /// Looks for every marker.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn find_markers(&self) -> Result<BTreeMap<MarkerDir, Found>, EngineError> {
        let mut found = BTreeMap::new();
        for (place, said) in &self.seeds.markers {
            let what = match self.mounted(&place.volume, Access::Read).await? {
                None => Found::Unmounted,
                Some((container, target)) => {
                    let path = format!("{target}/{}", place.marker());
                    found_as(self.engine().get_file(&container, &path).await, said)?
                }
            };
            found.insert(place.clone(), what);
        }
        Ok(found)
    }

    /// Returns what of the engine is the app's.
    ///
    /// # Errors
    /// [`EngineError`] when what was made for it is not known.
    pub fn belongings(&self) -> Result<Belongings, EngineError> {
        let host = &self.driver.site().host;
        Ok(made::belongings(host, self.lock.domain())?)
    }

    /// Returns the way to volumes of the app's own.
    ///
    /// # Errors
    /// [`EngineError`] when what was made for it is not known.
    pub fn own_volumes(&self) -> Result<OwnVolumes<'_>, EngineError> {
        Ok(OwnVolumes {
            engine: self.engine(),
            app: self.belongings()?,
            holders: &self.holders,
            images: self.current.project.images(),
        })
    }

    /// Returns where `volume` can be written to, if it is the app's own.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn own_mount(&self, volume: &str) -> Result<Mounted, EngineError> {
        let Some((container, target)) = self.mounted(volume, Access::Write).await? else {
            return Ok(Mounted::Nowhere);
        };
        let app = self.belongings()?;
        match self.engine().own_volume(&app, &container, &target).await {
            Ok(Ok(_)) => Ok(Mounted::At(container, target)),
            Ok(Err(reason)) => Ok(Mounted::Foreign(reason)),
            Err(error) if error.is_gone() => Ok(Mounted::Nowhere),
            Err(error) => Err(error),
        }
    }

    /// Returns a running container that mounts `volume` and may do that with it, and where; `None` when there
    /// is none. For reading, one that may write is preferred.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn mounted(
        &self,
        volume: &str,
        access: Access,
    ) -> Result<Option<(String, String)>, EngineError> {
        let state = self.state().await?;
        let mounts = self.current.project.services.iter().flat_map(|service| {
            let of_volume = service.volumes.iter().filter(|mount| {
                mount.kind == MountKind::Volume && mount.source.as_deref() == Some(volume)
            });
            of_volume.map(|mount| (service.name.as_str(), mount))
        });
        let mut found = None;
        for (service, mount) in mounts {
            let Some(container) = state.container_of(service) else {
                continue;
            };
            let at = || (container.to_owned(), mount.target.clone());
            if !mount.read_only {
                return Ok(Some(at()));
            }
            if access == Access::Read && found.is_none() {
                found = Some(at());
            }
        }
        Ok(found)
    }
}

/// Returns what a marker that was read is, which should say `said`. What the app wrote in its place may be of any size.
fn found_as(read: Result<Option<Vec<u8>>, EngineError>, said: &str) -> Result<Found, EngineError> {
    Ok(match read {
        Ok(None) => Found::Missing,
        Ok(Some(content)) if content == said.as_bytes() => Found::Same,
        Ok(Some(_)) | Err(EngineError::TooLarge { .. }) => Found::Different,
        Err(error) => return Err(error),
    })
}

/// Notes why volumes got no marker.
pub(super) fn note_left_out(tally: &mut Tally<'_>, reasons: &BTreeSet<String>) {
    for reason in reasons {
        let why =
            format!("{reason}: nothing is written into it, and what becomes of it is not judged");
        tally.skip("generic: data seeded", why);
    }
}

/// Turns what was found into an assertion.
///
/// # Errors
/// What is wrong with which volume, in one line.
pub fn all_same(found: &BTreeMap<MarkerDir, Found>) -> Result<Option<String>, String> {
    let wrong: Vec<String> = found
        .iter()
        .filter_map(|(place, found)| {
            let what = match found {
                Found::Same => return None,
                Found::Different => "holds something else",
                Found::Missing => "lost it",
                Found::Unmounted => "is not mounted by any running service any more",
            };
            Some(format!("volume `{place}` {what}"))
        })
        .collect();
    if wrong.is_empty() {
        let names: Vec<String> = found.keys().map(MarkerDir::to_string).collect();
        return Ok(Some(format!("markers in {}", names.join(", "))));
    }
    Err(format!("data seeded before is gone: {}", wrong.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_held_to_a_volume_of_which_only_a_dump_is_saved() {
        let text = "services:\n  app:\n    image: a\n    volumes: ['data:/data', 'cache:/cache']\n    \
                    deploy:\n      labels:\n        - backupbot.backup=true\n        \
                    - backupbot.backup.volumes.cache=false\n  \
                    db:\n    image: b\n    volumes: ['db-data:/db']\n    deploy:\n      labels:\n        \
                    - backupbot.backup=true\n        - backupbot.backup.volumes.db-data.path=backup.sql\n\
                    volumes: {data: , cache: , db-data: }\n";
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        let files = ["compose.yml".to_owned()];
        let project = Project::load(dir.path(), &files, &BTreeMap::new()).unwrap();
        let plan = BackupPlan::from_project(&project);
        let seeded = |plan, stage| -> Vec<String> {
            let places = targets(&project, plan, stage);
            places.iter().map(MarkerDir::to_string).collect()
        };
        assert_eq!(seeded(Some(&plan), Stage::Upgrade), ["data", "db-data"]);
        assert_eq!(seeded(Some(&plan), Stage::Backup), ["data"]);
        assert_eq!(seeded(None, Stage::Upgrade), ["cache", "data", "db-data"]);
    }

    #[test]
    fn what_an_app_wrote_over_its_marker_is_something_else_whatever_its_size() {
        let large = || EngineError::TooLarge {
            path: "/data/.recipe-ci-marker".to_owned(),
            limit: 1 << 20,
        };
        let gone = || EngineError::NotAlone { others: Vec::new() };
        for (read, found) in [
            (Ok(None), Some(Found::Missing)),
            (Ok(Some(b"seed\n".to_vec())), Some(Found::Same)),
            (Ok(Some(b"seed".to_vec())), Some(Found::Different)),
            (Err(large()), Some(Found::Different)),
            (Err(gone()), None),
        ] {
            assert_eq!(found_as(read, "seed\n").ok(), found);
        }
    }

    #[test]
    fn one_lost_marker_fails_them_all() {
        let mut found = BTreeMap::from([(MarkerDir::root("a"), Found::Same)]);
        assert!(all_same(&found).is_ok());
        for wrong in [Found::Different, Found::Missing, Found::Unmounted] {
            found.insert(MarkerDir::root("b"), wrong);
            let reason = all_same(&found).unwrap_err();
            assert!(
                reason.contains("`b`") && !reason.contains("`a`"),
                "{reason}"
            );
        }
    }
}
