//! Whether the containers of an app have come to rest: then what it answers is no beginning.
//!
//! An app that starts works: it migrates, compiles, fills its database. One that says 404 or 500 while none of its
//! containers does anything says so tomorrow, too. What only waits looks the same, so the window is longer than the
//! pauses that programs make between two tries to reach their database.

use std::collections::VecDeque;
use std::time::Duration;

use crate::swarm::service::{StackState, Task};
use crate::swarm::{Engine, EngineError};
use crate::wait::Stopwatch;

/// How long it must last.
const WINDOW: Duration = Duration::from_secs(25);

/// How much of that time the containers may compute, all together, as a part of one core: runtimes that idle, checks of
/// health and our own questions.
const IDLE: f64 = 0.1;

/// How often is measured, and meanwhile asked.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// How much CPU the containers of an app used, while it gave one answer.
#[derive(Debug)]
pub(super) struct Rest {
    clock: Stopwatch,
    answer: String,
    containers: Vec<String>,
    /// When, and how much the containers had used by then.
    samples: VecDeque<(Duration, Duration)>,
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            clock: Stopwatch::start(),
            answer: String::new(),
            containers: Vec::new(),
            samples: VecDeque::new(),
        }
    }
}

impl Rest {
    /// Measures, while the app gives `answer`; returns how it was at rest, once it has been for long enough.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) async fn measure(
        &mut self,
        engine: &Engine,
        state: &StackState,
        answer: &str,
    ) -> Result<Option<String>, EngineError> {
        let up = state.tasks.iter().filter(|task| task.is_up());
        let mut containers: Vec<String> = up.filter_map(container).collect();
        containers.sort();
        let mut used = Duration::ZERO;
        for container in &containers {
            let Some(more) = engine.cpu_time(container).await? else {
                self.samples.clear();
                return Ok(None);
            };
            used += more;
        }
        Ok(self.note(answer, containers, self.clock.elapsed(), used))
    }

    fn note(
        &mut self,
        answer: &str,
        containers: Vec<String>,
        at: Duration,
        used: Duration,
    ) -> Option<String> {
        if self.answer != answer || self.containers != containers {
            self.samples.clear();
        }
        answer.clone_into(&mut self.answer);
        self.containers = containers;
        self.samples.push_back((at, used));
        while self
            .samples
            .get(1)
            .is_some_and(|(second, _)| at.saturating_sub(*second) >= WINDOW)
        {
            self.samples.pop_front();
        }
        let (first, before) = *self.samples.front()?;
        let (elapsed, used) = (at.saturating_sub(first), used.saturating_sub(before));
        let share = used.as_secs_f64() / elapsed.as_secs_f64();
        (elapsed >= WINDOW && share < IDLE).then(|| {
            format!(
                "it said so for {:.0} s, in which its containers did nothing ({:.1} % of a core)",
                elapsed.as_secs_f64(),
                share * 100.0
            )
        })
    }
}

fn container(task: &Task) -> Option<String> {
    task.container_id.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measures once a second of an app that gives these answers and uses so much of a core; returns after how many
    /// seconds it was at rest.
    fn seconds(of: impl Fn(u64) -> (&'static str, &'static str, f64)) -> Option<u64> {
        let (mut rest, mut used) = (Rest::default(), 7.0);
        (0..100).find(|second| {
            let (answer, container, share) = of(*second);
            used += share;
            let at = Duration::from_secs(*second);
            let containers = vec![container.to_owned()];
            rest.note(answer, containers, at, Duration::from_secs_f64(used))
                .is_some()
        })
    }

    #[test]
    fn an_app_is_at_rest_when_it_said_the_same_for_long_and_did_nothing_meanwhile() {
        assert_eq!(seconds(|_| ("500", "c", 0.02)), Some(25));
        assert_eq!(seconds(|_| ("500", "c", 0.2)), None);
        // It works at first; one second of work later on is a timer of its own.
        assert_eq!(
            seconds(|at| ("500", "c", if at < 30 { 0.9 } else { 0.01 })),
            Some(52)
        );
        assert_eq!(
            seconds(|at| ("500", "c", if at == 9 { 1.0 } else { 0.01 })),
            Some(25)
        );
        // Another answer, another container.
        assert_eq!(
            seconds(|at| (if at < 9 { "404" } else { "500" }, "c", 0.0)),
            Some(34)
        );
        assert_eq!(
            seconds(|at| ("500", if at < 9 { "c" } else { "d" }, 0.0)),
            Some(34)
        );
    }
}
