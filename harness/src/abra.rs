//! The `abra` command line: one function per command that is used, each with its limit and its errors.
//!
//! Whatever touches a recipe is called with `-C -o` (the checkout as it is, nothing fetched), but for a deploy of
//! a published version, which by its nature is no chaos. Everything is called with `-n`. The locale is fixed,
//! because abra's messages are translated. Commands that refuse to work without a terminal get one.
//!
//! What is not certain of abra is in [`contract`], where a real one can be held against it.

pub mod contract;
mod output;
pub mod proof;

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::process::{Cmd, Finished, ProcessError, Processes};

pub(crate) use output::bot_error;
pub use output::clean;

/// How long abra may take to say something about itself.
const SHORT: Duration = Duration::from_secs(20);

/// How long a command may take that edits files or makes secrets.
const MEDIUM: Duration = Duration::from_secs(120);

/// How long a deploy may take: it does not wait for convergence, but it asks a registry about every image.
const DEPLOY: Duration = Duration::from_secs(300);

/// How long an undeploy may take; what it does not get done the harness does.
const UNDEPLOY: Duration = Duration::from_secs(60);

/// How long the bot may take to save or restore an app; each hook has 900 s with the embedded driver.
const BACKUP: Duration = Duration::from_secs(1800);

/// Why a call of abra came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AbraError {
    /// It is not on `PATH`.
    #[error("abra is not on PATH")]
    Missing,
    /// It could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It did not end in time, and was killed with everything that it had started.
    #[error("`abra {call}` did not end within {} s and was killed{}", .limit.as_secs(), said_last(.tail))]
    Hung {
        /// The command.
        call: &'static str,
        /// How long it had.
        limit: Duration,
        /// The last lines that it wrote.
        tail: Vec<String>,
    },
    /// It gave up, and said why.
    #[error("`abra {call}` failed: {line}")]
    Fatal {
        /// The command: `app deploy`.
        call: &'static str,
        /// What it said behind `FATA`.
        line: String,
        /// The last lines that it wrote.
        tail: Vec<String>,
    },
    /// It said something unknown here.
    #[error("`abra {call}` ended with {how} and said what is not understood: {line}")]
    Unknown {
        /// The command.
        call: &'static str,
        /// How it ended: `exit code 0`.
        how: String,
        /// The line.
        line: String,
    },
    /// It succeeded and what it should have made is not there.
    #[error("`abra {call}` succeeded, but {what}")]
    Hollow {
        /// The command.
        call: &'static str,
        /// What is wrong.
        what: String,
    },
}

fn said_last(tail: &[String]) -> String {
    let line = tail.last();
    line.map_or_else(String::new, |line| format!("; it said last: {line}"))
}

impl AbraError {
    /// Returns whether abra itself refused what it was asked for, because of the recipe or the app, rather than
    /// because of the host or because it does not know the command.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Fatal { line, .. } if !output::blames_host(line))
    }

    /// Returns whether this abra does not have the command or one of its flags.
    #[must_use]
    pub fn is_not_there(&self) -> bool {
        matches!(self, Self::Fatal { line, .. } if output::blames_call(line))
    }

    /// Returns whether lint is what refused a deploy.
    #[must_use]
    pub fn is_lint(&self) -> bool {
        matches!(self, Self::Fatal { line, .. } if line.to_lowercase().contains("lint"))
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing => "install abra, or choose `--driver stack`, which needs only Docker",
            Self::Hung { .. } => {
                "see whether the engine and its registries answer (`docker info`, `docker pull`), and what the call does by hand with `--debug`; `--driver stack` does without abra"
            }
            Self::Fatal { line, .. } if line.contains("backupbot") => {
                "deploy backup-bot-two on this host, or choose `--driver stack`, which saves volumes itself"
            }
            _ => {
                "`recipe-ci doctor --abra` holds this abra against what is expected of it; `--driver stack` does without"
            }
        }
    }
}

/// Which version of a recipe a deploy takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deploy<'a> {
    /// The published version: abra checks it out, lints it and wants a clean tree.
    Pinned(&'a str),
    /// The checkout as it is.
    Chaos,
}

