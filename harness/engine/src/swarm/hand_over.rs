//! Images from one engine of this host to another.

use std::convert::Infallible;

use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use tokio::sync::mpsc;

use super::image::digests_of;
use super::{Engine, EngineError};
use crate::dirs::HostDirs;
use ground::pins::{Pinned, Puller};

/// How many parts of an image may be on their way.
const ON_THE_WAY: usize = 16;

impl Engine {
    /// Takes `image` from `other` where this engine lacks it and no registry has it, as far as `other` knows. Returns
    /// whether it was taken.
    ///
    /// # Errors
    /// [`EngineError`] of either engine.
    pub async fn take_local_image(&self, other: &Self, image: &str) -> Result<bool, EngineError> {
        if self.has_image(image).await? {
            return Ok(false);
        }
        let there = other.docker.inspect_image(image).await;
        let there =
            match there.map_err(|error| other.failed(format!("inspect image `{image}`"), error)) {
                Ok(there) => there,
                Err(error) if error.is_gone() => return Ok(false),
                Err(error) => return Err(error),
            };
        if !digests_of(image, there.repo_digests).is_empty() {
            return Ok(false);
        }
        self.load_from(other, image).await?;
        Ok(true)
    }

    /// Takes `image` from `other`, an engine with the places `host`, where that has it and `puller` may have it. Returns
    /// what is deployed of it: its id, because a digest is not handed over.
    ///
    /// # Errors
    /// [`EngineError`] of either engine, and of the registry that is asked whether everybody may have it.
    pub async fn take_image(
        &self,
        other: &Self,
        host: &HostDirs,
        image: &str,
        puller: Puller,
    ) -> Result<Option<Pinned>, EngineError> {
        // By a digest it would not be known here.
        if image.contains('@') || !other.has_image(image).await? {
            return Ok(None);
        }
        match other.judge_image(host, image, puller).await {
            Ok(()) => {}
            Err(EngineError::NotPublic { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        if !self.has_image(image).await? {
            self.load_from(other, image).await?;
        }
        self.pin(host, image, Puller::Operator).await.map(Some)
    }

    /// Copies `image`, which `other` has.
    async fn load_from(&self, other: &Self, image: &str) -> Result<(), EngineError> {
        let (sender, receiver) = mpsc::channel::<Bytes>(ON_THE_WAY);
        let read = async {
            let mut parts = std::pin::pin!(other.docker.export_image(image));
            while let Some(part) = parts.next().await {
                let part =
                    part.map_err(|error| other.failed(format!("read the image `{image}`"), error))?;
                // Who takes them says itself why it takes no more.
                if sender.send(part).await.is_err() {
                    break;
                }
            }
            drop(sender);
            Ok::<_, EngineError>(())
        };
        let body = stream::unfold(receiver, async |mut receiver| {
            let part = receiver.recv().await?;
            Some((Ok::<_, Infallible>(part), receiver))
        });
        let load = async {
            let options = ImportImageOptionsBuilder::new().quiet(true).build();
            let mut steps = std::pin::pin!(self.docker.import_image_stream(options, body, None));
            while let Some(step) = steps.next().await {
                step.map_err(|error| self.failed(format!("load the image `{image}`"), error))?;
            }
            Ok::<_, EngineError>(())
        };
        future::try_join(read, load).await?;
        Ok(())
    }
}
