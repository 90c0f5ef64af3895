//! From fetch to the lock and the images; then the tiers.

use std::rc::Rc;

use super::blocking::blocking;
use super::dependencies::{self, Dependency, Named};
use super::locks::{acquire, remove_leftovers};
use super::plan::{self, Checkout, Plan};
use super::quick::{self, Quick};
use super::resolved;
use super::settings::{DEFAULT_DEADLINE, Settings};
use super::{
    Context, RunError, images, network, ownership, plan_view, promote, refusal, repeat, retry,
    routing, uncovered,
};
use crate::coverage::Coverage;
use crate::driver::stack::{HostTraits, Means};
use crate::driver::{self, Chosen, Site};
use crate::error::chain;
use crate::event::Event;
use crate::host;
use crate::janitor::record::{SweepRecord, Sweeper};
use crate::janitor::{self, Decision};
use crate::outcome::Phase;
use crate::policy::Terms;
use crate::recipe::compose::pace::Pace;
use crate::swarm::Engine;
use crate::swarm::gateway::Gateway;
use crate::swarm::pins::Pins;
use crate::tier::{TierError, timed};
use crate::trust::Trust;

/// Does everything up to teardown; returns the plan's JSON for a dry run.
pub(super) async fn go(context: &Context<'_>) -> Result<Option<String>, RunError> {
    if context.settings.quick {
        quick::check_place(context)?;
    }
    let (checkout, traits, chosen) = fetch(context).await?;
    let cold;
    let mut context = context;
    if context.settings.quick {
        match quick::go(context, &checkout, traits).await? {
            Quick::Done(plan) => return Ok(plan),
            Quick::Cold(reason) => {
                context.events.warn(format!(
                    "no quick run: {reason}; a full cold run is made instead"
                ));
                let settings = Settings {
                    quick: false,
                    ..Settings::clone(&context.settings)
                };
                cold = Context {
                    settings: Rc::new(settings),
                    ..context.clone()
                };
                context = &cold;
            }
        }
    }
    let mut plan = make_plan(context, checkout.clone(), traits, &chosen).await?;
    let direct;
    if chosen.deploys_what_was_judged()
        && let Some(other) = network::without_gateway(context, &plan)
    {
        direct = other;
        context = &direct;
    }
    let named = dependencies::named(&context.settings, &plan.declared)?;
    let means = means(context, &plan.trust, traits, &chosen);
    let resolved = resolved::judged(context, &plan, &means)?;
    plan.warnings.extend(resolved.changed_volumes());
    let repository = context.dirs.recipe(context.settings.recipe.as_str());
    let pinned = plan.base.as_ref().map(|_| repository.as_path());
    let head = (&plan.head, &plan.trust.level);
    let deviations = chosen.deviations(resolved.deviations(), traits, head, pinned);
    let mut deviations = deviations.await.map_err(RunError::infra)?;
    let needed = async {
        match context.settings.dry_run {
            true => Ok(Vec::new()),
            false => read_dependencies(context, &named).await,
        }
    };
    let taken = resolved::taken_by_docker(context, &plan, &means);
    let ((), mut needed) = futures_util::try_join!(taken, needed)?;
    let names = named.iter().map(|one| &one.recipe);
    let there: Vec<_> = names.chain([&context.settings.recipe]).collect();
    for dependency in &needed {
        let judged = resolved::judge_dependency(context, dependency, &means)?;
        deviations.extend(dependency.deviations(&chosen, judged).await?);
        plan.customization.extend(dependency.customization());
        plan.warnings.extend(dependency.warnings(&there));
    }
    plan_view::announce(context, &plan, &named, &chosen, &deviations);
    let faults = routing::faults(&plan, &context.settings);
    if context.settings.dry_run {
        let view = plan_view::view(
            context, &plan, &resolved, &named, &chosen, deviations, &faults,
        );
        routing::is_red(context, &faults);
        return Ok(Some(view));
    }
    super::lint::go(context, &plan).await?;
    if let Some(reason) = &plan.masks {
        super::tiers::red_before_the_deploy(context, reason);
        return Ok(None);
    }
    if routing::is_red(context, &faults) {
        return Ok(None);
    }
    super::gateway::answers(context).await?;
    can_test(context, &plan).await?;
    let engine = engine(context).await?;
    network::proxy_is_there(&engine, &resolved).await?;
    let gateway = network::gateway(&engine, &context.settings, &means).await?;
    images::judge(context, &engine, &plan, &means).await?;
    let site = site(context, engine.clone(), means.clone(), gateway);
    context.held.borrow_mut().driver = Some(chosen.clone());
    let driver = chosen.driver(site, &context.settings.recipe, repository);
    let mut driver = driver.map_err(RunError::infra)?;
    sweep(context, &engine).await;
    let candidate = promote::candidate(context, &checkout, &plan, traits);
    let lock = acquire(context, &context.settings.domain).await?;
    let mut locks = Vec::new();
    for named in &named {
        locks.push(acquire(context, &named.domain).await?);
    }
    remove_leftovers(context, &engine, std::iter::once(&lock).chain(&locks)).await?;
    let level = plan.trust.level.clone();
    let mut apps = vec![(&*lock, ownership::releases(&plan), level)];
    let theirs = needed.iter().zip(&locks);
    apps.extend(theirs.map(|(dependency, lock)| {
        let level = dependency.terms(&means).level;
        (&**lock, dependency.releases(), level)
    }));
    ownership::claim(context, &engine, &apps).await?;
    match images::prepull(context, &engine, &plan, &mut needed, &means).await? {
        Ok(pins) => driver.set_pins(pins),
        Err(reason) => {
            super::tiers::without_an_image(context, &reason);
            return Ok(None);
        }
    }
    let pace = repeat::with_images(context, &engine, &plan, &needed, means.pace);
    driver.set_pace(pace.await?);
    super::tiers::all(context, plan, driver, lock, (needed, locks)).await?;
    let mut held = context.held.borrow_mut();
    held.candidate = candidate.filter(|_| promote::nothing_left_out(&held.tiers));
    Ok(None)
}

