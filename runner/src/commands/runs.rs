//! `recipe-ci runs`, `show`, `logs` and `gc`: the runs of this host that are over.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use harness::host_file;
use harness::report::results::Results;
use harness::report::sentence::sentence;
use harness::report::{file, human, printable};
use harness::runs::{self, Collection, Retention, Run};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::report::directory;
use super::{infra, usage};
use crate::exit::Exit;
use crate::settings::{UsageError, host_dirs};
use crate::ui;

/// How many runs are listed when nothing is said.
const SHOWN: usize = 20;

/// Which runs to list.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Of this recipe only.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// How many, the newest first; 0 for all.
    #[arg(long, short = 'n', value_name = "N", default_value_t = SHOWN)]
    number: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Which run to show.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run's id, the path of its directory, or `latest`.
    #[arg(value_name = "RUN")]
    run: String,
    /// Print its `results.json`.
    #[arg(long)]
    json: bool,
}

/// Which log to print.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The run's id, the path of its directory, or `latest`.
    #[arg(value_name = "RUN")]
    run: String,
    /// The log, as `--list` has it [default: the run's own].
    #[arg(value_name = "LOG", conflicts_with = "list")]
    log: Option<String>,
    /// List its logs.
    #[arg(long)]
    list: bool,
}

/// Which records to keep. One that is young enough, or among the newest of its recipe, stays; and so does whatever is
/// live, held, not swept yet, or no record of a run.
#[derive(Debug, Args, Clone, Copy)]
pub(crate) struct RetentionArgs {
    /// Keep the records of runs that ended within so many days.
    #[arg(long, env = "CCCI_KEEP_DAYS", value_name = "N", value_parser = parse_count)]
    keep_days: Option<Count>,
    /// Keep so many of the newest of each recipe.
    #[arg(long, env = "CCCI_KEEP_RUNS", value_name = "N", value_parser = parse_count)]
    keep_runs: Option<Count>,
}

/// What to remove.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    retention: RetentionArgs,
    /// Say what would be removed, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl RetentionArgs {
    /// Returns what they say.
    pub(crate) fn retention(self) -> Retention {
        Retention {
            days: self.keep_days.and_then(|count| count.0),
            runs: self.keep_runs.and_then(|count| count.0),
        }
    }
}

/// A number, or nothing where the text is empty: pipelines pass variables that are not set so.
#[derive(Debug, Clone, Copy)]
struct Count(Option<u32>);

fn parse_count(text: &str) -> Result<Count, String> {
    let number = match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some),
    };
    let number = number.map_err(|_| "give a whole number".to_owned());
    number.map(Count)
}

/// Lists the runs that have a report.
pub(crate) fn runs(args: &RunsArgs) -> Exit {
    let found = runs::list(&host_dirs().runs);
    let wanted = |run: &&Run| (args.recipe.as_ref()).is_none_or(|name| *name == run.results.recipe);
    let number = if args.number == 0 {
        usize::MAX
    } else {
        args.number
    };
    let shown: Vec<&Run> = found.runs.iter().filter(wanted).take(number).collect();
    let text = if args.json {
        let rows: Vec<Value> = shown.iter().map(|run| row_json(run)).collect();
        json!({ "schema": 1, "runs": rows, "unreadable": found.unreadable }).to_string()
    } else {
        let mut rows =
            vec![["RUN", "RECIPE", "VERDICT", "LEVEL", "BEGAN", "TOOK", "WHY"].map(str::to_owned)];
        rows.extend(shown.iter().map(|run| row(&run.results)));
        let mut lines = if shown.is_empty() {
            vec![format!("no run in {}", host_dirs().runs.display())]
        } else {
            super::ps::columns(&rows)
        };
        lines.extend(super::ps::not_known(&found.unreadable));
        lines.join("\n")
    };
    let printed = ui::print_data(&text);
    if printed.is_ok() && found.unreadable.is_empty() {
        Exit::Passed
    } else {
        Exit::Infra
    }
}

fn took(results: &Results) -> Option<Duration> {
    let began: Timestamp = results.started_at.parse().ok()?;
    let ended: Timestamp = results.finished_at.as_ref()?.parse().ok()?;
    Duration::try_from(ended.duration_since(began)).ok()
}

fn row(results: &Results) -> [String; 7] {
    let none = || "-".to_owned();
    let why = results.reason.as_deref().unwrap_or_default();
    let why: String = why
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(80)
        .collect();
    [
        results.run_id.clone(),
        results.recipe.clone(),
        results.verdict.to_string(),
        results.level.to_string(),
        results
            .started_at
            .get(..19)
            .unwrap_or(&results.started_at)
            .to_owned(),
        took(results).map_or_else(none, human),
        why,
    ]
}

fn row_json(run: &Run) -> Value {
    let results = &run.results;
    json!({
        "run_id": results.run_id,
        "recipe": results.recipe,
        "pr": results.pr,
        "ref": results.reference,
        "verdict": results.verdict,
        "exit_code": results.exit_code,
        "reason": results.reason,
        "level": results.level,
        "started_at": results.started_at,
        "finished_at": results.finished_at,
        "run_dir": run.dir,
    })
}

/// Reads the report of a run.
fn read(run: &str) -> Result<(std::path::PathBuf, Results), UsageError> {
    let dir = directory(run)?;
    match file::read(&dir.join("results.json")) {
        Ok(results) => Ok((dir, results)),
        Err(error) => Err(UsageError {
            error: harness::error::chain(&error).into(),
            hints: vec!["`recipe-ci runs` lists the runs of this host".to_owned()],
        }),
    }
}

