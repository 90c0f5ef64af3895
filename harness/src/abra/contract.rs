//! What the driver assumes of abra, held against a real one. No app and no recipe changes: only help, version and
//! listings are asked for. The result is written down, because `--driver auto` takes only an abra that was checked.

use serde::Serialize;

use super::proof::Proof;
use super::{Abra, AbraError, output};
use engine::dirs::HostDirs;
use engine::process::{Cmd, Processes};

/// How an assumption stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// This abra does as assumed.
    Held,
    /// It does not: the driver would fail, or worse.
    Broken,
    /// It cannot be found out without an app.
    Unknown,
}

/// An assumption with what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assumption {
    /// What is assumed.
    pub what: String,
    /// How it stands.
    pub standing: Standing,
    /// What was found.
    pub found: String,
}

/// The flags that the driver gives to each command.
const FLAGS: [(&str, &[&str]); 9] = [
    (
        "app new",
        &["--no-input", "--chaos", "--offline", "--domain", "--server"],
    ),
    (
        "app deploy",
        &[
            "--no-input",
            "--chaos",
            "--offline",
            "--force",
            "--no-domain-checks",
            "--no-converge-checks",
        ],
    ),
    ("app undeploy", &["--no-input", "--offline"]),
    ("app ls", &["--no-input", "--offline", "--machine"]),
    (
        "app secret generate",
        &["--no-input", "--chaos", "--offline", "--machine", "--all"],
    ),
    (
        "app secret insert",
        &["--no-input", "--chaos", "--offline", "--file"],
    ),
    ("app backup create", &["--no-input", "--chaos", "--offline"]),
    (
        "app backup snapshots",
        &["--no-input", "--chaos", "--offline"],
    ),
    ("app restore", &["--no-input", "--chaos", "--offline"]),
];

/// What only a run against a real abra settles.
const OPEN: [&str; 6] = [
    "`app new` copies .env.sample and moves the checkout; both are put right afterwards",
    "`app deploy` sets the label chaos-version to the first digits of the commit",
    "a path in COMPOSE_FILE may leave the checkout (`../../overlays/x.json`)",
    "`app secret generate -m` prints rows of name and value as JSON",
    "`app backup snapshots` prints a line per snapshot that begins with its id",
    "`app backup download` writes backup.tar.gz, which holds volumes below their names",
];

/// An abra that was held against its contract.
#[derive(Debug)]
pub struct Checked {
    /// How each assumption stands.
    pub assumptions: Vec<Assumption>,
    /// Whether none is broken.
    pub holds: bool,
    /// Why the result could not be written down, if it could not: `--driver auto` goes by what is written.
    pub unwritten: Option<std::io::Error>,
}

/// Holds this host's abra against every assumption, and writes down whether `--driver auto` may take it.
pub async fn check(processes: &Processes, host: &HostDirs, docker_host: &str) -> Checked {
    let abra = Abra::find(processes, &host.abra, docker_host).await;
    // Before the questions: what is replaced while they are asked is not what has answered.
    let proof = abra.as_ref().ok().map(Proof::of);
    let assumptions = examine(processes, abra).await;
    let mut broken = assumptions
        .iter()
        .filter(|assumption| assumption.standing == Standing::Broken);
    let holds = broken.next().is_none();
    let written = match proof {
        Some(proof) if holds => proof.and_then(|proof| proof.write(&host.state)),
        _ => Proof::remove(&host.state),
    };
    Checked {
        assumptions,
        holds,
        unwritten: written.err(),
    }
}

async fn examine(processes: &Processes, abra: Result<Abra, AbraError>) -> Vec<Assumption> {
    let mut list = Vec::new();
    let mut note = |what: String, standing, found: String| {
        list.push(Assumption {
            what,
            standing,
            found,
        });
    };
    let what = "`abra --version` says `abra version …`".to_owned();
    let abra = match abra {
        Ok(abra) => {
            note(
                what,
                Standing::Held,
                format!("{} at {}", abra.version, abra.program.display()),
            );
            abra
        }
        Err(error) => {
            note(what, Standing::Broken, error.to_string());
            return list;
        }
    };
    for (call, flags) in FLAGS {
        let (standing, found) = flags_of(&abra, call, flags).await;
        note(
            format!("`{call}` knows {}", flags.join(" ")),
            standing,
            found,
        );
    }
    let (standing, found) =
        match flags_of(&abra, "app backup download", &["--snapshot", "--volumes"]).await {
            // Then a backup is proven by its restore alone.
            (Standing::Broken, found) => (
                Standing::Unknown,
                format!("{found}; archives cannot be examined"),
            ),
            other => other,
        };
    note(
        "`app backup download` knows --snapshot --volumes".to_owned(),
        standing,
        found,
    );
    let what = "`app ls -m` prints servers with their apps as JSON".to_owned();
    match abra.app_ls().await {
        Ok(apps) => note(what, Standing::Held, format!("{} apps", apps.len())),
        Err(error) => note(what, Standing::Broken, error.to_string()),
    }
    let what = "errors are lines that begin with FATA, in English".to_owned();
    let (standing, found) = error_shape(&abra).await;
    note(what, standing, found);
    let what = "the exit code of a command that fails is not 0".to_owned();
    let (standing, found) = exit_code(processes, &abra).await;
    note(what, standing, found);
    for what in OPEN {
        note(
            what.to_owned(),
            Standing::Unknown,
            "shown by a run with `--driver abra`".to_owned(),
        );
    }
    list
}

async fn flags_of(abra: &Abra, call: &'static str, flags: &[&str]) -> (Standing, String) {
    match abra.help(call).await {
        Err(error) => (Standing::Broken, error.to_string()),
        Ok(lines) => {
            let words: Vec<&str> = lines
                .iter()
                .flat_map(|line| line.split(|c: char| c.is_whitespace() || ",=[]".contains(c)))
                .collect();
            let missing: Vec<&str> = flags
                .iter()
                .copied()
                .filter(|flag| !words.contains(flag))
                .collect();
            if missing.is_empty() {
                (Standing::Held, "all of them".to_owned())
            } else {
                (
                    Standing::Broken,
                    format!("not in its help: {}", missing.join(" ")),
                )
            }
        }
    }
}

/// An app that does not exist, in a zone that cannot be registered.
const NOBODY: &str = "none-000000.recipe-ci.invalid";

async fn error_shape(abra: &Abra) -> (Standing, String) {
    match abra.app_undeploy(NOBODY).await {
        Ok(()) => (
            Standing::Broken,
            format!("undeploying `{NOBODY}`, which does not exist, succeeded"),
        ),
        Err(AbraError::Fatal { line, .. }) if is_english(&line) && !output::blames_host(&line) => {
            (Standing::Held, line)
        }
        Err(error) => (Standing::Broken, error.to_string()),
    }
}

/// Whether a message that something is not there has a word that English would say so with.
fn is_english(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_alphanumeric());
    words.any(|word| ["cannot", "not", "no", "unable", "does"].contains(&word))
}

async fn exit_code(processes: &Processes, abra: &Abra) -> (Standing, String) {
    let cmd = Cmd::new(&abra.program, std::path::Path::new("/"))
        .args(["app", "recipe-ci-no-such-command"])
        .env("ABRA_DIR", &abra.dir);
    match processes.run(&cmd, super::SHORT).await {
        Ok(finished) if finished.success() => (
            Standing::Broken,
            "`abra app recipe-ci-no-such-command` ended with exit code 0".to_owned(),
        ),
        Ok(finished) => (Standing::Held, finished.how()),
        Err(error) => (Standing::Broken, error.to_string()),
    }
}
