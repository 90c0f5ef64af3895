//! What a tier teaches about the recipe beyond its verdict: containers that ignore SIGTERM, updates that run two
//! containers on one set of data, databases that may be killed while they write, memory that runs out, images that grew.

use std::time::Duration;

use super::Bench;
use crate::event::Event;
use engine::swarm::EngineError;
use engine::swarm::service::{StackState, Task};
use ground::finding::Finding;
use recipe::backup::database::Server;
use recipe::compose::Project;
use recipe::compose::model::{MountKind, Service};

/// The exit code of a process that SIGKILL ended.
const KILLED: i64 = 137;

/// How long Docker waits for a container that it stops when the recipe says nothing.
const GRACE: Duration = Duration::from_secs(10);

/// From what size on the growth of an image is worth a word, in bytes.
const LARGE: u64 = 50 << 20;

impl Bench {
    /// Says what the tasks of the app tell so far. It changes no verdict: what cannot be looked at teaches nothing.
    pub(super) async fn learn(&self) {
        if let Err(error) = self.look_at_tasks().await {
            tracing::debug!(%error, "nothing is learned of the tasks");
        }
    }

    /// Says what an upgrade from the project `base` told, as [`Bench::learn`] does.
    pub(super) async fn learn_of_upgrade(&self, base: &Project, before: &StackState) {
        if let Err(error) = self.look_at_upgrade(base, before).await {
            tracing::debug!(%error, "nothing is learned of the upgrade");
        }
    }

    async fn look_at_tasks(&self) -> Result<(), EngineError> {
        let state = self.state().await?;
        for service in state.services.values() {
            let planned = self.current.project.service(&service.name);
            let mut tasks = state.tasks_of(service);
            if let Some(found) =
                tasks.find_map(|task| ignores_sigterm(&service.name, task, planned))
            {
                self.teach(found);
            }
            for task in state.tasks_of(service) {
                let Some(container) = task.container_id.as_deref() else {
                    continue;
                };
                if may_be_out_of_memory(task) && self.engine().was_out_of_memory(container).await? {
                    self.teach(out_of_memory(&service.name));
                }
            }
        }
        Ok(())
    }

    async fn look_at_upgrade(
        &self,
        base: &Project,
        before: &StackState,
    ) -> Result<(), EngineError> {
        for service in &self.current.project.services {
            let raw = self.current.project.raw_service(&service.name);
            let order = raw.and_then(|raw| raw.pointer("/deploy/update_config/order"));
            let order = order.and_then(serde_json::Value::as_str);
            if before.services.contains_key(&service.name)
                && let Some(found) = starts_first(service, order)
            {
                self.teach(found);
            }
            if let Some(found) = impatient_database(service, raw) {
                self.teach(found);
            }
            let old = base.service(&service.name);
            if let (Some(old), Some(new)) = (
                old.and_then(|old| old.image.as_deref()),
                service.image.as_deref(),
            ) && old != new
            {
                let sizes = (
                    self.engine().image_size(old).await?,
                    self.engine().image_size(new).await?,
                );
                if let (Some(was), Some(now)) = sizes
                    && let Some(found) = grew(&service.name, was, now)
                {
                    self.teach(found);
                }
            }
        }
        Ok(())
    }

    fn teach(&self, found: Finding) {
        self.events.emit(&Event::Found(Box::new(found)));
    }
}

fn finding(id: &str, service: &str, message: String, fix: &str) -> Finding {
    Finding {
        id: id.to_owned(),
        service: Some(service.to_owned()),
        message,
        fix: fix.to_owned(),
    }
}

/// A task that Swarm stopped, and whose container had to be killed for it: its first process got SIGTERM, and the whole
/// of the grace passed.
fn ignores_sigterm(service: &str, task: &Task, planned: Option<&Service>) -> Option<Finding> {
    if task.state != "shutdown" || task.exit_code != Some(KILLED) {
        return None;
    }
    let spec = task.container_spec.get("StopGracePeriod");
    let grace = spec.and_then(serde_json::Value::as_u64);
    let grace = grace.map_or(GRACE, Duration::from_nanos);
    let has_init = task.container_spec.get("Init") == Some(&serde_json::Value::Bool(true));
    let fix = if has_init {
        "set `stop_signal` to what its server obeys, or start the server with `exec` where a shell starts it"
    } else {
        "start the server with `exec` where a shell starts it, or set `init: true`, or `stop_signal` to what the server obeys"
    };
    let what = match planned.and_then(|planned| planned.image.as_deref()) {
        Some(image) => format!("its container (`{image}`)"),
        None => "its container".to_owned(),
    };
    Some(finding(
        "F001",
        service,
        format!(
            "{what} did not end on SIGTERM and was killed after {} s: every restart and upgrade takes that long, and \
             what it had not written is lost",
            grace.as_secs_f64()
        ),
        fix,
    ))
}

fn starts_first(service: &Service, order: Option<&str>) -> Option<Finding> {
    let data = service
        .volumes
        .iter()
        .find(|mount| mount.kind == MountKind::Volume && !mount.read_only)?;
    if order != Some("start-first") {
        return None;
    }
    let volume = data.source.as_deref().unwrap_or("anonymous");
    Some(finding(
        "F002",
        &service.name,
        format!(
            "its updates start the new container while the old one still writes to volume `{volume}`"
        ),
        "use `order: stop-first` in `deploy.update_config`",
    ))
}

