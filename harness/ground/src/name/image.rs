//! References to images, as the engine reads them.

/// Why a text is no reference to an image of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReference {
    /// It has another form.
    Malformed,
    /// The engine may take it for the id of an image that is on this host.
    MayBeAnId,
}

/// Returns the registry and the repository of a reference with its registry: `docker.io` and
/// `docker.io/library/nginx` of `nginx:1.27`.
///
/// # Errors
/// [`NoReference`].
pub fn repository_of(reference: &str) -> Result<(String, String), NoReference> {
    // The engine takes both for the id of an image that lies on this host, whatever its name is: `GetImage` in moby's
    // `daemon/images/image.go`.
    let id = reference.strip_prefix("sha256:").unwrap_or(reference);
    if id.len() <= 64
        && (id.len() != reference.len() || id.len() >= 4)
        && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err(NoReference::MayBeAnId);
    }
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    if let Some(digest) = digest {
        let hex = digest
            .strip_prefix("sha256:")
            .ok_or(NoReference::Malformed)?;
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NoReference::Malformed);
        }
    }
    let last = name.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match name[last..].rfind(':') {
        Some(at) => (&name[..last + at], Some(&name[last + at + 1..])),
        None => (name, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(NoReference::Malformed);
    }
    let (registry, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first.to_ascii_lowercase(), rest.to_owned())
        }
        Some(_) => ("docker.io".to_owned(), name.to_owned()),
        None => ("docker.io".to_owned(), format!("library/{name}")),
    };
    let registry = match registry.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => registry,
    };
    let host = registry.split(':').next().unwrap_or_default();
    let is_host = !host.is_empty()
        && host.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
    let port = registry.split_once(':').map(|(_, port)| port);
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    if !is_host || !is_port || path.len() > 255 || !path.split('/').all(is_component) {
        return Err(NoReference::Malformed);
    }
    let repository = format!("{registry}/{path}");
    Ok((registry, repository))
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