/// A secret that abra made: its name and its value. Not printable by accident.
pub struct Made {
    /// The name without stack and version.
    pub name: String,
    /// The value.
    pub value: String,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// abra on this host, with the directory that it works in.
#[derive(Debug, Clone)]
pub struct Abra {
    /// Where the program is.
    pub program: PathBuf,
    /// What it says of its version: `0.13.0-beta-06a57de`.
    pub version: String,
    /// Its `ABRA_DIR`.
    pub dir: PathBuf,
    processes: Processes,
    docker_host: String,
    deploy_limit: Duration,
}

impl Abra {
    /// Finds abra on `PATH` and asks for its version. `dir` becomes its `ABRA_DIR` and working directory.
    ///
    /// # Errors
    /// [`AbraError::Missing`], or [`AbraError::Unknown`] when the answer is not `abra version …`.
    pub async fn find(
        processes: &Processes,
        dir: &Path,
        docker_host: &str,
    ) -> Result<Self, AbraError> {
        let program = processes.which("abra").ok_or(AbraError::Missing)?;
        let mut abra = Self {
            program,
            version: String::new(),
            dir: dir.to_owned(),
            processes: processes.clone(),
            docker_host: docker_host.to_owned(),
            deploy_limit: DEPLOY,
        };
        let finished = abra.call("--version", &["--version"], SHORT, false).await?;
        let lines = clean(&finished.stdout);
        let version = lines
            .iter()
            .find_map(|line| line.strip_prefix("abra version "));
        let version = version.filter(|text| text.starts_with(|c: char| c.is_ascii_digit()));
        abra.version = match version {
            Some(version) => version.trim().to_owned(),
            None => return Err(unknown("--version", &finished)),
        };
        Ok(abra)
    }

    /// Returns the same abra with another `ABRA_DIR`.
    #[must_use]
    pub fn at(&self, dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            ..self.clone()
        }
    }

    /// Makes an app of the recipe's checkout; returns its env file. The checkout may have moved afterwards.
    ///
    /// # Errors
    /// [`AbraError`]; [`AbraError::Hollow`] when there is no env file.
    pub async fn app_new(
        &self,
        recipe: &str,
        domain: &str,
        server: &str,
    ) -> Result<PathBuf, AbraError> {
        let call = "app new";
        let domain_flag = format!("--domain={domain}");
        let server_flag = format!("--server={server}");
        let args = [recipe, "-n", "-C", "-o", &domain_flag, &server_flag];
        self.call(call, &args, MEDIUM, false).await?;
        let file = self
            .dir
            .join("servers")
            .join(server)
            .join(format!("{domain}.env"));
        if file.is_file() {
            Ok(file)
        } else {
            let what = format!("there is no `{}`", file.display());
            Err(AbraError::Hollow { call, what })
        }
    }

    /// Makes every secret of the app that may be made, or only `one`, given as name and version.
    ///
    /// # Errors
    /// [`AbraError`]; what cannot be parsed is described and never shown, because it may be a secret.
    pub async fn secret_generate(
        &self,
        domain: &str,
        one: Option<(&str, &str)>,
    ) -> Result<Vec<Made>, AbraError> {
        let call = "app secret generate";
        let mut args = vec![domain];
        match one {
            Some((name, version)) => args.extend([name, version]),
            None => args.push("--all"),
        }
        args.extend(["-m", "-n", "-C", "-o"]);
        let finished = self.call(call, &args, MEDIUM, false).await?;
        output::secrets(&finished.stdout).map_err(|what| AbraError::Hollow { call, what })
    }

    /// Makes a secret of the content of `file`. The value is never an argument: everyone can read those.
    ///
    /// # Errors
    /// [`AbraError`].
    pub async fn secret_insert(
        &self,
        domain: &str,
        name: &str,
        version: &str,
        file: &Path,
    ) -> Result<(), AbraError> {
        let file = file.to_string_lossy();
        let args = [domain, name, version, &file, "-f", "-n", "-C", "-o"];
        self.call("app secret insert", &args, MEDIUM, false)
            .await
            .map(drop)
    }

    /// Deploys the app, over what is deployed already; does not wait for it to converge.
    ///
    /// # Errors
    /// [`AbraError`]; see [`AbraError::is_refusal`].
    pub async fn app_deploy(&self, domain: &str, what: Deploy<'_>) -> Result<(), AbraError> {
        let mut args = vec![domain];
        match what {
            Deploy::Pinned(version) => args.push(version),
            Deploy::Chaos => args.push("-C"),
        }
        // -D: names of run apps lead nowhere. -c: its own wait gives up while a heavy image still starts.
        args.extend(["-n", "-o", "-f", "-D", "-c"]);
        self.call("app deploy", &args, self.deploy_limit, false)
            .await
            .map(drop)
    }

