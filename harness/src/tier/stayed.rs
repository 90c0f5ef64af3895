//! Whether what had converged is still up when its tier ends, and has been up for long enough to count.
//!
//! A task without a healthcheck is `running` as soon as its process has begun. One that dies after three seconds looks
//! the same until then, so such a task counts after it was up for as long as Swarm itself watches a new one
//! ([`Service::monitor`]). The tier's tests run meanwhile; only what is left of that time is waited for at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::failing::Failing;
use super::{Bench, Tally, TierError};
use engine::swarm::probe::Probe;
use engine::swarm::service::{Service, StackState, Task};
use engine::swarm::steady::LEAST;
use engine::swarm::watch::Watch;
use engine::wait::{Deadline, Stopwatch};
use recipe::compose::model::Healthcheck;
use recipe::compose::query::MAIN_SERVICE;

/// The assertion that no service died after convergence.
pub(super) const STAYED: &str = "generic: stayed up";

/// How many tasks of a service may not fail after convergence: a hook or a test may kill a process once, and the next
/// task must stay up for [`LEAST`].
const LIMIT: usize = 2;

/// How much longer than its window a service may take until a task of it was up for that long: a test may have
/// restarted it just now.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long Swarm may take until the task is there that follows one that ended: it hears of the end, and then makes it.
const SOON: Duration = Duration::from_secs(2);

/// The stack as it was when it had converged, and since when its tasks are up.
#[derive(Debug, Default)]
pub struct Converged {
    /// Tasks that had failed by then: those are forgiven.
    failed: BTreeSet<String>,
    /// Services of which a task ran then.
    running: BTreeSet<String>,
    /// Services that still ran when the upgrade began, and that Swarm does not start again after a good end.
    before: BTreeSet<String>,
    /// When each task was first seen up, by this process's clock. The engine's times are those of other clocks.
    up: BTreeMap<String, Stopwatch>,
    /// When each task was first seen to have crashed.
    fell: BTreeMap<String, Stopwatch>,
}

impl Converged {
    /// Notes a stack that has converged; of tasks that were up before, the time goes on.
    pub fn note(&mut self, state: &StackState) {
        let crashed = |task: &&Task| {
            let services = state.services.values();
            let mut of = services.filter(|service| service.id == task.service_id);
            of.any(|service| service.has_crashed(task)) || task.has_failed()
        };
        let failed = state.tasks.iter().filter(crashed);
        self.failed = failed.map(|task| task.id.clone()).collect();
        self.running = state
            .services
            .values()
            .filter(|service| state.tasks_of(service).any(Task::is_up))
            .map(|service| service.name.clone())
            .collect();
        self.see(state);
    }

    /// Notes which services run that an upgrade is about to replace.
    pub fn note_before(&mut self, state: &StackState) {
        let runs = |service: &&Service| {
            !service.restarts_on_success && state.tasks_of(service).any(Task::is_up)
        };
        let services = state.services.values().filter(runs);
        self.before = services.map(|service| service.name.clone()).collect();
    }

    /// Notes which tasks are up now, and which have crashed.
    fn see(&mut self, state: &StackState) {
        for service in state.services.values() {
            for task in state
                .tasks_of(service)
                .filter(|task| service.has_crashed(task))
            {
                self.fell
                    .entry(task.id.clone())
                    .or_insert_with(Stopwatch::start);
            }
        }
        let up: Vec<&Task> = state.tasks.iter().filter(|task| task.is_up()).collect();
        self.up.retain(|id, _| up.iter().any(|task| task.id == *id));
        for task in up {
            self.up
                .entry(task.id.clone())
                .or_insert_with(Stopwatch::start);
        }
    }

    /// Returns how long the tasks of `service`, which has no healthcheck, must still stay up to count.
    fn left(&self, state: &StackState, service: &Service) -> Duration {
        let tasks = state.tasks_of(service).filter(|task| task.is_up());
        tasks
            .filter_map(|task| self.up.get(&task.id))
            .map(|since| service.monitor.saturating_sub(since.elapsed()))
            .max()
            .unwrap_or_default()
    }

