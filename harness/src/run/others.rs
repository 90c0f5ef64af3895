//! The other apps of a run: those beside the one under test, or before it.

use std::rc::Rc;

use super::base::NoBase;
use super::beside::{self, Neighbour};
use super::context::Context;
use super::dependencies::Named;
use super::error::RunError;
use super::fetched::Fetched;
use super::plan::Plan;
use super::prepare::{self, Draft};
use super::resolved::{self, Releases};
use super::routing;
use super::settings::{self, Bases, Settings};
use super::step::Turn;
use super::{network, red, site};
use crate::driver::Chosen;
use crate::driver::stack::DeploySetup;
use crate::event::{OtherApp, PlannedOther};
use crate::tier::without;
use engine::swarm::EngineError;
use ground::outcome::Stage;
use recipe::compose::shared::{Own, SharedNetwork};
use recipe::room::Room;

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
}

impl Other<'_> {
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
        self.plan.no_base.is_none()
    }

    /// Notes that no registry has an image that it needs and the app under test does not.
    pub(super) fn lacks(&mut self, error: &EngineError) {
        if let Some(base) = self.plan.base.take() {
            let reason = format!("{}: {error}", base.in_words());
            self.plan.no_base = Some(NoBase::Broken(reason));
        }
    }

    /// Returns whether it is known what comes of it without a deploy; says so in its row.
    pub(super) fn is_decided(&self) -> bool {
        if let Some(reason) = &self.plan.masks {
            red::masked(&self.context, reason);
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

/// What the other apps of a run are planned beside.
pub(super) struct Company<'a, 'b> {
    pub(super) plan: &'b Plan,
    pub(super) resolved: &'b Releases,
    /// The fresh install of the head.
    pub(super) fresh: Option<&'b Other<'a>>,
    pub(super) named: &'b [Named],
}

/// Returns the apps that a run has beside the one under test and its fresh install, planned and judged.
///
/// # Errors
/// [`RunError`] for what cannot or may not be deployed.
pub(super) async fn of<'a>(
    context: &Context<'a>,
    fetched: &Fetched,
    company: Company<'a, '_>,
) -> Result<Vec<Other<'a>>, RunError> {
    let Company {
        plan,
        resolved,
        fresh,
        named,
    } = company;
    let chosen = &fetched.chosen;
    let fresh = fresh.filter(|fresh| fresh.is_beside());
    let mut rooms = vec![resolved.room()];
    rooms.extend(fresh.map(|_| resolved.room_of_head()));
    let mut others: Vec<Other<'a>> = Vec::new();
    for version in &plan.older {
        let app = OtherApp::base(version);
        let settings = &context.settings;
        let domain = settings.domain_of(&app);
        let read = async |turn, domain, why| {
            let settings = Settings {
                domain,
                stages: vec![Stage::Upgrade],
                base: Some(version.clone()),
                bases: Bases::One,
                fresh: settings::Fresh::Never,
                ..Settings::clone(settings)
            };
            read((context, fetched), app.clone(), settings, turn, why).await
        };
        if let Some(why) = beside::alone(&domain, settings, chosen, named) {
            let first = read(Turn::First, settings.domain.clone(), Some(why));
            others.push(first.await?);
            continue;
        }
        let other = read(Turn::Beside, domain, None).await?;
        let room = other.resolved.as_ref().map(Releases::room);
        let there = std::iter::once((plan, &settings.domain));
        let there = there.chain(fresh.iter().map(|fresh| fresh.place()));
        let beside = others.iter().filter(|other| other.is_beside());
        let mut there = there.chain(beside.map(Other::place));
        let here = Neighbour::of_plan(&other.plan, &other.context.settings.domain);
        let level = &plan.trust.level;
        let all: Vec<Room> = rooms.iter().copied().chain(room).collect();
        let met = there.find_map(|(plan, domain)| {
            beside::in_common(&here, &Neighbour::of_plan(plan, domain), level)
        });
        match met.or_else(|| beside::no_room(&all)) {
            None => {
                rooms = all;
                others.push(other);
            }
            why => {
                prepare::forget(&other.context)?;
                let first = read(Turn::First, settings.domain.clone(), why);
                others.push(first.await?);
            }
        }
    }
    Ok(others)
}

impl<'a> Other<'a> {
    fn place(&self) -> (&Plan, &ground::name::Domain) {
        (&self.plan, &self.context.settings.domain)
    }
}

/// Plans another app and judges it.
async fn read<'a>(
    (context, fetched): (&Context<'a>, &Fetched),
    app: OtherApp,
    settings: Settings,
    turn: Turn,
    why: Option<String>,
) -> Result<Other<'a>, RunError> {
    let dirs = context.dirs.of_other(&app.dir_name());
    let mut context = Context {
        settings: Rc::new(settings),
        dirs: dirs.map_err(RunError::infra)?,
        events: context.events.of(&app),
        row: Some(app.clone()),
        ..context.clone()
    };
    let Draft { plan, asked } = prepare::make_plan(&context, fetched).await?;
    let chosen: &Chosen = &fetched.chosen;
    if chosen.deploys_what_was_judged()
        && let Some(direct) = network::without_gateway(&context, &plan)
    {
        context = direct;
    }
    let means = site::means(&context, &plan.trust, fetched.traits, chosen);
    let judged = resolved::quietly(&context, &plan, &means)?;
    resolved::taken_by_docker(&context, &plan, &means, asked).await?;
    Ok(Other {
        app,
        turn,
        why,
        context,
        plan,
        resolved: Some(judged),
    })
}
