//! The engine as a part of its host: what it says about itself, and what a host needs before any run.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, LocalNodeState, NetworkCreateRequest, SwarmInitRequest,
};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptionsBuilder, InspectNetworkOptions,
    LeaveSwarmOptionsBuilder, ListContainersOptions, RemoveContainerOptionsBuilder,
};
use futures_util::StreamExt as _;

use super::{Engine, EngineError};
use ground::label::NAMESPACE;
use ground::name::StackName;

/// How long a connection to the engine's socket may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// What is behind the engine's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// A process listens.
    Open,
    /// There is no such file.
    Missing,
    /// This user may not connect.
    Denied,
    /// The file is there and no process listens behind it.
    Refused,
}

/// Finds out what is behind `host` (`unix://…`) without asking the engine anything.
///
/// # Errors
/// [`EngineError::Unsupported`] for anything but a unix socket, [`EngineError::Local`] when the system says
/// something else than the cases of [`Socket`].
pub async fn probe(host: &str) -> Result<Socket, EngineError> {
    let path = host
        .strip_prefix("unix://")
        .ok_or_else(|| EngineError::Unsupported {
            host: host.to_owned(),
        })?;
    let connected = tokio::time::timeout(CONNECT_LIMIT, tokio::net::UnixStream::connect(path));
    let source = match connected.await {
        Ok(Ok(_)) => return Ok(Socket::Open),
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    match source.kind() {
        io::ErrorKind::NotFound => Ok(Socket::Missing),
        io::ErrorKind::PermissionDenied => Ok(Socket::Denied),
        io::ErrorKind::ConnectionRefused => Ok(Socket::Refused),
        _ => Err(EngineError::Local {
            what: format!("connect to `{path}`"),
            source,
        }),
    }
}

/// Where an engine stands with a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// It is in no swarm.
    None,
    /// It is a manager.
    Manager,
    /// It is a worker and may not be asked to deploy.
    Worker,
    /// Its swarm is locked until a person unlocks it.
    Locked,
    /// It is joining, or its swarm is broken.
    Broken,
}

/// What the engine says about itself and its host.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Its version: `20.10.24+dfsg1`.
    pub version: String,
    /// The newest API version that it speaks: `1.41`.
    pub api_version: String,
    /// Where it keeps its data.
    pub root_dir: String,
    /// Where it stands with a swarm.
    pub membership: Membership,
    /// What it says is wrong with its swarm; empty when nothing is.
    pub swarm_error: String,
    /// What time it is for the engine (RFC 3339).
    pub time: String,
}

/// An image to be imported.
#[derive(Debug)]
pub struct Import<'a> {
    /// Its name without a tag.
    pub repo: &'a str,
    /// Its tag.
    pub tag: &'a str,
    /// A tar archive of its root file system.
    pub rootfs: Vec<u8>,
    /// Instructions as in a `Dockerfile`: `ENV PATH=/bin`.
    pub changes: Vec<String>,
    /// What its history says.
    pub message: &'a str,
}

