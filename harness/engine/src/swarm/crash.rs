//! Crash loops: services whose tasks fail again and again, as far as one wait sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::judgement::Judgement;
use super::service::{StackState, Task};

/// How many failed tasks of a service make a crash loop, counted while everything else was settled or looped as well.
///
/// An app that dies until its database answers is normal in recipes; five times (25 s at Swarm's default
/// delay of 5 s) after every other service was up is not.
pub const CRASH_LIMIT: usize = 5;

/// How many are enough that took as long as five that die at once: one that lives for some seconds each time has had the
/// same time to find what it needs.
const SLOW_LIMIT: (usize, Duration) = (3, Duration::from_secs(20));

/// How many failed tasks make a crash loop whatever else still starts, and in what time at least: so many rounds of a
/// service with a short restart delay pass while a database is made. At Swarm's delay of 5 s this comes 25 to 30 s after
/// the five that are enough where nothing starts.
const PATIENT_LIMIT: (usize, Duration) = (10, Duration::from_secs(45));

/// The same for failures that no other service can end: a command or an image that does not exist.
const HOPELESS_LIMIT: usize = 2;

/// From how many failures on a service does more than start slowly.
const LOOPING: usize = 2;

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
    /// The other services that fail again and again.
    pub others: Vec<String>,
}

impl std::fmt::Display for CrashLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            service, failures, ..
        } = self;
        let s = if *failures == 1 { "" } else { "s" };
        write!(
            f,
            "service `{service}` crash-loops: {failures} failed task{s}"
        )?;
        if let Some(code) = self.exit_code {
            write!(f, ", last exit code {code}")?;
        }
        if !self.error.is_empty() {
            write!(f, " ({})", self.error)?;
        }
        if !self.others.is_empty() {
            write!(f, "; `{}` fails as well", self.others.join("`, `"))?;
        }
        Ok(())
    }
}

/// Counts failed tasks over time. Swarm itself keeps only the last few of a slot.
#[derive(Debug, Default)]
pub struct Crashes {
    /// Tasks that failed before the wait.
    before: BTreeSet<String>,
    failed: BTreeMap<String, Vec<Failure>>,
    /// How long each service may take to start, as the recipe says.
    start_periods: BTreeMap<String, Duration>,
}

/// A task that failed.
#[derive(Debug)]
struct Failure {
    task: String,
    /// When it was seen, from the beginning of the wait.
    at: Duration,
    /// What was not settled beside it: it may be to blame.
    beside: BTreeSet<String>,
}

impl Crashes {
    /// Starts counting; what has already failed in `state` is not held against it.
    #[must_use]
    pub fn since(state: &StackState) -> Self {
        Self {
            before: state.failed(),
            ..Self::default()
        }
    }

    /// Returns the tasks that had failed before.
    #[must_use]
    pub fn before(&self) -> &BTreeSet<String> {
        &self.before
    }

    /// Sets how long services may take to start, while what needs them may fail.
    #[must_use]
    pub fn start_periods(self, start_periods: BTreeMap<String, Duration>) -> Self {
        Self {
            start_periods,
            ..self
        }
    }

    /// Looks at `state`, which was judged so, `at` after the wait began; returns a crash loop when there is one.
    pub fn look(
        &mut self,
        state: &StackState,
        judgement: &Judgement,
        at: Duration,
    ) -> Option<CrashLoop> {
        self.note(state, judgement, at);
        let looping = self.looping();
        for service in state.services.values() {
            let mut failed = state
                .tasks_of(service)
                .filter(|task| service.has_crashed(task) && !self.before.contains(&task.id));
            let Some(last) = failed.next() else { continue };
            let all = self.failed.get(&service.name).map_or(&[][..], |all| all);
            let found = |failures, task: &Task| CrashLoop {
                service: service.name.clone(),
                failures,
                exit_code: task.exit_code,
                error: task.error.clone(),
                others: looping
                    .iter()
                    .filter(|name| **name != service.name)
                    .cloned()
                    .collect(),
            };
            let alone = all
                .iter()
                .filter(|failure| failure.beside.is_subset(&looping));
            let alone: Vec<&Failure> = alone.collect();
            if is_hopeless(last) {
                if all.len() >= HOPELESS_LIMIT {
                    return Some(found(all.len(), last));
                }
            } else if alone.len() >= CRASH_LIMIT || is_slow_loop(&alone) {
                return Some(found(alone.len(), last));
            } else if self.is_beyond_patience(all, at) {
                return Some(found(all.len(), last));
            }
        }
        None
    }

