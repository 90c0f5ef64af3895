//! Work that waits for a disk or the network, beside the thread that obeys signals.

use std::sync::mpsc;

use super::error::RunError;
use crate::report::redact::Redactor;

/// Runs blocking work beside the worker's thread. It cannot be cancelled, and it makes nothing of the app.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RunError::infra(error)),
    }
}

/// Runs blocking work that learns values that nobody may see: `redactor` has them before anything is said of how the work
/// ended.
pub(super) async fn hiding<T: Send + 'static>(
    redactor: &Redactor,
    work: impl FnOnce(&dyn Fn(&[String])) -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    let (hide, hidden) = mpsc::channel();
    let ended = blocking(move || work(&|secrets| drop(hide.send(secrets.to_vec())))).await;
    for secret in hidden.try_iter().flatten() {
        redactor.add(&secret);
    }
    ended
}
