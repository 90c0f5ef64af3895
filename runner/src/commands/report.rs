//! `recipe-ci report`: what came of a run, in the form that its reader takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use harness::error::chain;
use harness::host_file;
use harness::lint::gitlab::gitlab;
use harness::report::file;
use harness::report::papers::Form;
use harness::report::results::Results;
use harness::report::schema::schema;

use super::usage;
use crate::env;
use crate::exit::Exit;
use crate::settings::{UsageError, host_dirs};

/// What `RUN` is called where the newest run is meant.
const LATEST: &str = "latest";

/// Which report, and how.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(crate) struct ReportArgs {
    #[command(subcommand)]
    command: Option<ReportCommand>,
    /// The run's id, the path of its directory, or `latest`.
    #[arg(value_name = "RUN", required = true)]
    run: Option<String>,
    /// The form that it is printed in.
    #[arg(required = true)]
    form: Option<FormChoice>,
}

#[derive(Debug, Subcommand)]
enum ReportCommand {
    /// Print the JSON schema of results.json.
    Schema,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormChoice {
    /// JUnit XML, for the test view of a pipeline
    Junit,
    /// A page in one file, for a browser
    Html,
    /// Markdown, for a summary or a comment
    Markdown,
    /// An SVG of the level
    Badge,
    /// The level as shields.io reads it
    BadgeJson,
    /// The lint as SARIF
    Sarif,
    /// The lint as GitLab's Code Quality report
    Gitlab,
}

/// Prints the report of a run.
pub(crate) fn report(args: &ReportArgs) -> Exit {
    let (run, form) = match (&args.command, &args.run, args.form) {
        (None, Some(run), Some(form)) => (run, form),
        // Without a subcommand clap requires both.
        _ => return super::data(&schema()),
    };
    let dir = match directory(run) {
        Ok(dir) => dir,
        Err(error) => return usage(&error),
    };
    let results = match file::read(&dir.join("results.json")) {
        Ok(results) => results,
        Err(error) => {
            return usage(&UsageError {
                error: chain(&error).into(),
                hints: vec![format!(
                    "name a run of {}, or the directory of one",
                    host_dirs().runs.display()
                )],
            });
        }
    };
    let text = match form {
        FormChoice::Junit => Form::Junit.of(&results),
        FormChoice::Html => Form::Html.of(&results),
        FormChoice::Markdown => Form::Markdown.of(&results),
        FormChoice::Badge => Form::Badge.of(&results),
        FormChoice::BadgeJson => Form::Shield.of(&results),
        FormChoice::Sarif => sarif(&results),
        FormChoice::Gitlab => gitlab(&results.lint).to_string(),
    };
    super::data(&text)
}

fn sarif(results: &Results) -> String {
    harness::lint::sarif::sarif(&results.lint, env!("CARGO_PKG_VERSION")).to_string()
}

/// Returns the directory of a run.
pub(crate) fn directory(run: &str) -> Result<PathBuf, UsageError> {
    let runs = host_dirs().runs;
    if run == LATEST {
        return latest(&runs);
    }
    let is_path = run.contains('/') || run == ".";
    Ok(if is_path {
        env::working_dir().join(run)
    } else {
        runs.join(run)
    })
}

/// Returns the directory of the run that began last.
fn latest(runs: &std::path::Path) -> Result<PathBuf, UsageError> {
    let entries = host_file::entries(runs).map_err(|error| UsageError {
        error: format!("cannot list the runs in `{}`: {error}", runs.display()).into(),
        hints: vec!["choose another directory with CCCI_RUNS_DIR".to_owned()],
    })?;
    let begun = entries
        .flatten()
        .filter_map(|entry| {
            let results = file::read(&entry.path().join("results.json")).ok()?;
            Some((results.started_at, entry.path()))
        })
        .max();
    begun.map(|(_, dir)| dir).ok_or_else(|| UsageError {
        error: format!("there is no run in `{}`", runs.display()).into(),
        hints: vec!["choose another directory with CCCI_RUNS_DIR".to_owned()],
    })
}
