//! Recipe versions, and the order that decides which tag an upgrade starts from.
//!
//! A recipe version is `<semver>+<app version>`, such as `1.4.0+4.3.1`. It is used as the name of a git
//! tag and as the value of the version label. Nothing here reads git: the caller passes tag names.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A text that is not a recipe version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a recipe version: {reason}")]
pub struct VersionError {
    /// What was given.
    pub text: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

/// A recipe version.
///
/// Versions are ordered by their recipe part (semantic versioning, prereleases included), then by their
/// app part, whose runs of digits are compared as numbers.
///
/// Equality follows the order, not the text: `1.0.0+1.02` equals `1.0.0+1.2`. [`fmt::Display`] keeps the
/// text as it was written, because it is the name of a tag.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    numbers: [u64; 3],
    prerelease: Vec<Identifier>,
    app: Vec<AppPart>,
}

/// An identifier of a prerelease; numbers come before words (semver 2.0.0, rule 11).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

/// A piece of an app version, in ascending order, so that `1.2-rc1` < `1.2` < `1.2-alpine` < `1.2.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum AppPart {
    /// A word that marks an earlier version, such as `rc`.
    Prerelease(String),
    /// The end; every list of parts has it, which makes comparing lists a total order.
    End,
    Word(String),
    Number(Digits),
}

/// A number of any length, without its leading zeros: dates and build ids do not fit an integer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Digits(String);

impl Ord for Digits {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0
            .len()
            .cmp(&other.0.len())
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Digits {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let refuse = |reason| VersionError {
            text: text.to_owned(),
            reason,
        };
        let (recipe, app) = text
            .split_once('+')
            .ok_or_else(|| refuse("it has no `+` before an app version"))?;
        if app.is_empty() {
            return Err(refuse("its app version is empty"));
        }
        if app.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(refuse("its app version contains white space"));
        }
        let (core, prerelease) = match recipe.split_once('-') {
            Some((core, prerelease)) => (core, Some(prerelease)),
            None => (recipe, None),
        };
        let parts: Vec<&str> = core.split('.').collect();
        let [major, minor, patch] = parts[..] else {
            return Err(refuse("its recipe part is not three numbers, `x.y.z`"));
        };
        let number = |part: &str| {
            parse_number(part)
                .ok_or_else(|| refuse("its recipe part is not three numbers, `x.y.z`"))
        };
        let numbers = [number(major)?, number(minor)?, number(patch)?];
        let prerelease = match prerelease {
            None => Vec::new(),
            Some(list) => list
                .split('.')
                .map(|part| identifier(part).ok_or_else(|| refuse("its prerelease is malformed")))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            text: text.to_owned(),
            numbers,
            prerelease,
            app: app_parts(app),
        })
    }
}

fn parse_number(part: &str) -> Option<u64> {
    (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        .then(|| part.parse().ok())
        .flatten()
}

fn identifier(part: &str) -> Option<Identifier> {
    if part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return None;
    }
    Some(parse_number(part).map_or_else(|| Identifier::Word(part.to_owned()), Identifier::Number))
}

fn app_parts(app: &str) -> Vec<AppPart> {
    // A leading `v` is a habit of upstream projects, not part of the number.
    let app = match app.strip_prefix(['v', 'V']) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => app,
    };
    let mut parts = Vec::new();
    let mut rest = app;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        rest = tail;
        if digits {
            parts.push(AppPart::Number(Digits(
                part.trim_start_matches('0').to_owned(),
            )));
        } else {
            // Separators only part the pieces: `1.0` and `1-0` are the same version.
            let word = part.trim_matches(['.', '-', '_', '+']);
            if is_prerelease_word(word) {
                parts.push(AppPart::Prerelease(word.to_ascii_lowercase()));
            } else if !word.is_empty() {
                parts.push(AppPart::Word(word.to_owned()));
            }
        }
    }
    parts.push(AppPart::End);
    parts
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            .then_with(
                || match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
                    (true, true) => Ordering::Equal,
                    (true, false) => Ordering::Greater,
                    (false, true) => Ordering::Less,
                    (false, false) => self.prerelease.cmp(&other.prerelease),
                },
            )
            .then_with(|| self.app.cmp(&other.app))
    }
}

