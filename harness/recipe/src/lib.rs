//! A recipe as its repository describes it, and what is thought of it: text in, values out.
//!
//! Nothing here knows an engine or starts a process, so that a recipe is read and judged before anything is asked.

pub mod app_commands;
pub mod backup;
pub mod compose;
pub mod database;
pub mod declared;
pub mod env;
pub mod interpolate;
pub mod lint;
pub mod policy;
pub mod reach;
pub mod release;
pub mod room;
pub mod sample;
pub mod secret;
pub mod traefik;
pub mod trust;
pub mod version;

/// Where a recipe has its tests, in its repository.
pub const TESTS: &str = "tests";
