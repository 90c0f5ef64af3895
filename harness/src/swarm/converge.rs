//! Convergence: when a stack is settled, and when it never will be.
//!
//! The judgement ([`judge`], [`Crashes`]) is pure; the loop around it is driven by the engine's events
//! with a slow poll as the safety net.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::service::{Service, StackState, Task, UpdateState};
use super::steady::Lives;
use super::watch::Watch;
use super::{Engine, EngineError};
use crate::name::StackName;
use crate::wait::{Deadline, Stopwatch};

/// How many failed tasks of a service make a crash loop, counted while everything else was settled.
///
/// An app that dies until its database answers is normal in recipes; five times (25 s at Swarm's default
/// delay of 5 s) after every other service was up is not.
pub const CRASH_LIMIT: usize = 5;

/// The same for failures that no other service can mend: a command or an image that does not exist.
const HOPELESS_LIMIT: usize = 2;

/// What Swarm says of a task that it killed because its check failed: `ErrContainerUnhealthy` in moby's
/// `daemon/cluster/executor/container/errors.go`.
pub const UNHEALTHY: &str = "unhealthy container";

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

/// A service whose tasks fail again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashLoop {
    /// Which service.
    pub service: String,
    /// How many of its tasks failed.
    pub failures: usize,
    /// The exit code of the last one, when its container ran at all.
    pub exit_code: Option<i64>,
    /// What Swarm says about the last one.
    pub error: String,
}

/// Counts failed tasks over time. Swarm itself keeps only the last few of a slot.
#[derive(Debug, Default)]
pub struct Crashes {
    /// Failures that do not count: from before, or while something else was still starting.
    excused: BTreeSet<String>,
    counted: BTreeMap<String, BTreeSet<String>>,
    /// The services of which one task that was killed as unhealthy is enough.
    hasty: BTreeSet<String>,
    lives: Lives,
}

impl Crashes {
    /// Starts counting; what has already failed in `state` is not held against it.
    #[must_use]
    pub fn since(state: &StackState) -> Self {
        Self {
            excused: state.failed(),
            counted: BTreeMap::new(),
            hasty: BTreeSet::new(),
            lives: Lives::since(state),
        }
    }

    /// Ends the wait when Swarm kills one task of `services` as unhealthy: for those whose check is shortened, and which
    /// are then tried again as shipped.
    #[must_use]
    pub fn hasty(self, services: BTreeSet<String>) -> Self {
        Self {
            hasty: services,
            ..self
        }
    }

    /// Looks at `state`; returns a crash loop when there is one.
    pub fn look(&mut self, state: &StackState, judgement: &Judgement) -> Option<CrashLoop> {
        let pending: Vec<&str> = match judgement {
            Judgement::Pending(pending) => pending.iter().map(|(name, _)| name.as_str()).collect(),
            _ => Vec::new(),
        };
        for service in state.services.values() {
            let failed: Vec<&Task> = state
                .tasks_of(service)
                .filter(|task| service.has_crashed(task))
                .collect();
            let others_settled = pending.iter().all(|name| {
                *name == service.name
                    || self.counted.get(*name).is_some_and(|tasks| tasks.len() > 1)
            });
            let Some(last) = failed.first() else { continue };
            let killed =
                |task: &&&Task| task.error.contains(UNHEALTHY) && !self.excused.contains(&task.id);
            if self.hasty.contains(&service.name)
                && let Some(task) = failed.iter().find(killed)
            {
                return Some(CrashLoop {
                    service: service.name.clone(),
                    failures: 1,
                    exit_code: task.exit_code,
                    error: task.error.clone(),
                });
            }
            let hopeless = is_hopeless(last);
            for task in &failed {
                if self.excused.contains(&task.id) {
                    continue;
                }
                if others_settled || hopeless {
                    self.counted
                        .entry(service.name.clone())
                        .or_default()
                        .insert(task.id.clone());
                } else if !self
                    .counted
                    .get(&service.name)
                    .is_some_and(|tasks| tasks.contains(&task.id))
                {
                    self.excused.insert(task.id.clone());
                }
            }
            let failures = self.counted.get(&service.name).map_or(0, BTreeSet::len);
            if failures
                >= if hopeless {
                    HOPELESS_LIMIT
                } else {
                    CRASH_LIMIT
                }
            {
                return Some(CrashLoop {
                    service: service.name.clone(),
                    failures,
                    exit_code: last.exit_code,
                    error: last.error.clone(),
                });
            }
        }
        None
    }
}

