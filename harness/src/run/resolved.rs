//! The releases of a run as they are deployed: what is judged, shown and held against the engine.

use futures_util::future::OptionFuture;
use ground::excerpt;
use ground::git::commit::CommitId;

use super::context::Context;
use super::dependencies::Dependency;
use super::error::{RunError, usage};
use super::needs;
use super::network::no_way_through;
use super::plan::Plan;
use super::refusal;
use super::settings::Settings;
use crate::driver::opinion::{self, Asked, Opinion};
use crate::driver::stack::{DeploySetup, NotDeployable, Stamp};
use crate::event::Event;
use engine::swarm::EngineError;
use ground::source_tree::SourceTree;
use recipe::compose::resolve::Resolved;
use recipe::compose::shared::SharedNetwork;
use recipe::policy::{self, Judged, Violation};
use recipe::release::Release;
use recipe::room::Room;
use recipe::trust::{Level, Trust};

/// Every release that a run deploys, resolved and judged.
#[derive(Debug)]
pub(super) struct Releases {
    /// The head as a new app.
    pub(super) head: Judged,
    /// The base.
    pub(super) base: Option<Judged>,
    /// The head as an upgrade of the base, where there is one that can be upgraded.
    pub(super) upgraded: Option<Judged>,
}

/// Resolves the releases of `plan`, and judges them.
///
/// # Errors
/// [`RunError::Usage`] for what depends on the place or the person that deploys, [`RunError::Refused`] for what the
/// policy is against.
fn of(plan: &Plan, settings: &Settings, means: &DeploySetup) -> Result<Releases, RunError> {
    let stack = settings.domain.stack();
    let mut against: Vec<Violation> = Vec::new();
    let mut resolve =
        |release: &Release, stamp: &Stamp, of: &str| match means.resolve(release, &stack, stamp) {
            Ok(judged) => Ok(Some(judged)),
            Err(NotDeployable::Compose(error)) => Err(usage(error)),
            Err(NotDeployable::Policy(refused)) => {
                for mut found in refused.violations {
                    let known = against.iter().any(|known| known.is_same(&found));
                    if !known {
                        found.message.insert_str(0, of);
                        against.push(found);
                    }
                }
                Ok(None)
            }
        };
    let head_stamp = plan.head_stamp(settings);
    let head = resolve(&plan.head, &head_stamp, "")?;
    let upgraded = match plan.base.as_ref().map(|base| &base.upgraded) {
        Some(Ok(release)) => resolve(release, &head_stamp, "with the base's env file, ")?,
        _ => None,
    };
    let base = match (&plan.base, plan.base_stamp(settings)) {
        (Some(base), Some(stamp)) => {
            resolve(&base.release, &stamp, &format!("in {}, ", base.in_words()))?
        }
        _ => None,
    };
    match head {
        Some(head) if !against.iter().any(|found| found.refused) => Ok(Releases {
            head,
            base,
            upgraded,
        }),
        _ => Err(RunError::Refused {
            found: against,
            hints: Vec::new(),
            view: None,
        }),
    }
}

/// Judges the head as a new app before its base is read, so that a refusal costs no more than it has to. What else is
/// against it is said when all releases are judged.
///
/// # Errors
/// [`RunError::Refused`] for what the policy is against.
pub(super) fn judge_alone(
    head: &Release,
    settings: &Settings,
    mut means: DeploySetup,
    trust: &Trust,
) -> Result<(), RunError> {
    if trust.level == Level::ByHand {
        return Ok(());
    }
    if let SharedNetwork::Own(own) = &mut means.shared
        && no_way_through(trust, settings.domain.as_str(), [head]).is_some()
    {
        own.gateway = false;
    }
    let stamp = Stamp {
        recipe: settings.recipe.clone(),
        version: head.version_label(&settings.domain),
        chaos: true,
    };
    match means.resolve(head, &settings.domain.stack(), &stamp) {
        Err(NotDeployable::Policy(refused)) => Err(RunError::Refused {
            found: refused.violations,
            hints: Vec::new(),
            view: None,
        }),
        Ok(_) | Err(NotDeployable::Compose(_)) => Ok(()),
    }
}

