//! The files of a commit, read without a checkout.

use std::path::Path;

use git2::{ObjectType, Repository, Tree, TreeWalkMode, TreeWalkResult};

use super::commit::CommitId;
use super::{GitError, checkout, content, open};
use crate::source_tree::TEXT_CEILING;

/// The files that a commit holds.
pub struct CommitFiles {
    repo: Repository,
    commit: git2::Oid,
    path: std::path::PathBuf,
}

impl std::fmt::Debug for CommitFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitFiles").finish_non_exhaustive()
    }
}

impl CommitFiles {
    /// Returns the files of a commit of the repository at `repo_dir`.
    ///
    /// # Errors
    /// [`GitError`] when there is no such repository or commit, or the commit holds more than a recipe may have.
    pub fn open(repo_dir: &Path, commit: CommitId) -> Result<Self, GitError> {
        let repo = open(repo_dir)?;
        let commit = checkout::present(&repo, repo_dir, commit)?;
        content::check(&repo, commit)?;
        let path = repo_dir.to_owned();
        Ok(Self { repo, commit, path })
    }

    fn tree(&self) -> Result<Tree<'_>, git2::Error> {
        self.repo.find_commit(self.commit)?.tree()
    }

    /// Returns the paths of all files, sorted as git sorts them; what is no text is left out.
    ///
    /// # Errors
    /// [`GitError`] when an object is missing.
    pub fn paths(&self) -> Result<Vec<String>, GitError> {
        let mut paths = Vec::new();
        let walk = || {
            self.tree()?.walk(TreeWalkMode::PreOrder, |dir, entry| {
                if entry.kind() == Some(ObjectType::Blob)
                    && let Ok(name) = entry.name()
                {
                    paths.push(format!("{dir}{name}"));
                }
                TreeWalkResult::Ok
            })
        };
        let mut walk = walk;
        walk().map_err(GitError::git("list the files of a commit", &self.path))?;
        Ok(paths)
    }

    /// Returns what the commit holds at `path`, relative to its root; `None` when that is no file, or a larger one
    /// than is read of a work tree.
    ///
    /// # Errors
    /// [`GitError`] when an object is missing.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, GitError> {
        let look_up = || {
            let tree = self.tree()?;
            let Ok(entry) = tree.get_path(Path::new(path)) else {
                return Ok(None);
            };
            if entry.kind() != Some(ObjectType::Blob) {
                return Ok(None);
            }
            if self.repo.odb()?.read_header(entry.id())?.0 as u64 > TEXT_CEILING {
                return Ok(None);
            }
            let blob = self.repo.find_blob(entry.id())?;
            Ok(Some(blob.content().to_vec()))
        };
        look_up().map_err(GitError::git("read a file of a commit", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    #[test]
    fn a_commit_is_read_whatever_the_work_tree_holds() {
        let fixture = Fixture::new();
        let first = fixture.commit(&[("a", "1"), ("dir/b", "2")]);
        fixture.commit(&[("a", "3")]);
        fixture.write("a", "4");
        let files = CommitFiles::open(fixture.path(), first.into()).unwrap();
        assert_eq!(files.paths().unwrap(), ["a", "dir/b"]);
        assert_eq!(files.read("a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(files.read("dir").unwrap(), None);
        assert_eq!(files.read("none").unwrap(), None);
        assert!(CommitFiles::open(fixture.path(), git2::Oid::ZERO_SHA1.into()).is_err());
    }
}
