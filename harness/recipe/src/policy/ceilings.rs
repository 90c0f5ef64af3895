//! How much of the host an app may have, and what is filled in so that it cannot have more.

pub(super) mod amounts;
mod limits;
mod log;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Terms;
use super::raw;
use crate::compose::resolve::{Resolved, is_older};
use crate::trust::{Level, size};
use ground::pins::ImageCheck;
use ground::pins::Pinned;
pub(super) use limits::Limits;
use limits::replicas;

/// The schema from which on a task's processes can be limited.
const PIDS_SCHEMA: &str = "3.9";

/// The schema from which on the interval of health checks while a container starts can be set.
const START_SCHEMA: &str = "3.12";

/// How long a task may take to end; what Swarm waits for, the teardown waits for.
const GRACE: Duration = Duration::from_secs(120);

/// How long Swarm waits at least before it starts a task again: its own default. Without a floor a container that ends
/// at once is started again and again, as fast as the engine can.
const RESTART: Duration = Duration::from_secs(5);

/// How often a health check may run. Each is a process that the engine starts, outside the container's limits: at 100 ms
/// one container took 13 % of a core.
const INTERVAL: Duration = Duration::from_secs(1);

/// Fills the ceilings in, and takes out what is not refused but not deployed.
pub(super) fn fill_in(resolved: &mut Resolved, terms: &Terms) {
    let services = resolved
        .document()
        .get("services")
        .and_then(Value::as_object);
    let tasks = services
        .into_iter()
        .flatten()
        .map(|(_, service)| {
            let order = service.pointer("/deploy/update_config/order");
            // In an upgrade the new tasks run beside the old ones.
            let starts_first = order.and_then(Value::as_str) == Some("start-first");
            replicas(service).saturating_mul(if starts_first { 2 } else { 1 })
        })
        .fold(0, u64::saturating_add);
    let limits = Limits::of(&terms.level, tasks);
    let operators = operators(resolved);
    let with_raw = raw::with(resolved, &terms.level);
    let has_pids = !is_older(&terms.schema, PIDS_SCHEMA);
    let has_start = !is_older(&terms.schema, START_SCHEMA);
    super::object::lend(resolved, &terms.level);
    super::label::leave_out(resolved, &terms.level);
    let (mut notes, mut needs_start) = (Notes::default(), false);
    resolved.edit(|document| {
        let services = document.get_mut("services").and_then(Value::as_object_mut);
        for (name, service) in services.into_iter().flatten() {
            let theirs = |key: &str| operators.contains(&format!("services.{name}.{key}"));
            ports(service, name, terms, &mut notes);
            if terms.level == Level::Stranger {
                without_reservations(service, name, &theirs, &mut notes);
            }
            resources(service, name, limits, has_pids, &theirs, &mut notes);
            log::bound(service, name, limits, &theirs, &mut notes);
            tmpfs(service, name, limits, &mut notes);
            if !with_raw.contains(name) && raw::take(service) {
                notes.add(format!("has no raw sockets ({})", raw::RAW), name);
            }
            times(service, name, &theirs, &mut notes);
            let image = service.get("image").and_then(Value::as_str);
            let of_image = image.and_then(|image| terms.pins.check_of(image));
            needs_start |= health(service, name, of_image, has_start, &theirs, &mut notes);
        }
        let needed = match (has_pids, needs_start) {
            (_, true) => START_SCHEMA,
            (true, false) => PIDS_SCHEMA,
            (false, false) => return,
        };
        let version = document.get("version").and_then(Value::as_str);
        let version = version.unwrap_or_default();
        if version.is_empty() || is_older(version, needed) {
            document["version"] = terms.schema.clone().into();
        }
    });
    resolved.deviations.extend(notes.lines());
}

/// Returns the keys of services that the operator's overlay sets.
fn operators(resolved: &Resolved) -> std::collections::BTreeSet<String> {
    const KEYS: [&str; 11] = [
        "deploy.resources.reservations.memory",
        "deploy.resources.reservations.cpus",
        "deploy.resources.limits.memory",
        "deploy.resources.limits.cpus",
        "deploy.resources.limits.pids",
        "logging.driver",
        "logging.options.max-size",
        "stop_grace_period",
        "healthcheck.interval",
        "healthcheck.start_interval",
        "deploy.restart_policy.delay",
    ];
    let services = resolved
        .document()
        .get("services")
        .and_then(Value::as_object);
    let names = services.into_iter().flatten().map(|(name, _)| name);
    names
        .filter(|name| !name.contains('.'))
        .flat_map(|name| KEYS.map(|key| format!("services.{name}.{key}")))
        .filter(|path| resolved.project.is_overlaid(path))
        .collect()
}

/// What was filled in, and for which services.
#[derive(Default)]
struct Notes(Vec<(String, Vec<String>)>);

