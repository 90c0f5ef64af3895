//! The order of a run: which apps it has, and which steps are done to them, as data; and the one function that walks it.
//!
//! What a step does is elsewhere ([`super::work`]). What the end of a step means for the next is here and nowhere else, so
//! that the order of every run can be tested without an engine.

use super::error::RunError;
use super::settings::Lane;
use super::step::{Again, End, Holds, On, Role, Step, Turn, Up};
use super::verdict::{self, Decision, Ending, Stopped};
use super::work::{Frame, Steps, Tiers};
use crate::tier::without;
use ground::outcome::{Stage, Status, Verdict};

/// What a run does that cannot go on as it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// Its app is removed and made again.
    Again,
    /// A cold run is made instead.
    Cold,
}

/// A kind of run.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) name: &'static str,
    /// The apps, in the order in which they are brought up.
    pub(super) apps: &'static [Role],
    /// What comes before it is known that this is the kind of run to make.
    pub(super) opening: &'static [Step],
    /// What comes before the app under test is deployed.
    pub(super) steps: &'static [Step],
    /// The work on the app, which may begin again.
    pub(super) work: &'static [Step],
    /// What comes when all of that ended well or red.
    pub(super) closing: &'static [Step],
    /// Which tiers are run if they are asked for.
    pub(super) tiers: &'static [Stage],
    /// Why a tier is not run that is not among them, or not asked for.
    pub(super) left_out: &'static str,
    /// What is done when the base does not come up, which is not the head's fault, or when what is red may be so because
    /// health is checked faster than the recipe says.
    pub(super) otherwise: Otherwise,
}

/// The work on a new app.
static ON_NEW: [Step; 9] = [
    // Where the run has a fresh one: before the other, or at once with it.
    Step::Up(Role::Fresh),
    // What cannot be there at the same time makes way for the app that stays to the end.
    Step::Others(Turn::First),
    Step::Up(Role::New),
    Step::Tier(Stage::Install),
    Step::Tier(Stage::Upgrade),
    Step::Tier(Stage::Backup),
    Step::Tier(Stage::Restore),
    Step::Tier(Stage::Custom),
    // They came up with it; tiers are run one after the other, so that what they write can be told apart.
    Step::Others(Turn::Beside),
];

/// The work on the warm app.
static ON_WARM: [Step; 6] = [
    Step::Up(Role::Warm),
    Step::Tier(Stage::Install),
    Step::Tier(Stage::Upgrade),
    Step::Tier(Stage::Backup),
    Step::Tier(Stage::Restore),
    Step::Tier(Stage::Custom),
];

/// A run over a new app.
pub(super) static COLD: Flow = Flow {
    name: "cold",
    apps: &[Role::Dependency, Role::Fresh, Role::New, Role::Other],
    opening: &[Step::Fetch],
    steps: &[
        // Wrong input ends here, on a host without an engine too.
        Step::Judge,
        Step::Announce,
        Step::DryRun,
        Step::Lint,
        Step::RedAtOnce,
        Step::Gateway,
        Step::TestTools,
        Step::Engine,
        Step::Host,
        Step::Sweep,
        // Nothing was made so far.
        Step::Lock(Role::New),
        Step::Lock(Role::Fresh),
        Step::Lock(Role::Other),
        Step::Lock(Role::Dependency),
        Step::Leftovers,
        Step::Firewall,
        Step::Claim,
        Step::Images,
        Step::Network,
        Step::Up(Role::Dependency),
    ],
    work: &ON_NEW,
    closing: &[Step::Deploys, Step::Candidate],
    tiers: &Stage::ALL,
    left_out: "not asked for",
    otherwise: Otherwise::Again,
};

