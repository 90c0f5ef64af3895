//! An attempt at a task: who it is, and what its runner says of its end.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{OnceDir, OnceError, TaskId};
use crate::lock::file;
use crate::process::Identity;
use ground::host_file;

/// More than any of our files holds.
pub(super) const SIZE_LIMIT: u64 = 16 << 10;

/// Who an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The task's first process.
    pub(super) task: Identity,
    /// The runner, which lives as long as the attempt.
    pub(super) runner: Identity,
    /// [`super::Command::digest`].
    pub(super) command: String,
    /// Marks the processes of this attempt.
    pub(super) token: String,
    /// How many attempts in a row this is; all before it were killed.
    pub(super) number: u32,
    /// How long the result counts, in seconds, as the call that started it said.
    pub(super) lifetime_s: Option<u64>,
    /// When it began, in milliseconds since boot.
    pub(super) started_ms: u64,
    /// When it began, for people.
    pub(super) started: Timestamp,
}

impl Record {
    /// Returns the file's text: the pid in a line of its own for people, then everything.
    pub(super) fn text(&self) -> String {
        let json = serde_json::to_string(self).expect("a record is plain data");
        format!("{}\n{json}\n", self.task.pid)
    }

    /// Reads what [`Record::text`] wrote and what was said behind it. What is not whole is nothing.
    fn parse(text: &str) -> Option<(Self, Said)> {
        let mut lines = text.split_inclusive('\n');
        let pid: i32 = whole(lines.next()?)?.parse().ok()?;
        let record: Self = serde_json::from_str(whole(lines.next()?)?).ok()?;
        if record.task.pid != pid {
            return None;
        }
        let mut said = Said::default();
        for line in lines.filter_map(whole) {
            if let Some(code) = line.strip_prefix("end ") {
                said.answer = said.answer.or(code.parse().ok());
            } else if let Some(result) = line.strip_prefix("result ")
                && let Some((code, ended_ms)) = result.split_once(' ')
                && let (Ok(code), Ok(ended_ms)) = (code.parse(), ended_ms.parse())
            {
                said.result = said.result.or(Some((code, ended_ms)));
            }
        }
        Some((record, said))
    }
}

/// What a runner wrote behind its record, each in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Said {
    /// `result CODE MS`: the exit code that the exit file is about to hold, and when the task ended, in milliseconds
    /// since boot.
    pub(super) result: Option<(u8, u64)>,
    /// `end CODE`: what those who wait are told.
    pub(super) answer: Option<u8>,
}

impl Said {
    /// Returns the code that the exit file of this attempt may hold as its result.
    pub(super) fn code(&self) -> Option<u8> {
        self.result.map(|(code, _)| code).or(self.answer)
    }
}

fn whole(line: &str) -> Option<&str> {
    line.strip_suffix('\n')
}

/// An attempt as its file says, which stays open: whatever becomes of the path, this is that attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    file: File,
    pub(super) record: Record,
    pub(super) said: Said,
}

impl Attempt {
    /// Opens the last attempt at `id`; `None` before the first.
    ///
    /// The version before kept it in `<id>.pid`, which holds a number alone since then. An attempt that is there is
    /// newer than the one beside it.
    pub(super) fn last(dir: &OnceDir, id: &TaskId) -> Result<Option<Self>, OnceError> {
        match Self::open(&dir.file(id, "pid"))? {
            Some(old) => Ok(Some(old)),
            None => Self::open(&dir.file(id, "task")),
        }
    }

    /// Opens the attempt in `path`; `None` when there is no such file, or it is not ours.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, OnceError> {
        let unusable = OnceError::unusable(path);
        let file = match host_file::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(error)),
        };
        match read(&file) {
            Ok(text) => Ok(Record::parse(&text).map(|(record, said)| Self { file, record, said })),
            Err(error) => Err(unusable(error)),
        }
    }

    /// Returns whether a process holds the file.
    pub(super) fn is_held(&self) -> io::Result<bool> {
        file::is_held(&self.file)
    }

    /// Waits until the attempt has ended; returns what it says to those who waited, if anything.
    ///
    /// Blocks in `flock`, which also works for other users and across pid namespaces, and for the end of
    /// the runner's process, so that another user who takes a lock of the file delays no caller.
    pub(super) async fn ended(&self) -> io::Result<Option<u8>> {
        let released = file::released(self.file.try_clone()?);
        match self.record.runner.open()? {
            Some(runner) => tokio::select! {
                released = released => released?,
                ended = runner.ended() => ended?,
            },
            None => released.await?,
        }
        // The file of `<id>.lock` is used again by the next attempt.
        let parsed = Record::parse(&read(&self.file)?);
        Ok(parsed
            .and_then(|(record, said)| said.answer.filter(|_| record.token == self.record.token)))
    }
}

fn read(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; usize::try_from(SIZE_LIMIT).unwrap_or(usize::MAX)];
    let mut length = 0;
    // At a position of our own: clones share theirs.
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Appends the answer for those who wait.
pub(super) fn answer(file: &mut File, code: u8) -> io::Result<()> {
    append(file, &format!("end {code}\n"))
}

/// Appends which result the exit file is about to hold.
pub(super) fn announce(file: &mut File, code: u8, ended_ms: u64) -> io::Result<()> {
    append(file, &format!("result {code} {ended_ms}\n"))
}

fn append(file: &mut File, line: &str) -> io::Result<()> {
    file.seek(SeekFrom::End(0))?;
    file.write_all(line.as_bytes())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn record() -> Record {
        let process = |pid| Identity {
            pid,
            started: 1,
            boot: "b".to_owned(),
        };
        Record {
            task: process(7),
            runner: process(6),
            command: "c".to_owned(),
            token: "t".to_owned(),
            number: 1,
            lifetime_s: None,
            started_ms: 5,
            started: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_attempt_is_read_whole_or_not_at_all() {
        let text = format!("{}end 9\n", record().text());
        let said = |result, answer| Some((record(), Said { result, answer }));
        assert_eq!(Record::parse(&text), said(None, Some(9)));
        let without = record().text();
        for length in 0..text.len() {
            let expected = (length >= without.len())
                .then(|| said(None, None))
                .flatten();
            assert_eq!(Record::parse(&text[..length]), expected, "{length}");
        }
        let both = format!("{without}result 9 77\nend 9\n");
        assert_eq!(Record::parse(&both), said(Some((9, 77)), Some(9)));
        // Two that wrote at once, as a runner of the version before might: what is whole counts.
        let torn = format!("{without}end 9\n 9 77\n");
        assert_eq!(Record::parse(&torn), said(None, Some(9)));
        // A pid that was written by hand.
        assert_eq!(Record::parse("1\n"), None);
        let foreign = without.replacen('7', "1", 1);
        assert_eq!(Record::parse(&foreign), None);
    }
}
