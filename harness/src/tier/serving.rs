//! The generic proof that an app serves: the real app answers over HTTP.

mod look;
mod settled;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::{Bench, TierError};
use crate::event::Event;
use engine::http::{Question, Way};
use engine::swarm::rest::{self, Rest};
use engine::wait::{Deadline, Poll, Stopwatch, WaitError, poll_until};
use look::{Asked, Seen};
use recipe::compose::query::Web;
use recipe::declared::file::{Probe, Scheme};
use recipe::traefik::faults;
pub use settled::Settled;

/// How often an app is asked that does not serve yet.
const INTERVAL: Duration = Duration::from_millis(150);

/// How long an app may take that is red already: long enough to see that it serves none the less.
const RED: Duration = Duration::from_secs(15);

impl Bench {
    /// Returns where the app is asked: as declared, else as the recipe tells its gateway; unless nothing of it runs.
    #[must_use]
    pub fn web(&self) -> Option<Web> {
        let (project, health) = (&self.current.project, self.declared.health());
        if health.none.is_some() {
            return None;
        }
        // While the base is deployed a service that only the head has is not there.
        let declared = health.service.as_deref();
        let named = declared.filter(|name| project.service(name).is_some());
        let labelled = match named {
            Some(name) => project.web_at(name),
            None => project.web(),
        };
        let web = if declared.is_some() && named.is_none() {
            labelled?
        } else {
            let service = named
                .map(str::to_owned)
                .or_else(|| labelled.as_ref().map(|web| web.service.clone()))
                .or_else(|| project.main_service().map(|main| main.name.clone()))?;
            Web {
                service,
                port: health.port.or(labelled.as_ref().map(|web| web.port))?,
                tls: match health.scheme {
                    Some(scheme) => scheme == Scheme::Https,
                    None => labelled.is_some_and(|web| web.tls),
                },
            }
        };
        let runs = project
            .service(&web.service)
            .is_some_and(|s| s.desired_replicas() != Some(0));
        runs.then_some(web)
    }

    /// Returns the host that the app is asked for where that is not its domain.
    pub(super) fn health_host(&self) -> Option<String> {
        let host = self.declared.health().host.as_ref()?;
        Some(host.replace("${DOMAIN}", self.lock.domain().as_str()))
    }

    /// Returns the way to the app at this moment, or why there is none.
    ///
    /// # Errors
    /// [`TierError::Engine`].
    pub async fn way(&self, web: &Web) -> Result<Result<Way, String>, TierError> {
        match &self.gateway {
            Some(gateway) => Ok(Ok(Way::Gateway(gateway.clone()))),
            None => self.way_to(&web.service, web.port, web.tls).await,
        }
    }

