//! What is done after a sweep where somebody asked for it: old records go, and metrics are written.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::TypedValueParser as _;
use harness::metrics;
use harness::runs::{self, Collection, Retention};
use jiff::Timestamp;

use crate::commands::runs::{RetentionArgs, collected_lines};
use crate::env;
use crate::settings::host_dirs;

/// What to do after a sweep.
#[derive(Debug, Args, Clone)]
pub(crate) struct UpkeepArgs {
    #[command(flatten)]
    retention: RetentionArgs,
    /// Write metrics there, for the textfile collector of Prometheus' node exporter: a name that ends in `.prom`.
    #[arg(long, env = "CCCI_METRICS", value_name = "FILE",
          value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from))]
    metrics: Option<PathBuf>,
}

/// What that came to.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// What was collected, where records are.
    pub(super) collection: Option<Collection>,
    /// Why the metrics could not be written.
    pub(super) error: Option<String>,
}

impl UpkeepArgs {
    /// Returns the variables that have another process do the same.
    pub(super) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let Retention { days, runs } = self.retention.retention();
        let numbers = [("CCCI_KEEP_DAYS", days), ("CCCI_KEEP_RUNS", runs)];
        let mut variables: Vec<_> = numbers
            .into_iter()
            .filter_map(|(name, number)| Some((name, number?.to_string().into())))
            .collect();
        variables.extend(self.file().map(|file| ("CCCI_METRICS", file.into())));
        variables
    }

    fn file(&self) -> Option<PathBuf> {
        let file = self.metrics.as_ref();
        let file = file.filter(|file| !file.as_os_str().is_empty());
        file.map(|file| env::working_dir().join(file))
    }

    /// Does what was asked for; nothing after a dry run.
    pub(super) fn run(&self, dry_run: bool) -> Upkeep {
        let mut upkeep = Upkeep::default();
        let retention = self.retention.retention();
        if retention.is_some() {
            let runs = host_dirs().runs;
            let collection = runs::collect(&runs, retention, Timestamp::now(), dry_run);
            upkeep.collection = Some(collection);
        }
        // After the sweep and the collection, so that it says what there is now.
        if let Some(file) = self.file().filter(|_| !dry_run)
            && let Err(error) = metrics::write(&host_dirs(), &file)
        {
            upkeep.error = Some(format!(
                "metrics could not be written to `{}`: {error}",
                file.display()
            ));
        }
        upkeep
    }
}

impl Upkeep {
    /// Returns whether all of it was done.
    pub(super) fn is_done(&self) -> bool {
        let collected = self.collection.as_ref();
        self.error.is_none() && collected.is_none_or(|collection| collection.left.is_empty())
    }

    /// Returns what a person or a journal is to see; nothing where nothing happened.
    pub(super) fn lines(&self, dry_run: bool) -> Vec<String> {
        let collected = self.collection.as_ref();
        let collected = collected.filter(|one| !one.removed.is_empty() || !one.left.is_empty());
        let mut lines = collected.map_or_else(Vec::new, |one| collected_lines(one, dry_run));
        lines.extend(self.error.iter().map(|error| format!("!! {error}")));
        lines
    }
}
