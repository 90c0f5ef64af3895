//! The command line of `recipe-ci app`.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct AppArgs {
    /// The run that holds the app [default: the run that this is part of].
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    #[command(subcommand)]
    pub(crate) command: AppCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Run a command in a container of the app; its output and exit code pass through.
    Exec {
        /// The service [default: the main one].
        #[arg(long)]
        service: Option<String>,
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Ask the app over HTTP and print the body; succeeds on 2xx and 3xx, or on --status.
    Http {
        /// The method.
        #[arg(short = 'X', long = "request", default_value = "GET")]
        method: String,
        /// A header, `Name: value`.
        #[arg(short = 'H', long = "header")]
        headers: Vec<String>,
        /// The body.
        #[arg(short = 'd', long = "data", allow_hyphen_values = true)]
        data: Option<String>,
        /// The status to expect.
        #[arg(long)]
        status: Option<u16>,
        /// The path.
        path: String,
    },
    /// Print the last lines that a service wrote.
    Logs {
        /// The service [default: the main one].
        #[arg(long)]
        service: Option<String>,
        /// How many lines.
        #[arg(long, short = 'n', default_value_t = 200)]
        lines: usize,
    },
    /// Print the app's environment, or one variable of it.
    Env {
        /// The variable.
        key: Option<String>,
    },
}
