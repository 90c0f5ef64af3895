//! How containers come to their end: which of them Swarm killed for their healthcheck, and which have ended though Swarm's
//! books say that they run.
//!
//! The engine tells Swarm once that a container is unhealthy, and Swarm then asks it to end. Neither is kept in the
//! container: its probes go on while it ends, one that passes then begins the count anew, and five are kept of however
//! many failed. So there are three proofs, and each of them is enough.

use std::time::Duration;

use bollard::models::{ContainerInspectResponse, HealthConfig};
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::container::short;
use super::service::{StackState, Task};
use super::{Engine, EngineError, filters};
use ground::label::NAMESPACE;
use ground::name::StackName;

/// After how many failures a container is unhealthy where neither spec nor image says: `defaultProbeRetries` in moby's
/// `daemon/health.go`.
const RETRIES: u32 = 3;

/// Docker's own interval: `defaultProbeInterval` in the same file.
const EVERY: Duration = Duration::from_secs(30);

/// What the engine says of a container that it calls unhealthy: `handleProbeResult` in the same file. Swarm waits for
/// these very words (`Start` and `checkHealth` in its `executor/container/controller.go`).
const TOLD: &str = "health_status: unhealthy";

/// How long the engine may take to say what it remembers.
const ANSWER: Duration = Duration::from_secs(5);

/// How one probe ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) passed: bool,
    /// Whether it began after the `start_period`.
    pub(super) counts: bool,
}

/// How long a healthcheck may fail before the engine calls its container unhealthy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// The `start_period`, in which a failure counts for nothing.
    pub(super) period: Duration,
    /// From the end of one probe to the beginning of the next.
    pub(super) interval: Duration,
    /// How many failures in a row are too many.
    pub(super) retries: u32,
}

impl Patience {
    /// Reads what spec and image say, which the engine has merged.
    pub(super) fn of(check: &HealthConfig) -> Self {
        let time = |nanos: Option<i64>| {
            let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok());
            let nanos = nanos.filter(|nanos| *nanos > 0);
            nanos.map(Duration::from_nanos)
        };
        let retries = check
            .retries
            .and_then(|retries| u32::try_from(retries).ok());
        Self {
            period: time(check.start_period).unwrap_or_default(),
            interval: time(check.interval).unwrap_or(EVERY),
            retries: retries.filter(|retries| *retries > 0).unwrap_or(RETRIES),
        }
    }

    /// Returns how old a container is at least whose check has failed as often as it may.
    fn least(self) -> Duration {
        let first = self.period.max(self.interval);
        first.saturating_add(self.interval.saturating_mul(self.retries - 1))
    }

    /// Returns whether as many probes in a row failed as may: by the engine's own count, by those that it keeps, or, of a
    /// container that `lived` for as long as all of them take, because every one that is known failed but the last.
    pub(super) fn is_over(
        self,
        streak: i64,
        outcomes: &[Outcome],
        lived: Option<Duration>,
    ) -> bool {
        let (mut row, mut longest, mut was_healthy) = (0, 0, false);
        for outcome in outcomes {
            was_healthy |= outcome.passed;
            // Who was healthy once has no `start_period` any more.
            let failed = !outcome.passed && (outcome.counts || was_healthy);
            row = if failed { row + 1 } else { 0 };
            longest = longest.max(row);
        }
        // One that passes at the end may have begun when the container was asked to end. After one that fails the
        // engine's count is right.
        let is_begun_anew = match outcomes {
            [failed @ .., last] => {
                let fails = |outcome: &Outcome| !outcome.passed && outcome.counts;
                last.passed && !failed.is_empty() && failed.iter().all(fails)
            }
            [] => false,
        };
        streak >= i64::from(self.retries)
            || longest >= self.retries
            || is_begun_anew && lived.is_some_and(|lived| lived >= self.least())
    }
}

/// Returns for how long a container lived, by the engine's clock; `None` of one that lives.
pub(super) fn lived(inspected: &ContainerInspectResponse) -> Option<Duration> {
    let state = inspected.state.as_ref()?;
    if state.running == Some(true) {
        return None;
    }
    let moment = |text: &Option<String>| text.as_ref()?.parse::<Timestamp>().ok();
    let (began, ended) = (moment(&state.started_at)?, moment(&state.finished_at)?);
    Duration::try_from(ended.duration_since(began)).ok()
}

impl Engine {
    /// Returns whether the engine remembers to have called a container unhealthy. It keeps its last 256 events
    /// (`eventsLimit` in moby's `daemon/events/events.go`), so that it does not is no proof.
    pub(super) async fn was_called_unhealthy(&self, container: &str) -> Result<bool, EngineError> {
        let by = filters([
            ("container", container.to_owned()),
            ("event", TOLD.to_owned()),
        ]);
        let options = EventsOptionsBuilder::new()
            .since("1")
            .until(&Timestamp::now().as_second().to_string())
            .filters(&by)
            .build();
        let mut events = Box::pin(self.docker.events(Some(options)));
        let first = tokio::time::timeout(ANSWER, events.next()).await;
        match first {
            Ok(Some(Ok(_))) => Ok(true),
            Ok(Some(Err(error))) => {
                let what = format!("ask for the events of container {}", short(container));
                Err(self.failed(what, error))
            }
            Ok(None) | Err(_) => Ok(false),
        }
    }

