//! Why a run could not go on.

use crate::policy::Violation;

/// An error of any layer, for a person to read with its sources.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Why a run could not go on.
#[derive(Debug)]
pub enum RunError {
    /// The input was wrong. Nothing of the app was made.
    Usage {
        /// What is wrong.
        error: AnyError,
        /// What to do.
        hints: Vec<String>,
    },
    /// The policy of this host is against the recipe. Nothing of the app was made.
    Refused {
        /// What is against it.
        found: Vec<Violation>,
        /// What to do.
        hints: Vec<String>,
        /// What `--dry-run` prints.
        view: Option<String>,
    },
    /// The harness or the host failed.
    Infra {
        /// What failed.
        error: AnyError,
        /// What to do.
        hints: Vec<String>,
    },
}

impl RunError {
    pub(in crate::run) fn infra(error: impl Into<AnyError>) -> Self {
        Self::Infra {
            error: error.into(),
            hints: Vec::new(),
        }
    }
}

pub(in crate::run) fn usage(error: impl Into<AnyError>) -> RunError {
    RunError::Usage {
        error: error.into(),
        hints: Vec::new(),
    }
}
