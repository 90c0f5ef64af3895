//! Every path of the harness, worked out once.
//!
//! Nothing of a run is kept under the step's working directory or under its `HOME`: CI runners delete
//! both under a run that they cancel.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use ground::name::{Domain, RecipeName, RunId, Zone};

/// Where the full outputs of steps are, below a run directory.
pub const LOGS: &str = "logs";
/// The directory of a run's state, below the run's own.
const STATE: &str = "state";

/// The directory of env files, below an abra directory: one for each server.
const SERVERS: &str = "servers";

/// Places of this host that all runs share.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct HostDirs {
    /// Where the app locks are; the predecessor's place, so that both harnesses see the same locks.
    pub locks: PathBuf,
    /// Where run directories are.
    pub runs: PathBuf,
    /// Where the host's own state is (last sweep, image locks).
    pub state: PathBuf,
    /// Where the engines of single runs are, which is the host's for runs on every engine.
    pub rooms: PathBuf,
    /// Where the warm apps' snapshots and records are, a directory per recipe.
    pub warm: PathBuf,
    /// The canonical abra directory, usually `~/.abra`.
    pub abra: PathBuf,
}

/// A directory that could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum DirsError {
    /// It cannot be created or written.
    #[error("{what} `{path}` is not usable")]
    Unusable {
        /// What it is for: `runs directory`.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something that is not a link is where the run's link belongs.
    #[error("`{path}` is in the way: a link to `{target}` belongs there")]
    InTheWay {
        /// What is in the way.
        path: PathBuf,
        /// Where the link would point.
        target: PathBuf,
    },
}

impl DirsError {
    /// Returns whether the person who gave the path is to blame (it does not exist, may not be written),
    /// rather than the host (disk full, I/O error).
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Unusable { source, .. } => is_usage(source),
            Self::InTheWay { .. } => true,
        }
    }
}

/// Returns whether what the system says of a path is about the path that was given, not about the host.
pub fn is_usage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::NotFound
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::InvalidInput
    )
}

/// Creates a directory of a run, and what is missing above it, for this user alone.
fn make(what: &'static str, path: &Path) -> Result<(), DirsError> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|source| DirsError::Unusable {
        what,
        path: path.to_owned(),
        source,
    })
}

/// Makes a link to `target` at `path`; one that is there already stays.
fn link(target: &Path, path: &Path) -> Result<(), DirsError> {
    let path = path.to_owned();
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_symlink() => Ok(()),
        Ok(_) => Err(DirsError::InTheWay {
            path,
            target: target.to_owned(),
        }),
        Err(_) => symlink(target, &path).map_err(|source| DirsError::Unusable {
            what: "abra directory",
            path,
            source,
        }),
    }
}

/// Returns the name of the env file of a domain.
fn env_file_name(domain: &Domain) -> String {
    format!("{domain}.env")
}

/// Creates a directory that runs share, and what is missing above it: others may look for what is in it.
fn make_shared(what: &'static str, path: &Path) -> Result<(), DirsError> {
    let unusable = |source| DirsError::Unusable {
        what,
        path: path.to_owned(),
        source,
    };
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        // Not by the mode of mkdir(2), from which the umask of a run takes everything.
        let open = fs::Permissions::from_mode(0o755);
        match fs::create_dir(dir).and_then(|()| fs::set_permissions(dir, open)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unusable(error));
            }
            _ => {}
        }
    }
    // Says what is wrong with one that is there and is no directory.
    fs::create_dir_all(path).map_err(unusable)
}

/// Creates a directory when it is missing and proves that files can be made in it.
///
/// # Errors
/// [`DirsError::Unusable`] that names the directory as `what`.
pub fn ensure_writable(what: &'static str, path: &Path) -> Result<(), DirsError> {
    make_shared(what, path)?;
    tempfile::Builder::new()
        .prefix(".probe-")
        .tempfile_in(path)
        .map(drop)
        .map_err(|source| DirsError::Unusable {
            what,
            path: path.to_owned(),
            source,
        })
}

