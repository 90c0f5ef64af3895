//! Whether every value is of the type that the published schema gives its key.
//!
//! The reader that knows the types says what it expected in its own words (`expected sequence start`), and takes
//! `"true"` for true and `true` for a reason. An editor that has the schema refuses both, and so does this.

use serde_json::Value;

use crate::compose::yaml::join;

/// How much of a text is shown.
const SHOWN: usize = 40;

/// Returns the first value of `document` that is not as `schema` wants it, by its path, and what is wrong with it.
///
/// Unknown keys are left to the reader, which knows the nearest right ones.
pub(super) fn fault(schema: &Value, document: &Value) -> Option<(String, String)> {
    Types { root: schema }.fault(schema, document, "")
}

struct Types<'a> {
    root: &'a Value,
}

impl<'a> Types<'a> {
    fn fault(&self, schema: &'a Value, value: &Value, path: &str) -> Option<(String, String)> {
        let forms = self.forms(schema);
        let Some(schema) = forms.iter().find(|form| admits(form, value)) else {
            return Some((path.to_owned(), unlike(&forms, value)));
        };
        match value {
            Value::Number(_) => bad_number(schema, value).map(|reason| (path.to_owned(), reason)),
            Value::Array(items) => {
                let schema = schema.get("items")?;
                items
                    .iter()
                    .enumerate()
                    .find_map(|(index, item)| self.fault(schema, item, &format!("{path}[{index}]")))
            }
            Value::Object(entries) => {
                let required = schema["required"].as_array().into_iter().flatten();
                let missing = required
                    .filter_map(Value::as_str)
                    .find(|key| !entries.contains_key(*key));
                if let Some(key) = missing {
                    return Some((path.to_owned(), format!("`{key}` is missing")));
                }
                entries.iter().find_map(|(key, value)| {
                    let schema = schema["properties"]
                        .get(key)
                        .or_else(|| schema.get("additionalProperties"))
                        .filter(|schema| schema.is_object())?;
                    self.fault(schema, value, &join(path, key))
                })
            }
            _ => None,
        }
    }

    /// Returns the forms that a value may have, with every reference followed.
    fn forms(&self, schema: &'a Value) -> Vec<&'a Value> {
        if let Some(forms) = schema["anyOf"].as_array() {
            return forms.iter().flat_map(|form| self.forms(form)).collect();
        }
        let named = schema["$ref"]
            .as_str()
            .and_then(|path| path.strip_prefix("#/$defs/"))
            .and_then(|name| self.root["$defs"].get(name));
        named.map_or_else(|| vec![schema], |schema| self.forms(schema))
    }
}

/// Returns the types of a form; one that names none admits everything.
fn types(form: &Value) -> Vec<&str> {
    match &form["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn admits(form: &Value, value: &Value) -> bool {
    let types = types(form);
    types.is_empty()
        || types.iter().any(|name| match *name {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        })
}

fn unlike(forms: &[&Value], value: &Value) -> String {
    let mut types: Vec<&str> = forms.iter().flat_map(|form| types(form)).collect();
    types.retain(|name| *name != "null");
    let wanted: Vec<&str> = types
        .iter()
        .map(|name| match *name {
            "boolean" => "true or false",
            "integer" => "a whole number",
            "number" => "a number",
            "string" => "a text",
            "array" => "a list",
            "object" => "a mapping",
            other => other,
        })
        .collect();
    let unquoted = value.is_boolean() || value.is_number();
    let quotes = if unquoted && types.contains(&"string") {
        "; put it in quotes"
    } else {
        ""
    };
    format!(
        "give {}, and this is {}{quotes}",
        wanted.join(" or "),
        shown(value)
    )
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(text) if text.chars().count() > SHOWN || text.contains('\n') => {
            "a text".to_owned()
        }
        Value::String(text) => format!("the text `{text}`"),
    }
}

/// Returns what is wrong with a number that is out of the range of `schema`.
fn bad_number(schema: &Value, value: &Value) -> Option<String> {
    let number = value.as_i64()?;
    let ports = (schema["format"] == "uint16").then_some(i64::from(u16::MAX));
    let (least, most) = (
        schema["minimum"].as_i64(),
        schema["maximum"].as_i64().or(ports),
    );
    let inside =
        least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
    match (least, most) {
        _ if inside => None,
        (Some(least), Some(most)) => Some(format!("give a whole number from {least} to {most}")),
        _ => Some(format!("`{number}` is out of range")),
    }
}