    /// Returns the tasks of a service that failed while nothing else started but what fails again and again for the
    /// same reason, in their order; `is_same` says of a task whether that is why it failed.
    #[must_use]
    pub fn alone(&self, service: &str, is_same: impl Fn(&str) -> bool) -> Vec<&str> {
        let mut looping = self.looping();
        looping.retain(|name| {
            self.failed[name]
                .iter()
                .all(|failure| is_same(&failure.task))
        });
        let failed = self.failed.get(service).into_iter().flatten();
        let alone = failed.filter(|failure| failure.beside.is_subset(&looping));
        alone.map(|failure| failure.task.as_str()).collect()
    }

    fn note(&mut self, state: &StackState, judgement: &Judgement, at: Duration) {
        let pending: BTreeSet<&String> = match judgement {
            Judgement::Pending(pending) => pending.iter().map(|(name, _)| name).collect(),
            _ => BTreeSet::new(),
        };
        for service in state.services.values() {
            let known = self.failed.entry(service.name.clone()).or_default();
            let tasks: Vec<&Task> = state.tasks_of(service).collect();
            // Oldest first, as they failed.
            for task in tasks.iter().rev() {
                let is_new = service.has_crashed(task)
                    && !self.before.contains(&task.id)
                    && !known.iter().any(|failure| failure.task == task.id);
                if is_new {
                    let beside = pending.iter().filter(|name| **name != &service.name);
                    known.push(Failure {
                        task: task.id.clone(),
                        at,
                        beside: beside.map(|name| (*name).clone()).collect(),
                    });
                }
            }
        }
    }

    /// Returns the services that fail again and again with nothing else to blame than each other.
    ///
    /// Two that wait for each other are no excuse for one another; one that fails while a database starts is no excuse for
    /// itself, but what needs it may be excused by it and by the database.
    fn looping(&self) -> BTreeSet<String> {
        let mut looping: BTreeSet<String> = self.failed.keys().cloned().collect();
        loop {
            let of_the_rest = |name: &String| {
                let alone = self.failed[name]
                    .iter()
                    .filter(|failure| failure.beside.is_subset(&looping));
                alone.count() >= LOOPING
            };
            let rest: BTreeSet<String> = looping
                .iter()
                .filter(|name| of_the_rest(name))
                .cloned()
                .collect();
            if rest.len() == looping.len() {
                return rest;
            }
            looping = rest;
        }
    }

    /// Returns whether a service has failed so often and for so long that what else starts is no excuse. What fails
    /// while another may still start by the recipe's own word does not count.
    fn is_beyond_patience(&self, failed: &[Failure], now: Duration) -> bool {
        let (rounds, time) = PATIENT_LIMIT;
        let late = failed.iter().filter(|failure| {
            failure.beside.iter().all(|name| {
                let period = self.start_periods.get(name);
                period.is_none_or(|period| failure.at >= *period)
            })
        });
        let late: Vec<&Failure> = late.collect();
        late.len() >= rounds
            && late
                .first()
                .is_some_and(|first| now.saturating_sub(first.at) >= time)
    }
}

/// Whether these failures took so long that fewer are enough.
fn is_slow_loop(failed: &[&Failure]) -> bool {
    let (least, time) = SLOW_LIMIT;
    match failed {
        [first, .., last] => failed.len() >= least && last.at.saturating_sub(first.at) >= time,
        _ => false,
    }
}

/// Whether waiting cannot end a failure. The texts are dockerd's, stable since 17.06.
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

#[cfg(test)]
mod tests {
    use super::super::judgement::judge;
    use super::super::service::samples::{state, task};
    use super::*;

    /// Looks once a second-of-six at tasks that fail: `rounds` of services, each of which fails once per round.
    fn rounds(
        crashes: &mut Crashes,
        services: &[&str],
        failing: &[&str],
        rounds: std::ops::Range<u64>,
        also: &[Task],
    ) -> Option<CrashLoop> {
        for round in rounds {
            let failed = failing
                .iter()
                .map(|name| task(&format!("{name}{round}"), name, "failed"));
            let tasks = failed.chain(also.to_vec()).collect();
            let state = state(services, tasks);
            let judgement = judge(&state, &[]);
            let at = Duration::from_secs(6 * round);
            if let Some(crash) = crashes.look(&state, &judgement, at) {
                return Some(crash);
            }
        }
        None
    }

    #[test]
    fn a_crash_loop_is_seen_after_five_failures_and_not_before() {
        let look = |times| rounds(&mut Crashes::default(), &["app"], &["app"], 0..times, &[]);
        assert_eq!(look(4), None);
        let crash = look(5).unwrap();
        assert_eq!(
            (crash.service.as_str(), crash.failures, crash.exit_code),
            ("app", 5, Some(3))
        );
        assert_eq!(
            crash.to_string(),
            "service `app` crash-loops: 5 failed tasks, last exit code 3"
        );
    }

