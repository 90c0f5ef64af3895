//! The backup convention, done natively: hooks inside the services' containers, files by archive.

mod hooks;
mod reading;

use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use engine::lock::DomainLock;
use engine::swarm::EngineError;
use engine::swarm::holder::OwnVolumes;
use engine::swarm::service::StackState;
use ground::host_file;
pub use hooks::{HookKind, Said, run_hooks};
use reading::{examine, read_part, steadily};
use recipe::backup::{BackupPaths, BackupPlan, VolumeBackup};
use recipe::trust::Level;

/// A snapshot of an app.
#[derive(Debug, Clone, Serialize)]
pub struct AppSnapshot {
    /// Its id: the first digits of a hash over everything in it.
    pub id: String,
    /// Its parts.
    pub parts: Vec<Part>,
    /// Why it cannot be opened, when that is so: then only a restore proves anything.
    pub sealed: Option<String>,
}

impl AppSnapshot {
    /// Creates a snapshot that cannot be opened.
    #[must_use]
    pub fn sealed(id: String, why: String) -> Self {
        Self {
            id,
            parts: Vec::new(),
            sealed: Some(why),
        }
    }
}

/// One saved path of one volume.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Part {
    /// The volume's compose name.
    pub volume: String,
    /// The service through whose container it was read.
    pub service: String,
    /// Where it is inside the container.
    pub path: String,
    /// The same below the volume's root, empty for all of it.
    pub below: String,
    /// The archive.
    pub file: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// How many regular files it holds.
    pub files: usize,
    /// The bytes in them.
    pub content_bytes: u64,
    /// The newest modification time in it, in seconds since the epoch.
    pub newest: u64,
    /// The path in the archive of its first regular file. Of the others none is kept: 200,000 paths of 3.5 KB were 1.4 GB.
    pub first_file: Option<String>,
    /// SHA-256 over the path and the content of every regular file in it, in the order of the archive.
    pub digest: String,
    /// The databases of SQLite in it.
    pub sqlite: SqliteFiles,
}

/// The files of SQLite's in an archive. Of their paths only the first is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SqliteFiles {
    /// How many there are.
    pub count: usize,
    /// The path of the first in the archive; empty without any.
    pub first: String,
    /// Whether one has a write-ahead log: then what is written last is in a second file, and a copy of both is of two
    /// moments.
    pub has_wal: bool,
}

/// What went wrong with the app, as opposed to the host.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What, in a line.
    pub reason: String,
    /// What explains it.
    pub tail: Vec<String>,
}

impl Fault {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            tail: Vec::new(),
        }
    }
}

/// A result whose error is the host's and whose inner error is the recipe's.
pub type Outcome<T> = Result<Result<T, Fault>, EngineError>;

/// How much of the host a backup may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The size of its archives together, in bytes.
    pub bytes: u64,
    /// The files of an archive.
    pub files: usize,
}

impl Room {
    /// No bound.
    pub const ALL: Self = Self {
        bytes: u64::MAX,
        files: usize::MAX,
    };

    /// Returns how much a source has.
    #[must_use]
    pub fn of(level: &Level) -> Self {
        match level {
            Level::ByHand => Self::ALL,
            Level::Stranger | Level::Granted(_) => Self {
                bytes: 1 << 30,
                files: 200_000,
            },
        }
    }
}

