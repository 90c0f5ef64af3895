//! What an attempt leaves for those who come later: its exit code, and the command that it ran.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Record, SIZE_LIMIT, announce};
use super::{Command, OnceDir, OnceError, TaskId};
use crate::record;
use ground::host_file;

/// The mode of the files that other users may read.
const SHARED: u32 = 0o644;

/// What the exit file of a task says.
#[derive(Debug)]
pub(super) struct Exit {
    /// The exit code.
    pub(super) code: u8,
    /// When the file was written.
    modified: SystemTime,
    /// What a file of the version before says beside the number.
    old: Option<Kept>,
}

/// Whose result an exit file of the version before holds.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    record: Record,
    ended_ms: u64,
    ended: Timestamp,
}

impl Exit {
    /// Reads the exit file of `id`; `None` when it is missing or holds no exit code.
    pub(super) fn read(dir: &OnceDir, id: &TaskId) -> Result<Option<Self>, OnceError> {
        let path = dir.file(id, "exit");
        let mut text = String::new();
        let read = host_file::open(&path).and_then(|file| {
            let modified = file.metadata()?.modified()?;
            file.take(SIZE_LIMIT).read_to_string(&mut text)?;
            Ok(modified)
        });
        let modified = match read {
            Ok(modified) => modified,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidData
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(OnceError::unusable(&path)(error)),
        };
        let (number, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let old = (!rest.trim().is_empty()).then(|| serde_json::from_str(rest));
        Ok(match (number.trim().parse(), old.transpose()) {
            (Ok(code), Ok(old)) => Some(Self {
                code,
                modified,
                old,
            }),
            _ => None,
        })
    }

    /// Returns when the result of `attempt` that this is was there, in milliseconds since boot; `None` when it is not
    /// that attempt's.
    pub(super) fn of(&self, attempt: &Attempt) -> Option<u64> {
        match &self.old {
            Some(kept) => (kept.record == attempt.record).then_some(kept.ended_ms),
            None => {
                let ended_ms = attempt.said.result.map_or(0, |(_, ended_ms)| ended_ms);
                (attempt.said.code() == Some(self.code)).then_some(ended_ms)
            }
        }
    }

    /// Returns how old the file is by the clock on the wall; 0 for one of a time to come.
    pub(super) fn age(&self) -> Duration {
        self.modified.elapsed().unwrap_or_default()
    }

    /// Writes the exit code of `id`, whole or not at all.
    pub(super) fn write(dir: &OnceDir, id: &TaskId, code: u8) -> io::Result<()> {
        number(&dir.file(id, "exit"), i32::from(code), |_| Ok(())).map(drop)
    }
}

/// Writes a file that holds a number alone.
pub(super) fn number(
    path: &Path,
    number: i32,
    before: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<File> {
    record::put(path, SHARED, format!("{number}\n").as_bytes(), before)
}

/// Writes the record of an attempt, which `before` locks.
pub(super) fn record(
    path: &Path,
    text: &str,
    before: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<File> {
    record::put(path, SHARED, text.as_bytes(), before)
}

/// Replaces the files of `id` that the version before wrote. The directory's lock must be held.
///
/// There the record was in `<id>.pid` and the result's owner in `<id>.exit`, both behind the number. A runner of that
/// version that still lives keeps the lock of its file and appends its answer to it: so the file itself is moved, and
/// the number gets a new one.
pub(super) fn adopt(dir: &OnceDir, id: &TaskId) -> Result<(), OnceError> {
    let [pid, task, exit] = ["pid", "task", "exit"].map(|what| dir.file(id, what));
    if let Some(old) = Attempt::open(&pid)? {
        std::fs::rename(&pid, &task).map_err(OnceError::unusable(&task))?;
        number(&pid, old.record.task.pid, |_| Ok(())).map_err(OnceError::unusable(&pid))?;
    }
    let Some(Exit {
        code,
        old: Some(kept),
        ..
    }) = Exit::read(dir, id)?
    else {
        return Ok(());
    };
    let attempt = Attempt::open(&task)?.filter(|attempt| attempt.record == kept.record);
    let replaced = match attempt {
        Some(attempt) => (|| {
            if attempt.said.result.is_none() {
                let mut file = host_file::options().append(true).open(&task)?;
                announce(&mut file, code, kept.ended_ms)?;
            }
            let ended = SystemTime::from(kept.ended);
            number(&exit, i32::from(code), |file| file.set_modified(ended)).map(drop)
        })(),
        // Another attempt's: it never counted.
        None => std::fs::remove_file(&exit),
    };
    replaced.map_err(OnceError::unusable(&exit))
}

/// The command of a task as it was started last, for those who ask for the task without one. Only the owner can read it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Recorded {
    words: Vec<Word>,
    dir: Word,
    /// How long its result counts, in seconds, as the call that started it said.
    pub(super) lifetime_s: Option<u64>,
}

/// Text, or bytes that are not UTF-8.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Bytes(Vec<u8>),
}

impl Word {
    fn of(word: &std::ffi::OsStr) -> Self {
        match word.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(word.as_bytes().to_vec()),
        }
    }

    fn to_os(&self) -> OsString {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => OsString::from_vec(bytes.clone()),
        }
    }
}

impl Recorded {
    pub(super) fn new(command: &Command, dir: &Path, lifetime_s: Option<u64>) -> Self {
        Self {
            words: command.0.iter().map(|word| Word::of(word)).collect(),
            dir: Word::of(dir.as_os_str()),
            lifetime_s,
        }
    }

