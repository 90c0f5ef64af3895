//! Uncommitted changes of a work tree: what they are, and how they are laid over a checkout elsewhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::build::CheckoutBuilder;
use git2::{Repository, Status, StatusOptions};
use walkdir::WalkDir;

use super::snapshot::copy_file;
use super::{GitError, open, stand_in};

/// Returns whether the work tree at `repo_dir` holds anything that its commit does not, or lacks something. What Git LFS
/// has put in the place of its pointer counts: nothing tells it from what another program has put there.
///
/// # Errors
/// [`GitError`] when it is no work tree or cannot be read.
pub fn is_dirty(repo_dir: &Path) -> Result<bool, GitError> {
    let repo = open(repo_dir)?;
    let differing = differing(&repo).map_err(GitError::git("compare the work tree", repo_dir))?;
    Ok(!differing.is_empty())
}

/// A path, relative to the root of the work tree, whose content is not the commit's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    path: PathBuf,
    /// Whether the work tree has it; otherwise it is deleted there.
    present: bool,
}

/// Returns what `git status` would list: modified, added, deleted and untracked files, without ignored ones.
///
/// What Git LFS has put in the place of its pointer is no change: git calls it clean, and libgit2, which runs no filter,
/// would not. It is not laid over a checkout, so what another program has put there is not either.
pub(super) fn changes(repo: &Repository) -> Result<Vec<Change>, git2::Error> {
    let pointers = stand_in::list(repo)?.pointers;
    let is_content = |change: &Change| !(change.present && pointers.contains(&change.path));
    Ok(differing(repo)?.into_iter().filter(is_content).collect())
}

/// Puts the pointers of Git LFS that the work tree at `repo_dir` is to have into it, whatever lies in their place: the
/// commit is what operators get, and what trust is about.
///
/// # Errors
/// [`GitError`] when it is no work tree or cannot be read or written.
pub fn put_pointers_back(repo_dir: &Path) -> Result<(), GitError> {
    let repo = open(repo_dir)?;
    let put = || {
        let mut options = CheckoutBuilder::new();
        options.force().update_index(false);
        options.disable_pathspec_match(true);
        let mut paths = stand_in::list(&repo)?.pointers;
        paths.retain(|path| fs::symlink_metadata(repo_dir.join(path)).is_ok());
        if paths.is_empty() {
            return Ok(());
        }
        for path in &paths {
            options.path(path);
        }
        repo.checkout_index(None, Some(&mut options))
    };
    put().map_err(GitError::git("put pointers of Git LFS into", repo_dir))
}

/// Returns every path whose content is not the commit's. Nothing is locked and the index is not refreshed on disk.
fn differing(repo: &Repository) -> Result<Vec<Change>, git2::Error> {
    let Some(root) = repo.workdir() else {
        return Ok(Vec::new());
    };
    let mut options = StatusOptions::new();
    options
        .include_untracked(true)
        .recurse_untracked_dirs(true)
        .include_ignored(false)
        .exclude_submodules(true)
        .update_index(false);
    let statuses = repo.statuses(Some(&mut options))?;
    let changes = statuses.iter().map(|entry| {
        let path = path_of(entry.path_bytes());
        // `git rm --cached` of a file that is ignored from now on: it lies there still, but is no content.
        let dropped = entry.status().contains(Status::INDEX_DELETED)
            && !entry.status().contains(Status::WT_NEW);
        let present = !dropped && fs::symlink_metadata(root.join(&path)).is_ok();
        Change { path, present }
    });
    Ok(changes.collect())
}

fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    // An untracked repository inside the work tree is listed with a slash at its end.
    PathBuf::from(std::ffi::OsStr::from_bytes(
        bytes.strip_suffix(b"/").unwrap_or(bytes),
    ))
}

/// Lays the changes of the work tree `from` over the checkout `to` of the same commit.
///
/// # Errors
/// The path that failed, with the system's reason.
pub(super) fn overlay(
    from: &Path,
    to: &Path,
    changes: &[Change],
) -> Result<(), (PathBuf, io::Error)> {
    // First everything goes, then the new comes: a file may have become a directory, or the other way round.
    for change in changes {
        remove(to, &change.path).map_err(|e| (to.join(&change.path), e))?;
    }
    for change in changes.iter().filter(|change| change.present) {
        let source = from.join(&change.path);
        // `.git` is that of a repository inside the work tree; its files count, its history does not.
        let entries = WalkDir::new(&source).follow_root_links(false).into_iter();
        for entry in entries.filter_entry(|entry| entry.file_name() != ".git") {
            let entry = entry.map_err(|e| (source.clone(), e.into()))?;
            let Ok(relative) = entry.path().strip_prefix(from) else {
                continue;
            };
            if !entry.file_type().is_dir() {
                add(entry.path(), to, relative).map_err(|e| (entry.path().to_owned(), e))?;
            }
        }
    }
    Ok(())
}

fn add(source: &Path, root: &Path, relative: &Path) -> io::Result<()> {
    let mut directory = root.to_owned();
    for part in relative.parent().into_iter().flat_map(Path::components) {
        directory.push(part);
        // Not `create_dir_all`: that would go through a symbolic link of the commit, out of the checkout.
        match fs::symlink_metadata(&directory) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                return Err(io::Error::other(
                    "a directory of the work tree is no directory in its commit",
                ));
            }
            Err(_) => fs::create_dir(&directory)?,
        }
    }
    copy_file(source, &root.join(relative))
}

/// Removes a file or a link, and the directories that are empty without it, as git does.
fn remove(root: &Path, relative: &Path) -> io::Result<()> {
    match fs::remove_file(root.join(relative)) {
        Ok(()) => {}
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(e) if e.kind() == io::ErrorKind::IsADirectory => return Ok(()),
        Err(e) => return Err(e),
    }
    let mut parent = relative.parent();
    while let Some(directory) = parent.filter(|directory| !directory.as_os_str().is_empty()) {
        if fs::remove_dir(root.join(directory)).is_err() {
            break;
        }
        parent = directory.parent();
    }
    Ok(())
}
