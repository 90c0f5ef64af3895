//! What is an app's though neither its label nor its name says so, written down before it is made.
//!
//! Secrets that abra makes have no label, an object that a recipe names itself has not the stack's prefix, and an
//! external volume that does not exist is made by Swarm without a word. Each of these gets an entry *before* it can
//! exist, and only where the engine has just said that nothing of that name does. So an entry means: what has this name
//! is younger than the entry. What was there before never gets one.
//!
//! The same holds for what is done to a foreign object: the gateway's container is written down before it joins a network
//! of the app, and exactly that join is undone.
//!
//! The record is one file per app, `<state>/made/<domain>.json`, and belongs to the holder of the app's lock like
//! the app itself. It goes when nothing of the app is left.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dirs::HostDirs;
use crate::lock::DomainLock;
use crate::record::{Durability, replace};
use crate::swarm::EngineError;
use crate::swarm::object::{Belongings, Kind};
use ground::host_file;
use ground::name::{Domain, Zone};

/// The version of the record's schema.
const SCHEMA: u32 = 1;

/// Why a record could not be read or written. What it names stays where it is.
#[derive(Debug, thiserror::Error)]
#[error("failed to {doing} `{}`, the record of what was made for an app", path.display())]
pub struct MadeError {
    /// What was being done, as a verb.
    pub doing: &'static str,
    /// Which file.
    pub path: PathBuf,
    /// What the system said, or what is wrong with the text.
    #[source]
    pub source: io::Error,
}

impl From<MadeError> for EngineError {
    fn from(error: MadeError) -> Self {
        Self::Local {
            what: format!(
                "{} `{}`, the record of what was made for an app",
                error.doing,
                error.path.display()
            ),
            source: error.source,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    schema: u32,
    domain: String,
    made: BTreeSet<Entry>,
    /// Foreign containers that were joined to a network of the app.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    joined: BTreeSet<Join>,
    /// Apps that are on a network of this one, by their domains.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    guests: BTreeSet<String>,
}

/// A foreign container in a network of the app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The full name of the network.
    pub network: String,
    /// The container's whole id.
    pub container: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: Kind,
    name: String,
}

/// The record of one app, in the hands of the holder of its lock.
#[derive(Debug)]
pub struct Made {
    path: PathBuf,
    text: Text,
}

impl Made {
    /// Opens the record of the app that `lock` owns; no file is made before the first entry.
    ///
    /// # Errors
    /// [`MadeError`] when there is one that cannot be read.
    pub fn open(host: &HostDirs, lock: &DomainLock) -> Result<Self, MadeError> {
        let domain = lock.domain();
        let text = read(host, domain)?.unwrap_or_else(|| Text {
            schema: SCHEMA,
            domain: domain.to_string(),
            made: BTreeSet::new(),
            joined: BTreeSet::new(),
            guests: BTreeSet::new(),
        });
        let path = path(host, domain);
        Ok(Self { path, text })
    }

    /// Writes down that an object of this kind and name is about to be made. The caller has just seen that the engine
    /// has none, and makes nothing before this has returned.
    ///
    /// # Errors
    /// [`MadeError`]; then it may not be made.
    pub fn intend(&mut self, kind: Kind, name: &str) -> Result<(), MadeError> {
        let name = name.to_owned();
        if !self.text.made.insert(Entry { kind, name }) {
            return Ok(());
        }
        self.store()
    }

    /// Writes down that a container is about to join a network of the app. The caller has just seen that it is not in it.
    ///
    /// # Errors
    /// [`MadeError`]; then it may not join.
    pub fn intend_join(&mut self, join: Join) -> Result<(), MadeError> {
        if !self.text.joined.insert(join) {
            return Ok(());
        }
        self.store()
    }

    /// Notes that a container has left.
    ///
    /// # Errors
    /// [`MadeError`].
    pub fn left(&mut self, join: &Join) -> Result<(), MadeError> {
        if !self.text.joined.remove(join) {
            return Ok(());
        }
        self.store()
    }

    /// Returns which containers may be in networks of the app because they were joined to them.
    #[must_use]
    pub fn joined(&self) -> Vec<Join> {
        self.text.joined.iter().cloned().collect()
    }

    /// Writes down which apps are about to be on a network of this one.
    ///
    /// # Errors
    /// [`MadeError`].
    pub fn intend_guests<'a>(
        &mut self,
        guests: impl IntoIterator<Item = &'a Domain>,
    ) -> Result<(), MadeError> {
        let guests = guests.into_iter().map(ToString::to_string);
        self.text.guests.extend(guests);
        self.store()
    }

    /// Forgets what was made for the app, of which nothing is left, and not who is on its network.
    ///
    /// # Errors
    /// [`MadeError`].
    pub fn forget_made(&mut self) -> Result<(), MadeError> {
        self.text.made.clear();
        self.store()
    }

    fn store(&self) -> Result<(), MadeError> {
        let failed = |source| MadeError {
            doing: "write",
            path: self.path.clone(),
            source,
        };
        if let Some(dir) = self.path.parent() {
            let mut builder = DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(failed)?;
        }
        let text = serde_json::to_vec_pretty(&self.text).map_err(|error| failed(error.into()))?;
        // The engine's own records survive a loss of power, so this one must.
        replace(&self.path, &text, Durability::Power).map_err(failed)
    }
}

