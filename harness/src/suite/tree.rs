//! The copy of a directory of tests, with what its links lead to: a copied link would lead from another place.
//!
//! Hidden links stay links: nothing here reads them, and they may lead to anything (an environment, an editor's lock).

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{SuiteError, is_ignored};
use ground::source_tree::{Identity, Kind, SourceTree};
use recipe::TESTS;

/// The most that is copied of the tests of a recipe: 64 MiB.
pub(super) const BYTES: u64 = 64 << 20;

/// The most files and directories that are copied of them.
pub(super) const ENTRIES: usize = 10_000;

/// How deep their directories may be.
const DEPTH: usize = 32;

/// Copies the tests of a recipe's repository to `to`, with modes for this user alone.
///
/// # Errors
/// [`SuiteError::File`] for what no repository may hold, [`SuiteError::TooLarge`], [`SuiteError::Link`] for a link
/// that leads nowhere or round; [`SuiteError::Read`] when the copy cannot be written.
pub(super) fn copy_of_recipe(tree: &SourceTree, to: &Path) -> Result<(), SuiteError> {
    copy_up_to(BYTES, ENTRIES, tree, to)
}

fn copy_up_to(bytes: u64, entries: usize, tree: &SourceTree, to: &Path) -> Result<(), SuiteError> {
    // Looked at as a whole first: what is refused costs no room and little time.
    [None, Some(to)].into_iter().try_for_each(|to| {
        let mut copying = Copying {
            tree,
            bytes,
            entries,
            open: Vec::new(),
        };
        copying.directory(Path::new(TESTS), to)
    })
}

struct Copying<'a> {
    tree: &'a SourceTree,
    /// What may still come.
    bytes: u64,
    entries: usize,
    /// The directories that lead here: a link back to one of them has no end.
    open: Vec<Identity>,
}

impl Copying<'_> {
    /// Copies a directory, or only counts what is in it.
    fn directory(&mut self, from: &Path, to: Option<&Path>) -> Result<(), SuiteError> {
        let link = |path: &Path, what| SuiteError::Link {
            path: path.to_owned(),
            what,
        };
        let identity = self.tree.identity(from)?;
        let identity = identity.ok_or_else(|| link(from, "leads nowhere"))?;
        if self.open.contains(&identity) {
            return Err(link(from, "leads back to where it is"));
        }
        if self.open.len() == DEPTH {
            return Err(SuiteError::TooLarge);
        }
        self.open.push(identity);
        if let Some(to) = to {
            fs::create_dir_all(to).map_err(failed(to))?;
        }
        for entry in self.tree.entries(from)?.unwrap_or_default() {
            self.entries = self.entries.checked_sub(1).ok_or(SuiteError::TooLarge)?;
            let path = from.join(&entry.name);
            let target = to.map(|to| to.join(&entry.name));
            let target = target.as_deref();
            if entry.kind == Kind::Link && is_ignored(&entry.name.to_string_lossy()) {
                if let Some(target) = target {
                    let to = self.tree.link(&path)?;
                    std::os::unix::fs::symlink(to, target).map_err(failed(target))?;
                }
                continue;
            }
            match self.tree.kind(&path)? {
                None => return Err(link(&path, "leads nowhere")),
                Some(Kind::Directory) => self.directory(&path, target)?,
                Some(_) => self.file(&path, target)?,
            }
        }
        self.open.pop();
        Ok(())
    }

    fn file(&mut self, from: &Path, to: Option<&Path>) -> Result<(), SuiteError> {
        let Some(file) = self.tree.file(from)? else {
            return Ok(());
        };
        let says = file.metadata().map_err(failed(from))?;
        let Some(to) = to else {
            let left = self.bytes.checked_sub(says.len());
            self.bytes = left.ok_or(SuiteError::TooLarge)?;
            return Ok(());
        };
        let mut copy = File::create(to).map_err(failed(to))?;
        let copied = io::copy(&mut file.take(self.bytes + 1), &mut copy).map_err(failed(to))?;
        self.bytes = self.bytes.checked_sub(copied).ok_or(SuiteError::TooLarge)?;
        let mode = fs::Permissions::from_mode(says.permissions().mode() & 0o700);
        fs::set_permissions(to, mode).map_err(failed(to))
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SuiteError {
    let path = path.to_owned();
    move |source| SuiteError::Read { path, source }
}

/// Copies a directory of the operator's to `to`, with modes for this user alone and with what links lead to, wherever that is.
///
/// # Errors
/// [`SuiteError::Link`] for a link that cannot be followed, [`SuiteError::Read`] for everything else.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), SuiteError> {
    walk(from, Some(to), &mut Vec::new())
}

/// Says of `from` what [`copy`] would.
///
/// # Errors
/// The same.
pub(super) fn check(from: &Path) -> Result<(), SuiteError> {
    walk(from, None, &mut Vec::new())
}

