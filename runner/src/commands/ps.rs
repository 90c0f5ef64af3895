//! `recipe-ci ps`: who runs on this host, who waits for whom, and what the dead left.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use harness::coverage::Coverage;
use harness::dirs::HostDirs;
use harness::error::chain;
use harness::janitor::{self, DeadEngine, DeadRun, Decision, Sweep};
use harness::lifetime::worker::Signals;
use harness::live::{self, LiveDependency, LiveRun, Roster};
use harness::lock::{LockError, Probe};
use harness::name::Zone;
use harness::outcome::Status;
use harness::process::Processes;
use harness::report::{human, printable};
use harness::swarm::{Engine, EngineError};
use harness::wait::pause;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::janitor::{first_of, on_ci, watcher_json, with_ci};
use super::{infra, usage};
use crate::cli::PsArgs;
use crate::exit::Exit;
use crate::settings::{self, docker_host, host_dirs};
use crate::ui;

/// How often `--watch` looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What one look at the host found.
struct Look {
    roster: Roster,
    /// Locks of run apps that no run on the roster holds: another harness, or another runs directory.
    others: Vec<Other>,
    /// A sweep that changes nothing, for the leaked candidates.
    sweep: Result<Sweep, EngineError>,
    coverage: Coverage,
    deadline: Duration,
}

struct Other {
    domain: String,
    holder: String,
    held_for: Option<Duration>,
}

pub(crate) async fn ps(args: &PsArgs) -> Exit {
    let (zone, deadline) = match (
        settings::zone(&args.zone),
        settings::deadline_or_default(&crate::env::var("CCCI_DEADLINE")),
    ) {
        (Ok(zone), Ok(deadline)) => (zone, deadline),
        (Err(error), _) | (_, Err(error)) => return usage(&error),
    };
    let host = host_dirs();
    let mut signals = match args.watch.then(Signals::listen).transpose() {
        Ok(signals) => signals,
        Err(error) => return infra(&error, &[]),
    };
    loop {
        let look = look(&host, &zone, deadline).await;
        let text = if args.json {
            look.json().to_string()
        } else {
            look.text()
        };
        let printed = ui::print_look(&text, args.watch && !args.json);
        let Some(signals) = signals.as_mut().filter(|_| printed.is_ok()) else {
            return look.exit();
        };
        tokio::select! {
            _ = signals.next() => return look.exit(),
            () = pause(LOOK_EVERY) => {}
        }
    }
}

