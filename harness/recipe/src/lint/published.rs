//! What the last published version has and this one lacks.

use super::finding::Hit;
use crate::sample::Lost;

/// The last version that was published.
pub(super) struct Published {
    /// What its `.env.sample` has and a new app would miss.
    pub(super) missed: Vec<Lost>,
    /// What an upgrade from it takes from the app's clients, each with its rule.
    pub(super) lost: Vec<(&'static str, Hit)>,
}
