//! From fetch to the last tier.

use std::rc::Rc;

use super::plan::{self, Base, NoBase, Plan, PlanView};
use super::{Context, RunError};
use crate::app;
use crate::driver::backup::Snapshot;
use crate::driver::stack::{HostTraits, StackDriver, Stamp};
use crate::error::chain;
use crate::event::{Event, Planned};
use crate::host;
use crate::http::Http;
use crate::janitor::{self, Decision};
use crate::lifetime::Note;
use crate::lock::{Attempt, DomainLock};
use crate::outcome::{Phase, Stage, Status, TierOutcome};
use crate::recipe::backup::BackupPlan;
use crate::recipe::secret::SecretSpec;
use crate::swarm::{Engine, EngineError};
use crate::tier::upgrade::Target;
use crate::tier::{self, Bench, TierError, timed, without};
use crate::wait::Stopwatch;

const NO_ABRA: &str = "embedded driver; abra is not driven by this version";

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

impl From<TierError> for RunError {
    fn from(error: TierError) -> Self {
        match error {
            TierError::Engine(error) => error.into(),
            TierError::Driver(crate::driver::DriverError::Engine(error)) => error.into(),
            error => Self::infra(error),
        }
    }
}

/// Does everything up to teardown; returns the plan's JSON for a dry run.
pub(super) async fn go(context: &Context<'_>) -> Result<Option<String>, RunError> {
    let settings = context.settings;
    let (checkout, traits) = {
        let (settings, dirs) = (settings.clone(), context.dirs.clone());
        let what = settings.recipe.to_string();
        let fetch = timed(
            &context.events,
            Phase::Fetch,
            what,
            blocking(move || plan::fetch(&settings, &dirs)),
        );
        // The client takes its time to say its version.
        let (checkout, traits) = futures_util::join!(fetch, host_traits(context));
        (checkout?, traits)
    };
    let plan = {
        let (settings, dirs) = (settings.clone(), context.dirs.clone());
        timed(
            &context.events,
            Phase::Plan,
            "",
            blocking(move || plan::make(&settings, &dirs, &checkout)),
        )
        .await?
    };
    announce(context, &plan, traits);
    if settings.dry_run {
        return Ok(Some(view(context, &plan, traits)));
    }
    let engine = Engine::connect(&settings.docker_host)?;
    let driver = StackDriver {
        engine: engine.clone(),
        processes: context.processes.clone(),
        host: settings.host.clone(),
        dirs: context.dirs.clone(),
        server: settings.server.clone(),
        traits,
        supplied: settings.supplied_secrets.clone(),
        deploys: Rc::default(),
    };
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
    context.held.borrow_mut().engine = Some(engine.clone());
    sweep(context, &engine).await;
    let lock = acquire(context, &engine).await?;
    prepull(context, &engine, &plan).await?;
    tiers(context, plan, driver, lock).await?;
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

async fn host_traits(context: &Context<'_>) -> HostTraits {
    let client = host::client_version(&context.processes).await;
    HostTraits {
        ipvs: host::ipvs(std::path::Path::new("/")).works(),
        detach_flag: client.is_some_and(host::supports_detach_flag),
    }
}

fn announce(context: &Context<'_>, plan: &Plan, traits: HostTraits) {
    let settings = context.settings;
    context.events.emit(&Event::Planned(Box::new(Planned {
        head_commit: plan.head.commit.clone(),
        head_version: plan.shown_version(),
        base_version: plan.base.as_ref().map(|base| base.version.clone()),
        driver: "stack".to_owned(),
        driver_reason: NO_ABRA.to_owned(),
        stages: settings.stages.clone(),
        customization: plan.customization.clone(),
        deploys_expected: 1,
    })));
    for line in traits.deviations(&plan.head) {
        context.events.emit(&Event::Deviation(line));
    }
    for line in &plan.warnings {
        context.events.warn(line.clone());
    }
}

fn view(context: &Context<'_>, plan: &Plan, traits: HostTraits) -> String {
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
        driver: "stack",
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
        deviations: traits.deviations(&plan.head),
        warnings: &plan.warnings,
        deploy_timeout_s: tier::timeout_of(&plan.head, &settings.domain).as_secs(),
        deploy_count: 1,
    };
    serde_json::to_string_pretty(&view).expect("a plan of strings and numbers is valid JSON")
}

