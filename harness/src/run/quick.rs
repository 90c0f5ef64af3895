//! A quick run: the head is deployed over the recipe's canonical, with the data that it has.
//!
//! It asserts what the upgrade tier asserts and runs the custom tests. It proves less than a cold run and
//! says so: install, backup and restore are `unver`. It never changes what is known to be good: a head that
//! passed leaves its data until the next quick run, anything else gets the snapshot back.

use std::rc::Rc;

use super::app::App;
use super::base::{NoBase, choice};
use super::context::AtWork;
use super::context::Context;
use super::draft::{self, Draft};
use super::error::RunError;
use super::fetched::Checkout;
use super::fetched::Fetched;
use super::plan::Plan;
use super::prepare::Ready;
use super::settings::Settings;
use super::step::{End, Role};
use super::warm::{Kept, embedded};
use super::{ownership, resolved, site, warm};
use crate::event::Event;
use crate::tier::timed;
use crate::warm::canonical::{Canonical, Status as WarmStatus, WarmDir};
use crate::warm::snapshot::{Snapshot, Verified};
use crate::warm::{WarmApp, WarmError};
use engine::swarm::Engine;
use ground::name::Domain;
use ground::outcome::{Phase, Stage};
use recipe::version::Version;

/// Refuses a place that cannot be used, before anything is done.
///
/// # Errors
/// [`RunError`] with the path and what to do.
pub(super) fn check_place(context: &Context<'_>) -> Result<(), RunError> {
    let settings = &context.settings;
    Domain::warm(&settings.recipe, &settings.zone).map_err(WarmError::from)?;
    let place = WarmDir::of(&settings.host, &settings.recipe);
    if !settings.dry_run {
        place.ensure_writable()?;
    }
    place.read()?;
    Ok(())
}

/// The canonical that a quick run is made over.
pub(super) struct Over {
    domain: Domain,
    place: WarmDir,
    /// What the head is judged with.
    fetched: Fetched,
    /// The canonical, as far as it is known now.
    known: Option<Kept>,
    /// The one that the head was judged over.
    judged: Option<Kept>,
    /// Why the head may not be deployed as the new app that it becomes when nothing comes of the quick run.
    as_new: Result<(), RunError>,
    /// The warm app, once its lock is held.
    app: Option<WarmApp>,
    /// Its canonical, once it is at rest.
    found: Option<(Canonical, Verified)>,
}

