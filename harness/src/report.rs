//! The report: what a run leaves behind for people and machines to read.
//!
//! Everything here consumes [`Event`](crate::event::Event)s, or files that a run wrote, and nothing else.
//! It never decides anything about a run and never fails one: what cannot be written is dropped and noted.

use std::time::Duration;

mod apps;
mod badge;
mod clean;
pub mod copy;
pub mod file;
pub mod junit;
pub mod level;
pub mod log;
mod markdown;
mod page;
pub mod papers;
pub mod pytest;
pub mod recorder;
pub mod redact;
pub mod results;
pub mod schema;
pub mod sentence;
mod test;
mod tiers;

/// How much of a line is kept, in bytes.
const LINE_LIMIT: usize = 8 << 10;

/// Returns what a terminal would show in the end of a line of another program's: carriage returns are how a progress
/// display overwrites itself.
#[must_use]
pub fn as_overwritten(line: &str) -> &str {
    let line = line.trim_end_matches(['\r', '\n']);
    line.rsplit('\r').next().unwrap_or(line)
}

/// Returns `text` without ANSI escape sequences and control characters, so that a service's log lines
/// cannot move the cursor, colour the terminal, break a line of a log file or fill it.
///
/// Tabs become spaces, and so do carriage returns and line ends: what stands before one may be ours. More than 8 KiB of a
/// line are not kept, and how many bytes are left out is said.
#[must_use]
pub fn printable(text: &str) -> String {
    let text = text.trim_end_matches(['\r', '\n']);
    let mut kept = String::with_capacity(text.len().min(LINE_LIMIT + 64));
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if kept.len() >= LINE_LIMIT {
            let rest = chars.map(char::len_utf8).sum::<usize>() + c.len_utf8();
            return kept + &format!("… ({rest} bytes more)");
        }
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
            '\r' | '\n' => kept.push(' '),
            // The bidirectional overrides would show a line in another order than it is written.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => kept.push(c),
        }
    }
    kept
}

/// Returns `span` as a person would say it: `12 ms`, `2.9 s`, `4 min 07 s`, `2 h 05 min`, `3 d`.
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
    match (millis + 500) / 1000 {
        seconds @ 0..=3_599 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds @ 3_600..=172_799 => {
            format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60)
        }
        seconds => format!("{} d", seconds / 86_400),
    }
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
        assert_eq!(as_overwritten("10%\r20%\rdone\r\n"), "done");
        // What stands before one may be ours, and must not vanish.
        assert_eq!(
            printable("plan base 1.0\r✔ passed\nx\r\n"),
            "plan base 1.0 ✔ passed x"
        );
        assert_eq!(printable("\u{202e}gnp.exe ✔"), "gnp.exe ✔");
        assert_eq!(printable("\u{1b}[unterminated"), "nterminated");
    }

    #[test]
    fn a_line_has_a_limit() {
        let long = "ä".repeat(1 << 20);
        let shown = printable(&long);
        assert!(shown.len() < 9000, "{}", shown.len());
        assert!(
            shown.ends_with("… (2088960 bytes more)"),
            "{}",
            &shown[shown.len() - 40..]
        );
        assert_eq!(printable(&"a".repeat(8192)).len(), 8192);
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
        assert_eq!(said(7_500_000), "2 h 05 min");
        assert_eq!(said(3 * 86_400_000), "3 d");
    }
}
