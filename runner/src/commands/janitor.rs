//! `recipe-ci janitor`: one sweep, and what sees to it that sweeps happen.

pub(crate) mod install;
pub(crate) mod upkeep;
mod watch;

pub(crate) use watch::watcher_json;

use std::io::IsTerminal as _;
use std::time::Duration;

use harness::abra::Abra;
use harness::dirs::HostDirs;
use harness::error::chain;
use harness::janitor::record::{SweepRecord, Sweeper};
use harness::janitor::{self, DeadEngine, DeadRun, Decision, Finding, Sweep};
use harness::name::{RunId, Zone};
use harness::process::Processes;
use harness::report::printable;
use harness::room::State;
use harness::swarm::{Engine, EngineError};
use harness::warm::Recovered;
use serde_json::json;

use super::{infra, usage};
use crate::cli::{JanitorArgs, JanitorCommand, SweepArgs};
use crate::exit::Exit;
use crate::settings::{self, docker_host, host_dirs};
use crate::ui;

/// How many names a line has; `--json` has them all. A run has seven kinds of working files.
const SHOWN: usize = 7;

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

/// Sweeps `zone`, on CI's own engine as well where that runs, and keeps the records of it.
async fn sweep(zone: &Zone, by: Sweeper, dry_run: bool) -> Result<Sweep, EngineError> {
    let sweep = sweep_of(&docker_host(), &host_dirs(), zone, by, dry_run).await?;
    let ci =
        on_ci(|address, host| async move { sweep_of(&address, &host, zone, by, dry_run).await });
    Ok(match ci.await {
        Some(ci) => with_ci(sweep, ci),
        None => sweep,
    })
}

/// Looks at CI's own engine, too, where it runs and commands are about the operator's.
pub(crate) async fn on_ci<F: Future<Output = Result<Sweep, EngineError>>>(
    look: impl FnOnce(String, HostDirs) -> F,
) -> Option<Result<Sweep, EngineError>> {
    let room = settings::room();
    match room.state() {
        Ok(State::Ready(_)) if !settings::is_on_ci() => {
            Some(look(room.docker_host(), room.places(&settings::operators_dirs())).await)
        }
        Ok(state @ State::Died(_)) => {
            let why = state.why_not_ready().unwrap_or_default();
            ui::say(&format!(
                "!! CI's own engine: {why}; `recipe-ci engine up` brings it back, `engine down` takes it away"
            ));
            None
        }
        _ => None,
    }
}

/// Adds what was found on CI's own engine. An app of which both know is one: its lock and its env file are the host's.
pub(crate) fn with_ci(mut sweep: Sweep, ci: Result<Sweep, EngineError>) -> Sweep {
    let ci = match ci {
        Ok(ci) => ci,
        Err(error) => {
            sweep
                .unreadable
                .push(format!("CI's own engine: {}", chain(&error)));
            return sweep;
        }
    };
    for finding in ci.findings {
        let same = |one: &Finding| one.domain == finding.domain;
        match sweep.findings.iter_mut().find(|one| same(one)) {
            // The first look may have ended with what is not about the engine, and this one with its objects.
            Some(first) if matches!(first.decision, Decision::Live { .. } | Decision::Gone) => {
                *first = finding;
            }
            Some(_) if matches!(finding.decision, Decision::Gone) => {}
            _ => sweep.findings.push(finding),
        }
    }
    sweep.dead.extend(ci.dead);
    sweep.engines.extend(ci.engines);
    sweep.tidied += ci.tidied;
    sweep.warm.extend(ci.warm);
    sweep.foreign.extend(ci.foreign);
    for place in ci.unreadable {
        if !sweep.unreadable.contains(&place) {
            sweep.unreadable.push(place);
        }
    }
    sweep
}

