//! A release that may become the canonical.

use super::fetched::Fetched;

/// A release that may become the canonical.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Its tag.
    pub(super) version: String,
    /// Its repository, at the tag's commit.
    pub(super) fetched: Fetched,
}
