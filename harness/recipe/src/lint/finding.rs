//! What the lint found, as data for reports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use ground::outcome::Status;

/// How bad it is when a rule does not hold.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The rung fails.
    Error,
    /// It is worth a look; the rung passes.
    Warning,
}

impl Severity {
    /// Returns the word that stands for the severity in reports, which is also SARIF's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A rule that does not hold, in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The rule's id.
    pub id: String,
    /// The rule's severity.
    pub severity: Severity,
    /// What the rule asks for.
    pub title: String,
    /// The file, relative to the recipe; null for what is in no file, such as a tag.
    pub file: Option<String>,
    /// The line, from 1; null where the file as a whole is meant.
    pub line: Option<u64>,
    /// The column in characters, from 1; null where the line as a whole is meant.
    #[serde(default)]
    pub column: Option<u64>,
    /// The line itself, at most 300 characters of it; null where there is none.
    #[serde(default)]
    pub source: Option<String>,
    /// What is wrong here.
    pub message: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    /// Returns `file:line`, or as much of it as there is.
    #[must_use]
    pub fn place(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            (None, _) => "repository".to_owned(),
        }
    }
}

/// One thing that does not hold; the rule says the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) file: Option<String>,
    pub(super) line: Option<u64>,
    pub(super) column: Option<u64>,
    pub(super) message: String,
}

/// Where a rule does not hold, or why it could not be checked.
pub(super) type Checked = Result<Vec<Hit>, String>;

/// A rule that could not be checked, which is never a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// The rule's id.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// What came of linting a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lint {
    /// `pass`, `fail`, or `unver` when the lint itself could not run; never `skip`.
    pub status: Status,
    /// Why, when it did not pass.
    pub reason: Option<String>,
    /// What does not hold: errors first, then by place.
    pub findings: Vec<Finding>,
    /// The rules that could not be checked.
    pub skipped: Vec<Skipped>,
    /// The ids of the rules that were checked and held.
    pub passed: Vec<String>,
}

impl Default for Lint {
    /// Returns a lint that has not run.
    fn default() -> Self {
        Self {
            status: Status::Unver,
            reason: Some("it did not run".to_owned()),
            findings: Vec::new(),
            skipped: Vec::new(),
            passed: Vec::new(),
        }
    }
}

impl Lint {
    /// Returns a lint that could not run, and why.
    #[must_use]
    pub fn unverified(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::default()
        }
    }

    /// Returns how many findings have this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings.filter(|found| found.severity == severity).count()
    }

    /// Returns the findings' sum in words: `2 errors, 1 warning; 20 rules passed, 3 skipped`.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |number: usize, what: &str| {
            format!("{number} {what}{}", if number == 1 { "" } else { "s" })
        };
        format!(
            "{}, {}; {} passed, {} skipped",
            count(self.count(Severity::Error), "error"),
            count(self.count(Severity::Warning), "warning"),
            count(self.passed.len(), "rule"),
            self.skipped.len(),
        )
    }
}
