//! Which engine a run is on, where that is one of CI's own, and what that may take.

use harness::room::Ceilings;
use harness::run::settings::{Keep, OnCi, OwnEngine};
use harness::trust::size;

use super::places::{operators_dirs, operators_engine, room};
use super::{UsageError, wrong};
use crate::cli::{EngineChoice, RunArgs};
use crate::env;

/// Returns what an engine of one run's own may take.
fn ceilings() -> Result<Ceilings, UsageError> {
    let state = operators_dirs().state;
    let of_host = Ceilings::of_host(&state).map_err(|error| wrong(error, ""))?;
    let disk = disk(env::var("CCCI_ENGINE_DISK").as_deref())?;
    Ok(Ceilings { disk, ..of_host })
}

/// Returns how much an engine of CI's own may keep, in bytes; 0 for as much as there is.
///
/// # Errors
/// [`UsageError`] when it is no size, or less than an engine needs.
pub(crate) fn disk(given: Option<&str>) -> Result<u64, UsageError> {
    const LEAST: u64 = 256 << 20;
    let hint = "give it as `--disk 20g` (CCCI_ENGINE_DISK), or `none`";
    match given.filter(|text| !text.is_empty()) {
        None => Ceilings::of_host(&operators_dirs().state)
            .map(|of_host| of_host.disk)
            .map_err(|error| wrong(error, hint)),
        Some("none") => Ok(0),
        Some(text) => match size::bytes(text) {
            Ok(disk) if disk >= LEAST => Ok(disk),
            Ok(_) => Err(wrong(format!("no engine works in `{text}` of disk"), hint)),
            Err(error) => Err(wrong(error, hint)),
        },
    }
}

/// Returns what there is to know of an engine of CI's own, where the run is to be on one.
///
/// # Errors
/// [`UsageError`] where one that ends with the run cannot do what is asked for.
pub(super) fn on_ci(args: &RunArgs) -> Result<Option<OnCi>, UsageError> {
    let own = match args.engine {
        EngineChoice::Host => return Ok(None),
        EngineChoice::Ci => None,
        EngineChoice::Run => Some(OwnEngine {
            ceilings: ceilings()?,
            shared: room(),
            host: operators_dirs(),
        }),
    };
    let ends = if args.keep != Keep::Never {
        Some("no app is left standing on it: leave `--keep` (CCCI_KEEP) out")
    } else if args.quick || env::var("CCCI_QUICK").is_some() {
        Some("it has no warm app: leave `--quick` (CCCI_QUICK) out")
    } else if args.gateway.as_deref().is_some_and(|it| !it.is_empty()) {
        Some("no gateway is on it: leave `--gateway` (CCCI_GATEWAY) out")
    } else {
        None
    };
    match ends.filter(|_| own.is_some()) {
        Some(hint) => Err(wrong(
            "an engine of the run's own ends with the run",
            &format!("{hint}, or choose `--engine ci` or `host` (CCCI_ENGINE)"),
        )),
        None => Ok(Some(OnCi {
            room: room(),
            operators: operators_engine(),
            own,
        })),
    }
}
