//! A file of the report in a place of the caller's, such as a pipeline's workspace.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::file::ResultsError;
use ground::host_file;

/// A file of the report that is wanted somewhere else, such as in a pipeline's workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Its name in the run's directory.
    pub file: &'static str,
    /// Where it goes.
    pub path: PathBuf,
}

impl Copy {
    /// Writes what the run left in `dir`.
    ///
    /// # Errors
    /// [`ResultsError`]: the run left no such file, or it cannot be written there.
    pub fn write(&self, dir: &Path) -> Result<(), ResultsError> {
        let left = dir.join(self.file);
        let text = host_file::bytes(&left).map_err(|source| ResultsError::Read {
            path: left.clone(),
            source,
        })?;
        let write = || {
            let mut file = host_file::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o644)
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(&self.path)?;
            file.write_all(&text)
        };
        write().map_err(|source| ResultsError::Write {
            path: self.path.clone(),
            source,
        })
    }
}
