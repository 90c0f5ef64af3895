//! What each step of a cold or a quick run does; in which order they are done is decided in [`super::flow`].

mod apps;

use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select};

use super::context::Context;
use super::error::RunError;
use super::fetch;
use super::fetched::Fetched;
use super::prepare::Ready;
use super::quick::{self, Over};
use super::settings::{Lane, Settings};
use super::standing::Standing;
use super::step::{Again, End, Fresh, Holds, Role, Step, Up};
use super::work::{Steps, Tiers};
use super::{
    dependencies, gateway, images, locks, network, ownership, pace, promote, red, site, sweep,
    teardown,
};
use crate::driver::Driver;
use crate::event::Event;
use crate::suite::Needs;
use engine::lock::DomainLock;
use engine::swarm::Engine;
use engine::swarm::gateway::Gateway;
use ground::outcome::{Stage, TierOutcome};
use ground::pins::Pins;
use recipe::compose::pace::Pace;

/// A cold or a quick run: what its steps found out for those that follow.
pub(super) struct Body<'a> {
    /// The context of the new app.
    run: Context<'a>,
    fetched: Option<Fetched>,
    /// What a quick run is made over.
    over: Option<Over>,
    ready: Option<Ready<'a>>,
    engine: Option<Engine>,
    gateway: Option<Gateway>,
    driver: Option<Driver>,
    needs: Needs,
    standing: Option<Standing<'a>>,
    /// The app that is a fresh install of the head, until nothing more comes of it.
    fresh: Option<Standing<'a>>,
    /// Whether there is no base any more, because it did not come up.
    is_baseless: bool,
}

impl<'a> Body<'a> {
    /// Returns a run of which nothing is done.
    pub(super) fn new(run: &Context<'a>) -> Self {
        Self {
            run: run.clone(),
            fetched: None,
            over: None,
            ready: None,
            engine: None,
            gateway: None,
            driver: None,
            needs: Needs::default(),
            standing: None,
            fresh: None,
            is_baseless: false,
        }
    }

    fn fetched(&self) -> &Fetched {
        self.fetched.as_ref().expect("the flow fetches first")
    }

    fn over(&self) -> &Over {
        self.over.as_ref().expect(CANONICAL_FIRST)
    }