fn is_prerelease_word(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    [
        "rc", "alpha", "beta", "pre", "dev", "preview", "snapshot", "nightly",
    ]
    .contains(&word.as_str())
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl Version {
    /// Returns the version as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The tags of a recipe.
#[derive(Debug, Clone, Default)]
pub struct TagList {
    /// The tags that are recipe versions, oldest first.
    pub versions: Vec<Version>,
    /// The tags that are not, in the order given.
    pub ignored: Vec<String>,
}

impl TagList {
    /// Returns the tags of these names, sorted.
    pub fn from_names<I>(names: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut list = Self::default();
        for name in names {
            match name.as_ref().parse() {
                Ok(version) => list.versions.push(version),
                Err(_) => list.ignored.push(name.as_ref().to_owned()),
            }
        }
        list.versions.sort();
        list
    }

    /// Returns the versions that are not newer than `head`, oldest first.
    #[must_use]
    pub fn up_to(&self, head: &Version) -> &[Version] {
        let newer = self.versions.partition_point(|version| version <= head);
        &self.versions[..newer]
    }

    /// Returns the newest version.
    #[must_use]
    pub fn newest(&self) -> Option<&Version> {
        self.versions.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_recipe_form_is_a_version() {
        for bad in [
            "",
            "1.0.0",
            "v1.0.0+1.0.0",
            "1.0+1.0",
            "1.0.0.0+1",
            "1.0.0+",
            "1.0.x+1",
            "1.0.0-+1",
            "1.0.0-a..b+1",
            "latest",
            "1.0.0+a b",
            "+1.0.0+1",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?} was accepted");
        }
        for good in [
            "0.1.0+4.3.1",
            "2.0.1+1.0.6-social-amd64",
            "1.0.0-rc.1+v2",
            "1.0.0+latest",
            "1.0.0+a+b",
        ] {
            assert_eq!(version(good).to_string(), good);
        }
    }

    #[test]
    fn the_order_is_semver_then_natural() {
        let ascending = [
            "0.9.0+10.0.0",
            "1.0.0-alpha+1.0.0",
            "1.0.0-alpha.1+1.0.0",
            "1.0.0-alpha.beta+1.0.0",
            "1.0.0-beta.2+1.0.0",
            "1.0.0-beta.11+1.0.0",
            "1.0.0-rc.1+9.9.9",
            "1.0.0+1.2.0-rc1",
            "1.0.0+1.2.0",
            "1.0.0+1.2.0-alpine",
            "1.0.0+1.2.1",
            "1.0.0+v1.10.0",
            "1.0.0+20240131123456789012345678",
            "1.2.0+1.0.0",
            "1.10.0+1.0.0",
        ];
        for pair in ascending.windows(2) {
            assert!(
                version(pair[0]) < version(pair[1]),
                "{} is not older than {}",
                pair[0],
                pair[1]
            );
        }
    }

    #[test]
    fn equality_follows_the_order() {
        assert_eq!(version("1.0.0+v1.2.3"), version("1.0.0+1.2.3"));
        assert_ne!(version("1.0.0+1.2.3"), version("1.0.0+1.2.3.1"));
    }

    #[test]
    fn foreign_tags_are_set_aside() {
        let tags = TagList::from_names([
            "1.1.0+2.0.0",
            "v1.0.3",
            "1.0.0+2.0.0",
            "nightly",
            "1.0.0+1.9.0",
        ]);
        let names: Vec<&str> = tags.versions.iter().map(Version::as_str).collect();
        assert_eq!(names, ["1.0.0+1.9.0", "1.0.0+2.0.0", "1.1.0+2.0.0"]);
        assert_eq!(tags.ignored, ["v1.0.3", "nightly"]);
        assert_eq!(tags.newest().unwrap().as_str(), "1.1.0+2.0.0");
    }

    #[test]
    fn a_base_is_never_newer_than_the_head() {
        let tags = TagList::from_names(["1.0.0+1.0.0", "1.1.0+1.0.0"]);
        let base = |head: &str| tags.up_to(&version(head)).last().map(Version::as_str);
        assert_eq!(base("1.1.0+1.0.0"), Some("1.1.0+1.0.0"));
        assert_eq!(base("1.2.0+1.0.0"), Some("1.1.0+1.0.0"));
        assert_eq!(base("1.0.5+1.0.0"), Some("1.0.0+1.0.0"));
        assert_eq!(base("0.9.0+1.0.0"), None);
    }
}
