//! The command line, as typed: nothing here has an effect.

mod app;
mod choice;
mod examples;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::TypedValueParser as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use harness::run::settings::{Keep, KeepError};

pub(crate) use app::{AppArgs, AppCommand};
use choice::or_first;
pub(crate) use choice::{ColorChoice, DriverChoice, EngineChoice, FreshChoice};

use crate::commands::demo::DemoArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::engine::EngineCommand;
use crate::commands::explain::ExplainArgs;
use crate::commands::grants::GrantsCommand;
use crate::commands::init::InitArgs;
use crate::commands::janitor::install::InstallArgs;
use crate::commands::janitor::upkeep::UpkeepArgs;
use crate::commands::lint::LintArgs;
use crate::commands::overlay::OverlayCommand;
use crate::commands::release::ReleaseArgs;
use crate::commands::report::ReportArgs;
use crate::commands::runs::{GcArgs, LogsArgs, RunsArgs, ShowArgs};

/// Proves that a Co-op Cloud recipe really works, on a real Docker Swarm.
#[derive(Debug, Parser)]
#[command(name = "recipe-ci", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// When to use colours.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        value_enum
    )]
    pub(crate) color: ColorChoice,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a recipe through every tier and tear it down.
    #[command(after_long_help = examples::RUN)]
    Run(Box<RunArgs>),
    /// Run the bundled recipe through every tier; --setup prepares this host first.
    Demo(DemoArgs),
    /// Write the first tests of a recipe: settings, a pair of hooks, and a test that passes.
    Init(InitArgs),
    /// Check a recipe without deploying it: abra's rules, and what breaks runs in practice.
    #[command(after_long_help = examples::LINT)]
    Lint(LintArgs),
    /// Look at every precondition of a run on this host, each with its fix; --abra looks at abra.
    Doctor(DoctorArgs),
    /// Remove the apps of dead runs, once; or see to it that something does.
    #[command(after_long_help = examples::JANITOR)]
    Janitor(JanitorArgs),
    /// Keep an engine for CI alone, beside the one that this host's own apps run on.
    #[command(subcommand)]
    Engine(EngineCommand),
    /// Run the newest release of every enrolled recipe that is not its canonical yet.
    Sweep(ReleasesArgs),
    /// List the runs that are alive on this host, who waits for whom, and what dead runs left.
    Ps(PsArgs),
    /// Print the report of a run as JUnit XML, a page, Markdown, a badge or SARIF.
    #[command(after_long_help = examples::REPORT)]
    Report(ReportArgs),
    /// List the runs of this host that left a report, the newest first.
    Runs(RunsArgs),
    /// Say what came of a run.
    Show(ShowArgs),
    /// Print a log of a run.
    Logs(LogsArgs),
    /// Remove the records of old runs.
    Gc(GcArgs),
    /// Say what a rule, a finding, an assertion, an exit code or a verdict means, and what to do about it.
    #[command(after_long_help = examples::EXPLAIN)]
    Explain(ExplainArgs),
    /// Run a command in the background, once for all who ask, with one result for all.
    Once(OnceArgs),
    /// Check overlays, print the schema of recipe-ci.yml.
    #[command(subcommand)]
    Overlay(OverlayCommand),
    /// Check what the operator grants to which source, print the schema of grants.yml.
    #[command(subcommand)]
    Grants(GrantsCommand),
    /// Reach the app of a run: from its tests, or while it is held.
    App(AppArgs),
    /// Let go the app that a run holds for a look at it, and wait until it is removed.
    Release(ReleaseArgs),
    /// The process that holds an app; started by `run` only.
    #[command(hide = true)]
    Holder,
    /// Print a shell's completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or that of a command: `man janitor arm`.
    Man {
        /// The command.
        command: Vec<String>,
    },
}

