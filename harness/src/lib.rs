//! Proves that a Co-op Cloud recipe works on a real Docker Swarm.
//!
//! The library does, the binary talks: nothing here prints, reads the environment or the working
//! directory, or ends the process. [`run`] is the only module that knows the order of a run; everything
//! that touches an app takes the app's [`lock::DomainLock`] as proof that it may. `docs/architecture.md`
//! has the map.

pub use engine::{app, context, dirs, http, lock, made, once, process, room, swarm, wait};
pub use ground::{
    error, excerpt, finding, git, host_file, label, name, nearest, outcome, pins, source_tree,
};
pub use recipe::{self, declared, lint, policy, trust};

pub mod abra;
pub mod coverage;
pub mod data;
pub mod demo;
pub mod doctor;
pub mod driver;
pub mod event;
pub mod hold;
pub mod host;
pub mod janitor;
pub mod lifetime;
pub mod live;
pub mod metrics;
pub mod overlay;
pub mod report;
pub mod run;
pub mod runs;
pub mod starter;
pub mod suite;
pub mod sweep;
pub mod tier;
pub mod warm;
pub mod watch;
