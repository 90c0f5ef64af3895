//! What is told beside the compose files.

use super::base::Base;
use ground::source_tree::SourceTree;
use recipe::reach;
use recipe::release::Release;
use recipe::sample::{self, Lost};

/// What of the files beside the compose files matters to who uses an app. They are read with the plan, beside the
/// worker's thread.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// What the head's release notes tell operators before they upgrade.
    pub notes: String,
    /// What the base's `.env.sample` has and a new app of the head would miss.
    pub missed: Vec<Lost>,
}

impl Told {
    /// Reads them. Blocking.
    pub(super) fn of(head: &Release, base: Option<&Base>, version: Option<&str>) -> Self {
        let tree = SourceTree::open(&head.root).ok();
        Self {
            notes: tree.map_or_else(String::new, |tree| reach::notes(&tree, version)),
            missed: base.map_or_else(Vec::new, |base| {
                sample::lost(&base.release.root, &head.root, &head.vars)
            }),
        }
    }
}
