//! A quick run: the head is deployed over the recipe's canonical, with the data that it has.
//!
//! It asserts what the upgrade tier asserts and runs the custom tests. It proves less than a cold run and
//! says so: install, backup and restore are `unver`. It never changes what is known to be good: a head that
//! passed leaves its data until the next quick run, anything else gets the snapshot back.

mod ready;

use std::collections::BTreeMap;
use std::rc::Rc;

use super::body;
use super::plan::{Checkout, NoBase, Plan};
use super::settings::Settings;
use super::{Context, RunError, base, locks, network, ownership, repeat, tiers};
use crate::driver::stack::{HostTraits, Means};
use crate::driver::{Chosen, Driver};
use crate::lifetime::Note;
use crate::name::Domain;
use crate::outcome::{Phase, Stage, Status};
use crate::recipe::secret::{self, SecretSpec};
use crate::recipe::version::Version;
use crate::suite::Needs;
use crate::swarm::Engine;
use crate::swarm::gateway::Gateway;
use crate::tier::{self, timed, without};
use crate::wait::Stopwatch;
use crate::warm::canonical::{Canonical, Place, Status as WarmStatus};
use crate::warm::snapshot::Snapshot;
use crate::warm::{WarmApp, WarmError};
use ready::{Ready, Way};

/// Why the stages of a quick run that do not run do not.
pub(super) const LEFT_OUT: &str = "quick";

/// The warm app while a run is at it.
#[derive(Debug, Clone)]
pub(super) struct AtWork {
    /// The app.
    pub(super) app: WarmApp,
    /// Its record, whose snapshot is what it goes back to.
    pub(super) canonical: Canonical,
}

/// What a quick run came to.
pub(super) enum Quick {
    /// It is over; the plan's JSON for a dry run.
    Done(Option<String>),
    /// It cannot be made, for this reason, and nothing of the warm app is deployed.
    Cold(String),
}

impl From<WarmError> for RunError {
    fn from(error: WarmError) -> Self {
        let hints = vec![error.advice()];
        let theirs = match &error {
            WarmError::Io { source, .. } => crate::dirs::is_usage(source),
            WarmError::Name(_) => true,
            _ => false,
        };
        let error = error.into();
        if theirs {
            Self::Usage { error, hints }
        } else {
            Self::Infra { error, hints }
        }
    }
}

/// Refuses a place that cannot be used, before anything is done.
///
/// # Errors
/// [`RunError`] with the path and what to do.
pub(super) fn check_place(context: &Context<'_>) -> Result<(), RunError> {
    let settings = &context.settings;
    Domain::warm(&settings.recipe, &settings.zone).map_err(WarmError::from)?;
    let place = Place::of(&settings.host, &settings.recipe);
    if !settings.dry_run {
        place.ensure_writable()?;
    }
    place.read()?;
    Ok(())
}

