//! Steadiness: whether a service that failed stays up now, or is only between two failures.
//!
//! A task that dies after some seconds is `running` meanwhile, and a look in those seconds finds nothing wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::service::{Service, StackState, Task};

/// How long a service that failed must stay up at least: twice Swarm's default delay before it starts a failed
/// task again.
pub const LEAST: Duration = Duration::from_secs(10);

/// The most of the time between two looks that counts as seen: twice what a wait lets pass without an event. A host
/// that stands still for longer answers first with what was true before.
const SEEN: Duration = Duration::from_secs(2);

/// How long tasks were up, as far as one wait saw them.
///
/// All times are those of the wait's own monotonic clock. The engine's timestamps would not do: they come from the
/// clocks of two nodes, jump with them, and count the pull of an image as life. What is not seen between two looks is
/// taken against the service: a task is up since the look that found it so, of a gap no more than [`SEEN`] counts as
/// life, and a failed task lived from the look before it was found up, whatever the gaps.
#[derive(Debug, Default)]
pub struct Lives {
    before: BTreeSet<String>,
    up: BTreeMap<String, Life>,
    failed: BTreeMap<String, Failed>,
    last_look: Duration,
    /// How much of the time so far counts as seen.
    watched: Duration,
}

#[derive(Debug)]
struct Life {
    /// What [`Lives::watched`] was when it was first found up.
    since: Duration,
    /// When it was last seen not to be up.
    not_before: Duration,
}

#[derive(Debug)]
struct Failed {
    service_id: String,
    container_spec: serde_json::Value,
    lived: Duration,
}

impl Lives {
    /// Starts watching; the tasks that had failed `before` are not held against their services.
    #[must_use]
    pub fn since(before: &BTreeSet<String>) -> Self {
        Self {
            before: before.clone(),
            ..Self::default()
        }
    }

    /// Looks at `state`, which was asked for `asked` after the wait began and is looked at `at` after it; returns the
    /// services that are up and may yet fail again, each with how long it must stay up.
    ///
    /// Those are the ones of which a task of the current spec failed and whose youngest task has not been up for
    /// longer than any of those was. Why they failed does not matter: something else may have been starting.
    pub fn look(
        &mut self,
        state: &StackState,
        asked: Duration,
        at: Duration,
    ) -> Vec<(String, String)> {
        self.watched += asked.saturating_sub(self.last_look).min(SEEN);
        for task in &state.tasks {
            self.note(task, at);
        }
        self.last_look = at;
        let services = state.services.values();
        services
            .filter_map(|service| {
                let reason = self.reason(state, service)?;
                Some((service.name.clone(), reason))
            })
            .collect()
    }

    fn note(&mut self, task: &Task, at: Duration) {
        if task.is_up() {
            let not_before = self.last_look;
            self.up.entry(task.id.clone()).or_insert(Life {
                since: self.watched,
                not_before,
            });
        } else if task.has_failed() && !self.before.contains(&task.id) {
            let life = self.up.get(&task.id);
            let born = life.map_or(self.last_look, |life| life.not_before);
            self.failed
                .entry(task.id.clone())
                .or_insert_with(|| Failed {
                    service_id: task.service_id.clone(),
                    container_spec: task.container_spec.clone(),
                    lived: at.saturating_sub(born),
                });
        }
    }

