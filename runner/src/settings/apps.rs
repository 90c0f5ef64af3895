//! What a run deploys: a new app or the warm one, from which versions it upgrades, and which variants.

use harness::outcome::Stage;
use harness::run::settings::{Bases, Keep, Lane, Variants};

use super::{UsageError, flag, wrong};
use crate::cli::RunArgs;

/// Returns which app is wanted to be tested.
///
/// # Errors
/// [`UsageError`] for what a quick run cannot do.
pub(super) fn lane(args: &RunArgs, stages: &[Stage]) -> Result<Lane, UsageError> {
    let hint = "set it to 1 for a quick run, or leave it unset";
    let wanted = args.quick || flag("CCCI_QUICK", hint)?;
    if !wanted {
        return Ok(Lane::Cold);
    }
    let refusal = if !stages.contains(&Stage::Upgrade) {
        Some((
            "a quick run is an upgrade",
            "add `upgrade` to the stages, or leave --quick out",
        ))
    } else if args.base.as_deref().is_some_and(|base| !base.is_empty()) {
        Some((
            "a quick run starts from the canonical, not from `--base`",
            "leave one of them out",
        ))
    } else if args.keep != Keep::Never {
        Some((
            "a quick run never holds the warm app",
            "leave `--keep` (CCCI_KEEP) or --quick out",
        ))
    } else {
        None
    };
    match refusal {
        Some((what, hint)) => Err(wrong(what, hint)),
        None => Ok(Lane::Quick),
    }
}

/// Returns which versions are to be upgraded from.
///
/// # Errors
/// [`UsageError`] for a text that is no such list, and for what cannot be meant with it.
pub(super) fn bases(args: &RunArgs, stages: &[Stage], lane: Lane) -> Result<Bases, UsageError> {
    let text = args.bases.as_deref().map(str::trim).unwrap_or_default();
    if text.is_empty() {
        return Ok(Bases::One);
    }
    let refusal = if !stages.contains(&Stage::Upgrade) {
        Some((
            "`--bases` says what to upgrade from, and no upgrade is asked for",
            "add `upgrade` to the stages, or leave `--bases` (CCCI_BASES) out",
        ))
    } else if lane == Lane::Quick {
        Some((
            "a quick run starts from the canonical, not from `--bases`",
            "leave `--bases` (CCCI_BASES) or --quick out",
        ))
    } else if args.base.as_deref().is_some_and(|base| !base.is_empty()) {
        Some((
            "`--base` and `--bases` both say what to upgrade from",
            "leave `--base` (CCCI_BASE) or `--bases` (CCCI_BASES) out",
        ))
    } else {
        None
    };
    match refusal {
        Some((what, hint)) => Err(wrong(what, hint)),
        None => text.parse().map_err(|error| {
            wrong(
                error,
                "write `--bases` (CCCI_BASES) as `last:3`, `1.2.0+3.4,1.3.0+3.5` or `all`",
            )
        }),
    }
}

/// Returns which variants are to be deployed.
///
/// # Errors
/// [`UsageError`] for a text that is no list of names.
pub(super) fn variants(args: &RunArgs) -> Result<Variants, UsageError> {
    let text = args.variants.as_deref().map(str::trim).unwrap_or_default();
    if text.is_empty() {
        return Ok(Variants::All);
    }
    text.parse().map_err(|error| {
        wrong(
            error,
            "write `--variants` (CCCI_VARIANTS) as `all`, `none` or names with commas between them",
        )
    })
}
