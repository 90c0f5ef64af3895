use std::collections::HashSet;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus};
use serde_json::json;

use super::*;
use crate::event::Event;
use crate::report::recorder::Recorder;
use crate::report::redact::Redactor;
use crate::report::results::Output;
use ground::outcome::{Residual, Stage, Status, TestOutcome, TierOutcome, Verdict};

/// What a hostile recipe calls things.
const HOSTILE: &str = "</pre><script>alert(1)</script>\u{1b}[31m\u{202e}`|@everyone ]]> & \"";

fn test(name: &str, status: Status, message: Option<&str>) -> TestOutcome {
    let took = Duration::from_millis(1200);
    TestOutcome::ended(name, status, took, message.map(str::to_owned))
}

fn tier(stage: Stage, status: Status, reason: Option<&str>, tests: Vec<TestOutcome>) -> Event {
    Event::TierFinished(TierOutcome {
        stage,
        status,
        reason: reason.map(str::to_owned),
        duration: Duration::from_secs(2),
        tests,
        blames_recipe: status == Status::Fail
            || status == Status::Unver && reason != Some("not asked for"),
    })
}

/// Returns the results that `events` add up to.
fn results(verdict: Verdict, events: &[Event]) -> Results {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(dir.path().join("results.json"), Redactor::default());
    events.iter().for_each(|event| recorder.observe(event));
    Results {
        recipe: "notes".to_owned(),
        repeat: "recipe-ci run notes".to_owned(),
        verdict,
        ..recorder.results()
    }
}

/// A run whose upgrade lost data, with two tests of one name, and a hostile log.
fn red() -> Results {
    let serving = || test("generic: serving", Status::Pass, None);
    let lost = test(
        "generic: data",
        Status::Fail,
        Some("the marker is gone\nfrom `data`"),
    );
    results(
        Verdict::Failed,
        &[
            Event::TierStarted(Stage::Install),
            tier(
                Stage::Install,
                Status::Pass,
                None,
                vec![serving(), serving()],
            ),
            Event::TierStarted(Stage::Upgrade),
            Event::FailureOutput {
                title: "log of service `app`".to_owned(),
                lines: vec!["panic: disk".to_owned(), HOSTILE.to_owned()],
                log: None,
            },
            tier(
                Stage::Upgrade,
                Status::Fail,
                Some("data is lost"),
                vec![serving(), lost],
            ),
            tier(
                Stage::Backup,
                Status::Unver,
                Some("the upgrade failed"),
                Vec::new(),
            ),
            tier(
                Stage::Restore,
                Status::Skip,
                Some("no backup label"),
                Vec::new(),
            ),
            tier(
                Stage::Custom,
                Status::Unver,
                Some("not asked for"),
                Vec::new(),
            ),
            Event::TeardownFinished {
                residual: Residual::default(),
            },
        ],
    )
}

fn read_back(results: &Results) -> Report {
    Report::deserialize_from_str(&Form::Junit.of(results)).unwrap()
}

/// Returns the case of this suite and name.
fn case<'a>(report: &'a Report, suite: &str, name: &str) -> &'a TestCase {
    let mut suites = report.test_suites.iter();
    let suite = suites.find(|one| one.name.as_str() == suite).unwrap();
    let mut cases = suite.test_cases.iter();
    cases.find(|one| one.name.as_str() == name).unwrap()
}

