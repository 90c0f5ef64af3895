//! Names of the domain, parsed once at the edge so that everything behind it can trust them.
//!
//! A value of one of these types has been checked: nothing else in the crate validates a name again.

pub mod image;

use std::fmt;
use std::str::FromStr;

use sha1::{Digest, Sha1};

/// Longest name that Docker accepts for a secret or a config, in bytes (swarmkit `validateAnnotations`
/// and `configNameRegex`: 64).
pub const OBJECT_NAME_LIMIT: usize = 64;

/// Longest service name that Docker accepts, in bytes: it becomes a DNS label (RFC 1035).
pub const SERVICE_NAME_LIMIT: usize = 63;

/// Longest name of a recipe, in bytes: Forgejo's and Gitea's limit for the name of a repository.
pub const RECIPE_NAME_LIMIT: usize = 100;

/// Longest part of a ref between two `/`, in bytes: git keeps it as a file `<part>.lock` for a moment, and no file
/// system's name is longer than 255.
pub const REF_PART_LIMIT: usize = 250;

/// Longest ref, in bytes.
pub const REF_LIMIT: usize = 1024;

/// Returns a text from outside as a message may repeat it: without control characters, and not all of a long one.
#[must_use]
pub fn legible(text: &str) -> String {
    const SHOWN: usize = 300;
    let mut shown: String = text
        .chars()
        .filter(|c| !is_unseen(*c))
        .take(SHOWN)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns whether a name is one, and the same, for every program that reads it: no option, path, expression or list.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Returns whether a character is not seen, or changes where others are: controls, joiners, line separators, marks and
/// overrides of the direction (<https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>).
#[must_use]
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A name that was refused, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A recipe name that is empty, or holds something besides `[a-z0-9._-]`, or `..`.
    #[error("recipe name `{name}` is not usable: {reason}")]
    Recipe {
        /// What was given.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A git ref that could be taken for an option, or that no git ref may contain.
    #[error("ref `{name}` is not usable: {reason}")]
    Ref {
        /// What was given.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A DNS zone that is malformed.
    #[error("zone `{zone}` is not usable: {reason}")]
    Zone {
        /// What was given.
        zone: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A domain that does not have the form of a run app in its zone.
    #[error(
        "domain `{domain}` does not have the form `<1-4 of [a-z0-9]>-<6 hex>.{zone}` of a run app, so no janitor would ever clean it up"
    )]
    Domain {
        /// What was given.
        domain: String,
        /// The zone that it was held against.
        zone: String,
    },
    /// A recipe whose name no warm app can have.
    #[error("recipe `{recipe}` cannot have a warm app: {reason}")]
    Warm {
        /// The recipe.
        recipe: String,
        /// Which rule its name breaks.
        reason: &'static str,
    },
    /// A run id that cannot be a directory name.
    #[error("run id `{id}` is not usable: {reason}")]
    RunId {
        /// What was given.
        id: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
}

macro_rules! as_text {
    ($($name:ident),+) => {$(
        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

as_text!(RecipeName, GitRef, Zone, Domain, StackName, RunId);

/// The name of a recipe: `[a-z0-9][a-z0-9._-]*` without `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecipeName(String);

impl FromStr for RecipeName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let refuse = |reason| {
            Err(NameError::Recipe {
                name: legible(name),
                reason,
            })
        };
        let Some(first) = name.chars().next() else {
            return refuse("it is empty");
        };
        if name.contains('/') {
            return refuse("it contains `/`; a path is given as `./path`, a repository as `--src`");
        }
        if name.contains("..") {
            return refuse("it contains `..`");
        }
        if name.chars().any(|c| c.is_ascii_uppercase()) {
            return refuse("it contains upper-case letters");
        }
        if !(first.is_ascii_lowercase() || first.is_ascii_digit()) {
            return refuse("it does not begin with a letter or a digit");
        }
        if !name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
        {
            return refuse("only `a-z`, `0-9`, `.`, `_` and `-` are allowed");
        }
        if name.len() > RECIPE_NAME_LIMIT {
            return refuse("it is longer than 100 bytes");
        }
        Ok(Self(name.to_owned()))
    }
}

/// A git ref, branch, tag or commit, that is safe to hand to any tool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GitRef(String);

impl FromStr for GitRef {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let refuse = |reason| {
            Err(NameError::Ref {
                name: legible(name),
                reason,
            })
        };
        if name.is_empty() {
            return refuse("it is empty");
        }
        if name.starts_with('-') {
            return refuse("it begins with `-`, as an option does");
        }
        if name.contains("..") || name.contains("@{") || name.contains("//") {
            return refuse("it contains `..`, `@{` or `//`");
        }
        if name
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c))
        {
            return refuse("it contains a character that git does not allow in a ref");
        }
        if name.len() > REF_LIMIT {
            return refuse("it is longer than 1024 bytes");
        }
        if name.split('/').any(|part| part.len() > REF_PART_LIMIT) {
            return refuse("a part of it is longer than 250 bytes, which no repository can have");
        }
        Ok(Self(name.to_owned()))
    }
}

