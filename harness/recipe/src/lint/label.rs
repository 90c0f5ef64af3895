//! Rules about labels: Traefik's, the backup convention's, and the version.

use super::finding::{Checked, Hit};
use super::view::{Label, View, at};
use crate::backup::{BackupPlan, BackupProblem};
use crate::compose::query::{MAIN_SERVICE, seconds};
use crate::traefik::{Enabled, Labels};
use crate::version::Version;

/// What labels of tools that look at Swarm services begin with.
const TOOLS: [&str; 3] = ["backupbot.", "coop-cloud.", "traefik."];

pub(super) fn traefik(view: &View) -> Checked {
    let has_domain = match &view.sample {
        Ok(Some(sample)) => sample.get_raw("DOMAIN").is_some(),
        _ => false,
    };
    if !has_domain {
        return Err(".env.sample has no DOMAIN, so there is nothing to route".to_owned());
    }
    let project = view.default_deploy()?;
    let enabled = |service| Labels::of(service).enabled() == Enabled::Yes;
    if project.services.iter().any(enabled) {
        return Ok(Vec::new());
    }
    let name = project
        .main_service()
        .map_or(MAIN_SERVICE, |service| &service.name);
    let message = ".env.sample has a DOMAIN, and no service has the label `traefik.enable=true`";
    Ok(vec![view.hit(&format!("services.{name}"), message)])
}

pub(super) fn outside_deploy(view: &View) -> Checked {
    let outside = |label: &Label<'_>| {
        let known = TOOLS.iter().any(|tool| label.key.starts_with(tool));
        (!label.in_deploy && known).then(|| {
            let (service, key) = (label.service, &label.key);
            at(
                label.place,
                format!("service `{service}`: the label `{key}` is outside `deploy`"),
            )
        })
    };
    Ok(view.labels().iter().filter_map(outside).collect())
}

/// Returns a hit at the first backup label of a service that stands below `deploy`.
fn backup_hit(view: &View, service: &str, message: String) -> Hit {
    let labels = view.labels();
    let found = labels.iter().find(|label| {
        label.service == service && label.in_deploy && label.key.starts_with("backupbot.")
    });
    match found {
        Some(label) => at(label.place, message),
        None => view.hit(&format!("services.{service}"), message),
    }
}

fn add(hits: &mut Vec<Hit>, hit: Hit) {
    // The same service is part of several deploys.
    if !hits.contains(&hit) {
        hits.push(hit);
    }
}

fn plans(view: &View) -> impl Iterator<Item = (&crate::compose::Project, BackupPlan)> {
    view.deploys
        .iter()
        .map(|project| (project, BackupPlan::from_project(project)))
}

pub(super) fn backup_without_volume(view: &View) -> Checked {
    let mut hits = Vec::new();
    for (project, plan) in plans(view) {
        // Where nothing at all is saved, C007 says so.
        for hooks in plan.services.iter().filter(|_| !plan.volumes.is_empty()) {
            let name = &hooks.service;
            let service = project.service(name);
            if service.is_some_and(|service| service.volumes.is_empty()) {
                let message = format!("service `{name}` has backup labels and no volume");
                add(&mut hits, backup_hit(view, name, message));
            }
        }
    }
    Ok(hits)
}

pub(super) fn backup_saves_nothing(view: &View) -> Checked {
    let mut hits = Vec::new();
    for (_, plan) in plans(view) {
        for problem in &plan.problems {
            if let BackupProblem::NothingSaved { service } = problem {
                add(&mut hits, backup_hit(view, service, problem.to_string()));
            }
        }
        if let (Some(first), true, true) = (
            plan.services.first(),
            plan.volumes.is_empty(),
            hits.is_empty(),
        ) {
            let name = &first.service;
            let message =
                format!("service `{name}` has backup labels, and the stack has no volume to save");
            add(&mut hits, backup_hit(view, name, message));
        }
    }
    Ok(hits)
}

pub(super) fn backup_labels(view: &View) -> Checked {
    let mut hits = Vec::new();
    for (_, plan) in plans(view) {
        for problem in &plan.problems {
            let service = match problem {
                // C005 and C007 have these.
                BackupProblem::OnContainer { .. } | BackupProblem::NothingSaved { .. } => continue,
                BackupProblem::ExternalVolume { volume } => {
                    let path = format!("volumes.{volume}");
                    add(&mut hits, view.hit(&path, problem.to_string()));
                    continue;
                }
                BackupProblem::NoEffect { service, .. }
                | BackupProblem::UnknownLabel { service, .. }
                | BackupProblem::NotBoolean { service, .. }
                | BackupProblem::UnknownVolume { service, .. }
                | BackupProblem::BadPath { service, .. }
                | BackupProblem::PathNotOnVolume { service, .. }
                | BackupProblem::MixedVersions { service } => service,
            };
            let labels = view.labels();
            let named = labels.iter().find(|label| {
                let (BackupProblem::NoEffect { label: named, .. }
                | BackupProblem::UnknownLabel { label: named, .. }
                | BackupProblem::NotBoolean { label: named, .. }) = problem
                else {
                    return false;
                };
                label.service == service && label.key == *named
            });
            let hit = match named {
                Some(label) => at(label.place, problem.to_string()),
                None => backup_hit(view, service, problem.to_string()),
            };
            add(&mut hits, hit);
        }
    }
    Ok(hits)
}

