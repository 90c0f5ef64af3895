//! Which tiers run, in which order, and what one's end means for the next.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::dependencies::{self, Dependency};
use super::plan::{Base, NoBase, Plan};
use super::{Context, RunError, network, ownership, repeat};
use crate::app;
use crate::declared::Declared;
use crate::driver::Driver;
use crate::driver::backup::Snapshot;
use crate::driver::stack::Stamp;
use crate::event::Event;
use crate::http::Http;
use crate::lock::DomainLock;
use crate::made;
use crate::outcome::{Phase, Stage, Status, TierOutcome};
use crate::recipe::backup::BackupPlan;
use crate::recipe::compose::pace::Pace;
use crate::recipe::compose::shared::SharedNetwork;
use crate::recipe::release::Release;
use crate::recipe::secret::SecretSpec;
use crate::suite::{Needs, Suite};
use crate::swarm::Engine;
use crate::swarm::teardown::Maker;
use crate::tier::upgrade::Target;
use crate::tier::{self, Bench, TierError, timed, without};
use crate::wait::Stopwatch;

/// Brings the dependencies and the app up and runs every tier that makes sense. What is red while health is checked
/// faster than the recipe says is done again as shipped.
pub(super) async fn all(
    context: &Context<'_>,
    plan: Plan,
    mut driver: Driver,
    lock: Rc<DomainLock>,
    needed: (Vec<Dependency>, Vec<Rc<DomainLock>>),
) -> Result<(), RunError> {
    let (engine, means) = (&driver.site().engine, &driver.site().means);
    network::make(context, engine, means, &lock, &needed.1).await?;
    let mut deploys = Deploys::default();
    let apps = &mut deploys.apps;
    let needs = dependencies::bring_up(context, needed.0, needed.1, &driver, apps).await?;
    for (hook, reason) in plan.suite.left_out(&needs).map_err(RunError::infra)? {
        context
            .events
            .warn(format!("{hook} does not run: {reason}"));
    }
    let first = (plan.clone(), driver.clone(), needs.clone());
    if let Some(reason) = attempt(context, first, &lock, &mut deploys).await? {
        as_shipped(context, reason);
        start_over(context, &driver, &lock).await?;
        // What was written down of the first app went with it.
        let apps = [(&*lock, ownership::releases(&plan), plan.trust.level.clone())];
        ownership::claim(context, &driver.site().engine, &apps).await?;
        driver.set_pace(Pace::AsShipped);
        attempt(context, (plan, driver.clone(), needs), &lock, &mut deploys).await?;
    }
    // One deploy of each app, and one more in place where an upgrade ran: anything beyond is a fault of the harness.
    check_deploys(driver.site().deploys.get(), deploys.apps + deploys.upgrades)
}

/// Forgets what came of the tiers, because they are repeated as shipped.
pub(super) fn as_shipped(context: &Context<'_>, reason: String) {
    let mut held = context.held.borrow_mut();
    held.tiers.clear();
    held.as_shipped = true;
    context.events.emit(&Event::Repeated { reason });
}

/// How often something was deployed.
#[derive(Debug, Default)]
struct Deploys {
    /// Apps.
    apps: u32,
    /// The head in place of the base.
    upgrades: u32,
}

