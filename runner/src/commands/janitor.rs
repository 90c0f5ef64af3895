//! `recipe-ci janitor`: one sweep, and what sees to it that sweeps happen.

pub(crate) mod install;
mod watch;

pub(crate) use watch::watcher_json;

use std::time::Duration;

use harness::abra::Abra;
use harness::error::chain;
use harness::janitor::record::{SweepRecord, Sweeper};
use harness::janitor::{self, Decision, Finding, Sweep};
use harness::name::{RunId, Zone};
use harness::process::Processes;
use harness::swarm::{Engine, EngineError};
use harness::warm::Recovered;
use serde_json::json;

use super::{infra, usage};
use crate::cli::{JanitorArgs, JanitorCommand, SweepArgs};
use crate::exit::Exit;
use crate::settings::{self, docker_host, host_dirs};
use crate::ui;

pub(crate) async fn janitor(args: JanitorArgs) -> Exit {
    match args.command {
        None => sweep_once(&args.sweep).await,
        Some(JanitorCommand::Install(args)) => install::install(&args).await,
        Some(JanitorCommand::Watch(args)) => watch::watch(&args).await,
        Some(JanitorCommand::Arm { watch, restart }) => watch::arm(&watch, restart).await,
        Some(JanitorCommand::Status { zone, json }) => watch::status(&zone, json),
    }
}

/// Returns the id under which this process holds locks while it sweeps.
fn own_id() -> RunId {
    format!("janitor-{}", std::process::id())
        .parse()
        .expect("a word and a number are a run id")
}

/// Sweeps `zone` and keeps the record of it.
async fn sweep(zone: &Zone, by: Sweeper, dry_run: bool) -> Result<Sweep, EngineError> {
    let host = host_dirs();
    let engine = Engine::connect(&docker_host())?;
    // What abra lists is one more source, where there is an abra; without it nothing is missed that is there.
    let processes = Processes::new(crate::env::for_children());
    let abra = Abra::find(&processes, &host.abra, &docker_host()).await;
    let abra = abra.as_ref().ok();
    let mut sweep = janitor::sweep_with(&engine, &host, zone, &own_id(), dry_run, abra).await?;
    janitor::rest_warm_apps(&engine, &host, zone, &own_id(), dry_run, &mut sweep).await;
    if !dry_run && let Err(error) = SweepRecord::of(&sweep, by, zone).store(&host.state) {
        ui::say(&format!(
            "!! this sweep could not be recorded in `{}`: {error}; `ps` and `doctor` will miss it",
            host.state.display()
        ));
    }
    Ok(sweep)
}

async fn sweep_once(args: &SweepArgs) -> Exit {
    let (zone, deadline) = match (
        settings::zone(&args.zone),
        settings::deadline_or_default(&args.deadline),
    ) {
        (Ok(zone), Ok(deadline)) => (zone, deadline),
        (Err(error), _) | (_, Err(error)) => return usage(&error),
    };
    let sweep = match sweep(&zone, Sweeper::Janitor, args.dry_run).await {
        Ok(sweep) => sweep,
        Err(error) => {
            return infra(
                &error,
                &["`recipe-ci doctor` says what is wrong with this host".to_owned()],
            );
        }
    };
    let exit = if args.dry_run || sweep.is_clean() {
        Exit::Passed
    } else {
        Exit::Leftovers
    };
    let text = if args.json {
        in_json(&sweep, &zone, args.dry_run, deadline, exit)
    } else {
        for finding in &sweep.findings {
            if let Some(warning) = finding.long_held(deadline) {
                ui::say(&warning);
            }
        }
        lines(&sweep, args.dry_run).join("\n")
    };
    if !text.is_empty() && ui::print_data(&text).is_err() {
        // What was to be done is done; who reads the table is gone.
        return exit;
    }
    exit
}

/// Returns the sweep for people, a line for each thing that was looked at.
fn lines(sweep: &Sweep, dry_run: bool) -> Vec<String> {
    let mut lines: Vec<String> = sweep
        .findings
        .iter()
        .map(|finding| format!("{}: {}", finding.domain, in_words(finding, dry_run)))
        .collect();
    lines.extend(warm_lines(sweep, dry_run));
    lines.extend(
        sweep
            .unreadable
            .iter()
            .map(|place| format!("skipping {place}")),
    );
    lines
}

