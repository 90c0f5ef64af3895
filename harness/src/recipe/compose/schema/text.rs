//! Texts with a notation of their own.

/// Returns whether Docker takes the text for a size in bytes: `1.5G`, `64 MiB`, `1000`.
pub(super) fn is_size(text: &str) -> bool {
    let Some(end) = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ') else {
        return false;
    };
    let (number, unit) = text.split_at(end + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let unit = unit.to_ascii_lowercase();
    let is_unit = match unit.strip_prefix(['k', 'm', 'g', 't', 'p']) {
        Some(rest) => ["", "b", "ib"].contains(&rest),
        None => ["", "b"].contains(&unit.as_str()),
    };
    is_unit && number.parse().is_ok_and(|number: f64| number >= 0.0)
}

/// Where a command line is being read.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Between,
    Word,
    /// Behind a backslash, and where it goes on.
    Escaped(Back),
    Quoted,
    DoubleQuoted,
    Comment,
}

#[derive(Clone, Copy, PartialEq)]
enum Back {
    Word,
    DoubleQuoted,
}

/// Checks that a command line can be split: that its quotes are closed.
///
/// # Errors
/// What is open at its end.
pub(super) fn check_command(text: &str) -> Result<(), &'static str> {
    let mut state = State::Between;
    for c in text.chars() {
        state = match (state, c) {
            (State::Between, '#') | (State::Comment, _) if c != '\n' => State::Comment,
            (State::Comment, _) => State::Between,
            (State::Between | State::Word, ' ' | '\t' | '\r' | '\n') => State::Between,
            (State::Between | State::Word, '\'') => State::Quoted,
            (State::Between | State::Word, '"') => State::DoubleQuoted,
            (State::Between | State::Word, '\\') => State::Escaped(Back::Word),
            (State::Between | State::Word, _) | (State::Escaped(Back::Word), _) => State::Word,
            (State::Quoted, '\'') | (State::DoubleQuoted, '"') => State::Word,
            (State::DoubleQuoted, '\\') => State::Escaped(Back::DoubleQuoted),
            (State::DoubleQuoted | State::Escaped(Back::DoubleQuoted), _) => State::DoubleQuoted,
            (State::Quoted, _) => State::Quoted,
        };
    }
    match state {
        State::Between | State::Word | State::Comment => Ok(()),
        State::Escaped(_) => Err("nothing is behind the backslash at its end"),
        State::Quoted | State::DoubleQuoted => Err("a quote is never closed"),
    }
}

/// Returns whether a command line comes to no word: it is empty, or a comment.
pub(in crate::recipe::compose) fn has_no_word(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    lines.all(|line| line.is_empty() || line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_docker() {
        for text in ["1", "1.5G", "64 MiB", "10kb", "1e3", "5B", ".5g"] {
            assert!(is_size(text), "{text}");
        }
        for text in ["", "lots", "-1", "1x", "1 gigs", "g", "1  g", "1mbb", "1ib"] {
            assert!(!is_size(text), "{text}");
        }
    }

    #[test]
    fn a_comment_is_no_command() {
        for (text, nothing) in [
            ("", true),
            (" \n# a\n", true),
            ("''", false),
            ("a # b", false),
        ] {
            assert_eq!(has_no_word(text), nothing, "{text}");
        }
    }

    #[test]
    fn a_command_line_closes_its_quotes() {
        for text in [
            "",
            "a b",
            "sh -c 'a \"b'",
            r#"a "b\" c""#,
            "a # it's",
            r"a\'b",
            "a#'b'",
        ] {
            assert_eq!(check_command(text), Ok(()), "{text}");
        }
        for text in ["'", "a \"b", r"a\", "a#'b", r#"a "b\"#] {
            assert!(check_command(text).is_err(), "{text}");
        }
    }
}
