//! Contention for one lock, in a process of its own that starts no other.
//!
//! Beside tests that start programs this cannot be counted: between fork and exec a child has a copy of
//! every descriptor, so a lock that was just let go is held for a moment longer, and a round has no winner.
#![expect(
    clippy::unwrap_used,
    reason = "a failed setup step is a failed test; the lint knows only #[test] functions"
)]

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::lock::SectionLock;
use harness::watch::lock_file;

const CONTENDERS: usize = 40;
const ROUNDS: usize = 1000;

#[test]
fn of_forty_contenders_for_a_stale_lock_exactly_one_wins_a_thousand_times() {
    let root = tempfile::tempdir().unwrap();
    // What a dead watcher leaves: a lock file that is not held.
    std::fs::write(lock_file(root.path()), "").unwrap();
    let (start, done) = (Barrier::new(CONTENDERS), Barrier::new(CONTENDERS));
    let winners: Vec<AtomicUsize> = (0..ROUNDS).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..CONTENDERS {
            scope.spawn(|| contend(root.path(), &start, &done, &winners));
        }
    });
    for won in winners {
        assert_eq!(won.into_inner(), 1);
    }
}

fn contend(state: &Path, start: &Barrier, done: &Barrier, winners: &[AtomicUsize]) {
    for won in winners {
        start.wait();
        // Each opens the file for itself, so the kernel treats them as it treats processes.
        let lock = SectionLock::try_acquire(&lock_file(state)).unwrap();
        won.fetch_add(usize::from(lock.is_some()), Ordering::SeqCst);
        // None lets go before all have tried.
        done.wait();
        drop(lock);
    }
}
