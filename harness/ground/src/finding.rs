//! What a run teaches about a recipe beyond its verdict.
//!
//! A finding was measured in the run, never guessed from the files alone: that is the lint's part. It changes neither
//! the verdict nor the level.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its id.
    pub id: &'static str,
    /// What was seen.
    pub seen: &'static str,
    /// What to do about it; a finding says it for its own case.
    pub fix: &'static str,
}

macro_rules! kinds {
    ($($id:literal, $seen:literal, $fix:literal;)*) => {
        /// Every kind, in the order of the ids.
        pub const KINDS: &[Kind] = &[$(Kind { id: $id, seen: $seen, fix: $fix }),*];
    };
}

kinds! {
    "F001",
        "a container that did not end on SIGTERM, and was killed at the end of its `stop_grace_period` when Swarm stopped its task",
        "start the server with `exec`, or set `init: true` or `stop_signal`";
    "F002",
        "updates that start the new container while the old one still writes to the same volume",
        "use `order: stop-first` in `deploy.update_config`";
    "F003",
        "a database without `stop_grace_period`",
        "set `stop_grace_period`, such as `1m`";
    "F004",
        "a container that was killed because it reached its memory limit",
        "raise `deploy.resources.limits.memory`, or have the software use less";
    "F005",
        "an image that grew by half from base to head, and has 50 MiB or more",
        "see what the new image holds that it need not";
    "F020",
        "an anonymous volume",
        "mount a named volume there, or a tmpfs where nothing needs to be kept";
    "F021",
        "a volume that is mounted elsewhere than in the base",
        "check that the image looks for the old data there";
    "F022",
        "a new app that answers with its installer, and no [first run](recipe-ci-yml.md#the-first-run)",
        "declare what its installer wants in `first_run` of recipe-ci.yml";
    "F023",
        "a database of SQLite that is saved as it lies there while its service runs",
        "have a `backupbot.backup.pre-hook` make a copy, and save the copy";
}

/// Something that the recipe's maintainer should know, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Which kind it is of: `F001`.
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

/// Returns the table of `docs/results.md`.
#[must_use]
pub fn table() -> String {
    let mut text = String::from("| id | what was seen | what to do |\n|---|---|---|\n");
    for Kind { id, seen, fix } in KINDS {
        text.push_str(&format!("| {id} | {seen} | {fix} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_table() {
        let page = include_str!("../../../docs/results.md");
        assert!(page.contains(&table()), "docs/results.md:\n{}", table());
    }
}
