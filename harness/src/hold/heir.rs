//! The holder, as the run sees it that hands its locks on.

use std::rc::Rc;

use super::GO;
use engine::lock::heir::Line;
use engine::lock::{DomainLock, SectionLock};

/// A process that has the locks of the app as well. When this process ends without a word it removes the app.
#[derive(Debug)]
pub(crate) struct Heir {
    line: Line,
    apps: Vec<Rc<DomainLock>>,
    run: Rc<SectionLock>,
}

impl Heir {
    /// Returns the one at the other end of `line`, which has these locks.
    pub(crate) fn new(line: Line, apps: Vec<Rc<DomainLock>>, run: Rc<SectionLock>) -> Self {
        Self { line, apps, run }
    }

    /// Returns whether it has this lock.
    pub(crate) fn has(&self, lock: &Rc<DomainLock>) -> bool {
        self.apps.iter().any(|one| Rc::ptr_eq(one, lock))
    }

    /// Has it hold the app from now on: the run is over.
    pub(crate) fn take_over(self) {
        for app in &self.apps {
            app.locked().leave_to_heir();
        }
        self.run.locked().leave_to_heir();
        // If it was killed, the locks are free at the end of this process, and the next sweep removes the app.
        if let Err(error) = self.line.send(GO, &[]) {
            tracing::warn!(%error, "the holder is gone");
        }
    }
}
