//! What a run leaves whose supervisor and worker were both killed, beside its app: daemons that its hooks and
//! tests started, and its working files.
//!
//! A run says how its children are marked only after it has locked its record, and gives the lock back only by
//! ending. So a mark that is there and a lock that is free prove that it is over. Whatever is less than that
//! (no mark, no lock file, a worker that lives) proves nothing, and is left alone. Decision 0080 says why.
//!
//! A mark is not forced to the disk, so a crash of the system may leave an empty one. No process outlives that:
//! of a run whose garbled mark is older than this boot, and whose lock is free, only files can be left.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::candidates::readable;
use crate::live::Mark;
use crate::report::file::{Closing, ResultsError, close_as_orphaned};
use engine::dirs::{HostDirs, RunDirs};
use engine::lock::{LockError, Probe, file, probe, refuse_network_file_system};
use engine::process::cgroup::Group;
use engine::process::{RUN_MARK, end_marked, search};
use ground::error::chain;
use ground::host_file;

/// A run whose processes are dead, and what became of what it left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadRun {
    /// The name of its directory.
    pub run: String,
    /// Processes that were ended (or would be, in a dry run), as `sleep (pid 12)`.
    pub ended: Vec<String>,
    /// Working files that were removed (or would be), by their name in the directory.
    pub removed: Vec<String>,
    /// What would not go. As long as there is any of it, the next janitor tries again.
    pub left: Vec<String>,
    /// Processes of this user whose environment the kernel hides; they may be the run's.
    pub hidden: Vec<String>,
}

/// Ends what dead runs of this host left running and removes their working files. Their record stays: report,
/// logs and artifacts.
pub(super) async fn clear(
    host: &HostDirs,
    dry_run: bool,
    unreadable: &mut Vec<String>,
) -> Vec<DeadRun> {
    let mut cleared = Vec::new();
    let entries = match host_file::entries(&host.runs) {
        Ok(entries) => entries,
        // A host that never had a run.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return cleared,
        Err(error) => {
            unreadable.push(format!("`{}`: {error}", host.runs.display()));
            return cleared;
        }
    };
    let mut roots: Vec<PathBuf> = readable(entries, &host.runs, unreadable)
        .iter()
        .map(std::fs::DirEntry::path)
        .collect();
    roots.sort();
    let mut sure_of_locks = None;
    for root in roots {
        let sure = || *sure_of_locks.get_or_insert_with(|| is_sure(&host.runs, unreadable));
        match find(&root, sure) {
            Ok(None) => {}
            Ok(Some(dead)) => cleared.extend(dead.clear(dry_run, unreadable).await),
            Err(error) => unreadable.push(format!("`{}`: {error}", root.display())),
        }
    }
    cleared
}

/// Returns whether a free lock below `runs` proves a dead owner; if not, that is said once.
fn is_sure(runs: &Path, unreadable: &mut Vec<String>) -> bool {
    match refuse_network_file_system(runs) {
        Ok(()) => true,
        Err(error) => {
            unreadable.push(chain(&error));
            false
        }
    }
}

/// A run that is over, by its directory: the very one that was looked at, whatever is at its path by now.
struct Dead {
    root: PathBuf,
    dir: File,
    /// None when the system has been started since and the mark is garbled: then no process can be its.
    mark: Option<Mark>,
}

/// Returns the run at `root` if it is proven dead. `sure` is asked before a lock is believed.
fn find(root: &Path, sure: impl FnOnce() -> bool) -> io::Result<Option<Dead>> {
    // The files of a run may be replaced while this looks (removed by hand, and its id used again): everything
    // below is done through the one directory that is opened here.
    let opened = host_file::options()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
        .open(root);
    let dir = match opened {
        Ok(dir) => dir,
        // Plain files and links are no runs; a directory may be gone since it was listed.
        Err(error) if is_no_run(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let here = through(&dir);
    // The mark before the lock: one that begins meanwhile has the lock when its mark can be read.
    let mark = match Mark::read(&here) {
        Ok(Some(mark)) => Some(mark),
        Ok(None) => return Ok(None),
        Err(error) if Mark::is_garbled(&error) && is_of_an_earlier_boot(&RunDirs::mark(&here))? => {
            None
        }
        Err(error) => return Err(error),
    };
    if !sure() {
        return Ok(None);
    }
    let lock = RunDirs::live_lock(&here);
    let held = match probe(&lock) {
        Ok(probe) => probe != Probe::Free,
        Err(LockError::Unusable { source, .. }) => return Err(source),
        Err(error) => return Err(io::Error::other(chain(&error))),
    };
    if held || mark.as_ref().is_some_and(|mark| mark.process.is_alive()) {
        return Ok(None);
    }
    if !lock.try_exists()? {
        // It has ended since its mark was read; or somebody removed the lock, and nothing proves anything.
        return match Mark::read(&here)? {
            None => Ok(None),
            Some(_) => Err(io::Error::other(
                "it has a mark but no lock, so whether it lives is not known; remove the directory if it does not",
            )),
        };
    }
    Ok(Some(Dead {
        root: root.to_owned(),
        dir,
        mark,
    }))
}

/// Returns whether a file was last changed before the system was started.
fn is_of_an_earlier_boot(path: &Path) -> io::Result<bool> {
    let stat = host_file::text("/proc/stat")?;
    let started = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse().ok())
        .ok_or_else(|| io::Error::other("`/proc/stat` does not say when the system was started"))?;
    Ok(path.symlink_metadata()?.mtime() < started)
}

fn is_no_run(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    ) || error.raw_os_error() == Some(nix::libc::ELOOP)
}