async fn fetch(context: &Context<'_>) -> Result<(Checkout, HostTraits, Chosen), RunError> {
    let (settings, dirs) = (Settings::clone(&context.settings), context.dirs.clone());
    let what = settings.recipe.to_string();
    let fetch = timed(
        &context.events,
        Phase::Fetch,
        what,
        retry::twice(&context.events, "fetch of the recipe", async || {
            let (settings, dirs) = (settings.clone(), dirs.clone());
            blocking(move || plan::fetch(&settings, &dirs)).await
        }),
    );
    // The clients take their time to say their versions.
    let (checkout, traits, chosen) =
        futures_util::join!(fetch, host_traits(context), choose(context));
    let checkout = checkout?;
    let head = checkout.tree.commit.clone();
    context.events.emit(&Event::HeadFetched(head));
    context
        .events
        .emit(&Event::Trusted(Box::new((&checkout.trust).into())));
    let chosen = chosen?.for_source(context.settings.driver, &checkout.trust);
    let chosen = chosen.map_err(|error| {
        let commit = Some(checkout.tree.commit.as_str());
        let grant = checkout.trust.how_to_grant(commit, &["driver: abra"]);
        RunError::Usage {
            error: error.into(),
            hints: vec![format!("leave `--driver abra` out; {grant}")],
        }
    })?;
    Ok((checkout, traits, chosen))
}

/// Makes the plan of the context's app: without a base that needs a grant and has none.
pub(super) async fn make_plan(
    context: &Context<'_>,
    checkout: Checkout,
    traits: HostTraits,
    chosen: &Chosen,
) -> Result<Plan, RunError> {
    let means = means(context, &checkout.trust, traits, chosen);
    let plan = plan_once(context, checkout.clone(), &means).await?;
    let Some(reason) = uncovered::reason(context, &plan, &means, chosen) else {
        return Ok(plan);
    };
    // Overlays are judged by the base, and remarks are about it: the whole plan is another one without it.
    start_over(context)?;
    let barred = Some(reason);
    plan_once(context, Checkout { barred, ..checkout }, &means).await
}

