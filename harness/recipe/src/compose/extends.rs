//! `extends`: docker refuses it in a stack, so the loader does too, and says where.
//!
//! A circle is told apart from a plain use, because it is a mistake in any tool.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::yaml::{self, Document, join};
use super::{ComposeError, file};

/// The longest way that is followed. A longer one is reported as a use, which is refused all the same.
const CHAIN: usize = 100;

/// Returns the error of the first service of `document` that uses `extends`, if one does.
pub(super) fn check(root: &Path, file: &str, document: &Document) -> Result<(), ComposeError> {
    let Some(services) = document.value.get("services").and_then(Value::as_object) else {
        return Ok(());
    };
    let mut first = None;
    for (service, definition) in services {
        if definition.get("extends").is_none_or(Value::is_null) {
            continue;
        }
        let path = join(&join("services", service), "extends");
        let Some(location) = super::locate(&document.marks, &path).cloned() else {
            continue;
        };
        if let Some(cycle) = cycle(root, file, document, service) {
            return Err(ComposeError::ExtendsCycle { location, cycle });
        }
        first.get_or_insert(ComposeError::Extends {
            location,
            service: service.clone(),
        });
    }
    first.map_or(Ok(()), Err)
}

/// Returns the circle that `extends` of `service` leads into, if it does.
fn cycle(root: &Path, file: &str, document: &Document, service: &str) -> Option<Vec<String>> {
    let mut others: BTreeMap<String, Value> = BTreeMap::new();
    let own = file;
    let mut seen = vec![(file.to_owned(), service.to_owned())];
    loop {
        let (file, service) = seen.last()?.clone();
        if seen.len() > CHAIN {
            return None;
        }
        if file != own && !others.contains_key(&file) {
            // A file that cannot be read ends the chain: the use itself is reported.
            let text = file::read(root, &file).ok()?;
            others.insert(file.clone(), yaml::parse_first(&text, &file).ok()?.value);
        }
        let value = match file == own {
            true => &document.value,
            false => others.get(&file)?,
        };
        let extends = value.get("services")?.get(&service)?.get("extends")?;
        let next = match extends {
            Value::String(name) => (file.clone(), name.clone()),
            Value::Object(_) => {
                let other = extends.get("file").and_then(Value::as_str);
                (
                    other.map_or_else(|| file.clone(), |other| beside(&file, other)),
                    extends.get("service")?.as_str()?.to_owned(),
                )
            }
            _ => return None,
        };
        let start = seen.iter().position(|visited| *visited == next);
        seen.push(next);
        if let Some(start) = start {
            return Some(
                seen[start..]
                    .iter()
                    .map(|(file, service)| format!("{file}:{service}"))
                    .collect(),
            );
        }
    }
}

/// Returns `other`, which is relative to the directory of `file`, as relative to the root.
fn beside(file: &str, other: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in other.split('/') {
        match part {
            "." | "" => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
