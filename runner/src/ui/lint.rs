//! Findings of the lint as lines for people.

use std::fmt::Write as _;

use harness::lint::{Finding, Lint};
use harness::report::printable;

/// Returns a finding in one line: `error C004 compose.yml:12 what is wrong`.
pub(crate) fn line(found: &Finding) -> String {
    let (severity, id, place) = (found.severity, &found.id, found.place());
    format!("{severity} {id} {place} {}", printable(&found.message))
}

/// Returns everything that was found, each with why and what to do, and the sum.
pub(crate) fn page(lint: &Lint) -> String {
    let mut text = String::new();
    let mut add = |line: &str| {
        writeln!(text, "{line}").expect("writing to a string succeeds");
    };
    for found in &lint.findings {
        add(&line(found));
        add(&format!("    why: {}", found.why));
        add(&format!("    fix: {}", found.fix));
    }
    if !lint.findings.is_empty() {
        add("");
    }
    for skipped in &lint.skipped {
        add(&format!(
            "skipped {}: {}",
            skipped.id,
            printable(&skipped.reason)
        ));
    }
    text + &format!("{}: {}", lint.status, lint.summary())
}

#[cfg(test)]
mod tests {
    use harness::lint::{Severity, Skipped};
    use harness::outcome::Status;

    use super::*;

    #[test]
    fn a_page_has_what_why_and_fix() {
        let lint = Lint {
            status: Status::Fail,
            reason: None,
            findings: vec![Finding {
                id: "C004".to_owned(),
                severity: Severity::Error,
                title: "durations do not come from variables".to_owned(),
                file: Some("compose.yml".to_owned()),
                line: Some(12),
                message: "`healthcheck.interval` comes from \u{1b}[31ma variable".to_owned(),
                why: "the deploy fails".to_owned(),
                fix: "write it".to_owned(),
            }],
            skipped: vec![Skipped {
                id: "R006".to_owned(),
                reason: "offline".to_owned(),
            }],
            passed: vec!["R001".to_owned()],
            abra: Vec::new(),
        };
        insta::assert_snapshot!(page(&lint), @r"
        error C004 compose.yml:12 `healthcheck.interval` comes from a variable
            why: the deploy fails
            fix: write it

        skipped R006: offline
        fail: 1 error, 0 warnings; 1 rule passed, 1 skipped
        ");
    }
}
