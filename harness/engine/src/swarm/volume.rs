//! Volumes of a stack as things of their own: what they are, and their whole content in and out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountPoint, MountType, MountVolumeOptions,
    VolumeCreateRequest,
};
use bollard::query_parameters::{CreateContainerOptionsBuilder, ListImagesOptions};
use serde::{Deserialize, Serialize};
use std::path::Path;

use super::object::{Belongings, Kind, Object};
use super::{Engine, EngineError, filters};
use ground::label::NAMESPACE;
use ground::name::StackName;

/// Where a holder mounts its volume; no image has anything there.
pub const MOUNT_POINT: &str = "/recipe-ci-volume";

/// What the engine calls the mount of a volume.
const VOLUME: &str = "volume";

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

impl VolumeSpec {
    /// Returns why this volume is not to be written to for `app`, if so: the app's own is one that was made for it and
    /// whose data lies with the engine. Options of a driver may lead anywhere on the host, or to another one.
    #[must_use]
    pub fn not_own(&self, app: &Belongings) -> Option<String> {
        let name = &self.name;
        let namespace = self.labels.get(NAMESPACE).map(String::as_str);
        if !app.has_name(Kind::Volume, name, namespace) {
            Some(format!("volume `{name}` was not made by this run"))
        } else if self.driver != "local" {
            let driver = &self.driver;
            Some(format!("volume `{name}` is kept by the driver `{driver}`"))
        } else if self.options.is_empty() {
            None
        } else if self.options.get("type").is_some_and(|kind| kind == "tmpfs") {
            Some(format!(
                "volume `{name}` is a tmpfs, so what is in it is gone with its container"
            ))
        } else {
            let options: Vec<_> = self.options.keys().map(String::as_str).collect();
            let options = options.join(", ");
            Some(format!(
                "volume `{name}` has driver options ({options}), so its data may be anywhere"
            ))
        }
    }
}

/// Returns the innermost mount that `path` is on.
fn mount_of<'a>(mounts: &'a [MountPoint], path: &str) -> Option<&'a MountPoint> {
    let holds = |mount: &&MountPoint| {
        let place = mount.destination.as_deref();
        place.is_some_and(|place| Path::new(path).starts_with(place))
    };
    let depth = |mount: &&MountPoint| mount.destination.as_ref().map_or(0, String::len);
    mounts.iter().filter(holds).max_by_key(depth)
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

    /// Returns the names of the volumes that the containers of `app` have mounted, anonymous ones too.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn mounted_volumes(&self, app: &Belongings) -> Result<BTreeSet<String>, EngineError> {
        let labelled = filters([("label", format!("{NAMESPACE}={}", app.stack()))]);
        let containers = self.containers_by(labelled).await?;
        let mounts = containers
            .into_iter()
            .flat_map(|container| container.mounts.unwrap_or_default());
        Ok(mounts
            .filter(|mount| mount.typ.as_deref() == Some(VOLUME))
            .filter_map(|mount| mount.name)
            .collect())
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

    /// Returns the plain volume of the app's own that `path` of `container` is on, and where it is below the volume's root;
    /// or why it is on none, so that nothing may be written there.
    ///
    /// What the container really has mounted there is asked of the engine: what a recipe says of a volume is not what
    /// the volume is. The path is compared as text: where it leads inside the container is the app's to say, so it is no
    /// way to write there ([`super::holder`] is).
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn own_volume(
        &self,
        app: &Belongings,
        container: &str,
        path: &str,
    ) -> Result<Result<(String, String), String>, EngineError> {
        let inspected = self.inspected(container).await?;
        let mounts = inspected.mounts.unwrap_or_default();
        let Some(mount) = mount_of(&mounts, path) else {
            return Ok(Err(format!("`{path}` is on no volume")));
        };
        let (Some(VOLUME), Some(name)) = (mount.typ.as_deref(), &mount.name) else {
            return Ok(Err(format!("`{path}` is no volume")));
        };
        if let Some(reason) = self.volume(name).await?.not_own(app) {
            return Ok(Err(reason));
        }
        let below = Path::new(path).strip_prefix(mount.destination.as_deref().unwrap_or("/"));
        let below = below.ok().and_then(Path::to_str).unwrap_or_default();
        Ok(Ok((name.clone(), below.to_owned())))
    }

    /// Returns what `container` can change that is not `app`'s own: why, by the path that it is mounted at. A container
    /// in the host's network has `/`, because its addresses are the host's. Volumes without a name, which are those that
    /// are mounted at none of the paths `named`, were made with the container.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn foreign(
        &self,
        app: &Belongings,
        container: &str,
        named: &[String],
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let inspected = self.inspected(container).await?;
        let mut foreign = BTreeMap::new();
        let network = inspected.host_config.and_then(|host| host.network_mode);
        let networks = inspected.network_settings.and_then(|all| all.networks);
        if network.as_deref() == Some("host")
            || networks.is_some_and(|all| all.contains_key("host"))
        {
            let reason = "its container is in the host's network".to_owned();
            foreign.insert("/".to_owned(), reason);
        }
        for mount in inspected.mounts.unwrap_or_default() {
            let path = mount.destination.unwrap_or_default();
            if mount.rw == Some(false) || mount.typ.as_deref() == Some("tmpfs") {
                continue;
            }
            let is_named = named
                .iter()
                .any(|target| target == path.trim_end_matches('/'));
            let reason = match (mount.typ.as_deref(), &mount.name) {
                (Some(VOLUME), _) if !is_named => None,
                (Some(VOLUME), Some(name)) => self.volume(name).await?.not_own(app),
                _ => Some(format!("`{path}` is no volume")),
            };
            if let Some(reason) = reason {
                foreign.insert(path, reason);
            }
        }
        Ok(foreign)
    }

    /// Creates a container that mounts `volume` at [`MOUNT_POINT`] and is never started: the archive API
    /// reaches the volume through it, with no program running and whatever the image is.
    ///
    /// It is labelled as part of `stack`, so that a removal of the stack removes it, too.
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
        // By the prefix of the stack a teardown knows it; two may be there at once.
        let prefix = match stack.owns(volume) {
            true => String::new(),
            false => format!("{stack}_"),
        };
        let name = format!("{prefix}{volume}.recipe-ci-{:08x}", rand::random::<u32>());
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

