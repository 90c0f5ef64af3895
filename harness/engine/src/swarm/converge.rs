//! Convergence: when a stack is settled, and when it never will be.
//!
//! The judgement ([`judge`], [`Crashes`], [`placement`]) is pure; the loop around it is driven by the engine's events
//! with a slow poll as the safety net.

use std::time::Duration;

use super::crash::{CrashLoop, Crashes};
use super::judgement::{Judgement, judge};
use super::placement::{self, Unplaced};
use super::service::StackState;
use super::steady::Lives;
use super::unhealthy::{Checks, Unhealthy};
use super::watch::Watch;
use super::{Engine, EngineError};
use crate::wait::{Deadline, Stopwatch};
use ground::name::StackName;

/// Why a stack did not converge.
#[derive(Debug, thiserror::Error)]
pub enum NotConverged {
    /// Time ran out.
    #[error("not converged after {:.0} s: {last}", .elapsed.as_secs_f64())]
    TimedOut {
        /// How long was waited.
        elapsed: Duration,
        /// What each unsettled service was doing.
        last: String,
        /// The services that were not settled.
        services: Vec<String>,
    },
    /// A service crashes again and again.
    #[error("{0}")]
    CrashLoop(CrashLoop),
    /// A healthcheck will not pass.
    #[error("{0}")]
    Unhealthy(Unhealthy),
    /// No node takes a service, for a reason that does not change.
    #[error("{0}")]
    Unplaced(Unplaced),
    /// A service is gone.
    #[error("service `{0}` is not there any more")]
    Vanished(String),
    /// The engine cannot be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl NotConverged {
    /// Returns the services whose logs explain it.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        match self {
            Self::TimedOut { services, .. } => services.clone(),
            Self::CrashLoop(crash) => {
                let mut all = vec![crash.service.clone()];
                all.extend(crash.others.iter().cloned());
                all
            }
            Self::Unhealthy(unhealthy) => vec![unhealthy.service.clone()],
            Self::Unplaced(unplaced) => vec![unplaced.service.clone()],
            Self::Vanished(_) | Self::Engine(_) => Vec::new(),
        }
    }
}

/// Waits until `stack` is settled with every service of `expected`, and until each of them that failed meanwhile has
/// been up for longer than what failed of it ([`Lives`]); says through `progress` what it waits
/// for. `crashes` holds what had failed before, `checks` whose healthchecks are shortened.
///
/// # Errors
/// [`NotConverged`].
pub async fn converge(
    engine: &Engine,
    stack: &StackName,
    expected: &[String],
    deadline: Deadline,
    mut crashes: Crashes,
    mut checks: Checks,
    mut progress: impl FnMut(&str),
) -> Result<StackState, NotConverged> {
    let mut watch = Watch::new(engine, stack);
    let mut lives = Lives::since(crashes.before());
    let mut unplaced = placement::Watched::default();
    let clock = Stopwatch::start();
    let mut shown = String::new();
    loop {
        // Asked before the look, so that the last one is after the deadline.
        let is_last = deadline.passed();
        let asked = clock.elapsed();
        let state = engine.stack_state(stack).await?;
        let judgement = judge(&state, expected);
        let unsteady = lives.look(&state, asked, clock.elapsed());
        checks.measure(engine, &state, &crashes, asked).await?;
        if let Some(found) = checks.look(&state, &crashes, asked) {
            return Err(NotConverged::Unhealthy(found));
        }
        let over: Vec<(String, String)>;
        let pending = match &judgement {
            Judgement::Settled if unsteady.is_empty() => {
                let mut found = checks.unknown(&state);
                found.extend(engine.ended_meanwhile(stack, &state).await?);
                if found.is_empty() {
                    return Ok(state);
                }
                over = found;
                &over
            }
            Judgement::Vanished(service) => return Err(NotConverged::Vanished(service.clone())),
            Judgement::Settled => &unsteady,
            Judgement::Pending(pending) => pending,
        };
        // By the judgement: a service that is up, if not for long, holds up no other.
        if let Some(crash) = crashes.look(&state, &judgement, clock.elapsed()) {
            return Err(NotConverged::CrashLoop(crash));
        }
        unplaced.measure(engine, &state).await?;
        if let Some(found) = unplaced.look(&state, clock.elapsed()) {
            return Err(NotConverged::Unplaced(found));
        }
        let last = pending
            .iter()
            .map(|(name, reason)| format!("{name} {reason}"))
            .collect::<Vec<_>>()
            .join(", ");
        if last != shown {
            tracing::debug!(%stack, waiting = %last, elapsed = ?clock.elapsed(), "not converged yet");
            progress(&last);
            shown.clone_from(&last);
        }
        if is_last && let Some(error) = placement::without_room(&state) {
            return Err(error.into());
        }
        if is_last {
            let services = pending.iter().map(|(name, _)| name.clone()).collect();
            return Err(NotConverged::TimedOut {
                elapsed: clock.elapsed(),
                last,
                services,
            });
        }
        watch.changed(deadline.left()).await;
    }
}
