//! How many services, tasks and objects an app may have, and how much text they are.

use serde_json::Value;

use super::limits::{Limits, replicas};
use crate::policy::Case;
use crate::policy::rules::SIZE;

/// How many networks the tasks of an app may be on, all together.
const ATTACHMENTS: u64 = 100;

/// How many networks an app may have, and as many volumes, secrets and configs each.
const OBJECTS: usize = 50;

/// How many bytes the secrets and configs of an app may have. The managers of the Swarm keep each in memory several times
/// over, also after its removal, until they have written the next snapshot of their log: 16 MB in three apps of a run took
/// 2 GB of dockerd's memory, and whoever lists configs gets the contents of all.
const CONTENTS: usize = 1 << 20;

/// How many bytes the definition of a service may have, its environment and its command above all, and those of all tasks
/// together. Swarm writes a copy for every task into its log, and again at each change of the task's state: 24 tasks of
/// 700 KB that end at once are tens of megabytes each second.
const DEFINITION: usize = 64 << 10;
const DEFINITIONS: usize = 1 << 20;

/// The most mounts of one service, and the most secrets and configs: the engine mounts each of them, too.
const MOUNTS: usize = 100;

/// The most aliases of one service in all of its networks: the engine keeps a name for each.
const ALIASES: usize = 100;

/// Refuses more services, tasks and objects than the host gives.
pub(in crate::policy) fn check(case: &mut Case<'_>) {
    objects(case);
    definitions(case);
    attachments(case);
    parts(case);
    let limits = Limits::of(&case.terms.level, 0);
    let (mut services, mut tasks) = (0_u64, 0_u64);
    for (name, service) in case.section("services") {
        let count = replicas(service);
        services += 1;
        tasks = tasks.saturating_add(count);
        if count > limits.replicas {
            let path = format!("services.{name}.deploy.replicas");
            let message = format!("{count} replicas are more than {}", limits.replicas);
            let grant = Some(format!("ceilings: {{replicas: {count}}}"));
            case.find(&SIZE, &path, &count.into(), message, grant);
        }
    }
    for (what, count, most) in [
        ("services", services, limits.services),
        ("tasks", tasks, limits.tasks),
    ] {
        if count > most {
            let message = format!("{count} {what} are more than {most}");
            let grant = Some(format!("ceilings: {{{what}: {count}}}"));
            case.find(&SIZE, "services", &count.into(), message, grant);
        }
    }
}

fn parts(case: &mut Case<'_>) {
    for (name, service) in case.section("services") {
        let length = |list: Option<&Value>| list.and_then(Value::as_array).map_or(0, Vec::len);
        let networks = service.get("networks").and_then(Value::as_object);
        let networks = networks.into_iter().flat_map(|all| all.values());
        let aliases = networks.map(|one| length(one.get("aliases"))).sum();
        let of = |key: &str| length(service.get(key));
        for (key, what, count, most) in [
            ("volumes", "mounts", of("volumes"), MOUNTS),
            ("secrets", "secrets of a service", of("secrets"), MOUNTS),
            ("configs", "configs of a service", of("configs"), MOUNTS),
            ("networks", "aliases of a service", aliases, ALIASES),
        ] {
            if count > most {
                let message = format!("{count} {what} are more than {most}");
                let path = format!("services.{name}.{key}");
                case.find(&SIZE, &path, &count.into(), message, None);
            }
        }
    }
}

/// Refuses services that are defined in more text than an app can need.
fn definitions(case: &mut Case<'_>) {
    let mut together = 0_usize;
    for (name, service) in case.section("services") {
        let size = service.to_string().len();
        let tasks = usize::try_from(replicas(service)).unwrap_or(usize::MAX);
        together = together.saturating_add(size.saturating_mul(tasks));
        if size > DEFINITION {
            let message =
                format!("{size} bytes define the service, which are more than {DEFINITION}");
            case.find(
                &SIZE,
                &format!("services.{name}"),
                &size.into(),
                message,
                None,
            );
        }
    }
    if together > DEFINITIONS {
        let message = format!(
            "{together} bytes define the tasks together, which are more than {DEFINITIONS}"
        );
        case.find(&SIZE, "services", &together.into(), message, None);
    }
}

/// Refuses more attachments of tasks to networks than an app can need: the engine makes each with its locks held.
fn attachments(case: &mut Case<'_>) {
    let count = case.section("services").map(|(_, service)| {
        let networks = service.get("networks");
        let lists = [
            networks
                .and_then(Value::as_object)
                .map(serde_json::Map::len),
            networks.and_then(Value::as_array).map(Vec::len),
        ];
        let count = lists.into_iter().flatten().next().unwrap_or(0).max(1);
        replicas(service).saturating_mul(count.try_into().unwrap_or(u64::MAX))
    });
    let count = count.fold(0, u64::saturating_add);
    if count > ATTACHMENTS {
        let message =
            format!("{count} attachments of tasks to networks are more than {ATTACHMENTS}");
        case.find(&SIZE, "services", &count.into(), message, None);
    }
}

/// Refuses more objects than an app can need: each is kept by the managers of the Swarm, or takes an address range.
fn objects(case: &mut Case<'_>) {
    for section in ["networks", "volumes", "secrets", "configs"] {
        let count = case.section(section).count();
        if count > OBJECTS {
            let message = format!("{count} {section} are more than {OBJECTS}");
            case.find(&SIZE, section, &count.into(), message, None);
        }
    }
    let size = case.resolved.size_of_contents();
    if size > CONTENTS {
        let message = format!("{size} bytes of secrets and configs are more than {CONTENTS}");
        case.find(&SIZE, "configs", &size.into(), message, None);
    }
}
