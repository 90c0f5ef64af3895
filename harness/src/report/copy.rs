//! A form of the report in a place of the caller's, such as a pipeline's workspace.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::file::{self, ResultsError};
use super::papers::Form;
use ground::host_file;

/// A form of the report that is wanted somewhere else, such as in a pipeline's workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The form.
    pub form: Form,
    /// Where it goes.
    pub path: PathBuf,
}

impl Copy {
    /// Writes it, from the `results.json` in `dir`.
    ///
    /// # Errors
    /// [`ResultsError`]: there is no report, or its form cannot be written there.
    pub fn write(&self, dir: &Path) -> Result<(), ResultsError> {
        let results = file::read(&dir.join("results.json"))?;
        let write = || {
            let mut file = host_file::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o644)
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(&self.path)?;
            file.write_all(self.form.of(&results).as_bytes())
        };
        write().map_err(|source| ResultsError::Write {
            path: self.path.clone(),
            source,
        })
    }
}
