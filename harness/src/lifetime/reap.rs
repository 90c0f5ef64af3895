//! What a supervisor does after its worker was killed: it ends the strays, removes the apps, puts the warm app to rest
//! and closes the report.

use std::time::Duration;

use super::supervisor::Ended;
use super::{Note, domains};
use crate::janitor::{self, Decision};
use crate::report::file::{Closing, close_as_orphaned};
use crate::run::settings::Settings;
use crate::warm::{self, Recovered};
use engine::dirs::RunDirs;
use engine::process::{self, Processes};
use engine::room::RoomError;
use engine::swarm::Engine;
use engine::wait::{Deadline, retry_while};
use ground::error::chain;
use ground::name::{RecipeName, RunId};
use ground::outcome::{Residual, Verdict};

/// How long another process may hold the lock of a dead worker's app before the supervisor leaves the app to it.
const HELD_LIMIT: Duration = Duration::from_secs(5);

/// Cleans up after a worker that `ended`, and closes its report; returns the exit code of the run. `say` gets every line
/// for the person who waits.
pub async fn after(ended: Ended, settings: &Settings, say: &dyn Fn(&str)) -> u8 {
    let (notes, verdict, code, reason) = match ended {
        Ended::Exited(code) => return code,
        Ended::Killed { how, notes } => {
            say(&format!(
                "== worker {how} — its app is torn down by the supervisor =="
            ));
            let reason = format!("the worker was {how}");
            (notes, Verdict::Orphaned, 137, reason)
        }
        Ended::Wedged { notes } => {
            say(
                "== worker wedged long after its deadline — killed; its app is torn down by the supervisor ==",
            );
            let reason = "the worker was wedged past the deadline and was killed".to_owned();
            (notes, Verdict::Deadline, 142, reason)
        }
    };
    let strays = process::kill_strays().await;
    // Signals reach the worker's end only; an engine that stalls must not keep the supervisor for ever.
    let budget = settings.teardown_budget;
    let cleaned = tokio::time::timeout(budget, clean_up(settings, &notes, say)).await;
    let mut residual = cleaned.unwrap_or_else(|_| {
        let seconds = budget.as_secs();
        say(&format!(
            "!! the teardown is not done after {seconds} s, and is given up; run `recipe-ci janitor`"
        ));
        None
    });
    if let Some(residual) = residual.as_mut() {
        residual.add("processes", strays);
    }
    let closing = Closing {
        verdict,
        exit_code: code,
        reason,
        residual,
        finished_at: jiff::Timestamp::now().to_string(),
    };
    close(settings, &notes, closing, say)
}

/// Removes the apps that `notes` name; returns what is left, or nothing when that is not known.
async fn clean_up(settings: &Settings, notes: &[Note], say: &dyn Fn(&str)) -> Option<Residual> {
    if settings.own_engine().is_some() {
        return end_own_engine(settings, notes, say).await;
    }
    let (host, run) = (&settings.host, &settings.run_id);
    let mut residual = Some(Residual::default());
    for domain in domains(notes, &settings.zone) {
        let decision = match Engine::connect(&settings.docker_host) {
            Ok(engine) => janitor::decide_within(HELD_LIMIT, &engine, host, &domain, run).await,
            Err(error) => Decision::Failed(error),
        };
        let (left, complaint) = match decision {
            Decision::Reaped | Decision::Gone => {
                say(&format!("== {domain} torn down =="));
                continue;
            }
            // Another run that waited for this lock removes what it finds, but this process sees nothing of it.
            Decision::Live { holder, .. } => {
                let holder = if holder.is_empty() {
                    "an unknown process"
                } else {
                    &holder
                };
                let complaint = format!(
                    "{domain} is held by {holder}, so it is not known whether it is torn down"
                );
                (None, complaint)
            }
            Decision::Incomplete(left) => {
                let complaint = format!("{domain} is not torn down: {left}");
                (Some(left), complaint)
            }
            Decision::Skipped(error) => (None, chain(&error)),
            Decision::Failed(error) => (None, chain(&error)),
            // Only a sweep has a budget.
            Decision::Postponed => (None, format!("{domain} was not looked at")),
        };
        residual = residual.zip(left).map(|(mut all, left)| {
            (left.left.into_iter()).for_each(|(kind, names)| all.add(&kind, names));
            all
        });
        say(&format!("!! {complaint}; run `recipe-ci janitor`"));
    }
    for recipe in notes.iter().filter_map(|note| match note {
        Note::Warm { recipe } => recipe.parse::<RecipeName>().ok(),
        _ => None,
    }) {
        if let Err(complaint) = rest_warm_app(settings, &recipe, say).await {
            say(&format!("!! {complaint}; run `recipe-ci janitor`"));
            residual = None;
        }
    }
    residual
}

