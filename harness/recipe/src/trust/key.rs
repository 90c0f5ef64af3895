//! What a source is called in `grants.yml`: `<forge host>[:port]/<owner>/<repository>`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use ground::git::source::{RemoteUrl, Source};

/// A source in the one form in which two that are the same are equal: the host in lower case, a port only where it is
/// not the scheme's own, no `.git`, no slash at the end.
///
/// The path keeps its case: a forge may take `Team/app` for `team/app`, and then the other spelling has no grant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey(String);

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no source: {reason}")]
pub struct KeyError {
    text: String,
    reason: &'static str,
}

impl SourceKey {
    /// Returns the key of a source. That of a path, or of a repository below a forge that is a directory, is the
    /// path.
    #[must_use]
    pub fn of(source: &Source) -> Self {
        match source {
            Source::Path(path) => Self::of_path(path),
            Source::Url(url) | Source::Forge { url, .. } => Self::of_url(url),
        }
    }

    /// Returns the key of an address.
    #[must_use]
    pub fn of_url(url: &RemoteUrl) -> Self {
        if let Some(path) = url.local_path() {
            return Self::of_path(&path);
        }
        // The parser has put the host into lower case and left out the scheme's own port.
        let text = url.as_str();
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        Self(trimmed(text).to_owned())
    }

    /// Returns the key of a repository in a directory.
    #[must_use]
    pub fn of_path(path: &Path) -> Self {
        Self(trimmed(&path.to_string_lossy()).to_owned())
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the repository's own name: the last part.
    #[must_use]
    pub fn repository(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

fn trimmed(text: &str) -> &str {
    let text = text.trim_end_matches('/');
    text.strip_suffix(".git").unwrap_or(text)
}

impl FromStr for SourceKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let refuse = |reason| {
            Err(KeyError {
                text: text.to_owned(),
                reason,
            })
        };
        if text.contains("://") {
            return refuse("leave out what is up to `://`");
        }
        if text.contains(['*', '%', '?', '#', '@', '\\'])
            || text.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return refuse("it is written out, without patterns, users and white space");
        }
        let parts: Vec<&str> = text.strip_prefix('/').unwrap_or(text).split('/').collect();
        if parts
            .iter()
            .any(|part| part.is_empty() || part.starts_with('.'))
        {
            return refuse("a part of it is empty or begins with `.`");
        }
        if text.starts_with('/') {
            return Ok(Self(trimmed(text).to_owned()));
        }
        if parts.len() < 3 {
            return refuse("write `<forge host>/<owner>/<repository>`");
        }
        match RemoteUrl::parse(&format!("https://{text}")) {
            Ok(url) => Ok(Self::of_url(&url)),
            Err(_) => refuse("it does not begin with a forge's host"),
        }
    }
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        let source = Source::parse(text, Some("https://Git.Example.org/"), Path::new("/base"));
        SourceKey::of(&source.unwrap()).to_string()
    }

    #[test]
    fn one_repository_has_one_key_however_it_is_written() {
        for text in [
            "team/app",
            "team/app.git",
            "https://git.example.org/team/app",
            "https://GIT.EXAMPLE.org:443/team/app.git/",
            "https://git.example.org/team/./x/../app",
        ] {
            assert_eq!(of(text), "git.example.org/team/app", "{text}");
        }
        let listed: SourceKey = "GIT.example.org/team/app.git".parse().unwrap();
        assert_eq!(listed.as_str(), "git.example.org/team/app");
        assert_eq!(
            of("http://git.example.org:3000/a/b"),
            "git.example.org:3000/a/b"
        );
        assert_eq!(of("file:///srv/forge/a/b.git"), "/srv/forge/a/b");
        assert_eq!(SourceKey("h/a/notes".to_owned()).repository(), "notes");
    }

    #[test]
    fn what_another_repository_may_be_is_another_key() {
        for text in [
            "https://git.example.org/Team/app",
            "https://git.example.org/team/%61pp",
            "https://git.example.org//team/app",
            "https://git.example.org:444/team/app",
            "https://git.example.org.evil/team/app",
        ] {
            assert_ne!(of(text), "git.example.org/team/app", "{text}");
        }
    }

    #[test]
    fn a_key_is_written_out() {
        for text in [
            "",
            "app",
            "team/app",
            "https://h/team/app",
            "h/team/*",
            "h//app",
            "h/../app",
            "me@h/team/app",
            "h/team/app ",
        ] {
            assert!(text.parse::<SourceKey>().is_err(), "{text}");
        }
        assert!("h/group/sub/app".parse::<SourceKey>().is_ok());
        assert!("/srv/forge/team/app".parse::<SourceKey>().is_ok());
    }
}
