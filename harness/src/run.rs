//! The only module that knows the order of a run.
//!
//! Guards → run directory → fetch → plan → lint → janitor → lock → prepull → deploy → tiers → teardown → report.
//! Fetch and plan come before anything is asked of the engine, so that wrong input is exit 2 even on a
//! host without one.
//!
//! The body of a run is one future. A signal or the deadline drops it wherever it is; what it had begun is
//! known to [`Held`], which outlives it, and is torn down from there.

mod advice;
mod base;
mod blocking;
mod body;
mod dependencies;
mod error;
mod gateway;
mod images;
mod incomplete;
mod lint;
mod locks;
mod needs;
mod network;
mod overlaid;
mod ownership;
pub mod plan;
mod plan_view;
mod promote;
mod quick;
mod refusal;
mod repeat;
mod resolved;
mod retry;
mod routing;
pub mod settings;
mod teardown;
#[cfg(test)]
mod testing;
mod tiers;
mod uncovered;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::dirs::{DirsError, RunDirs};
use crate::driver::Chosen;
use crate::error::chain;
use crate::event::{Event, Events, RunFinished, RunStarted};
use crate::lifetime::Note;
use crate::lifetime::worker::{EndSignal, Notes, Signals};
use crate::live;
use crate::lock::DomainLock;
use crate::outcome::{Status, TierOutcome, Verdict};
use crate::process::{Processes, Usage, cgroup};
use crate::report::log::RunLog;
use crate::report::recorder::Recorder;
use crate::report::redact::Redactor;
use crate::swarm::Engine;
use crate::swarm::teardown::Maker;
use crate::wait::{Deadline, Stopwatch};
use error::usage;
pub use error::{AnyError, RunError};
use settings::{Keep, Settings};

/// What a run holds beyond its body's life.
#[derive(Default)]
struct Held {
    /// The locks: the app's, then those of its dependencies by name. None is released before the process ends.
    locks: Vec<Rc<DomainLock>>,
    /// The connection, once there is one.
    engine: Option<Engine>,
    /// The driver, once it may have deployed something.
    driver: Option<Chosen>,
    /// Whether something of the app may exist.
    touched: bool,
    /// What was there before the run made anything, once that is known.
    audit: Option<ownership::Audit>,
    /// The tiers that ended.
    tiers: Vec<TierOutcome>,
    /// Whether the tiers are repeated with the recipe's health checks as shipped.
    as_shipped: bool,
    /// The warm app that a quick run is at; it is brought to rest instead of being removed.
    warm: Option<quick::AtWork>,
    /// Locks of warm apps that are at rest again; they are kept until the process ends, too.
    rested: Vec<Rc<DomainLock>>,
    /// What becomes the recipe's canonical if the run is green.
    candidate: Option<promote::Candidate>,
    /// The first required dependency that is missing.
    missing: Option<Missing>,
    /// Whether any dependency did not come up.
    dependency_failed: bool,
}

/// A required dependency that did not come up.
#[derive(Debug, Clone)]
struct Missing {
    recipe: String,
    reason: String,
}

/// What the run's parts share.
#[derive(Clone)]
struct Context<'a> {
    settings: Rc<Settings>,
    dirs: RunDirs,
    events: Events,
    redactor: Redactor,
    processes: Processes,
    held: Rc<RefCell<Held>>,
    notes: Rc<RefCell<&'a mut Notes>>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// The verdict.
    pub verdict: Verdict,
    /// The exit code.
    pub exit_code: u8,
    /// What `--dry-run` prints.
    pub plan_json: Option<String>,
}

/// How long a red run waits for the signal that may have caused it. Who cancels may send it to every process
/// at once (systemd does when it stops a unit), and a test may die of it before this process hears of it: that
/// is no failure of the recipe.
const SIGNAL_GRACE: Duration = Duration::from_millis(100);

enum Ending {
    Body(Result<Option<String>, RunError>),
    Signal(EndSignal),
    Deadline,
}

