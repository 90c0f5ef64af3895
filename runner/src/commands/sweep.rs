//! `recipe-ci sweep`: a cold run of every enrolled recipe's newest release that is not its canonical yet.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use harness::dirs::ensure_writable;
use harness::janitor;
use harness::lifetime::worker::{EndSignal, Signals};
use harness::name::{RecipeName, RunId};
use harness::process::{Cmd, Processes};
use harness::run::settings::TEARDOWN_BUDGET;
use harness::swarm::Engine;
use harness::sweep::{Due, Row, canonical_version, look};
use harness::warm::Recovered;
use harness::warm::enrolled::enrolled;
use serde_json::json;

use super::{infra, usage};
use crate::cli::ReleasesArgs;
use crate::env;
use crate::exit::Exit;
use crate::settings::{self, Releases};
use crate::ui;

/// What came of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    /// There was nothing to run.
    Skipped(&'static str),
    /// It would be run.
    WouldRun,
    /// Green, and the canonical is the release now.
    Passed,
    /// Green, and yet not the canonical.
    NotPromoted,
    /// Red: exit code of the run.
    Failed(u8),
    /// The host or the harness failed.
    Infra(String),
}

impl Came {
    fn in_words(&self) -> String {
        match self {
            Self::Skipped(why) => format!("skip:{why}"),
            Self::WouldRun => "would run".to_owned(),
            Self::Passed => "run:passed".to_owned(),
            Self::NotPromoted => "run:not-promoted".to_owned(),
            Self::Failed(code) => format!("run:failed (exit code {code})"),
            Self::Infra(why) => format!("error: {why}"),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Skipped(_) | Self::WouldRun | Self::Passed => Exit::Passed,
            Self::Failed(_) => Exit::Failed,
            Self::NotPromoted | Self::Infra(_) => Exit::Infra,
        }
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
    if !args.dry_run {
        rest_warm_apps(&releases).await;
    }
    let processes = Processes::new(env::for_runs());
    let mut rows: Vec<(Row, Came)> = Vec::new();
    let stopped = {
        let work = async {
            let work = futures_util::stream::iter(recipes.iter())
                .map(|recipe| one(&releases, recipe, &processes, &logs, args.dry_run))
                .buffered(releases.parallel);
            let mut work = std::pin::pin!(work);
            while let Some(row) = work.next().await {
                rows.push(row);
            }
        };
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            signal = signals.next() => Some(signal),
            () = &mut work => None,
        }
    };
    if let Some(signal) = stopped {
        ui::say(&format!(
            "== {} received — the runs are told to end ==",
            signal.name()
        ));
        // They were told when their futures were dropped; each tears down within its budget.
        let stubborn = processes
            .end_all(TEARDOWN_BUDGET + Duration::from_secs(60))
            .await;
        if !stubborn.is_empty() {
            ui::say(&format!("!! still there: {}", stubborn.join(", ")));
        }
    }
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
fn verdict<'a>(came: impl Iterator<Item = &'a Came>) -> Exit {
    let exits: Vec<Exit> = came.map(Came::exit).collect();
    for exit in [Exit::Failed, Exit::Infra] {
        if exits.contains(&exit) {
            return exit;
        }
    }
    Exit::Passed
}

/// Brings to rest what dead runs left of warm apps; the promotions would do so anyway.
async fn rest_warm_apps(releases: &Releases) {
    let Ok(engine) = Engine::connect(&settings::docker_host()) else {
        return;
    };
    let id: RunId = format!("sweep-{}", std::process::id())
        .parse()
        .expect("a word and a number are a run id");
    let mut sweep = janitor::Sweep::default();
    janitor::rest_warm_apps(
        &engine,
        &releases.host,
        &releases.zone,
        &id,
        false,
        &mut sweep,
    )
    .await;
    for (recipe, became) in &sweep.warm {
        match became {
            Recovered::Yes => ui::say(&format!("== warm {recipe}: its last good data is back ==")),
            Recovered::Failed(error) => {
                ui::say(&format!(
                    "!! warm {recipe}: {}",
                    harness::error::chain(error)
                ));
            }
            Recovered::AtRest | Recovered::Live => {}
        }
    }
    for place in &sweep.unreadable {
        ui::say(&format!("!! {place}"));
    }
}

