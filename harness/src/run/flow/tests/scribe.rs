//! Who does a run's steps by writing them down: an order is tested in a millisecond, without an engine.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::event::OtherApp;
use crate::lifetime::worker::EndSignal;
use crate::run::context::Resources;
use crate::run::error::RunError;
use crate::run::flow::{self, Flow};
use crate::run::step::{Again, End, Holds, On, Role, Step, Turn, Up};
use crate::run::teardown::TornDown;
use crate::run::verdict::{Decision, Ending};
use crate::run::work::{Frame, Steps, Tiers};
use crate::tier::without;
use engine::wait::Deadline;
use ground::outcome::{Stage, Status, TierOutcome};

/// What happens in a run, beyond that everything ends well.
#[derive(Default)]
pub(super) struct Script {
    /// Steps that end otherwise than well, each once.
    pub(super) ends: Vec<(Step, End)>,
    /// The step that fails.
    pub(super) fails: Option<Step>,
    /// The step that never ends: a signal comes, or the deadline.
    pub(super) hangs: Option<(Step, Hang)>,
    /// How the deploys of the app end, one after the other.
    pub(super) ups: VecDeque<Up>,
    /// How the head is installed afresh.
    pub(super) fresh: Option<Turn>,
    /// How that deploy ends, one after the other.
    pub(super) fresh_ups: VecDeque<Up>,
    /// The other apps, each with its turn and how its deploy ends.
    pub(super) others: Vec<(Turn, Up)>,
    /// Their tiers that do not pass.
    pub(super) other_tiers: Vec<(usize, Status)>,
    /// Tiers that do not pass.
    pub(super) tiers: Vec<(Stage, Status)>,
    /// Tiers that do not apply.
    pub(super) spared: Vec<Stage>,
    /// Tiers that are not asked for.
    pub(super) unasked: Vec<Stage>,
    /// What is red for its pace, the next time that something is red.
    pub(super) pace: VecDeque<bool>,
    /// Whether the signal comes just after the run was red.
    pub(super) late_signal: bool,
    /// Whether the canonical cannot be read before its lock is held.
    pub(super) unknown: bool,
    /// Whether another run makes another version the canonical while this one waits for its lock.
    pub(super) moves: bool,
    pub(super) torn_down: Option<TornDown>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hang {
    Signal,
    Deadline,
}

/// The book, and what writer and frame share.
#[derive(Default, Clone)]
struct Book {
    lines: Rc<RefCell<Vec<String>>>,
    held: Rc<RefCell<Resources>>,
    signal: Rc<Notify>,
}

impl Book {
    fn write(&self, line: impl Into<String>) {
        self.lines.borrow_mut().push(line.into());
    }
}

struct Scribe {
    script: Script,
    book: Book,
}

struct ScribesFrame {
    book: Book,
    hangs: Option<Hang>,
    late_signal: bool,
    torn_down: TornDown,
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Returns what is done in a run of `flow` in which this happens, a line for each.
pub(super) fn run(flow: &'static Flow, script: Script) -> Vec<String> {
    let book = Book::default();
    let mut frame = ScribesFrame {
        book: book.clone(),
        hangs: script.hangs.map(|(_, hang)| hang),
        late_signal: script.late_signal,
        torn_down: script.torn_down.clone().unwrap_or(TornDown::Clean),
    };
    let scribe = Scribe {
        script,
        book: book.clone(),
    };
    runtime().block_on(flow::run(flow, scribe, &mut frame));
    book.lines.take()
}

/// The same of steps that nothing frames.
pub(super) fn steps(steps: &[Step], script: Script) -> Vec<String> {
    let book = Book::default();
    let mut scribe = Scribe {
        script,
        book: book.clone(),
    };
    drop(runtime().block_on(flow::steps(steps, &mut scribe)));
    book.lines.take()
}

impl Steps for Scribe {
    async fn step(&mut self, step: Step) -> Result<End, RunError> {
        self.book.write(format!("{step:?}"));
        if let Some((hangs, hang)) = self.script.hangs
            && hangs == step
        {
            if hang == Hang::Signal {
                self.book.signal.notify_one();
            }
            pending::<()>().await;
        }
        if self.script.fails == Some(step) {
            return Err(RunError::infra("it failed"));
        }
        let ends = self.script.ends.iter();
        let found = ends.enumerate().find(|(_, (one, _))| *one == step);
        let Some(index) = found.map(|(index, _)| index) else {
            return Ok(End::Done);
        };
        Ok(self.script.ends.remove(index).1)
    }

    fn holds(&self, what: Holds) -> bool {
        let lines = self.book.lines.borrow();
        let last = |step: &str| lines.iter().rposition(|line| line == step);
        let (judged, recovered) = (last("Judge"), last("Recover"));
        let is_stale = self.script.moves && recovered > judged;
        let is_known = !self.script.unknown || recovered.is_some();
        match what {
            Holds::Judged => judged.is_some(),
            Holds::Unjudged => is_known && (judged.is_none() || is_stale),
        }
    }
}

impl Tiers for Scribe {
    async fn bring_up(&mut self, role: Role) -> Result<Up, RunError> {
        let ups = match role {
            Role::Fresh => &mut self.script.fresh_ups,
            _ => &mut self.script.ups,
        };
        let up = ups.pop_front().unwrap_or(Up::Serves);
        drop(self.step(Step::Up(role)).await?);
        if up != Up::Serves {
            self.book.write(format!("{up:?}"));
        }
        Ok(up)
    }

