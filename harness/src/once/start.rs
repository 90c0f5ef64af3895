//! Starting a task, and waiting for it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;

use super::attempt::Attempt;
use super::runner::{READY, REFUSED};
use super::state::{State, counts, look};
use super::{ATTEMPTS, Command, MARK, OnceDir, OnceError, TaskId};
use crate::process::{Cmd, Processes};
use crate::wait::{self, Deadline};

/// How long a runner may take to start its task. It takes milliseconds; a busy host takes more.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long those who cannot start a task wait for another waiter to run a lost one again, who may have to end what is
/// left of the lost one first.
const REVIVAL_LIMIT: Duration = Duration::from_secs(15);

/// What is asked of a task.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// What it runs; without one there is only waiting for what is there.
    pub command: Option<Command>,
    /// How old a result may be; without one, as old as this boot.
    pub lifetime: Option<Duration>,
}

/// What starts runners.
#[derive(Debug, Clone)]
pub struct Starter {
    /// This program.
    pub exe: PathBuf,
    /// Where tasks run.
    pub working_dir: PathBuf,
    /// The door, with the environment of tasks.
    pub processes: Processes,
}

/// What starting came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs, since now or before; the pid is the task's.
    Running(i32),
    /// It has a result that counts.
    Done(u8),
}

enum Step {
    Wait(Attempt),
    Done(u8),
    /// There is nothing to wait for, and this caller cannot change it.
    Nothing,
}

/// Starts a task unless it runs or has a result that counts.
///
/// # Errors
/// [`OnceError`].
pub async fn start(
    dir: &OnceDir,
    id: &TaskId,
    ask: &Ask,
    starter: &Starter,
) -> Result<Started, OnceError> {
    match step(dir, id, ask, starter).await? {
        Step::Wait(attempt) => Ok(Started::Running(attempt.record.task.pid)),
        Step::Done(code) => Ok(Started::Done(code)),
        Step::Nothing => Err(nothing(dir, id, ask)),
    }
}

/// Waits for a task's end, starts it where that is needed, and returns its code. `waiting` is told the pid
/// of each attempt that is waited for.
///
/// # Errors
/// [`OnceError`].
pub async fn wait(
    dir: &OnceDir,
    id: &TaskId,
    ask: &Ask,
    starter: &Starter,
    waiting: &mut dyn FnMut(i32),
) -> Result<u8, OnceError> {
    let mut revival: Option<Deadline> = None;
    loop {
        let attempt = match step(dir, id, ask, starter).await? {
            Step::Wait(attempt) => attempt,
            Step::Done(code) => return Ok(code),
            Step::Nothing if revival.is_some_and(|until| !until.passed()) => {
                wait::pause(Duration::from_millis(20)).await;
                continue;
            }
            Step::Nothing => return Err(nothing(dir, id, ask)),
        };
        waiting(attempt.record.task.pid);
        let answer = attempt.ended().await;
        if let Some(code) = answer.map_err(OnceError::unusable(&dir.file(id, "pid")))? {
            return Ok(code);
        }
        // Killed before it could say anything: whoever comes first runs it again, for all who wait.
        if attempt.record.number >= ATTEMPTS {
            return Ok(KILLED);
        }
        revival = Some(Deadline::after(REVIVAL_LIMIT));
    }
}

/// 128 + SIGKILL, as shells say it.
pub(super) const KILLED: u8 = 137;

async fn step(dir: &OnceDir, id: &TaskId, ask: &Ask, starter: &Starter) -> Result<Step, OnceError> {
    let section = match dir.is_own() {
        true => Some(dir.section().await?),
        false => None,
    };
    let command = ask.command.as_ref();
    let state = look(dir, id)?;
    let digest = command.map(Command::digest);
    let number = match state {
        State::Running(attempt) => {
            return match command {
                Some(asked) if asked.digest() != attempt.record.command => Err(OnceError::Busy {
                    id: id.clone(),
                    pid: attempt.record.task.pid,
                    running: attempt.record.task.command_line(),
                    asked: asked.line(),
                }),
                _ => Ok(Step::Wait(attempt)),
            };
        }
        State::Done {
            record,
            code,
            ended_ms,
        } if counts(&record, ended_ms, command, ask.lifetime) => return Ok(Step::Done(code)),
        State::Lost(record) if digest.as_ref() == Some(&record.command) => {
            record.number % ATTEMPTS + 1
        }
        _ => 1,
    };
    match (section, command) {
        (Some(section), Some(command)) => {
            let heir = Heir {
                dir,
                id,
                command,
                number,
                lifetime: ask.lifetime,
            };
            heir.spawn(section, starter).await.map(Step::Wait)
        }
        _ => Ok(Step::Nothing),
    }
}

fn nothing(dir: &OnceDir, id: &TaskId, ask: &Ask) -> OnceError {
    if ask.command.is_some()
        && let Err(error) = dir.require_own()
    {
        return error;
    }
    OnceError::NoCommand { id: id.clone() }
}

struct Heir<'a> {
    dir: &'a OnceDir,
    id: &'a TaskId,
    command: &'a Command,
    number: u32,
    lifetime: Option<Duration>,
}

impl Heir<'_> {
    /// Starts a runner and hands the directory's lock over to it, so that nobody else can start one when
    /// this process is killed in between; returns once the attempt can be seen.
    async fn spawn(self, section: File, starter: &Starter) -> Result<Attempt, OnceError> {
        let log = self.dir.file(self.id, "log");
        let token = hex::encode(rand::rng().random::<[u8; 8]>());
        let failed = |reason: String| OnceError::Runner {
            id: self.id.clone(),
            reason,
        };
        let mut options = File::options();
        let open = options.create(true).append(true).mode(0o600).open(&log);
        let (log_file, ours) = open
            .and_then(|file| {
                file.set_len(0)?;
                Ok((file, section.try_clone()?))
            })
            .map_err(OnceError::unusable(&log))?;
        let mut cmd = Cmd::new(&starter.exe, &starter.working_dir)
            .args(["once", "runner", "--dir"])
            .arg(&self.dir.path)
            .args(["--id", self.id.as_str(), "--token", &token])
            .args(["--number", &self.number.to_string()])
            .env(MARK, &token);
        if let Some(lifetime) = self.lifetime {
            cmd = cmd.args(["--lifetime", &lifetime.as_secs().to_string()]);
        }
        let cmd = cmd.arg("--").args(&self.command.0);
        let said = starter
            .processes
            .spawn_heir(&cmd, section, log_file)
            .map_err(|source| OnceError::Spawn {
                id: self.id.clone(),
                source,
            })?;
        let mut line = String::new();
        let read = async {
            let receiver = Receiver::from_owned_fd(OwnedFd::from(said))?;
            BufReader::new(receiver).read_line(&mut line).await
        };
        match tokio::time::timeout(START_LIMIT, read).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("no sign of it within {START_LIMIT:?}"))),
        }
        let line = line.trim_end();
        if line == READY {
            let path = self.dir.file(self.id, "pid");
            let attempt = Attempt::open(&path)?.filter(|found| found.record.token == token);
            // Until here nobody else can have started the next attempt.
            drop(ours);
            return attempt.ok_or_else(|| failed(format!("`{}` is not its own", path.display())));
        }
        Err(match line.strip_prefix(REFUSED) {
            Some(reason) => OnceError::Refused {
                id: self.id.clone(),
                reason: reason.trim().to_owned(),
            },
            None if line.is_empty() => failed("it ended before its task began".to_owned()),
            None => failed(line.to_owned()),
        })
    }
}
