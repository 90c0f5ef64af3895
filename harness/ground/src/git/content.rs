//! What the tree of a commit may hold, looked at in the object database before any of it is written.
//!
//! A repository of 784 KB unpacks to 600 MB, or to a billion files, and its trees may be no trees that git itself
//! would make. All of that is the repository's fault.

use std::collections::HashSet;

use git2::{ErrorClass, ErrorCode, ObjectType, Odb, Oid, Repository};

/// The most that the files of one commit come to: 512 MiB.
pub const BYTES_CEILING: u64 = 512 << 20;

/// The most files and directories of one commit.
pub const ENTRIES_CEILING: usize = 50_000;

/// How deep directories may be.
const DEPTH: usize = 64;

/// The largest tree object; one with all entries that may be has some 3 MB.
const TREE_CEILING: usize = 16 << 20;

/// Why a commit is not checked out.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// Its files are too large.
    #[error("commit {commit} holds more than {} MiB of files", BYTES_CEILING >> 20)]
    TooLarge {
        /// The commit.
        commit: Oid,
    },
    /// It has too many files, or they are too deep.
    #[error(
        "commit {commit} holds more than {ENTRIES_CEILING} files and directories, or more than {DEPTH} levels of them"
    )]
    TooMany {
        /// The commit.
        commit: Oid,
    },
    /// Two entries of one directory have the same name.
    #[error("commit {commit} has two entries of the name `{path}`")]
    Twice {
        /// The commit.
        commit: Oid,
        /// The path, on one line.
        path: String,
    },
    /// An entry has a name that no file of a repository may have.
    #[error("commit {commit} has an entry `{path}`, a name that no file of a repository may have")]
    Name {
        /// The commit.
        commit: Oid,
        /// The path, on one line.
        path: String,
    },
    /// The content of a file or directory is not there: a partial clone leaves it at its origin.
    #[error("the content of `{path}` in commit {commit} is not there")]
    Missing {
        /// The commit.
        commit: Oid,
        /// The path, on one line; empty for the root.
        path: String,
    },
    /// An object is not one that git makes.
    #[error("commit {commit} cannot be checked out: {}", source.message())]
    Malformed {
        /// The commit.
        commit: Oid,
        /// What libgit2 says.
        source: git2::Error,
    },
    /// An object cannot be read, which is not the repository's fault.
    #[error("cannot read the files of commit {commit}")]
    Git {
        /// The commit.
        commit: Oid,
        /// What libgit2 says.
        source: git2::Error,
    },
}

impl ContentError {
    /// Returns whether the repository is at fault, not the host.
    #[must_use]
    pub fn is_the_repositorys(&self) -> bool {
        !matches!(self, Self::Git { .. } | Self::Missing { .. })
    }

    /// Sorts what libgit2 says while it writes or reads the files of `commit`.
    pub(super) fn of(commit: Oid, source: git2::Error) -> Self {
        let malformed = [
            ErrorClass::Checkout,
            ErrorClass::Object,
            ErrorClass::Tree,
            ErrorClass::Invalid,
            ErrorClass::Index,
            // One that is larger than a fetch may be.
            ErrorClass::NoMemory,
        ];
        let is_malformed =
            malformed.contains(&source.class()) && source.code() != ErrorCode::NotFound;
        match is_malformed {
            true => Self::Malformed { commit, source },
            false => Self::Git { commit, source },
        }
    }
}

/// Refuses a commit whose files are too many, too large, or of names that lead elsewhere.
pub(super) fn check(repo: &Repository, commit: Oid) -> Result<(), ContentError> {
    check_up_to(BYTES_CEILING, ENTRIES_CEILING, repo, commit)
}

fn check_up_to(
    bytes: u64,
    entries: usize,
    repo: &Repository,
    commit: Oid,
) -> Result<(), ContentError> {
    let failed = |source| ContentError::of(commit, source);
    let odb = repo.odb().map_err(failed)?;
    let tree = repo.find_commit(commit).map_err(failed)?.tree_id();
    let (mut bytes, mut entries) = (bytes, entries);
    let mut open = vec![(tree, String::new(), 0)];
    while let Some((id, above, depth)) = open.pop() {
        if depth > DEPTH {
            return Err(ContentError::TooMany { commit });
        }
        if !odb.exists(id) {
            return Err(ContentError::Missing {
                commit,
                path: above,
            });
        }
        if size(&odb, id).map_err(failed)? > TREE_CEILING as u64 {
            return Err(ContentError::TooMany { commit });
        }
        let tree = repo.find_tree(id).map_err(failed)?;
        let mut names = HashSet::new();
        for entry in &tree {
            let left = entries.checked_sub(1);
            entries = left.ok_or(ContentError::TooMany { commit })?;
            let name = entry.name_bytes();
            let path = format!("{above}{}", String::from_utf8_lossy(name).escape_debug());
            if !is_name(name) {
                return Err(ContentError::Name { commit, path });
            }
            if !names.insert(name.to_vec()) {
                return Err(ContentError::Twice { commit, path });
            }
            match entry.kind() {
                Some(ObjectType::Tree) => open.push((entry.id(), path + "/", depth + 1)),
                Some(ObjectType::Blob) if !odb.exists(entry.id()) => {
                    return Err(ContentError::Missing { commit, path });
                }
                Some(ObjectType::Blob) => {
                    let left = bytes.checked_sub(size(&odb, entry.id()).map_err(failed)?);
                    bytes = left.ok_or(ContentError::TooLarge { commit })?;
                }
                // A submodule is a commit of another repository, and an empty directory here.
                _ => {}
            }
        }
    }
    Ok(())
}

