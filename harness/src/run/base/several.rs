//! The versions that a run upgrades from, where it was asked for several.

use std::cmp::Reverse;

use super::choice::{self, RequestedBase};
use crate::run::error::RunError;
use crate::run::fetched::Checkout;
use crate::run::incomplete;
use crate::run::settings::{Bases, Settings};
use recipe::version::{TagList, Version};

/// Returns the tags that the run upgrades from, the newest first; none where it was not asked for several, or where
/// nothing is published that is not newer than the head, `head_version`.
///
/// # Errors
/// [`RunError::Usage`] when one that was named is no tag, or is the head itself.
pub(in crate::run) fn of(
    settings: &Settings,
    checkout: &Checkout,
    head_version: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, RunError> {
    let most = match &settings.bases {
        Bases::One => return Ok(Vec::new()),
        Bases::Named(names) => return named(settings, checkout, names),
        Bases::Last(most) => most.get(),
        Bases::All => usize::MAX,
    };
    let tags = checkout.tags.iter();
    let others = tags.filter(|(_, commit)| !choice::is_head(checkout, *commit));
    let list = TagList::from_names(others.map(|(name, _)| name.as_str()));
    let head = head_version.and_then(|version| version.parse::<Version>().ok());
    let published = match &head {
        Some(head) => list.up_to(head),
        None => list.versions.as_slice(),
    };
    if checkout.shallow {
        warnings.push(format!(
            "the source is a shallow clone: a version to upgrade from may be missing from it; {}",
            incomplete::deepen(settings)
        ));
    }
    let newest = published.iter().rev().take(most);
    let chosen: Vec<String> = newest.map(Version::to_string).collect();
    if most != usize::MAX && (1..most).contains(&chosen.len()) {
        warnings.push(format!(
            "upgrades start from {} versions and not from {most}: no other is published that is not newer than the head",
            chosen.len()
        ));
    }
    Ok(chosen)
}

/// Returns what was named, in the order of versions.
fn named(
    settings: &Settings,
    checkout: &Checkout,
    names: &[String],
) -> Result<Vec<String>, RunError> {
    for name in names {
        choice::named(settings, &RequestedBase::asked(name), checkout)?.map_err(|reason| {
            RunError::Usage {
                error: reason.into(),
                hints: vec!["leave it out of `--bases` (CCCI_BASES)".to_owned()],
            }
        })?;
    }
    let mut names = names.to_vec();
    names.sort_by_cached_key(|name| Reverse(name.parse::<Version>().ok()));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::testing::{CANONICAL, HEAD, Scene};
    use recipe::trust::Grant;

    fn of(bases: &str, head_version: &str) -> Result<Vec<String>, String> {
        let scene = Scene::new("", Grant::default());
        let settings = Settings {
            bases: bases.parse().unwrap(),
            ..scene.settings.clone()
        };
        let mut checkout = scene.fetched().checkout;
        let (old, new) = (checkout.tags[0].1, checkout.tags[1].1);
        // A third one, of which the head is a release that has no tag yet.
        checkout.tags.push(("0.1.5+1".to_owned(), old));
        checkout.tags.push(("next".to_owned(), old));
        assert_eq!(checkout.tree.commit, new);
        let mut warnings = Vec::new();
        let found = super::of(&settings, &checkout, Some(head_version), &mut warnings);
        found.map_err(|error| match error {
            RunError::Usage { error, .. } => error.to_string(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn several_bases_are_the_newest_first_and_never_the_head() {
        assert_eq!(of("last:1", HEAD).unwrap(), ["0.1.5+1"]);
        assert_eq!(of("last:9", HEAD).unwrap(), ["0.1.5+1", CANONICAL]);
        assert_eq!(of("all", HEAD).unwrap(), ["0.1.5+1", CANONICAL]);
        assert_eq!(of("all", CANONICAL).unwrap(), [CANONICAL]);
        let named = format!("{CANONICAL},0.1.5+1");
        assert_eq!(of(&named, HEAD).unwrap(), ["0.1.5+1", CANONICAL]);
        assert!(of(HEAD, HEAD).unwrap_err().contains("the head itself"));
        assert!(of("9.9.9+9", HEAD).unwrap_err().contains("is not a tag"));
    }
}
