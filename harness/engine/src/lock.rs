//! The app lock: an exclusive `flock(2)` that lives exactly as long as its holder.
//!
//! Invariant: a held lock means a live owner, a free lock a dead one. There is no age rule and no
//! stealing, and nothing here releases a lock before the process ends, except a reaper that has cleaned up.
//!
//! The janitor unlinks the lock files of apps that it has reaped, so a waiter can win an inode that no
//! path names any more while a third process locks a new file at the same path. Hence every acquisition
//! compares the descriptor's inode with the path's and starts again when they differ. Which step follows
//! which is decided in `protocol`, and checked there over every interleaving.

#[cfg(test)]
mod model;
mod protocol;
#[cfg(test)]
mod tests;

pub mod file;
pub mod heir;
mod place;

use std::cell::Cell;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::OFlag;
use nix::sys::statfs::{FsType, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC};
use place::{Inode, LockPath};
pub use protocol::Left;
use protocol::{Acquire, Found, Leave, Patience};

use crate::dirs::HostDirs;
use ground::name::{Domain, RunId};

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file or its directory cannot be used.
    #[error("lock file `{path}` is not usable")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory is on a file system whose locks reach beyond this kernel.
    #[error(
        "lock directory `{path}` is on a network file system, where a lock does not prove a live owner"
    )]
    NetworkFileSystem {
        /// Which directory.
        path: PathBuf,
    },
}

/// Proof that this process owns a domain. Whatever touches an app takes it as a parameter.
#[derive(Debug)]
#[must_use = "the domain is owned only as long as this lives"]
pub struct DomainLock {
    file: Locked,
    path: PathBuf,
    domain: Domain,
}

/// What a try found.
#[derive(Debug)]
pub enum Attempt {
    /// The lock is ours.
    Acquired(DomainLock),
    /// A live process holds it; the text is what the holder wrote about itself, for messages only.
    Held {
        /// `run 4711 (pid 1234)`, or empty when unknown.
        holder: String,
        /// When it was acquired, as the file's modification time says.
        since: Option<SystemTime>,
    },
}

/// What a look at a lock found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It is free; there may be no lock file at all.
    Free,
    /// A live process holds it.
    Held {
        /// What the holder wrote about itself, for messages only.
        holder: String,
        /// When it was acquired, as the file's modification time says.
        since: Option<SystemTime>,
    },
}