impl Notes {
    fn add(&mut self, what: impl Into<String>, service: &str) {
        let what = what.into();
        match self.0.iter_mut().find(|(noted, _)| *noted == what) {
            Some((_, services)) => services.push(service.to_owned()),
            None => self.0.push((what, vec![service.to_owned()])),
        }
    }

    fn lines(self) -> impl Iterator<Item = String> {
        self.0
            .into_iter()
            .map(|(what, services)| format!("{what}: `{}`", services.join("`, `")))
    }
}

fn ports(service: &mut Value, name: &str, terms: &Terms, notes: &mut Notes) {
    let granted = |port: &Value| {
        let Level::Granted(grant) = &terms.level else {
            return false;
        };
        let number = port.get("published").and_then(Value::as_u64);
        let number = number.and_then(|number| u16::try_from(number).ok());
        let protocol = port
            .get("protocol")
            .and_then(Value::as_str)
            .unwrap_or("tcp");
        number.is_some_and(|number| grant.allows_port(number, protocol))
    };
    let Some(map) = service.as_object_mut() else {
        return;
    };
    let Some(ports) = map.get_mut("ports").and_then(Value::as_array_mut) else {
        return;
    };
    let before = ports.len();
    ports.retain(granted);
    let (dropped, empty) = (before > ports.len(), ports.is_empty());
    if empty {
        map.remove("ports");
    }
    if dropped {
        notes.add("ports are not published, because no grant lists them", name);
    }
}

/// Returns the mapping at `keys` below `value`, made where there is none.
fn mapping<'a>(value: &'a mut Value, keys: &[&str]) -> Option<&'a mut Map<String, Value>> {
    keys.iter()
        .try_fold(value, |at, key| {
            let next = at.as_object_mut()?.entry(*key).or_insert_with(|| json!({}));
            if next.is_null() {
                *next = json!({});
            }
            Some(next)
        })?
        .as_object_mut()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Takes out what a stranger's service reserves: Swarm would give no other app on the host a task that fits into the rest
/// only, though nothing of it is used.
fn without_reservations(
    service: &mut Value,
    name: &str,
    theirs: &dyn Fn(&str) -> bool,
    notes: &mut Notes,
) {
    let reserved = service.pointer_mut("/deploy/resources/reservations");
    let Some(reserved) = reserved.and_then(Value::as_object_mut) else {
        return;
    };
    let before = reserved.len();
    reserved.retain(|key, _| theirs(&format!("deploy.resources.reservations.{key}")));
    if reserved.len() < before {
        notes.add("reserves nothing of the host", name);
    }
    if reserved.is_empty()
        && let Some(resources) = service.pointer_mut("/deploy/resources")
        && let Some(resources) = resources.as_object_mut()
    {
        resources.remove("reservations");
    }
}

fn resources(
    service: &mut Value,
    name: &str,
    limits: Limits,
    has_pids: bool,
    theirs: &dyn Fn(&str) -> bool,
    notes: &mut Notes,
) {
    let Some(map) = mapping(service, &["deploy", "resources", "limits"]) else {
        return;
    };
    let read = |map: &Map<String, Value>, key: &str, parse: fn(&str) -> Result<u64, String>| {
        map.get(key)
            .filter(|value| !value.is_null())
            .and_then(|value| parse(&text(value)).ok())
    };
    let words = [
        ("memory", limits.memory, size::in_words(limits.memory)),
        ("cpus", limits.cpus, size::cpus_in_words(limits.cpus)),
    ];
    for (key, most, words) in &words {
        let parse = if *key == "memory" {
            size::bytes
        } else {
            size::nano_cpus
        };
        let there = read(map, key, parse).is_some_and(|value| value <= *most);
        if !there && !theirs(&format!("deploy.resources.limits.{key}")) {
            map.insert((*key).to_owned(), words.clone().into());
            notes.add(format!("limited to {key} {words} a task"), name);
        }
    }
    if has_pids && !theirs("deploy.resources.limits.pids") {
        let there = map.get("pids").and_then(Value::as_u64);
        if !there.is_some_and(|count| (1..=limits.pids).contains(&count)) {
            map.insert("pids".to_owned(), limits.pids.into());
            notes.add(format!("limited to {} processes a task", limits.pids), name);
        }
    }
    // No node would take a task that reserves more than it may use.
    let used = service.pointer("/deploy/resources/limits").cloned();
    let reservations = service
        .pointer_mut("/deploy/resources/reservations")
        .and_then(Value::as_object_mut);
    let (Some(used), Some(reserved)) = (used, reservations) else {
        return;
    };
    for (key, parse) in [
        ("memory", size::bytes as fn(&str) -> _),
        ("cpus", size::nano_cpus),
    ] {
        let most = used.get(key).and_then(|value| parse(&text(value)).ok());
        let Some(value) = reserved.get(key).filter(|value| !value.is_null()) else {
            continue;
        };
        let wanted = parse(&text(value));
        if let (Some(most), Some(limit)) = (most, used.get(key))
            && wanted.is_ok_and(|wanted: u64| wanted > most)
        {
            reserved.insert(key.to_owned(), limit.clone());
            notes.add(format!("reserves no more {key} than it may use"), name);
        }
    }
}