/// A run over the recipe's warm app, with the data that it has.
pub(super) static QUICK: Flow = Flow {
    name: "quick",
    apps: &[Role::Warm],
    opening: &[Step::Place, Step::Fetch],
    steps: &[
        Step::Canonical,
        Step::JudgeAsNew,
        Step::Where(
            Holds::Unjudged,
            &[Step::Judge, Step::DryRun, Step::Lint, Step::RedAtOnce],
        ),
        Step::Gateway,
        Step::Where(Holds::Judged, &[Step::TestTools]),
        Step::Engine,
        Step::Where(Holds::Judged, &[Step::Host]),
        Step::Sweep,
        Step::Lock(Role::Warm),
        Step::Recover,
        // Another run may have made another version the canonical while this one waited.
        Step::Where(
            Holds::Unjudged,
            &[
                Step::Judge,
                Step::Lint,
                Step::RedAtOnce,
                Step::TestTools,
                Step::Host,
            ],
        ),
        Step::Announce,
        Step::Firewall,
        Step::Claim,
        Step::ImagesAndData,
    ],
    work: &ON_WARM,
    closing: &[Step::Deploys],
    tiers: &[Stage::Upgrade, Stage::Custom],
    left_out: "quick",
    otherwise: Otherwise::Cold,
};

/// What follows the teardown of a green run of a release: it becomes the canonical.
pub(super) static PROMOTION: Flow = Flow {
    name: "promotion",
    apps: &[Role::Warm],
    opening: &[],
    steps: &[
        Step::Engine,
        Step::Place,
        Step::Canonical,
        Step::Where(Holds::Unjudged, &[Step::Judge]),
        // The run's own app is gone, and no quick run waits for a run app's lock while it holds a warm one.
        Step::Lock(Role::Warm),
        Step::Recover,
        Step::Where(Holds::Unjudged, &[Step::Judge]),
        Step::Host,
        Step::Claim,
        Step::Data,
        Step::Images,
        Step::Up(Role::Warm),
        Step::Promote,
    ],
    work: &[],
    closing: &[],
    tiers: &[],
    left_out: "",
    otherwise: Otherwise::Cold,
};

impl Lane {
    /// Returns the flow of a run in this lane.
    pub(super) fn flow(self) -> &'static Flow {
        match self {
            Self::Cold => &COLD,
            Self::Quick => &QUICK,
        }
    }
}

/// Makes a run that begins in `flow`: its steps, until the last one, a signal or the deadline; then, whatever came of
/// them, teardown, promotion of what is green, and report.
pub(super) async fn run(
    flow: &'static Flow,
    mut work: impl Tiers,
    frame: &mut impl Frame,
) -> (Ending, Decision) {
    let walked = raced(frame, async move { walk(flow, &mut work).await }).await;
    let ending = match walked {
        Ok(end) => Ending::Walked(end),
        Err(stopped) => Ending::Stopped(stopped),
    };
    let red = matches!(
        decide(&ending, frame).verdict,
        Verdict::Failed | Verdict::Infra
    );
    let ending = match ending {
        Ending::Walked(_) if red => match frame.late_signal().await {
            Some(signal) => Ending::Stopped(Stopped::Signal(signal)),
            None => ending,
        },
        ending => ending,
    };
    let mut decision = decide(&ending, frame);
    let torn_down = frame.tear_down(&ending, &decision).await;
    decision.after(torn_down);
    if decision.verdict == Verdict::Passed {
        // Whatever that comes to, the run was green and stays so.
        frame.promote().await;
    }
    frame.report(&decision);
    (ending, decision)
}

fn decide(ending: &Ending, frame: &impl Frame) -> Decision {
    verdict::decide(ending, &frame.held().borrow())
}

/// Does `work` until it ends, a signal comes or the deadline passes. What it was at is dropped then.
pub(super) async fn raced<T>(
    frame: &mut impl Frame,
    work: impl Future<Output = T>,
) -> Result<T, Stopped> {
    let deadline = frame.deadline();
    tokio::select! {
        biased;
        signal = frame.signal() => Err(Stopped::Signal(signal)),
        () = tokio::time::sleep_until(deadline.instant()) => Err(Stopped::Deadline),
        done = work => Ok(done),
    }
}