    pub(super) fn write(&self, dir: &OnceDir, id: &TaskId) -> io::Result<()> {
        let text = serde_json::to_string(self)?;
        let content = format!("{text}\n");
        record::put(&dir.file(id, "cmd"), 0o600, content.as_bytes(), |_| Ok(())).map(drop)
    }

    /// Reads what the last start recorded; `None` when nothing was, or it cannot be read: a task that the version
    /// before started, or another user's.
    pub(super) fn read(dir: &OnceDir, id: &TaskId) -> Option<Self> {
        let text = host_file::bytes(dir.file(id, "cmd")).ok()?;
        let recorded: Self = serde_json::from_slice(&text).ok()?;
        (!recorded.words.is_empty()).then_some(recorded)
    }

    pub(super) fn command(&self) -> Command {
        Command(self.words.iter().map(Word::to_os).collect())
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.dir.to_os().into()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::attempt::answer;
    use super::super::attempt::tests::record;
    use super::super::state::{State, look};
    use super::*;
    use crate::lock::file::try_exclusive;

    fn dir() -> (tempfile::TempDir, OnceDir, TaskId) {
        let root = tempfile::tempdir().unwrap();
        let dir = OnceDir::open(root.path()).unwrap().unwrap();
        (root, dir, "x".parse().unwrap())
    }

    fn of_this_boot(dir: &OnceDir) -> Record {
        let mut record = record();
        record.task.boot.clone_from(&dir.boot);
        record.runner.boot.clone_from(&dir.boot);
        record
    }

    /// As the version before left them.
    fn old(dir: &OnceDir, id: &TaskId, record: &Record, code: u8) {
        let text = format!("{}end {code}\n", record.text());
        std::fs::write(dir.file(id, "pid"), text).unwrap();
        let kept = Kept {
            record: record.clone(),
            ended_ms: super::super::now_ms(),
            ended: Timestamp::now(),
        };
        let json = serde_json::to_string(&kept).unwrap();
        std::fs::write(dir.file(id, "exit"), format!("{code}\n{json}\n")).unwrap();
    }

    #[test]
    fn files_of_the_version_before_are_read_once_and_replaced() {
        let (_root, dir, id) = dir();
        let record = of_this_boot(&dir);
        old(&dir, &id, &record, 7);
        for _ in 0..2 {
            let state = look(&dir, &id).unwrap();
            assert!(matches!(state, State::Done { code: 7, .. }), "{state:?}");
            let text = |what: &str| host_file::text(dir.file(&id, what)).unwrap();
            assert_eq!(text("pid"), format!("{}\n", record.task.pid));
            assert_eq!(text("exit"), "7\n");
            assert!(text("task").starts_with(&record.text()));
        }
    }

    #[test]
    fn a_result_of_another_attempt_by_the_version_before_does_not_count() {
        let (_root, dir, id) = dir();
        let mut record = of_this_boot(&dir);
        old(&dir, &id, &record, 7);
        record.token = "another".to_owned();
        std::fs::write(dir.file(&id, "pid"), record.text()).unwrap();
        assert!(matches!(look(&dir, &id).unwrap(), State::Lost { .. }));
        assert!(!dir.file(&id, "exit").exists());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_task_that_the_version_before_runs_goes_on_and_its_result_counts() {
        let (_root, dir, id) = dir();
        let mut record = of_this_boot(&dir);
        record.runner = crate::process::Identity::own().unwrap();
        let pid = dir.file(&id, "pid");
        std::fs::write(&pid, record.text()).unwrap();
        let mut options = host_file::options();
        let mut theirs = options.append(true).open(&pid).unwrap();
        let held = try_exclusive(host_file::open(&pid).unwrap())
            .unwrap()
            .unwrap();
        let State::Running(attempt) = look(&dir, &id).unwrap() else {
            panic!("it is taken for ended")
        };
        assert_eq!(
            host_file::text(&pid).unwrap(),
            format!("{}\n", record.task.pid)
        );
        // Its runner knows only its own files.
        let kept = Kept {
            record,
            ended_ms: super::super::now_ms(),
            ended: Timestamp::now(),
        };
        let json = serde_json::to_string(&kept).unwrap();
        std::fs::write(dir.file(&id, "exit"), format!("7\n{json}\n")).unwrap();
        answer(&mut theirs, 7).unwrap();
        drop(held);
        assert_eq!(attempt.ended().await.unwrap(), Some(7));
        assert!(matches!(
            look(&dir, &id).unwrap(),
            State::Done { code: 7, .. }
        ));
    }

    #[test]
    fn a_number_is_alone_and_readable_by_all_and_a_command_is_its_owners() {
        let (_root, dir, id) = dir();
        Exit::write(&dir, &id, 3).unwrap();
        assert_eq!(host_file::bytes(dir.file(&id, "exit")).unwrap(), b"3\n");
        let words = [&b"a b"[..], b"\xff"].map(|word| OsString::from_vec(word.to_vec()));
        let command = Command(words.to_vec());
        Recorded::new(&command, Path::new("/d"), Some(5))
            .write(&dir, &id)
            .unwrap();
        let recorded = Recorded::read(&dir, &id).unwrap();
        assert_eq!(recorded.command().0, command.0);
        assert_eq!(recorded.dir(), Path::new("/d"));
        for (what, mode) in [("exit", 0o644), ("cmd", 0o600)] {
            let meta = dir.file(&id, what).metadata().unwrap();
            assert_eq!(meta.permissions().mode() & 0o7777, mode, "{what}");
        }
    }
}
