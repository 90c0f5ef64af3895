//! The protocol of a domain's lock, as decisions: what comes next after what the last call found.
//!
//! Pure on purpose. [`DomainLock`](super::DomainLock) carries these steps out on the kernel; the tests in
//! `model` carry the same steps out on a model of the kernel, in every order in which three processes can
//! interleave and die. So a change of a step here shows what it breaks.

/// Whether a holder is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Patience {
    /// A probe: a live holder is left alone.
    Try,
    /// Until the lock is free.
    Wait,
}

/// A step on the way to the lock, or the end of that way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Acquire {
    /// Open whatever the path names now, made if there is nothing, and let go of what was open before.
    Open,
    /// `flock` what is open.
    Lock,
    /// Compare what is open and locked with what the path names.
    Compare,
    /// The end: the domain is owned.
    Own,
    /// The end: a live process holds the lock.
    Held,
}

/// What a step on the way to the lock found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Found {
    /// Something to lock is open.
    Opened,
    /// `flock` succeeded.
    Locked,
    /// `flock` says that another process has it; only [`Patience::Try`] hears this.
    Busy,
    /// A signal interrupted `flock`.
    Interrupted,
    /// The path names what is locked.
    Same,
    /// The path names something else, or nothing.
    Other,
}

impl Acquire {
    /// Where every acquisition begins.
    pub(super) const FIRST: Self = Self::Open;

    /// Returns what comes after this step.
    ///
    /// The comparison comes after `flock` and never before it: what the path names can change for as long
    /// as the lock is another process's. A file that the path no longer names was unlinked by a reaper that
    /// is done with it; its lock excludes no process, so the way begins again at the path.
    pub(super) fn next(self, found: Found) -> Self {
        match (self, found) {
            (Self::Open, _) | (Self::Lock, Found::Interrupted) => Self::Lock,
            (Self::Lock, Found::Busy) => Self::Held,
            (Self::Lock, _) => Self::Compare,
            (Self::Compare, Found::Same) => Self::Own,
            (Self::Compare, _) => Self::Open,
            (end @ (Self::Own | Self::Held), _) => end,
        }
    }
}

/// A step by which a reaper that owns a domain gives it up. A run has none: its end is its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Leave {
    /// See to it that there is no app: remove it, or list and find nothing.
    Clear,
    /// Unlink the lock file.
    Unlink,
    /// Close it, which releases the lock.
    Close,
    /// The end.
    Gone,
}

/// What is left of the app after a reaper saw to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Left {
    /// Nothing, by a listing that could be read.
    Nothing,
    /// Something, or it could not be listed.
    Something,
}

impl Leave {
    /// Where every reaper that owns a domain begins.
    pub(super) const FIRST: Self = Self::Clear;

    /// Returns what comes after this step, `left` being what the first one left.
    ///
    /// All of it happens before the release. Unlinking after it would take the file of the process that has locked
    /// it meanwhile away from under its path, and the next one would lock a new file beside it. A lock file
    /// outlives an app that would not go, so that people find both.
    pub(super) fn next(self, left: Left) -> Self {
        match (self, left) {
            (Self::Clear, Left::Nothing) => Self::Unlink,
            (Self::Clear, Left::Something) | (Self::Unlink, _) => Self::Close,
            (Self::Close | Self::Gone, _) => Self::Gone,
        }
    }
}