impl HostDirs {
    /// Returns places of their own below `root`, none of which exists yet.
    #[cfg(any(test, feature = "testing"))]
    pub fn below(root: &Path) -> Self {
        Self {
            locks: root.join("lock"),
            runs: root.join("runs"),
            state: root.join("state"),
            rooms: root.join("state/rooms"),
            abra: root.join("abra"),
            warm: root.join("warm"),
        }
    }

    /// The same with the lock directory made.
    #[cfg(any(test, feature = "testing"))]
    pub fn with_locks(root: &Path) -> Self {
        let host = Self::below(root);
        std::fs::create_dir_all(&host.locks).expect("the root is writable");
        host
    }

    /// Returns the lock file of a domain. The name is the predecessor's.
    #[must_use]
    pub fn lock_file(&self, domain: &Domain) -> PathBuf {
        self.locks.join(Self::lock_file_name(domain))
    }

    /// Returns where an earlier step stages the checkout of `recipe`.
    #[must_use]
    pub fn staged(&self, recipe: &str) -> PathBuf {
        self.abra.join("recipes").join(recipe)
    }

    /// Returns the name of the lock file of `domain`.
    fn lock_file_name(domain: &Domain) -> String {
        format!("cc-ci-app-{domain}.lock")
    }

    /// Returns the domain whose lock file has this name, if it is a run app of `zone`.
    #[must_use]
    pub fn domain_of_lock_file(name: &std::ffi::OsStr, zone: &Zone) -> Option<Domain> {
        let name = name.to_str()?;
        let domain = name.strip_prefix("cc-ci-app-")?.strip_suffix(".lock")?;
        Domain::parse(domain, zone).ok()
    }

    /// Returns where earlier versions kept clones of recipes; the janitor removes it.
    #[must_use]
    pub fn clones(&self) -> PathBuf {
        self.state.join("clones")
    }

    /// Returns where it is written down what was made for apps.
    #[must_use]
    pub fn made(&self) -> PathBuf {
        self.state.join("made")
    }

    /// Returns the canonical env file of a domain on a server.
    #[must_use]
    pub fn env_file(&self, server: &str, domain: &Domain) -> PathBuf {
        let directory = self.abra.join(SERVERS).join(server);
        directory.join(env_file_name(domain))
    }
}

/// The places of one run.
#[derive(Debug, Clone)]
pub struct RunDirs {
    /// The run directory itself.
    pub root: PathBuf,
    /// The id under which it really exists; a used id gets a suffix.
    pub id: RunId,
    /// This run's `ABRA_DIR`.
    pub abra: PathBuf,
    /// What the abra driver works in: like `abra`, with a checkout that moves.
    pub abra_work: PathBuf,
    /// Full outputs of steps.
    pub logs: PathBuf,
    /// Snapshots of the backup tier; removed at the end, because they may hold secrets.
    pub backups: PathBuf,
    /// State files that tests may read.
    pub state: PathBuf,
    /// Copies of tests and hooks, taken before any checkout moves.
    pub tests: PathBuf,
    /// A directory for the tests' `PATH` that holds `recipe-ci`.
    pub bin: PathBuf,
    /// The tree of the version that is upgraded from.
    pub base: PathBuf,
}

impl RunDirs {
    /// Creates the directory of a run under `host.runs`, with a suffix when `id` has been used before.
    ///
    /// # Errors
    /// [`DirsError`] when it cannot be made.
    pub fn create(host: &HostDirs, id: &RunId) -> Result<Self, DirsError> {
        make_shared("runs directory", &host.runs)?;
        let unusable = |source| DirsError::Unusable {
            what: "runs directory",
            path: host.runs.clone(),
            source,
        };
        let mut number = 1_u32;
        let (root, id) = loop {
            let name = if number == 1 {
                id.to_string()
            } else {
                format!("{id}-{number}")
            };
            let root = host.runs.join(&name);
            // mkdir is the arbiter between two runs that were given one id.
            match fs::DirBuilder::new().mode(0o700).create(&root) {
                Ok(()) => break (root, name.parse().unwrap_or_else(|_| id.clone())),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(unusable(error)),
            }
        };
        let dirs = Self {
            abra: root.join("abra"),
            abra_work: root.join("abra-work"),
            logs: root.join(LOGS),
            backups: root.join("backups"),
            state: root.join(STATE),
            tests: root.join("tests"),
            bin: root.join("bin"),
            base: root.join("base"),
            root,
            id,
        };
        for path in [
            &dirs.logs,
            &dirs.backups,
            &dirs.state,
            &dirs.tests,
            &dirs.bin,
        ] {
            make("run directory", path)?;
        }
        Ok(dirs)
    }

