//! The version that an upgrade starts from; [`choice`] chooses it, and [`several`] where there are more.

pub(super) mod choice;
pub(super) mod several;

use ground::git::commit::CommitId;
use std::collections::BTreeMap;

use serde::Serialize;

use ground::outcome::Status;
use recipe::backup::BackupPlan;
use recipe::release::Release;
use recipe::trust::Trust;

/// The version that the upgrade starts from.
#[derive(Debug, Clone)]
pub struct Base {
    /// Its tag, or the branch that it is the tip of with its commit.
    pub version: String,
    /// Its version: the tag, or the version label of a commit that has no tag.
    pub label: Option<String>,
    /// How it was chosen.
    pub kind: BaseKind,
    /// Its release.
    pub release: Release,
    /// The head as an operator's upgrade from it would be deployed: with the base's env file. Otherwise why no
    /// operator's app could be upgraded to it, which is the head's fault and not the base's.
    pub upgraded: Result<Release, String>,
    /// The variables that only the upgrade gets.
    pub upgrade_env: BTreeMap<String, String>,
    /// How far its own commit is trusted.
    pub trust: Trust,
}

/// Why there is nothing to upgrade from.
#[derive(Debug, Clone)]
pub enum NoBase {
    /// There is no older version: the upgrade does not apply.
    Structural(String),
    /// There is one and it is unusable, which is not the head's fault.
    Broken(String),
    /// There is one, and the operator has not given it what it needs: a grant for its commit, or a secret.
    Withheld(String),
    /// The source has none, and its owner, a stranger, decides which it has.
    Theirs(String),
}

impl NoBase {
    /// Returns what the upgrade comes to.
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Structural(_) => Status::Skip,
            Self::Broken(_) | Self::Withheld(_) | Self::Theirs(_) => Status::Unver,
        }
    }

    /// Returns why the base that there is cannot be upgraded from, if there is one.
    pub(super) fn unusable(&self) -> Option<&str> {
        match self {
            Self::Structural(_) | Self::Theirs(_) => None,
            Self::Broken(reason) | Self::Withheld(reason) => Some(reason),
        }
    }
}

/// As reports say it.
impl std::fmt::Display for NoBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Structural(reason) | Self::Theirs(reason) => f.write_str(reason),
            Self::Broken(reason) => write!(f, "base-broken: {reason}"),
            Self::Withheld(reason) => write!(f, "base-withheld: {reason}"),
        }
    }
}

/// How a base was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseKind {
    /// Somebody named it.
    Declared,
    /// It is the last release that a cold run found green.
    Canonical,
    /// It is the newest tag that is not newer than the head.
    Tag,
    /// It is the tip of the branch that the head would be merged into.
    Ref,
}

impl BaseKind {
    /// Returns the word for it in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Canonical => "canonical",
            Self::Tag => "tag",
            Self::Ref => "ref",
        }
    }

    /// Returns what messages call a base of this version.
    fn in_words(self, version: &str) -> String {
        match self {
            Self::Ref => format!("the {version}"),
            Self::Declared | Self::Canonical | Self::Tag => format!("published version {version}"),
        }
    }
}

/// A version that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Its tag; of a commit without one `default branch (1a2b3c4d)`.
    pub(super) version: String,
    /// Its commit.
    pub(super) commit: CommitId,
    /// How it was chosen.
    pub(super) kind: BaseKind,
}

impl Chosen {
    /// Returns what messages call it.
    pub(super) fn in_words(&self) -> String {
        self.kind.in_words(&self.version)
    }
}

impl Base {
    /// Returns whether its labels ask for a backup.
    pub(super) fn is_backed_up(&self) -> bool {
        BackupPlan::from_project(&self.release.project).is_backup_capable()
    }

    /// Returns what messages call it.
    #[must_use]
    pub fn in_words(&self) -> String {
        self.kind.in_words(&self.version)
    }
}