/// What to run. What a pipeline sets has an environment variable, so that its step needs no arguments; an
/// empty variable counts as unset.
#[derive(Debug, Args, Clone)]
pub(crate) struct RunArgs {
    /// A recipe's name, or the path of its repository (with a `/`, or `.`).
    #[arg(value_name = "RECIPE|PATH")]
    pub(crate) target: Option<String>,
    /// The recipe's name, where it is not the last part of the source.
    #[arg(long, env = "RECIPE", value_name = "NAME")]
    pub(crate) recipe: Option<String>,
    /// Where the recipe comes from: OWNER/REPO on the forge, a URL or a path.
    #[arg(long, env = "SRC", value_name = "OWNER/REPO|URL|PATH")]
    pub(crate) src: Option<String>,
    /// The branch, tag or commit under test.
    #[arg(
        long = "ref",
        env = "REF",
        value_name = "REF",
        allow_hyphen_values = true
    )]
    pub(crate) reference: Option<String>,
    /// The pull request's number.
    #[arg(long, env = "PR", value_name = "N")]
    pub(crate) pr: Option<String>,
    /// The stages to run, separated by commas.
    #[arg(
        long,
        env = "STAGES",
        value_name = "install,upgrade,backup,restore,custom"
    )]
    pub(crate) stages: Option<String>,
    /// Run the stages that failed in the newest run of this recipe on this host; all where none did.
    #[arg(long)]
    pub(crate) last_failed: bool,
    /// The published version to upgrade from [default: the canonical, else the newest one that is not newer than the head].
    #[arg(long, env = "CCCI_BASE", value_name = "VERSION")]
    pub(crate) base: Option<String>,
    /// The published versions to upgrade from, each in an app of its own; the newest takes the part of `--base`.
    #[arg(long, env = "CCCI_BASES", value_name = "last:N|VERSION,…|all")]
    pub(crate) bases: Option<String>,
    /// The variants of the recipe to deploy as well, each in an app of its own [default: all that it declares].
    #[arg(long, env = "CCCI_VARIANTS", value_name = "all|NAME,…|none")]
    pub(crate) variants: Option<String>,
    /// When the head is installed afresh besides being an upgrade: at once with the base, before it, or not at all.
    #[arg(long, env = "CCCI_FRESH", value_name = "WHEN", default_value = "parallel",
          value_parser = or_first::<FreshChoice>())]
    pub(crate) fresh: FreshChoice,
    /// Deploy the head over the recipe's warm app instead of a new one (CCCI_QUICK=1): upgrade and custom only.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Leave the intervals of health checks as the recipe has them (CCCI_AS_SHIPPED=1), instead of 2 s at most.
    #[arg(long)]
    pub(crate) as_shipped: bool,
    /// Run apps of strangers although they may reach what listens on this host, or the overlay networks of others
    /// (CCCI_ACCEPT_SHARED_ENGINE=1).
    #[arg(long)]
    pub(crate) accept_shared_engine: bool,
    /// Run a test that failed again, at most so often; one that passes then is `flaky`.
    #[arg(long, env = "CCCI_RETRIES", value_name = "N", default_value = "0",
          value_parser = parse_retries)]
    pub(crate) retries: u32,
    /// Where the app is deployed: on the host's own engine, on CI's, which `recipe-ci engine up` starts, or on one that is
    /// made for this run and ends with it.
    #[arg(long, env = "CCCI_ENGINE", value_name = "WHICH", default_value = "host",
          value_parser = or_first::<EngineChoice>())]
    pub(crate) engine: EngineChoice,
    /// How the app is deployed.
    #[arg(long, env = "CCCI_DRIVER", value_name = "DRIVER", default_value = "auto",
          value_parser = or_first::<DriverChoice>())]
    pub(crate) driver: DriverChoice,
    /// The zone of the run apps' domains [default: ci.localhost].
    #[arg(long, env = "CCCI_ZONE", value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// The app's domain [default: made from recipe, PR and ref].
    #[arg(long, env = "CCCI_APP_DOMAIN", value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    /// abra's name of the server [default: default].
    #[arg(long, env = "CCCI_SERVER", value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// Reach the app through the gateway at this address instead of directly.
    #[arg(long, env = "CCCI_GATEWAY", value_name = "[http://|https://]IP[:PORT]")]
    pub(crate) gateway: Option<String>,
    /// What the gateway is on the engine: a Swarm service, a container, or `none` where it is neither [default: what
    /// publishes the gateway's port and is on network `proxy`].
    #[arg(long, env = "CCCI_GATEWAY_SERVICE", value_name = "NAME")]
    pub(crate) gateway_service: Option<String>,
    /// Certificates, as PEM, of the gateway's authorities, beside those that the host trusts.
    #[arg(long, env = "CCCI_GATEWAY_CA", value_name = "FILE",
          value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) gateway_ca: Option<PathBuf>,
    /// The operator's directory of overlays, one sub-directory per recipe.
    #[arg(long, env = "CCCI_TESTS_DIR", value_name = "DIR",
          value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) overlays: Option<PathBuf>,
    /// What the operator grants to which source [default: grants.yml in the overlays, else /etc/recipe-ci/grants.yml].
    #[arg(long, env = "CCCI_GRANTS", value_name = "FILE",
          value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) grants: Option<PathBuf>,
    /// The hard deadline of the run [default: 60m].
    #[arg(long, env = "CCCI_DEADLINE", value_name = "DURATION")]
    pub(crate) deadline: Option<String>,
    /// When to hold the app after the run for a look at it, and how long: `never`, `failed=2h`, `always=30m`; an hour
    /// where no time is given.
    #[arg(long, env = "CCCI_KEEP", value_name = "WHEN[=TIME]", default_value = "never",
          value_parser = parse_keep)]
    pub(crate) keep: Keep,
    /// The run's id [default: the build's number, else manual-PID].
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<String>,
    /// Fetch, plan, print the plan as JSON, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the results as JSON at the end.
    #[arg(long)]
    pub(crate) json: bool,
    /// Say only what is wrong, and how it ended.
    #[arg(long, short, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say what the library does, too (RECIPE_CI_LOG=debug).
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Write the report as JUnit XML there, too.
    #[arg(long, env = "CCCI_JUNIT", value_name = "FILE",
          value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) junit: Option<PathBuf>,
    /// Write the report as a page there, too.
    #[arg(long, env = "CCCI_HTML", value_name = "FILE",
          value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) html: Option<PathBuf>,
    /// Run without a parent: the end of the process that started this does not end the run.
    #[arg(long)]
    pub(crate) detached: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct JanitorArgs {
    #[command(subcommand)]
    pub(crate) command: Option<JanitorCommand>,
    #[command(flatten)]
    pub(crate) sweep: SweepArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// The zone of the run apps' domains [default: ci.localhost].
    #[arg(long, env = "CCCI_ZONE", value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// The hard deadline of runs; a lock held for more than twice as long is reported [default: 60m].
    #[arg(long, env = "CCCI_DEADLINE", value_name = "DURATION")]
    pub(crate) deadline: Option<String>,
    /// Say what would be removed, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) upkeep: UpkeepArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReleasesArgs {
    /// The operator's directory of overlays; those that say `canonical: true` are enrolled.
    #[arg(long, env = "CCCI_TESTS_DIR", value_name = "DIR",
          value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) overlays: Option<PathBuf>,
    /// The zone of the apps' domains [default: ci.localhost].
    #[arg(long, env = "CCCI_ZONE", value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// The hard deadline of each run [default: 60m].
    #[arg(long, env = "CCCI_DEADLINE", value_name = "DURATION")]
    pub(crate) deadline: Option<String>,
    /// How many runs at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) parallel: u8,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Say what would be run, and run nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JanitorCommand {
    /// Write a systemd service and timer that sweep between runs.
    Install(InstallArgs),
    /// Sweep again and again until told to stop: one watcher per state directory.
    Watch(WatchArgs),
    /// See to it that a watcher runs; start one when there is none.
    Arm {
        #[command(flatten)]
        watch: WatchArgs,
        /// End the watcher of this state directory first.
        #[arg(long)]
        restart: bool,
    },
    /// Say whether anything sweeps this host.
    Status {
        /// The zone of the run apps' domains [default: ci.localhost].
        #[arg(long, env = "CCCI_ZONE", value_name = "ZONE")]
        zone: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args, Clone)]
