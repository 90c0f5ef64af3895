//! The way of the host's gateway to the app: its containers join a network of the app, once that is on this host.

use super::{Bench, TierError};
use crate::driver::DriverError;
use engine::made::{Join, Made};
use engine::swarm::gateway::Standing;
use recipe::compose::shared::gateway_network;

impl Bench {
    /// Has every container of the gateway that is not yet in the app's network join it. Returns why none is in it, where
    /// that is so; a container that replaced another joins at the next call.
    ///
    /// What joins is written down before: teardown undoes that, and nothing else.
    ///
    /// # Errors
    /// [`TierError`] when the engine fails or the record cannot be written.
    pub async fn join_gateway(&self) -> Result<Result<(), String>, TierError> {
        let site = self.driver.site();
        let Some(gateway) = &site.gateway else {
            return Ok(Ok(()));
        };
        let engine = self.engine();
        let stack = self.lock.domain().stack();
        let network = gateway_network(stack.as_str());
        let mut why = format!("the gateway, {gateway}, does not run");
        let mut inside = false;
        for container in engine.running_of(gateway).await? {
            let seat = match engine.standing(&container, &network, &stack).await? {
                Standing::In => {
                    inside = true;
                    continue;
                }
                Standing::Out(seat) => seat,
                Standing::NoNetwork => {
                    why = format!("network `{network}` is not there for the gateway to join");
                    continue;
                }
                Standing::Foreign => {
                    why = format!("network `{network}` is not this app's");
                    continue;
                }
            };
            let mut record = Made::open(&site.host, &self.lock).map_err(not_written)?;
            let join = Join {
                network: network.clone(),
                container: container.id.clone(),
            };
            record.intend_join(join).map_err(not_written)?;
            if engine.join(&container, &network, seat).await? {
                tracing::debug!(%network, container = container.id, "the gateway has joined");
                inside = true;
            } else {
                why = format!("no task of network `{network}` runs on this host yet");
            }
        }
        Ok(if inside { Ok(()) } else { Err(why) })
    }
}

fn not_written(error: engine::made::MadeError) -> TierError {
    TierError::Driver(DriverError::Made(error))
}