/// Saves everything that `plan` names and that is on `own` volumes into `dir`, within `room`.
///
/// # Errors
/// [`EngineError`] when the engine or the disk fails.
pub(super) async fn save(
    own: &OwnVolumes<'_>,
    _lock: &DomainLock,
    state: &StackState,
    plan: &BackupPlan,
    dir: &Path,
    room: Room,
) -> Outcome<AppSnapshot> {
    let mut parts: Vec<Part> = Vec::new();
    for volume in &plan.volumes {
        for (service, target, path) in saved_paths(volume, state) {
            let Some(container) = state.container_of(&service) else {
                return Ok(Err(Fault::new(format!(
                    "volume `{}` is mounted by no running container, so it cannot be read",
                    volume.volume
                ))));
            };
            let place = match own.place(container, &path).await? {
                Ok(place) => place,
                Err(reason) => {
                    return Ok(Err(Fault::new(format!("{reason}: it is not saved"))));
                }
            };
            let name = format!("{}-{}.tar", volume.volume, parts.len());
            let file = dir.join(name.replace('/', "_"));
            let below = below(&path, &target);
            let left = room.bytes - parts.iter().map(|part| part.size).sum::<u64>();
            let part = Part {
                volume: volume.volume.clone(),
                service,
                path,
                below,
                file,
                ..Part::default()
            };
            let read = steadily(|| read_part(own.engine, &place, part.clone(), left, room)).await?;
            match read {
                Ok(part) => parts.push(part),
                Err(fault) => return Ok(Err(fault.0)),
            }
        }
    }
    let mut digest = Sha256::new();
    for part in &parts {
        digest.update(serde_json::to_vec(part).unwrap_or_default());
    }
    Ok(Ok(AppSnapshot {
        id: hex::encode(&digest.finalize()[..8]),
        parts,
        sealed: None,
    }))
}

/// Puts everything of `snapshot` back, into `own` volumes and nothing else.
///
/// # Errors
/// [`EngineError`] when the engine or the disk fails.
pub(super) async fn put_back(
    own: &OwnVolumes<'_>,
    _lock: &DomainLock,
    state: &StackState,
    snapshot: &AppSnapshot,
) -> Outcome<()> {
    let mut places = Vec::new();
    for part in &snapshot.parts {
        let Some(container) = state.container_of(&part.service) else {
            return Ok(Err(Fault::new(format!(
                "service `{}` has no running container to restore into",
                part.service
            ))));
        };
        match own.place(container, destination(part)).await? {
            Ok(place) => places.push((place, part)),
            Err(reason) => {
                return Ok(Err(Fault::new(format!("{reason}: nothing was put back"))));
            }
        }
    }
    for (place, part) in places {
        let upload = own.engine.upload(&place.container, &place.path, &part.file);
        upload.await?;
    }
    Ok(Ok(()))
}

/// Returns what to ask the engine for to save `path`.
///
/// Of a whole volume that is the mount point's content: an archive of the mount point itself would have to be
/// unpacked in its parent directory, which the engine refuses where the container's own files are read-only.
fn source(path: &str, below: &str) -> String {
    if below.is_empty() {
        format!("{path}/.")
    } else {
        path.to_owned()
    }
}

/// Returns the directory to unpack a part's archive in, which is always on the part's volume. Owner and mode of
/// the volume's root stay as they are: the engine passes over the archive's entry for it.
fn destination(part: &Part) -> &str {
    if part.below.is_empty() {
        return &part.path;
    }
    let parent = Path::new(&part.path).parent().and_then(Path::to_str);
    parent.filter(|text| !text.is_empty()).unwrap_or("/")
}

/// Returns service, mount point and path inside the container for everything of a volume that is saved.
fn saved_paths(volume: &VolumeBackup, state: &StackState) -> Vec<(String, String, String)> {
    // A restore goes the same way back, so the container must be able to write. Without a running one the
    // first service is named in the fault.
    let runs = |service: &str| state.container_of(service).is_some();
    let mount = volume
        .mounts
        .iter()
        .find(|mount| !mount.read_only && runs(&mount.service))
        .or_else(|| volume.mounts.iter().find(|mount| runs(&mount.service)))
        .or_else(|| volume.mounts.first());
    let Some(mount) = mount else {
        return Vec::new();
    };
    let target = mount.target.clone();
    match &volume.paths {
        BackupPaths::Whole => vec![(mount.service.clone(), target.clone(), target)],
        BackupPaths::Named(paths) => paths
            .iter()
            .map(|path| {
                (
                    mount.service.clone(),
                    target.clone(),
                    format!("{target}/{}", path.trim_matches('/')),
                )
            })
            .collect(),
    }
}

/// Returns a saved path below the volume's root, which is mounted at `target`.
fn below(path: &str, target: &str) -> String {
    let rest = path.strip_prefix(target).unwrap_or(path);
    rest.trim_matches('/').to_owned()
}

