//! An engine of a run's own: made when the run needs it, and ended with everything in it instead of a teardown.

use std::rc::Rc;

use super::context::{Context, EngineInHand};
use super::error::{AnyError, RunError};
use super::settings;
use engine::app;
use engine::lock::DomainLock;
use engine::room::{Room, RoomError};
use ground::outcome::Residual;

/// Makes the run's engine and waits until it can be worked with.
///
/// # Errors
/// [`RunError::Infra`].
pub(super) async fn open(
    context: &Context<'_>,
    room: &Room,
    own: &settings::OwnEngine,
) -> Result<(), RunError> {
    let there = |held: &EngineInHand| matches!(held, EngineInHand::There(_));
    if context.held.borrow().own_engine.as_ref().is_some_and(there) {
        return Ok(());
    }
    context.held.borrow_mut().own_engine = Some(EngineInHand::Begun);
    let opened = room.open(&context.processes, own.ceilings).await;
    let opened = opened.map_err(|error| {
        let hints = error.advice().map(str::to_owned).into_iter();
        let log = match &error {
            RoomError::Over { log, .. } => {
                log.iter().map(|line| format!("it said: {line}")).collect()
            }
            _ => Vec::new(),
        };
        RunError::Infra {
            hints: hints.chain(log).collect(),
            error: error.into(),
        }
    })?;
    let seconds = opened.record.ready_ms as f64 / 1000.0;
    context.events.notice(format!(
        "== engine {} of this run's own: ready in {seconds:.1} s ==",
        opened.record.version
    ));
    context.held.borrow_mut().own_engine = Some(EngineInHand::There(Box::new(opened)));
    Ok(())
}

/// Ends the run's engine with everything in it, and removes what its apps have beside it; returns what is left.
///
/// # Errors
/// What is left is not known.
pub(super) async fn end(
    context: &Context<'_>,
    engine: EngineInHand,
    locks: &[Rc<DomainLock>],
) -> Result<Residual, AnyError> {
    let mut residual = Residual::default();
    let ended = match (engine, &context.settings.on_ci) {
        (EngineInHand::There(own), _) => own.close().await,
        (EngineInHand::Begun, Some(on_ci)) => on_ci.room.discard(&context.processes).await,
        (EngineInHand::Begun, None) => Ok(()),
    };
    match ended {
        Ok(()) => {}
        Err(RoomError::Left { left }) => residual.add("engine", left),
        Err(error) => return Err(error.into()),
    }
    for lock in locks {
        let left = app::remove_files(&context.settings.host, lock)?;
        residual.add("env_files", left);
    }
    Ok(residual)
}
