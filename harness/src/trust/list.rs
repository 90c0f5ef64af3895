//! Whose code may run: the operator's list of recipes.
//!
//! The overlays are the operator's own and always run. What a recipe ships is somebody's proposal; it runs
//! when a person gave its path by hand, or when its name is on this list. Everything else is denied.

use std::path::{Path, PathBuf};

use crate::host_file;
use crate::name::RecipeName;

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

/// Returns whether `recipe` is on the list: one name a line, `#` begins a comment.
///
/// This is the gate. A line that is no name is an error: somebody meant a pattern, and got nothing or too much.
///
/// # Errors
/// [`ListError`].
pub fn is_approved(list: &Path, recipe: &RecipeName) -> Result<bool, ListError> {
    Ok(approved(list)?.contains(recipe))
}

/// Returns the names on the list.
///
/// # Errors
/// [`ListError`], as a run has it.
pub fn approved(list: &Path) -> Result<Vec<RecipeName>, ListError> {
    let text = host_file::text(list).map_err(|source| ListError::Read {
        path: list.to_owned(),
        source,
    })?;
    let mut approved = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let name = line.split('#').next().unwrap_or_default().trim();
        if name.is_empty() {
            continue;
        }
        approved.push(name.parse().map_err(|_| ListError::NotAName {
            path: list.to_owned(),
            line: index + 1,
            text: name.to_owned(),
        })?);
    }
    Ok(approved)
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
        assert!(!is_approved(&list, &notes).unwrap());
        assert!(is_approved(&list, &"ledger".parse().unwrap()).unwrap());
        // The name stands above the fault, and the list is refused all the same.
        std::fs::write(&list, "notes\n*\n").unwrap();
        let error = is_approved(&list, &notes).unwrap_err().to_string();
        assert!(
            error.ends_with("list:2: `*` is no name of a recipe"),
            "{error}"
        );
        assert!(matches!(
            is_approved(&dir.path().join("absent"), &notes),
            Err(ListError::Read { .. })
        ));
    }
}
