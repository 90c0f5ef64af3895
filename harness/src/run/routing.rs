//! What would keep an operator's users from the app, seen in its labels before anything is made.
//!
//! A run asks the app directly, or through a gateway that is not every operator's; so the labels are held against what
//! Traefik makes of them.

use serde::Serialize;

use super::Context;
use super::plan::Plan;
use super::settings::Settings;
use crate::recipe::release::Release;
use crate::recipe::traefik::faults;

/// A fault of the recipe's routing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoutingFault {
    /// The lint rule that does not hold.
    pub rule: &'static str,
    /// The place as `file:line:column`; null for what is in no file.
    pub place: Option<String>,
    /// What is wrong.
    pub message: String,
}

/// Returns the faults of the head, as a new app and as an upgrade of the base.
pub(super) fn faults(plan: &Plan, settings: &Settings) -> Vec<RoutingFault> {
    let mut found = of(&plan.head, settings, "");
    let upgraded = plan.base.as_ref().map(|base| &base.upgraded);
    if let Some(Ok(upgraded)) = upgraded
        && upgraded.vars != plan.head.vars
    {
        let plain = of(upgraded, settings, "");
        let more = of(upgraded, settings, "with the base's env file, ");
        let more = plain.into_iter().zip(more);
        let new = more.filter(|(plain, _)| !found.contains(plain));
        let new: Vec<RoutingFault> = new.map(|(_, said)| said).collect();
        found.extend(new);
    }
    found
}

fn of(release: &Release, settings: &Settings, when: &str) -> Vec<RoutingFault> {
    let stack = settings.domain.stack();
    let project = &release.project;
    let all = faults::faults(project, stack.as_str(), Some(settings.domain.as_str()));
    let breaking = all.into_iter().filter(faults::Fault::breaks);
    let with_place = breaking.map(|fault| RoutingFault {
        rule: fault.rule,
        place: project.location(&fault.path).map(ToString::to_string),
        message: format!("{when}{}", fault.message),
    });
    with_place.collect()
}

/// Ends a run for `faults`, an assertion each, if there are any; returns whether it did.
pub(super) fn is_red(context: &Context<'_>, faults: &[RoutingFault]) -> bool {
    if faults.is_empty() {
        return false;
    }
    let said = faults.iter().map(|fault| {
        let place = fault.place.as_deref().unwrap_or("recipe");
        let reason = format!("{place}: {}", fault.message);
        (format!("routing: {}", fault.rule), reason)
    });
    let why = "no operator's gateway could route to it";
    super::tiers::red_at_once(context, said.collect(), why);
    true
}
