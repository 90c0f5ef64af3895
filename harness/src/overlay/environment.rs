//! `compose.ccci.yml`: what a CI host needs otherwise, and nothing else.
//!
//! It may tune how services run here; it must not decide what runs. So its keys are a short list, and what it
//! sets must not be what the proposal changed: an overlay that once pinned an image would deploy that image
//! under every later proposal, and every one of them would be green.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::OverlayError;
use crate::suite::Origin;
use ground::host_file;
use ground::source_tree::SourceTree;
use recipe::compose::COPY_PREFIX;
use recipe::compose::model::Service;
use recipe::compose::{Location, Project, locate, yaml};

/// The name of the file.
pub const FILE_NAME: &str = "compose.ccci.yml";

/// Keys of a service that say how it runs here, not what it is.
const SERVICE_KEYS: [&str; 8] = [
    "environment",
    "healthcheck",
    "stop_grace_period",
    "extra_hosts",
    "ulimits",
    "sysctls",
    "logging",
    "deploy",
];

/// The same below `deploy`.
const DEPLOY_KEYS: [&str; 5] = [
    "update_config",
    "rollback_config",
    "restart_policy",
    "resources",
    "placement",
];

/// The place of everything in a file, by the keys that lead to it.
pub(super) type Marks = BTreeMap<String, Location>;

/// A compose file of an overlay.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Whose.
    pub origin: Origin,
    services: Map<String, Value>,
    marks: Marks,
}

/// What an overlay does to a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It only tunes.
    Fine,
    /// It hides something that the proposal changed.
    Masks(String),
}

impl Tuning {
    /// Reads the text of a file, of which only keys that tune are accepted, and `image`, which [`Tuning::judge`] sees to.
    ///
    /// # Errors
    /// [`OverlayError`] with the place.
    pub fn parse(origin: Origin, text: &str, shown: &str) -> Result<Self, OverlayError> {
        let (services, marks) = services_of(text, shown)?;
        let tuning = Self {
            origin,
            services,
            marks,
        };
        for (service, value) in &tuning.services {
            let at = format!("services.{service}");
            let Value::Object(keys) = value else {
                return Err(tuning.wrong(&at, "it is not a mapping"));
            };
            for (key, value) in keys {
                let at = format!("{at}.{key}");
                if key == "image" {
                    continue;
                }
                if let Some(path) = empty(&at, value) {
                    return Err(tuning.wrong(
                        &path,
                        "it is empty, so it does nothing; give a value (`\"\"` for an empty text), or remove it",
                    ));
                }
                if !SERVICE_KEYS.contains(&key.as_str()) {
                    return Err(tuning.wrong(&at, &not_environment(&SERVICE_KEYS)));
                }
                if key != "deploy" {
                    continue;
                }
                let Value::Object(deploy) = value else {
                    return Err(tuning.wrong(&at, "it is not a mapping"));
                };
                if let Some(key) = deploy
                    .keys()
                    .find(|key| !DEPLOY_KEYS.contains(&key.as_str()))
                {
                    return Err(
                        tuning.wrong(&format!("{at}.{key}"), &not_environment(&DEPLOY_KEYS))
                    );
                }
            }
        }
        Ok(tuning)
    }

    /// Holds the overlay against what the proposal changed from `base` to `head`, both as the recipe has them.
    /// Without a base it is unknown what it changed: only images and services are judged then (decision 0031).
    ///
    /// # Errors
    /// [`OverlayError`] when it does what no overlay may, whatever was changed.
    pub fn judge(&self, head: &Project, base: Option<&Project>) -> Result<Judged, OverlayError> {
        let file = self.file();
        let masks = |what: String| Ok(Judged::Masks(format!("{file} {what}")));
        for (name, value) in &self.services {
            let at = format!("services.{name}");
            let before = base.and_then(|base| base.service(name));
            let Some(now) = head.service(name) else {
                if before.is_some() {
                    return masks(format!(
                        "brings back the service `{name}`, which the version under test dropped"
                    ));
                }
                let names: Vec<&str> = head.services.iter().map(|s| s.name.as_str()).collect();
                return Err(self.wrong(
                    &at,
                    &format!(
                        "the recipe has no such service; it has {}",
                        names.join(", ")
                    ),
                ));
            };
            if let Some(image) = value.get("image") {
                let image = image.as_str().unwrap_or_default();
                let unchanged = before.is_some_and(|before| before.image == now.image);
                if unchanged {
                    return Err(self.wrong(
                        &format!("{at}.image"),
                        "an overlay tunes the environment and names no image",
                    ));
                }
                return masks(format!(
                    "replaces the image of `{name}`, `{}`, which the version under test changed, by `{image}`",
                    now.image.as_deref().unwrap_or_default()
                ));
            }
            if base.is_some()
                && let Some(key) = hidden(value, now, before)
            {
                return masks(format!(
                    "overrides `services.{name}.{key}`, which the version under test changed"
                ));
            }
        }
        Ok(Judged::Fine)
    }

