//! Holds what the engine has against what was to be deployed.
//!
//! Between the resolved project and the engine stands a client with rules of its own. Where its result differs from
//! what was judged and planned, every later assertion is about something else, so the run is red for that reason.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::name::StackName;
use crate::recipe::compose::Project;
use crate::recipe::compose::duration;
use crate::recipe::compose::model::{Mount, MountKind, Port, PortMode, Service};
use crate::recipe::compose::resolve::Resolved;
use crate::swarm::service::{exact_image, familiar_image};
use crate::swarm::spec::{HealthSpec, ServiceSpec, StackSpec, mount_text};

/// How many differences a message names.
const SHOWN: usize = 5;

/// Whose deploy it was: abra adds labels and variables of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployer {
    /// `docker stack deploy` with the resolved project as its only file.
    Docker,
    /// abra, with the recipe's own files.
    Abra,
}

/// Returns how `there` differs from `resolved` as the stack `stack`, in one line; `None` when it does not.
#[must_use]
pub fn difference(
    resolved: &Resolved,
    stack: &StackName,
    there: &StackSpec,
    by: Deployer,
) -> Option<String> {
    let mut lines = Vec::new();
    let mut planned: BTreeMap<String, ServiceSpec> = resolved
        .project
        .services
        .iter()
        .map(|service| {
            let spec = planned(resolved, service, stack.as_str());
            (service.full_name(stack.as_str()), spec)
        })
        .collect();
    let mut there_services = there.services.clone();
    if by == Deployer::Abra {
        for spec in planned.values_mut().chain(there_services.values_mut()) {
            spec.labels.retain(|key, _| !key.starts_with("coop-cloud."));
            spec.environment.clear();
            // It asks the registry for the digest of every tag itself.
            spec.image = familiar_image(&spec.image);
        }
    }
    for (name, wanted) in &planned {
        match there_services.get(name) {
            None => lines.push(format!("service `{name}` is missing")),
            Some(found) => compare(name, wanted, found, &mut lines),
        }
    }
    let more = there_services
        .keys()
        .filter(|name| !planned.contains_key(*name));
    lines.extend(more.map(|name| format!("service `{name}` was not planned")));
    for config in resolved.project.configs.iter().filter(|one| !one.external) {
        let name = config.full_name(stack.as_str());
        let wanted = resolved.content(&format!("configs.{}", config.key));
        // A config that no service uses is not made.
        if let (Some(wanted), Some(found)) = (wanted, there.configs.get(&name))
            && wanted != found.as_slice()
        {
            lines.push(format!("config `{name}` holds something else"));
        }
    }
    if lines.is_empty() {
        return None;
    }
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Some(lines.join("; "))
}

fn compare(name: &str, wanted: &ServiceSpec, found: &ServiceSpec, lines: &mut Vec<String>) {
    if wanted.image != found.image {
        lines.push(format!(
            "service `{name}` has image `{}` where `{}` was planned",
            found.image, wanted.image
        ));
    }
    let map = |what: &str, wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>| {
        let pairs = |map: &BTreeMap<String, String>| -> BTreeSet<String> {
            map.iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect()
        };
        set(name, what, &pairs(wanted), &pairs(found))
    };
    lines.extend(map("label", &wanted.labels, &found.labels));
    lines.extend(map(
        "container label",
        &wanted.container_labels,
        &found.container_labels,
    ));
    for (what, wanted, found) in [
        ("mount", &wanted.mounts, &found.mounts),
        ("port", &wanted.ports, &found.ports),
        ("secret", &wanted.secrets, &found.secrets),
        ("config", &wanted.configs, &found.configs),
        ("network", &wanted.networks, &found.networks),
    ] {
        lines.extend(set(name, what, wanted, found));
    }
    if wanted.healthcheck != found.healthcheck {
        let said = |check: &Option<HealthSpec>| match check {
            Some(check) => format!("`{check}`"),
            None => "none".to_owned(),
        };
        let (wanted, found) = (said(&wanted.healthcheck), said(&found.healthcheck));
        lines.push(format!(
            "service `{name}` has healthcheck {found} where {wanted} was planned"
        ));
    }
    // Values of variables may be secret, names are not.
    let names = |set: &BTreeSet<String>, other: &BTreeSet<String>| -> BTreeSet<String> {
        let only = set.difference(other);
        only.map(|pair| pair.split('=').next().unwrap_or_default().to_owned())
            .collect()
    };
    let (missing, more) = (
        names(&wanted.environment, &found.environment),
        names(&found.environment, &wanted.environment),
    );
    for variable in missing.union(&more) {
        lines.push(format!(
            "service `{name}` has another value of variable `{variable}` than was planned"
        ));
    }
}

