//! What a sweep of releases was asked to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::dirs::HostDirs;
use harness::git::source::Source;
use harness::git::token::Token;
use harness::name::{RecipeName, Zone};
use harness::run::settings::Published;

use super::{
    PUBLIC_FORGE, PUBLIC_OWNER, UsageError, absolute, deadline_or_default, flag, host_dirs,
    own_program, token, wrong, zone,
};
use crate::cli::ReleasesArgs;
use crate::env;

/// Everything that a sweep was asked to do.
#[derive(Debug)]
pub(crate) struct Releases {
    /// The operator's overlays.
    pub(crate) overlays: PathBuf,
    /// The host's places.
    pub(crate) host: HostDirs,
    /// The zone.
    pub(crate) zone: Zone,
    /// The deadline of each run.
    pub(crate) deadline: Duration,
    /// The forge of the published recipes.
    pub(crate) forge: String,
    /// Its token.
    pub(crate) token: Option<Token>,
    /// How many runs at once.
    pub(crate) parallel: usize,
    /// This program.
    pub(crate) exe: PathBuf,
}

/// Resolves the arguments of `sweep`.
///
/// # Errors
/// [`UsageError`].
pub(crate) fn releases(args: &ReleasesArgs) -> Result<Releases, UsageError> {
    let overlays = args.overlays.clone();
    let Some(overlays) = overlays.filter(|dir| !dir.as_os_str().is_empty()) else {
        return Err(wrong(
            "nothing says which recipes are enrolled",
            "give the directory of overlays with `--overlays` (CCCI_TESTS_DIR)",
        ));
    };
    let forge = env::var("CCCI_FORGE_URL");
    Ok(Releases {
        overlays: absolute(overlays),
        host: host_dirs(),
        zone: zone(&args.zone)?,
        deadline: deadline_or_default(&args.deadline)?,
        token: token(forge.as_deref())?,
        forge: forge.unwrap_or_else(|| PUBLIC_FORGE.to_owned()),
        parallel: usize::from(args.parallel),
        exe: own_program()
            .map_err(|error| wrong(format!("this program cannot find itself: {error}"), ""))?,
    })
}

/// Returns the name of the published `recipe` on its forge.
pub(crate) fn published_name(recipe: &RecipeName) -> String {
    format!("{PUBLIC_OWNER}/{recipe}")
}

/// Returns where the published `recipe` is.
///
/// # Errors
/// [`UsageError`] when the forge's address is not one.
pub(crate) fn published(recipe: &RecipeName, forge: Option<&str>) -> Result<Source, UsageError> {
    let forge = forge.unwrap_or(PUBLIC_FORGE);
    Source::parse(&published_name(recipe), Some(forge), Path::new("/"))
        .map_err(|error| wrong(error, "CCCI_FORGE_URL must be the address of a forge"))
}

/// Where published recipes come from, by their names.
///
/// # Errors
/// [`UsageError`] when CCCI_SKIP_FETCH is neither yes nor no.
pub(crate) fn published_by(forge: Option<&str>) -> Result<Published, UsageError> {
    let hint = "set it to 1 to test the checkouts in ~/.abra/recipes, or leave it unset";
    Ok(Published {
        url: forge.unwrap_or(PUBLIC_FORGE).to_owned(),
        owner: PUBLIC_OWNER.to_owned(),
        staged: flag("CCCI_SKIP_FETCH", hint)?,
    })
}