async fn one(
    releases: &Releases,
    recipe: &RecipeName,
    processes: &Processes,
    logs: &Path,
    dry_run: bool,
) -> (Row, Came) {
    let row = match settings::published(recipe, Some(&releases.forge)) {
        Ok(source) => {
            let (host, recipe) = (releases.host.clone(), recipe.clone());
            let token = releases.token.clone();
            let looked =
                tokio::task::spawn_blocking(move || look(&host, &recipe, &source, token.as_ref()));
            looked.await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.error.to_string()),
    };
    let mut row = row.unwrap_or_else(|reason| Row {
        recipe: recipe.clone(),
        newest: None,
        canonical: None,
        due: Due::Unknown(reason),
    });
    let came = match row.due.clone() {
        Due::NoNewVersion => Came::Skipped("no-new-version"),
        Due::NeverReleased => Came::Skipped("never-released"),
        Due::Unknown(reason) => Came::Infra(reason),
        Due::Run(_) if dry_run => Came::WouldRun,
        Due::Run(version) => {
            ui::say(&format!("== {recipe} {version}: run =="));
            let came = run(releases, recipe, &version, processes, logs).await;
            match canonical_version(&releases.host, recipe) {
                Ok(canonical) => row.canonical = canonical,
                Err(error) => ui::say(&format!("!! {}", harness::error::chain(&error))),
            }
            match came {
                Came::Passed if row.canonical.as_deref() != Some(version.as_str()) => {
                    Came::NotPromoted
                }
                came => came,
            }
        }
    };
    ui::say(&format!("== {recipe}: {} ==", came.in_words()));
    (row, came)
}

/// Runs a release with everything that a pipeline would do, in a process of its own.
async fn run(
    releases: &Releases,
    recipe: &RecipeName,
    version: &str,
    processes: &Processes,
    logs: &Path,
) -> Came {
    let log: PathBuf = logs.join(format!("{recipe}.log"));
    let id = format!("sweep-{recipe}-{}", std::process::id());
    let cmd = Cmd::new(&releases.exe, Path::new("/"))
        .arg("run")
        .args(["--recipe", recipe.as_str()])
        .args(["--src", &settings::published_name(recipe)])
        .args(["--ref", version])
        .args(["--run-id", &id])
        .env("CCCI_FORGE_URL", &releases.forge)
        .env("CCCI_TESTS_DIR", &releases.overlays)
        .env("CCCI_ZONE", releases.zone.as_str())
        .env("CCCI_DEADLINE", format!("{}s", releases.deadline.as_secs()))
        .label(format!("recipe-ci run {recipe}"))
        .log_to(&log);
    let limit = releases.deadline + TEARDOWN_BUDGET + TEARDOWN_BUDGET;
    match processes.run(&cmd, limit).await {
        Ok(finished) => match finished.status.code() {
            Some(0) => Came::Passed,
            Some(code @ (1 | 2)) => Came::Failed(u8::try_from(code).unwrap_or(1)),
            _ => Came::Infra(format!("{}, see `{}`", finished.how(), log.display())),
        },
        Err(error) => Came::Infra(harness::error::chain(&error)),
    }
}

fn print(rows: &[(Row, Came)], as_json: bool) {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let text = if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(row, came)| {
                json!({
                    "recipe": row.recipe.as_str(),
                    "newest": row.newest,
                    "canonical": row.canonical,
                    "result": came.in_words(),
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
                came.in_words()
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
        let of = |came: &[Came]| verdict(came.iter());
        let (skip, infra) = (Came::Skipped("no-new-version"), Came::Infra("x".to_owned()));
        assert_eq!(of(&[skip.clone(), Came::Passed]), Exit::Passed);
        assert_eq!(of(&[skip.clone(), infra.clone()]), Exit::Infra);
        assert_eq!(of(&[infra, Came::Failed(1)]), Exit::Failed);
        // Green runs that never promote would be run again for ever.
        assert_eq!(of(&[Came::NotPromoted]), Exit::Infra);
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
