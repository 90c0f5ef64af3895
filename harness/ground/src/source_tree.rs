//! The door to the files of a recipe's repository, which a stranger may have written.
//!
//! Whatever a tree holds, a look at it ends soon and stays inside: a path or a link that leads out is refused by
//! the kernel itself (`openat2` with `RESOLVE_BENEATH`), or component by component where it has no such call;
//! nothing but a regular file is opened for reading; and every read has a ceiling. A fault is the repository's, so
//! each names the file as the recipe does.

mod beneath;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::signal_thread;
use beneath::Way;

/// The largest text file that is read: 1 MiB. The largest compose file seen in the wild has 20 KB.
pub const TEXT_CEILING: u64 = 1 << 20;

/// The most entries that are listed of one directory.
pub const LISTING_CEILING: usize = 50_000;

/// The directory that holds a recipe, as the only place that its files are read from.
///
/// Paths are relative to it. A symbolic link is followed as long as it stays inside. Every call may wait for a
/// disk, so none belongs on the thread that obeys signals; debug assertions hold that.
#[derive(Debug)]
pub struct SourceTree {
    root: OwnedFd,
    way: Way,
}

/// Why a file of a repository is not read.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {fault}", shown(path))]
pub struct SourceFileError {
    path: String,
    fault: Fault,
}

impl SourceFileError {
    /// Returns the refusal of a directory that is a submodule.
    pub fn submodule(path: &Path) -> Self {
        let path = path.display().to_string();
        let fault = Fault::IsSubmodule;
        Self { path, fault }
    }

    /// Returns whether the path as it was written lies outside the repository, whatever is there.
    #[must_use]
    pub fn is_of_the_path(&self) -> bool {
        matches!(self.fault, Fault::Path)
    }

    /// Returns the file, as the recipe names it, on one line.
    #[must_use]
    pub fn path(&self) -> String {
        shown(&self.path)
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.fault {
            Fault::Path | Fault::Outside | Fault::TooDeep => {
                "put the file itself into the repository; docs/operating.md says what a recipe's repository may hold"
            }
            Fault::NotText(_) => "write the file as text in UTF-8",
            _ => "docs/operating.md says what a recipe's repository may hold",
        }
    }

    /// Returns what is wrong, as the end of a sentence that begins with the file's name.
    #[must_use]
    pub fn reason(&self) -> String {
        self.fault.to_string()
    }
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("is not a path inside the repository: it must be relative and without `..`")]
    Path,
    #[error("leads out of the repository: a link in it goes to a place outside")]
    Outside,
    #[error("goes through too many links or directories")]
    TooDeep,
    #[error("is {0}, and only a regular file is read")]
    NotRegular(Kind),
    #[error("is {0}, and not a directory")]
    NotDirectory(Kind),
    #[error("has more than {} bytes, the most that is read of it", .0)]
    TooLarge(u64),
    #[error("is not UTF-8 text: byte {} cannot be read", .0)]
    NotText(usize),
    #[error(
        "is a pointer of Git LFS, and neither abra nor recipe-ci fetches what it stands for: commit the file itself (`git lfs untrack`, `git add --renormalize`)"
    )]
    Pointer,
    #[error(
        "is not there: `{0}` is an empty directory, as a submodule is, and neither abra nor recipe-ci fetches those: put the files into the repository (`git subtree add`)"
    )]
    Submodule(String),
    #[error(
        "is a submodule, and neither abra nor recipe-ci fetches those: put the files into the repository (`git subtree add`)"
    )]
    IsSubmodule,
    #[error("holds more than {LISTING_CEILING} entries")]
    TooManyEntries,
    #[error("changed while it was read")]
    Changed,
    #[error("cannot be read: {0}")]
    System(io::Error),
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; only of entries of a directory, elsewhere links are followed.
    Link,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
}

impl Kind {
    fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            _ => Self::Device,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Link => "a link",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
            Self::Device => "a device",
        })
    }
}

/// What tells a file or directory from all others of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(u64, u64);

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is itself: a link is not followed.
    pub kind: Kind,
}

