//! A control group for each run: what its children do to hide does not take them out of it.
//!
//! A child is in the group of its parent from its first instruction on, and only who may write to another group's
//! files can leave (`cgroups(7)`). A process group, a session, a parent and an environment are all left by who wants to.
//!
//! The group of a run is `recipe-ci/<its worker>` below the group that the run was started in: `systemctl stop` of a
//! runner's unit still ends all of it, and the unit's limits still hold. A worker's name is made of its pid, its start
//! and its pid namespace ([`name`]): a pid alone is given to another run, later or in a container that sees the same tree.
//! The worker is in a numbered group below that, with what it starts. To end that and not itself it moves on into the
//! next number and ends the one before ([`leave_behind`]). So a run moves twice, and not once for each child: a move
//! waits for the kernel's RCU, which takes up to 15 ms.
//!
//! It is the unified tree (version 2) where that is mounted, and `freezer` where all trees are of version 1. Where no
//! group can be made, nothing here does anything: a container whose `/sys/fs/cgroup` is read-only, a user without a tree
//! of his own.

mod tree;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::unistd::{AccessFlags, Pid, access};
use serde::{Deserialize, Serialize};

use super::Identity;
use super::identity::proc_text;
use crate::wait::{self, Deadline};
use ground::host_file;
use tree::{kill_tree, mount_of, tree};

/// What all runs' groups are below.
const HOME: &str = "recipe-ci";

/// How long processes that got KILL may take to go away.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How long a group is made anew that the end of other runs takes the ground from. Each takes it once, so it is over in
/// microseconds; a number of tries was used up by a remover on the other core of a quiet machine.
const MAKE_LIMIT: Duration = Duration::from_secs(5);

/// The group that this process has made for itself and its children, if it has.
static OWN: Mutex<Option<Own>> = Mutex::new(None);

#[derive(Debug, Clone)]
struct Own {
    group: Group,
    /// The same in trees of version 1 that only count.
    counts: Vec<PathBuf>,
    /// In which of the group's numbers this process is.
    number: u32,
    /// What this process had used before it was in the group.
    cpu_before: Duration,
}

/// The control group of a run, as its worker writes it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    path: PathBuf,
    /// No other group of this boot has this number, whatever its path.
    inode: u64,
    /// The boot, as [`Identity`] has it. Records of older versions have none.
    #[serde(default)]
    boot: String,
}

/// Where the group of a worker is, if it makes one: in the tree that ends processes, and in those that only count.
#[derive(Debug)]
pub struct OfWorker {
    group: PathBuf,
    counts: Vec<PathBuf>,
}

/// What the kernel counted for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// CPU time of all that was ever in it, since this process entered it.
    pub(super) cpu: Duration,
    /// The most memory that it had at once, with the pages of files that it was the first to read or write; none
    /// where the kernel does not count it.
    pub(super) peak_memory: Option<u64>,
}

/// Makes a group for this process and what it starts from now on, and enters it.
///
/// # Errors
/// What the system says; the process is where it was then.
pub fn enter() -> io::Result<Group> {
    let own = Identity::own()?;
    let name = name(&own)?;
    let home = home(&kill_tree()?);
    tidy(&home);
    let path = home.join(&name);
    make(&path.join("0"))?;
    if has_word(&home.join("cgroup.controllers"), "memory") {
        // Without it there is no peak. The directory is this program's, so no other program is affected.
        drop(write(&home.join("cgroup.subtree_control"), "+memory"));
    }
    if let Err(error) = join(&path.join("0")) {
        remove(&path);
        return Err(error);
    }
    let group = Group {
        inode: path.metadata()?.ino(),
        path,
        boot: own.boot,
    };
    let counts = ["memory", "cpuacct"]
        .into_iter()
        .filter(|tree| !group.counts(tree))
        .filter_map(|tree| count_in(tree, &name))
        .collect();
    *locked() = Some(Own {
        group: group.clone(),
        counts,
        number: 0,
        cpu_before: super::cpu::own_cpu(),
    });
    Ok(group)
}