    /// Returns whether Swarm is about to start the task that follows one that has crashed: a look at the end of a tier
    /// may come in the seconds between the two, and the verdict must not hang on that.
    fn is_followed(&self, state: &StackState, service: &Service) -> bool {
        let is_coming = |task: &Task| {
            matches!(task.desired.as_str(), "ready" | "running")
                && !task.has_failed()
                && !matches!(
                    task.state.as_str(),
                    "running" | "complete" | "shutdown" | "remove"
                )
        };
        let has_just_crashed = |task: &Task| {
            let since = self.fell.get(&task.id);
            !self.failed.contains(&task.id) && since.is_some_and(|since| since.elapsed() < SOON)
        };
        let mut tasks = state.tasks_of(service);
        tasks.any(|task| is_coming(task) || has_just_crashed(task))
    }

    /// Returns how long the youngest task of `service` must still stay up where one has crashed since convergence: an app
    /// that dies every few seconds is up at nearly every look.
    fn unsteady(&self, state: &StackState, service: &Service) -> Duration {
        let mut tasks = state.tasks_of(service);
        if !tasks.any(|task| service.has_crashed(task) && !self.failed.contains(&task.id)) {
            return Duration::ZERO;
        }
        let up = state.tasks_of(service).filter(|task| task.is_up());
        let left = up
            .filter_map(|task| self.up.get(&task.id))
            .map(|since| LEAST.saturating_sub(since.elapsed()))
            .max();
        left.unwrap_or_else(|| match self.is_followed(state, service) {
            true => LEAST,
            false => Duration::ZERO,
        })
    }
}

/// What a look at the end of a tier found.
#[derive(Debug, Default)]
struct Found {
    /// The service that died, and how.
    died: Option<(String, String)>,
    /// Services that ran at convergence and have ended well since.
    ended: Vec<String>,
    /// How long a service must still stay up to count.
    left: Duration,
}

/// Asserts that no service has died since the stack converged, and that each has been up for long enough.
///
/// # Errors
/// [`TierError::Engine`].
pub(super) async fn look(bench: &Bench, tally: &mut Tally<'_>) -> Result<(), TierError> {
    let stays = stays(bench).await?;
    tally.check(STAYED, stays.map(|()| None));
    Ok(())
}

/// Waits until each service has been up for long enough; the inner error is how one died since the stack converged. Its
/// logs are shown.
///
/// # Errors
/// [`TierError::Engine`].
pub(super) async fn stays(bench: &Bench) -> Result<Result<(), String>, TierError> {
    let found = watch(bench).await?;
    let web = bench.web().or_else(|| bench.current.project.web());
    // Of an app without a web port the main service is what an operator installs it for.
    let main = web.map_or_else(|| MAIN_SERVICE.to_owned(), |web| web.service);
    let mut died = found.died;
    for service in found.ended {
        if let Some(reason) = killed(bench, &service).await? {
            died.get_or_insert((service, reason));
            continue;
        }
        let since = match bench.converged.borrow().running.contains(&service) {
            true => "after it had converged",
            false => "during the upgrade, and ran until then",
        };
        let reason = format!(
            "service `{service}` ended with exit code 0 {since}, and its restart policy leaves it so"
        );
        if main == service && died.is_none() {
            died = Some((service, reason));
        } else {
            bench.events.warn(reason);
        }
    }
    match died {
        None => Ok(Ok(())),
        Some((service, reason)) => {
            bench.show_logs(&[service]).await;
            Ok(Err(reason))
        }
    }
}

/// Returns how Swarm killed a service that then ended well, because its healthcheck failed.
async fn killed(bench: &Bench, service: &str) -> Result<Option<String>, TierError> {
    let state = bench.state().await?;
    let Some(found) = state.services.get(service) else {
        return Ok(None);
    };
    for task in state.tasks_of(found).filter(|task| found.is_done(task)) {
        let Some(container) = &task.container_id else {
            continue;
        };
        let checked = bench.engine().health(container).await?;
        if checked.is_unhealthy {
            let said = checked.probes.last().map(Probe::said);
            return Ok(Some(format!(
                "service `{service}` became unhealthy after it had converged; Swarm killed it, and its restart policy \
                 leaves it so: {}",
                said.unwrap_or_default()
            )));
        }
    }
    Ok(None)
}

