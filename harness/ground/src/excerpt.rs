//! A fault beside the line that it is in, as compilers show it.
//!
//! The line is a stranger's: tabs, wide characters and what would move a cursor or turn a line around are shown as signs
//! that do nothing, and a long line is cut.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// How much of a line is kept, in characters: more is no line that somebody wrote by hand.
const MOST: usize = 300;

/// How wide an excerpt is, in columns.
const WIDTH: usize = 110;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It has to be mended.
    Error,
    /// It is worth a look.
    Warning,
}

/// A fault, and where it is.
#[derive(Debug, Clone, Copy)]
pub struct Fault<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// The id of the rule; empty where there is none.
    pub id: &'a str,
    /// What is wrong.
    pub message: &'a str,
    /// The file, or what else it is about.
    pub file: &'a str,
    /// The line, from 1.
    pub line: Option<u64>,
    /// The column in characters, from 1; all of the line without one.
    pub column: Option<u64>,
    /// The line itself, as [`line`] has it.
    pub source: Option<&'a str>,
    /// What else there is to say, each with a label.
    pub notes: &'a [(&'a str, &'a str)],
}

/// Returns a line of a text, counted from 1, as far as an excerpt needs it.
#[must_use]
pub fn line(text: &str, number: u64) -> Option<String> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let line = text.lines().nth(index)?;
    Some(line.trim_end().chars().take(MOST).collect())
}

impl Fault<'_> {
    /// Returns the fault as lines without a line end behind the last; with colours where `styled`.
    #[must_use]
    pub fn render(&self, styled: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message);
        let title = match self.id {
            "" => title,
            id => title.id(id),
        };
        let number = self.line.and_then(|line| usize::try_from(line).ok());
        let group = match (number, self.source) {
            (Some(number), Some(source)) => Group::with_title(title).element(
                Snippet::source(source)
                    .line_start(number)
                    .path(self.file)
                    .annotation(AnnotationKind::Primary.span(self.span(source))),
            ),
            (Some(number), None) => {
                Group::with_title(title).element(Origin::path(self.file).line(number))
            }
            (None, _) => Group::with_title(title).element(Origin::path(self.file)),
        };
        let notes = self.notes.iter().map(|(label, said)| {
            let level = Level::NOTE.with_name(*label);
            level.message(*said)
        });
        let renderer = match styled {
            true => Renderer::styled(),
            false => Renderer::plain(),
        };
        renderer.term_width(WIDTH).render(&[group.elements(notes)])
    }

    /// Returns the line alone, with what is meant below it; nothing where there is no line.
    #[must_use]
    pub fn excerpt(&self) -> Vec<String> {
        if self.source.is_none() || self.line.is_none() {
            return Vec::new();
        }
        // What is wrong, the place and an empty line come before.
        let all = self.render(false);
        let lines = all.lines().skip(3).take(2);
        lines.map(str::to_owned).collect()
    }

    /// Returns the bytes of a line that are meant: from the column on, or all but what it is indented with.
    fn span(&self, source: &str) -> std::ops::Range<usize> {
        let indented = source.len() - source.trim_start().len();
        let column = self.column.and_then(|column| usize::try_from(column).ok());
        let start = match column.and_then(|column| column.checked_sub(1)) {
            Some(before) => source
                .char_indices()
                .nth(before)
                .map_or(source.len(), |(at, _)| at),
            None => indented,
        };
        start..source.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault<'a>(source: Option<&'a str>, column: Option<u64>) -> Fault<'a> {
        Fault {
            severity: Severity::Error,
            id: "C004",
            message: "it comes from a variable",
            file: "compose.yml",
            line: Some(12),
            column,
            source,
            notes: &[("why", "the deploy fails"), ("fix", "write it")],
        }
    }

    #[test]
    fn a_caret_stands_below_what_is_meant() {
        let shown = fault(Some("      interval: ${EVERY}"), Some(17)).render(false);
        assert_eq!(
            shown,
            "error[C004]: it comes from a variable\n  --> compose.yml:12:17\n   |\n12 |       interval: ${EVERY}\n   |                 ^^^^^^^^\n   |\n   = why: the deploy fails\n   = fix: write it"
        );
        let shown = fault(None, None).render(false);
        assert_eq!(
            shown,
            "error[C004]: it comes from a variable\n--> compose.yml:12\n = why: the deploy fails\n = fix: write it"
        );
    }

    #[test]
    fn tabs_and_wide_characters_do_not_move_it() {
        let caret = |source: &str, column| {
            let shown = fault(Some(source), Some(column)).render(false);
            let lines: Vec<&str> = shown.lines().collect();
            (lines[3].to_owned(), lines[4].to_owned())
        };
        assert_eq!(
            caret("\ta: b", 5),
            ("12 |     a: b".to_owned(), "   |        ^".to_owned())
        );
        assert_eq!(
            caret("名: b", 4),
            ("12 | 名: b".to_owned(), "   |     ^".to_owned())
        );
        // A column that is not there is the end of the line.
        assert_eq!(caret("a: b", 40).1, "   |     ^");
    }

    #[test]
    fn a_hostile_line_does_nothing_and_a_long_one_is_cut() {
        let hostile = "a: \u{1b}[2J\u{202e}evil\u{7}\rb";
        let shown = fault(Some(hostile), Some(4)).render(false);
        let bad = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!shown.contains(bad), "{shown:?}");
        let text = format!("{}\nb", "x".repeat(1 << 20));
        let kept = line(&text, 1).unwrap();
        assert_eq!(kept.len(), MOST);
        let shown = fault(Some(&kept), Some(250)).render(false);
        assert!(
            shown.lines().all(|line| line.chars().count() <= WIDTH + 10),
            "{shown}"
        );
        assert_eq!(line(&text, 2).as_deref(), Some("b"));
        assert_eq!((line(&text, 0), line(&text, 3)), (None, None));
    }
}
