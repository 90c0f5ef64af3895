//! The places of this host and the address of its engine, and both for other processes of this program.

use std::ffi::OsString;
use std::path::PathBuf;

use harness::context::{self, ContextError};
use harness::dirs::HostDirs;
use harness::error::chain;
use harness::room::Room;

use super::{UsageError, nix_is_root};
use crate::cli::{EngineChoice, parse_engine};
use crate::env;

/// Returns which engine `CCCI_ENGINE` names, for commands without an option of that name. What names none is refused
/// before any of them begins.
fn engine() -> EngineChoice {
    let named = env::var("CCCI_ENGINE").unwrap_or_default();
    parse_engine(&named).unwrap_or(EngineChoice::Host)
}

/// Returns the places of this host, as those who work with the engine of `CCCI_ENGINE` have them.
pub(crate) fn host_dirs() -> HostDirs {
    host_dirs_of(engine())
}

pub(super) fn host_dirs_of(engine: EngineChoice) -> HostDirs {
    match engine {
        EngineChoice::Host | EngineChoice::Run => operators_dirs(),
        EngineChoice::Ci => room().places(&operators_dirs()),
    }
}

/// Returns where CI's own engine is.
pub(crate) fn room() -> Room {
    Room::of(&operators_dirs().state)
}

/// Returns the places of this host, all of them absolute: see [`ensure_absolute_places`].
pub(crate) fn operators_dirs() -> HostDirs {
    let root = nix_is_root();
    let home = env::home();
    let xdg = env::path("XDG_STATE_HOME")
        .unwrap_or_else(|| home.join(".local/state"))
        .join("recipe-ci");
    let or = |name: &str, system: &str, user: PathBuf| {
        env::path(name).unwrap_or_else(|| if root { PathBuf::from(system) } else { user })
    };
    let state = or("CCCI_STATE_DIR", "/var/lib/recipe-ci", xdg.clone());
    HostDirs {
        locks: env::path("CCCI_APP_LOCK_DIR").unwrap_or_else(|| PathBuf::from("/run/lock")),
        runs: or("CCCI_RUNS_DIR", "/var/lib/cc-ci-runs", xdg.join("runs")),
        warm: or("CCCI_WARM_DIR", "/var/lib/ci-warm", xdg.join("warm")),
        rooms: state.join("rooms"),
        state,
        abra: env::path("ABRA_DIR").unwrap_or_else(|| home.join(".abra")),
    }
}

/// Returns the address of the engine of `CCCI_ENGINE`.
pub(crate) fn docker_host() -> String {
    docker_host_of(engine())
}

pub(super) fn docker_host_of(engine: EngineChoice) -> String {
    match engine {
        EngineChoice::Host | EngineChoice::Run => operators_engine(),
        EngineChoice::Ci => room().docker_host(),
    }
}

/// Returns whether commands are about CI's own engine.
pub(crate) fn is_on_ci() -> bool {
    engine() == EngineChoice::Ci
}

/// Returns the address of the operator's engine. A context that cannot be followed is refused before: see
/// [`ensure_engine`].
pub(super) fn operators_engine() -> String {
    let named = env::var("DOCKER_HOST").or_else(|| of_context().ok().flatten());
    named.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
}

/// Returns the engine that Docker's client is told to speak to by a context; as with the client `DOCKER_HOST` goes before
/// it.
pub(super) fn of_context() -> Result<Option<String>, ContextError> {
    if env::var("DOCKER_HOST").is_some() {
        return Ok(None);
    }
    let dir = env::path("DOCKER_CONFIG").unwrap_or_else(|| env::home().join(".docker"));
    context::address(env::var("DOCKER_CONTEXT").as_deref(), &dir)
}

/// Refuses a context of Docker's client that leads elsewhere: a run would deploy where nobody looks.
///
/// # Errors
/// [`UsageError`].
pub(crate) fn ensure_engine() -> Result<(), UsageError> {
    of_context().map(drop).map_err(|error| UsageError {
        error: chain(&error).into(),
        hints: vec![
            "choose an engine of this host: `docker context use default`, or DOCKER_HOST=unix:///var/run/docker.sock"
                .to_owned(),
        ],
    })
}

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
        [
            "CCCI_DEADLINE",
            "CCCI_KEEP_DAYS",
            "CCCI_KEEP_RUNS",
            "CCCI_METRICS",
            "RECIPE_CI_LOG",
        ]
        .into_iter()
        .filter_map(|name| Some((name, env::var(name)?.into()))),
    );
    places
}
