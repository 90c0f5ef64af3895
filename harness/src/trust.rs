//! Whom the host trusts with what.
//!
//! A recipe is somebody's proposal, and by default its author is a stranger. What a source may do beyond that the
//! operator grants in `grants.yml` ([`grant`] has the types, [`read`] reads it), by the repository's place ([`key`])
//! and never by the recipe's name. A path that a person typed on the command line is that person's own matter.

pub mod grant;
pub mod key;
pub mod list;
pub mod read;
mod size;

pub use grant::Grant;
pub use key::SourceKey;
pub use read::Grants;

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

/// How far a source is trusted, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Trust {
    /// How far.
    pub level: Level,
    /// The source: its key in `grants.yml`, or a path.
    pub source: String,
    /// Why, in a sentence without a full stop.
    pub why: String,
}

impl Trust {
    /// Returns the trust in a stranger's source.
    #[must_use]
    pub fn stranger(source: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            level: Level::Stranger,
            source: source.into(),
            why: why.into(),
        }
    }

    /// Returns the trust in a path that a person typed.
    #[must_use]
    pub fn by_hand(source: impl Into<String>) -> Self {
        Self {
            level: Level::ByHand,
            source: source.into(),
            why: "its path was typed on the command line".to_owned(),
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
