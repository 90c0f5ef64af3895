//! The janitor's systemd units, for hosts whose configuration is in `/etc/systemd/system`.
//!
//! The text is made here and nowhere else. A unit that this module wrote carries the hash of its own text, so
//! that a later version may replace it, and one that a person has changed since is left alone.
//! NixOS has a module of its own (`nix/modules/janitor.nix`), because there `/etc` is generated.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use engine::process::{Cmd, ProcessError, Processes};
use engine::record;
use ground::host_file;

/// The service, which sweeps once.
pub const SERVICE: &str = "recipe-ci-janitor.service";

/// The timer, which starts the service. The NixOS module has the same name.
pub const TIMER: &str = "recipe-ci-janitor.timer";

/// How long after boot the first sweep is. The locks are gone by then, so every app of before is an orphan;
/// the engine needs a moment to start the tasks that are to be removed.
const AFTER_BOOT: &str = "1min";

/// When a sweep is stuck. Eight orphans that all take their whole time to go (120 s each) fit in, and a warm app whose
/// data takes the half hour that an upload may take.
const SWEEP_LIMIT: &str = "60min";

/// How long `systemctl` may take; `enable --now` does not wait for the first sweep.
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(60);

/// What begins the line with the hash.
const SEAL: &str = "# recipe-ci:sha256:";

/// Directories that `ProtectSystem=full` makes read-only.
const PROTECTED: [&str; 4] = ["/usr", "/boot", "/efi", "/etc"];

/// What the units are made from.
#[derive(Debug, Clone)]
pub struct Plan {
    /// This program, as an absolute path.
    pub exe: PathBuf,
    /// The user that sweeps, where it is not root.
    pub user: Option<String>,
    /// Every setting that decides what the janitor sees, by its name. systemd knows no shell's settings, and
    /// with another lock directory than the runs' the janitor would take live apps for dead ones.
    pub environment: Vec<(String, String)>,
    /// Directories that the janitor writes to.
    pub writable: Vec<PathBuf>,
    /// The time between the starts of two sweeps.
    pub every: Duration,
}

/// The text of a unit with the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The file's name.
    pub name: &'static str,
    /// What is in it.
    pub text: String,
}

/// What became of a unit's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is new.
    Created,
    /// It had another text of ours, or `force` was given.
    Updated,
    /// It had this text already.
    Unchanged,
}

/// Why the units are not in place.
#[derive(Debug, thiserror::Error)]
pub enum UnitsError {
    /// A value cannot be written in a unit file.
    #[error("{what} `{value}` cannot be written in a systemd unit: {reason}")]
    Unwritable {
        /// What it is: `CCCI_ZONE`.
        what: String,
        /// The value.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// Somebody changed the file.
    #[error("`{path}` was changed by hand, or was not written by recipe-ci")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("`{path}` cannot be {verb}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no systemd to enable a timer in.
    #[error("systemd does not run this host: {0}")]
    NoSystemd(String),
    /// `systemctl` did not end.
    #[error(transparent)]
    Systemctl(#[from] ProcessError),
    /// `systemctl` refused.
    #[error("`{command}` failed: {said}")]
    Refused {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
}

impl UnitsError {
    /// Returns whether the person who asked is to blame, rather than the host.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Unwritable { .. } | Self::Changed { .. } => true,
            Self::File { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
            ),
            Self::NoSystemd(_) | Self::Systemctl(_) | Self::Refused { .. } => false,
        }
    }
}

/// Returns the service and the timer.
///
/// # Errors
/// [`UnitsError::Unwritable`] when a value has no form in a unit file.
pub fn render(plan: &Plan) -> Result<[Unit; 2], UnitsError> {
    Ok([
        Unit {
            name: SERVICE,
            text: sealed(&service(plan)?),
        },
        Unit {
            name: TIMER,
            text: sealed(&timer(plan)),
        },
    ])
}

fn service(plan: &Plan) -> Result<String, UnitsError> {
    let exe = quote("this program's path", &plan.exe.to_string_lossy())?;
    // systemd refuses such a program's name, quoted or not.
    if plan
        .exe
        .to_str()
        .is_none_or(|exe| exe.contains(['"', '\'', '\\']))
    {
        return Err(UnitsError::Unwritable {
            what: "this program's path".to_owned(),
            value: plan.exe.to_string_lossy().into_owned(),
            reason: "systemd starts no program with a quote or a backslash in its path",
        });
    }
    let mut text = String::from(
        "[Unit]\n\
         Description=Remove the apps of dead recipe-ci runs\n\
         # Only an order: on a host without this unit the engine is somebody else's.\n\
         After=docker.service\n\
         \n\
         [Service]\n\
         Type=oneshot\n",
    );
    let line = |text: &mut String, key: &str, value: &str| {
        writeln!(text, "{key}={value}").expect("writing to a string succeeds");
    };
    if let Some(user) = &plan.user {
        // The whole line is the name here: systemd would take quotes for a part of it.
        if user.is_empty()
            || !user
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        {
            return Err(UnitsError::Unwritable {
                what: "the user".to_owned(),
                value: user.clone(),
                reason: "it is not a plain name",
            });
        }
        line(&mut text, "User", user);
    }
    // `$` is left as it is: in the first word of a command line and in Environment= it means itself.
    line(&mut text, "ExecStart", &format!("{exe} janitor"));
    for (name, value) in &plan.environment {
        let assignment = quote(name, &format!("{name}={value}"))?;
        line(&mut text, "Environment", &assignment);
    }
    line(&mut text, "TimeoutStartSec", SWEEP_LIMIT);
    text.push_str(
        "# A bound on accidents and not on malice: a process with the engine's socket has the host. Homes stay\n\
         # visible for ~/.abra, /tmp is shared because places and sockets may be there.\n\
         ProtectSystem=full\n",
    );
    for dir in &plan.writable {
        if PROTECTED.iter().any(|root| dir.starts_with(root)) {
            // The `-` is for one that does not exist yet.
            let dir = format!("-{}", dir.to_string_lossy());
            line(&mut text, "ReadWritePaths", &quote("a place", &dir)?);
        }
    }
    text.push_str(
        "NoNewPrivileges=yes\n\
         ProtectKernelTunables=yes\n\
         ProtectKernelModules=yes\n\
         ProtectControlGroups=yes\n\
         RestrictSUIDSGID=yes\n\
         RestrictRealtime=yes\n\
         LockPersonality=yes\n\
         # The engine is a unix socket; nothing else is asked.\n\
         RestrictAddressFamilies=AF_UNIX\n",
    );
    Ok(text)
}

fn timer(plan: &Plan) -> String {
    format!(
        "[Unit]\n\
         Description=Remove the apps of dead recipe-ci runs, again and again\n\
         \n\
         [Timer]\n\
         # No Persistent=: it is for calendar times; after a boot these begin anew.\n\
         OnBootSec={AFTER_BOOT}\n\
         OnUnitActiveSec={}s\n\
         AccuracySec=10s\n\
         \n\
         [Install]\n\
         WantedBy=timers.target\n",
        plan.every.as_secs()
    )
}

/// Returns `value` as one word of a unit file that means exactly it.
fn quote(what: &str, value: &str) -> Result<String, UnitsError> {
    let refuse = |reason| UnitsError::Unwritable {
        what: what.to_owned(),
        value: value.to_owned(),
        reason,
    };
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Err(refuse("it is not UTF-8"));
    }
    if value.chars().any(char::is_control) {
        return Err(refuse("it has a control character"));
    }
    let mut word = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            // Specifiers are replaced inside of quotes, too.
            '%' => word.push_str("%%"),
            c => word.push(c),
        }
    }
    word.push('"');
    Ok(word)
}