/// Shows what came of a run.
pub(crate) fn show(args: &ShowArgs) -> Exit {
    let (dir, results) = match read(&args.run) {
        Ok(found) => found,
        Err(error) => return usage(&error),
    };
    let text = if args.json {
        match host_file::text(dir.join("results.json")) {
            Ok(text) => text.trim_end().to_owned(),
            Err(error) => return infra(&error, &[]),
        }
    } else {
        summary(&dir, &results)
    };
    match ui::print_data(&text) {
        Ok(()) => Exit::Passed,
        Err(error) => infra(&error, &[]),
    }
}

/// Returns what came of a run, as lines for people.
fn summary(dir: &Path, results: &Results) -> String {
    let mut text = format!("{}\n", printable(&sentence(results)));
    let mut entry = |label: &str, said: &str| {
        if !said.is_empty() {
            writeln!(text, "  {label:8} {}", printable(said)).expect("a string takes all");
        }
    };
    let took = took(results).map(|took| format!(", {}", human(took)));
    entry(
        "run",
        &format!(
            "{}, {}{}, exit code {}",
            results.run_id,
            results.started_at,
            took.unwrap_or_default(),
            results.exit_code
        ),
    );
    entry("head", results.head_version.as_deref().unwrap_or_default());
    entry("base", results.base_version.as_deref().unwrap_or_default());
    for tier in &results.tiers {
        let why = tier.reason.as_deref().unwrap_or_default();
        let why = why.lines().next().unwrap_or_default();
        let line = format!("{:6} {why}", tier.status.to_string());
        entry(tier.name.name(), line.trim_end());
    }
    for hint in &results.hints {
        entry("hint", hint);
    }
    if let Some(hold) = &results.hold {
        match &hold.ended {
            Some(ended) => entry("held", &format!("until {}: {}", ended.at, ended.why)),
            None => {
                entry("held", &format!("until {}", hold.until));
                for line in hold.commands() {
                    entry("", &line);
                }
            }
        }
    }
    entry("build", results.build_url.as_deref().unwrap_or_default());
    entry("files", &dir.display().to_string());
    entry("again", &results.repeat);
    text.truncate(text.trim_end().len());
    text
}

/// Prints a log of a run.
pub(crate) fn logs(args: &LogsArgs) -> Exit {
    let (dir, _) = match read(&args.run) {
        Ok(found) => found,
        Err(error) => return usage(&error),
    };
    let names = names(&dir.join("logs"));
    let path = match &args.log {
        _ if args.list => {
            let all = std::iter::once("run.log").chain(names.iter().map(String::as_str));
            let all: Vec<&str> = all.collect();
            drop(ui::print_data(&all.join("\n")));
            return Exit::Passed;
        }
        None => dir.join("run.log"),
        Some(log) if log == "run.log" => dir.join(log),
        // What is not listed is no log: no name leads out of the directory.
        Some(log) if names.contains(log) => dir.join("logs").join(log),
        Some(log) => {
            return usage(&UsageError {
                error: format!("run {} has no log `{}`", args.run, printable(log)).into(),
                hints: vec![format!(
                    "`recipe-ci logs {} --list` names its logs",
                    args.run
                )],
            });
        }
    };
    match host_file::text(&path) {
        Ok(text) => {
            drop(ui::print_data(text.trim_end()));
            Exit::Passed
        }
        Err(error) => infra(&error, &[format!("`{}`", path.display())]),
    }
}

/// Returns the names of the files in a directory of logs and in those below it, in order.
fn names(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in host_file::entries(dir).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        match entry.file_type() {
            Ok(kind) if kind.is_file() => names.push(name),
            Ok(kind) if kind.is_dir() => {
                let below = self::names(&entry.path()).into_iter();
                names.extend(below.map(|one| format!("{name}/{one}")));
            }
            _ => {}
        }
    }
    names.sort();
    names
}

/// Removes records of runs that are not to be kept.
pub(crate) fn gc(args: &GcArgs) -> Exit {
    let retention = args.retention.retention();
    if !retention.is_some() {
        return usage(&UsageError {
            error: "nothing says which records to keep".into(),
            hints: vec![
                "give `--keep-days 30` (CCCI_KEEP_DAYS), `--keep-runs 20` (CCCI_KEEP_RUNS), or both"
                    .to_owned(),
            ],
        });
    }
    let collected = runs::collect(&host_dirs().runs, retention, Timestamp::now(), args.dry_run);
    let text = if args.json {
        json!({
            "schema": 1,
            "dry_run": args.dry_run,
            "removed": collected.removed,
            "kept": collected.kept,
            "left": collected.left,
        })
        .to_string()
    } else {
        collected_lines(&collected, args.dry_run).join("\n")
    };
    drop(ui::print_data(&text));
    if collected.left.is_empty() {
        Exit::Passed
    } else {
        Exit::Leftovers
    }
}

/// Returns a collection for people.
pub(crate) fn collected_lines(collected: &Collection, dry_run: bool) -> Vec<String> {
    let would = if dry_run { "would be " } else { "" };
    let (count, kept) = (collected.removed.len(), collected.kept);
    let mut lines = vec![format!("records: {count} {would}removed, {kept} kept")];
    lines.extend(collected.left.iter().map(|left| format!("skipping {left}")));
    lines
}
