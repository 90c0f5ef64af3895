//! A tier and its tests, as lines.

use std::fmt::Write;
use std::time::Duration;

use harness::outcome::{Stage, Status, TestOutcome, TierOutcome};
use harness::report::human;

use super::Renderer;
use crate::ui::symbols::{DIM, paint, style};

impl Renderer {
    pub(super) fn test(&self, stage: Stage, test: &TestOutcome, at: Duration) -> String {
        let mark = paint(style(test.status), &self.mark(test.status));
        let took = paint(DIM, &format!("({})", human(test.duration)));
        let name = self.clean(&test.name);
        let message: Vec<String> = test
            .message
            .iter()
            .flat_map(|m| m.lines())
            .map(|line| self.clean(line))
            .collect();
        match (test.status, message.as_slice()) {
            (_, []) => self.line(at, stage.name(), &format!("{mark} {name} {took}")),
            (Status::Fail, [_, _, ..]) => {
                let head = self.line(at, stage.name(), &format!("{mark} {name} {took}"));
                format!("{head}{}", self.quote(&message))
            }
            (_, [first, ..]) => {
                self.line(at, stage.name(), &format!("{mark} {name} — {first} {took}"))
            }
        }
    }

    pub(super) fn tier(&mut self, tier: &TierOutcome, at: Duration) -> String {
        self.running = None;
        let mut text = paint(
            style(tier.status),
            &format!("{} {}", self.charset.sign(tier.status), tier.status),
        );
        if ran(tier) {
            write!(
                text,
                " in {}, {}",
                human(tier.duration),
                count(passed(tier), tier.tests.len())
            )
            .expect("writing to a string succeeds");
        }
        // What failed was said a moment ago, by its own line.
        if let Some(reason) = tier.reason.as_ref().filter(|_| first_red(tier).is_none()) {
            write!(text, " — {}", self.clean(reason)).expect("writing to a string succeeds");
        }
        let tiers = self.tiers_of_app();
        tiers.insert(tier.stage, Some(tier.clone()));
        self.line(at, tier.stage.name(), &text)
    }
}

/// Returns whether a tier ran; some are decided without.
pub(super) fn ran(tier: &TierOutcome) -> bool {
    !tier.duration.is_zero() || !tier.tests.is_empty()
}

/// Returns the test that made a tier red.
pub(super) fn first_red(tier: &TierOutcome) -> Option<&TestOutcome> {
    let mut tests = tier.tests.iter();
    tests.find(|test| test.status == Status::Fail)
}

pub(super) fn passed(tier: &TierOutcome) -> usize {
    tier.tests
        .iter()
        .filter(|test| test.status == Status::Pass)
        .count()
}

pub(super) fn count(passed: usize, all: usize) -> String {
    match all {
        0 => "no tests".to_owned(),
        1 => format!("{passed} of 1 test passed"),
        _ => format!("{passed} of {all} tests passed"),
    }
}
