//! Services and tasks as the harness judges them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bollard::models::{
    ServiceSpecMode, ServiceUpdateStatusStateEnum as Update, TaskSpecRestartPolicyConditionEnum,
};
use bollard::query_parameters::{ListServicesOptionsBuilder, ListTasksOptionsBuilder};

use super::{Engine, EngineError, filters};
use ground::label::NAMESPACE;
use ground::name::StackName;
use ground::name::image::Reference;

/// What a service reserves, or a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Memory in bytes.
    pub memory: u64,
    /// CPUs in billionths.
    pub nano_cpus: u64,
}

/// A service of a stack at one moment.
#[derive(Debug, Clone)]
pub struct Service {
    /// The engine's id.
    pub id: String,
    /// Its name without the stack's: `app`.
    pub name: String,
    /// The image of its current spec, as [`familiar_image`] has it.
    pub image: String,
    /// Its service labels (`deploy.labels` of the compose file).
    pub labels: BTreeMap<String, String>,
    /// The container part of its current spec, as JSON, to compare tasks with.
    pub container_spec: serde_json::Value,
    /// How many tasks should run, of a job how many must complete; zero is a valid wish of a replicated service.
    pub desired: u64,
    /// Whether it has a task on every node that fits: then zero tasks mean that none does, or that Swarm has not
    /// looked yet.
    pub global: bool,
    /// How many tasks of a job have completed; `None` for a service that is no job.
    pub completed: Option<u64>,
    /// How long Swarm watches a new task for a failure: `update_config.monitor`.
    pub monitor: Duration,
    /// What the last update came to.
    pub update: UpdateState,
    /// What Swarm says about the last update.
    pub update_message: String,
    /// When the last update began, RFC 3339.
    pub update_started: Option<String>,
    /// Whether a task that ends with 0 is started again.
    pub restarts_on_success: bool,
    /// What each of its tasks reserves.
    pub reserved: Room,
}

/// How long Swarm watches a new task when the spec says nothing: `defaultMonitor` in swarmkit's
/// `manager/orchestrator/update/updater.go`.
const DEFAULT_MONITOR: Duration = Duration::from_secs(5);

/// What the last update of a service came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateState {
    /// There was none, or it completed.
    Settled,
    /// It is under way.
    Updating,
    /// Swarm gave up half-way; it stays so for ever.
    Paused,
    /// Swarm is undoing it.
    RollingBack,
    /// Swarm has undone it, or gave up undoing it.
    RolledBack,
}

/// A task of a stack at one moment.
#[derive(Debug, Clone)]
pub struct Task {
    /// The engine's id.
    pub id: String,
    /// Which service it is of.
    pub service_id: String,
    /// Its state in swarm's words: `running`, `failed`, …
    pub state: String,
    /// What swarm wants it to be: `running`, `shutdown`, …
    pub desired: String,
    /// The container part of the spec that it was made from, as JSON.
    pub container_spec: serde_json::Value,
    /// When it was made, RFC 3339 in UTC.
    pub created_at: String,
    /// What went wrong with it.
    pub error: String,
    /// How its container exited.
    pub exit_code: Option<i64>,
    /// Its container.
    pub container_id: Option<String>,
}

impl Task {
    /// Returns whether it runs and should.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == "running" && self.desired == "running"
    }

    /// Returns whether it came to a bad end.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.state.as_str(), "failed" | "rejected" | "orphaned")
    }
}

impl Service {
    /// Returns whether one of its tasks is done for good: it ended well and is not started again.
    #[must_use]
    pub fn is_done(&self, task: &Task) -> bool {
        task.state == "complete" && !self.restarts_on_success
    }

    /// Returns whether one of its tasks ended though it should have gone on.
    #[must_use]
    pub fn has_crashed(&self, task: &Task) -> bool {
        task.has_failed() || (task.state == "complete" && self.restarts_on_success)
    }
}

/// All services and tasks of a stack at one moment.
#[derive(Debug, Clone, Default)]
pub struct StackState {
    /// Services by name without the stack's.
    pub services: BTreeMap<String, Service>,
    /// Tasks, newest first.
    pub tasks: Vec<Task>,
}

impl StackState {
    /// Returns the tasks of a service, newest first.
    pub fn tasks_of<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Task> {
        self.tasks
            .iter()
            .filter(|task| task.service_id == service.id)
    }

    /// Returns the ids of the tasks that have failed.
    #[must_use]
    pub fn failed(&self) -> BTreeSet<String> {
        let failed = self.tasks.iter().filter(|task| task.has_failed());
        failed.map(|task| task.id.clone()).collect()
    }