    fn fresh(&self) -> Option<Turn> {
        let lines = self.book.lines.borrow();
        let is_baseless = lines
            .iter()
            .any(|line| line.starts_with("anew: base-broken"));
        self.script.fresh.filter(|_| !is_baseless)
    }

    async fn bring_up_both(&mut self, role: Role) -> Result<(Option<Up>, Up), RunError> {
        self.book.write("both");
        let fresh = self.bring_up(Role::Fresh).await?;
        let base = match fresh {
            Up::Serves => Some(self.bring_up(role).await?),
            _ => None,
        };
        Ok((base, fresh))
    }

    fn others(&self, turn: Turn) -> Vec<usize> {
        let lines = self.book.lines.borrow();
        let since = lines
            .iter()
            .rposition(|line| line.starts_with("as shipped"));
        let lines = &lines[since.unwrap_or_default()..];
        let others = self.script.others.iter().enumerate();
        let due = others.filter(|(number, (when, _))| {
            *when == turn && !lines.contains(&format!("judged {number}"))
        });
        due.map(|(number, _)| number).collect()
    }

    async fn bring_up_other(&mut self, other: usize) -> Result<Up, RunError> {
        let (turn, up) = self.script.others[other].clone();
        drop(self.step(Step::Others(turn)).await?);
        self.book.write(format!("up {other}"));
        Ok(up)
    }

    fn lacks_base(&mut self, other: usize, reason: String) {
        self.book.write(format!("{other} lacks its base: {reason}"));
    }

    fn judged(&mut self, other: usize) {
        self.book.write(format!("judged {other}"));
    }

    async fn make_way(&mut self) -> Result<(), RunError> {
        self.book.write("make way");
        Ok(())
    }

    async fn adopt(&mut self, reason: String) -> Result<(), RunError> {
        self.book.write(format!("adopt: {reason}"));
        Ok(())
    }

    fn is_asked(&self, on: On, stage: Stage) -> bool {
        if on != On::Tested {
            return stage == Stage::Upgrade;
        }
        !self.script.unasked.contains(&stage)
    }

    fn spared(&mut self, _: On, stage: Stage) -> Option<String> {
        let spared = self.script.spared.contains(&stage);
        spared.then(|| "it does not apply".to_owned())
    }

    async fn tier(&mut self, on: On, stage: Stage) -> Result<TierOutcome, RunError> {
        if let On::Other(other) = on {
            let mut tiers = self.script.other_tiers.iter();
            let status = tiers.find(|(one, _)| *one == other);
            let status = status.map_or(Status::Pass, |(_, status)| *status);
            return Ok(TierOutcome {
                blames_recipe: status == Status::Fail,
                ..without(stage, status, "it ran")
            });
        }
        drop(self.step(Step::Tier(stage)).await?);
        let mut tiers = self.script.tiers.iter();
        let status = tiers.find(|(one, _)| *one == stage);
        let status = status.map_or(Status::Pass, |(_, status)| *status);
        Ok(TierOutcome {
            blames_recipe: status == Status::Fail,
            ..without(stage, status, "it ran")
        })
    }

    fn record(&mut self, on: On, outcome: TierOutcome) {
        let TierOutcome {
            stage,
            status,
            reason,
            ..
        } = &outcome;
        let reason = reason.as_deref().unwrap_or_default();
        let line = format!("{stage} {status}: {reason}");
        let mut held = self.book.held.borrow_mut();
        match on {
            On::Tested => {
                self.book.write(format!("  {line}"));
                held.tiers.push(outcome);
            }
            On::Other(other) => {
                self.book.write(format!("{other}: {line}"));
                held.others
                    .push((OtherApp::base(&other.to_string()), outcome));
            }
        }
    }

    async fn because_of_pace(&mut self, _: On) -> Result<Option<String>, RunError> {
        let is_pace = self.script.pace.pop_front().unwrap_or(false);
        Ok(is_pace.then(|| "a task was killed".to_owned()))
    }

    fn as_shipped(&mut self, reason: &str) {
        self.book.write(format!("as shipped: {reason}"));
        self.book.held.borrow_mut().forget_tiers();
        // What was red for its pace is green now.
        self.script.tiers.clear();
        self.script.other_tiers.clear();
    }

    async fn make_anew(&mut self, why: Again) -> Result<(), RunError> {
        self.book.write(format!("anew: {why}"));
        self.book.held.borrow_mut().tiers.clear();
        Ok(())
    }

    async fn fall_back(&mut self, reason: String) -> Result<(), RunError> {
        self.book.write(format!("cold: {reason}"));
        Ok(())
    }
}

impl Frame for ScribesFrame {
    fn held(&self) -> &RefCell<Resources> {
        &self.book.held
    }

    async fn signal(&mut self) -> EndSignal {
        self.book.signal.notified().await;
        EndSignal::Terminate
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(match self.hangs {
            Some(Hang::Deadline) => Duration::from_millis(1),
            _ => Duration::from_secs(3600),
        })
    }

    async fn late_signal(&mut self) -> Option<EndSignal> {
        self.late_signal.then_some(EndSignal::Terminate)
    }

    async fn tear_down(&mut self, _: &Ending, decision: &Decision) -> TornDown {
        let verdict = decision.verdict;
        self.book
            .write(format!("teardown of a run that is {verdict}"));
        self.torn_down.clone()
    }

    async fn promote(&mut self) {
        self.book.write("promotion");
    }

    fn report(&mut self, decision: &Decision) {
        let Decision {
            verdict, exit_code, ..
        } = decision;
        self.book.write(format!("report: {verdict}, {exit_code}"));
    }
}
