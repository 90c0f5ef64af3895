//! Signs and styles. A status always has a word or a sign of its own, never a colour alone.

use anstyle::{AnsiColor, Style};
use harness::outcome::Status;

/// Which characters the reader's terminal or log can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// The locale is UTF-8.
    Unicode,
    /// It is not: the program's own signs are spelled in ASCII; other people's text is left as it is.
    Ascii,
}

impl Charset {
    /// Returns the sign of `status`.
    pub(crate) fn sign(self, status: Status) -> &'static str {
        match (self, status) {
            (Self::Unicode, Status::Pass) => "✔",
            (Self::Unicode, Status::Fail) => "✘",
            (Self::Ascii, Status::Pass) => "+",
            (Self::Ascii, Status::Fail) => "x",
            (_, Status::Skip) => "-",
            (_, Status::Unver) => "?",
            (_, Status::Flaky) => "~",
        }
    }

    /// Returns the frames of the live line's spinner; the last is shown when it has ended.
    pub(super) fn spinner(self) -> &'static str {
        match self {
            Self::Unicode => "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ",
            Self::Ascii => "|/-\\ ",
        }
    }

    /// Returns the sign in front of other programs' output.
    pub(super) fn gutter(self) -> &'static str {
        match self {
            Self::Unicode => "│",
            Self::Ascii => "|",
        }
    }

    /// Returns `text` without the signs that the charset does not have.
    pub(super) fn spell(self, text: &str) -> String {
        match self {
            Self::Unicode => text.to_owned(),
            Self::Ascii => text
                .replace('→', "->")
                .replace('—', "--")
                .replace('…', "...")
                .replace('×', "x"),
        }
    }
}

/// For what failed.
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();
/// For what a person should look at.
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
/// For what passed.
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
/// For what is only there for reference.
pub(super) const DIM: Style = Style::new().dimmed();
/// For what the eye should find first.
pub(super) const BOLD: Style = Style::new().bold();

/// Returns the style of `status`.
pub(super) fn style(status: Status) -> Style {
    match status {
        Status::Pass => GREEN,
        Status::Fail => RED,
        Status::Skip => DIM,
        Status::Unver | Status::Flaky => YELLOW,
    }
}

/// Returns `text` in `style`.
pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