pub(crate) struct WatchArgs {
    /// The zone of the run apps' domains [default: ci.localhost].
    #[arg(long, env = "CCCI_ZONE", value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// How often to sweep [default: 10m].
    #[arg(long, value_name = "DURATION")]
    pub(crate) every: Option<String>,
    /// How often to say that it lives [default: 10s].
    #[arg(long, value_name = "DURATION")]
    pub(crate) poll: Option<String>,
    #[command(flatten)]
    pub(crate) upkeep: UpkeepArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// The zone of the run apps' domains [default: ci.localhost].
    #[arg(long, env = "CCCI_ZONE", value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// Print JSON, a line for each look.
    #[arg(long)]
    pub(crate) json: bool,
    /// Look again every two seconds until told to stop.
    #[arg(long, short)]
    pub(crate) watch: bool,
}

/// A task has an id; while it runs, and while its result counts, it is not started again, whatever command is given.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct OnceArgs {
    #[command(subcommand)]
    pub(crate) action: Option<OnceAction>,
    /// The task.
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) id: Option<String>,
    /// Start it if needed, in the background, and return at once; this is the default.
    #[arg(short, long, group = "what")]
    pub(crate) start: bool,
    /// Start it if needed, wait for it, and exit with its code; without a command with the recorded one.
    #[arg(short, long, group = "what")]
    pub(crate) wait: bool,
    /// Wait so long at most, then exit 124; the task goes on.
    #[arg(short = 'W', long, value_name = "SECONDS", requires = "wait")]
    pub(crate) timeout: Option<u64>,
    /// Forget the task after the wait.
    #[arg(short, long, requires = "wait")]
    pub(crate) clean: bool,
    /// How old a result may be, by its exit file; who starts the task says it for all, who asks for himself [default: any
    /// age until the host reboots].
    #[arg(short = 't', long, value_name = "SECONDS")]
    pub(crate) lifetime: Option<u64>,
    /// What to say while waiting; the task's pid is appended [default: waiting for task `ID`].
    #[arg(short, long, value_name = "MSG")]
    pub(crate) message: Option<String>,
    /// Say nothing while waiting, and nothing of what a failed task wrote.
    #[arg(short, long, conflicts_with = "message")]
    pub(crate) quiet: bool,
    /// Say what there is and start nothing: exit 0 when there is a result, else 1.
    #[arg(short, long, group = "what")]
    pub(crate) peek: bool,
    /// Start nothing: exit 0 while it runs or has a result, else 1.
    #[arg(short = 'A', long, group = "what", conflicts_with = "command")]
    pub(crate) active: bool,
    /// Print its exit code; exit 1 while there is none.
    #[arg(short = 'E', long, group = "what", conflicts_with = "command")]
    pub(crate) exit_code: bool,
    /// Print what it wrote to standard output.
    #[arg(short, long, group = "what", conflicts_with = "command")]
    pub(crate) output: bool,
    /// Print what it wrote to standard error.
    #[arg(short, long, group = "what", conflicts_with = "command")]
    pub(crate) error: bool,
    /// End it if it runs, and forget it.
    #[arg(short, long, group = "what", conflicts_with = "command")]
    pub(crate) reset: bool,
    /// Forget every task of this directory that failed or was interrupted; may be repeated.
    #[arg(short = 'F', long, group = "what", conflicts_with_all = ["id", "command"])]
    pub(crate) forget: bool,
    /// End every task of this directory with its processes, and forget all of them.
    #[arg(short = 'G', long, group = "what", conflicts_with_all = ["id", "command"])]
    pub(crate) kill_all: bool,
    /// The command.
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OnceAction {
    /// List the tasks of this directory.
    List {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// The parent of a task; started by `once` only.
    #[command(hide = true)]
    Runner(RunnerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunnerArgs {
    #[arg(long)]
    pub(crate) dir: PathBuf,
    #[arg(long)]
    pub(crate) id: String,
    #[arg(long)]
    pub(crate) token: String,
    #[arg(long)]
    pub(crate) number: u32,
    #[arg(long)]
    pub(crate) lifetime: Option<u64>,
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Parses a choice; an empty text, which pipelines pass for unset variables, is the first value.
fn choice<T: ValueEnum>(text: &str) -> Result<T, String> {
    let first = || {
        T::value_variants()
            .first()
            .cloned()
            .ok_or_else(|| "there is no choice".to_owned())
    };
    if text.is_empty() {
        first()
    } else {
        T::from_str(text, false)
    }
    .map_err(|_| {
        let names = T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = names
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        format!("choose one of {}", names.join(", "))
    })
}

pub(crate) fn parse_engine(text: &str) -> Result<EngineChoice, String> {
    choice(text)
}

fn parse_retries(text: &str) -> Result<u32, String> {
    match text.trim() {
        "" => Ok(0),
        text => match text.parse() {
            Ok(retries @ 0..=5) => Ok(retries),
            _ => Err("give a number from 0 to 5".to_owned()),
        },
    }
}

fn parse_keep(text: &str) -> Result<Keep, String> {
    match text {
        "" => Ok(Keep::Never),
        text => text.parse().map_err(|error: KeepError| error.to_string()),
    }
}
