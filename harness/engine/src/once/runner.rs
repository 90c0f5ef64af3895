//! The runner: the process that is the parent of a task and lives exactly as long.
//!
//! It is started by [`super::start`] with the directory's lock as its standard input, a pipe to the caller who
//! started it as its standard output, and the task's log as its standard error. The kernel kills the task
//! when the runner is killed, so that a free lock means that nothing is under way.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use jiff::Timestamp;
use nix::libc::SIGKILL;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::attempt::{Record, announce, answer};
use super::logs::Copying;
use super::result::{self, Exit, Recorded};
use super::state::{State, is_interruption, look};
use super::{ATTEMPTS, Command, KILLED, MARK, OnceDir, OnceError, READY, REFUSED, TaskId, now_ms};
use crate::lock::file;
use crate::process::{Cmd, Identity, ProcessError, Processes, Task, kill_marked};
use crate::wait::Deadline;

/// What those who wait are told when the task was ended on purpose: 128 + SIGTERM, as shells say it.
const ENDED: u8 = 143;

/// How long what is left of a killed attempt, and those who look at its lock, may take to go away.
const CLEARING_LIMIT: Duration = Duration::from_secs(10);

/// What a runner was told.
#[derive(Debug)]
pub struct Orders {
    /// The directory of the task.
    pub dir: PathBuf,
    /// The task.
    pub id: TaskId,
    /// What marks the processes of this attempt.
    pub token: String,
    /// How many attempts in a row this is.
    pub number: u32,
    /// How long the result counts, in seconds.
    pub lifetime_s: Option<u64>,
    /// What to run.
    pub command: Command,
    /// Where.
    pub working_dir: PathBuf,
    /// The door, with the environment of the task.
    pub processes: Processes,
}

/// Runs a task to its end, and leaves its result.
///
/// # Errors
/// What kept it from that. The call that started the runner has been told.
pub async fn run(orders: &Orders) -> Result<(), String> {
    let inherited = Inherited::take().map_err(|error| format!("not started by `once`: {error}"))?;
    let Inherited {
        section,
        mut starter,
        log,
    } = inherited;
    // A starter that is gone needs no word.
    let mut say = |line: &str| drop(writeln!(starter, "{}", line.replace('\n', " ")));
    let begun = match begin(orders, &log).await {
        Ok(begun) => begun,
        Err(reason) => {
            say(&reason);
            return Err(reason);
        }
    };
    say(READY);
    drop(starter);
    drop(section);
    begun.follow(orders, log).await
}

/// What the starter put in the places of the standard streams.
struct Inherited {
    section: File,
    starter: File,
    log: File,
}

