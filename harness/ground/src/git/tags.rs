//! The tags of a repository: its published versions.

use std::path::Path;

use git2::Repository;

use super::commit::CommitId;
use super::{GitError, open};

const NAMESPACE: &str = "refs/tags/";

/// A tag that names a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The name without `refs/tags/`.
    pub name: String,
    /// The commit, also where the tag is an object of its own.
    pub commit: CommitId,
    /// Whether the tag is an object of its own, with author and message.
    pub annotated: bool,
}

/// Returns every tag of the repository that names a commit, ordered by name.
///
/// # Errors
/// [`GitError`] when the repository cannot be read.
pub fn tags(repo_dir: &Path) -> Result<Vec<Tag>, GitError> {
    let repo = open(repo_dir)?;
    list(&repo).map_err(GitError::git("list the tags", repo_dir))
}

pub(super) fn list(repo: &Repository) -> Result<Vec<Tag>, git2::Error> {
    let mut tags = Vec::new();
    for reference in repo.references_glob(&format!("{NAMESPACE}*"))? {
        let reference = reference?;
        // A tag can be about a file, and a name can be something besides text; neither is a version.
        let (Ok(name), Ok(commit)) = (reference.name(), reference.peel_to_commit()) else {
            continue;
        };
        tags.push(Tag {
            name: name.strip_prefix(NAMESPACE).unwrap_or(name).to_owned(),
            commit: commit.id().into(),
            annotated: reference.target() != Some(commit.id()),
        });
    }
    tags.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    #[test]
    fn both_kinds_of_tags_lead_to_their_commit() {
        let fixture = Fixture::new();
        let first = fixture.commit(&[("a", "1")]);
        fixture.tag("0.1.0+1.0.0", first);
        let second = fixture.commit(&[("a", "2")]);
        fixture.annotated_tag("0.2.0+1.0.0", second);
        let blob = fixture.repo.blob(b"a key").unwrap();
        fixture
            .repo
            .reference("refs/tags/key", blob, false, "")
            .unwrap();
        let expected = [("0.1.0+1.0.0", first, false), ("0.2.0+1.0.0", second, true)].map(
            |(name, commit, annotated)| Tag {
                name: name.into(),
                commit: commit.into(),
                annotated,
            },
        );
        assert_eq!(tags(fixture.path()).unwrap(), expected);
    }

    #[test]
    fn a_directory_inside_a_repository_is_none() {
        let fixture = Fixture::new();
        fixture.commit(&[("sub/a", "1")]);
        assert!(matches!(
            tags(&fixture.path().join("sub")),
            Err(GitError::Open { .. })
        ));
    }
}
