//! The places of this host, for other processes of this program.

use std::ffi::OsString;

use harness::dirs::HostDirs;

use super::docker_host;
use crate::env;

/// Returns the variables that make another process of this program mean the same host.
pub(crate) fn places(host: &HostDirs) -> Vec<(&'static str, OsString)> {
    let mut places = vec![
        ("CCCI_APP_LOCK_DIR", host.locks.clone().into_os_string()),
        ("CCCI_RUNS_DIR", host.runs.clone().into_os_string()),
        ("CCCI_STATE_DIR", host.state.clone().into_os_string()),
        ("CCCI_WARM_DIR", host.warm.clone().into_os_string()),
        ("ABRA_DIR", host.abra.clone().into_os_string()),
        ("DOCKER_HOST", docker_host().into()),
    ];
    places.extend(
        ["CCCI_DEADLINE", "RECIPE_CI_LOG"]
            .into_iter()
            .filter_map(|name| Some((name, env::var(name)?.into()))),
    );
    places
}
