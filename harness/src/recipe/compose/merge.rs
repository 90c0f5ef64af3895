//! The merge of canonical files, by the rules of docker's stack loader.
//!
//! Some of them surprise, and are kept because the deploy follows them: an override's health check test is
//! appended to the first; an empty value overrides nothing (but an empty label does); an entry of `volumes`,
//! `networks`, `secrets` or `configs` replaces the earlier one as a whole. Two files that publish the same port
//! keep the later one, as docker 28 does.

use serde_json::{Map, Value, json};

use super::yaml::join;

/// Merges `over` into `base`; `warn` is told the path and the oddity.
pub(super) fn merge(base: &mut Value, over: Value, warn: &mut dyn FnMut(&str, &str)) {
    let (Value::Object(base), Value::Object(over)) = (base, over) else {
        return;
    };
    for (section, entries) in over {
        match section.as_str() {
            "services" => services(slot(base, &section), entries, warn),
            "volumes" | "networks" => top_level(slot(base, &section), entries, false),
            // Docker fills in the path of the file before it merges, so these are never empty.
            "secrets" | "configs" => top_level(slot(base, &section), entries, true),
            _ => {
                base.entry(section).or_insert(entries);
            }
        }
    }
}

fn slot<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Value {
    let slot = map.entry(key).or_insert_with(|| json!({}));
    if slot.is_null() {
        *slot = json!({});
    }
    slot
}

fn top_level(base: &mut Value, over: Value, even_empty: bool) {
    let (Value::Object(base), Value::Object(over)) = (base, over) else {
        return;
    };
    for (key, entry) in over {
        if even_empty || !is_empty(&entry) || !base.contains_key(&key) {
            base.insert(key, entry);
        }
    }
}

fn services(base: &mut Value, over: Value, warn: &mut dyn FnMut(&str, &str)) {
    let (Value::Object(base), Value::Object(over)) = (base, over) else {
        return;
    };
    for (name, service) in over {
        match (base.get_mut(&name), service) {
            (Some(Value::Object(base)), Value::Object(service)) => {
                let path = join("services", &name);
                if base.get("healthcheck").is_some_and(has_test)
                    && service.get("healthcheck").is_some_and(has_test)
                {
                    let message =
                        "two files set the test, and docker appends the second to the first";
                    warn(&join(&path, "healthcheck.test"), message);
                }
                fields(base, service);
            }
            (_, service) => {
                base.insert(name, service);
            }
        }
    }
}

fn has_test(healthcheck: &Value) -> bool {
    healthcheck.get("test").is_some_and(|test| !is_empty(test))
}

/// Merges the keys of a service, or of a mapping inside one.
fn fields(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        let Some(old) = base.get_mut(&key).filter(|old| !old.is_null()) else {
            base.insert(key, value);
            continue;
        };
        match key.as_str() {
            "ports" => keyed(old, value, "published"),
            "volumes" => keyed(old, value, "target"),
            "secrets" | "configs" => keyed(old, value, "source"),
            "command" | "entrypoint" => replace_unless_empty(old, value),
            "labels" => all_entries(old, value),
            // Counts are pointers to docker, so that 0 is a value of its own.
            "replicas" | "retries" | "max_attempts" | "parallelism" if !value.is_null() => {
                *old = value;
            }
            _ => deep(old, value),
        }
    }
}

fn deep(old: &mut Value, value: Value) {
    match (old, value) {
        (Value::Object(old), Value::Object(value)) => fields(old, value),
        (Value::Array(old), Value::Array(value)) => old.extend(value),
        (old, value) => replace_unless_empty(old, value),
    }
}

fn replace_unless_empty(old: &mut Value, value: Value) {
    if !is_empty(&value) {
        *old = value;
    }
}

fn all_entries(old: &mut Value, value: Value) {
    if let (Value::Object(old), Value::Object(value)) = (old, value) {
        old.extend(value);
    }
}

/// Merges two lists by a key of their items; the later item replaces the earlier one as a whole.
fn keyed(old: &mut Value, value: Value, key: &str) {
    let (Value::Array(old), Value::Array(value)) = (old, value) else {
        return;
    };
    for item in value {
        let id = item.get(key).cloned();
        old.retain(|earlier| earlier.get(key).cloned() != id);
        old.push(item);
    }
    // Docker sorts what it has merged.
    old.sort_by(|left, right| match (left.get(key), right.get(key)) {
        (Some(Value::String(left)), Some(Value::String(right))) => left.cmp(right),
        (left, right) => {
            let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or(0);
            number(left).cmp(&number(right))
        }
    });
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