/// Looks until every service has been up for long enough, or one has died.
async fn watch(bench: &Bench) -> Result<Found, TierError> {
    let stack = bench.lock.domain().stack();
    let mut watch = Watch::new(bench.engine(), &stack);
    let mut deadline: Option<Deadline> = None;
    let mut failing = Failing::default();
    loop {
        let state = bench.state().await?;
        let (mut with_check, mut untested) = (Vec::new(), Vec::new());
        for service in state.services.values() {
            if service.completed.is_none() {
                match tested(bench, service).await? {
                    true => with_check.push(service),
                    false => untested.push(service),
                }
            }
        }
        let checks = failing.look(bench, &state, &with_check).await?;
        let is_over = deadline.is_some_and(Deadline::passed);
        // What ended in this moment is not in Swarm's books yet.
        let ended_meanwhile = bench.engine().ended_meanwhile(&stack, &state).await?;
        let follows = match ended_meanwhile.is_empty() {
            true => Duration::ZERO,
            false => SOON,
        };
        let found = {
            let mut converged = bench.converged.borrow_mut();
            converged.see(&state);
            Found {
                died: died(&state, &converged, is_over).or(checks.died),
                ended: ended(&state, &converged),
                left: untested
                    .iter()
                    .map(|service| converged.left(&state, service))
                    .chain(
                        state
                            .services
                            .values()
                            .map(|service| converged.unsteady(&state, service)),
                    )
                    .max()
                    .unwrap_or_default()
                    .max(follows)
                    .max(checks.left),
            }
        };
        let longest = untested.iter().map(|service| service.monitor).max();
        if found.died.is_some() || found.left.is_zero() || is_over {
            return Ok(found);
        }
        // Swarm kills what fails for that long, and then it has died.
        let longest = longest.unwrap_or_default().max(checks.patience);
        deadline.get_or_insert_with(|| Deadline::after(longest + PATIENCE));
        watch.changed(found.left).await;
    }
}

/// Returns whether the containers of a service have a healthcheck: then Swarm says `running` of a healthy one only. One that
/// always passes says nothing.
async fn tested(bench: &Bench, service: &Service) -> Result<bool, TierError> {
    let planned = bench.current.project.service(&service.name);
    match planned.map(|planned| &planned.healthcheck) {
        Some(check @ Healthcheck::Test(_)) => Ok(!check.asks_nothing()),
        Some(Healthcheck::Disabled) => Ok(false),
        // The image decides. The spec's name of it lacks the digest that the recipe may name it by.
        Some(Healthcheck::None) | None => {
            let image = planned.and_then(|planned| planned.image.as_deref());
            let image = image.unwrap_or(&service.image);
            let image = bench.pins().pinned(image);
            Ok(bench.engine().image_has_healthcheck(image).await?)
        }
    }
}

/// Returns the services of which a task ran when the stack had converged or the upgrade began, that want one still, and
/// of which none is up because it ended well.
fn ended(state: &StackState, converged: &Converged) -> Vec<String> {
    let services = state.services.values();
    services
        .filter(|service| {
            let mut tasks = state.tasks_of(service);
            service.completed.is_none()
                && service.desired > 0
                && (converged.running.contains(&service.name)
                    || converged.before.contains(&service.name))
                && !state.tasks_of(service).any(Task::is_up)
                && tasks.any(|task| service.is_done(task))
        })
        .map(|service| service.name.clone())
        .collect()
}

