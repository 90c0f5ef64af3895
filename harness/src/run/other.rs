//! Another app of a run than the one under test.

use super::base::NoBase;
use super::context::Context;
use super::plan::Plan;
use super::resolved::Releases;
use super::step::Turn;
use super::{red, routing, settings};
use crate::driver::stack::DeploySetup;
use crate::event::{OtherApp, PlannedOther};
use crate::tier::without;
use engine::swarm::EngineError;
use ground::name::Domain;
use ground::outcome::Stage;
use recipe::compose::shared::{Own, SharedNetwork};

/// Another app of a run.
pub(super) struct Other<'a> {
    pub(super) app: OtherApp,
    pub(super) turn: Turn,
    /// Why it is not beside the app under test.
    pub(super) why: Option<String>,
    /// Its context: that of the app under test, but for its domain and its places where it has its own, and for who
    /// hears of it.
    pub(super) context: Context<'a>,
    pub(super) plan: Plan,
    /// What is deployed of it; `None` where that is of what the app under test is.
    pub(super) resolved: Option<Releases>,
    /// What is wrong with the head's files where they make up this app alone: it is not deployed, and red.
    pub(super) fault: Option<Fault>,
}

/// A fault of the head that shows in one of its variants alone.
pub(super) struct Fault {
    /// The assertion that does not hold.
    pub(super) assertion: &'static str,
    pub(super) reason: String,
    /// What that means for the app.
    pub(super) means: &'static str,
}

impl Other<'_> {
    /// Returns what it is, and where.
    pub(super) fn place(&self) -> (&Plan, &Domain) {
        (&self.plan, &self.context.settings.domain)
    }

    /// Returns how it is deployed in a run whose app under test is deployed with `means`.
    pub(super) fn means(&self, means: &DeploySetup) -> DeploySetup {
        let mut means = means.clone();
        if self.is_beside() {
            let settings = &self.context.settings;
            let domain = &settings.domain;
            means.terms.domain = domain.to_string();
            if let SharedNetwork::Own(own) = &mut means.shared {
                own.network = Own::of(domain.stack().as_str()).network;
                own.gateway &= settings.gateway.is_some();
            }
        }
        means
    }

    /// Returns whether it is there at the same time as the app under test.
    pub(super) fn is_beside(&self) -> bool {
        self.turn == Turn::Beside
    }

    /// Returns what is said of it.
    pub(super) fn planned(&self) -> PlannedOther {
        let how = match self.turn {
            Turn::Beside => settings::Fresh::Parallel,
            Turn::First => settings::Fresh::Serial,
        };
        PlannedOther {
            app: self.app.clone(),
            domain: self.context.settings.domain.to_string(),
            how: how.name().to_owned(),
            why: self.why.clone(),
        }
    }

    /// Returns whether there is something to deploy of it, where nothing about it is red at once.
    pub(super) fn is_deployed(&self) -> bool {
        self.plan.no_base.is_none() && self.fault.is_none()
    }

    /// Returns what is wrong with the head's files where they make up this app.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_ref().map(|fault| &*fault.reason)
    }

    /// Notes that no registry has an image that it needs and the app under test does not.
    pub(super) fn lacks(&mut self, error: &EngineError) {
        match self.plan.base.take() {
            Some(base) => {
                let reason = format!("{}: {error}", base.in_words());
                self.plan.no_base = Some(NoBase::Broken(reason));
            }
            None => {
                self.fault = Some(Fault {
                    assertion: "generic: images",
                    reason: error.to_string(),
                    means: "an image of the variant does not exist",
                });
            }
        }
    }

    /// Returns whether it is known what comes of it without a deploy; says so in its row.
    pub(super) fn is_decided(&self) -> bool {
        if let Some(reason) = &self.plan.masks {
            red::masked(&self.context, reason);
            return true;
        }
        if let Some(fault) = &self.fault {
            let assertion = (fault.assertion.to_owned(), fault.reason.clone());
            red::at_once(&self.context, Stage::Install, vec![assertion], fault.means);
            return true;
        }
        let faults = routing::faults(&self.plan, &self.context.settings);
        if routing::is_red(&self.context, &faults) {
            return true;
        }
        let Some(none) = self.plan.no_base.as_ref().filter(|_| !self.is_deployed()) else {
            return false;
        };
        let outcome = without(Stage::Upgrade, none.status(), none.to_string());
        red::record(&self.context, outcome);
        true
    }
}
