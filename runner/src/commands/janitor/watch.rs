//! `janitor watch`, `arm` and `status`: sweeps on a host without systemd.

use std::path::Path;
use std::time::Duration;

use harness::coverage::{Coverage, died};
use harness::error::chain;
use harness::janitor::record::Sweeper;
use harness::lifetime::worker::Signals;
use harness::name::Zone;
use harness::process::{Cmd, Processes};
use harness::report::human;
use harness::watch::{self, ArmError, Armed, Ended, Event, Heartbeat, State, Watcher};
use serde_json::json;

use super::super::{infra, usage};
use super::upkeep::UpkeepArgs;
use super::{summary, sweep};
use crate::cli::WatchArgs;
use crate::env;
use crate::exit::Exit;
use crate::settings::{self, UsageError, host_dirs};
use crate::ui;

/// What a watcher was asked to do.
struct Request {
    zone: Zone,
    every: Duration,
    poll: Duration,
    deadline: Duration,
    upkeep: UpkeepArgs,
}

impl Request {
    fn resolve(args: &WatchArgs) -> Result<Self, UsageError> {
        Ok(Self {
            zone: settings::zone(&args.zone)?,
            every: settings::duration("--every", &args.every, watch::EVERY)?,
            poll: settings::duration("--poll", &args.poll, watch::POLL)?,
            deadline: settings::deadline_or_default(&env::var("CCCI_DEADLINE"))?,
            upkeep: args.upkeep.clone(),
        })
    }
}

pub(super) async fn watch(args: &WatchArgs) -> Exit {
    let request = match Request::resolve(args) {
        Ok(request) => request,
        Err(error) => return usage(&error),
    };
    let state = host_dirs().state;
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return infra(&error, &[]),
    };
    let zone = request.zone.as_str();
    let watcher = match Watcher::claim(&state, zone, request.every, request.poll).await {
        Ok(Some(watcher)) => watcher,
        Ok(None) => {
            ui::say(&format!(
                "== `{}` has a watcher already; `recipe-ci janitor status` says how it is ==",
                state.display()
            ));
            return Exit::Passed;
        }
        Err(error) => return infra(&error, &[settings::STATE_HINT.to_owned()]),
    };
    say_dated(&format!(
        "watching: zone {zone}, a sweep every {} s, pid {}",
        request.every.as_secs(),
        std::process::id()
    ));
    let ended = watcher
        .watch(
            || async {
                let swept = sweep(&request.zone, Sweeper::Watcher, false).await;
                for line in request.upkeep.run(false).lines(false) {
                    say_dated(&line);
                }
                summary(swept, request.deadline)
            },
            async {
                signals.next().await;
            },
            |event| match event {
                Event::Swept(done) => say_dated(&format!("swept: {done}")),
                Event::Unheard(error) => {
                    say_dated(&format!("!! the heartbeat cannot be written: {error}"));
                }
            },
        )
        .await;
    let why = match ended {
        Ok(Ended::Stopped) => "told to stop",
        Ok(Ended::Displaced) => "the lock file was replaced: leaving the watch to others",
        Err(error) => return infra(&error, &[]),
    };
    say_dated(why);
    Exit::Passed
}

/// A watcher's log has no other clock.
fn say_dated(text: &str) {
    ui::say(&format!("{:.0} {text}", jiff::Timestamp::now()));
}

