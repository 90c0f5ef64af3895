//! The locks of a run's apps, and what dead holders of them left.

use std::rc::Rc;

use super::app::App;
use super::context::Context;
use super::error::RunError;
use super::step::Role;
use crate::hold::release::release;
use crate::janitor;
use crate::lifetime::Note;
use crate::live::{self, LiveRun};
use crate::tier::timed;
use engine::app;
use engine::lock::{Attempt, DomainLock};
use engine::made;
use engine::swarm::Engine;
use engine::swarm::teardown::DeployerState;
use engine::wait::{Deadline, Stopwatch};
use ground::name::Domain;
use ground::outcome::Phase;

/// Waits for the lock of `domain`, and says so.
pub(super) async fn wait_for_lock(
    context: &Context<'_>,
    domain: &Domain,
) -> Result<DomainLock, RunError> {
    let settings = &context.settings;
    let run = &context.dirs.id;
    end_hold(context, domain).await;
    let holder =
        match DomainLock::try_acquire(&settings.host, domain, run).map_err(RunError::infra)? {
            Attempt::Acquired(lock) => return Ok(lock),
            Attempt::Held { holder, .. } if holder.is_empty() => holder,
            Attempt::Held { holder, .. } => format!(" ({holder})"),
        };
    context.events.notice(format!(
        "== app lock: another run of {domain} is in flight{holder} — waiting =="
    ));
    let watch = Stopwatch::start();
    let wait = DomainLock::acquire(&settings.host, domain, run);
    let lock = timed(&context.events, Phase::LockWait, domain.as_str(), wait)
        .await
        .map_err(RunError::infra)?;
    context.events.notice(format!(
        "== app lock: acquired {domain} after {:.1} s ==",
        watch.elapsed().as_secs_f64()
    ));
    Ok(lock)
}

/// Ends the hold of this very app, if it is held: this run is the newer question, and a pipeline must not wait for hours
/// for somebody's look.
async fn end_hold(context: &Context<'_>, domain: &Domain) {
    let host = &context.settings.host;
    let runs = live::list(host).runs;
    let has = |run: &LiveRun| run.is_held() && run.domains().contains(&domain.as_str());
    for run in runs.into_iter().filter(has) {
        let id = &run.run_id;
        context.events.notice(format!(
            "== {domain} is held by run {id} for a look at it: this run ends that =="
        ));
        // Whatever is left is looked for once the lock is had.
        if let Err(error) = release(host, &run, &context.dirs.id).await {
            context.events.warn(ground::error::chain(&error));
        }
    }
}

/// Takes an app's lock before anything of it exists.
pub(super) async fn acquire(
    context: &Context<'_>,
    domain: &Domain,
    role: Role,
) -> Result<(), RunError> {
    let lock = wait_for_lock(context, domain).await?;
    let lock = Rc::new(lock);
    // The supervisor must know before anything can exist.
    context.notes.borrow_mut().tell(&Note::App {
        domain: domain.to_string(),
    });
    {
        let mut held = context.held.borrow_mut();
        held.apps.push(App::new(role, lock));
        held.touched = true;
    }
    Ok(())
}

/// Removes what dead holders of the apps' locks left; all of it together, because one may be on another's network.
pub(super) async fn remove_leftovers<'a>(
    context: &Context<'_>,
    engine: &Engine,
    locks: impl Iterator<Item = &'a Rc<DomainLock>> + Clone,
) -> Result<(), RunError> {
    let settings = &context.settings;
    let is_own = |domain: &Domain| locks.clone().any(|lock| lock.domain() == domain);
    let mut dead = Vec::new();
    for lock in locks.clone() {
        let domain = lock.domain();
        if !app::exists(engine, &settings.host, domain).await? {
            continue;
        }
        context.events.notice(format!(
            "== {domain} is still there though its last run is dead: removing it first =="
        ));
        // What this run needs no more may be on the network of what it removes.
        let guests = made::guests(&settings.host, domain, &settings.zone).unwrap_or_default();
        for guest in guests.iter().filter(|guest| !is_own(guest)) {
            let run = &context.dirs.id;
            let decision = janitor::decide(engine, &settings.host, guest, run, false).await;
            tracing::debug!(%guest, ?decision, "a guest of a dead run's app");
        }
        dead.push(lock);
    }
    let deadline = Deadline::after(settings.teardown_budget);
    let removals = dead.iter().map(|lock| async move {
        let removal = app::remove(
            engine,
            &settings.host,
            lock,
            DeployerState::CutOff,
            deadline,
        )
        .await;
        (lock.domain(), removal)
    });
    for (domain, removal) in futures_util::future::join_all(removals).await {
        let removal = removal?;
        if !removal.residual.is_empty() {
            return Err(RunError::Infra {
                error: format!(
                    "what a dead run of {domain} left would not go: {}",
                    removal.residual
                )
                .into(),
                hints: removal.complaints,
            });
        }
    }
    Ok(())
}
