//! Daemons that came back to this process because it is a child subreaper.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::identity::proc_text;
use crate::wait::{self, Deadline};

/// Kills and reaps every child of this process until none is left or `limit` has passed; returns the
/// command names of those that are left.
///
/// It must run when no child is expected any more: whatever is a child then is a stray. Killing one hands
/// its own children to this process, hence the loop.
///
/// Those that are `spared`, by pid and session, are left alone. A worker's descendants are in its session or in one of
/// their own; what is in the supervisor's was there before: a step that says `tunnel & exec recipe-ci run` made the tunnel
/// its child.
pub(super) async fn kill_all(limit: Duration, spared: impl Fn(Pid, Pid) -> bool) -> Vec<String> {
    let deadline = Deadline::after(limit);
    loop {
        // Asked before the look: what this process did not get to in time must not be taken for what would not die.
        let last = deadline.passed();
        let mut strays = children(&spared);
        if strays.is_empty() {
            return Vec::new();
        }
        let all = strays.len();
        strays.retain(|(pid, _)| {
            let _ = kill(*pid, Signal::SIGKILL);
            matches!(
                waitpid(*pid, Some(WaitPidFlag::WNOHANG)),
                Ok(WaitStatus::StillAlive)
            )
        });
        if last && !strays.is_empty() {
            return strays
                .into_iter()
                .map(|(pid, name)| format!("{name} (pid {pid})"))
                .collect();
        }
        if strays.len() == all {
            // The kernel needs a moment to end them; there is no event for another's grandchild.
            wait::pause(Duration::from_millis(2)).await;
        }
    }
}

/// Returns the pid and command name of every child of this process that is not `spared`.
///
/// `/proc` is read because `PROC_CHILDREN` is a kernel option and waitid cannot list.
fn children(spared: &impl Fn(Pid, Pid) -> bool) -> Vec<(Pid, String)> {
    let own = getpid();
    let Ok(entries) = ground::host_file::entries("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = proc_text(pid, "stat").ok()?;
            // `pid (comm) state ppid …`, and comm may itself contain `) `.
            let (head, rest) = stat.rsplit_once(')')?;
            let mut fields = rest.split_whitespace().skip(1);
            let parent: i32 = fields.next()?.parse().ok()?;
            let session: i32 = fields.nth(1)?.parse().ok()?;
            let name = head.split_once('(').map_or("?", |(_, name)| name);
            let pid = Pid::from_raw(pid);
            let is_stray = parent == own.as_raw() && !spared(pid, Pid::from_raw(session));
            is_stray.then(|| (pid, name.to_owned()))
        })
        .collect()
}
