//! Declared readiness probes: what must answer, besides the health path, before an app counts as up.
//!
//! The health of one service says nothing of another's: a web client in front of a server that is just
//! rebinding its port looked fine, and the backup then met a container on its way out.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Bench, TierError};
use crate::event::Event;
use engine::http::{Question, Way};
use engine::swarm::rest::{self, Rest};
use engine::wait::{Deadline, Poll, Stopwatch, WaitError, poll_until};
use recipe::compose::query::Web;
use recipe::declared::Statuses;
use recipe::declared::file::Probe;

/// The time between two tries; a probe that must hold several times in a row is spread over it.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long one TCP connection may take: container and harness share a host.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What a port says that nothing listens at.
const REFUSED: &str = "connection refused";

/// How often a TCP port must accept in a row when nothing is declared; the predecessor's number.
const STABLE_CONNECTS: u32 = 3;

impl Bench {
    /// Waits until every probe holds; returns how many there were, or which does not hold.
    ///
    /// Probes of services that only the head has are left out while the base is deployed.
    ///
    /// # Errors
    /// [`TierError`] when the host fails.
    pub async fn ready(&self, deadline: Deadline) -> Result<Result<usize, String>, TierError> {
        let mut held = 0;
        for probe in self.declared.ready() {
            let there = |name: &String| self.current.project.service(name).is_some();
            if !self.is_on_head() && !probe.service.as_ref().is_none_or(there) {
                continue;
            }
            if let Err(reason) = self.holds(probe, deadline).await? {
                return Ok(Err(reason));
            }
            held += 1;
        }
        Ok(Ok(held))
    }

    pub(super) async fn holds(
        &self,
        probe: &Probe,
        deadline: Deadline,
    ) -> Result<Result<(), String>, TierError> {
        let streak = Streak::of(probe);
        let name = describe(probe);
        let resting = RefCell::new((Rest::default(), None::<Stopwatch>));
        let polled = poll_until(deadline, INTERVAL, || async {
            let seen = self.probe_once(probe).await?;
            if let Err(reason) = &seen
                && reason == REFUSED
                && let Some(how) = self.is_at_rest(probe, &resting).await?
            {
                return Ok(Poll::Ready(Err(format!(
                    "not ready: {name}: {reason}; {how}"
                ))));
            }
            Ok::<_, TierError>(match streak.count(seen) {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::NotYet(seen) => {
                    self.events
                        .emit(&Event::Progress(format!("not ready: {name}: {seen}")));
                    Poll::NotYet(seen)
                }
            })
        })
        .await;
        match polled {
            Ok(held) => Ok(held),
            Err(WaitError::TimedOut { elapsed, last }) => Ok(Err(format!(
                "not ready after {:.0} s: {name}: {last}",
                elapsed.as_secs_f64()
            ))),
            Err(WaitError::Failed(error)) => Err(error),
        }
    }

    /// Returns how the app is at rest while nothing listens at a port of a service that says by its healthcheck that it
    /// has begun.
    async fn is_at_rest(
        &self,
        probe: &Probe,
        resting: &RefCell<(Rest, Option<Stopwatch>)>,
    ) -> Result<Option<String>, TierError> {
        let (mut rest, measured) = resting.take();
        let mut how = None;
        let mut measured = measured.filter(|last| last.elapsed() < rest::INTERVAL);
        if measured.is_none() {
            let main = self.current.project.main_service();
            let service = probe.service.as_ref().or(main.map(|main| &main.name));
            if let Some(service) = service
                && self.is_checked(service).await?
            {
                how = rest
                    .measure(self.engine(), &self.state().await?, REFUSED)
                    .await?;
            }
            measured = Some(Stopwatch::start());
        }
        resting.replace((rest, measured));
        Ok(how)
    }