fn size(odb: &Odb<'_>, id: Oid) -> Result<u64, git2::Error> {
    Ok(odb.read_header(id)?.0 as u64)
}

fn is_name(name: &[u8]) -> bool {
    let control = |byte: &u8| byte.is_ascii_control();
    !(name.is_empty()
        || name == b"."
        || name == b".."
        || name.eq_ignore_ascii_case(b".git")
        || name.contains(&b'/')
        || name.iter().any(control))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    /// An entry of a tree that git itself would not make.
    fn entry(mode: &str, name: &str, id: Oid) -> Vec<u8> {
        let mut bytes = format!("{mode} {name}\0").into_bytes();
        bytes.extend(id.as_bytes());
        bytes
    }

    fn commit(repo: &Repository, tree: Oid) -> Oid {
        let who = git2::Signature::now("x", "x@example.org").unwrap();
        let head = format!("tree {tree}\nauthor {who} 0 +0000\ncommitter {who} 0 +0000\n\nx\n");
        let odb = repo.odb().unwrap();
        odb.write(ObjectType::Commit, head.as_bytes()).unwrap()
    }

    fn said(entries: &[Vec<u8>], repo: &Repository) -> String {
        let odb = repo.odb().unwrap();
        let tree = odb.write(ObjectType::Tree, &entries.concat()).unwrap();
        let id = commit(repo, tree);
        match check_up_to(100, 10, repo, id) {
            Ok(()) => "fine".to_owned(),
            Err(error) => {
                assert!(error.is_the_repositorys(), "{error:?}");
                error.to_string().replace(&id.to_string(), "C")
            }
        }
    }

    #[test]
    fn what_git_would_not_make_is_refused() {
        let fixture = Fixture::new();
        let repo = Repository::open(fixture.path()).unwrap();
        let odb = repo.odb().unwrap();
        let blob = odb.write(ObjectType::Blob, b"x").unwrap();
        let tree = odb
            .write(ObjectType::Tree, &entry("100644", "x", blob))
            .unwrap();
        let file = |name: &str| entry("100644", name, blob);
        assert_eq!(said(&[file("a"), entry("40000", "b", tree)], &repo), "fine");
        let twice = "commit C has two entries of the name `a`";
        assert_eq!(said(&[file("a"), file("a")], &repo), twice);
        let both = [file("a"), file("a.b"), entry("40000", "a", tree)];
        assert_eq!(said(&both, &repo), twice);
        for (name, shown) in [
            (".git", ".git"),
            (".GIT", ".GIT"),
            ("..", ".."),
            (".", "."),
            ("a/b", "a/b"),
            ("a\nb", "a\\nb"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
        ] {
            let words = "a name that no file of a repository may have";
            let expected = format!("commit C has an entry `{shown}`, {words}");
            assert_eq!(said(&[file(name)], &repo), expected);
        }
        let inner = odb.write(ObjectType::Tree, &file(".git")).unwrap();
        let said = said(&[entry("40000", "dir", inner)], &repo);
        assert!(
            said.starts_with("commit C has an entry `dir/.git`"),
            "{said}"
        );
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused_before_it_does() {
        let fixture = Fixture::new();
        let repo = Repository::open(fixture.path()).unwrap();
        let odb = repo.odb().unwrap();
        let large = odb.write(ObjectType::Blob, &[0; 60]).unwrap();
        let file = |name: &str| entry("100644", name, large);
        assert_eq!(said(&[file("a")], &repo), "fine");
        let twice = said(&[file("a"), file("b")], &repo);
        assert_eq!(twice, "commit C holds more than 512 MiB of files");
        let empty = odb.write(ObjectType::Blob, b"").unwrap();
        let many: Vec<_> = (0..11)
            .map(|n| entry("100644", &format!("{n:02}"), empty))
            .collect();
        assert!(said(&many, &repo).contains("more than 50000 files and directories"));
        // Ten directories of ten directories of ten directories, in a few objects.
        let mut tree = odb
            .write(ObjectType::Tree, &entry("100644", "x", empty))
            .unwrap();
        for _ in 0..9 {
            let entries: Vec<_> = (0..10)
                .flat_map(|n| entry("40000", &n.to_string(), tree))
                .collect();
            tree = odb.write(ObjectType::Tree, &entries).unwrap();
        }
        let bomb = check(&repo, commit(&repo, tree)).unwrap_err();
        assert!(matches!(bomb, ContentError::TooMany { .. }), "{bomb}");
        let mut tree = odb
            .write(ObjectType::Tree, &entry("100644", "x", empty))
            .unwrap();
        for _ in 0..=DEPTH {
            tree = odb
                .write(ObjectType::Tree, &entry("40000", "d", tree))
                .unwrap();
        }
        let deep = check(&repo, commit(&repo, tree)).unwrap_err();
        assert!(matches!(deep, ContentError::TooMany { .. }), "{deep}");
    }
}