fn impatient_database(service: &Service, raw: Option<&serde_json::Value>) -> Option<Finding> {
    let server = Server::of_service(service).filter(|server| !server.is_whole())?;
    let grace = raw?.get("stop_grace_period");
    if grace.is_some_and(|grace| !grace.is_null()) {
        return None;
    }
    Some(finding(
        "F003",
        &service.name,
        format!(
            "its {} has no `stop_grace_period`: it is killed {} s after it was asked to stop, whatever it writes",
            server.kind,
            GRACE.as_secs()
        ),
        "set `stop_grace_period`, such as `1m`",
    ))
}

/// The kernel kills what reaches its limit; so do many others.
fn may_be_out_of_memory(task: &Task) -> bool {
    task.exit_code == Some(KILLED) && task.has_failed()
}

fn out_of_memory(service: &str) -> Finding {
    finding(
        "F004",
        service,
        "a container of it was killed because it reached its memory limit".to_owned(),
        "raise `deploy.resources.limits.memory`, or have the software use less",
    )
}

fn grew(service: &str, was: u64, now: u64) -> Option<Finding> {
    if now < LARGE || now < was.saturating_add(was / 2) {
        return None;
    }
    Some(finding(
        "F005",
        service,
        format!("its image grew from {} MiB to {} MiB", was >> 20, now >> 20),
        "see what the new image holds that it need not, and whether every operator's disk has room for both",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::swarm::service::samples;
    use engine::swarm::testing::hangs_up;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn a_task_that_swarm_had_to_kill_is_named_with_its_grace_and_a_crash_is_not() {
        let stopped = |state: &str, code, spec| Task {
            exit_code: Some(code),
            container_spec: spec,
            ..samples::task("1", "app", state)
        };
        let look = |task: &Task| ignores_sigterm("app", task, None);
        let found = look(&stopped(
            "shutdown",
            137,
            json!({"StopGracePeriod": 30_000_000_000_u64}),
        ));
        let found = found.unwrap();
        assert!(found.message.contains("killed after 30 s"), "{found}");
        assert!(found.fix.contains("init: true"), "{}", found.fix);
        let found = look(&stopped("shutdown", 137, json!({"Init": true}))).unwrap();
        assert!(found.message.contains("after 10 s"), "{found}");
        assert!(!found.fix.contains("init: true"), "{}", found.fix);
        assert_eq!(look(&stopped("shutdown", 0, json!({}))), None);
        assert_eq!(look(&stopped("shutdown", 143, json!({}))), None);
        assert_eq!(look(&stopped("failed", 137, json!({}))), None);
    }

    #[test]
    fn a_database_that_may_be_killed_while_it_writes_is_named() {
        let look = |service: &str| {
            let dir = tempfile::tempdir().unwrap();
            let text = format!("services:\n  db:\n{service}");
            std::fs::write(dir.path().join("compose.yml"), text).unwrap();
            let files = ["compose.yml".to_owned()];
            let project = Project::load(dir.path(), &files, &BTreeMap::new()).unwrap();
            let service = project.service("db").unwrap();
            impatient_database(service, project.raw_service("db"))
        };
        let found = look("    image: postgres:15\n").unwrap();
        assert_eq!(
            (found.id.as_str(), found.service.as_deref()),
            ("F003", Some("db"))
        );
        assert!(found.message.contains("it is killed 10 s after"), "{found}");
        assert_eq!(
            look("    image: postgres:15\n    stop_grace_period: 1m\n"),
            None
        );
        assert_eq!(look("    image: nginx:1\n"), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_container_that_reached_its_memory_limit_is_named_and_one_that_was_killed_is_not() {
        let ended = |state: &str, code| Task {
            exit_code: Some(code),
            ..samples::task("1", "app", state)
        };
        assert!(may_be_out_of_memory(&ended("failed", 137)));
        assert!(!may_be_out_of_memory(&ended("failed", 1)));
        // Swarm stopped it.
        assert!(!may_be_out_of_memory(&ended("shutdown", 137)));
        for (state, expected) in [
            (r#"{"State": {"OOMKilled": true}}"#, true),
            (r#"{"State": {"OOMKilled": false}}"#, false),
            ("{}", false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (engine, _) = hangs_up(dir.path(), 0, state);
            assert_eq!(
                engine.was_out_of_memory("c").await.unwrap(),
                expected,
                "{state}"
            );
        }
        let found = out_of_memory("app");
        assert_eq!(
            (found.id.as_str(), found.service.as_deref()),
            ("F004", Some("app"))
        );
    }

    #[test]
    fn an_image_that_grew_by_half_is_named() {
        let mib = 1 << 20;
        assert!(grew("app", 100 * mib, 150 * mib).is_some());
        assert_eq!(grew("app", 100 * mib, 149 * mib), None);
        // Ten times of nearly nothing is nearly nothing.
        assert_eq!(grew("app", mib, 40 * mib), None);
    }
}