    async fn probe_once(&self, probe: &Probe) -> Result<Result<(), String>, TierError> {
        if let Some(port) = probe.tcp {
            let main = self.current.project.main_service();
            let service = probe.service.clone();
            let Some(service) = service.or_else(|| main.map(|main| main.name.clone())) else {
                return Ok(Err("there is no main service".to_owned()));
            };
            let address = match self.way_to(&service, port, false).await? {
                Ok(Way::Direct { address, port, .. }) => SocketAddr::new(address, port),
                Ok(Way::Gateway(_)) => {
                    return Ok(Err("TCP does not go through a gateway".to_owned()));
                }
                Err(reason) => return Ok(Err(reason)),
            };
            let connect = tokio::net::TcpStream::connect(address);
            return Ok(match tokio::time::timeout(CONNECT_LIMIT, connect).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    Err(REFUSED.to_owned())
                }
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            });
        }
        let web = self.web();
        let way = match (&probe.service, probe.port) {
            (None, None) => match &web {
                Some(web) => self.way(web).await?,
                None => Err("the recipe has no web port; give `service` and `port`".to_owned()),
            },
            (service, port) => {
                let service = service
                    .clone()
                    .or(web.as_ref().map(|web| web.service.clone()));
                let port = port.or(web.as_ref().map(|web| web.port));
                match (service, port) {
                    (Some(service), Some(port)) => {
                        let same = |web: &Web| web.service == service && web.port == port;
                        let tls = web.is_some_and(|web| same(&web) && web.tls);
                        self.way_to(&service, port, tls).await?
                    }
                    _ => Err("the recipe has no web port; give `service` and `port`".to_owned()),
                }
            }
        };
        let way = match way {
            Ok(way) => way,
            Err(reason) => return Ok(Err(reason)),
        };
        let path = probe.http.as_deref().unwrap_or("/");
        let accepted = Statuses::of(probe.statuses.as_deref());
        Ok(match self.http.ask(&way, &Question::get(path)).await {
            Ok(answer) if accepted.accept(answer.status) => Ok(()),
            Ok(answer) => Err(format!("status {}", answer.status)),
            Err(error) if error.is_refused() => Err(REFUSED.to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Returns the way to a port of a service's container.
    pub(super) async fn way_to(
        &self,
        service: &str,
        port: u16,
        tls: bool,
    ) -> Result<Result<Way, String>, TierError> {
        let state = self.state().await?;
        let Some(container) = state.container_of(service) else {
            return Ok(Err(format!("service `{service}` has no running container")));
        };
        Ok(match self.engine().address_of(container).await? {
            Some(address) => Ok(Way::Direct { address, port, tls }),
            None => Err(format!(
                "service `{service}` has no address on docker_gwbridge"
            )),
        })
    }
}

/// How often a probe succeeded in a row, and how often it has to.
struct Streak {
    wanted: u32,
    in_a_row: Cell<u32>,
}

impl Streak {
    fn of(probe: &Probe) -> Self {
        let wanted = probe.stable.unwrap_or(match probe.tcp {
            Some(_) => STABLE_CONNECTS,
            None => 1,
        });
        Self {
            wanted,
            in_a_row: Cell::new(0),
        }
    }

    /// Counts a try; a failure ends the row.
    fn count(&self, tried: Result<(), String>) -> Poll<()> {
        match tried {
            Ok(()) => {
                self.in_a_row.set(self.in_a_row.get() + 1);
                if self.in_a_row.get() >= self.wanted {
                    return Poll::Ready(());
                }
                Poll::NotYet(format!(
                    "{} of {} in a row",
                    self.in_a_row.get(),
                    self.wanted
                ))
            }
            Err(reason) => {
                self.in_a_row.set(0);
                Poll::NotYet(reason)
            }
        }
    }
}

fn describe(probe: &Probe) -> String {
    let what = match (&probe.http, probe.tcp) {
        (_, Some(port)) => format!("tcp port {port}"),
        (Some(path), None) => format!("http {path}"),
        (None, None) => "http /".to_owned(),
    };
    match &probe.service {
        Some(service) => format!("{what} of `{service}`"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries until the probe holds: `.` succeeds, `x` fails. Returns how many tries were made, if it holds at all.
    fn tries(probe: &Probe, tries: &str) -> Option<usize> {
        let streak = Streak::of(probe);
        let mut made = 0;
        tries.chars().find_map(|tried| {
            made += 1;
            let tried = if tried == '.' {
                Ok(())
            } else {
                Err("no answer".to_owned())
            };
            matches!(streak.count(tried), Poll::Ready(())).then_some(made)
        })
    }

    #[test]
    fn a_probe_holds_when_it_succeeded_as_often_in_a_row_as_it_has_to() {
        let stable = |stable, tcp| Probe {
            stable,
            tcp,
            ..Probe::default()
        };
        let twice = stable(Some(2), None);
        assert_eq!(tries(&twice, ".x.."), Some(4));
        assert_eq!(tries(&twice, ".x.x."), None);
        assert_eq!(tries(&twice, ".."), Some(2));
        // Without a word one answer will do, and connections are three.
        assert_eq!(tries(&stable(None, None), "x."), Some(2));
        assert_eq!(tries(&stable(None, Some(80)), "..x..."), Some(6));
        assert_eq!(tries(&stable(Some(1), Some(80)), "."), Some(1));

        let streak = Streak::of(&twice);
        for (tried, said) in [
            (Ok(()), "1 of 2 in a row"),
            (Err("status 502".to_owned()), "status 502"),
        ] {
            let seen = streak.count(tried);
            assert!(
                matches!(&seen, Poll::NotYet(text) if text == said),
                "{seen:?}"
            );
        }
    }
}