/// Makes the app and runs the tiers; returns why they are to be repeated as shipped, if they are.
async fn attempt(
    context: &Context<'_>,
    (plan, driver, needs): (Plan, Driver, Needs),
    lock: &Rc<DomainLock>,
    deploys: &mut Deploys,
) -> Result<Option<String>, RunError> {
    let settings = &*context.settings;
    let head_stamp = plan.head_stamp(settings);
    let base_stamp = plan.base_stamp(settings);
    let images = plan.head_images();
    let base_backed_up = plan.base_is_backed_up();
    let Plan {
        head,
        base,
        mut no_base,
        suite,
        declared,
        trust,
        ..
    } = plan;
    let first = base.as_ref().map_or(&head, |base| &base.release).clone();
    let laid = Laid {
        suite,
        declared,
        head_root: head.root.clone(),
        needs,
    };
    let mut bench = bench(context, driver, Rc::clone(lock), laid, first)?;
    let redactor = context.redactor.clone();
    let mut keep_secret = |value: &str| redactor.add(value);
    let mut secrets: Vec<SecretSpec> = Vec::new();
    count_deploy(context, &mut deploys.apps)?;
    let stamp = base_stamp.as_ref().unwrap_or(&head_stamp);
    let mut watch = Stopwatch::start();
    let mut up = tier::install::bring_up(&mut bench, stamp, &mut secrets, &mut keep_secret).await?;
    let mut base = base;
    if up
        .as_ref()
        .is_err_and(tier::install::NotUp::is_of_the_release)
        && let Some(reason) = repeat::because_of_pace(&bench).await?
    {
        return Ok(Some(format!("install: {reason}")));
    }
    if let (Err(not_up), Some(broken)) = (&up, base.as_ref())
        && not_up.is_of_the_release()
    {
        let reason = format!(
            "{} did not come up: {}: {}",
            broken.in_words(),
            not_up.what,
            not_up.reason
        );
        context.events.warn(format!(
            "base-broken: {reason}; going on with a new app of the head"
        ));
        no_base = Some(NoBase::Broken(reason));
        base = None;
        start_over(context, &bench.driver, lock).await?;
        // What was written down of the base went with it.
        let apps = [(&*bench.lock, vec![&head], trust.level.clone())];
        ownership::claim(context, bench.engine(), &apps).await?;
        secrets.clear();
        bench.current = head.clone();
        count_deploy(context, &mut deploys.apps)?;
        watch = Stopwatch::start();
        up = tier::install::bring_up(&mut bench, &head_stamp, &mut secrets, &mut keep_secret)
            .await?;
        if up.is_err()
            && let Some(reason) = repeat::because_of_pace(&bench).await?
        {
            return Ok(Some(format!("install: {reason}")));
        }
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
    bench.explain(&install);
    record(context, install);
    if let Some(again) = again(context, &bench).await? {
        return Ok(Some(again));
    }

    let upgraded = match (asked(Stage::Upgrade), installed, base, no_base) {
        (false, ..) => Some(not_asked(Stage::Upgrade)),
        (_, false, ..) => Some(without(Stage::Upgrade, Status::Unver, "the install failed")),
        (_, _, Some(base), _) => match target(base, images, head_stamp.clone()) {
            Ok(target) => {
                let run = upgrade(context, &mut bench, target, &mut secrets, &mut keep_secret);
                let outcome = run.await?;
                deploys.upgrades += 1;
                Some(outcome)
            }
            Err(reason) => {
                let mut tally = tier::Tally::start(&context.events, Stage::Upgrade);
                tally.check("generic: deploy", Err(reason));
                Some(tally.end())
            }
        },
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
        bench.explain(&outcome);
        record(context, outcome);
        if let Some(again) = again(context, &bench).await? {
            return Ok(Some(again));
        }
    }
    let going = if going_on { Ok(()) } else { Err(why_not) };
    backup_and_restore(context, &mut bench, going, base_backed_up).await?;
    if let Some(again) = again(context, &bench).await? {
        return Ok(Some(again));
    }
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
    bench.explain(&custom);
    record(context, custom);
    again(context, &bench).await
}

/// Returns why the tiers are to be repeated as shipped, where one of them is red.
pub(super) async fn again(
    context: &Context<'_>,
    bench: &Bench,
) -> Result<Option<String>, RunError> {
    let red = {
        let held = context.held.borrow();
        let mut tiers = held.tiers.iter();
        let red = tiers.find(|tier| tier.status == Status::Fail);
        red.map(|tier| tier.stage)
    };
    let Some(stage) = red else {
        return Ok(None);
    };
    let reason = repeat::because_of_pace(bench).await?;
    Ok(reason.map(|reason| format!("{stage}: {reason}")))
}

/// Upgrades the app of the bench to `target`, with the backups that the release deployed now asks for, and notes
/// what is deployed then.
pub(super) async fn upgrade(
    context: &Context<'_>,
    bench: &mut Bench,
    target: Target,
    secrets: &mut Vec<SecretSpec>,
    keep_secret: &mut dyn FnMut(&str),
) -> Result<TierOutcome, RunError> {
    let backups = Some(BackupPlan::from_project(&bench.current.project))
        .filter(BackupPlan::is_backup_capable);
    let run = tier::upgrade::run(bench, target, backups.as_ref(), secrets, keep_secret);
    let outcome = timed(&context.events, Phase::Upgrade, "", run).await?;
    bench.note_state()?;
    Ok(outcome)
}

/// What is laid over the head.
#[derive(Debug, Clone)]
pub(super) struct Laid {
    /// The tests and hooks.
    pub(super) suite: Suite,
    /// What is declared.
    pub(super) declared: Declared,
    /// The head's work tree.
    pub(super) head_root: std::path::PathBuf,
    /// The dependencies, as far as they are up.
    pub(super) needs: Needs,
}

/// Returns what tiers work with, `current` being what is deployed first.
pub(super) fn bench(
    context: &Context<'_>,
    driver: Driver,
    lock: Rc<DomainLock>,
    laid: Laid,
    current: Release,
) -> Result<Bench, RunError> {
    let settings = &context.settings;
    let http = Http::new(&settings.domain, settings.gateway.as_ref()).map_err(RunError::infra)?;
    Ok(Bench {
        driver,
        lock,
        recipe: settings.recipe.clone(),
        zone: settings.zone.clone(),
        events: context.events.clone(),
        redactor: context.redactor.clone(),
        suite: laid.suite,
        declared: laid.declared,
        head_root: laid.head_root,
        test_env: test_env(context)?,
        gateway: settings.gateway.clone(),
        http,
        settled: std::cell::RefCell::default(),
        current,
        seeds: tier::seed::Seeds::default(),
        holders: crate::swarm::holder::Holders::default(),
        databases: tier::database::Databases::default(),
        converged: std::cell::RefCell::default(),
        overdue: std::cell::RefCell::default(),
        retries: settings.retries,
        needs: laid.needs,
        said: std::cell::RefCell::default(),
    })
}

/// Holds the deploys that Docker was told of against those that the run meant.
pub(super) fn check_deploys(told: u32, meant: u32) -> Result<(), RunError> {
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
    going: Result<(), &str>,
    base_backed_up: bool,
) -> Result<(), RunError> {
    let asked = |stage| context.settings.stages.contains(&stage);
    let plan = BackupPlan::from_project(&bench.current.project);
    let no_backup = bench.declared.no_backup(plan.is_backup_capable());
    let wrong = bench.declared.wrong_labels(&plan, base_backed_up);
    let asked_for_any = asked(Stage::Backup) || asked(Stage::Restore);
    let (plan, foreign) = if going.is_ok() && asked_for_any && plan.is_backup_capable() {
        tier::backup::own_part(bench, plan).await?
    } else {
        (plan, BTreeSet::new())
    };
    let writes_foreign = bench.driver.restores_what_is_foreign();
    let unjudged = !foreign.is_empty() && (writes_foreign || plan.volumes.is_empty());
    let mut snapshot: Option<Snapshot> = None;
    let idle = |stage| {
        if !asked(stage) {
            Some(not_asked(stage))
        } else if let (Some(reason), None) = (&no_backup, &wrong) {
            Some(without(stage, Status::Skip, reason.clone()))
        } else {
            let all = Vec::from_iter(foreign.iter().map(String::as_str));
            let theirs = || {
                format!(
                    "nothing is written into what is not this run's: {}",
                    all.join("; ")
                )
            };
            let theirs = (unjudged && wrong.is_none()).then(theirs);
            let why_not = going.err().map(str::to_owned).or(theirs);
            why_not.map(|reason| without(stage, Status::Unver, reason))
        }
    };
    let backup = match (idle(Stage::Backup), &wrong) {
        (Some(outcome), _) => outcome,
        (None, Some(reason)) => {
            let mut tally = tier::Tally::start(&context.events, Stage::Backup);
            tally.check("generic: backup labels", Err(reason.clone()));
            tally.end()
        }
        (None, None) => {
            let run = tier::backup::run(bench, &plan, &foreign);
            let (outcome, taken) = timed(&context.events, Phase::Backup, "", run).await?;
            snapshot = taken.filter(|_| outcome.status != Status::Fail);
            outcome
        }
    };
    bench.explain(&backup);
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
    bench.explain(&restore);
    record(context, restore);
    Ok(())
}

/// Returns what the upgrade of `base` is to arrive at.
///
/// # Errors
/// The reason why no app of the base can be upgraded to it.
pub(super) fn target(
    base: Base,
    images: std::collections::BTreeMap<String, String>,
    stamp: Stamp,
) -> Result<Target, String> {
    Ok(Target {
        release: base.upgraded?,
        images,
        stamp,
    })
}

/// Ends a run whose overlay hides what the head changed: it would prove something about another recipe.
pub(super) fn red_before_the_deploy(context: &Context<'_>, reason: &str) {
    let why = "an overlay hides what is to be tested";
    let assertion = ("overlay: environment only".to_owned(), reason.to_owned());
    red_at_once(context, Stage::Install, vec![assertion], why);
}

/// Ends a run of a recipe whose image does not exist.
pub(super) fn without_an_image(context: &Context<'_>, reason: &str) {
    let why = "an image of the recipe does not exist";
    let assertion = ("generic: images".to_owned(), reason.to_owned());
    red_at_once(context, Stage::Install, vec![assertion], why);
}

/// Ends a run before anything is deployed: `assertions` of the stage `red` do not hold, each with its reason.
pub(super) fn red_at_once(
    context: &Context<'_>,
    red: Stage,
    assertions: Vec<(String, String)>,
    why: &str,
) {
    let judge = |assertions: &[(String, String)]| {
        let mut tally = tier::Tally::start(&context.events, red);
        for (assertion, reason) in assertions {
            tally.check(assertion, Err(reason.clone()));
        }
        tally.end()
    };
    for stage in Stage::ALL {
        let outcome = match stage == red {
            true => judge(&assertions),
            false => without(stage, Status::Unver, why),
        };
        record(context, outcome);
    }
}

fn not_asked(stage: Stage) -> TierOutcome {
    without(stage, Status::Unver, "not asked for")
}

pub(super) fn record(context: &Context<'_>, outcome: TierOutcome) {
    let engine = context.held.borrow().engine.clone();
    for (what, reason) in engine.iter().flat_map(Engine::asked_again) {
        context.events.emit(&Event::Retried { what, reason });
    }
    context.held.borrow_mut().tiers.push(outcome.clone());
    context.events.emit(&Event::TierFinished(outcome));
}

/// Removes an app that did not come up, with the lock still in hand.
pub(super) async fn start_over(
    context: &Context<'_>,
    driver: &Driver,
    lock: &DomainLock,
) -> Result<(), RunError> {
    let deadline = crate::wait::Deadline::after(context.settings.teardown_budget);
    super::teardown::undeployed(context, driver.undeploy(lock).await);
    let (host, engine) = (&context.settings.host, &driver.site().engine);
    // Its deploy may have run into its limit and been killed.
    // Others of the run may be on its network.
    let guests = made::guests(host, lock.domain(), &context.settings.zone);
    let kept = match &driver.site().means.shared {
        SharedNetwork::Own(own) if !own.guest => Some(own.network.as_str()),
        _ => None,
    };
    let kept = kept.filter(|_| guests.is_ok_and(|guests| !guests.is_empty()));
    let removal = app::remove_but(engine, host, lock, kept, Maker::CutOff, deadline).await?;
    if removal.residual.is_empty() {
        return Ok(());
    }
    Err(RunError::Infra {
        error: format!("the app would not go: {}", removal.residual).into(),
        hints: removal.complaints,
    })
}

/// Counts a deploy where tests can read it; the report has the total.
pub(super) fn count_deploy(context: &Context<'_>, deploys: &mut u32) -> Result<(), RunError> {
    *deploys += 1;
    context.events.emit(&Event::DeployCounted(*deploys));
    let path = context.dirs.state_file("deploy-count");
    std::fs::write(&path, format!("{deploys}\n"))
        .map_err(|source| RunError::infra(TierError::State { path, source }))
}

/// What every test and hook gets in its environment.
pub(super) fn test_env(context: &Context<'_>) -> Result<Vec<(String, String)>, RunError> {
    let (settings, dirs) = (&context.settings, &context.dirs);
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
