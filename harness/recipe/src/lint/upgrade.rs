//! Rules about what the last version gave operators and the text under test takes away.

use std::collections::BTreeMap;
use std::path::Path;

use super::finding::{Checked, Hit};
use super::label;
use super::published::Published;
use super::view::{View, at, in_file, variables};
use crate::compose::{Project, compose_files};
use crate::reach;
use crate::sample::{self, mentioned};
use ground::error::chain;
use ground::source_tree::SourceTree;

/// Reads the version that was published before the text of `view`, whose tree is at `head`.
///
/// # Errors
/// The reason why there is nothing to compare with.
pub(super) fn compare(view: &View, head: &Path) -> Result<Published, String> {
    let history = view.history.as_ref().map_err(Clone::clone)?;
    let label = label::version(view).ok().flatten();
    let Some(tag) = history.last_version(label.as_deref()) else {
        return Err(history.why_no_version());
    };
    let why = |error: &(dyn std::error::Error + 'static)| {
        format!("version {} cannot be read: {}", tag.name, chain(error))
    };
    let unpacked = tempfile::tempdir().map_err(|error| why(&error))?;
    let root = unpacked.path().join("recipe");
    history.export(tag, &root).map_err(|error| why(&error))?;
    let tree = SourceTree::open(&root).map_err(|error| why(&error))?;
    let text = |path: &str| tree.text(path).map_err(|error| why(&error));
    let (sample, exports) = (text(".env.sample")?, text("abra.sh")?);
    let extra = mentioned(sample.as_deref().unwrap_or_default());
    let (then, _) = variables(&view.stack, sample.clone(), exports.as_deref());
    // An upgrade keeps the operator's env file.
    let (now, _) = variables(&view.stack, sample, view.abra_sh.as_deref());
    let load = |root: &Path, vars: &BTreeMap<String, String>, more: Option<&String>| {
        let mut files = compose_files(vars);
        files.extend(more.cloned());
        let mut all = extra.clone();
        all.extend(vars.clone());
        let vars = if more.is_some() { &all } else { vars };
        Project::load(root, &files, vars)
    };
    let default = compose_files(&then);
    let optional = view.files.iter().map(|file| &file.name);
    let optional = optional.filter(|file| !default.contains(file));
    let notes = reach::notes(&view.tree, label.as_deref());
    let domain = now.get("DOMAIN").map(String::as_str);
    let env_file = &now;
    let mut lost: Vec<(&'static str, Hit)> = Vec::new();
    // Without an optional file, and with each that both versions have.
    for more in std::iter::once(None).chain(optional.map(Some)) {
        match (load(&root, &then, more), load(head, &now, more)) {
            (Ok(then), Ok(now)) => {
                let mut faults = reach::lost(&then, &now, domain, &notes);
                faults.extend(reach::dropped(&then, &now, env_file, &notes));
                faults.extend(reach::first_account(&then, &now, &view.vars, &notes));
                for fault in faults {
                    // The same service is part of several deploys.
                    if lost.iter().any(|(_, hit)| hit.message == fault.message) {
                        continue;
                    }
                    let hit = match now.location(&fault.path) {
                        Some(place) => at(place, fault.message),
                        None => view.hit(&fault.path, fault.message),
                    };
                    lost.push((fault.rule, hit));
                }
            }
            (Err(error), _) if more.is_none() => return Err(why(&error)),
            (_, Err(error)) if more.is_none() => {
                let error = chain(&error);
                return Err(format!("no app of {} can be upgraded: {error}", tag.name));
            }
            // One of them does not have the file, or it goes with others.
            _ => {}
        }
    }
    Ok(Published {
        missed: sample::lost(&root, head, &view.vars),
        lost,
    })
}

/// Returns what an upgrade from the last version takes from the app's clients, by the rule `id`.
pub(super) fn lost(view: &View, id: &str) -> Checked {
    let published = view.published.as_ref().map_err(Clone::clone)?;
    let hits = published.lost.iter().filter(|(rule, _)| *rule == id);
    Ok(hits.map(|(_, hit)| hit.clone()).collect())
}

/// Returns what the last version's `.env.sample` has, a new app still needs, and this one's does not have.
pub(super) fn sample(view: &View) -> Checked {
    let published = view.published.as_ref().map_err(Clone::clone)?;
    if !matches!(view.sample, Ok(Some(_))) {
        return Err("there is no .env.sample that can be read, see R008".to_owned());
    }
    let hits = published.missed.iter();
    let hits = hits.map(|lost| in_file(".env.sample", None, lost.to_string()));
    Ok(hits.collect())
}
