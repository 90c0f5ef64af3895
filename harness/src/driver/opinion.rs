//! What Docker's own client says of a recipe's own files, before anything is made.
//!
//! Our loader follows Docker's, and what is deployed is our reading. So Docker's decides first whether there is anything
//! to deploy: `docker stack config` reads, checks and merges the files, and needs no engine.

use std::path::Path;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::stack::HostTraits;
use engine::process::{Cmd, Processes};
use recipe::compose::Location;
use recipe::release::Release;

/// How long the client may take; it reads a few files.
const LIMIT: Duration = Duration::from_secs(20);

/// What the client says.
#[derive(Debug)]
pub enum Opinion {
    /// It takes the files.
    Takes,
    /// It refuses them.
    Refuses(RefusedByDocker),
    /// It was not asked, or did not answer, with the reason.
    Unknown(String),
}

/// A question that goes on; nothing comes of one that was not asked.
pub type Asked = LocalBoxFuture<'static, Option<Opinion>>;

/// Docker does not take the recipe's compose files.
#[derive(Debug, thiserror::Error)]
#[error("{}docker refuses the compose files: {reason}", place(.location.as_ref()))]
pub struct RefusedByDocker {
    /// Where, as far as the client's words name a key.
    pub location: Option<Location>,
    /// What the client said.
    pub reason: String,
}

fn place(location: Option<&Location>) -> String {
    location.map_or_else(String::new, |location| format!("{location}: "))
}

/// Asks the client of this host about the files of `release`; `dir` is a directory of the run, for the client's own
/// settings, of which there are none.
pub async fn of(
    processes: &Processes,
    traits: HostTraits,
    dir: &Path,
    release: &Release,
) -> Opinion {
    if !traits.stack_config {
        return Opinion::Unknown("this client has no `docker stack config`".to_owned());
    }
    let project = &release.project;
    if let Some(name) = project.variables().find(|name| steers(name)) {
        // It would be missing, and a file that needs it be refused for that.
        return Opinion::Unknown(format!("`{name}` would steer the client"));
    }
    let vars = release.vars.iter().filter(|(name, _)| !steers(name));
    let mut cmd = Cmd::new("docker", dir)
        .no_env()
        .envs(vars)
        .arg("--config")
        .arg(dir.join("docker"))
        .args(["stack", "config"])
        .label("docker stack config");
    for file in &project.files {
        cmd = cmd.arg("--compose-file").arg(release.root.join(file));
    }
    let finished = match processes.run(&cmd, LIMIT).await {
        Ok(finished) => finished,
        Err(error) => return Opinion::Unknown(error.to_string()),
    };
    if finished.success() {
        return Opinion::Takes;
    }
    let reason = reason(&finished.tail);
    if finished.status.code() != Some(1) || reason.is_empty() {
        return Opinion::Unknown(format!("it ended with {}", finished.how()));
    }
    let location = key_in(&reason).and_then(|key| project.location(&key).cloned());
    Opinion::Refuses(RefusedByDocker { location, reason })
}

/// Returns what the client says last, without what it only remarks.
fn reason(lines: &[String]) -> String {
    const REMARKS: [&str; 4] = ["time=", "Ignoring ", "container_name: ", "expose: "];
    let lines = lines.iter().map(|line| line.trim());
    let lines = lines.filter(|line| !line.is_empty());
    let said: Vec<&str> = lines
        .filter(|line| !REMARKS.iter().any(|remark| line.starts_with(remark)))
        .collect();
    said.join(" ")
}

/// Returns the first path of keys in what the client says, as our places have it: `services.app.ports.0` becomes
/// `services.app.ports[0]`.
fn key_in(reason: &str) -> Option<String> {
    const SECTIONS: [&str; 5] = ["services.", "volumes.", "networks.", "secrets.", "configs."];
    let word = reason
        .split([' ', ':'])
        .find(|word| SECTIONS.iter().any(|section| word.starts_with(section)))?;
    let mut path = String::new();
    for key in word.split('.') {
        if key.parse::<usize>().is_ok() {
            path += &format!("[{key}]");
        } else if path.is_empty() {
            path += key;
        } else {
            path += &format!(".{key}");
        }
    }
    Some(path)
}

/// Variables that steer the client or the loader of programs instead of the recipe. A recipe's text comes
/// from a pull request; it must not choose a library to preload or a credential helper to run.
///
/// The libc of a client that is linked with it reads the names of `ld.so(8)`, `locale(7)`, `malloc(3)` and
/// `resolv.conf(5)`, Go's runtime those of <https://pkg.go.dev/runtime#hdr-Environment_Variables>.
const STEERING: [&str; 14] = [
    "LD_",
    "DOCKER_",
    "SSL_CERT_",
    "XDG_",
    "OTEL_",
    "COMPOSE_",
    "GLIBC_",
    "GCONV_",
    "MALLOC_",
    "LC_",
    "RES_",
    "LOCPATH",
    "NLSPATH",
    "BUILDKIT_",
];

/// The same as whole names. Not every name in `GO…`: recipes have GOOGLE_CLIENT_ID and GOTIFY_URL.
const STEERING_NAMES: [&str; 19] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "GODEBUG",
    "GOTRACEBACK",
    "GOMAXPROCS",
    "GOGC",
    "GOMEMLIMIT",
    "GOCOVERDIR",
    "GORACE",
    "TZDIR",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LANGUAGE",
    "NOTIFY_SOCKET",
];

fn steers(name: &str) -> bool {
    let upper = name.to_uppercase();
    STEERING.iter().any(|prefix| upper.starts_with(prefix))
        || STEERING_NAMES.contains(&upper.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_cannot_steer_the_client() {
        for name in [
            "LD_PRELOAD",
            "PATH",
            "DOCKER_CONFIG",
            "docker_host",
            "GODEBUG",
            "GOMEMLIMIT",
            "GLIBC_TUNABLES",
            "GCONV_PATH",
            "LOCPATH",
            "MALLOC_ARENA_MAX",
            "HOME",
            "https_proxy",
        ] {
            assert!(steers(name), "{name} would reach the client");
        }
        for name in [
            "DOMAIN",
            "STACK_NAME",
            "TIMEOUT",
            "APP_PATH",
            "GOOGLE_CLIENT_ID",
            "TZ",
        ] {
            assert!(!steers(name), "{name} is kept from the client");
        }
    }

    #[test]
    fn the_clients_words_are_kept_and_its_remarks_are_not() {
        let lines = [
            "time=\"2026\" level=warning msg=\"x\"",
            "Ignoring unsupported options: restart",
            "",
            "services.app.ports.0 must be a string",
        ]
        .map(str::to_owned);
        assert_eq!(reason(&lines), "services.app.ports.0 must be a string");
    }

    #[test]
    fn the_key_that_the_client_names_is_found() {
        for (reason, key) in [
            (
                "services.app.ports.0 must be a string",
                Some("services.app.ports[0]"),
            ),
            (
                "invalid interpolation format for services.app.x: \"$\"",
                Some("services.app.x"),
            ),
            (
                "version mismatched between two composefiles : 3.8 and 3.7",
                None,
            ),
        ] {
            assert_eq!(key_in(reason).as_deref(), key);
        }
    }

    #[test]
    fn variables_that_steer_the_client_are_kept_from_it() {
        for name in ["DOCKER_HOST", "LD_PRELOAD", "PATH", "https_proxy", "OTEL_X"] {
            assert!(steers(name), "{name}");
        }
        for name in ["DOMAIN", "GOTIFY_URL", "STACK_NAME", "TAG"] {
            assert!(!steers(name), "{name}");
        }
    }
}
