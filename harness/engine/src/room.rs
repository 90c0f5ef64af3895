//! The room of CI's own engine: a second Docker engine beside the operator's, of whose containers none can name anything
//! of the operator's.
//!
//! It has namespaces of its own for mounts, processes, network, host name and IPC, and a control group that nothing in
//! it can see. All of that ends with its first process, and that with its supervisor: the kernel sees to it
//! (`PR_SET_PDEATHSIG(2const)`, `pid_namespaces(7)`). What outlives them is few rules of `iptables` on a link that is
//! gone, empty control groups, and the engine's data; whoever has the lock takes them back or brings the engine back.
//!
//! The supervisor holds a `flock` for its life. As for an app, a held lock is a live owner and a free one a dead owner,
//! and nothing else decides.

mod closed;
mod manage;
mod of_run;
mod supervise;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use manage::{Brought, Ended, Up, bring_down, bring_up};
pub use of_run::{Own, dead};
pub use supervise::{Event, Over, supervise};

use crate::dirs::HostDirs;
use crate::lock::{LockError, Probe, probe};
use crate::process::cgroup::Group;
use crate::process::{Identity, ProcessError};
use crate::swarm::EngineError;
use ground::host_file;

/// Why CI's engine could not be had, ended or looked at.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// Its lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A child could not be started or followed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It answers, and does not do what was asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// This user may not make namespaces.
    #[error("an engine of CI's own needs root: it gets namespaces, mounts and a network")]
    NotRoot,
    /// A file or a process cannot be used.
    #[error("failed to {what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The engine, or its supervisor, ended.
    #[error("{who} ended: {how}")]
    Over {
        /// Who: `the engine`.
        who: &'static str,
        /// `exit code 2`.
        how: String,
        /// The last lines of the log.
        log: Vec<String>,
    },
    /// It did not answer in time.
    #[error("the engine was not ready within {limit_s} s: {last}")]
    Unready {
        /// How long it had, in seconds.
        limit_s: u64,
        /// What was last seen.
        last: String,
    },
    /// The process that holds the lock is not the one that is recorded, or does not end.
    #[error("the engine's lock `{}` is held, {why}", .lock.display())]
    Held {
        /// The lock file.
        lock: PathBuf,
        /// What is known of the holder.
        why: String,
    },
    /// Something of it would not go.
    #[error("of CI's engine this would not go: {}", .left.join(", "))]
    Left {
        /// What is left, in words.
        left: Vec<String>,
    },
}

impl RoomError {
    /// Returns what to do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NotRoot => Some("run it as root"),
            Self::Held { .. } => {
                Some("`lslocks` names the holder; `recipe-ci engine down` once it is gone")
            }
            Self::Left { .. } => Some("`recipe-ci engine down` tries again"),
            _ => None,
        }
    }
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> RoomError {
    let what = what.into();
    move |source| RoomError::System { what, source }
}

/// How much all of CI's engine may take of this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Memory, in bytes.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Hundredths of a core; 0 for as many as there are, at half the weight of whatever else wants them.
    pub cpus: u32,
    /// What it keeps of images, containers and volumes, in bytes; 0 for as much as the file system has. It counts for
    /// data that begins with it.
    #[serde(default)]
    pub disk: u64,
}

impl Ceilings {
    /// How many processes and threads all apps of an engine may have, where nothing else is said.
    pub const PIDS: u64 = 16_384;

    /// Returns what an engine whose data is below `dir` may take where nothing else is said: three quarters of the host's
    /// memory, all CPUs at half the weight of whatever else wants them, and half of what the disk has left.
    ///
    /// # Errors
    /// Why it is not known how much there is.
    pub fn of_host(dir: &Path) -> Result<Self, String> {
        let text =
            host_file::text("/proc/meminfo").map_err(|error| ground::error::chain(&error))?;
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .ok_or_else(|| "`/proc/meminfo` does not say how much memory there is".to_owned())?;
        Ok(Self {
            memory: kib * 1024 / 4 * 3,
            pids: Self::PIDS,
            cpus: 0,
            disk: half_of_free(dir)?,
        })
    }
}

fn half_of_free(dir: &Path) -> Result<u64, String> {
    let there = dir.ancestors().find(|dir| dir.exists());
    let there = there.unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(there).map_err(|error| {
        format!(
            "failed to look at the disk of `{}`: {error}",
            there.display()
        )
    })?;
    // mkfs(8) wants whole blocks.
    Ok((disk.f_bavail * disk.f_frsize / 2) >> 20 << 20)
}

/// Where an engine of CI's own is: that of a state directory, or that of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    dir: PathBuf,
    /// Whether what it holds outlives it.
    is_kept: bool,
}

/// What a supervisor says of itself and its engine once that is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The supervisor.
    pub process: Identity,
    /// Device and inode of the lock that it holds: a record that was copied names another lock.
    pub lock: (u64, u64),
    /// Which block of addresses it has.
    pub block: u8,
    /// The engine's version.
    pub version: String,
    /// What it may take.
    pub ceilings: Ceilings,
    /// How long it took to be ready, in milliseconds.
    pub ready_ms: u64,
}