async fn plan_once(
    context: &Context<'_>,
    checkout: Checkout,
    means: &Means,
) -> Result<Plan, RunError> {
    let (settings, dirs) = (Settings::clone(&context.settings), context.dirs.clone());
    let (trust, commit) = (checkout.trust.clone(), checkout.tree.commit.clone());
    let means = means.clone();
    let plan = timed(
        &context.events,
        Phase::Plan,
        "",
        blocking(move || {
            let judge = |head: &_| resolved::judge_alone(head, &settings, means, &checkout.trust);
            plan::make(&settings, &dirs, &checkout, judge)
        }),
    )
    .await
    .map_err(|error| match error {
        RunError::Refused { found, .. } => resolved::refused(context, (&trust, &commit), found),
        error => refusal::of(context, error, &trust, &commit),
    })?;
    for secret in &plan.secrets {
        context.redactor.add(secret);
    }
    Ok(plan)
}

/// Returns how the context's app is deployed.
pub(super) fn means(
    context: &Context<'_>,
    trust: &Trust,
    traits: HostTraits,
    chosen: &Chosen,
) -> Means {
    let settings = &context.settings;
    let pace = if settings.as_shipped || context.held.borrow().as_shipped {
        Pace::AsShipped
    } else {
        Pace::Short(std::collections::BTreeMap::new())
    };
    Means {
        traits,
        shared: chosen.network(network::own(settings)),
        pace: chosen.pace(pace),
        terms: Terms {
            level: trust.level.clone(),
            domain: settings.domain.to_string(),
            images: settings.local_images.clone(),
            schema: traits.schema.to_owned(),
            pins: Pins::default(),
        },
    }
}

/// Returns where the context's app is deployed.
pub(super) fn site(
    context: &Context<'_>,
    engine: Engine,
    means: Means,
    gateway: Option<Gateway>,
) -> Site {
    let settings = &context.settings;
    Site {
        engine,
        processes: context.processes.clone(),
        host: settings.host.clone(),
        dirs: context.dirs.clone(),
        server: settings.server.clone(),
        means,
        gateway,
        supplied: settings.supplied_secrets.clone(),
        values: Rc::default(),
        deploys: Rc::default(),
    }
}

/// Removes what a plan wrote into the run's directory, so that another can be made.
pub(super) fn start_over(context: &Context<'_>) -> Result<(), RunError> {
    let dirs = &context.dirs;
    for path in [dirs.tests.clone(), dirs.root.join("base")] {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(RunError::infra(TierError::State {
                    path,
                    source: error,
                }));
            }
            _ => {}
        }
    }
    std::fs::create_dir(&dirs.tests).map_err(|source| {
        RunError::infra(TierError::State {
            path: dirs.tests.clone(),
            source,
        })
    })
}

/// Refuses tests that this host cannot run.
pub(super) async fn can_test(context: &Context<'_>, plan: &Plan) -> Result<(), RunError> {
    let suite = plan.suite.clone();
    let first = blocking(move || suite.first_python_test().map_err(RunError::infra));
    match first.await? {
        Some(file) if context.processes.which("pytest").is_none() => Err(RunError::Infra {
            error: format!("`{file}` needs pytest, which is not on this host").into(),
            hints: vec!["apt-get install python3-pytest, or `pip install pytest`".to_owned()],
        }),
        _ => Ok(()),
    }
}

/// Connects to the engine and makes sure that it can deploy.
pub(super) async fn engine(context: &Context<'_>) -> Result<Engine, RunError> {
    let engine = Engine::connect(&context.settings.docker_host)?;
    let info = engine.info().await?;
    if !(info.swarm_active && info.manager) {
        return Err(RunError::Infra {
            error: "this engine is not a swarm manager, so it cannot deploy a stack".into(),
            hints: vec!["docker swarm init --advertise-addr 127.0.0.1".to_owned()],
        });
    }
    engine.is_alone().await?;
    context.held.borrow_mut().engine = Some(engine.clone());
    Ok(engine)
}

/// Reads the dependencies one after the other; all of their secrets are known afterwards.
async fn read_dependencies(
    context: &Context<'_>,
    named: &[Named],
) -> Result<Vec<Dependency>, RunError> {
    let mut all = Vec::new();
    for one in named {
        let what = format!("fetch of dependency `{}`", one.recipe);
        let read = retry::twice(&context.events, &what, async || {
            let (settings, dirs) = (Settings::clone(&context.settings), context.dirs.clone());
            let one = one.clone();
            blocking(move || dependencies::read(&settings, &dirs, one)).await
        });
        let what = one.recipe.to_string();
        let dependency = timed(&context.events, Phase::Fetch, what, read).await?;
        for secret in dependency.secrets() {
            context.redactor.add(secret);
        }
        all.push(dependency);
    }
    Ok(all)
}

