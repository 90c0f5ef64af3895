//! Rules about the repository: its files beside the compose files, its tags, and the names it gives.

use serde_json::Value;

use super::configs::configs_at;
use super::finding::{Checked, Hit};
use super::history::SHALLOW;
use super::label;
use super::view::{File, View, in_file};
use crate::env::abra_sh;
use crate::interpolate::variables;
use ground::error::chain;
use ground::git::GitError;
use ground::source_tree::TEXT_CEILING;

/// The longest name of a secret, by abra's rule.
const SECRET_NAME: usize = 12;

/// What the README tells the catalogue.
const METADATA: [&str; 8] = [
    "Category",
    "Status",
    "Image",
    "Healthcheck",
    "Backups",
    "Email",
    "Tests",
    "SSO",
];

pub(super) fn readme(view: &View) -> Checked {
    let one = |line, message: &str| Ok(vec![in_file("README.md", line, message)]);
    let Some(text) = &view.readme else {
        return one(None, "there is no README.md");
    };
    let mut inside = None;
    let mut filled = Vec::new();
    let mut hits = Vec::new();
    for (line, text) in (1_u64..).zip(text.lines()) {
        match text.trim() {
            "<!-- metadata -->" => inside = Some(line),
            "<!-- endmetadata -->" => break,
            text if inside.is_some() => {
                let Some((key, value)) = text.trim_start_matches(['*', '-', ' ']).split_once(':')
                else {
                    continue;
                };
                let key = key.trim().trim_matches('*');
                if METADATA.contains(&key) {
                    filled.push(key.to_owned());
                    if value.trim_matches(['*', ' ']).is_empty() {
                        let message = format!("`{key}` is empty");
                        hits.push(in_file("README.md", Some(line), message));
                    }
                }
            }
            _ => {}
        }
    }
    let Some(begin) = inside else {
        return one(Some(1), "there is no block of metadata");
    };
    let missing: Vec<&str> = METADATA
        .into_iter()
        .filter(|key| !filled.iter().any(|there| there == key))
        .collect();
    if !missing.is_empty() {
        let message = format!("the metadata lacks {}", missing.join(", "));
        hits.push(in_file("README.md", Some(begin), message));
    }
    Ok(hits)
}

pub(super) fn sample(view: &View) -> Checked {
    Ok(match &view.sample {
        Ok(Some(_)) => Vec::new(),
        Ok(None) => vec![in_file(".env.sample", None, "there is no .env.sample")],
        Err(hit) => vec![hit.clone()],
    })
}

/// Returns the configs that docker makes from a file, as written.
fn raw_configs(view: &View) -> impl Iterator<Item = (&File, &str, &Value)> {
    view.files.iter().flat_map(|file| {
        let configs = file
            .document
            .value
            .get("configs")
            .and_then(Value::as_object);
        let external = |config: &Value| match config.get("external") {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(_) => true,
        };
        configs
            .into_iter()
            .flatten()
            .filter(move |(_, config)| !external(config))
            .map(move |(key, config)| (file, key.as_str(), config))
    })
}

pub(super) fn config_versions(view: &View) -> Checked {
    let exports = abra_sh::exports(view.abra_sh.as_deref().unwrap_or_default());
    let exports = exports.map_err(|error| error.to_string())?;
    let exported = |name: &str| {
        exports.vars.iter().any(|(known, _)| known == name)
            || exports
                .unevaluated
                .iter()
                .any(|line| line.name.as_deref() == Some(name))
    };
    let mut hits = Vec::new();
    for (file, key, config) in raw_configs(view) {
        let path = format!("configs.{key}");
        let hit = |field: &str, message: String| {
            let key = file.document.key(&format!("{path}{field}"));
            let place = key.or_else(|| file.document.key(&path));
            in_file(&file.name, place.map(|place| place.line), message)
        };
        let Some(name) = config.get("name").and_then(Value::as_str) else {
            hits.push(hit(
                "",
                format!("config `{key}` has no name with a version"),
            ));
            continue;
        };
        let variable = variables(name)
            .into_iter()
            .rfind(|name| name.ends_with("_VERSION"));
        match variable {
            Some(variable) if exported(variable) => {}
            Some(variable) => {
                let in_sample =
                    matches!(&view.sample, Ok(Some(sample)) if sample.line_of(variable).is_some());
                let where_else = if in_sample {
                    "it is in .env.sample, of which every operator has an old copy"
                } else {
                    "its name ends with nothing"
                };
                let message =
                    format!("config `{key}`: abra.sh does not export `{variable}`; {where_else}");
                hits.push(hit(".name", message));
            }
            // A version that stands in the name itself is vendored, too.
            None if ends_with_version(name) => {}
            None => hits.push(hit(
                ".name",
                format!("the name of config `{key}` has no version"),
            )),
        }
    }
    Ok(hits)
}