/// `open` are the real paths of the directories that lead here: a link back to one of them has no end.
fn walk(from: &Path, to: Option<&Path>, open: &mut Vec<PathBuf>) -> Result<(), SuiteError> {
    let failed = |source| SuiteError::Read {
        path: from.to_owned(),
        source,
    };
    if let Some(to) = to {
        fs::create_dir_all(to).map_err(failed)?;
    }
    open.push(from.canonicalize().map_err(failed)?);
    for entry in ground::host_file::entries(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let target = to.map(|to| to.join(entry.file_name()));
        if entry.file_type().map_err(failed)?.is_symlink() {
            if is_ignored(&entry.file_name().to_string_lossy()) {
                if let Some(target) = target {
                    let to = fs::read_link(&path).map_err(failed)?;
                    std::os::unix::fs::symlink(to, target).map_err(failed)?;
                }
                continue;
            }
            let wrong = |what| SuiteError::Link {
                path: path.clone(),
                what,
            };
            let real = path.canonicalize().map_err(|_| wrong("leads nowhere"))?;
            if open.iter().any(|dir| dir.starts_with(&real)) {
                return Err(wrong("leads back to where it is"));
            }
        }
        let kind = fs::metadata(&path).map_err(failed)?;
        if kind.is_dir() {
            walk(&path, target.as_deref(), open)?;
        } else if let Some(target) = target.filter(|_| kind.is_file()) {
            ground::host_file::copy(&path, &target).map_err(failed)?;
            let mode = fs::metadata(&path).map_err(failed)?.permissions().mode();
            let own = fs::Permissions::from_mode(mode & 0o700);
            fs::set_permissions(&target, own).map_err(failed)?;
        }
    }
    open.pop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Copies a recipe's tests that `make` makes, with so much that may come.
    fn copied(bytes: u64, entries: usize, make: impl Fn(&Path)) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let tests = dir.path().join("recipe/tests");
        fs::create_dir_all(tests.join("ops")).unwrap();
        fs::write(dir.path().join("secret"), "canary").unwrap();
        fs::write(tests.join("ops/pre_backup.sh"), "1234").unwrap();
        make(&tests);
        let tree = SourceTree::open(&dir.path().join("recipe")).unwrap();
        let copied = copy_up_to(bytes, entries, &tree, &dir.path().join("copy"));
        assert_eq!(copied.is_ok(), dir.path().join("copy").exists());
        let said = copied.map_or_else(|error| error.to_string(), |()| String::new());
        (dir, said)
    }

    #[test]
    fn tests_are_copied_with_their_modes_and_what_links_lead_to() {
        let (dir, said) = copied(8, 4, |tests| {
            let mode = fs::Permissions::from_mode(0o4750);
            fs::set_permissions(tests.join("ops/pre_backup.sh"), mode).unwrap();
            symlink("ops/pre_backup.sh", tests.join("again")).unwrap();
            symlink("/etc/passwd", tests.join(".hidden")).unwrap();
        });
        assert_eq!(said, "");
        let copy = dir.path().join("copy");
        let mode = fs::metadata(copy.join("ops/pre_backup.sh")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o7777, 0o700);
        assert!(copy.join("again").symlink_metadata().unwrap().is_file());
        let hidden = fs::read_link(copy.join(".hidden")).unwrap();
        assert_eq!(hidden, Path::new("/etc/passwd"));
    }

    #[test]
    fn what_no_repository_may_hold_is_not_copied() {
        let (_dir, said) = copied(8, 8, |tests| {
            symlink("../../secret", tests.join("out")).unwrap();
        });
        assert!(
            said.starts_with("`tests/out` leads out of the repository"),
            "{said}"
        );
        let (_dir, said) = copied(8, 8, |tests| {
            nix::unistd::mkfifo(&tests.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        });
        assert!(said.starts_with("`tests/pipe` is a named pipe"), "{said}");
        for (target, words) in [
            ("..", "is a link that leads back to where it is"),
            (".", "is a link that leads back to where it is"),
            ("gone", "is a link that leads nowhere"),
        ] {
            let (_dir, said) = copied(64, 64, |tests| symlink(target, tests.join("x")).unwrap());
            assert!(said.contains(words), "{target}: {said}");
        }
    }

    #[test]
    fn tests_that_are_too_much_are_refused() {
        for (bytes, entries) in [(3, 8), (8, 1)] {
            let (_dir, said) = copied(bytes, entries, |_| ());
            assert!(
                said.starts_with("the recipe's `tests/` holds more than"),
                "{said}"
            );
        }
        // Ten links to ten links to ten links: a few files, and a million copies.
        let (_dir, said) = copied(64, ENTRIES, |tests| {
            for level in 0..7 {
                let dir = tests.join(format!("d{level}"));
                fs::create_dir(&dir).unwrap();
                for link in 0..10 {
                    let target = format!("../d{}", level + 1);
                    symlink(target, dir.join(link.to_string())).unwrap();
                }
            }
            fs::create_dir(tests.join("d7")).unwrap();
        });
        assert!(
            said.starts_with("the recipe's `tests/` holds more than"),
            "{said}"
        );
    }
}
