//! The record of a warm app: which version it is, where its data is, and what is being done to it.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::WarmError;
use engine::dirs::HostDirs;
use engine::record::{Durability, replace};
use ground::git::commit::CommitId;
use ground::host_file;
use ground::name::RecipeName;

/// The version of the record's schema.
const SCHEMA: u32 = 1;

/// The beginning of every snapshot directory's name.
const SNAPSHOT: &str = "snapshot-";

/// What is being done to a warm app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing: it is undeployed, and its volumes are the snapshot's.
    Idle,
    /// Nothing: it is undeployed, and its volumes are what a passed quick run left.
    Used,
    /// A quick run or a promotion is at it; if its lock is free, that one died.
    Busy,
    /// The first promotion is at it: there is no snapshot yet, and nothing to lose.
    Making,
}

impl Status {
    /// Returns whether a holder that is gone left something to do.
    #[must_use]
    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Busy | Self::Making)
    }
}

/// Where a snapshot is, and how to know that it is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// Its directory's name.
    pub dir: String,
    /// The SHA-256 of its `meta.json`, which has those of everything else.
    pub sha256: String,
}

/// The record of a warm app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canonical {
    /// Always 1.
    pub schema: u32,
    /// The recipe.
    pub recipe: String,
    /// The release that it is.
    pub version: String,
    /// The commit of that release's tag.
    pub commit: CommitId,
    /// What is being done to it.
    pub status: Status,
    /// When the version was promoted, `YYYYMMDDTHHMMSSZ` in UTC.
    pub ts: String,
    /// The app's domain.
    pub domain: String,
    /// abra's name of the server that it is filed under.
    pub server: String,
    /// Its data; absent while the first one is being made.
    pub snapshot: Option<SnapshotRef>,
}

impl Canonical {
    /// Returns the record of a release of `recipe`, promoted now.
    #[must_use]
    pub fn new(
        recipe: &RecipeName,
        version: &str,
        commit: CommitId,
        domain: &str,
        server: &str,
    ) -> Self {
        Self {
            schema: SCHEMA,
            recipe: recipe.to_string(),
            version: version.to_owned(),
            commit,
            status: Status::Making,
            ts: jiff::Timestamp::now()
                .strftime("%Y%m%dT%H%M%SZ")
                .to_string(),
            domain: domain.to_owned(),
            server: server.to_owned(),
            snapshot: None,
        }
    }
}

/// The directory of one recipe's warm app.
#[derive(Debug, Clone)]
pub struct WarmDir {
    /// The directory.
    pub dir: PathBuf,
    /// The recipe.
    pub recipe: RecipeName,
}

impl WarmDir {
    /// Returns the place of `recipe` on this host; it need not exist.
    #[must_use]
    pub fn of(host: &HostDirs, recipe: &RecipeName) -> Self {
        Self {
            dir: host.warm.join(recipe.as_str()),
            recipe: recipe.clone(),
        }
    }