/// How CI's engine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its supervisor holds the lock and recorded that it is ready.
    Ready(Record),
    /// The lock is held, by a supervisor that is not ready yet or by something else.
    Busy {
        /// What the lock file is, for messages.
        why: String,
    },
    /// It was not brought down, and its supervisor is dead: what is left of it, in words.
    Died(Vec<String>),
    /// There is none.
    Absent {
        /// Whether images and volumes of one are kept.
        kept: bool,
    },
}

impl State {
    /// Returns why there is no engine to work with, in words; nothing when it is ready.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<String> {
        match self {
            Self::Ready(_) => None,
            Self::Busy { why } => Some(format!("its lock is held, {why}")),
            Self::Died(left) => Some(format!("it died, and left {}", left.join(", "))),
            Self::Absent { .. } => Some("it was not brought up".to_owned()),
        }
    }
}

impl Record {
    /// Returns the addresses that are the engine's on this host.
    #[must_use]
    pub fn addresses(&self) -> String {
        format!("198.18.{}.0/22", u16::from(self.block) * 4)
    }
}

/// Returns the network of the bridge by which tasks of a Swarm are reached.
fn gateway_bridge(block: u8) -> String {
    format!("198.18.{}.0/23", u16::from(block) * 4 + 2)
}

impl Room {
    /// Returns the one of a state directory.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self {
            dir: state.join("engine"),
            is_kept: true,
        }
    }

    fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Returns the lock that makes one process its supervisor.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.dir.with_added_extension("lock")
    }

    /// Returns where all that is the engine's lies.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// Returns what the engine and its supervisor write to.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.dir().join("log")
    }

    /// Returns the places of this host as runs on this engine have them: what is about an engine's objects is not about
    /// another's of the same name, and ends with it.
    #[must_use]
    pub fn places(&self, host: &HostDirs) -> HostDirs {
        HostDirs {
            state: self.dir().join("state"),
            warm: self.dir().join("warm"),
            ..host.clone()
        }
    }

    /// Returns the engine's address.
    #[must_use]
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.dir().join("socket/docker.sock").display())
    }

    fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    fn record_file(&self) -> PathBuf {
        self.dir().join("record.json")
    }

    /// Returns what its control groups are called: those of two state directories differ.
    #[must_use]
    pub fn name(&self) -> String {
        use sha2::{Digest as _, Sha256};
        let digest = Sha256::digest(self.dir.as_os_str().as_encoded_bytes());
        format!("engine-{}", hex::encode(&digest[..4]))
    }

    /// Returns its control group: by its path, and as far as it is there.
    fn group(&self) -> io::Result<(PathBuf, Option<Group>)> {
        Group::at_root(&self.name())
    }

    /// Returns which block of addresses it has, or had last.
    fn block(&self) -> Option<u8> {
        let text = host_file::text(self.dir().join("block")).ok()?;
        text.trim().parse().ok().filter(|block| *block < 64)
    }

    fn record(&self) -> Option<Record> {
        // A garbled one is as good as none: the lock decides.
        serde_json::from_slice(&host_file::bytes(self.record_file()).ok()?).ok()
    }

    /// Returns how CI's engine stands, without changing or asking anything.
    ///
    /// # Errors
    /// [`RoomError`] when that cannot be found out.
    pub fn state(&self) -> Result<State, RoomError> {
        let Probe::Held { .. } = probe(&self.lock_file())? else {
            let left = self.left().map_err(system("look for what is left"))?;
            return Ok(if left.is_empty() {
                State::Absent {
                    kept: self.data().exists(),
                }
            } else {
                State::Died(left)
            });
        };
        let Some(record) = self.record() else {
            let why = "and its holder has not said that its engine is ready";
            return Ok(State::Busy { why: why.into() });
        };
        let is_its = inode(&self.lock_file()).is_ok_and(|inode| inode == record.lock);
        let process = record.process.open().map_err(system("read /proc"))?;
        Ok(if is_its && process.is_some() {
            State::Ready(record)
        } else {
            let pid = record.process.pid;
            let why = format!("and what is recorded is of pid {pid}, which does not hold it");
            State::Busy { why }
        })
    }

    /// Returns what is left of an engine whose supervisor is dead, in words; what is kept on purpose is not.
    fn left(&self) -> io::Result<Vec<String>> {
        let mut left = Vec::new();
        let group = match self.group() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            group => group?.1,
        };
        if let Some(group) = group {
            let members = group.members();
            left.push(if members.is_empty() {
                "its control group".to_owned()
            } else {
                members.join(", ")
            });
        }
        if left.is_empty() && Group::is_at_root_of_any(&self.name())? {
            left.push("its control group".to_owned());
        }
        if let Some(block) = self.block() {
            let link = format!("rci{block}");
            // Another engine may have taken the name since.
            let owner = host_file::text(format!("/sys/class/net/{link}/ifalias"));
            if owner.is_ok_and(|owner| owner.trim().ends_with(&self.name())) {
                left.push(format!("the link {link}"));
            }
        }
        if self.record_file().exists() {
            left.push("its record".to_owned());
        }
        Ok(left)
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

/// Returns the last lines of a log that were written since it had `before` bytes.
fn tail(log: &Path, before: u64) -> Vec<String> {
    let bytes = host_file::bytes(log).unwrap_or_default();
    let from = usize::try_from(before)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[from..]);
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(10);
    lines[skipped..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}
