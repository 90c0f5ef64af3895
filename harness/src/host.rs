//! What this host can do: its kernel and its Docker client.
//!
//! Nothing here judges; `doctor` does. Nothing here changes the host; `set_up` does.

pub mod addresses;
mod ipvs;
pub mod overlay_port;
pub mod set_up;

use std::path::Path;
use std::time::Duration;

use engine::process::{Cmd, Processes};

pub use engine::firewall::Way;
pub use ipvs::{Ipvs, ipvs};
pub use set_up::{SetUp, SetUpError, Step, set_up};

/// How long a program may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// Returns the version of the `docker` client on `PATH`, or `None` when there is none that says it.
pub async fn client_version(processes: &Processes) -> Option<(u32, u32)> {
    let cmd = Cmd::new(processes.which("docker")?, Path::new("/")).arg("--version");
    let finished = processes.run(&cmd, VERSION_LIMIT).await.ok()?;
    parse_client_version(&String::from_utf8_lossy(&finished.stdout))
}

/// Returns whether `docker stack deploy` of that version knows `--detach`; it came with 26.
///
/// From 26 on the client waits for convergence unless it is told `--detach=true`, and before, the option is
/// an error.
#[must_use]
pub fn supports_detach_flag(version: (u32, u32)) -> bool {
    version.0 >= 26
}

/// Returns whether the client of that version has `docker stack config`, which checks compose files without an engine.
#[must_use]
pub fn has_stack_config(version: (u32, u32)) -> bool {
    version.0 >= 24
}

/// Returns the newest compose schema that `docker stack deploy` of that version reads: `cli/compose/schema/data` of
/// docker/cli.
#[must_use]
pub fn newest_schema(version: (u32, u32)) -> &'static str {
    match version.0 {
        ..23 => "3.9",
        23..26 => "3.10",
        26.. => "3.13",
    }
}

/// Reads `Docker version 20.10.24+dfsg1, build 297e128`.
fn parse_client_version(text: &str) -> Option<(u32, u32)> {
    let version = text.lines().next()?.strip_prefix("Docker version ")?;
    parse_version(version)
}

/// Returns major and minor of `20.10.24+dfsg1` or `1.41`.
pub(crate) fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_versions_are_read_as_the_clients_print_them() {
        for (text, expected) in [
            ("Docker version 28.2.2, build e6534b4\n", Some((28, 2))),
            (
                "Docker version 20.10.24+dfsg1, build 297e128\n",
                Some((20, 10)),
            ),
            ("podman version 4.3.1\n", None),
            ("", None),
        ] {
            assert_eq!(parse_client_version(text), expected, "{text}");
        }
        assert!(supports_detach_flag((28, 2)));
        assert!(!supports_detach_flag((20, 10)));
    }
}
