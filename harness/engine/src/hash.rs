//! A hash as something to write to.

use std::io;

use sha2::{Digest as _, Sha256};

/// Hashes what is written to it. `sha2` implements [`io::Write`] no longer since 0.11.
pub struct HashWriter<'a>(pub &'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
