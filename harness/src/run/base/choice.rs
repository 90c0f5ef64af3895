//! Which version an upgrade starts from.
//!
//! The first that exists of: the one that is named on the command line or declared; the recipe's canonical, the last
//! release that a cold run found green; the newest tag that is not newer than the head's version label and not the
//! head's own commit; the tip of the default branch.
//!
//! Where the operator's grant covers the head, what it covers as well comes first: who may push a tag could else keep the
//! upgrade from being tested. What becomes of a base that it does not cover is `run::uncovered`'s matter.
//!
//! The version label is bumped by the release commit, so a pull request carries the label of the newest release: that
//! release is its base. The head's own commit never is: an upgrade to itself proves nothing.

use super::{BaseKind, Chosen};
use crate::run::error::RunError;
use crate::run::fetched::{Checkout, Subject};
use crate::run::settings::Settings;
use crate::run::{incomplete, trusted};
use crate::warm::canonical::WarmDir;
use ground::error::chain;
use ground::git::commit::CommitId;
use recipe::declared::Declared;
use recipe::version::{TagList, Version};

/// The version that somebody wants as base.
pub(in crate::run) struct RequestedBase<'a> {
    version: &'a str,
    /// Where that is written, for messages; empty for the command line.
    place: String,
}

impl<'a> RequestedBase<'a> {
    /// Returns one that was asked for on the command line.
    pub(in crate::run) fn asked(version: &'a str) -> Self {
        let place = String::new();
        Self { version, place }
    }

    /// The command line wins over the declared one.
    pub(in crate::run) fn of(settings: &'a Settings, declared: &'a Declared) -> Option<Self> {
        if let Some(version) = settings.base.as_deref() {
            return Some(Self::asked(version));
        }
        let version = declared.base()?;
        let place = format!("{}: ", declared.place("base"));
        Some(Self { version, place })
    }
}

