//! Background tasks that are done once, with one result for everybody who asks.
//!
//! A task has an id in a directory. The first call for it starts its *runner*, a small process of this program
//! in a session of its own, which starts the command and waits for it; everybody else waits for the runner.
//! The files of a task:
//!
//! - `<id>.task`, mode 0644: the attempt, written whole before anybody can see it: pid, start time and boot of the task
//!   and its runner. The runner holds an exclusive `flock` of it while it lives, and appends what the task came to at
//!   the end. A waiter keeps the file open, so that its answer reaches it even when the task was reset, forgotten or
//!   started again meanwhile.
//! - `<id>.lock`, mode 0600: the same once more, held as long. Only the owner can hold it, and
//!   each of the two files makes up for the loss of the other.
//! - `<id>.pid`, mode 0644: the task's pid alone, for shells. Nothing here believes it.
//! - `<id>.exit`, mode 0644: the exit code alone, kept for those who ask later; how old it is decides how old the result
//!   is. It is a result only while it is the one that the attempt in `<id>.task` announces, and none where it says that
//!   the task was interrupted (128 to 165).
//! - `<id>.cmd`, mode 0600: the command and its directory, for those who wait without naming one.
//! - `<id>.log`, `<id>.out`, `<id>.err`, mode 0600: what the task wrote to both streams, to its standard output and to its
//!   standard error; with `.1` behind it what the attempt before wrote.
//!
//! A call that decides (starts, ends, forgets) holds an exclusive `flock` of the *directory* while doing so, for
//! a few milliseconds: no file that is removed can let two of them decide at once. Decision 0020 says why
//! it is like this, and what happens when which process is killed.
//!
//! [`shared`] is the form for the library's own work: the first caller does it, the others get its outcome.

mod attempt;
mod end;
mod logs;
mod result;
pub mod runner;
mod shared;
mod start;
mod state;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

pub use end::{Ending, forget, forget_ended, kill, reset};
pub use logs::{Written, written};
pub use shared::{Outcome, shared};
pub use start::{Ask, Ended, Notice, Started, Starter, Waited, start, wait};
pub use state::{Condition, Row, list, peek};

use crate::lock::{LockError, file};
use crate::process::Identity;
use ground::host_file;

/// A runner's line that says that the task runs.
const READY: &str = "ready";

/// A runner's line that says that the command cannot be executed begins so.
const REFUSED: &str = "refused ";

/// The exit code of a task that was killed: 128 + SIGKILL, as shells say it.
const KILLED: u8 = 137;

/// The variable that marks every process of an attempt with its token.
pub const MARK: &str = "RECIPE_CI_ONCE";

/// How often a task that is killed with SIGKILL is run again for those who wait, the first time included. A
/// task that the kernel kills for its memory would be run for ever without a limit.
pub const ATTEMPTS: u32 = 3;

/// Why a task could not be started, waited for or ended.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// The id cannot be part of a file name, or is empty.
    #[error("task id `{id}` is not usable: {reason}")]
    Id {
        /// What was given.
        id: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A file or directory cannot be used.
    #[error("`{path}` is not usable")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory is another user's.
    #[error("`{path}` belongs to user {owner}, who alone may start and end tasks in it")]
    Foreign {
        /// Which directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others could put files where this user's tasks are.
    #[error("`{path}` can be written by others, who could pass off results")]
    Open {
        /// Which directory.
        path: PathBuf,
    },
    /// There is neither a task nor a result, and no command to start one.
    #[error(
        "task `{id}` neither runs nor has a result that still counts, and no command was given or recorded"
    )]
    NoCommand {
        /// The task.
        id: TaskId,
    },
    /// The directory that was recorded with the command is gone.
    #[error("task `{id}` ran in `{path}`, which is not there any more")]
    NoDirectory {
        /// The task.
        id: TaskId,
        /// The directory.
        path: PathBuf,
    },
    /// The command cannot be executed.
    #[error("task `{id}` cannot be started: {reason}")]
    Refused {
        /// The task.
        id: TaskId,
        /// What the system said.
        reason: String,
    },
    /// The runner did not come to start the task.
    #[error("the runner of task `{id}` failed: {reason}")]
    Runner {
        /// The task.
        id: TaskId,
        /// What happened.
        reason: String,
    },
    /// The runner could not be started.
    #[error("the runner of task `{id}` cannot be started")]
    Spawn {
        /// The task.
        id: TaskId,
        /// What failed.
        #[source]
        source: crate::process::ProcessError,
    },
    /// A lock failed.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl OnceError {
    fn unusable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unusable {
            path: path.to_owned(),
            source,
        }
    }

    /// Returns whether the call is to blame, rather than the host.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Id { .. }
            | Self::Foreign { .. }
            | Self::Open { .. }
            | Self::NoCommand { .. }
            | Self::NoDirectory { .. }
            | Self::Refused { .. } => true,
            Self::Unusable { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::NotADirectory
            ),
            Self::Runner { .. } | Self::Spawn { .. } => false,
            Self::Lock(error) => matches!(error, LockError::NetworkFileSystem { .. }),
        }
    }
}

