//! The list of approved recipes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use harness::name::RecipeName;
use harness::trust::list::{LIST_NAME, ListError, approved};

use super::{UsageError, wrong};
use crate::env;

/// Returns the list of recipes whose own code may run when it did not come from a path given by hand.
pub(super) fn approved_list(overlays: Option<&Path>) -> Option<PathBuf> {
    // Only one that is named has to exist.
    let beside = |dir: &Path| {
        let list = dir.join(LIST_NAME);
        std::fs::symlink_metadata(&list).is_ok().then_some(list)
    };
    env::path("CCCI_APPROVED_FILE").or_else(|| overlays.and_then(beside))
}

/// Returns the names on the list.
pub(super) fn names_on(list: &Path) -> Result<BTreeSet<RecipeName>, UsageError> {
    approved(list).map_err(|error| {
        let hint = match &error {
            ListError::Read { .. } => {
                "an unreadable list approves nothing; repair it or unset CCCI_APPROVED_FILE"
            }
            ListError::NotAName { .. } => {
                "write one recipe's name a line, such as `custom-html`; patterns are not known"
            }
        };
        wrong(harness::error::chain(&error), hint)
    })
}
