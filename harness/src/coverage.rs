//! Whether anything sweeps this host when no run does.
//!
//! A run that is killed with its supervisor leaves its app to the next sweep. On a host without a timer and
//! without a watcher the next sweep is the next run's, which may be weeks away.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::janitor::record::{SweepRecord, Sweeper, last};
use crate::janitor::units::TIMER;
use crate::report::human;
use crate::watch::{self, Heartbeat, State};
use engine::dirs::HostDirs;
use ground::error::chain;
use ground::name::Zone;

/// How old the last sweep of a timer, a cron job or a person may be: six times the timer's interval.
pub const TOO_OLD: Duration = Duration::from_secs(60 * 60);

/// How far in the future a sweep may have ended: clocks are set back by seconds, and one that was ahead by more says
/// nothing about when it was.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// What sweeps a zone of this host.
#[derive(Debug)]
pub struct Coverage {
    /// The last sweep of every sweeper, the newest first.
    pub sweeps: Vec<SweepRecord>,
    /// The watcher.
    pub watcher: State,
    /// Whether systemd starts the janitor.
    pub timer: bool,
    /// What could not be found out.
    pub unreadable: Vec<String>,
}

impl Coverage {
    /// Looks at what sweeps `zone`. `root` is the root of the file system: `/` but for tests.
    #[must_use]
    pub fn of(host: &HostDirs, zone: &Zone, root: &Path) -> Self {
        let mut unreadable = Vec::new();
        let mut sweeps = last(&host.state).unwrap_or_else(|error| {
            unreadable.push(error.to_string());
            Vec::new()
        });
        sweeps.retain(|sweep| sweep.zone == zone.as_str());
        let watcher = match watch::state(&host.state) {
            // Another zone's watcher does nothing for this one.
            Ok(State::Healthy(beat) | State::Died(Some(beat))) if beat.zone != zone.as_str() => {
                State::Absent
            }
            Ok(state) => state,
            Err(error) => {
                unreadable.push(chain(&error));
                State::Absent
            }
        };
        let timer = root
            .join("etc/systemd/system/timers.target.wants")
            .join(TIMER)
            .symlink_metadata()
            .is_ok();
        Self {
            sweeps,
            watcher,
            timer,
            unreadable,
        }
    }

    /// Returns the newest sweep of any process, and how long ago it ended.
    #[must_use]
    pub fn newest(&self) -> Option<(&SweepRecord, Duration)> {
        self.sweeps
            .iter()
            .find_map(|sweep| Some((sweep, age(sweep)?)))
    }

    /// Returns the newest sweep that was not a run's, and how long ago it was: what [`Self::gap`] goes by.
    #[must_use]
    pub fn newest_between_runs(&self) -> Option<(&SweepRecord, Duration)> {
        let mut between = self.between_runs();
        between.find_map(|sweep| Some((sweep, age(sweep)?)))
    }

    fn between_runs(&self) -> impl Iterator<Item = &SweepRecord> {
        self.sweeps.iter().filter(|sweep| sweep.by != Sweeper::Run)
    }

    /// Returns what is missing when nothing sweeps this zone, in words: `no timer, no watcher, …`.
    ///
    /// A sweep by hand counts for as long as one by a timer: what keeps the host clean is that it happens. Not so where
    /// a watcher died: however recent its last sweep or one by hand is, no other follows unless a timer is enabled.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        if matches!(&self.watcher, State::Healthy(beat) if !beat.failed) {
            return None;
        }
        let again = |sweep: &&SweepRecord| match &self.watcher {
            State::Died(_) => self.timer && sweep.by == Sweeper::Janitor,
            _ => true,
        };
        if matches!(self.between_runs().filter(again).find_map(age), Some(age) if age <= TOO_OLD) {
            return None;
        }
        let swept = match self.between_runs().find_map(age) {
            Some(age) => format!("the janitor last swept {} ago", human(age)),
            // What cannot be read may be its record.
            None if !self.unreadable.is_empty() => {
                "when the janitor last swept is not known".to_owned()
            }
            None if self.between_runs().any(|sweep| sweep.ended().is_some()) => {
                "the janitor's last sweep is recorded for a time to come (by a clock that was ahead)"
                    .to_owned()
            }
            None => "the janitor never swept".to_owned(),
        };
        let timer = if self.timer {
            format!("{TIMER} is enabled and does not come")
        } else {
            "no timer".to_owned()
        };
        let watcher = match &self.watcher {
            State::Healthy(beat) => {
                let last = beat.last.as_deref().unwrap_or("failed");
                format!("a watcher whose last sweep {last}")
            }
            State::Silent(_) => "a watcher that is silent".to_owned(),
            State::Died(beat) => died(beat.as_ref()),
            State::Absent => "no watcher".to_owned(),
        };
        Some(format!("{timer}, {watcher}, {swept}"))
    }

    /// Returns the banner for when nothing sweeps this zone.
    #[must_use]
    pub fn banner(&self) -> Option<String> {
        let nothing = if self.unreadable.is_empty() {
            "nothing sweeps this host"
        } else {
            "nothing is known to sweep this host"
        };
        self.gap().map(|gap| format!("!! {nothing}: {gap}; {FIX}"))
    }
}

