//! `recipe-ci lint`: what is wrong with a recipe that can be seen without deploying it.

use std::path::{Path, PathBuf};

use harness::git::GitError;
use harness::lint::sarif::sarif;
use harness::lint::{Lint, LintError, lint as check};
use harness::name::GitRef;
use harness::outcome::Status;
use serde_json::json;

use crate::env;
use crate::exit::Exit;
use crate::settings::UsageError;
use crate::ui;

/// The arguments of `recipe-ci lint`.
#[derive(Debug, clap::Args)]
pub(crate) struct LintArgs {
    /// The recipe's repository.
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// The branch, tag or commit to look at, rather than the work tree.
    #[arg(long = "ref", value_name = "REF", allow_hyphen_values = true)]
    reference: Option<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "sarif")]
    json: bool,
    /// Print SARIF 2.1.0, which code hosts show beside the lines.
    #[arg(long)]
    sarif: bool,
}

/// Lints a recipe and prints what was found.
pub(crate) fn lint(args: &LintArgs) -> Exit {
    if args.path.to_string_lossy().contains("://") {
        return super::usage(&UsageError {
            error: format!(
                "`{}` is an address, and lint reads a directory",
                args.path.display()
            )
            .into(),
            hints: vec!["clone the repository, and give the path of the clone".to_owned()],
        });
    }
    let path = env::working_dir().join(&args.path);
    let path = path.components().collect::<PathBuf>();
    let reference = args.reference.as_deref().filter(|name| !name.is_empty());
    if let Some(name) = reference
        && let Err(error) = name.parse::<GitRef>()
    {
        return super::usage(&UsageError {
            error: error.into(),
            hints: vec!["name a branch, a tag or a commit with `--ref`".to_owned()],
        });
    }
    match check(&path, reference) {
        Ok(lint) => print(&lint, args),
        Err(error) => refuse(error, &path),
    }
}

fn print(lint: &Lint, args: &LintArgs) -> Exit {
    let text = if args.sarif {
        sarif(lint, env!("CARGO_PKG_VERSION")).to_string()
    } else if args.json {
        let mut value = json!({ "schema": 1 });
        if let (Some(all), Ok(serde_json::Value::Object(found))) =
            (value.as_object_mut(), serde_json::to_value(lint))
        {
            all.extend(found);
        }
        value.to_string()
    } else {
        ui::lint::page(lint)
    };
    if let Err(error) = ui::print_data(&text) {
        ui::say(&format!("error: cannot write to standard output: {error}"));
        return Exit::Infra;
    }
    match lint.status {
        Status::Pass => Exit::Passed,
        _ => Exit::Failed,
    }
}

fn refuse(error: LintError, path: &Path) -> Exit {
    let hint = match &error {
        LintError::NoRecipe { .. } | LintError::NoDirectory { .. } => {
            "give the path of a recipe's repository: `recipe-ci lint ./my-recipe`"
        }
        LintError::File(error) => error.advice(),
        LintError::Variables(_) | LintError::Compose(_) => {
            "docs/operating.md says what a recipe's repository may hold"
        }
        LintError::Git(GitError::Content(error)) if error.is_the_repositorys() => {
            "docs/operating.md says what a recipe's repository may hold"
        }
        LintError::Git(GitError::UnknownRef { .. } | GitError::AmbiguousRef { .. }) => {
            "name a branch, a tag or a commit of the repository with `--ref`"
        }
        LintError::Git(GitError::Open { .. }) if !path.join(".git").exists() => {
            "`--ref` needs a git repository; leave it out to lint the directory as it is"
        }
        _ => {
            let hints =
                ["look whether the files can be read, and the repository with `git status`"];
            return super::infra(&error, &hints.map(str::to_owned));
        }
    };
    super::usage(&UsageError {
        error: match error.rule() {
            Some(rule) => format!("{rule}: {}", harness::error::chain(&error)).into(),
            None => error.into(),
        },
        hints: vec![hint.to_owned()],
    })
}
