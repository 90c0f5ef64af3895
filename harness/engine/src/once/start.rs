//! Starting a task, and waiting for it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;

use super::attempt::{Attempt, Record};
use super::logs::{self, last_lines};
use super::result::Recorded;
use super::state::{State, counts, look};
use super::{ATTEMPTS, Command, KILLED, MARK, OnceDir, OnceError, READY, REFUSED, TaskId};
use crate::process::{Cmd, Processes};
use crate::wait::{self, Deadline};
use ground::host_file;

/// How long a runner may take to start its task. It takes milliseconds; a busy host takes more.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long those who cannot start a task wait for another waiter to run a lost one again, who may have to end what is
/// left of the lost one first.
const REVIVAL_LIMIT: Duration = Duration::from_secs(15);

/// How long a look at a task may take at least for a call that waits for a limited time: a task is started even by those
/// who do not wait for it.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// How long a task may take before people are told that it is waited for: what is done already needs no word.
const QUICK: Duration = Duration::from_millis(100);

/// How many of the last lines of a failed task's standard error are shown.
const LAST_LINES: usize = 5;

/// What is asked of a task.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// What it runs; without one it is waited for, and where that needs a command, the recorded one is run again.
    pub command: Option<Command>,
    /// How old a result may be; without one, as old as this boot.
    pub lifetime: Option<Duration>,
    /// How long to wait at most; without one, until its end.
    pub patience: Option<Duration>,
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

/// What people may want to know while they wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// Another command than the one that was asked for runs under the id, or made its result: its words, where they can
    /// be read.
    Other(Option<String>),
    /// The task runs, with this pid.
    Waiting(i32),
    /// It was killed and runs again, with this pid.
    Again(i32),
}

/// What waiting came to.
#[derive(Debug)]
pub enum Waited {
    /// The task has ended.
    Ended(Ended),
    /// It goes on, longer than it was to be waited for; its pid where it could be seen.
    Late(Option<i32>),
}

/// A task that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: u8,
    pub(super) token: String,
    /// What that attempt wrote to standard error.
    err: Option<File>,
}

impl Ended {
    /// Returns the last lines that it wrote to standard error; none for other users, who cannot read them.
    #[must_use]
    pub fn last_lines(mut self) -> Vec<String> {
        let err = self.err.as_mut();
        err.map_or_else(Vec::new, |err| last_lines(err, LAST_LINES))
    }
}

enum Step {
    Wait(Attempt),
    Done {
        code: u8,
        token: String,
    },
    /// There is nothing to wait for, and this caller cannot change it.
    Nothing,
}

/// What a look at a task led to.
struct Taken {
    step: Step,
    other: Option<Notice>,
    err: Option<File>,
}

/// Starts a task unless it runs or has a result that counts. `tell` hears of another command under its id.
///
/// # Errors
/// [`OnceError`].
pub async fn start(
    dir: &OnceDir,
    id: &TaskId,
    ask: &Ask,
    starter: &Starter,
    tell: &mut dyn FnMut(Notice),
) -> Result<Started, OnceError> {
    let Taken { step, other, .. } = step(dir, id, ask, starter, false).await?;
    other.into_iter().for_each(tell);
    match step {
        Step::Wait(attempt) => Ok(Started::Running(attempt.record.task.pid)),
        Step::Done { code, .. } => Ok(Started::Done(code)),
        Step::Nothing => Err(nothing(dir, id, ask)),
    }
}

/// Waits for a task's end, starts it where that is needed, and returns what it came to.
///
/// # Errors
/// [`OnceError`].
pub async fn wait(
    dir: &OnceDir,
    id: &TaskId,
    ask: &Ask,
    starter: &Starter,
    tell: &mut dyn FnMut(Notice),
) -> Result<Waited, OnceError> {
    let end = ask.patience.map(Deadline::after);
    let mut revival: Option<Deadline> = None;
    let mut told = false;
    loop {
        let look = step(dir, id, ask, starter, true);
        let Some(taken) = within(end.map(|end| end.left().max(LOOK_LIMIT)), look).await else {
            return Ok(Waited::Late(None));
        };
        let Taken { step, other, err } = taken?;
        if !told {
            other.into_iter().for_each(&mut *tell);
        }
        let attempt = match step {
            Step::Wait(attempt) => attempt,
            Step::Done { code, token } => return Ok(Waited::Ended(Ended { code, token, err })),
            Step::Nothing if revival.is_some_and(|until| !until.passed()) => {
                wait::pause(Duration::from_millis(20)).await;
                continue;
            }
            Step::Nothing => return Err(nothing(dir, id, ask)),
        };
        let pid = attempt.record.task.pid;
        let answer = {
            let mut ended = std::pin::pin!(attempt.ended());
            let quick = end.map_or(QUICK, |end| end.left().min(QUICK));
            let quickly = within(Some(quick), ended.as_mut()).await;
            match quickly {
                Some(answer) => Some(answer),
                None => {
                    tell(if told {
                        Notice::Again(pid)
                    } else {
                        Notice::Waiting(pid)
                    });
                    within(end.map(Deadline::left), ended).await
                }
            }
        };
        told = true;
        let Some(answer) = answer else {
            return Ok(Waited::Late(Some(pid)));
        };
        let answer = answer.map_err(OnceError::unusable(&dir.file(id, "task")))?;
        let last = attempt.record.number >= ATTEMPTS;
        // Killed before it could say anything: the first call to come runs it again, for all that wait.
        if let Some(code) = answer.or(last.then_some(KILLED)) {
            let token = attempt.record.token;
            return Ok(Waited::Ended(Ended { code, token, err }));
        }
        revival = Some(Deadline::after(REVIVAL_LIMIT));
    }
}

