//! Services that no node takes, and whose fault that is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::service::{Room, Service, StackState, Task};
use super::{Engine, EngineError};

/// How long a cause must have been the same to be final: Swarm says it at once and again at every try.
const FINAL: Duration = Duration::from_secs(5);

/// How Swarm's scheduler begins: `noSuitableNode` in swarmkit's `manager/scheduler/scheduler.go`.
const NO_NODE: &str = "no suitable node (";

/// What no waiting changes: `Explain` of the filters in swarmkit's `manager/scheduler/filter.go`.
const CONSTANT: [&str; 3] = [
    "scheduling constraints not satisfied",
    "missing plugin",
    "unsupported platform",
];

/// A port of the host that a task wants and another one has: `HostPortFilter` in the same file.
const PORT: &str = "host-mode port already in use";

/// What other apps of this host may have taken.
const ROOM: &str = "insufficient resources";

/// What a node is that was drained or paused.
const NOT_AVAILABLE: &str = "not available for new tasks";

/// A service that no node takes, because of what the recipe asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplaced {
    /// Which service.
    pub service: String,
    /// Why, in Swarm's words.
    pub reason: String,
}

impl std::fmt::Display for Unplaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "no node takes service `{}`: {}",
            self.service, self.reason
        )
    }
}

/// The services that no node takes, over time.
#[derive(Debug, Default)]
pub struct Watched {
    since: BTreeMap<String, (String, Duration)>,
    /// What this node has, once that matters.
    node: Option<Room>,
}

impl Watched {
    /// Looks at `state`, `at` after the wait began; returns a service that no node will take.
    pub fn look(&mut self, state: &StackState, at: Duration) -> Option<Unplaced> {
        let mut since = BTreeMap::new();
        for service in state.services.values() {
            let Some(reason) = self.constant(state, service) else {
                continue;
            };
            let known = self.since.get(&service.name);
            let first = known.filter(|(known, _)| *known == reason);
            let first = first.map_or(at, |(_, first)| *first);
            since.insert(service.name.clone(), (reason, first));
        }
        self.since = since;
        let mut found = self.since.iter();
        let (service, (reason, _)) =
            found.find(|(_, (_, first))| at.saturating_sub(*first) >= FINAL)?;
        Some(Unplaced {
            service: service.clone(),
            reason: reason.clone(),
        })
    }

    /// Learns what the node has, where a service wants more than it gives.
    ///
    /// # Errors
    /// [`EngineError`] when the engine cannot be asked.
    pub async fn measure(
        &mut self,
        engine: &Engine,
        state: &StackState,
    ) -> Result<(), EngineError> {
        let lacks = |service| refusal(state, service).is_some_and(|text| text.contains(ROOM));
        if self.node.is_none() && state.services.values().any(lacks) {
            self.node = Some(engine.room().await?);
        }
        Ok(())
    }

    fn constant(&self, state: &StackState, service: &Service) -> Option<String> {
        if service.global && service.desired == 0 && service.completed.is_none() {
            return Some("0 tasks: no node fits its placement".to_owned());
        }
        let said = refusal(state, service)?;
        let causes = said.strip_prefix(NO_NODE)?.trim_end_matches(')');
        let wanted = reserved(state);
        let too_much = self
            .node
            .is_some_and(|node| wanted.memory > node.memory || wanted.nano_cpus > node.nano_cpus);
        // A task that is to stay has it: an update that starts first, or a second replica.
        let has_port = causes.contains(PORT) && state.tasks_of(service).any(Task::is_up);
        let constant = causes.split("; ").all(|cause| {
            CONSTANT.iter().any(|constant| cause.starts_with(constant))
                || (too_much && cause.starts_with(ROOM))
                || (has_port && cause.starts_with(PORT))
        });
        if !constant {
            return None;
        }
        Some(if has_port {
            format!(
                "{said}: another task of the service has the port and stays; with a port in host mode use one replica \
                 and `order: stop-first` in `deploy.update_config`"
            )
        } else if too_much && causes.contains(ROOM) {
            format!("{said}: the stack reserves more than this node has")
        } else {
            said.to_owned()
        })
    }
}

/// Returns the service that this host has no room for, and why, where that is what a wait ran out of time on.
#[must_use]
pub fn without_room(state: &StackState) -> Option<EngineError> {
    state.services.values().find_map(|service| {
        let said = refusal(state, service)?;
        let is_the_hosts = said.contains(ROOM) || said.contains(NOT_AVAILABLE);
        is_the_hosts.then(|| EngineError::NoRoom {
            service: service.name.clone(),
            reason: said.to_owned(),
        })
    })
}

/// Returns what the scheduler says of a task that no node takes.
fn refusal<'a>(state: &'a StackState, service: &'a Service) -> Option<&'a str> {
    let mut tasks = state.tasks_of(service);
    let task = tasks.find(|task| task.state == "pending" && task.error.starts_with(NO_NODE))?;
    Some(&task.error)
}

/// Returns what all tasks of the stack reserve together.
fn reserved(state: &StackState) -> Room {
    state
        .services
        .values()
        .fold(Room::default(), |sum, service| {
            let times = service.desired;
            Room {
                memory: sum
                    .memory
                    .saturating_add(service.reserved.memory.saturating_mul(times)),
                nano_cpus: sum
                    .nano_cpus
                    .saturating_add(service.reserved.nano_cpus.saturating_mul(times)),
            }
        })
}