    /// Builds this run's `ABRA_DIR`: `catalogue` is a link to the canonical one, `recipes` is its own and empty, so that
    /// two runs of a recipe never share a checkout, and `servers` is its own as well, with nothing in it but what
    /// [`RunDirs::link_env_file`] puts there. May be called again.
    ///
    /// # Errors
    /// [`DirsError`] when something that is no link is in the way, or the system refuses.
    pub fn make_abra(&self, host: &HostDirs) -> Result<(), DirsError> {
        Self::make_abra_dir(&self.abra, host)
    }

    /// Builds what the abra driver works in, in the same way.
    ///
    /// # Errors
    /// As [`RunDirs::make_abra`].
    pub fn make_abra_work(&self, host: &HostDirs) -> Result<(), DirsError> {
        Self::make_abra_dir(&self.abra_work, host)
    }

    fn make_abra_dir(dir: &Path, host: &HostDirs) -> Result<(), DirsError> {
        for own in ["recipes", SERVERS] {
            make("abra directory", &dir.join(own))?;
        }
        make("abra directory", &host.abra.join(SERVERS))?;
        let target = host.abra.join("catalogue");
        make("abra directory", &target)?;
        link(&target, &dir.join("catalogue"))
    }

    /// Makes the canonical env file of an app of this run known in its abra directories, whether it is there already or
    /// is made through them. Those of other apps, and a git repository that an operator keeps them in, are out of reach
    /// there. May be called again.
    ///
    /// # Errors
    /// As [`RunDirs::make_abra`].
    pub fn link_env_file(
        &self,
        host: &HostDirs,
        server: &str,
        domain: &Domain,
    ) -> Result<(), DirsError> {
        // A file cannot be made through a link into a directory that is not there.
        make("abra directory", &host.abra.join(SERVERS).join(server))?;
        let target = host.env_file(server, domain);
        for dir in [&self.abra, &self.abra_work] {
            let directory = dir.join(SERVERS).join(server);
            make("abra directory", &directory)?;
            link(&target, &directory.join(env_file_name(domain)))?;
        }
        Ok(())
    }

    /// Returns the run's places for the app of a dependency: its own state, tests and backups, so that nothing of
    /// two apps has one name, and the run's for everything else.
    ///
    /// # Errors
    /// [`DirsError`] when they cannot be made.
    pub fn of_dependency(&self, recipe: &RecipeName) -> Result<Self, DirsError> {
        self.below(Path::new("dependencies").join(recipe.as_str()))
    }

    /// Returns the run's places for the app that is a fresh install of the head: its own state, tests and backups.
    ///
    /// # Errors
    /// [`DirsError`] when they cannot be made.
    pub fn of_fresh(&self) -> Result<Self, DirsError> {
        self.below("fresh")
    }

    /// Returns the run's places for one more app of the recipe under test, that is called `name`: as of the fresh install,
    /// and with a base and logs of its own.
    ///
    /// # Errors
    /// [`DirsError`] when they cannot be made.
    pub fn of_other(&self, name: &str) -> Result<Self, DirsError> {
        let dirs = Self {
            base: self.root.join("bases").join(name),
            logs: self.logs.join(name),
            ..self.below(Path::new("others").join(name))?
        };
        make("run directory", &dirs.logs)?;
        Ok(dirs)
    }

