//! When what an app says is its answer, and waiting longer would change nothing.

use std::time::Duration;

use super::look::Seen;
use engine::wait::{Poll, Stopwatch};

/// How long an answer has to stay the same to be one.
const WINDOW: Duration = Duration::from_secs(15);

/// The same for one that has been an answer before in this run.
const KNOWN_WINDOW: Duration = Duration::from_secs(3);

/// The same for a gateway that does not know the app yet: Traefik looks every 15 s.
const GATEWAY_WINDOW: Duration = Duration::from_secs(40);

/// How long an answer has to stay the same.
#[derive(Debug)]
struct Windows {
    plain: Duration,
    known: Duration,
    gateway: Duration,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            plain: WINDOW,
            known: KNOWN_WINDOW,
            gateway: GATEWAY_WINDOW,
        }
    }
}

/// What was said, and since when.
#[derive(Debug, Default)]
pub struct Settled {
    windows: Windows,
    same: Option<(String, Stopwatch)>,
    /// What ended a wait.
    known: Vec<String>,
}

impl Settled {
    /// Begins another wait; what ended one before is remembered.
    pub(super) fn begin(&mut self) {
        self.same = None;
    }

    /// Returns what was seen of an app that serves; otherwise what is said of it, and whether that is its answer.
    pub(super) fn judge(&mut self, seen: Seen) -> Result<String, Poll<String>> {
        let (said, window) = match seen {
            Seen::Serves(said) => return Ok(said.text),
            Seen::NotYet(said) | Seen::Missing(said) => {
                self.same = None;
                return Err(Poll::NotYet(said.text));
            }
            Seen::Never(said) => return Err(Poll::Ready(said.text)),
            Seen::Final(said) => (said, self.windows.plain),
            Seen::NotRouted(said) => (said, self.windows.gateway),
        };
        let window = match self.known.contains(&said.key) {
            true => self.windows.known,
            false => window,
        };
        let since = match &self.same {
            Some((same, since)) if *same == said.key => *since,
            _ => {
                let since = Stopwatch::start();
                self.same = Some((said.key.clone(), since));
                since
            }
        };
        let elapsed = since.elapsed();
        if elapsed < window {
            return Err(Poll::NotYet(said.text));
        }
        self.known.push(said.key);
        let seconds = elapsed.as_secs_f64();
        Err(Poll::Ready(format!(
            "{}; it said so for {seconds:.0} s",
            said.text
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::Said;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn said(key: &str) -> Said {
        Said {
            key: key.to_owned(),
            text: format!("status {key}"),
        }
    }

    /// Returns how a wait goes on: `serves`, `ends`, `waits`.
    fn goes_on(settled: &mut Settled, seen: Seen) -> &'static str {
        match settled.judge(seen) {
            Ok(_) => "serves",
            Err(Poll::Ready(_)) => "ends",
            Err(Poll::NotYet(_)) => "waits",
        }
    }

    fn with(plain: Duration, known: Duration, gateway: Duration) -> Settled {
        Settled {
            windows: Windows {
                plain,
                known,
                gateway,
            },
            ..Settled::default()
        }
    }

    #[test]
    fn an_answer_that_stays_ends_the_wait_and_a_beginning_does_not() {
        let mut settled = with(Duration::ZERO, Duration::ZERO, HOUR);
        for (seen, expected) in [
            (Seen::Serves(said("200")), "serves"),
            (Seen::NotYet(said("503")), "waits"),
            (Seen::Missing(said("404")), "waits"),
            (Seen::NotRouted(said("x")), "waits"),
            (Seen::Final(said("401")), "ends"),
            (Seen::Never(said("tls")), "ends"),
        ] {
            assert_eq!(goes_on(&mut settled, seen.clone()), expected, "{seen:?}");
        }
        let text = match settled.judge(Seen::Final(said("403"))) {
            Err(Poll::Ready(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text, "status 403; it said so for 0 s");
        let mut settled = Settled::default();
        assert_eq!(goes_on(&mut settled, Seen::Final(said("401"))), "waits");
    }

    #[test]
    fn the_second_wait_knows_what_ended_the_first() {
        let mut settled = with(Duration::ZERO, HOUR, HOUR);
        assert_eq!(goes_on(&mut settled, Seen::Final(said("401"))), "ends");
        settled.windows = Windows {
            plain: HOUR,
            known: Duration::ZERO,
            gateway: HOUR,
        };
        settled.begin();
        assert_eq!(goes_on(&mut settled, Seen::Final(said("403"))), "waits");
        assert_eq!(goes_on(&mut settled, Seen::Final(said("401"))), "ends");
    }

    #[test]
    fn an_answer_that_changes_begins_anew() {
        let mut settled = with(HOUR, HOUR, HOUR);
        goes_on(&mut settled, Seen::Final(said("401")));
        let first = settled.same.clone();
        goes_on(&mut settled, Seen::Final(said("401")));
        assert_eq!(
            settled.same.as_ref().map(|(key, _)| key),
            Some(&"401".to_owned())
        );
        assert!(first.is_some());
        goes_on(&mut settled, Seen::NotYet(said("503")));
        assert!(settled.same.is_none());
        goes_on(&mut settled, Seen::Final(said("403")));
        assert_eq!(
            settled.same.as_ref().map(|(key, _)| key),
            Some(&"403".to_owned())
        );
    }
}
