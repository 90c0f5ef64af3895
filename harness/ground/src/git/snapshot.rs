//! Copies of trees: a commit's files without a repository, and a whole checkout.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use git2::build::CheckoutBuilder;
use walkdir::WalkDir;

use super::commit::CommitId;
use super::content::{self, ContentError};
use super::{GitError, checkout, open};

/// Writes the files of a commit into the directory `destination`, which must not exist yet.
///
/// The repository's own work tree, index and `HEAD` stay as they are.
///
/// # Errors
/// [`GitError`] when the commit is unknown or a file cannot be written.
pub fn export(repo_dir: &Path, commit: CommitId, destination: &Path) -> Result<(), GitError> {
    let repo = open(repo_dir)?;
    let commit = checkout::present(&repo, repo_dir, commit)?;
    content::check(&repo, commit)?;
    create_new(destination)?;
    let mut options = CheckoutBuilder::new();
    options
        .force()
        .recreate_missing(true)
        .update_index(false)
        .target_dir(destination);
    repo.find_object(commit, None)
        .and_then(|object| repo.checkout_tree(&object, Some(&mut options)))
        .map_err(|source| ContentError::of(commit, source).into())
}

/// Copies a directory with everything in it, `.git` included, to `to`, which must not exist yet.
///
/// Symbolic links are copied as links, modes are kept for this user, sockets and the like are left out.
///
/// # Errors
/// [`GitError::Linked`] when `from` is a linked worktree, whose copy would write to the original;
/// [`GitError::Io`] when something cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), GitError> {
    if fs::symlink_metadata(from.join(".git")).is_ok_and(|meta| meta.is_file()) {
        return Err(GitError::Linked {
            path: from.to_owned(),
        });
    }
    create_new(to)?;
    let mut directories = Vec::new();
    for entry in WalkDir::new(from) {
        let entry = entry.map_err(|e| {
            let path = e.path().unwrap_or(from).to_owned();
            GitError::Io {
                doing: "read",
                path,
                source: e.into(),
            }
        })?;
        let Ok(relative) = entry.path().strip_prefix(from) else {
            continue;
        };
        let target = to.join(relative);
        if !entry.file_type().is_dir() {
            copy_file(entry.path(), &target).map_err(GitError::io("copy", entry.path()))?;
            continue;
        }
        if entry.depth() > 0 {
            fs::create_dir(&target).map_err(GitError::io("create", &target))?;
        }
        let mode = fs::metadata(entry.path())
            .map_err(GitError::io("read", entry.path()))?
            .permissions()
            .mode();
        directories.push((target, own(mode)));
    }
    // A directory that may not be written to gets its mode after its contents.
    for (directory, mode) in directories.into_iter().rev() {
        fs::set_permissions(&directory, mode)
            .map_err(GitError::io("set the mode of", &directory))?;
    }
    Ok(())
}

/// Returns the mode for its owner alone. Git knows no more of it than whether its owner may execute it.
fn own(mode: u32) -> fs::Permissions {
    fs::Permissions::from_mode(mode & 0o700)
}

/// Copies a file with its mode for this user, or a symbolic link as it is; anything else is no content and is left out.
pub(super) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, to)
    } else if kind.is_file() {
        #[expect(
            clippy::disallowed_methods,
            reason = "git's door to the files of a work tree: no link, and regular"
        )]
        fs::copy(from, to)?;
        let mode = fs::metadata(from)?.permissions().mode();
        fs::set_permissions(to, own(mode))
    } else {
        Ok(())
    }
}

fn create_new(directory: &Path) -> Result<(), GitError> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(GitError::io("create", parent))?;
    }
    match fs::create_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(GitError::Exists {
            path: directory.to_owned(),
        }),
        other => other.map_err(GitError::io("create", directory)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::super::testing::Fixture;
    use super::*;

    #[test]
    fn an_export_holds_the_commit_and_leaves_the_checkout_alone() {
        let fixture = Fixture::new();
        fixture.write("run.sh", "#!/bin/sh\n");
        fs::set_permissions(
            fixture.path().join("run.sh"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        symlink("run.sh", fixture.path().join("link")).unwrap();
        let first = fixture.commit(&[("a", "1"), ("same", "x")]);
        fixture.commit(&[("a", "2"), ("only-new", "")]);
        fixture.write("a", "changed, uncommitted");
        let index = fixture.index_state();
        let to = fixture.outside("base/tree");
        export(fixture.path(), first.into(), &to).unwrap();
        assert_eq!(crate::host_file::text(to.join("a")).unwrap(), "1");
        assert_eq!(crate::host_file::text(to.join("same")).unwrap(), "x");
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("run.sh"));
        assert_eq!(
            fs::metadata(to.join("run.sh"))
                .unwrap()
                .permissions()
                .mode()
                & 0o111,
            0o111
        );
        assert!(!to.join("only-new").exists() && !to.join(".git").exists());
        assert_eq!(fixture.read("a"), "changed, uncommitted");
        assert_eq!(fixture.index_state(), index);
        assert!(matches!(
            export(fixture.path(), first.into(), &to),
            Err(GitError::Exists { .. })
        ));
        assert!(matches!(
            export(
                fixture.path(),
                git2::Oid::ZERO_SHA1.into(),
                &fixture.outside("n")
            ),
            Err(GitError::UnknownRef { .. })
        ));
        assert!(!fixture.outside("n").exists());
    }

    #[test]
    fn a_copied_checkout_is_complete_and_its_own() {
        let fixture = Fixture::new();
        let head = fixture.commit(&[("a", "1")]);
        fixture.write("ro/x", "");
        fs::set_permissions(
            fixture.path().join("ro/x"),
            fs::Permissions::from_mode(0o754),
        )
        .unwrap();
        fs::set_permissions(fixture.path().join("ro"), fs::Permissions::from_mode(0o555)).unwrap();
        symlink("/nowhere", fixture.path().join("dangling")).unwrap();
        let socket = UnixListener::bind(fixture.path().join("socket")).unwrap();
        let to = fixture.outside("copy");
        copy_tree(fixture.path(), &to).unwrap();
        drop(socket);
        assert_eq!(
            fs::read_link(to.join("dangling")).unwrap(),
            Path::new("/nowhere")
        );
        assert_eq!(
            fs::metadata(to.join("ro/x")).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(
            fs::metadata(to.join("ro")).unwrap().permissions().mode() & 0o777,
            0o500
        );
        assert!(!to.join("socket").exists());
        assert_eq!(checkout::commit_of(&to, "HEAD").unwrap(), head.into());
        assert!(matches!(
            copy_tree(fixture.path(), &to),
            Err(GitError::Exists { .. })
        ));
        for directory in [to.join("ro"), fixture.path().join("ro")] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn a_linked_worktree_is_not_copied() {
        let fixture = Fixture::new();
        fixture.commit(&[("a", "1")]);
        let linked = fixture.outside("linked");
        fixture.repo.worktree("linked", &linked, None).unwrap();
        assert!(matches!(
            copy_tree(&linked, &fixture.outside("copy")),
            Err(GitError::Linked { .. })
        ));
    }
}
