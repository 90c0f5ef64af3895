//! Findings of the lint as lines for people.

use std::fmt::Write as _;

use harness::excerpt::{self, Fault};
use harness::lint::{Finding, Lint, Severity};
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
        add(&excerpt(found));
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

/// Returns a finding beside the line that it is about, with why and what to do.
fn excerpt(found: &Finding) -> String {
    let (message, place) = (printable(&found.message), found.place());
    Fault {
        severity: match found.severity {
            Severity::Error => excerpt::Severity::Error,
            Severity::Warning => excerpt::Severity::Warning,
        },
        id: &found.id,
        message: &message,
        file: found.file.as_deref().unwrap_or(&place),
        line: found.line,
        column: found.column,
        source: found.source.as_deref(),
        notes: &[("why", &found.why), ("fix", &found.fix)],
    }
    .render(true)
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
    use harness::lint::Skipped;
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
                column: Some(17),
                source: Some("      interval: ${EVERY}\u{202e}".to_owned()),
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
        let page = anstream::adapter::strip_str(&page(&lint)).to_string();
        insta::assert_snapshot!(page, @r"
        error[C004]: `healthcheck.interval` comes from a variable
          --> compose.yml:12:17
           |
        12 |       interval: ${EVERY}�
           |                 ^^^^^^^^^
           |
           = why: the deploy fails
           = fix: write it

        skipped C012, T011: dirty
        skipped C001: see C015
        fail: 1 error, 0 warnings; 1 rule passed, 3 skipped
        ");
    }
}
