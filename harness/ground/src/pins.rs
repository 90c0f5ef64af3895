//! In whose name an image is pulled, and what each image of a run is deployed as: the content that was judged, and not
//! what its name leads to later.

use std::collections::BTreeMap;
use std::time::Duration;

/// In whose name images are pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Puller {
    /// The operator's: with this host's logins, and what lies on the engine is taken as it is.
    Operator,
    /// Without a login, and what lies on the engine is taken only where everybody can pull it.
    Nobody,
}

/// The healthcheck that an image brings. Zero is what it leaves to Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageCheck {
    /// How long after a check the next one comes.
    pub interval: Duration,
    /// The same while a container starts; engines from 25 on know it.
    pub start_interval: Duration,
    /// After how many failures in a row a container is unhealthy.
    pub retries: u64,
}

/// What an image is deployed as, and what it brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The reference: with a digest, or the id of what came from no registry.
    pub reference: String,
    /// Its healthcheck.
    pub check: Option<ImageCheck>,
}

/// What images are deployed as, by the names that recipes give them.
///
/// Swarm's agent tries to pull every image that is named by a tag when it starts a task, whatever the engine has, and
/// moves the tag: `pullImage` in moby's `daemon/cluster/executor/container/adapter.go`. It leaves alone what is named by
/// an id, and by a digest that the engine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(BTreeMap<String, Pinned>);

impl Pins {
    /// Notes that the image of this name is deployed as `pinned`.
    pub fn insert(&mut self, image: String, pinned: Pinned) {
        self.0.insert(image, pinned);
    }

    /// Returns what the image of this name is deployed as: itself where nothing is noted.
    #[must_use]
    pub fn pinned<'a>(&'a self, image: &'a str) -> &'a str {
        let known = self.0.get(image);
        known.map_or(image, |pinned| pinned.reference.as_str())
    }

    /// Returns the healthcheck that the image of this name brings, as far as it is known.
    #[must_use]
    pub fn check_of(&self, image: &str) -> Option<ImageCheck> {
        self.0.get(image)?.check
    }

    /// Returns what a recipe calls the image that is deployed as `pinned`: one name of several that are the same content.
    #[must_use]
    pub fn name_of<'a>(&'a self, pinned: &'a str) -> &'a str {
        let mut known = self.0.iter();
        let found = known.find(|(_, other)| other.reference == pinned);
        found.map_or(pinned, |(name, _)| name)
    }

    /// Returns whether nothing is noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_its_name_back_and_of_two_names_of_one_content_one() {
        let mut pins = Pins::default();
        for (name, reference) in [
            ("redis:7", "redis:7@sha256:00"),
            ("built:1", "sha256:ff"),
            ("built:2", "sha256:ff"),
        ] {
            let pinned = Pinned {
                reference: reference.to_owned(),
                check: None,
            };
            pins.insert(name.to_owned(), pinned);
        }
        assert_eq!(pins.pinned("redis:7"), "redis:7@sha256:00");
        assert_eq!(pins.pinned("other:1"), "other:1");
        assert_eq!(pins.name_of("redis:7@sha256:00"), "redis:7");
        for name in ["built:1", "built:2"] {
            assert_eq!(pins.name_of(pins.pinned(name)), "built:1");
        }
        assert_eq!(pins.name_of("sha256:00"), "sha256:00");
    }
}
