//! Convergence: when a stack is settled, and when it never will be.
//!
//! The judgement ([`judge`], [`Crashes`], [`placement`]) is pure; the loop around it is driven by the engine's events
//! with a slow poll as the safety net.

use std::time::Duration;

use super::crash::{CrashLoop, Crashes};
use super::placement::{self, Unplaced};
use super::service::{Service, StackState, Task, UpdateState};
use super::steady::Lives;
use super::unhealthy::{Checks, Unhealthy};
use super::watch::Watch;
use super::{Engine, EngineError};
use crate::name::StackName;
use crate::wait::{Deadline, Stopwatch};

/// What a look at a stack found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Every service is settled.
    Settled,
    /// Some are not; one clause per service: `app 0/1 starting`.
    Pending(Vec<(String, String)>),
    /// A service that should be there is not. It is not settled, it is lost.
    Vanished(String),
}

/// Judges whether `state` is settled: every service of `expected` is there and every service has as many
/// tasks up as it should, made from its current spec, and is neither updating nor being rolled back.
///
/// Counting running tasks is not enough: during a stop-first update the old task still counts as 1/1.
/// `paused` and `rollback_paused` stay for ever and are therefore settled; what they mean is the tier's
/// business.
#[must_use]
pub fn judge(state: &StackState, expected: &[String]) -> Judgement {
    if let Some(lost) = expected
        .iter()
        .find(|name| !state.services.contains_key(*name))
    {
        return Judgement::Vanished(lost.clone());
    }
    let pending: Vec<(String, String)> = state
        .services
        .values()
        .filter_map(|service| {
            pending_reason(state, service).map(|reason| (service.name.clone(), reason))
        })
        .collect();
    if pending.is_empty() {
        Judgement::Settled
    } else {
        Judgement::Pending(pending)
    }
}

fn pending_reason(state: &StackState, service: &Service) -> Option<String> {
    let stuck = matches!(
        service.update,
        UpdateState::Paused | UpdateState::RolledBack
    );
    if let Some(completed) = service.completed {
        return pending_job(state, service, completed);
    }
    if service.global && service.desired == 0 {
        return Some("0 tasks: no node fits its placement".to_owned());
    }
    let counts = |task: &&Task| {
        (task.is_up() || service.is_done(task))
            && (stuck || task.container_spec == service.container_spec)
    };
    let up = state.tasks_of(service).filter(counts).count() as u64;
    // A one-shot task that has completed counts once, however many of its tasks the history keeps.
    let up = if service.restarts_on_success {
        up
    } else {
        up.min(service.desired)
    };
    let doing = match service.update {
        UpdateState::Updating => Some("updating"),
        UpdateState::RollingBack => Some("rolling back"),
        _ => None,
    };
    if up == service.desired && doing.is_none() {
        return None;
    }
    let newest = state
        .tasks_of(service)
        .find(|task| task.desired == "running" || task.desired == "ready");
    let newest = newest.or_else(|| state.tasks_of(service).next());
    let task = newest.map_or("no task yet", |task| task.state.as_str());
    let error = newest
        .map(|task| task.error.as_str())
        .filter(|error| !error.is_empty());
    let mut reason = format!("{up}/{} {}", service.desired, doing.unwrap_or(task));
    if let Some(error) = error {
        reason.push_str(&format!(" ({error})"));
    }
    Some(reason)
}

/// Returns what a job still has to do. It is settled when as many of its tasks have completed as it asks for.
fn pending_job(state: &StackState, service: &Service, completed: u64) -> Option<String> {
    if completed >= service.desired && service.desired > 0 {
        return None;
    }
    let newest = state.tasks_of(service).next();
    let task = newest.map_or("no task yet", |task| task.state.as_str());
    Some(format!("{completed}/{} completed, {task}", service.desired))
}

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
        let pending = match &judgement {
            Judgement::Settled if unsteady.is_empty() => return Ok(state),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::service::samples::{service, task};
    use serde_json::json;

    fn state(services: Vec<Service>, tasks: Vec<Task>) -> StackState {
        StackState {
            services: services
                .into_iter()
                .map(|service| (service.name.clone(), service))
                .collect(),
            tasks,
        }
    }

    fn expected() -> Vec<String> {
        vec!["app".to_owned()]
    }

    #[test]
    fn zero_replicas_count_as_settled_and_a_lost_service_does_not() {
        let mut idle = service("app");
        idle.desired = 0;
        assert_eq!(
            judge(&state(vec![idle], vec![]), &expected()),
            Judgement::Settled
        );
        assert_eq!(
            judge(&state(vec![], vec![]), &expected()),
            Judgement::Vanished("app".to_owned())
        );
    }

    #[test]
    fn a_task_of_the_old_spec_does_not_count() {
        let mut old = task("1", "app", "running");
        old.container_spec = json!({"Image": "x:0"});
        assert!(matches!(
            judge(&state(vec![service("app")], vec![old]), &expected()),
            Judgement::Pending(_)
        ));
    }

    #[test]
    fn an_update_under_way_is_pending_and_a_paused_one_is_settled() {
        let up = || vec![task("1", "app", "running")];
        for (update, settled) in [
            (UpdateState::Updating, false),
            (UpdateState::RollingBack, false),
            (UpdateState::Paused, true),
            (UpdateState::RolledBack, true),
            (UpdateState::Settled, true),
        ] {
            let mut app = service("app");
            app.update = update;
            assert_eq!(
                judge(&state(vec![app], up()), &expected()) == Judgement::Settled,
                settled,
                "{update:?}"
            );
        }
    }

    #[test]
    fn a_one_shot_task_that_completed_is_settled_and_one_that_should_go_on_is_not() {
        let mut job = service("app");
        let done = || vec![task("1", "app", "complete")];
        assert!(matches!(
            judge(&state(vec![job.clone()], done()), &expected()),
            Judgement::Pending(_)
        ));
        job.restarts_on_success = false;
        assert_eq!(
            judge(&state(vec![job], done()), &expected()),
            Judgement::Settled
        );
    }
}
