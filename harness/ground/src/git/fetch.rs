//! Fetching: from any source to a repository of our own, checked out at the wanted commit.

pub(super) mod error;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryInitOptions};

use super::commit::CommitId;
use super::local::{self, Extent};
use super::source::Source;
use super::tags::{self, Tag};
use super::token::Token;
use super::transport;
use super::{checkout, memory, remote, worktree};
use crate::name::GitRef;
pub use error::FetchError;

/// What to fetch, and where to.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// Where it comes from.
    pub source: Source,
    /// The branch, tag, commit or `refs/…` to check out. Without one, what the source has checked out: of a
    /// path its work tree with everything uncommitted, of a URL its `HEAD`.
    pub reference: Option<GitRef>,
    /// The absolute path of the new repository, which must not exist yet.
    pub destination: PathBuf,
    /// Opens private repositories of the forge; it is sent nowhere else.
    pub token: Option<Token>,
}

/// A repository of our own with the wanted commit checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it is.
    pub destination: PathBuf,
    /// The commit that is checked out.
    pub commit: CommitId,
    /// Whether uncommitted changes of the source lie over the commit.
    pub dirty: bool,
    /// The branch that led to the commit, if one did.
    pub branch: Option<String>,
    /// Whether the history ends before its beginning, so that tags may be missing, too.
    pub shallow: bool,
    /// All tags of the source.
    pub tags: Vec<Tag>,
    /// What was odd on the way and did no harm, in sentences for the report.
    pub remarks: Vec<String>,
}

/// Fetches a repository into a new one at the request's destination, which is complete on its own: all tags, all
/// branches as remote ones, `HEAD` detached at the wanted commit, and its files checked out.
///
/// The source is neither changed nor locked. After a failure there is nothing at the destination.
///
/// # Errors
/// [`FetchError`].
pub fn fetch(request: &FetchRequest) -> Result<Fetched, FetchError> {
    let destination = &request.destination;
    if fs::symlink_metadata(destination).is_ok() {
        return Err(FetchError::DestinationExists {
            path: destination.clone(),
        });
    }
    let bound = memory::Bound::enter();
    let filled = fill(request);
    drop(bound);
    filled.map_err(|error| {
        match fs::remove_dir_all(destination) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %destination.display(), error = %e, "a failed fetch leaves files behind");
            }
            _ => {}
        }
        error.or_disk_full(destination)
    })
}

/// Returns the names of a source's tags, without fetching it. Blocking.
///
/// # Errors
/// [`FetchError`].
pub fn tag_names(source: &Source, token: Option<&Token>) -> Result<Vec<String>, FetchError> {
    transport::prepare();
    let path = match source {
        Source::Path(path) => path.clone(),
        Source::Url(url) | Source::Forge { url, .. } => match url.local_path() {
            Some(path) => path,
            None => return remote::tag_names(url, token),
        },
    };
    if !path.exists() {
        return Err(FetchError::SourceMissing { path });
    }
    let names = Repository::open(&path).and_then(|repo| tags::list(&repo));
    let names = names.map_err(|source| FetchError::git("list the tags of", &path, source))?;
    Ok(names.into_iter().map(|tag| tag.name).collect())
}

fn fill(request: &FetchRequest) -> Result<Fetched, FetchError> {
    let FetchRequest {
        source,
        reference,
        destination,
        token,
    } = request;
    let (reference, token) = (reference.as_ref(), token.as_ref());
    let failed = |doing| move |source| FetchError::git(doing, destination, source);
    let repo = create(destination).map_err(failed("create"))?;
    let landing = match source {
        Source::Path(path) => local::bring(&repo, path, reference, Extent::WorkTree)?,
        Source::Url(url) | Source::Forge { url, .. } => match url.local_path() {
            Some(path) => local::bring(&repo, &path, reference, Extent::Committed)?,
            None => remote::bring(&repo, url, reference, token)?,
        },
    };
    checkout::force(&repo, landing.commit)?;
    if let Some((root, changes)) = &landing.overlay {
        worktree::overlay(root, destination, changes).map_err(|(path, source)| FetchError::Io {
            doing: "copy",
            path,
            source,
        })?;
    }
    Ok(Fetched {
        destination: destination.clone(),
        commit: landing.commit.into(),
        dirty: landing.overlay.is_some(),
        branch: landing.branch,
        shallow: repo.is_shallow(),
        tags: tags::list(&repo).map_err(failed("list the tags of"))?,
        remarks: landing.remarks,
    })
}

fn create(destination: &Path) -> Result<Repository, git2::Error> {
    transport::prepare();
    let mut options = RepositoryInitOptions::new();
    // No template: it could bring hooks of this host.
    options
        .mkpath(true)
        .no_reinit(true)
        .external_template(false)
        .initial_head("main");
    let repo = Repository::init_opts(destination, &options)?;
    // A checkout has the same bytes on every host, whatever the user's configuration says.
    repo.config()?
        .open_level(git2::ConfigLevel::Local)?
        .set_bool("core.autocrlf", false)?;
    Ok(repo)
}
