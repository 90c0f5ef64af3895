//! The work tree of a fetched repository: setting it to a commit, and reading what commits hold.

use std::path::Path;

use git2::build::CheckoutBuilder;
use git2::{Oid, Repository};

use super::commit::CommitId;
use super::content::{self, ContentError};
use super::reference::{self, Resolved, Unresolved};
use super::{GitError, open};

/// Where names are looked up in a fetched repository: tags first, because versions are tags.
const NAMESPACES: [&str; 4] = ["refs/tags/", "refs/remotes/origin/", "refs/heads/", "refs/"];

/// The tip of the branch that a change is meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// The branch, without `origin/`.
    pub name: String,
    /// Its commit.
    pub commit: CommitId,
}

/// Sets the work tree to exactly what a commit or tag holds, with `HEAD` detached there; returns the commit.
///
/// Local changes are overwritten and untracked files removed, so that neither an overlay nor the tree of
/// another version can stand in the way or remain. Ignored files stay.
///
/// # Errors
/// [`GitError`] when the name is unknown or the tree cannot be written.
pub fn checkout(repo_dir: &Path, commit_or_tag: &str) -> Result<CommitId, GitError> {
    let repo = open(repo_dir)?;
    let commit = find(&repo, repo_dir, commit_or_tag)?;
    force(&repo, commit)?;
    Ok(commit.into())
}

pub(super) fn force(repo: &Repository, commit: Oid) -> Result<(), ContentError> {
    content::check(repo, commit)?;
    let write = || {
        let object = repo.find_object(commit, None)?;
        let mut options = CheckoutBuilder::new();
        options.force().remove_untracked(true);
        repo.checkout_tree(&object, Some(&mut options))?;
        repo.set_head_detached(commit)
    };
    write().map_err(|source| ContentError::of(commit, source))
}

/// Returns the commit that a tag, branch, `refs/…` or (abbreviated) id names.
///
/// # Errors
/// [`GitError`] when it names none.
pub fn commit_of(repo_dir: &Path, name: &str) -> Result<CommitId, GitError> {
    find(&open(repo_dir)?, repo_dir, name).map(CommitId::from)
}

/// Returns whether the repository's history ends before its beginning.
///
/// # Errors
/// [`GitError`] when it cannot be read.
pub fn is_shallow(repo_dir: &Path) -> Result<bool, GitError> {
    Ok(open(repo_dir)?.is_shallow())
}

/// Returns the address of the remote `origin`, if there is one.
///
/// # Errors
/// [`GitError`] when the repository cannot be read.
pub fn remote_url(repo_dir: &Path) -> Result<Option<String>, GitError> {
    let repo = open(repo_dir)?;
    let remote = repo.find_remote("origin");
    Ok(remote
        .ok()
        .and_then(|remote| remote.url().ok().map(str::to_owned)))
}

/// Returns the tip of the branch that is the remote's `HEAD`, else of `main`, else of `master`, as far as there is
/// one. A repository that was made on this host and never pushed has no remote that says which it is.
///
/// # Errors
/// [`GitError`] when the repository cannot be read.
pub fn target_branch_tip(repo_dir: &Path) -> Result<Option<Tip>, GitError> {
    let repo = open(repo_dir)?;
    for name in ["HEAD", "main", "master"] {
        let full = format!("refs/remotes/origin/{name}");
        match reference::resolve(&repo, &full, &[]) {
            Ok(Resolved { commit, .. }) => {
                let pointed = repo.find_reference(&full).ok().and_then(|reference| {
                    let target = reference.symbolic_target().ok().flatten()?;
                    target
                        .strip_prefix("refs/remotes/origin/")
                        .map(str::to_owned)
                });
                let name = pointed.unwrap_or_else(|| name.to_owned());
                return Ok(Some(Tip {
                    name,
                    commit: commit.into(),
                }));
            }
            Err(Unresolved::Git(e)) => {
                return Err(GitError::git("find the target branch", repo_dir)(e));
            }
            Err(Unresolved::Unknown | Unresolved::Ambiguous) => {}
        }
    }
    Ok(None)
}

/// Returns whether the history of `commit` holds `ancestor`; a commit is its own ancestor.
///
/// # Errors
/// [`GitError`] when a commit is unknown or cannot be read.
pub fn is_ancestor(
    repo_dir: &Path,
    ancestor: CommitId,
    commit: CommitId,
) -> Result<bool, GitError> {
    let repo = open(repo_dir)?;
    let (ancestor, commit) = (
        present(&repo, repo_dir, ancestor)?,
        present(&repo, repo_dir, commit)?,
    );
    if ancestor == commit {
        return Ok(true);
    }
    repo.graph_descendant_of(commit, ancestor)
        .map_err(GitError::git("follow the history of a commit", repo_dir))
}