/// Makes the quick run, or says why it cannot be made.
///
/// What can be judged without an engine is judged before one is asked: the head over the canonical's env file, and the
/// head as a new app, which it becomes when the canonical turns out to be lost.
pub(super) async fn go(
    cold: &Context<'_>,
    checkout: &Checkout,
    traits: HostTraits,
) -> Result<Quick, RunError> {
    let settings = &cold.settings;
    let place = Place::of(&settings.host, &settings.recipe);
    let domain = Domain::warm(&settings.recipe, &settings.zone).map_err(WarmError::from)?;
    let Some(canonical) = place
        .read()?
        .filter(|canonical| canonical.snapshot.is_some())
    else {
        return Ok(no_canonical(&place));
    };
    if let Some(reason) = unfit(&canonical, &domain, settings, checkout) {
        return Ok(Quick::Cold(reason));
    }
    let kept = Snapshot::read(&place, &canonical).and_then(|snapshot| {
        let env = snapshot.env()?;
        Ok((env, snapshot.secret_values()))
    });
    let kept = match kept {
        Ok(kept) => Some(kept),
        Err(error) if error.is_lost_data() => None,
        Err(error) => return Err(error.into()),
    };
    if settings.dry_run && kept.is_none() {
        return Ok(Quick::Cold(format!(
            "the snapshot in `{}` is corrupt",
            place.dir.display()
        )));
    }
    let way = Way {
        cold,
        domain: &domain,
        checkout,
        traits,
    };
    let as_new = match settings.dry_run {
        true => Ok(()),
        false => way.judge_as_new().await,
    };
    let mut ready = None;
    if let Some((env, values)) = kept {
        match way.ready(&canonical, env, &values).await? {
            Ok(judged) => ready = Some(judged),
            Err(reason) => return Ok(Quick::Cold(reason)),
        }
    }
    if let Err(error) = as_new {
        way.moved_back();
        return Err(error);
    }
    if let Some(ready) = &mut ready
        && let Some(done) = ready.without_engine(settings.dry_run)
    {
        return Ok(done);
    }

    let came = over_canonical(&way, &place, ready).await?;
    if matches!(came, Quick::Cold(_)) {
        // Whatever was planned over the canonical makes room for the cold run's plan.
        body::start_over(cold)?;
        way.moved_back();
    }
    Ok(came)
}

/// Makes the quick run that was judged, as far as its canonical could be read, with the engine.
async fn over_canonical<'a>(
    way: &Way<'a, '_>,
    place: &Place,
    ready: Option<Ready<'a>>,
) -> Result<Quick, RunError> {
    let Way {
        cold,
        domain,
        checkout,
        ..
    } = *way;
    let settings = &cold.settings;
    super::gateway::answers(cold).await?;
    let engine = body::engine(cold).await?;
    if let Some(ready) = &ready {
        ready.judge_by(&engine).await?;
    }
    body::sweep(cold, &engine).await;
    let lock = Rc::new(locks::wait_for_lock(cold, domain).await?);
    cold.notes.borrow_mut().tell(&Note::Warm {
        recipe: settings.recipe.to_string(),
    });
    let app = WarmApp::new(&engine, &settings.host, &settings.recipe, lock);
    let found = timed(
        &cold.events,
        Phase::Warm,
        "looking at the canonical",
        app.recover(),
    );
    let (canonical, snapshot) = match found.await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(no_canonical(place)),
        Err(error) if error.is_lost_data() => {
            return Ok(Quick::Cold(crate::error::chain(&error)));
        }
        Err(error) => return Err(error.into()),
    };
    // Another run may have promoted another version while this one waited.
    if let Some(reason) = unfit(&canonical, domain, settings, checkout) {
        return Ok(Quick::Cold(reason));
    }
    let (env, values) = (snapshot.env()?, snapshot.secret_values());
    let mut ready = match ready.filter(|ready| ready.is_of(&canonical, &env)) {
        Some(ready) => ready,
        None => {
            body::start_over(cold)?;
            match way.ready(&canonical, env, &values).await? {
                Ok(ready) => {
                    ready.judge_by(&engine).await?;
                    ready
                }
                Err(reason) => return Ok(Quick::Cold(reason)),
            }
        }
    };
    if let Some(done) = ready.without_engine(false) {
        return Ok(done);
    }
    ready.say();
    let Ready {
        context,
        plan,
        means,
        ..
    } = ready;
    let gateway = network::gateway(&engine, &context.settings, &means).await?;
    ownership::claim_warm(
        &context,
        &engine,
        &app.lock,
        &ownership::releases(&plan),
        &plan.trust.level,
    )
    .await?;
    let at_work = AtWork {
        app: app.clone(),
        canonical: canonical.clone(),
    };
    {
        let mut held = context.held.borrow_mut();
        held.warm = Some(at_work);
        held.touched = true;
    }
    let used = canonical.status == WarmStatus::Used;
    let what = if used {
        "putting its last good data back"
    } else {
        ""
    };
    // A proposal mostly has a new image, and the engine can pull it while it unpacks the data.
    let begin = async {
        let begun = timed(
            &context.events,
            Phase::Warm,
            what,
            app.begin(canonical, &snapshot),
        );
        begun.await.map(drop).map_err(RunError::from)
    };
    // Both to their end: an image that cannot be had must not leave the data half way.
    let pull = super::images::prepull(&context, &engine, &plan, &mut [], &means);
    let (pulled, begun) = futures_util::join!(pull, begin);
    begun?;
    let pins = match pulled? {
        Ok(pins) => pins,
        Err(reason) => {
            tiers::without_an_image(&context, &reason);
            return Ok(Quick::Done(None));
        }
    };
    let pace = repeat::with_images(&context, &engine, &plan, &[], means.pace.clone());
    let mut means = Means {
        pace: pace.await?,
        ..means
    };
    means.terms.pins = pins;
    let driver = stack_driver(&context, engine, means, gateway)?;
    match tiers(&context, plan, driver, &app, &snapshot).await? {
        None => Ok(Quick::Done(None)),
        Some(reason) => {
            // It is not the head's fault; a new app may well work.
            let at_work = context.held.borrow().warm.clone();
            if let Some(at_work) = at_work {
                app.settle(at_work.canonical, false).await?;
            }
            {
                let mut held = context.held.borrow_mut();
                held.warm = None;
                held.touched = false;
                held.tiers.clear();
            }
            Ok(Quick::Cold(reason))
        }
    }
}