pub(super) async fn arm(args: &WatchArgs, restart: bool) -> Exit {
    let request = match Request::resolve(args) {
        Ok(request) => request,
        Err(error) => return usage(&error),
    };
    let exe = match settings::own_program() {
        Ok(exe) => exe,
        Err(error) => return infra(&error, &[]),
    };
    let host = host_dirs();
    let every = format!("{}s", request.every.as_secs());
    let poll = format!("{}ms", request.poll.as_millis());
    let words = ["janitor", "watch", "--zone", request.zone.as_str()];
    let cmd = Cmd::new(exe, Path::new("/"))
        .args(words)
        .args(["--every", &every, "--poll", &poll]);
    // The daemon gets of this environment only what it needs to mean the same host.
    let cmd = settings::places(&host)
        .into_iter()
        .chain(request.upkeep.variables())
        .fold(cmd, |cmd, (name, value)| cmd.env(name, value));
    let processes = Processes::new(env::for_children());
    match watch::arm(
        &host.state,
        &processes,
        &cmd,
        request.zone.as_str(),
        restart,
    )
    .await
    {
        Ok(Armed::Started(beat)) => said(&format!("started: {}", about(&beat))),
        Ok(Armed::Healthy(beat)) => said(&format!("healthy: {}", about(&beat))),
        Err(error) => {
            let log = match &error {
                ArmError::Ended { log, .. } => log.as_slice(),
                _ => &[],
            };
            drop(ui::print_data(&format!("FAILED: {}", chain(&error))));
            for line in log {
                ui::say(&format!("  {line}"));
            }
            ui::say(&format!(
                "its log: {}",
                watch::log_file(&host.state).display()
            ));
            Exit::Infra
        }
    }
}

fn said(line: &str) -> Exit {
    drop(ui::print_data(line));
    Exit::Passed
}

fn about(beat: &Heartbeat) -> String {
    format!(
        "watcher pid {}, heartbeat {:.1} s ago, zone {}, sweeps every {} s",
        beat.process.pid,
        beat.age().0.as_secs_f64(),
        beat.zone,
        beat.every_s
    )
}

pub(super) fn status(zone: &Option<String>, in_json: bool) -> Exit {
    let zone = match settings::zone(zone) {
        Ok(zone) => zone,
        Err(error) => return usage(&error),
    };
    let coverage = Coverage::of(&host_dirs(), &zone, Path::new("/"));
    let gap = coverage.gap();
    let exit = if gap.is_none() && coverage.unreadable.is_empty() {
        Exit::Passed
    } else {
        Exit::Infra
    };
    let text = if in_json {
        super::super::ps::coverage_json(&coverage).to_string()
    } else {
        let mut lines = vec![match &coverage.watcher {
            State::Healthy(beat) => format!("healthy: {}", about(beat)),
            State::Silent(Some(beat)) => format!(
                "silent: the lock is held, and pid {} last said that it lives {} ago; `recipe-ci janitor arm --restart` replaces it",
                beat.process.pid,
                human(beat.age().0)
            ),
            State::Silent(None) => {
                "silent: the lock is held by a process that has said nothing".to_owned()
            }
            State::Died(beat) => format!(
                "died: {}; nothing sweeps unless a timer does; `recipe-ci janitor arm` starts another",
                died(beat.as_ref())
            ),
            State::Absent if coverage.unreadable.is_empty() => "absent: no watcher".to_owned(),
            State::Absent => "absent: no watcher that could be read of".to_owned(),
        }];
        if let State::Healthy(Heartbeat {
            last: Some(last), ..
        }) = &coverage.watcher
        {
            lines.push(format!("its last sweep: {last}"));
        }
        lines.push(format!(
            "timer: {}",
            if coverage.timer { "enabled" } else { "none" }
        ));
        lines.push(super::super::ps::last_sweep(&coverage));
        lines.extend(super::super::ps::not_known(&coverage.unreadable));
        lines.extend(coverage.banner());
        lines.join("\n")
    };
    drop(ui::print_data(&text));
    exit
}

/// Returns what `status --json` says of the watcher.
pub(crate) fn watcher_json(state: &State) -> serde_json::Value {
    match state {
        State::Healthy(beat) => json!({ "state": "healthy", "heartbeat": beat }),
        State::Silent(beat) => json!({ "state": "silent", "heartbeat": beat }),
        State::Died(beat) => json!({ "state": "died", "heartbeat": beat }),
        State::Absent => json!({ "state": "absent" }),
    }
}
