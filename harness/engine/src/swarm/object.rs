//! Everything that a stack consists of, listed and removed by kind.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard::models::{ContainerSummary, TaskState};
use bollard::query_parameters::{
    KillContainerOptionsBuilder, ListConfigsOptions, ListContainersOptionsBuilder,
    ListNetworksOptions, ListSecretsOptions, ListServicesOptions, ListTasksOptionsBuilder,
    ListVolumesOptions, RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder,
    UpdateServiceOptionsBuilder,
};
use serde::{Deserialize, Serialize};

use super::{Engine, EngineError, filters};
use ground::label::NAMESPACE;
use ground::name::StackName;
use ground::outcome::Residual;

/// The kinds of objects that belong to a stack, in the order in which they can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Services.
    Service,
    /// Tasks; they go when their service and container are gone, and cannot be removed themselves.
    Task,
    /// Containers, running or not.
    Container,
    /// Networks.
    Network,
    /// Volumes.
    Volume,
    /// Secrets.
    Secret,
    /// Configs.
    Config,
}

impl Kind {
    /// Returns the kind's plural, as reports name it.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Task => "tasks",
            Self::Container => "containers",
            Self::Network => "networks",
            Self::Volume => "volumes",
            Self::Secret => "secrets",
            Self::Config => "configs",
        }
    }

    /// Returns the kind's singular: `volume`.
    #[must_use]
    pub fn singular(self) -> &'static str {
        // All plurals end so.
        self.plural().trim_end_matches('s')
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())
    }
}

/// One object of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// The engine's id; for volumes the name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The stack that its label names.
    pub namespace: Option<String>,
    /// Labels, where its kind lists them.
    pub labels: BTreeMap<String, String>,
}

impl Object {
    /// Returns whether the object bears the label of the stack whose name its own name begins with.
    ///
    /// One of the two proves nothing. Docker's client gives our label to a foreign secret or config that a compose
    /// file names, and `note-0a1b2c_ci_localhost_app` begins like the objects of `note-0a1b2c.ci`.
    #[must_use]
    pub fn is_of(&self, stack: &StackName) -> bool {
        self.bears_label_of(stack) && stack.owns(&self.name)
    }

    /// Returns whether its label names `stack`.
    #[must_use]
    pub fn bears_label_of(&self, stack: &StackName) -> bool {
        self.namespace.as_deref() == Some(stack.as_str())
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind.singular(), self.name)
    }
}

/// What makes an object one app's: the label of its stack *and* a name with the stack's prefix, or an entry in the
/// record of what was made for it ([`crate::made`]). Nothing else of the engine is ever changed or removed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belongings {
    stack: StackName,
    made: BTreeSet<(Kind, String)>,
}

impl Belongings {
    /// Returns those of `stack`, beside which `made` was written down before it was made.
    #[must_use]
    pub fn new(stack: StackName, made: BTreeSet<(Kind, String)>) -> Self {
        Self { stack, made }
    }

    /// Returns those of `stack` of which nothing is written down.
    #[must_use]
    pub fn of(stack: StackName) -> Self {
        Self::new(stack, BTreeSet::new())
    }

    /// Returns the stack.
    #[must_use]
    pub fn stack(&self) -> &StackName {
        &self.stack
    }

    /// Returns whether `object` is the app's.
    ///
    /// What is written down counts only as long as no label says that it is another stack's: the record is older than
    /// the object.
    #[must_use]
    pub fn has(&self, object: &Object) -> bool {
        self.has_name(object.kind, &object.name, object.namespace.as_deref())
    }

    /// The same by the object's kind, its name, and the stack that its label names.
    #[must_use]
    pub fn has_name(&self, kind: Kind, name: &str, namespace: Option<&str>) -> bool {
        let labelled = namespace == Some(self.stack.as_str());
        (labelled && self.stack.owns(name))
            || ((labelled || namespace.is_none()) && self.made.contains(&(kind, name.to_owned())))
    }
}

/// What the engine has that concerns an app.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// What is the app's.
    pub own: Vec<Object>,
    /// What bears the label of its stack and is not its own. It is never touched.
    pub foreign: Vec<Object>,
    /// How many tasks Swarm keeps of each of the app's services, by the service's id: those that run and its history.
    pub tasks: BTreeMap<String, usize>,
}

