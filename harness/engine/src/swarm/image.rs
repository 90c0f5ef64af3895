//! Images: there already, or pulled once per host however many runs want them.

use std::path::Path;
use std::time::Duration;

use bollard::models::ImageConfig;

use super::service::familiar_image;
use super::{Engine, EngineError};
use crate::dirs::HostDirs;
use crate::once::{self, TaskId};
use crate::process::{Cmd, Processes};
use ground::name::image::is_same_repository;
use ground::pins::{ImageCheck, Pinned, Puller};

/// How long one image may take to arrive; the run's deadline ends it sooner.
const PULL_LIMIT: Duration = Duration::from_secs(3600);

fn check_of(config: Option<ImageConfig>) -> Option<ImageCheck> {
    let check = config?.healthcheck?;
    let span = |value: Option<i64>| {
        let nanoseconds = value.and_then(|value| u64::try_from(value).ok());
        Duration::from_nanos(nanoseconds.unwrap_or_default())
    };
    let test = check.test.unwrap_or_default();
    test.first().filter(|word| *word != "NONE")?;
    Some(ImageCheck {
        interval: span(check.interval),
        start_interval: span(check.start_interval),
        retries: check
            .retries
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or_default(),
    })
}

/// Returns whether dockerd crashes at the healthcheck of an image: it takes the word behind `CMD` without a look whether
/// there is one (`cmdProbe.run` in <https://github.com/moby/moby/blob/v20.10.24/daemon/health.go>). A service with a test
/// of its own would be well; no image is made so on purpose.
fn crashes_engine(config: &ImageConfig) -> bool {
    let check = config.healthcheck.as_ref();
    let test = check.and_then(|check| check.test.as_deref());
    matches!(test, Some([only]) if only == "CMD")
}

impl Engine {
    /// Returns whether `image`, which is on the engine, brings a healthcheck of its own.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be inspected.
    pub async fn image_has_healthcheck(&self, image: &str) -> Result<bool, EngineError> {
        Ok(self.image_check(image).await?.is_some())
    }

    /// Returns the healthcheck that `image`, which is on the engine, brings; `None` when it brings none.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be inspected.
    pub async fn image_check(&self, image: &str) -> Result<Option<ImageCheck>, EngineError> {
        let inspected = self
            .docker
            .inspect_image(image)
            .await
            .map_err(|error| self.failed(format!("inspect image `{image}`"), error))?;
        Ok(check_of(inspected.config))
    }

