//! Time: deadlines, stopwatches and the only polling loop.
//!
//! Everything here is monotonic. Wall-clock time exists only in records.

use std::future::Future;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// A point in time by which something must have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns the deadline that is `span` from now.
    #[must_use]
    pub fn after(span: Duration) -> Self {
        // A span beyond what an Instant can hold (584 years) is as good as a century.
        let now = Instant::now();
        Self(
            now.checked_add(span)
                .unwrap_or_else(|| now + Duration::from_secs(3_155_760_000)),
        )
    }

    /// Returns the earlier of this deadline and `other`.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }

    /// Returns how much time is left; zero once it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Returns whether it has passed.
    #[must_use]
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// Returns the deadline as the instant that tokio's timers take.
    #[must_use]
    pub fn instant(self) -> tokio::time::Instant {
        self.0.into()
    }
}

/// A point in time that comes nearer while the machine sleeps, too (`CLOCK_BOOTTIME` in `clock_gettime(2)`): for what a
/// person was told the time of day of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry(Timespec);

impl Expiry {
    /// Returns the one that is `span` from now.
    #[must_use]
    pub fn after(span: Duration) -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let span = Timespec::try_from(span).unwrap_or(Timespec {
            tv_sec: i64::MAX / 2,
            tv_nsec: 0,
        });
        Self(now.checked_add(span).unwrap_or(span))
    }

    /// Waits until it has passed.
    ///
    /// # Errors
    /// What the system says when there is no timer to be had.
    pub async fn passed(self) -> std::io::Result<()> {
        let timer = timerfd_create(
            TimerfdClockId::Boottime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: self.0,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once)?;
        // A timer is no pipe, but what tokio does with one is the same: wait until it is readable.
        Receiver::from_owned_fd_unchecked(timer)?.readable().await
    }
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// What a condition found out about itself.
#[derive(Debug)]
pub enum Poll<T> {
    /// It holds.
    Ready(T),
    /// It does not hold yet; the text is reported if time runs out.
    NotYet(String),
}

/// Why a wait ended without success.
#[derive(Debug, thiserror::Error)]
pub enum WaitError<E> {
    /// The deadline passed first.
    #[error("timed out after {:.1} s; last seen: {last}", .elapsed.as_secs_f64())]
    TimedOut {
        /// How long was waited.
        elapsed: Duration,
        /// What the condition last said of itself.
        last: String,
    },
    /// The condition can never hold any more.
    #[error(transparent)]
    Failed(E),
}

/// Asks `condition` every `interval`, at once for the first time, until it holds, fails or `deadline`
/// passes; as in [`retry_while`], the last look is one after the deadline.
///
/// # Errors
/// [`WaitError::TimedOut`] with the last status, or [`WaitError::Failed`] with the condition's own error.
pub async fn poll_until<T, E, F>(
    deadline: Deadline,
    interval: Duration,
    condition: impl FnMut() -> F,
) -> Result<T, WaitError<E>>
where
    F: Future<Output = Result<Poll<T>, E>>,
{
    let watch = Stopwatch::start();
    let not_yet = |seen: &Result<Poll<T>, E>| matches!(seen, Ok(Poll::NotYet(_)));
    match retry_while(deadline, interval, not_yet, condition).await {
        Ok(Poll::Ready(value)) => Ok(value),
        Ok(Poll::NotYet(last)) => Err(WaitError::TimedOut {
            elapsed: watch.elapsed(),
            last,
        }),
        Err(error) => Err(WaitError::Failed(error)),
    }
}

/// Does `work` at once, and every `interval` again while `again` says so of its result, until `deadline` has passed;
/// returns the last result.
///
/// Whether the deadline has passed is asked before the work, so the last time is one after it: a process that the
/// machine held up does not take what it saw long ago for the state at the deadline.
pub async fn retry_while<T, F>(
    deadline: Deadline,
    interval: Duration,
    again: impl Fn(&T) -> bool,
    mut work: impl FnMut() -> F,
) -> T
where
    F: Future<Output = T>,
{
    loop {
        let is_last = deadline.passed();
        let result = work().await;
        if !again(&result) || is_last {
            return result;
        }
        pause(interval.min(deadline.left())).await;
    }
}

/// Blocks until `descriptor` has one of `events` or `limit` has passed; returns whether it has. An error or an end of it
/// is an event, too.
///
/// # Errors
/// What the system says when it cannot be asked.
pub fn is_ready(
    descriptor: BorrowedFd<'_>,
    events: PollFlags,
    limit: Duration,
) -> std::io::Result<bool> {
    let deadline = Deadline::after(limit);
    loop {
        let timeout = PollTimeout::try_from(deadline.left()).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(descriptor, events)], timeout) {
            Ok(0) if deadline.passed() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for `span`: the one timer behind every poll.
pub async fn pause(span: Duration) {
    #[expect(clippy::disallowed_methods, reason = "this module is the door")]
    tokio::time::sleep(span).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_timeout_reports_the_last_status() {
        let mut asked = 0;
        let result: Result<(), WaitError<std::convert::Infallible>> = poll_until(
            Deadline::after(Duration::from_millis(30)),
            Duration::from_millis(5),
            || {
                asked += 1;
                let status = format!("asked {asked}");
                async move { Ok(Poll::NotYet(status)) }
            },
        )
        .await;
        let text = result.unwrap_err().to_string();
        assert!(text.contains("last seen: asked "), "{text}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_expiry_passes_after_its_span_and_not_before() {
        let watch = Stopwatch::start();
        let span = Duration::from_millis(50);
        Expiry::after(span).passed().await.unwrap();
        assert!(watch.elapsed() >= span, "{:?}", watch.elapsed());
        Expiry::after(Duration::ZERO).passed().await.unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_condition_is_asked_even_when_the_deadline_has_passed() {
        let result: Result<u8, WaitError<std::convert::Infallible>> = poll_until(
            Deadline::after(Duration::ZERO),
            Duration::from_secs(9),
            || async { Ok(Poll::Ready(7)) },
        )
        .await;
        assert!(matches!(result, Ok(7)));
    }
}
