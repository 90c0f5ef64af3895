//! The order of a run: which apps it has, and which steps are done to them, as data; and the one function that walks it.
//!
//! What a step does is elsewhere ([`super::work`]). What the end of a step means for the next is here and nowhere else, so
//! that the order of every run can be tested without an engine.

use super::error::RunError;
use super::settings::Lane;
use super::step::{Again, End, Holds, Role, Step, Up};
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

/// The work on the app under test.
const fn work_on(app: Role) -> [Step; 6] {
    [
        Step::Up(app),
        Step::Tier(Stage::Install),
        Step::Tier(Stage::Upgrade),
        Step::Tier(Stage::Backup),
        Step::Tier(Stage::Restore),
        Step::Tier(Stage::Custom),
    ]
}

/// A run over a new app.
pub(super) static COLD: Flow = Flow {
    name: "cold",
    apps: &[Role::Dependency, Role::New],
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
        Step::Lock(Role::Dependency),
        Step::Leftovers,
        Step::Firewall,
        Step::Claim,
        Step::Images,
        Step::Network,
        Step::Up(Role::Dependency),
    ],
    work: &work_on(Role::New),
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
    work: &work_on(Role::Warm),
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

/// Does the work on the app; returns why it is to be done again.
async fn once(flow: &'static Flow, work: &mut impl Tiers) -> Result<Option<Again>, RunError> {
    let mut is_up = false;
    // The first that is red, and the first without which no other makes sense.
    let (mut red, mut failed) = (None, None);
    for step in flow.work {
        let stage = match step {
            Step::Up(role) => {
                let up = work.bring_up(*role).await?;
                if up != Up::Serves
                    && let Some(reason) = work.because_of_pace().await?
                {
                    return Ok(Some(Again::AsShipped(format!("install: {reason}"))));
                }
                if let Up::BrokenBase(reason) = up {
                    return Ok(Some(Again::WithoutBase(reason)));
                }
                is_up = up == Up::Serves;
                continue;
            }
            Step::Tier(stage) => *stage,
            other => unreachable!("{other:?} is no work on an app"),
        };
        let runs = flow.tiers.contains(&stage) && work.is_asked(stage);
        let outcome = if !runs && (is_up || stage != Stage::Install) {
            without(stage, Status::Unver, flow.left_out)
        } else if let Some(reason) = work.spared(stage) {
            without(stage, Status::Skip, reason)
        } else if let Some(failed) = failed {
            without(stage, Status::Unver, format!("the {failed} failed"))
        } else {
            work.tier(stage).await?
        };
        if outcome.status == Status::Fail {
            red = red.or(Some(stage));
            if matches!(stage, Stage::Install | Stage::Upgrade) {
                failed = failed.or(Some(stage));
            }
        }
        work.record(outcome);
        if let Some(red) = red
            && let Some(reason) = work.because_of_pace().await?
        {
            return Ok(Some(Again::AsShipped(format!("{red}: {reason}"))));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