    /// A worker that tries for some seconds before it gives up.
    #[test]
    fn three_that_took_as_long_as_five_are_a_loop() {
        let failures = |seconds: &[u64]| {
            let mut crashes = Crashes::default();
            let mut tasks = Vec::new();
            for at in seconds {
                tasks.insert(0, task(&format!("f{at}"), "app", "failed"));
                let state = state(&["app"], tasks.clone());
                let at = Duration::from_secs(*at);
                if let Some(crash) = crashes.look(&state, &judge(&state, &[]), at) {
                    return Some(crash.failures);
                }
            }
            None
        };
        assert_eq!(failures(&[0, 10, 20]), Some(3));
        assert_eq!(failures(&[0, 8, 16]), None);
        assert_eq!(failures(&[0, 8, 16, 24]), Some(4));
        assert_eq!(failures(&[0, 60]), None);
    }

    #[test]
    fn an_app_may_crash_while_its_database_starts_but_not_for_ever() {
        let services = ["app", "db"];
        let starting = [task("d", "db", "starting")];
        let look = |crashes: &mut Crashes, times, db: &[Task]| {
            rounds(crashes, &services, &["app"], 0..times, db)
        };
        let up = [task("d", "db", "running")];
        assert_eq!(look(&mut Crashes::default(), 5, &up).unwrap().failures, 5);
        assert_eq!(look(&mut Crashes::default(), 9, &starting), None);
        let crash = look(&mut Crashes::default(), 10, &starting).unwrap();
        assert_eq!((crash.service.as_str(), crash.failures), ("app", 10));
        // As long as the recipe says that the database may take.
        let minute = BTreeMap::from([("db".to_owned(), Duration::from_secs(60))]);
        let patient = || Crashes::default().start_periods(minute.clone());
        assert_eq!(look(&mut patient(), 19, &starting), None);
        assert!(look(&mut patient(), 20, &starting).is_some());
    }

    #[test]
    fn many_rounds_in_little_time_are_no_loop_while_something_starts() {
        let mut crashes = Crashes::default();
        for round in 0..40 {
            let tasks = vec![
                task(&format!("f{round}"), "app", "failed"),
                task("d", "db", "starting"),
            ];
            let state = state(&["app", "db"], tasks);
            let at = Duration::from_secs(round);
            let found = crashes.look(&state, &judge(&state, &[]), at);
            assert_eq!(found, None, "{round}");
        }
    }

    #[test]
    fn two_that_fail_are_no_excuse_for_each_other() {
        let both = ["app", "web"];
        let crash = rounds(&mut Crashes::default(), &both, &both, 0..5, &[]).unwrap();
        assert_eq!((crash.service.as_str(), crash.failures), ("app", 5));
        assert!(
            crash.to_string().ends_with("; `web` fails as well"),
            "{crash}"
        );
        // `web` is killed by its check at times only: what it excused until then counts as well.
        let mut crashes = Crashes::default();
        let starting = [task("w", "web", "starting")];
        assert_eq!(rounds(&mut crashes, &both, &["app"], 0..3, &starting), None);
        assert_eq!(rounds(&mut crashes, &both, &both, 3..4, &[]), None);
        let crash = rounds(&mut crashes, &both, &both, 4..5, &[]).unwrap();
        assert_eq!((crash.service.as_str(), crash.failures), ("app", 5));
    }

    /// The worker needs the app, which died until the database was up and now migrates.
    #[test]
    fn what_failed_while_a_database_started_still_excuses_what_needs_it() {
        let all = ["app", "db", "worker"];
        let mut crashes = Crashes::default();
        let starting = [task("d", "db", "starting")];
        let both = ["app", "worker"];
        assert_eq!(rounds(&mut crashes, &all, &both, 0..4, &starting), None);
        let migrating = [task("d", "db", "running"), task("a", "app", "starting")];
        assert_eq!(
            rounds(&mut crashes, &all, &["worker"], 4..9, &migrating),
            None
        );
    }

    #[test]
    fn a_command_that_does_not_exist_fails_sooner() {
        let mut broken = task("1", "app", "failed");
        broken.error =
            "starting container failed: exec: \"nope\": executable file not found in $PATH"
                .to_owned();
        let mut again = broken.clone();
        again.id = "2".to_owned();
        let state = state(&["app"], vec![again, broken]);
        let found = Crashes::default().look(&state, &judge(&state, &[]), Duration::ZERO);
        assert!(found.is_some());
    }

    #[test]
    fn failures_from_before_are_not_held_against_an_upgrade() {
        let old: Vec<Task> = (0..9)
            .map(|id| task(&format!("o{id}"), "app", "failed"))
            .collect();
        let state = state(&["app"], old);
        let mut crashes = Crashes::since(&state);
        assert_eq!(
            crashes.look(&state, &judge(&state, &[]), Duration::ZERO),
            None
        );
    }
}
