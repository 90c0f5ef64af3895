//! Clones that all runs of a host share, so that a repository's objects come over the network once.
//!
//! A clone is a store of objects and nothing more. Which refs a repository has every run asks the server itself,
//! with its own token; the clone only saves it from getting the objects behind them again. A run gets copies of
//! what those refs lead to, so it neither sees what another run's token opened nor needs the clone afterwards.
//! Decision 0070 says why.
//!
//! In the directory, which belongs to its user alone:
//!
//! - `<digest>.git`, a bare repository; its modification time says when it was last used.
//! - `<digest>.lock`, `<digest>.exit`: [`once::shared`] of its refresh. Whoever writes to the clone holds the lock.
//! - `<digest>.new`, `<digest>.old`: a clone that is made or thrown away; litter unless the lock is held.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{Repository, RepositoryInitOptions};

use super::fetch::FetchError;
use super::local;
use super::open_exactly;
use super::remote::Mapped;
use super::source::RemoteUrl;
use crate::error::chain;
use crate::host_file;
use crate::lock::{SectionLock, refuse_network_file_system};
use crate::once::{self, OnceError, TaskId, Turn};

/// How long a clone is kept that nobody uses. A recipe that is tested at all is tested more often.
pub const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long others are waited for. Longer than any recipe takes, and no run hangs on one that was stopped.
const WAIT: Duration = Duration::from_secs(120);

/// How often a clone is tried: as others left it, refreshed, made again.
const ROUNDS: u32 = 3;

/// A clone gets a pack at every refresh and is never repacked: with more than that it is made again.
const MAX_PACKS: usize = 50;

/// Fetches everything that is wanted into a clone.
type Fetch<'a> = &'a dyn Fn(&Repository) -> Result<(), FetchError>;

/// What came of asking the shared clone.
pub(super) enum Served {
    /// The new repository has every object and ref.
    Done,
    /// It has none: they have to be fetched into it.
    Not,
    /// The server did not give them.
    Refused(FetchError),
}

/// Why no shared clone can be had.
enum Trouble {
    Once(OnceError),
    Io(PathBuf, io::Error),
    Other(String),
}

impl From<OnceError> for Trouble {
    fn from(error: OnceError) -> Self {
        Self::Once(error)
    }
}

impl Trouble {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io(path.to_owned(), source)
    }

    fn text(&self) -> String {
        match self {
            Self::Once(error) => chain(error),
            Self::Io(path, error) => format!("`{}`: {error}", path.display()),
            Self::Other(text) => text.clone(),
        }
    }
}

/// The shared clone of one repository.
pub(super) struct Clones<'a> {
    dir: &'a Path,
    id: TaskId,
    url: &'a RemoteUrl,
    fetch: Fetch<'a>,
    wait: Duration,
}

impl<'a> Clones<'a> {
    /// Returns the clone of `url` in `dir`, into which `fetch` brings what is missing.
    pub(super) fn new(dir: &'a Path, url: &'a RemoteUrl, fetch: Fetch<'a>) -> Self {
        Self {
            dir,
            id: TaskId::digest(url.as_str()),
            url,
            fetch,
            wait: WAIT,
        }
    }

    /// Brings `refs` with all that they lead to into `into`, from the clone, which is refreshed for that where
    /// it has to be. However many want that at once, one of them fetches.
    ///
    /// What is wrong with the clone is no reason to fail: it is among the remarks, and the caller fetches.
    pub(super) fn serve(
        &self,
        into: &Repository,
        refs: &[Mapped],
        remarks: &mut Vec<String>,
    ) -> Served {
        self.try_serve(into, refs, remarks)
            .unwrap_or_else(|trouble| {
                remarks.push(format!(
                    "the shared clone of `{}` in `{}` cannot be used, so it was fetched directly: {}",
                    self.url,
                    self.dir.display(),
                    trouble.text()
                ));
                Served::Not
            })
    }

