//! One file per subcommand; this one chooses.

mod app;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod engine;
pub(crate) mod explain;
pub(crate) mod grants;
mod holder;
pub(crate) mod init;
pub(crate) mod janitor;
pub(crate) mod lint;
mod once;
pub(crate) mod overlay;
mod ps;
pub(crate) mod release;
pub(crate) mod report;
mod run;
pub(crate) mod runs;
mod sweep;

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory as _, Parser as _};
use harness::error::chain;
use harness::nearest::nearest;
use harness::report::printable;
use harness::report::redact::Redactor;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::settings::{self, UsageError};
use crate::ui;

pub(crate) use sweep::is_for_runs;

/// Parses the command line and does what it says.
pub(crate) fn dispatch() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and version through the same door; those are no mistakes.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Passed
            };
            drop(error.print());
            return exit.into();
        }
    };
    cli.color.apply();
    if goes_on_alone(&cli.command) {
        shed_mark();
    }
    if let Err(error) = settings::ensure_absolute_places() {
        return usage(&error).into();
    }
    if asks_the_engine(&cli.command) {
        for said in unknown_variables() {
            ui::say(&said);
        }
        if let Err(error) = settings::ensure_engine() {
            return usage(&error).into();
        }
    }
    if let Err(error) = harness::process::stop_ignoring() {
        return infra(&error, &[]).into();
    }
    match cli.command {
        Command::Run(args) => {
            VERBOSE.store(args.verbose, Ordering::Relaxed);
            run::run(&args).into()
        }
        Command::Demo(args) => demo(&args).into(),
        Command::Doctor(args) => match settings::subject() {
            Ok(subject) => block_on(doctor::doctor(&args, &subject)).into(),
            Err(error) => usage(&error).into(),
        },
        Command::Lint(args) => lint::lint(&args).into(),
        Command::Janitor(args) => block_on(janitor::janitor(args)).into(),
        Command::Engine(command) => block_on(engine::engine(&command)).into(),
        Command::Sweep(args) => block_on(sweep::sweep(&args)).into(),
        Command::Ps(args) => block_on(ps::ps(&args)).into(),
        Command::Report(args) => report::report(&args).into(),
        Command::Once(args) => block_on(once::once(args)),
        Command::Init(args) => init::init(&args).into(),
        Command::Explain(args) => explain::explain(&args).into(),
        Command::Overlay(command) => overlay::overlay(&command).into(),
        Command::Grants(command) => grants::grants(&command).into(),
        Command::App(args) => block_on(app::app(args)),
        Command::Runs(args) => runs::runs(&args).into(),
        Command::Show(args) => runs::show(&args).into(),
        Command::Logs(args) => runs::logs(&args).into(),
        Command::Gc(args) => runs::gc(&args).into(),
        Command::Release(args) => block_on(release::release(&args)).into(),
        Command::Holder => block_on(holder::holder()).into(),
        Command::Completions { shell } => print(|out| {
            clap_complete::generate(shell, &mut Cli::command(), "recipe-ci", out);
            Ok(())
        })
        .into(),
        Command::Man { command } => match manual_of(&command) {
            Ok(page) => print(|out| page.render(out)).into(),
            Err(error) => usage(&error).into(),
        },
    }
}

/// Returns the manual page of a command, whose words are given.
///
/// # Errors
/// [`UsageError`](settings::UsageError) when there is no such command.
fn manual_of(words: &[String]) -> Result<clap_mangen::Man, settings::UsageError> {
    let mut command = Cli::command();
    // Names of the pages are made by this: `recipe-ci-janitor-arm`.
    command.build();
    for word in words {
        let Some(inner) = command.find_subcommand(word) else {
            return Err(settings::UsageError {
                error: format!("there is no command `{}`", words.join(" ")).into(),
                hints: vec!["`recipe-ci --help` lists the commands".to_owned()],
            });
        };
        command = inner.clone();
    }
    Ok(clap_mangen::Man::new(command))
}

/// Returns whether a command is no part of the run whose hook or test starts it: it has apps of its own and
/// tears them down itself, or cares for the host.
fn goes_on_alone(command: &Command) -> bool {
    matches!(
        command,
        Command::Run(_)
            | Command::Demo(_)
            | Command::Sweep(_)
            | Command::Janitor(_)
            | Command::Engine(_)
            | Command::Holder
    )
}

/// Returns what to say of variables that look like settings and are none: what is mistyped would count for nothing, and
/// nobody would know.
fn unknown_variables() -> Vec<String> {
    fn add(command: &clap::Command, known: &mut Vec<String>) {
        let of_options = command.get_arguments().filter_map(|arg| arg.get_env());
        known.extend(of_options.map(|name| name.to_string_lossy().into_owned()));
        command
            .get_subcommands()
            .for_each(|inner| add(inner, known));
    }
    let mut known: Vec<String> = crate::env::KNOWN.map(str::to_owned).into();
    add(&Cli::command(), &mut known);
    let unknown = crate::env::set_with_our_prefix();
    let unknown = unknown.into_iter().filter(|name| !known.contains(name));
    unknown
        .map(|name| {
            let near = nearest(&name, known.iter().map(String::as_str));
            let near = near.map(|near| format!("; did you mean {near}?"));
            let name = printable(&name);
            format!(
                "!! {name} is no setting, and counts for nothing{}",
                near.unwrap_or_default()
            )
        })
        .collect()
}

