//! Removing a stack: whatever order, however half-made, however often.

use std::time::Duration;

use futures_util::future::join_all;

use super::object::{Kind, Object, residual};
use super::watch::Watch;
use super::{Engine, EngineError};
use crate::name::StackName;
use crate::outcome::Residual;
use crate::wait::{Deadline, Stopwatch};

/// How long an engine may be silent before a removal gives up: a restart of dockerd takes a few seconds.
const RESTART_LIMIT: Duration = Duration::from_secs(20);

/// What a removal came to.
#[derive(Debug, Clone, Default)]
pub struct Removal {
    /// What is still there; empty when two listings in a row were.
    pub residual: Residual,
    /// What the engine last said about objects that would not go.
    pub complaints: Vec<String>,
}

/// Removes everything of `stack` until two listings in a row are empty or `deadline` passes.
///
/// The containers are killed: an app under test needs no grace, and Swarm would wait for each one's
/// `stop_grace_period` (10 s by default) while it holds networks and volumes. They are killed before their
/// services are removed: a task that runs when its service goes is shut down by Swarm itself, which takes
/// it 3 s even when the container is gone already; a task that has failed is simply dropped.
///
/// # Errors
/// [`EngineError`] when the engine cannot be asked what is there for longer than it needs to restart; a
/// single object that will not go is not an error but a residual.
pub async fn remove_stack(
    engine: &Engine,
    stack: &StackName,
    deadline: Deadline,
) -> Result<Removal, EngineError> {
    remove_all_but(engine, stack, &[], deadline).await
}

/// Removes everything of `stack` except objects of the kinds `kept`, as [`remove_stack`] does.
///
/// # Errors
/// As [`remove_stack`].
pub async fn remove_all_but(
    engine: &Engine,
    stack: &StackName,
    kept: &[Kind],
    deadline: Deadline,
) -> Result<Removal, EngineError> {
    let mut watch = Watch::new(engine, stack);
    let mut empty_listings = 0;
    let mut answered = Stopwatch::start();
    loop {
        let objects = match engine.objects_of(stack).await {
            Ok(mut objects) => {
                answered = Stopwatch::start();
                objects.retain(|object| !kept.contains(&object.kind));
                objects
            }
            Err(error) if deadline.passed() || answered.elapsed() > RESTART_LIMIT => {
                return Err(error);
            }
            Err(_) => {
                watch
                    .changed(Duration::from_millis(500).min(deadline.left()))
                    .await;
                continue;
            }
        };
        if objects.is_empty() {
            empty_listings += 1;
            if empty_listings == 2 {
                return Ok(Removal::default());
            }
            continue;
        }
        empty_listings = 0;
        tracing::debug!(%stack, left = %residual(&objects), "removing");
        let complaints = pass(engine, &objects).await;
        if deadline.passed() {
            return Ok(Removal {
                residual: residual(&objects),
                complaints,
            });
        }
        watch
            .changed(Duration::from_millis(200).min(deadline.left()))
            .await;
    }
}

/// Asks for the removal of every object that can go now; returns what the engine objected to.
async fn pass(engine: &Engine, objects: &[Object]) -> Vec<String> {
    if objects.iter().any(|object| object.kind == Kind::Service) {
        // One that cannot be killed is not running, or is removed by force below.
        let containers = objects
            .iter()
            .filter(|object| object.kind == Kind::Container);
        join_all(containers.map(|container| engine.kill(container))).await;
    }
    let mut complaints = Vec::new();
    // What is in one group does not hold anything else of it.
    for kinds in [
        &[Kind::Service][..],
        &[Kind::Container],
        &[Kind::Network, Kind::Volume, Kind::Secret, Kind::Config],
    ] {
        let removals = objects
            .iter()
            .filter(|object| kinds.contains(&object.kind))
            .map(|object| engine.remove(object));
        for result in join_all(removals).await {
            if let Err(error) = result {
                complaints.push(describe(&error));
            }
        }
    }
    tracing::debug!(?complaints, "one pass");
    complaints
}

fn describe(error: &EngineError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
