//! The end of a hold before its time.

use std::time::Duration;

use super::{STATE, run_app};
use crate::janitor::{self, Decision, REAP_LIMIT};
use crate::live::LiveRun;
use crate::tier::state::AppState;
use engine::dirs::HostDirs;
use engine::swarm::{Engine, EngineError};
use ground::name::{Domain, RunId};

/// How long another process may have the lock of an app whose holder is gone: a look, or a sweep.
const HELD_LIMIT: Duration = Duration::from_secs(5);

/// Why a hold could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Its holder cannot be told.
    #[error("the holder of run {run} cannot be told to let go")]
    Holder {
        /// Which run.
        run: String,
        /// What the system said; [`std::io::ErrorKind::PermissionDenied`] for another user's.
        #[source]
        source: std::io::Error,
    },
    /// What is held cannot be read.
    #[error("what run {run} holds is not known")]
    State {
        /// Which run.
        run: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its holder was told and is still there.
    #[error("the holder of run {run} was told to let go and is still there after {} s", .limit.as_secs())]
    Stuck {
        /// Which run.
        run: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The engine cannot be asked what is left.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Tells the holder of `run` to let go, waits until it has removed its apps, and removes what it has not; returns what
/// became of each app. `by` is the id under which this process holds locks meanwhile.
///
/// # Errors
/// [`ReleaseError`].
pub async fn release(
    host: &HostDirs,
    run: &LiveRun,
    by: &RunId,
) -> Result<Vec<(Domain, Decision)>, ReleaseError> {
    let id = || run.run_id.clone();
    let state = host.runs.join(&run.run_id).join("state").join(STATE);
    let docker_host = AppState::read(&state).map(|state| state.docker_host);
    let holder = |source| ReleaseError::Holder { run: id(), source };
    // The record is under the lock of the very process that it names, which is told by its start from others with its pid.
    let domains: Vec<Domain> = run.domains().into_iter().filter_map(run_app).collect();
    let limit = REAP_LIMIT * u32::try_from(domains.len()).unwrap_or(u32::MAX);
    if let Some(process) = run.process.open().map_err(holder)? {
        process.terminate().map_err(holder)?;
        match tokio::time::timeout(limit, process.ended()).await {
            Ok(ended) => ended.map_err(holder)?,
            Err(_) => return Err(ReleaseError::Stuck { run: id(), limit }),
        }
    }
    let docker_host = match docker_host {
        Ok(docker_host) => docker_host,
        // It let go between the two looks.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ReleaseError::State { run: id(), source }),
    };
    let engine = Engine::connect(&docker_host)?;
    let mut came = Vec::new();
    for domain in domains.into_iter().rev() {
        let decision = janitor::decide_within(HELD_LIMIT, &engine, host, &domain, by).await;
        came.push((domain, decision));
    }
    Ok(came)
}