/// Ends whatever this process has started in its group: moves on to the next number itself and ends the one before.
/// Returns what would not end, as `sleep (pid 12)`.
pub(super) async fn leave_behind() -> Vec<String> {
    let Some(mut own) = own() else {
        return Vec::new();
    };
    let old = own.group.path.join(own.number.to_string());
    own.number += 1;
    let new = own.group.path.join(own.number.to_string());
    if let Err(error) = std::fs::create_dir(&new).and_then(|()| join(&new)) {
        tracing::warn!(%error, "the run's children are not ended by their control group");
        return Vec::new();
    }
    *locked() = Some(own);
    let limit = Deadline::after(KILL_LIMIT);
    let left = end(&old, limit).await;
    drop(std::fs::remove_dir(old));
    left
}

/// Leaves the group of the run that this process was started in, if it is in one, so that it does not end with that.
pub fn leave() {
    let trees = [kill_tree().ok(), tree("memory").ok(), tree("cpuacct").ok()];
    for at in trees.into_iter().flatten() {
        let outside = outside(&at);
        if outside != at {
            drop(join(&outside));
        }
    }
}

/// Returns below which group a run that is started here gets its own, or why it gets none. Nothing is made.
///
/// # Errors
/// What the system says.
pub fn check() -> io::Result<PathBuf> {
    let at = outside(&kill_tree()?);
    for path in [&at, &at.join("cgroup.procs")] {
        access(path, AccessFlags::W_OK).map_err(|error| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        })?;
    }
    Ok(at.join(HOME))
}

/// Returns what the kernel counted for the group of this process; none when it has no group.
pub(super) fn counted() -> Option<Counted> {
    let own = own()?;
    let dirs: Vec<&PathBuf> = std::iter::once(&own.group.path)
        .chain(&own.counts)
        .collect();
    let number = |file: &str| -> Option<u64> {
        let text = dirs
            .iter()
            .find_map(|dir| host_file::text(dir.join(file)).ok())?;
        text.trim().parse().ok()
    };
    let stat = host_file::text(own.group.path.join("cpu.stat")).unwrap_or_default();
    let used = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    let used = match used.and_then(|number| number.trim().parse().ok()) {
        Some(micros) => Duration::from_micros(micros),
        None => Duration::from_nanos(number("cpuacct.usage")?),
    };
    Some(Counted {
        cpu: used + own.cpu_before,
        peak_memory: number("memory.peak").or_else(|| number("memory.max_usage_in_bytes")),
    })
}

impl OfWorker {
    /// Returns where the group of `worker` is, a child of this process that is as it was forked.
    pub fn of(worker: Pid) -> Option<Self> {
        let name = name(&Identity::of(worker.as_raw()).ok()?).ok()?;
        let at = |tree: PathBuf| home(&tree).join(&name);
        let counts = ["memory", "cpuacct"];
        Some(Self {
            group: at(kill_tree().ok()?),
            counts: counts
                .iter()
                .filter_map(|one| tree(one).ok())
                .map(at)
                .collect(),
        })
    }

    /// Ends what is in the group of a worker that has ended, and removes it. For its supervisor, which is in none.
    pub fn end(&self) {
        let limit = Deadline::after(KILL_LIMIT);
        loop {
            let members = kill_all(&self.group);
            if members.is_empty() || limit.passed() {
                break;
            }
            for process in members.iter().filter_map(|one| one.open().ok().flatten()) {
                drop(process.wait(limit.left()));
            }
        }
        for group in std::iter::once(&self.group).chain(&self.counts) {
            remove(group);
        }
    }
}

