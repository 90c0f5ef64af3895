//! Whether a repository on this host keeps to itself.
//!
//! Git lets a repository use another one's objects and refs, by a line in a file or by a link. In a directory that
//! others write to those are somebody else's history, and it is root that reads them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::host_file;

/// How many repositories may use each other's objects. Git itself follows five
/// (`odb_read_alternate_refs` in <https://github.com/git/git/blob/master/odb.c>).
const MOST: usize = 6;

/// Returns what of the git directory `repository` leads to a place that is not `inside`, or cannot be followed: a link, the
/// repository that it is a work tree of, or one whose objects it uses.
///
/// # Errors
/// What the system says of a file that cannot be read.
pub fn way_out(repository: &Path, inside: &dyn Fn(&Path) -> bool) -> io::Result<Option<PathBuf>> {
    let mut left = vec![repository.to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(named) = left.pop() {
        let Some(dir) = named.canonicalize().ok().filter(|dir| inside(dir)) else {
            return Ok(Some(named));
        };
        if !seen.insert(dir.clone()) {
            continue;
        }
        if seen.len() > MOST {
            return Ok(Some(named));
        }
        for entry in WalkDir::new(&dir) {
            let entry = entry?;
            if entry.path_is_symlink() {
                left.push(entry.into_path());
                continue;
            }
            if !entry.file_type().is_file() {
                continue;
            }
            let place = entry.path().strip_prefix(&dir).unwrap_or(entry.path());
            let named = if place == "commondir" {
                // All of the text is the path, as libgit2 reads it (`lookup_commondir` in its `repository.c`).
                let text = host_file::text(entry.path())?;
                vec![dir.join(text.trim_ascii_end())]
            } else if place.ends_with("info/alternates") {
                // Paths from `objects`, two above the file; either character ends a line (`load_alternates` in its
                // `odb.c`).
                let text = host_file::text(entry.path())?;
                let from = entry.path().ancestors().nth(2).unwrap_or(&dir);
                let lines = text.split(['\r', '\n']);
                let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                lines.map(|line| from.join(line)).collect()
            } else {
                continue;
            };
            left.extend(named);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::testing::Fixture;
    use super::*;

    #[test]
    fn what_uses_another_repository_leads_out() {
        let private = Fixture::new();
        private.commit(&[("secret", "canary")]);
        let theirs = private.path().join(".git").canonicalize().unwrap();
        let look = |repository: &Path, listed: &[&Path]| {
            let listed: Vec<PathBuf> = listed
                .iter()
                .map(|dir| dir.canonicalize().unwrap())
                .collect();
            way_out(repository, &|path| {
                listed.iter().any(|dir| path.starts_with(dir))
            })
            .unwrap()
        };
        let changes: [&dyn Fn(&Path); 6] = [
            // To libgit2 the comment ends at the carriage return.
            &|git| {
                let line = format!("#\r{}\n", theirs.join("objects").display());
                std::fs::write(git.join("objects/info/alternates"), line).unwrap();
            },
            // No comment at all.
            &|git| {
                std::fs::create_dir(git.join("#x")).unwrap();
                let path = format!("#x/../../../../../../../../..{}", theirs.display());
                std::fs::write(git.join("commondir"), path).unwrap();
            },
            &|git| {
                let line = format!("{}\n", theirs.join("objects").display());
                std::fs::write(git.join("objects/info/alternates"), line).unwrap();
            },
            &|git| {
                std::fs::remove_dir_all(git.join("objects")).unwrap();
                symlink(theirs.join("objects"), git.join("objects")).unwrap();
            },
            &|git| symlink(theirs.join("refs/heads"), git.join("refs/theirs")).unwrap(),
            &|git| {
                std::fs::write(git.join("commondir"), format!("{}\n", theirs.display())).unwrap();
            },
        ];
        for change in changes {
            let own = Fixture::new();
            own.commit(&[("compose.yml", "services: {}")]);
            let git = own.path().join(".git");
            std::fs::create_dir_all(git.join("objects/info")).unwrap();
            assert_eq!(look(&git, &[own.path()]), None);
            change(&git);
            assert!(look(&git, &[own.path()]).is_some());
            // Where the other one is listed, too, nothing leads out.
            assert_eq!(look(&git, &[own.path(), private.path()]), None);
        }
    }
}
