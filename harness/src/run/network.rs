//! The network of a run, and the way of the host's gateway into it.

use std::rc::Rc;

use super::context::Context;
use super::error::RunError;
use super::plan::Plan;
use super::settings::{GatewayService, Settings};
use crate::driver::stack::DeploySetup;
use crate::host::set_up::{PROXY, PROXY_COMMAND};
use engine::lock::DomainLock;
use engine::made::Made;
use engine::swarm::Engine;
use engine::swarm::gateway::Gateway;
use recipe::compose::Project;
use recipe::compose::shared::{Own, SharedNetwork};
use recipe::release::Release;
use recipe::trust::{Level, Trust};

/// Returns the network of its own that the context's app would share with the gateway.
pub(super) fn own(settings: &Settings) -> Own {
    Own {
        gateway: settings.gateway.is_some(),
        ..Own::of(settings.domain.stack().as_str())
    }
}

/// Returns why the gateway must not reach an app of `trust` at `domain` that will be `releases`; then it is asked directly.
pub(super) fn no_way_through<'a>(
    trust: &Trust,
    domain: &str,
    releases: impl IntoIterator<Item = &'a Release>,
) -> Option<String> {
    match &trust.level {
        Level::ByHand => return None,
        Level::Granted(grant) if grant.foreign.networks.iter().any(|one| one == PROXY) => {
            return None;
        }
        Level::Granted(_) | Level::Stranger => {}
    }
    let mut releases = releases.into_iter();
    releases.find_map(|release| release.project.confuses_gateway(domain))
}

/// Returns the context of a run of `plan` that does not go through the gateway though it was asked to, and says why;
/// `None` where it may.
pub(super) fn without_gateway<'a>(context: &Context<'a>, plan: &Plan) -> Option<Context<'a>> {
    let settings = &context.settings;
    settings.gateway.as_ref()?;
    let releases = super::ownership::releases(plan);
    let reason = no_way_through(&plan.trust, settings.domain.as_str(), releases)?;
    context.events.warn(format!(
        "the app is asked directly and not through the gateway: {reason}; `foreign: {{networks: [{PROXY}]}}` in grants.yml allows it"
    ));
    let direct = Settings {
        gateway: None,
        ..Settings::clone(settings)
    };
    Some(Context {
        settings: Rc::new(direct),
        ..context.clone()
    })
}

/// Returns the gateway whose containers join networks of the run, before anything is made; `None` where none is to.
///
/// # Errors
/// [`RunError::Usage`] when it is not clear which is meant, [`RunError::Infra`] when it does not run.
pub(super) async fn gateway(
    engine: &Engine,
    settings: &Settings,
    means: &DeploySetup,
) -> Result<Option<Gateway>, RunError> {
    let (SharedNetwork::Own(_), Some(address)) = (&means.shared, &settings.gateway) else {
        return Ok(None);
    };
    let found = match &settings.gateway_service {
        Some(GatewayService::None) => return Ok(None),
        Some(GatewayService::Named(name)) => match engine.gateway_named(name).await? {
            Some(found) => found,
            None => {
                let error = format!("this host has no service and no container `{name}`");
                return Err(unclear(error));
            }
        },
        None => {
            let port = address.address.port();
            only(engine.gateways_at(port, PROXY).await?, port)?
        }
    };
    if engine.running_of(&found).await?.is_empty() {
        return Err(RunError::Infra {
            error: format!("the gateway, {found}, does not run on this host").into(),
            hints: vec![
                "docker service ls   # is the gateway up? or run without --gateway".to_owned(),
            ],
        });
    }
    Ok(Some(found))
}

/// Returns the only one of what may be the gateway at `port`.
fn only(mut found: Vec<Gateway>, port: u16) -> Result<Gateway, RunError> {
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(one), false) => {
            found.push(one);
            let names: Vec<String> = found.iter().map(ToString::to_string).collect();
            Err(unclear(format!(
                "several things publish port {port} and are on network `{PROXY}`: {}",
                names.join(", ")
            )))
        }
        (None, _) => Err(RunError::Infra {
            error: format!(
                "no container on network `{PROXY}` publishes port {port}, so none can be the gateway"
            )
            .into(),
            hints: vec![NAME_IT.to_owned()],
        }),
    }
}

