//! Work that waits for a disk or the network, beside the thread that obeys signals.

use super::error::RunError;

/// Runs blocking work beside the worker's thread. It cannot be cancelled, and it makes nothing of the app.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RunError::infra(error)),
    }
}
