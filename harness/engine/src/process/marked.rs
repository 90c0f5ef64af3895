//! Processes that are not our children: whether they live, how to wait for them, and how to end all that
//! carry a mark in their environment; and how this one sheds such a mark.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::identity::proc_text;
use super::{Identity, Process, TERM_GRACE};
use crate::wait::{self, Deadline};
use ground::host_file;

/// The variable that marks every child of a run, with a value that no other run has.
pub const RUN_MARK: &str = "RECIPE_CI_RUN";

/// How long processes that got KILL may take to go away.
const KILL_LIMIT: Duration = Duration::from_secs(5);

impl Identity {
    /// Returns whether it lives; one that is dead and waits to be reaped does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.open().is_ok_and(|process| process.is_some())
    }

    /// Returns its command line, for messages; empty when it is dead or hidden.
    #[must_use]
    pub fn command_line(&self) -> String {
        let bytes = host_file::bytes(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let words: Vec<_> = bytes
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(String::from_utf8_lossy)
            .collect();
        words.join(" ")
    }

    /// Returns `sleep (pid 12)`: not its command line, which may hold a secret.
    pub(super) fn in_words(&self) -> String {
        let name = host_file::bytes(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        let name = String::from_utf8_lossy(&name);
        format!("{} (pid {})", name.trim_end(), self.pid)
    }
}

impl Process {
    /// Waits for its end, on a thread that blocks in the kernel as those that wait for locks do: tokio's
    /// `AsyncFd` can only be had with unsafe code.
    ///
    /// # Errors
    /// What the system says.
    pub async fn ended(self) -> io::Result<()> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let block = move || {
            while !self.wait(std::time::Duration::from_secs(3600))? {}
            Ok(())
        };
        std::thread::Builder::new()
            .name("process-wait".to_owned())
            .stack_size(64 << 10)
            .spawn(move || drop(sender.send(block())))?;
        receiver
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the waiting thread ended")))
    }
}

