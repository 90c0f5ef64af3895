//! The generic proof that an app serves: the real app answers over HTTP.

use std::time::Duration;

use super::{Bench, TierError};
use crate::event::Event;
use crate::http::{Answer, Question, Way};
use crate::recipe::compose::query::Web;
use crate::recipe::traefik::faults;
use crate::wait::{Deadline, Poll, WaitError, poll_until};

/// How often an app is asked that does not serve yet.
const INTERVAL: Duration = Duration::from_millis(150);

impl Bench {
    /// Returns the service and port that the recipe tells its gateway, unless nothing of it runs.
    #[must_use]
    pub fn web(&self) -> Option<Web> {
        let web = self.current.project.web()?;
        let runs = self
            .current
            .project
            .service(&web.service)
            .is_some_and(|s| s.desired_replicas() != Some(0));
        runs.then_some(web)
    }

    /// Returns the way to the app at this moment, or why there is none.
    ///
    /// # Errors
    /// [`TierError::Engine`].
    pub async fn way(&self, web: &Web) -> Result<Result<Way, String>, TierError> {
        if let Some(gateway) = &self.gateway {
            return Ok(Ok(Way::Gateway(gateway.clone())));
        }
        let state = self.state().await?;
        let Some(container) = state.container_of(&web.service) else {
            return Ok(Err(format!(
                "service `{}` has no running container",
                web.service
            )));
        };
        Ok(match self.engine().address_of(container).await? {
            Some(address) => Ok(Way::Direct {
                address,
                port: web.port,
            }),
            None => Err(format!(
                "service `{}` has no address on docker_gwbridge",
                web.service
            )),
        })
    }

    /// Waits until the app serves and is ready; returns what was seen, or why it does not.
    ///
    /// A declared HTTP timeout counts from now; without one it is what is left of the deploy's.
    ///
    /// # Errors
    /// [`TierError`] when the host fails.
    pub async fn serving(
        &self,
        deadline: Deadline,
    ) -> Result<Result<Option<String>, String>, TierError> {
        let deadline = self
            .declared
            .http_timeout()
            .map_or(deadline, Deadline::after);
        let seen = match self.answers(deadline).await? {
            Ok(seen) => seen,
            Err(reason) => return Ok(Err(reason)),
        };
        Ok(match self.ready(deadline).await? {
            Ok(0) => Ok(seen),
            Ok(count) => {
                let seen = seen.unwrap_or_default();
                Ok(Some(format!("{seen}; {count} readiness probes hold")))
            }
            Err(reason) => Err(reason),
        })
    }

    /// Waits until the app answers.
    ///
    /// A router that Traefik passes over is a failure: nobody would reach what it stands for. Without a web
    /// port and without such a router, every service running and healthy is all that can be asked; the caller has
    /// waited for that.
    ///
    /// # Errors
    /// [`TierError`] when the host fails.
    async fn answers(
        &self,
        deadline: Deadline,
    ) -> Result<Result<Option<String>, String>, TierError> {
        let stack = self.lock.domain().stack();
        let faults = faults::faults(&self.current.project, stack.as_str(), None);
        if let Some(fault) = faults.into_iter().find(|fault| fault.rule == faults::PORT) {
            return Ok(Err(fault.message));
        }
        let Some(web) = self.web() else {
            return Ok(Ok(Some(
                "no web port in the recipe: every service is running and healthy".to_owned(),
            )));
        };
        let path = self.declared.health_path();
        let accepted = self.declared.accepted();
        let fallback = self.http.fallback(&self.zone).await;
        let asked = poll_until(deadline, INTERVAL, || async {
            if let Err(reason) = self.join_gateway().await? {
                return Ok(Poll::NotYet(reason));
            }
            let way = match self.way(&web).await? {
                Ok(way) => way,
                Err(reason) => return Ok(Poll::NotYet(reason)),
            };
            let status = match self.http.ask(&way, &Question::get(path)).await {
                Ok(answer) => match not_serving(&answer, accepted, fallback.as_ref()) {
                    None => return Ok(Poll::Ready(answer)),
                    Some(reason) => reason,
                },
                Err(error) => error.to_string(),
            };
            self.events.emit(&Event::Progress(format!(
                "{} port {}: {status}",
                web.service, web.port
            )));
            Ok::<_, TierError>(Poll::NotYet(status))
        })
        .await;
        match asked {
            Ok(answer) => {
                let millis = answer.elapsed.as_millis();
                Ok(Ok(Some(format!(
                    "{} at {path} of `{}` port {} in {millis} ms",
                    answer.status, web.service, web.port
                ))))
            }
            Err(WaitError::TimedOut { elapsed, last }) => Ok(Err(format!(
                "`{}` port {} does not serve after {:.0} s: {last}",
                web.service,
                web.port,
                elapsed.as_secs_f64()
            ))),
            Err(WaitError::Failed(error)) => Err(error),
        }
    }
}

/// Returns why an answer does not count, or `None` when it does.
fn not_serving(answer: &Answer, accepted: &[u16], fallback: Option<&Answer>) -> Option<String> {
    if !accepted.contains(&answer.status) {
        let accepted: Vec<String> = accepted.iter().map(u16::to_string).collect();
        return Some(format!(
            "status {} (accepted: {})",
            answer.status,
            accepted.join(", ")
        ));
    }
    let same = |other: &Answer| other.status == answer.status && other.body == answer.body;
    fallback.is_some_and(same).then(|| {
        format!(
            "status {}, but the gateway says the same to a domain that nobody has",
            answer.status
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::DEFAULT_STATUSES;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn a_gateways_own_page_does_not_count() {
        let not_serving = |answer: &Answer, fallback: Option<&Answer>| {
            super::not_serving(answer, &DEFAULT_STATUSES, fallback)
        };
        assert_eq!(not_serving(&answer(200, "app"), None), None);
        assert_eq!(
            not_serving(&answer(200, "app"), Some(&answer(404, "gone"))),
            None
        );
        assert!(not_serving(&answer(200, "welcome"), Some(&answer(200, "welcome"))).is_some());
        for status in [404, 500, 502, 503, 401, 204] {
            assert!(not_serving(&answer(status, ""), None).is_some(), "{status}");
        }
    }
}
