//! The thread that obeys signals, and what it must not do.
//!
//! A run's worker has one thread for its events: a signal or the deadline is seen there. While that thread waits for a
//! disk, nothing is: a repository on a file system that stands still would make a run that cannot be cancelled. So a
//! repository's files and its objects are read on another thread, and the doors to them ([`crate::source_tree`],
//! [`crate::git`]) assert it wherever debug assertions are on, as they are in every test of this repository.
//!
//! [`crate::host_file`] does not: the run's own records and marks and `/proc` are read and written through it, a few KB
//! each, between two looks at a signal. They lie where the run writes its log and its report from the same thread, so a
//! disk of the host that stands still stops the run whatever this door says. What is large (archives) is read elsewhere.

use std::cell::Cell;

thread_local! {
    static OBEYS: Cell<bool> = const { Cell::new(false) };
}

/// Notes that this thread obeys signals from now on.
pub fn is_here() {
    OBEYS.set(true);
}

/// Asserts, where debug assertions are on, that `what` is not done on a thread that obeys signals.
#[track_caller]
pub fn assert_elsewhere(what: &str) {
    debug_assert!(
        !OBEYS.get(),
        "{what} on the thread that obeys signals: do it by `tokio::task::spawn_blocking`"
    );
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::git::tags::tags;
    use crate::git::testing::Fixture;
    use crate::source_tree::SourceTree;

    /// Returns whether `work` panics, on a thread that obeys signals or on another.
    fn panics(obeys: bool, root: PathBuf, work: fn(PathBuf)) -> bool {
        let work = move || {
            if obeys {
                super::is_here();
            }
            work(root);
        };
        std::thread::spawn(work).join().is_err()
    }

    #[test]
    fn neither_a_file_nor_an_object_of_a_repository_is_read_on_the_thread_that_obeys_signals() {
        let fixture = Fixture::new();
        fixture.commit(&[("compose.yml", "services: {}")]);
        let works: [fn(PathBuf); 3] = [
            |root| drop(SourceTree::open(&root).unwrap()),
            |root| {
                // Opened elsewhere, and read here.
                let tree = std::thread::spawn(move || SourceTree::open(&root).unwrap());
                tree.join().unwrap().text("compose.yml").unwrap();
            },
            |root| drop(tags(&root).unwrap()),
        ];
        for work in works {
            let root = fixture.path().to_owned();
            assert!(!panics(false, root.clone(), work));
            assert!(panics(true, root, work));
        }
    }
}
