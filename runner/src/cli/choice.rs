//! What an option lets one choose from.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DriverChoice {
    /// abra where it is on PATH and answers, else the embedded driver.
    Auto,
    /// The embedded driver, which needs only Docker.
    Stack,
    /// abra, or an error.
    Abra,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineChoice {
    /// The host's own, at DOCKER_HOST.
    Host,
    /// CI's own, below the state directory.
    Ci,
    /// One for this run alone, which ends with it.
    Run,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FreshChoice {
    /// At the same time as the base, where both fit.
    Parallel,
    /// Before the base.
    Serial,
    /// Not at all.
    Never,
}