impl Group {
    /// Returns where a group `name` is that is not below its maker's: directly below the root of the tree that ends
    /// processes, so that whoever asks means the same one. Its path there is what others know it by.
    ///
    /// # Errors
    /// What the system says, and when no such tree is mounted here.
    pub fn at_root(name: &str) -> io::Result<(PathBuf, Option<Self>)> {
        let below = Path::new(HOME).join(name);
        let mounts = host_file::text("/proc/self/mountinfo")?;
        let tree = ["", "freezer"]
            .iter()
            .find_map(|controller| mount_of(&mounts, controller));
        let Some((_, mount)) = tree else {
            let what = "no control groups are mounted here";
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        };
        let path = Path::new(mount).join(&below);
        let group = match path.metadata() {
            Ok(meta) => Some(Self {
                path,
                inode: meta.ino(),
                boot: Identity::own()?.boot,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok((below, group))
    }

    /// Returns whether a group `name` is at the root of any tree that is mounted here. Those of version 1 let go of what is
    /// dead one after the other.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_at_root_of_any(name: &str) -> io::Result<bool> {
        let below = Path::new(HOME).join(name);
        let mounts = host_file::text("/proc/self/mountinfo")?;
        let mut trees = mounts.lines().filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mount = left.split(' ').nth(4)?;
            right.starts_with("cgroup").then_some(mount)
        });
        Ok(trees.any(|mount| Path::new(mount).join(&below).exists()))
    }

    /// Returns what is in it, as `sleep (pid 12)`; nothing once it is gone.
    pub fn members(&self) -> Vec<String> {
        let members = if self.is_there() {
            members(&self.path)
        } else {
            Vec::new()
        };
        members.iter().map(Identity::in_words).collect()
    }

    /// Ends all that is in it and removes it; returns what would not end.
    pub async fn end(&self) -> Vec<String> {
        if !self.is_there() {
            return Vec::new();
        }
        let left = end(&self.path, Deadline::after(KILL_LIMIT)).await;
        remove(&self.path);
        left
    }

    fn is_there(&self) -> bool {
        let same = |meta: std::fs::Metadata| meta.ino() == self.inode;
        // Numbers begin anew with each boot.
        self.path.metadata().is_ok_and(same)
            && Identity::own().is_ok_and(|own| own.boot == self.boot)
    }

    /// Whether its own tree counts what the tree `name` of version 1 does.
    fn counts(&self, name: &str) -> bool {
        let file = if name == "memory" {
            "memory.peak"
        } else {
            "cpu.stat"
        };
        self.path.join(file).exists()
    }
}

fn locked() -> MutexGuard<'static, Option<Own>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn own() -> Option<Own> {
    locked().clone()
}

/// Enters the tree `name` of version 1, which only counts; returns where.
fn count_in(controller: &str, name: &str) -> Option<PathBuf> {
    let home = home(&tree(controller).ok()?);
    tidy(&home);
    let path = home.join(name);
    make(&path).and_then(|()| join(&path)).ok()?;
    Some(path)
}

/// Returns what the group of a worker is called. Pids come again, in a container that sees the same tree at the same
/// time: what is in the group of another run would end with this one.
fn name(worker: &Identity) -> io::Result<String> {
    let namespace = pid_namespace()?;
    Ok(format!("{}-{}-{namespace}", worker.pid, worker.started))
}

/// Returns the number of this process's pid namespace, which no other has as long as it is there.
fn pid_namespace() -> io::Result<u64> {
    Ok(Path::new("/proc/self/ns/pid").metadata()?.ino())
}

/// Makes a group and those above it. The end of another run removes the place of all runs when it is empty, and that may
/// be between two steps of this.
fn make(group: &Path) -> io::Result<()> {
    let limit = Deadline::after(MAKE_LIMIT);
    loop {
        match std::fs::create_dir_all(group) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !limit.passed() => {}
            result => return result,
        }
    }
}

/// Returns the group in which a run was started that is at `at`: its own one is below that.
fn outside(at: &Path) -> PathBuf {
    let outermost = at.ancestors().filter(|dir| dir.ends_with(HOME)).last();
    outermost.and_then(Path::parent).unwrap_or(at).to_owned()
}

fn home(at: &Path) -> PathBuf {
    outside(at).join(HOME)
}

/// Moves this process into a group.
fn join(group: &Path) -> io::Result<()> {
    write(&group.join("cgroup.procs"), "0")
}

fn has_word(file: &Path, word: &str) -> bool {
    host_file::text(file).is_ok_and(|text| text.split_whitespace().any(|one| one == word))
}

/// Returns the directories of a group and of those below it, the innermost first.
fn dirs(group: &Path) -> Vec<PathBuf> {
    let entries = host_file::entries(group).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below
        .flat_map(|entry| dirs(&entry.path()))
        .chain([group.to_owned()])
        .collect()
}

