//! Environment files of apps, `.env.sample` and `servers/<server>/<domain>.env`: read, resolved, edited.
//!
//! An unmodified file is written back byte for byte. The rules:
//!
//! - A line is empty, a comment, or `[export ]KEY=value`. CRLF and a byte order mark are accepted and kept.
//! - `'…'` is literal. `"…"` knows `\"`, `\\`, `\$`, `\n`, `\r` and `\t`; any other backslash stands for
//!   itself. Both may span lines. Anything but a comment behind the closing quote is an error.
//! - An unquoted value ends with its line or before ` #`, without the spaces around it. Backslashes stand
//!   for themselves, except in `\$`, which is a `$`.
//! - Outside single quotes `$VAR`, `${VAR}`, `${VAR:-d}`, `${VAR-d}`, `${VAR:?m}` and `${VAR?m}` refer to the
//!   lines before, then to the base variables; a default is itself expanded.
//! - Every other `$` stands for itself, and so does `$$`: `p$1x` and `pa$$word` stay as they are.
//! - An unset variable is empty, but a bare `$name` with a lower-case letter stays as it is, because it is
//!   more likely a piece of a password (abra only knows upper-case names).
//!
//! Values may be secrets, so no error prints one.

pub mod abra_sh;
mod expand;
mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use expand::Stop;
use parse::{Assignment, Quote, Segment};

/// The longest value, expanded: 64 KiB.
pub const VALUE_CEILING: usize = 64 << 10;

/// The most that the names and values of one file come to, expanded: 1 MiB.
pub const TOTAL_CEILING: usize = 1 << 20;

/// The most assignments of one file.
pub const COUNT_CEILING: usize = 10_000;

/// A fault in an environment file. It names the file and the line, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A line that is neither empty, a comment nor an assignment.
    #[error("{file}:{line}: not an assignment; expected `KEY=value`")]
    NotAssignment {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// A key with characters that a variable's name cannot have.
    #[error("{file}:{line}: the text before `=` is not a variable name")]
    Key {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// A quote that is never closed.
    #[error("{file}:{line}: the quote that opens the value of `{key}` is never closed")]
    Unterminated {
        /// The file.
        file: String,
        /// The line where the value begins, from 1.
        line: usize,
        /// The variable.
        key: String,
    },
    /// Text behind a closing quote.
    #[error("{file}:{line}: unexpected text behind the closing quote of `{key}`")]
    Trailing {
        /// The file.
        file: String,
        /// The line where the value begins, from 1.
        line: usize,
        /// The variable.
        key: String,
    },
    /// A value that is too long, or becomes so when its references are expanded.
    #[error("{file}:{line}: the value of `{key}` is longer than {} KiB, or expands to more", VALUE_CEILING >> 10)]
    ValueTooLong {
        /// The file.
        file: String,
        /// The line where the value begins, from 1.
        line: usize,
        /// The variable.
        key: String,
    },
    /// Variables that are too many, or together too long.
    #[error(
        "{file}:{line}: the variables up to here are more than {COUNT_CEILING}, or expand to more than {} MiB",
        TOTAL_CEILING >> 20
    )]
    TooMuch {
        /// The file.
        file: String,
        /// The line of the first that is too many, from 1.
        line: usize,
    },
    /// A value that needs a variable which has none.
    #[error("{file}:{line}: `{key}` requires `{variable}`, which is missing a value: {message}")]
    Required {
        /// The file.
        file: String,
        /// The line where the value begins, from 1.
        line: usize,
        /// The variable whose value cannot be resolved.
        key: String,
        /// The variable that it refers to.
        variable: String,
        /// The message in the file, which may be empty.
        message: String,
    },
}

impl EnvError {
    /// Returns the line that is wrong, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        match self {
            Self::NotAssignment { line, .. }
            | Self::Key { line, .. }
            | Self::Unterminated { line, .. }
            | Self::Trailing { line, .. }
            | Self::ValueTooLong { line, .. }
            | Self::TooMuch { line, .. }
            | Self::Required { line, .. } => *line,
        }
    }

    /// Returns whether the file is no mistake of a line but more than a recipe may have.
    #[must_use]
    pub fn is_too_much(&self) -> bool {
        matches!(self, Self::ValueTooLong { .. } | Self::TooMuch { .. })
    }
}

/// An environment file with every line, comment and space of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFile {
    name: String,
    segments: Vec<Segment>,
}

