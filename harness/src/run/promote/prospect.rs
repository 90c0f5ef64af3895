//! Which heads may become a recipe's canonical.

use crate::event::{Event, Promotion};
use crate::run::candidate::Candidate;
use crate::run::context::Context;
use crate::run::fetched::Fetched;
use crate::run::plan::Plan;
use crate::run::settings::Keep;
use crate::run::warm::embedded;
use crate::warm::enrolled::is_enrolled;
use ground::error::chain;
use ground::git::commit::CommitId;
use ground::outcome::{Stage, Status, TierOutcome};
use recipe::release::Tree;

/// Returns the head as a candidate, if it is the release of an enrolled recipe in a whole cold run.
pub(in crate::run) fn candidate(
    context: &Context<'_>,
    fetched: &Fetched,
    plan: &Plan,
) -> Option<Candidate> {
    let settings = &context.settings;
    let enrolled = settings.overlays.as_deref().map_or(Ok(false), |overlays| {
        is_enrolled(overlays, &settings.recipe).map_err(|error| chain(&error))
    });
    let head = Head {
        enrolled,
        has_dependencies: !plan.declared.dependencies().is_empty(),
        stages: &settings.stages,
        is_proposal: settings.pr.is_some(),
        keep: settings.keep,
        version: plan.head_version.as_deref(),
        tags: &fetched.checkout.tags,
        tree: &fetched.checkout.tree,
        is_published: settings.is_published(),
    };
    match prospect(&head) {
        Prospect::Canonical(_) if settings.own_engine().is_some() => {
            let why = "it ran on an engine of its own, which keeps no warm app";
            let event = Event::Promotion(Promotion::Skipped(why.to_owned()));
            context.events.emit(&event);
            None
        }
        Prospect::Canonical(version) => Some(Candidate {
            version,
            fetched: Fetched {
                chosen: embedded(),
                ..fetched.clone()
            },
        }),
        Prospect::Nothing => None,
        Prospect::Warning(what) => {
            context.events.warn(what);
            None
        }
        Prospect::Skipped(why) => {
            let event = Event::Promotion(Promotion::Skipped(why));
            context.events.emit(&event);
            None
        }
    }
}

/// Returns whether every tier ran, or did not apply.
pub(in crate::run) fn nothing_left_out(tiers: &[TierOutcome]) -> bool {
    tiers
        .iter()
        .all(|tier| matches!(tier.status, Status::Pass | Status::Skip))
}

/// What decides whether a head becomes the canonical once it is green.
#[derive(Debug, Clone)]
struct Head<'a> {
    /// Whether the operator's overlay enrols the recipe, or why that is not known.
    pub(super) enrolled: Result<bool, String>,
    pub(super) has_dependencies: bool,
    pub(super) stages: &'a [Stage],
    pub(super) is_proposal: bool,
    pub(super) keep: Keep,
    /// Its version label.
    pub(super) version: Option<&'a str>,
    /// All tags with their commits.
    pub(super) tags: &'a [(String, CommitId)],
    pub(super) tree: &'a Tree,
    /// Whether it came from where the published recipe is, or from a path that a person gave.
    pub(super) is_published: bool,
}

/// What a head may become.
#[derive(Debug, PartialEq, Eq)]
enum Prospect {
    /// The canonical, as this version.
    Canonical(String),
    /// Nothing, and nobody expected more.
    Nothing,
    /// Nothing, which is a warning.
    Warning(String),
    /// Nothing, though it is a release; the report says why.
    Skipped(String),
}