/// A part that an archive of all volumes must have.
#[derive(Debug, Clone)]
pub(super) struct RequiredPart {
    /// The volume's name on the engine.
    full_name: String,
    part: Part,
}

/// Returns what an archive of `plan` must have.
pub(super) fn wanted(plan: &BackupPlan, state: &StackState, stack: &str) -> Vec<RequiredPart> {
    let mut wanted: Vec<RequiredPart> = Vec::new();
    for volume in &plan.volumes {
        for (service, target, path) in saved_paths(volume, state) {
            wanted.push(RequiredPart {
                full_name: format!("{stack}_{}", volume.volume),
                part: Part {
                    volume: volume.volume.clone(),
                    service,
                    below: below(&path, &target),
                    path,
                    ..Part::default()
                },
            });
        }
    }
    wanted
}

/// Takes an archive of whole volumes (`…/<volume>/_data/…`, gzip or not) apart into one archive per part: its
/// names begin with one that stands for the part, as in the engine's own. Blocking.
///
/// # Errors
/// What the system says when it cannot be read; a part that is missing is a [`Fault`].
pub(super) fn unpack(
    archive: &Path,
    dir: &Path,
    wanted: Vec<RequiredPart>,
) -> std::io::Result<Result<Vec<Part>, Fault>> {
    use std::io::{BufReader, Read, Seek as _};
    let mut file = host_file::open(archive)?;
    let mut magic = [0; 2];
    let known = file.read(&mut magic)?;
    file.rewind()?;
    let reader: Box<dyn Read> = if known == 2 && magic == [0x1f, 0x8b] {
        Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file)))
    } else {
        Box::new(BufReader::new(file))
    };
    let mut open = Vec::new();
    for (number, mut wanted) in wanted.into_iter().enumerate() {
        let name = format!("{}-{number}.tar", wanted.part.volume).replace('/', "_");
        wanted.part.file = dir.join(name);
        let builder = tar::Builder::new(std::fs::File::create(&wanted.part.file)?);
        open.push((wanted, builder, 0_usize));
    }
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        for (wanted, builder, found) in &mut open {
            let Some(name) = name_in_part(&path, wanted) else {
                continue;
            };
            *found += 1;
            let mut header = entry.header().clone();
            if header.entry_type().is_hard_link() || header.entry_type().is_symlink() {
                // Their content is elsewhere, and no restore reads this copy.
                break;
            }
            builder.append_data(&mut header, name, &mut entry)?;
            break;
        }
    }
    let mut parts = Vec::new();
    for (wanted, builder, found) in open {
        drop(builder.into_inner()?);
        let RequiredPart { mut part, .. } = wanted;
        if found == 0 {
            let what = if part.below.is_empty() {
                "the snapshot has nothing of it".to_owned()
            } else {
                format!(
                    "the snapshot has no `{}`, which its backup label names",
                    part.below
                )
            };
            return Ok(Err(Fault::new(format!("volume `{}`: {what}", part.volume))));
        }
        part.size = std::fs::metadata(&part.file)?.len();
        let file = part.file.clone();
        examine(&file, &mut part, Room::ALL)?;
        parts.push(part);
    }
    Ok(Ok(parts))
}

/// Returns the name of an entry in the archive of the part that it belongs to: behind the last name of the
/// part's path, as the engine has it.
fn name_in_part(path: &Path, wanted: &RequiredPart) -> Option<PathBuf> {
    let mut names = path.iter();
    names.find(|name| *name == wanted.full_name.as_str())?;
    let rest = names.as_path();
    let rest = rest.strip_prefix("_data").unwrap_or(rest);
    let rest = rest.strip_prefix(&wanted.part.below).ok()?;
    let top = Path::new(&wanted.part.path).file_name()?;
    // Joining nothing would end the name with a slash.
    Some(if rest.as_os_str().is_empty() {
        PathBuf::from(top)
    } else {
        Path::new(top).join(rest)
    })
}

#[cfg(test)]
mod tests;