/// A DNS zone under which run apps get their domains.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Zone(String);

impl FromStr for Zone {
    type Err = NameError;

    fn from_str(zone: &str) -> Result<Self, NameError> {
        let refuse = |reason| {
            Err(NameError::Zone {
                zone: zone.to_owned(),
                reason,
            })
        };
        if zone.is_empty() {
            return refuse("it is empty");
        }
        for label in zone.split('.') {
            if label.is_empty() {
                return refuse("it has an empty label");
            }
            if label.len() > 63 {
                return refuse("a label is longer than 63 bytes");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return refuse("a label begins or ends with `-`");
            }
            if !label
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            {
                return refuse("only `a-z`, `0-9`, `-` and `.` are allowed");
            }
        }
        // A run app adds at most 12 bytes (`abcd-012345.`), and its stack name still has to leave room for
        // the shortest possible object name (`_a_v1`).
        if zone.len() + 12 + 5 > OBJECT_NAME_LIMIT {
            return refuse(
                "it is so long that Docker would refuse the names of secrets and configs (limit 64 bytes)",
            );
        }
        Ok(Self(zone.to_owned()))
    }
}

impl Zone {
    /// Returns whether `name` is the domain of a run app in this zone: `^[a-z0-9]{1,4}-[0-9a-f]{6}\.<zone>$`.
    ///
    /// Warm apps (`warm-…`) and apps made by hand never match it; nothing else is ever looked at by the
    /// janitor.
    ///
    /// By hand: a sweep asks it for every lock file and object, and compiling an expression for each took more
    /// than half of its CPU time.
    #[must_use]
    pub fn is_run_app(&self, name: &str) -> bool {
        let lower = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        name.strip_suffix(self.as_str())
            .and_then(|rest| rest.strip_suffix('.'))
            .and_then(|label| label.split_once('-'))
            .is_some_and(|(head, tail)| {
                (1..=4).contains(&head.len())
                    && head.as_bytes().iter().all(lower)
                    && tail.len() == 6
                    && tail.as_bytes().iter().all(hex)
            })
    }
}

/// The domain of a run app, which always matches its zone's [`Zone::is_run_app`], or of a warm app,
/// which never does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

impl Domain {
    /// Returns the domain that a run of `recipe` at `reference` for pull request `pr` has in `zone`.
    ///
    /// The rule is the predecessor's, so that both harnesses lock the same name while a host is migrated:
    /// the first four of the recipe's `[a-z0-9]`, then six hex digits of `sha1("recipe|pr|ref")`.
    #[must_use]
    pub fn for_run(recipe: &RecipeName, pr: &str, reference: &str, zone: &Zone) -> Self {
        let head: String = recipe
            .0
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(4)
            .collect();
        let digest = hex::encode(Sha1::digest(format!("{recipe}|{pr}|{reference}")));
        Self(format!("{head}-{}.{zone}", &digest[..6]))
    }

    /// Returns the domain of the warm app of `recipe` in `zone`. No janitor ever takes it for a run app.
    ///
    /// A name of six hex digits (`facade`) gets a second dash, because `warm-facade` has the form of a run app.
    ///
    /// # Errors
    /// [`NameError::Warm`] when the recipe's name cannot be part of one DNS label.
    pub fn warm(recipe: &RecipeName, zone: &Zone) -> Result<Self, NameError> {
        let refuse = |reason| {
            Err(NameError::Warm {
                recipe: recipe.0.clone(),
                reason,
            })
        };
        // A stack's name has `_` for `.`, so `a.b` and `a_b` would be one stack.
        if recipe.0.contains(['.', '_']) {
            return refuse("`.` and `_` cannot be part of its domain's first label");
        }
        let dashes = if recipe.0.len() == 6 && recipe.0.bytes().all(|b| b.is_ascii_hexdigit()) {
            "--"
        } else {
            "-"
        };
        let label = format!("warm{dashes}{recipe}");
        if label.len() > 63 {
            return refuse("the first label of its domain would be longer than 63 bytes");
        }
        Ok(Self(format!("{label}.{zone}")))
    }

    /// Returns the domain that `recipe` has as a dependency of the app `of`: a run app's, with a hash of its own, so
    /// that two apps which need the same recipe each get one.
    #[must_use]
    pub fn for_dependency(recipe: &RecipeName, of: &Self, zone: &Zone) -> Self {
        Self::for_run(recipe, "dependency", of.as_str(), zone)
    }