/// Returns the kind and the text of a case that did not succeed.
fn failure(case: &TestCase) -> (NonSuccessKind, &str) {
    match &case.status {
        TestCaseStatus::NonSuccess {
            kind, description, ..
        } => (*kind, description.as_ref().map_or("", |text| text.as_str())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_test_view_has_every_test_once_and_the_cause_of_what_failed_in_its_text() {
    let report = read_back(&red());
    let (kind, text) = failure(case(&report, "upgrade", "generic: data"));
    assert_eq!(kind, NonSuccessKind::Failure);
    for word in [
        "the marker is gone",
        "from `data`",
        "log of service `app`",
        "panic: disk",
        "recipe-ci run notes",
    ] {
        assert!(text.contains(word), "{text}");
    }
    let mut names = HashSet::new();
    for suite in &report.test_suites {
        for one in &suite.test_cases {
            let class = one.classname.as_ref().unwrap().as_str();
            assert_eq!(class, format!("notes.{}", suite.name.as_str()));
            assert!(
                names.insert((class.to_owned(), one.name.to_string())),
                "{one:?}"
            );
        }
    }
    let suites: Vec<&str> = report
        .test_suites
        .iter()
        .map(|suite| suite.name.as_str())
        .collect();
    assert_eq!(suites, ["install", "upgrade", "backup", "restore", "run"]);
    // What could not be verified is why the run is not green; what does not apply is not.
    assert_eq!(
        failure(case(&report, "backup", "backup")).0,
        NonSuccessKind::Error
    );
    let skipped = &case(&report, "restore", "restore").status;
    assert!(
        matches!(skipped, TestCaseStatus::Skipped { .. }),
        "{skipped:?}"
    );
    // A tier is no second failure beside its test, nor is the run.
    assert_eq!(report.test_suites[1].test_cases.len(), 2);
    for name in ["verdict", "teardown"] {
        let status = &case(&report, "run", name).status;
        assert!(
            matches!(status, TestCaseStatus::Success { .. }),
            "{status:?}"
        );
    }
}

#[test]
fn what_is_the_hosts_fault_is_an_error_and_no_failure_of_a_test() {
    for verdict in [
        Verdict::Infra,
        Verdict::Orphaned,
        Verdict::Cancelled,
        Verdict::Deadline,
    ] {
        let mut killed = results(verdict, &[Event::TierStarted(Stage::Install)]);
        killed.reason = Some("the engine is gone".to_owned());
        killed.settle_tiers("the worker was killed");
        let report = read_back(&killed);
        let (kind, text) = failure(case(&report, "run", "verdict"));
        assert_eq!(kind, NonSuccessKind::Error, "{verdict}");
        assert!(text.contains("the engine is gone"), "{text}");
        assert_eq!(killed.badge_json()["color"], "lightgrey");
        assert_eq!(report.failures, 0, "{verdict}");
    }
    let mut left = results(Verdict::Failed, &[]);
    left.teardown.clean = Some(false);
    left.teardown
        .residual
        .add("volumes", vec!["x_data".to_owned()]);
    let report = read_back(&left);
    assert_eq!(
        failure(case(&report, "run", "teardown")).1,
        "volumes: x_data"
    );
    // Nothing else says why it is red.
    assert_eq!(
        failure(case(&report, "run", "verdict")).0,
        NonSuccessKind::Failure
    );
}

#[test]
fn a_red_tier_without_a_red_test_is_a_case_of_its_own() {
    let report = read_back(&results(
        Verdict::Failed,
        &[
            Event::TierStarted(Stage::Install),
            tier(
                Stage::Install,
                Status::Fail,
                Some("`app` does not start"),
                Vec::new(),
            ),
        ],
    ));
    let (kind, text) = failure(case(&report, "install", "install"));
    assert_eq!(kind, NonSuccessKind::Failure);
    assert!(text.starts_with("`app` does not start"), "{text}");
}

#[test]
fn a_page_shows_the_cause_and_nothing_of_a_recipe_is_more_than_text_in_it() {
    let mut hostile = red();
    for field in [&mut hostile.recipe, &mut hostile.repeat, &mut hostile.host] {
        HOSTILE.clone_into(field);
    }
    hostile.reason = Some(HOSTILE.to_owned());
    hostile.warnings.push(HOSTILE.to_owned());
    let page = Form::Html.of(&hostile);
    assert!(page.contains("panic: disk"), "{page}");
    assert!(page.contains("the marker is gone\nfrom `data`"), "{page}");
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("&#60;script&#62;"), "{page}");
    assert!(!page.contains(['\u{1b}', '\u{202e}']), "{page}");
    // Nothing is fetched.
    for word in ["src=", "http://", "https://", "url("] {
        assert!(!page.contains(word), "{word}: {page}");
    }
    assert_eq!(page.matches("<style>").count(), 1);
    assert!(!page.contains("style=\""), "{page}");
}

#[test]
fn markdown_keeps_what_a_recipe_says_in_spans_and_fences() {
    let mut hostile = red();
    hostile.reason = Some(HOSTILE.to_owned());
    hostile.output.push(Output {
        app: None,
        tier: None,
        title: HOSTILE.to_owned(),
        lines: vec!["````".to_owned(), "@everyone".to_owned()],
        log: None,
    });
    let text = Form::Markdown.of(&hostile);
    let mut fence = None::<&str>;
    for line in text.lines() {
        let ticks = &line[..line.len() - line.trim_start_matches('`').len()];
        match fence {
            Some(open) if line == open => fence = None,
            Some(_) => {}
            None if ticks.len() >= 3 && line.ends_with("text") => fence = Some(ticks),
            None => assert!(
                !line.contains("@everyone") || line.contains("`` "),
                "{line}"
            ),
        }
    }
    assert_eq!(fence, None, "{text}");
    assert!(text.contains("`````text"), "{text}");
}

#[test]
fn a_report_of_many_tests_and_long_logs_stays_small() {
    let many = (0..1000).map(|at| test(&format!("test_{at}"), Status::Fail, Some("no")));
    let mut events = vec![Event::TierStarted(Stage::Custom)];
    for at in 0..50 {
        events.push(Event::FailureOutput {
            title: format!("test_{at}"),
            lines: vec!["x".repeat(1 << 10); 1 << 10],
            log: None,
        });
    }
    events.push(tier(
        Stage::Custom,
        Status::Fail,
        Some("no"),
        many.collect(),
    ));
    let results = results(Verdict::Failed, &events);
    for form in [Form::Junit, Form::Html, Form::Markdown] {
        let size = form.of(&results).len();
        assert!(size < 2 << 20, "{form:?}: {size}");
    }
    let last = &results.output.last().unwrap().lines;
    assert_eq!(last[0], "(there is more in `run.log`)");
}

#[test]
fn a_badge_says_the_level_and_a_red_one_says_so() {
    let green = Results {
        verdict: Verdict::Passed,
        level: 5,
        ..Results::default()
    };
    let shield = json!({"schemaVersion": 1, "label": "recipe-ci", "message": "level 5", "color": "brightgreen"});
    assert_eq!(green.badge_json(), shield);
    roxmltree::Document::parse(&Form::Badge.of(&green)).unwrap();
    assert!(Form::Badge.of(&green).contains(">level 5<"));
    assert_eq!(red().badge_json()["message"], "failed");
}
