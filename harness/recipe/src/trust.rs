//! Whom the host trusts with what.
//!
//! A recipe is a proposal, and by default its author is a stranger. What a source may do beyond that the
//! operator grants in `grants.yml` ([`grant`] has the types, [`read`] reads it), by the repository's place ([`key`])
//! and never by the recipe's name. A path that a person typed on the command line is that person's own matter.

pub mod grant;
mod hint;
pub mod key;
pub mod list;
pub mod read;
pub mod size;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use grant::Grant;
use ground::git::commit::CommitId;
use ground::name::RecipeName;
pub use key::SourceKey;
pub use read::Grants;

/// A source at the commit that a run is about: what trust in it is decided by.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The recipe.
    pub recipe: &'a RecipeName,
    /// Its source.
    pub key: &'a SourceKey,
    /// The commit.
    pub commit: CommitId,
    /// Whether something that is not committed lies over it.
    pub dirty: bool,
    /// The branches of the source that the ref names, and whose tip the commit is.
    pub branches: &'a [String],
    /// Whether one of these is the source's default branch.
    pub is_default: bool,
    /// Whether the ref names a tag.
    pub is_tag: bool,
    /// Whether the harness chose the tag itself, as the newest published version.
    pub chosen: bool,
    /// Whether the source is where the operator's published recipe of this name is.
    pub published: bool,
}

/// Returns how far a source is trusted at a commit. `in_history` says whether the commit is in the history of a branch
/// of the source; without a name, of its default one.
#[must_use]
pub fn decide(
    grants: &Grants,
    of: Subject<'_>,
    in_history: impl Fn(Option<&str>) -> bool,
) -> Trust {
    let grant = grants.sources.get(of.key);
    let stranger = |why: String| Trust {
        has_entry: grant.is_some(),
        ..Trust::stranger(of.key.as_str(), why)
    };
    let granted = |grant: Grant, why: String| Trust {
        level: Level::Granted(Box::new(grant)),
        source: of.key.to_string(),
        why,
        has_entry: true,
    };
    let is_listed = grants.approved.contains(of.recipe);
    if of.dirty && (grant.is_some() || is_listed) {
        return stranger("something that is not committed lies over its commit".to_owned());
    }
    if let Some(grant) = grant {
        let file = grants.file_in_words();
        if grant.commits.contains(&of.commit.to_string()) {
            return granted(grant.clone(), format!("{file} grants its commit"));
        }
        if let Some(branch) = of.branches.iter().find(|one| grant.branches.contains(one)) {
            return granted(
                grant.clone(),
                format!("{file} grants its branch `{branch}`"),
            );
        }
        let from = |branch: &&String| in_history(Some(branch));
        if of.is_tag
            && (grant.releases || of.chosen)
            && let Some(branch) = grant.branches.iter().find(from)
        {
            let why = format!("{file} grants its releases from the branch `{branch}`");
            return granted(grant.clone(), why);
        }
        let is = match of.branches.first() {
            Some(branch) => format!("its branch `{branch}`"),
            None => "none of these".to_owned(),
        };
        return stranger(format!(
            "{file} grants it {}, and the ref is {is}",
            places(grant)
        ));
    }
    if !is_listed {
        return stranger(match grants.file {
            Some(_) => format!("{} grants it nothing", grants.file_in_words()),
            None => "this host has no grants.yml, such as /etc/recipe-ci/grants.yml".to_owned(),
        });
    }
    let list = "the list of approved recipes";
    if of.published && (of.is_default || (of.is_tag && in_history(None))) {
        let grant = Grant {
            run_code: true,
            ..Grant::default()
        };
        return granted(grant, format!("{list} has `{}`", of.recipe));
    }
    stranger(format!(
        "{list} has `{}`, which counts for the default branch of the published repository only",
        of.recipe
    ))
}

fn places(grant: &Grant) -> String {
    let branches = grant.branches.iter().map(|name| format!("`{name}`"));
    let commits = grant.commits.iter().map(|commit| commit[..8].to_owned());
    branches.chain(commits).collect::<Vec<_>>().join(", ")
}

/// How far a source is trusted.
#[derive(Debug, Clone, PartialEq)]
pub enum Level {
    /// Not at all: everybody who can open a pull request.
    Stranger,
    /// As far as the operator's grant says.
    Granted(Box<Grant>),
    /// A path that a person typed on the command line.
    ByHand,
}

impl Level {
    /// Returns its name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Granted(_) => "granted",
            Self::ByHand => "by hand",
        }
    }
}

/// How far a source is trusted, as reports have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrustView {
    /// `stranger`, `granted` or `by hand`.
    pub level: String,
    /// The source: its key in `grants.yml`, or a path.
    pub source: String,
    /// Why, in a sentence without a full stop.
    pub why: String,
}

impl From<&Trust> for TrustView {
    fn from(trust: &Trust) -> Self {
        Self {
            level: trust.level.name().to_owned(),
            source: trust.source.clone(),
            why: trust.why.clone(),
        }
    }
}

/// How far a source is trusted, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Trust {
    /// How far.
    pub level: Level,
    /// The source: its key in `grants.yml`, or a path.
    pub source: String,
    /// Why, in a sentence without a full stop.
    pub why: String,
    /// Whether `grants.yml` has an entry for the source, whether or not that holds here.
    pub has_entry: bool,
}

impl Trust {
    /// Returns the trust in a stranger's source.
    #[must_use]
    pub fn stranger(source: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            level: Level::Stranger,
            source: source.into(),
            why: why.into(),
            has_entry: false,
        }
    }

    /// Returns the trust in a path that a person typed.
    #[must_use]
    pub fn by_hand(source: impl Into<String>) -> Self {
        Self {
            level: Level::ByHand,
            source: source.into(),
            why: "its path was typed on the command line".to_owned(),
            has_entry: false,
        }
    }

    /// Returns what the operator granted, if anything.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        match &self.level {
            Level::Granted(grant) => Some(grant),
            Level::Stranger | Level::ByHand => None,
        }
    }

    /// Returns whether a person typed its path, and everything is that person's own matter.
    #[must_use]
    pub fn is_by_hand(&self) -> bool {
        self.level == Level::ByHand
    }

    /// Returns whether `grant` allows it, or a person typed its path.
    #[must_use]
    pub fn allows(&self, grant: impl FnOnce(&Grant) -> bool) -> bool {
        self.is_by_hand() || self.grant().is_some_and(grant)
    }

    /// Returns whether tests and hooks of its repository may run on this host.
    #[must_use]
    pub fn may_run_code(&self) -> bool {
        self.allows(|grant| grant.run_code)
    }

    /// Returns whether it gets the supplied secret of this name.
    #[must_use]
    pub fn may_have_secret(&self, name: &str) -> bool {
        self.allows(|grant| grant.allows_secret(name))
    }
}

#[cfg(test)]
mod tests;
