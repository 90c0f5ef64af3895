//! What a child writes: a bounded capture, a tail for people, a log file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{ChildStderr, ChildStdout};

/// How much of standard output is kept, in bytes: far more than any listing, far less than memory.
const CAPTURE_LIMIT: usize = 4 << 20;

/// How many lines the tail keeps.
const TAIL_LINES: usize = 60;

/// How much of one line the tail keeps, in bytes.
const LINE_LIMIT: usize = 2000;

/// The last lines of a stream of bytes, bounded in number and length.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl Tail {
    /// Adds bytes as they arrive.
    pub fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some((b'\n', line)) = piece.split_last() {
                self.grow(line);
                self.end_line();
            } else {
                self.grow(piece);
            }
        }
    }

    fn grow(&mut self, piece: &[u8]) {
        let room = LINE_LIMIT.saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial)
            .trim_end_matches('\r')
            .to_owned();
        self.partial.clear();
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Returns the lines, oldest first, an unfinished last one included.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.lines.iter().cloned().collect();
        if !self.partial.is_empty() {
            lines.push(String::from_utf8_lossy(&self.partial).into_owned());
        }
        lines
    }
}

/// Collects both streams of a child.
#[derive(Debug)]
pub struct Output {
    stdout: Vec<u8>,
    tail: Tail,
    log: Option<File>,
}

impl Output {
    /// Creates a collector that also writes to `log`.
    ///
    /// # Errors
    /// What the system says when the log cannot be opened.
    pub fn new(log: Option<&Path>) -> std::io::Result<Self> {
        let log = match log {
            Some(path) => Some(File::options().create(true).append(true).open(path)?),
            None => None,
        };
        Ok(Self {
            stdout: Vec::new(),
            tail: Tail::default(),
            log,
        })
    }

    /// Reads both streams until both have ended.
    pub async fn read(&mut self, streams: (Option<ChildStdout>, Option<ChildStderr>)) {
        let (mut stdout, mut stderr) = streams;
        let mut out = vec![0; 16 << 10];
        let mut err = vec![0; 16 << 10];
        while stdout.is_some() || stderr.is_some() {
            tokio::select! {
                count = read_some(&mut stdout, &mut out) => self.take(&out[..count], true),
                count = read_some(&mut stderr, &mut err) => self.take(&err[..count], false),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], is_stdout: bool) {
        if is_stdout {
            let room = CAPTURE_LIMIT.saturating_sub(self.stdout.len());
            self.stdout
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.tail.push(bytes);
        // A full disk must not stop a command half-way; the run notices it where it matters.
        if let Some(log) = self.log.as_mut() {
            drop(log.write_all(bytes));
        }
    }

    /// Returns the last lines of both streams, oldest first.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.tail.lines()
    }

    /// Returns what was captured of standard output.
    #[must_use]
    pub fn into_stdout(self) -> Vec<u8> {
        self.stdout
    }
}

/// Reads once; at the end or on an error the stream becomes `None`. Without a stream it never returns.
async fn read_some<R: AsyncRead + Unpin>(stream: &mut Option<R>, buffer: &mut [u8]) -> usize {
    let Some(reader) = stream else {
        return std::future::pending().await;
    };
    match reader.read(buffer).await {
        Ok(0) | Err(_) => {
            *stream = None;
            0
        }
        Ok(count) => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_bounded_in_lines_and_length() {
        let mut tail = Tail::default();
        for number in 0..1000 {
            tail.push(format!("line {number}\r\n").as_bytes());
        }
        tail.push(&vec![b'x'; 100_000]);
        let lines = tail.lines();
        assert_eq!(lines.len(), TAIL_LINES + 1);
        assert_eq!(lines[TAIL_LINES - 1], "line 999");
        assert_eq!(lines[TAIL_LINES].len(), LINE_LIMIT);
    }
}
