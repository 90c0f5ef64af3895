//! From which published versions a run upgrades.

use std::num::NonZeroUsize;
use std::str::FromStr;

use recipe::version::Version;

/// From which published versions a run upgrades, each in an app of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Bases {
    /// From one: that which is named, the canonical, or the newest.
    #[default]
    One,
    /// From the newest that are not newer than the head, at most so many.
    Last(NonZeroUsize),
    /// From these tags, each once.
    Named(Vec<String>),
    /// From all that are not newer than the head.
    All,
}

/// A text that says of no version whether it is a base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BasesError {
    /// `last:` without a number from 1.
    #[error("`last:{0}` is no number of versions: it is 1 or more")]
    Count(String),
    /// A name that no tag of a release can have.
    #[error(transparent)]
    Version(#[from] recipe::version::VersionError),
    /// A version twice.
    #[error("version {0} is named twice")]
    Twice(String),
}

impl FromStr for Bases {
    type Err = BasesError;

    fn from_str(text: &str) -> Result<Self, BasesError> {
        if text == "all" {
            return Ok(Self::All);
        }
        if let Some(count) = text.strip_prefix("last:") {
            let parsed = count.trim().parse();
            return parsed
                .map(Self::Last)
                .map_err(|_| BasesError::Count(count.to_owned()));
        }
        let mut named: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim) {
            name.parse::<Version>()?;
            if named.iter().any(|known| known == name) {
                return Err(BasesError::Twice(name.to_owned()));
            }
            named.push(name.to_owned());
        }
        Ok(Self::Named(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_a_number_names_or_all_and_nothing_else() {
        let of = |text: &str| text.parse::<Bases>().map_err(|error| error.to_string());
        let three = NonZeroUsize::new(3).unwrap();
        assert_eq!(of("last:3"), Ok(Bases::Last(three)));
        assert_eq!(of("all"), Ok(Bases::All));
        let named = ["1.2.0+3.4", "1.3.0+3.5"].map(str::to_owned);
        assert_eq!(of("1.2.0+3.4, 1.3.0+3.5"), Ok(Bases::Named(named.into())));
        for (text, says) in [
            ("last:0", "1 or more"),
            ("last:", "1 or more"),
            ("last:-1", "1 or more"),
            ("last", "is not a recipe version"),
            ("1.2.0", "is not a recipe version"),
            ("1.2.0+3.4,", "is not a recipe version"),
            ("all,1.2.0+3.4", "is not a recipe version"),
            ("1.2.0+3.4,1.2.0+3.4", "named twice"),
        ] {
            let said = of(text).unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
