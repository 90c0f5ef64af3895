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
            let place = entry.path().strip_prefix(&dir).unwrap_or(entry.path());
            let names_others = place == "commondir" || place.ends_with("info/alternates");
            if entry.file_type().is_file() && names_others {
                let text = host_file::text(entry.path())?;
                // Those of `alternates` are seen from `objects`, two above the file.
                let above = usize::from(place != "commondir") + 1;
                let from = entry.path().ancestors().nth(above).unwrap_or(&dir);
                let lines = text
                    .lines()
                    .filter(|line| !line.is_empty() && !line.starts_with('#'));
                left.extend(lines.map(|line| from.join(line)));
            }
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
        let changes: [&dyn Fn(&Path); 4] = [
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
