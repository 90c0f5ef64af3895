//! What is red while health is checked faster than the recipe says is repeated as shipped, before it is called red.
//!
//! Only where a shortened check decided: its service was not healthy in time, or Swarm killed a task of it as unhealthy;
//! and where the pace may be why ([`may_be_pace`]). Whatever else is red is red at any pace.

use std::collections::BTreeSet;

use crate::tier::Bench;
use engine::swarm::EngineError;
use engine::swarm::probe::{Checked, may_be_pace};
use engine::swarm::service::StackState;
use engine::swarm::unhealthy::is_killed;

/// Returns why what the bench found red is to be repeated as shipped; `None` when it is red.
///
/// # Errors
/// [`EngineError`] when the stack cannot be looked at.
pub(super) async fn because_of_pace(bench: &Bench) -> Result<Option<String>, EngineError> {
    let shortened = bench.shortened();
    if shortened.is_empty() {
        return Ok(None);
    }
    let state = bench.state().await?;
    let overdue = bench.overdue.borrow().clone();
    for (why, container, reason) in decided(&shortened, &overdue, &state) {
        let checked = match container {
            Some(container) => bench.engine().health(&container).await?,
            None => Checked::default(),
        };
        if (why != Why::Ended || checked.is_unhealthy) && may_be_pace(&checked.probes) {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// Why a service may be red for its check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It was not healthy in time.
    Overdue,
    /// Swarm says that it killed a task for it.
    Killed,
    /// A task ended well, which it does after Swarm has killed it, too.
    Ended,
}

/// Returns what of the services whose checks are `shortened` was red for them: the container that was checked, and in
/// words.
fn decided(
    shortened: &BTreeSet<String>,
    overdue: &[String],
    state: &StackState,
) -> Vec<(Why, Option<String>, String)> {
    let mut found = Vec::new();
    for service in state.services.values() {
        let name = &service.name;
        if !shortened.contains(name) {
            continue;
        }
        if overdue.contains(name) {
            let newest = state.tasks_of(service).next();
            let container = newest.and_then(|task| task.container_id.clone());
            let reason = format!("service `{name}` was not healthy in time");
            found.push((Why::Overdue, container, reason));
        }
        for task in state.tasks_of(service) {
            let why = match is_killed(task) {
                true => Why::Killed,
                false if task.state == "complete" => Why::Ended,
                false => continue,
            };
            let reason = format!("a task of service `{name}` was killed as unhealthy");
            found.push((why, task.container_id.clone(), reason));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::swarm::service::samples::{service, task};
    use engine::swarm::service::{Service, Task};

    fn state(tasks: Vec<Task>) -> StackState {
        let services = [service("app"), service("db")];
        let services = services.map(|one: Service| (one.name.clone(), one));
        StackState {
            services: services.into(),
            tasks,
        }
    }

    fn failed(service: &str, error: &str) -> Task {
        Task {
            error: error.to_owned(),
            ..task("1", service, "failed")
        }
    }

    #[test]
    fn only_what_a_shortened_check_decided_is_repeated() {
        let app = || ["app".to_owned()];
        let unhealthy = "task: non-zero exit (143): dockerexec: unhealthy container";
        let of = |shortened: &[String], overdue: &[String], tasks| -> Vec<String> {
            let shortened = shortened.iter().cloned().collect();
            let found = decided(&shortened, overdue, &state(tasks));
            found.into_iter().map(|(_, _, reason)| reason).collect()
        };
        let crashed = vec![failed("app", "task: non-zero exit (1)")];
        assert_eq!(of(&app(), &[], crashed), [""; 0]);
        let other = vec![failed("db", unhealthy)];
        assert_eq!(of(&app(), &["db".to_owned()], other), [""; 0]);
        let up_again = vec![task("2", "app", "running"), failed("app", unhealthy)];
        assert_eq!(
            of(&app(), &[], up_again),
            ["a task of service `app` was killed as unhealthy"]
        );
        assert_eq!(
            of(&app(), &app(), vec![task("1", "app", "starting")]),
            ["service `app` was not healthy in time"]
        );
        assert_eq!(of(&[], &app(), vec![failed("app", unhealthy)]), [""; 0]);
    }
}
