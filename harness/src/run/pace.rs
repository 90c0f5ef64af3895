//! How fast health is checked in a run, once its images are there.

use std::collections::BTreeMap;

use super::context::Context;
use super::dependencies::Dependency;
use super::ownership;
use super::plan::Plan;
use crate::event::Event;
use engine::swarm::{Engine, EngineError};
use recipe::compose::Project;
use recipe::compose::pace::{Check, Pace};

/// Returns `pace` with the checks that the images of the run bring, which are on the engine by now; says what is
/// shortened for it.
///
/// # Errors
/// [`EngineError`] when an image cannot be inspected.
pub(super) async fn with_images(
    context: &Context<'_>,
    engine: &Engine,
    plans: impl Iterator<Item = &Plan>,
    needed: &[Dependency],
    pace: Pace,
) -> Result<Pace, EngineError> {
    if pace == Pace::AsShipped {
        return Ok(pace);
    }
    let own = plans.flat_map(ownership::releases);
    let own = own.map(|release| (String::new(), release));
    let theirs = needed.iter().flat_map(|dependency| {
        let whose = format!("dependency `{}`: ", dependency.name());
        let releases = dependency.releases().into_iter();
        releases.map(move |release| (whose.clone(), release))
    });
    let releases: Vec<_> = own.chain(theirs).collect();
    let projects: Vec<&Project> = releases.iter().map(|(_, one)| &one.project).collect();
    let mut checks = BTreeMap::new();
    for image in projects.iter().flat_map(|one| one.images_of_checks()) {
        if checks.contains_key(&image) {
            continue;
        }
        match engine.image_check(&image).await {
            Ok(Some(check)) => {
                let check = Check {
                    interval: check.interval,
                    retries: check.retries,
                };
                checks.insert(image, check);
            }
            Ok(None) => {}
            // Of a dependency whose image could not be had.
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
    let paced = Pace::Short(checks);
    let mut said = Vec::new();
    for (whose, release) in &releases {
        let before = release.project.shortened(&pace);
        for (service, shortened) in release.project.shortened(&paced) {
            let line = format!("{whose}{}", shortened.said(&service));
            if before.get(&service) != Some(&shortened) && !said.contains(&line) {
                context.events.emit(&Event::Deviation(line.clone()));
                said.push(line);
            }
        }
    }
    Ok(paced)
}
