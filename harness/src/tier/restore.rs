//! The restore tier: what was seeded is spoiled, restored, and right again.

use super::seed::Found;
use super::{Bench, Tally, TierError, app_fault, driver_fault, hook, label_hooks, still_good};
use crate::driver::backup::{AppSnapshot, HookKind, Part};
use engine::swarm::EngineError;
use engine::swarm::converge::NotConverged;
use engine::swarm::crash::Crashes;
use engine::wait::Deadline;
use ground::outcome::{Stage, Status, TierOutcome};
use recipe::backup::BackupPlan;

/// The assertion about files that were saved by name.
const FILES: &str = "generic: saved files are back";

/// Spoils, restores and judges.
///
/// # Errors
/// [`TierError`] when the host fails.
pub async fn run(
    bench: &mut Bench,
    plan: &BackupPlan,
    snapshot: &AppSnapshot,
) -> Result<TierOutcome, TierError> {
    let events = bench.events.clone();
    let mut tally = Tally::start(&events, Stage::Restore);
    if !hook(bench, &mut tally, "pre", Stage::Restore).await? {
        return Ok(tally.end());
    }
    let spoiled = async {
        bench.spoil().await?;
        let emptied = spoil_files(bench, snapshot).await?;
        Ok((bench.find_markers().await?, emptied))
    }
    .await;
    let (spoiled, emptied) = match app_fault(spoiled)? {
        Ok(spoiled) => spoiled,
        Err(reason) => {
            tally.check("generic: data overwritten", Err(reason));
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
        tally.check("generic: data overwritten", result);
    }
    super::database::overwrite(bench, &mut tally).await?;

    let before = bench.state().await?;
    if !label_hooks(bench, &mut tally, plan, HookKind::RestorePre).await? {
        return Ok(tally.end());
    }
    let state = bench.state().await?;
    let own = bench.own_volumes()?;
    let restored = bench.driver.restore(&bench.lock, &state, snapshot, &own);
    let restored = driver_fault(&tally, "restore", restored.await)?;
    if let Err(reason) = restored {
        tally.check("generic: restored", Err(reason));
        return Ok(tally.end());
    }
    tally.check(
        "generic: restored",
        Ok(Some(format!("snapshot {}", snapshot.id))),
    );
    // A hook may delete what it has loaded, so files are looked at before it runs; where the driver runs the hooks it
    // has run them, and the containers may be new ones.
    let hooks_are_over = bench.driver.runs_label_hooks();
    if !hooks_are_over && !saved_files_are_back(bench, &mut tally, &emptied).await? {
        return Ok(tally.end());
    }
    label_hooks(bench, &mut tally, plan, HookKind::RestorePost).await?;
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
    if hooks_are_over && !saved_files_are_back(bench, &mut tally, &emptied).await? {
        return Ok(tally.end());
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

/// Empties every file that was saved by name, so that only a restore can bring its content back; returns those.
async fn spoil_files<'a>(
    bench: &Bench,
    snapshot: &'a AppSnapshot,
) -> Result<Vec<&'a Part>, EngineError> {
    let state = bench.state().await?;
    let own = bench.own_volumes()?;
    let mut emptied = Vec::new();
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
        if part.first_file.as_deref() == Some(&*name)
            && let Ok(at) = own.place(container, dir).await?
        {
            let put = bench.engine();
            put.put_file(&at.container, &at.path, &name, b"").await?;
            emptied.push(part);
        }
    }
    Ok(emptied)
}

/// Asserts that what was emptied has content again; returns whether it has.
async fn saved_files_are_back(
    bench: &Bench,
    tally: &mut Tally<'_>,
    emptied: &[&Part],
) -> Result<bool, TierError> {
    if emptied.is_empty() {
        return Ok(true);
    }
    let state = bench.state().await?;
    let own = bench.own_volumes()?;
    let mut sizes = Vec::new();
    for part in emptied {
        let Some(container) = state.container_of(&part.service) else {
            let reason = format!(
                "service `{}`, which has `{}`, has no running container",
                part.service, part.path
            );
            return Ok(tally.check(FILES, Err(reason)));
        };
        let size = async {
            match own.place(container, &part.path).await? {
                Ok(at) => bench.engine().file_size(&at.container, &at.path).await,
                Err(_) => Ok(None),
            }
        };
        match app_fault(size.await)? {
            Ok(size) => sizes.push((part.path.as_str(), size)),
            Err(reason) => return Ok(tally.check(FILES, Err(reason))),
        }
    }
    Ok(tally.check(FILES, none_is_empty(&sizes)))
}

/// Judges the files that were emptied by their sizes in bytes. A restore makes no file disappear, so one that is
/// gone was there again, and a post-hook removed it.
fn none_is_empty(sizes: &[(&str, Option<u64>)]) -> Result<Option<String>, String> {
    let empty: Vec<&str> = sizes
        .iter()
        .filter(|(_, size)| *size == Some(0))
        .map(|(path, _)| *path)
        .collect();
    if empty.is_empty() {
        return Ok(Some(format!("{} files", sizes.len())));
    }
    Err(format!(
        "`{}` was emptied before the restore and still is: nothing was put back",
        empty.join("`, `")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_stayed_empty_fails_and_one_that_is_gone_does_not() {
        let back = ("/data/a.sql", Some(7));
        assert!(none_is_empty(&[back, ("/data/b.sql", None)]).is_ok());
        let reason = none_is_empty(&[back, ("/data/b.sql", Some(0))]).unwrap_err();
        assert!(reason.starts_with("`/data/b.sql` was"), "{reason}");
    }
}
