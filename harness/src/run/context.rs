//! What a run holds, and what its parts share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::app::App;
use super::audit::Audit;
use super::candidate::Candidate;
use super::error::RunError;
use super::fetched::Subject;
use super::settings::Settings;
use super::step::Role;
use crate::driver::Chosen;
use crate::event::{Event, Events, OtherApp};
use crate::hold::heir::Heir;
use crate::lifetime::worker::Notes;
use crate::report::redact::Redactor;
use crate::tier::TierError;
use crate::warm::WarmApp;
use crate::warm::canonical::Canonical;
use engine::dirs::RunDirs;
use engine::lock::{DomainLock, SectionLock};
use engine::process::Processes;
use engine::room::Own;
use engine::swarm::Engine;
use ground::name::Domain;
use ground::outcome::{Stage, TierOutcome};

/// The warm app while a run is at it.
#[derive(Debug, Clone)]
pub(super) struct AtWork {
    /// The app.
    pub(super) app: WarmApp,
    /// Its record, whose snapshot is what it goes back to.
    pub(super) canonical: Canonical,
}

/// An engine for this run alone.
#[derive(Debug)]
pub(super) enum EngineInHand {
    /// It was begun with; nothing of it is in hand.
    Begun,
    /// It is there, and lives as long as this.
    There(Box<Own>),
}

/// What a run holds beyond its body's life.
#[derive(Default)]
pub(super) struct Resources {
    /// The apps that were begun with, each with its lock: that under test, then its dependencies by name, or the warm
    /// one. No lock is released before the process ends.
    pub(super) apps: Vec<App>,
    /// The connection, once there is one.
    pub(super) engine: Option<Engine>,
    /// The engine of the run's own, from the moment on at which something of it may exist.
    pub(super) own_engine: Option<EngineInHand>,
    /// The driver, once it may have deployed something.
    pub(super) driver: Option<Chosen>,
    /// Whether something of the app may exist.
    pub(super) touched: bool,
    /// How often an app was deployed, as the report has it.
    pub(super) deploys: u32,
    /// Whether the head is a stranger's.
    pub(super) is_strangers: bool,
    /// What was there before the run made anything, once that is known.
    pub(super) audit: Option<Audit>,
    /// The tiers that ended.
    pub(super) tiers: Vec<TierOutcome>,
    /// The tiers of other apps that ended, each with the app.
    pub(super) others: Vec<(OtherApp, TierOutcome)>,
    /// Whether the tiers are repeated with the recipe's health checks as shipped.
    pub(super) as_shipped: bool,
    /// The warm app that a quick run is at; it is brought to rest instead of being removed.
    pub(super) warm: Option<AtWork>,
    /// Locks of warm apps that are at rest again; they are kept until the process ends, too.
    pub(super) rested: Vec<Rc<DomainLock>>,
    /// What becomes the recipe's canonical if the run is green.
    pub(super) candidate: Option<Candidate>,
    /// The first required dependency that is missing.
    pub(super) missing: Option<Missing>,
    /// Whether any dependency did not come up.
    pub(super) dependency_failed: bool,
    /// Which app each tier judged.
    pub(super) judged: Vec<(Stage, Domain)>,
    /// The process that has the locks of the app that is held, and waits for the end of this run.
    pub(super) heir: Option<Heir>,
}

/// A required dependency that did not come up.
#[derive(Debug, Clone)]
pub(super) struct Missing {
    pub(super) recipe: String,
    pub(super) reason: String,
}

/// What the run's parts share.
#[derive(Clone)]
pub(super) struct Context<'a> {
    pub(super) settings: Rc<Settings>,
    /// What its plan is made for.
    pub(super) subject: Subject,
    /// The app that it is of, where what comes of that has a row of its own.
    pub(super) row: Option<OtherApp>,
    pub(super) dirs: RunDirs,
    /// Says that the run lives; none where that could not be said.
    pub(super) live: Option<Rc<SectionLock>>,
    pub(super) events: Events,
    pub(super) redactor: Redactor,
    pub(super) processes: Processes,
    pub(super) held: Rc<RefCell<Resources>>,
    pub(super) notes: Rc<RefCell<&'a mut Notes>>,
}

impl Resources {
    /// Returns the locks of the apps of this role.
    pub(super) fn locks_of(&self, role: Role) -> Vec<Rc<DomainLock>> {
        let apps = self.apps.iter().filter(|app| app.role == role);
        apps.map(|app| Rc::clone(&app.lock)).collect()
    }

    fn app_at(&mut self, domain: &Domain) -> Option<&mut App> {
        let mut apps = self.apps.iter_mut();
        apps.find(|app| app.lock.domain() == domain)
    }

    /// Returns how often the apps beside the one under test were deployed.
    fn of_others(&self) -> u32 {
        let others = self.apps.iter().filter(|app| app.is_beside());
        others.map(|app| app.meant).sum()
    }

    /// Counts the deploys of the app at `domain` with `told` as well.
    pub(super) fn count_with(&mut self, domain: &Domain, told: &Rc<Cell<u32>>) {
        if let Some(app) = self.app_at(domain) {
            app.told.push(Rc::clone(told));
        }
    }

    /// Forgets what came of every tier.
    pub(super) fn forget_tiers(&mut self) {
        self.tiers.clear();
        self.others.clear();
    }

    /// Notes that the app at `domain` is going to be deployed once more.
    pub(super) fn mean_deploy(&mut self, domain: &Domain) {
        if let Some(app) = self.app_at(domain) {
            app.meant += 1;
        }
    }
}

impl Context<'_> {
    /// Counts the deploy of the app at `domain` where its tests can read it: an app beside the one under test has a count
    /// of its own. The report has the total.
    ///
    /// # Errors
    /// [`RunError::Infra`] when the file cannot be written.
    pub(super) fn count_deploy(&self, domain: &Domain) -> Result<(), RunError> {
        let (all, deploys) = {
            let mut held = self.held.borrow_mut();
            held.mean_deploy(domain);
            held.deploys += 1;
            let app = held.app_at(domain);
            let own = app.filter(|app| app.is_beside()).map(|app| app.meant);
            let rest = held.deploys - held.of_others();
            (held.deploys, own.unwrap_or(rest))
        };
        self.events.emit(&Event::DeployCounted(all));
        let path = self.dirs.state_file("deploy-count");
        std::fs::write(&path, format!("{deploys}\n"))
            .map_err(|source| RunError::infra(TierError::State { path, source }))
    }
}
