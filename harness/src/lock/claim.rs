//! Free locks that are taken many at a time, for the moment that unlinking their files needs.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::protocol::{Left, Patience};
use super::{LockError, Locked, Taken, give_up, refuse_network_file_system, take};
use crate::dirs::HostDirs;
use crate::host_file;
use crate::name::Domain;

/// The lock directory, open: to look each of a thousand paths up from the root would be a tenth of their time.
#[derive(Debug)]
pub(crate) struct LockDir {
    dir: File,
    path: PathBuf,
}

/// A free lock that is ours, as [`DomainLock`](super::DomainLock) is, but nobody is told whose.
#[derive(Debug)]
#[must_use = "the domain is owned only as long as this lives"]
pub(crate) struct Claim {
    file: Locked,
    domain: Domain,
}

impl Claim {
    /// Returns the domain that is owned.
    pub(crate) fn domain(&self) -> &Domain {
        &self.domain
    }
}

impl LockDir {
    /// Opens the host's lock directory.
    ///
    /// # Errors
    /// [`LockError`] when it cannot be opened, or is on a network file system.
    pub(crate) fn open(host: &HostDirs) -> Result<Self, LockError> {
        let path = host.locks.clone();
        refuse_network_file_system(&path)?;
        match host_file::open(&path) {
            Ok(dir) => Ok(Self { dir, path }),
            Err(source) => Err(LockError::Unusable { path, source }),
        }
    }

    /// Takes the lock of `domain`, or returns nothing when somebody holds it or has unlinked it already: none is
    /// made only to be removed. Who holds it is not written down: of a thousand stale files that was half the time.
    ///
    /// The last owner's text is cut and the file's time set: who looks meanwhile must not take it for held by
    /// that owner, and since then. A byte is left, because ext4 writes a file through to the disk when it is
    /// closed, if it was truncated to nothing before.
    ///
    /// # Errors
    /// [`LockError`] when the lock file cannot be opened or locked at all.
    pub(crate) fn try_claim(&self, domain: &Domain) -> Result<Option<Claim>, LockError> {
        let name = HostDirs::lock_file_name(domain);
        let claimed = match take(&self.place(Path::new(&name)), Patience::Try) {
            Ok(Taken::Owned(file)) => file.set_len(1).map(|()| Some(file)),
            Ok(Taken::Held(_)) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        match claimed {
            Ok(file) => Ok(file.map(|file| Claim {
                file,
                domain: domain.clone(),
            })),
            Err(source) => Err(self.unusable(&name, source)),
        }
    }

    /// Gives a claimed domain up, having seen what is `left` of its app: unlinks the lock file if that is
    /// nothing, and lets go.
    ///
    /// # Errors
    /// [`LockError::Unusable`] when the file cannot be unlinked; it is let go even then.
    pub(crate) fn leave(&self, claim: Claim, left: Left) -> Result<(), LockError> {
        let Claim { file, domain } = claim;
        let name = HostDirs::lock_file_name(&domain);
        give_up(file, left, || self.place(Path::new(&name)).unlink())
            .map_err(|source| self.unusable(&name, source))
    }

    /// Returns the directory's descriptor.
    pub(crate) fn file(&self) -> &File {
        &self.dir
    }

    fn place<'a>(&'a self, name: &'a Path) -> Place<'a> {
        Place::within(self.dir.as_fd(), name)
    }

    fn unusable(&self, name: &str, source: io::Error) -> LockError {
        LockError::Unusable {
            path: self.path.join(name),
            source,
        }
    }
}