    /// Returns the domain of the app of `recipe` that a run makes beside the app `of`: a run app's as well, and another
    /// one for each `what`.
    #[must_use]
    pub fn for_other(recipe: &RecipeName, what: &str, of: &Self, zone: &Zone) -> Self {
        Self::for_run(recipe, what, of.as_str(), zone)
    }

    /// Returns `text` as a domain when it is a run app of `zone`.
    ///
    /// # Errors
    /// [`NameError::Domain`] when it does not match, because the janitor would never find such an app.
    pub fn parse(text: &str, zone: &Zone) -> Result<Self, NameError> {
        if zone.is_run_app(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Domain {
                domain: text.to_owned(),
                zone: zone.0.clone(),
            })
        }
    }

    /// Returns `text` as a domain when it is a run app or a warm app of `zone`. Never for deciding what may be
    /// removed.
    ///
    /// # Errors
    /// [`NameError::Domain`] when it is neither.
    pub fn of_app(text: &str, zone: &Zone) -> Result<Self, NameError> {
        let recipe = text
            .strip_suffix(zone.as_str())
            .and_then(|text| text.strip_suffix('.')?.strip_prefix("warm-"))
            .and_then(|recipe| recipe.trim_start_matches('-').parse().ok());
        let warm = recipe.and_then(|recipe| Self::warm(&recipe, zone).ok());
        match warm.filter(|warm| warm.0 == text) {
            Some(warm) => Ok(warm),
            None => Self::parse(text, zone),
        }
    }

    /// Returns the name of the stack: the domain with `.` replaced by `_`, as abra does.
    #[must_use]
    pub fn stack(&self) -> StackName {
        StackName(self.0.replace('.', "_"))
    }
}

/// The name of a Swarm stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackName(String);

impl StackName {
    /// Returns whether an object of this name belongs to the stack by its name alone.
    #[must_use]
    pub fn owns(&self, object: &str) -> bool {
        object
            .strip_prefix(&self.0)
            .is_some_and(|rest| rest.starts_with('_'))
    }
}

/// The id of a run, which is also the name of its directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunId(String);

impl FromStr for RunId {
    type Err = NameError;

