//! What tests share: repositories made on the spot, and for the tests of this module a git server.

#![expect(clippy::unwrap_used, reason = "a test that calls this fails with it")]

use std::fs;
use std::path::{Path, PathBuf};

use git2::{IndexAddOption, Oid, Repository, RepositoryInitOptions, Signature};
use tempfile::TempDir;

use super::transport;

#[cfg(test)]
pub(super) mod server;

/// A repository with a work tree, in a directory that goes with it.
pub struct Fixture {
    directory: TempDir,
    pub(super) repo: Repository,
}

impl Default for Fixture {
    fn default() -> Self {
        Self::new()
    }
}

impl Fixture {
    /// Makes an empty one.
    pub fn new() -> Self {
        transport::prepare();
        let directory = tempfile::tempdir().unwrap();
        let mut options = RepositoryInitOptions::new();
        options
            .external_template(false)
            .initial_head("main")
            .mkpath(true);
        let repo = Repository::init_opts(directory.path().join("served/notes"), &options).unwrap();
        Self { directory, repo }
    }

    pub fn path(&self) -> &Path {
        self.repo.workdir().unwrap()
    }

    /// A path beside the repository.
    pub fn outside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        crate::host_file::text(self.path().join(path)).unwrap()
    }

    /// Writes the files and commits them together with all else that lies in the work tree.
    pub fn commit(&self, files: &[(&str, &str)]) -> Oid {
        for (path, content) in files {
            self.write(path, content);
        }
        let mut index = self.repo.index().unwrap();
        index.add_all(["*"], IndexAddOption::DEFAULT, None).unwrap();
        index.update_all(["*"], None).unwrap();
        index.write().unwrap();
        let tree = self.repo.find_tree(index.write_tree().unwrap()).unwrap();
        let parent = self
            .repo
            .head()
            .ok()
            .map(|head| head.peel_to_commit().unwrap());
        let parents: Vec<_> = parent.iter().collect();
        let me = Signature::now("test", "test@example.org").unwrap();
        self.repo
            .commit(Some("HEAD"), &me, &me, "a commit", &tree, &parents)
            .unwrap()
    }

    pub(super) fn reference(&self, name: &str, target: Oid) {
        self.repo.reference(name, target, true, "").unwrap();
    }

    pub fn tag(&self, name: &str, commit: Oid) {
        self.reference(&format!("refs/tags/{name}"), commit);
    }

    pub fn annotated_tag(&self, name: &str, commit: Oid) {
        let me = Signature::now("test", "test@example.org").unwrap();
        let object = self.repo.find_object(commit, None).unwrap();
        self.repo
            .tag(name, &object, &me, "a version", false)
            .unwrap();
    }
}
