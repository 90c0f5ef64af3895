//! The recipe, fetched, beside what the host can do.

use super::blocking::blocking;
use super::context::Context;
use super::error::RunError;
use super::fetched::Fetched;
use super::plan;
use super::retry;
use super::settings::Settings;
use crate::driver::stack::HostTraits;
use crate::driver::{self, Chosen};
use crate::event::Event;
use crate::host;
use crate::tier::timed;
use ground::outcome::Phase;

/// Fetches the recipe, and sees what the host can do and which driver deploys it.
///
/// # Errors
/// [`RunError`] when the recipe or the driver that was asked for cannot be had.
pub(super) async fn fetch(context: &Context<'_>) -> Result<Fetched, RunError> {
    let (settings, dirs) = (Settings::clone(&context.settings), context.dirs.clone());
    let what = settings.recipe.to_string();
    let fetch = timed(
        &context.events,
        Phase::Fetch,
        what,
        retry::twice(&context.events, "fetch of the recipe", async || {
            let (settings, dirs) = (settings.clone(), dirs.clone());
            blocking(move || plan::fetch(&settings, &dirs)).await
        }),
    );
    // The clients take their time to say their versions.
    let (checkout, traits, chosen) =
        futures_util::join!(fetch, host_traits(context), choose(context));
    let checkout = checkout?;
    let head = checkout.tree.commit;
    context.events.emit(&Event::HeadFetched(head));
    context
        .events
        .emit(&Event::Trusted(Box::new((&checkout.trust).into())));
    let chosen = chosen?.for_source(context.settings.driver, &checkout.trust);
    let chosen = chosen.map_err(|error| {
        let commit = Some(checkout.tree.commit);
        let grant = checkout.trust.how_to_grant(commit, &["driver: abra"]);
        RunError::Usage {
            error: error.into(),
            hints: vec![format!("leave `--driver abra` out; {grant}")],
        }
    })?;
    Ok(Fetched {
        checkout,
        traits,
        chosen,
    })
}

async fn host_traits(context: &Context<'_>) -> HostTraits {
    let client = host::client_version(&context.processes).await;
    HostTraits {
        ipvs: host::ipvs(std::path::Path::new("/")).works(),
        detach_flag: client.is_some_and(host::supports_detach_flag),
        schema: host::newest_schema(client.unwrap_or_default()),
        stack_config: client.is_some_and(host::has_stack_config),
    }
}

/// Chooses the driver; abra is given its directory, because it must be there before anything calls it.
async fn choose(context: &Context<'_>) -> Result<Chosen, RunError> {
    let settings = &context.settings;
    let dirs = &context.dirs;
    dirs.make_abra_work(&settings.host)
        .map_err(RunError::infra)?;
    let chosen = driver::choose(
        settings.driver,
        &context.processes,
        &settings.host,
        &dirs.abra_work,
        &settings.docker_host,
    );
    Ok(chosen.await?)
}
