//! From fetch to the lock and the images; then the tiers.

use std::rc::Rc;

use super::dependencies::{self, Dependency, Named};
use super::plan::{self, NoBase, Plan, PlanView};
use super::settings::DEFAULT_DEADLINE;
use super::{Context, RunError};
use crate::abra::{Abra, AbraError};
use crate::app;
use crate::coverage::Coverage;
use crate::driver::abra::AbraDriver;
use crate::driver::stack::{HostTraits, StackDriver};
use crate::driver::{self, Chosen, Driver, DriverError, Site};
use crate::error::chain;
use crate::event::{Event, Planned};
use crate::host;
use crate::janitor::record::{SweepRecord, Sweeper};
use crate::janitor::{self, Decision};
use crate::lifetime::Note;
use crate::lint::{self, Lint};
use crate::lock::{Attempt, DomainLock};
use crate::name::Domain;
use crate::outcome::Phase;
use crate::recipe::backup::BackupPlan;
use crate::swarm::{Engine, EngineError};
use crate::tier::{self, TierError, timed};
use crate::wait::Stopwatch;

impl From<EngineError> for RunError {
    fn from(error: EngineError) -> Self {
        let hints = match &error {
            EngineError::Pull { .. } => {
                vec!["check the image's name in the recipe, and the registry's limits and this host's login".to_owned()]
            }
            _ => vec!["`recipe-ci doctor` says what is wrong with this host".to_owned()],
        };
        Self::Infra {
            error: error.into(),
            hints,
        }
    }
}

impl From<AbraError> for RunError {
    fn from(error: AbraError) -> Self {
        let hints = vec![error.hint().to_owned()];
        Self::Infra {
            error: error.into(),
            hints,
        }
    }
}

impl From<TierError> for RunError {
    fn from(error: TierError) -> Self {
        match error {
            TierError::Engine(error) => error.into(),
            TierError::Driver(DriverError::Engine(error)) => error.into(),
            TierError::Driver(DriverError::Abra(error)) => error.into(),
            error => Self::infra(error),
        }
    }
}

/// Does everything up to teardown; returns the plan's JSON for a dry run.
pub(super) async fn go(context: &Context<'_>) -> Result<Option<String>, RunError> {
    let settings = context.settings;
    let (checkout, traits, chosen) = {
        let (settings, dirs) = (settings.clone(), context.dirs.clone());
        let what = settings.recipe.to_string();
        let fetch = timed(
            &context.events,
            Phase::Fetch,
            what,
            blocking(move || plan::fetch(&settings, &dirs)),
        );
        // The clients take their time to say their versions.
        let (checkout, traits, chosen) =
            futures_util::join!(fetch, host_traits(context), choose(context));
        (checkout?, traits, chosen?)
    };
    let mut plan = {
        let (settings, dirs) = (settings.clone(), context.dirs.clone());
        timed(
            &context.events,
            Phase::Plan,
            "",
            blocking(move || plan::make(&settings, &dirs, &checkout)),
        )
        .await?
    };
    for secret in &plan.secrets {
        context.redactor.add(secret);
    }
    let deviations = deviations(context, &plan, traits, &chosen)?;
    let named = dependencies::named(settings, &plan.declared)?;
    let mut needed = Vec::new();
    if !settings.dry_run {
        needed = read_dependencies(context, &named).await?;
    }
    for dependency in &needed {
        plan.customization.extend(dependency.customization());
        plan.warnings.extend(dependency.warnings());
    }
    announce(context, &plan, named.len(), &chosen, &deviations);
    if settings.dry_run {
        return Ok(Some(view(context, &plan, &named, &chosen, deviations)));
    }
    lint(context, &plan).await?;
    if let Some(reason) = &plan.masks {
        super::tiers::red_before_the_deploy(context, reason);
        return Ok(None);
    }
    let engine = Engine::connect(&settings.docker_host)?;
    let site = Site {
        engine: engine.clone(),
        processes: context.processes.clone(),
        host: settings.host.clone(),
        dirs: context.dirs.clone(),
        server: settings.server.clone(),
        traits,
        supplied: settings.supplied_secrets.clone(),
        deploys: Rc::default(),
    };
    let driver = driver_of(context, site, chosen.abra)?;
    if let Some(file) = plan.suite.first_python_test().map_err(RunError::infra)?
        && context.processes.which("pytest").is_none()
    {
        return Err(RunError::Infra {
            error: format!("`{file}` needs pytest, which is not on this host").into(),
            hints: vec!["apt-get install python3-pytest, or `pip install pytest`".to_owned()],
        });
    }
    let info = engine.info().await?;
    if !(info.swarm_active && info.manager) {
        return Err(RunError::Infra {
            error: "this engine is not a swarm manager, so it cannot deploy a stack".into(),
            hints: vec!["docker swarm init --advertise-addr 127.0.0.1".to_owned()],
        });
    }
    {
        let mut held = context.held.borrow_mut();
        held.engine = Some(engine.clone());
        if let Driver::Abra(driver) = &driver {
            held.abra = Some(driver.abra.clone());
        }
    }
    sweep(context, &engine).await;
    let lock = acquire(context, &engine, &settings.domain).await?;
    let mut locks = Vec::new();
    for named in &named {
        locks.push(acquire(context, &engine, &named.domain).await?);
    }
    prepull(context, &engine, &plan, &mut needed).await?;
    super::tiers::all(context, plan, driver, lock, (needed, locks)).await?;
    Ok(None)
}

