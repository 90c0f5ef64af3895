//! Tiers: one operation on the app and the assertions about it.
//!
//! A tier never decides what comes next and never undoes anything; that is `run`'s.

mod after;
pub mod assertion;
pub mod backup;
pub mod checks;
pub mod custom;
pub mod database;
mod evidence;
mod failing;
mod fault;
mod first_run;
pub mod gateway;
pub mod hooks;
pub mod install;
mod lessons;
pub mod mounts;
pub mod ready;
pub mod restore;
pub mod seed;
pub mod serving;
pub mod state;
pub mod stayed;
mod tally;
pub mod upgrade;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use crate::driver::{Driver, DriverError};
use crate::event::{Event, Events};
use crate::report::redact::Redactor;
use crate::suite::{Needs, Suite, SuiteError, TestSetup};
use engine::dirs::RunDirs;
use engine::http::{Gateway, Http, HttpError};
use engine::lock::DomainLock;
use engine::swarm::converge::{NotConverged, converge};
use engine::swarm::crash::Crashes;
use engine::swarm::holder::Holders;
use engine::swarm::service::{StackState, familiar_image};
use engine::swarm::unhealthy::Checks;
use engine::swarm::{Engine, EngineError};
use engine::wait::{Deadline, Stopwatch};
use fault::{app_fault, driver_fault, recipe_fault};
use ground::name::{Domain, RecipeName, Zone};
use ground::outcome::{Phase, Stage};
use ground::pins::Pins;
use hooks::{hook, label_hooks};
use recipe::compose::query::seconds;
use recipe::declared::Declared;
use recipe::release::Release;
pub use tally::{Tally, without};

/// How long a deploy may take to converge and serve when the recipe's label does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// The harness or the host failed while a tier was running; the recipe is not judged.
#[derive(Debug, thiserror::Error)]
pub enum TierError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The driver could not do its part.
    #[error(transparent)]
    Driver(DriverError),
    /// Tests could not be run at all.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// HTTP could not be set up.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A state file of the run could not be written.
    #[error("failed to write `{path}`")]
    State {
        /// Which file.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Returns how long a deploy of `release` may take: its timeout label, or 300 s as abra has it.
#[must_use]
pub fn timeout_of(release: &Release, domain: &Domain) -> Duration {
    let label = release.project.timeout_label(domain.stack().as_str());
    label
        .and_then(|label| seconds(label.value))
        .map_or(DEFAULT_TIMEOUT, Duration::from_secs)
}

/// Returns what is said of a timeout label that is passed over.
#[must_use]
pub fn bad_timeout(release: &Release, domain: &Domain) -> Option<String> {
    let label = release.project.timeout_label(domain.stack().as_str())?;
    let wrong = !label.value.trim().is_empty() && seconds(label.value).is_none();
    wrong.then(|| {
        format!(
            "the timeout label of service `{}` is `{}`, which is no number of seconds: a deploy is given {} s",
            label.service,
            label.value,
            DEFAULT_TIMEOUT.as_secs()
        )
    })
}

/// Everything that tiers work with.
#[derive(Debug)]
pub struct Bench {
    /// How the app is deployed.
    pub driver: Driver,
    /// Proof that the app is ours.
    pub lock: Rc<DomainLock>,
    /// The recipe's name.
    pub recipe: RecipeName,
    /// The zone that the app is in.
    pub zone: Zone,
    /// Who is told.
    pub events: Events,
    /// What must not be shown.
    pub redactor: Redactor,
    /// The tests and hooks of recipe and overlay.
    pub suite: Suite,
    /// What is declared in `recipe-ci.yml`.
    pub declared: Declared,
    /// The head's work tree, which tells the head from the base.
    pub head_root: std::path::PathBuf,
    /// What every test gets in its environment.
    pub test_env: Vec<(String, String)>,
    /// The host's gateway, when the app is to be reached through it.
    pub gateway: Option<Gateway>,
    /// The client for the app.
    pub http: Http,
    /// What the app said for so long that it was its answer.
    pub settled: RefCell<serving::Settled>,
    /// The release that is deployed now.
    pub current: Release,
    /// The markers that have been seeded.
    pub seeds: seed::Seeds,
    /// The containers through which its volumes are reached.
    pub holders: Holders,
    /// The databases of the app, and what has been put into them.
    pub databases: database::Databases,
    /// The app as it was when it last converged.
    pub converged: RefCell<stayed::Converged>,
    /// The services that were not settled when the last wait for convergence ran out of time.
    pub overdue: RefCell<Vec<String>>,
    /// How often a test that failed is run again.
    pub retries: u32,
    /// The dependencies, and which of them are up.
    pub needs: Needs,
    /// What hooks wrote, until it is shown.
    pub said: RefCell<Vec<hooks::Said>>,
}

impl Bench {
    /// Returns the engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.driver.site().engine
    }

    /// Returns the run's places.
    #[must_use]
    pub fn dirs(&self) -> &RunDirs {
        &self.driver.site().dirs
    }

    /// Returns how long a deploy of `release` may take: as declared, else its timeout label, else 300 s as
    /// abra has it.
    #[must_use]
    pub fn timeout(&self, release: &Release) -> Duration {
        self.declared
            .deploy_timeout()
            .unwrap_or_else(|| timeout_of(release, self.lock.domain()))
    }

    /// Returns whether what is deployed is the version under test, not the base.
    #[must_use]
    pub fn is_on_head(&self) -> bool {
        self.current.root == self.head_root
    }

    /// Reads the state of the app's stack.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn state(&self) -> Result<StackState, EngineError> {
        let stack = self.lock.domain().stack();
        let state = self.engine().stack_state(&stack).await?;
        Ok(self.with_names(state))
    }

    /// Returns what images are deployed as.
    fn pins(&self) -> &Pins {
        &self.driver.site().means.terms.pins
    }

    /// Gives every service's image the name that the recipe gives it.
    fn with_names(&self, mut state: StackState) -> StackState {
        for service in state.services.values_mut() {
            service.image = familiar_image(self.pins().name_of(&service.image));
        }
        state
    }

    /// Waits until the current release has converged; says meanwhile what it waits for.
    ///
    /// # Errors
    /// [`NotConverged`].
    pub async fn converge(
        &self,
        deadline: Deadline,
        crashes: Crashes,
    ) -> Result<StackState, NotConverged> {
        let expected: Vec<String> = self
            .current
            .project
            .services
            .iter()
            .map(|service| service.name.clone())
            .collect();
        let stack = self.lock.domain().stack();
        let settled = converge(
            self.engine(),
            &stack,
            &expected,
            deadline,
            crashes.start_periods(self.current.project.start_periods()),
            Checks::of(self.shortened()),
            |waiting| {
                self.events.emit(&Event::Progress(waiting.to_owned()));
            },
        )
        .await;
        self.overdue.take();
        match settled {
            Err(NotConverged::TimedOut {
                elapsed,
                mut last,
                services,
            }) => {
                self.overdue.replace(services.clone());
                for failing in self.failing_healthchecks(&services).await {
                    last.push_str("; ");
                    last.push_str(&failing);
                }
                Err(NotConverged::TimedOut {
                    elapsed,
                    last,
                    services,
                })
            }
            Ok(state) => {
                self.converged.borrow_mut().note(&state);
                Ok(self.with_names(state))
            }
            settled => settled,
        }
    }

    /// Returns the services of the current release whose healthchecks are shortened.
    #[must_use]
    pub fn shortened(&self) -> BTreeSet<String> {
        let pace = &self.driver.site().means.pace;
        let shortened = self.current.project.shortened(pace);
        shortened.into_keys().collect()
    }

    /// Returns the names of all services of the current release.
    #[must_use]
    pub fn service_names(&self) -> Vec<String> {
        self.current
            .project
            .services
            .iter()
            .map(|service| service.name.clone())
            .collect()
    }
}