    fn try_serve(
        &self,
        into: &Repository,
        refs: &[Mapped],
        remarks: &mut Vec<String>,
    ) -> Result<Served, Trouble> {
        prepare(self.dir)?;
        let mut broken = None;
        for _ in 0..ROUNDS {
            match self.refresh(refs, broken, remarks)? {
                Refreshed::Yes => {}
                Refreshed::Refused(failure) => return Ok(Served::Refused(failure)),
                Refreshed::ForAnother(failure) => {
                    // It may be about their token; this run sees for itself what the server says to it.
                    tracing::debug!(%failure, "another run could not refresh the shared clone");
                    return Ok(Served::Not);
                }
            }
            // Before it is opened: what is found broken is this one or its predecessor, never its successor.
            let identity = identity(&self.path());
            let Ok(clone) = open_exactly(&self.path()) else {
                broken = identity;
                continue;
            };
            if !has_all(&clone, refs) {
                // Refreshed by another run, which had asked the server before this one did.
                continue;
            }
            match hand_out(&clone, into, refs) {
                Ok(()) => return Ok(Served::Done),
                Err(error) => {
                    tracing::debug!(%error, "the shared clone cannot be read");
                    broken = identity;
                }
            }
        }
        Err(Trouble::Other(
            "it does not have what the server says that it has".to_owned(),
        ))
    }

    fn path(&self) -> PathBuf {
        self.beside("git")
    }

    fn beside(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.id))
    }

    fn refresh(
        &self,
        refs: &[Mapped],
        broken: Option<Identity>,
        remarks: &mut Vec<String>,
    ) -> Result<Refreshed, Trouble> {
        // The caller is a thread that blocks, so this needs an event loop of its own to wait for the lock. The
        // work is done outside of it: the HTTP client has one, too, and they do not nest.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(Trouble::io(self.dir))?;
        let turn = once::turn(self.dir, &self.id);
        let waited = runtime.block_on(async { tokio::time::timeout(self.wait, turn).await });
        drop(runtime);
        let turn = waited.map_err(|_| {
            let lock = self.beside("lock");
            Trouble::Other(format!(
                "`{}` is held for more than {} s",
                lock.display(),
                self.wait.as_secs()
            ))
        })??;
        let mine = match turn {
            Turn::Told(Ok(())) => return Ok(Refreshed::Yes),
            Turn::Told(Err(failure)) => return Ok(Refreshed::ForAnother(failure)),
            Turn::Mine(mine) => mine,
        };
        Ok(match self.work(refs, broken, remarks)? {
            Ok(()) => {
                mine.note(&Ok(()));
                Refreshed::Yes
            }
            Err(failure) => {
                mine.note(&Err(chain(&failure)));
                Refreshed::Refused(failure)
            }
        })
    }

    /// Does what is to be done once, while nobody else writes; the inner error is the server's.
    fn work(
        &self,
        refs: &[Mapped],
        broken: Option<Identity>,
        remarks: &mut Vec<String>,
    ) -> Result<Result<(), FetchError>, Trouble> {
        for litter in [self.beside("new"), self.beside("old")] {
            remove(&litter).map_err(Trouble::io(&litter))?;
        }
        let (mut clone, mut fresh) = match self.usable(broken, remarks) {
            Some(clone) => (clone, false),
            None => (self.make()?, true),
        };
        // For the janitor, and before anything is read: what is in use does not look unused.
        let used = host_file::open(self.path()).and_then(|dir| dir.set_modified(SystemTime::now()));
        used.map_err(Trouble::io(&self.path()))?;
        loop {
            if has_all(&clone, refs) {
                return Ok(Ok(()));
            }
            sweep(&clone).map_err(Trouble::io(&self.path()))?;
            match prune(&clone, refs).and_then(|()| (self.fetch)(&clone)) {
                Ok(()) => return Ok(Ok(())),
                Err(error @ FetchError::Transport(_)) => return Ok(Err(error)),
                Err(error) if fresh => return Err(Trouble::Other(chain(&error))),
                Err(error) => {
                    remarks.push(self.thrown_away(&chain(&error)));
                    (clone, fresh) = (self.make()?, true);
                }
            }
        }
    }

    /// Returns the clone that is there, unless it has to be made.
    fn usable(&self, broken: Option<Identity>, remarks: &mut Vec<String>) -> Option<Repository> {
        let path = self.path();
        let found = identity(&path)?;
        if broken == Some(found) {
            remarks.push(self.thrown_away("objects are missing or cannot be read"));
            return None;
        }
        match open_exactly(&path) {
            Ok(clone) if packs(&clone).is_ok_and(|number| number <= MAX_PACKS) => Some(clone),
            Ok(_) => None,
            Err(error) => {
                remarks.push(self.thrown_away(&chain(&error)));
                None
            }
        }
    }

    fn thrown_away(&self, why: &str) -> String {
        format!(
            "the shared clone of `{}` was damaged ({why}), so it was thrown away and made again",
            self.url
        )
    }

    /// Makes an empty clone in the place of whatever is there.
    fn make(&self) -> Result<Repository, Trouble> {
        let (path, new, old) = (self.path(), self.beside("new"), self.beside("old"));
        let mut options = RepositoryInitOptions::new();
        // No template: it could bring hooks of this host.
        options
            .bare(true)
            .external_template(false)
            .initial_head("main");
        private(&new).map_err(Trouble::io(&new))?;
        Repository::init_opts(&new, &options).map_err(|e| Trouble::Other(chain(&e)))?;
        // libgit2 puts a sample there.
        let hooks = new.join("hooks");
        remove(&hooks).map_err(Trouble::io(&hooks))?;
        // The old one goes when the new one is there: both exist for a moment, so they differ for sure.
        match fs::rename(&path, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Trouble::Io(path, error));
            }
            _ => {}
        }
        fs::rename(&new, &path).map_err(Trouble::io(&path))?;
        remove(&old).map_err(Trouble::io(&old))?;
        open_exactly(&path).map_err(|e| Trouble::Other(chain(&e)))
    }
}

