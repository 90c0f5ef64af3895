//! What is wrong with a recipe before its project can be judged, as findings: the author of a proposal sees the rule, the
//! file and the line, as of what the policy is against.

use std::path::Path;

use super::advice::names_a_file;
use super::context::Context;
use super::error::RunError;
use super::plan::supplied::Withheld;
use crate::driver::opinion::RefusedByDocker;
use crate::overlay::OverlayError;
use crate::suite::SuiteError;
use ground::error::chain;
use ground::git::commit::CommitId;
use ground::outcome::Verdict;
use ground::source_tree::SourceFileError;
use recipe::compose::query::NameProblem;
use recipe::compose::{ComposeError, Location};
use recipe::interpolate::InterpolateError;
use recipe::policy::{self, Violation};
use recipe::release::ReleaseError;
use recipe::secret::SecretError;
use recipe::trust::{Trust, TrustView};

/// The lint's rule about compose files that Docker does not take.
const LOADS: &str = "C015";

/// The lint's rule about names that are too long for Docker.
const NAME_LIMITS: &str = "C003";

/// The lint's rule about a `.env.sample` that cannot be read.
const SAMPLE: &str = "R008";

/// Returns `error` as a refusal where it is the recipe's text that is wrong; any other stays as it is. `trust` is the
/// source's, at `commit`.
pub(super) fn of(
    context: &Context<'_>,
    error: RunError,
    trust: &Trust,
    commit: CommitId,
) -> RunError {
    let RunError::Usage { error, hints } = error else {
        return error;
    };
    let found = findings(&*error);
    if found.is_empty() {
        return RunError::Usage { error, hints };
    }
    refused(context, found, hints, (trust, commit))
}

/// Returns the refusal of a run for what was `found` in the proposal of a source of this trust at a commit, with the view
/// that a dry run prints.
pub(super) fn refused(
    context: &Context<'_>,
    found: Vec<Violation>,
    hints: Vec<String>,
    (trust, commit): (&Trust, CommitId),
) -> RunError {
    let settings = &context.settings;
    let view = settings.dry_run.then(|| {
        let view = serde_json::json!({
            "recipe": settings.recipe.as_str(),
            "trust": TrustView::from(trust),
            "head_commit": commit,
            "domain": settings.domain.as_str(),
            "verdict": Verdict::Refused,
            "policy": found,
        });
        format!("{view:#}")
    });
    RunError::Refused { found, hints, view }
}

fn findings(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Vec<Violation> {
    if let Some(withheld) = error.downcast_ref::<Withheld>() {
        return withheld.violations();
    }
    let one = if let Some(error) = error.downcast_ref::<ReleaseError>() {
        match error {
            ReleaseError::File(error) => Some(file(error)),
            ReleaseError::Env(error) if error.is_too_much() => {
                Some(line(policy::rules::FILE.id, error))
            }
            ReleaseError::Env(error) => Some(line(SAMPLE, error)),
            ReleaseError::Compose(error) => compose(error),
        }
    } else if let Some(error) = error.downcast_ref::<ComposeError>() {
        compose(error)
    } else if let Some(error) = error.downcast_ref::<SourceFileError>() {
        Some(file(error))
    } else if let Some(error) = error.downcast_ref::<OverlayError>() {
        of_tests(error)
    } else if let Some(problem) = error.downcast_ref::<NameProblem>() {
        let (place, key) = (problem.place.as_ref(), problem.path());
        Some(finding(NAME_LIMITS, place, &key, problem.to_string()))
    } else if let Some(error) = error.downcast_ref::<SecretError>() {
        Some(line(SAMPLE, error))
    } else if let Some(error) = error.downcast_ref::<RefusedByDocker>() {
        let message = format!("docker refuses the compose files: {}", error.reason);
        Some(finding(LOADS, error.location.as_ref(), "", message))
    } else {
        None
    };
    one.into_iter().collect()
}

fn finding(rule: &str, place: Option<&Location>, key: &str, message: String) -> Violation {
    Violation {
        file: place.map(|place| place.file.clone()),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        ..policy::refusal(rule, key, &message)
    }
}

/// A file of the repository that a recipe may not have.
fn file(error: &SourceFileError) -> Violation {
    Violation {
        file: Some(error.path()),
        ..policy::refusal(policy::rules::FILE.id, "", &error.to_string())
    }
}

/// What the recipe ships for its tests and may not have; the operator fixes what the operator laid over it.
fn of_tests(error: &OverlayError) -> Option<Violation> {
    let path = match error {
        OverlayError::File(error) | OverlayError::Suite(SuiteError::File(error)) => {
            return Some(file(error));
        }
        // Those of the operator have whole paths.
        OverlayError::Suite(SuiteError::Link { path, .. }) if path.is_relative() => path,
        OverlayError::Suite(SuiteError::TooLarge) => Path::new("tests"),
        _ => return None,
    };
    Some(Violation {
        file: Some(path.display().to_string()),
        ..policy::refusal(policy::rules::FILE.id, "", &chain(error))
    })
}

/// An error whose words begin with `file:line: `.
fn line(rule: &str, error: &(dyn std::error::Error + 'static)) -> Violation {
    let said = chain(error);
    let place = said.split_once(": ").and_then(|(place, message)| {
        let (file, line) = place.rsplit_once(':')?;
        Some((file, line.parse::<u64>().ok()?, message))
    });
    match place {
        Some((file, line, message)) => Violation {
            file: Some(file.to_owned()),
            line: Some(line),
            ..policy::refusal(rule, "", message)
        },
        None => policy::refusal(rule, "", &said),
    }
}

fn compose(error: &ComposeError) -> Option<Violation> {
    let place = error.location();
    // What the operator laid over the recipe is the operator's to mend.
    if place.is_some_and(Location::is_of_overlay) {
        return None;
    }
    let key = match error {
        ComposeError::Invalid { path, .. } | ComposeError::Interpolate { path, .. } => {
            path.as_str()
        }
        _ => "",
    };
    let rule = match error {
        ComposeError::Read { .. }
        | ComposeError::Outside { .. }
        | ComposeError::TooManyFiles
        | ComposeError::TooLarge { .. }
        | ComposeError::Interpolate {
            problem: InterpolateError::TooLong,
            ..
        } => policy::rules::FILE.id,
        _ if names_a_file(key) => policy::rules::FILE.id,
        // What depends on whose home it is deployed from.
        _ if key.starts_with("services.")
            && key.contains(".volumes[")
            && error.to_string().contains("whose home") =>
        {
            policy::rules::BIND.id
        }
        _ => LOADS,
    };
    let said = chain(error);
    let start = place.map(|place| format!("{place}: ")).unwrap_or_default();
    let message = said.strip_prefix(&start).unwrap_or(&said);
    let message = message.strip_prefix(&format!("{key}: ")).unwrap_or(message);
    let mut found = finding(rule, place, key, message.to_owned());
    if let ComposeError::Read { file, .. } = error {
        found.file = Some(file.clone());
    }
    Some(found)
}
