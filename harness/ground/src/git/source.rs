//! Where a repository comes from: a path, a URL, or a name on the forge.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::name::legible;

/// What can be fetched, as the refusals name it.
const SUPPORTED: &str =
    "supported are a path (`/…`, `./…`), `https://…`, `http://…`, `file://…` and `OWNER/REPO`";

/// Longest source, in bytes: no path is longer.
const LONGEST: usize = 4096;

/// A source that was refused. Always a matter of usage.
///
/// No message repeats a text that may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing was given.
    #[error("the source is empty; {SUPPORTED}")]
    Empty,
    /// A URL of a kind that is not fetched.
    #[error("`{scheme}` addresses cannot be fetched; {SUPPORTED}")]
    Scheme {
        /// The scheme, or `ssh` for `user@host:path`.
        scheme: String,
    },
    /// A URL that cannot be parsed.
    #[error("the source is no valid URL: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// A URL with a user or a password inside.
    #[error("the URL for `{host}` has credentials inside; give them as the token setting instead")]
    Credentials {
        /// The host that the URL names.
        host: String,
    },
    /// A name on the forge without a forge.
    #[error(
        "`{repository}` is a repository of a forge, but no forge is known; set `CCCI_FORGE_URL`"
    )]
    NoForge {
        /// The name.
        repository: String,
    },
    /// A text in no known form.
    #[error("`{text}` is no source: {reason}; {SUPPORTED}")]
    Form {
        /// What was given.
        text: String,
        /// Why it is not one.
        reason: &'static str,
    },
}

/// Where a repository comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The repository whose root is this absolute path.
    Path(PathBuf),
    /// Any address.
    Url(RemoteUrl),
    /// A repository of the forge.
    Forge {
        /// Its address there.
        url: RemoteUrl,
        /// Its name there, `OWNER/REPO`.
        repository: String,
    },
}