    /// Waits until the app serves and is ready; returns what was seen, or why it does not.
    ///
    /// A declared HTTP timeout counts from now; without one it is what is left of the deploy's. Of a tier that `is_red`
    /// the verdict is known, and 15 s are enough for what else is wrong.
    ///
    /// # Errors
    /// [`TierError`] when the host fails.
    pub async fn serving(
        &self,
        deadline: Deadline,
        is_red: bool,
    ) -> Result<Result<Option<String>, String>, TierError> {
        let mut deadline = self
            .declared
            .http_timeout()
            .map_or(deadline, Deadline::after);
        if is_red {
            deadline = deadline.min(Deadline::after(RED));
        }
        let seen = match self.answers(deadline).await? {
            Ok(seen) => seen,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Err(reason) = self.others_listen(deadline).await? {
            return Ok(Err(reason));
        }
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
    /// A router that Traefik passes over is a failure: no user would reach what it stands for. Without a web
    /// port and without such a router, every service running and healthy is all that can be asked; the caller has
    /// waited for that.
    ///
    /// # Errors
    /// [`TierError`] when the host fails.
    async fn answers(
        &self,
        deadline: Deadline,
    ) -> Result<Result<Option<String>, String>, TierError> {
        let health = self.declared.health();
        if let Some(reason) = &health.none {
            return Ok(Ok(Some(format!(
                "declared not to answer requests ({reason}): every service is running and healthy"
            ))));
        }
        let stack = self.lock.domain().stack();
        let faults = faults::faults(&self.current.project, stack.as_str(), None);
        if let Some(fault) = faults.into_iter().find(|fault| fault.rule == faults::PORT)
            && health.port.is_none()
        {
            return Ok(Err(fault.message));
        }
        let Some(web) = self.web() else {
            return Ok(Ok(Some(
                "no web port in the recipe: every service is running and healthy".to_owned(),
            )));
        };
        if health.scheme == Some(Scheme::Tcp) {
            return self.connects(&web, deadline).await;
        }
        self.asks(&web, deadline).await
    }

    /// Waits until something listens at every other port of the head to which a router leads: users of an operator get 502
    /// from one where nothing does. A base with such a router is on its way out.
    async fn others_listen(&self, deadline: Deadline) -> Result<Result<(), String>, TierError> {
        let health = self.declared.health();
        if health.none.is_some() || !self.is_on_head() {
            return Ok(Ok(()));
        }
        let asked = self.web();
        let silent = health.silent.iter().flatten().collect::<Vec<_>>();
        for Web { service, port, .. } in self.current.project.routed() {
            let is_asked = |web: &Web| web.service == service && web.port == port;
            if silent.contains(&&service) || asked.as_ref().is_some_and(is_asked) {
                continue;
            }
            let probe = Probe {
                tcp: Some(port),
                service: Some(service.clone()),
                stable: Some(1),
                ..Probe::default()
            };
            if let Err(reason) = self.holds(&probe, deadline).await? {
                return Ok(Err(format!(
                    "a router leads to `{service}` port {port}, and nothing listens there: {reason}. If it is set up by hand first, write `health: {{silent: [{service}]}}` into recipe-ci.yml"
                )));
            }
        }
        Ok(Ok(()))
    }

    async fn connects(
        &self,
        web: &Web,
        deadline: Deadline,
    ) -> Result<Result<Option<String>, String>, TierError> {
        let probe = Probe {
            tcp: Some(web.port),
            service: Some(web.service.clone()),
            ..Probe::default()
        };
        let held = self.holds(&probe, deadline).await?;
        Ok(held.map(|()| {
            Some(format!(
                "`{}` accepts connections at port {}",
                web.service, web.port
            ))
        }))
    }

    /// Asks until the app serves, or says the same for so long that it is its answer.
    async fn asks(
        &self,
        web: &Web,
        deadline: Deadline,
    ) -> Result<Result<Option<String>, String>, TierError> {
        let asked = Asked {
            http: &self.http,
            question: Question {
                host: self.health_host(),
                ..Question::get(self.declared.health_path())
            },
            accepted: self.declared.accepted(),
            fallback: self
                .http
                .fallback(&self.zone, self.declared.health_path())
                .await,
            alone: self.current.project.web_count() <= 1,
        };
        let settled = RefCell::new(self.settled.take());
        settled.borrow_mut().begin();
        let rest = RefCell::new(Rest::default());
        let missing_at = RefCell::new(None::<(Stopwatch, String)>);
        let known = Cell::new(None);
        let is_checked = async || -> Result<bool, TierError> {
            if known.get().is_none() {
                known.set(Some(self.is_checked(&web.service).await?));
            }
            Ok(known.get() == Some(true))
        };
        let polled = poll_until(deadline, INTERVAL, || async {
            // Asking is work for the app.
            if let Some((since, said)) = &*missing_at.borrow()
                && since.elapsed() < rest::INTERVAL
            {
                return Ok(Poll::NotYet(said.clone()));
            }
            missing_at.take();
            if let Err(reason) = self.join_gateway().await? {
                return Ok(Poll::NotYet(reason));
            }
            let direct = self.way_to(&web.service, web.port, web.tls).await?;
            let seen = asked.look(direct, self.gateway.as_ref()).await;
            let seen = match seen {
                Seen::Missing(missing) if missing.is_no_page() && is_checked().await? => {
                    Seen::Final(missing)
                }
                // Nothing says that it has begun.
                Seen::Missing(missing) if missing.is_refused() && !is_checked().await? => {
                    Seen::NotYet(missing)
                }
                Seen::Missing(missing) => {
                    let (engine, state) = (self.engine(), self.state().await?);
                    let mut resting = rest.take();
                    let how = resting.measure(engine, &state, &missing.key).await?;
                    rest.replace(resting);
                    if let Some(how) = how {
                        return Ok(Poll::Ready(Err(format!("{}; {how}", missing.text))));
                    }
                    missing_at.replace(Some((Stopwatch::start(), missing.text.clone())));
                    Seen::Missing(missing)
                }
                other => other,
            };
            let said = match settled.borrow_mut().judge(seen) {
                Ok(seen) => return Ok(Poll::Ready(Ok(seen))),
                Err(Poll::Ready(said)) => return Ok(Poll::Ready(Err(said))),
                Err(Poll::NotYet(said)) => said,
            };
            self.events.emit(&Event::Progress(format!(
                "{} port {}: {said}",
                web.service, web.port
            )));
            Ok::<_, TierError>(Poll::NotYet(said))
        })
        .await;
        self.settled.replace(settled.into_inner());
        let place = format!("`{}` port {}", web.service, web.port);
        match polled {
            Ok(Ok(seen)) => Ok(Ok(Some(format!("{seen} ({place})")))),
            Ok(Err(said)) => Ok(Err(format!("{place} does not serve: {said}"))),
            Err(WaitError::TimedOut { elapsed, last }) => Ok(Err(format!(
                "{place} does not serve after {:.0} s: {last}",
                elapsed.as_secs_f64()
            ))),
            Err(WaitError::Failed(error)) => Err(error),
        }
    }

    /// Returns whether a service has a healthcheck, its own or its image's. Then it is healthy by now, and what it
    /// answers is no longer that of a beginning.
    pub(super) async fn is_checked(&self, service: &str) -> Result<bool, TierError> {
        let state = self.state().await?;
        let Some(service) = state.services.get(service) else {
            return Ok(false);
        };
        Ok(matches!(
            self.engine().last_health(&service.id).await,
            Ok(Some(_))
        ))
    }
}
