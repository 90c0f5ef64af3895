//! A cold run of every enrolled recipe's newest release that is not its canonical yet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::janitor;
use crate::lifetime::worker::{EndSignal, Signals};
use crate::run::settings::{Published, TEARDOWN_BUDGET};
use crate::warm::canonical::WarmDir;
use crate::warm::{Recovered, WarmError};
use engine::dirs::HostDirs;
use engine::process::{Cmd, Processes};
use engine::swarm::Engine;
use ground::error::chain;
use ground::git::fetch::{FetchError, tag_names};
use ground::git::source::Source;
use ground::git::token::Token;
use ground::name::{RecipeName, RunId, Zone};
use recipe::version::{TagList, Version};

/// Everything that a sweep was asked to do.
#[derive(Debug)]
pub struct Releases {
    /// The operator's overlays.
    pub overlays: PathBuf,
    /// The host's places.
    pub host: HostDirs,
    /// The engine.
    pub docker_host: String,
    /// The zone.
    pub zone: Zone,
    /// The deadline of each run.
    pub deadline: Duration,
    /// Where the published recipes are.
    pub published: Published,
    /// The forge's token.
    pub token: Option<Token>,
    /// How many runs at once.
    pub parallel: usize,
    /// This program.
    pub exe: PathBuf,
    /// Says what would be run, and runs nothing.
    pub dry_run: bool,
}

/// What came of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
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

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Skipped(why) => write!(f, "skip:{why}"),
            Self::WouldRun => f.write_str("would run"),
            Self::Passed => f.write_str("run:passed"),
            Self::NotPromoted => f.write_str("run:not-promoted"),
            Self::Failed(code) => write!(f, "run:failed (exit code {code})"),
            Self::Infra(why) => write!(f, "error: {why}"),
        }
    }
}