/// Returns what `work` comes to, or nothing when the limit passes first.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

/// Looks at a task and starts it where it has to be; with `recall` also by the command that was recorded, where none is
/// given.
async fn step(
    dir: &OnceDir,
    id: &TaskId,
    ask: &Ask,
    starter: &Starter,
    recall: bool,
) -> Result<Taken, OnceError> {
    let section = match dir.is_own() {
        true => Some(dir.section().await?),
        false => None,
    };
    let taken = |step, other| Taken {
        step,
        other,
        // The owner's alone.
        err: host_file::open(dir.file(id, "err")).ok(),
    };
    let other = |record: &Record| {
        let asked = ask.command.as_ref().map(Command::digest);
        let differs = asked.is_some_and(|asked| asked != record.command);
        differs.then(|| Notice::Other(words(dir, id, record)))
    };
    let number = match look(dir, id)? {
        State::Running(attempt) => {
            let other = other(&attempt.record);
            return Ok(taken(Step::Wait(attempt), other));
        }
        State::Done { record, code, age } if counts(&record, age, ask.lifetime) => {
            let other = other(&record);
            let token = record.token;
            return Ok(taken(Step::Done { code, token }, other));
        }
        // Whichever command it was: two that take turns must not be run for ever.
        State::Lost { record, .. } => record.number % ATTEMPTS + 1,
        _ => 1,
    };
    let Some(section) = section else {
        return Ok(taken(Step::Nothing, None));
    };
    let mut lifetime = ask.lifetime;
    let mut starter = starter.clone();
    let command = match (&ask.command, recall) {
        (Some(command), _) => command.clone(),
        (None, true) => {
            let Some(recorded) = Recorded::read(dir, id) else {
                return Ok(taken(Step::Nothing, None));
            };
            starter.working_dir = recorded.dir();
            if !starter.working_dir.is_dir() {
                return Err(OnceError::NoDirectory {
                    id: id.clone(),
                    path: starter.working_dir,
                });
            }
            lifetime = lifetime.or(recorded.lifetime_s.map(Duration::from_secs));
            recorded.command()
        }
        (None, false) => return Ok(taken(Step::Nothing, None)),
    };
    let heir = Heir {
        dir,
        id,
        command: &command,
        number,
        lifetime,
    };
    let attempt = heir.spawn(section, &starter).await?;
    Ok(taken(Step::Wait(attempt), None))
}

/// Returns the words of the command that an attempt runs or ran.
fn words(dir: &OnceDir, id: &TaskId, record: &Record) -> Option<String> {
    let recorded = Recorded::read(dir, id).map(|recorded| recorded.command());
    match recorded.filter(|command| command.digest() == record.command) {
        Some(command) => Some(command.line()),
        // One that the version before started, while it runs.
        None => Some(record.task.command_line()).filter(|line| !line.is_empty()),
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
    /// Starts a runner and hands the directory's lock over to it, so that no other call can start one when
    /// this process is killed in between; returns once the attempt can be seen.
    async fn spawn(self, section: File, starter: &Starter) -> Result<Attempt, OnceError> {
        let token = hex::encode(rand::rng().random::<[u8; 8]>());
        let failed = |reason: String| OnceError::Runner {
            id: self.id.clone(),
            reason,
        };
        let log_file = logs::begin(self.dir, self.id)?;
        let ours = section
            .try_clone()
            .map_err(OnceError::unusable(&self.dir.path))?;
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
            let path = self.dir.file(self.id, "task");
            let attempt = Attempt::open(&path)?.filter(|found| found.record.token == token);
            // Until here no other call can have started the next attempt.
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
