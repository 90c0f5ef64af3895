//! Reading one part of a backup out of its container, and what is in its archive.

use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Fault, Part, Room, SqliteFiles, source};
use engine::hash::HashWriter;
use engine::swarm::holder::HeldPath;
use engine::swarm::{Engine, EngineError};
use ground::host_file;

/// How often a part is read whose archive is broken: a file that shrinks while the engine packs it breaks it off.
const READINGS: u32 = 3;

/// How many bytes of a file tell that it is SQLite's, and whether it has a write-ahead log.
const SQLITE_HEAD: u64 = 20;

/// Why a part could not be read, and whether it may be another time.
pub(super) struct Unread(pub(super) Fault, pub(super) bool);

/// Makes `reading` until it ends in a result or in a fault that stays.
pub(super) async fn steadily<T, F, E>(
    mut reading: impl FnMut() -> F,
) -> Result<Result<T, Unread>, E>
where
    F: Future<Output = Result<Result<T, Unread>, E>>,
{
    for number in 1.. {
        match reading().await? {
            Err(Unread(mut fault, true)) if number >= READINGS => {
                fault.reason.push_str(&format!(
                    ", at each of {READINGS} readings: files that change while they are read need a pre-hook that \
                     has the app hold still, or a copy that is saved instead"
                ));
                return Ok(Err(Unread(fault, false)));
            }
            Err(Unread(_, true)) => {}
            read => return Ok(read),
        }
    }
    unreachable!("the last reading returns")
}

/// Reads one part into its file.
pub(super) async fn read_part(
    engine: &Engine,
    place: &HeldPath,
    mut part: Part,
    left: u64,
    room: Room,
) -> Result<Result<Part, Unread>, EngineError> {
    let final_fault = |reason: String| Ok(Err(Unread(Fault::new(reason), false)));
    let source = source(&place.path, &part.below);
    let download = engine.download(&place.container, &source, &part.file, left);
    part.size = match download.await {
        Ok(size) => size,
        Err(error) if error.is_gone() => {
            return final_fault(format!(
                "volume `{}` has no `{}`, which its backup label names",
                part.volume, part.below
            ));
        }
        Err(EngineError::TooLarge { .. }) => {
            return final_fault(format!(
                "volume `{}` is too much to save: this host keeps at most {} bytes of a source's data",
                part.volume, room.bytes
            ));
        }
        Err(error) => return Err(error),
    };
    let (file, volume) = (part.file.clone(), part.volume.clone());
    let examined =
        tokio::task::spawn_blocking(move || examine(&file, &mut part, room).map(|()| part)).await;
    match examined {
        Ok(Ok(part)) => Ok(Ok(part)),
        Ok(Err(error)) => {
            let reason = format!("the archive of volume `{volume}` is not readable: {error}");
            Ok(Err(Unread(Fault::new(reason), may_pass(&error))))
        }
        Err(error) => Err(EngineError::Local {
            what: "examine an archive".to_owned(),
            source: std::io::Error::other(error),
        }),
    }
}

/// Returns whether an archive may be whole another time: not one that is too much, or that this host cannot read.
pub(super) fn may_pass(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, NotFound, PermissionDenied};
    !matches!(error.kind(), FileTooLarge | NotFound | PermissionDenied)
}

/// Reads an archive from end to end and notes what is in it.
pub(super) fn examine(file: &Path, part: &mut Part, room: Room) -> std::io::Result<()> {
    let mut archive = tar::Archive::new(std::io::BufReader::new(host_file::open(file)?));
    let mut all = Sha256::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let header = entry.header();
        part.newest = part.newest.max(header.mtime().unwrap_or(0));
        if !header.entry_type().is_file() {
            continue;
        }
        let name = entry.path()?.display().to_string();
        let mut digest = Sha256::new();
        let mut head = Vec::new();
        entry.by_ref().take(SQLITE_HEAD).read_to_end(&mut head)?;
        digest.update(&head);
        let rest = std::io::copy(&mut entry, &mut HashWriter(&mut digest))?;
        let size = head.len() as u64 + rest;
        note_sqlite(&mut part.sqlite, &name, &head);
        part.files += 1;
        if part.files > room.files {
            let reason = format!("it has more than {} files", room.files);
            return Err(std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                reason,
            ));
        }
        part.content_bytes += size;
        all.update((name.len() as u64).to_le_bytes());
        all.update(&name);
        all.update(digest.finalize());
        part.first_file.get_or_insert(name);
    }
    part.digest = hex::encode(all.finalize());
    Ok(())
}

/// Notes a file of this name if it is SQLite's by its first bytes: <https://www.sqlite.org/fileformat2.html>. Of the
/// versions at 18 and 19 two means that it has a write-ahead log.
fn note_sqlite(found: &mut SqliteFiles, name: &str, head: &[u8]) {
    if !head.starts_with(b"SQLite format 3\0") {
        return;
    }
    if found.count == 0 {
        name.clone_into(&mut found.first);
    }
    found.count += 1;
    found.has_wal |= head.get(18) == Some(&2);
}