/// Resolves and judges the releases of `plan`. What the policy has against them is said where they may be deployed; a
/// refusal is said with the end of the run.
pub(super) fn judged(
    context: &Context<'_>,
    plan: &Plan,
    means: &DeploySetup,
) -> Result<Releases, RunError> {
    let settings = &context.settings;
    match of(plan, settings, means) {
        Ok(releases) => {
            say(context, &releases.warnings());
            Ok(releases)
        }
        Err(RunError::Refused { found, .. }) => Err(refused(context, source_of(plan), found)),
        Err(other) => Err(refusal::of(context, other, &plan.trust, plan.head.commit)),
    }
}

/// Resolves and judges the releases of another app of the run. What the policy has against them is not said: most of it
/// is what was said of the app under test.
///
/// # Errors
/// As [`judged`].
pub(super) fn quietly(
    context: &Context<'_>,
    plan: &Plan,
    means: &DeploySetup,
) -> Result<Releases, RunError> {
    of(plan, &context.settings, means).map_err(|error| match error {
        RunError::Refused { found, .. } => refused(context, source_of(plan), found),
        other => other,
    })
}

/// Has Docker's own client read the head's files, as a new app and as an upgrade.
///
/// # Errors
/// [`RunError::Usage`] with the client's words for files that it refuses.
pub(super) async fn taken_by_docker(
    context: &Context<'_>,
    plan: &Plan,
    means: &DeploySetup,
    asked: Asked,
) -> Result<(), RunError> {
    let upgraded = plan
        .base
        .as_ref()
        .and_then(|base| base.upgraded.as_ref().ok());
    let upgraded = upgraded.filter(|upgraded| upgraded.vars != plan.head.vars);
    let ask = |release| {
        let dir = &context.dirs.state;
        opinion::of(&context.processes, means.traits, dir, release)
    };
    let of_head = async {
        match asked.await {
            Some(opinion) => opinion,
            None => ask(&plan.head).await,
        }
    };
    let of_upgraded = OptionFuture::from(upgraded.map(ask));
    let (of_head, of_upgraded) = futures_util::join!(of_head, of_upgraded);
    for opinion in std::iter::once(of_head).chain(of_upgraded) {
        match opinion {
            Opinion::Takes => {}
            Opinion::Refuses(refused) => {
                let commit = plan.head.commit;
                let hints = vec![
                    "correct the file; `docker stack config` reads it the same way".to_owned(),
                ];
                let wrong = RunError::Usage {
                    error: refused.into(),
                    hints,
                };
                return Err(refusal::of(context, wrong, &plan.trust, commit));
            }
            Opinion::Unknown(reason) => tracing::debug!(reason, "docker's own loader is not asked"),
        }
    }
    Ok(())
}

fn source_of(plan: &Plan) -> (&Trust, CommitId) {
    (&plan.trust, plan.head.commit)
}

/// Returns the refusal of a run of a source of this trust at a commit, with what would allow it.
pub(super) fn refused(
    context: &Context<'_>,
    source: (&Trust, CommitId),
    found: Vec<Violation>,
) -> RunError {
    let hints = ways_out(&found, source.0, source.1);
    refusal::refused(context, found, hints, source)
}

