//! An app that is held after its run, for a look at it.
//!
//! At the end of the run its locks go on in a process that only waits, the holder: so for janitors, `ps` and other runs
//! the app has a live owner as before, and there is no second rule for what is held. The holder removes the app when its
//! time is over or when it is told to ([`release`]); when it is killed, the kernel frees the locks, and the next sweep
//! does.

pub(crate) mod heir;
pub mod holder;
pub mod release;

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use engine::dirs::HostDirs;
use ground::name::{Domain, Zone};

/// What `ps` says that a run does whose app is held.
pub(crate) const PHASE: &str = "held";

/// What is known of the app that is held, among the run's state files.
pub const STATE: &str = "held.json";

/// What a holder answers when it has the locks.
pub(crate) const READY: &str = "ready";

/// What a holder is told when the run is over and its report is written.
pub(crate) const GO: &str = "go";

/// An app that is held, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// Its domain.
    pub domain: String,
    /// The domains of the apps that it needs, which are held as well.
    pub dependencies: Vec<String>,
    /// Where it answers, as long as its container is not replaced; null where the recipe tells its gateway no port.
    pub url: Option<String>,
    /// What opens a shell in its main service, typed into one of this host.
    pub shell: String,
    /// What ends the hold, typed in the same way.
    pub release: String,
    /// When it ends by itself, RFC 3339 in UTC.
    pub until: String,
    /// How it ended; null while it lasts, and until the next sweep where its holder was killed.
    #[serde(default)]
    pub ended: Option<Ended>,
}

impl Hold {
    /// Returns where it is and what to type, a line for each.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        let lines = [Some(&self.shell), Some(&self.release)];
        let lines = self.url.iter().chain(lines.into_iter().flatten());
        lines.cloned().collect()
    }
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Why: `its time was over`, `released`.
    pub why: String,
}

/// What a holder is told with the locks: first those of the apps in the order of `domains`, then that of the run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// The run's id.
    pub(crate) run: String,
    /// Its directory.
    pub(crate) root: PathBuf,
    pub(crate) host: HostDirs,
    pub(crate) zone: String,
    /// The app, then those that it needs.
    pub(crate) domains: Vec<String>,
    pub(crate) docker_host: String,
    /// How long to hold.
    pub(crate) span: Duration,
    /// The end as a person was told it.
    pub(crate) until: String,
}

/// The first words of what a holder writes into the lock file of its app.
const SAYS: &str = "hold of run";

/// Returns whether who holds a lock says that it is a hold, which may last longer than any run.
pub(crate) fn is_meant(holder: &str) -> bool {
    holder.starts_with(SAYS)
}

/// Returns the run app that a record names.
fn run_app(domain: &str) -> Option<Domain> {
    let (_, zone) = domain.split_once('.')?;
    let zone: Zone = zone.parse().ok()?;
    Domain::parse(domain, &zone).ok()
}