impl Over {
    /// Reads the canonical's record, before its lock is held; says why there is none to make a quick run over.
    ///
    /// # Errors
    /// [`RunError`] when the record cannot be read.
    pub(super) fn read(
        run: &Context<'_>,
        fetched: &Fetched,
    ) -> Result<Result<Self, End>, RunError> {
        let settings = &run.settings;
        let place = WarmDir::of(&settings.host, &settings.recipe);
        let domain = Domain::warm(&settings.recipe, &settings.zone).map_err(WarmError::from)?;
        let canonical = place.read()?;
        let Some(canonical) = canonical.filter(|canonical| canonical.snapshot.is_some()) else {
            return Ok(Err(no_canonical(&place)));
        };
        if let Some(reason) = unfit(&canonical, &domain, settings, &fetched.checkout) {
            return Ok(Err(End::Cold(reason)));
        }
        let snapshot = Snapshot::read(&place, &canonical);
        let known = match snapshot.and_then(|snapshot| Kept::of(&canonical, &snapshot)) {
            Ok(kept) => Some(kept),
            Err(error) if error.is_lost_data() && !settings.dry_run => None,
            Err(error) if error.is_lost_data() => {
                let reason = format!("the snapshot in `{}` is corrupt", place.dir.display());
                return Ok(Err(End::Cold(reason)));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Ok(Self {
            domain,
            place,
            fetched: Fetched {
                chosen: embedded(),
                ..fetched.clone()
            },
            known,
            judged: None,
            as_new: Ok(()),
            app: None,
            found: None,
        }))
    }

    /// Returns whether the canonical is known and nothing was judged over it as it is now.
    pub(super) fn is_unjudged(&self) -> bool {
        let judged = self.judged.as_ref();
        let is_judged = |known: &Kept| judged.is_some_and(|judged| judged.is_same(known));
        self.known.as_ref().is_some_and(|known| !is_judged(known))
    }

    /// Judges the head as the new app that it becomes when nothing comes of the quick run. It is not said: the cold run
    /// says it. What is against it is said once the head is judged over the canonical, too.
    ///
    /// # Errors
    /// [`RunError`] where there is nothing to judge it over.
    pub(super) async fn judge_as_new(&mut self, run: &Context<'_>) -> Result<(), RunError> {
        if run.settings.dry_run {
            return Ok(());
        }
        let judged = self.as_new(run).await;
        match self.known {
            Some(_) => self.as_new = judged,
            None => judged?,
        }
        Ok(())
    }

    async fn as_new(&self, run: &Context<'_>) -> Result<(), RunError> {
        let Draft { plan, asked } = draft::make_plan(run, &self.fetched).await?;
        let means = site::means(run, &plan.trust, self.fetched.traits, &self.fetched.chosen);
        let judged = match resolved::quietly(run, &plan, &means) {
            Ok(_) => resolved::taken_by_docker(run, &plan, &means, asked).await,
            Err(refused) => Err(refused),
        };
        // Another plan is made next, whatever this one came to.
        draft::forget(run)?;
        judged
    }

    /// Plans and judges the head over the canonical; the inner error is why there is no quick run.
    ///
    /// # Errors
    /// [`RunError`] for what may not be deployed over it, or as a new app.
    pub(super) async fn judge<'a>(
        &mut self,
        run: &Context<'a>,
    ) -> Result<Result<Ready<'a>, String>, RunError> {
        let kept = self.known.clone().expect("the flow knows the canonical");
        for value in &kept.secret_values {
            run.redactor.add(value);
        }
        // It may have been judged over another.
        draft::forget(run)?;
        let (asked, ours) = (&run.settings.stages, [Stage::Upgrade, Stage::Custom]);
        let stages = ours.into_iter().filter(|stage| asked.contains(stage));
        let context = warm::context(run, &self.domain, stages.collect(), Some(&kept));
        let draft = draft::make_plan(&context, &self.fetched).await;
        let draft = draft.inspect_err(|error| {
            // What is refused before its base is read was a quick run all the same.
            if matches!(error, RunError::Refused { .. }) {
                moved(&context, true);
            }
        })?;
        if let Some(reason) = unfit_plan(&draft.plan, &kept.canonical.version) {
            return Ok(Err(reason));
        }
        moved(&context, true);
        let ready = Ready::of(&context, &self.fetched, draft).await?;
        std::mem::replace(&mut self.as_new, Ok(())).inspect_err(|_| moved(run, false))?;
        self.judged = Some(kept);
        Ok(Ok(ready))
    }

    /// Waits for the lock of the warm app.
    ///
    /// # Errors
    /// [`RunError`] when it cannot be had.
    pub(super) async fn lock(
        &mut self,
        run: &Context<'_>,
        engine: &Engine,
    ) -> Result<(), RunError> {
        let app = warm::lock(run, engine, &self.domain).await?;
        let ours = App::new(Role::Warm, Rc::clone(&app.lock));
        run.held.borrow_mut().apps.push(ours);
        self.app = Some(app);
        Ok(())
    }

    fn app(&self) -> &WarmApp {
        self.app.as_ref().expect("the flow takes its lock first")
    }

    /// Brings the canonical to rest; says why no quick run is made over what it is now.
    ///
    /// # Errors
    /// [`RunError`] when the warm app cannot be brought to rest.
    pub(super) async fn recover(&mut self, run: &Context<'_>) -> Result<End, RunError> {
        let looking = "looking at the canonical";
        let found = timed(&run.events, Phase::Warm, looking, self.app().recover());
        let (canonical, snapshot) = match found.await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(no_canonical(&self.place)),
            Err(error) if error.is_lost_data() => {
                return Ok(End::Cold(ground::error::chain(&error)));
            }
            Err(error) => return Err(error.into()),
        };
        // Another run may have promoted another version while this one waited.
        let checkout = &self.fetched.checkout;
        if let Some(reason) = unfit(&canonical, &self.domain, &run.settings, checkout) {
            return Ok(End::Cold(reason));
        }
        self.known = Some(Kept::of(&canonical, &snapshot)?);
        self.found = Some((canonical, snapshot));
        Ok(End::Done)
    }

    fn found(&self) -> &(Canonical, Verified) {
        self.found.as_ref().expect("the flow recovers it first")
    }

    /// Returns the snapshot that the app starts with.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.found().1
    }

    /// Refuses names that are taken. From now on the warm app is brought to rest when the run ends.
    ///
    /// # Errors
    /// As [`ownership::claim_warm`].
    pub(super) async fn claim(&self, ready: &Ready<'_>, engine: &Engine) -> Result<(), RunError> {
        let (app, (canonical, _)) = (self.app(), self.found());
        let (context, plan) = (&ready.context, &ready.plan);
        let releases = ownership::releases(plan);
        ownership::claim_warm(context, engine, &app.lock, &releases, &plan.trust.level).await?;
        let mut held = context.held.borrow_mut();
        held.warm = Some(AtWork {
            app: app.clone(),
            canonical: canonical.clone(),
        });
        held.touched = true;
        Ok(())
    }

    /// Makes the data of the app the snapshot's.
    ///
    /// # Errors
    /// [`RunError`].
    pub(super) async fn begin(&self, run: &Context<'_>) -> Result<(), RunError> {
        let (canonical, snapshot) = self.found();
        let what = match canonical.status {
            WarmStatus::Used => "putting its last good data back",
            _ => "",
        };
        let begin = self.app().begin(canonical.clone(), snapshot);
        timed(&run.events, Phase::Warm, what, begin).await?;
        Ok(())
    }
}

