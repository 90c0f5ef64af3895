//! Every report that a test reads is held against the published schema.
//!
//! The keywords are those that the schema has; one that is not known here fails, so that nothing is passed over. Unlike
//! a reader, it takes no field that the schema does not name.

use std::sync::LazyLock;

use serde_json::{Map, Value};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../docs/results.schema.json");
    serde_json::from_str(text).expect("the schema is JSON")
});

/// Returns what the published schema of `results.json` has against a report.
pub(crate) fn faults(results: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    look(&SCHEMA, results, "", &mut faults);
    faults
}

fn look(schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let Value::Object(keywords) = schema else {
        assert_eq!(*schema, Value::Bool(true), "a schema at {at}");
        return;
    };
    let fault = |what: &str| format!("{at}: {what}: {value}");
    for (keyword, wanted) in keywords {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" => {}
            "type" => {
                let types = wanted
                    .as_array()
                    .map_or_else(|| vec![wanted], Vec::from_iter);
                if !types.iter().any(|name| is_a(value, name)) {
                    faults.push(fault(&format!("no {wanted}")));
                }
            }
            "const" if value != wanted => faults.push(fault("another constant")),
            "enum" if !list(wanted).contains(value) => faults.push(fault("no word of the list")),
            "minimum" if value.is_number() && value.as_f64() < wanted.as_f64() => {
                faults.push(fault("too small"));
            }
            "maximum" if value.is_number() && value.as_f64() > wanted.as_f64() => {
                faults.push(fault("too large"));
            }
            // What is a number and of which size, `type`, `minimum` and `maximum` say.
            "const" | "enum" | "minimum" | "maximum" | "format" => {}
            "required" => {
                let missing = list(wanted)
                    .iter()
                    .filter(|key| value.get(text(key)).is_none());
                faults.extend(missing.map(|key| fault(&format!("no {key}"))));
            }
            "properties" | "additionalProperties" => {}
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    look(wanted, item, &format!("{at}/{index}"), faults);
                }
            }
            "anyOf" | "oneOf" => {
                let fits = |one: &&Value| {
                    let mut against = Vec::new();
                    look(one, value, at, &mut against);
                    against.is_empty()
                };
                let count = list(wanted).iter().filter(fits).count();
                if count == 0 || keyword == "oneOf" && count > 1 {
                    faults.push(fault(&format!("{count} of {keyword} fit")));
                }
            }
            "$ref" => {
                let pointer = text(wanted).trim_start_matches('#');
                let target = SCHEMA
                    .pointer(pointer)
                    .expect("a reference leads somewhere");
                look(target, value, at, faults);
            }
            unknown => panic!("the keyword `{unknown}` at {at} is not known here"),
        }
    }
    fields(keywords, value, at, faults);
}

/// Looks at the fields of an object.
fn fields(schema: &Map<String, Value>, value: &Value, at: &str, faults: &mut Vec<String>) {
    let (known, more) = (schema.get("properties"), schema.get("additionalProperties"));
    if known.is_none() && more.is_none() {
        return;
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{key}");
        match known.and_then(|known| known.get(key)).or(more) {
            Some(schema) => look(schema, value, &at, faults),
            None => faults.push(format!("{at}: the schema does not have it")),
        }
    }
}

fn is_a(value: &Value, name: &Value) -> bool {
    match text(name) {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("the type `{unknown}` is not known here"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
