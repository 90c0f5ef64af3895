//! What would keep an operator's users from the app, seen in the compose files before anything is made.
//!
//! A run asks the app directly, or through a gateway that is not every operator's; so the labels are held against what
//! Traefik makes of them, and the ways in that the base has against those of the head.

use serde::Serialize;

use super::context::Context;
use super::plan::Plan;
use super::red;
use super::settings::Settings;
use ground::outcome::Stage;
use recipe::compose::Project;
use recipe::reach;
use recipe::release::Release;
use recipe::sample;
use recipe::traefik::faults;

/// A fault of the recipe's routing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RoutingFault {
    /// The lint rule that does not hold.
    pub rule: &'static str,
    /// The place as `file:line:column`; null for what is in no file.
    pub place: Option<String>,
    /// What is wrong.
    pub message: String,
}

/// Returns the faults of the head, as a new app and as an upgrade of the base, and what such an upgrade takes.
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
    if let Some(base) = &plan.base
        && let Ok(head) = &base.upgraded
    {
        let (then, head, domain) = (
            &base.release.project,
            &head.project,
            Some(settings.domain.as_str()),
        );
        let mut lost = reach::lost(then, head, domain, &plan.told.notes);
        lost.extend(reach::first_account(
            then,
            head,
            &plan.head.vars,
            &plan.told.notes,
        ));
        let lost = lost.into_iter();
        found.extend(lost.map(|fault| with_place(fault, head, "")));
    }
    // A base that the plan has dropped says nothing.
    let missed = plan.told.missed.iter();
    let missed = missed.filter(|lost| plan.base.is_some() && lost.is_missed());
    found.extend(missed.map(|lost| RoutingFault {
        rule: sample::RULE,
        place: Some(".env.sample".to_owned()),
        message: lost.to_string(),
    }));
    found
}

fn with_place(fault: faults::Fault, project: &Project, when: &str) -> RoutingFault {
    RoutingFault {
        rule: fault.rule,
        place: project.location(&fault.path).map(ToString::to_string),
        message: format!("{when}{}", fault.message),
    }
}

fn of(release: &Release, settings: &Settings, when: &str) -> Vec<RoutingFault> {
    let stack = settings.domain.stack();
    let project = &release.project;
    let all = faults::faults(project, stack.as_str(), Some(settings.domain.as_str()));
    let breaking = all.into_iter().filter(faults::Fault::breaks);
    breaking
        .map(|fault| with_place(fault, project, when))
        .collect()
}

/// Ends a run for `faults`, an assertion each, if there are any; returns whether it did.
pub(super) fn is_red(context: &Context<'_>, faults: &[RoutingFault]) -> bool {
    if faults.is_empty() {
        return false;
    }
    let (stage, why) = faults
        .iter()
        .map(|fault| match fault.rule {
            reach::PORTS | reach::TLS | reach::TRANSPORT => {
                (Stage::Upgrade, "the upgrade would cut users off")
            }
            reach::OBJECTS | reach::FILES => (
                Stage::Upgrade,
                "the upgrade would take from the app what it reads",
            ),
            reach::SERVICES => (Stage::Upgrade, "the upgrade would stop what runs"),
            reach::START_FIRST => (
                Stage::Upgrade,
                "the upgrade would run two servers on the files of one",
            ),
            reach::BACKUPS => (
                Stage::Upgrade,
                "the upgrade would end the backup of what operators have",
            ),
            sample::RULE | reach::FIRST_START => {
                (Stage::Install, "a new app would miss a variable")
            }
            _ => (Stage::Install, "no operator's gateway could route to it"),
        })
        .min_by_key(|(stage, _)| *stage)
        .unwrap_or((Stage::Install, ""));
    let said = faults.iter().map(|fault| {
        let place = fault.place.as_deref().unwrap_or("recipe");
        let what = match fault.rule {
            sample::RULE | reach::FIRST_START => "new app",
            reach::OBJECTS
            | reach::SERVICES
            | reach::START_FIRST
            | reach::BACKUPS
            | reach::FILES => "compose files",
            _ => "routing",
        };
        let reason = format!("{place}: {}", fault.message);
        (format!("{what}: {}", fault.rule), reason)
    });
    red::at_once(context, stage, said.collect(), why);
    true
}
