//! Reads the JUnit file that pytest writes (`--junit-xml`).

use std::time::Duration;

use roxmltree::{Document, Node};

use super::redact::Redactor;
use super::{printable, redact};
use ground::outcome::{Failure, Status, TestOutcome};

/// How many lines of a message are kept: a traceback's last ones say what happened.
const LINES: usize = 40;

/// How many characters of one line are kept.
const LINE_LENGTH: usize = 500;

/// Why a JUnit file could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum JunitError {
    /// It is not XML, as when pytest was killed while it wrote.
    #[error("the test report is not well-formed XML")]
    Xml(#[from] roxmltree::Error),
    /// It is XML of another kind.
    #[error("the test report is not a JUnit file: its root element is `{root}`")]
    Root {
        /// The root's name.
        root: String,
    },
    /// A test has no name.
    #[error("the test report has a test without a name in line {line}")]
    Unnamed {
        /// Where.
        line: u32,
    },
}

/// Returns the tests in the JUnit file `xml`, in their order; none when none was collected, which the
/// caller judges.
///
/// An error (of a fixture, of collection) is a [`Status::Fail`] whose message says so. Secrets are
/// replaced before long messages are cut, because half a secret would not be found afterwards.
///
/// # Errors
/// [`JunitError`] when the file is no JUnit file.
pub fn parse_junit(xml: &str, redactor: &redact::Redactor) -> Result<Vec<TestOutcome>, JunitError> {
    // Document types are refused by default, and with them entities that expand without end.
    let document = Document::parse(xml)?;
    let root = document.root_element();
    if !["testsuites", "testsuite"].contains(&root.tag_name().name()) {
        return Err(JunitError::Root {
            root: root.tag_name().name().to_owned(),
        });
    }
    let cases = root
        .descendants()
        .filter(|node| node.has_tag_name("testcase"));
    cases.map(|case| test(case, redactor)).collect()
}

fn test(case: Node<'_, '_>, redactor: &Redactor) -> Result<TestOutcome, JunitError> {
    let line = || case.document().text_pos_at(case.range().start).row;
    let name = case
        .attribute("name")
        .ok_or_else(|| JunitError::Unnamed { line: line() })?;
    let name = match case.attribute("classname") {
        None | Some("") => name.to_owned(),
        Some(class) => format!("{class}::{name}"),
    };
    let child = |tag: &str| case.children().find(|node| node.has_tag_name(tag));
    let error = child("error");
    let (status, message) = if let Some(error) = error {
        (Status::Fail, Some(explanation("error", error)))
    } else if let Some(failure) = child("failure") {
        (Status::Fail, Some(explanation("failure", failure)))
    } else if let Some(skipped) = child("skipped") {
        // Its text only repeats the message behind a file name.
        (
            Status::Skip,
            Some(
                skipped
                    .attribute("message")
                    .unwrap_or("no reason given")
                    .to_owned(),
            ),
        )
    } else {
        (Status::Pass, None)
    };
    let seconds = case
        .attribute("time")
        .and_then(|time| time.parse().ok())
        .unwrap_or(0.0);
    let mut outcome = TestOutcome::ended(
        printable(&redactor.apply(&name)),
        status,
        Duration::try_from_secs_f64(seconds).unwrap_or_default(),
        message.map(|message| cut(&redactor.apply(&message))),
    );
    if error.is_some() {
        outcome.failure = Some(Failure::Error);
    }
    Ok(outcome)
}

/// Returns what a failure or an error says: the traceback, or its message without one. An error
/// begins with its message, which names the phase that failed.
fn explanation(kind: &str, node: Node<'_, '_>) -> String {
    let message = node.attribute("message").unwrap_or_default();
    let text = node.text().unwrap_or_default().trim_matches('\n');
    match (kind, message.is_empty(), text.is_empty()) {
        ("error", false, false) => format!("{text}\nerror: {message}"),
        ("error", false, true) => format!("error: {message}"),
        (_, _, false) => text.to_owned(),
        (_, false, true) => message.to_owned(),
        _ => format!("{kind} without a message"),
    }
}

