//! This host: its processes, locks, clocks and directories, and its Docker engine.
//!
//! Nothing here reads a recipe. Everything that touches an app takes the app's [`lock::DomainLock`] as proof that it may.

pub mod app;
pub mod context;
pub mod dirs;
pub mod firewall;
pub mod hash;
pub mod http;
pub mod lock;
pub mod made;
pub mod once;
pub mod process;
pub mod record;
pub mod room;
pub mod swarm;
pub mod sys;
pub mod wait;
