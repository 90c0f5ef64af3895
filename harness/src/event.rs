//! What a run says about itself while it goes on.
//!
//! The run emits a closed set of events; console, log file and `results.json` are consumers of them and
//! of nothing else. Consumers never fail a run: what they cannot write is dropped.

mod other;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::hold::Hold;
use engine::process::{Identity, Usage};
use ground::finding::Finding;
use ground::git::commit::CommitId;
use ground::outcome::{
    DependencyOutcome, Phase, Residual, Stage, TestOutcome, TierOutcome, Verdict,
};
pub use other::{OtherApp, OtherKind, PlannedOther};
use recipe::lint::Lint;
use recipe::policy::Violation;
use recipe::trust::TrustView;

/// Something that happened in a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// The run has its directory and begins.
    RunStarted(Box<RunStarted>),
    /// Something that happened to another app of the run; everything else is of the run, or of the app under test.
    Of(OtherApp, Box<Self>),
    /// The app is another one than was said at the start: a quick run works on the warm app, and one that
    /// cannot falls back to a new app.
    Moved {
        /// Whether it is a quick run from now on.
        quick: bool,
        /// The app's domain.
        domain: String,
    },
    /// The source is here, and how far it is trusted is known.
    Trusted(Box<TrustView>),
    /// What came of the promotion of a green run's release.
    Promotion(Promotion),
    /// The plan is made.
    Planned(Box<Planned>),
    /// A line for people, without consequence for the report (`== app lock: … ==`).
    Notice(String),
    /// Something that a person should look at though the run goes on; kept in the report.
    Warning(String),
    /// A departure from the recipe as shipped that the host forced (no IPVS, …); kept in the report.
    Deviation(String),
    /// Something that the run teaches about the recipe and that never changes its verdict; kept in the report, once
    /// for each kind and service.
    Found(Box<Finding>),
    /// Something failed for a reason that is not the recipe's, and is tried again; kept in the report.
    Retried {
        /// What: `pull of image …`.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// The tiers begin again, with the recipe's health checks as shipped; what came of them is kept in the report.
    Repeated {
        /// What had failed.
        reason: String,
    },
    /// The policy has something against the recipe.
    PolicyFound(Box<Violation>),
    /// A phase began; `detail` says on what.
    PhaseStarted {
        /// Which phase.
        phase: Phase,
        /// What it works on, for the live line.
        detail: String,
    },
    /// What a phase is waiting for right now (`app 0/1 starting`); only live displays show it.
    Progress(String),
    /// A phase ended. A phase that runs twice (two deploys) is added up.
    PhaseFinished {
        /// Which phase.
        phase: Phase,
        /// How long it took.
        elapsed: Duration,
    },
    /// The static checks of the head ended, or could not run.
    LintFinished(Box<Lint>),
    /// A dependency is up, or will not be.
    DependencyFinished(Box<DependencyOutcome>),
    /// A tier began.
    TierStarted(Stage),
    /// A test within a tier ended.
    TestFinished {
        /// The tier.
        stage: Stage,
        /// The test.
        test: TestOutcome,
    },
    /// A tier ended, or was decided without running.
    TierFinished(TierOutcome),
    /// The app was deployed; the in-place redeploy of an upgrade does not count.
    DeployCounted(u32),
    /// Output that explains a failure: the last lines of a step or the logs of a service.
    FailureOutput {
        /// Whose output: `service app`, `test_install.sh`, `backup pre-hook of app`.
        title: String,
        /// The lines, oldest first.
        lines: Vec<String>,
        /// The name of the file that has more of it, among the logs of the run.
        log: Option<String>,
    },
    /// The recipe was fetched; this commit is under test.
    HeadFetched(CommitId),
    /// Teardown began; from here on signals are only noted.
    TeardownStarted {
        /// Why the run ends: `finished`, `SIGTERM received (cancel / parent death)`, …
        why: String,
    },
    /// Teardown and audit ended.
    TeardownFinished {
        /// What is left; empty when clean.
        residual: Residual,
    },
    /// The app is held for a look at it, by this process.
    Held {
        /// What is held, and how to reach it.
        hold: Box<Hold>,
        /// Who holds it.
        holder: Identity,
    },
    /// The run ended.
    RunFinished(Box<RunFinished>),
}

impl Event {
    /// Returns what happened, to whichever app.
    #[must_use]
    pub fn what(&self) -> &Self {
        match self {
            Self::Of(_, event) => event.what(),
            event => event,
        }
    }
}

