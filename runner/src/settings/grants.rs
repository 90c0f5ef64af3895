//! Which `grants.yml` counts on this host.

use std::path::{Path, PathBuf};

use harness::error::chain;
use harness::trust::Grants;
use harness::trust::read::{FILE_NAME, GrantsError, read};

use super::{UsageError, absolute, wrong};
use crate::env;

/// Where the file lies when the overlays have none beside them.
const OF_THE_HOST: &str = "/etc/recipe-ci/grants.yml";

/// Returns the file that counts: the one that is named, the one in the operator's directory of overlays, or the
/// host's. Only one that is named has to exist.
pub(crate) fn grants_file(named: Option<&Path>, overlays: Option<&Path>) -> Option<PathBuf> {
    let named = named.filter(|path| !path.as_os_str().is_empty());
    if let Some(named) = named {
        return Some(absolute(named.to_owned()));
    }
    let beside = overlays.map(|dir| dir.join(FILE_NAME));
    let all = beside.into_iter().chain([PathBuf::from(OF_THE_HOST)]);
    all.into_iter()
        .find(|path| std::fs::symlink_metadata(path).is_ok())
}

/// Reads the file that counts; without one nothing is granted.
///
/// # Errors
/// [`UsageError`] when it cannot be used.
pub(crate) fn grants(named: Option<&Path>, overlays: Option<&Path>) -> Result<Grants, UsageError> {
    match grants_file(named, overlays) {
        Some(path) => read(&path).map_err(|error| unusable(&error)),
        None => Ok(Grants::default()),
    }
}

/// Returns the refusal of a file.
pub(crate) fn unusable(error: &GrantsError) -> UsageError {
    wrong(chain(error), &error.advice())
}

/// Returns the file that the environment names, and the operator's directory of overlays there.
pub(crate) fn of_the_environment() -> Option<PathBuf> {
    let overlays = env::path("CCCI_TESTS_DIR").map(absolute);
    grants_file(env::path("CCCI_GRANTS").as_deref(), overlays.as_deref())
}