/// Returns a commit that the repository has: a shallow or partial clone lacks some that are known.
pub(super) fn present(
    repo: &Repository,
    repo_dir: &Path,
    commit: CommitId,
) -> Result<Oid, GitError> {
    find(repo, repo_dir, &commit.to_string())
}

pub(super) fn find(repo: &Repository, repo_dir: &Path, name: &str) -> Result<Oid, GitError> {
    let (path, named) = (repo_dir.to_owned(), name.to_owned());
    match reference::resolve(repo, name, &NAMESPACES) {
        Ok(resolved) => Ok(resolved.commit),
        Err(Unresolved::Unknown) => Err(GitError::UnknownRef { name: named, path }),
        Err(Unresolved::Ambiguous) => Err(GitError::AmbiguousRef { name: named, path }),
        Err(Unresolved::Git(e)) => Err(GitError::git("look up a commit", repo_dir)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    #[test]
    fn a_checkout_is_forced_and_clean() {
        let fixture = Fixture::new();
        let first = fixture.commit(&[("a", "1"), ("dir/b", "1")]);
        fixture.annotated_tag("1.0.0", first);
        let second = fixture.commit(&[("a", "2"), ("compose.ccci.yml", "of the recipe")]);
        checkout(fixture.path(), "1.0.0").unwrap();
        assert_eq!(fixture.read("a"), "1");
        // An overlay lies where the next commit has a file, another where it has none, a file is changed.
        fixture.write("compose.ccci.yml", "an overlay");
        fixture.write("junk/x", "");
        fixture.write("a", "changed");
        assert_eq!(
            checkout(fixture.path(), &second.to_string()[..8]).unwrap(),
            second.into()
        );
        assert_eq!(fixture.read("compose.ccci.yml"), "of the recipe");
        assert_eq!(fixture.read("a"), "2");
        assert!(!fixture.path().join("junk").exists());
        assert!(fixture.repo.head_detached().unwrap());
        assert!(fixture.repo.statuses(None).unwrap().is_empty());
        checkout(fixture.path(), "1.0.0").unwrap();
        assert!(!fixture.path().join("compose.ccci.yml").exists());
        assert_eq!(
            crate::host_file::entries(fixture.path().join("dir"))
                .unwrap()
                .count(),
            1
        );
    }

    #[test]
    fn names_lead_to_commits() {
        let fixture = Fixture::new();
        let first = fixture.commit(&[("a", "1")]);
        fixture.tag("v", first);
        fixture
            .repo
            .reference("refs/remotes/origin/feature/x", first, false, "")
            .unwrap();
        for name in [
            "v",
            "refs/tags/v",
            "main",
            "feature/x",
            &first.to_string(),
            &first.to_string()[..7],
            "HEAD",
        ] {
            assert_eq!(
                commit_of(fixture.path(), name).unwrap(),
                first.into(),
                "{name}"
            );
        }
        for name in ["nope", "refs/tags/nope", "0000000", &"0".repeat(40)] {
            assert!(
                matches!(
                    commit_of(fixture.path(), name),
                    Err(GitError::UnknownRef { .. })
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn the_target_branch_is_the_remotes_head_then_main_then_master() {
        let fixture = Fixture::new();
        let tip = fixture.commit(&[("a", "1")]);
        assert_eq!(target_branch_tip(fixture.path()).unwrap(), None);
        let set = |name: &str| {
            fixture
                .repo
                .reference(&format!("refs/remotes/origin/{name}"), tip, true, "")
                .unwrap();
        };
        let name = || target_branch_tip(fixture.path()).unwrap().unwrap().name;
        set("master");
        assert_eq!(name(), "master");
        set("main");
        assert_eq!(
            target_branch_tip(fixture.path()).unwrap(),
            Some(Tip {
                name: "main".into(),
                commit: tip.into()
            })
        );
        set("trunk");
        fixture
            .repo
            .reference_symbolic(
                "refs/remotes/origin/HEAD",
                "refs/remotes/origin/trunk",
                false,
                "",
            )
            .unwrap();
        assert_eq!(name(), "trunk");
    }

    #[test]
    fn a_commit_is_an_ancestor_of_what_is_on_top_of_it_and_of_itself() {
        let fixture = Fixture::new();
        let first = CommitId::from(fixture.commit(&[("a", "1")]));
        let second = CommitId::from(fixture.commit(&[("a", "2")]));
        let is = |one: CommitId, other: CommitId| is_ancestor(fixture.path(), one, other).unwrap();
        assert!(is(first, second) && is(first, first));
        assert!(!is(second, first));
        assert!(is_ancestor(fixture.path(), Oid::ZERO_SHA1.into(), first).is_err());
    }
}
