//! Apps of a run that are made again.

use super::context::Context;
use super::error::RunError;
use super::{ownership, teardown};
use crate::driver::Driver;
use engine::app;
use engine::lock::DomainLock;
use engine::made;
use engine::swarm::teardown::DeployerState;
use engine::wait::Deadline;
use recipe::compose::shared::SharedNetwork;
use recipe::release::Release;
use recipe::trust::Level;

/// Removes an app that did not come up, with the lock still in hand, and claims what it will be next: what was written
/// down of it went with it.
///
/// # Errors
/// [`RunError`] when something would not go, or is not to be made.
pub(super) async fn make_room(
    context: &Context<'_>,
    driver: &Driver,
    lock: &DomainLock,
    (releases, level): (Vec<&Release>, Level),
) -> Result<(), RunError> {
    remove(context, driver, lock).await?;
    let engine = &driver.site().engine;
    ownership::claim(context, engine, &[(lock, releases, level)]).await
}

/// Removes an app that did not come up.
async fn remove(context: &Context<'_>, driver: &Driver, lock: &DomainLock) -> Result<(), RunError> {
    let deadline = Deadline::after(context.settings.teardown_budget);
    teardown::undeployed(context, driver.undeploy(lock).await);
    let (host, engine) = (&context.settings.host, &driver.site().engine);
    // Others of the run may be on its network.
    let guests = made::guests(host, lock.domain(), &context.settings.zone);
    let kept = match &driver.site().means.shared {
        SharedNetwork::Own(own) if !own.guest => Some(own.network.as_str()),
        _ => None,
    };
    let kept = kept.filter(|_| guests.is_ok_and(|guests| !guests.is_empty()));
    // Its deploy may have run into its limit and been killed.
    let removal =
        app::remove_but(engine, host, lock, kept, DeployerState::CutOff, deadline).await?;
    if removal.residual.is_empty() {
        return Ok(());
    }
    Err(RunError::Infra {
        error: format!("the app would not go: {}", removal.residual).into(),
        hints: removal.complaints,
    })
}
