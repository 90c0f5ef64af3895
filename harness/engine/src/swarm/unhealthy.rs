//! Services whose healthcheck will not pass, as far as one wait sees it.
//!
//! How long an app may take to become healthy is the recipe's word: `start_period`, then `interval` × `retries`. Until
//! that is over a failing check is a beginning, except where what it says is not about time at all, and where the app
//! says the same while none of its containers does anything ([`super::rest`]). When it is over
//! Swarm kills the task and starts another: an app whose first start takes longer than that comes further at its
//! second. One that does not will not at its third.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::crash::Crashes;
use super::probe::{Checked, Probe, may_be_pace};
use super::rest::Rest;
use super::service::{StackState, Task};
use super::{Engine, EngineError};

/// What Swarm says of a task that it killed because its check failed: `ErrContainerUnhealthy` in moby's
/// `daemon/cluster/executor/container/errors.go`.
pub const UNHEALTHY: &str = "unhealthy container";

/// How long a check must say what no waiting changes: an entry point may yet bring the program that is missing.
const FINAL: Duration = Duration::from_secs(20);

/// How long of that must be after its `start_period`: an app may take a little longer than its recipe says.
const COUNTED: Duration = Duration::from_secs(10);

/// How often a container that starts is asked what its check said.
const INTERVAL: Duration = Duration::from_secs(1);

/// A service whose healthcheck will not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unhealthy {
    /// Which service.
    pub service: String,
    /// What it says, and why that is final.
    pub reason: String,
}

impl std::fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { service, reason } = self;
        write!(
            f,
            "the healthcheck of service `{service}` does not pass: {reason}"
        )
    }
}

/// What a check says again and again.
#[derive(Debug)]
struct Same {
    words: String,
    /// When it began.
    since: Duration,
    /// The same, after the `start_period`.
    counts_since: Option<Duration>,
}

/// What healthchecks said over time.
#[derive(Debug, Default)]
pub struct Checks {
    /// The services whose checks are shortened: of one that may fail for that reason one kill is enough, because it is
    /// tried again as shipped.
    shortened: BTreeSet<String>,
    /// The tasks that were killed, by id.
    killed: BTreeMap<String, Checked>,
    /// The tasks that have ended and were looked at.
    ended: BTreeSet<String>,
    /// The tasks that lived in this wait.
    lived: BTreeSet<String>,
    /// Those of them that have ended well, and whose containers are gone: why they did is not known.
    unknown: BTreeSet<String>,
    /// The last probe of each service that starts.
    starting: BTreeMap<String, Probe>,
    /// Whether the stack is at rest while the check of a service says the same.
    resting: BTreeMap<String, Rest>,
    /// How it is at rest.
    at_rest: BTreeMap<String, String>,
    /// What each of them says that no waiting changes.
    since: BTreeMap<String, Same>,
    asked: Option<Duration>,
}

impl Checks {
    /// Starts watching; the checks of `shortened` are made more often than the recipe says.
    #[must_use]
    pub fn of(shortened: BTreeSet<String>) -> Self {
        Self {
            shortened,
            ..Self::default()
        }
    }

    /// Learns what containers say that were killed or start; `at` is the time since the wait began.
    ///
    /// # Errors
    /// [`EngineError`] when the engine cannot be asked.
    pub async fn measure(
        &mut self,
        engine: &Engine,
        state: &StackState,
        crashes: &Crashes,
        at: Duration,
    ) -> Result<(), EngineError> {
        for task in &state.tasks {
            let Some(container) = &task.container_id else {
                continue;
            };
            if crashes.before().contains(&task.id) || self.ended.contains(&task.id) {
                continue;
            }
            if is_killed(task) {
                let checked = engine.checked(container).await?;
                self.killed.insert(task.id.clone(), checked);
            } else if task.state == "complete" {
                match engine.health_of(container).await? {
                    Some(checked) if checked.is_unhealthy => {
                        self.killed.insert(task.id.clone(), checked);
                    }
                    Some(_) => {}
                    // Of one that ended before, it was judged then.
                    None if self.lived.contains(&task.id) => {
                        self.unknown.insert(task.id.clone());
                    }
                    None => {}
                }
            } else {
                self.lived.insert(task.id.clone());
                continue;
            }
            self.ended.insert(task.id.clone());
        }
        if self
            .asked
            .is_some_and(|asked| at.saturating_sub(asked) < INTERVAL)
        {
            return Ok(());
        }
        self.asked = Some(at);
        self.starting.clear();
        self.at_rest.clear();
        for service in state.services.values() {
            let starts = |task: &&Task| task.state == "starting" && task.desired == "running";
            let Some(task) = state.tasks_of(service).find(starts) else {
                continue;
            };
            if let Some(container) = &task.container_id
                && let Some(last) = engine.probes(container).await?.pop()
            {
                if last.may_be_final() {
                    let rest = self.resting.entry(service.name.clone()).or_default();
                    let how = rest.measure(engine, state, &last.words()).await?;
                    self.at_rest
                        .extend(how.map(|how| (service.name.clone(), how)));
                } else {
                    self.resting.remove(&service.name);
                }
                self.starting.insert(service.name.clone(), last);
            }
        }
        Ok(())
    }