impl SourceTree {
    /// Returns the tree at `root`, which exists and is a directory.
    ///
    /// # Errors
    /// [`SourceFileError`] that names `root` when it cannot be opened as a directory.
    pub fn open(root: &Path) -> Result<Self, SourceFileError> {
        signal_thread::assert_elsewhere("a repository is opened");
        let root_of = || root.display().to_string();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty())
            .map_err(|error| system(root_of(), error.into()))?;
        Ok(Self {
            root: fd,
            way: Way::Kernel,
        })
    }

    /// Returns the text of the file at `path`, at most [`TEXT_CEILING`] bytes; `None` when there is nothing there.
    ///
    /// # Errors
    /// [`SourceFileError`] when there is something and it is not such a file inside the tree.
    pub fn text(&self, path: impl AsRef<Path>) -> Result<Option<String>, SourceFileError> {
        let path = path.as_ref();
        let Some(bytes) = self.bytes(path, TEXT_CEILING)? else {
            return Ok(None);
        };
        String::from_utf8(bytes).map(Some).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            fault(path, Fault::NotText(at + 1))
        })
    }

    /// Returns the content of the file at `path`, at most `ceiling` bytes; `None` when there is nothing there.
    ///
    /// # Errors
    /// As [`SourceTree::text`].
    pub fn bytes(
        &self,
        path: impl AsRef<Path>,
        ceiling: u64,
    ) -> Result<Option<Vec<u8>>, SourceFileError> {
        let path = path.as_ref();
        let Some(file) = self.file(path)? else {
            return self.in_no_submodule(path).map(|()| None);
        };
        let says = file.metadata().map_err(|error| io_fault(path, error))?;
        if says.len() > ceiling {
            return Err(fault(path, Fault::TooLarge(ceiling)));
        }
        // What a file says of its length is no promise: it may grow, and files of the kernel say 0.
        let mut bytes = Vec::with_capacity(usize::try_from(says.len()).unwrap_or_default() + 1);
        let read = file.take(ceiling + 1).read_to_end(&mut bytes);
        read.map_err(|error| io_fault(path, error))?;
        match bytes.len() as u64 > ceiling {
            true => Err(fault(path, Fault::TooLarge(ceiling))),
            false => Ok(Some(bytes)),
        }
    }

    /// Returns the regular file at `path`, open for reading; `None` when there is nothing there. The reader bounds
    /// what it reads. A pointer of Git LFS is not the file that it stands for, and refused.
    ///
    /// # Errors
    /// As [`SourceTree::text`].
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Option<File>, SourceFileError> {
        let path = path.as_ref();
        // Looked at before it is opened: to open a pipe or a device is to act on it.
        match self.kind(path)? {
            None => return Ok(None),
            Some(Kind::File) => {}
            Some(other) => return Err(fault(path, Fault::NotRegular(other))),
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Some(fd) = self.descend(path, flags)? else {
            return Ok(None);
        };
        let file = File::from(fd);
        let is = file.metadata().map_err(|error| io_fault(path, error))?;
        let kind = Kind::of(FileType::from_raw_mode(is.mode()));
        if kind != Kind::File {
            return Err(fault(path, Fault::Changed));
        }
        match is_pointer_file(&file, is.len()).map_err(|error| io_fault(path, error))? {
            true => Err(fault(path, Fault::Pointer)),
            false => Ok(Some(file)),
        }
    }

    /// Refuses a path below an empty directory: git keeps none but that of a submodule.
    fn in_no_submodule(&self, path: &Path) -> Result<(), SourceFileError> {
        for above in path.ancestors().skip(1) {
            if above.as_os_str().is_empty() || self.kind(above)? != Some(Kind::Directory) {
                continue;
            }
            return match self.entries(above)?.is_some_and(|there| there.is_empty()) {
                true => {
                    let above = shown(&above.display().to_string());
                    Err(fault(path, Fault::Submodule(above)))
                }
                false => Ok(()),
            };
        }
        Ok(())
    }

    /// Returns what is at `path`, links followed; `None` when there is nothing.
    ///
    /// # Errors
    /// [`SourceFileError`] when it leads out of the tree or cannot be looked at.
    pub fn kind(&self, path: impl AsRef<Path>) -> Result<Option<Kind>, SourceFileError> {
        let path = path.as_ref();
        let Some(fd) = self.descend(path, OFlags::PATH)? else {
            return Ok(None);
        };
        let is = rustix::fs::fstat(&fd).map_err(|error| io_fault(path, error.into()))?;
        Ok(Some(Kind::of(FileType::from_raw_mode(is.st_mode))))
    }

    /// Returns what tells the directory or file at `path` from all others while it exists; `None` when there is
    /// nothing.
    ///
    /// # Errors
    /// As [`SourceTree::kind`].
    pub fn identity(&self, path: impl AsRef<Path>) -> Result<Option<Identity>, SourceFileError> {
        let path = path.as_ref();
        let Some(fd) = self.descend(path, OFlags::PATH)? else {
            return Ok(None);
        };
        let is = rustix::fs::fstat(&fd).map_err(|error| io_fault(path, error.into()))?;
        Ok(Some(Identity(is.st_dev, is.st_ino)))
    }

    /// Returns the text of the link at `path`, which is not followed; the links on the way to it are.
    ///
    /// # Errors
    /// [`SourceFileError`] when it leads out of the tree, or is no link.
    pub fn link(&self, path: impl AsRef<Path>) -> Result<OsString, SourceFileError> {
        let path = path.as_ref();
        let gone = || fault(path, Fault::Changed);
        let (above, name) = (path.parent(), path.file_name());
        let above = above.filter(|above| !above.as_os_str().is_empty());
        let above = above.unwrap_or(Path::new("."));
        let fd = self.descend(above, OFlags::PATH)?.ok_or_else(gone)?;
        let text = rustix::fs::readlinkat(&fd, name.ok_or_else(gone)?, Vec::new());
        let text = text.map_err(|error| io_fault(path, error.into()))?;
        Ok(OsString::from_vec(text.into_bytes()))
    }

    /// Returns whether there is a regular file at `path`.
    ///
    /// # Errors
    /// As [`SourceTree::kind`].
    pub fn has_file(&self, path: impl AsRef<Path>) -> Result<bool, SourceFileError> {
        Ok(self.kind(path)? == Some(Kind::File))
    }

    /// Returns the entries of the directory at `path`, by name; the tree itself is `.`. `None` when there is nothing.
    ///
    /// # Errors
    /// [`SourceFileError`] when it is no directory inside the tree, or holds more than [`LISTING_CEILING`] entries.
    pub fn entries(&self, path: impl AsRef<Path>) -> Result<Option<Vec<Entry>>, SourceFileError> {
        let path = path.as_ref();
        match self.kind(path)? {
            None => return Ok(None),
            Some(Kind::Directory) => {}
            Some(other) => return Err(fault(path, Fault::NotDirectory(other))),
        }
        let Some(fd) = self.descend(path, OFlags::RDONLY | OFlags::DIRECTORY)? else {
            return Ok(None);
        };
        let failed = |error: Errno| io_fault(path, error.into());
        let mut entries = Vec::new();
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if [c".", c".."].contains(&name) {
                continue;
            }
            if entries.len() == LISTING_CEILING {
                return Err(fault(path, Fault::TooManyEntries));
            }
            let kind = match entry.file_type() {
                // Some file systems do not say it here.
                FileType::Unknown => {
                    let is = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW);
                    FileType::from_raw_mode(is.map_err(failed)?.st_mode)
                }
                known => known,
            };
            entries.push(Entry {
                name: OsString::from_vec(name.to_bytes().to_vec()),
                kind: Kind::of(kind),
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(entries))
    }

    fn descend(&self, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>, SourceFileError> {
        signal_thread::assert_elsewhere("a file of a repository is looked at");
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if path.as_os_str().is_empty() || !path.components().all(inside) {
            return Err(fault(path, Fault::Path));
        }
        match beneath::open(&self.root, path, flags | OFlags::CLOEXEC, self.way) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::XDEV) => Err(fault(path, Fault::Outside)),
            Err(Errno::LOOP | Errno::NAMETOOLONG) => Err(fault(path, Fault::TooDeep)),
            Err(error) => Err(io_fault(path, error.into())),
        }
    }
}

