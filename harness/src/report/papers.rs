//! The forms of a report that lie beside `results.json`, for a pipeline's test view and for people.

use std::io;
use std::path::{Path, PathBuf};

use super::results::Results;
use engine::record::{Durability, replace};

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

/// The file of the JUnit XML that every run leaves.
pub const JUNIT: &str = "junit.xml";

/// The file of the page that every run leaves.
pub const PAGE: &str = "report.html";

/// The forms that every run leaves, by the name of their file.
const KEPT: [(&str, Form); 4] = [
    (JUNIT, Form::Junit),
    (PAGE, Form::Html),
    ("badge.svg", Form::Badge),
    ("badge.json", Form::Shield),
];

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