fn ends_with_version(name: &str) -> bool {
    name.rsplit('_').next().is_some_and(|last| {
        let number = last.strip_prefix('v').unwrap_or(last);
        !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
    })
}

pub(super) fn annotated_tags(view: &View) -> Checked {
    let history = view.history.as_ref().map_err(Clone::clone)?;
    let light = history.tags.iter().filter(|tag| !tag.annotated);
    let hit = |name: &str| Hit {
        file: None,
        line: None,
        column: None,
        message: format!("tag `{name}` is a lightweight tag"),
    };
    let hits: Vec<Hit> = light.map(|tag| hit(&tag.name)).collect();
    match hits.is_empty() && history.shallow {
        true => Err(SHALLOW.to_owned()),
        false => Ok(hits),
    }
}

pub(super) fn long_secrets(view: &View) -> Checked {
    let mut hits = Vec::new();
    for file in &view.files {
        let secrets = file
            .document
            .value
            .get("secrets")
            .and_then(Value::as_object);
        for key in secrets.into_iter().flatten().map(|(key, _)| key) {
            if key.len() > SECRET_NAME {
                let place = file.document.key(&format!("secrets.{key}"));
                let message = format!("the name of secret `{key}` has {} characters", key.len());
                hits.push(in_file(&file.name, place.map(|place| place.line), message));
            }
        }
    }
    Ok(hits)
}

pub(super) fn name_limits(view: &View) -> Checked {
    let mut hits = Vec::new();
    for project in &view.deploys {
        for problem in project.object_name_problems(&view.stack) {
            let hit = view.hit(&problem.path(), problem.to_string());
            if !hits.contains(&hit) {
                hits.push(hit);
            }
        }
    }
    Ok(hits)
}

pub(super) fn config_changed(view: &View) -> Checked {
    let history = view.history.as_ref().map_err(Clone::clone)?;
    let label = label::version(view).ok().flatten();
    let Some(tag) = history.last_version(label.as_deref()) else {
        return Err(history.why_no_version());
    };
    let unreadable =
        |error: &GitError| format!("version {} cannot be read: {}", tag.name, chain(error));
    let then = history.files(tag).map_err(|error| unreadable(&error))?;
    let before = configs_at(&then, &view.stack).map_err(|error| unreadable(&error))?;
    let mut hits: Vec<Hit> = Vec::new();
    for config in view.configs() {
        // What docker refuses is the same name with another content, whatever key or file it has.
        let Some(old) = before.iter().find(|old| old.name == config.name) else {
            continue;
        };
        let was = then.read(&old.file).map_err(|error| unreadable(&error))?;
        let is = view.tree.bytes(&config.file, TEXT_CEILING);
        let is = is.map_err(|error| error.to_string())?;
        if was.is_none() || is.is_none() || was == is {
            continue;
        }
        let key = &config.key;
        let message = format!(
            "`{}` differs from version {}, and config `{key}` is still `{}`",
            config.file,
            tag.name,
            config
                .name
                .strip_prefix(&format!("{}_", view.stack))
                .unwrap_or(&config.name)
        );
        let exported = exported_at(view, key);
        let hit = match exported {
            Some(line) => in_file("abra.sh", Some(line), message),
            None => view.hit(&format!("configs.{key}.name"), message),
        };
        if !hits.contains(&hit) {
            hits.push(hit);
        }
    }
    Ok(hits)
}

/// Returns the line of abra.sh that exports the version of a config.
fn exported_at(view: &View, key: &str) -> Option<u64> {
    let name = raw_configs(view)
        .find(|(_, name, _)| *name == key)
        .and_then(|(_, _, config)| config.get("name")?.as_str())?;
    let variable = variables(name)
        .into_iter()
        .rfind(|name| name.ends_with("_VERSION"))?;
    let wanted = format!("{variable}=");
    let text = view.abra_sh.as_deref()?;
    let lines = (1..).zip(text.lines());
    lines
        .filter(|(_, line)| {
            line.split_whitespace()
                .any(|word| word.starts_with(&wanted))
        })
        .map(|(number, _)| number)
        .last()
}
