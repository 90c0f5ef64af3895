//! What a task's files say about it, once everything that is stale has been left out.

use std::time::Duration;

use serde::Serialize;

use super::attempt::{Attempt, Kept, Record};
use super::{Command, OnceDir, OnceError, TaskId, now_ms};

/// A task as it is.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing is known of it, or only from another boot.
    Absent,
    /// It runs.
    Running(Attempt),
    /// It ended by itself.
    Done {
        record: Record,
        code: u8,
        ended_ms: u64,
    },
    /// It was ended, and has told those who waited.
    Ended(Record),
    /// It was killed, or its runner was.
    Lost(Record),
}

/// Looks at a task. Its owner must hold the directory's lock; others may see a moment in between.
pub(super) fn look(dir: &OnceDir, id: &TaskId) -> Result<State, OnceError> {
    let path = dir.file(id, "pid");
    let unusable = |error| OnceError::unusable(&path)(error);
    let last = Attempt::open(&path)?.filter(|attempt| attempt.record.task.boot == dir.boot);
    if let Some(attempt) = last.as_ref()
        && attempt.is_held().map_err(unusable)?
        // Other users can hold this file, too. Then they do not see our processes die, but we do.
        && (!dir.is_own() || attempt.record.runner.is_alive())
    {
        return Ok(State::Running(last.expect("it is there")));
    }
    if dir.is_own() {
        // The safety net: somebody removed the other file, or the runner's pid means nothing here.
        let path = dir.file(id, "lock");
        if let Some(attempt) = Attempt::open(&path)?
            && attempt.is_held().map_err(OnceError::unusable(&path))?
        {
            return Ok(State::Running(attempt));
        }
    }
    // The attempt may have ended since it was read.
    let Some(last) = Attempt::open(&path)?.filter(|attempt| attempt.record.task.boot == dir.boot)
    else {
        return Ok(State::Absent);
    };
    Ok(match Kept::read(dir, id)? {
        Some((kept, code)) if kept.record == last.record => State::Done {
            record: kept.record,
            code,
            ended_ms: kept.ended_ms,
        },
        _ if last.answer.is_some() => State::Ended(last.record),
        _ => State::Lost(last.record),
    })
}

/// Returns whether a result counts: for `command`, when one is given, and not older than either whoever
/// started the task or whoever asks allows.
pub(super) fn counts(
    record: &Record,
    ended_ms: u64,
    command: Option<&Command>,
    lifetime: Option<Duration>,
) -> bool {
    let age = Duration::from_millis(now_ms().saturating_sub(ended_ms));
    let limits = [record.lifetime_s.map(Duration::from_secs), lifetime];
    command.is_none_or(|command| command.digest() == record.command)
        && limits.into_iter().flatten().all(|limit| age < limit)
}

/// What a task looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// There is no task of this name.
    None,
    /// It runs.
    Running,
    /// It has a result that counts.
    Done,
    /// It has a result that is too old, or of another command.
    Stale,
    /// It was ended or killed before it had a result.
    Dead,
}

/// A task in a list.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// What it looks like.
    pub state: Condition,
    /// The pid of the task, also of one that has ended.
    pub pid: Option<i32>,
    /// Its exit code, when it has ended by itself.
    pub code: Option<u8>,
    /// How long it has been running, or done, in seconds.
    pub age_s: Option<u64>,
}

impl Row {
    /// Returns the row of a task that there is no trace of.
    #[must_use]
    pub fn absent(id: &TaskId) -> Self {
        Self::new(id, &State::Absent, None, None)
    }

    fn new(
        id: &TaskId,
        state: &State,
        command: Option<&Command>,
        lifetime: Option<Duration>,
    ) -> Self {
        let age = |since: u64| Some(now_ms().saturating_sub(since) / 1000);
        let row = |state, record: Option<&Record>, code, age_s| Self {
            id: id.to_string(),
            state,
            pid: record.map(|record| record.task.pid),
            code,
            age_s,
        };
        match state {
            State::Absent => row(Condition::None, None, None, None),
            State::Running(attempt) => {
                let age = age(attempt.record.started_ms);
                row(Condition::Running, Some(&attempt.record), None, age)
            }
            State::Done {
                record,
                code,
                ended_ms,
            } => {
                let fresh = counts(record, *ended_ms, command, lifetime);
                let state = if fresh {
                    Condition::Done
                } else {
                    Condition::Stale
                };
                row(state, Some(record), Some(*code), age(*ended_ms))
            }
            State::Ended(record) | State::Lost(record) => {
                row(Condition::Dead, Some(record), None, None)
            }
        }
    }
}

/// Looks at one task and starts nothing.
///
/// # Errors
/// [`OnceError`] when its files cannot be read.
pub async fn peek(
    dir: &OnceDir,
    id: &TaskId,
    command: Option<&Command>,
    lifetime: Option<Duration>,
) -> Result<Row, OnceError> {
    let _section = match dir.is_own() {
        true => Some(dir.section().await?),
        false => None,
    };
    Ok(Row::new(id, &look(dir, id)?, command, lifetime))
}

/// Returns every task of a directory, in the order of their ids.
///
/// # Errors
/// [`OnceError`] when the directory or one of the files cannot be read.
pub async fn list(dir: &OnceDir) -> Result<Vec<Row>, OnceError> {
    dir.require_own()?;
    let _section = dir.section().await?;
    let ids = dir.ids()?;
    ids.iter()
        .map(|id| Ok(Row::new(id, &look(dir, id)?, None, None)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::attempt::tests::record;
    use super::*;

    #[test]
    fn the_shorter_of_two_lifetimes_and_the_command_decide() {
        let mut record = record();
        let now = now_ms();
        let old = now - 10_000;
        let s = |s| Some(Duration::from_secs(s));
        assert!(counts(&record, old, None, None));
        assert!(counts(&record, old, None, s(60)));
        assert!(!counts(&record, old, None, s(5)));
        assert!(!counts(&record, now, None, s(0)));
        record.lifetime_s = Some(5);
        assert!(!counts(&record, old, None, s(60)));
        record.lifetime_s = None;
        let command = Command(vec!["true".into()]);
        assert!(!counts(&record, old, Some(&command), None));
        record.command = command.digest();
        assert!(counts(&record, old, Some(&command), None));
    }
}