/// Chooses the version to upgrade from.
///
/// The inner error is the reason why the upgrade does not apply.
///
/// # Errors
/// [`RunError::Usage`] when a version was named that is no tag, or a shallow clone may hide the base.
pub(in crate::run) fn choose(
    (settings, subject): (&Settings, &Subject),
    wanted: Option<RequestedBase<'_>>,
    checkout: &Checkout,
    head_version: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Result<Chosen, String>, RunError> {
    if let Some(wanted) = &wanted {
        let chosen = named(settings, wanted, checkout)?;
        // A quick run names the canonical itself.
        let kind = match subject {
            Subject::Upgrade { .. } => BaseKind::Canonical,
            Subject::Proposal | Subject::Dependency => BaseKind::Declared,
        };
        return Ok(chosen.map(|chosen| Chosen { kind, ..chosen }));
    }
    let head = match head_version.map(str::parse::<Version>) {
        Some(Ok(head)) => Some(head),
        Some(Err(error)) => {
            warnings.push(format!(
                "the head's version label cannot be ordered: {error}; the newest tag is the base"
            ));
            None
        }
        None => None,
    };
    let covered = |commit: CommitId, is_tag| {
        let trust = trusted::of_base(settings, checkout, commit, is_tag);
        trust.level == checkout.trust.level
    };
    let canonical = match WarmDir::of(&settings.host, &settings.recipe).read() {
        Ok(canonical) => canonical.filter(|canonical| canonical.snapshot.is_some()),
        Err(error) => {
            warnings.push(format!(
                "the last-green version is not known, the newest release is the base: {}; {}",
                chain(&error),
                error.advice()
            ));
            None
        }
    };
    if let Some(canonical) = canonical {
        match last_green(
            &canonical.version,
            canonical.commit,
            checkout,
            head.as_ref(),
        ) {
            Ok(Some(chosen)) if covered(chosen.commit, true) => return Ok(Ok(chosen)),
            Ok(Some(chosen)) => warnings.push(passed_over(&chosen.version, checkout)),
            // It is the head, or newer: one steps back to the newest release before it.
            Ok(None) => {}
            Err(remark) => warnings.push(remark),
        }
    }
    // The head's own tag is no base, also where no label says which version the head is.
    let others = checkout
        .tags
        .iter()
        .filter(|(_, commit)| !is_head(checkout, *commit));
    let list = TagList::from_names(others.map(|(name, _)| name.as_str()));
    if !list.ignored.is_empty() {
        warnings.push(format!(
            "tags that are no recipe versions were ignored: {}",
            list.ignored.join(", ")
        ));
    }
    let (tags, reason) = match (&head, head_version) {
        _ if list.versions.is_empty() => (
            &[][..],
            "the recipe has no published version to upgrade from".to_owned(),
        ),
        (Some(head), _) => (
            list.up_to(head),
            format!("every published version is newer than the head's {head}"),
        ),
        (None, label) => {
            if label.is_none() {
                warnings
                    .push("the head has no version label; the newest tag is the base".to_owned());
            }
            (list.versions.as_slice(), String::new())
        }
    };
    let commit = |tag: &Version| {
        let commit = commit_of(checkout, tag.as_str());
        commit.expect("a version of the list is the name of a tag")
    };
    let mut newest_first = tags.iter().rev();
    let tip = checkout.tip;
    let best = newest_first.find(|tag| covered(commit(tag), true));
    let best = match (best, tip) {
        (None, Some(tip)) if !checkout.shallow && covered(tip, false) => None,
        (best, _) => best.or(tags.last()),
    };
    if let Some(newest) = tags.last()
        && best != Some(newest)
    {
        warnings.push(passed_over(newest.as_str(), checkout));
    }
    if let Some(tag) = best {
        if checkout.shallow {
            warnings.push(format!(
                "the source is a shallow clone: a version newer than {tag} may be missing from it; {}",
                incomplete::deepen(settings)
            ));
        }
        return Ok(Ok(Chosen {
            version: tag.to_string(),
            commit: commit(tag),
            kind: BaseKind::Tag,
        }));
    }
    if checkout.shallow {
        // Nor can it be told whether the head is in the history of the default branch already.
        return Err(incomplete::hides_the_base(settings));
    }
    match tip {
        Some(tip) => Ok(Ok(Chosen {
            version: format!("default branch ({})", tip.short()),
            commit: tip,
            kind: BaseKind::Ref,
        })),
        None => Ok(Err(reason)),
    }
}

fn passed_over(version: &str, checkout: &Checkout) -> String {
    format!(
        "{version} is not the base: grants.yml covers the head of `{}`, and not the commit of this tag",
        checkout.trust.source
    )
}

/// Returns the version that is wanted; the inner error is why there is no upgrade from it.
///
/// # Errors
/// [`RunError::Usage`] when it is no tag.
pub(super) fn named(
    settings: &Settings,
    wanted: &RequestedBase<'_>,
    checkout: &Checkout,
) -> Result<Result<Chosen, String>, RunError> {
    let RequestedBase {
        version: wanted,
        place,
    } = wanted;
    match commit_of(checkout, wanted) {
        Some(commit) if is_head(checkout, commit) => Ok(Err(format!(
            "the base {wanted} is the head itself: that would be no upgrade"
        ))),
        Some(commit) => Ok(Ok(Chosen {
            version: (*wanted).to_owned(),
            commit,
            kind: BaseKind::Declared,
        })),
        None => {
            let tags = &checkout.tags;
            let known: Vec<&str> = tags.iter().map(|(name, _)| name.as_str()).collect();
            let known = if known.is_empty() {
                "it has no tags".to_owned()
            } else {
                known.join(", ")
            };
            Err(RunError::Usage {
                error: format!("{place}base version `{wanted}` is not a tag of this recipe").into(),
                hints: [format!("its tags: {known}")]
                    .into_iter()
                    .chain(checkout.shallow.then(|| {
                        format!(
                            "the source is a shallow clone: {}",
                            incomplete::deepen(settings)
                        )
                    }))
                    .collect(),
            })
        }
    }
}

/// Returns the canonical as a base, or `None` when it is the head or newer.
///
/// # Errors
/// A remark for the report when its tag is not what it was.
pub(in crate::run) fn last_green(
    version: &str,
    commit: CommitId,
    checkout: &Checkout,
    head: Option<&Version>,
) -> Result<Option<Chosen>, String> {
    match commit_of(checkout, version) {
        Some(there) if there == commit => {}
        Some(_) => {
            return Err(format!(
                "the last-green version {version} is not the base: its tag was moved since"
            ));
        }
        None => {
            return Err(format!(
                "the last-green version {version} is not the base: the source has no such tag"
            ));
        }
    }
    let is_newer = match (head, version.parse::<Version>()) {
        // By the order, not by the text: `1.0.0+1.02` is `1.0.0+1.2`.
        (Some(head), Ok(version)) => version > *head,
        _ => false,
    };
    Ok((!is_newer && !is_head(checkout, commit)).then(|| Chosen {
        version: version.to_owned(),
        commit,
        kind: BaseKind::Canonical,
    }))
}

fn commit_of(checkout: &Checkout, name: &str) -> Option<CommitId> {
    checkout
        .tags
        .iter()
        .find(|(tag, _)| tag == name)
        .map(|(_, commit)| *commit)
}

/// Returns whether a commit is the head itself.
pub(super) fn is_head(checkout: &Checkout, commit: CommitId) -> bool {
    !checkout.tree.dirty && checkout.tree.commit == commit
}

#[cfg(test)]
mod tests {
    use super::*;
    use recipe::release::Tree;

    fn checkout(head: char, tags: &[(&str, char)]) -> Checkout {
        Checkout {
            tree: Tree {
                root: "/nowhere".into(),
                commit: CommitId::sample(head),
                dirty: false,
            },
            tags: tags
                .iter()
                .map(|(name, commit)| ((*name).to_owned(), CommitId::sample(*commit)))
                .collect(),
            trust: recipe::trust::Trust::by_hand("/notes"),
            remarks: Vec::new(),
            shallow: false,
            tip: None,
            barred: None,
        }
    }

    fn green(head: char, version: &str, canonical: (&str, char)) -> Result<Option<String>, String> {
        let tags = [("1.0.0+1", 'a'), ("1.1.0+1", 'b'), ("1.2.0+1", 'c')];
        let head_version = version.parse().ok();
        last_green(
            canonical.0,
            CommitId::sample(canonical.1),
            &checkout(head, &tags),
            head_version.as_ref(),
        )
        .map(|chosen| chosen.map(|chosen| chosen.version))
    }

    #[test]
    fn the_canonical_is_the_base_unless_it_is_the_head_or_newer() {
        assert_eq!(
            green('d', "1.3.0+1", ("1.1.0+1", 'b')).unwrap().as_deref(),
            Some("1.1.0+1")
        );
        // 8.8: promoted, and swept again.
        assert_eq!(green('c', "1.2.0+1", ("1.2.0+1", 'c')).unwrap(), None);
        // A pull request carries the label of the newest release.
        assert_eq!(
            green('d', "1.2.0+1", ("1.2.0+1", 'c')).unwrap().as_deref(),
            Some("1.2.0+1")
        );
        assert_eq!(green('d', "1.1.0+2", ("1.2.0+1", 'c')).unwrap(), None);
        // No label says what the head is.
        assert_eq!(green('c', "none", ("1.2.0+1", 'c')).unwrap(), None);
        assert!(green('d', "none", ("1.2.0+1", 'c')).unwrap().is_some());
    }

    #[test]
    fn a_tag_that_moved_or_went_is_said() {
        assert!(
            green('d', "1.3.0+1", ("1.1.0+1", 'f'))
                .unwrap_err()
                .contains("moved")
        );
        assert!(
            green('d', "1.3.0+1", ("0.9.0+1", 'f'))
                .unwrap_err()
                .contains("no such tag")
        );
    }
}