async fn host_traits(context: &Context<'_>) -> HostTraits {
    let client = host::client_version(&context.processes).await;
    HostTraits {
        ipvs: host::ipvs(std::path::Path::new("/")).works(),
        detach_flag: client.is_some_and(host::supports_detach_flag),
        schema: host::newest_schema(client.unwrap_or_default()),
        stack_config: client.is_some_and(host::has_stack_config),
    }
}

/// Chooses the driver; abra is given its directory, because it must be there before anything calls it.
async fn choose(context: &Context<'_>) -> Result<Chosen, RunError> {
    let settings = &context.settings;
    let dirs = &context.dirs;
    dirs.link_abra_work(&settings.host)
        .map_err(RunError::infra)?;
    let chosen = driver::choose(
        settings.driver,
        &context.processes,
        &settings.host,
        &dirs.abra_work,
        &settings.docker_host,
    );
    Ok(chosen.await?)
}

/// Removes what dead runs left. A sweep that fails is said; it never stops a run.
pub(super) async fn sweep(context: &Context<'_>, engine: &Engine) {
    let settings = &context.settings;
    let driver = context.held.borrow().driver.clone();
    let lister = driver.and_then(|driver| driver.lister(&settings.host));
    match janitor::sweep_with(
        engine,
        &settings.host,
        &settings.zone,
        &context.dirs.id,
        false,
        lister.as_ref(),
        Some(janitor::RUN_BUDGET),
    )
    .await
    {
        Err(error) => context
            .events
            .warn(format!("the janitor could not sweep: {}", chain(&error))),
        Ok(sweep) => {
            let record = SweepRecord::of(&sweep, Sweeper::Run, &settings.zone);
            if let Err(error) = record.store(&settings.host.state) {
                context
                    .events
                    .warn(format!("the sweep could not be recorded: {error}"));
            }
            for finding in sweep.findings {
                // Of the run's own deadline nothing is known here; the default is what most runs have.
                if let Some(warning) = finding.long_held(DEFAULT_DEADLINE) {
                    context.events.warn(warning);
                }
                let domain = &finding.domain;
                match finding.decision {
                    Decision::Reaped => context
                        .events
                        .notice(format!("== janitor: reaped orphan {domain} ==")),
                    Decision::Live { .. } | Decision::Gone => {}
                    Decision::Incomplete(residual) => {
                        context
                            .events
                            .warn(format!("janitor: {domain} would not go: {residual}"));
                    }
                    Decision::Skipped(error) => {
                        context
                            .events
                            .warn(format!("janitor: skipping {domain}: {}", chain(&error)));
                    }
                    Decision::Failed(error) => {
                        context
                            .events
                            .warn(format!("janitor: {domain}: {}", chain(&error)));
                    }
                    Decision::Postponed => {
                        let limit = janitor::RUN_BUDGET.as_secs();
                        context.events.warn(format!(
                            "janitor: {domain} is left to `recipe-ci janitor`: the sweep of a run ends after {limit} s"
                        ));
                    }
                }
            }
            for dead in sweep.dead {
                let run = &dead.run;
                if !dead.ended.is_empty() {
                    let ended = dead.ended.join(", ");
                    let said = format!("== janitor: ended what run {run} had left: {ended} ==");
                    context.events.notice(said);
                }
                if !dead.left.is_empty() {
                    let left = dead.left.join(", ");
                    context
                        .events
                        .warn(format!("janitor: of run {run} would not go: {left}"));
                }
            }
            for what in sweep.foreign {
                context.events.warn(format!(
                    "janitor: {what}, which did not make it: left alone"
                ));
            }
            for place in sweep.unreadable {
                context.events.warn(format!("janitor: skipping {place}"));
            }
        }
    }
    let coverage = Coverage::of(&settings.host, &settings.zone, std::path::Path::new("/"));
    if let Some(banner) = coverage.banner() {
        context.events.notice(banner);
    }
}
