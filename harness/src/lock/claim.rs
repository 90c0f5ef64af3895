//! Free locks that are taken for the moment that unlinking their files needs.

use std::io;
use std::path::PathBuf;

use super::place::Place;
use super::protocol::{Left, Patience};
use super::{LockError, Locked, Taken, give_up, refuse_network_file_system, take};
use crate::dirs::HostDirs;
use crate::name::Domain;

/// The lock directory, for those who unlink lock files.
#[derive(Debug)]
pub(crate) struct LockDir {
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
    /// Returns the host's lock directory.
    ///
    /// # Errors
    /// [`LockError`] when it is on a network file system.
    pub(crate) fn open(host: &HostDirs) -> Result<Self, LockError> {
        let path = host.locks.clone();
        refuse_network_file_system(&path)?;
        Ok(Self { path })
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
        let path = self.path.join(HostDirs::lock_file_name(domain));
        let claimed = match take(&Place::existing(&path), Patience::Try) {
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
            Err(source) => Err(LockError::Unusable { path, source }),
        }
    }

    /// Gives a claimed domain up, having seen what is `left` of its app: unlinks the lock file if that is
    /// nothing, and lets go.
    ///
    /// # Errors
    /// [`LockError::Unusable`] when the file cannot be unlinked; it is let go even then.
    pub(crate) fn leave(&self, claim: Claim, left: Left) -> Result<(), LockError> {
        let Claim { file, domain } = claim;
        let path = self.path.join(HostDirs::lock_file_name(&domain));
        give_up(file, left, || Place::existing(&path).unlink())
            .map_err(|source| LockError::Unusable { path, source })
    }
}
