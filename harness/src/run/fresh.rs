//! The fresh install of the head in a run that upgrades a base: whether there is one.
//!
//! An upgrade keeps the env file, the secrets and the data of the base, so it does not show that a new app of the head
//! comes up. That needs an app of its own: beside the one that is upgraded where both fit on the host and have nothing
//! in common, else before it under the same domain.

use std::rc::Rc;

use super::beside::{self, Neighbour};
use super::context::Context;
use super::dependencies::Named;
use super::error::RunError;
use super::other::Other;
use super::plan::Plan;
use super::resolved::{self, Releases};
use super::settings::Settings;
use super::step::Turn;
use crate::driver::Chosen;
use crate::driver::stack::DeploySetup;
use crate::event::OtherApp;
use recipe::compose::Project;

/// Returns the fresh install of a run of `plan`, which deploys `resolved` with `means`; `None` where the head is
/// deployed as a new app anyway, or that was not asked for.
///
/// # Errors
/// [`RunError`] when it may not be deployed, or has no place in the run's directory.
pub(super) fn install<'a>(
    context: &Context<'a>,
    plan: &Plan,
    (resolved, means): (&Releases, &DeploySetup),
    (chosen, needed): (&Chosen, &[Named]),
) -> Result<Option<Other<'a>>, RunError> {
    let (Some(_), Some(release)) = (&plan.base, &plan.fresh) else {
        return Ok(None);
    };
    let settings = &context.settings;
    let Some(domain) = settings.fresh_domain() else {
        return Ok(None);
    };
    let app = OtherApp::fresh();
    let alone = Plan {
        base: None,
        no_base: None,
        fresh: None,
        older: Vec::new(),
        variants: Vec::new(),
        ..plan.clone()
    };
    let upgraded = Neighbour::of_plan(plan, &settings.domain);
    let fresh = Neighbour::of_release(release, &domain);
    let why = beside::alone(&domain, settings, chosen, needed)
        .or_else(|| beside::in_common(&fresh, &upgraded, &plan.trust.level))
        .or_else(|| named_after_the_app(&release.project, plan))
        .or_else(|| beside::no_room(&[resolved.room(), resolved.room_of_head()]));
    let events = context.events.of(&app);
    if why.is_some() {
        return Ok(Some(Other {
            app,
            turn: Turn::First,
            why,
            context: Context {
                events,
                ..context.clone()
            },
            plan: alone,
            resolved: None,
            fault: None,
        }));
    }
    let mut install = Other {
        context: Context {
            settings: Rc::new(Settings {
                domain,
                ..Settings::clone(settings)
            }),
            dirs: context.dirs.of_fresh().map_err(RunError::infra)?,
            events,
            ..context.clone()
        },
        app,
        turn: Turn::Beside,
        why,
        plan: Plan {
            head: release.clone(),
            ..alone
        },
        resolved: None,
        fault: None,
    };
    let means = install.means(means);
    let judged = resolved::quietly(&install.context, &install.plan, &means)?;
    install.resolved = Some(judged);
    Ok(Some(install))
}

/// Returns the image that only the fresh app has, because its domain is in the name: what is judged, pulled and pinned are
/// the images of the app that is upgraded.
fn named_after_the_app(fresh: &Project, plan: &Plan) -> Option<String> {
    let known = plan.images();
    let mut images = fresh.images().into_iter();
    let image = images.find(|image| !known.contains(image))?;
    Some(format!("image `{image}` is named after the app"))
}