fn warm_lines(sweep: &Sweep, dry_run: bool) -> Vec<String> {
    let line = |(recipe, became): &(String, Recovered)| {
        let what = match became {
            Recovered::Yes if dry_run => {
                "owner is dead, its last good data would be put back".to_owned()
            }
            Recovered::Yes => "owner was dead, its last good data is back".to_owned(),
            Recovered::Live => "live, left alone".to_owned(),
            Recovered::AtRest => "at rest".to_owned(),
            Recovered::Failed(error) => {
                format!("not at rest: {}; {}", chain(error), error.advice())
            }
        };
        format!("warm {recipe}: {what}")
    };
    sweep.warm.iter().map(line).collect()
}

fn in_words(finding: &Finding, dry_run: bool) -> String {
    match &finding.decision {
        Decision::Reaped if dry_run => "owner is dead, would be removed".to_owned(),
        Decision::Reaped => "owner was dead, removed".to_owned(),
        Decision::Gone => "owner was dead, nothing was left".to_owned(),
        Decision::Incomplete(left) => format!("owner was dead, would not go: {left}"),
        Decision::Live { holder, .. } if holder.is_empty() => "live, left alone".to_owned(),
        Decision::Live { holder, .. } => format!("live ({holder}), left alone"),
        Decision::Skipped(error) => format!("skipping: {}", chain(error)),
        Decision::Failed(error) => format!("owner was dead, not removed: {}", chain(error)),
    }
}

/// Returns the sweep for machines.
fn in_json(sweep: &Sweep, zone: &Zone, dry_run: bool, deadline: Duration, exit: Exit) -> String {
    let findings: Vec<_> = sweep
        .findings
        .iter()
        .map(|finding| {
            let mut row = json!({ "domain": finding.domain.as_str() });
            let (word, detail) = match &finding.decision {
                Decision::Reaped if dry_run => ("would_reap", json!({})),
                Decision::Reaped => ("reaped", json!({})),
                Decision::Gone => ("gone", json!({})),
                Decision::Incomplete(left) => ("incomplete", json!({ "left": left.left })),
                Decision::Live { holder, held_for } => (
                    "live",
                    json!({
                        "holder": holder,
                        "held_for_s": held_for.map(|held| held.as_secs()),
                        "long_held": finding.long_held(deadline).is_some(),
                    }),
                ),
                Decision::Skipped(error) => ("skipped", json!({ "error": chain(error) })),
                Decision::Failed(error) => ("failed", json!({ "error": chain(error) })),
            };
            row["decision"] = word.into();
            if let (Some(row), Some(detail)) = (row.as_object_mut(), detail.as_object()) {
                row.extend(detail.clone());
            }
            row
        })
        .collect();
    json!({
        "schema": 1,
        "zone": zone.as_str(),
        "dry_run": dry_run,
        "findings": findings,
        "tidied": sweep.tidied,
        "warm": warm_lines(sweep, dry_run),
        "clones": sweep.clones,
        "unreadable": sweep.unreadable,
        "exit_code": exit.code(),
    })
    .to_string()
}

/// Returns a sweep in a few words, for a watcher's log and record.
fn summary(swept: Result<Sweep, EngineError>, deadline: Duration) -> String {
    let sweep = match swept {
        Ok(sweep) => sweep,
        Err(error) => return format!("failed: {}", chain(&error)),
    };
    let said = sweep
        .findings
        .iter()
        .filter(|finding| !matches!(finding.decision, Decision::Live { .. }))
        .map(|finding| format!("{}: {}", finding.domain, in_words(finding, false)))
        .chain(
            sweep
                .findings
                .iter()
                .filter_map(|finding| finding.long_held(deadline)),
        )
        .chain(warm_lines(&sweep, false))
        .chain(
            sweep
                .unreadable
                .iter()
                .map(|place| format!("skipping {place}")),
        );
    let said: Vec<String> = said.collect();
    let live = sweep
        .findings
        .iter()
        .filter(|finding| matches!(finding.decision, Decision::Live { .. }))
        .count();
    if said.is_empty() {
        format!("nothing to do, {live} live")
    } else {
        said.join("; ")
    }
}