fn tmpfs(service: &mut Value, name: &str, limits: Limits, notes: &mut Notes) {
    let mounts = service.get_mut("volumes").and_then(Value::as_array_mut);
    for mount in mounts.into_iter().flatten() {
        if mount.get("type").and_then(Value::as_str) != Some("tmpfs") {
            continue;
        }
        let Some(map) = mapping(mount, &["tmpfs"]) else {
            continue;
        };
        let given = map
            .get("size")
            .map(text)
            .and_then(|text| size::bytes(&text).ok());
        if given.is_none_or(|bytes| bytes > limits.memory) {
            map.insert("size".to_owned(), limits.memory.into());
            let most = size::in_words(limits.memory);
            notes.add(format!("a tmpfs is limited to {most}"), name);
        }
    }
}

/// Bounds how long the end of a task takes, and how soon it starts again.
fn times(service: &mut Value, name: &str, theirs: &dyn Fn(&str) -> bool, notes: &mut Notes) {
    let Some(map) = service.as_object_mut() else {
        return;
    };
    let read = |value: &Value| crate::compose::duration(&text(value));
    if let Some(grace) = map.get_mut("stop_grace_period")
        && !grace.is_null()
        && read(grace).is_none_or(|grace| grace > GRACE)
        && !theirs("stop_grace_period")
    {
        *grace = format!("{}s", GRACE.as_secs()).into();
        notes.add(format!("stopped within {} s", GRACE.as_secs()), name);
    }
    let delay = map
        .get_mut("deploy")
        .and_then(|deploy| deploy.get_mut("restart_policy"))
        .and_then(|policy| policy.get_mut("delay"));
    if let Some(delay) = delay
        && !delay.is_null()
        && read(delay).is_none_or(|delay| delay < RESTART)
        && !theirs("deploy.restart_policy.delay")
    {
        *delay = format!("{}s", RESTART.as_secs()).into();
        let floor = RESTART.as_secs();
        notes.add(
            format!("started again after {floor} s at the soonest"),
            name,
        );
    }
}

/// Bounds how often the engine looks at the health of a task, whoever asks for it: what the recipe leaves open, Docker
/// takes from the image, the test or not (`merge` in moby's `daemon/commit.go`). Returns whether it set what only newer
/// schemas know.
fn health(
    service: &mut Value,
    name: &str,
    of_image: Option<ImageCheck>,
    has_start: bool,
    theirs: &dyn Fn(&str) -> bool,
    notes: &mut Notes,
) -> bool {
    let test = service.pointer("/healthcheck/test/0");
    let disabled = service.pointer("/healthcheck/disable");
    if test.and_then(Value::as_str) == Some("NONE") || disabled == Some(&Value::Bool(true)) {
        return false;
    }
    let mut needs_start = false;
    let of_image = of_image.map_or([Duration::ZERO; 2], |check| {
        [check.interval, check.start_interval]
    });
    for (key, of_image) in ["interval", "start_interval"].into_iter().zip(of_image) {
        let own = service.get("healthcheck").and_then(|check| check.get(key));
        let own = own.and_then(|own| crate::compose::duration(&text(own)));
        let own = own.filter(|own| !own.is_zero());
        if !is_hasty(own.unwrap_or(of_image)) || theirs(&format!("healthcheck.{key}")) {
            continue;
        }
        let Some(check) = mapping(service, &["healthcheck"]) else {
            continue;
        };
        let floor = format!("{}s", INTERVAL.as_secs());
        if key == "interval" || has_start {
            check.insert(key.to_owned(), floor.into());
            needs_start |= key == "start_interval";
        } else {
            // The client cannot set it, and an engine may know it: then it ends with the time that it is for.
            check.insert("start_period".to_owned(), floor.into());
        }
        notes.add("checked for health once a second at most", name);
    }
    needs_start
}

/// Returns whether that is too often; zero is the image's or Docker's own.
fn is_hasty(interval: Duration) -> bool {
    interval < INTERVAL && !interval.is_zero()
}

impl Terms {
    /// Returns what is said of an image whose healthcheck is slowed down.
    #[must_use]
    pub fn slowed(&self, image: &str, pinned: &Pinned) -> Option<String> {
        let check = pinned.check?;
        let hasty = is_hasty(check.interval) || is_hasty(check.start_interval);
        (hasty && self.level != Level::ByHand)
            .then(|| format!("image `{image}` is checked for health once a second at most"))
    }
}
