//! What one app may use of the host.

use serde_json::Value;

use crate::trust::Level;
use crate::trust::grant::Ceilings;

/// What the tasks of a run may use together, an upgrade that starts the new ones first included, in bytes and in
/// billionths of a CPU, where no grant gives a task more. With 40 tasks of 1 GiB a run could take the memory of everything
/// else on the host.
const RUN_MEMORY: u64 = 8 << 30;
const RUN_CPUS: u64 = 8_000_000_000;

/// And how many processes: `kernel.pid_max` may be 32,768 for all that the host runs.
const RUN_PIDS: u64 = 4096;

/// What one app may use.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Limits {
    pub(super) replicas: u64,
    pub(super) services: u64,
    pub(super) tasks: u64,
    pub(super) memory: u64,
    pub(super) cpus: u64,
    pub(super) pids: u64,
    pub(super) log_size: u64,
}

impl Limits {
    /// Returns those of a source that is trusted so far, for an app of `tasks` tasks.
    pub(in crate::policy) fn of(level: &Level, tasks: u64) -> Self {
        let none = Ceilings::default();
        let granted = match level {
            Level::Granted(grant) => &grant.ceilings,
            Level::Stranger | Level::ByHand => &none,
        };
        // Rounded down to what Docker writes without a fraction: whole MiB, thousandths of a CPU.
        let share = |most: u64, together: u64, unit: u64| {
            let part = together / tasks.max(1);
            most.min(part / unit * unit).max(unit)
        };
        Self {
            replicas: granted.replicas.unwrap_or(3),
            services: granted.services.unwrap_or(20),
            tasks: granted.tasks.unwrap_or(40),
            memory: granted
                .memory
                .unwrap_or_else(|| share(1 << 30, RUN_MEMORY, 1 << 20)),
            cpus: granted
                .cpus
                .unwrap_or_else(|| share(1_000_000_000, RUN_CPUS, 1_000_000)),
            pids: granted.pids.unwrap_or_else(|| share(512, RUN_PIDS, 1)),
            log_size: granted.log_size.unwrap_or(10 << 20),
        }
    }
}

/// Returns how many tasks of a service there can be at a time.
pub(super) fn replicas(service: &Value) -> u64 {
    let mode = service.pointer("/deploy/mode").and_then(Value::as_str);
    if matches!(mode, Some("global" | "global-job")) {
        return 1;
    }
    match service.pointer("/deploy/replicas") {
        None | Some(Value::Null) => 1,
        // Docker takes `1e3` for a whole number too. What cannot be read is too much.
        Some(count) => count.as_u64().unwrap_or_else(|| whole(count)),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float stays within the type, and more is too much anyway"
)]
fn whole(count: &Value) -> u64 {
    count.as_f64().map_or(u64::MAX, |count| count as u64)
}
