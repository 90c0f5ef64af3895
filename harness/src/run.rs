//! A run: one recipe, from its source to a verdict.
//!
//! `flow` has the order of its steps as data, and walks it; `body` and `promote` do them. Fetch and plan come before
//! anything is asked of the engine, so that wrong input is exit 2 even on a host without one.
//!
//! The walk is one future. A signal or the deadline drops it wherever it is; what it had begun is known to
//! [`context::Resources`], which outlives it, and is torn down from there.

mod advice;
mod app;
mod audit;
mod base;
mod bench;
mod beside;
mod blocking;
mod body;
mod candidate;
mod closed;
mod context;
mod dependencies;
mod draft;
mod error;
mod fetch;
mod fetched;
mod flow;
mod fresh;
mod gateway;
mod hold;
mod images;
mod incomplete;
mod lint;
mod locks;
mod needs;
mod network;
mod other;
mod others;
mod overlaid;
mod own_engine;
mod ownership;
mod pace;
pub mod plan;
mod plan_view;
mod prepare;
mod promote;
mod quick;
mod red;
mod refusal;
mod remake;
mod repeat;
mod resolved;
mod retry;
mod routing;
pub mod settings;
mod site;
mod standing;
mod step;
mod sweep;
mod teardown;
#[cfg(test)]
mod testing;
mod told;
mod trusted;
mod uncovered;
mod verdict;
mod warm;
mod work;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::event::{Event, Events, RunFinished, RunStarted};
use crate::lifetime::Note;
use crate::lifetime::worker::{EndSignal, Notes, Signals};
use crate::live;
use crate::report::log::RunLog;
use crate::report::recorder::Recorder;
use crate::report::redact::Redactor;
use body::Body;
use context::{Context, Resources};
use engine::dirs::{DirsError, RunDirs};
use engine::process::{Processes, Usage, cgroup};
use engine::wait::{Deadline, Stopwatch};
pub use error::{AnyError, RunError};
use fetched::Subject;
use ground::error::chain;
use ground::outcome::Verdict;
use settings::Settings;
use step::End;
use teardown::TornDown;
use verdict::{Decision, Ending};
use work::Frame;

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
        engine::dirs::ensure_writable(what, path)?;
    }
    let dirs = RunDirs::create(&settings.host, &settings.run_id)?;
    let settings = &settings.of_run(&dirs.id);
    notes.tell(&Note::Run {
        root: dirs.root.clone(),
    });
    if let Err(error) = dirs.make_abra(&settings.host) {
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
    let mut alive = None;
    match live::hold(&dirs).await {
        Ok(lock) => {
            let lock = Rc::new(lock);
            match live::Mark::make(&dirs, own_group(settings), &lock) {
                Ok(mark) => {
                    let (name, value) = mark.variable();
                    child_env.insert(name.into(), value.into());
                }
                // If all of this run's processes are killed, nobody will know which children were its own.
                Err(error) => tracing::warn!(%error, "children are not marked"),
            }
            events.add(live::consumer(&dirs, Rc::clone(&lock), settings.deadline));
            alive = Some(lock);
        }
        // `ps` will not list the run; that is no reason to refuse it.
        Err(error) => tracing::warn!(error = %chain(&error), "no live record"),
    }
    attach(&events, &redactor);
    let context = Context {
        settings: Rc::new(settings.clone()),
        subject: Subject::Proposal,
        row: None,
        processes: Processes::new(child_env),
        held: Rc::default(),
        notes: Rc::new(RefCell::new(notes)),
        live: alive,
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
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        build_url: settings.build_url.clone(),
        repeat: settings.repeat.all(),
        run_dir: context.dirs.root.clone(),
        started_at: jiff::Timestamp::now().to_string(),
    })));

    let mut frame = RunFrame {
        context: &context,
        signals,
        deadline,
        watch,
    };
    let body = Body::new(&context);
    let (ending, decision) = flow::run(settings.lane.flow(), body, &mut frame).await;
    let end = RunEnd {
        verdict: decision.verdict,
        exit_code: decision.exit_code,
        plan_json: match ending {
            // A refusal repeats what a stranger wrote, with the operator's variables filled in.
            Ending::Walked(Ok(End::Over(view)) | Err(RunError::Refused { view, .. })) => {
                view.map(|view| context.redactor.apply(&view).into_owned())
            }
            _ => None,
        },
    };
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

/// A run on this host: what ends it from outside, and what follows its steps.
struct RunFrame<'a, 'n> {
    context: &'a Context<'n>,
    signals: &'a mut Signals,
    deadline: Deadline,
    watch: Stopwatch,
}

impl Frame for RunFrame<'_, '_> {
    fn held(&self) -> &RefCell<Resources> {
        &self.context.held
    }

    async fn signal(&mut self) -> EndSignal {
        self.signals.next().await
    }

    fn deadline(&self) -> Deadline {
        self.deadline
    }

    async fn late_signal(&mut self) -> Option<EndSignal> {
        let late = tokio::time::timeout(SIGNAL_GRACE, self.signals.next());
        late.await.ok()
    }

    async fn tear_down(&mut self, ending: &Ending, decision: &Decision) -> TornDown {
        let context = self.context;
        if let Ending::Walked(Err(RunError::Refused { found, .. })) = ending {
            resolved::say(context, &resolved::with_lines(context, found).await);
        }
        let why = verdict::why(ending, context.settings.deadline);
        let hold = context.settings.keep.after(decision.verdict);
        let is_strangers = context.held.borrow().is_strangers;
        if hold.is_some() && is_strangers {
            // It would use the host outside of the runner's slots, and whether that is closed to it is looked at once.
            context
                .events
                .notice("== the app is not held, because the source is a stranger's ==".to_owned());
        }
        let left = teardown::Left {
            hold: hold.filter(|_| !is_strangers),
            warm_data: decision.verdict == Verdict::Passed,
        };
        let maker = verdict::maker(decision.verdict, &context.held.borrow());
        teardown::tear_down(context, &why, left, maker, self.signals).await
    }

    async fn promote(&mut self) {
        let candidate = self.context.held.borrow_mut().candidate.take();
        if let Some(candidate) = candidate {
            promote::promote(self.context, candidate, self).await;
        }
    }

    fn report(&mut self, decision: &Decision) {
        let context = self.context;
        teardown::clean_up(context);
        let finished = RunFinished {
            verdict: decision.verdict,
            exit_code: decision.exit_code,
            reason: decision.reason.clone(),
            hints: decision.hints.clone(),
            repeat_tier: decision
                .red
                .map(|stage| context.settings.repeat.only(stage)),
            finished_at: jiff::Timestamp::now().to_string(),
            elapsed: self.watch.elapsed(),
            used: Usage::now(),
        };
        let finished = Event::RunFinished(Box::new(finished));
        context.events.emit(&finished);
        // A fetch that was cancelled goes on in its thread until the process ends, and may have written since.
        teardown::remove_working_dirs(context);
        let heir = context.held.borrow_mut().heir.take();
        if let Some(heir) = heir {
            heir.take_over();
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