/// Walks through `flow`, and through a cold run where nothing comes of a quick one.
pub(super) async fn walk(first: &'static Flow, work: &mut impl Tiers) -> Result<End, RunError> {
    let mut flow = first;
    let mut end = steps(flow.opening, work).await?;
    loop {
        tracing::debug!(apps = ?flow.apps, "a {} run", flow.name);
        if end == End::Done {
            end = steps(flow.steps, work).await?;
        }
        if end == End::Done {
            end = on_app(flow, work).await?;
        }
        if end == End::Done {
            end = steps(flow.closing, work).await?;
        }
        let End::Cold(reason) = end else {
            return Ok(end);
        };
        work.fall_back(reason).await?;
        flow = &COLD;
        end = End::Done;
    }
}

/// Does `all` of these, one after the other, until one ends otherwise than well.
pub(super) async fn steps(all: &[Step], work: &mut impl Steps) -> Result<End, RunError> {
    for step in all {
        let end = match step {
            Step::Where(holds, those) if work.holds(*holds) => Box::pin(steps(those, work)).await?,
            Step::Where(..) => End::Done,
            step => work.step(*step).await?,
        };
        if end != End::Done {
            return Ok(end);
        }
    }
    Ok(End::Done)
}

/// Does the work on the app; again where it has to be done otherwise, once for each reason.
async fn on_app(flow: &'static Flow, work: &mut impl Tiers) -> Result<End, RunError> {
    while let Some(again) = once(flow, work).await? {
        if let Again::AsShipped(reason) = &again {
            work.as_shipped(reason);
        }
        match flow.otherwise {
            Otherwise::Again => work.make_anew(again).await?,
            Otherwise::Cold => return Ok(End::Cold(again.to_string())),
        }
    }
    Ok(End::Done)
}

/// What the work on the app has come to.
#[derive(Default)]
struct Course {
    /// Whether what the install judges is up.
    is_up: bool,
    /// Whether the install is judged.
    is_installed: bool,
    /// The first tier that is red.
    red: Option<Stage>,
    /// The first that is red and without which no other makes sense.
    failed: Option<Stage>,
}

/// Does the work on the app; returns why it is to be done again.
async fn once(flow: &'static Flow, work: &mut impl Tiers) -> Result<Option<Again>, RunError> {
    let mut course = Course::default();
    for step in flow.work {
        let again = match step {
            Step::Up(Role::Fresh) if work.fresh() == Some(Turn::First) => {
                first(flow, work, &mut course).await?
            }
            Step::Up(Role::Fresh) => None,
            Step::Up(role) => up(work, *role, &mut course).await?,
            Step::Tier(stage) => tier(flow, work, (On::Tested, *stage), &mut course).await?,
            Step::Others(turn) => others(flow, work, *turn, &course).await?,
            other => unreachable!("{other:?} is no work on an app"),
        };
        if again.is_some() {
            return Ok(again);
        }
    }
    Ok(None)
}

/// Installs the head before the base comes in its place.
async fn first(
    flow: &'static Flow,
    work: &mut impl Tiers,
    course: &mut Course,
) -> Result<Option<Again>, RunError> {
    course.is_up = work.bring_up(Role::Fresh).await? == Up::Serves;
    if !course.is_up
        && let Some(again) = install_because_of_pace(work).await?
    {
        return Ok(Some(again));
    }
    if let Some(again) = tier(flow, work, (On::Tested, Stage::Install), course).await? {
        return Ok(Some(again));
    }
    course.is_installed = true;
    if course.failed.is_none() {
        work.make_way().await?;
    }
    Ok(None)
}