impl Engine {
    /// Returns what this node has for tasks.
    ///
    /// # Errors
    /// [`EngineError`] when the engine cannot be asked.
    pub async fn room(&self) -> Result<Room, EngineError> {
        let info = self.docker.info().await;
        let info = info.map_err(|error| self.failed("ask the engine about its node", error))?;
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        Ok(Room {
            memory: number(info.mem_total).unwrap_or(u64::MAX),
            nano_cpus: number(info.ncpu)
                .and_then(|cpus| cpus.checked_mul(1_000_000_000))
                .unwrap_or(u64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::service::samples::{service, task};
    use super::*;

    /// Returns a state whose only task no node takes, for this reason; its service reserves `memory`.
    fn state(error: &str, memory: u64) -> StackState {
        let app = Service {
            reserved: Room {
                memory,
                nano_cpus: 0,
            },
            ..service("app")
        };
        let waiting = super::super::service::Task {
            error: error.to_owned(),
            ..task("1", "app", "pending")
        };
        StackState {
            services: BTreeMap::from([(app.name.clone(), app)]),
            tasks: vec![waiting],
        }
    }

    fn after(seconds: u64, watched: &mut Watched, state: &StackState) -> Option<String> {
        let found = watched.look(state, Duration::from_secs(seconds));
        found.map(|found| found.to_string())
    }

    #[test]
    fn a_constraint_that_no_node_meets_is_final_after_seconds_and_in_swarms_words() {
        let error = "no suitable node (scheduling constraints not satisfied on 1 node)";
        let mut watched = Watched::default();
        let nowhere = state(error, 0);
        assert_eq!(after(3, &mut watched, &nowhere), None);
        assert_eq!(after(7, &mut watched, &nowhere), None);
        assert_eq!(
            after(8, &mut watched, &nowhere).unwrap(),
            format!("no node takes service `app`: {error}")
        );
        // It was placed in between.
        assert_eq!(after(9, &mut watched, &state("", 0)), None);
        assert_eq!(after(10, &mut watched, &nowhere), None);
        let mixed = "no suitable node (scheduling constraints not satisfied on 1 node; insufficient resources on 1 node)";
        let mut watched = Watched::default();
        after(0, &mut watched, &state(mixed, 0));
        assert_eq!(after(60, &mut watched, &state(mixed, 0)), None);
    }

    #[test]
    fn a_port_in_use_may_become_free() {
        let error = "no suitable node (host-mode port already in use on 1 node)";
        let mut watched = Watched::default();
        after(0, &mut watched, &state(error, 0));
        assert_eq!(after(600, &mut watched, &state(error, 0)), None);
        assert!(without_room(&state(error, 0)).is_none());
        // The one that has it is about to stop.
        let mut beside = state(error, 0);
        let old = Task {
            desired: "shutdown".to_owned(),
            ..task("0", "app", "running")
        };
        beside.tasks.push(old);
        after(700, &mut watched, &beside);
        assert_eq!(after(800, &mut watched, &beside), None);
    }

    #[test]
    fn a_port_that_the_services_own_task_keeps_is_final() {
        let error = "no suitable node (host-mode port already in use on 1 node)";
        let mut beside = state(error, 0);
        beside.tasks.push(task("0", "app", "running"));
        let mut watched = Watched::default();
        assert_eq!(after(0, &mut watched, &beside), None);
        let said = after(5, &mut watched, &beside).unwrap();
        assert!(
            said.contains("another task of the service has the port"),
            "{said}"
        );
        assert!(said.contains("stop-first"), "{said}");
        // That of another service, which an update may free.
        let mut other = state(error, 0);
        other.tasks.push(task("0", "db", "running"));
        let mut watched = Watched::default();
        after(0, &mut watched, &other);
        assert_eq!(after(600, &mut watched, &other), None);
    }

    #[test]
    fn more_than_the_node_has_is_the_recipes_and_less_is_the_hosts() {
        let error = "no suitable node (insufficient resources on 1 node)";
        let mut watched = Watched {
            node: Some(Room {
                memory: 100,
                nano_cpus: 100,
            }),
            ..Watched::default()
        };
        after(0, &mut watched, &state(error, 100));
        assert_eq!(after(600, &mut watched, &state(error, 100)), None);
        let host = without_room(&state(error, 100)).unwrap().to_string();
        assert!(host.contains("no room for service `app`"), "{host}");
        after(0, &mut watched, &state(error, 101));
        let said = after(5, &mut watched, &state(error, 101)).unwrap();
        assert!(
            said.ends_with("the stack reserves more than this node has"),
            "{said}"
        );
    }

    #[test]
    fn a_global_service_that_no_node_fits_is_final() {
        let mut nowhere = state("", 0);
        nowhere.tasks.clear();
        let app = nowhere.services.get_mut("app").unwrap();
        (app.global, app.desired) = (true, 0);
        let mut watched = Watched::default();
        assert_eq!(after(0, &mut watched, &nowhere), None);
        let said = after(5, &mut watched, &nowhere).unwrap();
        assert!(said.contains("no node fits its placement"), "{said}");
    }
}
