//! Which releases are due for a cold run, so that every enrolled recipe's canonical is its newest release.

use crate::dirs::HostDirs;
use crate::error::chain;
use crate::git::fetch::{FetchError, tag_names};
use crate::git::source::Source;
use crate::git::token::Token;
use crate::name::RecipeName;
use crate::recipe::version::{TagList, Version};
use crate::warm::WarmError;
use crate::warm::canonical::Place;

/// What a sweep does about a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// This release is to be run.
    Run(String),
    /// Its newest release is the canonical.
    NoNewVersion,
    /// It has no release.
    NeverReleased,
    /// It cannot be known, for this reason.
    Unknown(String),
}

/// A recipe in a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The recipe.
    pub recipe: RecipeName,
    /// Its newest release.
    pub newest: Option<String>,
    /// Its canonical's version.
    pub canonical: Option<String>,
    /// What is due.
    pub due: Due,
}

/// Looks what is due for `recipe`, whose published source is `source`. Blocking.
#[must_use]
pub fn look(host: &HostDirs, recipe: &RecipeName, source: &Source, token: Option<&Token>) -> Row {
    let canonical = canonical_version(host, recipe);
    row(recipe, tag_names(source, token), canonical)
}

/// Returns the version of the recipe's canonical, if it has one.
///
/// # Errors
/// [`WarmError`] when its record cannot be read.
pub fn canonical_version(
    host: &HostDirs,
    recipe: &RecipeName,
) -> Result<Option<String>, WarmError> {
    let canonical = Place::of(host, recipe).read()?;
    // While the first one is being made there is none.
    Ok(canonical
        .filter(|canonical| canonical.snapshot.is_some())
        .map(|canonical| canonical.version))
}

fn row(
    recipe: &RecipeName,
    tags: Result<Vec<String>, FetchError>,
    canonical: Result<Option<String>, WarmError>,
) -> Row {
    let mut row = Row {
        recipe: recipe.clone(),
        newest: None,
        canonical: None,
        due: Due::NeverReleased,
    };
    let tags = match tags {
        Ok(tags) => TagList::from_names(tags.iter().map(String::as_str)),
        Err(error) => {
            row.due = Due::Unknown(chain(&error));
            return row;
        }
    };
    let newest = tags.versions.last();
    row.newest = newest.map(ToString::to_string);
    match canonical {
        Ok(canonical) => row.canonical = canonical,
        Err(error) => {
            row.due = Due::Unknown(format!("{}; {}", chain(&error), error.advice()));
            return row;
        }
    }
    if let Some(newest) = newest {
        let known = row.canonical.as_deref().map(str::parse::<Version>);
        row.due = match known {
            Some(Ok(known)) if known >= *newest => Due::NoNewVersion,
            _ => Due::Run(newest.to_string()),
        };
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(tags: &[&str], canonical: Option<&str>) -> Due {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let canonical = canonical.map(str::to_owned);
        row(&"notes".parse().unwrap(), Ok(tags), Ok(canonical)).due
    }

    #[test]
    fn the_newest_release_is_due_unless_it_is_the_canonical() {
        let tags = ["0.9.0+1.0", "0.10.0+1.0", "v3", "latest"];
        assert_eq!(due(&tags, None), Due::Run("0.10.0+1.0".to_owned()));
        // By the order of versions, not of texts.
        assert_eq!(
            due(&tags, Some("0.9.0+1.0")),
            Due::Run("0.10.0+1.0".to_owned())
        );
        assert_eq!(due(&tags, Some("0.10.0+1.0")), Due::NoNewVersion);
        assert_eq!(due(&tags, Some("0.11.0+1.0")), Due::NoNewVersion);
        assert_eq!(due(&["latest"], None), Due::NeverReleased);
        assert_eq!(due(&[], None), Due::NeverReleased);
    }

    #[test]
    fn what_cannot_be_read_is_neither_new_nor_old() {
        let recipe: RecipeName = "notes".parse().unwrap();
        let missing = FetchError::SourceMissing {
            path: "/nowhere".into(),
        };
        assert!(matches!(
            row(&recipe, Err(missing), Ok(None)).due,
            Due::Unknown(_)
        ));
        let garbled = WarmError::Garbled {
            path: "/w/notes/canonical.json".into(),
            reason: "x".to_owned(),
        };
        let tags = Ok(vec!["0.1.0+1".to_owned()]);
        let Due::Unknown(reason) = row(&recipe, tags, Err(garbled)).due else {
            panic!("a garbled record was taken for none")
        };
        assert!(reason.contains("/w/notes/canonical.json"), "{reason}");
    }
}
