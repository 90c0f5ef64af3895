//! Proves that a Co-op Cloud recipe works on a real Docker Swarm.

pub mod git;
pub mod name;
pub mod recipe;
