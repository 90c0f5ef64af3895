//! Which recipes keep a canonical: those whose overlay says so. A recipe cannot enrol itself.

use std::path::{Path, PathBuf};

use ground::host_file;
use ground::name::RecipeName;
use recipe::declared::FILE_NAME;
use recipe::declared::error::DeclaredError;
use recipe::declared::read::parse;

/// Why it cannot be known whether a recipe is enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolledError {
    /// A directory or file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A `recipe-ci.yml` is wrong.
    #[error(transparent)]
    Declared(#[from] DeclaredError),
}

/// Returns whether the overlay of `recipe` below `overlays` says `canonical: true`.
///
/// # Errors
/// [`EnrolledError`] when it is there and cannot be read.
pub fn is_enrolled(overlays: &Path, recipe: &RecipeName) -> Result<bool, EnrolledError> {
    let path = overlays.join(recipe.as_str()).join(FILE_NAME);
    match path.symlink_metadata() {
        Ok(_) => {}
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(false);
        }
        Err(source) => return Err(EnrolledError::Read { path, source }),
    }
    let shown = path.display().to_string();
    let text = host_file::text(&path).map_err(|source| EnrolledError::Read { path, source })?;
    let read = parse(&text, &shown, Some(recipe.as_str()))?;
    Ok(read.file.canonical.unwrap_or(false))
}

/// Returns every enrolled recipe, by name.
///
/// # Errors
/// [`EnrolledError`]: a directory that cannot be read is never one without recipes.
pub fn enrolled(overlays: &Path) -> Result<Vec<RecipeName>, EnrolledError> {
    let unreadable = |source| EnrolledError::Read {
        path: overlays.to_owned(),
        source,
    };
    let mut recipes = Vec::new();
    for entry in host_file::entries(overlays).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        // What is no recipe's name is no recipe's overlay: `.git`, `README.md`.
        let Some(Ok(recipe)) = name.to_str().map(str::parse::<RecipeName>) else {
            continue;
        };
        if is_enrolled(overlays, &recipe)? {
            recipes.push(recipe);
        }
    }
    recipes.sort();
    Ok(recipes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_never_nothing() {
        let root = tempfile::tempdir().unwrap();
        let write = |recipe: &str, text: &str| {
            let dir = root.path().join(recipe);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(FILE_NAME), text).unwrap();
        };
        write("notes", "canonical: true\ntimeouts: {deploy: 5}\n");
        write("ledger", "canonical: false\n");
        write("empty", "");
        std::fs::create_dir(root.path().join("bare")).unwrap();
        std::fs::write(root.path().join("README.md"), "").unwrap();
        std::fs::write(root.path().join("a-file"), "").unwrap();
        let names = enrolled(root.path()).unwrap();
        assert_eq!(names, ["notes".parse().unwrap()]);
        write("broken", "canonical: [\n");
        assert!(matches!(
            enrolled(root.path()),
            Err(EnrolledError::Declared(_))
        ));
        let gone = root.path().join("nowhere");
        assert!(matches!(enrolled(&gone), Err(EnrolledError::Read { .. })));
    }
}