/// Returns what `head` becomes when it is green.
fn prospect(head: &Head<'_>) -> Prospect {
    match &head.enrolled {
        Ok(true) => {}
        Ok(false) => return Prospect::Nothing,
        Err(error) => {
            return Prospect::Warning(format!(
                "whether the recipe keeps a canonical is not known: {error}"
            ));
        }
    }
    if head.has_dependencies {
        return Prospect::Warning(
            "no canonical is kept: the warm app of a recipe with dependencies would come up without them"
                .to_owned(),
        );
    }
    let is_whole = head.stages == Stage::ALL && !head.is_proposal && head.keep == Keep::Never;
    let Some(version) = head.version.filter(|_| is_whole && !head.tree.dirty) else {
        return Prospect::Nothing;
    };
    // The tag's commit is recorded, so it must be what was tested: 8.28 recorded a branch's.
    let is_its_tag =
        |(name, commit): &(String, CommitId)| *name == version && *commit == head.tree.commit;
    if !head.tags.iter().any(is_its_tag) {
        return Prospect::Nothing;
    }
    if !head.is_published {
        return Prospect::Skipped("the source is not the published recipe".to_owned());
    }
    Prospect::Canonical(version.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_a_published_release_of_an_enrolled_recipe_that_was_tested_whole_becomes_the_canonical()
    {
        let tree = Tree {
            root: "/recipe".into(),
            commit: CommitId::sample('c'),
            dirty: false,
        };
        let tag = |name: &str, commit| (name.to_owned(), CommitId::sample(commit));
        let tags = [tag("0.8.0+1", 'b'), tag("0.9.0+1", 'c'), tag("newest", 'c')];
        let head = Head {
            enrolled: Ok(true),
            has_dependencies: false,
            stages: &Stage::ALL,
            is_proposal: false,
            keep: Keep::Never,
            version: Some("0.9.0+1"),
            tags: &tags,
            tree: &tree,
            is_published: true,
        };
        let canonical = Prospect::Canonical("0.9.0+1".to_owned());
        assert_eq!(prospect(&head), canonical);

        // One thing is wrong with each of these, and the rest would do.
        type Break = fn(&mut Head<'_>);
        let nothing: [(&str, Break); 6] = [
            ("not enrolled", |head| head.enrolled = Ok(false)),
            ("a proposal", |head| head.is_proposal = true),
            ("kept when red", |head| {
                head.keep = Keep::Failed(Duration::from_secs(1));
            }),
            ("kept", |head| {
                head.keep = Keep::Always(Duration::from_secs(1));
            }),
            ("no version", |head| head.version = None),
            ("another version", |head| head.version = Some("0.9.1+1")),
        ];
        for (what, wrong) in nothing {
            let mut head = head.clone();
            wrong(&mut head);
            assert_eq!(prospect(&head), Prospect::Nothing, "{what}");
        }
        for left_out in Stage::ALL {
            let stages: Vec<Stage> = Stage::ALL
                .into_iter()
                .filter(|stage| *stage != left_out)
                .collect();
            let head = Head {
                stages: &stages,
                ..head.clone()
            };
            assert_eq!(prospect(&head), Prospect::Nothing, "without {left_out:?}");
        }
        let moved = [tag("0.9.0+1", 'b'), tag("0.8.0+1", 'c')];
        let dirty = Tree {
            dirty: true,
            ..tree.clone()
        };
        let is_nothing = |head: &Head<'_>| prospect(head) == Prospect::Nothing;
        assert!(
            is_nothing(&Head {
                tags: &moved,
                ..head.clone()
            }),
            "its tag is elsewhere"
        );
        assert!(
            is_nothing(&Head {
                tree: &dirty,
                ..head.clone()
            }),
            "it is not what is tagged"
        );

        let foreign = Head {
            is_published: false,
            ..head.clone()
        };
        assert_eq!(
            prospect(&foreign),
            Prospect::Skipped("the source is not the published recipe".to_owned())
        );
        // That is said of releases alone, not of every proposal.
        assert!(is_nothing(&Head {
            tags: &moved,
            ..foreign.clone()
        }));
        let unknown = Head {
            enrolled: Err("no such".to_owned()),
            ..head.clone()
        };
        let dependent = Head {
            has_dependencies: true,
            ..head.clone()
        };
        for (head, said) in [(unknown, "not known: no such"), (dependent, "dependencies")] {
            let came = prospect(&head);
            assert!(
                matches!(&came, Prospect::Warning(text) if text.contains(said)),
                "{came:?}"
            );
        }
        // Who is not enrolled wants none of it.
        let outside = Head {
            enrolled: Ok(false),
            has_dependencies: true,
            is_published: false,
            ..head
        };
        assert_eq!(prospect(&outside), Prospect::Nothing);
    }
}