const NAME_IT: &str = "name the gateway's service or container with `--gateway-service` (CCCI_GATEWAY_SERVICE), or say `none` where it is no container and reaches the apps on its own";

fn unclear(error: String) -> RunError {
    RunError::Usage {
        error: error.into(),
        hints: vec![NAME_IT.to_owned()],
    }
}

/// Makes the network that the apps of `guests` share with that of `lock`, before any of them is deployed.
///
/// # Errors
/// [`RunError::Infra`].
pub(super) async fn make(
    context: &Context<'_>,
    engine: &Engine,
    means: &DeploySetup,
    lock: &DomainLock,
    guests: &[Rc<DomainLock>],
) -> Result<(), RunError> {
    let SharedNetwork::Own(own) = &means.shared else {
        return Ok(());
    };
    if guests.is_empty() {
        return Ok(());
    }
    let mut record = Made::open(&context.settings.host, lock).map_err(RunError::infra)?;
    let guests = guests.iter().map(|guest| guest.domain());
    record.intend_guests(guests).map_err(RunError::infra)?;
    let stack = lock.domain().stack();
    Ok(engine.create_network_of(&stack, &own.network).await?)
}

/// Makes sure that the host has the network of its gateway, where the app or its base stays attached to it. Without it
/// docker refuses every recipe, which looks like the recipe's fault; `docker system prune` removes it.
///
/// # Errors
/// [`RunError::Infra`] with the command that makes it.
pub(super) async fn proxy_is_there(
    engine: &Engine,
    mut projects: impl Iterator<Item = &Project>,
) -> Result<(), RunError> {
    if !projects.any(wants_proxy) || engine.network_driver(PROXY).await?.is_some() {
        return Ok(());
    }
    Err(RunError::Infra {
        error: format!("this host has no network `{PROXY}`, to which the recipe is attached")
            .into(),
        hints: vec![PROXY_COMMAND.to_owned()],
    })
}

/// Returns whether a project is attached to the gateway's network, which exists outside of it.
fn wants_proxy(project: &Project) -> bool {
    project
        .networks
        .iter()
        .any(|network| network.external && network.name.as_ref().unwrap_or(&network.key) == PROXY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(text: &str) -> Project {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        let files = ["compose.yml".to_owned()];
        Project::load(dir.path(), &files, &std::collections::BTreeMap::new()).unwrap()
    }

    /// Whom it is to be is for the operator to say, and that there is none is the host's matter.
    #[test]
    fn of_two_things_that_may_be_the_gateway_none_is_taken() {
        let one = || Gateway::Container("one".to_owned());
        let two = || Gateway::Service {
            id: "x".to_owned(),
            name: "two".to_owned(),
        };
        assert_eq!(only(vec![one()], 80).unwrap(), one());
        match only(vec![one(), two()], 80) {
            Err(RunError::Usage { error, hints }) => {
                let said = error.to_string();
                assert!(
                    said.ends_with("`proxy`: container `one`, service `two`"),
                    "{said}"
                );
                assert!(hints[0].contains("--gateway-service"), "{hints:?}");
            }
            other => panic!("{other:?}"),
        }
        let none = only(Vec::new(), 80);
        assert!(matches!(none, Err(RunError::Infra { .. })), "{none:?}");
    }

    #[test]
    fn only_the_gateways_network_that_is_outside_of_the_app_is_wanted() {
        let wants = |networks: &str| {
            let text = format!("services: {{app: {{image: x}}}}\nnetworks: {networks}\n");
            wants_proxy(&project(&text))
        };
        assert!(wants("{proxy: {external: true}}"));
        assert!(wants("{web: {external: true, name: proxy}}"));
        for other in [
            "{proxy: {}}",
            "{proxy: {external: true, name: other}}",
            "{other: {external: true}}",
        ] {
            assert!(!wants(other), "{other}");
        }
    }
}
