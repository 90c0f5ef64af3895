//! Locks that go on in another process.
//!
//! A `flock` belongs to an open file and not to a process (`flock(2)`): it is held as long as any process has the file
//! open that was locked. So a lock is handed on by sending its descriptor (`SCM_RIGHTS` in `unix(7)`), and is never free
//! in between, whichever of the two processes is killed. What must not happen is that the first one unlocks it at its
//! end: [`Locked::leave_to_heir`].

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::place::{Inode, LockPath};
use super::{Found, Locked, Patience, flock};

/// How many locks one message has room for: those of an app, of its dependencies, and of the run.
const MOST: usize = 64;

/// How long a message may be, in bytes.
const LONGEST: usize = 64 << 10;

/// One end of the line between a process and its heir. Every message is read whole, as it was written: it is a socket for
/// packets, which tokio waits for as for any other.
#[derive(Debug)]
pub struct Line(UnixStream);

/// What came over a [`Line`].
#[derive(Debug)]
pub enum Received {
    /// A message, with the files that were sent with it.
    Message(String, Vec<OwnedFd>),
    /// The other end is closed: its process has ended, or wants no more.
    End,
}

impl Line {
    /// Makes a line; returns its near end, and the far one for another process.
    ///
    /// # Errors
    /// What the system says.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self::of(near)?, far))
    }

    /// Returns the end of a line that this process was given.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(end: OwnedFd) -> io::Result<Self> {
        let end = std::os::unix::net::UnixStream::from(end);
        end.set_nonblocking(true)?;
        UnixStream::from_std(end).map(Self)
    }

    /// Sends a message, with these locks. They are held by both processes once the other end has them.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::BrokenPipe`] when nobody is at the other end.
    pub fn send(&self, message: &str, locks: &[&Locked]) -> io::Result<()> {
        let files: Vec<_> = locks.iter().map(|lock| lock.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
            let why = format!("{} locks are more than {MOST}", files.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let text = [IoSlice::new(message.as_bytes())];
        sendmsg(&self.0, &text, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for a message, for so long at the most.
    ///
    /// # Errors
    /// What the system says, and [`io::ErrorKind::TimedOut`].
    pub async fn receive_within(&self, limit: Duration) -> io::Result<Received> {
        let received = tokio::time::timeout(limit, self.receive()).await;
        received.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// What the system says, and when it is no text, or longer than one may be.
    pub async fn receive(&self) -> io::Result<Received> {
        self.0.async_io(Interest::READABLE, || take(&self.0)).await
    }
}

fn take(end: &UnixStream) -> io::Result<Received> {
    let mut text = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let came = recvmsg(
        end,
        &mut [IoSliceMut::new(&mut text)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let files: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        })
        .flatten()
        .collect();
    if came
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::other("a message is longer than one may be"));
    }
    if came.bytes == 0 {
        return Ok(Received::End);
    }
    text.truncate(came.bytes);
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    Ok(Received::Message(text, files))
}

impl Locked {
    /// Has this process let the lock go without unlocking it: another process has it, too, and goes on with it.
    pub fn leave_to_heir(&self) {
        self.is_handed_on.set(true);
    }

    /// Returns the lock of the file at `path` that another process has sent.
    ///
    /// # Errors
    /// What the system says, and when it is the lock of another file, or none.
    pub(super) fn inherited(file: OwnedFd, path: &Path) -> io::Result<Self> {
        let file = File::from(file);
        if !LockPath::existing(path).names(Inode::of(&file)?)? {
            return Err(io::Error::other("another file is there"));
        }
        // Of an open file that is locked already this changes nothing.
        match flock(&file, Patience::Try)? {
            Found::Locked => Ok(Self::new(file)),
            _ => Err(io::Error::other("another process holds it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirs::HostDirs;
    use crate::lock::{DomainLock, Probe, SectionLock};
    use ground::name::Domain;

    fn place() -> (tempfile::TempDir, HostDirs, Domain) {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::with_locks(root.path());
        let domain = Domain::parse("note-0a1b2c.z", &"z".parse().unwrap()).unwrap();
        (root, host, domain)
    }

    async fn message(line: &Line) -> (String, Vec<OwnedFd>) {
        match line.receive_within(Duration::from_secs(60)).await.unwrap() {
            Received::Message(text, files) => (text, files),
            Received::End => panic!("the line ended"),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_lock_that_is_handed_on_is_held_until_its_heir_lets_go() {
        let (root, host, domain) = place();
        let lock = DomainLock::of_test(&host, &domain);
        let live = root.path().join("live.lock");
        let section = SectionLock::try_acquire(&live).unwrap().unwrap();
        let (near, far) = Line::pair().unwrap();
        near.send("orders", &[lock.locked(), section.locked()])
            .unwrap();
        let far = Line::of(far).unwrap();
        let (text, files) = message(&far).await;
        assert_eq!(text, "orders");
        let [of_app, of_run] = files.try_into().unwrap();
        let heir = DomainLock::inherited(of_app, &host, &domain, "hold of run 7").unwrap();
        let run = SectionLock::inherited(of_run, &live).unwrap();
        lock.locked().leave_to_heir();
        section.locked().leave_to_heir();
        drop((lock, section));
        match DomainLock::probe(&host, &domain).unwrap() {
            Probe::Held { holder, .. } => assert_eq!(holder, "hold of run 7"),
            Probe::Free => panic!("it is free with its first holder"),
        }
        assert!(SectionLock::try_acquire(&live).unwrap().is_none());
        drop((heir, run));
        assert_eq!(DomainLock::probe(&host, &domain).unwrap(), Probe::Free);
        assert!(SectionLock::try_acquire(&live).unwrap().is_some());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_no_lock_of_the_path_is_not_taken_for_one() {
        let (root, host, domain) = place();
        let (near, far) = Line::pair().unwrap();
        let far = Line::of(far).unwrap();
        let other = root.path().join("other");
        let section = SectionLock::try_acquire(&other).unwrap().unwrap();
        near.send("orders", &[section.locked()]).unwrap();
        let (_, mut files) = message(&far).await;
        let file = files.pop().unwrap();
        assert!(DomainLock::inherited(file, &host, &domain, "hold").is_err());
        // An open file of the right path that somebody else has locked.
        let lock = DomainLock::of_test(&host, &domain);
        let file = ground::host_file::open(host.lock_file(&domain)).unwrap();
        assert!(DomainLock::inherited(file.into(), &host, &domain, "hold").is_err());
        drop(lock);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_the_other_process_is_the_end_of_the_line() {
        let (near, far) = Line::pair().unwrap();
        let far = Line::of(far).unwrap();
        near.send("go", &[]).unwrap();
        drop(near);
        assert_eq!(message(&far).await.0, "go");
        assert!(matches!(far.receive().await.unwrap(), Received::End));
        assert!(far.send("late", &[]).is_err());
    }
}
