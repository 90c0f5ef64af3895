//! The new apps of a run: which one a tier judges, how each is made, and what makes way for what.

use std::rc::Rc;

use futures_util::future::try_join_all;

use super::{Body, Made};
use crate::run::error::RunError;
use crate::run::other::Other;
use crate::run::quick::Over;
use crate::run::standing::Standing;
use crate::run::step::{On, Role, Turn};
use crate::run::{ownership, remake};
use engine::lock::DomainLock;
use ground::name::Domain;
use ground::outcome::Stage;
use recipe::release::Release;

/// Deploys all of these that were made and are not up, at once, and waits until each serves or does not.
///
/// # Errors
/// [`RunError`] when the host fails.
pub(super) async fn bring_up(others: &mut [Made<'_>]) -> Result<(), RunError> {
    let all = others.iter_mut().map(|other| async {
        if let (Some(standing), None, false) = (&mut other.standing, &other.up, other.is_judged) {
            other.up = Some(standing.bring_up_base().await?);
        }
        Ok(())
    });
    try_join_all(all).await.map(drop)
}

impl<'a> Body<'a> {
    /// Returns the app that a tier judges, once it was made: the install the fresh one, unless something else was deployed
    /// than was planned.
    pub(super) fn on(&mut self, on: On, stage: Stage) -> Option<&mut Standing<'a>> {
        match on {
            On::Other(other) => self.others.get_mut(other)?.standing.as_mut(),
            On::Tested => {
                let (standing, fresh) = (self.standing.as_mut(), self.fresh.as_mut());
                let is_another = standing.as_ref().is_some_and(|one| one.is_another());
                match stage == Stage::Install && !is_another {
                    true => fresh.or(standing),
                    false => standing.or(fresh),
                }
            }
        }
    }

    /// Returns the fresh install of the run, as long as there is a base.
    pub(super) fn install(&self) -> Option<&Other<'a>> {
        let ready = self.ready.as_ref()?;
        ready.fresh.as_ref().filter(|_| !self.is_baseless)
    }

    /// Returns what was made of another app, by its number.
    pub(super) fn made(&mut self, other: usize) -> &mut Made<'a> {
        while self.others.len() <= other {
            self.others.push(Made::default());
        }
        &mut self.others[other]
    }

    /// Makes the app of this role, of which nothing is deployed.
    pub(super) fn make(&mut self, role: Role) -> Result<(), RunError> {
        let ready = self.ready();
        if role == Role::Fresh {
            let install = ready.fresh.as_ref().expect("the flow asked for it");
            self.fresh = Some(self.stand(install)?);
        } else if self.standing.is_none() {
            let app = (self.driver().clone(), self.lock(role));
            let kept = self.over.as_ref().map(Over::snapshot);
            let needs = self.needs.clone();
            let standing = Standing::new(&ready.context, &ready.plan, app, needs, kept)?;
            self.standing = Some(standing);
        }
        Ok(())
    }

    /// Makes the apps beside the one under test, of which nothing is deployed.
    pub(super) fn make_beside(&mut self) -> Result<(), RunError> {
        let others = self.ready().others.iter().enumerate();
        let beside = others.filter(|(_, other)| other.turn == Turn::Beside);
        let beside: Vec<usize> = beside.map(|(number, _)| number).collect();
        for other in beside {
            if self.made(other).standing.is_none() {
                self.make_other(other)?;
            }
        }
        Ok(())
    }

    /// Makes another app, by its number.
    pub(super) fn make_other(&mut self, other: usize) -> Result<(), RunError> {
        let standing = self.stand(&self.ready().others[other])?;
        self.made(other).standing = Some(standing);
        Ok(())
    }

    /// Returns another app before it is deployed.
    fn stand(&self, other: &Other<'a>) -> Result<Standing<'a>, RunError> {
        let driver = self.driver();
        let (settings, dirs) = (&other.context.settings, &other.context.dirs);
        let driver = driver.for_app(&settings.recipe, dirs, other.means(&driver.site().means));
        let lock = self.lock_at(&settings.domain);
        let mut held = self.run.held.borrow_mut();
        held.count_with(&settings.domain, &driver.site().deploys);
        drop(held);
        let needs = self.needs.clone();
        Standing::new(&other.context, &other.plan, (driver, lock), needs, None)
    }

    fn lock_at(&self, domain: &Domain) -> Rc<DomainLock> {
        let held = self.run.held.borrow();
        let mut apps = held.apps.iter();
        let app = apps.find(|app| app.lock.domain() == domain);
        Rc::clone(&app.expect("the flow takes the lock first").lock)
    }

    /// Removes the app under test, and claims what comes in its place.
    pub(super) async fn make_room(&self, releases: Vec<&Release>) -> Result<(), RunError> {
        let ready = self.ready();
        let (lock, level) = (self.lock(Role::New), ready.plan.trust.level.clone());
        remake::make_room(&ready.context, self.driver(), &lock, (releases, level)).await
    }

    /// Removes the apps beside the one under test, so that they can be made again.
    pub(super) async fn remove_beside(&mut self) -> Result<(), RunError> {
        let (fresh, others) = (self.fresh.take(), std::mem::take(&mut self.others));
        let ready = self.ready();
        let made = others.into_iter().map(|one| one.standing);
        let made = ready.others.iter().zip(made);
        let made = ready.fresh.iter().zip([fresh]).chain(made);
        for (other, standing) in made {
            let Some(standing) = standing.filter(|_| other.is_beside()) else {
                continue;
            };
            let (driver, lock) = standing.app();
            let level = ready.plan.trust.level.clone();
            let next = (ownership::releases(&other.plan), level);
            remake::make_room(&other.context, driver, lock, next).await?;
        }
        Ok(())
    }
}
