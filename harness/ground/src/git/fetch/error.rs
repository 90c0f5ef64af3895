//! Why a repository could not be fetched.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::{ErrorClass, Oid};

use crate::git::content::ContentError;
use crate::git::http::TransportError;
use crate::git::source::SourceError;
use crate::git::{Fault, memory, reference, worktree};
/// A repository could not be fetched; [`FetchError::fault`] says whose turn it is.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source is not one.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is nothing at the path.
    #[error("the source `{path}` does not exist")]
    SourceMissing {
        /// The path that was given.
        path: PathBuf,
    },
    /// There is something at the path, but no git repository that can be read.
    #[error("the source `{path}` is not a git repository that can be read")]
    NotARepository {
        /// The path that was given.
        path: PathBuf,
        /// What libgit2 says.
        source: git2::Error,
    },
    /// The path is inside a repository.
    #[error(
        "the source `{path}` is inside the git repository `{root}`; give the root of a recipe's own repository"
    )]
    SubDirectory {
        /// The path that was given.
        path: PathBuf,
        /// The root of the repository that it is in.
        root: PathBuf,
    },
    /// The work tree would be copied into itself.
    #[error("`{path}` is inside the source `{root}`; it has to be elsewhere, or ignored there")]
    DestinationInside {
        /// The destination.
        path: PathBuf,
        /// The root of the source.
        root: PathBuf,
    },
    /// The source has no such branch, tag, commit or ref.
    #[error("`{origin}` has no ref or commit `{reference}`{}", listed(.close))]
    UnknownRef {
        /// What was asked for.
        reference: String,
        /// Where it was looked for.
        origin: String,
        /// A few names that exist, the most similar first.
        close: Vec<String>,
    },
    /// The abbreviated commit fits more than one.
    #[error("`{reference}` fits more than one commit of `{origin}`; give more digits")]
    AmbiguousRef {
        /// What was asked for.
        reference: String,
        /// Where it was looked for.
        origin: String,
    },
    /// The source is empty, or its `HEAD` leads nowhere.
    #[error(
        "`{origin}` has no commit to check out; name a ref that it has, or commit something first"
    )]
    NoCommit {
        /// The source.
        origin: String,
    },
    /// The source is a partial clone that lacks what is to be checked out.
    #[error("the source `{path}` is a partial clone")]
    Partial {
        /// The path that was given.
        path: PathBuf,
        /// What it lacks.
        source: ContentError,
    },
    /// The source has too many refs.
    #[error("`{origin}` has {count} branches and tags, more than {MOST_REFS}")]
    TooManyRefs {
        /// The source.
        origin: String,
        /// How many it has.
        count: usize,
    },
    /// The commit holds what is not written to a disk.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The server could not be asked, or refused.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It has an object that is too large to be read.
    #[error(
        "`{place}` has an object that takes more than {} MiB of memory",
        memory::FETCH_CEILING >> 20
    )]
    Memory {
        /// The repository.
        place: String,
        /// What libgit2 says.
        source: git2::Error,
    },
    /// Its objects take too long to be unpacked.
    #[error(
        "`{place}` takes more than {} s of a processor to be unpacked; is there a file in its history that is nearly all zeros?",
        .most.as_secs()
    )]
    Unpacking {
        /// The repository.
        place: String,
        /// How much it may take.
        most: Duration,
    },
    /// Something is where the repository is to be.
    #[error("the destination `{path}` exists already")]
    DestinationExists {
        /// The destination.
        path: PathBuf,
    },
    /// There is no room for the repository.
    #[error("no space is left for `{path}`")]
    DiskFull {
        /// The destination.
        path: PathBuf,
    },
    /// An operation of libgit2 failed.
    #[error("cannot {doing} `{place}`")]
    Git {
        /// What was being done, as a verb phrase.
        doing: &'static str,
        /// To which repository.
        place: String,
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
}

/// How many branches and tags a repository may have: each becomes a file here, of a block at least. The recipes with the
/// most have a few hundred.
pub(in crate::git) const MOST_REFS: usize = 10_000;

