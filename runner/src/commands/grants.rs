//! `recipe-ci grants`: a check of grants.yml, and its schema.

use std::path::PathBuf;

use clap::Subcommand;
use harness::trust::grant::schema;
use harness::trust::read::read;

use super::usage;
use crate::env;
use crate::exit::Exit;
use crate::settings::{UsageError, of_the_environment, unusable};

/// Look at what the operator grants to which source.
#[derive(Debug, Subcommand)]
pub(crate) enum GrantsCommand {
    /// Check grants.yml, and print what each source may do beyond a stranger.
    Check {
        /// The file [default: CCCI_GRANTS, grants.yml in CCCI_TESTS_DIR, or /etc/recipe-ci/grants.yml].
        file: Option<PathBuf>,
    },
    /// Print the JSON schema of grants.yml.
    Schema,
}

/// Does what was asked.
pub(crate) fn grants(command: &GrantsCommand) -> Exit {
    match command {
        GrantsCommand::Check { file } => check(file.clone()),
        GrantsCommand::Schema => super::data(&schema()),
    }
}

fn check(file: Option<PathBuf>) -> Exit {
    let file = file.map(|file| env::working_dir().join(file));
    let Some(path) = file.or_else(of_the_environment) else {
        return usage(&UsageError {
            error: "this host has no grants.yml, so every source is a stranger's".into(),
            hints: vec![
                "name one, or put it into the directory of overlays (CCCI_TESTS_DIR) or /etc/recipe-ci"
                    .to_owned(),
            ],
        });
    };
    let grants = match read(&path) {
        Ok(grants) => grants,
        Err(error) => return usage(&unusable(&error)),
    };
    let mut rows = vec![["SOURCE".to_owned(), "AT".to_owned(), "MAY".to_owned()]];
    for (key, grant) in &grants.sources {
        let mut at: Vec<String> = grant.branches.clone();
        at.extend(grant.commits.iter().map(|commit| commit[..8].to_owned()));
        if grant.releases {
            at.push("and its releases".to_owned());
        }
        let mut may = grant.in_words();
        if may.is_empty() {
            may.push("nothing that a stranger may not".to_owned());
        }
        let lines = at.len().max(may.len());
        for line in 0..lines {
            let source = if line == 0 { key.as_str() } else { "" };
            let cell = |column: &[String]| column.get(line).cloned().unwrap_or_default();
            rows.push([source.to_owned(), cell(&at), cell(&may)]);
        }
    }
    let wide = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let (first, second) = (wide(0), wide(1));
    let table: Vec<String> = rows
        .iter()
        .map(|[source, at, may]| {
            let line = format!("{source:first$}  {at:second$}  {may}");
            line.trim_end().to_owned()
        })
        .collect();
    let mut text = format!("ok    {}\n", path.display());
    if grants.sources.is_empty() {
        text.push_str("it grants nothing to any source");
    } else {
        text.push_str(&table.join("\n"));
    }
    for forge in &grants.forges {
        text.push_str(&format!("\nforge {forge} may be asked"));
    }
    super::data(&text)
}
