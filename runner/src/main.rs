//! `recipe-ci`: proves that a Co-op Cloud recipe really works.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod env;
mod exit;
mod settings;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::dispatch()
}