fn no_canonical(place: &Place) -> Quick {
    Quick::Cold(format!(
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
    match base::last_green(version, &canonical.commit, checkout, None) {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!("the canonical {version} is the head itself")),
        Err(remark) => Some(remark),
    }
}

/// Returns why the head's plan is none of a quick run, if it is none.
fn unfit_plan(plan: &Plan, canonical: &str) -> Option<String> {
    if !plan.declared.dependencies().is_empty() {
        // The canonical's data would hold accounts and secrets of a dependency that is gone.
        let reason = "the recipe has dependencies, which a quick run does not bring up";
        return Some(reason.to_owned());
    }
    if let Some(Err(reason)) = plan.base.as_ref().map(|base| &base.upgraded) {
        return Some(reason.clone());
    }
    if let Some(NoBase::Broken(reason)) = &plan.no_base {
        return Some(reason.clone());
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

/// Returns the context of the warm app: its domain, its stages, its base, and the env file that it has.
fn on_warm_app<'a>(
    cold: &Context<'a>,
    domain: &Domain,
    canonical: &Canonical,
    kept_env: String,
) -> Context<'a> {
    let stages = [Stage::Upgrade, Stage::Custom];
    let asked = cold.settings.stages.iter().copied();
    let settings = Settings {
        domain: domain.clone(),
        stages: asked.filter(|stage| stages.contains(stage)).collect(),
        base: Some(canonical.version.clone()),
        kept_env: Some(kept_env),
        ..Settings::clone(&cold.settings)
    };
    Context {
        settings: Rc::new(settings),
        ..cold.clone()
    }
}

/// Returns the driver of warm apps: the embedded one, because only it deploys onto kept volumes and secrets.
pub(super) fn stack_driver(
    context: &Context<'_>,
    engine: Engine,
    means: Means,
    gateway: Option<Gateway>,
) -> Result<Driver, RunError> {
    let site = body::site(context, engine, means, gateway);
    let recipe = &context.settings.recipe;
    let repository = context.dirs.recipe(recipe.as_str());
    let driver = embedded().driver(site, recipe, repository);
    driver.map_err(RunError::infra)
}

pub(super) fn embedded() -> Chosen {
    Chosen::embedded("warm apps are deployed by the embedded driver")
}

/// Reattaches the canonical and runs the tiers; returns why a new app is to be made instead, if it is.
async fn tiers(
    context: &Context<'_>,
    plan: Plan,
    driver: Driver,
    app: &WarmApp,
    snapshot: &Snapshot,
) -> Result<Option<String>, RunError> {
    let settings = &context.settings;
    let head_stamp = plan.head_stamp(settings);
    let base_stamp = plan.base_stamp(settings);
    let images: BTreeMap<String, String> = plan.head_images();
    let Plan {
        head,
        base,
        suite,
        declared,
        ..
    } = plan;
    let laid = tiers::Laid {
        suite,
        declared,
        head_root: head.root,
        needs: Needs::default(),
    };
    let (Some(base), Some(base_stamp)) = (base, base_stamp) else {
        return Ok(Some("it has no base".to_owned()));
    };
    let mut bench = tiers::bench(
        context,
        driver,
        Rc::clone(&app.lock),
        laid,
        base.release.clone(),
    )?;
    let mut secrets = kept_secrets(&bench, snapshot);
    let redactor = context.redactor.clone();
    let mut keep_secret = |value: &str| redactor.add(value);
    let mut deploys = 0;
    tiers::count_deploy(context, &mut deploys)?;
    let watch = Stopwatch::start();
    let up = tier::install::reattach(&mut bench, &base_stamp, &mut secrets, &mut keep_secret);
    let up = up.await?;
    if let Err(not_up) = &up
        && not_up.is_of_the_release()
    {
        let version = &base.version;
        return Ok(Some(format!(
            "base-broken: the canonical {version} did not come up: {}: {}",
            not_up.what, not_up.reason
        )));
    }
    if up.is_err() {
        // What stands between the harness and the engine may do the same to a new app, or not: it is red here.
        let install = tier::install::judge(&bench, up, watch.elapsed()).await?;
        tiers::record(context, install);
        for stage in [Stage::Upgrade, Stage::Backup, Stage::Restore, Stage::Custom] {
            let why = "the canonical is something else than what was planned";
            tiers::record(context, without(stage, Status::Unver, why));
        }
        return Ok(None);
    }
    tiers::record(context, left_out(Stage::Install));
    let target = match tiers::target(base, images, head_stamp) {
        Ok(target) => target,
        Err(reason) => return Ok(Some(reason)),
    };
    let run = tiers::upgrade(context, &mut bench, target, &mut secrets, &mut keep_secret);
    let upgrade = run.await?;
    let upgraded = upgrade.status != Status::Fail;
    tiers::record(context, upgrade);
    tiers::record(context, left_out(Stage::Backup));
    tiers::record(context, left_out(Stage::Restore));
    let custom = if !settings.stages.contains(&Stage::Custom) {
        left_out(Stage::Custom)
    } else if upgraded {
        let run = tier::custom::run(&bench);
        timed(&context.events, Phase::Custom, "", run).await?
    } else {
        without(Stage::Custom, Status::Unver, "the upgrade failed")
    };
    tiers::record(context, custom);
    if let Some(reason) = tiers::again(context, &bench).await? {
        tiers::as_shipped(context, reason.clone());
        return Ok(Some(format!("repeated as shipped: {reason}")));
    }
    tiers::check_deploys(bench.driver.site().deploys.get(), deploys + 1)?;
    Ok(None)
}

/// Returns the secrets of the bench's release that the app has: those are never made again.
pub(super) fn kept_secrets(bench: &tier::Bench, snapshot: &Snapshot) -> Vec<SecretSpec> {
    let release = &bench.current;
    let planned = secret::plan(&release.project, &release.env, &release.vars).unwrap_or_default();
    planned
        .into_iter()
        .filter(|spec| snapshot.meta.secrets.contains(&spec.full_name))
        .collect()
}

fn left_out(stage: Stage) -> crate::outcome::TierOutcome {
    without(stage, Status::Unver, LEFT_OUT)
}
