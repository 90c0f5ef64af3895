//! Where a lock file is.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A path, or a name in a directory that is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    dir: BorrowedFd<'a>,
    path: &'a Path,
    /// Whether a file is made where there is none.
    make: bool,
}

impl<'a> Place<'a> {
    /// The file at `path`, made where there is none.
    pub(super) fn of(path: &'a Path) -> Self {
        Self {
            dir: AT_FDCWD,
            path,
            make: true,
        }
    }

    /// The file `name` of an open directory; none is made.
    pub(super) fn within(dir: BorrowedFd<'a>, name: &'a Path) -> Self {
        Self {
            dir,
            path: name,
            make: false,
        }
    }

    /// Opens the file. It is never truncated here, because somebody else may hold it, and no child gets it.
    ///
    /// A link is refused: anybody may make one in `/run/lock`, and its target would be written to.
    pub(super) fn open(&self) -> io::Result<File> {
        let mut flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        flags.set(OFlag::O_CREAT, self.make);
        let mode = Mode::from_bits_truncate(0o644);
        loop {
            match openat(self.dir, self.path, flags, mode) {
                Err(Errno::EINTR) => {}
                opened => return Ok(opened.map(File::from)?),
            }
        }
    }

    /// Returns whether the place still names the inode behind `file`.
    pub(super) fn names(&self, file: &File) -> io::Result<bool> {
        let ours = fstat(file)?;
        match fstatat(self.dir, self.path, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Unlinks whatever the place names.
    pub(super) fn unlink(&self) -> io::Result<()> {
        Ok(unlinkat(self.dir, self.path, UnlinkatFlags::NoRemoveDir)?)
    }
}
