//! Promotion: a release that a cold run found green becomes the recipe's canonical.
//!
//! It comes after the run's own teardown and never changes its verdict. The release is deployed onto the data
//! of the canonical before it, as an operator would upgrade; the first one is a new app. Then the app is
//! undeployed and its snapshot taken. Whatever goes wrong leaves the canonical of before, or nothing.

mod prospect;

use std::rc::Rc;

use super::base::NoBase;
use super::bench::{Parts, bench};
use super::candidate::Candidate;
use super::context::Context;
use super::error::{AnyError, RunError};
use super::flow::{self, PROMOTION};
use super::plan::Plan;
use super::step::{End, Holds, Role, Step};
use super::warm::{self, Kept, embedded};
use super::work::{Frame, Steps};
use super::{draft, network, ownership, site};
use crate::driver::stack::{DeploySetup, Stamp};
use crate::event::Event;
use crate::event::Promotion;
use crate::suite::Needs;
use crate::tier::{install, timed};
use crate::warm::canonical::{Canonical, Status as WarmStatus, WarmDir};
use crate::warm::snapshot::{Snapshot, Take, Verified};
use crate::warm::{WarmApp, WarmError};
use engine::swarm::Engine;
use engine::swarm::gateway::Gateway;
use engine::wait::Deadline;
use ground::error::chain;
use ground::git::commit::CommitId;
use ground::name::Domain;
use ground::outcome::{Phase, Stage};
pub(super) use prospect::{candidate, nothing_left_out};
use recipe::policy::Refused;
use recipe::release::Release;
use recipe::version::Version;

/// What is to be undone when a promotion does not end well.
struct Begun {
    app: WarmApp,
    before: Option<Canonical>,
}

/// Makes the candidate the canonical, and says what came of it.
pub(super) async fn promote(context: &Context<'_>, candidate: Candidate, frame: &mut impl Frame) {
    let version = candidate.version.clone();
    let mut begun = None;
    let came = {
        let steps = async {
            let mut promoting = Promoting::new(context, candidate, &mut begun)?;
            flow::steps(PROMOTION.steps, &mut promoting).await
        };
        let work = timed(&context.events, Phase::Promote, version.clone(), steps);
        match flow::raced(frame, work).await {
            Ok(done) => done.map_err(reason_of),
            Err(stopped) => Err(stopped.in_words()),
        }
    };
    let promotion = match came {
        Ok(End::Skipped(reason)) => Promotion::Skipped(reason),
        Ok(_) => Promotion::Promoted(version),
        Err(reason) => {
            let mut reason = format!("{version}: {reason}");
            if let Some(begun) = begun.take() {
                drop(context.processes.end_all(super::teardown::GRACE).await);
                if let Err(error) = undo(begun, context, frame).await {
                    reason.push_str(&format!("; and then: {error}"));
                }
            }
            Promotion::Failed(reason)
        }
    };
    if let Promotion::Failed(reason) = &promotion {
        context.events.warn(format!("promotion: failed: {reason}"));
    }
    context.events.emit(&Event::Promotion(promotion));
}

/// Brings back what was there before: the canonical with its data, or nothing at all.
async fn undo(begun: Begun, context: &Context<'_>, frame: &mut impl Frame) -> Result<(), String> {
    let app = begun.app;
    context.held.borrow_mut().rested.push(Rc::clone(&app.lock));
    let work = async {
        match begun.before {
            Some(before) => app.settle(before, false).await.map(drop),
            None => app.discard().await,
        }
    };
    let deadline = Deadline::after(context.settings.teardown_budget);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                return done.map_err(|error| format!("{}; {}", chain(&error), error.advice()));
            }
            signal = frame.signal() => {
                context.events.notice(format!("{} received while the warm app is undeployed: noted", signal.name()));
            }
            () = tokio::time::sleep_until(deadline.instant()) => {
                return Err("the warm app was not at rest in time; run `recipe-ci janitor`".to_owned());
            }
        }
    }
}

