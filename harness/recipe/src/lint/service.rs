//! Rules about services and the compose files as such.

use serde_json::Value;

use super::finding::{Checked, Hit};
use super::view::{Member, View, in_file};
use crate::compose::model::{Healthcheck, PortMode};
use crate::compose::query::MAIN_SERVICE;
use crate::interpolate::variables;

/// The version that abra and docker's stack loader agree on.
const SCHEMA: &str = "3.8";

/// Tags that say how ripe an image is, or that it is the newest, and never which one.
const UNSTABLE: [&str; 16] = [
    "latest",
    "main",
    "master",
    "develop",
    "development",
    "dev",
    "nightly",
    "edge",
    "unstable",
    "testing",
    "next",
    "rolling",
    "current",
    "stable",
    "release",
    "production",
];

/// A single number with as many digits is a date or the number of a build.
const BUILD_DIGITS: usize = 6;

/// Where docker takes durations, below a service.
const DURATIONS: [&str; 11] = [
    "stop_grace_period",
    "healthcheck.interval",
    "healthcheck.timeout",
    "healthcheck.start_period",
    "healthcheck.start_interval",
    "deploy.update_config.delay",
    "deploy.update_config.monitor",
    "deploy.rollback_config.delay",
    "deploy.rollback_config.monitor",
    "deploy.restart_policy.delay",
    "deploy.restart_policy.window",
];

pub(super) fn loads(view: &View) -> Checked {
    Ok(view.broken.clone())
}

pub(super) fn remarks(view: &View) -> Checked {
    let mut hits: Vec<Hit> = Vec::new();
    for warning in view.deploys.iter().flat_map(|project| &project.warnings) {
        let message = format!("{}: {}", warning.path, warning.message);
        let hit = in_file(&warning.location.file, Some(warning.location.line), message);
        // The same file is part of several deploys.
        if !hits.contains(&hit) {
            hits.push(hit);
        }
    }
    Ok(hits)
}

pub(super) fn schema_version(view: &View) -> Checked {
    let mut hits = Vec::new();
    for file in &view.files {
        let line = file.document.key("version").map_or(1, |place| place.line);
        let message = match file.document.value.get("version") {
            Some(Value::String(version)) if version == SCHEMA => continue,
            None => "there is no `version`".to_owned(),
            Some(other) => format!("the version is {other}, not \"{SCHEMA}\""),
        };
        hits.push(in_file(&file.name, Some(line), message));
    }
    Ok(hits)
}

fn each(view: &View, check: impl Fn(&Member) -> Option<Hit>) -> Checked {
    Ok(view.services.iter().filter_map(check).collect())
}

pub(super) fn healthcheck(view: &View) -> Checked {
    each(view, |member| {
        let name = &member.service.name;
        let path = format!("services.{name}");
        match &member.service.healthcheck {
            check @ Healthcheck::Test(_) => check.asks_nothing().then(|| {
                view.hit(
                    &format!("{path}.healthcheck"),
                    format!("the healthcheck of service `{name}` passes whatever the service does"),
                )
            }),
            Healthcheck::None => {
                Some(view.hit(&path, format!("service `{name}` has no healthcheck")))
            }
            Healthcheck::Disabled => Some(view.hit(
                &format!("{path}.healthcheck"),
                format!("the healthcheck of service `{name}` is switched off"),
            )),
        }
    })
}

pub(super) fn main_service(view: &View) -> Checked {
    let project = view.default_deploy()?;
    if project.service(MAIN_SERVICE).is_some() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = project.services.iter().map(|s| s.name.as_str()).collect();
    let message = format!("no service is named `app`, only {}", names.join(", "));
    Ok(vec![view.hit("services", message)])
}

pub(super) fn image(view: &View) -> Checked {
    each(view, |member| {
        let name = &member.service.name;
        let hit = || {
            let message = format!("service `{name}` has no image in any file");
            view.hit(&format!("services.{name}"), message)
        };
        member.service.image.is_none().then(hit)
    })
}

/// An image as a file names it.
struct Image<'a> {
    text: String,
    tag: Option<String>,
    pinned: bool,
    file: &'a str,
    line: Option<u64>,
}

fn images(view: &View) -> Vec<Image<'_>> {
    let mut images = Vec::new();
    for (file, name, service) in view.raw_services() {
        let Some(text) = service.get("image").and_then(Value::as_str) else {
            continue;
        };
        let text = view.fill_in(text);
        let (reference, digest) = text
            .split_once('@')
            .map_or((text.as_str(), None), |(image, digest)| {
                (image, Some(digest))
            });
        let last = reference.rsplit('/').next().unwrap_or(reference);
        let tag = last.split_once(':').map(|(_, tag)| tag.to_owned());
        let place = file.document.key(&format!("services.{name}.image"));
        images.push(Image {
            tag: tag.filter(|tag| !tag.is_empty()),
            pinned: digest.is_some(),
            file: &file.name,
            line: place.map(|place| place.line),
            text,
        });
    }
    images
}

