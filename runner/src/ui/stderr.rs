//! Standard error, which may have no reader.
//!
//! A runner that hangs, a terminal that was stopped or an ssh client that went to sleep leaves its end open and
//! reads nothing. A write would then keep this process in the kernel, deaf to signals and to its deadline, with the
//! lock of its app in hand. So nothing is written before the system says that there is room; what finds none within
//! [`PATIENCE`] is dropped, and everything after it until there is room again. `run.log` has all of it.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::wait::is_ready;
use nix::poll::PollFlags;

/// How long a write waits for a reader: one that is busy for as long is rare, and a run loses no more than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much a pipe takes at once when it says that there is room (`PIPE_BUF` of Linux), in bytes.
const PIECE: usize = 4096;

/// How much of that is kept free for the words about what was dropped, in bytes.
const NOTICE: usize = 128;

/// How much was dropped since the last read, in bytes.
static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Standard error of this process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stderr;

/// Returns standard error for text with colours, which are left out where the user or the system wants none.
pub(crate) fn coloured() -> anstream::AutoStream<Box<dyn Write>> {
    let choice = anstream::AutoStream::choice(&io::stderr());
    anstream::AutoStream::new(Box::new(Stderr), choice)
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        let patience = match DROPPED.load(Ordering::Relaxed) {
            0 => PATIENCE,
            _ => Duration::ZERO,
        };
        if !has_room(stderr.as_fd(), patience) {
            DROPPED.fetch_add(bytes.len(), Ordering::Relaxed);
            return Ok(bytes.len());
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let said = format!(
                "\n!! {dropped} bytes of output were left out here, because they were not read in time; run.log has them\n"
            );
            stderr.lock().write_all(said.as_bytes())?;
        }
        let piece = &bytes[..bytes.len().min(PIECE - NOTICE)];
        stderr.lock().write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Standard error has no buffer.
        Ok(())
    }
}

/// Returns whether a write would not wait, or fail at once, within `patience`.
fn has_room(descriptor: BorrowedFd<'_>, patience: Duration) -> bool {
    // What cannot be asked is written to: the write meets the error, as of a reader that went away.
    is_ready(descriptor, PollFlags::POLLOUT, patience).unwrap_or(true)
}

/// The terminal of the live line, through [`Stderr`]: the line is drawn by a thread that holds what the console waits
/// for.
#[derive(Debug)]
pub(crate) struct Terminal;

impl Terminal {
    fn put(&self, text: fmt::Arguments<'_>) -> io::Result<()> {
        // At once: a line that is written piece by piece flickers.
        Stderr.write_all(text.to_string().as_bytes())
    }
}

impl indicatif::TermLike for Terminal {
    fn width(&self) -> u16 {
        let size = rustix::termios::tcgetwinsize(io::stderr());
        // As terminals were wide before they could say it.
        size.map_or(80, |size| size.ws_col).max(1)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        moved(n, |n| self.put(format_args!("\x1b[{n}A")))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        moved(n, |n| self.put(format_args!("\x1b[{n}B")))
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        moved(n, |n| self.put(format_args!("\x1b[{n}C")))
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        moved(n, |n| self.put(format_args!("\x1b[{n}D")))
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// To move by nothing is not to move: a terminal takes 0 for 1.
fn moved(n: usize, go: impl FnOnce(usize) -> io::Result<()>) -> io::Result<()> {
    if n == 0 { Ok(()) } else { go(n) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_has_no_room_and_one_whose_reader_left_is_written_to() {
        let (reader, mut writer) = io::pipe().unwrap();
        assert!(has_room(writer.as_fd(), Duration::ZERO));
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[b'x'; PIECE]).is_ok() {}
        assert!(!has_room(writer.as_fd(), Duration::from_millis(10)));
        drop(reader);
        // Another test's fork may hold the reader for a moment.
        assert!(has_room(writer.as_fd(), Duration::from_secs(60)));
    }
}