/// A promotion: what its steps found out for those that follow.
struct Promoting<'a, 'p> {
    run: &'p Context<'a>,
    candidate: Candidate,
    domain: Domain,
    place: WarmDir,
    engine: Option<Engine>,
    /// What is promoted over, once it is known and the candidate is due: a canonical, or nothing.
    known: Option<Option<Kept>>,
    judged: Option<Judged<'a>>,
    app: Option<WarmApp>,
    /// The canonical of before, once it is at rest.
    before: Option<(Canonical, Verified)>,
    gateway: Option<Gateway>,
    canonical: Canonical,
    /// The values of its secrets.
    values: Vec<String>,
    begun: &'p mut Option<Begun>,
}

/// A promotion that was judged, and of which nothing is done yet.
struct Judged<'a> {
    context: Context<'a>,
    plan: Plan,
    release: Release,
    means: DeploySetup,
    stamp: Stamp,
    over: Option<Kept>,
}

impl<'a, 'p> Promoting<'a, 'p> {
    fn new(
        run: &'p Context<'a>,
        candidate: Candidate,
        begun: &'p mut Option<Begun>,
    ) -> Result<Self, RunError> {
        let settings = &run.settings;
        let domain = Domain::warm(&settings.recipe, &settings.zone).map_err(WarmError::from)?;
        let commit = candidate.fetched.checkout.tree.commit;
        Ok(Self {
            canonical: Canonical::new(
                &settings.recipe,
                &candidate.version,
                commit,
                domain.as_str(),
                &settings.server,
            ),
            place: WarmDir::of(&settings.host, &settings.recipe),
            run,
            candidate,
            domain,
            engine: None,
            known: None,
            judged: None,
            app: None,
            before: None,
            gateway: None,
            values: Vec::new(),
            begun,
        })
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the flow connects first")
    }