    /// Returns a service whose check will not pass, by what was measured until `at`.
    pub fn look(
        &mut self,
        state: &StackState,
        crashes: &Crashes,
        at: Duration,
    ) -> Option<Unhealthy> {
        // What a service says after it was up is said anew.
        let is_up = |name: &String| {
            let service = state.services.get(name);
            service.is_some_and(|service| state.tasks_of(service).any(Task::is_up))
        };
        let starting = &self.starting;
        self.since
            .retain(|service, _| starting.contains_key(service) || !is_up(service));
        self.is_final(at)
            .or_else(|| self.is_at_rest())
            .or_else(|| self.is_killed_again(state, crashes))
    }

    /// Returns the services that count as done for a task of which nobody can say why it ended.
    #[must_use]
    pub fn unknown(&self, state: &StackState) -> Vec<(String, String)> {
        let services = state.services.values().filter(|service| {
            let mut tasks = state.tasks_of(service);
            tasks.any(|task| service.is_done(task) && self.unknown.contains(&task.id))
        });
        let why = "complete, but its container was removed before its healthcheck could be read";
        services
            .map(|service| (service.name.clone(), why.to_owned()))
            .collect()
    }

    fn is_at_rest(&self) -> Option<Unhealthy> {
        let (service, how) = self.at_rest.first_key_value()?;
        let probe = self.starting.get(service)?;
        Some(Unhealthy {
            service: service.clone(),
            reason: format!(
                "{}; {how}. If it waits for something meanwhile, say so with a longer `start_period`",
                probe.said()
            ),
        })
    }

    fn is_final(&mut self, at: Duration) -> Option<Unhealthy> {
        for (service, probe) in &self.starting {
            let Some(why) = probe.final_reason() else {
                self.since.remove(service);
                continue;
            };
            let words = probe.words();
            let anew = || Same {
                words: words.clone(),
                since: at,
                counts_since: None,
            };
            let same = self.since.entry(service.clone()).or_insert_with(anew);
            if same.words != words {
                *same = anew();
            }
            if probe.counts {
                same.counts_since.get_or_insert(at);
            }
            let elapsed = at.saturating_sub(same.since);
            let counted = same.counts_since.map(|since| at.saturating_sub(since));
            if elapsed >= FINAL && counted.is_some_and(|counted| counted >= COUNTED) {
                let (said, seconds) = (probe.said(), elapsed.as_secs());
                return Some(Unhealthy {
                    service: service.clone(),
                    reason: format!(
                        "{said} for {seconds} s: {why}. If that changes while the service starts, say so with \
                         `start_period`"
                    ),
                });
            }
        }
        None
    }

    fn is_killed_again(&self, state: &StackState, crashes: &Crashes) -> Option<Unhealthy> {
        state.services.values().find_map(|service| {
            let found = |reason| {
                Some(Unhealthy {
                    service: service.name.clone(),
                    reason,
                })
            };
            let said = |checked: &Checked| match checked.probes.last() {
                Some(probe) => probe.said(),
                None => "what it said is not known".to_owned(),
            };
            if self.shortened.contains(&service.name) {
                let mut killed = state.tasks_of(service).filter_map(|task| self.killed.get(&task.id));
                if let Some(checked) = killed.find(|checked| may_be_pace(&checked.probes)) {
                    return found(format!("Swarm killed a task for it; {}", said(checked)));
                }
            }
            // One of another spec says nothing about this one.
            let left = state.tasks_of(service).find(|task| {
                service.is_done(task) && task.container_spec == service.container_spec
            });
            if let Some(checked) = left.and_then(|task| self.killed.get(&task.id)) {
                return found(format!(
                    "Swarm killed the task for it, which then ended with exit code 0: its `restart_policy` leaves it \
                     so; {}",
                    said(checked)
                ));
            }
            let failed = crashes.alone(&service.name, |task| self.killed.contains_key(task));
            let mut last = failed.iter().rev().map(|task| self.killed.get(*task));
            let (later, before) = (last.next()??, last.next()??);
            if !later.is_as_far_as(before) {
                return None;
            }
            let count = failed.iter().filter(|task| self.killed.contains_key(**task)).count();
            found(format!(
                "Swarm killed {count} tasks for it, and the last came no further than the one before; {}",
                said(later)
            ))
        })
    }
}

