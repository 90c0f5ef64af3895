//! From the predecessor's `recipe_meta.py` to `recipe-ci.yml`.
//!
//! The file is never executed: [`python`] reads assignments of plain values, and everything else is listed
//! with its line, for a person to translate.

mod python;

use std::collections::BTreeMap;

use crate::declared::file::{DeclaredFile, Dependency, Probe};
use crate::declared::read::{DeclaredError, PREDECESSORS, parse};
use python::{Statement, Value};

/// Why nothing could be translated.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is no Python, as far as it was read.
    #[error("{file}:{line}: {reason}")]
    Syntax {
        /// Which file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// What came of it is no good `recipe-ci.yml`.
    #[error("the translation is not usable: {0}")]
    Unusable(#[source] DeclaredError),
}

/// What was translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The text of `recipe-ci.yml`.
    pub text: String,
    /// What was not, by its line.
    pub left: Vec<(usize, String)>,
}

/// Translates the text of a `recipe_meta.py`; `file` is what errors call it.
///
/// # Errors
/// [`ImportError`].
pub fn import(text: &str, file: &str) -> Result<Imported, ImportError> {
    let statements = python::read(text).map_err(|(line, reason)| ImportError::Syntax {
        file: file.to_owned(),
        line,
        reason,
    })?;
    let mut declared = DeclaredFile::default();
    let mut left = Vec::new();
    for statement in statements {
        match statement {
            Statement::Assigned { name, .. } if name.starts_with('_') => {}
            Statement::Assigned { line, name, value } => {
                if let Err(why) = take(&mut declared, &name, value) {
                    left.push((line, format!("{name}: {why}")));
                }
            }
            Statement::Other { line, what } => {
                let key = PREDECESSORS.iter().find(|(name, _)| {
                    what.split(|c: char| !c.is_alphanumeric() && c != '_')
                        .any(|word| word == *name)
                });
                let advice = match key {
                    Some((name, _)) => format!(" ({})", instead(name)),
                    None => String::new(),
                };
                left.push((line, format!("{what}{advice}")));
            }
        }
    }
    let body = if declared == DeclaredFile::default() {
        String::new()
    } else {
        serde_yaml::to_string(&declared).expect("a declared file is made of YAML's types")
    };
    let mut out = format!("# From {file} of the predecessor.\n");
    for (line, what) in &left {
        let what = what.replace('\n', " ");
        out.push_str(&format!("# Not translated, line {line}: {what}\n"));
    }
    out.push_str(&body);
    // What is written must be what would be read, 404 among the statuses included.
    let read = parse(&out, "recipe-ci.yml", None).map_err(ImportError::Unusable)?;
    debug_assert_eq!(read.file, declared);
    Ok(Imported { text: out, left })
}

/// Says what takes the place of something that is code.
fn instead(name: &str) -> &'static str {
    match name {
        "READY_PROBE" => "write the probes under `ready`",
        "BACKUP_VERIFY" => "write the check as a command under `backup.verify`",
        "EXTRA_ENV" | "UPGRADE_EXTRA_ENV" => "`${DOMAIN}` in a value is the app's domain",
        "SCREENSHOT" => "there are no screenshots",
        _ => "write the value out",
    }
}

fn take(declared: &mut DeclaredFile, name: &str, value: Value) -> Result<(), String> {
    match name {
        "HEALTH_PATH" => declared.health.path = Some(text(value)?),
        "HEALTH_OK" => {
            let statuses: Result<Vec<u16>, String> = list(value)?.into_iter().map(number).collect();
            declared.health.statuses = Some(statuses?);
        }
        "DEPLOY_TIMEOUT" => declared.timeouts.deploy = Some(number(value)?),
        "HTTP_TIMEOUT" => declared.timeouts.http = Some(number(value)?),
        "EXTRA_ENV" => declared.env = variables(value)?,
        "UPGRADE_EXTRA_ENV" => declared.upgrade_env = variables(value)?,
        "READY_PROBE" => {
            let probes: Result<Vec<Probe>, String> = list(value)?.into_iter().map(probe).collect();
            declared.ready = probes?;
        }
        "BACKUP_CAPABLE" => declared.backup.capable = optional(value, flag)?,
        "DEPS" => {
            let names: Result<Vec<String>, String> = list(value)?.into_iter().map(text).collect();
            // The predecessor failed a run whose dependency was not verified.
            let required = |recipe| Dependency {
                recipe,
                required: Some(true),
            };
            declared.dependencies = names?.into_iter().map(required).collect();
        }
        "WARM_CANONICAL" => declared.canonical = Some(flag(value)?),
        "UPGRADE_BASE_VERSION" => declared.base = optional(value, text)?,
        "EXPECTED_NA" => {
            let Value::Dict(pairs) = value else {
                return Err("it is not a dictionary".to_owned());
            };
            for (rung, reason) in pairs {
                let reason = text(reason)?;
                let na = &mut declared.expected_na;
                match rung.as_str() {
                    "upgrade" => na.upgrade = Some(reason),
                    "backup" | "restore" | "backup_restore" => na.backup_restore = Some(reason),
                    "functional" | "custom" => na.custom = Some(reason),
                    _ => return Err(format!("the rung `{rung}` always applies here: {reason}")),
                }
            }
        }
        "BACKUP_VERIFY" | "SCREENSHOT" => match value {
            Value::None => {}
            _ => return Err(instead(name).to_owned()),
        },
        name if name.to_uppercase() == name => {
            return Err("recipe-ci has no such setting".to_owned());
        }
        _ => return Err("it is no setting".to_owned()),
    }
    Ok(())
}

