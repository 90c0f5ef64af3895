//! What this host can do.

use std::path::Path;
use std::time::Duration;

use crate::process::{Cmd, Processes};

/// Returns whether the kernel has IPVS, or can load it.
#[must_use]
pub fn ipvs() -> bool {
    Path::new("/proc/net/ip_vs").exists()
}

/// Returns the version of the Docker client on `PATH`.
pub async fn client_version(processes: &Processes) -> Option<(u32, u32)> {
    let cmd = Cmd::new("docker", Path::new("/")).arg("--version");
    let finished = processes.run(&cmd, Duration::from_secs(10)).await.ok()?;
    let text = String::from_utf8_lossy(&finished.stdout).into_owned();
    let version = text.strip_prefix("Docker version ")?;
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Returns whether a client of this version knows `docker stack deploy --detach`.
#[must_use]
pub fn supports_detach_flag(version: (u32, u32)) -> bool {
    version.0 >= 26
}