/// Runs a recipe through its tiers and tears it down, whatever happens.
///
/// `attach` is called once with the run's events and redactor, so that a console can listen.
///
/// # Errors
/// [`DirsError`] when there is no run directory to work and report in; nothing has been made then.
pub async fn run(
    settings: &Settings,
    notes: &mut Notes,
    signals: &mut Signals,
    attach: impl FnOnce(&Events, &Redactor),
) -> Result<RunEnd, DirsError> {
    let watch = Stopwatch::start();
    let deadline = Deadline::after(settings.deadline);
    for (what, path) in [
        ("state directory", &settings.host.state),
        ("lock directory", &settings.host.locks),
    ] {
        crate::dirs::ensure_writable(what, path)?;
    }
    let dirs = RunDirs::create(&settings.host, &settings.run_id)?;
    notes.tell(&Note::Run {
        root: dirs.root.clone(),
    });
    if let Err(error) = dirs.link_abra(&settings.host) {
        // Nobody could tell what it is: it has no report.
        drop(std::fs::remove_dir_all(&dirs.root));
        return Err(error);
    }

    let events = Events::default();
    let redactor = settings.redactor();
    let recorder = Recorder::new(dirs.results(), redactor.clone());
    events.add(recorder.consumer());
    if let Ok(log) = RunLog::open(&dirs.log(), redactor.clone()) {
        events.add(log.consumer());
    }
    let mut child_env = settings.child_env.clone();
    match live::hold(&dirs).await {
        Ok(lock) => {
            match live::Mark::make(&dirs, own_group(settings), &lock) {
                Ok(mark) => {
                    let (name, value) = mark.variable();
                    child_env.insert(name.into(), value.into());
                }
                // If all of this run's processes are killed, nobody will know which children were its own.
                Err(error) => tracing::warn!(%error, "children are not marked"),
            }
            events.add(live::consumer(&dirs, lock, settings.deadline));
        }
        // `ps` will not list the run; that is no reason to refuse it.
        Err(error) => tracing::warn!(error = %chain(&error), "no live record"),
    }
    attach(&events, &redactor);
    let context = Context {
        settings: Rc::new(settings.clone()),
        processes: Processes::new(child_env),
        held: Rc::default(),
        notes: Rc::new(RefCell::new(notes)),
        redactor,
        events,
        dirs,
    };
    context.events.emit(&Event::RunStarted(Box::new(RunStarted {
        run_id: context.dirs.id.to_string(),
        recipe: settings.recipe.to_string(),
        pr: settings.pr.clone(),
        reference: settings.reference.as_ref().map(ToString::to_string),
        domain: settings.domain.to_string(),
        run_dir: context.dirs.root.clone(),
        started_at: jiff::Timestamp::now().to_string(),
    })));

    let ending = {
        let mut body = std::pin::pin!(body::go(&context));
        tokio::select! {
            biased;
            signal = signals.next() => Ending::Signal(signal),
            () = tokio::time::sleep_until(deadline.instant()) => Ending::Deadline,
            done = &mut body => Ending::Body(done),
        }
    };
    let verdict = decide(&ending, &context.held.borrow()).verdict;
    let ending = match ending {
        Ending::Body(_) if matches!(verdict, Verdict::Failed | Verdict::Infra) => {
            match tokio::time::timeout(SIGNAL_GRACE, signals.next()).await {
                Ok(signal) => Ending::Signal(signal),
                Err(_) => ending,
            }
        }
        other => other,
    };
    let end = finish(&context, ending, signals, deadline, watch).await;
    if let Some(error) = recorder.last_error() {
        context.events.notice(format!(
            "results.json could not be written: {}",
            chain(&*error)
        ));
        // A report that does not exist must not look like a pass.
        if end.exit_code == 0 {
            return Ok(RunEnd {
                verdict: Verdict::Infra,
                exit_code: 3,
                plan_json: None,
            });
        }
    }
    Ok(end)
}

/// Tears down, audits, decides and reports.
async fn finish(
    context: &Context<'_>,
    ending: Ending,
    signals: &mut Signals,
    deadline: Deadline,
    watch: Stopwatch,
) -> RunEnd {
    let why = why(&ending, context.settings.deadline);
    let mut decision = decide(&ending, &context.held.borrow());
    if let Ending::Body(Err(RunError::Refused { found, .. })) = &ending {
        resolved::say(context, found);
    }
    let plan_json = match ending {
        Ending::Body(Ok(view) | Err(RunError::Refused { view, .. })) => view,
        _ => None,
    };
    let keep = match context.settings.keep {
        Keep::Never => false,
        Keep::Failed => matches!(decision.verdict, Verdict::Failed),
        Keep::Always => matches!(decision.verdict, Verdict::Passed | Verdict::Failed),
    };
    let green = decision.verdict == Verdict::Passed;
    let left = teardown::Left {
        app: keep,
        warm_data: green,
    };
    let maker = maker(decision.verdict, &context.held.borrow());
    let torn_down = teardown::tear_down(context, &why, left, maker, signals).await;
    decision.after(torn_down);
    let candidate = context.held.borrow_mut().candidate.take();
    if decision.verdict == Verdict::Passed
        && let Some(candidate) = candidate
    {
        // Whatever it comes to, the run was green and stays so.
        promote::promote(context, candidate, signals, deadline).await;
    }
    teardown::clean_up(context);

    context
        .events
        .emit(&Event::RunFinished(Box::new(RunFinished {
            verdict: decision.verdict,
            exit_code: decision.exit_code,
            reason: decision.reason,
            hints: decision.hints,
            finished_at: jiff::Timestamp::now().to_string(),
            elapsed: watch.elapsed(),
            used: Usage::now(),
        })));
    // A fetch that was cancelled goes on in its thread until the process ends, and may have written since.
    teardown::remove_working_dirs(context);
    RunEnd {
        verdict: decision.verdict,
        exit_code: decision.exit_code,
        plan_json,
    }
}