/// Returns `text` with its hash before it.
fn sealed(text: &str) -> String {
    let hash = hex::encode(Sha256::digest(text));
    format!(
        "# Written by `recipe-ci janitor install`, which replaces this file only while it is as it was written.\n\
         {SEAL}{hash}\n{text}"
    )
}

/// Returns whether `text` is as this module wrote it.
fn is_ours(text: &str) -> bool {
    let mut lines = text.splitn(3, '\n');
    let (Some(_), Some(seal), Some(rest)) = (lines.next(), lines.next(), lines.next()) else {
        return false;
    };
    seal.starts_with(SEAL) && sealed(rest) == text
}

/// Writes the units to `dir`, both or none: what a person changed is seen before anything is written.
///
/// # Errors
/// [`UnitsError`]; with `force` a changed file is no error.
pub fn write(
    units: &[Unit; 2],
    dir: &Path,
    force: bool,
) -> Result<Vec<(PathBuf, Written)>, UnitsError> {
    let mut plans = Vec::new();
    for unit in units {
        let path = dir.join(unit.name);
        let written = match host_file::bytes(&path) {
            Ok(found) if found == unit.text.as_bytes() => Written::Unchanged,
            Ok(found) if force || is_ours(&String::from_utf8_lossy(&found)) => Written::Updated,
            Ok(_) => return Err(UnitsError::Changed { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Written::Created,
            Err(source) => {
                let verb = "read";
                return Err(UnitsError::File { path, verb, source });
            }
        };
        plans.push((path, written));
    }
    for (unit, (path, written)) in units.iter().zip(&plans) {
        if *written != Written::Unchanged {
            // The installing user's umask must not hide the unit from `systemctl cat`.
            let put = record::replace_shared(path, unit.text.as_bytes());
            put.map_err(|source| UnitsError::File {
                path: path.clone(),
                verb: "written",
                source,
            })?;
        }
    }
    Ok(plans)
}

/// Returns the commands that put the units into force.
#[must_use]
pub fn commands() -> [Vec<&'static str>; 2] {
    [
        vec!["systemctl", "daemon-reload"],
        vec!["systemctl", "enable", "--now", TIMER],
    ]
}

/// Returns `systemctl`, where systemd runs the host whose root is `root` (`/` but for tests).
///
/// # Errors
/// [`UnitsError::NoSystemd`].
pub fn systemctl(processes: &Processes, root: &Path) -> Result<PathBuf, UnitsError> {
    // sd_booted(3): the program may be installed where another init runs.
    let mark = root.join("run/systemd/system");
    if !mark.is_dir() {
        let missing = format!("there is no `{}`", mark.display());
        return Err(UnitsError::NoSystemd(missing));
    }
    processes
        .which("systemctl")
        .ok_or_else(|| UnitsError::NoSystemd("there is no `systemctl` on PATH".to_owned()))
}

/// Puts the units into force with [`commands`].
///
/// # Errors
/// [`UnitsError::Systemctl`], [`UnitsError::Refused`].
pub async fn enable(processes: &Processes, systemctl: &Path) -> Result<(), UnitsError> {
    for command in commands() {
        let cmd = Cmd::new(systemctl, Path::new("/")).args(&command[1..]);
        let finished = processes.run(&cmd, SYSTEMCTL_LIMIT).await?;
        if !finished.success() {
            return Err(UnitsError::Refused {
                command: command.join(" "),
                said: finished.tail.join("; "),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
