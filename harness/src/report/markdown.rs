//! The report as Markdown: for a step's summary or a comment on a proposal.
//!
//! What comes from a recipe stands in code spans and fences, where it mentions nobody and links nowhere.

use std::fmt::Write as _;
use std::time::Duration;

use super::results::Results;
use super::sentence::sentence;
use super::{human, printable};
use ground::outcome::Status;

/// How many lines of an output are shown; GitHub takes 64 KiB for a comment and 1 MiB for a summary.
const LINES: usize = 30;

/// How many outputs are shown.
const OUTPUTS: usize = 6;

impl Results {
    /// Returns the report as Markdown of at most 60 KiB.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("### recipe-ci: {}\n\n", self.verdict);
        paragraph(&mut text, &sentence(self));
        text += "| tier | status | time | why |\n|---|---|---|---|\n";
        for (app, tier) in self.all_tiers() {
            let what = match app {
                Some(app) => format!("{} {}", tier.name, span(&app.to_string())),
                None => tier.name.to_string(),
            };
            let why = tier.reason.as_deref().map(span).unwrap_or_default();
            let took = match tier.duration_ms {
                0 => String::new(),
                millis => human(Duration::from_millis(millis)),
            };
            let _ = writeln!(text, "| {what} | {} | {took} | {why} |", tier.status);
        }
        let _ = writeln!(text, "\nLevel {} of 5.", self.level);
        let red = self.all_tiers().flat_map(|(_, tier)| &tier.tests);
        for test in red.filter(|test| test.status == Status::Fail).take(OUTPUTS) {
            let _ = write!(text, "\n{}\n", span(&test.id));
            fence(
                &mut text,
                test.message.as_deref().unwrap_or_default().lines(),
            );
        }
        for shown in self.output.iter().take(OUTPUTS) {
            let _ = write!(
                text,
                "\n<details><summary>output</summary>\n\n{}\n",
                span(&shown.called())
            );
            fence(&mut text, shown.lines.iter().map(String::as_str));
            text += "\n</details>\n";
        }
        if !self.hints.is_empty() {
            text += "\nWhat to do:\n\n";
            for hint in &self.hints {
                let _ = writeln!(text, "- {}", span(hint));
            }
        }
        if let Some(hold) = &self.hold {
            let _ = writeln!(text, "\nThe app is held until {}:", span(&hold.until));
            fence(&mut text, hold.commands().iter().map(String::as_str));
        }
        if !self.repeat.is_empty() {
            text += "\nAgain:\n";
            fence(&mut text, [self.repeat.as_str()].into_iter());
        }
        text
    }
}

fn paragraph(text: &mut String, words: &str) {
    let _ = write!(text, "{}\n\n", span(words));
}

/// Returns text as a code span, in a cell of a table too.
fn span(text: &str) -> String {
    let text = printable(text).replace('|', "\\|");
    let text: String = text.chars().take(600).collect();
    let ticks = "`".repeat(longest_run(&text) + 1);
    format!("{ticks} {text} {ticks}")
}

/// Writes lines as a fenced block that none of them ends.
fn fence<'a>(text: &mut String, lines: impl Iterator<Item = &'a str>) {
    let lines: Vec<String> = lines.map(printable).collect();
    let kept = &lines[lines.len().saturating_sub(LINES)..];
    let longest = kept.iter().map(|line| longest_run(line)).max().unwrap_or(0);
    let ticks = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(text, "\n{ticks}text");
    for line in kept {
        let line: String = line.chars().take(300).collect();
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(text, "{ticks}");
}

/// Returns how many backticks stand side by side at the most.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
