//! An attempt at a task, and the result that it may leave behind.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{OnceDir, OnceError, TaskId};
use crate::host_file;
use crate::lock::file;
use crate::process::Identity;

/// More than any of our files holds.
const SIZE_LIMIT: u64 = 16 << 10;

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
    /// How long the result counts, in seconds, as whoever started it said.
    pub(super) lifetime_s: Option<u64>,
    /// When it began, in milliseconds since boot.
    pub(super) started_ms: u64,
    /// When it began, for people.
    pub(super) started: Timestamp,
}

impl Record {
    /// Returns the file's text: the pid in a line of its own for people and shells, then everything.
    pub(super) fn text(&self) -> String {
        let json = serde_json::to_string(self).expect("a record is plain data");
        format!("{}\n{json}\n", self.task.pid)
    }

    /// Reads what [`Record::text`] wrote and the answer behind it. What is not whole is nothing.
    fn parse(text: &str) -> Option<(Self, Option<u8>)> {
        let mut lines = text.split_inclusive('\n');
        let pid: i32 = whole(lines.next()?)?.parse().ok()?;
        let record: Self = serde_json::from_str(whole(lines.next()?)?).ok()?;
        let answer = lines
            .next()
            .and_then(|line| whole(line)?.strip_prefix("end ")?.parse().ok());
        (record.task.pid == pid).then_some((record, answer))
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
    /// What those who wait are told.
    pub(super) answer: Option<u8>,
}

impl Attempt {
    /// Opens the attempt in `path`; `None` when there is no such file, or it is none of ours.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, OnceError> {
        let unusable = OnceError::unusable(path);
        let file = match host_file::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(error)),
        };
        match read(&file) {
            Ok(text) => Ok(Record::parse(&text).map(|(record, answer)| Self {
                file,
                record,
                answer,
            })),
            Err(error) => Err(unusable(error)),
        }
    }

    /// Returns whether somebody holds the file.
    pub(super) fn is_held(&self) -> io::Result<bool> {
        file::is_held(&self.file)
    }

    /// Waits until the attempt has ended; returns what it says to those who waited, if anything.
    ///
    /// Blocks in `flock`, which also works for other users and across pid namespaces, and for the end of
    /// the runner's process, so that another user who takes a lock of the file delays nobody.
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
        Ok(
            parsed
                .and_then(|(record, answer)| answer.filter(|_| record.token == self.record.token)),
        )
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
    file.seek(SeekFrom::End(0))?;
    file.write_all(format!("end {code}\n").as_bytes())
}

/// A result that is kept for those who ask later.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Whose it is.
    pub(super) record: Record,
    /// When it ended, in milliseconds since boot.
    pub(super) ended_ms: u64,
    /// When it ended, for people.
    pub(super) ended: Timestamp,
}

impl Kept {
    /// Writes the result of `id`, whole or not at all.
    pub(super) fn write(&self, dir: &OnceDir, id: &TaskId, code: u8) -> io::Result<()> {
        let json = serde_json::to_string(self)?;
        publish(&dir.file(id, "exit"), &format!("{code}\n{json}\n"), |_| {
            Ok(())
        })?;
        Ok(())
    }

    /// Reads the result of `id` and its code; `None` when there is none, or it is none of ours.
    pub(super) fn read(dir: &OnceDir, id: &TaskId) -> Result<Option<(Self, u8)>, OnceError> {
        let path = dir.file(id, "exit");
        let mut text = String::new();
        match host_file::open(&path)
            .and_then(|file| file.take(SIZE_LIMIT).read_to_string(&mut text))
        {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
            Err(error) => return Err(OnceError::unusable(&path)(error)),
        }
        let parse = || {
            let mut lines = text.split_inclusive('\n');
            let code = whole(lines.next()?)?.parse().ok()?;
            let kept = serde_json::from_str(whole(lines.next()?)?).ok()?;
            Some((kept, code))
        };
        Ok(parse())
    }
}

/// Puts a file with mode 0644 in the place of `path`, whole; `before` sees it while nobody else can. Returns
/// the file.
///
/// It is not forced to the disk: after a crash of the system it belongs to another boot and does not count,
/// whether it is whole or empty.
pub(super) fn publish(
    path: &Path,
    text: &str,
    before: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<File> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    // No task's id begins with a dot.
    let mut new = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    new.write_all(text.as_bytes())?;
    let file = new.as_file();
    file.set_permissions(PermissionsExt::from_mode(0o644))?;
    before(file)?;
    new.persist(path).map_err(|error| error.error)
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
        assert_eq!(Record::parse(&text), Some((record(), Some(9))));
        let without = record().text();
        for length in 0..text.len() {
            let expected = (length >= without.len()).then(|| (record(), None));
            assert_eq!(Record::parse(&text[..length]), expected, "{length}");
        }
        // A pid that was written by hand.
        assert_eq!(Record::parse("1\n"), None);
        let foreign = without.replacen('7', "1", 1);
        assert_eq!(Record::parse(&foreign), None);
    }
}
