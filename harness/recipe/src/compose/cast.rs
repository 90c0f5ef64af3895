//! Types of values that interpolation made: `replicas: ${N}` is a number for Docker, `replicas: "2"` is not.
//!
//! The list is Docker's: `interpolateTypeCastMapping` in `cli/compose/loader/interpolate.go`.

use serde_json::Value;

/// What Docker makes of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Float,
    Bool,
}

/// How the paths of values end that get a type, below the section that comes first. `[]` stands for any index and
/// `*` for any key.
const CASTS: [(&str, &str, Type); 28] = [
    ("services", ".configs[].mode", Type::Int),
    ("services", ".secrets[].mode", Type::Int),
    ("services", ".healthcheck.retries", Type::Int),
    ("services", ".healthcheck.disable", Type::Bool),
    ("services", ".deploy.replicas", Type::Int),
    ("services", ".deploy.update_config.parallelism", Type::Int),
    (
        "services",
        ".deploy.update_config.max_failure_ratio",
        Type::Float,
    ),
    ("services", ".deploy.rollback_config.parallelism", Type::Int),
    (
        "services",
        ".deploy.rollback_config.max_failure_ratio",
        Type::Float,
    ),
    ("services", ".deploy.restart_policy.max_attempts", Type::Int),
    (
        "services",
        ".deploy.placement.max_replicas_per_node",
        Type::Int,
    ),
    ("services", ".ports[].target", Type::Int),
    ("services", ".ports[].published", Type::Int),
    ("services", ".ulimits.*", Type::Int),
    ("services", ".ulimits.*.hard", Type::Int),
    ("services", ".ulimits.*.soft", Type::Int),
    ("services", ".privileged", Type::Bool),
    ("services", ".read_only", Type::Bool),
    ("services", ".stdin_open", Type::Bool),
    ("services", ".tty", Type::Bool),
    ("services", ".volumes[].read_only", Type::Bool),
    ("services", ".volumes[].volume.nocopy", Type::Bool),
    ("networks", ".external", Type::Bool),
    ("networks", ".internal", Type::Bool),
    ("networks", ".attachable", Type::Bool),
    ("volumes", ".external", Type::Bool),
    ("secrets", ".external", Type::Bool),
    ("configs", ".external", Type::Bool),
];

/// Returns `text`, which interpolation made at `path`, as the type that Docker gives it there.
///
/// # Errors
/// What is wrong with a text that is not of that type.
pub(super) fn cast(path: &str, text: String) -> Result<Value, String> {
    let Some(kind) = type_of(path) else {
        return Ok(Value::String(text));
    };
    match kind {
        Type::Int => text
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| format!("`{text}` is not a whole number")),
        Type::Float => text
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| format!("`{text}` is not a number")),
        Type::Bool => match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "true" | "on" => Ok(true.into()),
            "n" | "no" | "false" | "off" => Ok(false.into()),
            _ => Err(format!("`{text}` is not a boolean")),
        },
    }
}

fn type_of(path: &str) -> Option<Type> {
    let (section, rest) = path.split_once('.')?;
    CASTS
        .iter()
        .find(|(of, end, _)| *of == section && matches(rest, end))
        .map(|(_, _, kind)| *kind)
}

/// Returns whether `rest`, the name of an object and the keys below it, ends with `end` and has a name before it.
fn matches(rest: &str, end: &str) -> bool {
    let keys = |text: &str| -> Vec<String> {
        let text = text.replace('[', ".[");
        text.split('.')
            .map(|key| {
                if key.starts_with('[') {
                    "[]".to_owned()
                } else {
                    key.to_owned()
                }
            })
            .collect()
    };
    let (rest, end) = (keys(rest), keys(end.trim_start_matches('.')));
    // One key is the object's name.
    rest.len() == end.len() + 1
        && rest[1..]
            .iter()
            .zip(&end)
            .all(|(key, wanted)| wanted == "*" || key == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_that_a_variable_made_is_a_number_where_docker_takes_one() {
        for (path, text, expected) in [
            ("services.app.deploy.replicas", "2", json!(2)),
            ("services.app.ports[3].published", "8080", json!(8080)),
            ("services.app.ulimits.nofile.soft", "9", json!(9)),
            ("services.app.ulimits.nproc", "9", json!(9)),
            ("services.app.read_only", "yes", json!(true)),
            ("volumes.data.external", "true", json!(true)),
            ("services.app.image", "2", json!("2")),
            ("services.app.environment.replicas", "2", json!("2")),
            ("volumes.replicas", "2", json!("2")),
        ] {
            assert_eq!(cast(path, text.to_owned()), Ok(expected), "{path}");
        }
        let error = cast("services.app.deploy.replicas", "two".to_owned());
        assert_eq!(error, Err("`two` is not a whole number".to_owned()));
    }
}