/// Sweeps `zone` on the engine at `address` and keeps the record of it.
async fn sweep_of(
    address: &str,
    host: &HostDirs,
    zone: &Zone,
    by: Sweeper,
    dry_run: bool,
) -> Result<Sweep, EngineError> {
    let engine = Engine::connect(address)?;
    // What abra lists is one more source, where there is an abra; without it nothing is missed that is there.
    let processes = Processes::new(crate::env::for_children());
    let abra = Abra::find(&processes, &host.abra, address).await;
    let abra = abra.as_ref().ok();
    let mut sweep =
        janitor::sweep_with(&engine, host, zone, &own_id(), dry_run, abra, None).await?;
    janitor::rest_warm_apps(&engine, host, zone, &own_id(), dry_run, &mut sweep).await;
    janitor::end_engines(&processes, host, dry_run, &mut sweep).await;
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
    let swept = sweep(&zone, Sweeper::Janitor, args.dry_run).await;
    // Also where there was no sweep: the metrics show that as well.
    let upkeep = args.upkeep.run(args.dry_run);
    let sweep = match swept {
        Ok(sweep) => sweep,
        Err(error) => {
            return infra(&error, &[error.advice().to_owned()]);
        }
    };
    let exit = match exit_of(&sweep) {
        Exit::Passed if !upkeep.is_done() => Exit::Leftovers,
        exit => exit,
    };
    for line in upkeep.lines(args.dry_run) {
        ui::say(&line);
    }
    let text = if args.json {
        in_json(&sweep, &zone, args.dry_run, deadline, exit)
    } else {
        for finding in &sweep.findings {
            if let Some(warning) = finding.long_held(deadline) {
                ui::say(&warning);
            }
        }
        let lines = lines(&sweep, args.dry_run);
        if lines.is_empty() && std::io::stdout().is_terminal() {
            // A timer's journal and a script get no line; a person wants to see that something happened.
            format!("nothing to reap in {zone}: no dead run left anything")
        } else {
            lines.join("\n")
        }
    };
    if !text.is_empty() && ui::print_data(&text).is_err() {
        // What was to be done is done; who reads the table is gone.
        return exit;
    }
    exit
}

/// Returns the exit code of a sweep. A dry run has the same: it removes nothing, so nothing would not go, but what
/// could not be read is as unknown as to any other.
fn exit_of(sweep: &Sweep) -> Exit {
    if sweep.is_clean() {
        Exit::Passed
    } else {
        Exit::Leftovers
    }
}

/// Returns the sweep for people, a line for each thing that was looked at.
fn lines(sweep: &Sweep, dry_run: bool) -> Vec<String> {
    let mut lines: Vec<String> = sweep
        .findings
        .iter()
        .map(|finding| format!("{}: {}", finding.domain, in_words(finding, dry_run)))
        .collect();
    lines.extend(dead_lines(sweep, dry_run));
    lines.extend(engine_lines(sweep, dry_run));
    lines.extend(warm_lines(sweep, dry_run));
    lines.extend(counted(sweep.tidied, "stale lock file"));
    lines.extend(foreign_lines(sweep));
    lines.extend(
        sweep
            .unreadable
            .iter()
            .map(|place| format!("skipping {place}")),
    );
    lines
}

/// Returns what bears the label of a run app and is not its own, a line for each.
fn foreign_lines(sweep: &Sweep) -> Vec<String> {
    let line = |what: &String| format!("{}, which did not make it: left alone", printable(what));
    sweep.foreign.iter().map(line).collect()
}

/// Returns `3 stale lock files removed`, or nothing for none.
fn counted(number: usize, what: &str) -> Option<String> {
    match number {
        0 => None,
        1 => Some(format!("1 {what} removed")),
        _ => Some(format!("{number} {what}s removed")),
    }
}

/// Returns what dead runs left beside their apps, a line for each run.
pub(crate) fn dead_lines(sweep: &Sweep, dry_run: bool) -> Vec<String> {
    let (were, ended, removed) = if dry_run {
        ("are", "would end", "would remove")
    } else {
        ("were", "ended", "removed")
    };
    let line = |dead: &DeadRun| {
        let mut line = format!("run {}: its processes {were} dead", dead.run);
        let mut add = |what: &str, of: &[String]| {
            if !of.is_empty() {
                line.push_str(&format!("; {what} {}", first_of(of)));
            }
        };
        add(&format!("{ended} what it had left running:"), &dead.ended);
        add(&format!("{removed} its working files:"), &dead.removed);
        add("would not go:", &dead.left);
        add("may be its own, but cannot be looked into:", &dead.hidden);
        printable(&line).to_string()
    };
    sweep.dead.iter().map(line).collect()
}

/// Returns what became of the engines of dead runs, a line for each.
fn engine_lines(sweep: &Sweep, dry_run: bool) -> Vec<String> {
    let line = |engine: &DeadEngine| {
        let what = match &engine.failed {
            _ if dry_run => "would be taken away".to_owned(),
            None => "taken away".to_owned(),
            Some(why) => format!("not taken away: {why}"),
        };
        let found = engine.found.join(", ");
        let line = format!(
            "engine of run {}: its run is dead, {what}: {found}",
            engine.run
        );
        printable(&line).to_string()
    };
    sweep.engines.iter().map(line).collect()
}

