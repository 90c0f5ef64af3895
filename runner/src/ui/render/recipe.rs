//! What is said of the recipe itself: what the run teaches about it, and what the policy has against it.

use std::fmt::Write;
use std::time::Duration;

use harness::excerpt::{self, Fault};
use harness::finding::Finding;
use harness::policy::{Violation, rules};

use super::{INDENT, Renderer};
use crate::ui::symbols::{RED, YELLOW, paint};

impl Renderer {
    /// Returns what is tried again, and why.
    pub(super) fn again(&self, said: &str, at: Duration) -> String {
        self.line(at, "again", &paint(YELLOW, &self.clean(said)))
    }

    /// Returns what the run teaches about the recipe, where it is new.
    pub(super) fn finding(&mut self, found: &Finding, at: Duration) -> String {
        if self.findings.iter().any(|known| known.is_same(found)) {
            return String::new();
        }
        self.findings.push(found.clone());
        let said = self.line(at, "finding", &self.clean(&found.to_string()));
        format!("{said}{INDENT}fix: {}\n", self.clean(&found.fix))
    }

    /// Returns what the policy has against the recipe, and what would allow it.
    pub(super) fn policy(&self, found: &Violation, at: Duration) -> String {
        let (label, color) = if found.refused {
            ("refused", RED)
        } else {
            ("policy", YELLOW)
        };
        let mut text = self.line(at, label, &paint(color, &self.clean(&found.to_string())));
        let fault = Fault {
            severity: excerpt::Severity::Error,
            id: "",
            message: "",
            file: "",
            line: found.line,
            column: found.column,
            source: found.source.as_deref(),
            notes: &[],
        };
        for line in fault.excerpt() {
            writeln!(text, "{INDENT}{line}").expect("writing to a string succeeds");
        }
        let grant = found.grant.as_ref();
        let grant = grant.map(|grant| format!("grants.yml: {grant}"));
        let hint = match grant {
            // What runs it all the same is said once, at the end.
            Some(_) if found.refused && self.is_path => {
                Some("grants.yml grants nothing to a path".to_owned())
            }
            grant if found.refused => grant,
            // Who maintains a recipe wants to know what CI will say of a proposal.
            grant if rules::of(&found.rule).is_some_and(|rule| rule.refuses) => {
                let grant = grant.unwrap_or_else(|| "nothing in grants.yml allows it".to_owned());
                Some(format!("a stranger is refused for it; {grant}"))
            }
            _ => None,
        };
        if let Some(hint) = hint {
            writeln!(text, "{INDENT}{}", self.clean(&hint)).expect("writing to a string succeeds");
        }
        text
    }
}
