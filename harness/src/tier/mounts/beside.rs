//! Two servers on the files of one database.

use super::{Bench, Seen};
use engine::swarm::EngineError;
use engine::swarm::mounts::{Container, What};
use engine::swarm::service::StackState;
use recipe::backup::database::Server;
use recipe::compose::Project;
use recipe::compose::model::Service;

impl Bench {
    /// Returns where two containers of one database server ran on the same files at once, or are going to: an update
    /// that left the container alone shows nothing, and the next one starts first where that is new since `base`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn servers_beside(
        &self,
        base: &Project,
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
                found.extend(starts_first_now(base, service, &server));
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

/// Returns what the next update of a database does, when `service` starts first and did not in `base`.
fn starts_first_now(base: &Project, service: &Service, server: &Server) -> Option<String> {
    let first = |service: &Service| service.update.order.as_deref() == Some("start-first");
    let was = base.service(&service.name).is_some_and(first);
    let (volume, _) = *server.volumes(service).first()?;
    (first(service) && !was).then(|| {
        format!(
            "updates of service `{}` start first now: the next one starts a second {} on the files of the first, in \
             volume `{volume}`, which destroys them; use `order: stop-first` in its `deploy.update_config`",
            service.name, server.kind
        )
    })
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
    use std::collections::BTreeMap;

    use super::*;
    use engine::swarm::mounts::Mounted;

    #[test]
    fn a_database_that_starts_first_from_now_on_is_said_before_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let project = |order: &str| {
            let text = format!(
                "services:\n  db:\n    image: mariadb:11\n    volumes: ['db:/var/lib/mysql']\n    \
                 deploy: {{update_config: {{order: {order}}}}}\nvolumes: {{db: }}\n"
            );
            std::fs::write(dir.path().join("compose.yml"), text).unwrap();
            let files = ["compose.yml".to_owned()];
            Project::load(dir.path(), &files, &BTreeMap::new()).unwrap()
        };
        let (first, stop) = (project("start-first"), project("stop-first"));
        for (base, head, is_red) in [
            (&stop, &first, true),
            (&first, &first, false),
            (&stop, &stop, false),
            (&first, &stop, false),
        ] {
            let service = &head.services[0];
            let server = Server::of_service(service).unwrap();
            let said = starts_first_now(base, service, &server);
            assert_eq!(said.is_some(), is_red, "{said:?}");
        }
    }

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