    fn below(&self, name: impl AsRef<Path>) -> Result<Self, DirsError> {
        let below = |dir: &Path| dir.join(&name);
        let dirs = Self {
            state: below(&self.state),
            tests: below(&self.tests),
            backups: below(&self.backups),
            ..self.clone()
        };
        for path in [&dirs.state, &dirs.tests, &dirs.backups] {
            make("run directory", path)?;
        }
        Ok(dirs)
    }

    /// Returns what a run needs only while it lasts, below its directory `root`; the rest is its record. The
    /// state comes last, because it holds the proof of whose all this is.
    #[must_use]
    pub fn working(root: &Path) -> [PathBuf; 8] {
        [
            "backups",
            "abra",
            "abra-work",
            "tests",
            "bin",
            "base",
            "bases",
            STATE,
        ]
        .map(|name| root.join(name))
    }

    /// Returns the lock that the worker of the run at `root` holds while it lives.
    #[must_use]
    pub fn live_lock(root: &Path) -> PathBuf {
        root.join(STATE).join("live.lock")
    }

    /// Returns where the run at `root` says how its children are marked.
    #[must_use]
    pub fn mark(root: &Path) -> PathBuf {
        root.join(STATE).join("mark.json")
    }

    /// Removes what [`RunDirs::working`] names; returns what would not go. What is not there is fine.
    pub fn remove_working(root: &Path) -> Vec<(PathBuf, io::Error)> {
        Self::remove_working_but(root, &[])
    }

    /// The same, without the state files of these names. Where there are any, the run goes on in another process, and
    /// its mark and lock stay as well.
    ///
    /// The mark and then the lock go last, and only when nothing else is left: a process that is killed in the middle
    /// of this leaves a directory that the next janitor still knows for a dead run's.
    pub fn remove_working_but(root: &Path, kept: &[&str]) -> Vec<(PathBuf, io::Error)> {
        let mut left = Vec::new();
        let mut remove = |path: &Path| {
            let removed = match fs::symlink_metadata(path) {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
                Ok(_) => fs::remove_file(path),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    left.push((path.to_owned(), error));
                    false
                }
                _ => true,
            }
        };
        let state = root.join(STATE);
        let mut clear = true;
        for path in Self::working(root) {
            clear &= path == state || remove(&path);
        }
        let (mark, lock) = (Self::mark(root), Self::live_lock(root));
        let entries = ground::host_file::entries(&state)
            .and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        // What cannot be listed is kept by the mark, which is then not removed either: `state` does not go.
        for entry in entries.iter().flatten() {
            let path = entry.path();
            let stays = kept.iter().any(|name| entry.file_name() == *name);
            clear &= stays || path == mark || path == lock || remove(&path);
        }
        if clear && kept.is_empty() && (entries.is_err() || (remove(&mark) && remove(&lock))) {
            remove(&state);
        }
        left
    }

    /// Returns the run's checkout of its recipe.
    #[must_use]
    pub fn recipe(&self, recipe: &str) -> PathBuf {
        self.abra.join("recipes").join(recipe)
    }

    /// Returns where the run's results are.
    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.root.join("results.json")
    }

    /// Returns the run's own log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("run.log")
    }

    /// Returns a state file of this run, keyed by run and process and never by domain: two runs of one
    /// domain overlap before the lock.
    #[must_use]
    pub fn state_file(&self, name: &str) -> PathBuf {
        self.state
            .join(format!("{name}-{}-{}", self.id, std::process::id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_run_id_gets_a_suffix_and_nothing_is_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let id: RunId = "7".parse().unwrap();
        let first = RunDirs::create(&host, &id).unwrap();
        let second = RunDirs::create(&host, &id).unwrap();
        assert_eq!(first.id.as_str(), "7");
        assert_eq!(second.id.as_str(), "7-2");
        assert_ne!(first.root, second.root);
    }

    #[test]
    fn a_runs_directory_that_is_a_file_is_a_usage_error() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        fs::write(&host.runs, "").unwrap();
        let error = RunDirs::create(&host, &"x".parse().unwrap()).unwrap_err();
        assert!(error.is_usage(), "{error}");
    }
}
