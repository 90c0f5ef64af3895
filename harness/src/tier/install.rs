//! The install tier: the app converges and serves.

use std::path::PathBuf;
use std::time::Duration;

use super::{Bench, Tally, TierError, recipe_fault, recipe_tests};
use crate::driver::DriverError;
use crate::driver::stack::Stamp;
use crate::suite::{HookFailure, TestSetup};
use engine::swarm::converge::NotConverged;
use engine::swarm::crash::Crashes;
use engine::wait::{Deadline, Stopwatch};
use ground::outcome::{Phase, Stage, TierOutcome};
use recipe::app_commands::After;
use recipe::release::Release;
use recipe::secret::SecretSpec;

/// What does not hold when the engine has something else than was planned. It is red whatever was deployed, a base too:
/// somebody between the harness and the engine makes of it what he likes.
const AS_PLANNED: &str = "deployed as planned";

/// What a deploy came to that came up.
#[derive(Debug)]
pub struct CameUp {
    /// What was seen of it.
    seen: Option<String>,
    /// How long it took until all services were settled.
    converged: Duration,
    /// How long it took from there until it served.
    served: Duration,
}

/// Why a first deploy did not come up, as far as the recipe is to blame.
#[derive(Debug)]
pub struct NotUp {
    /// Which assertion did not hold: `deploy`, `deployed as planned`, `converged`, `serving`, `first run`.
    pub what: &'static str,
    /// Why.
    pub reason: String,
}

impl NotUp {
    fn of(error: DriverError) -> Result<Self, TierError> {
        let what = match error {
            DriverError::Otherwise { .. } => AS_PLANNED,
            _ => "deploy",
        };
        let (reason, _tail) = recipe_fault(error)?;
        Ok(Self { what, reason })
    }

    /// Returns whether the release itself may be to blame, and not what deployed something else.
    #[must_use]
    pub fn is_of_the_release(&self) -> bool {
        self.what != AS_PLANNED
    }
}

/// Makes the app of the bench's current release and waits until it serves.
///
/// Returns what was seen, or what did not hold, after its logs have been shown.
///
/// # Errors
/// [`TierError`] when the host fails.
pub async fn bring_up(
    bench: &mut Bench,
    stamp: &Stamp,
    secrets: &mut Vec<SecretSpec>,
) -> Result<Result<CameUp, NotUp>, TierError> {
    let release = bench.current.clone();
    let deployed = bench
        .phase(
            Phase::Deploy,
            format!(
                "deploying {}",
                stamp.version.as_deref().unwrap_or("the head")
            ),
            async {
                make_app(bench, &release, stamp, secrets).await?;
                bench.note_state().map_err(Stop::Tier)?;
                install_steps(bench).await?;
                if let Some(remark) = bench.driver.deploy(&bench.lock, &release, stamp).await? {
                    bench.events.warn(remark);
                }
                Ok::<(), Stop>(())
            },
        )
        .await;
    let not_up = |what, reason| Ok(Err(NotUp { what, reason }));
    match deployed {
        Ok(()) => {}
        Err(Stop::Hook(reason)) => return not_up("install_steps", reason),
        Err(Stop::Tier(error)) => return Err(error),
        Err(Stop::Driver(error)) => return Ok(Err(NotUp::of(error)?)),
    }
    let up = match come_up(bench).await? {
        Ok(up) => up,
        down => return Ok(down),
    };
    Ok(match super::first_run::send(bench).await? {
        Ok(()) => Ok(up),
        Err(reason) => Err(NotUp {
            what: "first run",
            reason,
        }),
    })
}

/// Deploys the bench's current release onto the data and the secrets that the app has, and waits until it
/// serves. The env file is written, no secret that the app has is made, and `install_steps` does not run.
///
/// # Errors
/// [`TierError`] when the host fails.
pub async fn reattach(
    bench: &mut Bench,
    stamp: &Stamp,
    secrets: &mut Vec<SecretSpec>,
) -> Result<Result<CameUp, NotUp>, TierError> {
    let release = bench.current.clone();
    let version = stamp.version.as_deref().unwrap_or_default();
    let deployed = bench
        .phase(Phase::Deploy, format!("reattaching {version}"), async {
            make_app(bench, &release, stamp, secrets).await?;
            bench.driver.deploy(&bench.lock, &release, stamp).await
        })
        .await;
    if let Err(error) = deployed {
        return Ok(Err(NotUp::of(error)?));
    }
    bench.note_state()?;
    come_up(bench).await
}

/// Writes the app's env file and makes the secrets that it does not have.
async fn make_app(
    bench: &Bench,
    release: &Release,
    stamp: &Stamp,
    secrets: &mut Vec<SecretSpec>,
) -> Result<(), DriverError> {
    let (driver, lock) = (&bench.driver, &bench.lock);
    driver.new_app(lock, release, stamp).await?;
    *secrets = driver.make_secrets(lock, release, secrets).await?;
    Ok(())
}

