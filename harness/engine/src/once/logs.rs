//! What tasks write: one file for both streams, one for each, and one older generation.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tokio::net::unix::pipe::Receiver;

use super::{OnceDir, OnceError, TaskId};
use ground::host_file;

/// How much is copied at once: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// How much of the end of a file is looked at for its last lines.
const TAIL: u64 = 8 << 10;

/// A stream of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// Returns a reader of what the task wrote to a stream so far, in its last attempt; nothing when there was none.
///
/// # Errors
/// [`OnceError`] when the file cannot be read: it is its owner's alone.
pub fn written(dir: &OnceDir, id: &TaskId, stream: Written) -> Result<Option<File>, OnceError> {
    // The version before kept one file for both.
    let names = match stream {
        Written::Out => &["out", "log"][..],
        Written::Err => &["err"],
    };
    for name in names {
        let path = dir.file(id, name);
        match host_file::open(&path) {
            Ok(file) => return Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OnceError::unusable(&path)(error)),
        }
    }
    Ok(None)
}

/// Puts aside what the last attempt wrote and opens the log for the next one, with the files of both streams.
pub(super) fn begin(dir: &OnceDir, id: &TaskId) -> Result<File, OnceError> {
    let fresh = |what: &str| -> Result<File, OnceError> {
        let path = dir.file(id, what);
        match std::fs::rename(&path, dir.file(id, &format!("{what}.1"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OnceError::unusable(&path)(error));
            }
            _ => {}
        }
        open(&path).map_err(OnceError::unusable(&path))
    };
    fresh("out")?;
    fresh("err")?;
    fresh("log")
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = host_file::options();
    options.create(true).append(true).mode(0o600).open(path)
}

/// Returns the last lines of a file, at most `count`.
pub(super) fn last_lines(file: &mut File, count: usize) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = (|| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        file.take(TAIL).read_to_end(&mut bytes)
    })();
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(count);
    lines[skipped..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// Copies the streams of a task to its files while the task lives, and as long as anything has them open.
pub(super) struct Copying {
    log: File,
    out: Stream,
    err: Stream,
}

struct Stream {
    /// Nothing once everybody who could write has closed it.
    pipe: Option<Receiver>,
    file: File,
}

impl Copying {
    /// Takes the ends of the task's streams; `log` is the file for both.
    pub(super) fn new(
        dir: &OnceDir,
        id: &TaskId,
        log: &File,
        [out, err]: [Receiver; 2],
    ) -> io::Result<Self> {
        let stream = |pipe, what| -> io::Result<Stream> {
            Ok(Stream {
                pipe: Some(pipe),
                file: open(&dir.file(id, what))?,
            })
        };
        Ok(Self {
            log: log.try_clone()?,
            out: stream(out, "out")?,
            err: stream(err, "err")?,
        })
    }

    /// Copies until no process has the streams open.
    pub(super) async fn follow(&mut self) {
        while self.out.pipe.is_some() || self.err.pipe.is_some() {
            // In the order in which they come, as far as two pipes tell.
            tokio::select! {
                () = readable(&self.out.pipe) => self.out.copy(&mut self.log),
                () = readable(&self.err.pipe) => self.err.copy(&mut self.log),
            }
        }
    }

    /// Copies what has been written until now: all of what a task wrote that has ended.
    pub(super) fn catch_up(&mut self) {
        self.out.catch_up(&mut self.log);
        self.err.catch_up(&mut self.log);
    }
}

async fn readable(pipe: &Option<Receiver>) {
    match pipe {
        // An error shows again when it is read.
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

impl Stream {
    fn copy(&mut self, log: &mut File) {
        let mut bytes = vec![0; CHUNK];
        let Some(pipe) = &self.pipe else { return };
        match pipe.try_read(&mut bytes) {
            Ok(0) => self.pipe = None,
            Ok(count) => self.write(log, &bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.pipe = None,
        }
    }

    /// A disk that is full must not stop the task, which is not to blame: then the rest is lost.
    fn write(&mut self, log: &mut File, bytes: &[u8]) {
        drop(self.file.write_all(bytes));
        drop(log.write_all(bytes));
    }

    fn catch_up(&mut self, log: &mut File) {
        // Read by itself: what the event loop knows of a pipe may be older than what is in it.
        let Some(Ok(mut pipe)) = self
            .pipe
            .take()
            .map(|pipe| pipe.into_nonblocking_fd().map(File::from))
        else {
            return;
        };
        let mut bytes = vec![0; CHUNK];
        loop {
            match pipe.read(&mut bytes) {
                Ok(0) => return,
                Ok(count) => self.write(log, &bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
        self.pipe = Receiver::from_owned_fd(pipe.into()).ok();
    }
}
