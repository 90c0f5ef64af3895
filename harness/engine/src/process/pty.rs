//! A terminal for a program that refuses to work without one.

use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use tokio::net::unix::pipe;

/// Our end of a terminal. Reading it ends with an error once the last program has closed the other end.
pub(super) type Ours = pipe::Receiver;

/// Both ends of a terminal.
#[derive(Debug)]
pub(super) struct Pty {
    /// What the program writes arrives here.
    pub(super) ours: Ours,
    /// What becomes the program's standard streams.
    pub(super) theirs: OwnedFd,
}

/// Wide enough that no table is wrapped or cut.
const SIZE: Winsize = Winsize {
    ws_row: 50,
    ws_col: 400,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

/// Opens a terminal.
///
/// # Errors
/// What the system says, for instance that there are no more terminals.
pub(super) fn open() -> std::io::Result<Pty> {
    let pair = openpty(Some(&SIZE), None)?;
    for end in [&pair.master, &pair.slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    fcntl(
        &pair.master,
        FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK),
    )?;
    // A terminal is no pipe, but what tokio does with one is the same: read when it is readable.
    Ok(Pty {
        ours: pipe::Receiver::from_owned_fd_unchecked(pair.master)?,
        theirs: pair.slave,
    })
}