    /// Returns the container of a task of `service` that is up.
    #[must_use]
    pub fn container_of(&self, service: &str) -> Option<&str> {
        let service = self.services.get(service)?;
        self.tasks_of(service)
            .filter(|task| task.is_up())
            .find_map(|task| task.container_id.as_deref())
    }
}

impl Engine {
    /// Reads the state of a stack.
    ///
    /// # Errors
    /// [`EngineError`] when services or tasks cannot be listed.
    pub async fn stack_state(&self, stack: &StackName) -> Result<StackState, EngineError> {
        let mine = filters([("label", format!("{NAMESPACE}={stack}"))]);
        let services = ListServicesOptionsBuilder::new()
            .filters(&mine)
            .status(true)
            .build();
        let tasks = ListTasksOptionsBuilder::new().filters(&mine).build();
        let (services, tasks) = futures_util::future::try_join(
            self.ask(
                || format!("list the services of {stack}"),
                async || self.docker.list_services(Some(services.clone())).await,
            ),
            self.ask(
                || format!("list the tasks of {stack}"),
                async || self.docker.list_tasks(Some(tasks.clone())).await,
            ),
        )
        .await?;
        let prefix = format!("{stack}_");
        let mut state = StackState::default();
        for service in services {
            // What only bears the label is not the stack's.
            let name = service.spec.as_ref().and_then(|spec| spec.name.as_deref());
            if !name.is_some_and(|name| stack.owns(name)) {
                continue;
            }
            let service = read_service(service, &prefix);
            state.services.insert(service.name.clone(), service);
        }
        state.tasks = tasks.into_iter().map(read_task).collect();
        state
            .tasks
            .sort_by(|one, other| other.created_at.cmp(&one.created_at));
        Ok(state)
    }
}

fn read_service(service: bollard::models::Service, prefix: &str) -> Service {
    let spec = service.spec.unwrap_or_default();
    let template = spec.task_template.unwrap_or_default();
    let container = template.container_spec.unwrap_or_default();
    let full_name = spec.name.unwrap_or_default();
    let status = service.update_status.unwrap_or_default();
    let reserved = template.resources.and_then(|all| all.reservations);
    let reserved = reserved.unwrap_or_default();
    let number = |value: Option<i64>| {
        let value = value.and_then(|value| u64::try_from(value).ok());
        value.unwrap_or_default()
    };
    let restart = template.restart_policy.and_then(|policy| policy.condition);
    let mode = spec.mode.unwrap_or_default();
    let count = service.service_status.unwrap_or_default();
    let (desired, completed) = match &mode {
        ServiceSpecMode {
            replicated: Some(mode),
            ..
        } => (mode.replicas.map_or(1, i64::unsigned_abs), None),
        ServiceSpecMode {
            replicated_job: Some(job),
            ..
        } => {
            let total = job.total_completions.or(job.max_concurrent);
            let total = total.map_or(1, i64::unsigned_abs);
            (total, Some(count.completed_tasks.unwrap_or_default()))
        }
        ServiceSpecMode {
            global_job: Some(_),
            ..
        } => {
            let completed = count.completed_tasks.unwrap_or_default();
            (
                count.desired_tasks.unwrap_or(1).max(completed),
                Some(completed),
            )
        }
        _ => (count.desired_tasks.unwrap_or(1), None),
    };
    let monitor = spec
        .update_config
        .and_then(|config| config.monitor)
        .and_then(|nanoseconds| u64::try_from(nanoseconds).ok())
        .filter(|nanoseconds| *nanoseconds > 0);
    Service {
        id: service.id.unwrap_or_default(),
        name: full_name
            .strip_prefix(prefix)
            .unwrap_or(&full_name)
            .to_owned(),
        image: familiar_image(container.image.as_deref().unwrap_or_default()),
        labels: spec.labels.unwrap_or_default().into_iter().collect(),
        container_spec: serde_json::to_value(&container).unwrap_or_default(),
        desired,
        global: mode.global.is_some() || mode.global_job.is_some(),
        completed,
        monitor: monitor.map_or(DEFAULT_MONITOR, Duration::from_nanos),
        update: match status.state {
            Some(Update::UPDATING) => UpdateState::Updating,
            Some(Update::PAUSED) => UpdateState::Paused,
            Some(Update::ROLLBACK_STARTED) => UpdateState::RollingBack,
            Some(Update::ROLLBACK_PAUSED | Update::ROLLBACK_COMPLETED) => UpdateState::RolledBack,
            Some(Update::EMPTY | Update::COMPLETED) | None => UpdateState::Settled,
        },
        update_message: status.message.unwrap_or_default(),
        update_started: status.started_at,
        reserved: Room {
            memory: number(reserved.memory_bytes),
            nano_cpus: number(reserved.nano_cpus),
        },
        // A job that is done is done, whatever its policy says: `shouldRestart` in swarmkit's
        // `manager/orchestrator/restart/restart.go`.
        restarts_on_success: completed.is_none()
            && !matches!(
                restart,
                Some(
                    TaskSpecRestartPolicyConditionEnum::NONE
                        | TaskSpecRestartPolicyConditionEnum::ON_FAILURE
                )
            ),
    }
}

