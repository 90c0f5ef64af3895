//! An archive that comes in pieces, to be read by who blocks.

use std::io::{self, Read};

/// Pieces of an archive as a stream that blocks.
pub(super) struct Pieces {
    pub(super) receiver: tokio::sync::mpsc::Receiver<bytes::Bytes>,
    pub(super) piece: bytes::Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
