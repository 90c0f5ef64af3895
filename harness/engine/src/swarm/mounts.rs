//! What the containers of a service really have mounted, and when each of them ran.

use std::collections::BTreeSet;

use bollard::models::ContainerInspectResponse;
use jiff::Timestamp;

use super::{Engine, EngineError, filters};

/// The digits of a name that the engine made up.
const ANONYMOUS_DIGITS: usize = 64;

/// What a container has mounted, and what its image says of that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its image, as the service names it.
    pub image: String,
    /// `PGDATA` of its environment, the image's included.
    pub pgdata: Option<String>,
    /// Where its image keeps data: `VOLUME` of its Dockerfile.
    pub declared: BTreeSet<String>,
    /// What is mounted.
    pub mounts: Vec<Mounted>,
    /// When it began to run; `None` when it never did.
    pub started: Option<Timestamp>,
    /// When it ended; `None` while it runs.
    pub ended: Option<Timestamp>,
}

/// Something that is mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where.
    pub place: String,
    /// What.
    pub what: What,
    /// Whether the container may write to it.
    pub writable: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A named volume: its name on the engine.
    Named(String),
    /// A volume that the engine made for this one container, because the image or the service asks for one there.
    Anonymous,
    /// A bind mount, a tmpfs, a secret.
    Other,
}

impl Container {
    /// Returns what is mounted at `path` or nearest above it.
    #[must_use]
    pub fn holder(&self, path: &str) -> Option<&Mounted> {
        let holds = |mounted: &&Mounted| std::path::Path::new(path).starts_with(&mounted.place);
        let mounts = self.mounts.iter().filter(holds);
        mounts.max_by_key(|mounted| mounted.place.len())
    }

    /// Returns whether both ran at one moment.
    #[must_use]
    pub fn ran_beside(&self, other: &Self) -> bool {
        let (Some(began), Some(other_began)) = (self.started, other.started) else {
            return false;
        };
        let before =
            |began: Timestamp, ended: Option<Timestamp>| ended.is_none_or(|end| began < end);
        before(began, other.ended) && before(other_began, self.ended)
    }

    fn of(inspected: ContainerInspectResponse) -> Self {
        let config = inspected.config.unwrap_or_default();
        let state = inspected.state.unwrap_or_default();
        let env = config.env.unwrap_or_default();
        let pgdata = env.iter().find_map(|line| line.strip_prefix("PGDATA="));
        let mounts = inspected.mounts.unwrap_or_default().into_iter();
        // The engine writes the year 1 for what has not happened.
        let moment = |text: Option<String>| {
            let moment: Timestamp = text?.parse().ok()?;
            (moment.as_second() > 0).then_some(moment)
        };
        let running = state.running == Some(true);
        Self {
            id: inspected.id.unwrap_or_default(),
            image: config.image.unwrap_or_default(),
            pgdata: pgdata.map(str::to_owned),
            declared: config.volumes.unwrap_or_default().into_iter().collect(),
            mounts: mounts
                .filter_map(|mount| {
                    let place = mount.destination?;
                    let is_volume = mount.typ.as_deref() == Some("volume");
                    let what = match mount.name {
                        Some(name) if is_volume && is_made_up(&name) => What::Anonymous,
                        Some(name) if is_volume => What::Named(name),
                        _ => What::Other,
                    };
                    Some(Mounted {
                        place,
                        what,
                        writable: mount.rw != Some(false),
                    })
                })
                .collect(),
            started: moment(state.started_at),
            ended: moment(state.finished_at).filter(|_| !running),
        }
    }
}

fn is_made_up(name: &str) -> bool {
    name.len() == ANONYMOUS_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Engine {
    /// Returns what a container has mounted and when it ran; `None` when it is gone.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn look_into(&self, container: &str) -> Result<Option<Container>, EngineError> {
        let inspected = self.inspected(container).await;
        match inspected {
            Ok(inspected) => Ok(Some(Container::of(inspected))),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the containers of a service that the engine still knows, running or not.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn containers_of(&self, service_id: &str) -> Result<Vec<Container>, EngineError> {
        let by = filters([("label", format!("com.docker.swarm.service.id={service_id}"))]);
        let mut containers = Vec::new();
        for found in self.containers_by(by).await? {
            if let Some(id) = found.id
                && let Some(container) = self.look_into(&id).await?
            {
                containers.push(container);
            }
        }
        Ok(containers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_containers_that_ran_at_one_moment_ran_beside_each_other() {
        let ran = |started: Option<i64>, ended: Option<i64>| Container {
            started: started.map(|second| Timestamp::from_second(second).unwrap()),
            ended: ended.map(|second| Timestamp::from_second(second).unwrap()),
            ..Container::default()
        };
        let old = ran(Some(10), Some(20));
        for (other, beside) in [
            (ran(Some(20), None), false),
            (ran(Some(19), None), true),
            (ran(Some(1), Some(10)), false),
            (ran(Some(1), Some(11)), true),
            (ran(None, None), false),
        ] {
            assert_eq!(old.ran_beside(&other), beside, "{other:?}");
            assert_eq!(other.ran_beside(&old), beside, "{other:?}");
        }
    }
}