pub(super) fn timeout_label(view: &View) -> Checked {
    let mut hits = Vec::new();
    for project in &view.deploys {
        let Some(label) = project.timeout_label(&view.stack) else {
            continue;
        };
        // An empty one is none: a variable that an operator may set.
        if !label.value.trim().is_empty() && seconds(label.value).is_none() {
            let key = format!("coop-cloud.{}.timeout", view.stack);
            let message = format!(
                "the timeout label of service `{}` is `{}`, which is no number of seconds",
                label.service, label.value
            );
            let labels = view.labels();
            let place = labels.iter().find(|found| {
                found.in_deploy && found.key == key && found.service == label.service
            });
            let path = format!("services.{}", label.service);
            let hit = place.map_or_else(
                || view.hit(&path, message.clone()),
                |found| at(found.place, message.clone()),
            );
            add(&mut hits, hit);
        }
    }
    Ok(hits)
}

/// Returns the label that abra reads the version from, with the version; it may be empty.
pub(super) fn version(view: &View) -> Result<Option<String>, String> {
    let project = view.default_deploy()?;
    let key = version_key(view);
    let app = project.service(MAIN_SERVICE);
    Ok(app.and_then(|app| app.labels.get(&key).cloned()))
}

fn version_key(view: &View) -> String {
    format!("coop-cloud.{}.version", view.stack)
}

/// Returns a hit at the version label.
fn version_hit(view: &View, message: String) -> Hit {
    let key = version_key(view);
    let labels = view.labels();
    let found = labels
        .iter()
        .find(|label| label.in_deploy && label.key == key && label.service == MAIN_SERVICE);
    match found {
        Some(label) => at(label.place, message),
        None => view.hit("services.app", message),
    }
}

pub(super) fn version_label(view: &View) -> Checked {
    match version(view)? {
        Some(version) if !version.is_empty() => return Ok(Vec::new()),
        Some(_) => {
            return Ok(vec![version_hit(
                view,
                "the version label is empty".to_owned(),
            )]);
        }
        None => {}
    }
    let (labels, key) = (view.labels(), version_key(view));
    if let Some(label) = labels
        .iter()
        .find(|label| label.in_deploy && label.key == key)
    {
        let message = format!(
            "the version label is on service `{}`, and abra reads only that of `app`",
            label.service
        );
        return Ok(vec![at(label.place, message)]);
    }
    // Docker fills in no variables of keys, so this label is called `${STACK_NAME}`, literally.
    let literal = "coop-cloud.${STACK_NAME}.version";
    if let Some(label) = labels.iter().find(|label| label.key == literal) {
        let message = format!(
            "docker does not fill in the variable of a key: write `- \"{literal}=…\"` in a list"
        );
        return Ok(vec![at(label.place, message)]);
    }
    let message = format!("service `app` has no label `{literal}`");
    Ok(vec![view.hit("services.app", message)])
}

/// Returns the version label, or why a rule about it does not apply.
fn there(view: &View) -> Result<String, String> {
    let label = version(view)?.filter(|label| !label.is_empty());
    label.ok_or_else(|| "there is no version label, see C011".to_owned())
}

pub(super) fn label_form(view: &View) -> Checked {
    let label = there(view)?;
    Ok(match label.parse::<Version>() {
        Ok(_) => Vec::new(),
        Err(error) => vec![version_hit(view, error.to_string())],
    })
}

pub(super) fn label_is_tag(view: &View) -> Checked {
    let label = there(view)?;
    let history = view.history.as_ref().map_err(Clone::clone)?;
    if history.dirty {
        return Err("there are uncommitted changes, so this is not what a tag holds".to_owned());
    }
    let tags = history.own_versions();
    if tags.is_empty() {
        let here = history.tags.iter().find(|tag| tag.commit == history.commit);
        return Err(match here {
            Some(tag) => format!(
                "the commit's tag `{}` is no version of the form `x.y.z+app`",
                tag.name
            ),
            None => "the commit has no version tag".to_owned(),
        });
    }
    if tags.contains(&label.as_str()) {
        return Ok(Vec::new());
    }
    let message = format!(
        "the version label is `{label}`, and the tag of this commit is {}",
        tags.join(", ")
    );
    Ok(vec![version_hit(view, message)])
}
