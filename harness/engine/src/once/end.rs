//! Ending tasks and forgetting them. Nothing is signalled but by a descriptor of the very process.

use std::io;
use std::time::Duration;

use super::attempt::{Record, answer};
use super::start::Ended;
use super::state::{State, look};
use super::{FILES, KILLED, MARK, OnceDir, OnceError, TaskId};
use crate::process::{TERM_GRACE, kill_marked, marked};
use crate::wait::Deadline;

/// How long a killed process may take to go away.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How long a runner may take beyond the grace that it gives its task: only one that is stopped takes longer.
const RUNNER_LIMIT: Duration = Duration::from_secs(30);

/// How long a lock may outlive its runner: as long as a child of the runner has it on its way to its program.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// What became of a task that was to be ended or forgotten.
#[derive(Debug)]
pub struct Ending {
    /// The task.
    pub id: TaskId,
    /// Its pid, when it was known.
    pub pid: i32,
    /// The pids that would not go, or keep it from being forgotten.
    pub left: Vec<i32>,
}

/// Ends every task of `dir` that runs, with all of its processes, and what is left of killed ones, and forgets all of its
/// tasks but those whose processes would not go. Those who wait for them get 143, or 137 for a runner that did not listen.
///
/// # Errors
/// [`OnceError`] when the directory or one of the files cannot be read; then nothing has been ended.
pub async fn kill(dir: &OnceDir) -> Result<Vec<Ending>, OnceError> {
    // Held until all have ended: a call that asks for one of them meanwhile starts it afterwards.
    let _section = dir.section().await?;
    let ids = dir.ids()?;
    let endings = end(dir, &ids).await?;
    let left = |id: &TaskId| {
        let mut endings = endings.iter();
        endings.any(|ending| ending.id == *id && !ending.left.is_empty())
    };
    for id in ids.iter().filter(|id| !left(id)) {
        remove(dir, id)?;
    }
    Ok(endings)
}

/// Ends a task if it runs, and forgets it.
///
/// # Errors
/// [`OnceError`].
pub async fn reset(dir: &OnceDir, id: &TaskId) -> Result<Option<Ending>, OnceError> {
    let _section = dir.section().await?;
    let ending = end(dir, std::slice::from_ref(id)).await?.pop();
    if ending.as_ref().is_none_or(|ending| ending.left.is_empty()) {
        remove(dir, id)?;
    }
    Ok(ending)
}

/// Forgets the task that was waited for, with its result, unless it has been started again since.
///
/// # Errors
/// [`OnceError`].
pub async fn forget_ended(dir: &OnceDir, id: &TaskId, ended: &Ended) -> Result<(), OnceError> {
    let _section = dir.section().await?;
    match look(dir, id)? {
        State::Done { record, .. } | State::Ended { record, .. } if record.token == ended.token => {
            remove(dir, id)
        }
        State::Lost { record, .. }
            if record.token == ended.token && marked(MARK, &record.token).is_empty() =>
        {
            remove(dir, id)
        }
        _ => Ok(()),
    }
}

/// Forgets every task that failed, was interrupted, or is of before the host's last start; good results and running tasks
/// stay. Returns those whose processes are still there, which it leaves.
///
/// # Errors
/// [`OnceError`].
pub async fn forget(dir: &OnceDir) -> Result<Vec<Ending>, OnceError> {
    let _section = dir.section().await?;
    let mut settled = Vec::new();
    let mut left = Vec::new();
    for id in dir.ids()? {
        match look(dir, &id)? {
            State::Running(_) | State::Done { code: 0, .. } => {}
            State::Lost { record, .. } => {
                let processes = marked(MARK, &record.token);
                if processes.is_empty() {
                    settled.push(id);
                } else {
                    left.push(Ending {
                        id,
                        pid: record.task.pid,
                        left: processes.iter().map(|process| process.pid).collect(),
                    });
                }
            }
            State::Absent | State::Done { .. } | State::Ended { .. } => settled.push(id),
        }
    }
    for id in settled {
        remove(dir, &id)?;
    }
    Ok(left)
}

