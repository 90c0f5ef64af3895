//! The configs that compose files make of files of the recipe.

use std::collections::BTreeMap;

use serde_json::Value;

use super::view::{self, View};
use crate::compose::{compose_files, yaml};
use crate::interpolate::{Budget, interpolate_within};
use ground::git::GitError;
use ground::git::files::CommitFiles;

/// A config as a version of the recipe has it.
#[derive(Debug)]
pub(super) struct ConfigFile {
    pub(super) key: String,
    /// Its name in the engine.
    pub(super) name: String,
    /// Its file, relative to the root of the recipe.
    pub(super) file: String,
}

impl View {
    /// Returns the configs of the compose files that can be read.
    pub(super) fn configs(&self) -> Vec<ConfigFile> {
        let mut budget = Budget::default();
        let mut configs = Vec::new();
        for file in &self.files {
            collect(&file.document.value, &self.vars, &mut budget, &mut configs);
        }
        configs
    }
}

/// Returns the configs of a published version; a file of it that cannot be parsed has none.
pub(super) fn configs_at(files: &CommitFiles, stack: &str) -> Result<Vec<ConfigFile>, GitError> {
    let text = |path: &str| -> Result<Option<String>, GitError> {
        let bytes = files.read(path)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let (vars, _) = view::variables(stack, text(".env.sample")?, text("abra.sh")?.as_deref());
    let mut paths = compose_files(&vars);
    let more = files.paths()?;
    paths.extend(more.into_iter().filter(|path| view::is_compose_file(path)));
    let mut configs = Vec::new();
    let mut budget = Budget::default();
    for path in paths {
        if let Some(text) = text(&path)?
            && let Ok(document) = yaml::parse_first(&text, &path)
        {
            collect(&document.value, &vars, &mut budget, &mut configs);
        }
    }
    Ok(configs)
}

/// Adds the configs of a compose file that docker makes from a file.
fn collect(
    document: &Value,
    vars: &BTreeMap<String, String>,
    budget: &mut Budget,
    configs: &mut Vec<ConfigFile>,
) {
    let entries = document.get("configs").and_then(Value::as_object);
    for (key, entry) in entries.into_iter().flatten() {
        let mut text = |field: &str| {
            let text = entry.get(field)?.as_str()?;
            interpolate_within(budget, text, vars, &mut Default::default()).ok()
        };
        let Some(file) = text("file") else { continue };
        let stack = vars.get("STACK_NAME").map_or("", String::as_str);
        configs.push(ConfigFile {
            key: key.clone(),
            name: text("name").unwrap_or_else(|| format!("{stack}_{key}")),
            file: file.strip_prefix("./").unwrap_or(&file).to_owned(),
        });
    }
}
