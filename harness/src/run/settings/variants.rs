//! Which variants of a recipe a run deploys.

use std::str::FromStr;

/// Which variants a run deploys, of those that are declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Variants {
    /// All of them.
    #[default]
    All,
    /// None.
    None,
    /// Those of these names.
    Named(Vec<String>),
}

/// A list of variants in which a name is missing or stands twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariantsError {
    /// Nothing between two commas.
    #[error("`{0}` has an empty name of a variant")]
    Empty(String),
    /// A name twice.
    #[error("variant `{0}` is named twice")]
    Twice(String),
}

impl FromStr for Variants {
    type Err = VariantsError;

    fn from_str(text: &str) -> Result<Self, VariantsError> {
        match text.trim() {
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let mut named: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim) {
            if name.is_empty() {
                return Err(VariantsError::Empty(text.to_owned()));
            }
            if named.iter().any(|known| known == name) {
                return Err(VariantsError::Twice(name.to_owned()));
            }
            named.push(name.to_owned());
        }
        Ok(Self::Named(named))
    }
}

impl Variants {
    /// Returns whether the variant of this name is deployed.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Named(names) => names.iter().any(|one| one == name),
        }
    }

    /// Returns the first that was named and that is not among `declared`.
    pub(in crate::run) fn unknown(&self, mut declared: impl FnMut(&str) -> bool) -> Option<&str> {
        let Self::Named(names) = self else {
            return None;
        };
        names
            .iter()
            .map(String::as_str)
            .find(|name| !declared(name))
    }
}
