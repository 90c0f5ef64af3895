//! The steps of a run, and how they end. Their order is [`super::flow`]'s.

use std::fmt;

use ground::outcome::Stage;

/// What an app is to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The new app that is tested; of the base first, where there is one.
    New,
    /// Another new app, of the head, where the first one is of the base.
    Fresh,
    /// Every other new app of the recipe, each with a row of its own in the report.
    Other,
    /// Every app that the one under test needs.
    Dependency,
    /// The recipe's warm app.
    Warm,
}

/// A step of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Make sure that the place of the canonical can be written.
    Place,
    /// Fetch the recipe, and choose the driver.
    Fetch,
    /// Read what the record says of the canonical.
    Canonical,
    /// Judge the head as the new app that it becomes when nothing comes of a quick run.
    JudgeAsNew,
    /// Plan, resolve and judge all that is going to be deployed.
    Judge,
    /// Say what is going to be done.
    Announce,
    /// Print the plan, and end there where that is all that was asked for.
    DryRun,
    Lint,
    /// End where the files alone show that the recipe is red.
    RedAtOnce,
    /// Make sure that the gateway answers.
    Gateway,
    /// Make sure that this host can run the tests.
    TestTools,
    /// Connect to the engine.
    Engine,
    /// Make sure that the engine has what is deployed on, and may use the images that it has.
    Host,
    /// Remove what dead runs left.
    Sweep,
    Lock(Role),
    /// With its lock: bring the canonical to rest, whatever its last holder died of.
    Recover,
    /// With the locks: remove what dead runs of the same apps left.
    Leftovers,
    /// Make sure that the containers that are going to be made reach neither overlay networks of others nor what listens
    /// at the host's own addresses.
    Firewall,
    /// Refuse names that are taken, and write down what is going to be made.
    Claim,
    /// Make sure that every image is there.
    Images,
    /// Make the data of the warm app the snapshot's.
    Data,
    /// Both at once: the engine pulls while the data is unpacked.
    ImagesAndData,
    /// Make the network that the apps share.
    Network,
    /// Deploy, and wait until it serves.
    Up(Role),
    Tier(Stage),
    /// Of every other app whose turn it is, one after the other: deploy it where it is not up, and run its tiers.
    Others(Turn),
    /// Hold the deploys that Docker was told of against those that were meant, app by app.
    Deploys,
    /// Note whether a green run makes the head the canonical.
    Candidate,
    /// Take the app down, and make its data the canonical.
    Promote,
    /// Do these where that holds.
    Where(Holds, &'static [Self]),
}

/// What may hold in the middle of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// The canonical is known, and nothing was judged over it as it is now.
    Unjudged,
    /// Something was judged.
    Judged,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The next one follows.
    Done,
    /// Nothing follows; what a dry run prints.
    Over(Option<String>),
    /// No quick run can be made, for this reason.
    Cold(String),
    /// There is nothing to do, for this reason.
    Skipped(String),
}

/// How the deploy of the app under test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Up {
    Serves,
    /// It is red.
    Red,
    /// It is a base, which is not the head's fault.
    BrokenBase(String),
}

/// When another app of a run is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// At the same time as the app under test, under a domain of its own.
    Beside,
    /// Before it, under its domain; it is removed then.
    First,
}

/// Which app a tier is run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// The app under test, or the fresh install in its place.
    Tested,
    /// One of the others, by its number.
    Other(usize),
}

/// Why the work on the app begins again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Again {
    /// The base did not come up: the head is deployed as a new app.
    WithoutBase(String),
    /// What is red may be so because health is checked faster than the recipe says.
    AsShipped(String),
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithoutBase(reason) => write!(f, "base-broken: {reason}"),
            Self::AsShipped(reason) => write!(f, "repeated as shipped: {reason}"),
        }
    }
}