    /// Returns the size of `image` in bytes; `None` where the engine does not have it.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be asked.
    pub async fn image_size(&self, image: &str) -> Result<Option<u64>, EngineError> {
        let inspected = self.docker.inspect_image(image).await;
        match inspected.map_err(|error| self.failed(format!("inspect `{image}`"), error)) {
            Ok(found) => Ok(found.size.and_then(|size| u64::try_from(size).ok())),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether the engine has `image`.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be asked.
    pub async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        match self
            .docker
            .inspect_image(image)
            .await
            .map_err(|error| self.failed(format!("inspect `{image}`"), error))
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that the engine has `image`; returns what is deployed of it: the content that the engine has under the
    /// name now, whatever the name leads to later.
    ///
    /// Of several runs that want it at the same time one pulls, and all of them get what that came to: an
    /// image that cannot be had is asked for once, not once per run.
    ///
    /// # Errors
    /// [`EngineError::Pull`] when it cannot be had, [`EngineError::NotPublic`] when it is not for `puller`.
    pub async fn ensure_image(
        &self,
        host: &HostDirs,
        processes: &Processes,
        image: &str,
        puller: Puller,
    ) -> Result<Pinned, EngineError> {
        // Another run may have pulled it with a login in the meantime: it is judged as it is then.
        if self.has_image(image).await? {
            return self.pin(host, image, puller).await;
        }
        let empty = host.state.join("no-logins");
        let without = (puller == Puller::Nobody).then_some(empty.as_path());
        let pull = async {
            if self.has_image(image).await? {
                return Ok(Ok(()));
            }
            match self.pull(processes, image, without).await {
                Ok(()) => Ok(Ok(())),
                Err(EngineError::Pull { reason, .. }) => Ok(Err(reason)),
                // The engine went away from this run; the next one sees for itself.
                Err(error) => Err(error),
            }
        };
        let images = host.state.join("images");
        // Two engines of one host have images of their own.
        let id = match puller {
            Puller::Operator => format!("{} {image}", self.host()),
            Puller::Nobody => format!("{} {image} without a login", self.host()),
        };
        match once::shared(&images, &TaskId::digest(&id), pull).await? {
            Ok(()) => self.pin(host, image, puller).await,
            Err(reason) => Err(EngineError::Pull {
                image: image.to_owned(),
                reason,
            }),
        }
    }

    /// Returns what `image`, which is on the engine, is deployed as: `redis:7@sha256:…` of one that came
    /// from the registry that its name leads to, and the id of any other. What names a digest already stays.
    pub(super) async fn pin(
        &self,
        host: &HostDirs,
        image: &str,
        puller: Puller,
    ) -> Result<Pinned, EngineError> {
        let what = format!("inspect `{image}`");
        let inspected = self.docker.inspect_image(image).await;
        let there = inspected.map_err(|error| self.failed(what, error))?;
        if there.config.as_ref().is_some_and(crashes_engine) {
            return Err(EngineError::CrashesEngine {
                image: image.to_owned(),
            });
        }
        let check = check_of(there.config);
        let pinned = |reference: String| Ok(Pinned { reference, check });
        let digests = digests_of(image, there.repo_digests);
        let digest = match puller {
            Puller::Nobody => Some(self.public_of(host, image, digests).await?),
            Puller::Operator => digests.into_iter().next(),
        };
        if image.contains('@') {
            return pinned(image.to_owned());
        }
        let digest = digest.as_deref().and_then(|name| name.split_once('@'));
        match (digest, there.id) {
            (Some((_, digest)), _) => pinned(format!("{}@{digest}", familiar_image(image))),
            (None, Some(id)) => pinned(id),
            (None, None) => Err(EngineError::Incomplete {
                what: format!("inspect `{image}`"),
                lacks: "the image's id",
            }),
        }
    }

    /// Makes sure that an image which the engine has is one for `puller`; one that it does not have is.
    ///
    /// # Errors
    /// [`EngineError::NotPublic`], or that the engine or the registry cannot be asked.
    pub async fn judge_image(
        &self,
        host: &HostDirs,
        image: &str,
        puller: Puller,
    ) -> Result<(), EngineError> {
        if puller == Puller::Nobody && self.has_image(image).await? {
            self.is_public(host, image).await?;
        }
        Ok(())
    }

    /// Makes sure that everybody can pull the image that the engine has under this name.
    async fn is_public(&self, host: &HostDirs, image: &str) -> Result<(), EngineError> {
        let what = format!("inspect `{image}`");
        let inspected = self.docker.inspect_image(image).await;
        let there = inspected.map_err(|error| self.failed(what, error))?;
        let digests = digests_of(image, there.repo_digests);
        self.public_of(host, image, digests).await.map(drop)
    }

    /// Returns the first of `digests`, which the engine has under the name `image`, that everybody can pull. What was
    /// found once is written down, by digest: content never changes.
    async fn public_of(
        &self,
        host: &HostDirs,
        image: &str,
        digests: Vec<String>,
    ) -> Result<String, EngineError> {
        let refused = |reason: &str| EngineError::NotPublic {
            image: image.to_owned(),
            reason: reason.to_owned(),
        };
        if digests.is_empty() {
            return Err(refused("it was never pulled from a registry"));
        }
        let known = host.state.join("public-images");
        for digest in digests {
            let note = known.join(TaskId::digest(&digest).as_str());
            if note.exists() {
                return Ok(digest);
            }
            match self.docker.inspect_registry_image(&digest, None).await {
                Ok(_) => {
                    // What cannot be noted is asked again.
                    drop(std::fs::create_dir_all(&known));
                    drop(std::fs::write(&note, &digest));
                    return Ok(digest);
                }
                Err(bollard::errors::Error::DockerResponseServerError {
                    status_code: 401 | 403 | 404,
                    ..
                }) => {}
                Err(error) => {
                    return Err(self.failed(format!("look `{digest}` up in its registry"), error));
                }
            }
        }
        Err(refused("its registry does not give it without a login"))
    }

    /// Pulls `image` with the docker client, which knows this host's logins and credential helpers; the API
    /// would pull without a login. With `without`, an empty directory, it knows none.
    ///
    /// # Errors
    /// [`EngineError::Pull`] when the registry does not give it, or an unreachable engine.
    pub async fn pull(
        &self,
        processes: &Processes,
        image: &str,
        without: Option<&Path>,
    ) -> Result<(), EngineError> {
        let mut cmd = Cmd::new("docker", Path::new("/"));
        if let Some(empty) = without {
            // The client takes a directory that is not there for an empty one.
            cmd = cmd.arg("--config").arg(empty);
        }
        let cmd = cmd.args(["--host", self.host(), "pull", "--quiet", "--", image]);
        let refused = |reason: String| EngineError::Pull {
            image: image.to_owned(),
            reason,
        };
        match processes.run(&cmd, PULL_LIMIT).await {
            Ok(finished) if finished.success() => Ok(()),
            Ok(finished) => {
                // An engine that is gone is another matter than a registry that refuses.
                self.info().await?;
                let line = finished
                    .tail
                    .iter()
                    .rev()
                    .find(|line| !line.trim().is_empty());
                Err(refused(line.cloned().unwrap_or_else(|| finished.how())))
            }
            Err(error) => Err(refused(ground::error::chain(&error))),
        }
    }
}

/// Returns those of an image's digests that are of the repository that its name leads to: an image of one name may have
/// come from a repository of another.
pub(super) fn digests_of(image: &str, digests: Option<Vec<String>>) -> Vec<String> {
    let mut digests = digests.unwrap_or_default();
    digests.retain(|name| is_same_repository(name, image));
    digests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_at_whose_healthcheck_dockerd_crashes_is_known() {
        let with = |test: &[&str]| ImageConfig {
            healthcheck: Some(bollard::models::HealthConfig {
                test: Some(test.iter().map(|word| (*word).to_owned()).collect()),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(crashes_engine(&with(&["CMD"])));
        for well in [&["CMD", "true"][..], &["CMD-SHELL"], &["NONE"], &[]] {
            assert!(!crashes_engine(&with(well)), "{well:?}");
        }
        assert!(!crashes_engine(&ImageConfig::default()));
    }

    #[test]
    fn a_digest_of_another_repository_says_nothing_of_a_name() {
        let hub = format!("redis@sha256:{}", "0".repeat(64));
        let team = format!("registry.test/team/redis@sha256:{}", "1".repeat(64));
        let all = || Some(vec![hub.clone(), team.clone()]);
        assert_eq!(digests_of("redis:7", all()), [hub.as_str()]);
        assert_eq!(digests_of("docker.io/library/redis", all()), [hub.as_str()]);
        assert_eq!(
            digests_of("registry.test/team/redis:7", all()),
            [team.as_str()]
        );
        assert!(digests_of("built-here/redis:7", all()).is_empty());
        assert!(digests_of("redis:7", None).is_empty());
    }
}
