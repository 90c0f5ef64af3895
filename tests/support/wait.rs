//! The tests' one polling loop, for what tells nobody when it changes: processes, files, the engine.

use std::time::{Duration, Instant};

/// Asks `ready` again and again until it answers; fails the test with `what` after `limit`.
#[track_caller]
pub(crate) fn wait_until<T>(
    limit: Duration,
    what: &str,
    mut ready: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        #[expect(clippy::disallowed_methods, reason = "the tests' one polling loop")]
        std::thread::sleep(Duration::from_millis(20));
    }
}
