//! What an option lets one choose from.

use std::ffi::OsStr;
use std::marker::PhantomData;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::{Arg, Command, ValueEnum};

/// Parses a choice as clap does, so that help and completion list its values; an empty text, which pipelines pass for
/// variables that are not set, is the first of them.
#[derive(Debug, Clone)]
pub(super) struct OrFirst<T>(PhantomData<T>);

/// Returns the parser of a choice.
pub(super) fn or_first<T>() -> OrFirst<T> {
    OrFirst(PhantomData)
}

impl<T: ValueEnum + Clone + Send + Sync + 'static> TypedValueParser for OrFirst<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        match T::value_variants().first() {
            Some(first) if value.is_empty() => Ok(first.clone()),
            _ => EnumValueParser::new().parse_ref(command, arg, value),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = T::value_variants().iter();
        Some(Box::new(values.filter_map(ValueEnum::to_possible_value)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Makes it the choice of all that is printed.
    pub(crate) fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

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