#[cfg(test)]
mod tests {
    use super::*;
    use ground::name::Domain;

    #[test]
    fn only_a_plain_volume_that_was_made_for_the_app_is_its_own() {
        let domain = Domain::parse("note-0a1b2c.z", &"z".parse().unwrap()).unwrap();
        let made = BTreeSet::from([(Kind::Volume, "other".to_owned())]);
        let app = Belongings::new(domain.stack(), made);
        let label = |stack: &str| BTreeMap::from([(NAMESPACE.to_owned(), stack.to_owned())]);
        let own = VolumeSpec {
            name: "note-0a1b2c_z_data".to_owned(),
            driver: "local".to_owned(),
            options: BTreeMap::new(),
            labels: label("note-0a1b2c_z"),
        };
        assert_eq!(own.not_own(&app), None);
        let named = |name: &str, labels| VolumeSpec {
            name: name.to_owned(),
            labels,
            ..own.clone()
        };
        assert_eq!(named("other", BTreeMap::new()).not_own(&app), None);
        let bound = VolumeSpec {
            options: BTreeMap::from([("device".to_owned(), "/srv".to_owned())]),
            ..own.clone()
        };
        let remote = VolumeSpec {
            driver: "nfs".to_owned(),
            ..own.clone()
        };
        let memory = VolumeSpec {
            options: BTreeMap::from([("type".to_owned(), "tmpfs".to_owned())]),
            ..own.clone()
        };
        let reason = memory.not_own(&app).unwrap();
        assert!(reason.contains("is a tmpfs"), "{reason}");
        for foreign in [
            named("victim_data", BTreeMap::new()),
            named("victim_data", label("note-0a1b2c_z")),
            named("note-0a1b2c_z_data", BTreeMap::new()),
            named("other", label("victim")),
            bound,
            remote,
        ] {
            assert!(foreign.not_own(&app).is_some(), "{foreign:?}");
        }
    }

    #[test]
    fn a_path_is_on_the_innermost_mount() {
        let at = |place: &str| MountPoint {
            destination: Some(place.to_owned()),
            ..MountPoint::default()
        };
        let mounts = [at("/data"), at("/data/deep"), at("/data2")];
        let place = |path| mount_of(&mounts, path).and_then(|mount| mount.destination.as_deref());
        assert_eq!(place("/data/x"), Some("/data"));
        assert_eq!(place("/data/deep/x"), Some("/data/deep"));
        assert_eq!(place("/data2"), Some("/data2"));
        assert_eq!(place("/dat"), None);
    }
}