/// Returns every process whose environment has `name` set to `value`; only those of this user (of all, for
/// root) can be looked into.
pub fn marked(name: &str, value: &str) -> Vec<Identity> {
    let own = nix::unistd::getpid().as_raw();
    let Ok(entries) = host_file::entries("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own)
        .filter_map(|pid| {
            let found = Identity::of(pid).ok()?;
            is_marked(pid, name, value).then_some(found)
        })
        .collect()
}

fn is_marked(pid: i32, name: &str, value: &str) -> bool {
    has_mark(pid, name, value).unwrap_or(false)
}

fn has_mark(pid: i32, name: &str, value: &str) -> io::Result<bool> {
    let wanted = format!("{name}={value}");
    let environ = host_file::bytes(format!("/proc/{pid}/environ"))?;
    let mut entries = environ.split(|byte| *byte == 0);
    Ok(entries.any(|entry| entry == wanted.as_bytes()))
}

/// Kills every process that is marked so, until none is left or `deadline` has passed; returns those that
/// are left. What is marked begets marked ones, hence the loop.
pub async fn kill_marked(name: &str, value: &str, deadline: Deadline) -> Vec<Identity> {
    let mut tried = false;
    loop {
        // Asked before the look: what this process did not get to in time must not be taken for what would not die.
        let last = deadline.passed();
        let found = marked(name, value);
        if found.is_empty() || (last && tried) {
            return found;
        }
        tried = true;
        for identity in found {
            let Ok(Some(process)) = identity.open() else {
                continue;
            };
            // An execve(2) may have taken the mark away meanwhile.
            if is_marked(identity.pid, name, value) && process.kill().is_ok() {
                drop(tokio::time::timeout(deadline.left(), process.ended()).await);
            }
        }
        wait::pause(std::time::Duration::from_millis(2)).await;
    }
}

/// Becomes this program anew, with the same pid and arguments and without `variable`, so that nobody takes it
/// for what carries it: the environment that others see of a process is the one that it began with.
///
/// Returns only when that is not possible, with what the system says.
#[must_use]
pub fn shed(exe: &Path, variable: &str) -> io::Error {
    use std::os::unix::process::CommandExt as _;
    let mut args = std::env::args_os();
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    let mut command = std::process::Command::new(exe);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command.args(args).env_remove(variable).exec()
}

/// What a search for marked processes found, and what became of it.
#[derive(Debug, Default)]
pub struct Marked {
    /// Those that carry the mark, as `sleep (pid 12)`.
    pub found: Vec<String>,
    /// Those of them that would not end.
    pub left: Vec<String>,
    /// Processes of this user that may carry it, because the kernel hides their environment even from him
    /// (`ssh-agent` asks for that). Of other users' nothing is known at all; root sees everything.
    pub hidden: Vec<String>,
}

/// Finds the processes with `name` set to `value` that are no older than `since`. To list `/proc` may fail;
/// nothing found must mean that there is nothing.
///
/// # Errors
/// What the system says.
pub fn search(name: &str, value: &str, since: &Identity) -> io::Result<Marked> {
    let (found, hidden) = look(name, value, since)?;
    let in_words = |all: Vec<Identity>| all.iter().map(Identity::in_words).collect();
    Ok(Marked {
        found: in_words(found),
        hidden: in_words(hidden),
        left: Vec::new(),
    })
}

/// Ends what [`search`] finds: TERM, [`TERM_GRACE`] later KILL. Each signal goes to a descriptor of the very
/// process whose mark was read after that was opened, so that one that got its pid is never hit.
///
/// # Errors
/// As [`search`].
pub async fn end_marked(name: &str, value: &str, since: &Identity) -> io::Result<Marked> {
    let grace = Deadline::after(TERM_GRACE);
    // From the first round of KILL on: however late this process gets to that, who got none is not who would not end.
    let mut limit: Option<Deadline> = None;
    let mut told: BTreeMap<(i32, u64), Process> = BTreeMap::new();
    let mut marked = Marked::default();
    loop {
        let last = limit.is_some_and(Deadline::passed);
        let kills = grace.passed();
        let (found, hidden) = look(name, value, since)?;
        // One that ends shows no environment any more before it lets go of its files, ports and locks.
        let is_ending = |process: &Process| !process.wait(Duration::ZERO).unwrap_or(true);
        if (found.is_empty() && !told.values().any(is_ending)) || last {
            marked.left = found.iter().map(Identity::in_words).collect();
            marked.hidden = hidden.iter().map(Identity::in_words).collect();
            return Ok(marked);
        }
        for identity in found {
            let Ok(Some(process)) = identity.open() else {
                continue;
            };
            // An execve(2) may have taken the mark away meanwhile.
            if !is_marked(identity.pid, name, value) {
                continue;
            }
            let words = identity.in_words();
            // One that may not be signalled is still there at the limit, and said then.
            match told.entry((identity.pid, identity.started)) {
                Entry::Vacant(place) => {
                    marked.found.push(words);
                    drop(process.terminate());
                    place.insert(process);
                }
                Entry::Occupied(_) if kills => drop(process.kill()),
                Entry::Occupied(_) => {}
            }
        }
        if kills {
            limit.get_or_insert_with(|| Deadline::after(KILL_LIMIT));
        }
        // What is marked begets marked ones, so a look at all of them is the only proof of the end.
        wait::pause(Duration::from_millis(20)).await;
    }
}

/// Returns the marked processes, and those of this user that cannot be looked into.
fn look(name: &str, value: &str, since: &Identity) -> io::Result<(Vec<Identity>, Vec<Identity>)> {
    let own = nix::unistd::getpid().as_raw();
    let (mut found, mut hidden) = (Vec::new(), Vec::new());
    for entry in host_file::entries("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        let identity = match Identity::of(pid) {
            Ok(identity) => identity,
            Err(error) if is_gone(&error) => continue,
            Err(error) if is_anothers(&error, owner(pid)) => continue,
            Err(error) => return Err(error),
        };
        let older = identity.boot != since.boot || identity.started < since.started;
        if pid == own || older {
            continue;
        }
        match has_mark(pid, name, value) {
            Ok(true) => found.push(identity),
            Ok(false) => {}
            Err(error) if is_gone(&error) => {}
            Err(_) if is_ours(pid) => hidden.push(identity),
            Err(_) => {}
        }
    }
    Ok((found, hidden))
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// Returns whether `error`, of reading a process's `/proc/PID/stat`, only says that it is another user's: so it is
/// where `/proc` is mounted with `hidepid=1`. One of this user, or of an unknown user, is an error still.
fn is_anothers(error: &io::Error, owner: io::Result<u32>) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
        && owner.is_ok_and(|owner| owner != nix::unistd::geteuid().as_raw())
}

/// Returns the user of a process, as the owner of its directory says: of these, and of nothing below them, the
/// kernel tells the true one even of what it hides (`pid_getattr` in fs/proc/base.c).
fn owner(pid: i32) -> io::Result<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata(format!("/proc/{pid}"))?.uid())
}

/// Returns whether a process runs as this user. The owner of its `/proc` entry does not say so: the kernel
/// gives what is hidden to root.
fn is_ours(pid: i32) -> bool {
    let status = proc_text(pid, "status").unwrap_or_default();
    let uid = status.lines().find_map(|line| {
        let ids = line.strip_prefix("Uid:")?;
        ids.split_whitespace().nth(1)?.parse::<u32>().ok()
    });
    uid == Some(nix::unistd::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_users_process_may_be_passed_over_because_it_is_hidden() {
        let own = nix::unistd::geteuid().as_raw();
        let hidden = || io::Error::from_raw_os_error(nix::libc::EPERM);
        assert!(is_anothers(&hidden(), Ok(own + 1)));
        assert!(!is_anothers(&hidden(), Ok(own)));
        assert!(!is_anothers(&hidden(), Err(hidden())));
        let broken = io::Error::from_raw_os_error(nix::libc::EIO);
        assert!(!is_anothers(&broken, Ok(own + 1)));
        let pid = nix::unistd::getpid().as_raw();
        assert_eq!(owner(pid).unwrap(), own);
    }
}