impl EnvFile {
    /// Returns the file of this text; `name` is what errors call it.
    ///
    /// # Errors
    /// [`EnvError`] at the first malformed line.
    pub fn parse(text: &str, name: &str) -> Result<Self, EnvError> {
        Ok(Self {
            name: name.to_owned(),
            segments: parse::segments(text, name)?,
        })
    }

    /// Returns what errors call the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn assignments(&self) -> impl DoubleEndedIterator<Item = &Assignment> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Assignment(assignment) => Some(assignment),
            Segment::Other(_) => None,
        })
    }

    fn last(&self, key: &str) -> Option<&Assignment> {
        self.assignments()
            .rev()
            .find(|assignment| assignment.key == key)
    }

    /// Returns the distinct keys that are assigned, in the order of their first assignment.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let keys = self.assignments().map(|assignment| assignment.key.as_str());
        keys.filter(|key| seen.insert(*key)).collect()
    }

    /// Returns the last assigned value as it is written, without its quotes; nothing in it is expanded.
    #[must_use]
    pub fn get_raw(&self, key: &str) -> Option<&str> {
        self.last(key).map(|assignment| assignment.value.as_str())
    }

    /// Returns the line, from 1, of the last assignment.
    #[must_use]
    pub fn line_of(&self, key: &str) -> Option<usize> {
        self.last(key).map(|assignment| assignment.line)
    }

    /// Returns the comment behind the last assignment, without `#` and the spaces around it.
    #[must_use]
    pub fn trailing_comment(&self, key: &str) -> Option<&str> {
        let tail = self.last(key)?.tail.trim();
        tail.strip_prefix('#').map(str::trim)
    }

    /// Returns the variables that the file sets, with references resolved; the last assignment wins.
    ///
    /// The variables of `base` are only referred to, they are not part of the result.
    ///
    /// # Errors
    /// [`EnvError::Required`] when a `${VAR:?}` has no value.
    pub fn resolve(
        &self,
        base: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, EnvError> {
        let mut vars: BTreeMap<String, String> = BTreeMap::new();
        let mut total = 0;
        for (count, assignment) in self.assignments().enumerate() {
            let value = match assignment.quote {
                Quote::Single => assignment.value.clone(),
                quote => {
                    let lookup = |name: &str| vars.get(name).or_else(|| base.get(name)).cloned();
                    expand::expand(&assignment.value, quote == Quote::Double, &lookup)
                        .map_err(|stop| self.wrong(assignment, stop))?
                }
            };
            // An assignment counts also where a later one replaces it: each costs the time to expand it.
            total += assignment.key.len() + value.len();
            if value.len() > VALUE_CEILING {
                return Err(self.wrong(assignment, Stop::TooLong));
            }
            if total > TOTAL_CEILING || count == COUNT_CEILING {
                return Err(EnvError::TooMuch {
                    file: self.name.clone(),
                    line: assignment.line,
                });
            }
            vars.insert(assignment.key.clone(), value);
        }
        Ok(vars)
    }

    fn wrong(&self, assignment: &Assignment, stop: Stop) -> EnvError {
        let (file, line) = (self.name.clone(), assignment.line);
        let key = assignment.key.clone();
        match stop {
            Stop::TooLong => EnvError::ValueTooLong { file, line, key },
            Stop::Missing { name, message } => EnvError::Required {
                file,
                line,
                key,
                variable: name,
                message,
            },
        }
    }

    /// Assigns `value` to `key`, so that resolving the file gives exactly this value.
    ///
    /// The last active assignment is replaced in place and keeps its comment; a commented-out one is left
    /// alone. Without any, a line is appended.
    pub fn set(&mut self, key: &str, value: &str) {
        let (quote, value) = parse::quote(value);
        let last = self
            .segments
            .iter_mut()
            .rev()
            .find_map(|segment| match segment {
                Segment::Assignment(assignment) if assignment.key == key => Some(assignment),
                _ => None,
            });
        if let Some(assignment) = last {
            assignment.quote = quote;
            assignment.value = value;
            return;
        }
        let text = self.to_string();
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        if !text.is_empty() && !text.ends_with('\n') {
            self.segments.push(Segment::Other(newline.to_owned()));
        }
        self.segments.push(Segment::Assignment(Assignment {
            lead: format!("{key}="),
            key: key.to_owned(),
            quote,
            value,
            tail: newline.to_owned(),
            line: text.lines().count() + 1,
        }));
    }
}

impl fmt::Display for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Other(text) => f.write_str(text)?,
                Segment::Assignment(Assignment {
                    lead,
                    quote,
                    value,
                    tail,
                    ..
                }) => {
                    let mark = quote.mark();
                    write!(f, "{lead}{mark}{value}{mark}{tail}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