/// Returns a hit for each image whose tag `wrong` has something to say about; a digest settles everything.
fn tags(view: &View, wrong: impl Fn(Option<&str>) -> Option<&'static str>) -> Checked {
    let hit = |image: Image<'_>| {
        let said = wrong(image.tag.as_deref())?;
        let message = format!("image `{}` {said}", image.text);
        Some(in_file(image.file, image.line, message))
    };
    let images = images(view).into_iter().filter(|image| !image.pinned);
    Ok(images.filter_map(hit).collect())
}

pub(super) fn tagged(view: &View) -> Checked {
    tags(view, |tag| tag.is_none().then_some("has no tag"))
}

fn is_unstable(tag: &str) -> bool {
    UNSTABLE.contains(&tag.to_ascii_lowercase().as_str())
}

pub(super) fn stable_tag(view: &View) -> Checked {
    tags(view, |tag| {
        is_unstable(tag?).then_some("has a tag that names another image tomorrow")
    })
}

/// Returns the numbers at the start of a tag: 1 and 27 of `v1.27-alpine`.
fn numbers(tag: &str) -> Vec<&str> {
    let tag = tag.strip_prefix(['v', 'V']).unwrap_or(tag);
    let end = tag
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(tag.len());
    tag[..end]
        .split('.')
        .filter(|part| !part.is_empty())
        .collect()
}

pub(super) fn version_tag(view: &View) -> Checked {
    tags(view, |tag| {
        let tag = tag.filter(|tag| !is_unstable(tag))?;
        numbers(tag)
            .is_empty()
            .then_some("has a tag that is no version")
    })
}

pub(super) fn exact_tag(view: &View) -> Checked {
    tags(view, |tag| match numbers(tag?)[..] {
        [one] if one.len() < BUILD_DIGITS => {
            Some("names a line of versions, of which the newest moves")
        }
        // Before 1.0 the second number counts what the first does later.
        ["0", _] => Some("names a line of versions before 1.0, of which the newest moves"),
        _ => None,
    })
}

pub(super) fn durations(view: &View) -> Checked {
    let mut hits = Vec::new();
    for (file, name, service) in view.raw_services() {
        for duration in DURATIONS {
            let value = duration
                .split('.')
                .try_fold(service, |value, key| value.get(key));
            let Some(text) = value.and_then(Value::as_str) else {
                continue;
            };
            if let [variable, ..] = variables(text)[..] {
                let place = file.document.key(&format!("services.{name}.{duration}"));
                let message = format!(
                    "`{duration}` of service `{name}` comes from the variable `{variable}`"
                );
                hits.push(in_file(&file.name, place.map(|place| place.line), message));
            }
        }
    }
    Ok(hits)
}

pub(super) fn depends_on(view: &View) -> Checked {
    let mut hits = Vec::new();
    for member in &view.services {
        let name = &member.service.name;
        for wanted in &member.service.depends_on {
            // What a new app deploys must be whole; optional files may be meant to go together.
            let known = match view.deploys.get(member.deploy) {
                Some(project) if member.deploy == 0 && view.has_default => {
                    project.service(wanted).is_some()
                }
                _ => view
                    .services
                    .iter()
                    .any(|other| other.service.name == *wanted),
            };
            if !known {
                let message =
                    format!("service `{name}` depends on `{wanted}`, which does not exist");
                hits.push(view.hit(&format!("services.{name}.depends_on"), message));
            }
        }
    }
    Ok(hits)
}

pub(super) fn published_ports(view: &View) -> Checked {
    each(view, |member| {
        let name = &member.service.name;
        let mut ports = Vec::new();
        for port in &member.service.ports {
            let Some(published) = port.published else {
                continue;
            };
            let mode = match port.mode {
                PortMode::Host => " (host mode)",
                PortMode::Ingress => "",
            };
            ports.push(format!("{published}/{}{mode}", port.protocol));
        }
        let hit = || {
            let message = format!("service `{name}` publishes {}", ports.join(", "));
            view.hit(&format!("services.{name}.ports"), message)
        };
        (!ports.is_empty()).then(hit)
    })
}

pub(super) fn start_first(view: &View) -> Checked {
    each(view, |member| {
        let (name, update) = (&member.service.name, &member.service.update);
        let both = update.order.as_deref() == Some("start-first")
            && update.failure_action.as_deref() == Some("rollback");
        let hit = || {
            let message = format!("updates of service `{name}` start first and roll back");
            view.hit(
                &format!("services.{name}.deploy.update_config.order"),
                message,
            )
        };
        both.then(hit)
    })
}
