//! The exports of a recipe's `abra.sh`, read without running it.

use std::collections::BTreeMap;

use super::{COUNT_CEILING, EnvError, TOTAL_CEILING, VALUE_CEILING};

/// The name of the file.
const FILE_NAME: &str = "abra.sh";

/// What `abra.sh` exports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exports {
    /// The variables with their values, in the order of the file; a name may occur more than once.
    pub vars: Vec<(String, String)>,
    /// The exports whose value only a shell can tell.
    pub unevaluated: Vec<Unevaluated>,
    /// How much text all of `vars` is.
    total: usize,
}

impl Exports {
    /// Returns how many exports the file has, evaluated or not.
    fn count(&self) -> usize {
        self.vars.len() + self.unevaluated.len()
    }
}

/// Why a word of a shell has no value here.
enum Stop {
    /// Only a shell can tell it.
    Unevaluated(&'static str),
    /// It is longer than a value may be.
    TooLong,
}

impl From<&'static str> for Stop {
    fn from(reason: &'static str) -> Self {
        Self::Unevaluated(reason)
    }
}

/// An export that was not evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unevaluated {
    /// The line, from 1.
    pub line: usize,
    /// The variable, when the line names one.
    pub name: Option<String>,
    /// Why it was not evaluated.
    pub reason: &'static str,
}

/// Returns the `export X=v` lines of `text`, the text of an `abra.sh`.
///
/// Bodies of functions are passed over. A value may be quoted as in a shell and may refer to earlier exports.
/// A value with a command substitution, or an export inside `if`, a loop or a `case`, is returned as
/// unevaluated.
///
/// # Errors
/// [`EnvError::ValueTooLong`], [`EnvError::TooMuch`].
pub fn exports(text: &str) -> Result<Exports, EnvError> {
    let mut found = Exports::default();
    let mut vars = BTreeMap::new();
    let mut blocks = 0_usize;
    let mut lines = text.lines().enumerate();
    while let Some((index, raw)) = lines.next() {
        let line = raw.trim();
        if opens_function(line) {
            if !line.ends_with(['}', ')']) || line.ends_with("()") {
                let indent = indentation(raw);
                let closes =
                    |l: &str| indentation(l) <= indent && l.trim_start().starts_with(['}', ')']);
                // The body ends at the first closing brace that is indented no deeper than the function.
                let _ = lines.by_ref().find(|(_, l)| closes(l));
            }
            continue;
        }
        let word = line.split([' ', '\t', ';']).next().unwrap_or_default();
        let closed = line
            .split([' ', '\t', ';'])
            .any(|w| matches!(w, "fi" | "done" | "esac"));
        let opened = matches!(word, "if" | "for" | "while" | "until" | "case" | "select");
        if opened && !closed {
            blocks += 1;
        } else if closed && !opened {
            blocks = blocks.saturating_sub(1);
        }
        let Some(rest) = line
            .strip_prefix("export")
            .filter(|rest| rest.starts_with([' ', '\t']))
        else {
            continue;
        };
        let number = index + 1;
        if found.count() >= COUNT_CEILING {
            return Err(EnvError::TooMuch {
                file: FILE_NAME.to_owned(),
                line: number,
            });
        }
        if blocks > 0 {
            let name = rest.split('=').next().map(|name| name.trim().to_owned());
            found.unevaluated.push(Unevaluated {
                line: number,
                name,
                reason: "it is conditional",
            });
            continue;
        }
        read_line(rest, number, &mut vars, &mut found)?;
    }
    Ok(found)
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn opens_function(line: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-:.".contains(c))
    };
    if let Some(rest) = line.strip_prefix("function ") {
        return rest.split(['(', '{', ' ']).next().is_some_and(is_name);
    }
    line.split_once('(')
        .is_some_and(|(name, rest)| is_name(name.trim_end()) && rest.trim_start().starts_with(')'))
}

