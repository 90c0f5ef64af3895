//! What a child writes: a bounded capture, a tail for people, a log file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How much of standard output is kept, in bytes: far more than any listing, far less than memory.
const CAPTURE_LIMIT: usize = 4 << 20;

/// How many lines the tail keeps.
const TAIL_LINES: usize = 60;

/// How much of one line the tail keeps, in bytes.
const LINE_LIMIT: usize = 2000;

/// Which of its two streams a program wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// The last lines of a program's two streams, bounded in number and length.
///
/// Each stream has its own unfinished line: what arrives of one must not run into half a line of the other.
#[derive(Debug)]
pub struct Tail {
    most: usize,
    lines: VecDeque<String>,
    unfinished: [Vec<u8>; 2],
}

impl Default for Tail {
    fn default() -> Self {
        Self::of(TAIL_LINES)
    }
}

impl Tail {
    /// Returns the empty tail that keeps the last `most` lines.
    #[must_use]
    pub fn of(most: usize) -> Self {
        Self {
            most,
            lines: VecDeque::new(),
            unfinished: Default::default(),
        }
    }

    /// Adds bytes as they arrive.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some((b'\n', line)) = piece.split_last() {
                self.grow(stream, line);
                self.end_line(stream);
            } else {
                self.grow(stream, piece);
            }
        }
    }

    fn grow(&mut self, stream: Stream, piece: &[u8]) {
        let line = &mut self.unfinished[stream as usize];
        let room = LINE_LIMIT.saturating_sub(line.len());
        line.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn end_line(&mut self, stream: Stream) {
        let bytes = std::mem::take(&mut self.unfinished[stream as usize]);
        let line = String::from_utf8_lossy(&bytes)
            .trim_end_matches('\r')
            .to_owned();
        if self.lines.len() >= self.most {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Returns the lines, oldest first, unfinished last ones included.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let unfinished = self.unfinished.iter().filter(|line| !line.is_empty());
        let unfinished = unfinished.map(|line| String::from_utf8_lossy(line).into_owned());
        self.lines.iter().cloned().chain(unfinished).collect()
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
            Some(path) => Some(
                ground::host_file::options()
                    .create(true)
                    .append(true)
                    .open(path)?,
            ),
            None => None,
        };
        Ok(Self {
            stdout: Vec::new(),
            tail: Tail::default(),
            log,
        })
    }

    /// Reads both streams until both have ended.
    pub async fn read(
        &mut self,
        streams: (
            Option<impl AsyncRead + Unpin>,
            Option<impl AsyncRead + Unpin>,
        ),
    ) {
        let (mut stdout, mut stderr) = streams;
        let mut out = vec![0; 16 << 10];
        let mut err = vec![0; 16 << 10];
        while stdout.is_some() || stderr.is_some() {
            tokio::select! {
                count = read_some(&mut stdout, &mut out) => self.take(Stream::Out, &out[..count]),
                count = read_some(&mut stderr, &mut err) => self.take(Stream::Err, &err[..count]),
            }
        }
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Out {
            let room = CAPTURE_LIMIT.saturating_sub(self.stdout.len());
            self.stdout
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.tail.push(stream, bytes);
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
            tail.push(Stream::Out, format!("line {number}\r\n").as_bytes());
        }
        tail.push(Stream::Out, &vec![b'x'; 100_000]);
        let lines = tail.lines();
        assert_eq!(lines.len(), TAIL_LINES + 1);
        assert_eq!(lines[TAIL_LINES - 1], "line 999");
        assert_eq!(lines[TAIL_LINES].len(), LINE_LIMIT);
    }

    #[test]
    fn a_line_of_one_stream_does_not_run_into_half_a_line_of_the_other() {
        let mut tail = Tail::default();
        tail.push(Stream::Out, b"half");
        tail.push(Stream::Err, b"boom\n");
        tail.push(Stream::Out, b" and half\n");
        assert_eq!(tail.lines(), ["boom", "half and half"]);
    }
}
