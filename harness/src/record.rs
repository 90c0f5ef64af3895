//! Small files that are read while others write them: replaced whole, never changed in place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What a written record must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// A kill of this process: the rename alone does.
    Kill,
    /// The power going off: both ends of the rename go through to the disk. Only the last record needs it;
    /// after a reboot an unfinished run is over whatever its record says, and each sync cost 5 ms.
    Power,
}

/// Replaces the file at `path`, so that a reader, whenever it looks, sees the old text or the new one.
pub(crate) fn replace(path: &Path, text: &[u8], durability: Durability) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(".new");
    // A fixed name, so that a kill in between leaves no litter: the next write takes it.
    let beside = path.with_file_name(beside);
    fs::remove_file(&beside).ok();
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&beside)?;
        file.write_all(text)?;
        if durability == Durability::Power {
            file.sync_all()?;
        }
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        fs::remove_file(&beside).ok();
        return written;
    }
    // Without this the rename may be lost with the power; not every file system can do it.
    if durability == Durability::Power
        && let Some(dir) = path.parent().and_then(|dir| File::open(dir).ok())
    {
        dir.sync_all().ok();
    }
    Ok(())
}

/// Replaces a file that several processes write, of whom the last one wins.
pub(crate) fn replace_shared(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = path
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // A name of its own for each writer: with one name, two at a time took each other's file away.
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)?;
    file.write_all(text)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}
