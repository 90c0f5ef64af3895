//! What the canonical form adds to a file besides its own text, counted before it is made: values that `environment`
//! takes from the variables, and ranges of ports written out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::canon::Fault;
use super::ports;
use super::yaml::join;
use crate::interpolate::Budget;

/// The most services of one project.
pub(super) const SERVICES_CEILING: usize = 200;

/// What a port takes in its long form, and in the work for it: 65,536 of them took two seconds of a core without
/// optimization. Of 8 MiB that leaves some 20,000, as many as the widest range that anything relays media on.
const PORT: usize = 400;

/// Takes away from `budget` what an interpolated `document` gets.
pub(super) fn spend(
    document: &Value,
    vars: &BTreeMap<String, String>,
    budget: &mut Budget,
) -> Result<(), Fault> {
    let Some(services) = document.get("services").and_then(Value::as_object) else {
        return Ok(());
    };
    if services.len() > SERVICES_CEILING {
        return Err(Fault {
            path: "services".to_owned(),
            reason: format!("there are more than {SERVICES_CEILING} services"),
        });
    }
    for (name, service) in services {
        let mut take = |key: &str, bytes: usize| {
            budget.spend(bytes).map_err(|error| Fault {
                path: join(&join("services", name), key),
                reason: error.to_string(),
            })
        };
        for name in looked_up(service.get("environment")) {
            take("environment", vars.get(name).map_or(0, String::len))?;
        }
        let listed = service.get("ports").and_then(Value::as_array);
        for text in listed.into_iter().flatten().filter_map(Value::as_str) {
            let pairs = ports::parse(text).map_or(0, |ports| ports.pairs.len());
            take("ports", pairs * PORT)?;
        }
    }
    Ok(())
}

/// Returns the variables of an `environment` whose values docker looks up.
fn looked_up(environment: Option<&Value>) -> Vec<&str> {
    let is_empty = |value: &Value| value.is_null() || value.as_str() == Some("");
    match environment {
        Some(Value::Object(map)) => map
            .iter()
            .filter(|(_, value)| is_empty(value))
            .map(|(name, _)| name.as_str())
            .collect(),
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(|line| line.strip_suffix('=').unwrap_or(line))
            .filter(|line| !line.contains('='))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(document: &Value) -> String {
        let vars = [("V".to_owned(), "x".repeat(64 << 10))].into();
        match spend(document, &vars, &mut Budget::default()) {
            Ok(()) => String::new(),
            Err(fault) => format!("{}: {}", fault.path, fault.reason),
        }
    }

    #[test]
    fn what_a_file_becomes_is_counted_before_it_is_made() {
        let many = |count: usize, service: &Value| {
            let services = (0..count).map(|n| (format!("s{n}"), service.clone()));
            let services: serde_json::Map<_, _> = services.collect();
            said(&json!({ "services": services }))
        };
        assert_eq!(many(100, &json!({"environment": ["V", "A=b"]})), "");
        for environment in [
            json!(["V"]),
            json!({"V": null}),
            json!({"V": ""}),
            json!(["V="]),
        ] {
            let said = many(150, &json!({ "environment": environment }));
            assert!(
                said.contains("environment: the compose files come to more than 8 MiB"),
                "{said}"
            );
        }
        assert_eq!(
            many(1, &json!({"ports": ["49152-65535:49152-65535/udp"]})),
            ""
        );
        let said = many(3, &json!({"ports": ["10000-20000"]}));
        assert!(said.contains("ports: the compose files come to"), "{said}");
        assert!(many(201, &json!({})).contains("services: there are more than 200"));
    }
}
