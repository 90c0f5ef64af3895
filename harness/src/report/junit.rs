//! The report as JUnit XML, in Jenkins' dialect: <https://llg.cubic.org/docs/junit/>.
//!
//! A suite is a tier of an app, a case is a test. GitLab takes suite, class and name together for a case's identity and shows the
//! text of a failure, not its attribute:
//! <https://gitlab.com/gitlab-org/gitlab/-/blob/master/lib/gitlab/ci/parsers/test/junit.rb>.

use std::collections::HashSet;
use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestRerun, TestSuite,
};

use super::results::{Output, Results, Test, Tier};
use super::sentence::{Blame, blame, sentence};
use super::tiers::called;
use crate::event::OtherApp;
use ground::outcome::Status;

/// Why a tier has no place in the report: nobody asked for it.
const NOT_ASKED: [&str; 2] = ["not asked for", "quick"];

impl Results {
    /// Returns the report as JUnit XML. It is whole whatever these results lack.
    #[must_use]
    pub fn junit(&self) -> String {
        let mut report = Report::new(format!("recipe-ci {}", self.recipe));
        let mut explained = false;
        for (app, tier) in self.all_tiers() {
            let is_wanted = tier
                .reason
                .as_deref()
                .is_none_or(|why| !NOT_ASKED.contains(&why));
            if is_wanted {
                report.add_test_suite(self.suite((app, tier), &mut explained));
            }
        }
        report.add_test_suite(self.run_suite(explained));
        report.set_time(
            report
                .test_suites
                .iter()
                .filter_map(|suite| suite.time)
                .sum(),
        );
        // Only a writer that fails makes it fail, and a string does not.
        report.to_string().unwrap_or_default()
    }

    fn suite(&self, (app, tier): (Option<&OtherApp>, &Tier), explained: &mut bool) -> TestSuite {
        let stage = called(tier.name, app);
        let mut suite = TestSuite::new(&*stage);
        suite.set_time(Duration::from_millis(tier.duration_ms));
        suite.add_properties(self.properties());
        let class = format!("{}.{stage}", self.recipe);
        let (mut names, mut decided) = (HashSet::new(), false);
        for test in &tier.tests {
            let mut status = status(test.status, tier.blames_recipe, test.message.as_deref());
            if is_red(&status) {
                decided = true;
                status.set_description(self.text((app, tier), Some(test), test.message.as_deref()));
            }
            if test.status == Status::Flaky {
                status.add_rerun(TestRerun::new(NonSuccessKind::Failure));
            }
            let id = test.id.strip_prefix(&format!("{stage}/"));
            let mut case = TestCase::new(id.unwrap_or(&test.name), status);
            case.set_classname(&*class)
                .set_time(Duration::from_millis(test.duration_ms));
            if let Some(file) = test.file_in_sources() {
                case.extra.insert("file".into(), file.into());
            }
            names.insert(case.name.to_string());
            suite.add_test_case(case);
        }
        // What failed before a test could, or what no test showed, is a case of its own.
        let is_red_alone = tier.blames_recipe && !decided;
        if is_red_alone || tier.tests.is_empty() {
            let mut status = status(tier.status, tier.blames_recipe, tier.reason.as_deref());
            if is_red(&status) {
                status.set_description(self.text((app, tier), None, tier.reason.as_deref()));
                decided = true;
            }
            let mut case = TestCase::new(
                if names.contains(&stage) {
                    "tier"
                } else {
                    &*stage
                },
                status,
            );
            case.set_classname(class)
                .set_time(Duration::from_millis(tier.duration_ms));
            suite.add_test_case(case);
        }
        *explained |= decided;
        suite
    }

