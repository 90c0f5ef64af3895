//! What came of a run, in one sentence for people.

use super::results::Results;
use ground::outcome::Verdict;

/// Whose fault the end of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Nobody's: it is green.
    Nobody,
    /// The recipe's, or that of who proposed it.
    Recipe,
    /// The host's, or of what ended the run.
    Host,
}

/// Returns whose fault a verdict is.
#[must_use]
pub fn blame(verdict: Verdict) -> Blame {
    match verdict {
        Verdict::Passed => Blame::Nobody,
        Verdict::Failed | Verdict::Refused => Blame::Recipe,
        Verdict::Cancelled
        | Verdict::Deadline
        | Verdict::Infra
        | Verdict::Orphaned
        | Verdict::Usage => Blame::Host,
    }
}

/// Returns what came of the run.
#[must_use]
pub fn sentence(results: &Results) -> String {
    let version = results.head_version.as_deref();
    let what = match version {
        Some(version) => format!("{} {version}", results.recipe),
        None => results.recipe.clone(),
    };
    let came = match results.verdict {
        Verdict::Passed => return format!("{what} works: level {} of 5", results.level),
        Verdict::Failed => "failed",
        Verdict::Refused => "is refused on this host",
        Verdict::Cancelled => "was not judged: the run was cancelled",
        Verdict::Deadline => "was not judged: the run took too long",
        Verdict::Infra => "was not judged: the host failed",
        Verdict::Orphaned => "was not judged: the run was killed",
        Verdict::Usage => "was not judged: the run was asked for wrongly",
    };
    match &results.reason {
        Some(reason) => format!("{what} {came}: {reason}"),
        None => format!("{what} {came}"),
    }
}
