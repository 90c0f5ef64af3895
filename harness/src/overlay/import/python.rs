//! A reader of Python's literals, and of no other Python.
//!
//! Top-level statements are cut out by brackets, quotes and indentation; of them only `NAME = literal` is
//! understood. A parser of all of Python would be ten times this program's size for the same few values.

use std::collections::HashMap;

/// A plain value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    /// As written.
    Float(String),
    Flag(bool),
    None,
    /// A list or a tuple.
    List(Vec<Self>),
    /// With keys that are strings, in their order.
    Dict(Vec<(String, Self)>),
}

/// A top-level statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    /// `NAME = literal`.
    Assigned {
        line: usize,
        name: String,
        value: Value,
    },
    /// Anything else, by its first line.
    Other { line: usize, what: String },
}

type Fault = (usize, String);

/// Returns the top-level statements; an error has the line of a statement that never ends.
pub(super) fn read(text: &str) -> Result<Vec<Statement>, Fault> {
    let mut statements = Vec::new();
    let mut known = HashMap::new();
    for (line, source) in statements_of(text)? {
        let first = source.lines().next().unwrap_or_default().trim_end();
        let is_docstring = Reader::new(&source, &known)
            .alone()
            .is_ok_and(|value| matches!(value, Value::Text(_)));
        if is_docstring {
            continue;
        }
        match assignment(&source, &known) {
            Some((name, value)) => {
                known.insert(name.clone(), value.clone());
                statements.push(Statement::Assigned { line, name, value });
            }
            None => statements.push(Statement::Other {
                line,
                what: first.to_owned(),
            }),
        }
    }
    Ok(statements)
}

/// Cuts the text into top-level statements with their lines; comments and blocks stay with theirs.
fn statements_of(text: &str) -> Result<Vec<(usize, String)>, Fault> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let mut source = line.to_owned();
        while !is_whole(&source).map_err(|reason| (index + 1, reason))? {
            let Some((_, more)) = lines.next() else {
                return Err((index + 1, "a bracket or a quote is never closed".to_owned()));
            };
            source.push('\n');
            source.push_str(more);
        }
        // What is indented belongs to the statement above: a block.
        match found.last_mut() {
            Some((_, above)) if line.starts_with([' ', '\t']) => {
                above.push('\n');
                above.push_str(&source);
            }
            _ => found.push((index + 1, source)),
        }
    }
    Ok(found)
}

/// Returns whether every bracket and quote is closed, and no backslash continues the line.
fn is_whole(source: &str) -> Result<bool, String> {
    let mut rest = source;
    let mut depth = 0_i32;
    while let Some(c) = rest.chars().next() {
        match c {
            '#' => {
                rest = rest.find('\n').map_or("", |at| &rest[at..]);
                continue;
            }
            '\'' | '"' => {
                let Some(after) = past_string(rest)? else {
                    return Ok(false);
                };
                rest = after;
                continue;
            }
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth -= 1,
            _ => {}
        }
        rest = &rest[c.len_utf8()..];
    }
    Ok(depth <= 0 && !source.ends_with('\\'))
}

/// Returns what is behind the string that `text` begins with; `None` when a long one is still open.
fn past_string(text: &str) -> Result<Option<&str>, String> {
    let quote = &text[..1];
    let long = quote.repeat(3);
    let (end, is_long) = if text.starts_with(&long) {
        (long.as_str(), true)
    } else {
        (quote, false)
    };
    let mut rest = &text[end.len()..];
    loop {
        if let Some(behind) = rest.strip_prefix(end) {
            return Ok(Some(behind));
        }
        let mut chars = rest.chars();
        match chars.next() {
            Some('\\') => {
                chars.next();
            }
            Some('\n') if !is_long => return Err("a quote is never closed".to_owned()),
            Some(_) => {}
            None if is_long => return Ok(None),
            None => return Err("a quote is never closed".to_owned()),
        }
        rest = chars.as_str();
    }
}

fn assignment(source: &str, known: &HashMap<String, Value>) -> Option<(String, Value)> {
    let end = source
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|end| *end > 0)?;
    let (name, rest) = source.split_at(end);
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix(':') {
        // An annotation; it has no `=` of its own.
        Some(annotated) => &annotated[annotated.find('=')?..],
        None => rest,
    };
    let value = rest
        .strip_prefix('=')
        .filter(|rest| !rest.starts_with('='))?;
    let value = Reader::new(value, known).alone().ok()?;
    Some((name.to_owned(), value))
}

struct Reader<'a> {
    rest: &'a str,
    known: &'a HashMap<String, Value>,
}

/// This is no literal.
struct NotPlain;

impl<'a> Reader<'a> {
    fn new(rest: &'a str, known: &'a HashMap<String, Value>) -> Self {
        Self { rest, known }
    }