    /// Takes the app's services down; volumes, secrets, configs and networks stay.
    ///
    /// # Errors
    /// [`AbraError`].
    pub async fn app_undeploy(&self, domain: &str) -> Result<(), AbraError> {
        self.call("app undeploy", &[domain, "-n", "-o"], UNDEPLOY, false)
            .await
            .map(drop)
    }

    /// Returns the domains of all apps on all servers.
    ///
    /// # Errors
    /// [`AbraError`]; a listing that cannot be read is never an empty one.
    pub async fn app_ls(&self) -> Result<Vec<String>, AbraError> {
        let call = "app ls";
        let finished = self.call(call, &["-m", "-n", "-o"], MEDIUM, false).await?;
        output::apps(&finished.stdout).ok_or_else(|| unknown(call, &finished))
    }

    /// Has the backup bot save the app; returns what it said, one line each.
    ///
    /// # Errors
    /// [`AbraError`].
    pub async fn backup_create(&self, domain: &str) -> Result<Vec<String>, AbraError> {
        let args = [domain, "-n", "-C", "-o"];
        let finished = self.call("app backup create", &args, BACKUP, true).await?;
        Ok(clean(&finished.stdout))
    }

    /// Returns the ids of the app's snapshots.
    ///
    /// # Errors
    /// [`AbraError`]; output with neither an id nor a count of zero is not taken for none.
    pub async fn backup_snapshots(&self, domain: &str) -> Result<Vec<String>, AbraError> {
        let call = "app backup snapshots";
        let args = [domain, "-n", "-C", "-o"];
        let finished = self.call(call, &args, MEDIUM, true).await?;
        output::snapshots(&clean(&finished.stdout)).ok_or_else(|| unknown(call, &finished))
    }

    /// Has a snapshot written into `dir`; returns the archive.
    ///
    /// # Errors
    /// [`AbraError`]; [`AbraError::is_not_there`] when this abra cannot.
    pub async fn backup_download(
        &self,
        domain: &str,
        snapshot: &str,
        dir: &Path,
    ) -> Result<PathBuf, AbraError> {
        let call = "app backup download";
        let snapshot = format!("--snapshot={snapshot}");
        let args = [domain, &snapshot, "--volumes", "-n", "-C", "-o"];
        self.call_in(call, &args, BACKUP, true, dir).await?;
        let file = dir.join("backup.tar.gz");
        if file.is_file() {
            Ok(file)
        } else {
            let what = format!("there is no `{}`", file.display());
            Err(AbraError::Hollow { call, what })
        }
    }

    /// Has the backup bot put the newest snapshot back; returns what it said, one line each.
    ///
    /// # Errors
    /// [`AbraError`].
    pub async fn restore(&self, domain: &str) -> Result<Vec<String>, AbraError> {
        let args = [domain, "-n", "-C", "-o"];
        let finished = self.call("app restore", &args, BACKUP, true).await?;
        Ok(clean(&finished.stdout))
    }

    /// Returns what the command says about its use.
    ///
    /// # Errors
    /// [`AbraError`].
    pub async fn help(&self, call: &'static str) -> Result<Vec<String>, AbraError> {
        let finished = self.call(call, &["--help"], SHORT, false).await?;
        Ok(clean(&finished.stdout))
    }

    async fn call(
        &self,
        call: &'static str,
        args: &[&str],
        limit: Duration,
        pty: bool,
    ) -> Result<Finished, AbraError> {
        // A host on which abra has never run has no such directory yet.
        let dir = if self.dir.is_dir() {
            &self.dir
        } else {
            Path::new("/")
        };
        self.call_in(call, args, limit, pty, dir).await
    }