/// Returns what belongs to the app of `domain`: with what was written down for it.
///
/// # Errors
/// [`MadeError`] when its record cannot be read.
pub fn belongings(host: &HostDirs, domain: &Domain) -> Result<Belongings, MadeError> {
    let made = read(host, domain)?.map_or_else(BTreeSet::new, |text| {
        let entries = text.made.into_iter();
        entries.map(|entry| (entry.kind, entry.name)).collect()
    });
    Ok(Belongings::new(domain.stack(), made))
}

/// Returns the run apps of `zone` that are on a network of the app of `domain`: it cannot go before they do.
///
/// # Errors
/// [`MadeError`] when its record cannot be read.
pub fn guests(
    host: &HostDirs,
    domain: &Domain,
    zone: &Zone,
) -> Result<BTreeSet<Domain>, MadeError> {
    let guests = read(host, domain)?
        .map(|text| text.guests)
        .unwrap_or_default();
    let guests = guests.iter();
    Ok(guests
        .filter_map(|guest| Domain::parse(guest, zone).ok())
        .collect())
}

/// Removes the record of the app that `lock` owns, of which nothing is left.
///
/// # Errors
/// [`MadeError`].
pub fn forget(host: &HostDirs, lock: &DomainLock) -> Result<(), MadeError> {
    let path = path(host, lock.domain());
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(MadeError {
            doing: "remove",
            path,
            source,
        }),
        _ => Ok(()),
    }
}

/// Returns whether there is a record of the app of `domain`, readable or not.
///
/// # Errors
/// [`MadeError`] when that cannot be found out.
pub fn exists(host: &HostDirs, domain: &Domain) -> Result<bool, MadeError> {
    let path = path(host, domain);
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(MadeError {
            doing: "look for",
            path,
            source,
        }),
    }
}

/// Returns the run apps of `zone` of which there is a record. What cannot be listed is added to `unreadable`.
pub fn domains(host: &HostDirs, zone: &Zone, unreadable: &mut Vec<String>) -> BTreeSet<Domain> {
    let dir = host.made();
    let entries = match host_file::entries(&dir) {
        Ok(entries) => entries,
        // Most hosts never need one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeSet::new(),
        Err(error) => {
            unreadable.push(format!("`{}`: {error}", dir.display()));
            return BTreeSet::new();
        }
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        match entry {
            Ok(entry) => {
                let name = entry.file_name();
                let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
                found.extend(name.and_then(|name| Domain::parse(name, zone).ok()));
            }
            Err(error) => unreadable.push(format!("an entry of `{}`: {error}", dir.display())),
        }
    }
    found
}

fn path(host: &HostDirs, domain: &Domain) -> PathBuf {
    host.made().join(format!("{domain}.json"))
}

fn read(host: &HostDirs, domain: &Domain) -> Result<Option<Text>, MadeError> {
    let path = path(host, domain);
    let failed = |source| MadeError {
        doing: "read",
        path: path.clone(),
        source,
    };
    let bytes = match host_file::bytes(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let garbled = |what: String| failed(io::Error::new(io::ErrorKind::InvalidData, what));
    let text: Text = serde_json::from_slice(&bytes).map_err(|error| garbled(error.to_string()))?;
    if text.schema != SCHEMA || text.domain != domain.as_str() {
        return Err(garbled(format!(
            "it has schema {} and is of {}",
            text.schema, text.domain
        )));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_intended_is_the_apps_until_it_is_forgotten_and_a_garbled_record_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::with_locks(root.path());
        let zone: Zone = "z".parse().unwrap();
        let domain = Domain::parse("note-0a1b2c.z", &zone).unwrap();
        let lock = DomainLock::of_test(&host, &domain);
        let mut unreadable = Vec::new();
        assert_eq!(domains(&host, &zone, &mut unreadable), BTreeSet::new());
        let owns = |name: &str| {
            let app = belongings(&host, &domain).unwrap();
            app.has_name(Kind::Volume, name, None)
        };
        let mut made = Made::open(&host, &lock).unwrap();
        made.intend(Kind::Volume, "one").unwrap();
        // Another driver of the same run opens it again.
        let mut made = Made::open(&host, &lock).unwrap();
        made.intend(Kind::Volume, "two").unwrap();
        assert!(owns("one") && owns("two") && !owns("three"));
        let file = host.made().join("note-0a1b2c.z.json");
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&host.made())), (0o600, 0o700));
        assert_eq!(
            domains(&host, &zone, &mut unreadable),
            BTreeSet::from([domain.clone()])
        );
        assert!(domains(&host, &"y".parse().unwrap(), &mut unreadable).is_empty());

        let good = ground::host_file::text(&file).unwrap();
        for (from, to) in [
            (good.as_str(), ""),
            ("\"schema\": 1", "\"schema\": 2"),
            ("note-0a1b2c.z", "note-0a1b2d.z"),
            ("\"volume\"", "\"volumes\""),
        ] {
            std::fs::write(&file, good.replace(from, to)).unwrap();
            let error = belongings(&host, &domain).unwrap_err();
            assert!(error.to_string().contains("note-0a1b2c.z.json"), "{error}");
            assert!(Made::open(&host, &lock).is_err());
            assert!(exists(&host, &domain).unwrap());
        }
        forget(&host, &lock).unwrap();
        assert!(!exists(&host, &domain).unwrap() && !owns("one"));
        forget(&host, &lock).unwrap();
        assert_eq!(unreadable, [""; 0]);
    }
}
