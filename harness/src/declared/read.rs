//! Reading one `recipe-ci.yml`: what is wrong with it is said with its place and the nearest right key.

use std::collections::BTreeMap;
use std::path::Path;

use serde_yaml::Error;

use super::file::{self, DeclaredFile};
use super::types;
use crate::recipe::compose::{ComposeError, Location, locate, yaml};

/// Every key that a file can have, those of lists with `[]`. A test holds them against the schema.
pub const KEYS: [&str; 39] = [
    "recipe",
    "health",
    "health.path",
    "health.statuses",
    "timeouts",
    "timeouts.deploy",
    "timeouts.http",
    "env",
    "upgrade_env",
    "ready",
    "ready[].http",
    "ready[].tcp",
    "ready[].service",
    "ready[].port",
    "ready[].statuses",
    "ready[].stable",
    "backup",
    "backup.capable",
    "backup.verify",
    "backup.verify.command",
    "backup.verify.service",
    "backup.verify.attempts",
    "dependencies",
    "dependencies[].recipe",
    "dependencies[].required",
    "canonical",
    "expected_na",
    "expected_na.upgrade",
    "expected_na.backup_restore",
    "expected_na.custom",
    "base",
    "checks",
    "checks[].path",
    "checks[].status",
    "checks[].title",
    "checks[].contains",
    "checks[].header",
    "checks[].json",
    "checks[].assets",
];

/// What the predecessor's `recipe_meta.py` called things.
pub const PREDECESSORS: [(&str, &str); 14] = [
    ("HEALTH_PATH", "health.path"),
    ("HEALTH_OK", "health.statuses"),
    ("DEPLOY_TIMEOUT", "timeouts.deploy"),
    ("HTTP_TIMEOUT", "timeouts.http"),
    ("EXTRA_ENV", "env"),
    ("UPGRADE_EXTRA_ENV", "upgrade_env"),
    ("READY_PROBE", "ready"),
    ("BACKUP_CAPABLE", "backup.capable"),
    ("BACKUP_VERIFY", "backup.verify"),
    ("DEPS", "dependencies"),
    ("WARM_CANONICAL", "canonical"),
    ("EXPECTED_NA", "expected_na"),
    ("UPGRADE_BASE_VERSION", "base"),
    ("SCREENSHOT", ""),
];

/// Variables that the harness sets itself.
const OWN_VARIABLES: [&str; 4] = ["DOMAIN", "TYPE", "STACK_NAME", "RECIPE"];

/// How many backups `backup.verify` may take; the predecessor's limit.
pub const MOST_ATTEMPTS: u32 = 3;

/// Why a `recipe-ci.yml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeclaredError {
    /// It cannot be read.
    #[error("failed to read `{file}`")]
    Read {
        /// Which file.
        file: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is no YAML, or too large.
    #[error(transparent)]
    Yaml(#[from] ComposeError),
    /// A key that does not exist.
    #[error("{location}: there is no key `{key}`{}", did_you_mean(nearest.as_deref()))]
    UnknownKey {
        /// Where.
        location: Location,
        /// The key.
        key: String,
        /// The nearest right one, with the keys that lead to it.
        nearest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{location}: {message}")]
    Type {
        /// Where.
        location: Location,
        /// What was expected.
        message: String,
    },
    /// A value that cannot be meant.
    #[error("{location}: {}{reason}", lead(path))]
    Value {
        /// Where.
        location: Location,
        /// The keys that lead to it; empty for all of the file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}

fn lead(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path}: ")
    }
}

impl DeclaredError {
    /// Returns what to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Read { .. } => "make the file a readable text in UTF-8",
            Self::Yaml(_) | Self::Type { .. } | Self::Value { .. } => {
                "mend the file at that place; `recipe-ci overlay check DIR` reads it the same way"
            }
            Self::UnknownKey { .. } => {
                "docs/recipe-ci-yml.md lists every key; `recipe-ci overlay schema` prints the schema for an editor"
            }
        }
    }
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct Read {
    /// What it says.
    pub file: DeclaredFile,
    /// The place of every value.
    pub marks: BTreeMap<String, Location>,
}

/// Reads the file at `path`; `shown` is what errors call it, `recipe` the recipe that it was found for.
///
/// # Errors
/// [`DeclaredError`].
pub fn read(path: &Path, shown: &str, recipe: Option<&str>) -> Result<Read, DeclaredError> {
    let text = std::fs::read_to_string(path).map_err(|source| DeclaredError::Read {
        file: shown.to_owned(),
        source,
    })?;
    parse(&text, shown, recipe)
}

/// Parses the text of a file; see [`read`].
///
/// # Errors
/// [`DeclaredError`].
pub fn parse(text: &str, shown: &str, recipe: Option<&str>) -> Result<Read, DeclaredError> {
    // The first reading keeps the size in bounds and knows every place, the second knows the types.
    let document = yaml::parse(text, shown)?;
    let marks = document.marks;
    if document.value.is_null() {
        return Ok(Read {
            file: DeclaredFile::default(),
            marks,
        });
    }
    let wrong = |(path, reason): (String, String)| DeclaredError::Value {
        location: place(&marks, &path),
        path,
        reason,
    };
    if let Some(fault) = types::fault(&file::schema_value(), &document.value) {
        return Err(wrong(fault));
    }
    let options = serde_yaml::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_yaml::budget! { enforce_alias_anchor_ratio: false },
    };
    let file: DeclaredFile = serde_yaml::from_str_with_options(text, options)
        .map_err(|error: Error| translate(error.without_snippet(), shown))?;
    if let (Some(named), Some(recipe)) = (&file.recipe, recipe)
        && named != recipe
    {
        return Err(wrong((
            "recipe".to_owned(),
            format!("this file is for `{named}`, and it lies where `{recipe}` looks"),
        )));
    }
    if let Some(fault) = values(&file).into_iter().next() {
        return Err(wrong(fault));
    }
    contradictions(&file, &marks)?;
    Ok(Read { file, marks })
}