    fn from_str(id: &str) -> Result<Self, NameError> {
        let refuse = |reason| {
            Err(NameError::RunId {
                id: legible(id),
                reason,
            })
        };
        if id.is_empty() || id.len() > 100 {
            return refuse("it must have 1 to 100 characters");
        }
        if id.starts_with(['.', '-']) {
            return refuse("it begins with `.` or `-`");
        }
        if !id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        {
            return refuse("only letters, digits, `.`, `_` and `-` are allowed");
        }
        Ok(Self(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        "ci.localhost".parse().unwrap()
    }

    #[test]
    fn recipe_names_that_could_escape_a_directory_are_refused() {
        for bad in ["", "a/b", "..", "a..b", "Notes", "-x", ".x", "a b", "ü"] {
            assert!(bad.parse::<RecipeName>().is_err(), "{bad:?} was accepted");
        }
        assert!("a".repeat(101).parse::<RecipeName>().is_err());
        assert!("a".repeat(100).parse::<RecipeName>().is_ok());
        for good in ["notes", "custom-html", "lasuite_docs", "n8n", "0x.y"] {
            assert!(good.parse::<RecipeName>().is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn a_plain_name_is_the_same_for_every_program() {
        for bad in ["", "-x", "a b", "a/b", "a,b", "a\n", "*.a", "ü", "a{b}"] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        assert!(
            is_plain("Notes_1.a-b") && is_plain(&"a".repeat(255)) && !is_plain(&"a".repeat(256))
        );
    }

    #[test]
    fn refs_that_look_like_options_are_refused() {
        for bad in ["", "-x", "--upload-pack=x", "a b", "a..b", "a:b", "x\n"] {
            assert!(bad.parse::<GitRef>().is_err(), "{bad:?} was accepted");
        }
        assert!(format!("x/{}", "a".repeat(251)).parse::<GitRef>().is_err());
        assert!("a/".repeat(200).parse::<GitRef>().is_ok());
        assert!("a/".repeat(600).parse::<GitRef>().is_err());
        let error = "a\r\nerror: forged"
            .parse::<GitRef>()
            .unwrap_err()
            .to_string();
        assert!(!error.contains(['\r', '\n']), "{error:?}");
        for good in [
            "main",
            "feature/x",
            "0.1.0+1.0.0",
            "09bf4d54",
            "refs/pull/4/head",
        ] {
            assert!(good.parse::<GitRef>().is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn a_run_domain_matches_its_own_pattern_and_only_its_zone() {
        let recipe: RecipeName = "custom-html".parse().unwrap();
        let domain = Domain::for_run(&recipe, "4", "main", &zone());
        assert!(domain.as_str().starts_with("cust-"), "{domain}");
        assert_eq!(Domain::parse(domain.as_str(), &zone()).unwrap(), domain);
        let other: Zone = "ci.example.org".parse().unwrap();
        assert!(Domain::parse(domain.as_str(), &other).is_err());
        assert!(Domain::parse("warm-notes.ci.localhost", &zone()).is_err());
        assert!(Domain::parse("note-012345xci.localhost", &zone()).is_err());
    }

    proptest::proptest! {
        /// The convention is written as an expression; the code must agree with it on near misses, too.
        #[test]
        fn a_run_app_is_what_the_convention_says(
            name in "[a-z0-9A-Z]{0,5}-?[0-9a-g]{5,7}[.-]?(ci\\.localhost|cixlocalhost|localhost|)\n?",
        ) {
            let pattern = regex::Regex::new(r"^[a-z0-9]{1,4}-[0-9a-f]{6}\.ci\.localhost$").unwrap();
            proptest::prop_assert_eq!(zone().is_run_app(&name), pattern.is_match(&name), "{}", name);
        }
    }

    #[test]
    fn no_warm_app_is_ever_taken_for_a_run_app() {
        let stacks = |recipe: &str| {
            let domain = Domain::warm(&recipe.parse().unwrap(), &zone()).unwrap();
            assert!(Domain::parse(domain.as_str(), &zone()).is_err(), "{domain}");
            assert!(!zone().is_run_app(domain.as_str()));
            assert_eq!(Domain::of_app(domain.as_str(), &zone()).unwrap(), domain);
            domain.to_string()
        };
        assert_eq!(stacks("notes"), "warm-notes.ci.localhost");
        // Six hex digits: with one dash the janitor would remove it.
        assert!(zone().is_run_app("warm-facade.ci.localhost"));
        assert_eq!(stacks("facade"), "warm--facade.ci.localhost");
        assert_eq!(stacks("a-0a1b2c"), "warm-a-0a1b2c.ci.localhost");
        let run = "note-012345.ci.localhost";
        assert_eq!(Domain::of_app(run, &zone()).unwrap().as_str(), run);
        for foreign in [
            "prod.ci.localhost",
            "warm-Notes.ci.localhost",
            "warm-notes.example.org",
        ] {
            assert!(Domain::of_app(foreign, &zone()).is_err(), "{foreign}");
        }
        for bad in ["a.b", "a_b", &"a".repeat(60)] {
            assert!(
                Domain::warm(&bad.parse().unwrap(), &zone()).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_domain_follows_the_predecessors_rule() {
        // printf 'notes|7|abc' | sha1sum
        let domain = Domain::for_run(&"notes".parse().unwrap(), "7", "abc", &zone());
        let digest = hex::encode(Sha1::digest(b"notes|7|abc"));
        assert_eq!(
            domain.as_str(),
            format!("note-{}.ci.localhost", &digest[..6])
        );
        assert_eq!(
            domain.stack().as_str(),
            format!("note-{}_ci_localhost", &digest[..6])
        );
    }

    #[test]
    fn a_dependency_has_a_run_apps_domain_for_each_app_that_needs_it() {
        let notes: RecipeName = "notes".parse().unwrap();
        let [one, other] = ["4", "5"].map(|pr| {
            let app = Domain::for_run(&"wiki".parse().unwrap(), pr, "main", &zone());
            Domain::for_dependency(&notes, &app, &zone())
        });
        assert_ne!(one, other);
        assert!(one.as_str().starts_with("note-"), "{one}");
        assert_eq!(Domain::parse(one.as_str(), &zone()).unwrap(), one);
        // No person's own run of the recipe has it.
        assert_ne!(one, Domain::for_run(&notes, "", "", &zone()));
    }

    #[test]
    fn a_zone_that_would_pass_dockers_limits_is_refused() {
        assert!("a".repeat(47).parse::<Zone>().is_ok());
        assert!("a".repeat(48).parse::<Zone>().is_err());
        for bad in ["", ".x", "x..y", "-x", "x-", "X", "a_b"] {
            assert!(bad.parse::<Zone>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_stack_owns_only_names_behind_its_separator() {
        let stack = Domain::parse("note-012345.ci.localhost", &zone())
            .unwrap()
            .stack();
        assert!(stack.owns("note-012345_ci_localhost_data"));
        assert!(!stack.owns("note-012345_ci_localhost2_data"));
        assert!(!stack.owns("note-012345_ci_localhost"));
    }
}
