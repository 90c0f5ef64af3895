//! `recipe-ci sweep`: a cold run of every enrolled recipe's newest release that is not its canonical yet.

use std::ffi::OsString;

use harness::dirs::ensure_writable;
use harness::lifetime::worker::{EndSignal, Signals};
use harness::process::Processes;
use harness::sweep::{Outcome, Row};
use harness::warm::enrolled::enrolled;
use serde_json::json;

use super::{infra, usage};
use crate::cli::ReleasesArgs;
use crate::env;
use crate::exit::Exit;
use crate::settings;
use crate::ui;

fn exit_of(came: &Outcome) -> Exit {
    match came {
        Outcome::Skipped(_) | Outcome::WouldRun | Outcome::Passed => Exit::Passed,
        Outcome::Failed(_) => Exit::Failed,
        Outcome::NotPromoted | Outcome::Infra(_) => Exit::Infra,
    }
}

pub(crate) async fn sweep(args: &ReleasesArgs) -> Exit {
    let releases = match settings::releases(args) {
        Ok(releases) => releases,
        Err(error) => return usage(&error),
    };
    let recipes = match enrolled(&releases.overlays) {
        Ok(recipes) if recipes.is_empty() => {
            // A sweep of nothing is green for ever and says nothing.
            let error = std::io::Error::other(format!(
                "no recipe is enrolled in `{}`",
                releases.overlays.display()
            ));
            ui::print_error(
                &error,
                &["put `canonical: true` into the recipe-ci.yml of a recipe's overlay, or give another directory with `--overlays` (CCCI_TESTS_DIR)".to_owned()],
                &harness::report::redact::Redactor::default(),
            );
            return Exit::Usage;
        }
        Ok(recipes) => recipes,
        Err(error) => {
            return infra(
                &error,
                &["correct it: what cannot be read is not swept over".to_owned()],
            );
        }
    };
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return infra(&error, &[]),
    };
    let logs = releases.host.state.join("sweep");
    if !args.dry_run
        && let Err(error) = ensure_writable("sweep directory", &logs)
    {
        return infra(&error, &[settings::STATE_HINT.to_owned()]);
    }
    let processes = Processes::new(env::for_runs());
    let swept = harness::sweep::sweep(
        &releases,
        &recipes,
        &processes,
        &logs,
        &mut signals,
        &ui::say,
    );
    let (rows, stopped) = swept.await;
    print(&rows, args.json);
    match stopped {
        Some(EndSignal::Hangup) => Exit::HungUp,
        Some(EndSignal::Interrupt) => Exit::Interrupted,
        Some(EndSignal::Quit) => Exit::Quit,
        Some(EndSignal::Terminate) => Exit::Terminated,
        None => verdict(rows.iter().map(|(_, came)| came)),
    }
}

/// A red recipe first: it is what a person has to fix.
fn verdict<'a>(came: impl Iterator<Item = &'a Outcome>) -> Exit {
    let exits: Vec<Exit> = came.map(exit_of).collect();
    for exit in [Exit::Failed, Exit::Infra] {
        if exits.contains(&exit) {
            return exit;
        }
    }
    Exit::Passed
}

fn print(rows: &[(Row, Outcome)], as_json: bool) {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let text = if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(row, came)| {
                json!({
                    "recipe": row.recipe.as_str(),
                    "newest": row.newest,
                    "canonical": row.canonical,
                    "result": came.to_string(),
                })
            })
            .collect();
        json!({ "schema": 1, "recipes": rows }).to_string()
    } else {
        let lines = rows.iter().map(|(row, came)| {
            format!(
                "{:20} {:18} {:18} {}",
                row.recipe.as_str(),
                or_none(&row.newest),
                or_none(&row.canonical),
                came
            )
        });
        let head = format!("{:20} {:18} {:18} result", "recipe", "newest", "canonical");
        std::iter::once(head)
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n")
    };
    // Who reads the table may be gone; the runs are done.
    drop(ui::print_data(&text));
}

/// What of the environment every run of a sweep gets, besides what every child gets.
pub(crate) fn is_for_runs(name: &OsString) -> bool {
    const OF_ONE_RUN: [&str; 6] = [
        "CCCI_QUICK",
        "CCCI_RUN_ID",
        "CCCI_APP_DOMAIN",
        "CCCI_SKIP_FETCH",
        "CCCI_BASE",
        "CCCI_KEEP",
    ];
    const OTHERS: [&str; 4] = ["ABRA_DIR", "DOCKER_HOST", "RECIPE_CI_LOG", "XDG_STATE_HOME"];
    name.to_str().is_some_and(|name| {
        (name.starts_with("CCCI_") && !OF_ONE_RUN.contains(&name)) || OTHERS.contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_red_recipe_decides_then_the_host() {
        let of = |came: &[Outcome]| verdict(came.iter());
        let (skip, infra) = (
            Outcome::Skipped("no-new-version"),
            Outcome::Infra("x".to_owned()),
        );
        assert_eq!(of(&[skip.clone(), Outcome::Passed]), Exit::Passed);
        assert_eq!(of(&[skip.clone(), infra.clone()]), Exit::Infra);
        assert_eq!(of(&[infra, Outcome::Failed(1)]), Exit::Failed);
        // Green runs that never promote would be run again for ever.
        assert_eq!(of(&[Outcome::NotPromoted]), Exit::Infra);
    }

    #[test]
    fn what_is_of_one_run_is_not_for_all() {
        for (name, passes) in [
            ("CCCI_ZONE", true),
            ("CCCI_SECRET_DB", true),
            ("DOCKER_HOST", true),
            ("CCCI_QUICK", false),
            ("CCCI_APP_DOMAIN", false),
            ("STAGES", false),
            ("PR", false),
        ] {
            assert_eq!(is_for_runs(&name.into()), passes, "{name}");
        }
    }
}
