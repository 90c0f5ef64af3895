//! The door to the files of this host: the harness's own state, the operator's files, and `/proc`.
//!
//! They are trusted, so a link may lead anywhere; but none of them is without end. What a recipe's repository holds
//! never comes through here: [`crate::source_tree`] reads that.

use std::fs::{File, OpenOptions, ReadDir};
use std::io::{self, Read as _};
use std::path::Path;

/// The most that is read of one file at once: 64 MiB.
pub const CEILING: u64 = 64 << 20;

/// Returns the content of the file at `path`.
///
/// # Errors
/// What the system says; `FileTooLarge` for more than [`CEILING`] bytes.
pub fn bytes(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    up_to(CEILING, path.as_ref())
}

/// Returns the text of the file at `path`.
///
/// # Errors
/// As [`bytes`]; `InvalidData` when it is not UTF-8.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = bytes(path)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Opens the file at `path` for reading. The reader bounds what it reads.
///
/// # Errors
/// What the system says.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    File::open(path)
}

/// Returns how to open a file otherwise than for reading from its start: all unset, as [`OpenOptions::new`].
#[must_use]
pub fn options() -> OpenOptions {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    OpenOptions::new()
}

/// Lists the directory at `path`.
///
/// # Errors
/// What the system says.
pub fn entries(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    std::fs::read_dir(path)
}

/// Copies the file at `from` with its mode to `to`, whatever its length; returns how many bytes it has.
///
/// # Errors
/// What the system says.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    std::fs::copy(from, to)
}

fn up_to(ceiling: u64, path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let says = file.metadata()?.len().min(ceiling);
    let mut bytes = Vec::with_capacity(usize::try_from(says).unwrap_or_default() + 1);
    file.take(ceiling + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > ceiling {
        let what = format!("it has more than {ceiling} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"four").unwrap();
        assert_eq!(text(&path).unwrap(), "four");
        assert_eq!(up_to(4, &path).unwrap(), b"four");
        let error = up_to(3, &path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let error = up_to(1 << 16, Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(text("/proc/self/status").unwrap().starts_with("Name:"));
        std::fs::write(&path, b"caf\xe9").unwrap();
        assert_eq!(text(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let missing = bytes(dir.path().join("no")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
