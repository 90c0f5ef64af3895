//! Why a `recipe-ci.yml` cannot be used.

use crate::compose::{ComposeError, Location};

/// Why a `recipe-ci.yml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeclaredError {
    /// It is no YAML, or too large.
    #[error(transparent)]
    Yaml(#[from] ComposeError),
    /// A key that does not exist.
    #[error("{location}: there is no key `{key}`{}", did_you_mean(nearest.as_deref()))]
    UnknownKey {
        /// Where.
        location: Location,
        /// The key.
        key: String,
        /// The nearest right one, with the keys that lead to it.
        nearest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{location}: {message}")]
    Type {
        /// Where.
        location: Location,
        /// What was expected.
        message: String,
    },
    /// A value that cannot be meant.
    #[error("{location}: {}{reason}", lead(path))]
    Value {
        /// Where.
        location: Location,
        /// The keys that lead to it; empty for all of the file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}

fn lead(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path}: ")
    }
}

impl DeclaredError {
    /// Returns what to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Yaml(_) | Self::Type { .. } | Self::Value { .. } => {
                "correct the file at that place; `recipe-ci overlay check DIR` reads it the same way"
            }
            Self::UnknownKey { .. } => {
                "docs/recipe-ci-yml.md lists every key; `recipe-ci overlay schema` prints the schema for an editor"
            }
        }
    }
}
