//! What is known of the recipe and the host before anything is planned.

use crate::driver::Chosen;
use crate::driver::stack::HostTraits;
use ground::git::commit::CommitId;
use recipe::release::Tree;
use recipe::trust::Trust;

/// What a plan is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// The head as a new app, and as an upgrade of one that is new as well.
    Proposal,
    /// The head as an upgrade of an app that has this env file.
    Upgrade {
        /// Its text.
        env: String,
    },
    /// A recipe that the one under test needs.
    Dependency,
}

/// The recipe's repository, fetched.
#[derive(Debug, Clone)]
pub(super) struct Checkout {
    /// The head's tree, which does not move any more.
    pub tree: Tree,
    /// The names of all tags with their commits.
    pub tags: Vec<(String, CommitId)>,
    /// Whether its history is cut off, so that tags may be missing, too.
    pub shallow: bool,
    /// The commit of the source's default branch, if it has one.
    pub tip: Option<CommitId>,
    /// Remarks about the fetch, for the report.
    pub remarks: Vec<String>,
    /// How far the source is trusted at this commit.
    pub trust: Trust,
    /// Why nothing is upgraded from the base that it has, once that is known.
    pub barred: Option<String>,
}

/// What is known of the recipe and the host before anything is planned.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) checkout: Checkout,
    pub(super) traits: HostTraits,
    pub(super) chosen: Chosen,
}