    /// Returns the overlay for a version: with its schema version, without services that it does not have.
    /// `None` when nothing is left.
    #[must_use]
    pub fn render(&self, project: &Project) -> Option<Value> {
        let services: Map<String, Value> = self
            .services
            .iter()
            .filter(|(name, _)| project.service(name).is_some())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        (!services.is_empty()).then(|| rendered(services, project))
    }

    /// Returns the name of its copy in a work tree, of one for a variant of the recipe.
    #[must_use]
    pub fn copy_name(&self, variant: Option<&str>) -> String {
        let of_variant = variant.map_or_else(String::new, |name| format!("-{name}"));
        format!("{COPY_PREFIX}{}{of_variant}.yml", self.origin.name())
    }

    fn file(&self) -> String {
        locate(&self.marks, "").map_or_else(|| FILE_NAME.to_owned(), |place| place.file.clone())
    }

    fn wrong(&self, path: &str, reason: &str) -> OverlayError {
        wrong(&self.marks, path, reason)
    }
}

/// Returns the path of the first value in `value` that says nothing. Docker passes over such a key, and what the
/// recipe says stays in force.
fn empty(path: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(path.to_owned()),
        Value::Object(entries) => entries
            .iter()
            .find_map(|(key, value)| empty(&yaml::join(path, key), value)),
        _ => None,
    }
}

fn not_environment(allowed: &[&str]) -> String {
    format!(
        "an overlay tunes the environment only; it may set {}",
        allowed.join(", ")
    )
}

