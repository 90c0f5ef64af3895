//! Opening a path that must not leave a directory.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The most links on the way to one file, as the kernel has it.
const LINKS: usize = 40;

/// How deep below the root a path may lead by hand; each level holds a descriptor.
const DEPTH: usize = 128;

/// How often a path is tried again that something renames at the same time.
const TRIES: usize = 16;

/// Who walks along a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The kernel, by `openat2`; by hand where it has no such call (before 5.6, gVisor) or a sandbox forbids it.
    Kernel,
    /// This module.
    #[cfg(test)]
    ByHand,
}

/// Opens `path` below `root`. What leads out is `XDEV`, as for `openat2`, or `LOOP` for a magic link of `/proc`.
pub(super) fn open(root: &OwnedFd, path: &Path, flags: OFlags, way: Way) -> Result<OwnedFd, Errno> {
    match way {
        Way::Kernel => match by_kernel(root, path, flags) {
            // The last of them where something is renamed or mounted all the time, anywhere on this host, as by an engine
            // that starts containers: by hand a `..` is a descriptor that is held already.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => by_hand(root, path, flags),
            opened => opened,
        },
        #[cfg(test)]
        Way::ByHand => by_hand(root, path, flags),
    }
}

fn by_kernel(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // The kernel could not prove that a `..` stayed inside, because something was renamed or mounted meanwhile
            // (`openat2(2)`, EAGAIN).
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
            opened => return opened,
        }
    }
}

/// Walks along `path` with a descriptor for every directory, so that nothing that is renamed meanwhile leads out.
fn by_hand(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut above: Vec<(OwnedFd, OsString)> = Vec::new();
    let mut ahead: VecDeque<OsString> = names(path)?.into();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            // Above the root there is nothing.
            above.pop().ok_or(Errno::XDEV)?;
            continue;
        }
        let here = last(root, &above);
        let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(here, &name, look, Mode::empty())?;
        let is = rustix::fs::fstat(&found)?;
        if FileType::from_raw_mode(is.st_mode) == FileType::Symlink {
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP);
            }
            let target = rustix::fs::readlinkat(&found, c"", Vec::new())?;
            let target = OsString::from_vec(target.into_bytes());
            for name in names(Path::new(&target))?.into_iter().rev() {
                ahead.push_front(name);
            }
            continue;
        }
        if above.len() == DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        above.push((found, name));
    }
    let Some((found, name)) = above.pop() else {
        return rustix::fs::openat(root, c".", flags, Mode::empty());
    };
    let here = last(root, &above);
    let opened = rustix::fs::openat(here, &name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let (seen, is) = (rustix::fs::fstat(&found)?, rustix::fs::fstat(&opened)?);
    match (seen.st_dev, seen.st_ino) == (is.st_dev, is.st_ino) {
        true => Ok(opened),
        false => Err(Errno::AGAIN),
    }
}

fn last<'a>(root: &'a OwnedFd, above: &'a [(OwnedFd, OsString)]) -> BorrowedFd<'a> {
    above.last().map_or(root.as_fd(), |(fd, _)| fd.as_fd())
}

/// Returns the components of a path; an absolute one leads out.
fn names(path: &Path) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => names.push("..".into()),
            Component::Normal(name) => names.push(name.to_owned()),
            Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_path_is_opened_while_something_else_is_renamed_all_the_time() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("tree/a")).unwrap();
        let tree = OwnedFd::from(crate::host_file::open(root.path().join("tree")).unwrap());
        let path = "a/../".repeat(40) + "a";
        let renamed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Outside of the tree: the kernel has one lock for all renames.
                let (one, other) = (root.path().join("one"), root.path().join("other"));
                std::fs::create_dir(&one).unwrap();
                for _ in 0..50_000 {
                    std::fs::rename(&one, &other).unwrap();
                    std::fs::rename(&other, &one).unwrap();
                }
                renamed.store(true, Ordering::Relaxed);
            });
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let mut failed = None;
            while failed.is_none() && !renamed.load(Ordering::Relaxed) {
                failed = open(&tree, Path::new(&path), flags, Way::Kernel).err();
            }
            assert_eq!(failed, None);
        });
    }
}