/// What came of a refresh.
enum Refreshed {
    Yes,
    /// The server did not give this run what is missing.
    Refused(FetchError),
    /// Nor another run, in whose words.
    ForAnother(String),
}

/// Device and inode of a clone's directory, which tell it from the one that follows.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Makes the directory of clones where it is missing, and sees to it that it is this user's alone: who could
/// write to a clone could have it fetched from elsewhere, who could read it could see private repositories.
fn prepare(dir: &Path) -> Result<(), Trouble> {
    if let Some(above) = dir.parent() {
        fs::create_dir_all(above).map_err(Trouble::io(above))?;
    }
    match private(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Trouble::Io(dir.to_owned(), error));
        }
        _ => {}
    }
    let meta = fs::symlink_metadata(dir).map_err(Trouble::io(dir))?;
    let refuse = |why: &str| Err(Trouble::Other(format!("`{}` {why}", dir.display())));
    if !meta.is_dir() {
        return refuse("is no directory");
    }
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return refuse("belongs to another user");
    }
    if meta.mode() & 0o077 != 0 {
        return refuse("is open to other users; it has to have mode 0700");
    }
    refuse_network_file_system(dir).map_err(|error| Trouble::Other(chain(&error)))
}

fn private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(dir)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn packs(clone: &Repository) -> io::Result<usize> {
    let entries = host_file::entries(clone.path().join("objects/pack"))?;
    let names = entries.map(|entry| Ok(entry?.path()));
    let names: Vec<PathBuf> = names.collect::<io::Result<_>>()?;
    Ok(names
        .iter()
        .filter(|name| name.extension().is_some_and(|end| end == "pack"))
        .count())
}

