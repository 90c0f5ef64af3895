//! The lint rung: our rules, and beside them the driver's own where it has some.

use super::blocking::blocking;
use super::plan::Plan;
use super::{Context, RunError, refusal};
use crate::driver::Chosen;
use crate::error::chain;
use crate::event::Event;
use crate::lint::{self, Lint, LintError, abra as table};
use crate::outcome::Phase;
use crate::tier::timed;

/// Lints the head and says what it finds. That changes the level and never the verdict, and so does its own failure.
pub(super) async fn go(
    context: &Context<'_>,
    plan: &Plan,
    chosen: &Chosen,
) -> Result<(), RunError> {
    let found = found(context, plan, chosen).await?;
    context.events.emit(&Event::LintFinished(Box::new(found)));
    Ok(())
}

/// Lints the head; returns what it finds.
///
/// # Errors
/// [`RunError::Usage`] for a file that is there and is none that a recipe may have.
pub(super) async fn found(
    context: &Context<'_>,
    plan: &Plan,
    chosen: &Chosen,
) -> Result<Lint, RunError> {
    let (root, commit) = (plan.head.root.clone(), plan.head.commit.clone());
    let (dirty, stack) = (plan.head.dirty, context.settings.domain.stack());
    let check = move || {
        Ok(lint::check(&lint::Subject {
            root: &root,
            repository: Some(lint::Repository {
                path: &root,
                commit: &commit,
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
            let commit = &plan.head.commit;
            return Err(refusal::of(context, wrong, &plan.trust, commit));
        }
        let ours = checked.unwrap_or_else(|error| {
            Lint::unverified(format!("the lint could not run: {}", chain(&error)))
        });
        let recipe = &context.settings.recipe;
        Ok::<_, RunError>(match chosen.lint(recipe, &plan.head.root).await {
            None => ours,
            Some(printed) => with_abra(ours, printed),
        })
    })
    .await
}

/// Puts what abra printed beside ours. Where that is nothing to read a lint that passed is not verified; one
/// that failed stays failed, and says both.
fn with_abra(ours: Lint, printed: Result<String, String>) -> Lint {
    let table = printed.and_then(|text| {
        table::parse(&text).map_err(|error| format!("abra's own lint cannot be read: {error}"))
    });
    match table {
        Ok(table) => ours.beside(&table),
        Err(line) => ours.without_abra(&line),
    }
}
