//! Texts with a notation of their own.

/// Returns the bytes that Docker takes a text for: `1.5G`, `64 MiB`, `1000`; none where it is no size. The rules are those
/// of `RAMInBytes` in github.com/docker/go-units.
#[expect(
    clippy::cast_possible_truncation,
    reason = "Docker cuts a fraction of a byte, and what is beyond 63 bits"
)]
pub(in crate::compose) fn size(text: &str) -> Option<i64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')?;
    let (number, unit) = text.split_at(end + 1);
    let number: f64 = number.strip_suffix(' ').unwrap_or(number).parse().ok()?;
    let unit = unit.to_ascii_lowercase();
    let power = unit.chars().next().and_then(|first| "kmgtp".find(first));
    let rest = &unit[usize::from(power.is_some())..];
    let ends: &[&str] = if power.is_some() {
        &["", "b", "ib"]
    } else {
        &["", "b"]
    };
    let factor = power.map_or(1.0, |power| 1024_f64.powi(power as i32 + 1));
    (number >= 0.0 && ends.contains(&rest)).then_some((number * factor) as i64)
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

/// Returns the words of a command line, as `github.com/google/shlex` splits it for Docker.
///
/// # Errors
/// What is open at its end.
pub(in crate::compose) fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut state = State::Between;
    let (mut words, mut word) = (Vec::new(), String::new());
    for c in text.chars() {
        let (next, adds) = match (state, c) {
            (State::Between, '#') | (State::Comment, _) if c != '\n' => (State::Comment, false),
            (State::Comment, _) => (State::Between, false),
            (State::Between | State::Word, ' ' | '\t' | '\r' | '\n') => (State::Between, false),
            (State::Between | State::Word, '\'') => (State::Quoted, false),
            (State::Between | State::Word, '"') => (State::DoubleQuoted, false),
            (State::Between | State::Word, '\\') => (State::Escaped(Back::Word), false),
            (State::Between | State::Word, _) | (State::Escaped(Back::Word), _) => {
                (State::Word, true)
            }
            (State::Quoted, '\'') | (State::DoubleQuoted, '"') => (State::Word, false),
            (State::DoubleQuoted, '\\') => (State::Escaped(Back::DoubleQuoted), false),
            (State::DoubleQuoted | State::Escaped(Back::DoubleQuoted), _) => {
                (State::DoubleQuoted, true)
            }
            (State::Quoted, _) => (State::Quoted, true),
        };
        if adds {
            word.push(c);
        }
        if state == State::Word && next == State::Between {
            words.push(std::mem::take(&mut word));
        }
        state = next;
    }
    match state {
        State::Word => words.push(word),
        State::Between | State::Comment => {}
        State::Escaped(_) => return Err("nothing is behind the backslash at its end"),
        State::Quoted | State::DoubleQuoted => return Err("a quote is never closed"),
    }
    Ok(words)
}

/// Returns whether a command line comes to no word: it is empty, or a comment.
pub(in crate::compose) fn has_no_word(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    lines.all(|line| line.is_empty() || line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_docker() {
        for text in ["1", "1.5G", "64 MiB", "10kb", "1e3", "5B", ".5g"] {
            assert!(size(text).is_some(), "{text}");
        }
        for text in ["", "lots", "-1", "1x", "1 gigs", "g", "1  g", "1mbb", "1ib"] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(size("64 MiB"), Some(64 << 20));
        assert_eq!(size("1.5p"), Some(3 << 49));
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
            assert!(words(text).is_ok(), "{text}");
        }
        for text in ["'", "a \"b", r"a\", "a#'b", r#"a "b\"#] {
            assert!(words(text).is_err(), "{text}");
        }
        let split = words("sh -c 'a \"b' \"x\\\"y\" z\\ z a#b '' #c\n d");
        let expected = ["sh", "-c", "a \"b", "x\"y", "z z", "a#b", "", "d"];
        assert_eq!(split.unwrap(), expected);
    }
}
