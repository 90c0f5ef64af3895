//! The network that an app shares with the host's gateway.

use super::RunError;
use super::resolved::Releases;
use crate::host::set_up::{PROXY, PROXY_COMMAND};
use crate::recipe::compose::Project;
use crate::swarm::Engine;

/// Makes sure that the host has the network of its gateway, if the app or its base is attached to it. Without it
/// docker refuses every recipe, which looks like the recipe's fault; `docker system prune` removes it.
pub(super) async fn proxy_is_there(engine: &Engine, releases: &Releases) -> Result<(), RunError> {
    if !releases.all().any(|release| wants_proxy(&release.project))
        || engine.network_driver(PROXY).await?.is_some()
    {
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

    fn wants(networks: &str) -> bool {
        let text = format!("services: {{app: {{image: x}}}}\nnetworks: {networks}\n");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        let files = ["compose.yml".to_owned()];
        wants_proxy(&Project::load(dir.path(), &files, &std::collections::BTreeMap::new()).unwrap())
    }

    #[test]
    fn only_the_gateways_network_that_is_outside_of_the_app_is_wanted() {
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
