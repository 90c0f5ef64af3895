//! A variable as a file sets it.

use schemars::JsonSchema;

/// Variables that the harness sets itself.
const OWN_VARIABLES: [&str; 4] = ["DOMAIN", "TYPE", "STACK_NAME", "RECIPE"];

/// A value of a variable, for the schema: YAML need not quote numbers and booleans.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum Scalar {
    Text(String),
    Number(f64),
    Flag(bool),
}

/// Returns why `name` cannot be that of a variable which a file sets.
pub(super) fn bad_variable(name: &str) -> Option<String> {
    if OWN_VARIABLES.contains(&name) {
        return Some("recipe-ci sets this variable itself".to_owned());
    }
    let plain = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (!plain).then(|| format!("`{name}` is no name of a variable"))
}