/// Returns the place of a value, or of the nearest key above it.
pub(super) fn place(marks: &BTreeMap<String, Location>, path: &str) -> Location {
    locate(marks, path).cloned().unwrap_or_else(|| Location {
        file: super::FILE_NAME.to_owned(),
        line: 1,
        column: 1,
    })
}

fn translate(error: &Error, shown: &str) -> DeclaredError {
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
            nearest: nearest(field, expected),
        };
    }
    DeclaredError::Type {
        location,
        message: yaml::first_line(error),
    }
}

/// Below this two words have nothing to do with each other: `env` and `ready` come to 0.51.
const ALIKE: f64 = 0.75;

/// Returns the key that was probably meant: one of the same mapping, one of another, or the predecessor's.
fn nearest(key: &str, here: &[&str]) -> Option<String> {
    if let Some((_, ours)) = PREDECESSORS.iter().find(|(name, _)| *name == key) {
        return (!ours.is_empty()).then(|| (*ours).to_owned());
    }
    let alike = |name: &str| strsim::jaro_winkler(&key.to_lowercase(), name);
    let best = here
        .iter()
        .map(|name| (alike(name), (*name).to_owned()))
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .filter(|(score, _)| *score >= ALIKE);
    // Of keys that are equally near the first one counts, which is the less special one.
    let elsewhere = KEYS
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

/// Returns every value that cannot be meant though it is of the right type and in its range, with the keys that
/// lead to it.
fn values(file: &DeclaredFile) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let mut wrong = |path: String, reason: String| faults.push((path, reason));
    if let Some(path) = &file.health.path
        && let Some(reason) = bad_path(path)
    {
        wrong("health.path".to_owned(), reason);
    }
    if let Some((index, reason)) = bad_statuses(file.health.statuses.as_deref()) {
        wrong(format!("health.statuses{index}"), reason);
    }
    for (key, vars) in [("env", &file.env), ("upgrade_env", &file.upgrade_env)] {
        for name in vars.keys() {
            if let Some(reason) = bad_variable(name) {
                wrong(format!("{key}.{name}"), reason);
            }
        }
    }
    for (index, probe) in file.ready.iter().enumerate() {
        let at = |key: &str| format!("ready[{index}]{key}");
        match (&probe.http, probe.tcp) {
            (Some(path), None) => {
                if let Some(reason) = bad_path(path) {
                    wrong(at(".http"), reason);
                }
            }
            (None, Some(_)) => {
                for (key, given) in [
                    (".port", probe.port.is_some()),
                    (".statuses", probe.statuses.is_some()),
                ] {
                    if given {
                        wrong(
                            at(key),
                            "it belongs to `http`, and this is `tcp`".to_owned(),
                        );
                    }
                }
            }
            _ => wrong(at(""), "give exactly one of `http` and `tcp`".to_owned()),
        }
        if let Some((item, reason)) = bad_statuses(probe.statuses.as_deref()) {
            wrong(at(&format!(".statuses{item}")), reason);
        }
    }
    if let Some(verify) = &file.backup.verify
        && verify.command.trim().is_empty()
    {
        wrong("backup.verify.command".to_owned(), "it is empty".to_owned());
    }
    for (index, one) in file.dependencies.iter().enumerate() {
        let (at, name) = (format!("dependencies[{index}]"), &one.recipe);
        let earlier = &file.dependencies[..index];
        if let Err(error) = name.parse::<crate::name::RecipeName>() {
            wrong(at, error.to_string());
        } else if file.recipe.as_ref() == Some(name) {
            wrong(at, "a recipe cannot need itself".to_owned());
        } else if earlier.iter().any(|other| other.recipe == *name) {
            wrong(at, format!("`{name}` is named twice"));
        }
    }
    let na = &file.expected_na;
    for (name, reason) in [
        ("upgrade", &na.upgrade),
        ("backup_restore", &na.backup_restore),
        ("custom", &na.custom),
    ] {
        if reason.as_ref().is_some_and(|text| text.trim().is_empty()) {
            wrong(
                format!("expected_na.{name}"),
                "give the reason: reports show it".to_owned(),
            );
        }
    }
    if file
        .base
        .as_ref()
        .is_some_and(|base| base.trim().is_empty())
    {
        wrong("base".to_owned(), "it is empty".to_owned());
    }
    for (index, check) in file.checks.iter().enumerate() {
        let at = |key: &str| format!("checks[{index}].{key}");
        if let Some(reason) = bad_path(&check.path) {
            wrong(at("path"), reason);
        }
        if check.contains.iter().any(String::is_empty) {
            wrong(
                at("contains"),
                "every body contains an empty text".to_owned(),
            );
        }
        if let Some(pointer) = check
            .json
            .keys()
            .find(|pointer| !pointer.is_empty() && !pointer.starts_with('/'))
        {
            wrong(
                at("json"),
                format!(
                    "`{pointer}` is no JSON pointer: it begins with `/`, or is empty for all of the body"
                ),
            );
        }
    }
    faults
}

