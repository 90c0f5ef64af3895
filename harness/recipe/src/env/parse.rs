//! The lines of an environment file.

use super::EnvError;

/// A piece of the file; the pieces' texts together are the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Other(String),
    Assignment(Assignment),
}

/// An assignment, split so that `lead`, the quoted `value` and `tail` give back its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    /// Everything up to the value: a byte order mark, `export`, the key, `=`, spaces.
    pub(super) lead: String,
    pub(super) key: String,
    pub(super) quote: Quote,
    /// The text between the quotes, escapes and references as written.
    pub(super) value: String,
    /// Everything behind the value: spaces, the comment, the end of the line.
    pub(super) tail: String,
    pub(super) line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    None,
    Single,
    Double,
}

impl Quote {
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Single => "'",
            Self::Double => "\"",
        }
    }
}

/// Returns the pieces of `text`; `file` is what errors call it.
pub(super) fn segments(text: &str, file: &str) -> Result<Vec<Segment>, EnvError> {
    let mut segments = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let first_line = &rest[..line_length(rest)];
        let content = first_line.trim_start_matches('\u{feff}').trim();
        let length = if content.is_empty() || content.starts_with('#') {
            segments.push(Segment::Other(first_line.to_owned()));
            first_line.len()
        } else {
            let (assignment, length) = assignment(rest, file, line)?;
            segments.push(Segment::Assignment(assignment));
            length
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    Ok(segments)
}

/// Returns the length of the first line with its end.
fn line_length(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |at| at + 1)
}

fn assignment(text: &str, file: &str, line: usize) -> Result<(Assignment, usize), EnvError> {
    let file = file.to_owned();
    let first_line = &text[..line_length(text)];
    let Some(equals) = first_line.find('=') else {
        return Err(EnvError::NotAssignment { file, line });
    };
    let name = first_line[..equals].trim_start_matches('\u{feff}').trim();
    let key = match name.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => name,
    };
    if !is_key(key) {
        return Err(EnvError::Key { file, line });
    }
    let key = key.to_owned();
    let blanks = first_line[equals + 1..].len()
        - first_line[equals + 1..]
            .trim_start_matches([' ', '\t'])
            .len();
    let start = equals + 1 + blanks;
    let quote = match text[start..].chars().next() {
        Some('\'') => Quote::Single,
        Some('"') => Quote::Double,
        _ => Quote::None,
    };
    if quote == Quote::None {
        let value = unquoted(&first_line[equals + 1..], blanks);
        // An empty value keeps the spaces behind `=` in its tail, so that a value set later stays apart
        // from the comment.
        let start = if value.is_empty() { equals + 1 } else { start };
        let tail = first_line[start + value.len()..].to_owned();
        let lead = first_line[..start].to_owned();
        return Ok((
            Assignment {
                lead,
                key,
                quote,
                value: value.to_owned(),
                tail,
                line,
            },
            first_line.len(),
        ));
    }
    let open = start + 1;
    let Some(length) = closing(&text[open..], quote) else {
        return Err(EnvError::Unterminated { file, line, key });
    };
    let close = open + length;
    let tail = &text[close + 1..][..line_length(&text[close + 1..])];
    let comment = tail.trim();
    if !comment.is_empty() && !comment.starts_with('#') {
        return Err(EnvError::Trailing { file, line, key });
    }
    let (lead, value) = (text[..start].to_owned(), text[open..close].to_owned());
    Ok((
        Assignment {
            lead,
            key,
            quote,
            value,
            tail: tail.to_owned(),
            line,
        },
        close + 1 + tail.len(),
    ))
}

fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && key
            .chars()
            .all(|c| c == '_' || c == '.' || c == '-' || c.is_ascii_alphanumeric())
}

/// Returns the unquoted value in `text`, which begins right behind `=` with that many blanks.
fn unquoted(text: &str, blanks: usize) -> &str {
    let mut end = text.len();
    let mut before = if blanks > 0 { ' ' } else { '=' };
    for (at, c) in text[blanks..].char_indices() {
        if c == '#' && matches!(before, ' ' | '\t') {
            end = blanks + at;
            break;
        }
        before = c;
    }
    text[blanks..end.max(blanks)].trim_end()
}

/// Returns where the quote closes in `text`, which begins behind the opening one.
fn closing(text: &str, quote: Quote) -> Option<usize> {
    if quote == Quote::Single {
        return text.find('\'');
    }
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Returns how to write `value` so that it is read back as it is.
pub(super) fn quote(value: &str) -> (Quote, String) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if value.chars().all(plain) {
        (Quote::None, value.to_owned())
    } else if !value.contains(['\'', '\n', '\r']) {
        (Quote::Single, value.to_owned())
    } else {
        let mut text = String::with_capacity(value.len() + 8);
        for c in value.chars() {
            match c {
                '\\' | '"' | '$' => text.extend(['\\', c]),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                _ => text.push(c),
            }
        }
        (Quote::Double, text)
    }
}
