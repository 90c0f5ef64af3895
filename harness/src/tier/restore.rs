//! The restore tier: what was seeded is spoiled, restored, and right again.

use super::seed::Found;
use super::{Bench, Tally, TierError, app_fault, hook, label_hooks, still_good};
use crate::driver::Driver;
use crate::driver::backup::{HookKind, Snapshot, put_back};
use crate::outcome::{Stage, Status, TierOutcome};
use crate::recipe::backup::BackupPlan;
use crate::swarm::EngineError;
use crate::swarm::converge::{Crashes, NotConverged};
use crate::wait::Deadline;

/// Spoils, restores and judges.
///
/// # Errors
/// [`TierError`] when the host fails.
pub async fn run(
    bench: &mut Bench,
    plan: &BackupPlan,
    snapshot: &Snapshot,
) -> Result<TierOutcome, TierError> {
    let events = bench.events.clone();
    let mut tally = Tally::start(&events, Stage::Restore);
    if !hook(bench, &mut tally, "pre", Stage::Restore).await? {
        return Ok(tally.end());
    }
    let spoiled = async {
        bench.spoil().await?;
        spoil_files(bench, snapshot).await?;
        bench.find_markers().await
    }
    .await;
    let spoiled = match app_fault(spoiled)? {
        Ok(spoiled) => spoiled,
        Err(reason) => {
            tally.check("generic: data wiped", Err(reason));
            return Ok(tally.end());
        }
    };
    if !spoiled.is_empty() {
        let untouched: Vec<String> = spoiled
            .iter()
            .filter(|(_, found)| **found == Found::Same)
            .map(|(place, _)| place.to_string())
            .collect();
        let result = if untouched.is_empty() {
            Ok(Some(format!("{} markers overwritten", spoiled.len())))
        } else {
            Err(format!(
                "the markers in `{}` cannot be changed, so a restore proves nothing",
                untouched.join("`, `")
            ))
        };
        tally.check("generic: data wiped", result);
    }

    let before = bench.state().await?;
    let by_abra = matches!(bench.driver, Driver::Abra(_));
    if !by_abra && !label_hooks(bench, &mut tally, plan, HookKind::RestorePre).await? {
        return Ok(tally.end());
    }
    let state = bench.state().await?;
    let restored = match &bench.driver {
        Driver::Stack(_) => {
            app_fault(put_back(bench.engine(), &bench.lock, &state, snapshot).await)?
        }
        Driver::Abra(driver) => Ok(driver
            .restore(&bench.lock)
            .await
            .map_err(TierError::Driver)?),
    };
    let restored = restored.and_then(|restored| {
        restored.map_err(|fault| {
            tally.show("restore", fault.tail);
            fault.reason
        })
    });
    if let Err(reason) = restored {
        tally.check("generic: restored", Err(reason));
        return Ok(tally.end());
    }
    tally.check(
        "generic: restored",
        Ok(Some(format!("snapshot {}", snapshot.id))),
    );
    if !by_abra {
        label_hooks(bench, &mut tally, plan, HookKind::RestorePost).await?;
    }
    let deadline = Deadline::after(bench.timeout(&bench.current));
    match bench.converge(deadline, Crashes::since(&before)).await {
        Ok(_) => {
            tally.check("generic: converged", Ok(None));
        }
        Err(NotConverged::Engine(error)) => return Err(error.into()),
        Err(error) => {
            bench.show_logs(&error.services()).await;
            tally.check("generic: converged", Err(error.to_string()));
            return Ok(tally.end());
        }
    }
    const DATA: &str = "generic: seeded data is back";
    still_good(bench, &mut tally, deadline, DATA).await?;
    let proven = tally.has(DATA) || tally.has("ops/verify_restore");
    let mut outcome = tally.end();
    if let Some(why) = snapshot.sealed.as_ref().filter(|_| !proven)
        && outcome.status == Status::Pass
    {
        // Neither the archive nor the app was looked into: not a pass, and not the recipe's fault.
        outcome.status = Status::Unver;
        outcome.reason = Some(format!("nothing shows that the data came back: {why}"));
    }
    Ok(outcome)
}

/// Empties every file that was saved by name, so that only a restore can bring its content back.
async fn spoil_files(bench: &Bench, snapshot: &Snapshot) -> Result<(), EngineError> {
    let state = bench.state().await?;
    for part in snapshot.parts.iter().filter(|part| part.files == 1) {
        let Some(container) = state.container_of(&part.service) else {
            continue;
        };
        let path = std::path::Path::new(&part.path);
        let (Some(dir), Some(name)) =
            (path.parent().and_then(|dir| dir.to_str()), path.file_name())
        else {
            continue;
        };
        let name = name.to_string_lossy();
        // A single file in the archive may also be the only file of a saved directory.
        if part.digests.keys().next().is_some_and(|file| *file == name) {
            bench.engine().put_file(container, dir, &name, b"").await?;
        }
    }
    Ok(())
}