/// Runs blocking work beside the worker's thread. It cannot be cancelled, and it makes nothing of the app.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RunError::infra(error)),
    }
}

/// Reads the dependencies one after the other; all of their secrets are known afterwards.
async fn read_dependencies(
    context: &Context<'_>,
    named: &[Named],
) -> Result<Vec<Dependency>, RunError> {
    let mut all = Vec::new();
    for one in named {
        let (settings, dirs) = (context.settings.clone(), context.dirs.clone());
        let (one, what) = (one.clone(), one.recipe.to_string());
        let read = blocking(move || dependencies::read(&settings, &dirs, one));
        let dependency = timed(&context.events, Phase::Fetch, what, read).await?;
        for secret in dependency.secrets() {
            context.redactor.add(secret);
        }
        all.push(dependency);
    }
    Ok(all)
}

/// Lints the head. What it finds changes the level and never the verdict, and so does its own failure.
async fn lint(context: &Context<'_>, plan: &Plan) -> Result<(), RunError> {
    let (root, commit) = (plan.head.root.clone(), plan.head.commit.clone());
    let (dirty, stack) = (plan.head.dirty, context.settings.domain.stack());
    let check = move || {
        Ok(lint::check(&lint::Subject {
            root: &root,
            repository: Some(lint::Repository {
                path: &root,
                commit: &commit,
                dirty,
            }),
            stack: stack.as_str(),
        }))
    };
    let checked = timed(&context.events, Phase::Lint, "", blocking(check)).await?;
    let found = checked.unwrap_or_else(|error| {
        Lint::unverified(format!("the lint could not run: {}", chain(&error)))
    });
    context.events.emit(&Event::LintFinished(Box::new(found)));
    Ok(())
}

async fn host_traits(context: &Context<'_>) -> HostTraits {
    let client = host::client_version(&context.processes).await;
    HostTraits {
        ipvs: host::ipvs(std::path::Path::new("/")).works(),
        detach_flag: client.is_some_and(host::supports_detach_flag),
    }
}

/// Chooses the driver; abra is given its directory, because it must be there before anything calls it.
async fn choose(context: &Context<'_>) -> Result<Chosen, RunError> {
    let settings = context.settings;
    let dirs = &context.dirs;
    dirs.link_abra_work(&settings.host)
        .map_err(RunError::infra)?;
    let chosen = driver::choose(
        settings.driver,
        &context.processes,
        &dirs.abra_work,
        &settings.docker_host,
    );
    Ok(chosen.await?)
}

