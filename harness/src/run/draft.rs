//! A plan before it is judged: made beside the thread that obeys signals, once more where its base may not be deployed.

use tokio::sync::oneshot;

use super::blocking::hiding;
use super::context::Context;
use super::error::RunError;
use super::fetched::{Checkout, Fetched};
use super::plan::{self, Plan};
use super::settings::Settings;
use super::{refusal, resolved, site, uncovered};
use crate::driver::opinion::{self, Asked};
use crate::driver::stack::DeploySetup;
use crate::tier::{TierError, timed};
use ground::outcome::Phase;
use recipe::release::Release;

/// A plan, with what is still asked about it.
pub(super) struct Draft {
    pub(super) plan: Plan,
    /// What Docker says of the head; it is asked while we resolve and judge it ourselves.
    pub(super) asked: Asked,
}

/// Makes the plan of the context's app: without a base that needs a grant and has none.
pub(super) async fn make_plan(context: &Context<'_>, fetched: &Fetched) -> Result<Draft, RunError> {
    let Fetched {
        checkout,
        traits,
        chosen,
    } = fetched;
    let means = site::means(context, &checkout.trust, *traits, chosen);
    let draft = plan_once(context, checkout.clone(), &means).await?;
    let Some(reason) = uncovered::reason(context, &draft.plan, &means, chosen) else {
        return Ok(draft);
    };
    // Overlays are judged by the base, and remarks are about it: the whole plan is another one without it.
    forget(context)?;
    let checkout = Checkout {
        barred: Some(reason),
        ..checkout.clone()
    };
    plan_once(context, checkout, &means).await
}

async fn plan_once(
    context: &Context<'_>,
    checkout: Checkout,
    means: &DeploySetup,
) -> Result<Draft, RunError> {
    let (settings, dirs) = (Settings::clone(&context.settings), context.dirs.clone());
    let (trust, commit) = (checkout.trust.clone(), checkout.tree.commit);
    let (traits, means, subject) = (means.traits, means.clone(), context.subject.clone());
    let (read, head) = oneshot::channel();
    let plan = hiding(&context.redactor, move |hide| {
        let judge = |head: &Release| {
            resolved::judge_alone(head, &settings, means, &checkout.trust)?;
            drop(read.send(head.clone()));
            Ok(())
        };
        plan::make(&settings, &dirs, &checkout, &subject, judge, hide)
    });
    let (processes, state) = (context.processes.clone(), context.dirs.state.clone());
    let mut asked: Asked = Box::pin(async move {
        let head = head.await.ok()?;
        Some(opinion::of(&processes, traits, &state, &head).await)
    });
    let both = async {
        tokio::pin!(plan);
        let mut said = None;
        loop {
            tokio::select! {
                biased;
                plan = &mut plan => break plan.map(|plan| (plan, said)),
                opinion = &mut asked, if said.is_none() => said = Some(opinion),
            }
        }
    };
    let planned = timed(&context.events, Phase::Plan, "", both).await;
    let planned = planned.map_err(|error| match error {
        RunError::Refused { found, .. } => resolved::refused(context, (&trust, commit), found),
        error => refusal::of(context, error, &trust, commit),
    })?;
    let (plan, said) = planned;
    let asked = match said {
        Some(opinion) => Box::pin(std::future::ready(opinion)),
        None => asked,
    };
    Ok(Draft { plan, asked })
}

/// Removes what a plan wrote into the run's directory, so that another can be made.
pub(super) fn forget(context: &Context<'_>) -> Result<(), RunError> {
    let dirs = &context.dirs;
    for path in [dirs.tests.clone(), dirs.base.clone()] {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(RunError::infra(TierError::State {
                    path,
                    source: error,
                }));
            }
            _ => {}
        }
    }
    std::fs::create_dir(&dirs.tests).map_err(|source| {
        RunError::infra(TierError::State {
            path: dirs.tests.clone(),
            source,
        })
    })
}
