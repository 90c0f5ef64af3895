//! Whose fault it is what went wrong in the middle of a tier: the app's, the recipe's or the host's.

use super::{Tally, TierError};
use crate::driver::DriverError;
use crate::driver::backup::Fault;
use engine::swarm::EngineError;

/// Splits what the engine says in the middle of a tier into the app's fault, as text, and the host's.
///
/// # Errors
/// [`TierError::Engine`] for the host's.
pub(super) fn app_fault<T>(result: Result<T, EngineError>) -> Result<Result<T, String>, TierError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_about_the_app() => Ok(Err(ground::error::chain(&error))),
        Err(error) => Err(error.into()),
    }
}

/// Splits what came of the driver's operation `title` on a running app into the app's fault, which is shown, and the
/// host's.
///
/// # Errors
/// [`TierError`] for the host's.
pub(super) fn driver_fault<T>(
    tally: &Tally<'_>,
    title: &str,
    result: Result<Result<T, Fault>, DriverError>,
) -> Result<Result<T, String>, TierError> {
    let done = match result {
        Err(DriverError::Engine(error)) => app_fault(Err(error))?,
        other => Ok(other.map_err(TierError::Driver)?),
    };
    Ok(done.and_then(|done| {
        done.map_err(|fault| {
            tally.show(title, fault.tail);
            fault.reason
        })
    }))
}

/// Splits what the driver says into the recipe's fault and the host's.
///
/// # Errors
/// [`TierError`] for the host's.
pub(super) fn recipe_fault(error: DriverError) -> Result<(String, Vec<String>), TierError> {
    match error {
        DriverError::Refused { ref tail, .. } => {
            let tail = tail.clone();
            Ok((error.to_string(), tail))
        }
        DriverError::Compose(_)
        | DriverError::Policy(_)
        | DriverError::Secret(_)
        | DriverError::NotSupplied { .. }
        | DriverError::Otherwise { .. } => Ok((error.to_string(), Vec::new())),
        error => Err(TierError::Driver(error)),
    }
}
