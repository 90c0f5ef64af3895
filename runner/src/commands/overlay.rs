//! `recipe-ci overlay`: the schema of recipe-ci.yml, a check of overlays, and the predecessor's import.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use harness::declared::FILE_NAME;
use harness::declared::file::schema;
use harness::error::chain;
use harness::host_file;
use harness::name::RecipeName;
use harness::overlay::import::import;
use harness::overlay::{Survey, looks_like_one_recipe, survey};
use harness::trust::list::{LIST_NAME, approved};

use super::{infra, usage};
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
    /// Translate the predecessor's recipe_meta.py into recipe-ci.yml; says what it cannot translate.
    Import {
        /// The recipe_meta.py.
        file: PathBuf,
        /// Write recipe-ci.yml into this directory instead of printing it.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Print the JSON schema of recipe-ci.yml.
    Schema,
}

/// Does what was asked.
pub(crate) fn overlay(command: &OverlayCommand) -> Exit {
    match command {
        OverlayCommand::Check { dir } => check(&env::working_dir().join(dir)),
        OverlayCommand::Import { file, out } => {
            let base = env::working_dir();
            translate(&base.join(file), out.as_ref().map(|dir| base.join(dir)))
        }
        OverlayCommand::Schema => print(schema().trim_end()),
    }
}

fn print(text: &str) -> Exit {
    match ui::print_data(text) {
        Ok(()) => Exit::Passed,
        Err(_) => Exit::Infra,
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
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            found.push((Some(name), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn translate(file: &Path, out: Option<PathBuf>) -> Exit {
    let text = match host_file::text(file) {
        Ok(text) => text,
        Err(error) => {
            return refuse(
                format!("`{}` cannot be read: {error}", file.display()),
                "give the path of a recipe_meta.py",
            );
        }
    };
    let imported = match import(&text, &file.display().to_string()) {
        Ok(imported) => imported,
        Err(error) => {
            return refuse(
                error,
                "correct that line; only assignments of plain values are translated, the rest is listed",
            );
        }
    };
    for (line, what) in &imported.left {
        ui::say(&format!(
            "not translated: {}:{line}: {what}",
            file.display()
        ));
    }
    let Some(dir) = out else {
        return print(imported.text.trim_end());
    };
    let target = dir.join(FILE_NAME);
    let written = std::fs::create_dir_all(&dir).and_then(|()| {
        use std::io::Write as _;
        // What somebody has written by hand is not written over.
        std::fs::File::create_new(&target)?.write_all(imported.text.as_bytes())
    });
    match written {
        Ok(()) => print(&target.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => refuse(
            format!("`{}` exists", target.display()),
            "remove it first, or leave `--out` away and merge what is printed",
        ),
        Err(error) => infra(&error, &[format!("is `{}` writable?", dir.display())]),
    }
}