fn driver_of(context: &Context<'_>, site: Site, abra: Option<Abra>) -> Result<Driver, RunError> {
    let settings = context.settings;
    let Some(abra) = abra else {
        return Ok(Driver::Stack(Box::new(StackDriver { site })));
    };
    let servers = settings.host.abra.join("servers").join(&settings.server);
    std::fs::create_dir_all(&servers).map_err(|source| {
        RunError::infra(DriverError::Write {
            path: servers.clone(),
            source,
        })
    })?;
    Ok(Driver::Abra(Box::new(AbraDriver {
        site,
        abra,
        recipe: settings.recipe.clone(),
        repository: context.dirs.recipe(settings.recipe.as_str()),
    })))
}

/// Returns every departure from the recipe that is known before the deploy.
fn deviations(
    context: &Context<'_>,
    plan: &Plan,
    traits: HostTraits,
    chosen: &Chosen,
) -> Result<Vec<String>, RunError> {
    if chosen.abra.is_none() {
        return Ok(traits.deviations(&plan.head));
    }
    let mut lines = traits.without_ipvs(&plan.head);
    if plan.base.is_some() {
        let repository = context.dirs.recipe(context.settings.recipe.as_str());
        lines.extend(driver::abra::only_by_chaos(&repository).map_err(RunError::infra)?);
    }
    Ok(lines)
}

fn announce(
    context: &Context<'_>,
    plan: &Plan,
    dependencies: usize,
    chosen: &Chosen,
    deviations: &[String],
) {
    let settings = context.settings;
    context.events.emit(&Event::Planned(Box::new(Planned {
        head_commit: plan.head.commit.clone(),
        head_version: plan.shown_version(),
        base_version: plan.base.as_ref().map(|base| base.version.clone()),
        driver: chosen.name().to_owned(),
        driver_reason: chosen.reason.clone(),
        stages: settings.stages.clone(),
        customization: plan.customization.clone(),
        deploys_expected: deploy_count(dependencies),
    })));
    for line in deviations {
        context.events.emit(&Event::Deviation(line.clone()));
    }
    for line in &plan.warnings {
        context.events.warn(line.clone());
    }
}

/// Each app is deployed once.
fn deploy_count(dependencies: usize) -> u32 {
    1 + u32::try_from(dependencies).unwrap_or(u32::MAX - 1)
}

fn view(
    context: &Context<'_>,
    plan: &Plan,
    named: &[Named],
    chosen: &Chosen,
    deviations: Vec<String>,
) -> String {
    let settings = context.settings;
    let secrets = crate::recipe::secret::plan(&plan.head.project, &plan.head.env, &plan.head.vars)
        .unwrap_or_default();
    let backups = BackupPlan::from_project(&plan.head.project);
    let no_base = plan.no_base.as_ref().map(|reason| match reason {
        NoBase::Structural(reason) => reason.clone(),
        NoBase::Broken(reason) => format!("base-broken: {reason}"),
    });
    let view = PlanView {
        recipe: settings.recipe.as_str(),
        head_commit: &plan.head.commit,
        uncommitted_changes: plan.head.dirty,
        head_version: plan.shown_version(),
        base_version: plan.base.as_ref().map(|base| base.version.as_str()),
        no_base,
        domain: settings.domain.as_str(),
        stack: settings.domain.stack().to_string(),
        driver: chosen.name(),
        tiers: plan.tiers(settings),
        compose_files: &plan.head.project.files,
        images: plan.images(),
        secrets: secrets.into_iter().map(|spec| spec.full_name).collect(),
        backed_up_volumes: backups
            .volumes
            .into_iter()
            .map(|volume| volume.volume)
            .collect(),
        customization: &plan.customization,
        deviations,
        warnings: &plan.warnings,
        dependencies: named.iter().map(Into::into).collect(),
        canonical: plan.declared.canonical(),
        deploy_timeout_s: plan
            .declared
            .deploy_timeout()
            .unwrap_or_else(|| tier::timeout_of(&plan.head, &settings.domain))
            .as_secs(),
        deploy_count: deploy_count(named.len()),
    };
    serde_json::to_string_pretty(&view).expect("a plan of strings and numbers is valid JSON")
}

