//! A command, put together before it is run.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A command that can be run once or more.
#[derive(Debug, Clone)]
pub struct Cmd {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: BTreeMap<OsString, OsString>,
    pub(super) bare: bool,
    pub(super) dir: PathBuf,
    pub(super) input: Option<Vec<u8>>,
    pub(super) label: String,
    pub(super) log: Option<PathBuf>,
    pub(super) pty: bool,
}

impl Cmd {
    /// Creates a command that will run in `dir`, because the directory of the step may be gone.
    pub fn new(program: impl AsRef<OsStr>, dir: &Path) -> Self {
        let program = program.as_ref().to_owned();
        let label = Path::new(&program)
            .file_name()
            .unwrap_or(&program)
            .to_string_lossy()
            .into_owned();
        Self {
            program,
            args: Vec::new(),
            env: BTreeMap::new(),
            bare: false,
            dir: dir.to_owned(),
            input: None,
            label,
            log: None,
            pty: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable, on top of the base environment of [`Processes`].
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .insert(key.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets variables, on top of the base environment of [`Processes`].
    #[must_use]
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        mut self,
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        for (key, value) in vars {
            self = self.env(key, value);
        }
        self
    }

    /// Gives it no variable but those that are set here and the mark of its run.
    #[must_use]
    pub fn no_env(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Gives it `bytes` on standard input; without this it reads end-of-file.
    #[must_use]
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = Some(bytes);
        self
    }

    /// Sets what messages call it; by default the program's name.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Runs it on a terminal of its own: some programs refuse to work without one. Both its streams arrive as
    /// standard output then, control codes and all; it reads nothing.
    #[must_use]
    pub fn pty(mut self) -> Self {
        self.pty = true;
        self
    }

    /// Writes everything that it prints to `path`, too.
    #[must_use]
    pub fn log_to(mut self, path: &Path) -> Self {
        self.log = Some(path.to_owned());
        self
    }
}