/// Whether a failure cannot be mended by waiting. The texts are dockerd's, stable since 17.06.
fn is_hopeless(task: &Task) -> bool {
    [
        "executable file not found",
        "no such file or directory",
        "No such image",
        "bind source path does not exist",
    ]
    .iter()
    .any(|text| task.error.contains(text))
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
    #[error("service `{}` crash-loops: {} failed tasks{}{}", .0.service, .0.failures,
        .0.exit_code.map(|code| format!(", last exit code {code}")).unwrap_or_default(),
        if .0.error.is_empty() { String::new() } else { format!(" ({})", .0.error) })]
    CrashLoop(CrashLoop),
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
            Self::CrashLoop(crash) => vec![crash.service.clone()],
            Self::Vanished(_) | Self::Engine(_) => Vec::new(),
        }
    }
}

/// Waits until `stack` is settled with every service of `expected`, and until each of them that failed meanwhile has
/// been up for longer than what failed of it ([`Lives`]); says through `progress` what it waits
/// for. `crashes` holds what had failed before.
///
/// # Errors
/// [`NotConverged`].
pub async fn converge(
    engine: &Engine,
    stack: &StackName,
    expected: &[String],
    deadline: Deadline,
    mut crashes: Crashes,
    mut progress: impl FnMut(&str),
) -> Result<StackState, NotConverged> {
    let mut watch = Watch::new(engine, stack);
    let clock = Stopwatch::start();
    let mut shown = String::new();
    loop {
        // Asked before the look, so that the last one is after the deadline.
        let is_last = deadline.passed();
        let asked = clock.elapsed();
        let state = engine.stack_state(stack).await?;
        let judgement = judge(&state, expected);
        let unsteady = crashes.lives.look(&state, asked, clock.elapsed());
        let pending = match &judgement {
            Judgement::Settled if unsteady.is_empty() => return Ok(state),
            Judgement::Vanished(service) => return Err(NotConverged::Vanished(service.clone())),
            Judgement::Settled => &unsteady,
            Judgement::Pending(pending) => pending,
        };
        // By the judgement: a service that is up, if not for long, holds up no other.
        if let Some(crash) = crashes.look(&state, &judgement) {
            return Err(NotConverged::CrashLoop(crash));
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

    fn fail_times(times: usize, services: Vec<Service>, also: &[Task]) -> Option<CrashLoop> {
        let mut crashes = Crashes::default();
        for round in 0..times {
            let mut tasks = vec![task(&format!("f{round}"), "app", "failed")];
            tasks.extend_from_slice(also);
            let state = state(services.clone(), tasks);
            let judgement = judge(&state, &expected());
            if let Some(crash) = crashes.look(&state, &judgement) {
                return Some(crash);
            }
        }
        None
    }

    #[test]
    fn a_crash_loop_is_seen_after_five_failures_and_not_before() {
        assert_eq!(fail_times(CRASH_LIMIT - 1, vec![service("app")], &[]), None);
        let crash = fail_times(CRASH_LIMIT, vec![service("app")], &[]).unwrap();
        assert_eq!(
            (crash.service.as_str(), crash.failures, crash.exit_code),
            ("app", 5, Some(3))
        );
    }

    #[test]
    fn one_task_killed_as_unhealthy_ends_the_wait_where_the_check_is_shortened() {
        let killed = Task {
            error: "task: non-zero exit (143): dockerexec: unhealthy container".to_owned(),
            ..task("1", "app", "failed")
        };
        let state = state(vec![service("app")], vec![killed]);
        let judgement = judge(&state, &expected());
        let hasty = || Crashes::default().hasty(BTreeSet::from(["app".to_owned()]));
        assert_eq!(Crashes::default().look(&state, &judgement), None);
        assert_eq!(hasty().look(&state, &judgement).unwrap().failures, 1);
        // What had failed before is not held against it.
        let mut since = Crashes::since(&state).hasty(BTreeSet::from(["app".to_owned()]));
        assert_eq!(since.look(&state, &judgement), None);
    }

    #[test]
    fn an_app_may_crash_while_its_database_starts() {
        let both = || vec![service("app"), service("db")];
        assert_eq!(fail_times(20, both(), &[task("d", "db", "starting")]), None);
        assert!(fail_times(20, both(), &[task("d", "db", "running")]).is_some());
    }

    #[test]
    fn a_command_that_does_not_exist_fails_sooner() {
        let mut crashes = Crashes::default();
        let mut broken = task("1", "app", "failed");
        broken.error =
            "starting container failed: exec: \"nope\": executable file not found in $PATH"
                .to_owned();
        let mut again = broken.clone();
        again.id = "2".to_owned();
        let state = state(vec![service("app")], vec![again, broken]);
        assert!(crashes.look(&state, &judge(&state, &expected())).is_some());
    }

    #[test]
    fn failures_from_before_are_not_held_against_an_upgrade() {
        let old: Vec<Task> = (0..9)
            .map(|id| task(&format!("o{id}"), "app", "failed"))
            .collect();
        let state = state(vec![service("app")], old);
        let mut crashes = Crashes::since(&state);
        assert_eq!(crashes.look(&state, &judge(&state, &expected())), None);
    }
}
