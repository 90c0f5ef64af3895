//! Volumes of a stack as things of their own: what they are, and their whole content in and out.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions, VolumeCreateRequest,
};
use bollard::query_parameters::{CreateContainerOptionsBuilder, ListImagesOptions};
use serde::{Deserialize, Serialize};

use super::object::{Kind, Object};
use super::{Engine, EngineError, NAMESPACE};
use crate::name::StackName;

/// Where a holder mounts its volume; no image has anything there.
pub const MOUNT_POINT: &str = "/recipe-ci-volume";

/// A volume, as it has to be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// Returns what a volume is.
    ///
    /// # Errors
    /// [`EngineError`]; see [`EngineError::is_gone`] for one that does not exist.
    pub async fn volume(&self, name: &str) -> Result<VolumeSpec, EngineError> {
        let volume = self
            .docker
            .inspect_volume(name)
            .await
            .map_err(|error| self.failed(format!("inspect volume `{name}`"), error))?;
        Ok(VolumeSpec {
            name: volume.name,
            driver: volume.driver,
            options: volume.options.into_iter().collect(),
            labels: volume.labels.into_iter().collect(),
        })
    }

    /// Creates a volume, empty.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn create_volume(&self, spec: &VolumeSpec) -> Result<(), EngineError> {
        let request = VolumeCreateRequest {
            name: Some(spec.name.clone()),
            driver: Some(spec.driver.clone()),
            driver_opts: Some(spec.options.clone().into_iter().collect()),
            labels: Some(spec.labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        self.docker
            .create_volume(request)
            .await
            .map(drop)
            .map_err(|error| self.failed(format!("create volume `{}`", spec.name), error))
    }

    /// Creates a container that mounts `volume` at [`MOUNT_POINT`] and is never started: the archive API
    /// reaches the volume through it, with no program running and whatever the image is.
    ///
    /// It is labelled as part of `stack`, so that whoever undeploys the stack removes it, too.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn hold_volume(
        &self,
        stack: &StackName,
        volume: &str,
        image: &str,
    ) -> Result<Object, EngineError> {
        let mount = Mount {
            target: Some(MOUNT_POINT.to_owned()),
            source: Some(volume.to_owned()),
            typ: Some(MountType::VOLUME),
            volume_options: Some(MountVolumeOptions {
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..Mount::default()
        };
        let name = format!("{volume}.recipe-ci");
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // The engine wants one, also of an image that names none.
            cmd: Some(vec!["true".to_owned()]),
            labels: Some(HashMap::from([(NAMESPACE.to_owned(), stack.to_string())])),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount]),
                network_mode: Some("none".to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let created = self
            .docker
            .create_container(Some(options), body)
            .await
            .map_err(|error| {
                self.failed(format!("create a container for volume `{volume}`"), error)
            })?;
        Ok(Object {
            kind: Kind::Container,
            id: created.id,
            name,
            namespace: Some(stack.to_string()),
            labels: BTreeMap::new(),
        })
    }

    /// Returns an image that the engine has: the first of `preferred` that is there, else any.
    ///
    /// # Errors
    /// [`EngineError::Incomplete`] when it has none at all.
    pub async fn some_image(&self, preferred: &[String]) -> Result<String, EngineError> {
        for image in preferred {
            if self.has_image(image).await? {
                return Ok(image.clone());
            }
        }
        let images = self
            .docker
            .list_images(None::<ListImagesOptions>)
            .await
            .map_err(|error| self.failed("list the images", error))?;
        images
            .into_iter()
            .map(|image| image.id)
            .next()
            .ok_or_else(|| EngineError::Incomplete {
                what: "list the images".to_owned(),
                lacks: "any image, which is needed to reach a volume",
            })
    }
}
