//! What this process and what it started have used.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

use super::cgroup;
use super::cpu::cpu_of;

/// What a run has used, of the harness and of its children apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of this process.
    pub cpu: Duration,
    /// Peak resident memory of this process, in bytes.
    pub peak_rss: u64,
    /// CPU time of what it started. Without a control group, of that which it has waited for.
    pub children_cpu: Duration,
    /// The most memory that this process and all that it started had at once, in bytes, with the pages of files that
    /// they were the first to read or write; none without a control group that counts memory.
    pub peak_memory: Option<u64>,
}

impl Usage {
    /// Returns what was used until now.
    #[must_use]
    pub fn now() -> Self {
        let own = getrusage(UsageWho::RUSAGE_SELF).ok();
        let cpu = own.map(cpu_of).unwrap_or_default();
        let counted = cgroup::counted();
        let children_cpu = match counted {
            Some(counted) => counted.cpu.saturating_sub(cpu),
            None => getrusage(UsageWho::RUSAGE_CHILDREN)
                .map(cpu_of)
                .unwrap_or_default(),
        };
        // In KiB (getrusage(2)).
        let peak_rss = own.and_then(|own| u64::try_from(own.max_rss()).ok());
        Self {
            cpu,
            peak_rss: peak_rss.unwrap_or_default() * 1024,
            children_cpu,
            peak_memory: counted.and_then(|counted| counted.peak_memory),
        }
    }
}