    fn judged(&self) -> &Judged<'a> {
        self.judged.as_ref().expect("the flow judges first")
    }

    fn app(&self) -> &WarmApp {
        self.app.as_ref().expect("the flow takes its lock first")
    }

    fn not_newer(&self, canonical: &Canonical) -> Option<String> {
        let commit = self.candidate.fetched.checkout.tree.commit;
        not_newer(&self.candidate.version, canonical, commit)
    }

    /// Reads the record, so that the candidate is judged before the lock is taken and the warm app is touched.
    fn read(&mut self) -> Result<(), RunError> {
        let canonical = self.place.read()?;
        let kept = canonical.filter(|one| one.snapshot.is_some());
        let kept = kept.and_then(|canonical| {
            let snapshot = Snapshot::read(&self.place, &canonical);
            let kept = snapshot.and_then(|snapshot| Kept::of(&canonical, &snapshot));
            kept.ok()
        });
        let due = |kept: &Kept| self.not_newer(&kept.canonical).is_none();
        if kept.as_ref().is_none_or(due) {
            self.known = Some(kept);
        }
        Ok(())
    }

    /// Brings the canonical of before to rest; ends a promotion that would replace a newer one.
    async fn recover(&mut self) -> Result<End, RunError> {
        self.before = before(self.run, self.app()).await?;
        let Some((canonical, snapshot)) = &self.before else {
            self.known = Some(None);
            return Ok(End::Done);
        };
        if let Some(reason) = self.not_newer(canonical) {
            return Ok(End::Skipped(reason));
        }
        self.known = Some(Some(Kept::of(canonical, snapshot)?));
        Ok(End::Done)
    }

    /// Plans the candidate over what is kept, as a new app where nothing is, and judges it.
    async fn judge(&mut self) -> Result<(), RunError> {
        let over = self
            .known
            .clone()
            .expect("the flow reads the canonical first");
        let stage = match &over {
            Some(_) => Stage::Upgrade,
            None => Stage::Install,
        };
        let (run, fetched) = (self.run, &self.candidate.fetched);
        let context = warm::context(run, &self.domain, vec![stage], over.as_ref());
        draft::forget(run)?;
        let mut plan = draft::make_plan(&context, fetched).await?.plan;
        // Such a plan was made without the overlay, and the canonical would be an app that nobody tested.
        if let Some(reason) = plan.masks.take() {
            return Err(RunError::infra(reason));
        }
        let release = match (&over, plan.base.take()) {
            (None, _) => plan.head.clone(),
            (Some(_), Some(base)) => base.upgraded.map_err(RunError::infra)?,
            (Some(kept), None) => {
                let canonical = &kept.canonical.version;
                let why = plan.no_base.as_ref().and_then(NoBase::unusable);
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                let reason = format!("the canonical {canonical} cannot be upgraded to it{why}");
                return Err(RunError::infra(reason));
            }
        };
        let context = network::without_gateway(&context, &plan).unwrap_or(context);
        let means = site::means(&context, &plan.trust, fetched.traits, &fetched.chosen);
        let stamp = Stamp {
            recipe: run.settings.recipe.clone(),
            version: Some(self.candidate.version.clone()),
            chaos: false,
        };
        let judged = means.resolve(&release, &self.domain.stack(), &stamp);
        judged.map_err(RunError::infra)?;
        self.judged = Some(Judged {
            context,
            plan,
            release,
            means,
            stamp,
            over,
        });
        Ok(())
    }

    async fn claim(&self) -> Result<(), RunError> {
        let Judged {
            context,
            plan,
            release,
            ..
        } = self.judged();
        let (engine, lock, level) = (self.engine(), &self.app().lock, &plan.trust.level);
        ownership::claim_warm(context, engine, lock, &[release], level).await
    }

    /// Makes the data of the app the snapshot's. From now on there is something to undo.
    async fn begin(&mut self) -> Result<(), RunError> {
        let app = self.app().clone();
        if let Some((_, snapshot)) = &self.before {
            self.values = snapshot.secret_values();
        }
        for value in &self.values {
            self.run.redactor.add(value);
        }
        *self.begun = Some(Begun {
            app: app.clone(),
            before: self.before.as_ref().map(|(canonical, _)| canonical.clone()),
        });
        match &self.before {
            Some((before, snapshot)) => drop(app.begin(before.clone(), snapshot).await?),
            None => app.place.write(&self.canonical)?,
        }
        Ok(())
    }

    async fn images(&mut self) -> Result<(), RunError> {
        let engine = self.engine.clone().expect("the flow connects first");
        let run = self.run;
        let judged = self.judged.as_mut().expect("the flow judges first");
        let (host, terms) = (&run.settings.host, &mut judged.means.terms);
        for image in judged.release.project.images() {
            let puller = terms.puller(&image);
            let pinned = engine.ensure_image(host, &run.processes, &image, puller);
            terms.pins.insert(image.clone(), pinned.await?);
        }
        Ok(())
    }

    async fn bring_up(&mut self) -> Result<(), RunError> {
        let Judged {
            context,
            plan,
            release,
            means,
            stamp,
            ..
        } = self.judged();
        let (engine, gateway) = (self.engine().clone(), self.gateway.clone());
        let site = site::site(context, engine, means.clone(), gateway);
        let recipe = &context.settings.recipe;
        let repository = context.dirs.recipe(recipe.as_str());
        let driver = embedded().driver(site, recipe, repository);
        let driver = driver.map_err(RunError::infra)?;
        let lock = Rc::clone(&self.app().lock);
        let parts = Parts::of_app(context, driver, lock, Needs::default())?;
        let mut bench = bench(context, plan, parts, release.clone())?;
        let supplied: Vec<String> = context
            .settings
            .supplied_secrets
            .values()
            .cloned()
            .collect();
        let up = match &self.before {
            Some((_, snapshot)) => {
                let mut secrets = warm::kept_secrets(&bench, snapshot);
                install::reattach(&mut bench, stamp, &mut secrets).await?
            }
            None => {
                let mut secrets = Vec::new();
                install::bring_up(&mut bench, stamp, &mut secrets).await?
            }
        };
        let made = bench.driver.site().made_values().into_values();
        self.values
            .extend(made.filter(|value| !supplied.contains(value)));
        match up {
            Ok(_) => Ok(()),
            Err(down) => Err(RunError::infra(format!("{}: {}", down.what, down.reason))),
        }
    }

    async fn take(&mut self) -> Result<(), RunError> {
        let app = self.app().clone();
        let take = Take {
            version: &self.candidate.version,
            images: self.judged().release.project.images(),
            secret_values: &self.values,
        };
        let snapshot = app.take(&self.canonical, take).await?;
        self.canonical.snapshot = Some(snapshot);
        self.canonical.status = WarmStatus::Idle;
        // This is the promotion: before it the old canonical is the good one, after it the new one is.
        app.place.write(&self.canonical)?;
        *self.begun = None;
        if let Err(error) = app.place.sweep(Some(&self.canonical)) {
            let said = format!("an old snapshot is left: {}", chain(&error));
            self.run.events.warn(said);
        }
        Ok(())
    }
}