/// Says at which app the run is now.
fn moved(context: &Context<'_>, quick: bool) {
    if !context.settings.dry_run {
        context.events.emit(&Event::Moved {
            quick,
            domain: context.settings.domain.to_string(),
        });
    }
}

/// Gives up a quick run, for this reason; brings its app to rest.
///
/// # Errors
/// [`RunError`] when that cannot be done.
pub(super) async fn give_up(run: &Context<'_>, reason: &str) -> Result<(), RunError> {
    let at_work = run.held.borrow().warm.clone();
    if let Some(AtWork { app, canonical }) = at_work {
        // It is not the head's fault; a new app may well work.
        app.settle(canonical, false).await?;
    }
    {
        let mut held = run.held.borrow_mut();
        held.warm = None;
        held.apps.clear();
        held.touched = false;
        held.tiers.clear();
        held.deploys = 0;
    }
    // Whatever was planned over the canonical makes room for the cold run's plan.
    draft::forget(run)?;
    moved(run, false);
    run.events.warn(format!(
        "no quick run: {reason}; a full cold run is made instead"
    ));
    Ok(())
}

fn no_canonical(place: &WarmDir) -> End {
    End::Cold(format!(
        "`{}` has no canonical of this recipe",
        place.dir.display()
    ))
}

/// Returns why the head cannot be deployed over the canonical, if it cannot.
fn unfit(
    canonical: &Canonical,
    domain: &Domain,
    settings: &Settings,
    checkout: &Checkout,
) -> Option<String> {
    let version = &canonical.version;
    if canonical.domain != domain.as_str() || canonical.server != settings.server {
        return Some(format!(
            "the canonical {version} is the app {} of server `{}`, not {domain} of `{}`",
            canonical.domain, canonical.server, settings.server
        ));
    }
    match choice::last_green(version, canonical.commit, checkout, None) {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!("the canonical {version} is the head itself")),
        Err(remark) => Some(remark),
    }
}

/// Returns why the head's plan does not fit a quick run, if it does not.
fn unfit_plan(plan: &Plan, canonical: &str) -> Option<String> {
    if !plan.declared.dependencies().is_empty() {
        // The canonical's data would hold accounts and secrets of a dependency that is gone.
        let reason = "the recipe has dependencies, which a quick run does not bring up";
        return Some(reason.to_owned());
    }
    if let Some(Err(reason)) = plan.base.as_ref().map(|base| &base.upgraded) {
        return Some(reason.clone());
    }
    if let Some(reason) = plan.no_base.as_ref().and_then(NoBase::unusable) {
        return Some(reason.to_owned());
    }
    let is_upgrade = plan.base.is_some() && !newer(canonical, plan.head_version.as_deref());
    (!is_upgrade).then(|| format!("the head is no upgrade of the canonical {canonical}"))
}

fn newer(canonical: &str, head: Option<&str>) -> bool {
    let parse = |text: &str| text.parse::<Version>().ok();
    match (parse(canonical), head.and_then(parse)) {
        (Some(canonical), Some(head)) => canonical > head,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
