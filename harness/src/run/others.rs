//! The other apps of a run, planned and judged: those beside the app under test, and those before it.

use std::rc::Rc;

use super::beside::{self, Neighbour};
use super::context::Context;
use super::dependencies::Named;
use super::draft::{self, Draft};
use super::error::RunError;
use super::fetched::Fetched;
use super::other::{Fault, Other};
use super::plan::Plan;
use super::resolved::{self, Releases};
use super::settings::{self, Bases, Settings, Variants};
use super::step::Turn;
use super::{network, site};
use crate::driver::Chosen;
use crate::event::{OtherApp, OtherKind};
use engine::dirs::RunDirs;
use ground::error::chain;
use ground::outcome::Stage;
use recipe::policy::{self, Violation};
use recipe::room::Room;

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
    let settings = &context.settings;
    let mut others: Vec<Other<'a>> = Vec::new();
    for (app, asked) in wanted(settings, plan) {
        let domain = settings.domain_of(&app);
        let read = async |turn, domain, why| {
            let settings = Settings {
                domain,
                ..asked.clone()
            };
            let as_tested = (context, fetched, plan);
            read(as_tested, app.clone(), settings, turn, why).await
        };
        if let Some(why) = beside::alone(&domain, settings, chosen, named) {
            let first = read(Turn::First, settings.domain.clone(), Some(why));
            others.push(first.await?);
            continue;
        }
        let other = read(Turn::Beside, domain, None).await?;
        if other.fault.is_some() {
            others.push(other);
            continue;
        }
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
                draft::forget(&other.context)?;
                let first = read(Turn::First, settings.domain.clone(), why);
                others.push(first.await?);
            }
        }
    }
    Ok(others)
}

/// Returns the apps that a run of `plan` is to have beside the one under test, each with what a run of that app alone
/// would be asked.
fn wanted(settings: &Settings, plan: &Plan) -> Vec<(OtherApp, Settings)> {
    let alone = Settings {
        bases: Bases::One,
        fresh: settings::Fresh::Never,
        ..settings.clone()
    };
    let bases = plan.older.iter().map(|version| {
        let asked = Settings {
            stages: vec![Stage::Upgrade],
            base: Some(version.clone()),
            variants: Variants::None,
            ..alone.clone()
        };
        (OtherApp::base(version), asked)
    });
    let variants = plan.variants.iter().map(|(name, stages)| {
        let asked = Settings {
            stages: stages.clone(),
            variant: Some(name.clone()),
            ..alone.clone()
        };
        (OtherApp::variant(name), asked)
    });
    bases.chain(variants).collect()
}

/// Plans another app and judges it, beside the one of `tested`.
async fn read<'a>(
    (context, fetched, tested): (&Context<'a>, &Fetched, &Plan),
    app: OtherApp,
    settings: Settings,
    turn: Turn,
    why: Option<String>,
) -> Result<Other<'a>, RunError> {
    let own = context.dirs.of_other(&app.dir_name());
    let own = own.map_err(RunError::infra)?;
    let dirs = match turn {
        Turn::Beside => own,
        // What is known of dependencies is there.
        Turn::First => RunDirs {
            state: context.dirs.state.clone(),
            ..own
        },
    };
    let context = Context {
        settings: Rc::new(settings),
        dirs,
        events: context.events.of(&app),
        row: Some(app.clone()),
        ..context.clone()
    };
    let (context, plan, resolved, fault) = match judged(&context, fetched).await {
        Ok((context, plan, resolved)) => (context, plan, Some(resolved), None),
        Err(error) => {
            let fault = fault_of(&app, error)?;
            let plan = Plan {
                base: None,
                no_base: None,
                ..tested.clone()
            };
            (context, plan, None, Some(fault))
        }
    };
    Ok(Other {
        app,
        turn,
        why,
        context,
        plan,
        resolved,
        fault,
    })
}

/// Returns the plan of the context's app and what is deployed of it, with the context that it is deployed in.
async fn judged<'a>(
    context: &Context<'a>,
    fetched: &Fetched,
) -> Result<(Context<'a>, Plan, Releases), RunError> {
    let Draft { plan, asked } = draft::make_plan(context, fetched).await?;
    let chosen: &Chosen = &fetched.chosen;
    let direct = match chosen.deploys_what_was_judged() {
        true => network::without_gateway(context, &plan),
        false => None,
    };
    let context = direct.unwrap_or_else(|| context.clone());
    let means = site::means(&context, &plan.trust, fetched.traits, chosen);
    let resolved = resolved::quietly(&context, &plan, &means)?;
    resolved::taken_by_docker(&context, &plan, &means, asked).await?;
    Ok((context, plan, resolved))
}

/// Returns what is wrong with the files of a variant, which could not be planned.
///
/// # Errors
/// The same where it is no variant's: what the policy refuses ends the run, and so does the host.
fn fault_of(app: &OtherApp, error: RunError) -> Result<Fault, RunError> {
    let is_policy = |found: &Violation| policy::rules::of(&found.rule).is_some();
    let reason = match error {
        RunError::Usage { error, .. } if app.kind == OtherKind::Variant => chain(&*error),
        RunError::Refused { found, .. }
            if app.kind == OtherKind::Variant && !found.iter().any(is_policy) =>
        {
            found.first().map_or_else(String::new, ToString::to_string)
        }
        error => return Err(error),
    };
    Ok(Fault {
        assertion: "compose files",
        reason,
        means: "the variant cannot be read",
    })
}