/// Returns whether Swarm killed this task because its check failed.
#[must_use]
pub fn is_killed(task: &Task) -> bool {
    task.has_failed() && task.error.contains(UNHEALTHY)
}

#[cfg(test)]
mod tests {
    use super::super::judgement::judge;
    use super::super::probe::samples::probe;
    use super::super::service::samples::{state, task};
    use super::*;

    fn killed(id: &str, service: &str) -> Task {
        Task {
            error: "task: non-zero exit (143): dockerexec: unhealthy container".to_owned(),
            ..task(id, service, "failed")
        }
    }

    /// Looks at a check that says each of `said` for a second; returns after how many seconds that is final.
    fn seconds(said: impl Iterator<Item = Option<Probe>>) -> Option<usize> {
        let mut checks = Checks::default();
        for (second, said) in said.enumerate() {
            checks.starting = said
                .map(|said| ("app".to_owned(), said))
                .into_iter()
                .collect();
            let at = Duration::from_secs(second as u64);
            if checks
                .look(&state(&["app"], vec![]), &Crashes::default(), at)
                .is_some()
            {
                return Some(second);
            }
        }
        None
    }

    #[test]
    fn a_check_that_fails_while_the_app_is_at_rest_is_final() {
        let refused = probe(7, "curl: (7) Connection refused");
        let mut checks = Checks::default();
        checks.starting.insert("app".to_owned(), refused);
        let stack = state(&["app"], vec![]);
        let crashes = Crashes::default();
        assert_eq!(checks.look(&stack, &crashes, Duration::ZERO), None);
        checks
            .at_rest
            .insert("app".to_owned(), "it said so for 25 s".to_owned());
        let found = checks.look(&stack, &crashes, Duration::ZERO).unwrap();
        assert_eq!(
            found.to_string(),
            "the healthcheck of service `app` does not pass: exit code 7: `curl: (7) Connection refused`; it said so \
             for 25 s. If it waits for something meanwhile, say so with a longer `start_period`"
        );
    }

    #[test]
    fn a_check_that_cannot_run_is_final_after_twenty_seconds_and_one_that_is_refused_is_a_beginning()
     {
        let missing = || Some(probe(1, "/bin/sh: curl: not found"));
        let refused = || Some(probe(7, "curl: (7) Connection refused"));
        assert_eq!(seconds((0..60).map(|_| missing())), Some(20));
        assert_eq!(seconds((0..600).map(|_| refused())), None);
        // Of a container that has replaced it nothing is known yet: that is no news.
        let gap = (0..60).map(|at| {
            if (5..9).contains(&at) {
                None
            } else {
                missing()
            }
        });
        assert_eq!(seconds(gap), Some(20));
        let installed = (0..60).map(|at| if at < 15 { missing() } else { refused() });
        assert_eq!(seconds(installed), None);
        let other = (0..60).map(|at| {
            if at < 9 {
                Some(probe(127, ""))
            } else {
                missing()
            }
        });
        assert_eq!(seconds(other), Some(29));
        // Half of it has to be after its `start_period`.
        let early = |at| {
            missing().map(|probe| Probe {
                counts: at >= 30,
                is_late: at >= 30,
                ..probe
            })
        };
        assert_eq!(seconds((0..60).map(early)), Some(40));
        let late = |at| {
            missing().map(|probe| Probe {
                counts: at >= 5,
                ..probe
            })
        };
        assert_eq!(seconds((0..60).map(late)), Some(20));
    }

    #[test]
    fn a_check_of_a_service_that_was_up_meanwhile_begins_anew() {
        let mut checks = Checks::default();
        let mut look = |second: u64, tasks: Vec<Task>| {
            checks.starting = match tasks.is_empty() {
                true => [("app".to_owned(), probe(127, ""))].into(),
                false => BTreeMap::new(),
            };
            let at = Duration::from_secs(second);
            checks.look(&state(&["app"], tasks), &Crashes::default(), at)
        };
        assert_eq!(look(0, vec![]), None);
        assert_eq!(look(8, vec![task("1", "app", "running")]), None);
        assert_eq!(look(60, vec![]), None);
        assert!(look(80, vec![]).is_some());
    }