    fn ready(&self) -> &Ready<'a> {
        self.ready.as_ref().expect("the flow judges first")
    }

    fn ready_mut(&mut self) -> &mut Ready<'a> {
        self.ready.as_mut().expect("the flow judges first")
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the flow connects first")
    }

    fn driver(&self) -> &Driver {
        self.driver.as_ref().expect("the flow has the images first")
    }

    fn locks_of(&self, role: Role) -> Vec<Rc<DomainLock>> {
        self.run.held.borrow().locks_of(role)
    }

    /// Returns the lock of the app under test.
    fn lock(&self, role: Role) -> Rc<DomainLock> {
        let mut locks = self.locks_of(role);
        locks.pop().expect("the flow takes the lock first")
    }

    async fn canonical(&mut self) -> Result<End, RunError> {
        match Over::read(&self.run, self.fetched())? {
            Ok(over) => self.over = Some(over),
            Err(end) => return Ok(end),
        }
        Ok(End::Done)
    }

    async fn judge(&mut self) -> Result<End, RunError> {
        let run = &self.run;
        let ready = match &mut self.over {
            Some(over) => match over.judge(run).await? {
                Ok(ready) => ready,
                Err(reason) => return Ok(End::Cold(reason)),
            },
            None => {
                let fetched = self.fetched.as_ref().expect("the flow fetches first");
                let draft = super::prepare::make_plan(run, fetched).await?;
                Ready::of(run, fetched, draft).await?
            }
        };
        self.ready = Some(ready);
        Ok(End::Done)
    }

    async fn host(&mut self) -> Result<(), RunError> {
        let ready = self.ready();
        let gateway = ready.host(self.engine()).await?;
        self.run.held.borrow_mut().driver = Some(ready.chosen.clone());
        self.gateway = gateway;
        Ok(())
    }

    async fn lock_apps(&mut self, role: Role) -> Result<(), RunError> {
        match role {
            Role::New => locks::acquire(&self.run, &self.run.settings.domain, role).await,
            Role::Fresh => {
                let install = self.install().filter(|install| install.is_beside());
                let domain = install.map(|install| &install.context.settings.domain);
                match domain {
                    Some(domain) => locks::acquire(&self.run, domain, role).await,
                    None => Ok(()),
                }
            }
            Role::Dependency => {
                for named in &self.ready().named {
                    locks::acquire(&self.run, &named.domain, role).await?;
                }
                Ok(())
            }
            Role::Warm => {
                let engine = self.engine.as_ref().expect("the flow connects first");
                over_mut(&mut self.over).lock(&self.run, engine).await
            }
        }
    }

    async fn leftovers(&self) -> Result<(), RunError> {
        let roles = [Role::New, Role::Fresh, Role::Dependency];
        let locks = roles.map(|role| self.locks_of(role));
        locks::remove_leftovers(&self.run, self.engine(), locks.iter().flatten()).await
    }

    async fn claim(&self) -> Result<(), RunError> {
        let ready = self.ready();
        if let Some(over) = &self.over {
            return over.claim(ready, self.engine()).await;
        }
        let (lock, theirs) = (self.lock(Role::New), self.locks_of(Role::Dependency));
        let level = ready.plan.trust.level.clone();
        let mut apps = vec![(&*lock, ownership::releases(&ready.plan), level.clone())];
        let fresh = self.locks_of(Role::Fresh);
        apps.extend(
            ready
                .fresh
                .iter()
                .zip(&fresh)
                .map(|(install, lock)| (&**lock, vec![&install.plan.head], level.clone())),
        );
        apps.extend(ready.needed.iter().zip(&theirs).map(|(dependency, lock)| {
            let level = dependency.terms(&ready.means).level;
            (&**lock, dependency.releases(), level)
        }));
        ownership::claim(&ready.context, self.engine(), &apps).await
    }

    async fn images(&mut self) -> Result<End, RunError> {
        let engine = self.engine.clone().expect("the flow connects first");
        let ready = self.ready_mut();
        let (context, plan, means) = (&ready.context, &ready.plan, &ready.means);
        let pulled = images::prepull(context, &engine, plan, &mut ready.needed, means).await?;
        self.deploy_with(pulled, Role::New).await
    }

    async fn images_and_data(&mut self) -> Result<End, RunError> {
        let ready = self.ready();
        let (context, plan, means) = (&ready.context, &ready.plan, &ready.means);
        let pull = images::prepull(context, self.engine(), plan, &mut [], means);
        // Both to their end: an image that cannot be had must not leave the data half way.
        let (pulled, begun) = futures_util::join!(pull, self.over().begin(context));
        begun?;
        self.deploy_with(pulled?, Role::Warm).await
    }

    /// Makes the driver of the app of this role, whose images are deployed as what was pulled.
    async fn deploy_with(
        &mut self,
        pulled: Result<Pins, String>,
        role: Role,
    ) -> Result<End, RunError> {
        let (ready, engine) = (self.ready(), self.engine());
        let context = &ready.context;
        let pins = match pulled {
            Ok(pins) => pins,
            Err(reason) => {
                red::without_an_image(context, &reason);
                return Ok(End::Over(None));
            }
        };
        let pace = ready.means.pace.clone();
        let pace = pace::with_images(context, engine, &ready.plan, &ready.needed, pace).await?;
        let recipe = &context.settings.recipe;
        let (means, gateway) = (ready.means.clone(), self.gateway.clone());
        let site = site::site(context, engine.clone(), means, gateway);
        let lock = self.lock(role);
        let mut held = self.run.held.borrow_mut();
        held.count_with(lock.domain(), &site.deploys);
        drop(held);
        let repository = context.dirs.recipe(recipe.as_str());
        let driver = ready.chosen.clone().driver(site, recipe, repository);
        let mut driver = driver.map_err(RunError::infra)?;
        driver.set_pins(pins);
        driver.set_pace(pace);
        self.driver = Some(driver);
        Ok(End::Done)
    }

    async fn network(&self) -> Result<(), RunError> {
        let site = self.driver().site();
        let guests = self.locks_of(Role::Dependency);
        let lock = self.lock(Role::New);
        network::make(&self.run, &site.engine, &site.means, &lock, &guests).await
    }

    async fn dependencies(&mut self) -> Result<(), RunError> {
        let needed = std::mem::take(&mut self.ready_mut().needed);
        let locks = self.locks_of(Role::Dependency);
        let context = &self.ready().context;
        let needs = dependencies::bring_up(context, needed, locks, self.driver()).await?;
        let suite = &self.ready().plan.suite;
        for (hook, reason) in suite.left_out(&needs).map_err(RunError::infra)? {
            let said = format!("{hook} does not run: {reason}");
            self.run.events.warn(said);
        }
        self.needs = needs;
        Ok(())
    }

    fn candidate(&self) {
        let (ready, fetched) = (self.ready(), self.fetched());
        let candidate = promote::candidate(&ready.context, fetched, &ready.plan);
        let mut held = self.run.held.borrow_mut();
        held.candidate = candidate.filter(|_| promote::nothing_left_out(&held.tiers));
    }
}