/// Removes a run's group with those below it, and the place of all runs, as far as they are empty.
fn remove(group: &Path) {
    let home = group.parent().filter(|dir| dir.ends_with(HOME));
    for dir in dirs(group).iter().map(PathBuf::as_path).chain(home) {
        drop(std::fs::remove_dir(dir));
    }
}

/// Removes the empty groups of workers that are dead.
fn tidy(home: &Path) {
    let Ok(namespace) = pid_namespace() else {
        return;
    };
    for entry in host_file::entries(home).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| is_dead(name, namespace)) {
            remove(&entry.path());
        }
    }
}

/// Returns whether [`name`] gives this name to a worker of the pid namespace that is dead. Of one in another namespace it
/// cannot be seen; its group may be about to be entered.
fn is_dead(name: &str, namespace: u64) -> bool {
    let mut parts = name.split('-').map(str::parse::<u64>);
    let (Some(Ok(pid)), Some(Ok(started)), Some(Ok(of)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Ok(pid) = i32::try_from(pid) else {
        return false;
    };
    of == namespace
        && match Identity::of(pid) {
            Ok(now) => now.started != started,
            Err(error) => {
                error.kind() == io::ErrorKind::NotFound
                    || error.raw_os_error() == Some(nix::libc::ESRCH)
            }
        }
}

/// Returns who is in a group or below it. One that is dead and waits to be reaped is in none.
fn members(group: &Path) -> Vec<Identity> {
    let procs = dirs(group).into_iter().map(|dir| dir.join("cgroup.procs"));
    let procs: String = procs
        .filter_map(|file| host_file::text(file).ok())
        .collect();
    let pids = procs.lines().filter_map(|pid| pid.parse().ok());
    // In this order: what has the pid by now may be another process, and that is in no group of a run.
    let members = pids.filter_map(|pid| Identity::of(pid).ok());
    members.filter(|one| is_in(one.pid, group)).collect()
}

fn is_in(pid: i32, group: &Path) -> bool {
    let Some(name) = group
        .ancestors()
        .find(|dir| dir.ends_with(HOME))
        .and_then(Path::parent)
    else {
        return false;
    };
    let name = Path::new("/").join(group.strip_prefix(name).unwrap_or(group));
    let groups = proc_text(pid, "cgroup").unwrap_or_default();
    let mut paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.any(|path| {
        // `/unit/recipe-ci/12/0` is in `recipe-ci/12`.
        let path = Path::new(path);
        path.ancestors()
            .any(|above| above.to_string_lossy().ends_with(&*name.to_string_lossy()))
    })
}

/// Ends all that is in a group or below it; returns what would not end until `limit`, as `sleep (pid 12)`.
async fn end(group: &Path, limit: Deadline) -> Vec<String> {
    loop {
        // Asked before the look: what this process did not get to in time must not be taken for what would not die.
        let last = limit.passed();
        let members = kill_all(group);
        if members.is_empty() || last {
            return members.iter().map(Identity::in_words).collect();
        }
        wait::pause(Duration::from_millis(2)).await;
    }
}

/// Kills all that is in a group or below it; returns who was.
fn kill_all(group: &Path) -> Vec<Identity> {
    let found = members(group);
    if found.is_empty() || write(&group.join("cgroup.kill"), "1").is_ok() {
        return found;
    }
    // Before Linux 5.14, and in version 1: what is frozen does not fork. All of them are thawed, because in version 1 what
    // is frozen does not die either, and a process that ended a part of the group before may have been killed half-way.
    let freeze = |two: &str, one: &str| {
        for dir in dirs(group) {
            drop(write(&dir.join("cgroup.freeze"), two));
            drop(write(&dir.join("freezer.state"), one));
        }
    };
    freeze("1", "FROZEN");
    for process in members(group)
        .iter()
        .filter_map(|one| one.open().ok().flatten())
    {
        drop(process.kill());
    }
    freeze("0", "THAWED");
    found
}

/// Writes to a file of the kernel's, which is there or not.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut file = host_file::options().write(true).open(file)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

#[cfg(test)]
mod tests;
