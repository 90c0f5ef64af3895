//! The engine's event stream, as a reason to look again.
//!
//! Events never decide anything: they only wake a reader, and a slow poll wakes it when an event was
//! missed. A stream that breaks is opened again; meanwhile the poll goes on.

use std::pin::Pin;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::{Stream, StreamExt as _};

use super::Engine;
use crate::wait::{self, Stopwatch};
use ground::label::NAMESPACE;
use ground::name::StackName;

/// How often to look when nothing happens.
const SLOW: Duration = Duration::from_secs(1);

/// How often to look shortly after an event: Swarm's own books follow the container's events with a delay.
const FAST: Duration = Duration::from_millis(40);

/// How long after an event to look fast.
const WARM: Duration = Duration::from_millis(800);

type Stored = Pin<Box<dyn Stream<Item = Result<EventMessage, bollard::errors::Error>>>>;

/// Wakes a reader when something of a stack changes.
pub struct Watch {
    engine: Engine,
    stack: StackName,
    stream: Option<Stored>,
    last_event: Stopwatch,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("stack", &self.stack)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// Starts watching `stack`; what happens from now on wakes the reader.
    #[must_use]
    pub fn new(engine: &Engine, stack: &StackName) -> Self {
        Self {
            engine: engine.clone(),
            stack: stack.clone(),
            stream: None,
            last_event: Stopwatch::start(),
        }
    }

    /// Waits until something of the stack has changed or it is time to look anyway, at most `limit`.
    pub async fn changed(&mut self, limit: Duration) {
        let idle = if self.last_event.elapsed() < WARM {
            FAST
        } else {
            SLOW
        };
        let timer = wait::pause(idle.min(limit));
        let mut timer = std::pin::pin!(timer);
        loop {
            let stream = self
                .stream
                .get_or_insert_with(|| Box::pin(self.engine.docker.events(None::<EventsOptions>)));
            tokio::select! {
                () = &mut timer => return,
                event = stream.next() => match event {
                    Some(Ok(event)) if concerns(&event, &self.stack) => {
                        self.last_event = Stopwatch::start();
                        return;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => {
                        self.stream = None;
                        (&mut timer).await;
                        return;
                    }
                },
            }
        }
    }
}

/// Returns whether an event is about something of `stack` that may have changed its state.
fn concerns(event: &EventMessage, stack: &StackName) -> bool {
    // Three for every healthcheck, which may come every second; what one comes to is a `health_status`.
    if event
        .action
        .as_deref()
        .is_some_and(|action| action.starts_with("exec_"))
    {
        return false;
    }
    let Some(attributes) = event
        .actor
        .as_ref()
        .and_then(|actor| actor.attributes.as_ref())
    else {
        return false;
    };
    attributes
        .get(NAMESPACE)
        .is_some_and(|name| name == stack.as_str())
        || attributes.get("name").is_some_and(|name| stack.owns(name))
        || event
            .actor
            .as_ref()
            .and_then(|actor| actor.id.as_ref())
            .is_some_and(|id| stack.owns(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthcheck_wakes_nobody_but_what_it_comes_to_does() {
        let stack = ground::name::Domain::parse("note-012345.z", &"z".parse().unwrap())
            .unwrap()
            .stack();
        let event = |action: &str, namespace: &str| -> EventMessage {
            serde_json::from_value(serde_json::json!({
                "Type": "container",
                "Action": action,
                "Actor": {"ID": "c", "Attributes": {NAMESPACE: namespace}},
            }))
            .unwrap()
        };
        assert!(!concerns(
            &event("exec_start: wget -q", "note-012345_z"),
            &stack
        ));
        assert!(concerns(
            &event("health_status: healthy", "note-012345_z"),
            &stack
        ));
        assert!(concerns(&event("die", "note-012345_z"), &stack));
        assert!(!concerns(&event("die", "note-6789ab_z"), &stack));
    }
}