/// Returns which watcher died and when it last said that it lives, in words.
#[must_use]
pub fn died(beat: Option<&Heartbeat>) -> String {
    let Some(beat) = beat else {
        return "a watcher that died and left a record that cannot be read".to_owned();
    };
    let at = match beat.beat_at.parse::<Timestamp>() {
        Ok(at) => format!("{at:.0} ({} ago)", human(beat.age().0)),
        Err(_) => "a time that cannot be read".to_owned(),
    };
    format!(
        "a watcher that died (pid {}, it last said that it lives at {at})",
        beat.process.pid
    )
}

/// What a person does about a host that nothing sweeps.
pub const FIX: &str =
    "`recipe-ci janitor install` writes a systemd timer, `recipe-ci janitor arm` starts a watcher";

/// Returns how long ago a sweep ended; nothing when its record does not say, or names a time to come.
fn age(sweep: &SweepRecord) -> Option<Duration> {
    let age = Timestamp::now().duration_since(sweep.ended()?);
    (age >= -AHEAD).then(|| age.max(SignedDuration::ZERO).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::janitor::Sweep;

    fn swept(host: &HostDirs, by: Sweeper, zone: &str, minutes: i64) {
        let mut record = SweepRecord::of(&Sweep::default(), by, &zone.parse().unwrap());
        record.at = (Timestamp::now() - SignedDuration::from_mins(minutes)).to_string();
        record.store(&host.state).unwrap();
    }

    #[test]
    fn only_a_recent_sweep_of_this_zone_by_other_than_a_run_counts() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let zone: Zone = "ci.localhost".parse().unwrap();
        let gap = || Coverage::of(&host, &zone, root.path()).gap();
        assert_eq!(
            gap().as_deref(),
            Some("no timer, no watcher, the janitor never swept")
        );
        swept(&host, Sweeper::Run, "ci.localhost", 0);
        assert!(gap().is_some(), "a run's sweep is no care");
        swept(&host, Sweeper::Janitor, "other.localhost", 0);
        assert!(gap().is_some(), "another zone's sweep");
        swept(&host, Sweeper::Janitor, "ci.localhost", 180);
        assert_eq!(
            gap().as_deref(),
            Some("no timer, no watcher, the janitor last swept 3 h 00 min ago")
        );
        swept(&host, Sweeper::Janitor, "ci.localhost", 59);
        assert_eq!(gap(), None);
    }

    #[test]
    fn a_sweep_of_a_time_to_come_counts_for_nothing_and_hides_no_other() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let zone: Zone = "ci.localhost".parse().unwrap();
        let coverage = || Coverage::of(&host, &zone, root.path());
        swept(&host, Sweeper::Janitor, "ci.localhost", -60);
        let gap = coverage().gap().unwrap();
        assert!(gap.contains("for a time to come"), "{gap}");
        assert!(coverage().newest().is_none());
        swept(&host, Sweeper::Watcher, "ci.localhost", 59);
        assert_eq!(coverage().gap(), None);
        std::fs::remove_file(host.state.join("last-sweep-watcher.json")).unwrap();
        // A clock that was set back a little.
        swept(&host, Sweeper::Janitor, "ci.localhost", -1);
        assert_eq!(coverage().gap(), None);
    }

    /// Its lock is held and it says that it lives, at every poll; only the sweeps do not happen.
    #[tokio::test(flavor = "current_thread")]
    async fn a_watcher_that_lives_and_cannot_sweep_is_no_care() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let zone: Zone = "ci.localhost".parse().unwrap();
        let gap = || Coverage::of(&host, &zone, root.path()).gap();
        for outcome in [Err("no engine".to_owned()), Ok("nothing to do".to_owned())] {
            let claimed = watch::Watcher::claim(&host.state, zone.as_str(), TOO_OLD, watch::POLL);
            let seen = std::cell::RefCell::new(None);
            let looked = async {
                let deadline = engine::wait::Deadline::after(Duration::from_secs(60));
                let look = Duration::from_millis(5);
                engine::wait::poll_until(deadline, look, || async {
                    let swept = watch::state(&host.state).unwrap();
                    Ok::<_, std::convert::Infallible>(match swept {
                        State::Healthy(beat) if beat.sweeps > 0 => engine::wait::Poll::Ready(()),
                        state => engine::wait::Poll::NotYet(format!("{state:?}")),
                    })
                })
                .await
                .unwrap();
                *seen.borrow_mut() = Some(gap());
            };
            let watcher = claimed.await.unwrap().unwrap();
            let ended = watcher.watch(|| async { outcome.clone() }, looked, |_| {});
            ended.await.unwrap();
            let wanted = outcome.is_err().then(|| {
                "no timer, a watcher whose last sweep failed: no engine, the janitor never swept"
                    .to_owned()
            });
            assert_eq!(seen.take(), Some(wanted));
        }
    }

    /// Its record is there and its lock is free.
    fn dead_watcher(host: &HostDirs, zone: &str) {
        let beat = serde_json::json!({
            "process": { "pid": 4711, "started": 1, "boot": "another" }, "lock": [0, 1], "zone": zone,
            "every_s": 600, "poll_ms": 10_000, "beat_at": "2026-11-29T15:00:00Z", "sweeps": 3, "last": null,
        });
        std::fs::create_dir_all(&host.state).unwrap();
        std::fs::write(watch::heartbeat_file(&host.state), beat.to_string()).unwrap();
    }

    #[test]
    fn after_a_watcher_died_no_sweep_is_recent_enough_but_that_of_a_timer() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let zone: Zone = "ci.localhost".parse().unwrap();
        let gap = || Coverage::of(&host, &zone, root.path()).gap();
        dead_watcher(&host, "ci.localhost");
        for by in [Sweeper::Watcher, Sweeper::Janitor] {
            swept(&host, by, "ci.localhost", 0);
            let gap = gap().unwrap();
            let died = "no timer, a watcher that died (pid 4711, it last said that it lives at 2026-11-29T15:00:00Z (";
            assert!(gap.starts_with(died), "{gap}");
        }
        let wants = root.path().join("etc/systemd/system/timers.target.wants");
        std::fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink("/nowhere", wants.join(TIMER)).unwrap();
        assert_eq!(gap(), None, "the timer sweeps");
        // It does not come, and only the watcher swept lately.
        swept(&host, Sweeper::Janitor, "ci.localhost", 180);
        assert!(gap().unwrap().contains("does not come"));
        dead_watcher(&host, "other.localhost");
        assert_eq!(gap(), None, "another zone's watcher");
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_never() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let zone: Zone = "ci.localhost".parse().unwrap();
        std::fs::create_dir_all(host.state.join("last-sweep-janitor.json")).unwrap();
        let banner = Coverage::of(&host, &zone, root.path()).banner().unwrap();
        assert!(banner.contains("nothing is known to sweep"), "{banner}");
        assert!(
            banner.contains("when the janitor last swept is not known"),
            "{banner}"
        );
    }

    #[test]
    fn a_live_watcher_of_this_zone_is_enough_and_a_timer_that_does_not_come_is_said() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let zone: Zone = "ci.localhost".parse().unwrap();
        let wants = root.path().join("etc/systemd/system/timers.target.wants");
        std::fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink("/nowhere", wants.join(TIMER)).unwrap();
        let banner = Coverage::of(&host, &zone, root.path()).banner().unwrap();
        assert!(banner.contains("is enabled and does not come"), "{banner}");
        assert!(banner.contains("janitor arm"), "{banner}");
    }
}
