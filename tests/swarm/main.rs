//! Runs on a real engine. `tests/run` prepares one.
#![expect(
    clippy::unwrap_used,
    reason = "a failed setup step is a failed test; the lint knows only #[test] functions"
)]

mod cancel;
mod engine;
mod fixtures;
mod gateway;
mod hold;
mod infra;
mod ps;
mod stop;
#[path = "../support/support.rs"]
mod support;
mod surroundings;
#[path = "../support/wait.rs"]
mod wait;
