//! The first tests of a recipe: a file with the settings, a pair of hooks, and a test that passes.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ground::host_file;
use ground::name::RecipeName;

/// What stands for the recipe's name in a file.
const NAME: &str = "@RECIPE@";

/// Every file, below the recipe's repository: its path, its mode and its text.
const FILES: [(&str, u32, &str); 4] = [
    (
        "tests/recipe-ci.yml",
        0o644,
        include_str!("starter/recipe-ci.yml"),
    ),
    (
        "tests/ops/pre_upgrade",
        0o755,
        include_str!("starter/pre_upgrade"),
    ),
    (
        "tests/ops/verify_upgrade",
        0o755,
        include_str!("starter/verify_upgrade"),
    ),
    (
        "tests/custom/test_page.sh",
        0o755,
        include_str!("starter/test_page.sh"),
    ),
];

/// Why the first tests cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum StarterError {
    /// Something is there already; nothing was written.
    #[error("`{}` is there already, and nothing is overwritten", path.display())]
    Exists {
        /// The first of them.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Writes the first tests of `recipe` into its repository at `root`; returns their paths below it.
///
/// # Errors
/// [`StarterError`]; where one of the files is there, none is written.
pub fn write(root: &Path, recipe: &RecipeName) -> Result<Vec<&'static str>, StarterError> {
    let there = FILES.iter().map(|(path, ..)| root.join(path));
    if let Some(path) = there
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok())
    {
        return Err(StarterError::Exists { path });
    }
    for (path, mode, text) in FILES {
        let path = root.join(path);
        let text = text.replace(NAME, recipe.as_str());
        let put = || {
            std::fs::create_dir_all(path.parent().unwrap_or(root))?;
            // What came since the look is not overwritten either.
            let mut file = host_file::options()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path)?;
            file.write_all(text.as_bytes())
        };
        put().map_err(|source| StarterError::Write {
            path: path.clone(),
            source,
        })?;
    }
    Ok(FILES.map(|(path, ..)| path).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten_and_nothing_is_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = "notes".parse().unwrap();
        let hook = dir.path().join("tests/ops/verify_upgrade");
        std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
        std::fs::write(&hook, "mine").unwrap();
        let refused = write(dir.path(), &recipe).unwrap_err();
        assert!(refused.to_string().contains("verify_upgrade"), "{refused}");
        assert!(!dir.path().join("tests/recipe-ci.yml").exists());
        assert_eq!(host_file::text(&hook).unwrap(), "mine");
        std::fs::remove_file(&hook).unwrap();
        // A link that leads nowhere is there, too.
        std::os::unix::fs::symlink("/nowhere", &hook).unwrap();
        assert!(write(dir.path(), &recipe).is_err());
    }

    #[test]
    fn what_is_written_is_what_a_run_reads() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &"notes".parse().unwrap()).unwrap();
        let tests = dir.path().join("tests");
        let text = host_file::text(tests.join("recipe-ci.yml")).unwrap();
        let read = recipe::declared::read::parse(&text, "recipe-ci.yml", Some("notes")).unwrap();
        assert_eq!(read.file.recipe.as_deref(), Some("notes"));
        assert!(
            text.starts_with("# yaml-language-server: $schema=https://"),
            "{text}"
        );
        let found = crate::overlay::survey(&tests, Some("notes")).unwrap();
        assert!(
            found.unused.is_empty() && found.misfits.is_empty(),
            "{found:?}"
        );
        for file in [
            "ops/pre_upgrade",
            "ops/verify_upgrade",
            "custom/test_page.sh",
        ] {
            assert!(
                found.lines.iter().any(|line| line.contains(file)),
                "{:?}",
                found.lines
            );
        }
    }
}