impl Steps for Promoting<'_, '_> {
    async fn step(&mut self, step: Step) -> Result<End, RunError> {
        match step {
            Step::Engine => {
                let engine = Engine::connect(&self.run.settings.docker_host)?;
                engine.is_alone().await?;
                self.engine = Some(engine);
            }
            Step::Place => self.place.ensure_writable()?,
            Step::Canonical => self.read()?,
            Step::Judge => self.judge().await?,
            Step::Lock(Role::Warm) => {
                let app = warm::lock(self.run, self.engine(), &self.domain).await?;
                let mut held = self.run.held.borrow_mut();
                held.rested.push(Rc::clone(&app.lock));
                self.app = Some(app);
            }
            Step::Recover => return self.recover().await,
            Step::Host => {
                let Judged { context, means, .. } = self.judged();
                let engine = self.engine();
                self.gateway = network::gateway(engine, &context.settings, means).await?;
            }
            Step::Claim => self.claim().await?,
            Step::Data => self.begin().await?,
            Step::Images => self.images().await?,
            Step::Up(Role::Warm) => self.bring_up().await?,
            Step::Promote => self.take().await?,
            other => unreachable!("{other:?} is no step of a promotion"),
        }
        Ok(End::Done)
    }

    fn holds(&self, what: Holds) -> bool {
        let is_judged = |known: &Option<Kept>| {
            let judged = self.judged.as_ref().map(|judged| &judged.over);
            judged.is_some_and(|judged| match (judged, known) {
                (Some(judged), Some(known)) => judged.is_same(known),
                (judged, known) => judged.is_none() && known.is_none(),
            })
        };
        match what {
            Holds::Judged => self.judged.is_some(),
            Holds::Unjudged => self.known.as_ref().is_some_and(|known| !is_judged(known)),
        }
    }
}

/// Returns why a promotion failed; of the warm app with what to do about it.
fn reason_of(error: RunError) -> String {
    let error: AnyError = match error {
        RunError::Usage { error, .. } | RunError::Infra { error, .. } => error,
        RunError::Refused { found, .. } => Refused { violations: found }.into(),
    };
    match error.downcast_ref::<WarmError>() {
        Some(warm) => format!("{}; {}", chain(&*error), warm.advice()),
        None => chain(&*error),
    }
}

/// Returns the canonical of before with its snapshot. One whose data is lost counts as none.
async fn before(
    run: &Context<'_>,
    app: &WarmApp,
) -> Result<Option<(Canonical, Verified)>, WarmError> {
    match app.recover().await {
        Err(error) if error.is_lost_data() => {
            run.events.warn(format!(
                "promotion: the canonical of before cannot be built on, a new app is made: {}",
                chain(&error)
            ));
            app.discard().await?;
            Ok(None)
        }
        found => found,
    }
}

/// Returns why `version` does not replace `canonical`, if it does not.
fn not_newer(version: &str, canonical: &Canonical, commit: CommitId) -> Option<String> {
    if canonical.commit == commit && canonical.version == version {
        return Some(format!("{version} is the canonical already"));
    }
    match (
        version.parse::<Version>(),
        canonical.version.parse::<Version>(),
    ) {
        (Ok(ours), Ok(theirs)) if ours < theirs => {
            Some(format!("the canonical {} is newer", canonical.version))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