async fn look(host: &HostDirs, zone: &Zone, deadline: Duration) -> Look {
    let mut roster = live::list(host);
    let others = others(host, zone, &mut roster);
    let id = "ps".parse().expect("a word is a run id");
    let sweep = match Engine::connect(&docker_host()) {
        Ok(engine) => match janitor::sweep(&engine, host, zone, &id, true).await {
            Ok(mut sweep) => {
                let processes = Processes::new(crate::env::for_children());
                janitor::end_engines(&processes, host, true, &mut sweep).await;
                Ok(sweep)
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    let ci = on_ci(|address, host| {
        let id = &id;
        async move {
            let engine = Engine::connect(&address)?;
            janitor::sweep(&engine, &host, zone, id, true).await
        }
    });
    let sweep = match (sweep, ci.await) {
        (Ok(sweep), Some(ci)) => Ok(with_ci(sweep, ci)),
        (sweep, _) => sweep,
    };
    Look {
        others,
        sweep,
        coverage: Coverage::of(host, zone, Path::new("/")),
        roster,
        deadline,
    }
}

/// Finds the locks of run apps whose holder is not on the roster.
fn others(host: &HostDirs, zone: &Zone, roster: &mut Roster) -> Vec<Other> {
    let known: BTreeSet<String> = roster
        .runs
        .iter()
        .flat_map(LiveRun::domains)
        .map(str::to_owned)
        .collect();
    let mut others = Vec::new();
    match live::held_locks(host, zone) {
        Err(LockError::Unusable { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => roster.unreadable.push(chain(&error)),
        Ok(held) => {
            for (domain, probe) in held {
                if let Probe::Held { holder, since } = probe
                    && !known.contains(domain.as_str())
                {
                    others.push(Other {
                        domain: domain.to_string(),
                        holder,
                        held_for: since.and_then(|since| since.elapsed().ok()),
                    });
                }
            }
        }
    }
    others
}

impl Look {
    /// A question that was not fully answered is not a success.
    fn exit(&self) -> Exit {
        let known = self.sweep.as_ref().is_ok_and(|sweep| {
            let mut decisions = sweep.findings.iter().map(|finding| &finding.decision);
            sweep.unreadable.is_empty()
                && !decisions
                    .any(|decision| matches!(decision, Decision::Skipped(_) | Decision::Failed(_)))
        });
        if known && self.roster.unreadable.is_empty() && self.coverage.unreadable.is_empty() {
            Exit::Passed
        } else {
            Exit::Infra
        }
    }

    /// Returns whom a waiting run waits for: the run whose app has that domain, or what the lock says.
    fn waits_for(&self, run: &LiveRun) -> Option<String> {
        let domain = run.waits_for()?;
        let runs = &mut self.roster.runs.iter();
        let owner = runs.find(|other| other.domains().contains(&domain));
        let other = || self.others.iter().find(|other| other.domain == domain);
        Some(match (owner, other()) {
            (Some(owner), _) => format!("run {}", owner.run_id),
            (None, Some(other)) if !other.holder.is_empty() => other.holder.clone(),
            _ => "?".to_owned(),
        })
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        let mut rows = vec![
            [
                "RUN",
                "RECIPE",
                "PR",
                "TRUST",
                "DOMAIN",
                "PHASE",
                "AGE",
                "LEFT",
                "WAITS FOR",
            ]
            .map(str::to_owned),
        ];
        for run in &self.roster.runs {
            rows.push([
                run.run_id.clone(),
                run.recipe.clone(),
                run.pr.clone().unwrap_or_else(|| "-".to_owned()),
                run.trust
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |trust| trust.level.clone()),
                run.domain.clone(),
                format!("{} {}", run.phase, span(since(&run.phase_since))),
                span(since(&run.started_at)),
                until(&run.deadline_at).map_or_else(|| "over".to_owned(), |left| span(Some(left))),
                self.waits_for(run).unwrap_or_else(|| "-".to_owned()),
            ]);
            let fresh = run.fresh.iter().map(|domain| (domain, "fresh install"));
            let others = run.others.iter().map(|one| (&one.domain, &*one.what));
            rows.extend(fresh.chain(others).map(|other| other_row(run, other)));
            rows.extend(run.dependencies.iter().map(dependency_row));
        }
        if self.roster.runs.is_empty() {
            lines.push("no run is alive".to_owned());
        } else {
            lines.extend(columns(&rows));
        }
        for other in &self.others {
            let who = if other.holder.is_empty() {
                "an unknown process"
            } else {
                &other.holder
            };
            lines.push(format!(
                "held: {} by {}, for {}",
                other.domain,
                printable(who),
                span(other.held_for)
            ));
        }
        match &self.sweep {
            Ok(sweep) => {
                for finding in &sweep.findings {
                    match &finding.decision {
                        Decision::Reaped => lines.push(format!(
                            "leaked: {}: its owner is dead; `recipe-ci janitor` removes it",
                            finding.domain
                        )),
                        Decision::Skipped(error) => {
                            lines.push(format!("unknown: {}: {}", finding.domain, chain(error)));
                        }
                        _ => {}
                    }
                    lines.extend(finding.long_held(self.deadline));
                }
                lines.extend(sweep.dead.iter().map(left_by));
                lines.extend(sweep.engines.iter().map(engine_of));
                lines.extend(not_known(&sweep.unreadable));
            }
            Err(error) => lines.push(format!(
                "!! leaked apps are not known: {}; `recipe-ci doctor` says what is wrong",
                chain(error)
            )),
        }
        lines.extend(not_known(&self.roster.unreadable));
        lines.extend(not_known(&self.coverage.unreadable));
        lines.push(last_sweep(&self.coverage));
        lines.extend(self.coverage.banner());
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let runs: Vec<Value> = self
            .roster
            .runs
            .iter()
            .map(|run| {
                let mut row = json!(run);
                row["age_s"] = since(&run.started_at).map(|age| age.as_secs()).into();
                row["deadline_left_s"] = until(&run.deadline_at)
                    .map_or(0, |left| left.as_secs())
                    .into();
                row["waits_for"] = self.waits_for(run).into();
                row
            })
            .collect();
        let others: Vec<Value> = self
            .others
            .iter()
            .map(|other| {
                json!({
                    "domain": other.domain,
                    "holder": other.holder,
                    "held_for_s": other.held_for.map(|held| held.as_secs()),
                })
            })
            .collect();
        let dead = self.sweep.as_ref().ok().map(|sweep| {
            let of = |dead: &DeadRun| json!({ "run": dead.run, "processes": dead.ended });
            sweep.dead.iter().map(of).collect::<Vec<_>>()
        });
        let engines = self.sweep.as_ref().ok().map(|sweep| {
            let of = |dead: &DeadEngine| json!({ "run": dead.run, "left": dead.found });
            sweep.engines.iter().map(of).collect::<Vec<_>>()
        });
        let (leaked, long_held, error) = match &self.sweep {
            Ok(sweep) => {
                let named = |wanted: &dyn Fn(&janitor::Finding) -> bool| -> Vec<String> {
                    let found = sweep.findings.iter().filter(|finding| wanted(finding));
                    found.map(|finding| finding.domain.to_string()).collect()
                };
                (
                    json!(named(&|finding| matches!(
                        finding.decision,
                        Decision::Reaped
                    ))),
                    json!(named(&|finding| finding.long_held(self.deadline).is_some())),
                    Value::Null,
                )
            }
            // Not an empty list: it is unknown.
            Err(error) => (Value::Null, Value::Null, chain(error).into()),
        };
        let mut unreadable = self.roster.unreadable.clone();
        if let Ok(sweep) = &self.sweep {
            unreadable.extend(sweep.unreadable.iter().cloned());
        }
        json!({
            "schema": 1,
            "at": Timestamp::now().to_string(),
            "runs": runs,
            "held_by_others": others,
            "leaked": leaked,
            "long_held": long_held,
            "dead_runs": dead,
            "dead_engines": engines,
            "error": error,
            "unreadable": unreadable,
            "sweeping": coverage_json(&self.coverage),
        })
    }
}

/// Returns the line of another app of the run above it, at a domain and for a purpose.
fn other_row(run: &LiveRun, (domain, what): (&String, &str)) -> [String; 9] {
    ["└", &run.recipe, "", "", domain, what, "", "", ""].map(str::to_owned)
}

/// Returns the line of an app that the run above it needs.
fn dependency_row(dependency: &LiveDependency) -> [String; 9] {
    let phase = match dependency.status {
        None => "needed",
        Some(Status::Pass) => "needed: up",
        Some(_) => "needed: failed",
    };
    let LiveDependency { recipe, domain, .. } = dependency;
    ["└", recipe, "", "", domain, phase, "", "", ""].map(str::to_owned)
}

/// Returns when the janitor last swept, in words.
pub(crate) fn last_sweep(coverage: &Coverage) -> String {
    match coverage.newest() {
        Some((sweep, age)) => {
            let mut text = format!(
                "last sweep: {} ago by {}; removed {}, failed {}, live {}",
                human(age),
                sweep.by.name(),
                sweep.reaped,
                sweep.failed,
                sweep.live
            );
            if sweep.dead_runs > 0 {
                text.push_str(&format!(", cleaned up after {}", sweep.dead_runs));
            }
            text
        }
        None if coverage.unreadable.is_empty() => "last sweep: never".to_owned(),
        None => "last sweep: not known".to_owned(),
    }
}

/// Returns a line for each place that could not be read.
pub(crate) fn not_known(places: &[String]) -> impl Iterator<Item = String> {
    places.iter().map(|place| format!("not known: {place}"))
}

/// Returns what sweeps the host, for machines.
pub(crate) fn coverage_json(coverage: &Coverage) -> Value {
    json!({
        "covered": coverage.gap().is_none(),
        "gap": coverage.gap(),
        "timer": coverage.timer,
        "watcher": watcher_json(&coverage.watcher),
        "last_sweeps": coverage.sweeps,
        "unreadable": coverage.unreadable,
    })
}

/// Returns what a dead run left beside its app, in words.
fn left_by(dead: &DeadRun) -> String {
    let running = match dead.ended.as_slice() {
        [] => String::new(),
        left => format!(", and {} still running", first_of(left)),
    };
    let line = format!(
        "left: run {} is dead: its working files{running}; `recipe-ci janitor` removes them",
        dead.run
    );
    printable(&line).to_string()
}

/// Returns what is left of a dead run's own engine, in words.
fn engine_of(dead: &DeadEngine) -> String {
    let line = format!(
        "left: run {} is dead: of its own engine {}; `recipe-ci janitor` takes it away",
        dead.run,
        first_of(&dead.found)
    );
    printable(&line).to_string()
}

fn since(at: &str) -> Option<Duration> {
    let at: Timestamp = at.parse().ok()?;
    Duration::try_from(Timestamp::now().duration_since(at)).ok()
}

/// Returns how long it is until `at`, or nothing when that is over.
fn until(at: &str) -> Option<Duration> {
    let at: Timestamp = at.parse().ok()?;
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
}

/// Returns a span as `7s`, `1m03s`, `2h05m`.
fn span(span: Option<Duration>) -> String {
    let Some(span) = span else {
        return "?".to_owned();
    };
    match span.as_secs() {
        secs @ 0..=59 => format!("{secs}s"),
        secs @ 60..=3599 => format!("{}m{:02}s", secs / 60, secs % 60),
        secs => format!("{}h{:02}m", secs / 3600, secs / 60 % 60),
    }
}

/// Lays rows out in columns that are as wide as their widest cell.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let clean: Vec<[String; N]> = rows
        .iter()
        .map(|row| row.clone().map(|cell| printable(&cell).to_string()))
        .collect();
    let width = |column: usize| {
        let cells = clean.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    clean
        .iter()
        .map(|row| {
            let cells = row.iter().enumerate();
            let line: Vec<String> = cells
                .map(|(column, cell)| format!("{cell:<0$}", width(column)))
                .collect();
            line.join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short_and_columns_line_up() {
        let text = |secs| span(Some(Duration::from_secs(secs)));
        assert_eq!([text(7), text(63), text(7500)], ["7s", "1m03s", "2h05m"]);
        let rows = [["a", "bbb"], ["cccc", "d"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), ["a     bbb", "cccc  d"]);
    }
}