/// Ends a tier that changed a running app: it serves, the seeded data is there (the assertion `data`), and
/// only then are the recipe's own checks worth their time. After all of them nothing has died.
async fn still_good(
    bench: &Bench,
    tally: &mut Tally<'_>,
    deadline: Deadline,
    data: &str,
) -> Result<(), TierError> {
    let serving = bench.serving(deadline, tally.has_failed()).await?;
    if !tally.check("generic: serving", serving) {
        bench.show_logs(&bench.service_names()).await;
    }
    if !bench.seeds.markers.is_empty() {
        let found = app_fault(bench.find_markers().await)?;
        tally.check(data, found.and_then(|found| seed::all_same(&found)));
    }
    bench.judge_databases(tally, data).await?;
    if !tally.has_failed() {
        checks::run(bench, tally).await?;
    }
    let stage = tally.stage;
    if !tally.has_failed() && hook(bench, tally, "verify", stage).await? {
        recipe_tests(bench, tally, stage).await?;
    }
    stayed::look(bench, tally).await?;
    bench.learn().await;
    Ok(())
}

/// Runs the tests of a stage.
async fn recipe_tests(bench: &Bench, tally: &mut Tally<'_>, stage: Stage) -> Result<(), TierError> {
    let env = bench.env_for(stage);
    let ran = bench.suite.run(stage, bench.means(&env)).await?;
    tally.add(ran);
    Ok(())
}

impl Bench {
    fn env_for(&self, stage: Stage) -> Vec<(String, String)> {
        let mut env = self.test_env.clone();
        env.push(("CCCI_OP".to_owned(), stage.name().to_owned()));
        env
    }

    fn means<'a>(&'a self, env: &'a [(String, String)]) -> TestSetup<'a> {
        TestSetup {
            processes: &self.driver.site().processes,
            env,
            logs: &self.dirs().logs,
            redactor: &self.redactor,
            needs: &self.needs,
            retries: self.retries,
        }
    }

    /// Times `work` as `phase`.
    pub async fn phase<T>(
        &self,
        phase: Phase,
        detail: impl Into<String>,
        work: impl Future<Output = T>,
    ) -> T {
        timed(&self.events, phase, detail, work).await
    }
}

/// Times `work` as `phase`.
pub async fn timed<T>(
    events: &Events,
    phase: Phase,
    detail: impl Into<String>,
    work: impl Future<Output = T>,
) -> T {
    events.emit(&Event::PhaseStarted {
        phase,
        detail: detail.into(),
    });
    let watch = Stopwatch::start();
    let result = work.await;
    events.emit(&Event::PhaseFinished {
        phase,
        elapsed: watch.elapsed(),
    });
    result
}

/// Works on what an app or a recipe made as long as it likes, beside the thread that obeys signals: a body has up to
/// 4 MiB, and a `recipe-ci.yml` 1 MiB.
///
/// # Errors
/// What the work returns, and that it panicked.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(format!("the answer cannot be judged: {error}")))
}