/// Lists objects as a [`Residual`].
#[must_use]
pub fn residual(objects: &[Object]) -> Residual {
    let mut residual = Residual::default();
    for object in objects {
        residual.add(object.kind.plural(), vec![object.name.clone()]);
    }
    residual
}

fn object(kind: Kind, id: String, name: String, labels: HashMap<String, String>) -> Object {
    let labels: BTreeMap<String, String> = labels.into_iter().collect();
    Object {
        kind,
        id,
        name,
        namespace: labels.get(NAMESPACE).cloned(),
        labels,
    }
}

/// A task with what decides whose it is.
struct ListedTask {
    object: Object,
    service_id: String,
    has_ended: bool,
}

/// Returns whether a task in this state never runs again: the states from `complete` on in swarmkit's
/// `api/types.proto`.
fn has_ended(state: TaskState) -> bool {
    matches!(
        state,
        TaskState::COMPLETE
            | TaskState::SHUTDOWN
            | TaskState::FAILED
            | TaskState::REJECTED
            | TaskState::REMOVE
            | TaskState::ORPHANED
    )
}

impl Engine {
    /// Lists everything on the engine that is the app's.
    ///
    /// # Errors
    /// [`EngineError`] when any one kind cannot be listed: what cannot be read is never taken for nothing.
    pub async fn objects_of(&self, app: &Belongings) -> Result<Vec<Object>, EngineError> {
        Ok(self.listing_of(app).await?.own)
    }

    /// Lists everything on the engine that is the app's, and what only bears its label.
    ///
    /// # Errors
    /// As [`Engine::objects_of`].
    pub async fn listing_of(&self, app: &Belongings) -> Result<Listing, EngineError> {
        let stack = app.stack();
        let labelled = filters([("label", format!("{NAMESPACE}={stack}"))]);
        let (shared, tasks, containers) = futures_util::try_join!(
            self.shared_objects(),
            self.list_tasks(labelled.clone()),
            self.list_containers_as_objects(labelled),
        )?;
        let service_of = |task: &ListedTask| {
            let mut services = shared.iter().filter(|object| object.kind == Kind::Service);
            services.find(|service| service.id == task.service_id)
        };
        let mut listing = Listing::default();
        for task in tasks {
            match service_of(&task) {
                Some(service) if !app.has(service) => listing.foreign.push(task.object),
                // The record of a job's task stays in Swarm for ever; its container is listed as long as there is one.
                None if task.has_ended => {}
                // Of a service that is gone only the tasks know the label.
                _ => {
                    *listing.tasks.entry(task.service_id).or_default() += 1;
                    listing.own.push(task.object);
                }
            }
        }
        for object in shared.into_iter().chain(containers) {
            if app.has(&object) {
                listing.own.push(object);
            } else if object.bears_label_of(stack) {
                listing.foreign.push(object);
            }
        }
        Ok(listing)
    }

    /// Returns the names of all services, networks, volumes, secrets or configs of this engine.
    ///
    /// # Errors
    /// [`EngineError`] when they cannot be listed.
    pub async fn names_of(&self, kind: Kind) -> Result<BTreeSet<String>, EngineError> {
        let all = self.shared_objects().await?.into_iter();
        let of_kind = all.filter(|object| object.kind == kind);
        Ok(of_kind.map(|object| object.name).collect())
    }

    /// Lists every service, network, volume, secret and config on this engine, and every container of a stack.
    ///
    /// # Errors
    /// [`EngineError`] when any one kind cannot be listed.
    pub async fn all_objects(&self) -> Result<Vec<Object>, EngineError> {
        let labelled = filters([("label", NAMESPACE.to_owned())]);
        let (mut shared, containers) = futures_util::try_join!(
            self.shared_objects(),
            self.list_containers_as_objects(labelled)
        )?;
        shared.extend(containers);
        Ok(shared)
    }

