//! `recipe-ci once`: background tasks that are done once, with one result for everybody.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use harness::once::{
    self, Ask, Command, Condition, Ending, Notice, OnceDir, OnceError, Row, Starter, TaskId,
    Waited, Written, runner,
};
use harness::process::Processes;
use harness::report::printable;

use super::{infra, usage};
use crate::cli::{OnceAction, OnceArgs, RunnerArgs};
use crate::env;
use crate::exit::Exit;
use crate::settings::{UsageError, once_dir};
use crate::ui;

/// The exit code of `-W` when the time is up, as timeout(1) has it.
const LATE: u8 = 124;

/// How much of another command's words is shown.
const SHOWN: usize = 200;

pub(crate) async fn once(args: OnceArgs) -> ExitCode {
    let done = match &args.action {
        Some(OnceAction::List { json }) => list(*json).await,
        Some(OnceAction::Runner(args)) => return run(args).await,
        None if args.kill_all => kill_all().await,
        None if args.forget => forget().await,
        None => one(&args).await,
    };
    done.unwrap_or_else(|error| refuse(error).into())
}

/// What concerns one task.
async fn one(args: &OnceArgs) -> Result<ExitCode, OnceError> {
    let Some(id) = args.id.as_deref() else {
        return Ok(wrong(
            "no task is named",
            "give its id: `recipe-ci once -i ID -- CMD`; `recipe-ci once list` shows what is there",
        ));
    };
    let id: TaskId = id.parse()?;
    let command = (!args.command.is_empty()).then(|| Command(args.command.clone()));
    let ask = Ask {
        command,
        lifetime: args.lifetime.map(Duration::from_secs),
        patience: args.timeout.map(Duration::from_secs),
    };
    let path = once_dir();
    let found = OnceDir::open(&path)?;
    if args.peek || args.active || args.exit_code {
        let row = match &found {
            Some(dir) => once::peek(dir, &id, ask.lifetime).await?,
            None => Row::absent(&id),
        };
        return Ok(look(args, &row).into());
    }
    if args.output || args.error {
        let stream = if args.error {
            Written::Err
        } else {
            Written::Out
        };
        if let Some(dir) = &found
            && let Some(mut file) = once::written(dir, &id, stream)?
        {
            print(&mut file);
        }
        return Ok(Exit::Passed.into());
    }
    if args.reset {
        return match &found {
            Some(dir) => Ok(told(once::reset(dir, &id).await?.as_slice(), "ended")),
            None => Ok(Exit::Passed.into()),
        };
    }
    let dir = match (found, &ask.command) {
        (Some(dir), _) => dir,
        (None, Some(_)) => OnceDir::create(&path)?,
        (None, None) => return Err(OnceError::NoCommand { id }),
    };
    let starter = starter().map_err(|source| OnceError::Unusable {
        path: PathBuf::from("/proc/self/exe"),
        source,
    })?;
    let mut tell = |notice: Notice| {
        if let Some(line) = said(&notice, &id, args) {
            ui::say(&line);
        }
    };
    if !args.wait {
        once::start(&dir, &id, &ask, &starter, &mut tell).await?;
        return Ok(Exit::Passed.into());
    }
    if args.clean && !dir.is_own() {
        // Before the wait, not after it.
        return Err(OnceError::Foreign {
            path,
            owner: dir.owner(),
        });
    }
    match once::wait(&dir, &id, &ask, &starter, &mut tell).await? {
        Waited::Late(pid) => {
            let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            let limit = args.timeout.unwrap_or_default();
            ui::say(&format!(
                "task `{id}`{pid} has not ended within {limit} s and goes on"
            ));
            Ok(ExitCode::from(LATE))
        }
        Waited::Ended(ended) => {
            if args.clean {
                once::forget_ended(&dir, &id, &ended).await?;
            }
            let code = ended.code;
            if code != 0 && !args.quiet {
                for line in ended.last_lines() {
                    ui::say(&line);
                }
            }
            Ok(ExitCode::from(code))
        }
    }
}

/// Returns what a look at a task comes to, and prints what was asked for.
fn look(args: &OnceArgs, row: &Row) -> Exit {
    let is_done = row.state == Condition::Done;
    let yes = if args.active {
        is_done || row.state == Condition::Running
    } else if args.exit_code {
        if let Some(code) = row.code {
            drop(ui::print_data(&code.to_string()));
        }
        row.code.is_some()
    } else {
        drop(ui::print_data(&short(row)));
        is_done
    };
    if yes { Exit::Passed } else { Exit::Failed }
}

/// Prints what a task wrote, as it is. A closed pipe is no error: the reader has had enough.
fn print(file: &mut std::fs::File) {
    let mut out = std::io::stdout().lock();
    drop(std::io::copy(file, &mut out).and_then(|_| out.flush()));
}

/// Returns what a waiter says.
fn said(notice: &Notice, id: &TaskId, args: &OnceArgs) -> Option<String> {
    let message = args.message.clone();
    let message = message.unwrap_or_else(|| format!("waiting for task `{id}`"));
    match notice {
        Notice::Waiting(_) | Notice::Again(_) if args.quiet => None,
        Notice::Waiting(pid) => Some(format!("{message} (pid {pid})")),
        Notice::Again(pid) => Some(format!("{message} (killed, and run again: pid {pid})")),
        // Not silenced: what was asked for is not what is given.
        Notice::Other(words) => {
            let words = words.as_deref().map_or_else(String::new, |words| {
                let shown: String = words.chars().take(SHOWN).collect();
                let cut = if shown.len() < words.len() { "…" } else { "" };
                format!(": `{}{cut}`", printable(&shown))
            });
            Some(format!(
                "task `{id}` was started with another command{words}"
            ))
        }
    }
}

