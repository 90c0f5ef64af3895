//! Recipes of real software, their red twins, and mutants of every green recipe; README.md tells how they are made.

use std::sync::{Mutex, MutexGuard};

use crate::support::locked;

mod breakage;
#[cfg(feature = "real")]
mod gateway;
mod mutations;
mod passing;
mod recipes;

/// Where the recipes are, in this repository.
const SET: &str = "tests/real/recipes";

/// Waits until no other test has the port that `voice` publishes on this host; the others publish none.
fn port_of(recipe: &str) -> Option<MutexGuard<'static, ()>> {
    static VOICE: Mutex<()> = Mutex::new(());
    recipe.starts_with("voice").then(|| locked(&VOICE))
}

/// Says how a run ended, while the tests go on: where one of them takes a minute, silence tells nothing.
#[expect(clippy::print_stderr, reason = "what a long test says")]
fn say(line: &str) {
    eprintln!("{line}");
}
