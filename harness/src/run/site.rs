//! Where an app is deployed, and how.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::context::Context;
use super::error::RunError;
use super::network;
use super::own_engine;
use super::settings::OnCi;
use crate::driver::stack::{DeploySetup, HostTraits};
use crate::driver::{Chosen, Site};
use engine::swarm::Engine;
use engine::swarm::gateway::Gateway;
use ground::pins::Pins;
use recipe::compose::pace::Pace;
use recipe::policy::Terms;
use recipe::trust::Trust;

/// Returns how the context's app is deployed.
pub(super) fn means(
    context: &Context<'_>,
    trust: &Trust,
    traits: HostTraits,
    chosen: &Chosen,
) -> DeploySetup {
    let settings = &context.settings;
    let pace = if settings.as_shipped || context.held.borrow().as_shipped {
        Pace::AsShipped
    } else {
        Pace::Short(BTreeMap::new())
    };
    DeploySetup {
        traits,
        shared: chosen.network(network::own(settings)),
        pace: chosen.pace(pace),
        terms: Terms {
            level: trust.level.clone(),
            domain: settings.domain.to_string(),
            images: settings.local_images.clone(),
            schema: traits.schema.to_owned(),
            pins: Pins::default(),
        },
    }
}

/// Returns where the context's app is deployed.
pub(super) fn site(
    context: &Context<'_>,
    engine: Engine,
    means: DeploySetup,
    gateway: Option<Gateway>,
) -> Site {
    let settings = &context.settings;
    Site {
        engine,
        processes: context.processes.clone(),
        host: settings.host.clone(),
        dirs: context.dirs.clone(),
        server: settings.server.clone(),
        means,
        gateway,
        supplied: settings.supplied_secrets.clone(),
        redactor: context.redactor.clone(),
        values: Rc::default(),
        deploys: Rc::default(),
    }
}

/// Connects to the engine and makes sure that it can deploy.
///
/// # Errors
/// [`RunError::Infra`].
pub(super) async fn engine(context: &Context<'_>) -> Result<Engine, RunError> {
    if let Some(OnCi { room, own, .. }) = &context.settings.on_ci {
        if let Some(own) = own {
            own_engine::open(context, room, own).await?;
        }
        let state = room.state().map_err(RunError::infra)?;
        if let Some(why) = state.why_not_ready() {
            return Err(RunError::Infra {
                error: format!("there is no engine of CI's own to run on: {why}").into(),
                hints: vec!["as root: recipe-ci engine up".to_owned()],
            });
        }
    }
    let engine = Engine::connect(&context.settings.docker_host)?;
    let info = engine.info().await?;
    if !(info.swarm_active && info.manager) {
        return Err(RunError::Infra {
            error: "this engine is not a swarm manager, so it cannot deploy a stack".into(),
            hints: vec!["docker swarm init --advertise-addr 127.0.0.1".to_owned()],
        });
    }
    info.remembers()?;
    engine.is_alone().await?;
    context.held.borrow_mut().engine = Some(engine.clone());
    Ok(engine)
}