/// Returns the service that died, and how: two of its tasks failed, or one did, nothing of it is up, and no other follows,
/// or none has until the wait `is_over`.
///
/// Without a failed task nothing being up proves nothing: a test may update or scale a service.
fn died(state: &StackState, converged: &Converged, is_over: bool) -> Option<(String, String)> {
    state.services.values().find_map(|service| {
        let is_new =
            |task: &&Task| service.has_crashed(task) && !converged.failed.contains(&task.id);
        let failed: Vec<&Task> = state.tasks_of(service).filter(is_new).collect();
        let last = failed.first()?;
        let holds = service.desired == 0
            || state
                .tasks_of(service)
                .any(|task| task.is_up() || service.is_done(task));
        let is_followed = !is_over && converged.is_followed(state, service);
        if failed.len() < LIMIT && (holds || is_followed) {
            return None;
        }
        let count = failed.len();
        let mut reason = format!(
            "service `{}` ended {count} time{} since it had converged",
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
    use engine::swarm::service::{Service, samples};
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

    fn converged(state: &StackState) -> Converged {
        let mut converged = Converged::default();
        converged.note(state);
        converged
    }

    #[test]
    fn a_service_that_ran_and_ended_well_is_named_and_one_that_was_done_before_is_not() {
        let running = state(false, &[("1", "running")]);
        let done = state(false, &[("1", "complete")]);
        assert_eq!(ended(&done, &converged(&running)), ["worker"]);
        assert_eq!(ended(&running, &converged(&running)), [""; 0]);
        // A job that was done when the stack had converged, and one that the version before had running.
        assert_eq!(ended(&done, &converged(&done)), [""; 0]);
        let mut upgraded = converged(&done);
        upgraded.note_before(&running);
        assert_eq!(ended(&done, &upgraded), ["worker"]);
        upgraded.note_before(&state(true, &[("1", "running")]));
        assert_eq!(ended(&done, &upgraded), [""; 0]);
        // It is started again: that is a crash, and `died` counts it.
        let again = state(true, &[("2", "running"), ("1", "complete")]);
        assert_eq!(ended(&again, &converged(&running)), [""; 0]);
        assert_eq!(died(&again, &converged(&running), false), None);
        let twice = state(
            true,
            &[("3", "running"), ("2", "complete"), ("1", "complete")],
        );
        assert!(died(&twice, &converged(&state(true, &[("0", "running")])), false).is_some());
    }

    #[test]
    fn a_task_without_a_healthcheck_counts_after_swarms_own_window() {
        let running = state(true, &[("1", "running")]);
        let worker = &running.services["worker"];
        let left = converged(&running).left(&running, worker);
        assert!(left > worker.monitor - Duration::from_secs(4), "{left:?}");
        // A task that was never seen up does not hold up the end.
        assert_eq!(Converged::default().left(&running, worker), Duration::ZERO);
    }

    #[test]
    fn a_service_that_died_once_must_stay_up_before_it_counts_again() {
        let mut converged = converged(&state(true, &[("1", "running")]));
        let again = state(true, &[("2", "running"), ("1", "failed")]);
        converged.see(&again);
        let worker = &again.services["worker"];
        let left = converged.unsteady(&again, worker);
        assert!(left > LEAST - Duration::from_secs(4), "{left:?}");
        // What died before convergence, or is down, is judged elsewhere.
        converged.note(&again);
        assert_eq!(converged.unsteady(&again, worker), Duration::ZERO);
        let down = state(true, &[("2", "failed"), ("1", "failed")]);
        assert_eq!(converged.unsteady(&down, worker), Duration::ZERO);
    }

    #[test]
    fn a_service_that_died_once_is_not_judged_between_two_tasks() {
        let mut converged = converged(&state(true, &[("1", "running")]));
        // Swarm waits for its delay, and a moment earlier it has not made the next task.
        let waiting = state(true, &[("2", "ready"), ("1", "failed")]);
        let just_now = state(true, &[("1", "failed")]);
        converged.see(&just_now);
        for between in [&waiting, &just_now] {
            assert_eq!(died(between, &converged, false), None);
            let worker = &between.services["worker"];
            assert_eq!(converged.unsteady(between, worker), LEAST);
            assert!(died(between, &converged, true).is_some(), "it never came");
        }
        converged.fell.clear();
        let left = converged.unsteady(&just_now, &just_now.services["worker"]);
        assert_eq!(left, Duration::ZERO);
        assert!(died(&just_now, &converged, false).is_some());
        let next_failed = state(true, &[("2", "rejected"), ("1", "failed")]);
        assert!(died(&next_failed, &converged, false).is_some());
    }

    #[test]
    fn a_service_that_died_twice_or_is_down_is_named() {
        let converged = converged(&state(true, &[("2", "running"), ("1", "failed")]));
        let reason = |restarts, tasks: &[(&str, &str)]| {
            died(&state(restarts, tasks), &converged, false).map(|(_, reason)| reason)
        };
        let old = ("1", "failed");
        assert_eq!(reason(true, &[("2", "running"), old]), None);
        assert_eq!(
            reason(true, &[("3", "running"), ("2", "failed"), old]),
            None
        );
        assert_eq!(
            reason(true, &[("4", "running"), ("3", "failed"), ("2", "failed")]).unwrap(),
            "service `worker` ended 2 times since it had converged, last exit code 7 (task: non-zero exit (7))"
        );
        assert_eq!(
            reason(true, &[("2", "failed"), old]).unwrap(),
            "service `worker` ended 1 time since it had converged and is not up, last exit code 7 \
             (task: non-zero exit (7))"
        );
        // One that was scaled or updated by a test, and a job that needed a second try.
        assert_eq!(
            reason(true, &[("3", "starting"), ("2", "shutdown"), old]),
            None
        );
        // And one with a second failure, whatever follows.
        assert!(reason(true, &[("4", "ready"), ("3", "failed"), ("2", "failed")]).is_some());
        assert_eq!(
            reason(false, &[("3", "complete"), ("2", "failed"), old]),
            None
        );
    }
}