fn optional<T>(
    value: Value,
    read: impl Fn(Value) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match value {
        Value::None => Ok(None),
        value => read(value).map(Some),
    }
}

fn text(value: Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err("it is not a string".to_owned()),
    }
}

fn flag(value: Value) -> Result<bool, String> {
    match value {
        Value::Flag(flag) => Ok(flag),
        _ => Err("it is neither True nor False".to_owned()),
    }
}

fn number<T: TryFrom<i64>>(value: Value) -> Result<T, String> {
    match value {
        Value::Integer(number) => {
            T::try_from(number).map_err(|_| format!("{number} is out of range"))
        }
        _ => Err("it is not a whole number".to_owned()),
    }
}

fn list(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::List(items) => Ok(items),
        _ => Err("it is neither a list nor a tuple".to_owned()),
    }
}

fn variables(value: Value) -> Result<BTreeMap<String, String>, String> {
    let Value::Dict(pairs) = value else {
        return Err("it is not a dictionary".to_owned());
    };
    pairs
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Text(text) => text,
                Value::Integer(number) => number.to_string(),
                Value::Float(number) => number,
                // The predecessor wrote Python's str(); its users wrote them as strings.
                Value::Flag(true) => "true".to_owned(),
                Value::Flag(false) => "false".to_owned(),
                _ => return Err(format!("the value of {name} is not plain")),
            };
            Ok((name, value))
        })
        .collect()
}

fn probe(value: Value) -> Result<Probe, String> {
    let Value::Dict(pairs) = value else {
        return Err("a probe is not a dictionary".to_owned());
    };
    let mut probe = Probe::default();
    for (key, value) in pairs {
        match key.as_str() {
            "tcp_port" => probe.tcp = Some(number(value)?),
            "stable" => probe.stable = Some(number(value)?),
            "path" => probe.http = Some(text(value)?),
            "ok" => {
                let statuses: Result<Vec<u16>, String> =
                    list(value)?.into_iter().map(number).collect();
                probe.statuses = Some(statuses?);
            }
            // The container is asked itself, so there is no host to name.
            "tcp_host" => {}
            _ => return Err(format!("a probe has `{key}`")),
        }
    }
    Ok(probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: &str = r#""""Settings of the recipe."""
import os
from x import y

_KEY = "a" * 64
_PORT = 64738
HEALTH_PATH = "/api/health"  # asked first
HEALTH_OK = (200, 302,)
DEPLOY_TIMEOUT: int = 2_400
HTTP_TIMEOUT = 900
EXTRA_ENV = {
    "COLOUR": 'bl' "ue",
    "LIMIT": 5,
    "ON": True,
    # a comment
    "LONG": """two
lines""",
}
READY_PROBE = [{"tcp_host": "127.0.0.1", "tcp_port": _PORT, "stable": 3}]
BACKUP_CAPABLE = None
DEPS = ["keycloak"]
WARM_CANONICAL = True
EXPECTED_NA = {"functional": "no tests yet"}

def UPGRADE_EXTRA_ENV(ctx):
    return {"COMPOSE_FILE": "x"}

def BACKUP_VERIFY(ctx):
    if True:

        return check(ctx)

SIDE = f"side.{os.name}"
HTTP_TIMEOUTS = 5
"#;

    #[test]
    fn plain_values_are_translated_and_the_rest_is_listed() {
        let imported = import(META, "recipe_meta.py").unwrap();
        let file = parse(&imported.text, "f", None).unwrap().file;
        assert_eq!(file.health.path.as_deref(), Some("/api/health"));
        assert_eq!(file.health.statuses, Some(vec![200, 302]));
        assert_eq!(
            (file.timeouts.deploy, file.timeouts.http),
            (Some(2400), Some(900))
        );
        let env: Vec<String> = file.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(env.join(" "), "COLOUR=blue LIMIT=5 LONG=two\nlines ON=true");
        assert_eq!(
            (file.ready[0].tcp, file.ready[0].stable),
            (Some(64738), Some(3))
        );
        assert_eq!(
            (file.dependencies[0].recipe.as_str(), file.canonical),
            ("keycloak", Some(true))
        );
        assert_eq!(file.expected_na.custom.as_deref(), Some("no tests yet"));
        let left: Vec<String> = imported
            .left
            .iter()
            .map(|(line, what)| format!("{line}: {what}"))
            .collect();
        assert_eq!(
            left,
            [
                "2: import os",
                "3: from x import y",
                "5: _KEY = \"a\" * 64",
                "25: def UPGRADE_EXTRA_ENV(ctx): (`${DOMAIN}` in a value is the app's domain)",
                "28: def BACKUP_VERIFY(ctx): (write the check as a command under `backup.verify`)",
                "33: SIDE = f\"side.{os.name}\"",
                "34: HTTP_TIMEOUTS: recipe-ci has no such setting",
            ]
        );
        assert!(
            imported.text.contains("# Not translated, line 28: "),
            "{}",
            imported.text
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("X = [1,\n", "f.py:1: "),
            ("HEALTH_PATH = 'x\n", "f.py:1: "),
            ("HEALTH_OK = [200, 404]\n", "404 is what a gateway"),
        ] {
            let error = import(text, "f.py").unwrap_err();
            let text = crate::error::chain(&error);
            assert!(text.contains(words), "{text}");
        }
        let left = import("DEPLOY_TIMEOUT = 'soon'\n", "f").unwrap().left;
        assert_eq!(
            left,
            [(1, "DEPLOY_TIMEOUT: it is not a whole number".to_owned())]
        );
        assert_eq!(import("", "f").unwrap().left, []);
    }
}
