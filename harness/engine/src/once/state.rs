//! What a task's files say about it, once everything that is stale has been left out.

use std::time::Duration;

use serde::Serialize;

use super::attempt::{Attempt, Record};
use super::result::{Exit, adopt};
use super::{OnceDir, OnceError, TaskId, now_ms};

/// A task as it is.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing is known of it, or only from another boot.
    Absent,
    /// It runs.
    Running(Attempt),
    /// It ended by itself, with a result.
    Done {
        record: Record,
        code: u8,
        age: Duration,
    },
    /// It was interrupted, and has told those who waited.
    Ended { record: Record, code: Option<u8> },
    /// It was killed, or its runner was.
    Lost { record: Record, code: Option<u8> },
}

/// Returns whether an exit code says that a task was interrupted: killed, or ended by Ctrl-C. It is that of a shell
/// whose command was, too.
pub(super) fn is_interruption(code: u8) -> bool {
    (128..=165).contains(&code)
}

/// How often a look starts again because the files changed under it, by a process without the directory's lock.
const LOOKS: u32 = 100;

/// Looks at a task. Its owner must hold the directory's lock; others may look while files are replaced.
pub(super) fn look(dir: &OnceDir, id: &TaskId) -> Result<State, OnceError> {
    if dir.is_own() {
        adopt(dir, id)?;
        return look_once(dir, id);
    }
    let token = || {
        let last = Attempt::last(dir, id)?;
        Ok::<_, OnceError>(last.map(|last| last.record.token))
    };
    let mut before = token()?;
    for _ in 0..LOOKS {
        let state = look_once(dir, id)?;
        let after = token()?;
        if after == before || matches!(state, State::Running(_)) {
            return Ok(state);
        }
        before = after;
    }
    look_once(dir, id)
}

fn look_once(dir: &OnceDir, id: &TaskId) -> Result<State, OnceError> {
    let path = dir.file(id, "task");
    let unusable = |error| OnceError::unusable(&path)(error);
    let last = Attempt::last(dir, id)?.filter(|attempt| attempt.record.task.boot == dir.boot);
    if let Some(attempt) = last.as_ref()
        && attempt.is_held().map_err(unusable)?
        // Other users can hold this file, too. Then they do not see our processes die, but we do.
        && (!dir.is_own() || attempt.record.runner.is_alive())
    {
        return Ok(State::Running(last.expect("it is there")));
    }
    if dir.is_own() {
        // The safety net: the other file was removed, or the runner's pid means nothing here.
        let path = dir.file(id, "lock");
        if let Some(attempt) = Attempt::open(&path)?
            && attempt.is_held().map_err(OnceError::unusable(&path))?
        {
            return Ok(State::Running(attempt));
        }
    }
    // The attempt may have ended since it was read.
    let Some(last) = Attempt::last(dir, id)?.filter(|attempt| attempt.record.task.boot == dir.boot)
    else {
        return Ok(State::Absent);
    };
    let exit = Exit::read(dir, id)?;
    if let Some(exit) = &exit
        && !is_interruption(exit.code)
        && let Some(ended_ms) = exit.of(&last)
    {
        // By the exit file, whose age people set and read; by the time since boot, which cannot be set back.
        let since = Duration::from_millis(now_ms().saturating_sub(ended_ms));
        let since = if ended_ms == 0 { Duration::ZERO } else { since };
        return Ok(State::Done {
            record: last.record,
            code: exit.code,
            age: since.max(exit.age()),
        });
    }
    let code = exit
        .map(|exit| exit.code)
        .filter(|code| is_interruption(*code));
    let (record, answer) = (last.record, last.said.answer);
    Ok(match answer {
        Some(_) => State::Ended { record, code },
        None => State::Lost { record, code },
    })
}

/// Returns whether a result of this age counts: it must not be older than either the call that started the task or the call that asks
/// allows. Which command made it does not matter: the id is the identity.
pub(super) fn counts(record: &Record, age: Duration, lifetime: Option<Duration>) -> bool {
    let limits = [record.lifetime_s.map(Duration::from_secs), lifetime];
    limits.into_iter().flatten().all(|limit| age < limit)
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
    /// It has a result that is too old.
    Stale,
    /// It was interrupted before it had a result.
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
    /// Its exit code: of a result, or 128 and the signal of one that was interrupted.
    pub code: Option<u8>,
    /// How long it has been running, or done, in seconds.
    pub age_s: Option<u64>,
}

impl Row {
    /// Returns the row of a task that there is no trace of.
    #[must_use]
    pub fn absent(id: &TaskId) -> Self {
        Self::new(id, &State::Absent, None)
    }

    fn new(id: &TaskId, state: &State, lifetime: Option<Duration>) -> Self {
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
                let age = now_ms().saturating_sub(attempt.record.started_ms) / 1000;
                row(Condition::Running, Some(&attempt.record), None, Some(age))
            }
            State::Done { record, code, age } => {
                let fresh = counts(record, *age, lifetime);
                let state = if fresh {
                    Condition::Done
                } else {
                    Condition::Stale
                };
                row(state, Some(record), Some(*code), Some(age.as_secs()))
            }
            State::Ended { record, code } | State::Lost { record, code } => {
                row(Condition::Dead, Some(record), *code, None)
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
    lifetime: Option<Duration>,
) -> Result<Row, OnceError> {
    let _section = match dir.is_own() {
        true => Some(dir.section().await?),
        false => None,
    };
    Ok(Row::new(id, &look(dir, id)?, lifetime))
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
        .map(|id| Ok(Row::new(id, &look(dir, id)?, None)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::attempt::tests::record;
    use super::*;

    #[test]
    fn the_shorter_of_two_lifetimes_decides() {
        let mut record = record();
        let s = Duration::from_secs;
        assert!(counts(&record, s(10), None));
        assert!(counts(&record, s(10), Some(s(60))));
        assert!(!counts(&record, s(10), Some(s(5))));
        assert!(!counts(&record, s(0), Some(s(0))));
        record.lifetime_s = Some(5);
        assert!(!counts(&record, s(10), Some(s(60))));
    }

    #[test]
    fn the_codes_of_signals_are_interruptions() {
        for code in [128, 130, 137, 143, 165] {
            assert!(is_interruption(code), "{code}");
        }
        for code in [0, 1, 127, 166, 255] {
            assert!(!is_interruption(code), "{code}");
        }
    }
}
