//! Where a lock file is.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, lstat};

/// The path of a lock file.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockPath<'a> {
    path: &'a Path,
    /// Whether a missing file is made.
    make: bool,
}

/// Device and inode of a file, which stay the same as long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inode(u64, u64);

impl Inode {
    /// Returns those of an open file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(fstat(file)?))
    }
}

impl From<FileStat> for Inode {
    fn from(found: FileStat) -> Self {
        Self(found.st_dev, found.st_ino)
    }
}

impl<'a> LockPath<'a> {
    /// The file at `path`, made where it is missing.
    pub(super) fn of(path: &'a Path) -> Self {
        Self { path, make: true }
    }

    /// The file at `path`; none is made.
    pub(super) fn existing(path: &'a Path) -> Self {
        Self { path, make: false }
    }

    /// Opens the file, and says which one it is. It is never truncated here, because another process may hold it, and no
    /// child gets it.
    ///
    /// A link is refused, a hard one too: anybody may make one in `/run/lock`, and its target would be written to.
    /// A file without a name was unlinked since it was opened, which is for the protocol to find.
    pub(super) fn open(&self) -> io::Result<(File, Inode)> {
        let mode = Mode::from_bits_truncate(0o644);
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let opened = open_or_make(self.make, |make| open(self.path, flags | make, mode));
        let file = File::from(opened?);
        let found = fstat(&file)?;
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(io::Error::other("it is no regular file"));
        }
        if found.st_nlink > 1 {
            return Err(io::Error::other("the file has another name, too"));
        }
        Ok((file, found.into()))
    }

    /// Returns whether the place still names `inode`.
    pub(super) fn names(&self, inode: Inode) -> io::Result<bool> {
        match lstat(self.path) {
            Ok(there) => Ok(Inode::from(there) == inode),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a file with `open`, which is given what to add to its flags; makes it only where it is missing.
///
/// Where `fs.protected_regular` is on, as it is with systemd, not even root may open the file of another user in
/// `/run/lock` with `O_CREAT`, not even root.
fn open_or_make(
    make: bool,
    mut open: impl FnMut(OFlag) -> nix::Result<OwnedFd>,
) -> nix::Result<OwnedFd> {
    loop {
        let opened = match open(OFlag::empty()) {
            Err(Errno::ENOENT) if make => open(OFlag::O_CREAT | OFlag::O_EXCL),
            opened => opened,
        };
        match opened {
            // Another process made it meanwhile. Each round needs another one to come or go, so the loop ends.
            Err(Errno::EINTR | Errno::EEXIST) => {}
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_never_opened_as_if_to_make_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("l");
        // What the kernel does where `fs.protected_regular` is on and the file is of another user.
        let open = |flags: OFlag| match path.exists() {
            true if flags.contains(OFlag::O_EXCL) => Err(Errno::EEXIST),
            true if flags.contains(OFlag::O_CREAT) => Err(Errno::EACCES),
            true => Ok(ground::host_file::open(&path).unwrap().into()),
            false if flags.contains(OFlag::O_CREAT) => Ok(File::create_new(&path).unwrap().into()),
            false => Err(Errno::ENOENT),
        };
        assert_eq!(open_or_make(false, open).unwrap_err(), Errno::ENOENT);
        for there in [false, true] {
            assert_eq!(path.exists(), there);
            open_or_make(true, open).unwrap();
        }
        // Another process makes it between the two looks.
        std::fs::remove_file(&path).unwrap();
        let mut looks = 0;
        let raced = open_or_make(true, |flags| {
            looks += 1;
            if looks == 2 {
                File::create_new(&path).unwrap();
            }
            open(flags)
        });
        raced.unwrap();
        assert_eq!(looks, 3);
    }
}
