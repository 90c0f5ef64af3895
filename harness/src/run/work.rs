//! What [`flow`](super::flow) asks of those who do a run's work.

use std::cell::RefCell;

use super::context::Resources;
use super::error::RunError;
use super::step::{Again, End, Holds, On, Role, Step, Turn, Up};
use super::teardown::TornDown;
use super::verdict::{Decision, Ending};
use crate::lifetime::worker::EndSignal;
use engine::wait::Deadline;
use ground::outcome::{Stage, TierOutcome};

/// Who does the steps of a run.
pub(super) trait Steps {
    /// Does a step. What it found out is kept for those that follow.
    ///
    /// # Errors
    /// [`RunError`] when the run cannot go on.
    async fn step(&mut self, step: Step) -> Result<End, RunError>;

    /// Returns whether this holds now.
    fn holds(&self, what: Holds) -> bool;
}

/// Who works on the app under test.
pub(super) trait Tiers: Steps {
    /// Deploys the app, and waits until it serves; with that under test those that are there beside it, too.
    async fn bring_up(&mut self, role: Role) -> Result<Up, RunError>;

    /// Returns how the head is installed afresh, where the run does that.
    fn fresh(&self) -> Option<Turn>;

    /// Deploys the app and the fresh one at once, and waits until both serve. Without the fresh one nothing makes sense,
    /// so nothing is waited for, and nothing returned of the other, once that is red.
    async fn bring_up_both(&mut self, role: Role) -> Result<(Option<Up>, Up), RunError>;

    /// Returns the numbers of the other apps whose turn this is and that are not judged.
    fn others(&self, turn: Turn) -> Vec<usize>;

    /// Deploys another app that did not come up with the one under test, and waits until it serves.
    async fn bring_up_other(&mut self, other: usize) -> Result<Up, RunError>;

    /// Notes that the base of another app did not come up, for this reason.
    fn lacks_base(&mut self, other: usize, reason: String);

    /// Notes that all of another app's tiers have ended.
    fn judged(&mut self, other: usize);

    /// Removes what was there first, and in whose place the app under test comes.
    async fn make_way(&mut self) -> Result<(), RunError>;

    /// Goes on with the fresh app in place of the one whose base did not come up, for this reason.
    async fn adopt(&mut self, reason: String) -> Result<(), RunError>;

    /// Returns whether a tier was asked for.
    fn is_asked(&self, on: On, stage: Stage) -> bool;

    /// Returns why a tier does not apply, whatever came of those before it.
    fn spared(&mut self, on: On, stage: Stage) -> Option<String>;

    /// Runs a tier.
    async fn tier(&mut self, on: On, stage: Stage) -> Result<TierOutcome, RunError>;

    /// Keeps what came of a tier.
    fn record(&mut self, on: On, outcome: TierOutcome);

    /// Returns why what is red may be so for the pace of health checks alone.
    async fn because_of_pace(&mut self, on: On) -> Result<Option<String>, RunError>;

    /// Forgets what came of the tiers, because they are repeated with the recipe's health checks as shipped.
    fn as_shipped(&mut self, reason: &str);

    /// Removes the app, so that the work on it can begin again.
    async fn make_anew(&mut self, why: Again) -> Result<(), RunError>;

    /// Gives up a quick run, for this reason.
    async fn fall_back(&mut self, reason: String) -> Result<(), RunError>;
}

/// Who knows what ends a run from outside, and does what follows its steps, whatever came of them.
pub(super) trait Frame {
    /// Returns what the run holds.
    fn held(&self) -> &RefCell<Resources>;

    /// Waits for the next signal that ends a run.
    async fn signal(&mut self) -> EndSignal;

    /// Returns when the run has to end.
    fn deadline(&self) -> Deadline;

    /// Waits a moment for the signal that may be why a run is red.
    async fn late_signal(&mut self) -> Option<EndSignal>;

    /// Ends every child and removes everything of the run's apps.
    async fn tear_down(&mut self, ending: &Ending, decision: &Decision) -> TornDown;

    /// Makes the head the canonical, where a green run does that.
    async fn promote(&mut self);

    /// Removes the run's working files, and says how it ended.
    fn report(&mut self, decision: &Decision);
}