fn remove(dir: &OnceDir, id: &TaskId) -> Result<(), OnceError> {
    for what in FILES {
        let path = dir.file(id, what);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OnceError::unusable(&path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn end(dir: &OnceDir, ids: &[TaskId]) -> Result<Vec<Ending>, OnceError> {
    let mut found: Vec<(TaskId, Record, bool)> = Vec::new();
    for id in ids {
        match look(dir, id)? {
            State::Running(attempt) => found.push((id.clone(), attempt.record, true)),
            State::Lost { record, .. } if !marked(MARK, &record.token).is_empty() => {
                found.push((id.clone(), record, false));
            }
            _ => {}
        }
    }
    for (_, record, running) in &found {
        if let (true, Ok(Some(runner))) = (running, record.runner.open()) {
            // One that cannot be told is found again below.
            drop(runner.terminate());
        }
    }
    let mut endings = Vec::new();
    // The runner gives its task the grace, and needs a moment of its own.
    let deadline = Deadline::after(TERM_GRACE + RUNNER_LIMIT);
    for (id, record, running) in found {
        end_runner(dir, &id, &record, deadline).await;
        let left = kill_marked(MARK, &record.token, Deadline::after(KILL_LIMIT)).await;
        let mut left: Vec<i32> = left.iter().map(|process| process.pid).collect();
        if left.is_empty() && running && is_still_held(dir, &id, &record).await? {
            left.push(record.task.pid);
        }
        endings.push(Ending {
            id,
            pid: record.task.pid,
            left,
        });
    }
    Ok(endings)
}

/// Returns whether the task of `record` still runs, though no process of it is to be seen: one in another pid
/// namespace can neither be found here nor ended, and only its locks say that it lives.
async fn is_still_held(dir: &OnceDir, id: &TaskId, record: &Record) -> Result<bool, OnceError> {
    match look(dir, id)? {
        State::Running(attempt) if attempt.record.token == record.token => {
            let released = tokio::time::timeout(RELEASE_LIMIT, attempt.ended()).await;
            Ok(!matches!(released, Ok(Ok(_))))
        }
        _ => Ok(false),
    }
}

async fn end_runner(dir: &OnceDir, id: &TaskId, record: &Record, deadline: Deadline) {
    let Ok(Some(runner)) = record.runner.open() else {
        return;
    };
    if tokio::time::timeout(deadline.left(), runner.ended())
        .await
        .is_ok()
    {
        return;
    }
    // It does not listen (it was stopped). Those who wait must not run again what was to be ended.
    for what in ["task", "lock"] {
        let file = ground::host_file::options()
            .append(true)
            .open(dir.file(id, what));
        drop(file.and_then(|mut file| answer(&mut file, KILLED)));
    }
    if let Ok(Some(runner)) = record.runner.open()
        && runner.kill().is_ok()
    {
        drop(tokio::time::timeout(KILL_LIMIT, runner.ended()).await);
    }
}

#[cfg(test)]
mod tests {
    use super::super::attempt::tests::record;
    use super::*;
    use crate::lock::file::try_exclusive;

    /// As in a container that shares only the directory.
    #[tokio::test(flavor = "current_thread")]
    async fn a_task_whose_processes_cannot_be_seen_from_here_is_not_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let dir = OnceDir::open(root.path()).unwrap().unwrap();
        let id: TaskId = "x".parse().unwrap();
        let mut record = record();
        record.token = hex::encode(rand::random::<[u8; 16]>());
        record.task.boot.clone_from(&dir.boot);
        record.runner.boot.clone_from(&dir.boot);
        let files = ["task", "lock"].map(|what| dir.file(&id, what));
        let mut held = Vec::new();
        for path in &files {
            std::fs::write(path, record.text()).unwrap();
            held.push(
                try_exclusive(ground::host_file::open(path).unwrap())
                    .unwrap()
                    .unwrap(),
            );
        }
        for ending in [
            reset(&dir, &id).await.unwrap().unwrap(),
            kill(&dir).await.unwrap().remove(0),
        ] {
            assert_eq!(ending.left, [record.task.pid]);
            assert!(files.iter().all(|path| path.exists()));
        }
        // Its end is what lets it go.
        drop(held);
        assert!(reset(&dir, &id).await.unwrap().is_none());
        assert!(!files.iter().any(|path| path.exists()));
    }
}
