//! A commit, by its whole id.

use std::fmt;
use std::str::FromStr;

use git2::Oid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many digits a commit has.
const DIGITS: usize = 40;

/// How many digits of a commit a label and a line have, as abra has them.
const SHORT: usize = 8;

/// The whole id of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct CommitId(Oid);

/// A text that is no whole id of a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no commit; give all 40 digits, in lower case", crate::name::legible(.0))]
pub struct NotACommit(String);

impl CommitId {
    /// Returns the first digits, as labels and lines have them.
    #[must_use]
    pub fn short(self) -> String {
        self.0.to_string()[..SHORT].to_owned()
    }

    /// Returns whether these are the first digits of this commit: at least seven, which is git's own shortest.
    #[must_use]
    pub fn begins_with(self, digits: &str) -> bool {
        digits.len() >= 7 && self.0.to_string().starts_with(digits)
    }
}

/// Samples for tests.
#[cfg(any(test, feature = "testing"))]
impl CommitId {
    /// Returns the commit that has this digit forty times.
    #[must_use]
    pub fn sample(digit: char) -> Self {
        let text: String = std::iter::repeat_n(digit, DIGITS).collect();
        text.parse().expect("a digit")
    }
}

#[cfg(any(test, feature = "testing"))]
impl Default for CommitId {
    fn default() -> Self {
        Self::sample('0')
    }
}

impl From<Oid> for CommitId {
    fn from(oid: Oid) -> Self {
        Self(oid)
    }
}

impl From<CommitId> for String {
    fn from(commit: CommitId) -> Self {
        commit.to_string()
    }
}

impl TryFrom<String> for CommitId {
    type Error = NotACommit;

    fn try_from(text: String) -> Result<Self, NotACommit> {
        text.parse()
    }
}

impl FromStr for CommitId {
    type Err = NotACommit;

    fn from_str(text: &str) -> Result<Self, NotACommit> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let is_whole = text.len() == DIGITS && text.bytes().all(is_digit);
        let oid = is_whole.then(|| Oid::from_str(text).ok()).flatten();
        oid.map(Self).ok_or_else(|| NotACommit(text.to_owned()))
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_forty_digits_in_lower_case_and_nothing_else() {
        let whole = "0123456789".repeat(4);
        let commit: CommitId = whole.parse().unwrap();
        assert_eq!(commit.to_string(), whole);
        assert_eq!(commit.short(), "01234567");
        for wrong in [
            &whole[..39],
            "main",
            "",
            &"A".repeat(40),
            &"g".repeat(40),
            &"0".repeat(64),
        ] {
            assert!(wrong.parse::<CommitId>().is_err(), "{wrong}");
        }
        assert!(commit.begins_with("0123456") && commit.begins_with(&whole));
        assert!(!commit.begins_with("012345") && !commit.begins_with("0123457"));
    }

    #[test]
    fn a_commit_is_a_text_in_json() {
        let text = format!("\"{}\"", "ab".repeat(20));
        let commit: CommitId = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&commit).unwrap(), text);
        assert!(serde_json::from_str::<CommitId>("\"abc\"").is_err());
    }
}
