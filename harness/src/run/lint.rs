//! The lint rung.

use super::blocking::blocking;
use super::context::Context;
use super::error::RunError;
use super::plan::Plan;
use super::refusal;
use crate::tier::timed;
use ground::error::chain;
use ground::outcome::Phase;
use recipe::lint::{self, Lint, LintError};

/// Lints the head; returns what it finds. That changes the level and never the verdict, and so does its own failure.
///
/// # Errors
/// [`RunError::Usage`] for a file that a recipe may not have.
pub(super) async fn found(context: &Context<'_>, plan: &Plan) -> Result<Lint, RunError> {
    let (root, commit) = (plan.head.root.clone(), plan.head.commit);
    let (dirty, stack) = (plan.head.dirty, context.settings.domain.stack());
    let check = move || {
        Ok(lint::check(&lint::Subject {
            root: &root,
            repository: Some(lint::Repository {
                path: &root,
                commit,
                dirty,
            }),
            stack: stack.as_str(),
            proposal: false,
        }))
    };
    timed(&context.events, Phase::Lint, "", async {
        let checked = blocking(check).await?;
        if let Err(LintError::File(error)) = checked {
            let hints = vec![error.advice().to_owned()];
            let wrong = RunError::Usage {
                error: error.into(),
                hints,
            };
            let commit = plan.head.commit;
            return Err(refusal::of(context, wrong, &plan.trust, commit));
        }
        Ok::<_, RunError>(checked.unwrap_or_else(|error| {
            Lint::unverified(format!("the lint could not run: {}", chain(&error)))
        }))
    })
    .await
}
