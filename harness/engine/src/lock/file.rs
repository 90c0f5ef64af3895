//! Locks of descriptors that are already open: of a directory, and of files that only their owner writes.
//!
//! `flock(2)` asks for no write permission, so that a process that may read a file may wait for its holder.

use std::fs::{File, TryLockError};
use std::io;

/// Waits until no other process has a lock of `file`, and returns it locked. Dropping the future gives up.
///
/// # Errors
/// What the system says.
pub(crate) async fn exclusive(file: File) -> io::Result<File> {
    wait(file, |file| {
        #[expect(clippy::disallowed_methods, reason = "this module is the door")]
        file.lock()
    })
    .await
}

/// Waits until no process has an exclusive lock of `file`, however many wait with us. Takes no lock itself.
///
/// # Errors
/// What the system says.
pub(crate) async fn released(file: File) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    wait(file, File::lock_shared).await.map(drop)
}

/// Takes an exclusive lock of a file that no other process can have open yet.
///
/// # Errors
/// What the system says; that the file is locked is a mistake of ours, and an error too.
pub(crate) fn own(file: &File) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    file.try_lock().map_err(io::Error::from)
}

/// Takes an exclusive lock of `file`, or returns nothing when another process has one. It is let go when what is
/// returned is dropped.
///
/// # Errors
/// What the system says.
pub fn try_exclusive(file: File) -> io::Result<Option<super::Locked>> {
    loop {
        #[expect(clippy::disallowed_methods, reason = "this module is the door")]
        match file.try_lock() {
            Ok(()) => return Ok(Some(super::Locked::new(file))),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Returns whether a process has an exclusive lock of `file`.
///
/// # Errors
/// What the system says.
pub(crate) fn is_held(file: &File) -> io::Result<bool> {
    loop {
        #[expect(clippy::disallowed_methods, reason = "this module is the door")]
        match file.try_lock_shared() {
            Ok(()) => return file.unlock().map(|()| false),
            Err(TryLockError::WouldBlock) => return Ok(true),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Blocks in the kernel on a thread of its own, as [`super::wait_for`] does and for the same reasons.
async fn wait(file: File, lock: fn(&File) -> io::Result<()>) -> io::Result<File> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let block = move || loop {
        match lock(&file) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(|()| file),
        }
    };
    std::thread::Builder::new()
        .name("lock-wait".to_owned())
        .stack_size(64 << 10)
        .spawn(move || drop(sender.send(block())))?;
    receiver
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the waiting thread ended")))
}
