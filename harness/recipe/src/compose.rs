//! Compose files as `docker stack deploy` reads them: parsed, interpolated, merged, and decoded.
//!
//! The rules are docker's stack loader's, not the Compose specification's; where the two differ a comment
//! says so. They were checked against `docker stack config` of docker 28. A key that the model does not know
//! is passed over: docker's own schema check happens at the deploy.

mod canon;
mod cast;
mod convert;
mod decode;
mod duration;
mod env_file;
mod expansion;
mod extends;
mod file;
pub(crate) mod load;
mod merge;
pub mod model;
mod mounts;
pub mod pace;
mod ports;
pub mod query;
mod references;
pub mod render;
pub mod request;
pub mod resolve;
pub(crate) mod restart;
mod schema;
pub mod shared;
mod walk;
pub mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::interpolate::InterpolateError;
use ground::source_tree::SourceFileError;
use model::{Config, Network, Secret, Service, Volume};

/// What the copies beside a recipe's own compose files are called: their names begin so. Not with `compose`: abra
/// lints every `compose*.yml` of the version that it deploys, and a copy has no images.
pub const COPY_PREFIX: &str = "ccci.compose-";

/// A place in a compose file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file, as `COMPOSE_FILE` names it.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
}

impl Location {
    /// Returns whether it is in what the operator laid over the recipe.
    #[must_use]
    pub fn is_of_overlay(&self) -> bool {
        self.file.starts_with(COPY_PREFIX)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Why a recipe's compose files cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The directory holds no compose file.
    #[error("the recipe has no compose file: `compose.yml` is not in the root of its repository")]
    NoComposeFile {
        /// The directory of the recipe.
        root: PathBuf,
    },
    /// A file that `COMPOSE_FILE` names does not exist.
    #[error("compose file `{file}` does not exist")]
    Missing {
        /// The file, as named.
        file: String,
    },
    /// A file that `COMPOSE_FILE` names is outside the recipe.
    #[error("compose file `{file}` is outside the recipe")]
    Outside {
        /// The file, as named.
        file: String,
    },
    /// Too many files.
    #[error("`COMPOSE_FILE` names more than 50 compose files")]
    TooManyFiles,
    /// A file could not be read.
    #[error("compose file {source}")]
    Read {
        /// The file, as named.
        file: String,
        /// What is wrong with it.
        source: SourceFileError,
    },
    /// A file that is not YAML.
    #[error("{location}: {message}")]
    Yaml {
        /// Where.
        location: Location,
        /// What the parser said.
        message: String,
    },
    /// A key that occurs twice in the same mapping.
    #[error("{location}: the key `{key}` occurs twice in the same mapping")]
    DuplicateKey {
        /// The second occurrence.
        location: Location,
        /// The key.
        key: String,
    },
    /// A file that is too large, or becomes so when its aliases are expanded.
    #[error("{location}: the file is too large, or its aliases expand to too much ({limit})")]
    TooLarge {
        /// Where the limit was passed.
        location: Location,
        /// Which limit.
        limit: String,
    },
    /// A value of the wrong form.
    #[error("{location}: {path}: {reason}")]
    Invalid {
        /// Where.
        location: Location,
        /// The keys that lead to the value, such as `services.app.ports[0]`.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A value that cannot be interpolated.
    #[error("{location}: {path}: {problem}")]
    Interpolate {
        /// Where.
        location: Location,
        /// The keys that lead to the value.
        path: String,
        /// What is wrong. It is no source: the message is one line with the place.
        problem: InterpolateError,
    },
    /// `extends`, which docker refuses in a stack.
    #[error(
        "{location}: service `{service}` uses `extends`, which `docker stack deploy` does not support"
    )]
    Extends {
        /// Where.
        location: Location,
        /// The service.
        service: String,
    },
    /// `extends` that leads back to where it began.
    #[error("{location}: `extends` goes in a circle: {}", cycle.join(" → "))]
    ExtendsCycle {
        /// Where the circle was entered.
        location: Location,
        /// The services as `file:service`; the first is also the last.
        cycle: Vec<String>,
    },
}

impl ComposeError {
    /// Returns where the fault is, as far as it is within a file that could be read.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::NoComposeFile { .. }
            | Self::Missing { .. }
            | Self::Outside { .. }
            | Self::TooManyFiles
            | Self::Read { .. } => None,
            Self::Yaml { location, .. }
            | Self::DuplicateKey { location, .. }
            | Self::TooLarge { location, .. }
            | Self::Invalid { location, .. }
            | Self::Interpolate { location, .. }
            | Self::Extends { location, .. }
            | Self::ExtendsCycle { location, .. } => Some(location),
        }
    }
}

/// Something that docker accepts, or refuses only at the deploy, and that is hardly meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub location: Location,
    /// The keys that lead to the value.
    pub path: String,
    /// What is odd about it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.location, self.path, self.message)
    }
}

/// The merged compose files of a recipe.
#[derive(Debug, Clone)]
pub struct Project {
    /// The files, in the order in which they were merged.
    pub files: Vec<String>,
    /// The services, in the order in which the files first name them.
    pub services: Vec<Service>,
    /// The named volumes.
    pub volumes: Vec<Volume>,
    /// The networks.
    pub networks: Vec<Network>,
    /// The secrets.
    pub secrets: Vec<Secret>,
    /// The configs.
    pub configs: Vec<Config>,
    /// The variables that were unset and became empty, sorted.
    pub unset: Vec<String>,
    /// What is odd about the files.
    pub warnings: Vec<Warning>,
    /// The variables that the files refer to.
    variables: BTreeSet<String>,
    /// The `version` of the first file that has one.
    pub schema_version: Option<String>,
    /// The `version` of every file. Docker refuses files that differ, one without a version included.
    pub versions: Vec<(String, Option<String>)>,
    /// All of it merged: long syntaxes, every variable substituted, keys that the model does not know included.
    document: Value,
    /// The variable that holds the version of a secret or a config, by its path: `secrets.db_password`.
    version_variables: BTreeMap<String, String>,
    /// The directory that relative paths are meant from, relative to the recipe's root.
    base: String,
    /// What the files hold that secrets and configs name, by path: `configs.entrypoint`.
    contents: BTreeMap<String, Vec<u8>>,
    /// What the services of each file name, with the place.
    references: Vec<(references::Reference, Location)>,
    locations: BTreeMap<String, Location>,
}

/// Returns a duration in Go's notation, such as `1m30s` or `1.5h`.
pub(crate) fn duration(text: &str) -> Option<std::time::Duration> {
    duration::parse(text)
}

/// Returns the files that `COMPOSE_FILE` in `vars` names, `compose.yml` when it names none.
#[must_use]
pub fn compose_files(vars: &BTreeMap<String, String>) -> Vec<String> {
    let list = vars.get("COMPOSE_FILE").map_or("", String::as_str);
    let files: Vec<String> = list
        .split(':')
        .map(str::trim)
        .filter(|file| !file.is_empty())
        .map(str::to_owned)
        .collect();
    if files.is_empty() {
        vec!["compose.yml".to_owned()]
    } else {
        files
    }
}

/// Returns the place of `path` in `marks`, or of the nearest key above it that has one.
pub fn locate<'a>(marks: &'a BTreeMap<String, Location>, path: &str) -> Option<&'a Location> {
    let mut path = path;
    loop {
        let found = marks.get(path);
        if found.is_some() || path.is_empty() {
            return found;
        }
        path = path.rfind(['.', '[']).map_or("", |at| &path[..at]);
    }
}

#[cfg(test)]
mod tests;