/// Takes away what is left of the engine that was a dead worker's own, and what its apps have beside it; returns what is
/// left, or nothing when that is not known.
async fn end_own_engine(
    settings: &Settings,
    notes: &[Note],
    say: &dyn Fn(&str),
) -> Option<Residual> {
    let mut residual = Residual::default();
    let run = notes.iter().find_map(|note| match note {
        Note::Run { root } => root.file_name()?.to_str()?.parse::<RunId>().ok(),
        _ => None,
    });
    // Without a directory the worker had begun with nothing.
    let Some(run) = run else {
        return Some(residual);
    };
    let settings = settings.of_run(&run);
    let on_ci = settings.on_ci.as_ref()?;
    let processes = Processes::new(settings.child_env.clone());
    match on_ci.room.discard(&processes).await {
        Ok(()) => say("== the run's own engine is gone, with everything in it =="),
        Err(RoomError::Left { left }) => {
            let complaint = format!("of the run's own engine would not go: {}", left.join(", "));
            say(&format!("!! {complaint}; run `recipe-ci janitor`"));
            residual.add("engine", left);
        }
        Err(error) => {
            say(&format!("!! {}; run `recipe-ci janitor`", chain(&error)));
            return None;
        }
    }
    for domain in domains(notes, &settings.zone) {
        match janitor::forget_within(HELD_LIMIT, &settings.host, &domain, &run).await {
            Ok(left) => residual.add("env_files", left),
            Err(why) => {
                say(&format!("!! {domain}: {why}; run `recipe-ci janitor`"));
                return None;
            }
        }
    }
    Some(residual)
}

/// Puts the warm app that a dead worker was working on to rest.
///
/// # Errors
/// Why it is not at rest.
async fn rest_warm_app(
    settings: &Settings,
    recipe: &RecipeName,
    say: &dyn Fn(&str),
) -> Result<(), String> {
    let engine = Engine::connect(&settings.docker_host).map_err(|error| chain(&error))?;
    let (host, zone) = (&settings.host, &settings.zone);
    let recovered = retry_while(
        Deadline::after(HELD_LIMIT),
        Duration::from_millis(20),
        |recovered| matches!(recovered, Recovered::Live),
        || warm::recover(&engine, host, zone, recipe, &settings.run_id, false),
    );
    match recovered.await {
        Recovered::Yes => say(&format!(
            "== the warm app of {recipe} is undeployed and has its last good data =="
        )),
        Recovered::AtRest => {}
        // Another run that waited for its lock does the same, but this process sees nothing of it.
        Recovered::Live => {
            return Err(format!(
                "another process holds the lock of the warm app of {recipe}, so it is not known whether it is at rest"
            ));
        }
        Recovered::Failed(error) => {
            let error = format!("{}; {}", chain(&error), error.advice());
            return Err(format!("the warm app of {recipe} is not at rest: {error}"));
        }
    }
    Ok(())
}

/// Closes the reports of a dead worker, and removes its working files; returns the exit code.
fn close(settings: &Settings, notes: &[Note], closing: Closing, say: &dyn Fn(&str)) -> u8 {
    let mut code = closing.exit_code;
    for note in notes {
        let Note::Run { root } = note else { continue };
        match close_as_orphaned(&root.join("results.json"), closing.clone()) {
            // A worker that was killed after its report was done keeps the code that it reported.
            Ok(results) => code = results.exit_code,
            Err(error) => say(&format!(
                "!! its report could not be closed: {}",
                chain(&error)
            )),
        }
        for copy in &settings.copies {
            if let Err(error) = copy.write(root) {
                say(&format!("!! {}", chain(&error)));
            }
        }
        // The dead worker would have done so: its children wrote what they liked.
        if let Err(error) = settings.redactor().sweep_dir(root, &[]) {
            say(&format!(
                "!! failed to look for secrets in `{}`: {error}",
                root.display()
            ));
        }
        // What would not go is found again by the janitor, and said there.
        drop(RunDirs::remove_working(root));
    }
    code
}
