//! The merge of canonical files, by the rules of docker's stack loader.
//!
//! Some of them surprise, and are kept because the deploy follows them: an override's health check test is
//! appended to the first; an empty value overrides nothing (but an empty label does); an entry of `volumes`,
//! `networks`, `secrets` or `configs` replaces the earlier one as a whole. Of a service that two files name, ports of
//! one published number, mounts of one target and references to one secret or config become one, the last, even where
//! all of them are in one file.

use serde_json::{Map, Value, json};

use super::canon::{SECTIONS, is_empty};
use super::yaml::join;
use super::{duration, schema};

/// Merges `over` into `base`; `warn` is told the path and the oddity.
pub(super) fn merge(base: &mut Value, over: Value, warn: &mut dyn FnMut(&str, &str)) {
    let (Value::Object(base), Value::Object(over)) = (base, over) else {
        return;
    };
    for (section, entries) in over {
        if section == "services" {
            services(slot(base, &section), entries, warn);
        } else if SECTIONS.contains(&section.as_str()) {
            top_level(slot(base, &section), entries);
        } else {
            base.entry(section).or_insert(entries);
        }
    }
}

fn slot<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Value {
    map.entry(key).or_insert_with(|| json!({}))
}

fn top_level(base: &mut Value, over: Value) {
    if let (Value::Object(base), Value::Object(over)) = (base, over) {
        base.extend(over);
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
                // Docker makes a map of a list that the first file has, whether or not the second has one.
                let keyed = KEYED
                    .into_iter()
                    .filter(|(list, _)| base.contains_key(*list));
                let keyed: Vec<_> = keyed.collect();
                fields(base, service);
                for (list, key) in keyed {
                    if let Some(Value::Array(items)) = base.get_mut(list) {
                        keep_last(items, key);
                    }
                }
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

/// Lists of a service that Docker merges as maps, and by what.
const KEYED: [(&str, &str); 4] = [
    ("ports", "published"),
    ("volumes", "target"),
    ("secrets", "source"),
    ("configs", "source"),
];

/// Lists that one file may not repeat an item in, and two files together may.
const SETS: [&str; 13] = [
    "aliases",
    "cap_add",
    "cap_drop",
    "depends_on",
    "devices",
    "dns",
    "dns_search",
    "expose",
    "external_links",
    "extra_hosts",
    "links",
    "security_opt",
    "tmpfs",
];

/// Merges the keys of a service, or of a mapping inside one.
fn fields(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        let Some(old) = base.get_mut(&key).filter(|old| !old.is_null()) else {
            // To append nothing to no list makes none.
            if value.as_array().is_none_or(|items| !items.is_empty()) {
                base.insert(key, value);
            }
            continue;
        };
        match key.as_str() {
            "command" | "entrypoint" => {
                let is_nothing = value.as_str().is_some_and(schema::has_no_word);
                if !is_nothing {
                    replace_unless_empty(old, value);
                }
            }
            // Swarm builds nothing; put together, two would not be one of the format.
            "build" => *old = value,
            "labels" | "sysctls" | "ulimits" => all_entries(old, value),
            "environment" => environment(old, value),
            "logging" => logging(old, value),
            "networks" => attachments(old, value),
            // Counts are pointers to docker, so that 0 is a value of its own.
            "replicas" | "retries" | "max_attempts" | "parallelism" => *old = value,
            "stop_grace_period" | "interval" | "timeout" | "start_period" | "start_interval"
            | "delay" | "monitor" | "window" => {
                if !value.as_str().is_some_and(duration::is_zero) {
                    *old = value;
                }
            }
            key if SETS.contains(&key) => {
                if let (Value::Array(old), Value::Array(value)) = (old, value) {
                    for item in value {
                        if !old.contains(&item) {
                            old.push(item);
                        }
                    }
                }
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

/// Variables are pointers to docker: what is empty takes anything, and nothing empty replaces what is not.
fn environment(old: &mut Value, value: Value) {
    let (Value::Object(old), Value::Object(value)) = (old, value) else {
        return;
    };
    for (name, value) in value {
        if !is_empty(&value) || old.get(&name).is_none_or(is_empty) {
            old.insert(name, value);
        }
    }
}

/// Options are merged where the drivers are the same, but not into none.
fn logging(old: &mut Value, value: Value) {
    let driver = |logging: &Value| {
        logging
            .get("driver")
            .filter(|driver| !is_empty(driver))
            .cloned()
    };
    let (earlier, later) = (driver(old), driver(&value));
    if earlier.is_some() && later.is_some() && earlier != later {
        *old = value;
        return;
    }
    if let (None, Some(later)) = (earlier, later) {
        old["driver"] = later;
    }
    if let (Some(old), Some(options)) = (old.get_mut("options"), value.get("options")) {
        all_entries(old, options.clone());
    }
}

/// Aliases are replaced, even by none; the options of the first file stay.
fn attachments(old: &mut Value, value: Value) {
    let (Value::Object(old), Value::Object(value)) = (old, value) else {
        return;
    };
    for (name, attachment) in value {
        match (old.get_mut(&name), attachment) {
            (Some(Value::Object(old)), Value::Object(mut attachment)) => {
                match attachment.remove("aliases") {
                    Some(aliases) => old.insert("aliases".to_owned(), aliases),
                    None => old.remove("aliases"),
                };
                for key in ["ipv4_address", "ipv6_address"] {
                    if let Some(address) = attachment.remove(key).filter(|text| !is_empty(text)) {
                        old.insert(key.to_owned(), address);
                    }
                }
            }
            (Some(Value::Object(_)), _) => {}
            (_, attachment) => {
                old.insert(name, attachment);
            }
        }
    }
}

/// Keeps of items with the same value of `key` the last, and sorts by it, as Docker does.
fn keep_last(items: &mut Vec<Value>, key: &str) {
    let id = |item: &Value| match item.get(key) {
        Some(Value::String(text)) => (0, text.clone()),
        Some(Value::Number(number)) => (number.as_u64().unwrap_or(0), String::new()),
        _ => (0, String::new()),
    };
    let mut kept: Vec<Value> = Vec::new();
    for item in std::mem::take(items) {
        kept.retain(|earlier| id(earlier) != id(&item));
        kept.push(item);
    }
    kept.sort_by_key(id);
    *items = kept;
}
