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
    for (reason, ids) in skipped(lint) {
        add(&format!(
            "skipped {}: {}",
            ids.join(", "),
            printable(reason)
        ));
    }
    text + &format!("{}: {}", lint.status, lint.summary())
}

/// Returns every reason for which rules are skipped, in the order of the first of them, with their ids.
fn skipped(lint: &Lint) -> Vec<(&str, Vec<&str>)> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for one in &lint.skipped {
        match reasons.iter_mut().find(|(reason, _)| *reason == one.reason) {
            Some((_, ids)) => ids.push(&one.id),
            None => reasons.push((&one.reason, vec![&one.id])),
        }
    }
    reasons
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
            // One unreadable file has many rules skipped for one reason.
            skipped: [("C012", "dirty"), ("C001", "see C015"), ("T011", "dirty")]
                .map(|(id, reason)| Skipped {
                    id: id.to_owned(),
                    reason: reason.to_owned(),
                })
                .into(),
            passed: vec!["R001".to_owned()],
        };
        insta::assert_snapshot!(page(&lint), @r"
        error C004 compose.yml:12 `healthcheck.interval` comes from a variable
            why: the deploy fails
            fix: write it

        skipped C012, T011: dirty
        skipped C001: see C015
        fail: 1 error, 0 warnings; 1 rule passed, 3 skipped
        ");
    }
}
