//! Runs on a real engine. `tests/run` prepares one.
#![expect(
    clippy::unwrap_used,
    reason = "a failed setup step is a failed test; the lint knows only #[test] functions"
)]

mod abra;
mod after;
mod base;
mod bases;
mod beside;
mod cancel;
mod cut;
mod dead;
mod declared;
mod dependencies;
mod deployed;
mod engine;
mod first_run;
mod fixtures;
#[path = "../support/forge.rs"]
mod forge;
mod frames;
mod fresh;
mod gateway;
mod held;
mod hold;
mod infra;
mod janitor;
mod joined;
mod lessons;
mod life;
mod mounts;
mod moved;
mod on_ci;
mod on_run;
mod operators;
mod ownership;
mod pace;
mod past;
mod policy;
mod prefixed;
#[path = "../support/projects.rs"]
mod projects;
mod ps;
mod quick;
#[path = "../real/main.rs"]
mod real;
mod registry;
mod room;
#[path = "security/rows.rs"]
mod rows;
#[path = "security/scene.rs"]
mod scene;
mod security;
mod stop;
mod storm;
#[path = "../support/support.rs"]
mod support;
mod surroundings;
mod sweep;
mod tidy;
mod together;
mod trust;
mod variants;
mod victim;
#[path = "../support/wait.rs"]
mod wait;
