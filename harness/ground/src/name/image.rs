//! References to images, read as Docker reads them.
//!
//! The grammar and what is filled in are those of `ParseNormalizedNamed` in
//! <https://github.com/distribution/reference/blob/main/normalize.go>. Whoever asks what an image is asks here, so that
//! two names of one image are never two images.

/// Where images come from whose name has no registry.
const HUB: &str = "docker.io";

/// A text that is no reference to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no reference to an image")]
pub struct NoReference;

/// A reference to an image, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    domain: &'a str,
    path: String,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Reads a reference.
    ///
    /// # Errors
    /// [`NoReference`] where Docker takes it for none.
    pub fn parse(text: &'a str) -> Result<Self, NoReference> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash is that of a registry's port.
        let last = name.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name[last..].rfind(':') {
            Some(at) => (&name[..last + at], Some(&name[last + at + 1..])),
            None => (name, None),
        };
        let (domain, path) = match name.split_once('/') {
            Some((first, rest))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first.bytes().any(|b| b.is_ascii_uppercase()) =>
            {
                (first, rest)
            }
            _ => (HUB, name),
        };
        let domain = match domain {
            "index.docker.io" => HUB,
            domain => domain,
        };
        let is_fine = is_domain(domain)
            && path.len() <= 255
            && path.split('/').all(is_component)
            && !(name.len() == 64 && is_lower_hex(name))
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        if !is_fine {
            return Err(NoReference);
        }
        let path = match domain == HUB && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        Ok(Self {
            domain,
            path,
            tag,
            digest,
        })
    }

    /// Returns the registry, under the name by which all of its names are one.
    #[must_use]
    pub fn registry(&self) -> String {
        let registry = self.domain.to_ascii_lowercase();
        match registry.as_str() {
            "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
            _ => registry,
        }
    }

    /// Returns the repository with its registry: `docker.io/library/nginx` of `nginx:1.27`.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.registry(), self.path)
    }

    /// Returns the last part of the repository's name, which is as a rule what the software is called.
    #[must_use]
    pub fn last_part(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Returns the repository as Docker's client writes it: `nginx` of `docker.io/library/nginx:1.27`.
    #[must_use]
    pub fn familiar(&self) -> String {
        if self.domain != HUB {
            return format!("{}/{}", self.domain, self.path);
        }
        // Only of two parts: `library/a/b` is a repository of that name.
        let short = self.path.strip_prefix("library/");
        let short = short.filter(|rest| !rest.contains('/'));
        short.unwrap_or(&self.path).to_owned()
    }

    /// Returns the tag, if it names one.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.tag
    }

    /// Returns the digest, if it names one: `sha256:…`.
    #[must_use]
    pub fn digest(&self) -> Option<&'a str> {
        self.digest
    }
}

/// Returns whether two texts name the same repository, whatever tag and digest they have.
#[must_use]
pub fn is_same_repository(one: &str, other: &str) -> bool {
    let repository = |text| Reference::parse(text).ok().map(|it| it.repository());
    repository(one).is_some_and(|it| repository(other) == Some(it))
}

/// Returns whether the engine may take a text for the id of an image that lies on this host, whatever its name is:
/// `GetImage` in moby's `daemon/images/image.go`.
#[must_use]
pub fn may_be_an_id(text: &str) -> bool {
    let id = text.strip_prefix("sha256:").unwrap_or(text);
    id.len() <= 64 && (id.len() != text.len() || id.len() >= 4) && is_lower_hex(id)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The digests that have a known length; no other is taken.
fn is_digest(text: &str) -> bool {
    let length = match text.split_once(':') {
        Some(("sha256", _)) => 64,
        Some(("sha384", _)) => 96,
        Some(("sha512", _)) => 128,
        _ => return false,
    };
    text[7..].len() == length && is_lower_hex(&text[7..])
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let address = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_host = match address {
        Some(address) => {
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
        }
        None => host.split('.').all(is_part),
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_host && port.is_none_or(is_port)
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_component(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between =
        |part: &str| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|b| b == b'-');
    text.starts_with(edge) && text.ends_with(edge) && text.split(edge).all(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_a_repository_are_one() {
        let digest = format!("@sha256:{}", "0".repeat(64));
        for one in [
            "redis",
            "redis:7",
            "library/redis",
            "docker.io/redis:7",
            "docker.io/library/redis",
            "index.docker.io/library/redis:7-alpine",
            &format!("redis{digest}"),
            &format!("docker.io/library/redis:7{digest}"),
        ] {
            assert!(is_same_repository(one, "redis:6"), "{one}");
        }
        for other in [
            "localhost/redis",
            "localhost:5000/redis",
            "quay.io/library/redis",
            "valkey/redis",
            "docker.io/library/redis/redis",
            "redis-stack",
        ] {
            assert!(!is_same_repository(other, "redis"), "{other}");
        }
        assert!(is_same_repository(
            "Host.example:5000/a:1",
            "host.example:5000/a"
        ));
        assert!(!is_same_repository(
            "host.example:5000/a",
            "host.example:5001/a"
        ));
        // What is no reference is not even the same as itself.
        assert!(!is_same_repository("", ""));
    }

    #[test]
    fn a_reference_has_parts() {
        let long = "0123456789abcdef".repeat(4);
        let text = format!("host:5000/team/app:1.2@sha256:{long}");
        let it = Reference::parse(&text).unwrap();
        assert_eq!(it.repository(), "host:5000/team/app");
        assert_eq!((it.last_part(), it.tag()), ("app", Some("1.2")));
        assert_eq!(it.digest(), Some(&*format!("sha256:{long}")));
        // A port is no tag.
        let it = Reference::parse("host:5000/app").unwrap();
        assert_eq!((it.tag(), it.familiar()), (None, "host:5000/app".into()));
        let it = Reference::parse("[::1]:5000/app:2").unwrap();
        assert_eq!((it.registry(), it.tag()), ("[::1]:5000".into(), Some("2")));
        for wrong in [
            "host:+5/app",
            "host-:1/app",
            &long,
            "a@sha256:00ff",
            "a@md5:00",
            "a:",
            "@",
            "host:99999/a",
        ] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }
}