/// Removes what dead runs left. A sweep that fails is said; it never stops a run.
async fn sweep(context: &Context<'_>, engine: &Engine) {
    let settings = context.settings;
    // abra lists all apps of the host in its canonical directory.
    let abra = context.held.borrow().abra.clone();
    let abra = abra.map(|abra| abra.at(&settings.host.abra));
    match janitor::sweep_with(
        engine,
        &settings.host,
        &settings.zone,
        &context.dirs.id,
        false,
        abra.as_ref(),
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
                }
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

/// Takes an app's lock before anything of it exists, and removes what a dead holder left.
async fn acquire(
    context: &Context<'_>,
    engine: &Engine,
    domain: &Domain,
) -> Result<Rc<DomainLock>, RunError> {
    let (settings, run) = (context.settings, &context.dirs.id);
    let lock =
        match DomainLock::try_acquire(&settings.host, domain, run).map_err(RunError::infra)? {
            Attempt::Acquired(lock) => lock,
            Attempt::Held { holder, .. } => {
                let holder = if holder.is_empty() {
                    String::new()
                } else {
                    format!(" ({holder})")
                };
                context.events.notice(format!(
                    "== app lock: another run of {domain} is in flight{holder} — waiting =="
                ));
                let watch = Stopwatch::start();
                let wait = DomainLock::acquire(&settings.host, domain, run);
                let lock = timed(&context.events, Phase::LockWait, domain.as_str(), wait)
                    .await
                    .map_err(RunError::infra)?;
                context.events.notice(format!(
                    "== app lock: acquired {domain} after {:.1} s ==",
                    watch.elapsed().as_secs_f64()
                ));
                lock
            }
        };
    let lock = Rc::new(lock);
    // The supervisor must know before anything can exist.
    context.notes.borrow_mut().tell(&Note::App {
        domain: domain.to_string(),
    });
    {
        let mut held = context.held.borrow_mut();
        held.locks.push(Rc::clone(&lock));
        held.touched = true;
    }
    if app::exists(engine, &settings.host, domain).await? {
        context.events.notice(format!(
            "== {domain} is still there though its last run is dead: removing it first =="
        ));
        let deadline = crate::wait::Deadline::after(settings.teardown_budget);
        let removal = app::remove(engine, &settings.host, &lock, deadline).await?;
        if !removal.residual.is_empty() {
            return Err(RunError::Infra {
                error: format!(
                    "what a dead run of {domain} left would not go: {}",
                    removal.residual
                )
                .into(),
                hints: removal.complaints,
            });
        }
    }
    Ok(lock)
}

async fn prepull(
    context: &Context<'_>,
    engine: &Engine,
    plan: &Plan,
    needed: &mut [Dependency],
) -> Result<(), RunError> {
    let images = plan.images();
    let detail = format!("{} images", images.len());
    let get = async |image: &String| {
        context.events.emit(&Event::Progress(image.clone()));
        let host = &context.settings.host;
        let got = engine.ensure_image(host, &context.processes, image).await;
        got.map(drop)
    };
    timed(&context.events, Phase::Prepull, detail, async {
        for image in &images {
            get(image).await?;
        }
        for dependency in needed {
            for image in &dependency.images() {
                if let Err(error) = get(image).await {
                    dependency.broken(dependencies::missing_image(error)?);
                    break;
                }
            }
        }
        Ok(())
    })
    .await
}
