//! The copy of a directory of tests, with what its links lead to: a copied link would lead from another place.

use std::fs;
use std::path::{Path, PathBuf};

use super::{SuiteError, is_ignored};

/// Says of a path whether a link may lead to it.
pub(super) type Inside<'a> = dyn Fn(&Path) -> bool + 'a;

/// Copies `from` to `to`, with modes and with what links lead to. Hidden links stay links: nothing here reads them,
/// and they may lead to anything (an environment, an editor's lock).
///
/// # Errors
/// [`SuiteError::Link`] for a link that cannot be followed, [`SuiteError::Read`] for everything else.
pub(super) fn copy(from: &Path, to: &Path, inside: &Inside<'_>) -> Result<(), SuiteError> {
    walk(from, Some(to), inside, &mut Vec::new())
}

/// Says of `from` what [`copy`] would.
///
/// # Errors
/// The same.
pub(super) fn check(from: &Path, inside: &Inside<'_>) -> Result<(), SuiteError> {
    walk(from, None, inside, &mut Vec::new())
}

/// `open` are the real paths of the directories that lead here: a link back to one of them has no end.
fn walk(
    from: &Path,
    to: Option<&Path>,
    inside: &Inside<'_>,
    open: &mut Vec<PathBuf>,
) -> Result<(), SuiteError> {
    let failed = |source| SuiteError::Read {
        path: from.to_owned(),
        source,
    };
    if let Some(to) = to {
        fs::create_dir_all(to).map_err(failed)?;
    }
    open.push(from.canonicalize().map_err(failed)?);
    for entry in fs::read_dir(from).map_err(failed)? {
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
            if !inside(&path) {
                return Err(wrong("leads out of the recipe"));
            }
            if open.iter().any(|dir| dir.starts_with(&real)) {
                return Err(wrong("leads back to where it is"));
            }
        }
        let kind = fs::metadata(&path).map_err(failed)?;
        if kind.is_dir() {
            walk(&path, target.as_deref(), inside, open)?;
        } else if let Some(target) = target.filter(|_| kind.is_file()) {
            fs::copy(&path, target).map_err(failed)?;
        }
    }
    open.pop();
    Ok(())
}
