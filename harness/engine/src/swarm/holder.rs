//! The way to volumes of an app's own, and to nothing else.
//!
//! A path in a container leads wherever the app likes: a link, or a directory that it moved away from above a mount, and
//! the engine's archive API follows it into whatever else the container has mounted. The app can make one between any
//! look and any write. So the harness reads and writes what it seeds, saves and restores through a container that is
//! never started and has mounted one volume only, the app's own: there a link that leaves the volume leads to nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::object::Belongings;
use super::volume::MOUNT_POINT;
use super::{Engine, EngineError};

/// The holders of a run by the name of their volume; its teardown removes them with everything else of its stack.
#[derive(Debug, Default)]
pub struct Holders(RefCell<BTreeMap<String, String>>);

/// A place on a volume of the app's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPath {
    /// The container to reach it through.
    pub container: String,
    /// Its path there.
    pub path: String,
}

/// What is needed to reach an app's own volumes.
#[derive(Debug)]
pub struct OwnVolumes<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// What is the app's.
    pub app: Belongings,
    /// The holders that are there.
    pub holders: &'a Holders,
    /// Images of which one is on the engine, most likely.
    pub images: Vec<String>,
}

impl OwnVolumes<'_> {
    /// Returns where `path` of `container` is on a volume of the app's own, or why it is on none.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn place(
        &self,
        container: &str,
        path: &str,
    ) -> Result<Result<HeldPath, String>, EngineError> {
        let (volume, below) = match self.engine.own_volume(&self.app, container, path).await? {
            Ok(found) => found,
            Err(reason) => return Ok(Err(reason)),
        };
        let container = self.holder(&volume).await?;
        let path = match below.as_str() {
            "" => MOUNT_POINT.to_owned(),
            below => format!("{MOUNT_POINT}/{below}"),
        };
        Ok(Ok(HeldPath { container, path }))
    }

    /// Returns the container that holds `volume`; makes one where it is missing or gone.
    async fn holder(&self, volume: &str) -> Result<String, EngineError> {
        let known = self.holders.0.borrow().get(volume).cloned();
        if let Some(id) = known
            && self.is_there(&id).await?
        {
            return Ok(id);
        }
        let image = self.engine.some_image(&self.images).await?;
        let stack = self.app.stack();
        let made = self.engine.hold_volume(stack, volume, &image).await?;
        let mut holders = self.holders.0.borrow_mut();
        holders.insert(volume.to_owned(), made.id.clone());
        Ok(made.id)
    }

    async fn is_there(&self, container: &str) -> Result<bool, EngineError> {
        match self.engine.inspected(container).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
