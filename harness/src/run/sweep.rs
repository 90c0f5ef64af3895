//! What dead runs left, removed before a run makes anything.

use super::context::Context;
use super::settings::DEFAULT_DEADLINE;
use crate::coverage::Coverage;
use crate::janitor::record::{SweepRecord, Sweeper};
use crate::janitor::{self, Decision};
use engine::swarm::Engine;
use ground::error::chain;

/// Removes what dead runs left. A sweep that fails is said; it never stops a run.
pub(super) async fn sweep(context: &Context<'_>, engine: &Engine) {
    let settings = &context.settings;
    // In an engine of the run's own nobody has left anything.
    let host = settings
        .own_engine()
        .map_or(&settings.host, |own| &own.host);
    let swept = if settings.own_engine().is_some() {
        Ok(janitor::sweep_beside_engines(host).await)
    } else {
        let driver = context.held.borrow().driver.clone();
        let lister = driver.and_then(|driver| driver.lister(host));
        let (zone, run) = (&settings.zone, &context.dirs.id);
        let budget = Some(janitor::RUN_BUDGET);
        janitor::sweep_with(engine, host, zone, run, false, lister.as_ref(), budget).await
    };
    match swept {
        Err(error) => context
            .events
            .warn(format!("the janitor could not sweep: {}", chain(&error))),
        Ok(mut sweep) => {
            janitor::end_engines(&context.processes, host, false, &mut sweep).await;
            let record = SweepRecord::of(&sweep, Sweeper::Run, &settings.zone);
            if let Err(error) = record.store(&host.state) {
                context
                    .events
                    .warn(format!("the sweep could not be recorded: {error}"));
            }
            for finding in sweep.findings {
                // Of the run's own deadline nothing is known here; the default is what most runs have.
                if let Some(warning) = finding.long_held(DEFAULT_DEADLINE) {
                    context.events.warn(warning);
                }
                let domain = &finding.domain;
                match finding.decision {
                    Decision::Reaped => context
                        .events
                        .notice(format!("== janitor: reaped orphan {domain} ==")),
                    Decision::Live { .. } | Decision::Gone => {}
                    Decision::Incomplete(residual) => {
                        context
                            .events
                            .warn(format!("janitor: {domain} would not go: {residual}"));
                    }
                    Decision::Skipped(error) => {
                        context
                            .events
                            .warn(format!("janitor: skipping {domain}: {}", chain(&error)));
                    }
                    Decision::Failed(error) => {
                        context
                            .events
                            .warn(format!("janitor: {domain}: {}", chain(&error)));
                    }
                    Decision::Postponed => {
                        let limit = janitor::RUN_BUDGET.as_secs();
                        context.events.warn(format!(
                            "janitor: {domain} is left to `recipe-ci janitor`: the sweep of a run ends after {limit} s"
                        ));
                    }
                }
            }
            for dead in sweep.dead {
                let run = &dead.run;
                if !dead.ended.is_empty() {
                    let ended = dead.ended.join(", ");
                    let said = format!("== janitor: ended what run {run} had left: {ended} ==");
                    context.events.notice(said);
                }
                if !dead.left.is_empty() {
                    let left = dead.left.join(", ");
                    context
                        .events
                        .warn(format!("janitor: of run {run} would not go: {left}"));
                }
            }
            for engine in sweep.engines {
                let run = &engine.run;
                match engine.failed {
                    None => context
                        .events
                        .notice(format!("== janitor: took the engine of run {run} away ==")),
                    Some(why) => context.events.warn(format!(
                        "janitor: the engine of run {run} would not go: {why}"
                    )),
                }
            }
            for what in sweep.foreign {
                context.events.warn(format!(
                    "janitor: {what}, which did not make it: left alone"
                ));
            }
            for place in sweep.unreadable {
                context.events.warn(format!("janitor: skipping {place}"));
            }
        }
    }
    let coverage = Coverage::of(host, &settings.zone, std::path::Path::new("/"));
    if let Some(banner) = coverage.banner() {
        context.events.notice(banner);
    }
}
