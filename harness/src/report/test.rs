//! A test as the report has it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use engine::dirs::LOGS;
use ground::outcome::{Failure, Owner, Status, TestOutcome};

/// A test in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Test {
    /// What it is called in this run and no other test is: `upgrade/generic: serving`, with `#2` where a tier has two of
    /// one name.
    #[serde(default)]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who makes it.
    #[serde(default)]
    pub owner: Owner,
    /// The file that makes it, below the directory of tests; null for what recipe-ci makes.
    #[serde(default)]
    pub file: Option<String>,
    /// How it ended.
    pub status: Status,
    /// In which way it failed; null unless it did.
    #[serde(default)]
    pub kind: Option<Failure>,
    /// Wall-clock start, RFC 3339 in UTC; empty in a file of schema 1.
    #[serde(default)]
    pub started_at: String,
    /// How long it took.
    pub duration_ms: u64,
    /// Why, when it did not pass; what it saw, when that is worth a line.
    pub message: Option<String>,
    /// Its whole output, below `run_dir`; null where it has none of its own.
    #[serde(default)]
    pub log: Option<String>,
}

impl Test {
    /// Returns a test that has ended as the report has it.
    pub(super) fn of(id: String, test: &TestOutcome) -> Self {
        Self {
            id,
            name: test.name.clone(),
            owner: test.owner,
            file: test.file.clone(),
            status: test.status,
            kind: test.failure,
            started_at: jiff::Timestamp::try_from(test.began)
                .map_or_else(|_| String::new(), |at| at.to_string()),
            duration_ms: millis(test.duration),
            message: test.message.clone(),
            log: test.log.as_deref().map(below_run_dir),
        }
    }

    /// Returns its file where a person finds it: in the recipe's repository or in the overlay.
    #[must_use]
    pub fn file_in_sources(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        Some(match self.owner {
            Owner::Recipe => format!("tests/{file}"),
            Owner::Generic | Owner::Overlay => file.clone(),
        })
    }
}

/// Returns a span in milliseconds.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Returns where a log is, below a run directory.
pub(super) fn below_run_dir(log: &str) -> String {
    format!("{LOGS}/{log}")
}
