//! `recipe-ci release`: ends the hold of an app before its time.

use clap::Args;
use harness::error::chain;
use harness::hold::release::{ReleaseError, release as let_go};
use harness::janitor::Decision;
use harness::live::{self, LiveRun};
use harness::name::RunId;

use super::{infra, usage};
use crate::exit::Exit;
use crate::settings::{UsageError, host_dirs};
use crate::ui;

/// What to let go.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The run whose app is held [default: the only one].
    #[arg(value_name = "RUN", conflicts_with = "all")]
    run: Option<String>,
    /// Every run of this host.
    #[arg(long)]
    all: bool,
}

/// Ends holds, and waits until nothing of their apps is left.
pub(crate) async fn release(args: &ReleaseArgs) -> Exit {
    let roster = live::list(&host_dirs());
    let held: Vec<&LiveRun> = roster.runs.iter().filter(|run| run.is_held()).collect();
    let chosen = match (&args.run, held.as_slice()) {
        (Some(id), held) => {
            let found = held.iter().copied().filter(|run| run.run_id == *id);
            let found: Vec<&LiveRun> = found.collect();
            if found.is_empty() {
                return usage(&none(format!("run {id} holds nothing")));
            }
            found
        }
        (None, held) if args.all => held.to_vec(),
        (None, [one]) => vec![*one],
        (None, []) => return usage(&none("no app is held".to_owned())),
        (None, several) => {
            let ids: Vec<&str> = several.iter().map(|run| run.run_id.as_str()).collect();
            return usage(&UsageError {
                error: format!("several runs hold their apps: {}", ids.join(", ")).into(),
                hints: vec!["name one of them, or `--all`".to_owned()],
            });
        }
    };
    let mut exit = Exit::Passed;
    for line in roster.unreadable.iter().filter(|_| args.all) {
        ui::say(&format!("!! not known: {line}"));
        exit = Exit::Infra;
    }
    for run in chosen {
        if !end(run).await {
            exit = Exit::Infra;
        }
    }
    exit
}

fn none(error: String) -> UsageError {
    UsageError {
        error: error.into(),
        hints: vec!["`recipe-ci ps` lists what is held on this host".to_owned()],
    }
}

/// Ends one hold; returns whether nothing of it is left.
async fn end(run: &LiveRun) -> bool {
    let by: RunId = format!("release-{}", std::process::id())
        .parse()
        .expect("a word and a number are a run id");
    let came = match let_go(&host_dirs(), run, &by).await {
        Ok(came) => came,
        Err(error) => {
            let hint = match &error {
                ReleaseError::Holder { .. } => "run this as the user that the run was of",
                _ => "run `recipe-ci janitor`; it removes what its owner has left",
            };
            infra(&error, &[hint.to_owned()]);
            return false;
        }
    };
    let mut is_clean = true;
    for (domain, decision) in came {
        let what = match decision {
            Decision::Reaped | Decision::Gone => {
                ui::say(&format!("{domain}: removed"));
                continue;
            }
            // Who waited for its lock has it now, and removed what it found.
            Decision::Live { holder, .. } => {
                ui::say(&format!("{domain}: let go, and held by {holder} now"));
                continue;
            }
            Decision::Incomplete(left) => format!("would not go: {left}"),
            Decision::Skipped(error) => chain(&error),
            Decision::Failed(error) => chain(&error),
            Decision::Postponed => "not looked at".to_owned(),
        };
        ui::say(&format!(
            "!! {domain}: {what}; run `recipe-ci janitor` until it is clean"
        ));
        is_clean = false;
    }
    is_clean
}
