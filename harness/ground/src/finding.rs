//! What a run teaches about a recipe beyond its verdict.
//!
//! A finding was measured in the run, never guessed from the files alone: that is the lint's part. It changes neither
//! the verdict nor the level.

use serde::{Deserialize, Serialize};

/// Something that the recipe's maintainer should know, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which kind it is of: `F001`. The kinds are listed in `docs/results.md`.
    pub id: String,
    /// The service; null for what is about the app as a whole.
    pub service: Option<String>,
    /// What was seen, as a sentence without its full stop.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    /// Returns whether another one says the same of the same service, if with other numbers.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.service == other.service
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.id)?;
        if let Some(service) = &self.service {
            write!(f, "service `{service}`: ")?;
        }
        f.write_str(&self.message)
    }
}