    /// Returns the services of which a task runs by Swarm's books while its container has ended, each with what it waits
    /// for.
    ///
    /// Swarm hears of an end later than the engine knows it. And it says `running` for a moment even of a task that it
    /// has just killed as unhealthy, where that ended with 0: `Start` in moby's `executor/container/controller.go` returns
    /// no error then, and only the `Wait` that follows finds that it is over.
    ///
    /// # Errors
    /// [`EngineError`] when the containers cannot be listed.
    pub async fn ended_meanwhile(
        &self,
        stack: &StackName,
        state: &StackState,
    ) -> Result<Vec<(String, String)>, EngineError> {
        let by = filters([("label", format!("{NAMESPACE}={stack}"))]);
        let options = ListContainersOptionsBuilder::new().filters(&by).build();
        let containers = self
            .ask(
                || format!("list the containers of {stack}"),
                async || self.docker.list_containers(Some(options.clone())).await,
            )
            .await?;
        let lives = |id: &String| containers.iter().any(|one| one.id.as_ref() == Some(id));
        let is_over =
            |task: &Task| task.is_up() && task.container_id.as_ref().is_some_and(|id| !lives(id));
        let services = state.services.values();
        let over = services.filter(|service| state.tasks_of(service).any(is_over));
        let why = "running, but its container has ended".to_owned();
        Ok(over
            .map(|service| (service.name.clone(), why.clone()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::service::samples::{state, task};
    use super::super::testing::engine;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stack() -> StackName {
        let zone = "z".parse().unwrap();
        ground::name::Domain::parse("note-012345.z", &zone)
            .unwrap()
            .stack()
    }

    fn outcomes(codes: &[i64], counts: bool) -> Vec<Outcome> {
        let outcome = |code: &i64| Outcome {
            passed: *code == 0,
            counts,
        };
        codes.iter().map(outcome).collect()
    }

    /// Whether a check of that many retries every two seconds is over, with a streak that a probe has begun anew.
    fn over(retries: u32, codes: &[i64], lived: u32) -> bool {
        let patience = Patience {
            period: Duration::ZERO,
            interval: 2 * SECOND,
            retries,
        };
        patience.is_over(0, &outcomes(codes, true), Some(lived * SECOND))
    }

    #[test]
    fn a_count_that_the_last_probe_began_anew_is_known_by_the_log_or_by_the_time() {
        assert!(over(3, &[1, 1, 1, 0], 0));
        assert!(over(3, &[0, 1, 1, 1, 0], 0));
        assert!(!over(3, &[1, 1, 0], 5));
        // A run has 45 retries where the recipe has three every 30 s, and the engine keeps five.
        assert!(over(45, &[1, 1, 1, 1, 0], 90));
        assert!(!over(45, &[1, 1, 1, 1, 0], 89));
        // It was healthy meanwhile, is healthy, or has not failed as often: the engine's count of it is right.
        assert!(!over(45, &[1, 0, 1, 1, 0], 900));
        assert!(!over(45, &[0, 0, 0, 0, 0], 900));
        assert!(!over(45, &[1, 1, 1, 1, 1], 900));
        assert!(!over(3, &[], 900));
    }

    #[test]
    fn a_start_period_excuses_until_the_container_was_healthy() {
        let patience = Patience {
            period: 60 * SECOND,
            interval: 2 * SECOND,
            retries: 2,
        };
        let over = |codes: &[i64], lived: u32| {
            patience.is_over(0, &outcomes(codes, false), Some(lived * SECOND))
        };
        assert!(!over(&[1, 1, 1, 1, 0], 900));
        assert!(over(&[0, 1, 1, 0], 10));
        assert_eq!(patience.least(), 62 * SECOND);
    }

    #[test]
    fn what_neither_spec_nor_image_says_is_dockers() {
        let patience = Patience::of(&HealthConfig::default());
        assert_eq!(patience.least(), 90 * SECOND);
        let zero = HealthConfig {
            retries: Some(0),
            interval: Some(0),
            ..HealthConfig::default()
        };
        assert_eq!(Patience::of(&zero).least(), 90 * SECOND);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_task_that_runs_by_the_books_is_over_when_its_container_is() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path(), |request| {
            assert!(request.contains("/containers/json"), "{request}");
            (200, json!([{"Id": "c1"}]).to_string())
        });
        let of = |id: &str, container: &str, word: &str| Task {
            container_id: Some(container.to_owned()),
            ..task(id, "app", word)
        };
        let over = async |tasks| {
            let state = state(&["app"], tasks);
            let over = engine.ended_meanwhile(&stack(), &state).await.unwrap();
            over.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(over(vec![of("1", "c1", "running")]).await, [""; 0]);
        assert_eq!(over(vec![of("2", "c2", "running")]).await, ["app"]);
        assert_eq!(over(vec![of("2", "c2", "complete")]).await, [""; 0]);
    }

    /// Its check passes while it is asked to end, so what is kept of it has no failure.
    #[tokio::test(flavor = "current_thread")]
    async fn one_that_is_healthy_when_it_ends_was_killed_if_the_engine_told_swarm_so() {
        const TOLD: &str = r#"{"Type":"container","Action":"health_status: unhealthy"}"#;
        for (running, body, killed) in
            [(false, TOLD, true), (false, "", false), (true, TOLD, false)]
        {
            let dir = tempfile::tempdir().unwrap();
            let inspected = json!({"State": {
                "Running": running,
                "StartedAt": "2026-01-01T00:00:00Z",
                "FinishedAt": "2026-01-01T00:01:00Z",
                "Health": {"FailingStreak": 0, "Log": [{"ExitCode": 0, "Output": ""}]},
            }});
            let engine = engine(dir.path(), move |request| {
                if request.contains("/containers/c1/json") {
                    return (200, inspected.to_string());
                }
                for part in ["/events", "since=1", "until=", "unhealthy", "c1"] {
                    assert!(request.contains(part), "{request}");
                }
                (200, body.to_owned())
            });
            let checked = engine.health("c1").await.unwrap();
            assert_eq!(checked.is_unhealthy, killed, "{running} {body}");
        }
    }
}