/// Refuses a source with too many refs.
///
/// # Errors
/// [`FetchError::TooManyRefs`].
pub(in crate::git) fn bounded(count: usize, origin: &str) -> Result<(), FetchError> {
    if count <= MOST_REFS {
        return Ok(());
    }
    Err(FetchError::TooManyRefs {
        origin: origin.to_owned(),
        count,
    })
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; it has `{}`", names.join("`, `"))
    }
}

impl FetchError {
    /// Returns whether another request would help, or only another time or host.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Source(_)
            | Self::SourceMissing { .. }
            | Self::NotARepository { .. }
            | Self::SubDirectory { .. }
            | Self::DestinationInside { .. }
            | Self::UnknownRef { .. }
            | Self::AmbiguousRef { .. }
            | Self::NoCommit { .. }
            | Self::Partial { .. }
            | Self::TooManyRefs { .. }
            | Self::Memory { .. }
            | Self::Unpacking { .. }
            | Self::Transport(TransportError::TooLarge { .. }) => Fault::Usage,
            // A forge hides what a client may not see: GitHub and Gitea answer both alike. The source is wrong, or
            // this host has no token for it; the host itself is well.
            Self::Transport(TransportError::Status { status: 404, .. }) => Fault::Usage,
            Self::Transport(TransportError::Status {
                status: 401,
                authorized: false,
                ..
            }) => Fault::Usage,
            Self::Content(error) if error.is_the_repositorys() => Fault::Usage,
            Self::Transport(_)
            | Self::Content(_)
            | Self::DestinationExists { .. }
            | Self::DiskFull { .. }
            | Self::Git { .. }
            | Self::Io { .. } => Fault::Infrastructure,
        }
    }

    /// Returns whether the forge, or the way to it, failed as it may not at another time.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(TransportError::Status { status, .. }) => {
                matches!(status, 408 | 429 | 500..)
            }
            Self::Transport(
                TransportError::Connect { .. }
                | TransportError::Silent { .. }
                | TransportError::Broken { .. },
            ) => true,
            _ => false,
        }
    }

    pub(in crate::git) fn git(doing: &'static str, place: &Path, source: git2::Error) -> Self {
        let place = place.display().to_string();
        if memory::is_short(&source) {
            return Self::Memory { place, source };
        }
        Self::Git {
            doing,
            place,
            source,
        }
    }

    /// Returns the refusal of a name, with those of the full ref names that come close to it.
    pub(in crate::git) fn unknown<'a>(
        wanted: &str,
        origin: String,
        refs: impl Iterator<Item = &'a str>,
    ) -> Self {
        const NAMED: [&str; 3] = ["refs/heads/", "refs/tags/", "refs/remotes/origin/"];
        let names = refs.filter_map(|name| NAMED.iter().find_map(|space| name.strip_prefix(space)));
        let bare = NAMED
            .iter()
            .find_map(|space| wanted.strip_prefix(space))
            .unwrap_or(wanted);
        let close = reference::close_names(bare, names.filter(|name| *name != "HEAD"));
        Self::UnknownRef {
            reference: wanted.to_owned(),
            origin,
            close,
        }
    }

    /// Returns the error as a full disk if that is what it is: libgit2 says so in its message only.
    pub(super) fn or_disk_full(self, destination: &Path) -> Self {
        let full = match &self {
            Self::Git { source, .. } => {
                source.class() != ErrorClass::Net
                    && ["No space left on device", "Disk quota exceeded"]
                        .iter()
                        .any(|m| source.message().contains(m))
            }
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            }
            _ => false,
        };
        if full {
            Self::DiskFull {
                path: destination.to_owned(),
            }
        } else {
            self
        }
    }
}

/// What has been brought, and what is to be checked out of it.
pub(in crate::git) struct Landing {
    pub(in crate::git) commit: Oid,
    pub(in crate::git) branch: Option<String>,
    /// A work tree and what is not committed in it.
    pub(in crate::git) overlay: Option<(PathBuf, Vec<worktree::Change>)>,
    /// As in [`super::Fetched`].
    pub(in crate::git) remarks: Vec<String>,
}