/// Returns what to do about what is refused, for people: what would allow it to the source of this trust at `commit`,
/// and what the recipe can do instead.
pub(super) fn ways_out(found: &[Violation], trust: &Trust, commit: CommitId) -> Vec<String> {
    let grants = found.iter().filter(|found| found.refused);
    let grants: Vec<&str> = grants.filter_map(|found| found.grant.as_deref()).collect();
    let mut hints = Vec::new();
    if !grants.is_empty() {
        hints.push(trust.how_to_grant(Some(commit), &grants));
    }
    for found in found.iter().filter(|found| found.refused) {
        let Some(rule) = policy::rules::of(&found.rule) else {
            continue;
        };
        let hint = format!("in the recipe, for {}: {}", rule.id, rule.fix);
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    hints
}

/// Returns what was found, each with the line of the head that it is about. What is about another release, or in no text
/// of the tree, has no line to show.
pub(super) async fn with_lines(context: &Context<'_>, found: &[Violation]) -> Vec<Violation> {
    let root = context.dirs.recipe(context.settings.recipe.as_str());
    let mut lined = found.to_vec();
    let work = move || {
        let tree = SourceTree::open(&root).ok();
        for (one, tree) in lined.iter_mut().zip(tree.iter().cycle()) {
            let place = one.file.as_ref().zip(one.line);
            let line = place.and_then(|(file, line)| {
                let text = tree.text(file).ok().flatten()?;
                excerpt::line(&text, line)
            });
            one.source = line.filter(|line| is_of(line, one));
        }
        lined
    };
    let lined = tokio::task::spawn_blocking(work).await;
    lined.unwrap_or_else(|_| found.to_vec())
}

/// Whether a line has the last of the keys or the beginning of the value, so that it may be what was judged.
fn is_of(line: &str, found: &Violation) -> bool {
    let key = found.key.rsplit('.').next().unwrap_or_default();
    let key = key.split('[').next().unwrap_or_default();
    let value = found.value.split_whitespace().next().unwrap_or_default();
    found.key.is_empty() || line.contains(key) || (!value.is_empty() && line.contains(value))
}

/// Says what the policy found.
pub(super) fn say(context: &Context<'_>, found: &[Violation]) {
    for one in found {
        let told = Event::PolicyFound(Box::new(one.clone()));
        context.events.emit(&told);
    }
}

/// Judges a dependency; returns what is deployed of it, if it can be deployed at all. What the policy has against it is
/// said.
///
/// # Errors
/// [`RunError::Refused`].
pub(super) fn judge_dependency(
    context: &Context<'_>,
    dependency: &Dependency,
    means: &DeploySetup,
) -> Result<Option<Judged>, RunError> {
    let judged = dependency.judge(means)?;
    if let Some(judged) = &judged {
        say(context, &dependency.as_its_own(judged.warnings()));
    }
    Ok(judged)
}

/// Returns why the images of `plan` cannot be had.
pub(super) fn without_image(context: &Context<'_>, plan: &Plan, error: EngineError) -> RunError {
    let EngineError::NotPublic { image, reason } = error else {
        return error.into();
    };
    let releases = plan
        .base
        .iter()
        .flat_map(|base| [Some(&base.release), base.upgraded.as_ref().ok()]);
    let releases = std::iter::once(&plan.head).chain(releases.flatten());
    let mut projects = releases.map(|release| &release.project);
    let of = projects.find(|project| project.images().contains(&image));
    let found = policy::not_public(of.unwrap_or(&plan.head.project), &image, &reason);
    refused(context, source_of(plan), vec![found])
}

/// Returns why a run is refused, in one line.
pub(super) fn in_words(found: &[Violation]) -> Option<String> {
    let mut refused = found.iter().filter(|found| found.refused);
    let first = refused.next()?;
    Some(match refused.count() {
        0 => first.to_string(),
        more => format!("{first}, and {more} more"),
    })
}

fn room_of(release: &Judged) -> Room {
    Room::of(release.resolved().document())
}

impl Releases {
    /// Returns which volumes an upgrade would have to change and cannot.
    pub(super) fn changed_volumes(&self) -> Vec<String> {
        let Some(base) = &self.base else {
            return Vec::new();
        };
        let head = self.upgraded.as_ref().unwrap_or(&self.head);
        needs::changed_volumes(base.resolved().document(), head.resolved().document())
    }

    /// Returns the room that the app needs which is upgraded; without a base, the head.
    pub(super) fn room(&self) -> Room {
        let upgraded = self.base.iter().chain(&self.upgraded).map(room_of);
        let upgraded = upgraded.reduce(Room::or);
        upgraded.unwrap_or_else(|| self.room_of_head())
    }

    /// Returns the room that the head needs as a new app.
    pub(super) fn room_of_head(&self) -> Room {
        room_of(&self.head)
    }

    /// Returns all of them, the base first, as they are deployed.
    pub(super) fn all(&self) -> impl Iterator<Item = &Resolved> {
        self.judged().map(Judged::resolved)
    }

    fn judged(&self) -> impl Iterator<Item = &Judged> {
        self.base
            .iter()
            .chain([&self.head])
            .chain(self.upgraded.iter())
    }

    /// Returns what the policy has against them although they may be deployed, each once.
    pub(super) fn warnings(&self) -> Vec<Violation> {
        let mut all: Vec<Violation> = Vec::new();
        for found in self.judged().flat_map(Judged::warnings) {
            if !all.iter().any(|known| known.is_same(found)) {
                all.push(found.clone());
            }
        }
        all
    }

    /// Returns what is deployed otherwise than the recipe says, each once.
    pub(super) fn deviations(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in self.all().flat_map(|resolved| &resolved.deviations) {
            if !lines.contains(line) {
                lines.push(line.clone());
            }
        }
        lines
    }
}
