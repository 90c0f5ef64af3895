//! Which images a source may use.

use serde_json::Value;

use super::rules::IMAGE;
use super::{Case, Violation, scalar};
use crate::compose::Project;
use crate::compose::resolve::Resolved;
use ground::name::image::{Reference, may_be_an_id};
use ground::pins::Pins;
use ground::pins::Puller;

/// Registries that everybody can pull from without a login.
const PUBLIC: [&str; 21] = [
    "docker.io",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "registry.k8s.io",
    "k8s.gcr.io",
    "public.ecr.aws",
    "mcr.microsoft.com",
    "registry.gitlab.com",
    "codeberg.org",
    "code.forgejo.org",
    "data.forgejo.org",
    "git.coopcloud.tech",
    "lscr.io",
    "docker.elastic.co",
    "docker.n8n.io",
    "docker.getoutline.com",
    "docker.gitea.com",
    "dock.mau.dev",
    "registry.suse.com",
    "registry.access.redhat.com",
];

/// Returns whether everybody can pull from a registry without a login.
#[must_use]
pub fn is_public_registry(registry: &str) -> bool {
    PUBLIC.contains(&registry)
}

/// Returns the registry and the repository of a reference that a stranger may give.
///
/// # Errors
/// A sentence when it is none: no reference, what may be an id, a digest other than SHA-256's, and a registry by an IPv6
/// address.
fn repository_of(reference: &str) -> Result<(String, String), String> {
    let shown = super::shortened(reference);
    if may_be_an_id(reference) {
        return Err(format!(
            "`{shown}` may be the id of an image on this host, and names none of a registry"
        ));
    }
    let image = Reference::parse(reference).ok().filter(|image| {
        image
            .digest()
            .is_none_or(|digest| digest.starts_with("sha256:"))
            && !image.registry().starts_with('[')
    });
    let image = image.ok_or_else(|| format!("`{shown}` is no reference to an image"))?;
    Ok((image.registry(), image.repository()))
}

/// Returns whether Docker takes a text for a reference to an image: also ids, other digests than those of SHA-256, and
/// registries by an IPv6 address, which only runs by hand may use.
fn is_docker_s(reference: &str) -> bool {
    may_be_an_id(reference) || Reference::parse(reference).is_ok()
}

/// Returns whether a prefix of the operator's covers a repository. Both may leave `docker.io/` out.
#[must_use]
pub(super) fn covers(prefix: &str, repository: &str) -> bool {
    // An image of Docker's own is no namespace: `nginx/…` is somebody else's.
    let hub = |text: &str| text.strip_prefix("docker.io/").unwrap_or(text).to_owned();
    if let Some(official) = hub(prefix).strip_prefix("library/") {
        let repository = hub(repository);
        return repository.strip_prefix("library/").unwrap_or(&repository) == official;
    }
    let plain = |text: &str| {
        let text = text.trim_end_matches('/');
        let text = text.strip_prefix("docker.io/").unwrap_or(text);
        text.strip_prefix("library/").unwrap_or(text).to_owned()
    };
    let (prefix, repository) = (plain(prefix), plain(repository));
    repository
        .strip_prefix(prefix.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl super::Terms {
    /// Returns whether the operator lets the source use images of a repository, wherever they come from.
    #[must_use]
    pub fn lists_image(&self, repository: &str) -> bool {
        let granted: &[String] = match &self.level {
            crate::trust::Level::Granted(grant) => &grant.images,
            crate::trust::Level::Stranger | crate::trust::Level::ByHand => &[],
        };
        self.images
            .iter()
            .chain(granted)
            .any(|prefix| covers(prefix, repository))
    }
}

impl super::Terms {
    /// Returns in whose name an image is had for the source.
    #[must_use]
    pub fn puller(&self, image: &str) -> Puller {
        let listed = repository_of(image).is_ok_and(|(_, name)| self.lists_image(&name));
        if self.level == crate::trust::Level::ByHand || listed {
            Puller::Operator
        } else {
            Puller::Nobody
        }
    }
}

/// Returns the refusal of an image that lies on this host and that not everybody can pull.
#[must_use]
pub fn not_public(project: &Project, image: &str, reason: &str) -> Violation {
    let mut services = project.services.iter();
    let service = services.find(|service| service.image.as_deref() == Some(image));
    let key = service.map_or_else(
        || "services".to_owned(),
        |service| format!("services.{}.image", service.name),
    );
    let place = project.location(&key);
    let repository = repository_of(image).map(|(_, repository)| repository);
    Violation {
        rule: IMAGE.id.to_owned(),
        file: place.map(|place| place.file.clone()),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        source: None,
        key,
        value: super::shortened(image),
        message: super::printable(&format!("the image is on this host, and {reason}")),
        grant: repository
            .ok()
            .map(|name| format!("images: [{}]", scalar(&name))),
        refused: true,
    }
}

/// Names every image by the content that was judged.
pub(super) fn pin(resolved: &mut Resolved, pins: &Pins) {
    if pins.is_empty() {
        return;
    }
    resolved.edit(|document| {
        let services = document.get_mut("services").and_then(Value::as_object_mut);
        for service in services.into_iter().flat_map(|all| all.values_mut()) {
            let Some(image) = service.get_mut("image") else {
                continue;
            };
            if let Some(name) = image.as_str() {
                *image = pins.pinned(name).into();
            }
        }
    });
}

pub(super) fn check(case: &mut Case<'_>) {
    for (name, service) in case.section("services") {
        let path = format!("services.{name}.image");
        let Some(reference) = service.get("image").and_then(Value::as_str) else {
            continue;
        };
        let value = Value::from(reference);
        match repository_of(reference) {
            Err(message) if !is_docker_s(reference) => {
                case.find_for_everybody(&IMAGE, &path, &value, message);
            }
            Err(message) => case.find(&IMAGE, &path, &value, message, None),
            Ok((registry, repository)) => {
                if is_public_registry(&registry) || case.terms.lists_image(&repository) {
                    continue;
                }
                let message = format!("`{registry}` is no public registry that this host knows");
                let grant = Some(format!("images: [{}]", scalar(&repository)));
                case.find(&IMAGE, &path, &value, message, grant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_takes_for_no_image_is_told_from_what_a_stranger_may_not_name() {
        let long = "0123456789abcdef".repeat(4);
        for fine in [
            "nginx",
            "beef",
            &format!("sha256:{long}"),
            &format!("nginx@sha512:{long}{long}"),
            "[::1]:5000/x:1",
            "localhost:5000/a__b/c---d.e:T_1",
            "Registry.example.org/x",
        ] {
            assert!(is_docker_s(fine), "{fine}");
        }
        for wrong in [
            "",
            "--help",
            "Nginx",
            "a b",
            "a:b:c",
            "a/-b",
            "a..b",
            "a._b",
            "a___b",
            "nginx@sha256:short",
            "nginx@",
            "https://x.org/y",
        ] {
            assert!(!is_docker_s(wrong), "{wrong}");
            assert!(repository_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_engine_takes_for_the_id_of_a_local_image_is_no_reference() {
        let long = "0123456789abcdef".repeat(4);
        for id in [
            "0123456789ab",
            "beef",
            &long,
            &format!("sha256:{long}"),
            "sha256:ab",
        ] {
            assert!(repository_of(id).is_err(), "{id}");
        }
        for name in ["caddy", "redis", "beef:1", "docker.io/library/beef", "abc"] {
            assert!(repository_of(name).is_ok(), "{name}");
        }
    }
}