impl Inherited {
    /// Takes them, and puts `/dev/null` in the first two places: no child must come to hold them.
    fn take() -> io::Result<Self> {
        let inherited = Self {
            section: io::stdin().as_fd().try_clone_to_owned()?.into(),
            starter: io::stdout().as_fd().try_clone_to_owned()?.into(),
            log: io::stderr().as_fd().try_clone_to_owned()?.into(),
        };
        let null = ground::host_file::options()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        nix::unistd::dup2_stdin(&null)?;
        nix::unistd::dup2_stdout(&null)?;
        if inherited.section.metadata()?.is_dir() {
            Ok(inherited)
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }
}

/// A task that runs and can be seen.
struct Begun {
    dir: OnceDir,
    task: Task,
    record: Record,
    /// `<id>.lock` and `<id>.task`, both held. They are let go in this order: who waited for the second, as all do
    /// that can, finds that the task does not run any more.
    files: [File; 2],
    signals: Signals,
    copying: Copying,
}

async fn begin(orders: &Orders, log: &File) -> Result<Begun, String> {
    let said = |error: OnceError| ground::error::chain(&error);
    let dir = OnceDir::open(&orders.dir)
        .map_err(said)?
        .ok_or("its directory is gone")?;
    if let State::Lost { record: lost, .. } = look(&dir, &orders.id).map_err(said)? {
        clear(&lost).await?;
    }
    let path = dir.file(&orders.id, "lock");
    let mut lock = hold(&path)
        .await
        .map_err(|error| format!("`{}`: {error}", path.display()))?;
    let signals = Signals::new().map_err(|error| format!("its signals: {error}"))?;

    let mut words = orders.command.0.iter();
    let program = words.next().ok_or("there is no command")?;
    let cmd = Cmd::new(program, &orders.working_dir).args(words);
    let (task, streams) = orders.processes.spawn_task(&cmd).map_err(|error| {
        let refused = matches!(&error, ProcessError::Spawn { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied));
        let prefix = if refused { REFUSED } else { "" };
        format!("{prefix}{}", ground::error::chain(&error))
    })?;
    let begun = (|| {
        let record = Record {
            task: task
                .identity()
                .ok_or_else(|| io::Error::other("the task is not in `/proc`"))?,
            runner: Identity::own()?,
            command: orders.command.digest(),
            token: orders.token.clone(),
            number: orders.number,
            lifetime_s: orders.lifetime_s,
            started_ms: now_ms(),
            started: Timestamp::now(),
        };
        let copying = Copying::new(&dir, &orders.id, log, streams)?;
        Recorded::new(&orders.command, &orders.working_dir, orders.lifetime_s)
            .write(&dir, &orders.id)?;
        let text = record.text();
        lock.set_len(0)?;
        lock.write_all(text.as_bytes())?;
        let held = result::record(&dir.file(&orders.id, "task"), &text, file::own)?;
        // The one that is there is an earlier attempt's, which has not counted since this one can be seen.
        match std::fs::remove_file(dir.file(&orders.id, "exit")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        result::number(&dir.file(&orders.id, "pid"), record.task.pid, |_| Ok(()))?;
        Ok((record, held, copying))
    })();
    match begun {
        Ok((record, held, copying)) => Ok(Begun {
            files: [lock, held],
            dir,
            task,
            record,
            signals,
            copying,
        }),
        Err(error) => {
            let error: io::Error = error;
            task.end().await;
            Err(format!("`{}`: {error}", orders.dir.display()))
        }
    }
}

/// Ends what is left of an attempt whose runner was killed. The kernel has killed the task itself, but for
/// one that changed its user; and never those whom the task started.
async fn clear(lost: &Record) -> Result<(), String> {
    let deadline = Deadline::after(CLEARING_LIMIT);
    let mut left = kill_marked(MARK, &lost.token, deadline).await;
    if let Ok(Some(task)) = lost.task.open() {
        let ended = tokio::time::timeout(deadline.left(), task.ended()).await;
        if ended.is_err() {
            left.push(lost.task.clone());
        }
    }
    match left.first() {
        None => Ok(()),
        Some(process) => Err(format!(
            "process {} of an earlier attempt is still there and cannot be killed",
            process.pid
        )),
    }
}

/// Takes the task's lock file. Only those who look whether it is held can hold it now, for an instant.
async fn hold(path: &Path) -> io::Result<File> {
    let mut options = ground::host_file::options();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    tokio::time::timeout(CLEARING_LIMIT, file::exclusive(file))
        .await
        .unwrap_or_else(|_| Err(io::Error::other("somebody else holds it")))
}

/// How a task came to its end.
enum End {
    /// By itself, or by a signal to itself.
    Own(ExitStatus),
    /// The runner was told to end it.
    Told,
}

impl Begun {
    async fn follow(self, orders: &Orders, mut log: File) -> Result<(), String> {
        let Self {
            dir,
            mut task,
            record,
            files: [mut lock, mut held],
            mut signals,
            mut copying,
        } = self;
        let end = {
            let mut following = std::pin::pin!(copying.follow());
            let mut copied = false;
            loop {
                tokio::select! {
                    status = task.wait() => {
                        break End::Own(status.map_err(|error| error.to_string())?);
                    }
                    () = signals.any() => break End::Told,
                    () = &mut following, if !copied => copied = true,
                }
            }
        };
        let ended_ms = now_ms();
        let came = match end {
            End::Own(status) => match (status.code(), status.signal()) {
                (Some(code), _) => TaskEnd::Code(u8::try_from(code).unwrap_or(u8::MAX)),
                // The mark of a system that is short of memory, and of a crash: no word of the task's.
                (None, Some(SIGKILL)) if record.number < ATTEMPTS => TaskEnd::Lost,
                (None, number) => TaskEnd::Signal(
                    u8::try_from(128 + number.unwrap_or_default()).unwrap_or(u8::MAX),
                ),
            },
            End::Told => {
                // It may write while it ends, and must not have to wait for a reader.
                let reading = async {
                    copying.follow().await;
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = task.end() => {}
                    () = reading => {}
                }
                TaskEnd::Signal(ENDED)
            }
        };
        copying.catch_up();
        if let Err(error) = came.keep(&dir, &orders.id, &mut held, ended_ms) {
            // Those who wait get it all the same; those who come later run it again.
            drop(writeln!(log, "once: the result cannot be kept: {error}"));
        }
        if let TaskEnd::Code(code) | TaskEnd::Signal(code) = came {
            for file in [&mut lock, &mut held] {
                if let Err(error) = answer(file, code) {
                    drop(writeln!(log, "once: the caller cannot be told: {error}"));
                }
            }
        }
        drop(lock);
        drop(held);
        // What the task left behind on purpose may go on writing: its pipes stay open for as long.
        tokio::select! {
            () = copying.follow() => {}
            () = signals.any() => {}
        }
        Ok(())
    }
}

/// What a task came to.
enum TaskEnd {
    /// It exited.
    Code(u8),
    /// It was ended by a signal, whose number is in the code.
    Signal(u8),
    /// It was killed, and those who wait run it again.
    Lost,
}

impl TaskEnd {
    /// Writes the exit file, for those who come later.
    fn keep(&self, dir: &OnceDir, id: &TaskId, held: &mut File, ended_ms: u64) -> io::Result<()> {
        let code = match *self {
            Self::Lost => KILLED,
            // The numbers of interruptions have no room for the last signals: they leave no exit file.
            Self::Signal(code) if !is_interruption(code) => return Ok(()),
            Self::Code(code) | Self::Signal(code) => code,
        };
        if !is_interruption(code) {
            // First of all: a code that is there and was not announced is not this attempt's.
            announce(held, code, ended_ms)?;
        }
        Exit::write(dir, id, code)
    }
}

struct Signals([Signal; 4]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ]))
    }

    async fn any(&mut self) {
        let [term, int, hup, quit] = &mut self.0;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = hup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