    /// Looks at kills of `app`, each of which said and wrote so, with `also` beside it at each; returns after how many
    /// that is enough.
    fn kills(shortened: &[&str], said: &[(&str, &str)], also: &[Task]) -> Option<usize> {
        let shortened = shortened.iter().map(|name| (*name).to_owned()).collect();
        let (mut checks, mut crashes) = (Checks::of(shortened), Crashes::default());
        let mut tasks = also.to_vec();
        for (count, (output, line)) in said.iter().enumerate() {
            let id = format!("k{count}");
            tasks.insert(0, killed(&id, "app"));
            let checked = Checked {
                is_unhealthy: true,
                probes: vec![probe(1, output)],
                lines: [(*line).to_owned()].into(),
                ..Checked::default()
            };
            checks.killed.insert(id, checked);
            let state = state(&["app", "db"], tasks.clone());
            let at = Duration::from_secs(60 * count as u64);
            crashes.look(&state, &judge(&state, &[]), at);
            if checks.look(&state, &crashes, at).is_some() {
                return Some(count + 1);
            }
        }
        None
    }

    #[test]
    fn a_task_that_comes_no_further_than_the_one_before_is_enough() {
        let up = [task("d", "db", "running")];
        let same = [("refused", "starting"); 4];
        assert_eq!(kills(&[], &same, &up), Some(2));
        // One that says the same at any pace is not tried again.
        assert_eq!(kills(&["app"], &same, &up), Some(2));
        // It says nothing: it may be the pace.
        assert_eq!(kills(&["app"], &[("", "starting"); 4], &up), Some(1));
        assert_eq!(kills(&[], &[("", "starting"); 4], &up), Some(2));
        // Each comes further.
        let further = [
            ("refused", "a"),
            ("refused", "b"),
            ("error 500", "b"),
            ("refused", "b"),
        ];
        assert_eq!(kills(&[], &further, &up), None);
    }

    /// Software that ends well when it is told to stop is not started again by `restart_policy: on-failure`.
    #[test]
    fn one_that_is_killed_and_ends_well_stays_dead_and_is_no_job_that_is_done() {
        let mut state = state(&["app"], vec![task("1", "app", "complete")]);
        let look = |checks: &mut Checks, state: &StackState| {
            let found = checks.look(state, &Crashes::default(), Duration::ZERO);
            found.map(|found| found.to_string())
        };
        let killed = || {
            let mut checks = Checks::default();
            let checked = Checked {
                is_unhealthy: true,
                probes: vec![probe(1, "refused")],
                ..Checked::default()
            };
            checks.killed.insert("1".to_owned(), checked);
            checks
        };
        // It is started again.
        assert_eq!(look(&mut killed(), &state), None);
        for service in state.services.values_mut() {
            service.restarts_on_success = false;
        }
        let said = look(&mut killed(), &state).unwrap();
        assert!(
            said.contains("`app`") && said.contains("leaves it so; exit code 1: `refused`"),
            "{said}"
        );
        assert_eq!(look(&mut Checks::default(), &state), None);
    }

    /// Somebody tidies up this host: nobody can say whether it was a job that is done.
    #[tokio::test(flavor = "current_thread")]
    async fn one_that_ended_well_and_is_gone_before_it_was_read_is_not_done() {
        let dir = tempfile::tempdir().unwrap();
        let engine = super::super::testing::engine(dir.path(), |request| {
            assert!(request.contains("/containers/c/json"), "{request}");
            (404, r#"{"message": "No such container: c"}"#.to_owned())
        });
        let of = |word: &str| {
            let task = Task {
                container_id: Some("c".to_owned()),
                ..task("1", "app", word)
            };
            let mut state = state(&["app"], vec![task]);
            for service in state.services.values_mut() {
                service.restarts_on_success = false;
            }
            state
        };
        for (seen, unknown) in [(&["running", "complete"][..], 1), (&["complete"], 0)] {
            let mut checks = Checks::default();
            for word in seen {
                let (state, crashes) = (of(word), Crashes::default());
                let measured = checks.measure(&engine, &state, &crashes, Duration::ZERO);
                measured.await.unwrap();
            }
            let found = checks.unknown(&of("complete"));
            assert_eq!(found.len(), unknown, "{seen:?}: {found:?}");
        }
    }

    #[test]
    fn what_is_killed_while_its_database_starts_is_excused() {
        let starting = [task("d", "db", "starting")];
        assert_eq!(kills(&[], &[("refused", "starting"); 4], &starting), None);
        // What fails for a reason of its own may be why.
        let loops: Vec<Task> = (0..4)
            .map(|id| task(&format!("l{id}"), "db", "failed"))
            .collect();
        assert_eq!(kills(&[], &[("refused", "starting"); 4], &loops), None);
    }
}
