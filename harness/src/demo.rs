//! The bundled recipe: `notes`, two published versions and a proposal, inside this binary.
//!
//! It makes the first run of a new host possible without a network and without anybody's recipe. The git
//! repository that comes out is, commit for commit, the one that `tests/recipes/make.sh notes` builds from
//! the same files.
//!
//! This module prepares; it runs nothing of the recipe.

pub mod image;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use git2::{IndexEntry, IndexTime, ObjectType, Oid, Repository, RepositoryInitOptions, Signature};

pub use image::{Origin, images};

/// The recipe's name.
pub const RECIPE: &str = "notes";

/// A version of the recipe, or its head.
struct Version {
    name: &'static str,
    files: &'static [File],
}

/// A file of a version.
struct File {
    path: &'static str,
    executable: bool,
    content: &'static [u8],
}

/// Every version, from old to new; the last is the head. Written by `build.rs`.
const VERSIONS: &[Version] = include!(concat!(env!("OUT_DIR"), "/demo.rs"));

/// 2024-01-01T12:00:00Z. Version `n`, counted from 0, is `n` days younger.
const FIRST_DAY: i64 = 1_704_110_400;

/// Why the demo could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A local file or directory failed.
    #[error("failed to {what}")]
    Local {
        /// What was being done.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// libgit2 failed.
    #[error("failed to write the demo's git repository `{path}`")]
    Git {
        /// Where it was to be.
        path: PathBuf,
        /// What libgit2 said.
        #[source]
        source: git2::Error,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] engine::swarm::EngineError),
    /// A program failed.
    #[error(transparent)]
    Process(#[from] engine::process::ProcessError),
    /// Nothing to build the images from.
    #[error("the demo's images need a static busybox: there is none on this host, and {reason}")]
    NoBusybox {
        /// Why it could not be had either.
        reason: String,
    },
    /// The busybox that was found does not work.
    #[error("`{path} --list` failed ({how})")]
    BadBusybox {
        /// Where it is.
        path: PathBuf,
        /// How it ended.
        how: String,
    },
}

/// Writes the recipe's git repository to `dest`; whatever was there before is removed.
///
/// Returns the commit of its head. Authors and dates are fixed, so the ids are the same everywhere; no git
/// configuration of the user or the machine has a say.
///
/// # Errors
/// [`DemoError::Local`] and [`DemoError::Git`].
pub fn write_repository(dest: &Path) -> Result<Oid, DemoError> {
    let local = |what: &str, source| DemoError::Local {
        what: format!("{what} `{}`", dest.display()),
        source,
    };
    match std::fs::remove_dir_all(dest) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(local("remove the earlier demo repository", error));
        }
        _ => {}
    }
    std::fs::create_dir_all(dest).map_err(|error| local("create", error))?;
    let head = commit_all(dest).map_err(|source| DemoError::Git {
        path: dest.to_owned(),
        source,
    })?;
    write_work_tree(dest)?;
    Ok(head)
}

/// Makes the commits and tags, and an index that says what the work tree will hold.
fn commit_all(dest: &Path) -> Result<Oid, git2::Error> {
    let mut options = RepositoryInitOptions::new();
    options
        .initial_head("main")
        .external_template(false)
        .no_reinit(true);
    let repository = Repository::init_opts(dest, &options)?;
    let mut parent: Option<Oid> = None;
    let mut time = FIRST_DAY;
    for version in VERSIONS {
        let who = Signature::new(
            "recipe-ci",
            "recipe-ci@localhost",
            &git2::Time::new(time, 0),
        )?;
        time += 24 * 60 * 60;
        let proposed = version.name == "head";
        let message = if proposed {
            "Propose the next version\n".to_owned()
        } else {
            format!("chore: publish {} release\n", version.name)
        };
        let mut index = repository.index()?;
        index.clear()?;
        for file in version.files {
            index.add_frombuffer(&entry(file), file.content)?;
        }
        index.write()?;
        let tree = repository.find_tree(index.write_tree()?)?;
        let parents = match parent {
            Some(id) => vec![repository.find_commit(id)?],
            None => Vec::new(),
        };
        let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
        let id = repository.commit(Some("HEAD"), &who, &who, &message, &tree, &parents)?;
        if !proposed {
            let commit = repository.find_object(id, Some(ObjectType::Commit))?;
            repository.tag(version.name, &commit, &who, &message, false)?;
        }
        parent = Some(id);
    }
    parent.ok_or_else(|| git2::Error::from_str("the recipe has no versions"))
}

fn entry(file: &File) -> IndexEntry {
    let never = IndexTime::new(0, 0);
    IndexEntry {
        ctime: never,
        mtime: never,
        dev: 0,
        ino: 0,
        mode: if file.executable {
            0o100_755
        } else {
            0o100_644
        },
        uid: 0,
        gid: 0,
        file_size: 0,
        id: Oid::ZERO_SHA1,
        flags: 0,
        flags_extended: 0,
        path: file.path.as_bytes().to_vec(),
    }
}

/// Writes the head's files. Not by a checkout: that would ask the user's configuration about line ends.
fn write_work_tree(dest: &Path) -> Result<(), DemoError> {
    let head = VERSIONS.last().expect("build.rs insists on a head");
    for file in head.files {
        let path = dest.join(file.path);
        let write = || {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            std::fs::write(&path, file.content)?;
            let mode = if file.executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
        };
        write().map_err(|source| DemoError::Local {
            what: format!("write `{}`", path.display()),
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Path, args: &[&str]) -> String {
        #[expect(clippy::disallowed_methods, reason = "a test may spawn git to compare")]
        let output = std::process::Command::new("git")
            .args(args)
            .current_dir(dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_repository_is_the_one_that_make_sh_builds() {
        let root = tempfile::tempdir().unwrap();
        let (ours, theirs) = (root.path().join("ours"), root.path().join("theirs"));
        let head = write_repository(&ours).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recipes/make.sh");
        #[expect(
            clippy::disallowed_methods,
            reason = "a test may spawn the script to compare"
        )]
        let status = std::process::Command::new(script)
            .arg("notes")
            .arg(&theirs)
            .status()
            .unwrap();
        assert!(status.success());
        let refs = [
            "for-each-ref",
            "--format=%(objectname) %(objecttype) %(refname)",
        ];
        assert_eq!(git(&ours, &refs), git(&theirs, &refs));
        assert_eq!(git(&ours, &["rev-parse", "HEAD"]).trim(), head.to_string());
        assert_eq!(git(&ours, &["symbolic-ref", "HEAD"]), "refs/heads/main\n");
        assert_eq!(git(&ours, &["status", "--porcelain"]), "");
    }

    #[test]
    fn an_earlier_repository_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let dest = root.path().join("demo/notes");
        let first = write_repository(&dest).unwrap();
        std::fs::write(dest.join("stray"), "").unwrap();
        assert_eq!(write_repository(&dest).unwrap(), first);
        assert!(!dest.join("stray").exists());
        let mode = std::fs::metadata(dest.join("tests/test_install.sh"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
