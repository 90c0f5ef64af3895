//! The report as one HTML file that can be sent to somebody: nothing of it is fetched, and no script runs.
//!
//! All of its text is an attacker's: names, refs, logs, labels. The template escapes it, what would show a line in another
//! order or hide it is left out, and the page's policy lets nothing but its own style in:
//! <https://www.w3.org/TR/CSP3/#directive-style-src>.

use std::time::Duration;

use askama::Template;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use super::results::{Results, Tier};
use super::sentence::{Blame, blame, sentence};
use super::tiers::called;
use super::{human, printable};
use ground::name::is_unseen;
use ground::outcome::Status;

const STYLE: &str = include_str!("../../templates/page.css");

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    results: &'a Results,
    sentence: String,
    tone: &'static str,
    style: &'static str,
    style_hash: String,
    rungs: [(&'static str, Status); 5],
    tiers: Vec<(String, &'a Tier)>,
    failed: Vec<Shown>,
    output: Vec<Shown>,
    lists: [(&'static str, &'a [String]); 4],
    bars: Vec<Bar>,
    facts: Vec<(&'static str, String)>,
}

/// A title, and lines below it.
struct Shown {
    title: String,
    why: String,
}

/// A phase, as thousandths of all of them.
struct Bar {
    name: &'static str,
    time: String,
    start: u64,
    width: u64,
}

impl Results {
    /// Returns the report as a page.
    #[must_use]
    pub fn page(&self) -> String {
        let findings: Vec<String> = self
            .findings
            .iter()
            .map(|found| {
                let service = found.service.as_ref();
                let of = service.map_or_else(String::new, |service| format!(" of `{service}`"));
                format!("{}{of}: {}. {}", found.id, found.message, found.fix)
            })
            .collect();
        let page = Page {
            results: self,
            sentence: sentence(self),
            tone: match blame(self.verdict) {
                Blame::Nobody => "pass",
                Blame::Recipe => "fail",
                Blame::Host => "host",
            },
            style: STYLE,
            style_hash: BASE64_STANDARD.encode(Sha256::digest(STYLE)),
            rungs: self.rungs.named(),
            tiers: self
                .all_tiers()
                .map(|(app, tier)| (called(tier.name, app), tier))
                .collect(),
            failed: self.failed(),
            output: self
                .output
                .iter()
                .map(|shown| Shown {
                    title: shown.called(),
                    why: lines(shown.lines.iter().map(String::as_str)),
                })
                .collect(),
            lists: [
                ("Warnings", &self.warnings),
                ("What the run teaches", &findings),
                (
                    "Deployed otherwise than the recipe has it",
                    &self.deviations,
                ),
                ("Beyond the recipe as shipped", &self.customization),
            ],
            bars: self.bars(),
            facts: self.facts(),
        };
        // Only a writer that fails makes it fail, and a string does not.
        let page = page.render().unwrap_or_default();
        page.chars()
            .filter(|c| *c == '\n' || !is_unseen(*c))
            .collect()
    }

    /// Returns what failed: tests first, tiers where no test showed it.
    fn failed(&self) -> Vec<Shown> {
        let mut failed = Vec::new();
        for (app, tier) in self.all_tiers() {
            let red: Vec<Shown> = tier
                .tests
                .iter()
                .filter(|test| test.status == Status::Fail)
                .map(|test| Shown {
                    title: test.id.clone(),
                    why: lines(test.message.as_deref().unwrap_or_default().lines()),
                })
                .collect();
            if red.is_empty() && (tier.blames_recipe || tier.status == Status::Fail) {
                failed.push(Shown {
                    title: called(tier.name, app),
                    why: lines(tier.reason.as_deref().unwrap_or_default().lines()),
                });
            }
            failed.extend(red);
        }
        failed
    }

    fn bars(&self) -> Vec<Bar> {
        let took: Vec<(&str, u64)> = self
            .phases
            .named()
            .into_iter()
            .filter(|(_, millis)| *millis > 0)
            .collect();
        let all: u64 = took.iter().map(|(_, millis)| millis).sum::<u64>().max(1);
        let mut before = 0;
        took.into_iter()
            .map(|(name, millis)| {
                let start = before * 1000 / all;
                before += millis;
                Bar {
                    name,
                    time: human(Duration::from_millis(millis)),
                    start,
                    width: (millis * 1000 / all).max(1),
                }
            })
            .collect()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let trust = self.trust.as_ref();
        [
            ("recipe", Some(self.recipe.clone())),
            (
                "source",
                trust.map(|trust| format!("{} ({})", trust.source, trust.level)),
            ),
            ("ref", self.reference.clone()),
            ("commit", self.head_commit.map(|commit| commit.to_string())),
            ("version", self.head_version.clone()),
            ("upgraded from", self.base_version.clone()),
            ("driver", self.driver.clone()),
            (
                "verdict",
                Some(format!("{}, exit code {}", self.verdict, self.exit_code)),
            ),
            ("began", Some(self.started_at.clone())),
            ("ended", self.finished_at.clone()),
            ("run", Some(self.run_id.clone())),
            ("build", self.build_url.clone()),
            ("host", Some(self.host.clone())),
            ("recipe-ci", Some(self.version.clone())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
        .collect()
    }
}

/// Returns lines as a terminal would show them.
fn lines<'a>(all: impl Iterator<Item = &'a str>) -> String {
    all.map(printable).collect::<Vec<_>>().join("\n")
}