fn read_task(task: bollard::models::Task) -> Task {
    let status = task.status.unwrap_or_default();
    let container = status.container_status.unwrap_or_default();
    let spec = task
        .spec
        .and_then(|spec| spec.container_spec)
        .unwrap_or_default();
    Task {
        id: task.id.unwrap_or_default(),
        service_id: task.service_id.unwrap_or_default(),
        state: status
            .state
            .map(|state| state.to_string())
            .unwrap_or_default(),
        desired: task
            .desired_state
            .map(|state| state.to_string())
            .unwrap_or_default(),
        container_spec: serde_json::to_value(&spec).unwrap_or_default(),
        created_at: task.created_at.unwrap_or_default(),
        error: status.err.unwrap_or_default(),
        exit_code: container.exit_code,
        container_id: container.container_id.filter(|id| !id.is_empty()),
    }
}

/// Returns an image reference as Docker's client writes it into a service's spec, without the digest that it
/// adds when it resolves one: `redis:7` for `docker.io/library/redis:7`, `foo:latest` for `foo`.
///
/// The rules are those of `reference.FamiliarString(reference.TagNameOnly(…))` in github.com/distribution/reference.
#[must_use]
pub fn familiar_image(image: &str) -> String {
    let Ok(image) = Reference::parse(image) else {
        return image.to_owned();
    };
    match (image.tag(), image.digest()) {
        (Some(tag), _) => format!("{}:{tag}", image.familiar()),
        (None, Some(_)) => image.familiar(),
        (None, None) => format!("{}:latest", image.familiar()),
    }
}

/// Returns the same with the digest, if the reference has one.
#[must_use]
pub fn exact_image(image: &str) -> String {
    let name = familiar_image(image);
    match image.split_once('@') {
        Some((_, digest)) => format!("{name}@{digest}"),
        None => name,
    }
}

/// Services and tasks for the tests of those who judge them.
#[cfg(any(test, feature = "testing"))]
pub mod samples {
    use super::*;
    use serde_json::json;

    /// Returns a service that should have one task.
    pub fn service(name: &str) -> Service {
        Service {
            id: format!("id-{name}"),
            name: name.to_owned(),
            image: "x:1".to_owned(),
            labels: BTreeMap::new(),
            container_spec: json!({"Image": "x:1"}),
            desired: 1,
            global: false,
            completed: None,
            monitor: DEFAULT_MONITOR,
            update: UpdateState::Settled,
            update_message: String::new(),
            update_started: None,
            restarts_on_success: true,
            reserved: Room::default(),
        }
    }

    /// Returns a stack of these services.
    pub fn state(services: &[&str], tasks: Vec<Task>) -> StackState {
        let services = services.iter().map(|name| service(name));
        StackState {
            services: services.map(|one| (one.name.clone(), one)).collect(),
            tasks,
        }
    }

    /// Returns a task of that service; one that has ended did so with exit code 3.
    pub fn task(id: &str, service: &str, state: &str) -> Task {
        Task {
            id: id.to_owned(),
            service_id: format!("id-{service}"),
            state: state.to_owned(),
            desired: if state == "running" {
                "running"
            } else {
                "shutdown"
            }
            .to_owned(),
            container_spec: json!({"Image": "x:1"}),
            created_at: id.to_owned(),
            error: String::new(),
            exit_code: Some(3),
            container_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_called_as_dockers_client_calls_it() {
        for (written, spec) in [
            ("redis:7", "redis:7"),
            ("docker.io/library/redis:7", "redis:7"),
            ("index.docker.io/library/redis:7", "redis:7"),
            ("docker.io/redis:7", "redis:7"),
            ("library/redis:7", "redis:7"),
            ("docker.io/valkey/valkey:8", "valkey/valkey:8"),
            ("docker.io/library/a/b:1", "library/a/b:1"),
            ("foo", "foo:latest"),
            ("docker.io/foo/bar", "foo/bar:latest"),
            ("host:5000/foo", "host:5000/foo:latest"),
            ("host:5000/foo:2", "host:5000/foo:2"),
            // Another registry's `library` is its own matter.
            ("quay.io/library/redis:7", "quay.io/library/redis:7"),
            (
                "redis:7@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "redis:7",
            ),
            (
                "docker.io/library/redis:7@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "redis:7",
            ),
            (
                "docker.io/library/redis@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "redis",
            ),
            ("", ""),
        ] {
            assert_eq!(familiar_image(written), spec, "{written}");
        }
    }
}
