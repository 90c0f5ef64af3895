//! The list of approved recipes, which `grants.yml` replaces.
//!
//! It names recipes, and a name says nothing about who wrote one. So it counts only where the source is the operator's
//! own published repository of that name, and every run that it concerns says that it goes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Trust;
use ground::host_file;
use ground::name::RecipeName;

/// The list that lies in the directory of overlays, where no other is named.
pub const LIST_NAME: &str = "approved.txt";

/// Why a list cannot be used. A list that cannot be used approves nothing, and stops the run.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It cannot be read.
    #[error("the list of approved recipes `{}` cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line that names no recipe.
    #[error("{}:{line}: `{text}` is no name of a recipe", path.display())]
    NotAName {
        /// Which file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

/// Returns the names on the list: one a line, `#` begins a comment.
///
/// # Errors
/// [`ListError`]. A line that is not a name is an error: a person meant a pattern, and got nothing or too much.
pub fn approved(list: &Path) -> Result<BTreeSet<RecipeName>, ListError> {
    let text = host_file::text(list).map_err(|source| ListError::Read {
        path: list.to_owned(),
        source,
    })?;
    let mut approved = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let name = line.split('#').next().unwrap_or_default().trim();
        if name.is_empty() {
            continue;
        }
        approved.insert(name.parse().map_err(|_| ListError::NotAName {
            path: list.to_owned(),
            line: index + 1,
            text: name.to_owned(),
        })?);
    }
    Ok(approved)
}

/// Returns the line about the list for the report of a run of `recipe`, which is on it.
#[must_use]
pub fn is_deprecated(recipe: &RecipeName, trust: &Trust) -> String {
    format!(
        "the list of approved recipes ({LIST_NAME}) is deprecated: instead of `{recipe}` there, grants.yml says it of a source: {}",
        trust.how_to_grant(None, &["run_code: true"])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_approved_and_patterns_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        let notes: RecipeName = "notes".parse().unwrap();
        std::fs::write(&list, "# ours\nnotes-2 # not notes\n\n  ledger\n").unwrap();
        let names = approved(&list).unwrap();
        assert!(!names.contains(&notes) && names.contains(&"ledger".parse().unwrap()));
        // The name stands above the fault, and the list is refused all the same.
        std::fs::write(&list, "notes\n*\n").unwrap();
        let error = approved(&list).unwrap_err().to_string();
        assert!(
            error.ends_with("list:2: `*` is no name of a recipe"),
            "{error}"
        );
        assert!(matches!(
            approved(&dir.path().join("absent")),
            Err(ListError::Read { .. })
        ));
    }
}