/// Removes what fetches that were killed left: unfinished packs.
fn sweep(clone: &Repository) -> io::Result<()> {
    for entry in host_file::entries(clone.path().join("objects/pack"))? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b"pack-") {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn has_all(clone: &Repository, refs: &[Mapped]) -> bool {
    clone
        .odb()
        .is_ok_and(|odb| refs.iter().all(|wanted| odb.exists(wanted.target)))
}

/// Removes the branches and tags that the server has no more: a new `x/y` could not be where an old `x` is.
/// Their objects stay.
fn prune(clone: &Repository, refs: &[Mapped]) -> Result<(), FetchError> {
    let there: HashSet<&str> = refs.iter().map(|wanted| wanted.there.as_str()).collect();
    let remove = || -> Result<(), git2::Error> {
        for found in clone.references()?.collect::<Result<Vec<_>, _>>()? {
            let gone = found.name().is_ok_and(|name| {
                let usual = name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
                usual && !there.contains(name)
            });
            if gone {
                let mut found = found;
                found.delete()?;
            }
        }
        Ok(())
    };
    remove().map_err(|source| FetchError::git("tidy the refs of", clone.path(), source))
}

/// Copies what the refs lead to, and sets them.
fn hand_out(clone: &Repository, into: &Repository, refs: &[Mapped]) -> Result<(), git2::Error> {
    let roots = refs.iter().map(|wanted| wanted.target);
    let cut = local::copy_objects(clone, into, roots, local::Completeness::Whole)?;
    if !cut.is_empty() {
        return Err(git2::Error::from_str("parents of commits are missing"));
    }
    for wanted in refs {
        // What libgit2's own fetch leaves out, too.
        if git2::Reference::is_valid_name(&wanted.here) {
            into.reference(&wanted.here, wanted.target, true, "fetch")?;
        }
    }
    Ok(())
}

/// Removes the clones in `dir` that nobody has used for [`UNUSED`], each while holding its lock; returns how many.
/// What cannot be read or removed is said in `problems`, and left.
pub fn tidy(dir: &Path, now: SystemTime, problems: &mut Vec<String>) -> usize {
    let mut problem = |path: &Path, error: String| {
        problems.push(format!("`{}`: {error}", path.display()));
    };
    let entries = match host_file::entries(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return 0,
        Err(error) => {
            problem(dir, error.to_string());
            return 0;
        }
    };
    let mut clones: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in entries {
        match entry {
            Ok(entry) => {
                let name = entry.file_name();
                let id = name.to_str().and_then(digest_of).map(str::to_owned);
                if let Some(id) = id {
                    clones.entry(id).or_default().push(entry.path());
                }
            }
            Err(error) => problem(dir, error.to_string()),
        }
    }
    let mut removed = 0;
    for (id, files) in clones {
        match forget(&dir.join(format!("{id}.lock")), &files, now) {
            Ok(true) => removed += 1,
            Ok(false) => {}
            Err(error) => problem(&dir.join(id), error),
        }
    }
    removed
}

/// Returns the digest in the name of a file of ours.
fn digest_of(name: &str) -> Option<&str> {
    let (id, end) = name.split_once('.')?;
    let ours = ["git", "lock", "exit", "new", "old"].contains(&end);
    (ours && id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

/// Removes a clone unless it was used lately, or is in use; the lock file last.
fn forget(lock: &Path, files: &[PathBuf], now: SystemTime) -> Result<bool, String> {
    let unused = || -> io::Result<bool> {
        for path in files {
            let used = match fs::symlink_metadata(path) {
                Ok(meta) => meta.modified()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // A time to come is no long time ago.
            if now.duration_since(used).unwrap_or_default() < UNUSED {
                return Ok(false);
            }
        }
        Ok(true)
    };
    // Without the lock first: to take it makes a file where there is none.
    if !unused().map_err(|e| e.to_string())? {
        return Ok(false);
    }
    let Some(held) = SectionLock::try_acquire(lock).map_err(|e| chain(&e))? else {
        return Ok(false);
    };
    if !unused().map_err(|e| e.to_string())? {
        return Ok(false);
    }
    for path in files.iter().filter(|path| *path != lock) {
        remove(path).map_err(|e| e.to_string())?;
    }
    held.unlink().map_err(|e| chain(&e))?;
    Ok(true)
}

#[cfg(test)]
mod tests;