/// Looks whether a process holds the lock file at `path`, without making one.
///
/// # Errors
/// [`LockError::Unusable`] when it cannot be opened or tried.
pub fn probe(path: &Path) -> Result<Probe, LockError> {
    let unusable = |source| LockError::Unusable {
        path: path.to_owned(),
        source,
    };
    // A link is refused, as by those who take the lock; and a pipe must not block the look until it is written to.
    let opened = ground::host_file::options()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Probe::Free),
        Err(error) => return Err(unusable(error)),
    };
    if !file.metadata().map_err(unusable)?.is_file() {
        return Err(unusable(io::ErrorKind::IsADirectory.into()));
    }
    loop {
        // Shared, so that two who look do not take each other for a holder.
        #[expect(clippy::disallowed_methods, reason = "this module is the door")]
        match file.try_lock_shared() {
            Ok(()) => {
                drop(Locked::new(file));
                return Ok(Probe::Free);
            }
            Err(TryLockError::WouldBlock) => {
                let since = file.metadata().and_then(|meta| meta.modified()).ok();
                return Ok(Probe::Held {
                    holder: read_holder(&mut file),
                    since,
                });
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
    }
}

impl DomainLock {
    /// Takes the lock of `domain`, which is free, for a run `7`.
    #[cfg(any(test, feature = "testing"))]
    pub fn of_test(host: &HostDirs, domain: &Domain) -> Self {
        let run = "7".parse().expect("a number is an id");
        match Self::try_acquire(host, domain, &run) {
            Ok(Attempt::Acquired(lock)) => lock,
            other => panic!("{domain} is not free: {other:?}"),
        }
    }

    /// Tries to take the lock of `domain` without waiting.
    ///
    /// # Errors
    /// [`LockError`] when the lock file cannot be opened or locked at all.
    pub fn try_acquire(
        host: &HostDirs,
        domain: &Domain,
        run: &RunId,
    ) -> Result<Attempt, LockError> {
        let path = host.lock_file(domain);
        let unusable = |source| LockError::Unusable {
            path: path.clone(),
            source,
        };
        refuse_network_file_system(&host.locks)?;
        match take(&LockPath::of(&path), Patience::Try).map_err(unusable)? {
            Taken::Owned(file) => Self::own(file, &path, domain, run)
                .map(Attempt::Acquired)
                .map_err(unusable),
            Taken::Held(mut file) => Ok(Attempt::Held {
                since: file.metadata().and_then(|meta| meta.modified()).ok(),
                holder: read_holder(&mut file),
            }),
        }
    }

    /// Takes the lock of `domain`, or returns nothing when another process holds it or has unlinked it already: none is
    /// made only to be removed. Who holds it is not written down: of a thousand stale files that was half the time.
    ///
    /// The last owner's text is cut and the file's time set: who looks meanwhile must not take it for held by
    /// that owner, and since then. A byte is left, because ext4 writes a file through to the disk when it is
    /// closed, if it was truncated to nothing before.
    ///
    /// # Errors
    /// [`LockError`] when the lock file cannot be opened or locked at all, or is on a network file system.
    pub fn try_claim(host: &HostDirs, domain: &Domain) -> Result<Option<Self>, LockError> {
        let path = host.lock_file(domain);
        refuse_network_file_system(&host.locks)?;
        let claimed = match take(&LockPath::existing(&path), Patience::Try) {
            Ok(Taken::Owned(file)) => file.set_len(1).map(|()| Some(file)),
            Ok(Taken::Held(_)) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        match claimed {
            Ok(file) => Ok(file.map(|file| Self {
                file,
                path,
                domain: domain.clone(),
            })),
            Err(source) => Err(LockError::Unusable { path, source }),
        }
    }

    /// Looks whether a process holds the lock of `domain`, without making a lock file.
    ///
    /// It is only a look: what is free now may be held at once. Nothing may be removed on its word.
    ///
    /// # Errors
    /// [`LockError`] when that cannot be found out.
    pub fn probe(host: &HostDirs, domain: &Domain) -> Result<Probe, LockError> {
        refuse_network_file_system(&host.locks)?;
        probe(&host.lock_file(domain))
    }

    /// Waits until the lock of `domain` is ours. Dropping the future gives up.
    ///
    /// # Errors
    /// [`LockError`] when the lock file cannot be opened or locked at all.
    pub async fn acquire(host: &HostDirs, domain: &Domain, run: &RunId) -> Result<Self, LockError> {
        let path = host.lock_file(domain);
        let file = wait_for(&path).await;
        file.and_then(|file| Self::own(file, &path, domain, run))
            .map_err(|source| LockError::Unusable { path, source })
    }

    /// Returns the lock of `domain` that another process has handed on, and writes into it who has it now: `says`.
    ///
    /// # Errors
    /// [`LockError::Unusable`] when `file` is not the lock of `domain`, or cannot be written.
    pub fn inherited(
        file: OwnedFd,
        host: &HostDirs,
        domain: &Domain,
        says: &str,
    ) -> Result<Self, LockError> {
        let path = host.lock_file(domain);
        let inherited = Locked::inherited(file, &path).and_then(|file| {
            write_holder(&file, says)?;
            Ok(file)
        });
        match inherited {
            Ok(file) => Ok(Self {
                file,
                path,
                domain: domain.clone(),
            }),
            Err(source) => Err(LockError::Unusable { path, source }),
        }
    }

    /// Returns the locked file, to hand it on.
    pub fn locked(&self) -> &Locked {
        &self.file
    }

    /// Returns the domain that is owned.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Unlinks the lock file and lets go, in this order, after the app behind it has been removed.
    ///
    /// Only a reaper does so. A run keeps its lock until its process ends.
    ///
    /// # Errors
    /// [`LockError::Unusable`] when the file cannot be unlinked.
    pub fn unlink(self) -> Result<(), LockError> {
        self.leave(Left::Nothing)
    }

    /// Gives the domain up as a reaper does that has seen what is `left` of the app: unlinks the lock file
    /// if that is nothing, and lets go.
    ///
    /// # Errors
    /// [`LockError::Unusable`] when the file cannot be unlinked; it is let go even then.
    pub fn leave(self, left: Left) -> Result<(), LockError> {
        let Self { file, path, .. } = self;
        give_up(file, left, || std::fs::remove_file(&path))
            .map_err(|source| LockError::Unusable { path, source })
    }

    fn own(file: Locked, path: &Path, domain: &Domain, run: &RunId) -> io::Result<Self> {
        write_holder(&file, &format!("run {run} (pid {})", std::process::id()))?;
        // Who looks at it must be able to open it. One that another user made keeps its mode.
        drop(file.set_permissions(std::fs::Permissions::from_mode(0o644)));
        Ok(Self {
            file,
            path: path.to_owned(),
            domain: domain.clone(),
        })
    }
}

/// Writes down who holds a lock, for messages only; that sets the modification time. What was longer is cut afterwards:
/// ext4 writes a file through to the disk when it is closed, if it was truncated to nothing before.
fn write_holder(file: &File, holder: &str) -> io::Result<()> {
    let text = format!("{holder}\n");
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

/// Goes through the steps by which a reaper gives a lock up that has seen what is `left` of the app.
fn give_up(file: Locked, left: Left, unlink: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let mut file = Some(file);
    let mut unlink = Some(unlink);
    let mut unlinked = Ok(());
    let mut step = Leave::FIRST;
    while step != Leave::Gone {
        match step {
            // The caller's part, done with this lock in hand.
            Leave::Clear | Leave::Gone => {}
            Leave::Unlink => {
                let unlink = unlink.take().map_or(Ok(()), |unlink| unlink());
                if let Some(file) = &mut file {
                    file.is_unlinked = unlink.is_ok();
                }
                unlinked = unlink.or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                });
            }
            Leave::Close => drop(file.take()),
        }
        step = step.next(left);
    }
    unlinked
}

/// How an acquisition ended; both have what is open.
enum Taken {
    Owned(Locked),
    Held(File),
}

/// A locked file that is let go when this is dropped, at once.
///
/// To close it is not enough: the child of another thread's fork has a copy of the descriptor until it
/// executes its program, and as long as it has, the lock is held.
#[derive(Debug)]
pub struct Locked {
    file: File,
    /// No path leads to it any more, so no new process can find it held; one that waits already may wait for that
    /// child, too.
    is_unlinked: bool,
    /// Another process has the open file, too: to unlock it would take the lock from that one.
    is_handed_on: Cell<bool>,
}

impl Locked {
    fn new(file: File) -> Self {
        Self {
            file,
            is_unlinked: false,
            is_handed_on: Cell::new(false),
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if !self.is_unlinked && !self.is_handed_on.get() {
            // It cannot fail on a file that was locked, and closing it follows.
            drop(self.file.unlock());
        }
    }
}

impl std::ops::Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

/// Carries out the steps to the lock of the file at `place`, on the kernel.
fn take(place: &LockPath<'_>, patience: Patience) -> io::Result<Taken> {
    let (mut file, mut inode) = place.open()?;
    let mut step = Acquire::FIRST.next(Found::Opened);
    loop {
        let found = match step {
            Acquire::Open => {
                (file, inode) = place.open()?;
                Found::Opened
            }
            Acquire::Lock => flock(&file, patience)?,
            Acquire::Compare if place.names(inode)? => Found::Same,
            Acquire::Compare => Found::Other,
            Acquire::Own => return Ok(Taken::Owned(Locked::new(file))),
            Acquire::Held => return Ok(Taken::Held(file)),
        };
        step = step.next(found);
    }
}

fn flock(file: &File, patience: Patience) -> io::Result<Found> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    let locked = match patience {
        Patience::Try => file.try_lock(),
        Patience::Wait => file.lock().map_err(TryLockError::Error),
    };
    match locked {
        Ok(()) => Ok(Found::Locked),
        Err(TryLockError::WouldBlock) => Ok(Found::Busy),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {
            Ok(Found::Interrupted)
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Waits for the lock of `path` on a thread that blocks in the kernel, so the hand-over takes no poll.
///
/// A thread cannot be cancelled: when the future is dropped, the thread may still win the lock, finds
/// no process that wants it, and lets go. It is not `spawn_blocking`: the runtime would wait for it at its end.
async fn wait_for(path: &Path) -> io::Result<Locked> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let wanted = path.to_owned();
    std::thread::Builder::new()
        .name("lock-wait".to_owned())
        .stack_size(64 << 10)
        .spawn(move || drop(sender.send(take(&LockPath::of(&wanted), Patience::Wait))))?;
    match receiver.await {
        Ok(Ok(Taken::Owned(file))) => Ok(file),
        Ok(Ok(Taken::Held(_))) => Err(io::Error::other("the lock was waited for and is held")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the waiting thread ended")),
    }
}

/// Returns what the holder says about itself. A line without an end is not a holder's, see
/// [`claim`].
fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(200).read_to_string(&mut text) {
        Ok(_) => text
            .split_once('\n')
            .map_or_else(String::new, |(line, _)| line.trim().to_owned()),
        Err(_) => String::new(),
    }
}

/// An exclusive lock of anything that is not an app (one pull per image, one watcher); released on drop.
#[derive(Debug)]
#[must_use = "the section is exclusive only as long as this lives"]
pub struct SectionLock {
    file: Locked,
    path: PathBuf,
}

impl SectionLock {
    /// Waits until the section named by `path` is ours. Dropping the future gives up.
    ///
    /// # Errors
    /// [`LockError::Unusable`].
    pub async fn acquire(path: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable {
            path: path.to_owned(),
            source,
        };
        Ok(Self {
            file: wait_for(path).await.map_err(unusable)?,
            path: path.to_owned(),
        })
    }

    /// Takes the section named by `path`, or returns nothing when another process holds it.
    ///
    /// # Errors
    /// [`LockError::Unusable`].
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, LockError> {
        let unusable = |source| LockError::Unusable {
            path: path.to_owned(),
            source,
        };
        Ok(
            match take(&LockPath::of(path), Patience::Try).map_err(unusable)? {
                Taken::Owned(file) => Some(Self {
                    file,
                    path: path.to_owned(),
                }),
                Taken::Held(_) => None,
            },
        )
    }

    /// Returns the lock of the section at `path` that another process has handed on.
    ///
    /// # Errors
    /// [`LockError::Unusable`] when `file` is not that lock.
    pub fn inherited(file: OwnedFd, path: &Path) -> Result<Self, LockError> {
        match Locked::inherited(file, path) {
            Ok(file) => Ok(Self {
                file,
                path: path.to_owned(),
            }),
            Err(source) => Err(LockError::Unusable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Returns the locked file, to hand it on.
    pub fn locked(&self) -> &Locked {
        &self.file
    }

    /// Returns whether the path still names the file that is locked; when it does not, another process may
    /// hold the section, too.
    ///
    /// # Errors
    /// What the system says when that cannot be found out.
    pub fn is_current(&self) -> io::Result<bool> {
        LockPath::of(&self.path).names(Inode::of(&self.file)?)
    }

    /// Returns the device and inode of the locked file, which tell it from every other one.
    ///
    /// # Errors
    /// What the system says.
    pub fn inode(&self) -> io::Result<(u64, u64)> {
        let meta = self.file.metadata()?;
        Ok((meta.dev(), meta.ino()))
    }
}

/// On NFS and its kind the kernel turns `flock` into byte-range locks of a server, and may hang for ever.
pub fn refuse_network_file_system(dir: &Path) -> Result<(), LockError> {
    let unusable = |error: nix::errno::Errno| LockError::Unusable {
        path: dir.to_owned(),
        source: error.into(),
    };
    let kind = nix::sys::statfs::statfs(dir).map_err(unusable)?;
    if is_network(kind.filesystem_type()) {
        return Err(LockError::NetworkFileSystem {
            path: dir.to_owned(),
        });
    }
    Ok(())
}

fn is_network(kind: FsType) -> bool {
    // linux/magic.h (Lustre's is in its own tree); nix has only the oldest of them.
    const CIFS: FsType = FsType(0xff53_4d42);
    const SMB2: FsType = FsType(0xfe53_4d42);
    const CEPH: FsType = FsType(0x00c3_6400);
    const AFS: FsType = FsType(0x5346_414f);
    const AFS_OF_LINUX: FsType = FsType(0x6b41_4653);
    const LUSTRE: FsType = FsType(0x0bd0_0bd0);
    // With some options (`locktoserver`, `nolock`) its locks are the server's, or do not exist; the number does not tell.
    const PLAN9: FsType = FsType(0x0102_1997);
    // Not FUSE: unless its daemon asks for them, the kernel keeps the locks itself and lets them go with their holder, as
    // on a local disk; and most of it is one (fuse-overlayfs, ntfs-3g, mergerfs).
    [
        NFS_SUPER_MAGIC,
        SMB_SUPER_MAGIC,
        CIFS,
        SMB2,
        CEPH,
        AFS,
        AFS_OF_LINUX,
        LUSTRE,
        PLAN9,
    ]
    .contains(&kind)
}
