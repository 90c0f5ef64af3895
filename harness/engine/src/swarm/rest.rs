//! Whether the containers of an app have come to rest: then what it answers is no beginning.
//!
//! An app that starts works: it migrates, compiles, fills its database. One that says 404 or 500 while none of its
//! containers does anything says so tomorrow, too. What only waits looks the same, so the window is longer than the
//! pauses that programs make between two tries to reach their database. So does what gets no processor on a busy
//! machine, so the more wait for one, the less counts as nothing.

use std::collections::VecDeque;
use std::time::Duration;

use super::service::{StackState, Task};
use super::{Engine, EngineError};
use crate::wait::Stopwatch;

/// How long it must last.
const WINDOW: Duration = Duration::from_secs(25);

/// How much of that time the containers may compute, all together, as a part of one core: runtimes that idle, checks of
/// health and our own questions.
const IDLE: f64 = 0.1;

/// The same as a part of what a program gets that wants all: on a busy machine one that works hard uses little.
const STARVED: f64 = 0.3;

/// How often is measured, and meanwhile asked.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// How much CPU the containers of an app used, while it gave one answer.
#[derive(Debug)]
pub struct Rest {
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
    pub async fn measure(
        &mut self,
        engine: &Engine,
        state: &StackState,
        answer: &str,
    ) -> Result<Option<String>, EngineError> {
        let runs = |task: &&Task| {
            task.desired == "running" && matches!(task.state.as_str(), "running" | "starting")
        };
        let tasks = state.tasks.iter().filter(runs);
        let mut containers: Vec<String> = tasks.filter_map(container).collect();
        containers.sort();
        let mut used = Duration::ZERO;
        for container in &containers {
            let Some(more) = engine.cpu_time(container).await? else {
                self.samples.clear();
                return Ok(None);
            };
            used += more;
        }
        let idle = IDLE.min(part_of_a_core() * STARVED);
        Ok(self.note(answer, containers, self.clock.elapsed(), used, idle))
    }

    fn note(
        &mut self,
        answer: &str,
        containers: Vec<String>,
        at: Duration,
        used: Duration,
        idle: f64,
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
        (elapsed >= WINDOW && share < idle).then(|| {
            format!(
                "it said so for {:.0} s, in which its containers did nothing ({:.1} % of a core)",
                elapsed.as_secs_f64(),
                share * 100.0
            )
        })
    }
}

/// Returns how much of a core a program gets that could use a whole one; by the load of the last minute.
fn part_of_a_core() -> f64 {
    let load = ground::host_file::text("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    part(&load, cores)
}

fn part(load: &str, cores: usize) -> f64 {
    let load: f64 = load
        .split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or(0.0);
    #[expect(clippy::cast_precision_loss, reason = "no machine has so many")]
    let cores = cores as f64;
    cores / load.max(cores)
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
            let used = Duration::from_secs_f64(used);
            rest.note(answer, containers, at, used, IDLE).is_some()
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
    #[test]
    fn what_gets_no_processor_is_not_at_rest() {
        let is = |load, part_of_it: f64| (part(load, 2) - part_of_it).abs() < 0.001;
        assert!(is("0.31 0.2 0.1 1/400 7", 1.0));
        assert!(is("2.00 0.2 0.1 1/400 7", 1.0));
        assert!(is("20.0 0.2 0.1 9/400 7", 0.1));
        assert!(is("", 1.0));
        // Of a twentieth of a core that it gets it uses all.
        let mut rest = Rest::default();
        let ends = (0..100).find(|second| {
            let (at, used) = (
                Duration::from_secs(*second),
                Duration::from_millis(50 * *second),
            );
            let idle = IDLE.min(part("40.0 1 1 1/1 1", 2) * STARVED);
            rest.note("500", vec!["c".to_owned()], at, used, idle)
                .is_some()
        });
        assert_eq!(ends, None);
    }
}