/// Removes what dead runs left. A sweep that fails is said; it never stops a run.
async fn sweep(context: &Context<'_>, engine: &Engine) {
    let settings = context.settings;
    match janitor::sweep(
        engine,
        &settings.host,
        &settings.zone,
        &context.dirs.id,
        false,
    )
    .await
    {
        Err(error) => context
            .events
            .warn(format!("the janitor could not sweep: {}", chain(&error))),
        Ok(sweep) => {
            for finding in sweep.findings {
                let domain = &finding.domain;
                match finding.decision {
                    Decision::Reaped => context
                        .events
                        .notice(format!("== janitor: reaped orphan {domain} ==")),
                    Decision::Live { .. } => {}
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
}

/// Takes the app's lock before anything of it exists, and removes what a dead holder left.
async fn acquire(context: &Context<'_>, engine: &Engine) -> Result<Rc<DomainLock>, RunError> {
    let settings = context.settings;
    let (domain, run) = (&settings.domain, &context.dirs.id);
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
        held.lock = Some(Rc::clone(&lock));
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

async fn prepull(context: &Context<'_>, engine: &Engine, plan: &Plan) -> Result<(), RunError> {
    let images = plan.images();
    let detail = format!("{} images", images.len());
    timed(&context.events, Phase::Prepull, detail, async {
        for image in &images {
            context.events.emit(&Event::Progress(image.clone()));
            engine
                .ensure_image(&context.settings.host, &context.processes, image)
                .await?;
        }
        Ok(())
    })
    .await
}

/// Brings the app up and runs every tier that makes sense.
async fn tiers(
    context: &Context<'_>,
    plan: Plan,
    driver: StackDriver,
    lock: Rc<DomainLock>,
) -> Result<(), RunError> {
    let settings = context.settings;
    let head_stamp = plan.head_stamp(settings);
    let base_stamp = plan.base_stamp(settings);
    let images = plan.head_images();
    let Plan {
        head,
        base,
        mut no_base,
        suite,
        ..
    } = plan;
    let http = Http::new(&settings.domain, settings.gateway.as_ref()).map_err(RunError::infra)?;
    let first = base.as_ref().map_or(&head, |base| &base.release).clone();
    let mut bench = Bench {
        driver,
        lock,
        recipe: settings.recipe.clone(),
        zone: settings.zone.clone(),
        events: context.events.clone(),
        redactor: context.redactor.clone(),
        suite,
        test_env: test_env(context)?,
        gateway: settings.gateway.clone(),
        http,
        current: first,
        seeds: tier::seed::Seeds::default(),
    };
    let redactor = context.redactor.clone();
    let mut keep_secret = |value: &str| redactor.add(value);
    let mut secrets: Vec<SecretSpec> = Vec::new();
    let mut deploys = 0;
    count_deploy(context, &mut deploys)?;
    let stamp = base_stamp.as_ref().unwrap_or(&head_stamp);
    let mut watch = Stopwatch::start();
    let mut up = tier::install::bring_up(&mut bench, stamp, &mut secrets, &mut keep_secret).await?;
    let mut base = base;
    if let (Err(not_up), Some(broken)) = (&up, base.as_ref()) {
        let reason = format!(
            "published version {} did not come up: {}: {}",
            broken.version, not_up.what, not_up.reason
        );
        context.events.warn(format!(
            "base-broken: {reason}; going on with a new app of the head"
        ));
        no_base = Some(NoBase::Broken(reason));
        base = None;
        start_over(&bench, settings.teardown_budget).await?;
        secrets.clear();
        bench.current = head.clone();
        count_deploy(context, &mut deploys)?;
        watch = Stopwatch::start();
        up = tier::install::bring_up(&mut bench, &head_stamp, &mut secrets, &mut keep_secret)
            .await?;
    }
    let took = watch.elapsed();
    bench.note_state()?;
    let installed = up.is_ok();
    let asked = |stage| settings.stages.contains(&stage);

    // Without a base the backup plan is the head's from the start; with one the base's until the upgrade.
    let install = if asked(Stage::Install) || !installed {
        tier::install::judge(&bench, up, took).await?
    } else {
        not_asked(Stage::Install)
    };
    let installed = install.status != Status::Fail;
    record(context, install);

    let mut upgrade_ran = false;
    let upgraded = match (asked(Stage::Upgrade), installed, base, no_base) {
        (false, ..) => Some(not_asked(Stage::Upgrade)),
        (_, false, ..) => Some(without(Stage::Upgrade, Status::Unver, "the install failed")),
        (_, _, Some(base), _) => {
            let target = target(base, images, head_stamp.clone());
            let current = bench.current.clone();
            let backups = Some(BackupPlan::from_project(&current.project))
                .filter(BackupPlan::is_backup_capable);
            let run = tier::upgrade::run(
                &mut bench,
                target,
                backups.as_ref(),
                &mut secrets,
                &mut keep_secret,
            );
            let outcome = timed(&context.events, Phase::Upgrade, "", run).await?;
            upgrade_ran = true;
            bench.note_state()?;
            Some(outcome)
        }
        (_, _, None, Some(NoBase::Broken(reason))) => Some(without(
            Stage::Upgrade,
            Status::Unver,
            format!("base-broken: {reason}"),
        )),
        (_, _, None, Some(NoBase::Structural(reason))) => {
            Some(without(Stage::Upgrade, Status::Skip, reason))
        }
        (_, _, None, None) => None,
    };
    let going_on = installed
        && upgraded
            .as_ref()
            .is_none_or(|tier| tier.status != Status::Fail);
    let why_not = if installed {
        "the upgrade failed"
    } else {
        "the install failed"
    };
    if let Some(outcome) = upgraded {
        record(context, outcome);
    }
    backup_and_restore(context, &mut bench, going_on, why_not).await?;
    let custom = if !asked(Stage::Custom) {
        not_asked(Stage::Custom)
    } else if going_on {
        timed(
            &context.events,
            Phase::Custom,
            "",
            tier::custom::run(&bench),
        )
        .await?
    } else {
        without(Stage::Custom, Status::Unver, why_not)
    };
    record(context, custom);
    // One deploy, and one more in place where an upgrade ran: anything beyond is a fault of the harness.
    check_deploys(bench.driver.deploys.get(), deploys + u32::from(upgrade_ran))
}

/// Holds the deploys that Docker was told of against those that the run meant.
fn check_deploys(told: u32, meant: u32) -> Result<(), RunError> {
    if told <= meant {
        return Ok(());
    }
    Err(RunError::Infra {
        error: format!("the stack was deployed {told} times where {meant} were meant: what was tested is not sure").into(),
        hints: vec!["this is a fault of recipe-ci: report it with the run directory".to_owned()],
    })
}

async fn backup_and_restore(
    context: &Context<'_>,
    bench: &mut Bench,
    going_on: bool,
    why_not: &str,
) -> Result<(), RunError> {
    let asked = |stage| context.settings.stages.contains(&stage);
    let plan = BackupPlan::from_project(&bench.current.project);
    let mut snapshot: Option<Snapshot> = None;
    let idle = |stage| {
        if !asked(stage) {
            Some(not_asked(stage))
        } else if !plan.is_backup_capable() {
            Some(without(
                stage,
                Status::Skip,
                "the recipe has no backup labels",
            ))
        } else if !going_on {
            Some(without(stage, Status::Unver, why_not))
        } else {
            None
        }
    };
    let backup = match idle(Stage::Backup) {
        Some(outcome) => outcome,
        None => {
            let run = tier::backup::run(bench, &plan);
            let (outcome, taken) = timed(&context.events, Phase::Backup, "", run).await?;
            snapshot = taken.filter(|_| outcome.status == Status::Pass);
            outcome
        }
    };
    record(context, backup);
    let restore = match (idle(Stage::Restore), snapshot) {
        (Some(outcome), _) => outcome,
        (None, None) => without(
            Stage::Restore,
            Status::Unver,
            "there is no good snapshot to restore",
        ),
        (None, Some(snapshot)) => {
            let run = tier::restore::run(bench, &plan, &snapshot);
            timed(&context.events, Phase::Restore, "", run).await?
        }
    };
    record(context, restore);
    Ok(())
}

fn target(base: Base, images: std::collections::BTreeMap<String, String>, stamp: Stamp) -> Target {
    Target {
        release: base.upgraded,
        images,
        stamp,
    }
}

fn not_asked(stage: Stage) -> TierOutcome {
    without(stage, Status::Unver, "not asked for")
}

fn record(context: &Context<'_>, outcome: TierOutcome) {
    context.held.borrow_mut().tiers.push(outcome.clone());
    context.events.emit(&Event::TierFinished(outcome));
}

/// Removes a base that did not come up, with the lock still in hand.
async fn start_over(bench: &Bench, budget: std::time::Duration) -> Result<(), RunError> {
    let deadline = crate::wait::Deadline::after(budget);
    let removal = app::remove(bench.engine(), &bench.driver.host, &bench.lock, deadline).await?;
    if removal.residual.is_empty() {
        return Ok(());
    }
    Err(RunError::Infra {
        error: format!("the broken base would not go: {}", removal.residual).into(),
        hints: removal.complaints,
    })
}

/// Counts a deploy where tests can read it; the report has the total.
fn count_deploy(context: &Context<'_>, deploys: &mut u32) -> Result<(), RunError> {
    *deploys += 1;
    context.events.emit(&Event::DeployCounted(*deploys));
    let path = context.dirs.state_file("deploy-count");
    std::fs::write(&path, format!("{deploys}\n"))
        .map_err(|source| RunError::infra(TierError::State { path, source }))
}

/// What every test and hook gets in its environment.
fn test_env(context: &Context<'_>) -> Result<Vec<(String, String)>, RunError> {
    let (settings, dirs) = (context.settings, &context.dirs);
    let link = dirs.bin.join("recipe-ci");
    match std::os::unix::fs::symlink(&settings.exe, &link) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(RunError::infra(TierError::State { path: link, source })),
    }
    let inherited = context
        .processes
        .base_var("PATH")
        .map(|path| path.to_string_lossy().into_owned());
    let path = match inherited {
        Some(inherited) => format!("{}:{inherited}", dirs.bin.display()),
        None => dirs.bin.display().to_string(),
    };
    let file = |name: &str| dirs.state_file(name).display().to_string();
    Ok([
        ("PATH", path),
        ("CCCI_RECIPE", settings.recipe.to_string()),
        ("RECIPE", settings.recipe.to_string()),
        ("CCCI_APP_DOMAIN", settings.domain.to_string()),
        ("CCCI_RUN_ID", dirs.id.to_string()),
        ("ABRA_DIR", dirs.abra.display().to_string()),
        ("CCCI_DEPLOY_COUNT_FILE", file("deploy-count")),
        ("CCCI_OP_STATE_FILE", file("op-state")),
        ("CCCI_DEPS_FILE", file("deps")),
        ("CCCI_DEPS_SKIP_REPORT", file("deps-skip")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deploy_too_many_is_the_harness_fault() {
        assert!(check_deploys(2, 2).is_ok());
        // An upgrade that stopped before its deploy.
        assert!(check_deploys(1, 2).is_ok());
        assert!(matches!(check_deploys(3, 2), Err(RunError::Infra { .. })));
    }
}
