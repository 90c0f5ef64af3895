//! What fails because of the host, a registry or a forge is tried again; what fails because of the recipe never is.

use std::error::Error;
use std::time::Duration;

use super::error::RunError;
use crate::event::{Event, Events};
use engine::swarm::EngineError;
use engine::wait::pause;
use ground::error::chain;
use ground::git::fetch::FetchError;

/// How long to wait before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// Does `work`, and does it twice more while it fails for a reason that another time may not have; every failure but
/// the last is in the report.
///
/// # Errors
/// That of the last try.
pub(super) async fn twice<T, E: Transient>(
    events: &Events,
    what: &str,
    work: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    tries(events, what, &PAUSES, work).await
}

async fn tries<T, E: Transient>(
    events: &Events,
    what: &str,
    pauses: &[Duration],
    mut work: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    for span in pauses {
        match work().await {
            Err(error) if error.is_transient() => {
                let reason = error.in_words();
                let what = what.to_owned();
                events.emit(&Event::Retried { what, reason });
            }
            done => return done,
        }
        pause(*span).await;
    }
    work().await
}

/// An error that may be gone at another time.
pub(super) trait Transient {
    /// Returns whether another try may succeed.
    fn is_transient(&self) -> bool;

    /// Returns the error in one line.
    fn in_words(&self) -> String;
}

impl Transient for EngineError {
    fn is_transient(&self) -> bool {
        match self {
            // A registry that says no says so again.
            Self::Pull { reason, .. } => {
                let refuses = [
                    "denied",
                    "unauthorized",
                    "authentication required",
                    "invalid reference",
                ];
                !self.is_wrong_image() && !refuses.iter().any(|word| reason.contains(word))
            }
            Self::Unreachable { .. } => true,
            _ => false,
        }
    }

    fn in_words(&self) -> String {
        chain(self)
    }
}

impl Transient for RunError {
    fn is_transient(&self) -> bool {
        let Self::Infra { error, .. } = self else {
            return false;
        };
        // A dependency's error has the fetch's as its source.
        let first: &(dyn Error + 'static) = &**error;
        let mut all = std::iter::successors(Some(first), |error| (*error).source());
        all.find_map(|error| error.downcast_ref::<FetchError>())
            .is_some_and(FetchError::is_transient)
    }

    fn in_words(&self) -> String {
        match self {
            Self::Usage { error, .. } | Self::Infra { error, .. } => chain(&**error),
            Self::Refused { .. } => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;

    fn pull(reason: &str) -> EngineError {
        EngineError::Pull {
            image: "x:1".to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Pulls with an error of this reason for so many times; returns how often was asked, what came of it, and what was
    /// said.
    async fn ask(failures: usize, reason: &str) -> (usize, bool, Vec<String>) {
        let said = Rc::new(RefCell::new(Vec::new()));
        let events = Events::default();
        let sink = Rc::clone(&said);
        events.add(Box::new(move |event| {
            if let Event::Retried { what, reason } = event {
                sink.borrow_mut().push(format!("{what}: {reason}"));
            }
        }));
        let asked = Cell::new(0);
        let done = tries(&events, "pull", &[Duration::ZERO; 2], async || {
            asked.set(asked.get() + 1);
            if asked.get() <= failures {
                return Err(pull(reason));
            }
            Ok(())
        });
        let good = done.await.is_ok();
        let said = said.borrow().clone();
        (asked.get(), good, said)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_registry_that_stumbles_is_asked_three_times_and_one_that_refuses_once() {
        let (asked, good, said) = ask(2, "toomanyrequests: slow down").await;
        assert_eq!((asked, good, said.len()), (3, true, 2));
        assert!(said[0].contains("toomanyrequests"), "{said:?}");
        let (asked, good, said) = ask(9, "received unexpected HTTP status: 503").await;
        assert_eq!((asked, good, said.len()), (3, false, 2));
        for no in [
            "manifest unknown",
            "manifest for x:1 not found: manifest unknown: manifest unknown",
            "pull access denied for x, repository does not exist or may require 'docker login'",
            "unauthorized: authentication required",
        ] {
            assert_eq!(ask(9, no).await.0, 1, "{no}");
        }
    }
}