/// Returns why a run is torn down that ended so, for people.
fn why(ending: &Ending, deadline: Duration) -> String {
    match ending {
        Ending::Signal(signal) => format!("{} received (cancel / parent death)", signal.name()),
        Ending::Deadline => {
            let limit = match deadline.as_secs() {
                seconds @ 0..60 => format!("{seconds}-second"),
                seconds => format!("{}-minute", seconds / 60),
            };
            format!("run exceeded {limit} hard deadline")
        }
        Ending::Body(_) => "finished".to_owned(),
    }
}

/// Returns whether every request to the engine was answered. A red run may be one whose `docker stack deploy` ran
/// into its limit and was killed in the middle of one; so may a green one be that does not need what was deployed.
fn maker(verdict: Verdict, held: &Held) -> Maker {
    if verdict == Verdict::Passed && !held.dependency_failed {
        Maker::Done
    } else {
        Maker::CutOff
    }
}

/// The verdict as it forms.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decision {
    verdict: Verdict,
    exit_code: u8,
    reason: Option<String>,
    hints: Vec<String>,
}

fn decide(ending: &Ending, held: &Held) -> Decision {
    let decision = |verdict, exit_code, reason: Option<String>, hints: &[String]| Decision {
        verdict,
        exit_code,
        reason,
        hints: hints.to_vec(),
    };
    match ending {
        Ending::Signal(signal) => decision(
            Verdict::Cancelled,
            signal.exit_code(),
            Some(format!("{} received", signal.name())),
            &[],
        ),
        Ending::Deadline => decision(
            Verdict::Deadline,
            142,
            Some("the hard deadline passed".to_owned()),
            &[
                "raise it with `--deadline 90m` or CCCI_DEADLINE if the recipe really needs longer"
                    .to_owned(),
            ],
        ),
        Ending::Body(Err(RunError::Usage { error, hints })) => {
            decision(Verdict::Usage, 2, Some(chain(&**error)), hints)
        }
        Ending::Body(Err(RunError::Refused { found, hints, .. })) => {
            decision(Verdict::Refused, 2, resolved::in_words(found), hints)
        }
        Ending::Body(Err(RunError::Infra { error, hints })) => {
            decision(Verdict::Infra, 3, Some(chain(&**error)), hints)
        }
        Ending::Body(Ok(_)) => {
            let red = held
                .tiers
                .iter()
                .find(|tier| tier.blames_recipe && tier.status != Status::Pass);
            match red {
                Some(tier) => {
                    let why = tier
                        .reason
                        .clone()
                        .unwrap_or_else(|| tier.status.to_string());
                    decision(
                        Verdict::Failed,
                        1,
                        Some(format!("{}: {why}", tier.stage)),
                        &[],
                    )
                }
                None => match &held.missing {
                    Some(Missing { recipe, reason }) => decision(
                        Verdict::Failed,
                        1,
                        Some(format!("required dependency `{recipe}` failed: {reason}")),
                        &[format!(
                            "the recipe under test need not be to blame: `recipe-ci run {recipe}` shows what is wrong with `{recipe}` itself"
                        )],
                    ),
                    None => decision(Verdict::Passed, 0, None, &[]),
                },
            }
        }
    }
}

impl Decision {
    /// What teardown came to changes only a green run; a first failure is never lost to a later one.
    fn after(&mut self, torn_down: teardown::TornDown) {
        use teardown::TornDown;
        match torn_down {
            TornDown::Clean | TornDown::Kept => {}
            TornDown::Left(residual) if self.verdict == Verdict::Passed => {
                self.verdict = Verdict::Failed;
                self.exit_code = 4;
                self.reason = Some(format!("teardown left something behind: {residual}"));
                self.hints =
                    vec!["run `recipe-ci janitor`; it removes what a dead run left".to_owned()];
            }
            TornDown::Unknown(error) if self.verdict == Verdict::Passed => {
                self.verdict = Verdict::Infra;
                self.exit_code = 3;
                self.reason = Some(format!("teardown could not be verified: {error}"));
                self.hints =
                    vec!["run `recipe-ci janitor` once the engine answers again".to_owned()];
            }
            TornDown::Left(_) | TornDown::Unknown(_) => {
                self.hints
                    .push("teardown was not clean: run `recipe-ci janitor`".to_owned());
            }
        }
    }
}

/// Enters a control group of the run's own, where this host lets it make one. A dry run starts nothing that would stay.
fn own_group(settings: &Settings) -> Option<cgroup::Group> {
    if settings.dry_run {
        return None;
    }
    cgroup::enter()
        .inspect_err(|error| tracing::debug!(%error, "the run has no control group"))
        .ok()
}

#[cfg(test)]
mod tests;