fn read_line(
    text: &str,
    line: usize,
    vars: &mut BTreeMap<String, String>,
    found: &mut Exports,
) -> Result<(), EnvError> {
    let file = || FILE_NAME.to_owned();
    let mut rest = text.trim_start();
    while !rest.is_empty() && !rest.starts_with(['#', ';', '&', '|']) {
        let end = rest
            .find(|c: char| !(c == '_' || c.is_ascii_alphanumeric()))
            .unwrap_or(rest.len());
        let name = &rest[..end];
        let Some(value) = rest[end..].strip_prefix('=') else {
            // `export X` only marks a variable; anything else, such as `-f name`, is not ours either.
            rest = rest
                .split_once([' ', '\t'])
                .map_or("", |(_, tail)| tail.trim_start());
            continue;
        };
        match word(value, vars) {
            Ok((value, tail)) => {
                found.total += name.len() + value.len();
                if found.total > TOTAL_CEILING || found.count() >= COUNT_CEILING {
                    return Err(EnvError::TooMuch { file: file(), line });
                }
                vars.insert(name.to_owned(), value.clone());
                found.vars.push((name.to_owned(), value));
                rest = tail.trim_start();
            }
            Err(Stop::TooLong) => {
                let key = name.to_owned();
                return Err(EnvError::ValueTooLong {
                    file: file(),
                    line,
                    key,
                });
            }
            Err(Stop::Unevaluated(reason)) => {
                vars.remove(name);
                found.unevaluated.push(Unevaluated {
                    line,
                    name: Some(name.to_owned()),
                    reason,
                });
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Returns the shell word at the start of `text`, evaluated, and what follows it.
fn word<'a>(text: &'a str, vars: &BTreeMap<String, String>) -> Result<(String, &'a str), Stop> {
    let mut out = String::new();
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        if out.len() > VALUE_CEILING {
            return Err(Stop::TooLong);
        }
        let tail = &rest[c.len_utf8()..];
        match c {
            '"' => {
                quoted = !quoted;
                rest = tail;
            }
            '\'' if !quoted => {
                let end = tail
                    .find('\'')
                    .ok_or("its quote is not closed on the line")?;
                out.push_str(&tail[..end]);
                rest = &tail[end + 1..];
            }
            '\\' => {
                let next = tail.chars().next().ok_or("it goes on in the next line")?;
                if quoted && !"$`\"\\".contains(next) {
                    out.push('\\');
                }
                out.push(next);
                rest = &tail[next.len_utf8()..];
            }
            '`' => return Err("it runs a command".into()),
            '$' => {
                let (value, length) = parameter(tail, vars)?;
                out.push_str(&value);
                rest = &tail[length..];
            }
            ' ' | '\t' | ';' | '&' | '|' if !quoted => return Ok((out, rest)),
            _ => {
                out.push(c);
                rest = tail;
            }
        }
    }
    if quoted {
        return Err("its quote is not closed on the line".into());
    }
    match out.len() > VALUE_CEILING {
        true => Err(Stop::TooLong),
        false => Ok((out, rest)),
    }
}

/// Returns the value of the parameter behind a `$`, and its length.
fn parameter(text: &str, vars: &BTreeMap<String, String>) -> Result<(String, usize), &'static str> {
    if text.starts_with('(') {
        return Err("it runs a command");
    }
    let name_end = |text: &str| {
        text.find(|c: char| !(c == '_' || c.is_ascii_alphanumeric()))
            .unwrap_or(text.len())
    };
    let unknown = "it refers to a variable that the file does not set before";
    if let Some(inner) = text.strip_prefix('{') {
        let close = inner
            .find('}')
            .ok_or("its brace is not closed on the line")?;
        let (name, operator) = inner[..close].split_at(name_end(&inner[..close]));
        if !operator.is_empty() {
            return Err("it uses a parameter expansion");
        }
        return Ok((vars.get(name).cloned().ok_or(unknown)?, close + 2));
    }
    let end = name_end(text);
    if end == 0 || text.starts_with(|c: char| c.is_ascii_digit()) {
        if text.is_empty() || text.starts_with([' ', '"', '/', '.']) {
            return Ok(("$".to_owned(), 0));
        }
        return Err("it uses a special parameter");
    }
    Ok((vars.get(&text[..end]).cloned().ok_or(unknown)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        exports(text).unwrap().vars
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn exports_are_read_with_their_quotes() {
        let text = "#!/bin/bash\nexport A=v1\nexport B=\"two words\" # comment\n  export C='$x'\nexport D=a\\ b E=e\n\
                    D2=no\nexport F\nexport G=\"$A-${C}\"\nexport H=\r\n";
        assert_eq!(
            values(text),
            [
                pair("A", "v1"),
                pair("B", "two words"),
                pair("C", "$x"),
                pair("D", "a b"),
                pair("E", "e"),
                pair("G", "v1-$x"),
                pair("H", ""),
            ]
        );
    }

    #[test]
    fn bodies_of_functions_are_passed_over() {
        let text = "export A=1\nbackup() {\n  export B=2\n  if true; then\n    x\n  fi\n}\nfunction restore {\nexport C=3\n}\n\
                    one() { export D=4; }\nset_up()\n{\n  export E=5\n}\nexport F=6\n";
        assert_eq!(values(text), [pair("A", "1"), pair("F", "6")]);
    }

    #[test]
    fn what_only_a_shell_can_tell_is_reported_with_its_line() {
        let text = "export A=$(date)\nexport B=`date`\nexport C=${D:-x}\nexport E=$UNKNOWN\nif true; then\n  export F=1\nfi\nexport G=2\n";
        let found = exports(text).unwrap();
        assert_eq!(found.vars, [pair("G", "2")]);
        let lines: Vec<_> = found
            .unevaluated
            .iter()
            .map(|u| (u.line, u.name.as_deref().unwrap()))
            .collect();
        assert_eq!(lines, [(1, "A"), (2, "B"), (3, "C"), (4, "E"), (6, "F")]);
    }

    #[test]
    fn exports_that_grow_without_end_are_refused_with_their_line() {
        let mut text = format!("export A0={}\n", "x".repeat(1000));
        for level in 1..10 {
            let before = format!("${{A{}}}", level - 1).repeat(10);
            text += &format!("export A{level}=\"{before}\"\n");
        }
        let error = exports(&text).unwrap_err().to_string();
        assert_eq!(
            error,
            "abra.sh:3: the value of `A2` is longer than 64 KiB, or expands to more"
        );
        let text = format!("export A={}\n", "x".repeat(60_000))
            + &(0..40)
                .map(|n| format!("export B{n}=$A\n"))
                .collect::<String>();
        let error = exports(&text).unwrap_err().to_string();
        assert!(
            error.starts_with("abra.sh:18: the variables up to here"),
            "{error}"
        );
        let many = "export A=\n".repeat(COUNT_CEILING + 1);
        let error = exports(&many).unwrap_err().to_string();
        assert!(error.starts_with("abra.sh:10001: "), "{error}");
        let unknown = "export A=$A$A\n".repeat(COUNT_CEILING + 1);
        let error = exports(&unknown).unwrap_err().to_string();
        assert!(error.starts_with("abra.sh:10001: "), "{error}");
    }

    #[test]
    fn a_file_of_comments_exports_nothing() {
        assert_eq!(exports("# export A=1\n\n"), Ok(Exports::default()));
    }
}
