//! The report: what a run leaves behind for people and machines to read.
//!
//! Everything here consumes [`Event`](crate::event::Event)s, or files that a run wrote, and nothing else.
//! It never decides anything about a run and never fails one: what cannot be written is dropped and noted.

use std::time::Duration;

pub mod file;
pub mod level;
pub mod log;
pub mod pytest;
pub mod recorder;
pub mod redact;
pub mod results;

/// Returns `text` without ANSI escape sequences and control characters, so that a service's log lines
/// cannot move the cursor, colour the terminal or break a line of a log file.
///
/// Tabs become spaces; a carriage return keeps only what it would have left visible.
#[must_use]
pub fn printable(text: &str) -> String {
    let text = text.trim_end_matches(['\r', '\n']);
    let text = text.rsplit('\r').next().unwrap_or(text);
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // A control sequence ends with a byte of `@` to `~`.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // An operating-system command ends with BEL or ST (`ESC \`, whose `\` is dropped here).
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' {
                            break;
                        }
                        if c == '\u{1b}' {
                            chars.next_if_eq(&'\\');
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\t' => kept.push_str("    "),
            // The bidirectional overrides would show a line in another order than it is written.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => kept.push(c),
        }
    }
    kept
}

/// Returns `span` as a person would say it: `12 ms`, `2.9 s`, `4 min 07 s`.
#[must_use]
pub fn human(span: Duration) -> String {
    let millis = span.as_millis();
    if millis < 1000 {
        return format!("{millis} ms");
    }
    // 59.96 s would be rounded to `60.0 s`.
    if millis < 59_950 {
        return format!("{:.1} s", span.as_secs_f64());
    }
    let seconds = (millis + 500) / 1000;
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_cannot_reach_a_terminal() {
        assert_eq!(
            printable("\u{1b}[31;1mred\u{1b}[0m and\tplain\u{8}\u{7}"),
            "red and    plain"
        );
        assert_eq!(
            printable("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b\u{1b}"),
            "ab"
        );
        assert_eq!(printable("10%\r20%\rdone\r\n"), "done");
        assert_eq!(printable("\u{202e}gnp.exe ✔"), "gnp.exe ✔");
        assert_eq!(printable("\u{1b}[unterminated"), "nterminated");
    }

    #[test]
    fn spans_are_rounded_within_their_unit() {
        let said = |millis| human(Duration::from_millis(millis));
        assert_eq!(said(0), "0 ms");
        assert_eq!(said(999), "999 ms");
        assert_eq!(said(2_940), "2.9 s");
        assert_eq!(said(59_949), "59.9 s");
        assert_eq!(said(59_960), "1 min 00 s");
        assert_eq!(said(247_000), "4 min 07 s");
    }
}
