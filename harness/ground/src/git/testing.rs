//! What tests share: repositories made on the spot, and for the tests of this module a git server.

#![expect(clippy::unwrap_used, reason = "a test that calls this fails with it")]

use std::fs;
use std::path::Path;
#[cfg(test)]
use std::path::PathBuf;
#[cfg(test)]
use std::time::SystemTime;

use git2::{IndexAddOption, Oid, Repository, RepositoryInitOptions, Signature};
use tempfile::TempDir;

use super::transport;

#[cfg(test)]
pub(super) mod server;

/// A repository with a work tree, in a directory that goes with it.
pub struct Fixture {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "it lives as long as the repository")
    )]
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
    #[cfg(test)]
    pub(super) fn outside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory that a server serves: the repository is `notes` in it.
    #[cfg(test)]
    pub(super) fn served(&self) -> PathBuf {
        self.outside("served")
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

    /// A commit that no ref leads to, with one file.
    #[cfg(test)]
    pub(super) fn stray_commit(&self, content: &str, parent: Oid) -> Oid {
        let blob = self.repo.blob(content.as_bytes()).unwrap();
        let mut tree = self.repo.treebuilder(None).unwrap();
        tree.insert("stray", blob, 0o100_644).unwrap();
        let tree = self.repo.find_tree(tree.write().unwrap()).unwrap();
        let me = Signature::now("test", "test@example.org").unwrap();
        let parent = self.repo.find_commit(parent).unwrap();
        self.repo
            .commit(None, &me, &me, "a stray", &tree, &[&parent])
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

    /// What changes when someone touches the index.
    #[cfg(test)]
    pub(super) fn index_state(&self) -> (Vec<u8>, SystemTime) {
        let index = self.path().join(".git/index");
        (
            crate::host_file::bytes(&index).unwrap(),
            fs::metadata(&index).unwrap().modified().unwrap(),
        )
    }

    /// Every file below the repository with its time and size.
    #[cfg(test)]
    pub(super) fn everything(&self) -> Vec<(PathBuf, SystemTime, u64)> {
        let entries = walkdir::WalkDir::new(self.path())
            .sort_by_file_name()
            .into_iter()
            .map(Result::unwrap);
        entries
            .map(|entry| {
                let meta = entry.metadata().unwrap();
                (
                    entry.path().to_owned(),
                    meta.modified().unwrap(),
                    meta.len(),
                )
            })
            .collect()
    }
}
