//! `recipe-ci init`: the first tests of a recipe.

use std::path::PathBuf;

use harness::name::RecipeName;
use harness::starter::{self, StarterError};

use super::{data, infra, usage};
use crate::env;
use crate::exit::Exit;
use crate::settings::UsageError;

/// Where the first tests go.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The recipe's repository.
    #[arg(value_name = "PATH", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    path: PathBuf,
    /// The recipe's name [default: that of its directory].
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
}

/// Writes the first tests of a recipe and says what to do with them.
pub(crate) fn init(args: &InitArgs) -> Exit {
    // Without `.` and `..`, for the name is that of a directory.
    let root = env::working_dir().join(&args.path);
    let root = match root.canonicalize() {
        Ok(root) => root,
        Err(error) => {
            return refuse(
                format!("there is no directory `{}`: {error}", root.display()),
                "give the path of a recipe's repository: `recipe-ci init ./my-recipe`",
            );
        }
    };
    if !root.join("compose.yml").exists() {
        return refuse(
            format!("`{}` is no recipe: it has no compose.yml", root.display()),
            "give the path of a recipe's repository: `recipe-ci init ./my-recipe`",
        );
    }
    let last = root.file_name().unwrap_or_default().to_string_lossy();
    let name = args.recipe.as_deref().unwrap_or(&last);
    let recipe: RecipeName = match name.parse() {
        Ok(recipe) => recipe,
        Err(error) => return refuse(error, "name the recipe with `--recipe`"),
    };
    match starter::write(&root, &recipe) {
        Ok(files) => {
            let mut lines: Vec<String> = files.iter().map(|file| format!("wrote {file}")).collect();
            lines.push(format!(
                "next: recipe-ci run {}",
                match args.path.as_os_str() == "." {
                    true => ".".to_owned(),
                    false => root.display().to_string(),
                }
            ));
            data(&lines.join("\n"))
        }
        Err(error @ StarterError::Exists { .. }) => refuse(
            error,
            "the recipe has tests already: `recipe-ci overlay check tests` lists them",
        ),
        Err(error) => infra(&error, &[]),
    }
}

fn refuse(error: impl Into<Box<dyn std::error::Error>>, hint: &str) -> Exit {
    usage(&UsageError {
        error: error.into(),
        hints: vec![hint.to_owned()],
    })
}