    fn reason(&self, state: &StackState, service: &Service) -> Option<String> {
        // What failed of another spec, as when Swarm rolled back, says nothing about this one.
        let failed: Vec<&Failed> = self
            .failed
            .values()
            .filter(|task| {
                task.service_id == service.id && task.container_spec == service.container_spec
            })
            .collect();
        let wanted = failed.iter().map(|task| task.lived).max()?.max(LEAST);
        // None is up of a job that is done in the end, and of a service that `judge` has pending anyway.
        let up = state
            .tasks_of(service)
            .filter(|task| task.is_up())
            .filter_map(|task| self.up.get(&task.id))
            .map(|life| self.watched.saturating_sub(life.since))
            .min()?;
        let count = failed.len();
        (up <= wanted).then(|| {
            format!(
                "{0}/{0} running, must stay up for {1:.0} s after {count} failed task{2}",
                service.desired,
                wanted.as_secs_f64().ceil(),
                if count == 1 { "" } else { "s" },
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::service::samples;
    use serde_json::json;

    fn task(id: &str, state: &str) -> Task {
        samples::task(id, "worker", state)
    }

    fn state(tasks: Vec<Task>) -> StackState {
        let worker = samples::service("worker");
        StackState {
            services: BTreeMap::from([(worker.name.clone(), worker)]),
            tasks,
        }
    }

    fn look(lives: &mut Lives, at: u64, tasks: &[(&str, &str)]) -> Vec<(String, String)> {
        let tasks = tasks.iter().map(|(id, state)| task(id, state)).collect();
        let at = Duration::from_secs(at);
        lives.look(&state(tasks), at, at)
    }

    /// Looks at each of `looks`, which are `(seconds, tasks)`, and every second between; returns whether the last one
    /// found it steady.
    fn steady(lives: &mut Lives, looks: &[(u64, &[(&str, &str)])]) -> bool {
        for pair in looks.windows(2) {
            for at in pair[0].0..pair[1].0 {
                look(lives, at, pair[0].1);
            }
        }
        looks
            .last()
            .is_none_or(|(at, tasks)| look(lives, *at, tasks).is_empty())
    }

    #[test]
    fn a_service_that_never_failed_is_steady_at_once() {
        assert!(steady(&mut Lives::default(), &[(0, &[("1", "running")])]));
        let other_spec = {
            let mut old = task("0", "failed");
            old.container_spec = json!({"Image": "x:0"});
            state(vec![task("1", "running"), old])
        };
        let found = Lives::default().look(&other_spec, Duration::ZERO, Duration::ZERO);
        assert_eq!(found, []);
    }

    #[test]
    fn a_service_that_failed_must_stay_up_for_ten_seconds() {
        let now: &[(&str, &str)] = &[("1", "running"), ("0", "failed")];
        let began = (20, now);
        for (at, is_steady) in [(21, false), (30, false), (31, true)] {
            let found = steady(&mut Lives::default(), &[(19, &[]), began, (at, now)]);
            assert_eq!(found, is_steady, "{at}");
        }
        let mut lives = Lives::default();
        let reason = look(&mut lives, 0, now);
        assert_eq!(
            reason[0].1,
            "1/1 running, must stay up for 10 s after 1 failed task"
        );
    }

    /// A host that stood still for a minute says first what was true before.
    #[test]
    fn what_nobody_saw_is_no_life() {
        let now: &[(&str, &str)] = &[("1", "running"), ("0", "failed")];
        let mut lives = Lives::default();
        look(&mut lives, 0, now);
        assert_ne!(look(&mut lives, 60, now), []);
        // Nor is the time that the engine takes to answer.
        let (asked, answered) = (Duration::from_secs(60), Duration::from_secs(120));
        let tasks = vec![task("1", "running"), task("0", "failed")];
        assert_ne!(lives.look(&state(tasks), asked, answered), []);
        assert!(!steady(&mut lives, &[(120, now), (128, now)]));
        assert!(steady(&mut lives, &[(128, now), (130, now)]));
    }

    #[test]
    fn it_must_stay_up_for_longer_than_the_longest_failed_task() {
        let now: &[(&str, &str)] = &[("1", "running"), ("0", "failed")];
        // It came up between the looks at 4 s and at 5 s and was gone by 35 s.
        let lived: &[(u64, &[(&str, &str)])] = &[
            (4, &[]),
            (5, &[("0", "running")]),
            (34, &[("0", "running")]),
            (35, &[("0", "failed")]),
            (40, now),
        ];
        for (at, is_steady) in [(55, false), (71, false), (72, true)] {
            let mut looks = lived.to_vec();
            looks.push((at, now));
            assert_eq!(steady(&mut Lives::default(), &looks), is_steady, "{at}");
        }
    }

    #[test]
    fn each_new_task_begins_again_and_a_forgotten_one_counts() {
        let looks: &[(u64, &[(&str, &str)])] = &[
            (0, &[("0", "failed")]),
            (1, &[("1", "running"), ("0", "failed")]),
            (9, &[("1", "running"), ("0", "failed")]),
            // Swarm keeps the history short.
            (12, &[("2", "running")]),
        ];
        assert!(!steady(&mut Lives::default(), looks));
    }

    #[test]
    fn what_failed_before_and_a_job_that_is_done_are_not_waited_for() {
        let before = state(vec![task("0", "failed")]);
        let mut lives = Lives::since(&before.failed());
        assert!(steady(
            &mut lives,
            &[(0, &[("1", "running"), ("0", "failed")])]
        ));
        assert!(steady(
            &mut Lives::default(),
            &[(0, &[("1", "complete"), ("0", "failed")])]
        ));
    }
}
