//! The work on the apps of a run, as the flow asks for it.

use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select, try_join};

use super::{Body, apps};
use crate::event::Event;
use crate::run::context::Context;
use crate::run::error::RunError;
use crate::run::settings::{Lane, Settings};
use crate::run::standing::Standing;
use crate::run::step::{Again, On, Role, Turn, Up};
use crate::run::work::Tiers;
use crate::run::{ownership, quick, red, teardown};
use ground::outcome::{Stage, TierOutcome};
use recipe::compose::pace::Pace;

impl Tiers for Body<'_> {
    async fn bring_up(&mut self, role: Role) -> Result<Up, RunError> {
        self.make(role)?;
        if role == Role::Fresh {
            let fresh = self.fresh.as_mut().expect("it was just made");
            return fresh.bring_up().await;
        }
        self.make_beside()?;
        let is_proven_elsewhere = self.install().is_some();
        let (standing, others) = (&mut self.standing, &mut self.others);
        let standing = standing.as_mut().expect("it was just made");
        let tested = async {
            match is_proven_elsewhere {
                true => standing.bring_up_base().await,
                false => standing.bring_up().await,
            }
        };
        let (up, ()) = try_join(tested, apps::bring_up(others)).await?;
        Ok(up)
    }

    fn fresh(&self) -> Option<Turn> {
        self.install().map(|install| install.turn)
    }

    async fn bring_up_both(&mut self, role: Role) -> Result<(Option<Up>, Up), RunError> {
        self.make(role)?;
        self.make(Role::Fresh)?;
        self.make_beside()?;
        let (Some(standing), Some(fresh)) = (&mut self.standing, &mut self.fresh) else {
            unreachable!("both were just made");
        };
        let rest = async {
            let others = apps::bring_up(&mut self.others);
            let (base, ()) = try_join(standing.bring_up_base(), others).await?;
            Ok::<_, RunError>(base)
        };
        let (rest, fresh) = (pin!(rest), pin!(fresh.bring_up()));
        Ok(match select(rest, fresh).await {
            Either::Left((up, fresh)) => (Some(up?), fresh.await?),
            Either::Right((fresh, rest)) => match fresh? {
                Up::Serves => (Some(rest.await?), Up::Serves),
                red => (None, red),
            },
        })
    }

    fn others(&self, turn: Turn) -> Vec<usize> {
        let others = self.ready().others.iter().enumerate();
        let is_judged = |other: usize| self.others.get(other).is_some_and(|one| one.is_judged);
        let due = others.filter(|(number, other)| other.turn == turn && !is_judged(*number));
        due.map(|(number, _)| number).collect()
    }

    async fn bring_up_other(&mut self, other: usize) -> Result<Up, RunError> {
        if let Some(up) = self.made(other).up.take() {
            return Ok(up);
        }
        if self.ready().others[other].turn == Turn::First {
            let plan = &self.ready().others[other].plan;
            self.make_room(ownership::releases(plan)).await?;
        }
        self.make_other(other)?;
        let standing = self.made(other).standing.as_mut();
        standing.expect("it was just made").bring_up_base().await
    }

    fn lacks_base(&mut self, other: usize, reason: String) {
        if let Some(standing) = &mut self.made(other).standing {
            standing.without_base(reason);
        }
    }

    fn judged(&mut self, other: usize) {
        let makes_way = self.ready().others[other].turn == Turn::First;
        let made = self.made(other);
        made.is_judged = true;
        made.standing = made.standing.take().filter(|_| !makes_way);
    }

    async fn make_way(&mut self) -> Result<(), RunError> {
        self.make_room(ownership::releases(&self.ready().plan))
            .await?;
        self.fresh = None;
        Ok(())
    }

    async fn adopt(&mut self, reason: String) -> Result<(), RunError> {
        self.run.events.warn(format!(
            "base-broken: {reason}; going on with the new app of the head"
        ));
        self.make_room(Vec::new()).await?;
        self.is_baseless = true;
        self.standing = self.fresh.take();
        if let Some(standing) = &mut self.standing {
            standing.lacks_base(reason);
        }
        Ok(())
    }

    fn is_asked(&self, on: On, stage: Stage) -> bool {
        let ready = self.ready();
        let context = match on {
            On::Tested => &ready.context,
            On::Other(other) => &ready.others[other].context,
        };
        context.settings.stages.contains(&stage)
    }

    fn spared(&mut self, on: On, stage: Stage) -> Option<String> {
        self.on(on, stage)?.spared(stage)
    }

    async fn tier(&mut self, on: On, stage: Stage) -> Result<TierOutcome, RunError> {
        let standing = self.on(on, stage);
        standing
            .expect("the flow brings it up first")
            .tier(stage)
            .await
    }

    fn record(&mut self, on: On, outcome: TierOutcome) {
        match (self.on(on, outcome.stage), on) {
            (Some(standing), _) => standing.record(outcome),
            // Nobody made it.
            (None, On::Other(other)) => red::record(&self.ready().others[other].context, outcome),
            (None, On::Tested) => unreachable!("the flow brings it up first"),
        }
    }

    async fn because_of_pace(&mut self, on: On) -> Result<Option<String>, RunError> {
        let apps: Vec<&Standing<'_>> = match on {
            On::Tested => self.standing.iter().chain(&self.fresh).collect(),
            On::Other(other) => {
                let made = self.others.get(other);
                made.iter()
                    .filter_map(|one| one.standing.as_ref())
                    .collect()
            }
        };
        for app in apps {
            if let Some(reason) = app.because_of_pace().await? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    fn as_shipped(&mut self, reason: &str) {
        let mut held = self.run.held.borrow_mut();
        held.forget_tiers();
        held.as_shipped = true;
        let reason = reason.to_owned();
        self.run.events.emit(&Event::Repeated { reason });
    }

    async fn make_anew(&mut self, why: Again) -> Result<(), RunError> {
        let plan = &self.ready().plan;
        match &why {
            Again::WithoutBase(reason) => {
                self.run.events.warn(format!(
                    "base-broken: {reason}; going on with a new app of the head"
                ));
                // It is judged once more, of the app that stays.
                self.run.held.borrow_mut().tiers.clear();
                self.make_room(vec![&plan.head]).await?;
            }
            Again::AsShipped(_) => {
                // One of the apps may still be on its way up.
                drop(self.run.processes.end_all(teardown::GRACE).await);
                self.make_room(ownership::releases(plan)).await?;
                // It may have taken the place of the one whose base did not come up.
                let adopted = self.standing.take().filter(|_| self.is_baseless);
                self.fresh = self.fresh.take().or(adopted);
                self.remove_beside().await?;
            }
        }
        match (why, &mut self.standing) {
            (Again::WithoutBase(reason), Some(standing)) => {
                standing.without_base(reason);
                self.is_baseless = true;
            }
            _ => {
                self.standing = None;
                self.is_baseless = false;
                if let Some(driver) = &mut self.driver {
                    driver.set_pace(Pace::AsShipped);
                }
            }
        }
        Ok(())
    }

    async fn fall_back(&mut self, reason: String) -> Result<(), RunError> {
        quick::give_up(&self.run, &reason).await?;
        let settings = Settings {
            lane: Lane::Cold,
            ..Settings::clone(&self.run.settings)
        };
        let run = Context {
            settings: Rc::new(settings),
            ..self.run.clone()
        };
        // With everything else of it goes the lock of the warm app, before this run waits for its own.
        *self = Self {
            fetched: self.fetched.take(),
            ..Self::new(&run)
        };
        Ok(())
    }
}
