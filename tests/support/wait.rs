//! The tests' one polling loop, for what does not report its changes: processes, files, the engine.

use std::time::{Duration, Instant};

/// Asks `ready` again and again until it answers; fails the test with `what` after `limit`.
#[track_caller]
pub(crate) fn wait_until<T>(limit: Duration, what: &str, ready: impl FnMut() -> Option<T>) -> T {
    wait_for(limit, ready).unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
}

/// Asks `ready` again and again until it answers or `limit` has passed.
pub(crate) fn wait_for<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = ready();
        if found.is_some() || start.elapsed() >= limit {
            return found;
        }
        #[expect(clippy::disallowed_methods, reason = "the tests' one polling loop")]
        std::thread::sleep(Duration::from_millis(20));
    }
}
