//! Exit codes: what the shell that started the program learns.
//!
//! "The recipe is broken" and "the CI is broken" must differ, and so must every way to be interrupted.
//! `docs/exit-codes.md` is this page for people.

use std::process::ExitCode;

#[cfg(test)]
use harness::outcome::Verdict;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Every tier passed or was skipped for cause; any other command did what it was asked.
    Passed = 0,
    /// A tier failed, or a rule of the lint that must hold: the recipe does not do what it should.
    Failed = 1,
    /// A usage or configuration error; nothing was created.
    Usage = 2,
    /// The harness or the host failed.
    Infra = 3,
    /// Teardown left something behind in an otherwise green run, or the janitor could not remove an orphan.
    Leftovers = 4,
    /// SIGHUP ended the run (128 + 1).
    HungUp = 129,
    /// SIGINT ended the run (128 + 2).
    Interrupted = 130,
    /// SIGQUIT ended the run (128 + 3).
    Quit = 131,
    /// The worker was killed and the supervisor reaped its app (128 + SIGKILL).
    Orphaned = 137,
    /// The hard deadline ended the run (128 + SIGALRM).
    Deadline = 142,
    /// SIGTERM ended the run (128 + 15).
    Terminated = 143,
}

impl Exit {
    /// Every way to end, in the order of the codes.
    pub(crate) const ALL: [Self; 11] = [
        Self::Passed,
        Self::Failed,
        Self::Usage,
        Self::Infra,
        Self::Leftovers,
        Self::HungUp,
        Self::Interrupted,
        Self::Quit,
        Self::Orphaned,
        Self::Deadline,
        Self::Terminated,
    ];

    /// Returns the code that the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// Returns the way to end that has `code`, as a supervisor needs it for its worker's code.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| exit.code() == code)
    }

    /// Returns the verdict of a run that ends so; `docs/exit-codes.md` is checked against it.
    #[cfg(test)]
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Passed => Verdict::Passed,
            Self::Failed | Self::Leftovers => Verdict::Failed,
            Self::Usage => Verdict::Usage,
            Self::Infra => Verdict::Infra,
            Self::HungUp | Self::Interrupted | Self::Quit | Self::Terminated => Verdict::Cancelled,
            Self::Orphaned => Verdict::Orphaned,
            Self::Deadline => Verdict::Deadline,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_with_its_verdict() {
        let page = include_str!("../../docs/exit-codes.md");
        for exit in Exit::ALL {
            let row = format!("| {} | `{}` |", exit.code(), exit.verdict());
            assert!(page.contains(&row), "docs/exit-codes.md lacks {row}");
            assert_eq!(Exit::from_code(exit.code()), Some(exit));
        }
        let rows = page
            .lines()
            .filter(|line| {
                let cell = line.strip_prefix("| ").unwrap_or_default();
                cell.starts_with(|c: char| c.is_ascii_digit())
            })
            .count();
        assert_eq!(
            rows,
            Exit::ALL.len(),
            "docs/exit-codes.md has a code that does not exist"
        );
        assert_eq!(Exit::from_code(5), None);
    }
}
