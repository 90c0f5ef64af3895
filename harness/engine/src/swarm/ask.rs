//! Questions to the engine, which change nothing and may be asked again.
//!
//! One connection that breaks off, as when the engine is restarted with its containers alive, ends no run. What makes or
//! removes something is not asked here: the first request may have arrived.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error as ApiError;

use super::{Engine, EngineError};
use crate::wait::pause;
use ground::error::chain;

/// How long to wait before the second and the third try, as for registries and forges.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// What was asked again, for the report.
#[derive(Debug, Clone)]
pub(super) struct Repeated {
    pauses: [Duration; 2],
    said: Arc<Mutex<Vec<(String, String)>>>,
}

impl Default for Repeated {
    fn default() -> Self {
        Self {
            pauses: PAUSES,
            said: Arc::default(),
        }
    }
}

impl Repeated {
    fn said(&self) -> std::sync::MutexGuard<'_, Vec<(String, String)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the error of a request that got no answer, as bollard has it.
fn not_sent(error: impl std::fmt::Display) -> ApiError {
    std::io::Error::other(error.to_string()).into()
}

impl Engine {
    /// Asks, and asks twice more while the engine does not answer. `what` is a verb with its object.
    ///
    /// # Errors
    /// That of the last try.
    pub(super) async fn ask<T>(
        &self,
        what: impl Fn() -> String,
        question: impl AsyncFn() -> Result<T, ApiError>,
    ) -> Result<T, EngineError> {
        for span in self.repeated.pauses {
            match question().await.map_err(|error| self.failed(what(), error)) {
                Err(error @ EngineError::Unreachable { .. }) => {
                    let reason = chain(&error);
                    tracing::warn!(what = what(), reason, "the engine is asked again");
                    self.repeated.said().push((what(), reason));
                }
                done => return done,
            }
            pause(span).await;
        }
        question().await.map_err(|error| self.failed(what(), error))
    }

    /// Returns the services that `filters` leave, in the engine's own words, for what bollard's models do not hold.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) async fn raw_services(
        &self,
        filters: &HashMap<String, Vec<String>>,
    ) -> Result<serde_json::Value, EngineError> {
        ground::tls::choose_provider();
        let socket = self.host.trim_start_matches("unix://");
        let client = reqwest::Client::builder()
            .unix_socket(socket)
            .timeout(Duration::from_secs(super::ANSWER_LIMIT))
            .build()
            .map_err(not_sent);
        let mut url = reqwest::Url::parse("http://docker/").expect("it is an address");
        url.set_path("services");
        let filters = serde_json::to_string(filters).expect("texts are valid JSON");
        url.query_pairs_mut().append_pair("filters", &filters);
        self.ask(
            || "list the services".to_owned(),
            async || {
                let client = client.as_ref().map_err(not_sent)?;
                let answer = client.get(url.clone()).send().await.map_err(not_sent)?;
                let status = answer.status();
                let body = answer.bytes().await.map_err(not_sent)?;
                if !status.is_success() {
                    return Err(ApiError::DockerResponseServerError {
                        status_code: status.as_u16(),
                        message: String::from_utf8_lossy(&body).into_owned(),
                    });
                }
                Ok(serde_json::from_slice(&body)?)
            },
        )
        .await
    }

    /// Returns what was asked again since the last call, each with the reason.
    #[must_use]
    pub fn asked_again(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.repeated.said())
    }
}

/// An engine for tests that hangs up for some times, and then answers.
#[cfg(any(test, feature = "testing"))]
pub(super) mod testing {
    use super::super::testing;
    use super::*;

    /// The first lines of all requests so far.
    pub type Asked = Arc<Mutex<Vec<String>>>;

    /// Returns an engine in `dir` that hangs up `failures` times and then answers everything with `answer`, JSON; and
    /// what it was asked. It waits for no time between two tries.
    pub fn hangs_up(
        dir: &std::path::Path,
        failures: usize,
        answer: &'static str,
    ) -> (Engine, Asked) {
        let asked = Asked::default();
        let noted = Arc::clone(&asked);
        let mut engine = testing::engine(dir, move |request| {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.push(request.to_owned());
            let status = if noted.len() > failures { 200 } else { 0 };
            (status, answer.to_owned())
        });
        engine.repeated.pauses = [Duration::ZERO; 2];
        (engine, asked)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::hangs_up;
    use super::*;
    use ground::name::Domain;

    #[tokio::test(flavor = "current_thread")]
    async fn a_question_to_an_engine_that_hangs_up_once_is_asked_again_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, asked) = hangs_up(dir.path(), 1, "[]");
        let zone = "ci.localhost".parse().unwrap();
        let domain = Domain::parse("note-0a1b2c.ci.localhost", &zone).unwrap();
        let state = engine.stack_state(&domain.stack()).await.unwrap();
        assert!(state.tasks.is_empty());
        // Services and tasks, one of them twice.
        assert_eq!(asked.lock().unwrap().len(), 3);
        let again = engine.asked_again();
        assert_eq!(again.len(), 1, "{again:?}");
        assert!(again[0].0.starts_with("list the "), "{again:?}");
        assert_eq!(engine.asked_again(), []);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_engine_that_stays_away_is_asked_three_times() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, asked) = hangs_up(dir.path(), 99, "");
        let error = engine.look_into("c").await.unwrap_err();
        assert!(
            matches!(error, EngineError::Unreachable { .. }),
            "{error:?}"
        );
        assert_eq!(asked.lock().unwrap().len(), 3);
    }

    /// A command that the engine may have begun is not begun twice.
    #[tokio::test(flavor = "current_thread")]
    async fn a_command_is_prepared_again_and_never_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let command = ["x".to_owned()];
        let limit = Duration::from_secs(60);
        let (away, asked) = hangs_up(dir.path(), 99, "");
        away.exec("c", &command, None, limit).await.unwrap_err();
        let requests = asked.lock().unwrap().clone();
        let prepares = |line: &String| line.contains("/containers/c/exec");
        assert!(
            requests.len() == 3 && requests.iter().all(prepares),
            "{requests:?}"
        );

        let dir = tempfile::tempdir().unwrap();
        let (back, asked) = hangs_up(dir.path(), 1, r#"{"Id": "e"}"#);
        // What it answers to the start is no stream.
        back.exec("c", &command, None, limit).await.unwrap_err();
        let requests = asked.lock().unwrap().clone();
        let starts = requests
            .iter()
            .filter(|line| line.contains("/exec/e/start"));
        assert_eq!(starts.count(), 1, "{requests:?}");
    }
}
