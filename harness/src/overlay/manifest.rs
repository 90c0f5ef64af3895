//! What a file declares, as lines for people, with the values of secrets left out.

use serde_json::Value;

use recipe::declared::file::DeclaredFile;

/// What stands in a secret's place.
const MASK: &str = "(hidden)";

/// Shorter values are words like `true`; hiding them everywhere would make reports unreadable.
const SHORTEST_SECRET: usize = 8;

/// Words that make a variable's name look like a secret's.
const SECRET_WORDS: [&str; 7] = [
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "TOKEN",
    "CREDENTIAL",
    "CREDENTIALS",
];

/// Returns whether a variable of this name probably holds a secret: SECRET, PASSWORD, TOKEN, CREDENTIAL and
/// KEY as words. `MONKEY` and `KEYCLOAK_URL` do not count.
#[must_use]
pub fn looks_secret(name: &str) -> bool {
    name.to_uppercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| {
            SECRET_WORDS.contains(&word)
                || matches!(word, "KEY" | "KEYS" | "APIKEY")
                || word.ends_with("PASSWORD")
        })
}

/// Returns a line for every value that `file` sets, in the order of the file's keys.
pub(super) fn lines(file: &DeclaredFile) -> Vec<String> {
    let value = serde_json::to_value(file).expect("a declared file is made of JSON's types");
    let mut lines = Vec::new();
    let Value::Object(top) = value else {
        return lines;
    };
    for (key, value) in &top {
        match (key.as_str(), value) {
            ("checks" | "ready", Value::Array(items)) => {
                let what = if key == "checks" {
                    "HTTP checks"
                } else {
                    "readiness probes"
                };
                lines.push(format!("{} {what}", items.len()));
            }
            // What is in them may be a password.
            ("first_run", Value::Array(items)) => {
                lines.push(format!("{} requests of a first run", items.len()));
            }
            ("data", Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    leaves(&format!("data[{index}]"), item, &mut lines);
                }
            }
            ("dependencies", Value::Array(_)) => {
                let names = file.dependencies.iter().map(|one| {
                    let required = if one.required == Some(true) {
                        " (required)"
                    } else {
                        ""
                    };
                    format!("{}{required}", one.recipe)
                });
                lines.push(format!(
                    "dependencies: {}",
                    names.collect::<Vec<_>>().join(", ")
                ));
            }
            _ => leaves(key, value, &mut lines),
        }
    }
    lines
}

fn leaves(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                leaves(&format!("{path}.{key}"), value, lines);
            }
        }
        value => {
            let name = path.rsplit('.').next().unwrap_or(path);
            let shown = match value {
                _ if is_variable(path) && looks_secret(name) => MASK.to_owned(),
                Value::String(text) => text.replace('\n', " "),
                other => other.to_string(),
            };
            lines.push(format!("{path} = {shown}"));
        }
    }
}

fn is_variable(path: &str) -> bool {
    let of_variant = path.starts_with("variants.") && path.contains(".env.");
    path.starts_with("env.") || path.starts_with("upgrade_env.") || of_variant
}

/// Returns the values of variables that look like secrets, for the redactor.
pub(super) fn secrets(file: &DeclaredFile) -> Vec<String> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for request in &file.first_run {
        let form = request.form.iter();
        fields.extend(form.map(|(name, value)| (name.clone(), value.clone())));
        texts(
            "",
            request.json.as_ref().unwrap_or(&Value::Null),
            &mut fields,
        );
    }
    let of_variants = file.variants.values().flat_map(|variant| &variant.env);
    let vars = file.env.iter().chain(&file.upgrade_env).chain(of_variants);
    let vars = vars.map(|(name, value)| (name.clone(), value.clone()));
    vars.chain(fields)
        .filter(|(name, value)| looks_secret(&apart(name)) && value.len() >= SHORTEST_SECRET)
        // What is filled in is no value yet.
        .filter(|(_, value)| !value.contains("${"))
        .map(|(_, value)| value)
        .collect()
}

/// Adds every text of a JSON value, each by the key that it is nearest to.
fn texts(name: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => fields.push((name.to_owned(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| texts(name, item, fields)),
        Value::Object(entries) => {
            for (name, value) in entries {
                texts(name, value, fields);
            }
        }
        _ => {}
    }
}

/// Returns a name with the words of `camelCase` apart.
fn apart(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut small = false;
    for c in name.chars() {
        if small && c.is_uppercase() {
            words.push('_');
        }
        small = c.is_lowercase();
        words.push(c);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use recipe::declared::read::parse;

    #[test]
    fn names_of_secrets_are_known_by_their_words() {
        for name in [
            "SECRET_KEY_BASE",
            "db_password",
            "API_TOKEN",
            "AWS_ACCESS_KEY",
            "MY_CREDENTIALS",
            "PGPASSWORD",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["MONKEY", "KEYCLOAK_URL", "TOKENIZER", "DOMAIN", "KEYBOARD"] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn a_secret_keeps_its_name_and_loses_its_value() {
        let text = "health: {path: /x}\nenv: {SECRET_KEY_BASE: abcdefgh12, COLOUR: blue, USE_TOKEN: true}\n\
                    checks: [{path: /}, {path: /a}]\n";
        let file = parse(text, "f", None).unwrap().file;
        assert_eq!(
            lines(&file),
            [
                "health.path = /x",
                "env.COLOUR = blue",
                "env.SECRET_KEY_BASE = (hidden)",
                "env.USE_TOKEN = (hidden)",
                "2 HTTP checks",
            ]
        );
        // `true` would be redacted out of every line.
        assert_eq!(secrets(&file), ["abcdefgh12"]);
    }

    #[test]
    fn no_value_of_a_first_run_is_shown_and_passwords_in_it_are_secrets() {
        let text = "first_run:\n  - {path: /install, form: {user: somebody-else, admin_password: correct-horse}}\n  \
                    - {path: /api, json: {user: {apiToken: battery-staple, name: a-long-name}}}\n  \
                    - {path: /b, form: {password: '${secret:admin}'}}\n";
        let file = parse(text, "f", None).unwrap().file;
        assert_eq!(lines(&file), ["3 requests of a first run"]);
        assert_eq!(secrets(&file), ["correct-horse", "battery-staple"]);
    }
}