fn fault(path: &Path, fault: Fault) -> SourceFileError {
    let path = path.display().to_string();
    SourceFileError { path, fault }
}

fn io_fault(path: &Path, error: io::Error) -> SourceFileError {
    system(path.display().to_string(), error)
}

fn system(path: String, error: io::Error) -> SourceFileError {
    let fault = Fault::System(error);
    SourceFileError { path, fault }
}

/// The longest pointer of Git LFS, in bytes: its specification, `docs/spec.md` of git-lfs/git-lfs.
pub(crate) const POINTER_CEILING: u64 = 1024;

/// Returns whether a file with this content is a pointer of Git LFS.
pub(crate) fn is_pointer(content: &[u8]) -> bool {
    let begins = content.starts_with(b"version https://git-lfs.github.com/spec/");
    begins
        && content
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(b"oid "))
}

fn is_pointer_file(file: &File, length: u64) -> io::Result<bool> {
    if length >= POINTER_CEILING {
        return Ok(false);
    }
    let mut start = [0; POINTER_CEILING as usize];
    let read = file.read_at(&mut start, 0)?;
    Ok(is_pointer(&start[..read]))
}

/// Returns a path as one line: a name in a repository may hold anything.
fn shown(path: &str) -> String {
    path.chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

#[cfg(test)]
mod tests;