    /// Returns the path of the record.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.dir.join("canonical.json")
    }

    /// Reads the record; `None` when it does not exist.
    ///
    /// # Errors
    /// [`WarmError::Garbled`] when it is not one: what cannot be read is never taken for nothing.
    pub fn read(&self) -> Result<Option<Canonical>, WarmError> {
        let path = self.record();
        let text = match host_file::bytes(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(WarmError::io("read", &path)(error)),
        };
        let garbled = |reason| WarmError::Garbled {
            path: path.clone(),
            reason,
        };
        let canonical: Canonical =
            serde_json::from_slice(&text).map_err(|error| garbled(error.to_string()))?;
        if canonical.schema != SCHEMA {
            return Err(garbled(format!(
                "it has schema {}, this version knows {SCHEMA}",
                canonical.schema
            )));
        }
        if canonical.recipe != self.recipe.as_str() {
            return Err(garbled(format!(
                "it is of recipe `{}`, not of `{}`",
                canonical.recipe, self.recipe
            )));
        }
        match (&canonical.snapshot, canonical.status) {
            (None, Status::Making) => {}
            (Some(snapshot), status) if status != Status::Making => {
                // The name becomes a path that is read and removed.
                let plain = snapshot.dir.strip_prefix(SNAPSHOT).is_some_and(|id| {
                    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit())
                });
                if !plain {
                    return Err(garbled(format!("`{}` is no snapshot's name", snapshot.dir)));
                }
            }
            _ => {
                return Err(garbled(
                    "its status and its snapshot contradict each other".to_owned(),
                ));
            }
        }
        Ok(Some(canonical))
    }

    /// Replaces the record.
    ///
    /// # Errors
    /// [`WarmError::Io`]; the old one is still there then.
    pub fn write(&self, canonical: &Canonical) -> Result<(), WarmError> {
        self.make()?;
        let path = self.record();
        let text = serde_json::to_vec_pretty(canonical).expect("a record of strings is valid JSON");
        replace(&path, &text, Durability::Power).map_err(WarmError::io("write", &path))
    }

    /// Makes the directory, which only its owner may enter: it holds data and secrets of an app.
    ///
    /// # Errors
    /// [`WarmError::Io`].
    pub fn make(&self) -> Result<(), WarmError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let parent = self.dir.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(parent).map_err(WarmError::io("create", parent))?;
        match std::fs::DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(WarmError::io("create", &self.dir)(error))
            }
            _ => Ok(()),
        }
    }

    /// Proves that records and snapshots can be written here.
    ///
    /// # Errors
    /// [`WarmError::Io`].
    pub fn ensure_writable(&self) -> Result<(), WarmError> {
        self.make()?;
        let probe = tempfile::Builder::new()
            .prefix(".probe-")
            .tempfile_in(&self.dir);
        probe
            .map(drop)
            .map_err(WarmError::io("write into", &self.dir))
    }

    /// Returns the directory of a snapshot.
    #[must_use]
    pub fn snapshot_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Creates the directory of a new snapshot; returns its name.
    ///
    /// # Errors
    /// [`WarmError::Io`].
    pub fn new_snapshot(&self) -> Result<String, WarmError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name = format!("{SNAPSHOT}{:016x}", rand::random::<u64>());
        let path = self.snapshot_dir(&name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(WarmError::io("create", &path))?;
        Ok(name)
    }

    /// Removes every snapshot that `kept` does not name: what a dead or failed promotion left.
    ///
    /// # Errors
    /// [`WarmError::Io`].
    pub fn sweep(&self, kept: Option<&Canonical>) -> Result<(), WarmError> {
        let kept = kept.and_then(|canonical| Some(canonical.snapshot.as_ref()?.dir.as_str()));
        let entries = match host_file::entries(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(WarmError::io("read", &self.dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(WarmError::io("read", &self.dir))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with(SNAPSHOT)) else {
                continue;
            };
            if Some(name) != kept {
                let path = entry.path();
                std::fs::remove_dir_all(&path).map_err(WarmError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Removes the record, and then every snapshot.
    ///
    /// # Errors
    /// [`WarmError::Io`].
    pub fn forget(&self) -> Result<(), WarmError> {
        let path = self.record();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(WarmError::io("remove", &path)(error))
            }
            _ => self.sweep(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, WarmDir) {
        let root = tempfile::tempdir().unwrap();
        let place = WarmDir {
            dir: root.path().join("notes"),
            recipe: "notes".parse().unwrap(),
        };
        (root, place)
    }

    fn canonical(dir: &str) -> Canonical {
        let recipe = "notes".parse().unwrap();
        Canonical {
            status: Status::Idle,
            snapshot: Some(SnapshotRef {
                dir: dir.to_owned(),
                sha256: "00".to_owned(),
            }),
            ..Canonical::new(
                &recipe,
                "0.1.0+1",
                CommitId::sample('a'),
                "warm-notes.z",
                "default",
            )
        }
    }

    #[test]
    fn a_record_that_is_none_is_never_taken_for_nothing() {
        let (_root, place) = place();
        assert_eq!(place.read().unwrap(), None);
        place.write(&canonical("snapshot-0a")).unwrap();
        assert_eq!(place.read().unwrap().unwrap().version, "0.1.0+1");
        let good = ground::host_file::text(place.record()).unwrap();
        for (from, to) in [
            (good.as_str(), ""),
            (good.as_str(), "{\"recipe\": \"notes\""),
            ("\"notes\"", "\"ledger\""),
            ("\"idle\"", "\"sleeping\""),
            ("\"idle\"", "\"making\""),
            ("\"schema\": 1", "\"schema\": 2"),
            ("snapshot-0a", "snapshot-../../etc"),
            ("snapshot-0a", "/etc"),
        ] {
            assert!(good.contains(from));
            std::fs::write(place.record(), good.replace(from, to)).unwrap();
            let error = place.read().unwrap_err();
            assert!(matches!(error, WarmError::Garbled { .. }), "{to}: {error}");
            let text = format!("{error} {}", error.advice());
            assert!(
                text.contains("canonical.json") && text.contains("remove"),
                "{text}"
            );
        }
    }

    #[test]
    fn only_the_snapshot_that_the_record_names_is_kept() {
        let (_root, place) = place();
        place.make().unwrap();
        let (old, new) = (place.new_snapshot().unwrap(), place.new_snapshot().unwrap());
        std::fs::write(place.dir.join("a-persons-note"), "").unwrap();
        // A kill before the record is replaced leaves the new one as litter, after it the old one.
        for kept in [&old, &new] {
            std::fs::create_dir_all(place.snapshot_dir(&old)).unwrap();
            std::fs::create_dir_all(place.snapshot_dir(&new)).unwrap();
            place.write(&canonical(kept)).unwrap();
            place.sweep(place.read().unwrap().as_ref()).unwrap();
            let other = if *kept == old { &new } else { &old };
            assert!(place.snapshot_dir(kept).is_dir());
            assert!(!place.snapshot_dir(other).exists());
        }
        place.forget().unwrap();
        assert_eq!(place.read().unwrap(), None);
        let left: Vec<_> = host_file::entries(&place.dir).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("warm"), "").unwrap();
        let place = WarmDir {
            dir: root.path().join("warm/notes"),
            recipe: "notes".parse().unwrap(),
        };
        let error = place.ensure_writable().unwrap_err();
        let text = format!("{error} {}", error.advice());
        assert!(
            text.contains("/warm") && text.contains("CCCI_WARM_DIR"),
            "{text}"
        );
    }
}
