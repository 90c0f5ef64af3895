//! Two servers on the files of one database.

use super::{Bench, Seen};
use engine::swarm::EngineError;
use engine::swarm::mounts::{Container, What};
use engine::swarm::service::StackState;
use recipe::backup::database::Server;

impl Bench {
    /// Returns where two containers of one database server ran on the same files at once. An update that left the container
    /// alone shows nothing; that updates start first from now on is red before the deploy (C019).
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn servers_beside(
        &self,
        before: &Seen,
        state: &StackState,
    ) -> Result<Vec<String>, EngineError> {
        let mut found = Vec::new();
        for service in &self.current.project.services {
            let (Some(server), Some(now)) = (
                Server::of_service(service),
                state.services.get(&service.name),
            ) else {
                continue;
            };
            let old = before.get(&service.name).map(|old| old.id.as_str());
            if old.is_some() && old == state.container_of(&service.name) {
                continue;
            }
            let containers = self.engine().containers_of(&now.id).await?;
            let stack = self.lock.domain().stack();
            let shared = server.volumes(service).into_iter().find(|(volume, _)| {
                let name = format!("{stack}_{volume}");
                two_at_once(&containers, &name)
            });
            if let Some((volume, _)) = shared {
                found.push(format!(
                    "two containers of service `{}` ran at once on volume `{volume}`, which has the files of its \
                     {}: that destroys them; use `order: stop-first` in its `deploy.update_config`, and one replica",
                    service.name, server.kind
                ));
            }
        }
        Ok(found)
    }
}

/// Returns whether two of `containers` ran at once and could both write to the volume of this name.
fn two_at_once(containers: &[Container], volume: &str) -> bool {
    let writes = |container: &&Container| {
        let mounts = container.mounts.iter();
        mounts
            .filter(|mount| mount.writable)
            .any(|mount| matches!(&mount.what, What::Named(name) if name == volume))
    };
    let writers: Vec<&Container> = containers.iter().filter(writes).collect();
    let pairs = writers.iter().enumerate();
    let mut pairs = pairs.flat_map(|(at, one)| writers[at + 1..].iter().map(move |two| (one, two)));
    pairs.any(|(one, two)| one.ran_beside(two))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::swarm::mounts::Mounted;

    #[test]
    fn two_writers_of_one_volume_are_seen_by_when_they_ran() {
        let ran = |started: i64, ended: Option<i64>| {
            let moment = |second| jiff::Timestamp::from_second(second).unwrap();
            Container {
                started: Some(moment(started)),
                ended: ended.map(moment),
                mounts: vec![Mounted {
                    place: "/var/lib/mysql".to_owned(),
                    what: What::Named("s_db".to_owned()),
                    writable: true,
                }],
                ..Container::default()
            }
        };
        let stop_first = [ran(10, Some(20)), ran(20, None)];
        let start_first = [ran(10, Some(25)), ran(20, None)];
        assert!(!two_at_once(&stop_first, "s_db"));
        assert!(two_at_once(&start_first, "s_db"));
        assert!(!two_at_once(&start_first, "s_other"));
    }
}