/// A task runs as its caller would run it: in the same directory, with the whole environment.
fn starter() -> std::io::Result<Starter> {
    Ok(Starter {
        exe: std::env::current_exe()?,
        working_dir: env::working_dir(),
        processes: Processes::new(env::everything()),
    })
}

async fn run(args: &RunnerArgs) -> ExitCode {
    let id = match args.id.parse() {
        Ok(id) => id,
        Err(error) => return refuse(error).into(),
    };
    let orders = runner::Orders {
        dir: args.dir.clone(),
        id,
        token: args.token.clone(),
        number: args.number,
        lifetime_s: args.lifetime,
        command: Command(args.command.clone()),
        working_dir: env::working_dir(),
        processes: Processes::new(env::everything()),
    };
    match runner::run(&orders).await {
        Ok(()) => Exit::Passed.into(),
        // Standard error is the task's log.
        Err(reason) => infra(&std::io::Error::other(reason), &[]).into(),
    }
}

async fn list(json: bool) -> Result<ExitCode, OnceError> {
    let rows = match OnceDir::open(&once_dir())? {
        Some(dir) => once::list(&dir).await?,
        None => Vec::new(),
    };
    let text = if json {
        serde_json::to_string_pretty(&rows).expect("rows are plain data")
    } else {
        let width = rows
            .iter()
            .map(|row| row.id.len())
            .max()
            .unwrap_or_default();
        let lines = rows.iter().map(|row| {
            let age = row
                .age_s
                .map_or_else(String::new, |age| format!(" {age} s"));
            format!("{:width$}  {}{age}", row.id, short(row))
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    if !text.is_empty() {
        drop(ui::print_data(&text));
    } else if std::io::stdout().is_terminal() {
        // A script reads rows; a person wants to know that this is where there are none.
        drop(ui::print_data(&format!(
            "no tasks in `{}`",
            once_dir().display()
        )));
    }
    Ok(Exit::Passed.into())
}

/// `running 4711`, `done 0`, `stale 0`, `dead`, `none`.
fn short(row: &Row) -> String {
    match (row.state, row.pid, row.code) {
        (Condition::Running, Some(pid), _) => format!("running {pid}"),
        (Condition::Running, None, _) => "running".to_owned(),
        (Condition::Done, _, code) => format!("done {}", code.unwrap_or_default()),
        (Condition::Stale, _, code) => format!("stale {}", code.unwrap_or_default()),
        (Condition::Dead, ..) => "dead".to_owned(),
        (Condition::None, ..) => "none".to_owned(),
    }
}

async fn kill_all() -> Result<ExitCode, OnceError> {
    match OnceDir::open(&once_dir())? {
        Some(dir) => Ok(told(&once::kill(&dir).await?, "ended")),
        None => Ok(Exit::Passed.into()),
    }
}

async fn forget() -> Result<ExitCode, OnceError> {
    match OnceDir::open(&once_dir())? {
        Some(dir) => Ok(told(&once::forget(&dir).await?, "")),
        None => Ok(Exit::Passed.into()),
    }
}

fn told(endings: &[Ending], done: &str) -> ExitCode {
    let mut exit = Exit::Passed;
    for ending in endings {
        let Ending { id, pid, left } = ending;
        if left.is_empty() {
            ui::say(&format!("{done} {id} (pid {pid})"));
        } else {
            ui::say(&format!(
                "{id}: left alone, its processes are still there: {left:?}"
            ));
            exit = Exit::Leftovers;
        }
    }
    exit.into()
}

fn wrong(error: &str, hint: &str) -> ExitCode {
    usage(&UsageError {
        error: error.into(),
        hints: vec![hint.to_owned()],
    })
    .into()
}

fn refuse(error: OnceError) -> Exit {
    let hint = match &error {
        OnceError::Id { .. } => "an id is like `pull-nginx_1.25`".to_owned(),
        OnceError::Foreign { owner, .. } => format!(
            "wait with `-w` for what user {owner} has started, or set CCCI_ONCE_DIR to a directory of your own"
        ),
        OnceError::Open { path, .. } => format!("chmod go-w {}", path.display()),
        OnceError::NoCommand { id } => format!(
            "give the command that `{id}` stands for behind `--`: `recipe-ci once -w -i {id} -- CMD`"
        ),
        OnceError::NoDirectory { id, .. } => {
            format!(
                "give its command, which then runs where you are: `recipe-ci once -w -i {id} -- CMD`"
            )
        }
        OnceError::Refused { .. } => {
            "the command behind `--` must be a program; use `sh -c` for a line of shell".to_owned()
        }
        OnceError::Lock(_) => "set CCCI_ONCE_DIR to a directory of a local file system".to_owned(),
        OnceError::Runner { id, .. } => {
            format!("`{id}.log` in the directory of the tasks may say more")
        }
        OnceError::Spawn { .. } => "setsid(1) of util-linux must be on PATH".to_owned(),
        OnceError::Unusable { .. } => {
            "set CCCI_ONCE_DIR (or CCCI_STATE_DIR) to a directory that you can write".to_owned()
        }
    };
    if error.is_usage() {
        usage(&UsageError {
            error: error.into(),
            hints: vec![hint],
        })
    } else {
        infra(&error, &[hint])
    }
}