/// What came of a promotion. It never changes the run's verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promotion {
    /// The release is the recipe's canonical now.
    Promoted(String),
    /// It is not, and need not be.
    Skipped(String),
    /// It should be, and is not.
    Failed(String),
}

impl std::fmt::Display for Promotion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Promoted(version) => write!(f, "promoted {version}"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

/// The facts known when a run starts.
#[derive(Debug, Clone)]
pub struct RunStarted {
    /// The run's id.
    pub run_id: String,
    /// The recipe's name.
    pub recipe: String,
    /// The pull request, when there is one.
    pub pr: Option<String>,
    /// The ref asked for, when one was.
    pub reference: Option<String>,
    /// The app's domain.
    pub domain: String,
    /// The host's name.
    pub host: String,
    /// The page of the build that the run is a step of, where the CI says it.
    pub build_url: Option<String>,
    /// What makes the same run again, typed into a shell.
    pub repeat: String,
    /// Where the run's files are.
    pub run_dir: PathBuf,
    /// Wall-clock start, RFC 3339 in UTC.
    pub started_at: String,
}

/// The facts known once the plan is made.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(Default))]
pub struct Planned {
    /// The commit under test.
    pub head_commit: CommitId,
    /// Its version label, if it has one; `+U` is appended for a work tree with uncommitted changes.
    pub head_version: Option<String>,
    /// The version that the upgrade starts from.
    pub base_version: Option<String>,
    /// How that version was chosen: `declared`, `canonical`, `tag` or `ref`.
    pub base_kind: Option<String>,
    /// Which driver was chosen.
    pub driver: String,
    /// Why that one.
    pub driver_reason: String,
    /// Stages that will run.
    pub stages: Vec<Stage>,
    /// Every hook, test and overlay beyond the recipe as shipped.
    pub customization: Vec<String>,
    /// The apps that are deployed before the recipe's own, in that order.
    pub dependencies: Vec<PlannedDependency>,
    /// The fresh install of the head, in a run that upgrades a base.
    pub fresh: Option<PlannedOther>,
    /// The apps beside that, each with a row of its own.
    pub others: Vec<PlannedOther>,
    /// How many deploys the run should count.
    pub deploys_expected: u32,
}

/// An app that is deployed before the recipe's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedDependency {
    /// Its recipe.
    pub recipe: String,
    /// Its domain in this run.
    pub domain: String,
}

/// The facts known when a run has ended.
#[derive(Debug, Clone)]
pub struct RunFinished {
    /// How it ended.
    pub verdict: Verdict,
    /// The process's exit code.
    pub exit_code: u8,
    /// One line that says why, when it did not pass.
    pub reason: Option<String>,
    /// What to do about it, where the harness knows.
    pub hints: Vec<String>,
    /// What makes just the tier again that failed, typed into a shell.
    pub repeat_tier: Option<String>,
    /// Wall-clock end, RFC 3339 in UTC.
    pub finished_at: String,
    /// How long the run took.
    pub elapsed: Duration,
    /// What the run has used.
    pub used: Usage,
}

/// A consumer of events.
pub type Consumer = Box<dyn FnMut(&Event)>;

/// Hands events to every consumer; cheap to clone, all clones share the consumers.
#[derive(Clone, Default)]
pub struct Events {
    consumers: Rc<RefCell<Vec<Consumer>>>,
    /// The app that they are about, where it is not the one under test.
    app: Option<OtherApp>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Adds a consumer; it sees only what is emitted from now on.
    pub fn add(&self, consumer: Consumer) {
        self.consumers.borrow_mut().push(consumer);
    }

    /// Returns who hands the events of another app of the run to the same consumers.
    #[must_use]
    pub fn of(&self, app: &OtherApp) -> Self {
        Self {
            consumers: Rc::clone(&self.consumers),
            app: Some(app.clone()),
        }
    }

    /// Hands `event` to every consumer, in the order in which they were added.
    ///
    /// A consumer must not emit events itself.
    pub fn emit(&self, event: &Event) {
        let of_another = |app: &OtherApp| Event::Of(app.clone(), Box::new(event.clone()));
        let of_another = self.app.as_ref().map(of_another);
        let event = of_another.as_ref().unwrap_or(event);
        for consumer in self.consumers.borrow_mut().iter_mut() {
            consumer(event);
        }
    }

    /// Emits a [`Event::Notice`].
    pub fn notice(&self, text: impl Into<String>) {
        self.emit(&Event::Notice(text.into()));
    }

    /// Emits a [`Event::Warning`].
    pub fn warn(&self, text: impl Into<String>) {
        self.emit(&Event::Warning(text.into()));
    }
}
