//! The compose file format as Docker's stack loader reads it: which keys there are, since which version, and what
//! their values are.
//!
//! Every file is held against it for itself, before anything is brought to one form or merged: a value that Docker
//! refuses must not be healed by a rewrite, nor hidden by a file that comes later. The facts are those of
//! `cli/compose/schema/data` of docker/cli 28; the newest client's rules hold for every client.

mod keys;
mod text;

pub(super) use text::{has_no_word, size, words};

use std::collections::HashSet;

use serde_json::Value;

use super::canon::{Fault, fault};
use super::duration;
use super::ports;
use super::yaml::join;

/// The newest version of the format.
const NEWEST: u32 = 13;

/// What a value has to be.
#[derive(Debug)]
enum Shape {
    Null,
    Text,
    Flag,
    Number,
    /// A whole number, `2.0` included.
    Whole,
    /// A whole number that is not negative.
    Count,
    /// A text such as `1m30s`.
    Duration,
    /// A text such as `1.5G`.
    Size,
    /// A text that is split as by a shell.
    CommandLine,
    /// A number or a text such as `8080:80/udp`.
    Port,
    /// One of these texts.
    Word(&'static [&'static str]),
    /// The first of these whose kind of value it is.
    Either(&'static [Self]),
    /// What files have from this version on.
    Since(u32, &'static Self),
    List(&'static Self),
    /// A list in which nothing occurs twice.
    Set(&'static Self),
    /// Entries with names that are free.
    Map(&'static Self),
    /// Entries with the names of objects: letters, digits, `.`, `_` and `-`.
    Objects(&'static Self),
    /// These keys, those of them that are required, and no others.
    Keys(&'static [Key]),
    /// The same, and keys that begin with `x-` from a version on.
    Extensible(u32, &'static [Key]),
    /// These keys and any other.
    Open(&'static [Key]),
}

/// A key of a mapping.
#[derive(Debug)]
struct Key {
    name: &'static str,
    since: u32,
    required: bool,
    shape: Shape,
}

/// Returns the version of the format that a file says it has, as `3.x`.
///
/// # Errors
/// [`Fault`] for one that Docker does not know.
pub(super) fn version_of(document: &Value) -> Result<u32, Fault> {
    let Some(version) = document.get("version") else {
        return Ok(NEWEST);
    };
    let Some(text) = version.as_str() else {
        return fault(
            "version",
            format!("it must be a text: write `version: \"{version}\"`"),
        );
    };
    // Since docker 25, `3` is the newest of its kind.
    if text.is_empty() || text == "3" {
        return Ok(NEWEST);
    }
    match (0..=NEWEST).find(|minor| text.strip_prefix("3.") == Some(&minor.to_string())) {
        Some(minor) => Ok(minor),
        None => fault(
            "version",
            format!("docker knows no version `{text}` of compose files; the newest is 3.{NEWEST}"),
        ),
    }
}

/// Checks a file whose variables are substituted.
///
/// # Errors
/// [`Fault`] for the first value that Docker refuses.
pub(super) fn check(document: &Value) -> Result<(), Fault> {
    if !document.is_object() {
        return fault("", "the file is not a mapping");
    }
    let version = version_of(document)?;
    Check { version }.value(document, &keys::FILE, "")
}

struct Check {
    version: u32,
}

impl Check {
    fn value(&self, value: &Value, shape: &Shape, path: &str) -> Result<(), Fault> {
        if !takes(shape, value) {
            return fault(path, format!("it is not {}", name(shape)));
        }
        match shape {
            Shape::Since(since, shape) => {
                if self.version < *since {
                    return fault(
                        path,
                        format!("{} needs {}", name(shape), self.newer(*since)),
                    );
                }
                self.value(value, shape, path)
            }
            Shape::Either(shapes) => match shapes.iter().find(|shape| takes(shape, value)) {
                Some(shape) => self.value(value, shape, path),
                None => Ok(()),
            },
            Shape::List(shape) => self.items(value, shape, path),
            Shape::Set(shape) => {
                self.items(value, shape, path)?;
                let mut seen = HashSet::new();
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    if !seen.insert(item.to_string()) {
                        return fault(&format!("{path}[{index}]"), "it is in the list twice");
                    }
                }
                Ok(())
            }
            Shape::Map(shape) => self.entries(value, path, |key, value, path| {
                if key.is_empty() {
                    return fault(path, "a key is empty");
                }
                self.value(value, shape, path)
            }),
            Shape::Objects(shape) => self.entries(value, path, |key, value, path| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                if key.is_empty() || !key.chars().all(plain) {
                    return fault(
                        path,
                        format!("`{key}` is no name: only letters, digits, `.`, `_` and `-` are"),
                    );
                }
                self.value(value, shape, path)
            }),
            Shape::Keys(keys) => self.keys(value, keys, None, path),
            Shape::Extensible(since, keys) => self.keys(value, keys, Some(*since), path),
            Shape::Open(keys) => self.entries(value, path, |key, value, path| {
                match keys.iter().find(|known| known.name == key) {
                    Some(known) => self.key(known, value, path),
                    None => Ok(()),
                }
            }),
            Shape::Word(words) => match value.as_str().is_some_and(|text| words.contains(&text)) {
                true => Ok(()),
                false => fault(path, format!("it is not one of `{}`", words.join("`, `"))),
            },
            Shape::Duration => match value.as_str().and_then(duration::parse) {
                Some(_) => Ok(()),
                None => fault(path, format!("{value} is not a duration, such as `1m30s`")),
            },
            Shape::Size => match value.as_str().and_then(text::size) {
                Some(_) => Ok(()),
                None => fault(path, format!("{value} is not a size, such as `1.5G`")),
            },
            Shape::CommandLine => {
                let text = value.as_str().unwrap_or_default();
                text::words(text)
                    .map(drop)
                    .or_else(|reason| fault(path, reason))
            }
            Shape::Port => {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                ports::parse(&text)
                    .map(drop)
                    .or_else(|reason| fault(path, reason))
            }
            Shape::Null
            | Shape::Text
            | Shape::Flag
            | Shape::Number
            | Shape::Whole
            | Shape::Count => Ok(()),
        }
    }

    fn items(&self, value: &Value, shape: &Shape, path: &str) -> Result<(), Fault> {
        let items = value.as_array().into_iter().flatten().enumerate();
        for (index, item) in items {
            self.value(item, shape, &format!("{path}[{index}]"))?;
        }
        Ok(())
    }

    fn entries(
        &self,
        value: &Value,
        path: &str,
        check: impl Fn(&str, &Value, &str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let entries = value.as_object().into_iter().flatten();
        for (key, value) in entries {
            check(key, value, &join(path, key))?;
        }
        Ok(())
    }

    fn keys(
        &self,
        value: &Value,
        keys: &[Key],
        extensible: Option<u32>,
        path: &str,
    ) -> Result<(), Fault> {
        self.entries(value, path, |key, value, path| {
            if let Some(known) = keys.iter().find(|known| known.name == key) {
                return self.key(known, value, path);
            }
            match extensible.filter(|_| key.starts_with("x-")) {
                Some(since) if self.version >= since => Ok(()),
                Some(since) => fault(path, format!("`{key}` needs {}", self.newer(since))),
                None => fault(path, unknown(key, keys)),
            }
        })?;
        match keys
            .iter()
            .find(|key| key.required && value.get(key.name).is_none())
        {
            Some(key) => fault(path, format!("it has no `{}`", key.name)),
            None => Ok(()),
        }
    }

    fn key(&self, key: &Key, value: &Value, path: &str) -> Result<(), Fault> {
        if self.version < key.since {
            return fault(
                path,
                format!("`{}` needs {}", key.name, self.newer(key.since)),
            );
        }
        self.value(value, &key.shape, path)
    }

    fn newer(&self, since: u32) -> String {
        format!(
            "`version: \"3.{since}\"` or newer, and this file has 3.{}",
            self.version
        )
    }
}

/// Returns whether the value is of the kind that the shape is for.
fn takes(shape: &Shape, value: &Value) -> bool {
    let whole = |number: f64| number.fract() == 0.0;
    match shape {
        Shape::Null => value.is_null(),
        Shape::Text | Shape::Duration | Shape::Size | Shape::CommandLine | Shape::Word(_) => {
            value.is_string()
        }
        Shape::Flag => value.is_boolean(),
        Shape::Number => value.is_number(),
        Shape::Whole => value.as_f64().is_some_and(whole),
        Shape::Count => value
            .as_f64()
            .is_some_and(|number| whole(number) && number >= 0.0),
        Shape::Port => value.is_string() || value.is_i64() || value.is_u64(),
        Shape::Either(shapes) => shapes.iter().any(|shape| takes(shape, value)),
        Shape::Since(_, shape) => takes(shape, value),
        Shape::List(_) | Shape::Set(_) => value.is_array(),
        Shape::Map(_)
        | Shape::Objects(_)
        | Shape::Keys(_)
        | Shape::Extensible(..)
        | Shape::Open(_) => value.is_object(),
    }
}

/// Returns what a value of the shape is called.
fn name(shape: &Shape) -> String {
    match shape {
        Shape::Null => "nothing".to_owned(),
        Shape::Text | Shape::CommandLine | Shape::Word(_) => "a text".to_owned(),
        Shape::Size => "a size, such as `1.5G`".to_owned(),
        Shape::Duration => "a duration, such as `1m30s`".to_owned(),
        Shape::Flag => "`true` or `false`".to_owned(),
        Shape::Number => "a number".to_owned(),
        Shape::Whole => "a whole number".to_owned(),
        Shape::Count => "a whole number from 0".to_owned(),
        Shape::Port => "a port".to_owned(),
        Shape::Since(_, shape) => name(shape),
        Shape::List(_) | Shape::Set(_) => "a list".to_owned(),
        Shape::Map(_)
        | Shape::Objects(_)
        | Shape::Keys(_)
        | Shape::Extensible(..)
        | Shape::Open(_) => "a mapping".to_owned(),
        Shape::Either(shapes) => {
            let names: Vec<String> = shapes.iter().map(name).collect();
            names.join(" or ")
        }
    }
}

/// How alike a name has to be to be suggested.
const ALIKE: f64 = 0.8;

/// Returns which of `names` is meant by `name`, if one is like it.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |known: &str| strsim::jaro_winkler(known, name);
    let nearest = names.max_by(|one, other| alike(one).total_cmp(&alike(other)));
    nearest.filter(|known| alike(known) >= ALIKE)
}

fn unknown(key: &str, keys: &[Key]) -> String {
    match nearest(key, keys.iter().map(|known| known.name)) {
        Some(known) => format!("docker knows no key `{key}` here; did you mean `{known}`?"),
        None => format!("docker knows no key `{key}` here"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(document: &Value) -> String {
        let fault = check(document).unwrap_err();
        format!("{}: {}", fault.path, fault.reason)
    }

    fn service(service: Value) -> Value {
        json!({"version": "3.8", "services": {"app": service}})
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        assert_eq!(
            refusal(&service(json!({"imagee": "a"}))),
            "services.app.imagee: docker knows no key `imagee` here; did you mean `image`?"
        );
        assert_eq!(
            refusal(&service(json!({"mem_limit": "1g"}))),
            "services.app.mem_limit: docker knows no key `mem_limit` here"
        );
    }

    #[test]
    fn a_key_of_a_newer_format_is_refused_with_the_version_that_it_needs() {
        assert_eq!(
            refusal(&json!({"version": "3.6", "services": {"app": {"init": true}}})),
            "services.app.init: `init` needs `version: \"3.7\"` or newer, and this file has 3.6"
        );
        assert_eq!(
            refusal(&json!({"version": "3.1", "services": {"app": {"ports": [{"target": 80}]}}})),
            "services.app.ports[0]: a mapping needs `version: \"3.2\"` or newer, and this file has 3.1"
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused() {
        for (value, reason) in [
            (json!({"user": 1000}), "user: it is not a text"),
            (
                json!({"deploy": {"labels": {"a": true}}}),
                "deploy.labels.a: it is not a text or a number or nothing",
            ),
            (
                json!({"deploy": {"replicas": "2"}}),
                "deploy.replicas: it is not a whole number from 0",
            ),
            (
                json!({"depends_on": {"db": {}}}),
                "depends_on: it is not a list",
            ),
            (
                json!({"dns": ["1", "1"]}),
                "dns[1]: it is in the list twice",
            ),
            (
                json!({"stop_grace_period": "5"}),
                "stop_grace_period: \"5\" is not a duration, such as `1m30s`",
            ),
            (
                json!({"volumes": [{"source": "a"}]}),
                "volumes[0]: it has no `type`",
            ),
            (
                json!({"ulimits": {"a": {"soft": 1}}}),
                "ulimits.a: it has no `hard`",
            ),
        ] {
            assert_eq!(refusal(&service(value)), format!("services.app.{reason}"));
        }
    }

    #[test]
    fn versions_are_texts_that_docker_knows() {
        assert_eq!(version_of(&json!({})).unwrap(), 13);
        assert_eq!(version_of(&json!({"version": "3"})).unwrap(), 13);
        assert_eq!(version_of(&json!({"version": "3.0"})).unwrap(), 0);
        for version in [
            json!(3.8),
            json!(null),
            json!("3.99"),
            json!("2.4"),
            json!("3.08"),
            json!("3.+1"),
        ] {
            assert!(
                version_of(&json!({"version": version})).is_err(),
                "{version}"
            );
        }
    }
}