impl Source {
    /// Parses a path, a URL or `OWNER/REPO`.
    ///
    /// `base` is the absolute directory that a relative path starts from, and `forge_url` the address under
    /// which the repositories of the forge are.
    ///
    /// # Errors
    /// [`SourceError`] when the text has none of these forms, or holds credentials.
    pub fn parse(text: &str, forge_url: Option<&str>, base: &Path) -> Result<Self, SourceError> {
        if text.is_empty() {
            return Err(SourceError::Empty);
        }
        let refuse = |reason| {
            Err(SourceError::Form {
                text: legible(text),
                reason,
            })
        };
        // Before anything else reads it: a URL's parser drops line breaks without a word.
        if text.chars().any(char::is_control) {
            return refuse("it has control characters");
        }
        if text.len() > LONGEST {
            return refuse("it is longer than 4096 bytes");
        }
        let dots = text == "." || text == "..";
        if dots
            || ["/", "./", "../"]
                .iter()
                .any(|start| text.starts_with(start))
        {
            // `./` on the way says nothing, and stands in every message.
            return Ok(Self::Path(base.join(text).components().collect()));
        }
        if text.contains("://") {
            return RemoteUrl::parse(text).map(Self::Url);
        }
        if text.contains(['@', ':']) {
            return Err(SourceError::Scheme {
                scheme: "ssh".to_owned(),
            });
        }
        if text.starts_with('~') {
            return refuse("`~` is expanded by a shell only");
        }
        let repository = text.strip_suffix(".git").unwrap_or(text);
        if !repository.contains('/') {
            return refuse("a bare name says nothing about where it is");
        }
        let usable = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        if !repository.split('/').all(usable) {
            return refuse("an owner or repository has only letters, digits, `.`, `_` and `-`");
        }
        let Some(forge) = forge_url.filter(|url| !url.is_empty()) else {
            return Err(SourceError::NoForge {
                repository: repository.to_owned(),
            });
        };
        // GitLab answers only with the suffix; Gitea, Forgejo and GitHub with and without.
        let url = RemoteUrl::parse(&format!("{}/{repository}.git", forge.trim_end_matches('/')))?;
        Ok(Self::Forge {
            url,
            repository: repository.to_owned(),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Url(url) | Self::Forge { url, .. } => url.fmt(f),
        }
    }
}

/// An `http`, `https` or `file` address without credentials, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteUrl(Url);

impl RemoteUrl {
    /// Parses an address.
    ///
    /// # Errors
    /// [`SourceError`] when the scheme is not supported or the address holds more than a place.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let url = Url::parse(text).map_err(|e| SourceError::Url {
            reason: e.to_string(),
        })?;
        if !matches!(url.scheme(), "http" | "https" | "file") {
            return Err(SourceError::Scheme {
                scheme: url.scheme().to_owned(),
            });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SourceError::Credentials {
                host: url.host_str().unwrap_or_default().to_owned(),
            });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(SourceError::Url {
                reason: "a repository's address has no `?` and no `#`".to_owned(),
            });
        }
        if url.scheme() == "file" && url.to_file_path().is_err() {
            return Err(SourceError::Url {
                reason: "a file URL names no other host".to_owned(),
            });
        }
        Ok(Self(url))
    }

    /// Returns what the address of a remote in a checkout says of its forge, whatever it was cloned over: `ssh` as
    /// `https`, without a user. Nothing is ever asked there.
    #[must_use]
    pub fn of_remote(text: &str) -> Option<Self> {
        let over_ssh = text.strip_prefix("ssh://");
        if text.contains("::")
            || (over_ssh.is_none() && !text.starts_with('/') && !text.contains(':'))
        {
            return None;
        }
        let text = over_ssh.unwrap_or(text);
        let text = match text.split_once("://") {
            Some((scheme, rest)) => {
                let (host, path) = rest.split_once('/')?;
                let host = host.rsplit('@').next().unwrap_or(host);
                format!("{scheme}://{host}/{path}")
            }
            None if text.starts_with('/') => format!("file://{text}"),
            None => {
                // `git@host:owner/repo`, or `git@host:22/owner/repo` of an `ssh://`.
                let rest = text.rsplit('@').next().unwrap_or(text);
                let (host, path) = rest.split_once(':').or_else(|| rest.split_once('/'))?;
                let port = path
                    .split_once('/')
                    .filter(|(port, _)| port.parse::<u16>().is_ok());
                let path = port.map_or(path, |(_, path)| path);
                format!("https://{host}/{path}")
            }
        };
        Self::parse(&text).ok()
    }

    /// Returns the path of a `file` address.
    #[must_use]
    pub fn local_path(&self) -> Option<PathBuf> {
        (self.0.scheme() == "file")
            .then(|| self.0.to_file_path().ok())
            .flatten()
    }

    /// Returns `https`, `http` or `file`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// Returns whether both are on the same forge: scheme, host and port are equal. Directories are on none.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        self.0.origin().is_tuple() && self.0.origin() == other.0.origin()
    }

    /// Returns the address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    pub(super) fn into_url(self) -> Url {
        self.0
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Source, SourceError> {
        Source::parse(
            text,
            Some("https://git.example.org///"),
            Path::new("/home/me"),
        )
    }

    #[test]
    fn paths_are_joined_to_the_base() {
        for (text, path) in [
            ("/srv/x", "/srv/x"),
            ("./x", "/home/me/./x"),
            ("../x", "/home/me/../x"),
        ] {
            assert_eq!(parse(text), Ok(Source::Path(path.into())));
        }
        assert!(matches!(parse("."), Ok(Source::Path(_))));
    }

    #[test]
    fn owner_and_repository_are_looked_up_on_the_forge() {
        for text in ["coop/notes", "coop/notes.git"] {
            let source = parse(text).unwrap();
            assert_eq!(source.to_string(), "https://git.example.org/coop/notes.git");
            assert!(
                matches!(source, Source::Forge { repository, .. } if repository == "coop/notes")
            );
        }
        let error = Source::parse("coop/notes", None, Path::new("/")).unwrap_err();
        assert!(error.to_string().contains("CCCI_FORGE_URL"), "{error}");
        assert_eq!(
            Source::parse("coop/notes", Some(""), Path::new("/")),
            Err(error)
        );
    }

    #[test]
    fn urls_of_other_kinds_are_refused_with_what_is_supported() {
        for text in [
            "ssh://git@h/x",
            "git://h/x",
            "git@github.com:o/r.git",
            "ftp://h/x",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(error, SourceError::Scheme { .. }),
                "{text}: {error:?}"
            );
            assert!(error.to_string().contains("https://"), "{error}");
        }
        for text in [
            "notes",
            "~/notes",
            "a//b",
            "a/../b",
            "-a/b",
            "a b/c",
            "a/b\r\nc",
            "https://h/a\n/x",
            "http://",
            "https://h/x?y",
            "file://h/x",
        ] {
            assert!(parse(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn a_remote_says_where_it_is_whatever_it_was_cloned_over() {
        for text in [
            "https://git.example.org/team/app.git",
            "https://me:s3cret@git.example.org/team/app.git",
            "git@git.example.org:team/app.git",
            "ssh://git@git.example.org/team/app.git",
            "ssh://git@git.example.org:2222/team/app.git",
        ] {
            let url = RemoteUrl::of_remote(text).unwrap();
            assert_eq!(
                url.as_str(),
                "https://git.example.org/team/app.git",
                "{text}"
            );
        }
        let path = RemoteUrl::of_remote("/srv/forge/team/app.git").unwrap();
        assert_eq!(path.as_str(), "file:///srv/forge/team/app.git");
        for text in ["", "ext::sh -c x", "app", "../app"] {
            assert_eq!(RemoteUrl::of_remote(text), None, "{text}");
        }
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        for text in [
            "https://me:s3cret@h/x",
            "https://s3cret@h/x",
            "https://me:s3cret@h:port/x",
            "ssh://me:s3cret@h/x",
            "me:s3cret@h/x",
            "https://h/x?token=s3cret",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("s3cret"),
                "{error:?}"
            );
        }
        assert!(
            parse("https://me:s3cret@h/x")
                .unwrap_err()
                .to_string()
                .contains("token setting")
        );
    }
}
