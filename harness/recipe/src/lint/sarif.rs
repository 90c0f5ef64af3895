//! Findings as SARIF 2.1.0, which code hosts show beside the lines.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::Lint;
use super::rules::RULES;
use crate::policy;

/// Returns the SARIF log of `lint`, of version `version` of this program.
#[must_use]
pub fn sarif(lint: &Lint, version: &str) -> Value {
    let mut rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.title },
                "fullDescription": { "text": rule.why },
                "help": { "text": rule.fix },
                "defaultConfiguration": { "level": rule.severity.name() },
            })
        })
        .collect();
    // In the order of their ids behind the others.
    let policies = policy::rules::RULES.iter().filter(|rule| rule.refuses);
    rules.extend(policies.map(|rule| {
        json!({
            "id": rule.id,
            "shortDescription": { "text": format!("a stranger may have of {}: {}", rule.keys, rule.stranger) },
            "fullDescription": { "text": rule.why },
            "help": { "text": rule.fix },
            "defaultConfiguration": { "level": "warning" },
        })
    }));
    let index = |id: &str| rules.iter().position(|rule| rule["id"] == id);
    let results: Vec<Value> = lint
        .findings
        .iter()
        .map(|found| {
            // Code hosts refuse a result without a place; a tag is shown at the top of the main file.
            let file = found.file.as_deref().unwrap_or("compose.yml");
            let mut region = json!({ "startLine": found.line.unwrap_or(1) });
            if let Some(column) = found.column {
                region["startColumn"] = column.into();
            }
            json!({
                "ruleId": found.id,
                "ruleIndex": index(&found.id),
                "level": found.severity.name(),
                "message": { "text": format!("{}. {}", found.message, found.fix) },
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": { "uri": uri(file) },
                        "region": region,
                    },
                }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "recipe-ci", "version": version, "rules": rules } },
            "results": results,
        }],
    })
}

/// Returns a relative path as a URI reference.
fn uri(path: &str) -> String {
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b'/');
    utf8_percent_encode(path, ENCODED).to_string()
}