    async fn call_in(
        &self,
        call: &'static str,
        args: &[&str],
        limit: Duration,
        pty: bool,
        dir: &Path,
    ) -> Result<Finished, AbraError> {
        let words = call.split(' ').filter(|word| !word.starts_with('-'));
        let mut cmd = Cmd::new(&self.program, dir)
            .args(words)
            .args(args)
            .env("ABRA_DIR", &self.dir)
            .env("DOCKER_HOST", &self.docker_host)
            .env("LC_ALL", "C.UTF-8")
            .env("LANG", "C.UTF-8")
            .env("LANGUAGE", "en")
            .env("ABRA_LANG", "en")
            .env("NO_COLOR", "1")
            .label(format!("abra {call}"));
        if pty {
            cmd = cmd.pty().env("TERM", "xterm");
        }
        let finished = match self.processes.run(&cmd, limit).await {
            Ok(finished) => finished,
            Err(ProcessError::TimedOut { limit, tail, .. }) => {
                let tail = clean(tail.join("\n").as_bytes());
                return Err(AbraError::Hung { call, limit, tail });
            }
            Err(error) => return Err(error.into()),
        };
        if finished.success() {
            return Ok(finished);
        }
        let tail = clean(finished.tail.join("\n").as_bytes());
        match output::fatal(&tail) {
            Some(line) => Err(AbraError::Fatal { call, line, tail }),
            None => Err(unknown(call, &finished)),
        }
    }
}

fn unknown(call: &'static str, finished: &Finished) -> AbraError {
    let tail = clean(finished.tail.join("\n").as_bytes());
    AbraError::Unknown {
        call,
        how: finished.how(),
        line: tail.last().map_or("(nothing)", String::as_str).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use engine::wait::{Deadline, Poll, WaitError, poll_until};

    /// The stand-in of the tests in a directory of its own, with `quirks` and a call that hangs.
    async fn stand_in(dir: &Path, quirks: &str, hang: &str) -> Result<Abra, AbraError> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let path = "/usr/local/bin:/usr/bin:/bin";
        let base = BTreeMap::from([("PATH".into(), path.into())]);
        let tool = Processes::new(base);
        let recipe = dir.join("recipes/notes");
        std::fs::create_dir_all(dir.join("recipes")).unwrap();
        let make = Cmd::new("sh", dir)
            .arg(repository.join("tests/recipes/make.sh"))
            .arg("notes")
            .arg(recipe);
        assert!(tool.run(&make, MEDIUM).await.unwrap().success());
        let base = [
            (
                "PATH",
                format!("{}/tests/fakes:{path}", repository.display()),
            ),
            ("FAKE_ABRA_DIR", dir.join("fake").display().to_string()),
            ("FAKE_ABRA_QUIRKS", quirks.to_owned()),
            ("FAKE_ABRA_HANG", hang.to_owned()),
        ];
        let base = base.map(|(key, value)| (key.into(), value.into()));
        Abra::find(
            &Processes::new(BTreeMap::from(base)),
            dir,
            "unix:///nowhere",
        )
        .await
    }

    /// What it started ignores TERM, and would hold the app long after abra is dead.
    #[tokio::test(flavor = "current_thread")]
    async fn a_deploy_that_hangs_is_killed_with_its_children_and_the_error_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let mut abra = stand_in(dir.path(), "", "app deploy").await.unwrap();
        assert_eq!(abra.deploy_limit, DEPLOY);
        let mut limits = [2, 10, 60].into_iter();
        let (limit, error) = loop {
            let limit = limits.next().expect("it never began");
            abra.deploy_limit = Duration::from_secs(limit);
            let error = abra.app_deploy("x", Deploy::Chaos).await.unwrap_err();
            if error.to_string().contains("it said last") {
                break (limit, error);
            }
        };
        assert_eq!(
            error.to_string(),
            format!(
                "`abra app deploy` did not end within {limit} s and was killed; it said last: \
                 INFO waiting for a registry"
            )
        );
        assert!(!error.is_refusal(), "the recipe is not to blame");
        let hint = error.hint();
        assert!(
            hint.contains("`docker pull`") && hint.contains("--driver stack"),
            "{hint}"
        );
        let child = ground::host_file::text(dir.path().join("fake/hangs")).unwrap();
        let gone = || async {
            let stat = Path::new("/proc").join(&child).join("stat");
            let stat = ground::host_file::text(stat).unwrap_or_default();
            Ok(if stat.is_empty() || stat.contains(") Z ") {
                Poll::Ready(())
            } else {
                Poll::NotYet(stat)
            })
        };
        let waited: Result<(), WaitError<std::convert::Infallible>> = poll_until(
            Deadline::after(Duration::from_secs(30)),
            Duration::from_millis(10),
            gone,
        )
        .await;
        waited.unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_unknown_answer_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let abra = stand_in(dir.path(), "+garbage", "").await.unwrap();
        let error = abra.app_ls().await.unwrap_err();
        assert!(
            matches!(&error, AbraError::Unknown { line, .. } if line.contains("elsewhere today")),
            "{error}"
        );
        assert!(!error.is_refusal());
    }
}