    async fn shared_objects(&self) -> Result<Vec<Object>, EngineError> {
        let failed = |kind: &str, error| self.failed(format!("list the {kind}"), error);
        let (services, networks, volumes, secrets, configs) = futures_util::join!(
            self.docker.list_services(None::<ListServicesOptions>),
            self.docker.list_networks(None::<ListNetworksOptions>),
            self.docker.list_volumes(None::<ListVolumesOptions>),
            self.docker.list_secrets(None::<ListSecretsOptions>),
            self.docker.list_configs(None::<ListConfigsOptions>),
        );
        let mut all = Vec::new();
        for service in services.map_err(|error| failed("services", error))? {
            let spec = service.spec.unwrap_or_default();
            all.push(object(
                Kind::Service,
                service.id.unwrap_or_default(),
                spec.name.unwrap_or_default(),
                spec.labels.unwrap_or_default(),
            ));
        }
        for network in networks.map_err(|error| failed("networks", error))? {
            all.push(object(
                Kind::Network,
                network.id.unwrap_or_default(),
                network.name.unwrap_or_default(),
                network.labels.unwrap_or_default(),
            ));
        }
        for volume in volumes
            .map_err(|error| failed("volumes", error))?
            .volumes
            .unwrap_or_default()
        {
            all.push(object(
                Kind::Volume,
                volume.name.clone(),
                volume.name,
                volume.labels,
            ));
        }
        for secret in secrets.map_err(|error| failed("secrets", error))? {
            let spec = secret.spec.unwrap_or_default();
            let labels = spec.labels.unwrap_or_default();
            all.push(object(
                Kind::Secret,
                secret.id.unwrap_or_default(),
                spec.name.unwrap_or_default(),
                labels,
            ));
        }
        for config in configs.map_err(|error| failed("configs", error))? {
            let spec = config.spec.unwrap_or_default();
            let labels = spec.labels.unwrap_or_default();
            all.push(object(
                Kind::Config,
                config.id.unwrap_or_default(),
                spec.name.unwrap_or_default(),
                labels,
            ));
        }
        Ok(all)
    }

    /// Lists tasks, each with the id of its service.
    async fn list_tasks(
        &self,
        by: HashMap<String, Vec<String>>,
    ) -> Result<Vec<ListedTask>, EngineError> {
        let options = ListTasksOptionsBuilder::new().filters(&by).build();
        let tasks = self
            .docker
            .list_tasks(Some(options))
            .await
            .map_err(|error| self.failed("list the tasks", error))?;
        Ok(tasks
            .into_iter()
            .map(|task| {
                let id = task.id.unwrap_or_default();
                let state = task.status.and_then(|status| status.state);
                ListedTask {
                    object: object(Kind::Task, id.clone(), id, HashMap::new()),
                    service_id: task.service_id.unwrap_or_default(),
                    has_ended: state.is_some_and(has_ended),
                }
            })
            .collect())
    }

