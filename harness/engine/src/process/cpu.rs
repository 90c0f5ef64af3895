//! CPU time, as `getrusage(2)` has it.

use std::time::Duration;

use nix::sys::resource::{Usage as Times, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Returns the CPU time of this process.
pub(super) fn own_cpu() -> Duration {
    getrusage(UsageWho::RUSAGE_SELF)
        .map(cpu_of)
        .unwrap_or_default()
}

/// Returns the time on a CPU that the kernel counted, in the kernel and outside.
pub(super) fn cpu_of(times: Times) -> Duration {
    let micros = (times.user_time() + times.system_time()).num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
