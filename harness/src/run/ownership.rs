//! What a run may make, looked at before it makes anything; and what it left, looked for at the end.
//!
//! Names are no property: a compose file may call a volume as somebody else's is called. So before the first deploy
//! the engine is listed once. Over what is there and not the app's nothing is made; what nobody could tell to be the
//! app's later is written down ([`engine::made`]); and what is there at the end and was not at the beginning is a leak of
//! this run, whatever its name.

use super::audit::Audit;
use super::context::Context;
use super::error::RunError;
use super::plan::Plan;
use crate::driver::Chosen;
use engine::lock::DomainLock;
use engine::swarm::Engine;
use recipe::release::Release;
use recipe::trust::Level;

/// Returns the releases of a plan, all of which its app may be.
pub(super) fn releases(plan: &Plan) -> Vec<&Release> {
    let base = plan.base.iter();
    let base =
        base.flat_map(|base| std::iter::once(&base.release).chain(base.upgraded.as_ref().ok()));
    std::iter::once(&plan.head).chain(base).collect()
}

/// Looks at what the engine has before the run makes anything of `apps`, each with what it will be and how far it is
/// trusted, and begins the
/// audit of the run's end.
///
/// # Errors
/// [`RunError::Usage`] as of [`Audit::claim`].
pub(super) async fn claim(
    context: &Context<'_>,
    engine: &Engine,
    apps: &[(&DomainLock, Vec<&Release>, Level)],
) -> Result<(), RunError> {
    let (begun, there) = Audit::begin(engine).await?;
    let host = &context.settings.host;
    let mut held = context.held.borrow_mut();
    // One that starts over has begun already.
    // In the recipe's own files nothing is taken as it is.
    let lends = (held.driver.as_ref()).is_none_or(Chosen::deploys_what_was_judged);
    let audit = held.audit.get_or_insert(begun);
    for (lock, releases, level) in apps {
        let level = if lends { level } else { &Level::Stranger };
        audit.claim(host, lock, (releases.as_slice(), level), &there)?;
    }
    Ok(())
}

/// The same for a warm app, which stays: there is no audit.
///
/// # Errors
/// As [`claim`].
pub(super) async fn claim_warm(
    context: &Context<'_>,
    engine: &Engine,
    lock: &DomainLock,
    releases: &[&Release],
    level: &Level,
) -> Result<(), RunError> {
    let (mut audit, there) = Audit::begin(engine).await?;
    audit.claim(&context.settings.host, lock, (releases, level), &there)
}