fn set(
    service: &str,
    what: &str,
    wanted: &BTreeSet<String>,
    found: &BTreeSet<String>,
) -> Vec<String> {
    let missing = wanted.difference(found);
    let more = found.difference(wanted);
    missing
        .map(|one| format!("service `{service}` lacks {what} `{one}`"))
        .chain(
            more.map(|one| {
                format!("service `{service}` has {what} `{one}`, which was not planned")
            }),
        )
        .collect()
}

/// Returns the spec that `service` should have.
fn planned(resolved: &Resolved, service: &Service, stack: &str) -> ServiceSpec {
    let project = &resolved.project;
    let raw = &resolved.document()["services"][&service.name];
    ServiceSpec {
        image: exact_image(service.image.as_deref().unwrap_or_default()),
        labels: service.labels.clone(),
        container_labels: service.container_labels.clone(),
        environment: service
            .environment
            .iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            })
            .collect(),
        mounts: service
            .volumes
            .iter()
            .map(|mount| planned_mount(project, mount, stack))
            .collect(),
        ports: service.ports.iter().map(port).collect(),
        secrets: files(&raw["secrets"], |key| {
            let secret = project.secrets.iter().find(|secret| secret.key == key)?;
            Some(secret.full_name(stack))
        }),
        configs: files(&raw["configs"], |key| {
            let config = project.configs.iter().find(|config| config.key == key)?;
            Some(config.full_name(stack))
        }),
        networks: service
            .networks
            .iter()
            .filter_map(|key| project.networks.iter().find(|network| network.key == *key))
            .map(|network| network.full_name(stack))
            .collect(),
        healthcheck: healthcheck(&raw["healthcheck"]),
    }
}

/// Returns a healthcheck as Docker's client writes it into a spec: `convertHealthcheck` in `cli/compose/convert/service.go`.
fn healthcheck(raw: &Value) -> Option<HealthSpec> {
    let span = |key: &str| {
        let text = raw.get(key).and_then(Value::as_str);
        text.and_then(duration).unwrap_or_default()
    };
    if raw.get("disable") == Some(&Value::Bool(true)) {
        return Some(HealthSpec {
            test: vec!["NONE".to_owned()],
            ..HealthSpec::default()
        });
    }
    let test = raw.get("test").and_then(Value::as_array);
    let words = test.into_iter().flatten().filter_map(Value::as_str);
    let check = HealthSpec {
        test: words.map(str::to_owned).collect(),
        interval: span("interval"),
        timeout: span("timeout"),
        start_period: span("start_period"),
        retries: raw.get("retries").and_then(Value::as_u64).unwrap_or(0),
    };
    Some(check).filter(|check| *check != HealthSpec::default())
}

fn planned_mount(project: &Project, mount: &Mount, stack: &str) -> String {
    let kind = match &mount.kind {
        MountKind::Volume => "volume",
        MountKind::Bind => "bind",
        MountKind::Tmpfs => "tmpfs",
        MountKind::Other(kind) => kind,
    };
    let source = mount.source.as_deref().unwrap_or_default();
    let volume = project.volumes.iter().find(|volume| volume.key == source);
    let source = match (&mount.kind, volume) {
        (MountKind::Volume, Some(volume)) => volume.full_name(stack),
        _ => source.to_owned(),
    };
    mount_text(kind, &source, &mount.target, mount.read_only)
}

fn port(port: &Port) -> String {
    let mode = match port.mode {
        PortMode::Host => "host",
        PortMode::Ingress => "ingress",
    };
    format!(
        "{} → {}/{} {mode}",
        port.published.unwrap_or_default(),
        port.target,
        port.protocol
    )
}

