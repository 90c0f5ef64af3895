//! Git: brings the repository under test to the run, and reads it there.
//!
//! Everything works through libgit2, in process: no `git` is spawned, no hook, filter driver or credential
//! helper of any configuration is ever executed. All functions block; the caller runs them off its event
//! loop. Paths are absolute. What a source offers is never modified: every repository that is written to is
//! one that this module made itself.

pub mod checkout;
pub mod commit;
pub mod content;
pub mod enclosed;
pub mod fetch;
pub mod files;
pub mod http;
mod local;
pub mod memory;
mod reference;
mod remote;
pub mod snapshot;
pub mod source;
pub mod stand_in;
pub mod tags;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod token;
mod transport;
pub mod worktree;

use std::io;
use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryOpenFlags};

use content::ContentError;

/// Whose turn it is when something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What was asked for cannot be had: the caller has to ask differently.
    Usage,
    /// The host, the network or the forge: the same request may succeed later.
    Infrastructure,
}

/// A repository that is already here could not be read or set to a commit.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no repository at the path, or one that libgit2 cannot read.
    #[error("cannot open the git repository `{path}`")]
    Open {
        /// Where it was expected.
        path: PathBuf,
        /// What libgit2 says.
        source: git2::Error,
    },
    /// The name is no tag, branch or commit of the repository.
    #[error("`{name}` is no tag, branch or commit of `{path}`")]
    UnknownRef {
        /// What was asked for.
        name: String,
        /// The repository.
        path: PathBuf,
    },
    /// The abbreviated commit fits more than one object.
    #[error("`{name}` fits more than one commit of `{path}`")]
    AmbiguousRef {
        /// What was asked for.
        name: String,
        /// The repository.
        path: PathBuf,
    },
    /// A commit holds what is not written to a disk.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// An operation of libgit2 failed.
    #[error("cannot {doing} in `{path}`")]
    Git {
        /// What was being done, as a verb phrase.
        doing: &'static str,
        /// The repository.
        path: PathBuf,
        /// What libgit2 says.
        source: git2::Error,
    },
    /// An operation of the file system failed.
    #[error("cannot {doing} `{path}`")]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something is already there.
    #[error("`{path}` exists already")]
    Exists {
        /// What was to be created.
        path: PathBuf,
    },
    /// The directory's `.git` is a pointer to another place, so a copy would write to the original.
    #[error(
        "`{path}` is a linked worktree or a submodule; its copy would share the original's index"
    )]
    Linked {
        /// The directory.
        path: PathBuf,
    },
}

impl GitError {
    fn git(doing: &'static str, path: &Path) -> impl FnOnce(git2::Error) -> Self {
        move |source| Self::Git {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

/// Opens the repository whose root is `path` itself, never one above it.
fn open(path: &Path) -> Result<Repository, GitError> {
    open_exactly(path).map_err(|source| GitError::Open {
        path: path.to_owned(),
        source,
    })
}

fn open_exactly(path: &Path) -> Result<Repository, git2::Error> {
    transport::prepare();
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, [] as [&Path; 0])
}
