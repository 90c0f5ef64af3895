//! The new apps of a run: which one a tier judges, how each is made, and what makes way for what.

use super::Body;
use crate::run::error::RunError;
use crate::run::quick::Over;
use crate::run::standing::Standing;
use crate::run::step::Role;
use crate::run::{fresh, remake};
use ground::outcome::Stage;
use recipe::release::Release;

impl<'a> Body<'a> {
    /// Returns the app that a tier judges: the install the fresh one, unless something else was deployed than was planned.
    pub(super) fn judged(&mut self, stage: Stage) -> &mut Standing<'a> {
        let (standing, fresh) = (self.standing.as_mut(), self.fresh.as_mut());
        let is_another = standing.as_ref().is_some_and(|one| one.is_another());
        let judged = match stage == Stage::Install && !is_another {
            true => fresh.or(standing),
            false => standing.or(fresh),
        };
        judged.expect("the flow brings it up first")
    }

    /// Returns the fresh install of the run, as long as there is a base.
    pub(super) fn install(&self) -> Option<&fresh::Install<'a>> {
        let ready = self.ready.as_ref()?;
        ready.fresh.as_ref().filter(|_| !self.is_baseless)
    }

    /// Makes the app of this role, of which nothing is deployed.
    pub(super) fn make(&mut self, role: Role) -> Result<(), RunError> {
        let ready = self.ready();
        let (driver, needs) = (self.driver().clone(), self.needs.clone());
        if role != Role::Fresh {
            if self.standing.is_none() {
                let app = (driver, self.lock(role));
                let kept = self.over.as_ref().map(Over::snapshot);
                let standing = Standing::new(&ready.context, &ready.plan, app, needs, kept)?;
                self.standing = Some(standing);
            }
            return Ok(());
        }
        let install = ready.fresh.as_ref().expect("the flow asked for it");
        let app = match install.is_beside() {
            true => {
                let (recipe, dirs) = (&install.context.settings.recipe, &install.context.dirs);
                let means = install.means(&driver.site().means);
                let driver = driver.for_app(recipe, dirs, means);
                let lock = self.lock(role);
                let told = &driver.site().deploys;
                self.run.held.borrow_mut().count_with(lock.domain(), told);
                (driver, lock)
            }
            false => (driver, self.lock(Role::New)),
        };
        let fresh = Standing::new(&install.context, &install.plan, app, needs, None)?;
        self.fresh = Some(fresh);
        Ok(())
    }

    /// Removes the app under test, and claims what comes in its place.
    pub(super) async fn make_room(&self, releases: Vec<&Release>) -> Result<(), RunError> {
        let ready = self.ready();
        let (lock, level) = (self.lock(Role::New), ready.plan.trust.level.clone());
        remake::make_room(&ready.context, self.driver(), &lock, (releases, level)).await
    }

    /// Removes the fresh app beside the one under test, where there is one.
    pub(super) async fn remove_fresh(&mut self) -> Result<(), RunError> {
        let fresh = self.fresh.take();
        let (Some(fresh), Some(install)) = (&fresh, &self.ready().fresh) else {
            return Ok(());
        };
        if !install.is_beside() {
            return Ok(());
        }
        let (driver, lock) = fresh.app();
        let level = self.ready().plan.trust.level.clone();
        let next = (vec![&install.plan.head], level);
        remake::make_room(&install.context, driver, lock, next).await
    }
}