/// Returns whether a command works with the operator's engine.
fn asks_the_engine(command: &Command) -> bool {
    match command {
        Command::Run(_)
        | Command::Demo(_)
        | Command::Doctor(_)
        | Command::Janitor(_)
        | Command::Sweep(_)
        | Command::Release(_)
        | Command::Ps(_) => true,
        Command::Lint(_)
        | Command::Init(_)
        | Command::Engine(_)
        | Command::Report(_)
        | Command::Explain(_)
        | Command::Once(_)
        | Command::Overlay(_)
        | Command::Grants(_)
        | Command::App(_)
        | Command::Runs(_)
        | Command::Show(_)
        | Command::Logs(_)
        | Command::Gc(_)
        | Command::Holder
        | Command::Completions { .. }
        | Command::Man { .. } => false,
    }
}

/// Leaves the run around this command: its control group, which `sudo` and `env -i` do not leave, and its mark. When that
/// run is over, whatever is in the one or carries the other is ended.
fn shed_mark() {
    harness::process::cgroup::leave();
    if crate::env::var(harness::process::RUN_MARK).is_none() {
        return;
    }
    let failed = settings::own_program()
        .map_err(|error| chain(&error))
        .map(|exe| chain(&harness::process::shed(&exe, harness::process::RUN_MARK)));
    let (Ok(why) | Err(why)) = failed;
    ui::say(&format!(
        "!! this command counts as a part of the run around it, and ends with it: {why}"
    ));
}

/// Prepares the host, then runs the bundled recipe as `recipe-ci run` would.
///
/// The preparation comes before the supervisor is one: it starts an engine that must outlive this process,
/// and a supervisor's end takes whatever it started.
fn demo(args: &demo::DemoArgs) -> Exit {
    let subject = match settings::subject() {
        Ok(subject) => subject,
        Err(error) => return usage(&error),
    };
    let path = match block_on(async { Prepared(demo::prepare(args, &subject).await) }).0 {
        Ok(path) => path,
        Err(exit) => return exit,
    };
    // As a program of its own: what prepared the host may still have threads, which a supervisor must not have.
    let words = [
        "run".into(),
        path.into_os_string(),
        "--recipe".into(),
        harness::demo::RECIPE.into(),
    ];
    let failed = match settings::own_program() {
        Ok(exe) => harness::process::exec(&exe, &words),
        Err(error) => error,
    };
    infra(&failed, &[])
}

/// What preparing came to, in a form that can also say that there is no runtime.
struct Prepared(Result<std::path::PathBuf, Exit>);

impl From<Exit> for Prepared {
    fn from(exit: Exit) -> Self {
        Self(Err(exit))
    }
}

/// Prints data, for people too, to standard output.
fn data(text: &str) -> Exit {
    match ui::print_data(text.trim_end()) {
        Ok(()) => Exit::Passed,
        Err(error) => infra(&error, &[]),
    }
}

fn print(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Exit {
    let mut text = Vec::new();
    match render(&mut text).and_then(|()| ui::print_data(String::from_utf8_lossy(&text).trim_end()))
    {
        Ok(()) => Exit::Passed,
        Err(_) => Exit::Infra,
    }
}

/// Whether what the library does is asked for by an option.
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Shows the library's own log where `RECIPE_CI_LOG` asks for it (`debug`, `harness::swarm=trace`).
fn log_if_asked() {
    let asked = VERBOSE.load(Ordering::Relaxed).then(|| "debug".to_owned());
    let Some(filter) = crate::env::var("RECIPE_CI_LOG").or(asked) else {
        return;
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .finish();
    // Only a second call could fail, and this is the only one.
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// Runs a command's future on one thread: every child must be spawned by the thread that lives longest.
fn block_on<T: From<Exit>>(work: impl Future<Output = T>) -> T {
    log_if_asked();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return infra(&error, &[]).into(),
    };
    let exit = runtime.block_on(work);
    // Blocking work that is still going on (a fetch that was cancelled) ends with the process.
    runtime.shutdown_background();
    drop(std::io::stderr().flush());
    exit
}

fn usage(error: &UsageError) -> Exit {
    ui::print_error(&*error.error, &error.hints, &Redactor::default());
    Exit::Usage
}

fn infra(error: &dyn std::error::Error, hints: &[String]) -> Exit {
    ui::print_error(error, hints, &Redactor::default());
    Exit::Infra
}
