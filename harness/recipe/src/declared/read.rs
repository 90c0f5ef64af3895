//! Reading one `recipe-ci.yml`: what is wrong with it is said with its place and the nearest right key.

use std::collections::BTreeMap;

use super::error::DeclaredError;
use super::file::{self, DeclaredFile};
use super::health;
use super::typed::{self, Typed, Words, place};
use super::variable::bad_variable;
use super::variant;
use crate::compose::Location;

/// Every key that a file can have, those of lists with `[]`, those of mappings with `*`. A test holds them against the schema.
pub const KEYS: [&str; 61] = [
    "recipe",
    "health",
    "health.none",
    "health.service",
    "health.port",
    "health.scheme",
    "health.host",
    "health.path",
    "health.statuses",
    "health.silent",
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
    "first_run",
    "first_run[].method",
    "first_run[].path",
    "first_run[].form",
    "first_run[].json",
    "first_run[].statuses",
    "first_run[].contains",
    "backup",
    "backup.capable",
    "backup.verify",
    "backup.verify.command",
    "backup.verify.service",
    "backup.verify.attempts",
    "data",
    "data.service",
    "data.kind",
    "data.database",
    "data.user",
    "data.none",
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
    "variants",
    "variants.*.env",
    "variants.*.stages",
];

/// What the predecessor's `recipe_meta.py` called things.
const PREDECESSORS: [(&str, &str); 14] = [
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

const WORDS: Words = Words {
    keys: &KEYS,
    formerly: &PREDECESSORS,
};

/// How many backups `backup.verify` may take; the predecessor's limit.
pub const MOST_ATTEMPTS: u32 = 3;

/// How many texts `contains` may have: each is looked for in all of a body, which may have 4 MiB.
const MOST_TEXTS: usize = 100;

/// A file that was read.
#[derive(Debug, Clone)]
pub struct Read {
    /// What it says.
    pub file: DeclaredFile,
    /// The place of every value.
    pub marks: BTreeMap<String, Location>,
}

/// Returns what the text of a file says; `shown` is what errors call it, `recipe` the recipe that it was found for.
///
/// # Errors
/// [`DeclaredError`].
pub fn parse(text: &str, shown: &str, recipe: Option<&str>) -> Result<Read, DeclaredError> {
    let read = typed::read(text, shown, &file::schema_value(), &WORDS);
    let Typed { value: file, marks } = read.map_err(|mut error| {
        if let DeclaredError::Value { path, reason, .. } = &mut error
            && path == "health"
        {
            reason
                .push_str("; where an app answers no request, say why: `health: {none: <reason>}`");
        }
        error
    })?;
    let file: DeclaredFile = file.unwrap_or_default();
    let wrong = |(path, reason): (String, String)| DeclaredError::Value {
        location: place(&marks, &path),
        path,
        reason,
    };
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
    for (key, reason) in health::faults(&file.health) {
        wrong(format!("health.{key}"), reason);
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
    for (index, request) in file.first_run.iter().enumerate() {
        let at = |key: &str| format!("first_run[{index}]{key}");
        if let Some(reason) = bad_path(&request.path) {
            wrong(at(".path"), reason);
        }
        let is_word = |method: &str| {
            !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase())
        };
        if let Some(method) = request.method.as_deref().filter(|method| !is_word(method)) {
            wrong(
                at(".method"),
                format!("`{method}` is no method: it is a word in capitals, such as `POST`"),
            );
        }
        if !request.form.is_empty() && request.json.is_some() {
            wrong(at(""), "give `form` or `json`, not both".to_owned());
        }
        if let Some((item, reason)) = bad_statuses(request.statuses.as_deref()) {
            wrong(at(&format!(".statuses{item}")), reason);
        }
        if let Some(reason) = bad_texts(&request.contains) {
            wrong(at(".contains"), reason);
        }
    }
    if let Some(verify) = &file.backup.verify
        && verify.command.trim().is_empty()
    {
        wrong("backup.verify.command".to_owned(), "it is empty".to_owned());
    }
    for (index, one) in file.data.iter().enumerate() {
        // A mapping alone has no number among its keys; its place is found all the same.
        let at = match file.data.len() {
            1 => "data".to_owned(),
            _ => format!("data[{index}]"),
        };
        let named = one.kind.is_some() || one.database.is_some() || one.user.is_some();
        let earlier = &file.data[..index];
        if one.none.as_ref().is_some_and(|why| why.trim().is_empty()) {
            wrong(
                format!("{at}.none"),
                "give the reason: reports show it".to_owned(),
            );
        } else if one.none.is_some() && named {
            wrong(
                at,
                "`none` and `kind`, `database` or `user` contradict each other".to_owned(),
            );
        } else if one.none.is_none() && (one.service.is_none() || one.kind.is_none()) {
            wrong(
                at,
                "give `service` and `kind`, or `none` with the reason why there is no database"
                    .to_owned(),
            );
        } else if one.service.is_none() && file.data.len() > 1 {
            wrong(at, "`none` without a service stands alone".to_owned());
        } else if earlier.contains(one)
            || (one.none.is_some() && earlier.iter().any(|other| other.service == one.service))
        {
            wrong(at, "it is named twice".to_owned());
        }
    }
    for (index, one) in file.dependencies.iter().enumerate() {
        let (at, name) = (format!("dependencies[{index}]"), &one.recipe);
        let earlier = &file.dependencies[..index];
        if let Err(error) = name.parse::<ground::name::RecipeName>() {
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
        if let Some(reason) = bad_texts(&check.contains) {
            wrong(at("contains"), reason);
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
    faults.extend(variant::faults(&file.variants));
    faults
}

fn bad_path(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.starts_with("//") {
        return Some(format!("`{path}` is no path: it begins with one `/`"));
    }
    path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
        .then(|| format!("`{path}` has a character that a path cannot have"))
}

fn bad_texts(texts: &[String]) -> Option<String> {
    if texts.iter().any(String::is_empty) {
        return Some("every body contains an empty text".to_owned());
    }
    let count = texts.len();
    (count > MOST_TEXTS).then(|| format!("give at most {MOST_TEXTS} texts, and this is {count}"))
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