const CANONICAL_FIRST: &str = "the flow reads the canonical first";

/// As `Body::over`, beside a borrow of the rest.
fn over_mut(over: &mut Option<Over>) -> &mut Over {
    over.as_mut().expect(CANONICAL_FIRST)
}

impl Steps for Body<'_> {
    async fn step(&mut self, step: Step) -> Result<End, RunError> {
        match step {
            Step::Place => quick::check_place(&self.run)?,
            Step::Fetch => self.fetched = Some(fetch::fetch(&self.run).await?),
            Step::Canonical => return self.canonical().await,
            Step::JudgeAsNew => over_mut(&mut self.over).judge_as_new(&self.run).await?,
            Step::Judge => return self.judge().await,
            Step::Announce => self.ready_mut().announce(),
            Step::DryRun => return Ok(self.ready_mut().dry_run()),
            Step::Lint => self.ready_mut().lint().await?,
            Step::RedAtOnce => return Ok(self.ready_mut().red_at_once()),
            Step::Gateway => {
                let ready = self.ready.as_ref();
                gateway::answers(ready.map_or(&self.run, |ready| &ready.context)).await?;
            }
            Step::TestTools => self.ready().can_test().await?,
            Step::Engine => self.engine = Some(site::engine(&self.run).await?),
            Step::Host => self.host().await?,
            Step::Sweep => sweep::sweep(&self.run, self.engine()).await,
            Step::Lock(role) => self.lock_apps(role).await?,
            Step::Recover => return over_mut(&mut self.over).recover(&self.run).await,
            Step::Leftovers => self.leftovers().await?,
            Step::Firewall => self.ready().close_the_host(self.engine()).await?,
            Step::Claim => self.claim().await?,
            Step::Images => return self.images().await,
            Step::Data => self.over().begin(&self.run).await?,
            Step::ImagesAndData => return self.images_and_data().await,
            Step::Network => self.network().await?,
            Step::Up(_) => self.dependencies().await?,
            Step::Deploys => {
                let held = self.run.held.borrow();
                held.apps.iter().try_for_each(|app| app.check_deploys())?;
            }
            Step::Candidate => self.candidate(),
            Step::Promote | Step::Tier(_) | Step::Where(..) => {
                unreachable!("{step:?} is for the flow, or for a promotion")
            }
        }
        Ok(End::Done)
    }

    fn holds(&self, what: Holds) -> bool {
        match what {
            Holds::Judged => self.ready.is_some(),
            Holds::Unjudged => self.over.as_ref().is_some_and(Over::is_unjudged),
        }
    }
}

