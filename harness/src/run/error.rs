//! Why a run could not go on.

use crate::abra::AbraError;
use crate::driver::DriverError;
use crate::tier::TierError;
use engine::swarm::EngineError;
use recipe::policy::Violation;

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

impl From<EngineError> for RunError {
    fn from(error: EngineError) -> Self {
        let hints = vec![error.advice().to_owned()];
        Self::Infra {
            error: error.into(),
            hints,
        }
    }
}

impl From<AbraError> for RunError {
    fn from(error: AbraError) -> Self {
        let hints = vec![error.hint().to_owned()];
        Self::Infra {
            error: error.into(),
            hints,
        }
    }
}

impl From<TierError> for RunError {
    fn from(error: TierError) -> Self {
        match error {
            TierError::Engine(error) => error.into(),
            TierError::Driver(DriverError::Engine(error)) => error.into(),
            TierError::Driver(DriverError::Abra(error)) => error.into(),
            error => Self::infra(error),
        }
    }
}
