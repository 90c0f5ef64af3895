//! References and escapes in a value of an environment file.

use super::VALUE_CEILING;

/// Why a value cannot be expanded.
#[derive(Debug)]
pub(super) enum Stop {
    /// A reference that must have a value has none.
    Missing { name: String, message: String },
    /// It becomes longer than a value may be.
    TooLong,
}

/// How deep defaults may be nested; the limit only keeps a hostile file from exhausting the stack.
const MAX_DEPTH: usize = 16;

/// Returns `text` with escapes and references replaced.
pub(super) fn expand(
    text: &str,
    double_quoted: bool,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Stop> {
    // What is looked at is no longer than what may come of it.
    if text.len() > VALUE_CEILING {
        return Err(Stop::TooLong);
    }
    Expander {
        double_quoted,
        lookup,
    }
    .run(text, 0)
}

struct Expander<'a> {
    double_quoted: bool,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Expander<'_> {
    fn run(&self, text: &str, depth: usize) -> Result<String, Stop> {
        let mut out = String::with_capacity(text.len());
        let braces = Braces::of(text);
        let mut rest = text;
        while let Some(at) = rest.find(['\\', '$']) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if rest.starts_with('\\') {
                let (replacement, length) = self.escape(rest);
                out.push_str(replacement);
                rest = &rest[length..];
            } else if rest.starts_with("$$") {
                out.push_str("$$");
                rest = &rest[2..];
            } else if let Some(length) = {
                let close = braces.close(text.len() - rest.len());
                self.reference(rest, close, depth, &mut out)?
            } {
                rest = &rest[length..];
            } else {
                out.push('$');
                rest = &rest[1..];
            }
            if out.len() > VALUE_CEILING {
                return Err(Stop::TooLong);
            }
        }
        out.push_str(rest);
        match out.len() > VALUE_CEILING {
            true => Err(Stop::TooLong),
            false => Ok(out),
        }
    }

    /// Returns what the backslash at the start of `text` stands for, and how much text it takes.
    fn escape(&self, text: &str) -> (&'static str, usize) {
        match text.as_bytes().get(1) {
            Some(b'$') => ("$", 2),
            Some(b'"') if self.double_quoted => ("\"", 2),
            Some(b'\\') if self.double_quoted => ("\\", 2),
            Some(b'n') if self.double_quoted => ("\n", 2),
            Some(b'r') if self.double_quoted => ("\r", 2),
            Some(b't') if self.double_quoted => ("\t", 2),
            _ => ("\\", 1),
        }
    }

    /// Appends the value of the reference at the start of `text` and returns its length; none is one. `close` says
    /// how far away its brace closes.
    fn reference(
        &self,
        text: &str,
        close: Option<usize>,
        depth: usize,
        out: &mut String,
    ) -> Result<Option<usize>, Stop> {
        if let Some(inner) = text.strip_prefix("${") {
            let length = name_length(inner);
            let Some(end) = close.filter(|_| length > 0).map(|close| close - 2) else {
                return Ok(None);
            };
            let (name, operator) = (&inner[..length], &inner[length..end]);
            let Some(value) = self.braced(name, operator, depth)? else {
                return Ok(None);
            };
            out.push_str(&value);
            return Ok(Some(end + 3));
        }
        let length = name_length(&text[1..]);
        if length == 0 {
            return Ok(None);
        }
        let name = &text[1..=length];
        match (self.lookup)(name) {
            Some(value) => out.push_str(&value),
            None if name.contains(|c: char| c.is_ascii_lowercase()) => {
                out.push_str(&text[..=length]);
            }
            None => {}
        }
        Ok(Some(length + 1))
    }

    fn braced(&self, name: &str, operator: &str, depth: usize) -> Result<Option<String>, Stop> {
        let value = (self.lookup)(name);
        let (empty_counts, operator) = match operator.strip_prefix(':') {
            Some(rest) => (false, rest),
            None => (true, operator),
        };
        let present = value
            .clone()
            .filter(|value| empty_counts || !value.is_empty());
        if let Some(default) = operator.strip_prefix('-') {
            if let Some(value) = present {
                return Ok(Some(value));
            }
            let default = if depth < MAX_DEPTH {
                self.run(default, depth + 1)?
            } else {
                default.to_owned()
            };
            return Ok(Some(default));
        }
        if let Some(message) = operator.strip_prefix('?') {
            let missing = || Stop::Missing {
                name: name.to_owned(),
                message: message.to_owned(),
            };
            return present.ok_or_else(missing).map(Some);
        }
        if !operator.is_empty() || !empty_counts {
            return Ok(None);
        }
        Ok(Some(value.unwrap_or_default()))
    }
}

fn name_length(text: &str) -> usize {
    if !text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()) {
        return 0;
    }
    text.find(|c: char| !(c == '_' || c.is_ascii_alphanumeric()))
        .unwrap_or(text.len())
}

/// Where the braces of references close, found in one pass: a search from each would take a square of time.
struct Braces(Vec<(usize, usize)>);

impl Braces {
    fn of(text: &str) -> Self {
        let mut open = Vec::new();
        let mut pairs = Vec::new();
        let mut before = ' ';
        for (at, c) in text.char_indices() {
            match c {
                '{' if before == '$' => open.push(at - 1),
                '}' => pairs.extend(open.pop().map(|from| (from, at))),
                _ => {}
            }
            before = c;
        }
        pairs.sort_unstable();
        Self(pairs)
    }

    /// Returns how far behind the `${` at `from` its brace closes.
    fn close(&self, from: usize) -> Option<usize> {
        let found = self.0.binary_search_by_key(&from, |(from, _)| *from);
        found.ok().map(|index| self.0[index].1 - from)
    }
}
