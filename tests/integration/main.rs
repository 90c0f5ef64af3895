//! What needs no engine: the command line, bad input, plans, and the tidiness of this repository.
#![expect(
    clippy::unwrap_used,
    reason = "a failed setup step is a failed test; the lint knows only #[test] functions"
)]

mod abra;
mod bases;
#[cfg(feature = "real")]
mod browser;
#[path = "deployed/cases.rs"]
mod cases;
mod circles;
mod cli;
mod contexts;
mod cost;
mod database;
mod dependencies;
mod deployed;
mod dry_run;
mod explain;
#[path = "../support/forge.rs"]
mod forge;
mod grants;
mod hostile;
mod init;
mod install;
mod judged_first;
#[path = "deployed/keys.rs"]
mod keys;
mod lint;
mod locks;
mod nix;
mod nodes;
mod once;
mod once_options;
mod once_races;
mod others;
mod overlays;
mod packs;
mod pages;
mod pipelines;
mod policy;
mod prefixed;
#[path = "../support/projects.rs"]
mod projects;
mod ps;
#[path = "../support/recorder.rs"]
mod recorder;
mod refusals;
mod report;
mod routing;
mod runs;
mod sources;
#[path = "../support/support.rs"]
mod support;
mod tests_run;
mod tidy;
mod trust;
mod usage;
#[path = "../support/wait.rs"]
mod wait;
mod watch;
mod wild;