impl Tiers for Body<'_> {
    async fn bring_up(&mut self, role: Role) -> Result<Up, RunError> {
        self.make(role)?;
        let is_proven_elsewhere = self.install().is_some();
        match (role, &mut self.fresh, &mut self.standing) {
            (Role::Fresh, Some(fresh), _) => fresh.bring_up().await,
            (_, _, Some(standing)) if is_proven_elsewhere => standing.bring_up_base().await,
            (_, _, Some(standing)) => standing.bring_up().await,
            _ => unreachable!("it was just made"),
        }
    }

    fn fresh(&self) -> Option<Fresh> {
        self.install().map(|install| install.how)
    }

    async fn bring_up_both(&mut self, role: Role) -> Result<(Option<Up>, Up), RunError> {
        self.make(role)?;
        self.make(Role::Fresh)?;
        let (Some(standing), Some(fresh)) = (&mut self.standing, &mut self.fresh) else {
            unreachable!("both were just made");
        };
        let (base, fresh) = (pin!(standing.bring_up_base()), pin!(fresh.bring_up()));
        Ok(match select(base, fresh).await {
            Either::Left((up, fresh)) => (Some(up?), fresh.await?),
            Either::Right((fresh, base)) => match fresh? {
                Up::Serves => (Some(base.await?), Up::Serves),
                red => (None, red),
            },
        })
    }

    async fn make_way(&mut self) -> Result<(), RunError> {
        self.make_room(ownership::releases(&self.ready().plan))
            .await?;
        self.fresh = None;
        Ok(())
    }

    async fn adopt(&mut self, reason: String) -> Result<(), RunError> {
        self.run.events.warn(format!(
            "base-broken: {reason}; going on with the new app of the head"
        ));
        self.make_room(Vec::new()).await?;
        self.is_baseless = true;
        self.standing = self.fresh.take();
        self.judged(Stage::Upgrade).lacks_base(reason);
        Ok(())
    }

    fn is_asked(&self, stage: Stage) -> bool {
        self.ready().context.settings.stages.contains(&stage)
    }

    fn spared(&mut self, stage: Stage) -> Option<String> {
        self.judged(stage).spared(stage)
    }

    async fn tier(&mut self, stage: Stage) -> Result<TierOutcome, RunError> {
        self.judged(stage).tier(stage).await
    }

    fn record(&mut self, outcome: TierOutcome) {
        self.judged(outcome.stage).record(outcome);
    }

    async fn because_of_pace(&mut self) -> Result<Option<String>, RunError> {
        for app in self.standing.iter().chain(&self.fresh) {
            if let Some(reason) = app.because_of_pace().await? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    fn as_shipped(&mut self, reason: &str) {
        let mut held = self.run.held.borrow_mut();
        held.tiers.clear();
        held.as_shipped = true;
        let reason = reason.to_owned();
        self.run.events.emit(&Event::Repeated { reason });
    }

    async fn make_anew(&mut self, why: Again) -> Result<(), RunError> {
        let plan = &self.ready().plan;
        match &why {
            Again::WithoutBase(reason) => {
                self.run.events.warn(format!(
                    "base-broken: {reason}; going on with a new app of the head"
                ));
                // It is judged once more, of the app that stays.
                self.run.held.borrow_mut().tiers.clear();
                self.make_room(vec![&plan.head]).await?;
            }
            Again::AsShipped(_) => {
                // One of the apps may still be on its way up.
                drop(self.run.processes.end_all(teardown::GRACE).await);
                self.make_room(ownership::releases(plan)).await?;
                // It may have taken the place of the one whose base did not come up.
                let adopted = self.standing.take().filter(|_| self.is_baseless);
                self.fresh = self.fresh.take().or(adopted);
                self.remove_fresh().await?;
            }
        }
        match (why, &mut self.standing) {
            (Again::WithoutBase(reason), Some(standing)) => {
                standing.without_base(reason);
                self.is_baseless = true;
            }
            _ => {
                self.standing = None;
                self.is_baseless = false;
                if let Some(driver) = &mut self.driver {
                    driver.set_pace(Pace::AsShipped);
                }
            }
        }
        Ok(())
    }

    async fn fall_back(&mut self, reason: String) -> Result<(), RunError> {
        quick::give_up(&self.run, &reason).await?;
        let settings = Settings {
            lane: Lane::Cold,
            ..Settings::clone(&self.run.settings)
        };
        let run = Context {
            settings: Rc::new(settings),
            ..self.run.clone()
        };
        // With everything else of it goes the lock of the warm app, before this run waits for its own.
        *self = Self {
            fetched: self.fetched.take(),
            ..Self::new(&run)
        };
        Ok(())
    }
}
