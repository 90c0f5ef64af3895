//! A YAML text as a type of ours: what is wrong with it is said with its place and the nearest right key.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_yaml::Error;

use super::error::DeclaredError;
use super::types;
use crate::compose::{Location, locate, yaml};

/// What a kind of file knows.
#[derive(Debug)]
pub(crate) struct Words {
    /// Every key, those of lists with `[]`.
    pub(crate) keys: &'static [&'static str],
    /// What other programs called them; an empty second word means that there is no such thing any more.
    pub(crate) formerly: &'static [(&'static str, &'static str)],
}

/// A text that was read.
#[derive(Debug)]
pub(crate) struct Typed<T> {
    /// What it says; absent when it is empty.
    pub value: Option<T>,
    /// The place of every value.
    pub marks: BTreeMap<String, Location>,
}

/// Reads `text` as `schema` and the type want it; `shown` is what errors call the file.
///
/// # Errors
/// [`DeclaredError`].
pub(crate) fn read<T: DeserializeOwned>(
    text: &str,
    shown: &str,
    schema: &Value,
    words: &Words,
) -> Result<Typed<T>, DeclaredError> {
    // The first reading keeps the size in bounds and knows every place, the second knows the types.
    let document = yaml::parse(text, shown)?;
    let marks = document.marks;
    if document.value.is_null() {
        return Ok(Typed { value: None, marks });
    }
    if let Some((path, reason)) = types::fault(schema, &document.value) {
        return Err(DeclaredError::Value {
            location: place(&marks, &path),
            path,
            reason,
        });
    }
    let options = serde_yaml::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_yaml::budget! { enforce_alias_anchor_ratio: false },
    };
    let value = serde_yaml::from_str_with_options(text, options)
        .map_err(|error: Error| translate(error.without_snippet(), shown, words))?;
    Ok(Typed {
        value: Some(value),
        marks,
    })
}

/// Returns the place of a value, or of the nearest key above it.
pub(crate) fn place(marks: &BTreeMap<String, Location>, path: &str) -> Location {
    locate(marks, path).cloned().unwrap_or_else(|| Location {
        file: super::FILE_NAME.to_owned(),
        line: 1,
        column: 1,
    })
}

fn translate(error: &Error, shown: &str, words: &Words) -> DeclaredError {
    let location = error
        .location()
        .map_or((1, 1), |at| (at.line(), at.column()));
    let location = Location {
        file: shown.to_owned(),
        line: location.0.max(1),
        column: location.1.max(1),
    };
    if let Error::SerdeUnknownField {
        field, expected, ..
    } = error
    {
        return DeclaredError::UnknownKey {
            location,
            key: field.clone(),
            nearest: words.nearest(field, expected),
        };
    }
    DeclaredError::Type {
        location,
        message: yaml::first_line(error),
    }
}

/// Below this two words have nothing to do with each other: `env` and `ready` come to 0.51.
const ALIKE: f64 = 0.75;

impl Words {
    /// Returns the key that was probably meant: one of the same mapping, one of another, or the predecessor's.
    fn nearest(&self, key: &str, here: &[&str]) -> Option<String> {
        if let Some((_, ours)) = self.formerly.iter().find(|(name, _)| *name == key) {
            return (!ours.is_empty()).then(|| (*ours).to_owned());
        }
        let alike = |name: &str| strsim::jaro_winkler(&key.to_lowercase(), name);
        let best = here
            .iter()
            .map(|name| (alike(name), (*name).to_owned()))
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .filter(|(score, _)| *score >= ALIKE);
        // Of keys that are equally near the first one counts, which is the less special one.
        let elsewhere = self
            .keys
            .iter()
            .rev()
            .map(|path| {
                let name = path.rsplit(['.', ']']).next().unwrap_or(path);
                (alike(name), (*path).to_owned())
            })
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .filter(|(score, _)| *score >= ALIKE);
        match (best, elsewhere) {
            (Some(best), Some(other)) if other.0 > best.0 => Some(other.1),
            (Some(best), _) => Some(best.1),
            (None, other) => other.map(|(_, path)| path),
        }
    }
}