/// Returns the last lines of `message`, the first of them saying how many went.
fn cut(message: &str) -> String {
    let lines: Vec<&str> = message.lines().collect();
    let dropped = if lines.len() > LINES {
        lines.len() + 1 - LINES
    } else {
        0
    };
    let mut kept: Vec<String> = Vec::with_capacity(LINES);
    if dropped > 0 {
        kept.push(format!("({dropped} lines cut)"));
    }
    kept.extend(lines[dropped..].iter().map(|line| {
        let line = printable(line);
        match line.char_indices().nth(LINE_LENGTH) {
            Some((end, _)) => format!("{}...", &line[..end]),
            None => line,
        }
    }));
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What pytest 7.2 writes, its attributes shortened.
    const REPORT: &str = r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="2" failures="1" skipped="2" tests="6" time="0.147">
<testcase classname="tests.test_notes" name="test_add" time="0.021" />
<testcase classname="tests.test_notes.TestList" name="test_order[b-a]" time="0.5"><failure message="AssertionError: assert ['b'] == ['a']">def test_order():
&gt;       assert notes() == ["a"]
E       AssertionError: assert ['b'] == ['a'] for hunter22&amp;more

tests/test_notes.py:12: AssertionError</failure></testcase>
<testcase classname="tests.test_notes" name="test_setup" time="0.001"><error message="failed on setup with &quot;OSError: refused&quot;">E   OSError: refused</error></testcase>
<testcase classname="tests.test_notes" name="test_old" time="0.000"><skipped type="pytest.skip" message="needs 2.0">/x/tests/test_notes.py:20: needs 2.0</skipped></testcase>
<testcase classname="tests.test_notes" name="test_known" time="-1"><skipped type="pytest.xfail" message="bug 7" /></testcase>
<testcase classname="" name="tests.test_broken" time="NaN"><error message="collection failure" /></testcase>
</testsuite></testsuites>"#;

    #[test]
    fn a_report_of_pytest_is_read() {
        let redactor = Redactor::default();
        redactor.add("hunter22&more");
        let tests = parse_junit(REPORT, &redactor).unwrap();
        let seen: Vec<_> = tests
            .iter()
            .map(|test| {
                (
                    test.name.as_str(),
                    test.status,
                    test.duration.as_millis(),
                    test.message.as_deref().and_then(|m| m.lines().last()),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("tests.test_notes::test_add", Status::Pass, 21, None),
                (
                    "tests.test_notes.TestList::test_order[b-a]",
                    Status::Fail,
                    500,
                    Some("tests/test_notes.py:12: AssertionError")
                ),
                (
                    "tests.test_notes::test_setup",
                    Status::Fail,
                    1,
                    Some("error: failed on setup with \"OSError: refused\"")
                ),
                (
                    "tests.test_notes::test_old",
                    Status::Skip,
                    0,
                    Some("needs 2.0")
                ),
                (
                    "tests.test_notes::test_known",
                    Status::Skip,
                    0,
                    Some("bug 7")
                ),
                (
                    "tests.test_broken",
                    Status::Fail,
                    0,
                    Some("error: collection failure")
                ),
            ]
        );
        assert!(
            tests[1]
                .message
                .as_ref()
                .unwrap()
                .contains("== ['a'] for [redacted]")
        );
    }

    #[test]
    fn none_collected_is_no_error_here() {
        let empty = r#"<testsuites><testsuite name="pytest" tests="0"/></testsuites>"#;
        assert!(parse_junit(empty, &Redactor::default()).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let said = |xml| {
            parse_junit(xml, &Redactor::default())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(said(""), "the test report is not well-formed XML");
        assert_eq!(
            said("<testsuites><testsuite>"),
            "the test report is not well-formed XML"
        );
        assert_eq!(
            said("<!DOCTYPE x [<!ENTITY a 'b'>]><testsuites>&a;</testsuites>"),
            "the test report is not well-formed XML"
        );
        assert_eq!(
            said("<html/>"),
            "the test report is not a JUnit file: its root element is `html`"
        );
        assert_eq!(
            said("<testsuite>\n<testcase/></testsuite>"),
            "the test report has a test without a name in line 2"
        );
    }

    #[test]
    fn long_messages_keep_their_end() {
        let lines: Vec<String> = (1..=100).map(|n| format!("line {n}")).collect();
        let kept = cut(&lines.join("\n"));
        assert_eq!(kept.lines().count(), LINES);
        assert!(
            kept.starts_with("(61 lines cut)\nline 62\n") && kept.ends_with("line 100"),
            "{kept}"
        );
        assert_eq!(cut(&"é".repeat(600)).chars().count(), 503);
        assert_eq!(cut(&lines[..40].join("\n")), lines[..40].join("\n"));
    }
}
