//! How an error is shown: what, why, and what next.

use std::error::Error;
use std::fmt::Write;

use harness::report::printable;

use super::symbols::{BOLD, RED, paint};

/// Returns the text for `error`: its line, a line for each cause, and the hints below a blank line.
pub(crate) fn render(error: &dyn Error, hints: &[String]) -> String {
    let mut text = String::new();
    let mut above = error.to_string();
    entry(&mut text, &paint(RED, "error"), &above);
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // A transparent wrapper says what its source says; some libraries repeat the source in their own line.
        if !above.ends_with(&said) {
            entry(&mut text, "  caused by", &said);
            above = said;
        }
        cause = error.source();
    }
    if !hints.is_empty() {
        text.push('\n');
    }
    for hint in hints {
        entry(&mut text, &paint(BOLD, "hint"), hint);
    }
    text
}

/// Appends `said` behind `label`, further lines indented (a YAML error shows the place in the file).
fn entry(text: &mut String, label: &str, said: &str) {
    let mut lines = said.lines().map(printable);
    let first = lines.next().unwrap_or_default();
    writeln!(text, "{label}: {first}").expect("writing to a string succeeds");
    for line in lines {
        writeln!(text, "    {line}").expect("writing to a string succeeds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Self>>);

    impl std::fmt::Display for Layer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1
                .as_deref()
                .map(|layer| layer as &(dyn Error + 'static))
        }
    }

    fn layers(said: &[&'static str]) -> Layer {
        Layer(
            said[0],
            (said.len() > 1).then(|| Box::new(layers(&said[1..]))),
        )
    }

    fn shown(said: &[&'static str], hints: &[&str]) -> String {
        let hints: Vec<String> = hints.iter().map(|hint| (*hint).to_owned()).collect();
        anstream::adapter::strip_str(&render(&layers(said), &hints)).to_string()
    }

    #[test]
    fn each_layer_is_said_once() {
        let text = shown(
            &[
                "cannot read `compose.yml`",
                "line 3: bad indent\n3 |  x:\n  |  ^",
                "line 3: bad indent\n3 |  x:\n  |  ^",
                "eof",
            ],
            &["fix the file", "see `recipe-ci doctor`"],
        );
        assert_eq!(
            text,
            "error: cannot read `compose.yml`\n  caused by: line 3: bad indent\n    3 |  x:\n      |  ^\n  caused by: eof\n\n\
             hint: fix the file\nhint: see `recipe-ci doctor`\n"
        );
    }

    #[test]
    fn an_error_alone_is_one_line() {
        assert_eq!(shown(&["no\u{1b}[2J"], &[]), "error: no\n");
        assert_eq!(
            shown(&["open: permission denied", "permission denied"], &[]),
            "error: open: permission denied\n"
        );
    }
}
