//! What one look at a stack says: settled, not yet, or something is missing.

use super::service::{Service, StackState, Task, UpdateState};

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
