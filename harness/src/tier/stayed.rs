//! Whether what had converged is still up when its tier ends.

use std::collections::BTreeSet;

use super::{Bench, Tally, TierError};
use crate::swarm::service::{StackState, Task};

/// The assertion that no service died after convergence.
pub(super) const STAYED: &str = "generic: stayed up";

/// How many tasks of a service may not fail after convergence: a hook or a test may kill a process once.
const LIMIT: usize = 2;

/// The failed tasks of a stack when it had converged: those are forgiven.
#[derive(Debug, Default)]
pub struct Forgiven(BTreeSet<String>);

impl Forgiven {
    /// Notes what has failed in `state`.
    #[must_use]
    pub fn of(state: &StackState) -> Self {
        Self(state.failed())
    }
}

/// Looks at the tasks once more, and asserts that no service has died since the stack converged.
///
/// # Errors
/// [`TierError::Engine`].
pub(super) async fn look(bench: &Bench, tally: &mut Tally<'_>) -> Result<(), TierError> {
    let state = bench.state().await?;
    let died = died(&state, &bench.forgiven.borrow());
    match died {
        None => {
            tally.check(STAYED, Ok(None));
        }
        Some((service, reason)) => {
            bench.show_logs(&[service]).await;
            tally.check(STAYED, Err(reason));
        }
    }
    Ok(())
}

/// Returns the service that died, and how: two of its tasks failed, or one did and nothing of it is up.
///
/// Without a failed task nothing being up proves nothing: a test may update or scale a service.
fn died(state: &StackState, forgiven: &Forgiven) -> Option<(String, String)> {
    state.services.values().find_map(|service| {
        let is_new = |task: &&Task| task.has_failed() && !forgiven.0.contains(&task.id);
        let failed: Vec<&Task> = state.tasks_of(service).filter(is_new).collect();
        let last = failed.first()?;
        let holds = service.desired == 0
            || state
                .tasks_of(service)
                .any(|task| task.is_up() || service.is_done(task));
        if failed.len() < LIMIT && holds {
            return None;
        }
        let count = failed.len();
        let mut reason = format!(
            "service `{}` failed {count} time{} since it had converged",
            service.name,
            if count == 1 { "" } else { "s" }
        );
        if !holds {
            reason.push_str(" and is not up");
        }
        if let Some(code) = last.exit_code {
            reason.push_str(&format!(", last exit code {code}"));
        }
        if !last.error.is_empty() {
            reason.push_str(&format!(" ({})", last.error));
        }
        Some((service.name.clone(), reason))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::service::{Service, samples};
    use std::collections::BTreeMap;

    fn task(id: &str, state: &str) -> Task {
        Task {
            error: "task: non-zero exit (7)".to_owned(),
            exit_code: Some(7),
            ..samples::task(id, "worker", state)
        }
    }

    fn state(restarts_on_success: bool, tasks: &[(&str, &str)]) -> StackState {
        let worker = Service {
            restarts_on_success,
            ..samples::service("worker")
        };
        StackState {
            services: BTreeMap::from([(worker.name.clone(), worker)]),
            tasks: tasks.iter().map(|(id, state)| task(id, state)).collect(),
        }
    }

    #[test]
    fn a_service_that_died_twice_or_is_down_is_named() {
        let forgiven = Forgiven::of(&state(true, &[("2", "running"), ("1", "failed")]));
        let reason = |restarts, tasks: &[(&str, &str)]| {
            died(&state(restarts, tasks), &forgiven).map(|(_, reason)| reason)
        };
        let old = ("1", "failed");
        assert_eq!(reason(true, &[("2", "running"), old]), None);
        assert_eq!(
            reason(true, &[("3", "running"), ("2", "failed"), old]),
            None
        );
        assert_eq!(
            reason(true, &[("4", "running"), ("3", "failed"), ("2", "failed")]).unwrap(),
            "service `worker` failed 2 times since it had converged, last exit code 7 (task: non-zero exit (7))"
        );
        assert_eq!(
            reason(true, &[("3", "ready"), ("2", "failed"), old]).unwrap(),
            "service `worker` failed 1 time since it had converged and is not up, last exit code 7 \
             (task: non-zero exit (7))"
        );
        // One that was scaled or updated by a test, and a job that needed a second try.
        assert_eq!(
            reason(true, &[("3", "starting"), ("2", "shutdown"), old]),
            None
        );
        assert_eq!(
            reason(false, &[("3", "complete"), ("2", "failed"), old]),
            None
        );
    }
}
