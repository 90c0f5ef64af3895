//! Files of the recipe that its compose files name.

use std::path::Path;

use super::ComposeError;
use ground::source_tree::{SourceFileError, SourceTree};

/// Returns the text of `file`, which has to be inside `root`, symbolic links included.
pub(super) fn read(root: &Path, file: &str) -> Result<String, ComposeError> {
    let name = || file.to_owned();
    let failed = |source: SourceFileError| match source.is_of_the_path() {
        true => ComposeError::Outside { file: name() },
        false => ComposeError::Read {
            file: name(),
            source,
        },
    };
    let tree = SourceTree::open(root).map_err(failed)?;
    let text = tree.text(file).map_err(failed)?;
    text.ok_or_else(|| match holds_compose_file(&tree) {
        true => ComposeError::Missing { file: name() },
        false => ComposeError::NoComposeFile {
            root: root.to_owned(),
        },
    })
}

/// Returns `path`, which is meant from the directory `base`, as one from the root.
///
/// # Errors
/// What is wrong with a path that leads out of the recipe, as the end of a sentence that begins with it.
pub(super) fn inside(base: &str, path: &str) -> Result<String, String> {
    let outside = || "is outside the recipe".to_owned();
    if path.starts_with(['/', '~']) {
        return Err(outside());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(outside)?;
            }
            // The repository's own books are the harness's, not the recipe's.
            part if part.eq_ignore_ascii_case(".git") => return Err(outside()),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn holds_compose_file(tree: &SourceTree) -> bool {
    let is_compose = |name: &str| {
        name.starts_with("compose.") && (name.ends_with(".yml") || name.ends_with(".yaml"))
    };
    let entries = tree.entries(".").ok().flatten();
    let mut entries = entries.iter().flatten();
    entries.any(|entry| entry.name.to_str().is_some_and(is_compose))
}