fn bad_path(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.starts_with("//") {
        return Some(format!("`{path}` is no path: it begins with one `/`"));
    }
    path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
        .then(|| format!("`{path}` has a character that a path cannot have"))
}

fn bad_statuses(statuses: Option<&[u16]>) -> Option<(String, String)> {
    let statuses = statuses?;
    if statuses.is_empty() {
        return Some((String::new(), "it accepts no status at all".to_owned()));
    }
    let index = statuses.iter().position(|status| *status == 404)?;
    let reason = "404 is what a gateway without a route says; it can never be accepted";
    Some((format!("[{index}]"), reason.to_owned()))
}

fn bad_variable(name: &str) -> Option<String> {
    if OWN_VARIABLES.contains(&name) {
        return Some("recipe-ci sets this variable itself".to_owned());
    }
    let plain = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (!plain).then(|| format!("`{name}` is no name of a variable"))
}

/// Says which two values cannot both be meant.
///
/// # Errors
/// [`DeclaredError::Value`] at the first of them.
pub(super) fn contradictions(
    file: &DeclaredFile,
    marks: &BTreeMap<String, Location>,
) -> Result<(), DeclaredError> {
    let (na, backup) = (&file.expected_na, &file.backup);
    let pairs = [
        (
            "base",
            file.base.is_some(),
            "expected_na.upgrade",
            na.upgrade.is_some(),
        ),
        (
            "upgrade_env",
            !file.upgrade_env.is_empty(),
            "expected_na.upgrade",
            na.upgrade.is_some(),
        ),
        (
            "backup.verify",
            backup.verify.is_some(),
            "backup.capable: false",
            backup.capable == Some(false),
        ),
        (
            "backup.verify",
            backup.verify.is_some(),
            "expected_na.backup_restore",
            na.backup_restore.is_some(),
        ),
        (
            "backup.capable",
            backup.capable == Some(true),
            "expected_na.backup_restore",
            na.backup_restore.is_some(),
        ),
    ];
    for (path, there, other, also) in pairs {
        if there && also {
            return Err(DeclaredError::Value {
                location: place(marks, path),
                path: path.to_owned(),
                reason: format!("it contradicts `{other}`; remove one of the two"),
            });
        }
    }
    Ok(())
}
