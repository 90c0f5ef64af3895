//! The abra that kept its contract on this host. `doctor --abra` writes it down, `--driver auto` asks for it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Abra;
use engine::dirs;
use engine::hash::HashWriter;
use engine::record::{self, Durability};
use ground::host_file;

/// What tells one abra from another. A wrapper script has the content of the script alone, therefore the version, which
/// the program itself says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    program: PathBuf,
    version: String,
    size: u64,
    sha256: String,
}

impl Proof {
    /// Returns what `abra` is now.
    ///
    /// # Errors
    /// The program cannot be read.
    pub fn of(abra: &Abra) -> io::Result<Self> {
        Self::of_program(&abra.program, &abra.version)
    }

    /// Returns what the program at `program` is, which says that it is of this `version`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_program(program: &Path, version: &str) -> io::Result<Self> {
        let mut hash = Sha256::new();
        let size = io::copy(&mut host_file::open(program)?, &mut HashWriter(&mut hash))?;
        Ok(Self {
            program: program.to_owned(),
            version: version.to_owned(),
            size,
            sha256: hex::encode(hash.finalize()),
        })
    }

    /// Writes it down in this host's state directory.
    ///
    /// # Errors
    /// The state directory cannot be made or written.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        dirs::ensure_writable("state directory", state).map_err(io::Error::other)?;
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        record::replace(&file(state), &text, Durability::Kill)
    }

    /// Returns what is written down in the state directory; none where nothing was.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn read(state: &Path) -> io::Result<Option<Self>> {
        match host_file::bytes(file(state)) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes back what was written down, if anything.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(state: &Path) -> io::Result<()> {
        match std::fs::remove_file(file(state)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns why the program at `program`, of this `version`, is not the one that kept its contract here; none where
    /// it is. It reads the whole program where path and version are the same.
    #[must_use]
    pub fn lacks(state: &Path, program: &Path, version: &str) -> Option<String> {
        match Self::read(state) {
            Err(error) => Some(format!("{} is unreadable: {error}", file(state).display())),
            Ok(None) => Some("it was never checked on this host".to_owned()),
            Ok(Some(proof)) if (&*proof.program, &*proof.version) != (program, version) => {
                Some(format!(
                    "abra {} at {} was checked on this host, and no other",
                    proof.version,
                    proof.program.display()
                ))
            }
            Ok(Some(proof)) => match Self::of_program(program, version) {
                Err(error) => Some(format!("it cannot be read: {error}")),
                Ok(now) if now != proof => Some("it has changed since it was checked".to_owned()),
                Ok(_) => None,
            },
        }
    }
}

/// The command that checks abra and writes the result down.
pub const COMMAND: &str = "recipe-ci doctor --abra";

fn file(state: &Path) -> PathBuf {
    state.join("abra.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_that_was_checked_is_proven() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let program = dir.path().join("abra");
        let lacks = |version| Proof::lacks(&state, &program, version).unwrap_or_default();
        std::fs::write(&program, "one").unwrap();
        assert_eq!(lacks("0.13"), "it was never checked on this host");
        let proof = Proof::of_program(&program, "0.13").unwrap();
        proof.write(&state).unwrap();
        assert_eq!(Proof::read(&state).unwrap(), Some(proof));
        assert_eq!(lacks("0.13"), "");
        let other = format!(
            "abra 0.13 at {} was checked on this host, and no other",
            program.display()
        );
        assert_eq!(lacks("0.14"), other);
        // Of the same length.
        std::fs::write(&program, "two").unwrap();
        assert_eq!(lacks("0.13"), "it has changed since it was checked");
        std::fs::remove_file(&program).unwrap();
        assert!(lacks("0.13").starts_with("it cannot be read: "));
        std::fs::write(state.join("abra.json"), "{}").unwrap();
        assert!(lacks("0.13").contains("abra.json is unreadable: "));
        Proof::remove(&state).unwrap();
        Proof::remove(&state).unwrap();
        assert_eq!(lacks("0.13"), "it was never checked on this host");
    }
}
