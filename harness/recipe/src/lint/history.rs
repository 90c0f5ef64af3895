//! What the tags of a recipe's repository tell: which versions were published, and what their configs were.

use std::path::Path;

use super::{LintError, Subject};
use crate::version::Version;
use ground::git::commit::CommitId;
use ground::git::files::CommitFiles;
use ground::git::snapshot;
use ground::git::stand_in::{self, StandIns};
use ground::git::tags::{self, Tag};
use ground::git::{GitError, checkout};

/// Why nothing is known of the versions of a shallow clone.
pub(super) const SHALLOW: &str =
    "this is a shallow clone, which lacks tags: `git fetch --unshallow --tags` gets them";

/// The repository of a recipe.
pub(super) struct History {
    path: std::path::PathBuf,
    pub(super) tags: Vec<Tag>,
    /// Whether its history is cut off, so that tags may be missing, too.
    pub(super) shallow: bool,
    /// What its work tree has in the place of files; empty where the tree under test is another.
    pub(super) stand_ins: StandIns,
    /// The commit under test.
    pub(super) commit: CommitId,
    /// Whether the tree has uncommitted changes over it.
    pub(super) dirty: bool,
}

impl History {
    pub(super) fn of(subject: &Subject<'_>) -> Result<Result<Self, String>, LintError> {
        let Some(repository) = &subject.repository else {
            return Ok(Err("the recipe is in no git repository".to_owned()));
        };
        Ok(Ok(Self {
            path: repository.path.to_owned(),
            tags: tags::tags(repository.path)?,
            shallow: checkout::is_shallow(repository.path)?,
            stand_ins: match subject.root == repository.path {
                true => stand_in::stand_ins(repository.path)?,
                false => StandIns::default(),
            },
            commit: repository.commit,
            dirty: repository.dirty,
        }))
    }

    /// Returns the versions whose tags are on the commit under test.
    pub(super) fn own_versions(&self) -> Vec<&str> {
        self.tags
            .iter()
            .filter(|tag| tag.commit == self.commit && tag.name.parse::<Version>().is_ok())
            .map(|tag| tag.name.as_str())
            .collect()
    }

    /// Returns the newest version that was published before the text under test, as its label calls it.
    pub(super) fn last_version(&self, label: Option<&str>) -> Option<&Tag> {
        let label: Option<Version> = label.and_then(|label| label.parse().ok());
        let mut versions: Vec<(Version, &Tag)> = self
            .tags
            .iter()
            // With uncommitted changes the commit's own tag is what they are compared with.
            .filter(|tag| self.dirty || tag.commit != self.commit)
            .filter_map(|tag| Some((tag.name.parse().ok()?, tag)))
            .filter(|(version, _)| label.as_ref().is_none_or(|label| version <= label))
            .collect();
        versions.sort_by(|a, b| a.0.cmp(&b.0));
        versions.pop().map(|(_, tag)| tag)
    }

    /// Returns why [`History::last_version`] has none.
    pub(super) fn why_no_version(&self) -> String {
        if self.shallow {
            return SHALLOW.to_owned();
        }
        let other: Vec<String> = self
            .tags
            .iter()
            .filter(|tag| tag.name.parse::<Version>().is_err())
            .map(|tag| format!("`{}`", tag.name))
            .collect();
        if other.is_empty() || other.len() < self.tags.len() {
            return "no version was published before this one".to_owned();
        }
        format!(
            "no tag is a version of the form `<recipe version>+<app version>`, such as `1.2.0+25.0.1`: there is {}",
            other.join(", ")
        )
    }

    pub(super) fn files(&self, tag: &Tag) -> Result<CommitFiles, GitError> {
        CommitFiles::open(&self.path, tag.commit)
    }

    /// Writes the files of a version into `directory`, which is not there yet.
    pub(super) fn export(&self, tag: &Tag, directory: &Path) -> Result<(), GitError> {
        snapshot::export(&self.path, tag.commit, directory)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::CLEAN;
    use super::super::{Lint, lint};
    use ground::git::testing::Fixture;

    #[test]
    fn tags_that_are_no_versions_are_named_instead_of_none_was_published() {
        let fixture = Fixture::new();
        for (name, text) in CLEAN {
            fixture.write(name, text);
        }
        let reason = |lint: &Lint| {
            let one = lint.skipped.iter().find(|one| one.id == "C002");
            one.map_or_else(String::new, |one| one.reason.clone())
        };
        let first = fixture.commit(&[]);
        let none = lint(fixture.path(), None).unwrap();
        assert_eq!(reason(&none), "no version was published before this one");
        fixture.annotated_tag("v1.0.0", first);
        let other = lint(fixture.path(), None).unwrap();
        assert!(
            reason(&other).ends_with("there is `v1.0.0`"),
            "{}",
            reason(&other)
        );
    }
}