    /// Returns the suite of what is about the run as a whole.
    fn run_suite(&self, explained: bool) -> TestSuite {
        let mut suite = TestSuite::new("run");
        suite.add_properties(self.properties());
        let class = format!("{}.run", self.recipe);
        let mut case = |name: &str, status| {
            let mut case = TestCase::new(name, status);
            case.set_classname(&*class);
            suite.add_test_case(case);
        };
        let mut verdict = TestCaseStatus::success();
        let blamed = blame(self.verdict);
        if blamed == Blame::Host || (blamed == Blame::Recipe && !explained) {
            let kind = match blamed {
                Blame::Recipe => NonSuccessKind::Failure,
                _ => NonSuccessKind::Error,
            };
            verdict = TestCaseStatus::non_success(kind);
            let mut text = vec![sentence(self)];
            text.extend(self.hints.iter().cloned());
            let unplaced = self.output.iter().filter(|shown| shown.tier.is_none());
            text.extend(
                unplaced
                    .flat_map(|shown| {
                        [vec![format!("--- {}", shown.called())], shown.lines.clone()]
                    })
                    .flatten(),
            );
            verdict
                .set_message(sentence(self))
                .set_description(text.join("\n"));
        }
        case("verdict", verdict);
        let teardown = match self.teardown.clean {
            Some(true) => TestCaseStatus::success(),
            Some(false) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                let left = self.teardown.residual.left.iter();
                let left: Vec<String> = left
                    .map(|(kind, names)| format!("{kind}: {}", names.join(", ")))
                    .collect();
                status
                    .set_message("something is left on the host")
                    .set_description(left.join("\n"));
                status
            }
            None => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(match &self.hold {
                    Some(hold) => format!("the app is held until {}", hold.until),
                    None => {
                        "there was nothing to tear down, or it is not known what is left".to_owned()
                    }
                });
                status
            }
        };
        case("teardown", teardown);
        suite
    }

    fn properties(&self) -> Vec<Property> {
        let level = self.level.to_string();
        let head = self.head_commit.map(|commit| commit.to_string());
        [
            ("recipe", Some(&self.recipe)),
            ("head", head.as_ref()),
            ("head_version", self.head_version.as_ref()),
            ("base_version", self.base_version.as_ref()),
            ("level", Some(&level)),
            ("driver", self.driver.as_ref()),
            ("run_id", Some(&self.run_id)),
            ("host", Some(&self.host)),
            ("version", Some(&self.version)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some(Property::new(name, value?.as_str())))
        .collect()
    }

    /// Returns what a person reads of a failure: why, and the output that explains it.
    fn text(
        &self,
        (app, tier): (Option<&OtherApp>, &Tier),
        test: Option<&Test>,
        why: Option<&str>,
    ) -> String {
        let app = app.map(OtherApp::to_string);
        let mut text = vec![why.unwrap_or("it failed, and said nothing").to_owned()];
        let tests: HashSet<&str> = tier.tests.iter().map(|test| test.name.as_str()).collect();
        let first_red = tier.tests.iter().find(|test| test.status == Status::Fail);
        // What the fresh install shows explains the install of the run.
        let is_of_row = |name: &String| {
            let mut rows = self.apps.iter().filter(|one| one.planned.app.has_row());
            rows.any(|one| one.planned.app.to_string() == *name)
        };
        let of = |shown: &Output| shown.app.clone().filter(is_of_row);
        for shown in self.output.iter().filter(|shown| of(shown) == app) {
            let is_this_tests = test.is_some_and(|test| test.name == shown.title);
            // The log of a service explains the first failure, and belongs to no test.
            let is_the_tiers = !tests.contains(shown.title.as_str())
                && shown.tier.is_none_or(|stage| stage == tier.name)
                && first_red.is_none_or(|first| test.is_some_and(|test| test.id == first.id));
            if shown.tier == Some(tier.name) && is_this_tests || is_the_tiers {
                text.push(format!("--- {}", shown.called()));
                text.extend(shown.lines.iter().cloned());
            }
        }
        if !self.repeat.is_empty() {
            text.push(format!("--- again\n{}", self.repeat));
        }
        text.join("\n")
    }
}

/// Returns how a test or tier ended; what could not be verified is an error where it is why the run is red.
fn status(status: Status, blames_recipe: bool, why: Option<&str>) -> TestCaseStatus {
    let mut ended = match status {
        Status::Pass | Status::Flaky => return TestCaseStatus::success(),
        Status::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Status::Unver if blames_recipe => TestCaseStatus::non_success(NonSuccessKind::Error),
        Status::Skip | Status::Unver => TestCaseStatus::skipped(),
    };
    if let Some(line) = why.and_then(|why| why.lines().next()) {
        ended.set_message(line);
    }
    ended
}

fn is_red(status: &TestCaseStatus) -> bool {
    matches!(status, TestCaseStatus::NonSuccess { .. })
}
