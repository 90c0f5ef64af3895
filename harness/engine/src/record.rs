//! Small files that are read while others write them: replaced whole, or overwritten with one call.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use crate::wait::Deadline;
use ground::host_file;

/// What a written record must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A kill of this process: the rename alone does.
    Kill,
    /// The power going off: both ends of the rename go through to the disk. Only the last record needs it;
    /// after a reboot an unfinished run is over whatever its record says, and each sync cost 5 ms.
    Power,
}

/// Replaces the file at `path`, so that a reader, whenever it looks, sees the old text or the new one.
pub fn replace(path: &Path, text: &[u8], durability: Durability) -> io::Result<()> {
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
        let mut file = host_file::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
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
        && let Some(dir) = path.parent().and_then(|dir| host_file::open(dir).ok())
    {
        dir.sync_all().ok();
    }
    Ok(())
}

/// Writes a file for this user alone, also where one is that others may read.
pub fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = host_file::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text)
}

/// Replaces a file that several processes write, of whom the last one wins, and that other users read.
pub fn replace_shared(path: &Path, text: &[u8]) -> io::Result<()> {
    put(path, 0o644, text, |_| Ok(())).map(drop)
}

/// Puts a file with exactly `mode` in the place of `path`; a reader sees the old one or all of the new one. `before`
/// gets the new file while it has no name yet. Returns the new file.
///
/// Each writer has a temporary name of its own: with one name, two at a time took each other's file away.
/// It is not forced to the disk.
pub fn put(
    path: &Path,
    mode: u32,
    content: &[u8],
    before: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<File> {
    let dir = path
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut new = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    new.write_all(content)?;
    // Whatever the umask says.
    let file = new.as_file();
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    before(file)?;
    new.persist(path).map_err(|error| error.error)
}

/// The length of a record that is overwritten; what it says is padded with spaces.
const OVERWRITTEN: usize = 1024;

/// How long a record that is overwritten may be half old and half new: a writer that loses its core in the middle of the
/// copy gets it back before.
const TORN: Duration = Duration::from_millis(500);

/// Overwrites a JSON file that several processes write, of whom the last one wins; [`read_overwritten`] reads it.
///
/// To replace it costs more than all else of a small sweep: ext4 writes a file through to the disk that takes
/// another one's name (`auto_da_alloc`), 3 ms on an idle disk and more beside a build. A page that is there
/// already is only changed in memory. With the power half of a record cannot be lost: it is two sectors of one page.
pub fn overwrite(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut padded = text.to_owned();
    if padded.len() < OVERWRITTEN {
        padded.resize(OVERWRITTEN, b' ');
    }
    // Whatever else is there (another length, a link, somebody else's file) is replaced.
    let there = host_file::options()
        .write(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
        .and_then(|file| Ok((file.metadata()?, file)));
    match there {
        Ok((meta, file)) if meta.is_file() && meta.len() == padded.len() as u64 => {
            file.write_all_at(&padded, 0)
        }
        _ => replace_shared(path, &padded),
    }
}

/// Reads what [`overwrite`] writes. A reader may see half of the old record and half of the new one, for as long as
/// a copy of a kilobyte takes, so it looks again before it says that the file is garbled.
pub fn read_overwritten<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    let torn = Deadline::after(TORN);
    loop {
        // Asked before the look, so that no reader gives up on one that is older than the limit.
        let is_last = torn.passed();
        match serde_json::from_slice(&host_file::bytes(path)?) {
            Ok(record) => return Ok(record),
            Err(error) if is_last => return Err(error.into()),
            Err(_) => std::thread::yield_now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_record_is_overwritten_in_place_and_what_is_no_record_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let inode = || fs::symlink_metadata(&path).unwrap().ino();
        overwrite(&path, b"[1, 2, 3]").unwrap();
        let first = inode();
        overwrite(&path, b"[4]").unwrap();
        assert_eq!(read_overwritten::<Vec<u8>>(&path).unwrap(), [4]);
        assert_eq!(inode(), first);
        // Longer than ever, as short as by hand, and a link to what is not ours.
        let long = serde_json::to_vec(&vec![5; OVERWRITTEN]).unwrap();
        overwrite(&path, &long).unwrap();
        assert_eq!(
            read_overwritten::<Vec<u8>>(&path).unwrap().len(),
            OVERWRITTEN
        );
        fs::write(&path, "[").unwrap();
        assert!(read_overwritten::<Vec<u8>>(&path).is_err());
        overwrite(&path, b"[6]").unwrap();
        assert_eq!(read_overwritten::<Vec<u8>>(&path).unwrap(), [6]);
        let foreign = dir.path().join("foreign");
        fs::rename(&path, &foreign).unwrap();
        std::os::unix::fs::symlink(&foreign, &path).unwrap();
        overwrite(&path, b"[7]").unwrap();
        assert_eq!(read_overwritten::<Vec<u8>>(&foreign).unwrap(), [6]);
        assert_eq!(read_overwritten::<Vec<u8>>(&path).unwrap(), [7]);
    }

    #[test]
    fn who_reads_while_others_overwrite_sees_a_whole_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        overwrite(&path, b"[]").unwrap();
        std::thread::scope(|scope| {
            for value in [1_u8, 22] {
                let path = &path;
                scope.spawn(move || {
                    for count in 0..2000 {
                        let text = serde_json::to_vec(&vec![value; count % 300]).unwrap();
                        overwrite(path, &text).unwrap();
                    }
                });
            }
            for _ in 0..2000 {
                read_overwritten::<Vec<u8>>(&path).unwrap();
            }
        });
    }
}
