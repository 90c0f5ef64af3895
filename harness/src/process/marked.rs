//! Processes that are not our children: whether they live, how to wait for them, and how to end all that
//! carry a mark in their environment.

use std::io;

use super::{Identity, Process};
use crate::wait::{self, Deadline};

impl Identity {
    /// Returns whether it lives; one that is dead and waits to be reaped does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // `pid (comm) state ppid …`, and comm may itself contain `) `.
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        state.is_some_and(|state| !state.starts_with(['Z', 'X']))
            && Self::of(self.pid).is_ok_and(|now| now == *self)
    }

    /// Returns its command line, for messages; empty when it is dead or hidden.
    #[must_use]
    pub fn command_line(&self) -> String {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let words: Vec<_> = bytes
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(String::from_utf8_lossy)
            .collect();
        words.join(" ")
    }
}

impl Process {
    /// Waits for its end, on a thread that blocks in the kernel as those that wait for locks do: tokio's
    /// `AsyncFd` can only be had with unsafe code.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn ended(self) -> io::Result<()> {
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
pub(crate) fn marked(name: &str, value: &str) -> Vec<Identity> {
    let own = nix::unistd::getpid().as_raw();
    let Ok(entries) = std::fs::read_dir("/proc") else {
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
    let wanted = format!("{name}={value}");
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
        environ
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    })
}

/// Kills every process that is marked so, until none is left or `deadline` has passed; returns those that
/// are left. What is marked begets marked ones, hence the loop.
pub(crate) async fn kill_marked(name: &str, value: &str, deadline: Deadline) -> Vec<Identity> {
    loop {
        let found = marked(name, value);
        if found.is_empty() || deadline.passed() {
            return found;
        }
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
