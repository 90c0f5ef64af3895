//! What each step of a cold or a quick run does; in which order they are done is decided in [`super::flow`].
//!
//! `tiers` has the work on the apps, and `apps` makes and removes them.

mod apps;
mod tiers;

use std::rc::Rc;

use super::context::Context;
use super::error::RunError;
use super::fetch;
use super::fetched::Fetched;
use super::prepare::Ready;
use super::quick::{self, Over};
use super::standing::Standing;
use super::step::{End, Holds, Role, Step, Up};
use super::work::Steps;
use super::{
    dependencies, gateway, images, locks, network, ownership, pace, promote, red, site, sweep,
};
use crate::driver::Driver;
use crate::suite::Needs;
use engine::lock::DomainLock;
use engine::swarm::Engine;
use engine::swarm::gateway::Gateway;
use ground::outcome::Status;
use ground::pins::Pins;

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
    /// The other apps, each with a row of its own, as far as they were made.
    others: Vec<Made<'a>>,
    /// Whether there is no base any more, because it did not come up.
    is_baseless: bool,
}

/// Another app of a run, once it was its turn.
#[derive(Default)]
struct Made<'a> {
    standing: Option<Standing<'a>>,
    /// How its deploy ended, until its tiers are run.
    up: Option<Up>,
    /// Whether they were.
    is_judged: bool,
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
            others: Vec::new(),
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
                let draft = super::draft::make_plan(run, fetched).await?;
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
            Role::Other => {
                let others = self.ready().others.iter();
                for other in others.filter(|other| other.is_beside()) {
                    let domain = &other.context.settings.domain;
                    locks::acquire(&self.run, domain, role).await?;
                }
                Ok(())
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
        let roles = [Role::New, Role::Fresh, Role::Other, Role::Dependency];
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
        let beside = self.locks_of(Role::Other);
        let others = ready.others.iter().filter(|other| other.is_beside());
        apps.extend(others.zip(&beside).map(|(other, lock)| {
            let releases = ownership::releases(&other.plan);
            (&**lock, releases, level.clone())
        }));
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
        let (others, needed) = (&mut ready.others, &mut ready.needed);
        let pulled = images::prepull(context, &engine, plan, others, needed, means).await?;
        if pulled.is_ok() {
            ready.others.retain(|other| !other.is_decided());
        }
        self.deploy_with(pulled, Role::New).await
    }

    async fn images_and_data(&mut self) -> Result<End, RunError> {
        let ready = self.ready();
        let (context, plan, means) = (&ready.context, &ready.plan, &ready.means);
        let pull = images::prepull(context, self.engine(), plan, &mut [], &mut [], means);
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
        let pace = pace::with_images(context, engine, ready.plans(), &ready.needed, pace).await?;
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
        let is_whole = promote::nothing_left_out(&held.tiers);
        let mut others = held.others.iter().map(|(_, tier)| tier.status);
        let is_flaky = others.any(|status| status == Status::Flaky);
        held.candidate = candidate.filter(|_| is_whole && !is_flaky);
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
            Step::Promote | Step::Tier(_) | Step::Others(_) | Step::Where(..) => {
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
