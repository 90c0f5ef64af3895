//! The images of a run: judged as far as they are there, then all of them made sure of.

use super::context::Context;
use super::dependencies::{self, Dependency};
use super::error::RunError;
use super::other::Other;
use super::plan::Plan;
use super::settings::{OnCi, OwnEngine};
use super::{resolved, retry};
use crate::driver::stack::DeploySetup;
use crate::event::Event;
use crate::tier::timed;
use engine::room::State;
use engine::swarm::{Engine, EngineError};
use ground::error::chain;
use ground::outcome::Phase;
use ground::pins::{Pinned, Pins, Puller};
use recipe::policy::Terms;

/// Refuses images of `plan` that lie on the engine and that not everybody can pull. It changes nothing; images that are
/// not there yet are looked at when they are pulled.
pub(super) async fn judge(
    context: &Context<'_>,
    engine: &Engine,
    plan: &Plan,
    means: &DeploySetup,
) -> Result<(), RunError> {
    let host = &context.settings.host;
    for image in &plan.images() {
        let judged = engine.judge_image(host, image, means.terms.puller(image));
        // What else is wrong with a registry is said when the image is needed.
        if let Err(error @ EngineError::NotPublic { .. }) = judged.await {
            return Err(resolved::without_image(context, plan, error));
        }
    }
    Ok(())
}

/// Makes sure that every image is there; returns what each of the plan's is deployed as, and notes that of the
/// dependencies'. An image that a base of another app lacks is noted there. The inner error is why the head cannot be
/// deployed: a registry says that it has no such image.
pub(super) async fn prepull(
    context: &Context<'_>,
    engine: &Engine,
    plan: &Plan,
    others: &mut [Other<'_>],
    needed: &mut [Dependency],
    means: &DeploySetup,
) -> Result<Result<Pins, String>, RunError> {
    let images = plan.images();
    let detail = match images.len() {
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    };
    let get = async |image: &String, terms: &Terms| {
        context.events.emit(&Event::Progress(image.clone()));
        let (host, puller) = (&context.settings.host, terms.puller(image));
        let what = format!("pull of image `{image}`");
        if let Some(on_ci) = &context.settings.on_ci {
            if let Some(own) = &on_ci.own {
                if let Some(pinned) = handed_over(engine, on_ci, own, image, puller).await {
                    return Ok(pinned);
                }
            } else if puller == Puller::Operator {
                let operators = Engine::connect(&on_ci.operators)?;
                engine.take_local_image(&operators, image).await?;
            }
        }
        retry::twice(&context.events, &what, async || {
            let got = engine.ensure_image(host, &context.processes, image, puller);
            got.await
        })
        .await
    };
    timed(&context.events, Phase::Prepull, detail, async {
        let mut pins = Pins::default();
        for image in &images {
            match get(image, &means.terms).await {
                Ok(pinned) => note(context, &mut pins, image.clone(), pinned, &means.terms),
                Err(error)
                    if error.is_wrong_image() && plan.head.project.images().contains(image) =>
                {
                    return Ok(Err(error.to_string()));
                }
                Err(error) => return Err(resolved::without_image(context, plan, error)),
            }
        }
        for other in others {
            for image in other.plan.images() {
                if images.contains(&image) {
                    continue;
                }
                match get(&image, &means.terms).await {
                    Ok(pinned) => note(context, &mut pins, image, pinned, &means.terms),
                    Err(error) if error.is_wrong_image() => other.lacks(&error),
                    Err(error) => return Err(resolved::without_image(context, &other.plan, error)),
                }
            }
        }
        for dependency in needed {
            let terms = dependency.terms(means);
            for image in dependency.images() {
                match get(&image, &terms).await {
                    Ok(pinned) => note(context, &mut dependency.pins, image, pinned, &terms),
                    Err(error) => {
                        dependency.broken(dependencies::missing_image(error)?);
                        break;
                    }
                }
            }
        }
        Ok(Ok(pins))
    })
    .await
}

/// Takes an image for an engine of the run's own from the engines of this host, where one of them has it; what does not
/// come that way is pulled.
async fn handed_over(
    engine: &Engine,
    on_ci: &OnCi,
    own: &OwnEngine,
    image: &str,
    puller: Puller,
) -> Option<Pinned> {
    let shared = matches!(own.shared.state(), Ok(State::Ready(_)));
    let shared = shared.then(|| (own.shared.docker_host(), own.shared.places(&own.host)));
    let operators = (on_ci.operators.clone(), own.host.clone());
    for (address, host) in shared.into_iter().chain([operators]) {
        let taken = async {
            let other = Engine::connect(&address)?;
            engine.take_image(&other, &host, image, puller).await
        };
        match taken.await {
            Ok(Some(pinned)) => return Some(pinned),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%image, %address, error = %chain(&error), "not handed over");
            }
        }
    }
    None
}

/// Notes what an image is deployed as; says so where the engine does not show its name then, and where it would be checked
/// for health more often than this host allows.
fn note(context: &Context<'_>, pins: &mut Pins, image: String, pinned: Pinned, terms: &Terms) {
    if !pinned.reference.contains('@') {
        let came = match context.settings.own_engine() {
            None => "came from no registry",
            Some(_) => "was handed over by another engine of this host",
        };
        let line = format!("image `{image}` {came}: deployed by its id");
        context.events.emit(&Event::Deviation(line));
    }
    if let Some(line) = terms.slowed(&image, &pinned) {
        context.events.emit(&Event::Deviation(line));
    }
    pins.insert(image, pinned);
}