/// Waits until what was deployed has converged and serves.
async fn come_up(bench: &Bench) -> Result<Result<CameUp, NotUp>, TierError> {
    let deadline = Deadline::after(bench.timeout(&bench.current));
    let watch = Stopwatch::start();
    bench
        .phase(Phase::Converge, "waiting for every service", async {
            let state = match bench.converge(deadline, Crashes::default()).await {
                Ok(state) => state,
                Err(NotConverged::Engine(error)) => return Err(error.into()),
                Err(error) => {
                    bench.show_logs(&error.services()).await;
                    return Ok(Err(NotUp {
                        what: "converged",
                        reason: error.to_string(),
                    }));
                }
            };
            let ran = bench.run_app_commands(After::Deploy, &state, deadline);
            if let Err(reason) = ran.await? {
                return Ok(Err(NotUp {
                    what: "commands after the deploy",
                    reason,
                }));
            }
            let converged = watch.elapsed();
            match bench.serving(deadline, false).await? {
                Ok(seen) => Ok(Ok(CameUp {
                    seen,
                    converged,
                    served: watch.elapsed().saturating_sub(converged),
                })),
                Err(reason) => {
                    bench.show_logs(&bench.service_names()).await;
                    Ok(Err(NotUp {
                        what: "serving",
                        reason,
                    }))
                }
            }
        })
        .await
}

enum Stop {
    Hook(String),
    Driver(DriverError),
    Tier(TierError),
}

impl From<DriverError> for Stop {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

/// Returns where the hooks of the install log what they write. Those of a base log elsewhere, because the same ones may
/// run for a fresh app of the head at that moment.
fn logs(bench: &Bench) -> Result<PathBuf, TierError> {
    let logs = &bench.dirs().logs;
    if bench.is_on_head() {
        return Ok(logs.clone());
    }
    let path = logs.join("base");
    match std::fs::create_dir_all(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(TierError::State { path, source }),
    }
}

/// Runs `install_steps.sh`, after the app's env file and secrets are made and before its deploy.
async fn install_steps(bench: &Bench) -> Result<(), Stop> {
    let env = bench.env_for(Stage::Install);
    let logs = logs(bench).map_err(Stop::Tier)?;
    let means = TestSetup {
        logs: &logs,
        ..bench.means(&env)
    };
    let hook = bench.suite.hook("install_steps", means).await;
    let hooked = hook.map_err(|error| Stop::Tier(error.into()))?;
    bench.note_hooks(Stage::Install, hooked.said);
    match hooked.failure {
        None => Ok(()),
        Some(failure) => {
            let reason = format!("{}: {}", failure.name, failure.how);
            bench.events.emit(&crate::event::Event::FailureOutput {
                title: failure.name,
                lines: failure.tail,
                log: hooked.last.map(|last| last.log),
            });
            Err(Stop::Hook(reason))
        }
    }
}

impl Bench {
    /// Asks the app's hook `provide` what others need to use it; without one that is nothing.
    ///
    /// # Errors
    /// [`TierError`] when the hook cannot be run; one that fails is returned.
    pub async fn provide(
        &self,
    ) -> Result<Result<serde_json::Map<String, serde_json::Value>, HookFailure>, TierError> {
        let env = self.env_for(Stage::Install);
        Ok(self.suite.provide(self.means(&env)).await?)
    }
}

/// Prepares an app that is going to be upgraded and that no install judges: runs `pre_install`, and waits until the app
/// has been up for long enough. The inner error is why it is not up any more.
///
/// What the hook cannot do is said, and costs nothing: the upgrade's own hooks and tests are judged.
///
/// # Errors
/// [`TierError`] when the host fails.
pub async fn prepare(bench: &Bench) -> Result<Result<(), String>, TierError> {
    let name = format!("ops/pre_{}", Stage::Install);
    let env = bench.env_for(Stage::Install);
    let logs = logs(bench)?;
    let means = TestSetup {
        logs: &logs,
        ..bench.means(&env)
    };
    let hooked = bench.suite.hook(&name, means).await?;
    bench.note_hooks(Stage::Install, hooked.said);
    if let Some(failure) = hooked.failure {
        bench.events.warn(format!(
            "{} does not hold of the base: {}",
            failure.name, failure.how
        ));
        bench.events.emit(&crate::event::Event::FailureOutput {
            title: failure.name,
            lines: failure.tail,
            log: None,
        });
    }
    super::stayed::stays(bench).await
}

/// Judges a first deploy, which took `took`, and runs the install tests.
///
/// # Errors
/// [`TierError`] when the host fails.
pub async fn judge(
    bench: &Bench,
    up: Result<CameUp, NotUp>,
    took: Duration,
) -> Result<TierOutcome, TierError> {
    let mut tally = Tally::start(&bench.events, Stage::Install);
    match up {
        Ok(up) => {
            let services = bench.service_names();
            tally.took(
                "generic: converged",
                up.converged,
                Ok(Some(format!("{} of {0} services", services.len()))),
            );
            tally.took("generic: serving", up.served, Ok(up.seen));
            super::checks::run(bench, &mut tally).await?;
            let seeded = !tally.has_failed()
                && super::hook(bench, &mut tally, "pre", Stage::Install).await?;
            if seeded && super::hook(bench, &mut tally, "verify", Stage::Install).await? {
                recipe_tests(bench, &mut tally, Stage::Install).await?;
            }
            super::stayed::look(bench, &mut tally).await?;
            if bench.is_on_head() {
                bench.say_what_is_anonymous(&bench.state().await?).await?;
            }
        }
        Err(NotUp { what, reason }) => {
            tally.took(&format!("generic: {what}"), took, Err(reason));
        }
    }
    let mut outcome = tally.end();
    outcome.duration += took;
    Ok(outcome)
}
