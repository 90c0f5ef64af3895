//! The forms of a report that lie beside `results.json`, for a pipeline's test view and for people.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::file::{self, ResultsError};
use super::results::Results;
use engine::record::{Durability, replace};
use ground::host_file;

/// A form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JUnit XML.
    Junit,
    /// A page.
    Html,
    /// Markdown.
    Markdown,
    /// A picture of the level.
    Badge,
    /// The level as shields.io reads it.
    Shield,
}

/// The forms that every run leaves, by the name of their file.
const KEPT: [(&str, Form); 4] = [
    ("junit.xml", Form::Junit),
    ("report.html", Form::Html),
    ("badge.svg", Form::Badge),
    ("badge.json", Form::Shield),
];

/// A form of the report that is wanted somewhere else, such as in a pipeline's workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The form.
    pub form: Form,
    /// Where it goes.
    pub path: PathBuf,
}

impl Copy {
    /// Writes it, from the `results.json` in `dir`.
    ///
    /// # Errors
    /// [`ResultsError`]: there is no report, or its form cannot be written there.
    pub fn write(&self, dir: &Path) -> Result<(), ResultsError> {
        let results = file::read(&dir.join("results.json"))?;
        let write = || {
            let mut file = host_file::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o644)
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(&self.path)?;
            file.write_all(self.form.of(&results).as_bytes())
        };
        write().map_err(|source| ResultsError::Write {
            path: self.path.clone(),
            source,
        })
    }
}

impl Form {
    /// Returns the report in this form, with a line end.
    #[must_use]
    pub fn of(self, results: &Results) -> String {
        let mut text = match self {
            Self::Junit => results.junit(),
            Self::Html => results.page(),
            Self::Markdown => results.markdown(),
            Self::Badge => results.badge_svg(),
            Self::Shield => results.badge_json().to_string(),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }
}

/// Writes every form beside `results.json` in `dir`; `results` hold no secret any more.
///
/// # Errors
/// The first that cannot be written, and why.
pub(super) fn write(results: &Results, dir: &Path) -> Result<(), (PathBuf, io::Error)> {
    KEPT.iter().try_for_each(|(name, form)| {
        let path = dir.join(name);
        replace(&path, form.of(results).as_bytes(), Durability::Kill).map_err(|error| (path, error))
    })
}

#[cfg(test)]
mod tests;