/// Closes the report of a run both processes of which were killed; returns why it could not be.
fn close_report(root: &Path) -> Option<String> {
    match close_as_orphaned(&root.join("results.json"), Closing::by_janitor()) {
        Ok(_) => None,
        // It was killed before it had a report; or what is there is none, and nobody can close it.
        Err(ResultsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(ResultsError::Parse { .. }) => None,
        Err(error) => Some(chain(&error)),
    }
}

/// Returns who is in the control group of a run.
fn members(mark: &Mark) -> Vec<String> {
    mark.group.as_ref().map(Group::members).unwrap_or_default()
}

/// Adds what is not there yet.
fn add(all: &mut Vec<String>, more: Vec<String>) {
    for one in more {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

/// Returns a path to an open directory, which stays its path when it is renamed or removed.
fn through(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()))
}

impl Dead {
    /// Ends its processes, then removes its working files, in this order: without its mark no later sweep finds
    /// the processes any more.
    async fn clear(self, dry_run: bool, unreadable: &mut Vec<String>) -> Option<DeadRun> {
        let Self { root, dir, mark } = self;
        let here = through(&dir);
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let mut dead = DeadRun {
            run: name.into_owned(),
            ..DeadRun::default()
        };
        let unsearched = |error| format!("the processes of `{}`: {error}", root.display());
        let work = |at: &Path| at.strip_prefix(&here).unwrap_or(at).display().to_string();
        dead.removed = RunDirs::working(&here)
            .iter()
            .filter(|path| path.symlink_metadata().is_ok())
            .map(|path| work(path))
            .collect();
        if dry_run {
            let Some(mark) = mark else { return Some(dead) };
            dead.ended = members(&mark);
            match search(RUN_MARK, &mark.token, &mark.process) {
                Ok(marked) => {
                    add(&mut dead.ended, marked.found);
                    dead.hidden = marked.hidden;
                }
                Err(error) => unreadable.push(unsearched(error)),
            }
            return Some(dead);
        }
        // One janitor at a time: two would each count what both remove.
        let _claim = match dir.try_clone().and_then(file::try_exclusive) {
            Ok(Some(claim)) => claim,
            Ok(None) => return None,
            Err(error) => {
                unreadable.push(format!("`{}`: {error}", root.display()));
                return None;
            }
        };
        match Mark::read(&here) {
            Ok(Some(now)) if Some(&now) == mark.as_ref() => {}
            Err(error) if mark.is_none() && Mark::is_garbled(&error) => {}
            // Another one has just done it.
            Ok(_) => return None,
            Err(error) => {
                unreadable.push(format!("`{}`: {error}", root.display()));
                return None;
            }
        }
        if let Some(mark) = &mark {
            dead.ended = members(mark);
            // These get TERM first. What has no mark any more is in the group all the same.
            match end_marked(RUN_MARK, &mark.token, &mark.process).await {
                Ok(marked) => {
                    add(&mut dead.ended, marked.found);
                    (dead.left, dead.hidden) = (marked.left, marked.hidden);
                }
                Err(error) => dead.left.push(unsearched(error)),
            }
            if let Some(group) = &mark.group {
                add(&mut dead.left, group.end().await);
            }
            dead.ended.retain(|process| !dead.left.contains(process));
        }
        if dead.left.is_empty() {
            // Without its working files no later sweep looks at it.
            dead.left.extend(close_report(&here));
        }
        if dead.left.is_empty() {
            let left = RunDirs::remove_working(&here);
            dead.left = left
                .iter()
                .map(|(path, error)| format!("{}: {error}", work(path)))
                .collect();
            dead.removed
                .retain(|name| here.join(name).symlink_metadata().is_err());
        } else {
            dead.removed.clear();
        }
        Some(dead)
    }
}

#[cfg(test)]
mod tests;