    /// Reads the one value that is all of the text.
    fn alone(mut self) -> Result<Value, NotPlain> {
        let value = self.value()?;
        self.skip();
        if self.rest.is_empty() {
            Ok(value)
        } else {
            Err(NotPlain)
        }
    }

    /// Skips white space, comments and continued lines.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with('#') {
                self.rest = self.rest.find('\n').map_or("", |at| &self.rest[at..]);
            } else if let Some(rest) = self.rest.strip_prefix("\\\n") {
                self.rest = rest;
            } else {
                return;
            }
        }
    }

    fn eat(&mut self, c: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Result<Value, NotPlain> {
        if self.eat('[') {
            return Ok(Value::List(self.items(']')?.0));
        }
        if self.eat('(') {
            let (mut items, comma) = self.items(')')?;
            // Parentheses around one value without a comma are no tuple.
            return match items.pop() {
                Some(only) if items.is_empty() && !comma => Ok(only),
                Some(last) => {
                    items.push(last);
                    Ok(Value::List(items))
                }
                None => Ok(Value::List(items)),
            };
        }
        if self.eat('{') {
            return self.dict();
        }
        if let Some(text) = self.strings()? {
            return Ok(Value::Text(text));
        }
        self.word()
    }

    fn items(&mut self, end: char) -> Result<(Vec<Value>, bool), NotPlain> {
        let (mut items, mut comma) = (Vec::new(), false);
        while !self.eat(end) {
            if !items.is_empty() && !comma {
                return Err(NotPlain);
            }
            items.push(self.value()?);
            comma = self.eat(',');
        }
        Ok((items, comma))
    }

    fn dict(&mut self) -> Result<Value, NotPlain> {
        let (mut pairs, mut comma) = (Vec::new(), true);
        while !self.eat('}') {
            let Value::Text(key) = (if comma {
                self.value()?
            } else {
                return Err(NotPlain);
            }) else {
                return Err(NotPlain);
            };
            if !self.eat(':') {
                return Err(NotPlain);
            }
            pairs.push((key, self.value()?));
            comma = self.eat(',');
        }
        Ok(Value::Dict(pairs))
    }

    /// Reads string literals; those beside each other are one.
    fn strings(&mut self) -> Result<Option<String>, NotPlain> {
        let mut found: Option<String> = None;
        loop {
            self.skip();
            let at = self.rest.find(['\'', '"']).unwrap_or(self.rest.len());
            let (prefix, raw) = match self.rest[..at].to_ascii_lowercase().as_str() {
                "" | "u" => (at, false),
                "r" => (at, true),
                _ => return Ok(found),
            };
            if prefix == self.rest.len() {
                return Ok(found);
            }
            let text = &self.rest[prefix..];
            let Ok(Some(after)) = past_string(text) else {
                return Err(NotPlain);
            };
            let literal = &text[..text.len() - after.len()];
            let marks = if literal.len() >= 6 && literal.starts_with(&literal[..1].repeat(3)) {
                3
            } else {
                1
            };
            let inner = &literal[marks..literal.len() - marks];
            let inner = if raw {
                inner.to_owned()
            } else {
                unescape(inner)?
            };
            found.get_or_insert_default().push_str(&inner);
            self.rest = after;
        }
    }

    /// Reads a number, a constant or a name that was assigned above.
    fn word(&mut self) -> Result<Value, NotPlain> {
        self.skip();
        let end = self
            .rest
            .char_indices()
            .find(|(at, c)| {
                !(c.is_ascii_alphanumeric() || "_.".contains(*c) || (*at == 0 && *c == '-'))
            })
            .map_or(self.rest.len(), |(at, _)| at);
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "True" => return Ok(Value::Flag(true)),
            "False" => return Ok(Value::Flag(false)),
            "None" => return Ok(Value::None),
            "" | "-" => return Err(NotPlain),
            _ => {}
        }
        if let Some(value) = self.known.get(word) {
            return Ok(value.clone());
        }
        let plain = word.replace('_', "");
        if let Ok(number) = plain.parse::<i64>() {
            return Ok(Value::Integer(number));
        }
        let is_float = plain.starts_with(|c: char| c.is_ascii_digit() || "-.".contains(c));
        match plain.parse::<f64>() {
            Ok(number) if is_float && number.is_finite() => Ok(Value::Float(plain)),
            _ => Err(NotPlain),
        }
    }
}

/// Resolves the escapes of a string; one that is rare is no plain value.
fn unescape(text: &str) -> Result<String, NotPlain> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('\n') => {}
            Some(c @ ('\\' | '\'' | '"')) => out.push(c),
            _ => return Err(NotPlain),
        }
    }
    Ok(out)
}