/// Returns the secrets or configs of a service: the full name of each, and where it is in the container, which is its
/// key where the recipe says nothing.
fn files(raw: &Value, full_name: impl Fn(&str) -> Option<String>) -> BTreeSet<String> {
    let uses = raw.as_array().into_iter().flatten();
    uses.filter_map(|one| {
        let source = one.get("source")?.as_str()?;
        let target = one.get("target").and_then(Value::as_str);
        let target = target.filter(|target| !target.is_empty()).unwrap_or(source);
        Some(format!("{} at {target}", full_name(source)?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::compose::resolve::Deployment;

    fn resolved() -> (Resolved, StackName) {
        let dir = tempfile::tempdir().unwrap();
        let text = "version: '3.8'\nservices:\n  app:\n    image: docker.io/library/a\n    environment: {PW: secret, GONE: null}\n    \
                    ports: ['53:53/udp']\n    volumes: ['data:/d:ro']\n    healthcheck: {test: 'true', interval: 1m30s, retries: 2}\n    secrets: [s]\n    configs: [{source: c, target: /c}]\n    \
                    deploy: {labels: {l: m}}\nvolumes: {data: }\nsecrets: {s: {external: true, name: z_s_v1}}\n\
                    configs: {c: {file: f}}\n";
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        std::fs::write(dir.path().join("f"), "content").unwrap();
        let files = ["compose.yml".to_owned()];
        let mut project = Project::load(dir.path(), &files, &BTreeMap::new()).unwrap();
        project.read_contents(dir.path()).unwrap();
        let stack = crate::name::Domain::parse("note-012345.z", &"z".parse().unwrap())
            .unwrap()
            .stack();
        let deployment = Deployment {
            stack: stack.to_string(),
            ..Deployment::default()
        };
        (project.resolve(dir.path(), &deployment).unwrap(), stack)
    }

    fn there(resolved: &Resolved, stack: &StackName) -> StackSpec {
        let app = resolved.project.service("app").unwrap();
        let spec = planned(resolved, app, stack.as_str());
        StackSpec {
            services: BTreeMap::from([(app.full_name(stack.as_str()), spec)]),
            configs: BTreeMap::from([(format!("{stack}_c"), b"content".to_vec())]),
        }
    }

    #[test]
    fn every_difference_between_plan_and_engine_is_named_and_no_value_of_a_variable() {
        let (resolved, stack) = resolved();
        let same = there(&resolved, &stack);
        assert_eq!(difference(&resolved, &stack, &same, Deployer::Docker), None);
        let app = format!("{stack}_app");
        type Change = fn(&mut ServiceSpec);
        let changes: [(&str, Change); 11] = [
            (
                "healthcheck `[\"CMD-SHELL\", \"true\"] every 9s for 0ns after 0ns, 2 times` where",
                |spec| {
                    spec.healthcheck.as_mut().unwrap().interval = std::time::Duration::from_secs(9);
                },
            ),
            ("image `b:1`", |spec| spec.image = "b:1".to_owned()),
            ("image `a:latest@sha256:00`", |spec| {
                spec.image.push_str("@sha256:00");
            }),
            ("lacks label `l=m`", |spec| spec.labels.clear()),
            ("has container label `x=y`", |spec| {
                spec.container_labels.insert("x".to_owned(), "y".to_owned());
            }),
            ("lacks mount `volume note-012345_z_data at /d ro`", |spec| {
                spec.mounts.clear();
            }),
            ("lacks port `53 → 53/udp ingress`", |spec| {
                spec.ports.clear();
            }),
            ("lacks secret `z_s_v1 at s`", |spec| spec.secrets.clear()),
            ("lacks config `note-012345_z_c at /c`", |spec| {
                spec.configs.clear();
            }),
            ("has network `proxy`", |spec| {
                spec.networks.insert("proxy".to_owned());
            }),
            ("variable `PW`", |spec| {
                spec.environment.remove("PW=secret");
            }),
        ];
        for (says, change) in changes {
            let mut other = same.clone();
            change(other.services.get_mut(&app).unwrap());
            let said = difference(&resolved, &stack, &other, Deployer::Docker).unwrap();
            assert!(said.contains(says) && !said.contains("secret`"), "{said}");
        }
        let mut other = same.clone();
        other.configs.insert(format!("{stack}_c"), Vec::new());
        other
            .services
            .insert("more".to_owned(), ServiceSpec::default());
        let said = difference(&resolved, &stack, &other, Deployer::Docker).unwrap();
        assert!(said.contains("service `more` was not planned"), "{said}");
        assert!(said.contains("holds something else"), "{said}");
        other.services.clear();
        let said = difference(&resolved, &stack, &other, Deployer::Docker).unwrap();
        assert!(said.contains("is missing"), "{said}");
    }

    #[test]
    fn what_abra_adds_is_no_difference() {
        let (resolved, stack) = resolved();
        let mut there = there(&resolved, &stack);
        for spec in there.services.values_mut() {
            let label = (format!("coop-cloud.{stack}.chaos"), "true".to_owned());
            spec.labels.extend([label]);
            spec.environment.insert("TYPE=x".to_owned());
            spec.image.push_str("@sha256:00");
        }
        assert_eq!(difference(&resolved, &stack, &there, Deployer::Abra), None);
        assert!(difference(&resolved, &stack, &there, Deployer::Docker).is_some());
    }
}