/// Deploys the app, and the fresh one beside it.
async fn up(
    work: &mut impl Tiers,
    role: Role,
    course: &mut Course,
) -> Result<Option<Again>, RunError> {
    // There is nothing to upgrade to.
    if course.failed.is_some() {
        return Ok(None);
    }
    let (up, fresh) = match work.fresh() {
        Some(Turn::Beside) => {
            let (up, fresh) = work.bring_up_both(role).await?;
            (up, Some(fresh))
        }
        _ => (Some(work.bring_up(role).await?), None),
    };
    let serves = |up: &Option<Up>| up.as_ref() == Some(&Up::Serves);
    if !(serves(&up) && fresh.as_ref().is_none_or(|fresh| *fresh == Up::Serves))
        && let Some(again) = install_because_of_pace(work).await?
    {
        return Ok(Some(again));
    }
    course.is_up = serves(if fresh.is_some() { &fresh } else { &up });
    match up {
        Some(Up::BrokenBase(reason)) if fresh.is_none() => {
            return Ok(Some(Again::WithoutBase(reason)));
        }
        Some(Up::BrokenBase(reason)) if course.is_up => work.adopt(reason).await?,
        // What was deployed is not what was planned: no install is proven, of whatever it was.
        Some(Up::Red) => (course.is_up, course.is_installed) = (false, false),
        _ => {}
    }
    Ok(None)
}

async fn install_because_of_pace(work: &mut impl Tiers) -> Result<Option<Again>, RunError> {
    let reason = work.because_of_pace(On::Tested).await?;
    Ok(reason.map(|reason| Again::AsShipped(format!("install: {reason}"))))
}

/// Runs the tiers of the other apps whose turn it is. What comes of one is its own: it changes nothing for the next.
async fn others(
    flow: &'static Flow,
    work: &mut impl Tiers,
    turn: Turn,
    tested: &Course,
) -> Result<Option<Again>, RunError> {
    let others = work.others(turn);
    for other in others.iter().copied() {
        let on = On::Other(other);
        let mut course = Course {
            // A head that no new app can be made of is not tried again and again.
            failed: tested.failed.filter(|failed| *failed == Stage::Install),
            is_up: true,
            ..Course::default()
        };
        if course.failed.is_none() {
            match work.bring_up_other(other).await? {
                Up::Serves => {}
                Up::Red => course.is_up = false,
                // No fault of the head: the upgrade says so.
                Up::BrokenBase(reason) => work.lacks_base(other, reason),
            }
        }
        for stage in Stage::ALL {
            if let Some(again) = tier(flow, work, (on, stage), &mut course).await? {
                return Ok(Some(again));
            }
        }
        work.judged(other);
    }
    if turn == Turn::First && !others.is_empty() && tested.failed.is_none() {
        work.make_way().await?;
    }
    Ok(None)
}

/// Runs a tier, where it is to run.
async fn tier(
    flow: &'static Flow,
    work: &mut impl Tiers,
    (on, stage): (On, Stage),
    course: &mut Course,
) -> Result<Option<Again>, RunError> {
    if stage == Stage::Install && course.is_installed {
        return Ok(None);
    }
    let runs = flow.tiers.contains(&stage) && work.is_asked(on, stage);
    let outcome = if !runs && (course.is_up || stage != Stage::Install) {
        // The row of another app has what that one is there for.
        if on != On::Tested {
            return Ok(None);
        }
        without(stage, Status::Unver, flow.left_out)
    } else if let Some(reason) = work.spared(on, stage) {
        without(stage, Status::Skip, reason)
    } else if let Some(failed) = course.failed {
        without(stage, Status::Unver, format!("the {failed} failed"))
    } else {
        work.tier(on, stage).await?
    };
    if outcome.status == Status::Fail {
        course.red = course.red.or(Some(stage));
        if matches!(stage, Stage::Install | Stage::Upgrade) {
            course.failed = course.failed.or(Some(stage));
        }
    }
    work.record(on, outcome);
    if let Some(red) = course.red
        && let Some(reason) = work.because_of_pace(on).await?
    {
        return Ok(Some(Again::AsShipped(format!("{red}: {reason}"))));
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
