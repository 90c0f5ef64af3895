//! `recipe-ci overlay`: the schema of recipe-ci.yml, and a check of overlays.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use harness::declared::file::schema;
use harness::error::chain;
use harness::name::RecipeName;
use harness::overlay::{Survey, looks_like_one_recipe, survey};
use harness::trust::list::{LIST_NAME, approved};

use super::usage;
use crate::exit::Exit;
use crate::settings::UsageError;
use crate::{env, ui};

/// Work on overlays, outside of a run.
#[derive(Debug, Subcommand)]
pub(crate) enum OverlayCommand {
    /// Check an overlay, or a directory of overlays, without a recipe.
    Check {
        /// The overlay of one recipe, a recipe's `tests/`, or a directory with one sub-directory per recipe.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Print the JSON schema of recipe-ci.yml.
    Schema,
}

/// Does what was asked.
pub(crate) fn overlay(command: &OverlayCommand) -> Exit {
    match command {
        OverlayCommand::Check { dir } => check(&env::working_dir().join(dir)),
        OverlayCommand::Schema => super::data(&schema()),
    }
}

fn refuse(error: impl Into<Box<dyn std::error::Error>>, hint: &str) -> Exit {
    usage(&UsageError {
        error: error.into(),
        hints: vec![hint.to_owned()],
    })
}

fn check(dir: &Path) -> Exit {
    let found = match overlays_in(dir) {
        Ok(found) if !found.is_empty() => found,
        Ok(_) => {
            return refuse(
                format!("there is no overlay in `{}`", dir.display()),
                "give the overlay of a recipe, or the directory that holds the overlays",
            );
        }
        Err(error) => {
            return refuse(
                format!("`{}` cannot be read: {error}", dir.display()),
                "give the overlay of a recipe, or the directory that holds the overlays",
            );
        }
    };
    let mut worst = match looks_like_one_recipe(dir) {
        None => check_list(&dir.join(LIST_NAME)),
        Some(_) => Exit::Passed,
    };
    for (name, dir) in found {
        let none = |why: &str| drop(ui::print_data(&format!("none  {}: {why}", dir.display())));
        if let Some(name) = name.as_deref()
            && name.parse::<RecipeName>().is_err()
        {
            none(&format!(
                "`{name}` is no name of a recipe, so no run takes it for an overlay"
            ));
            continue;
        }
        match survey(&dir, name.as_deref()) {
            Ok(Survey {
                lines,
                unused,
                misfits,
            }) => {
                if lines.is_empty() {
                    none("nothing in it is used");
                } else {
                    drop(ui::print_data(&format!("ok    {}", dir.display())));
                }
                for line in lines {
                    drop(ui::print_data(&format!("      {line}")));
                }
                for line in misfits {
                    drop(ui::print_data(&format!("      warning: {line}")));
                }
                for file in unused {
                    drop(ui::print_data(&format!("      not used: {file}")));
                }
            }
            Err(error) => {
                worst = said(&dir, &error, error.advice());
            }
        }
    }
    worst
}

/// Reads the list of approved recipes, if there is one: with a wrong one no run begins.
fn check_list(list: &Path) -> Exit {
    if std::fs::symlink_metadata(list).is_err() {
        return Exit::Passed;
    }
    match approved(list) {
        Ok(names) => {
            let names: Vec<&str> = names.iter().map(RecipeName::as_str).collect();
            drop(ui::print_data(&format!(
                "warning: {} is deprecated: it counts for published repositories only, and grants.yml replaces it ({})",
                list.display(),
                names.join(", ")
            )));
            Exit::Passed
        }
        Err(error) => said(
            list,
            &error,
            "write one recipe's name a line, such as `custom-html`; `#` begins a comment",
        ),
    }
}

fn said(what: &Path, error: &(dyn std::error::Error + 'static), hint: &str) -> Exit {
    drop(ui::print_data(&format!("FAIL  {}", what.display())));
    refuse(chain(error), hint)
}

/// Returns the overlays in `dir` with the recipes that they are for; of a single one that is not known.
fn overlays_in(dir: &Path) -> std::io::Result<Vec<(Option<String>, PathBuf)>> {
    if looks_like_one_recipe(dir).is_some() {
        return Ok(vec![(None, dir.to_owned())]);
    }
    let mut found = Vec::new();
    for entry in harness::host_file::entries(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            found.push((Some(name), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
