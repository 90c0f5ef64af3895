//! The app under test while tiers work on it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::base::{Base, NoBase};
use super::bench::{Parts, bench};
use super::context::Context;
use super::error::RunError;
use super::plan::Plan;
use super::step::Up;
use super::{red, repeat, warm};
use crate::driver::Driver;
use crate::driver::backup::AppSnapshot;
use crate::driver::stack::Stamp;
use crate::suite::Needs;
use crate::tier::install::{self, CameUp, NotUp};
use crate::tier::upgrade::Target;
use crate::tier::{self, Bench, Tally, timed, without};
use crate::warm::snapshot as kept;
use engine::lock::DomainLock;
use engine::wait::Stopwatch;
use ground::outcome::{Phase, Stage, Status, TierOutcome};
use recipe::backup::BackupPlan;
use recipe::release::Release;
use recipe::secret::SecretSpec;

/// The app under test.
pub(super) struct Standing<'a> {
    context: Context<'a>,
    bench: Bench,
    head: Release,
    head_stamp: Stamp,
    head_images: BTreeMap<String, String>,
    base: Option<(Base, Stamp)>,
    no_base: Option<NoBase>,
    base_is_backed_up: bool,
    /// Whether the app has data and secrets before it is deployed.
    is_warm: bool,
    secrets: Vec<SecretSpec>,
    /// What came of the deploy, and how long it took.
    up: Option<(Result<CameUp, NotUp>, Duration)>,
    /// What was backed up, or why there is nothing to restore.
    backed_up: Result<(BackupPlan, AppSnapshot), String>,
}

impl<'a> Standing<'a> {
    /// Returns the app of `plan` before it is deployed; a warm one with what its canonical has in `kept`.
    pub(super) fn new(
        context: &Context<'a>,
        plan: &Plan,
        (driver, lock): (Driver, Rc<DomainLock>),
        needs: Needs,
        kept: Option<&kept::Snapshot>,
    ) -> Result<Self, RunError> {
        let first = plan.base.as_ref().map_or(&plan.head, |base| &base.release);
        let parts = Parts::of_app(context, driver, lock, needs)?;
        let bench = bench(context, plan, parts, first.clone())?;
        let stamp = plan.base_stamp(&context.settings);
        Ok(Self {
            head: plan.head.clone(),
            head_stamp: plan.head_stamp(&context.settings),
            head_images: plan.head_images(),
            base: plan.base.clone().zip(stamp),
            no_base: plan.no_base.clone(),
            base_is_backed_up: plan.base_is_backed_up(),
            is_warm: kept.is_some(),
            secrets: kept.map_or_else(Vec::new, |kept| warm::kept_secrets(&bench, kept)),
            up: None,
            backed_up: Err("there is no good snapshot to restore".to_owned()),
            context: context.clone(),
            bench,
        })
    }

    /// Deploys the app, of the base where there is one, and waits until it serves.
    ///
    /// # Errors
    /// [`RunError`] when the host fails.
    pub(super) async fn bring_up(&mut self) -> Result<Up, RunError> {
        self.context.count_deploy(self.bench.lock.domain())?;
        let stamp = match &self.base {
            Some((_, stamp)) => stamp,
            None => &self.head_stamp,
        };
        let (bench, secrets) = (&mut self.bench, &mut self.secrets);
        let watch = Stopwatch::start();
        let up = match self.is_warm {
            true => install::reattach(bench, stamp, secrets).await?,
            false => install::bring_up(bench, stamp, secrets).await?,
        };
        let took = watch.elapsed();
        bench.note_state()?;
        let came = match (&up, &self.base) {
            (Ok(_), _) => Up::Serves,
            (Err(not_up), Some((base, _))) if not_up.is_of_the_release() => {
                let base = match self.is_warm {
                    true => format!("the canonical {}", base.version),
                    false => base.in_words(),
                };
                let NotUp { what, reason } = not_up;
                Up::BrokenBase(format!("{base} did not come up: {what}: {reason}"))
            }
            (Err(_), _) => Up::Red,
        };
        self.up = Some((up, took));
        Ok(came)
    }

    /// Deploys a base that is there to be upgraded and judged no further; once it serves it is prepared and has to stay up.
    ///
    /// # Errors
    /// [`RunError`] when the host fails.
    pub(super) async fn bring_up_base(&mut self) -> Result<Up, RunError> {
        let up = self.bring_up().await?;
        let Some((base, _)) = self.base.as_ref().filter(|_| up == Up::Serves) else {
            return Ok(up);
        };
        Ok(match install::prepare(&self.bench).await? {
            Ok(()) => Up::Serves,
            Err(reason) => Up::BrokenBase(format!("{} did not stay up: {reason}", base.in_words())),
        })
    }

    /// Returns whether something else was deployed than was planned.
    pub(super) fn is_another(&self) -> bool {
        let up = self.up.as_ref().map(|(up, _)| up);
        up.is_some_and(|up| up.as_ref().is_err_and(|not_up| !not_up.is_of_the_release()))
    }

    /// Returns the driver and the lock of the app.
    pub(super) fn app(&self) -> (&Driver, &DomainLock) {
        (&self.bench.driver, &self.bench.lock)
    }

    /// Says that there was a base that did not come up, of another app.
    pub(super) fn lacks_base(&mut self, reason: String) {
        self.no_base = Some(NoBase::Broken(reason));
    }

