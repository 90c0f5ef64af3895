//! What tells the children of one run from all other processes: their control group, and a variable with a value that no
//! other run has.

use std::io;
use std::path::Path;

use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use engine::dirs::RunDirs;
use engine::lock::SectionLock;
use engine::process::cgroup::Group;
use engine::process::{Identity, RUN_MARK};
use engine::record::{Durability, replace};
use ground::host_file;

/// How many bytes of chance a token has. A run's id is used again once its directory is gone; a token never.
const TOKEN_BYTES: usize = 16;

/// How the children of a run are marked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The value of [`RUN_MARK`] in every child's environment.
    pub(crate) token: String,
    /// The run's worker; no child of the run is older.
    pub(crate) process: Identity,
    /// The run's control group, where it has one. Records of older versions have none.
    #[serde(default)]
    pub(crate) group: Option<Group>,
}

impl Mark {
    /// Makes the mark of the run of `dirs`. It takes the run's lock as a proof that it is held: who reads a
    /// mark and then finds the lock free must be able to tell that the run is over, not that it begins.
    ///
    /// # Errors
    /// What the system says when it cannot be kept; then no child may be marked with it.
    pub(crate) fn make(
        dirs: &RunDirs,
        group: Option<Group>,
        _held: &SectionLock,
    ) -> io::Result<Self> {
        let mark = Self {
            token: hex::encode(rand::rng().random::<[u8; TOKEN_BYTES]>()),
            process: Identity::own()?,
            group,
        };
        let text = serde_json::to_vec_pretty(&mark)?;
        replace(&RunDirs::mark(&dirs.root), &text, Durability::Kill)?;
        Ok(mark)
    }

    /// Returns the variable that marks a child.
    pub(crate) fn variable(&self) -> (&'static str, &str) {
        (RUN_MARK, &self.token)
    }

    /// Returns whether [`Self::read`] failed for a text that is no mark, as a crash of the system can leave it.
    pub(crate) fn is_garbled(error: &io::Error) -> bool {
        matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        )
    }

    /// Reads the mark of the run at `root`; nothing when it has none, because it has not begun or has ended.
    ///
    /// # Errors
    /// What the system says; one that [`Self::is_garbled`] knows when the text is no mark. An empty token would be
    /// found in processes that have nothing to do with any run.
    pub(crate) fn read(root: &Path) -> io::Result<Option<Self>> {
        let text = match host_file::bytes(RunDirs::mark(root)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mark: Self = serde_json::from_slice(&text)?;
        match hex::decode(&mark.token) {
            Ok(bytes) if bytes.len() == TOKEN_BYTES => Ok(Some(mark)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its token is not recipe-ci's",
            )),
        }
    }
}