/// The name of a task: `[A-Za-z0-9][A-Za-z0-9._:-]*` without `..`, at most 100 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(String);

impl TaskId {
    /// Returns the id that stands for `text`, which may be anything: an image, a URL.
    #[must_use]
    pub fn digest(text: &str) -> Self {
        Self(hex::encode(&Sha256::digest(text.as_bytes())[..16]))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TaskId {
    type Err = OnceError;

    fn from_str(id: &str) -> Result<Self, OnceError> {
        let refuse = |reason| {
            Err(OnceError::Id {
                id: id.to_owned(),
                reason,
            })
        };
        if id.is_empty() || id.len() > 100 {
            return refuse("it must have 1 to 100 characters");
        }
        if !id.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return refuse("it does not begin with a letter or a digit");
        }
        if id.contains("..") {
            return refuse("it contains `..`");
        }
        if !id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c))
        {
            return refuse("only letters, digits, `.`, `_`, `:` and `-` are allowed");
        }
        Ok(Self(id.to_owned()))
    }
}

/// What a task runs.
#[derive(Debug, Clone)]
pub struct Command(pub Vec<OsString>);

impl Command {
    /// Returns what tells commands apart. Others may read it, unlike the words, which may be secret.
    fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for word in &self.0 {
            digest.update(word.as_encoded_bytes());
            // No word of a command line can hold it.
            digest.update([0]);
        }
        hex::encode(digest.finalize())
    }

    fn line(&self) -> String {
        self.0.join(OsStr::new(" ")).to_string_lossy().into_owned()
    }
}

/// A directory of tasks.
#[derive(Debug, Clone)]
pub struct OnceDir {
    path: PathBuf,
    boot: String,
    owner: u32,
}

impl OnceDir {
    /// Returns the directory at `path`, which may be another user's; `None` when it does not exist.
    ///
    /// # Errors
    /// [`OnceError`] when it is not a directory, cannot be reached, or is on a network file system.
    pub fn open(path: &Path) -> Result<Option<Self>, OnceError> {
        let unusable = OnceError::unusable(path);
        let meta = match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => meta,
            Ok(_) => return Err(unusable(io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(error)),
        };
        crate::lock::refuse_network_file_system(path)?;
        Ok(Some(Self {
            path: path.to_owned(),
            boot: Identity::own().map_err(unusable)?.boot,
            owner: meta.uid(),
        }))
    }