/// Runs what is due of `recipes`, some at a time, each in a process of its own that logs below `logs`. Returns what came
/// of each that ended, and the signal that ended the sweep, after the runs that it interrupted have torn down. `say` gets
/// every line for the person who waits.
pub async fn sweep(
    releases: &Releases,
    recipes: &[RecipeName],
    processes: &Processes,
    logs: &Path,
    signals: &mut Signals,
    say: &dyn Fn(&str),
) -> (Vec<(Row, Outcome)>, Option<EndSignal>) {
    if !releases.dry_run {
        rest_warm_apps(releases, say).await;
    }
    let mut rows = Vec::new();
    let stopped = {
        let work = async {
            let work = futures_util::stream::iter(recipes)
                .map(|recipe| one(releases, recipe, processes, logs, say))
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
        say(&format!(
            "== {} received — the runs are told to end ==",
            signal.name()
        ));
        // They were told when their futures were dropped; each tears down within its budget.
        let limit = TEARDOWN_BUDGET + Duration::from_secs(60);
        let stubborn = processes.end_all(limit).await;
        if !stubborn.is_empty() {
            say(&format!("!! still there: {}", stubborn.join(", ")));
        }
    }
    (rows, stopped)
}

/// Brings to rest what dead runs left of warm apps; the promotions would do so anyway.
async fn rest_warm_apps(releases: &Releases, say: &dyn Fn(&str)) {
    let Ok(engine) = Engine::connect(&releases.docker_host) else {
        return;
    };
    let id: RunId = format!("sweep-{}", std::process::id())
        .parse()
        .expect("a word and a number are a run id");
    let (host, zone) = (&releases.host, &releases.zone);
    let mut sweep = janitor::Sweep::default();
    janitor::rest_warm_apps(&engine, host, zone, &id, false, &mut sweep).await;
    for (recipe, became) in &sweep.warm {
        match became {
            Recovered::Yes => say(&format!("== warm {recipe}: its last good data is back ==")),
            Recovered::Failed(error) => say(&format!("!! warm {recipe}: {}", chain(error))),
            Recovered::AtRest | Recovered::Live => {}
        }
    }
    for place in &sweep.unreadable {
        say(&format!("!! {place}"));
    }
}

/// Looks what is due for a recipe, and runs it.
async fn one(
    releases: &Releases,
    recipe: &RecipeName,
    processes: &Processes,
    logs: &Path,
    say: &dyn Fn(&str),
) -> (Row, Outcome) {
    let looked = match releases.published.source(recipe) {
        Ok(source) => {
            let (host, recipe) = (releases.host.clone(), recipe.clone());
            let token = releases.token.clone();
            let look = move || look(&host, &recipe, &source, token.as_ref());
            let looked = tokio::task::spawn_blocking(look).await;
            looked.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    let mut row = looked.unwrap_or_else(|reason| Row {
        recipe: recipe.clone(),
        newest: None,
        canonical: None,
        due: Due::Unknown(reason),
    });
    let came = match row.due.clone() {
        Due::NoNewVersion => Outcome::Skipped("no-new-version"),
        Due::NeverReleased => Outcome::Skipped("never-released"),
        Due::Unknown(reason) => Outcome::Infra(reason),
        Due::Run(_) if releases.dry_run => Outcome::WouldRun,
        Due::Run(version) => {
            say(&format!("== {recipe} {version}: run =="));
            let came = run(releases, recipe, &version, processes, logs).await;
            match canonical_version(&releases.host, recipe) {
                Ok(canonical) => row.canonical = canonical,
                Err(error) => say(&format!("!! {}", chain(&error))),
            }
            match came {
                Outcome::Passed if row.canonical.as_deref() != Some(version.as_str()) => {
                    Outcome::NotPromoted
                }
                came => came,
            }
        }
    };
    say(&format!("== {recipe}: {came} =="));
    (row, came)
}

/// Runs a release with everything that a pipeline would do, in a process of its own.
async fn run(
    releases: &Releases,
    recipe: &RecipeName,
    version: &str,
    processes: &Processes,
    logs: &Path,
) -> Outcome {
    let log = logs.join(format!("{recipe}.log"));
    let id = format!("sweep-{recipe}-{}", std::process::id());
    let published = &releases.published;
    let cmd = Cmd::new(&releases.exe, Path::new("/"))
        .arg("run")
        .args(["--recipe", recipe.as_str()])
        .args(["--src", &format!("{}/{recipe}", published.owner)])
        .args(["--ref", version])
        .args(["--run-id", &id])
        .env("CCCI_FORGE_URL", &published.url)
        .env("CCCI_TESTS_DIR", &releases.overlays)
        .env("CCCI_ZONE", releases.zone.as_str())
        .env("CCCI_DEADLINE", format!("{}s", releases.deadline.as_secs()))
        .label(format!("recipe-ci run {recipe}"))
        .log_to(&log);
    let limit = releases.deadline + TEARDOWN_BUDGET + TEARDOWN_BUDGET;
    match processes.run(&cmd, limit).await {
        Ok(finished) => match finished.status.code() {
            Some(0) => Outcome::Passed,
            Some(code @ (1 | 2)) => Outcome::Failed(u8::try_from(code).unwrap_or(1)),
            _ => Outcome::Infra(format!("{}, see `{}`", finished.how(), log.display())),
        },
        Err(error) => Outcome::Infra(chain(&error)),
    }
}

/// What a sweep does about a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// This release is to be run.
    Run(String),
    /// Its newest release is the canonical.
    NoNewVersion,
    /// It has no release.
    NeverReleased,
    /// It cannot be known, for this reason.
    Unknown(String),
}

/// A recipe in a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The recipe.
    pub recipe: RecipeName,
    /// Its newest release.
    pub newest: Option<String>,
    /// Its canonical's version.
    pub canonical: Option<String>,
    /// What is due.
    pub due: Due,
}

/// Looks what is due for `recipe`, whose published source is `source`. Blocking.
fn look(host: &HostDirs, recipe: &RecipeName, source: &Source, token: Option<&Token>) -> Row {
    let canonical = canonical_version(host, recipe);
    row(recipe, tag_names(source, token), canonical)
}

/// Returns the version of the recipe's canonical, if it has one.
///
/// # Errors
/// [`WarmError`] when its record cannot be read.
fn canonical_version(host: &HostDirs, recipe: &RecipeName) -> Result<Option<String>, WarmError> {
    let canonical = WarmDir::of(host, recipe).read()?;
    // While the first one is being made there is none.
    Ok(canonical
        .filter(|canonical| canonical.snapshot.is_some())
        .map(|canonical| canonical.version))
}

fn row(
    recipe: &RecipeName,
    tags: Result<Vec<String>, FetchError>,
    canonical: Result<Option<String>, WarmError>,
) -> Row {
    let mut row = Row {
        recipe: recipe.clone(),
        newest: None,
        canonical: None,
        due: Due::NeverReleased,
    };
    let tags = match tags {
        Ok(tags) => TagList::from_names(tags.iter().map(String::as_str)),
        Err(error) => {
            row.due = Due::Unknown(chain(&error));
            return row;
        }
    };
    let newest = tags.versions.last();
    row.newest = newest.map(ToString::to_string);
    match canonical {
        Ok(canonical) => row.canonical = canonical,
        Err(error) => {
            row.due = Due::Unknown(format!("{}; {}", chain(&error), error.advice()));
            return row;
        }
    }
    if let Some(newest) = newest {
        let known = row.canonical.as_deref().map(str::parse::<Version>);
        row.due = match known {
            Some(Ok(known)) if known >= *newest => Due::NoNewVersion,
            _ => Due::Run(newest.to_string()),
        };
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(tags: &[&str], canonical: Option<&str>) -> Due {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let canonical = canonical.map(str::to_owned);
        row(&"notes".parse().unwrap(), Ok(tags), Ok(canonical)).due
    }

    #[test]
    fn the_newest_release_is_due_unless_it_is_the_canonical() {
        let tags = ["0.9.0+1.0", "0.10.0+1.0", "v3", "latest"];
        assert_eq!(due(&tags, None), Due::Run("0.10.0+1.0".to_owned()));
        // By the order of versions, not of texts.
        assert_eq!(
            due(&tags, Some("0.9.0+1.0")),
            Due::Run("0.10.0+1.0".to_owned())
        );
        assert_eq!(due(&tags, Some("0.10.0+1.0")), Due::NoNewVersion);
        assert_eq!(due(&tags, Some("0.11.0+1.0")), Due::NoNewVersion);
        assert_eq!(due(&["latest"], None), Due::NeverReleased);
        assert_eq!(due(&[], None), Due::NeverReleased);
    }

    #[test]
    fn what_cannot_be_read_is_neither_new_nor_old() {
        let recipe: RecipeName = "notes".parse().unwrap();
        let missing = FetchError::SourceMissing {
            path: "/nowhere".into(),
        };
        assert!(matches!(
            row(&recipe, Err(missing), Ok(None)).due,
            Due::Unknown(_)
        ));
        let garbled = WarmError::Garbled {
            path: "/w/notes/canonical.json".into(),
            reason: "x".to_owned(),
        };
        let tags = Ok(vec!["0.1.0+1".to_owned()]);
        let Due::Unknown(reason) = row(&recipe, tags, Err(garbled)).due else {
            panic!("a garbled record was taken for none")
        };
        assert!(reason.contains("/w/notes/canonical.json"), "{reason}");
    }
}
