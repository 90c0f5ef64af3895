//! What a commit has in the place of files: pointers of Git LFS, and submodules.
//!
//! Neither is ever fetched. abra does not either, because go-git knows no filters, so an operator's app gets what a
//! run gets. The address of a submodule or of an LFS server is a stranger's to choose, besides.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use git2::{IndexEntry, ObjectType, Repository};

use super::{GitError, open};
use crate::source_tree::{POINTER_CEILING, is_pointer};

/// The mode of a submodule in an index: `S_IFGITLINK`, git's gitformat-index(5).
const SUBMODULE: u32 = 0o160_000;

/// The paths in the index of a repository whose files are elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StandIns {
    /// Pointers of Git LFS, whatever lies in the work tree.
    pub pointers: Vec<PathBuf>,
    /// Submodules.
    pub submodules: Vec<PathBuf>,
}

/// Returns what the index of the repository at `repo_dir` has in the place of files.
///
/// # Errors
/// [`GitError`] when it cannot be read.
pub fn stand_ins(repo_dir: &Path) -> Result<StandIns, GitError> {
    let repo = open(repo_dir)?;
    list(&repo).map_err(GitError::git("read the index", repo_dir))
}

pub(super) fn list(repo: &Repository) -> Result<StandIns, git2::Error> {
    let mut found = StandIns::default();
    for entry in repo.index()?.iter() {
        let path = || PathBuf::from(OsStr::from_bytes(&entry.path));
        if entry.mode == SUBMODULE {
            found.submodules.push(path());
        } else if holds_pointer(repo, &entry)? {
            found.pointers.push(path());
        }
    }
    Ok(found)
}

fn holds_pointer(repo: &Repository, entry: &IndexEntry) -> Result<bool, git2::Error> {
    let odb = repo.odb()?;
    // A partial clone may lack it; who needs it says so.
    if !odb.exists(entry.id) {
        return Ok(false);
    }
    let (size, kind) = odb.read_header(entry.id)?;
    let is_short = (size as u64) < POINTER_CEILING && kind == ObjectType::Blob;
    Ok(is_short && is_pointer(odb.read(entry.id)?.data()))
}