    /// Creates the directory where it is missing, with those above it, all with mode 0711: others may wait
    /// for a task whose id they know, and may not look around.
    ///
    /// # Errors
    /// [`OnceError`].
    pub fn create(path: &Path) -> Result<Self, OnceError> {
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
        for dir in missing.into_iter().rev() {
            let made = std::fs::create_dir(dir).and_then(|()| {
                // Not by the mode of mkdir(2), from which the umask takes away.
                std::fs::set_permissions(dir, PermissionsExt::from_mode(0o711))
            });
            match made {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(OnceError::unusable(dir)(error));
                }
                _ => {}
            }
        }
        Self::open(path)?.ok_or_else(|| OnceError::unusable(path)(io::ErrorKind::NotFound.into()))
    }

    /// Returns whether this user may start and end tasks here. Root is no exception: in another user's
    /// directory a link could lead it anywhere.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.owner == nix::unistd::geteuid().as_raw()
    }

    /// Returns whose it is: a user's number.
    #[must_use]
    pub fn owner(&self) -> u32 {
        self.owner
    }

    fn require_own(&self) -> Result<(), OnceError> {
        if self.is_own() {
            return Ok(());
        }
        Err(OnceError::Foreign {
            path: self.path.clone(),
            owner: self.owner,
        })
    }

    /// Waits until this process alone decides about tasks of this directory, until the file is dropped.
    async fn section(&self) -> Result<File, OnceError> {
        self.require_own()?;
        let dir = host_file::open(&self.path).map_err(OnceError::unusable(&self.path))?;
        let mode = dir
            .metadata()
            .map_err(OnceError::unusable(&self.path))?
            .mode();
        if mode & 0o022 != 0 {
            return Err(OnceError::Open {
                path: self.path.clone(),
            });
        }
        let locked = file::exclusive(dir).await;
        locked.map_err(OnceError::unusable(&self.path))
    }

    fn file(&self, id: &TaskId, what: &str) -> PathBuf {
        self.path.join(format!("{id}.{what}"))
    }

    /// Returns the ids of all tasks that have a file here.
    fn ids(&self) -> Result<Vec<TaskId>, OnceError> {
        let unusable = |error| OnceError::unusable(&self.path)(error);
        let mut ids = Vec::new();
        for entry in host_file::entries(&self.path).map_err(unusable)? {
            let name = entry.map_err(unusable)?.file_name();
            let id = FILES
                .iter()
                .find_map(|what| name.to_str()?.strip_suffix(what)?.strip_suffix('.'));
            // What is not named like a task's file is not ours.
            if let Some(Ok(id)) = id.map(str::parse) {
                ids.push(id);
            }
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }
}

/// The files of a task, in the order in which they are removed: a result never outlives its attempt.
const FILES: [&str; 11] = [
    "exit", "task", "pid", "cmd", "log", "out", "err", "log.1", "out.1", "err.1", "lock",
];

/// Returns the time since boot, in milliseconds, sleep included.
///
/// Ages of results are measured by it: all of its readers are of one boot, whose id is part of a result, and
/// it cannot be set, unlike the wall clock.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_file_name_and_nothing_else() {
        for good in [
            "a",
            "pull-nginx_1.25",
            "catalog:4.19:operators",
            "0",
            &"a".repeat(100),
        ] {
            good.parse::<TaskId>().unwrap();
        }
        for bad in [
            "",
            ".a",
            "-a",
            ":a",
            "a/b",
            "../a",
            "a..b",
            "a b",
            "a\n",
            "é",
            &"a".repeat(101),
        ] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad:?} was accepted");
        }
        TaskId::digest("docker.io/library/nginx:1")
            .as_str()
            .parse::<TaskId>()
            .unwrap();
    }

    #[test]
    fn commands_differ_by_their_words_not_by_their_line() {
        let command = |words: &[&str]| Command(words.iter().map(OsString::from).collect());
        assert_ne!(
            command(&["a", "b c"]).digest(),
            command(&["a b", "c"]).digest()
        );
        assert_eq!(command(&["a", "b"]).digest(), command(&["a", "b"]).digest());
        assert_ne!(command(&["a"]).digest(), command(&["a", ""]).digest());
    }

    #[test]
    fn directories_are_0711_whatever_the_umask() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state/once");
        assert!(OnceDir::open(&path).unwrap().is_none());
        let dir = OnceDir::create(&path).unwrap();
        assert!(dir.is_own());
        for made in [&path, &root.path().join("state")] {
            assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o711);
        }
    }
}
