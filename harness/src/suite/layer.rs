//! A directory of tests and hooks, and whose it is: what a stranger may have written is read through its door.

use std::path::Path;

use super::{Origin, SuiteError, is_ignored};
use ground::source_tree::{Kind, SourceTree};
use recipe::TESTS;

/// A directory of tests and hooks.
#[derive(Debug, Clone, Copy)]
pub enum Layer<'a> {
    /// `tests/` of a recipe's repository.
    Tree(&'a SourceTree),
    /// A directory of this host: an overlay of the operator, or the copy of either.
    Dir(Origin, &'a Path),
}

impl Layer<'_> {
    /// Returns whose it is.
    #[must_use]
    pub fn origin(self) -> Origin {
        match self {
            Self::Tree(_) => Origin::Recipe,
            Self::Dir(origin, _) => origin,
        }
    }

    /// Returns the names of the files in the directory `below` it, sorted, without hidden ones and backups of
    /// editors; a directory that does not exist has none.
    ///
    /// # Errors
    /// [`SuiteError::File`] for what no repository may hold, [`SuiteError::Read`].
    pub fn files(self, below: &str) -> Result<Vec<String>, SuiteError> {
        match self {
            Self::Tree(tree) => files_in_tree(tree, below),
            Self::Dir(_, dir) => files_in(&dir.join(below)),
        }
    }
}

fn files_in_tree(tree: &SourceTree, below: &str) -> Result<Vec<String>, SuiteError> {
    let dir = Path::new(TESTS).join(below);
    let mut names = Vec::new();
    for entry in tree.entries(&dir)?.unwrap_or_default() {
        let name = entry.name.to_string_lossy().into_owned();
        if is_ignored(&name) {
            continue;
        }
        let is_file = match entry.kind {
            Kind::Link => tree.has_file(dir.join(&entry.name))?,
            kind => kind == Kind::File,
        };
        if is_file {
            names.push(name);
        }
    }
    Ok(names)
}

/// Lists the files of a directory by name; one that does not exist has none.
pub(super) fn files_in(dir: &Path) -> Result<Vec<String>, SuiteError> {
    let failed = |source| SuiteError::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = match ground::host_file::entries(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && !is_ignored(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
