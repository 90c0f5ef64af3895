//! What this host can do, whoever asks: its kernel and its Docker client.
//!
//! Nothing here judges; `doctor` does. Nothing here changes the host; `set_up` does.

pub mod set_up;

use std::path::Path;
use std::time::Duration;

use crate::host_file;
use crate::process::{Cmd, Processes};

pub use set_up::{SetUp, SetUpError, Step, set_up};

/// How long a program may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// Whether the kernel has IPVS, without which service addresses and ingress ports lead nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipvs {
    /// It is in use or ready for use.
    Loaded,
    /// The kernel brings the module and loads it when the engine asks.
    Loadable,
    /// There is no sign of it.
    Absent,
}

impl Ipvs {
    /// Returns whether Swarm can balance with it.
    #[must_use]
    pub fn works(self) -> bool {
        self != Self::Absent
    }
}

/// Finds out whether the kernel has IPVS, from the files below `root` (`/` but for tests).
///
/// Loaded, it has a file in `/proc/net`; not loaded, its module is named in the lists of `/lib/modules`.
#[must_use]
pub fn ipvs(root: &Path) -> Ipvs {
    if root.join("proc/net/ip_vs").exists() {
        return Ipvs::Loaded;
    }
    let Ok(release) = host_file::text(root.join("proc/sys/kernel/osrelease")) else {
        return Ipvs::Absent;
    };
    let modules = root.join("lib/modules").join(release.trim());
    let named = ["modules.dep", "modules.builtin"].iter().any(|list| {
        host_file::text(modules.join(list)).is_ok_and(|text| text.lines().any(names_ip_vs))
    });
    if named { Ipvs::Loadable } else { Ipvs::Absent }
}

/// Returns whether a line of `modules.dep` or `modules.builtin` is about the module itself, and not about
/// one of its schedulers or one that depends on it.
fn names_ip_vs(line: &str) -> bool {
    let path = line.split(':').next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    // Compressed modules end in .ko.xz, .ko.zst or .ko.gz.
    file == "ip_vs.ko" || file.starts_with("ip_vs.ko.")
}

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

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn ipvs_is_found_loaded_as_a_module_built_in_or_not_at_all() {
        let release = ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
        let cases = [
            (("proc/net/ip_vs", ""), Ipvs::Loaded),
            (
                (
                    "lib/modules/6.1.0-18-amd64/modules.dep",
                    "kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/lib/libcrc32c.ko.xz\n",
                ),
                Ipvs::Loadable,
            ),
            (
                (
                    "lib/modules/6.1.0-18-amd64/modules.builtin",
                    "kernel/net/netfilter/ipvs/ip_vs.ko\n",
                ),
                Ipvs::Loadable,
            ),
            (
                (
                    "lib/modules/6.1.0-18-amd64/modules.dep",
                    "kernel/net/netfilter/xt_ipvs.ko: kernel/net/netfilter/ipvs/ip_vs.ko\n\
                     kernel/net/netfilter/ipvs/ip_vs_rr.ko:\n",
                ),
                Ipvs::Absent,
            ),
            (
                (
                    "lib/modules/5.10.0/modules.dep",
                    "kernel/net/netfilter/ipvs/ip_vs.ko:\n",
                ),
                Ipvs::Absent,
            ),
        ];
        for (file, expected) in cases {
            assert_eq!(ipvs(root(&[release, file]).path()), expected, "{file:?}");
        }
    }

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
