//! Proves that a Co-op Cloud recipe works on a real Docker Swarm.

pub mod app;
pub mod demo;
pub mod dirs;
pub mod doctor;
pub mod event;
pub mod git;
pub mod host;
pub mod janitor;
pub mod lifetime;
pub mod lock;
pub mod name;
pub mod outcome;
pub mod process;
pub mod recipe;
pub mod report;
pub mod swarm;
mod sys;
pub mod wait;