impl Engine {
    /// Returns the images of all running containers, as they were named.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn running_images(&self) -> Result<Vec<String>, EngineError> {
        let listed = self.docker.list_containers(None::<ListContainersOptions>);
        let listed = listed
            .await
            .map_err(|error| self.failed("list the containers", error))?;
        Ok(listed.into_iter().filter_map(|one| one.image).collect())
    }

    /// Asks the engine about itself and its host.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] when it does not answer.
    pub async fn host_facts(&self) -> Result<HostFacts, EngineError> {
        let (version, info) =
            futures_util::future::try_join(self.docker.version(), self.docker.info())
                .await
                .map_err(|source| self.failed("ask the engine about itself", source))?;
        let swarm = info.swarm.unwrap_or_default();
        let manager = swarm.control_available.unwrap_or(false);
        let membership = match swarm.local_node_state {
            None | Some(LocalNodeState::EMPTY | LocalNodeState::INACTIVE) => Membership::None,
            Some(LocalNodeState::ACTIVE) if manager => Membership::Manager,
            Some(LocalNodeState::ACTIVE) => Membership::Worker,
            Some(LocalNodeState::LOCKED) => Membership::Locked,
            Some(LocalNodeState::PENDING | LocalNodeState::ERROR) => Membership::Broken,
        };
        Ok(HostFacts {
            version: version.version.unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
            root_dir: info.docker_root_dir.unwrap_or_default(),
            membership,
            swarm_error: swarm.error.unwrap_or_default(),
            time: info.system_time.unwrap_or_default(),
        })
    }

    /// Returns the UDP port at which this node takes the packets of overlay networks.
    ///
    /// # Errors
    /// [`EngineError`] when this engine manages no swarm.
    pub async fn data_path_port(&self) -> Result<u16, EngineError> {
        /// What an engine means that says 0: `getDataPathPort` in moby's `daemon/cluster/noderunner.go`.
        const DEFAULT: u16 = 4789;
        let swarm = self.docker.inspect_swarm().await;
        let swarm = swarm.map_err(|error| self.failed("inspect the swarm", error))?;
        let port = swarm.data_path_port.unwrap_or_default();
        Ok(u16::try_from(port)
            .ok()
            .filter(|port| *port != 0)
            .unwrap_or(DEFAULT))
    }

    /// Makes the engine the only node of a new swarm that cannot be reached from outside this host.
    ///
    /// # Errors
    /// [`EngineError`], for instance when it is in a swarm already.
    pub async fn init_swarm(&self) -> Result<(), EngineError> {
        let request = SwarmInitRequest {
            listen_addr: Some("127.0.0.1:2377".to_owned()),
            advertise_addr: Some("127.0.0.1".to_owned()),
            ..SwarmInitRequest::default()
        };
        self.docker
            .init_swarm(request)
            .await
            .map(drop)
            .map_err(|error| self.failed("make this engine a swarm", error))
    }

    /// Takes the engine out of its swarm, which ends with it.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn leave_swarm(&self) -> Result<(), EngineError> {
        let force = LeaveSwarmOptionsBuilder::new().force(true).build();
        let left = self.docker.leave_swarm(Some(force)).await;
        left.map_err(|error| self.failed("leave the swarm", error))
    }

    /// Returns the driver of network `name`, or `None` when there is no such network.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be inspected.
    pub async fn network_driver(&self, name: &str) -> Result<Option<String>, EngineError> {
        match self
            .docker
            .inspect_network(name, None::<InspectNetworkOptions>)
            .await
            .map_err(|error| self.failed(format!("inspect network `{name}`"), error))
        {
            Ok(network) => Ok(Some(network.driver.unwrap_or_default())),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the overlay network `name`, unless one of that name turns out to be there.
    ///
    /// An engine that has just started may not know its swarm's networks yet and refuse to make them anew.
    ///
    /// # Errors
    /// [`EngineError`], for instance when a network of another kind has that name.
    pub async fn create_overlay(&self, name: &str) -> Result<(), EngineError> {
        self.create_overlay_with(name, HashMap::new()).await
    }

    /// Creates an overlay network of `stack`, which its deploy then finds, unless it turns out to be there.
    ///
    /// # Errors
    /// As [`Engine::create_overlay`].
    pub async fn create_network_of(
        &self,
        stack: &StackName,
        name: &str,
    ) -> Result<(), EngineError> {
        let label = (NAMESPACE.to_owned(), stack.to_string());
        self.create_overlay_with(name, HashMap::from([label])).await
    }

    async fn create_overlay_with(
        &self,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), EngineError> {
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("overlay".to_owned()),
            labels: Some(labels),
            ..NetworkCreateRequest::default()
        };
        let Err(error) = self.docker.create_network(request).await else {
            return Ok(());
        };
        match self.network_driver(name).await {
            Ok(Some(driver)) if driver == "overlay" => Ok(()),
            _ => Err(self.failed(format!("create overlay network `{name}`"), error)),
        }
    }

    /// Returns the value of a label of `image`, or `None` when image or label are not there.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be asked.
    pub async fn image_label(
        &self,
        image: &str,
        label: &str,
    ) -> Result<Option<String>, EngineError> {
        match self
            .docker
            .inspect_image(image)
            .await
            .map_err(|error| self.failed(format!("inspect `{image}`"), error))
        {
            Ok(found) => Ok(found
                .config
                .and_then(|config| config.labels)
                .and_then(|mut labels| labels.remove(label))),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an image of one layer.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn import_image(&self, import: Import<'_>) -> Result<(), EngineError> {
        let what = || format!("import `{}:{}`", import.repo, import.tag);
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(import.repo)
            .tag(import.tag)
            .message(import.message)
            .changes(import.changes)
            .build();
        let body = bollard::body_full(import.rootfs.into());
        let mut progress =
            std::pin::pin!(self.docker.create_image(Some(options), Some(body), None));
        while let Some(step) = progress.next().await {
            step.map_err(|error| self.failed(what(), error))?;
        }
        Ok(())
    }

    /// Creates a container of `image` that is never started, so that files can be read from it.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn create_idle_container(&self, image: &str) -> Result<String, EngineError> {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            labels: Some(HashMap::from([(
                "recipe-ci.idle".to_owned(),
                String::new(),
            )])),
            ..ContainerCreateBody::default()
        };
        self.docker
            .create_container(None::<CreateContainerOptions>, body)
            .await
            .map(|created| created.id)
            .map_err(|error| self.failed(format!("create a container of `{image}`"), error))
    }

    /// Removes a container that was made by [`Engine::create_idle_container`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn remove_idle_container(&self, container: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        self.docker
            .remove_container(container, Some(options))
            .await
            .map_err(|error| self.failed("remove an idle container", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_socket_is_told_from_a_missing_and_a_dead_one() {
        let root = tempfile::tempdir().unwrap();
        let host = format!("unix://{}/engine.sock", root.path().display());
        assert_eq!(probe(&host).await.unwrap(), Socket::Missing);
        // Not one that is closed: the child of another test's fork would have it open for a moment longer.
        let socket = tokio::net::UnixSocket::new_stream().unwrap();
        socket.bind(root.path().join("engine.sock")).unwrap();
        assert_eq!(probe(&host).await.unwrap(), Socket::Refused);
        let _listener = socket.listen(1).unwrap();
        assert_eq!(probe(&host).await.unwrap(), Socket::Open);
        assert!(matches!(
            probe("tcp://127.0.0.1:1").await,
            Err(EngineError::Unsupported { .. })
        ));
    }
}