    /// Lists the containers that a filter leaves, running or not.
    pub(super) async fn containers_by(
        &self,
        by: HashMap<String, Vec<String>>,
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&by)
            .build();
        self.docker
            .list_containers(Some(options))
            .await
            .map_err(|error| self.failed("list the containers", error))
    }

    async fn list_containers_as_objects(
        &self,
        by: HashMap<String, Vec<String>>,
    ) -> Result<Vec<Object>, EngineError> {
        let containers = self.containers_by(by).await?;
        Ok(containers
            .into_iter()
            .map(|container| {
                let name = container
                    .names
                    .and_then(|names| names.into_iter().next())
                    .unwrap_or_default();
                object(
                    Kind::Container,
                    container.id.unwrap_or_default(),
                    name.trim_start_matches('/').to_owned(),
                    container.labels.unwrap_or_default(),
                )
            })
            .collect())
    }

    /// Kills a container and waits for its end.
    ///
    /// # Errors
    /// [`EngineError`], for instance when it does not run.
    pub async fn kill(&self, container: &Object) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::new().signal("KILL").build();
        self.docker
            .kill_container(&container.id, Some(options))
            .await
            .map_err(|error| self.failed(format!("kill container `{}`", container.name), error))
    }

    /// Sets the replicas of a service to none, so that Swarm drops its tasks. Returns whether it is a service that has
    /// replicas.
    ///
    /// # Errors
    /// [`EngineError`], for instance when another client updates it at the same time.
    pub(super) async fn scale_to_none(&self, service: &Object) -> Result<bool, EngineError> {
        let failed = |error| self.failed(format!("scale `{}` to none", service.name), error);
        let there = self.docker.inspect_service(&service.id, None);
        let there = there.await.map_err(failed)?;
        let mut spec = there.spec.unwrap_or_default();
        let mode = spec.mode.as_mut();
        let Some(replicated) = mode.and_then(|mode| mode.replicated.as_mut()) else {
            return Ok(false);
        };
        replicated.replicas = Some(0);
        let version = there.version.and_then(|version| version.index);
        let options = UpdateServiceOptionsBuilder::new()
            .version(i32::try_from(version.unwrap_or_default()).unwrap_or_default())
            .build();
        let update = self.docker.update_service(&service.id, spec, options, None);
        update.await.map_err(failed)?;
        Ok(true)
    }

    /// Removes one object; one that is gone already counts as removed. Tasks are left to the engine.
    ///
    /// # Errors
    /// [`EngineError`], for instance while a network or a volume is still in use.
    pub async fn remove(&self, object: &Object) -> Result<(), EngineError> {
        let result = match object.kind {
            Kind::Task => return Ok(()),
            Kind::Service => self.docker.delete_service(&object.id).await,
            Kind::Container => {
                let options = RemoveContainerOptionsBuilder::new()
                    .force(true)
                    .v(true)
                    .build();
                self.docker
                    .remove_container(&object.id, Some(options))
                    .await
            }
            Kind::Network => self.docker.remove_network(&object.id).await,
            Kind::Volume => {
                let options = RemoveVolumeOptionsBuilder::new().force(true).build();
                self.docker.remove_volume(&object.id, Some(options)).await
            }
            Kind::Secret => self.docker.delete_secret(&object.id).await,
            Kind::Config => self.docker.delete_config(&object.id).await,
        };
        match result.map_err(|error| {
            self.failed(format!("remove `{}` ({})", object.name, object.kind), error)
        }) {
            Err(error) if error.is_gone() => Ok(()),
            other => other,
        }
    }

    /// Creates a secret that belongs to `stack`.
    ///
    /// # Errors
    /// [`EngineError`], for instance when one of that name exists.
    pub async fn create_secret(
        &self,
        stack: &StackName,
        name: &str,
        value: &str,
    ) -> Result<(), EngineError> {
        use bollard::models::SecretSpec;
        let spec = SecretSpec {
            name: Some(name.to_owned()),
            labels: Some(HashMap::from([(NAMESPACE.to_owned(), stack.to_string())])),
            data: Some(BASE64_STANDARD.encode(value)),
            ..SecretSpec::default()
        };
        self.docker
            .create_secret(spec)
            .await
            .map(drop)
            .map_err(|error| self.failed(format!("create secret `{name}`"), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_an_apps_by_label_and_name_together_or_by_the_record() {
        let stack = ground::name::Domain::parse("note-012345.z", &"z".parse().unwrap())
            .unwrap()
            .stack();
        let make = |name: &str, label: Option<&str>| Object {
            kind: Kind::Secret,
            id: String::new(),
            name: name.to_owned(),
            namespace: label.map(str::to_owned),
            labels: BTreeMap::new(),
        };
        let (ours, theirs) = (Some("note-012345_z"), Some("victim"));
        let app = Belongings::of(stack.clone());
        assert!(app.has(&make("note-012345_z_pw", ours)));
        for (name, label) in [
            // What Docker's client relabelled, what a person named so, and the zone `z.localhost`.
            ("victim_unused", ours),
            ("note-012345_z_pw", None),
            ("note-012345_z_pw", theirs),
            ("note-012345_zz_pw", ours),
            (
                "note-012345_z_localhost_pw",
                Some("note-012345_z_localhost"),
            ),
        ] {
            assert!(!app.has(&make(name, label)), "{name} {label:?}");
        }
        // What is written down is ours without a label and with our own, and never with another's.
        let made = BTreeSet::from([(Kind::Secret, "other".to_owned())]);
        let app = Belongings::new(stack, made);
        assert!(app.has(&make("other", None)) && app.has(&make("other", ours)));
        assert!(!app.has(&make("other", theirs)) && !app.has(&make("another", ours)));
        assert!(!app.has_name(Kind::Volume, "other", None));
    }
}
