//! What a sweep of releases was asked to do.

use harness::git::source::Source;
use harness::name::RecipeName;
use harness::run::settings::Published;
use harness::sweep::Releases;

use super::{
    PUBLIC_FORGE, PUBLIC_OWNER, UsageError, absolute, deadline_or_default, docker_host, flag,
    host_dirs, own_program, token, wrong, zone,
};
use crate::cli::ReleasesArgs;
use crate::env;

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
        docker_host: docker_host(),
        token: token(forge.as_deref())?,
        published: published_at(forge.as_deref(), false),
        dry_run: args.dry_run,
        parallel: usize::from(args.parallel),
        exe: own_program()
            .map_err(|error| wrong(format!("this program cannot find itself: {error}"), ""))?,
    })
}

fn published_at(forge: Option<&str>, staged: bool) -> Published {
    Published {
        url: forge.unwrap_or(PUBLIC_FORGE).to_owned(),
        owner: PUBLIC_OWNER.to_owned(),
        staged,
    }
}

/// Returns where the published `recipe` is.
///
/// # Errors
/// [`UsageError`] when the forge's address is not one.
pub(crate) fn published(recipe: &RecipeName, forge: Option<&str>) -> Result<Source, UsageError> {
    let published = published_at(forge, false);
    (published.source(recipe))
        .map_err(|error| wrong(error, "CCCI_FORGE_URL must be the address of a forge"))
}

/// Where published recipes come from, by their names.
///
/// # Errors
/// [`UsageError`] when CCCI_SKIP_FETCH is neither yes nor no.
pub(crate) fn published_by(forge: Option<&str>) -> Result<Published, UsageError> {
    let hint = "set it to 1 to test the checkouts in ~/.abra/recipes, or leave it unset";
    Ok(published_at(forge, flag("CCCI_SKIP_FETCH", hint)?))
}
