//! Proves that a Co-op Cloud recipe works on a real Docker Swarm.
//!
//! The library does, the binary talks: nothing here prints, reads the environment or the working
//! directory, or ends the process. [`run`] is the only module that knows the order of a run; everything
//! that touches an app takes the app's [`lock::DomainLock`] as proof that it may. `docs/architecture.md`
//! has the map.

pub mod abra;
pub mod app;
pub mod coverage;
pub mod data;
pub mod declared;
pub mod demo;
pub mod dirs;
pub mod doctor;
pub mod driver;
pub mod error;
pub mod event;
pub mod finding;
pub mod git;
mod hash;
pub mod host;
pub mod host_file;
pub mod http;
pub mod janitor;
pub mod lifetime;
pub mod lint;
pub mod live;
pub mod lock;
pub mod made;
pub mod name;
pub mod once;
pub mod outcome;
pub mod overlay;
pub mod policy;
pub mod process;
pub mod recipe;
mod record;
pub mod report;
pub mod run;
mod signal_thread;
pub mod source_tree;
pub mod suite;
pub mod swarm;
pub mod sweep;
mod sys;
pub mod tier;
mod tls;
pub mod trust;
pub mod wait;
pub mod warm;
pub mod watch;
