//! The lint as GitLab's Code Quality report: <https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format>.

use std::collections::HashSet;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::finding::{Lint, Severity};

/// Returns the findings as GitLab reads them: each with a fingerprint that no other has and that a moved line keeps.
#[must_use]
pub fn gitlab(lint: &Lint) -> Value {
    let mut known = HashSet::new();
    let issues = lint.findings.iter().map(|found| {
        // GitLab refuses an issue without a place; a tag is shown at the top of the main file.
        let file = found.file.as_deref().unwrap_or("compose.yml");
        let mut print = fingerprint(&[&found.id, file, &found.message]);
        while !known.insert(print.clone()) {
            print = fingerprint(&[&print]);
        }
        json!({
            "description": format!("{}. {}", found.message, found.fix),
            "check_name": found.id,
            "fingerprint": print,
            "severity": match found.severity {
                Severity::Error => "major",
                Severity::Warning => "minor",
            },
            "location": { "path": file, "lines": { "begin": found.line.unwrap_or(1) } },
        })
    });
    Value::Array(issues.collect())
}

fn fingerprint(parts: &[&str]) -> String {
    hex::encode(Sha256::digest(parts.join("\0")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::Finding;

    #[test]
    fn every_issue_has_a_fingerprint_of_its_own_that_a_moved_line_keeps() {
        let at = |line| Finding {
            id: "C001".to_owned(),
            severity: Severity::Warning,
            title: String::new(),
            file: Some("compose.yml".to_owned()),
            line,
            column: None,
            source: None,
            message: "image `a:1` names a line of versions".to_owned(),
            why: String::new(),
            fix: "use the full version".to_owned(),
        };
        let of = |findings: Vec<Finding>| {
            gitlab(&Lint {
                findings,
                ..Lint::default()
            })
        };
        let all = of(vec![
            at(Some(5)),
            at(Some(9)),
            Finding {
                file: None,
                ..at(None)
            },
        ]);
        let prints: HashSet<&str> = (0..3)
            .map(|n| all[n]["fingerprint"].as_str().unwrap())
            .collect();
        assert_eq!(prints.len(), 3);
        assert_eq!(
            of(vec![at(Some(7))])[0]["fingerprint"],
            all[0]["fingerprint"]
        );
        assert_eq!(all[0]["severity"], "minor");
        assert_eq!(all[0]["location"]["lines"]["begin"], 5);
        assert_eq!(all[2]["location"]["path"], "compose.yml");
        assert_eq!(all[2]["location"]["lines"]["begin"], 1);
    }
}