/// Names the first of many: a daemon that starts a child again and again has dozens until it is gone.
pub(crate) fn first_of(names: &[String]) -> String {
    match names.split_at_checked(SHOWN) {
        Some((first, more)) if !more.is_empty() => {
            format!("{} and {} more", first.join(", "), more.len())
        }
        _ => names.join(", "),
    }
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
        Decision::Postponed => "not looked at: no time was left".to_owned(),
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
                Decision::Postponed => ("postponed", json!({})),
            };
            row["decision"] = word.into();
            if let (Some(row), Some(detail)) = (row.as_object_mut(), detail.as_object()) {
                row.extend(detail.clone());
            }
            row
        })
        .collect();
    let dead: Vec<_> = sweep
        .dead
        .iter()
        .map(|dead| {
            json!({
                "run": dead.run,
                "processes": dead.ended,
                "files": dead.removed,
                "left": dead.left,
                "hidden": dead.hidden,
            })
        })
        .collect();
    json!({
        "schema": 1,
        "zone": zone.as_str(),
        "dry_run": dry_run,
        "findings": findings,
        "dead_runs": dead,
        "engines": engine_lines(sweep, dry_run),
        "tidied": sweep.tidied,
        "warm": warm_lines(sweep, dry_run),
        "foreign": sweep.foreign,
        "unreadable": sweep.unreadable,
        "exit_code": exit.code(),
    })
    .to_string()
}

/// Returns a sweep in a few words, for a watcher's log and record.
fn summary(swept: Result<Sweep, EngineError>, deadline: Duration) -> Result<String, String> {
    let sweep = swept.map_err(|error| chain(&error))?;
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
        .chain(dead_lines(&sweep, false))
        .chain(engine_lines(&sweep, false))
        .chain(warm_lines(&sweep, false))
        .chain(counted(sweep.tidied, "stale lock file"))
        .chain(foreign_lines(&sweep))
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
    Ok(if said.is_empty() {
        format!("nothing to do, {live} live")
    } else {
        said.join("; ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tidied_is_counted_and_nothing_is_not_said() {
        let mut sweep = Sweep {
            tidied: 3,
            ..Sweep::default()
        };
        assert_eq!(lines(&sweep, false), ["3 stale lock files removed"]);
        assert_eq!(
            summary(Ok(sweep), Duration::from_secs(3600)).unwrap(),
            "3 stale lock files removed"
        );
        sweep = Sweep::default();
        assert_eq!(lines(&sweep, false), [""; 0]);
    }

    #[test]
    fn an_app_that_would_not_go_is_named_with_what_is_left_and_is_exit_4() {
        let zone: Zone = "ci.localhost".parse().unwrap();
        let mut residual = harness::outcome::Residual::default();
        residual.add("volumes", vec!["note_data".to_owned()]);
        let sweep = Sweep {
            findings: vec![Finding {
                domain: harness::name::Domain::parse("note-0a1b2c.ci.localhost", &zone).unwrap(),
                decision: Decision::Incomplete(residual),
            }],
            ..Sweep::default()
        };
        let hour = Duration::from_secs(3600);
        let line = "note-0a1b2c.ci.localhost: owner was dead, would not go: volumes: note_data";
        assert_eq!(lines(&sweep, false), [line]);
        assert_eq!(exit_of(&sweep), Exit::Leftovers);
        let json = in_json(&sweep, &zone, false, hour, exit_of(&sweep));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            json["findings"],
            json!([{
                "domain": "note-0a1b2c.ci.localhost",
                "decision": "incomplete",
                "left": { "volumes": ["note_data"] },
            }])
        );
        assert_eq!(json["exit_code"], 4);
        assert_eq!(summary(Ok(sweep), hour).unwrap(), line);
    }

    #[test]
    fn a_dead_run_is_one_line_that_says_all_and_names_no_dozens() {
        let names = |count: usize| (1..=count).map(|n| format!("sh (pid {n})")).collect();
        let sweep = Sweep {
            dead: vec![DeadRun {
                run: "7".to_owned(),
                ended: names(9),
                removed: vec!["abra".to_owned(), "state".to_owned()],
                left: Vec::new(),
                hidden: vec!["ssh-agent (pid 50)".to_owned()],
            }],
            ..Sweep::default()
        };
        let [line] = dead_lines(&sweep, false).try_into().unwrap();
        assert!(line.starts_with(
            "run 7: its processes were dead; ended what it had left running: sh (pid 1), "
        ));
        assert!(line.contains("sh (pid 7) and 2 more; removed its working files: abra, state; "));
        assert!(line.ends_with("may be its own, but cannot be looked into: ssh-agent (pid 50)"));
        let [dry] = dead_lines(&sweep, true).try_into().unwrap();
        assert!(
            dry.contains("would end what") && dry.contains("would remove its"),
            "{dry}"
        );
        assert!(sweep.is_clean());
        let stuck = Sweep {
            dead: vec![DeadRun {
                left: names(1),
                ..DeadRun::default()
            }],
            ..Sweep::default()
        };
        assert!(!stuck.is_clean());
        let record = SweepRecord::of(&stuck, Sweeper::Janitor, &"ci.localhost".parse().unwrap());
        assert_eq!((record.failed, record.dead_runs), (1, 0));
    }
}