    /// Goes on without the base, whose app is gone: the head is deployed as a new app.
    pub(super) fn without_base(&mut self, reason: String) {
        self.no_base = Some(NoBase::Broken(reason));
        self.base = None;
        self.secrets.clear();
        self.bench.current = self.head.clone();
    }

    /// Returns why what is red may be so for the pace of health checks.
    ///
    /// # Errors
    /// [`RunError`] when the stack cannot be looked at.
    pub(super) async fn because_of_pace(&self) -> Result<Option<String>, RunError> {
        Ok(repeat::because_of_pace(&self.bench).await?)
    }

    /// Keeps what came of a tier; shows what its hooks wrote where it did not pass.
    pub(super) fn record(&self, outcome: TierOutcome) {
        self.bench.explain(&outcome);
        if self.context.row.is_none() {
            let judged = (outcome.stage, self.bench.lock.domain().clone());
            self.context.held.borrow_mut().judged.push(judged);
        }
        red::record(&self.context, outcome);
    }

    /// Runs a tier.
    ///
    /// # Errors
    /// [`RunError`] when the host fails.
    pub(super) async fn tier(&mut self, stage: Stage) -> Result<TierOutcome, RunError> {
        match stage {
            Stage::Install => self.install().await,
            Stage::Upgrade => self.upgrade().await,
            Stage::Backup => self.backup().await,
            Stage::Restore => self.restore().await,
            Stage::Custom => {
                let run = tier::custom::run(&self.bench);
                Ok(timed(&self.context.events, Phase::Custom, "", run).await?)
            }
        }
    }

    async fn install(&mut self) -> Result<TierOutcome, RunError> {
        let (up, took) = self.up.take().expect("the flow brings it up first");
        Ok(install::judge(&self.bench, up, took).await?)
    }

    /// Upgrades the app to the head, with the backups that the release deployed now asks for.
    async fn upgrade(&mut self) -> Result<TierOutcome, RunError> {
        let Some((base, _)) = self.base.take() else {
            return Ok(match self.no_base.take() {
                Some(none) => without(Stage::Upgrade, none.status(), none.to_string()),
                None => without(Stage::Upgrade, Status::Skip, "there is no base"),
            });
        };
        let release = match base.upgraded {
            Ok(release) => release,
            Err(reason) => return Ok(self.fails(Stage::Upgrade, "generic: deploy", reason)),
        };
        let target = Target {
            release,
            images: self.head_images.clone(),
            stamp: self.head_stamp.clone(),
        };
        let domain = self.bench.lock.domain();
        self.context.held.borrow_mut().mean_deploy(domain);
        let backups = Some(self.backups()).filter(BackupPlan::is_backup_capable);
        let (bench, secrets) = (&mut self.bench, &mut self.secrets);
        let run = tier::upgrade::run(bench, target, backups.as_ref(), secrets);
        let outcome = timed(&self.context.events, Phase::Upgrade, "", run).await?;
        self.bench.note_state()?;
        Ok(outcome)
    }

    /// Returns what the labels of the release that is deployed now ask for.
    fn backups(&self) -> BackupPlan {
        BackupPlan::from_project(&self.bench.current.project)
    }

    fn wrong_labels(&self, plan: &BackupPlan) -> Option<String> {
        let declared = &self.bench.declared;
        declared.wrong_labels(plan, self.base_is_backed_up)
    }

    /// Returns why a tier does not apply.
    pub(super) fn spared(&self, stage: Stage) -> Option<String> {
        if !matches!(stage, Stage::Backup | Stage::Restore) {
            return None;
        }
        let plan = self.backups();
        let reason = self.bench.declared.no_backup(plan.is_backup_capable());
        reason.filter(|_| self.wrong_labels(&plan).is_none())
    }

    async fn backup(&mut self) -> Result<TierOutcome, RunError> {
        let plan = self.backups();
        let wrong = self.wrong_labels(&plan);
        let (plan, foreign) = match plan.is_backup_capable() {
            true => tier::backup::own_part(&self.bench, plan).await?,
            false => (plan, BTreeSet::new()),
        };
        if let Some(reason) = wrong {
            return Ok(self.fails(Stage::Backup, "generic: backup labels", reason));
        }
        let writes_foreign = self.bench.driver.restores_what_is_foreign();
        if !foreign.is_empty() && (writes_foreign || plan.volumes.is_empty()) {
            let all = Vec::from_iter(foreign.iter().map(String::as_str)).join("; ");
            let reason = format!("nothing is written into what is not this run's: {all}");
            self.backed_up = Err(reason.clone());
            return Ok(without(Stage::Backup, Status::Unver, reason));
        }
        let run = tier::backup::run(&mut self.bench, &plan, &foreign);
        let (outcome, taken) = timed(&self.context.events, Phase::Backup, "", run).await?;
        if let Some(taken) = taken.filter(|_| outcome.status != Status::Fail) {
            self.backed_up = Ok((plan, taken));
        }
        Ok(outcome)
    }

    async fn restore(&mut self) -> Result<TierOutcome, RunError> {
        match &self.backed_up {
            Ok((plan, snapshot)) => {
                let run = tier::restore::run(&mut self.bench, plan, snapshot);
                Ok(timed(&self.context.events, Phase::Restore, "", run).await?)
            }
            Err(reason) => Ok(without(Stage::Restore, Status::Unver, reason)),
        }
    }

    fn fails(&self, stage: Stage, assertion: &str, reason: String) -> TierOutcome {
        let mut tally = Tally::start(&self.context.events, stage);
        tally.check(assertion, Err(reason));
        tally.end()
    }
}
