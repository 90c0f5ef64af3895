//! What came of hooks.

use super::Origin;
use ground::outcome::Failure;

/// The outcome of a hook that did not succeed.
#[derive(Debug, Clone)]
pub struct HookFailure {
    /// Which hook: `recipe ops/pre_backup`.
    pub name: String,
    /// How it ended.
    pub how: String,
    /// In which way it failed.
    pub kind: Failure,
    /// Its last lines.
    pub tail: Vec<String>,
}

/// A hook that ran.
#[derive(Debug, Clone)]
pub struct HookRun {
    /// Whose it is.
    pub origin: Origin,
    /// The file, below the directory of tests.
    pub file: String,
    /// The name of its log.
    pub log: String,
}

/// What came of the hooks of one name.
#[derive(Debug, Clone, Default)]
pub struct Hooked {
    /// How many ran.
    pub ran: usize,
    /// The last of them.
    pub last: Option<HookRun>,
    /// What it came to, where it failed.
    pub failure: Option<HookFailure>,
    /// The last lines of those that did not, each by its name.
    pub said: Vec<(String, Vec<String>)>,
}