pub(super) fn wrong(marks: &Marks, path: &str, reason: &str) -> OverlayError {
    let place = locate(marks, path).map_or_else(|| FILE_NAME.to_owned(), ToString::to_string);
    OverlayError::Compose {
        place,
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Returns the services of a compose file, and the place of everything in it.
pub(super) fn services_of(
    text: &str,
    shown: &str,
) -> Result<(Map<String, Value>, Marks), OverlayError> {
    let document = yaml::parse(text, shown).map_err(OverlayError::Yaml)?;
    let marks = document.marks;
    let Value::Object(mut top) = document.value else {
        return Err(wrong(&marks, "", "the file is not a mapping"));
    };
    if let Some(key) = top
        .keys()
        .find(|key| !matches!(key.as_str(), "version" | "services") && !key.starts_with("x-"))
    {
        return Err(wrong(
            &marks,
            key,
            "an overlay tunes services and has no other section than `services`",
        ));
    }
    match top.remove("services") {
        Some(Value::Object(services)) if !services.is_empty() => Ok((services, marks)),
        _ => Err(wrong(&marks, "services", "it names no service")),
    }
}

/// Docker refuses files whose schema versions differ, one without a version included.
pub(super) fn rendered(services: Map<String, Value>, project: &Project) -> Value {
    let mut file = json!({ "services": services });
    if let Some(version) = &project.schema_version {
        file["version"] = version.as_str().into();
    }
    file
}

/// Returns the first key that the overlay sets and that differs between the versions.
fn hidden(value: &Value, now: &Service, before: Option<&Service>) -> Option<String> {
    for (name, text) in variables(value.get("environment")) {
        let there = now.environment.get(&name);
        let same_as_before = before.map(|before| before.environment.get(&name)) == Some(there);
        let says_the_same = there == Some(&text);
        if there.is_some() && !same_as_before && !says_the_same {
            return Some(format!("environment.{name}"));
        }
    }
    // A proposal that adds a service has changed all of it.
    let Some(before) = before else {
        return ["healthcheck", "stop_grace_period"]
            .into_iter()
            .find(|key| value.get(key).is_some())
            .map(str::to_owned);
    };
    let deploy = |key: &str| value.get("deploy").and_then(|deploy| deploy.get(key));
    let pairs = [
        (
            "healthcheck",
            value.get("healthcheck").is_some(),
            before.healthcheck == now.healthcheck,
        ),
        (
            "stop_grace_period",
            value.get("stop_grace_period").is_some(),
            before.stop_grace_period == now.stop_grace_period,
        ),
        (
            "deploy.update_config",
            deploy("update_config").is_some(),
            before.update == now.update,
        ),
        (
            "deploy.restart_policy",
            deploy("restart_policy").is_some(),
            before.restart == now.restart,
        ),
    ];
    pairs
        .into_iter()
        .find(|(_, set, same)| *set && !same)
        .map(|(key, ..)| key.to_owned())
}

/// Returns the variables of both forms of `environment`.
fn variables(value: Option<&Value>) -> Vec<(String, Option<String>)> {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    match value {
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(|line| match line.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (line.to_owned(), None),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Writes `content` as `name` into a work tree, where neither git nor abra takes it for a change.
///
/// # Errors
/// [`OverlayError::Taken`] when the recipe has a file of that name.
pub fn put_beside(root: &Path, name: &str, content: &Value) -> Result<(), OverlayError> {
    let path = root.join(name);
    let text = serde_json::to_string_pretty(content).expect("a parsed file is valid JSON");
    // A run may make two plans, the second one of its warm app.
    let there = SourceTree::open(root)?.text(name);
    if there.is_ok_and(|there| there.as_deref() == Some(&text)) {
        return Ok(());
    }
    if std::fs::symlink_metadata(&path).is_ok() {
        return Err(OverlayError::Taken {
            name: name.to_owned(),
        });
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| OverlayError::Write { path, source }
    };
    let git = root.join(".git");
    if git.is_dir() {
        let info = git.join("info");
        std::fs::create_dir_all(&info).map_err(failed(&info))?;
        let exclude = info.join("exclude");
        let mut lines = match host_file::text(&exclude) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(&exclude)(error)),
        };
        if !lines.is_empty() && !lines.ends_with('\n') {
            lines.push('\n');
        }
        lines.push_str(&format!("/{name}\n"));
        std::fs::write(&exclude, lines).map_err(failed(&exclude))?;
    }
    std::fs::write(&path, text).map_err(failed(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(text: &str) -> Project {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        Project::load(dir.path(), &["compose.yml".to_owned()], &BTreeMap::new()).unwrap()
    }

    fn tuning(text: &str) -> Result<Tuning, String> {
        Tuning::parse(Origin::Overlay, text, "compose.ccci.yml").map_err(|e| e.to_string())
    }

    const BASE: &str = "version: '3.8'\nservices:\n  app: {image: 'a:1', environment: {X: '1', Y: '1'}}\n  old: {image: 'o:1'}\n";
    const HEAD: &str = "version: '3.8'\nservices:\n  app: {image: 'a:2', environment: {X: '2', Y: '1'}}\n  new: {image: 'n:1', environment: [Z=1]}\n";

    #[test]
    fn how_a_service_starts_again_must_not_be_hidden_wherever_the_proposal_says_it() {
        let with = |keys: &str| {
            project(&format!(
                "version: '3.8'\nservices: {{app: {{image: 'a:1'{keys}}}}}\n"
            ))
        };
        let overlay = "services: {app: {deploy: {restart_policy: {condition: any}}}}";
        let masks = |head: &str, base: &str| {
            let judged = tuning(overlay)
                .unwrap()
                .judge(&with(head), Some(&with(base)));
            matches!(judged.unwrap(), Judged::Masks(reason) if reason.contains("deploy.restart_policy"))
        };
        assert!(masks(", restart: on-failure", ""));
        assert!(masks(", restart: on-failure:2", ", restart: on-failure:3"));
        assert!(masks(
            ", deploy: {restart_policy: {delay: 1s}}",
            ", deploy: {restart_policy: {delay: 2s}}"
        ));
        assert!(!masks(
            ", restart: on-failure:3",
            ", deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}"
        ));
        assert!(!masks(", restart: \"no\"", ""));
    }

    #[test]
    fn what_the_proposal_changed_must_not_be_hidden() {
        let (head, base) = (project(HEAD), project(BASE));
        let judge = |text: &str| tuning(text).unwrap().judge(&head, Some(&base));
        for (text, words) in [
            (
                "services: {app: {image: 'a:1'}}",
                "replaces the image of `app`, `a:2`",
            ),
            (
                "services: {old: {environment: {A: b}}}",
                "brings back the service `old`",
            ),
            (
                "services: {app: {environment: {X: '1'}}}",
                "`services.app.environment.X`",
            ),
            (
                "services: {app: {environment: [X=1]}}",
                "`services.app.environment.X`",
            ),
            (
                "services: {new: {environment: {Z: '5'}}}",
                "`services.new.environment.Z`",
            ),
        ] {
            match judge(text).unwrap() {
                Judged::Masks(reason) => assert!(reason.contains(words), "{reason}"),
                Judged::Fine => panic!("{text}"),
            }
        }
        for text in [
            "services: {app: {environment: {Y: '5', NEW: '1'}, deploy: {resources: {limits: {cpus: '1'}}}}}",
            "services: {app: {environment: {X: '2'}}}",
            "x-a: 1\nservices: {app: {healthcheck: {start_period: 15m}}}",
        ] {
            assert_eq!(judge(text).unwrap(), Judged::Fine, "{text}");
        }
    }

    #[test]
    fn without_a_base_only_images_and_services_are_judged() {
        let head = project(HEAD);
        let judge = |text: &str| tuning(text).unwrap().judge(&head, None);
        let tunes = "services: {app: {healthcheck: {start_period: 15m}, stop_grace_period: 1m, environment: {X: '1'}}}";
        assert_eq!(judge(tunes).unwrap(), Judged::Fine);
        assert!(matches!(
            judge("services: {app: {image: 'a:1'}}").unwrap(),
            Judged::Masks(_)
        ));
        assert!(judge("services: {old: {environment: {A: b}}}").is_err());
    }

    #[test]
    fn an_empty_value_is_refused_because_it_would_do_nothing() {
        for (text, path) in [
            (
                "services: {app: {healthcheck: }}",
                "services.app.healthcheck",
            ),
            (
                "services: {app: {environment: {A: }}}",
                "services.app.environment.A",
            ),
            (
                "services: {app: {deploy: {resources: {limits: }}}}",
                "services.app.deploy.resources.limits",
            ),
        ] {
            let reason = tuning(text).unwrap_err();
            assert!(
                reason.contains(path) && reason.contains("it is empty"),
                "{reason}"
            );
        }
        tuning("services: {app: {environment: {A: ''}}}").unwrap();
    }

    #[test]
    fn what_is_no_environment_is_refused_with_its_place() {
        for (text, words) in [
            (
                "services:\n  app:\n    command: x\n",
                "compose.ccci.yml:3:14: services.app.command",
            ),
            (
                "services: {app: {deploy: {replicas: 0}}}",
                "services.app.deploy.replicas",
            ),
            ("volumes: {a: {}}\nservices: {app: {}}", "no other section"),
            ("version: '3.8'\n", "it names no service"),
        ] {
            let error = tuning(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let head = project(HEAD);
        let pin = tuning("services: {app: {image: 'a:1'}}").unwrap();
        assert!(
            pin.judge(&head, Some(&head)).is_err(),
            "an image is never environment"
        );
        let typo = tuning("services: {ap: {environment: {A: b}}}").unwrap();
        let error = typo.judge(&head, Some(&head)).unwrap_err().to_string();
        assert!(error.contains("it has app, new"), "{error}");
    }

    #[test]
    fn a_copy_has_only_services_of_that_version_and_leaves_git_clean() {
        let tuning =
            tuning("services: {app: {environment: {A: b}}, new: {environment: {A: b}}}").unwrap();
        let copy = tuning.render(&project(BASE)).unwrap();
        assert_eq!(
            copy.to_string(),
            r#"{"services":{"app":{"environment":{"A":"b"}}},"version":"3.8"}"#
        );
        let root = tempfile::tempdir().unwrap();
        let repo = git2::Repository::init(root.path()).unwrap();
        put_beside(root.path(), "ccci.compose-overlay.yml", &copy).unwrap();
        assert_eq!(
            repo.statuses(None)
                .unwrap()
                .iter()
                .filter(|s| !s.status().is_ignored())
                .count(),
            0
        );
        // Its own copy may be there already; a file of the recipe's may not.
        put_beside(root.path(), "ccci.compose-overlay.yml", &copy).unwrap();
        let theirs = serde_json::json!({ "services": {} });
        assert!(matches!(
            put_beside(root.path(), "ccci.compose-overlay.yml", &theirs),
            Err(OverlayError::Taken { .. })
        ));
    }
}
