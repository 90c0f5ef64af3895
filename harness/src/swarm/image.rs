//! Images: there already, or pulled once per host however many runs want them.

use std::path::Path;
use std::time::Duration;

use super::{Engine, EngineError};
use crate::dirs::HostDirs;
use crate::once::{self, TaskId};
use crate::process::{Cmd, Processes};

/// How long one image may take to arrive; the run's deadline ends it sooner.
const PULL_LIMIT: Duration = Duration::from_secs(3600);

impl Engine {
    /// Returns whether the engine has `image`.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be asked.
    pub async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        match self
            .docker
            .inspect_image(image)
            .await
            .map_err(|error| self.failed(format!("inspect `{image}`"), error))
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that the engine has `image`; returns whether it had to be pulled.
    ///
    /// Of several runs that want it at the same time one pulls, and all of them get what that came to: an
    /// image that cannot be had is asked for once, not once per run.
    ///
    /// # Errors
    /// [`EngineError::Pull`] when it cannot be had.
    pub async fn ensure_image(
        &self,
        host: &HostDirs,
        processes: &Processes,
        image: &str,
    ) -> Result<bool, EngineError> {
        if self.has_image(image).await? {
            return Ok(false);
        }
        let pull = async {
            if self.has_image(image).await? {
                return Ok(Ok(()));
            }
            match self.pull(processes, image).await {
                Ok(()) => Ok(Ok(())),
                Err(EngineError::Pull { reason, .. }) => Ok(Err(reason)),
                // The engine went away from this run; the next one sees for itself.
                Err(error) => Err(error),
            }
        };
        let images = host.state.join("images");
        // Two engines of one host have images of their own.
        let id = TaskId::digest(&format!("{} {image}", self.host()));
        match once::shared(&images, &id, pull).await? {
            Ok(()) => Ok(true),
            Err(reason) => Err(EngineError::Pull {
                image: image.to_owned(),
                reason,
            }),
        }
    }

    /// Pulls `image` with the docker client, which knows this host's logins and credential helpers; the API
    /// would pull as nobody.
    ///
    /// # Errors
    /// [`EngineError::Pull`] when the registry does not give it, or an unreachable engine.
    pub async fn pull(&self, processes: &Processes, image: &str) -> Result<(), EngineError> {
        let cmd = Cmd::new("docker", Path::new("/")).args([
            "--host",
            self.host(),
            "pull",
            "--quiet",
            image,
        ]);
        let refused = |reason: String| EngineError::Pull {
            image: image.to_owned(),
            reason,
        };
        match processes.run(&cmd, PULL_LIMIT).await {
            Ok(finished) if finished.success() => Ok(()),
            Ok(finished) => {
                // An engine that is gone is another matter than a registry that refuses.
                self.info().await?;
                let line = finished
                    .tail
                    .iter()
                    .rev()
                    .find(|line| !line.trim().is_empty());
                Err(refused(line.cloned().unwrap_or_else(|| finished.how())))
            }
            Err(error) => Err(refused(crate::error::chain(&error))),
        }
    }
}
