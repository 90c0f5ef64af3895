//! Runs that are red before anything is deployed, and what is kept of a tier.

use super::context::Context;
use crate::event::Event;
use crate::tier::{self, without};
use engine::swarm::Engine;
use ground::outcome::{Stage, Status, TierOutcome};

/// Ends a run whose overlay hides what the head changed: it would prove something about another recipe.
pub(super) fn masked(context: &Context<'_>, reason: &str) {
    let why = "an overlay hides what is to be tested";
    let assertion = ("overlay: environment only".to_owned(), reason.to_owned());
    at_once(context, Stage::Install, vec![assertion], why);
}

/// Ends a run of a recipe whose image does not exist.
pub(super) fn without_an_image(context: &Context<'_>, reason: &str) {
    let why = "an image of the recipe does not exist";
    let assertion = ("generic: images".to_owned(), reason.to_owned());
    at_once(context, Stage::Install, vec![assertion], why);
}

/// Ends a run before anything is deployed: `assertions` of the stage `red` do not hold, each with its reason.
pub(super) fn at_once(
    context: &Context<'_>,
    red: Stage,
    assertions: Vec<(String, String)>,
    why: &str,
) {
    let judge = |assertions: &[(String, String)]| {
        let mut tally = tier::Tally::start(&context.events, red);
        for (assertion, reason) in assertions {
            tally.check(assertion, Err(reason.clone()));
        }
        tally.end()
    };
    let is_of = |stage: &Stage| {
        let asked = &context.settings.stages;
        context.row.is_none() || *stage == red || asked.contains(stage)
    };
    for stage in Stage::ALL.into_iter().filter(is_of) {
        let outcome = match stage == red {
            true => judge(&assertions),
            false => without(stage, Status::Unver, why),
        };
        record(context, outcome);
    }
}

/// Keeps what came of a tier, and says it.
pub(super) fn record(context: &Context<'_>, outcome: TierOutcome) {
    let engine = context.held.borrow().engine.clone();
    for (what, reason) in engine.iter().flat_map(Engine::asked_again) {
        context.events.emit(&Event::Retried { what, reason });
    }
    {
        let mut held = context.held.borrow_mut();
        match &context.row {
            Some(app) => held.others.push((app.clone(), outcome.clone())),
            None => held.tiers.push(outcome.clone()),
        }
    }
    context.events.emit(&Event::TierFinished(outcome));
}
