//! The holder: a process that has the locks of an app whose run is over, waits, and removes the app.
//!
//! It is a daemon in a session of its own that has none of the run's descriptors, so no pipeline waits for it. It is no
//! part of the run: neither in its control group nor marked as its child.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{Ended, Orders, READY, SAYS};
use crate::janitor::{self, Decision};
use crate::lifetime::worker::Signals;
use crate::report::file::close_hold;
use engine::dirs::RunDirs;
use engine::lock::heir::{Line, Received};
use engine::lock::{DomainLock, SectionLock};
use engine::swarm::Engine;
use engine::wait::Expiry;
use ground::error::chain;
use ground::name::{Domain, Zone};
use ground::outcome::Residual;

/// How long the run may take to say what is to be held.
const ORDERS_LIMIT: Duration = Duration::from_secs(30);

/// Why a hold ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndReason {
    Expired,
    Released,
    /// The run was killed before its report was written.
    Orphaned,
}

impl EndReason {
    fn in_words(self) -> &'static str {
        match self {
            Self::Expired => "its time was over",
            Self::Released => "released",
            Self::Orphaned => "its run was killed",
        }
    }
}

/// An app that this process holds.
struct Holding {
    orders: Orders,
    /// The locks of the app and then of those that it needs.
    apps: Vec<DomainLock>,
    /// Says that the run has a live process. The last to be let go.
    live: SectionLock,
    expiry: Expiry,
    signals: Signals,
}

/// Holds what the run at the other end of standard input hands over, until its time is over, until this process gets a
/// signal, or until the run is killed before its end; then removes it.
///
/// # Errors
/// What kept it from that, in words. What it had not removed then is the next janitor's.
pub async fn hold() -> Result<(), String> {
    let line = inherit().map_err(|error| format!("not started by a run: {error}"))?;
    hold_on(line).await
}

async fn hold_on(line: Line) -> Result<(), String> {
    let mut holding = match Holding::begin(&line).await {
        Ok(holding) => holding,
        Err(why) => {
            // Nobody may be there to hear it.
            drop(line.send(&why, &[]));
            return Err(why);
        }
    };
    line.send(READY, &[])
        .map_err(|error| format!("the run is gone: {error}"))?;
    let over = holding.wait(line).await;
    holding.end(over).await
}

/// Takes the line from the place of standard input.
fn inherit() -> io::Result<Line> {
    let end: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let null = ground::host_file::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    Line::of(end)
}

impl Holding {
    async fn begin(line: &Line) -> Result<Self, String> {
        let came = line.receive_within(ORDERS_LIMIT).await;
        let (orders, mut files) = match came.map_err(|error| error.to_string())? {
            Received::Message(orders, files) => (orders, files.into_iter()),
            Received::End => return Err("the run is gone".to_owned()),
        };
        let orders: Orders = serde_json::from_str(&orders).map_err(|error| error.to_string())?;
        let zone: Zone = orders.zone.parse().map_err(|error| format!("{error}"))?;
        let mut next = || files.next().ok_or("a lock is missing");
        // Before the locks are here, so that no signal ends this process with them.
        let signals = Signals::listen().map_err(|error| error.to_string())?;
        let says = format!(
            "{SAYS} {} until {} (pid {})",
            orders.run,
            orders.until,
            std::process::id()
        );
        let mut apps = Vec::new();
        for domain in &orders.domains {
            let domain = Domain::parse(domain, &zone).map_err(|error| error.to_string())?;
            let lock = DomainLock::inherited(next()?, &orders.host, &domain, &says);
            apps.push(lock.map_err(|error| chain(&error))?);
        }
        let live = SectionLock::inherited(next()?, &RunDirs::live_lock(&orders.root));
        Ok(Self {
            live: live.map_err(|error| chain(&error))?,
            expiry: Expiry::after(orders.span),
            apps,
            signals,
            orders,
        })
    }

    /// Waits until the hold is over.
    async fn wait(&mut self, line: Line) -> EndReason {
        let mut told = false;
        loop {
            tokio::select! {
                came = line.receive() => match came {
                    Ok(Received::Message(..)) => break,
                    Ok(Received::End) | Err(_) => return EndReason::Orphaned,
                },
                // The run removes what else it made and writes its report in peace.
                _ = self.signals.next() => told = true,
            }
        }
        drop(line);
        if told {
            return EndReason::Released;
        }
        tokio::select! {
            _ = self.signals.next() => EndReason::Released,
            // Without a timer there is no hold.
            _ = self.expiry.passed() => EndReason::Expired,
        }
    }

    /// Removes what was held, and says in the run's report how it ended.
    async fn end(self, over: EndReason) -> Result<(), String> {
        let Self {
            orders, apps, live, ..
        } = self;
        let mut left = Residual::default();
        let mut complaints = Vec::new();
        // What an app needs is on its network.
        for lock in apps.into_iter().rev() {
            let domain = lock.domain().clone();
            let decision = match Engine::connect(&orders.docker_host) {
                Ok(engine) => janitor::reap(&engine, &orders.host, lock).await,
                Err(error) => Decision::Failed(error),
            };
            match decision {
                Decision::Incomplete(residual) => {
                    for (kind, names) in residual.left {
                        left.add(&kind, names);
                    }
                }
                Decision::Failed(error) => complaints.push(format!("{domain}: {}", chain(&error))),
                Decision::Skipped(error) => complaints.push(format!("{domain}: {}", chain(&error))),
                Decision::Reaped | Decision::Gone | Decision::Live { .. } | Decision::Postponed => {
                }
            }
        }
        if !left.is_empty() {
            complaints.push(format!("would not go: {left}"));
        }
        let ended = Ended {
            at: Timestamp::now().to_string(),
            why: match complaints.is_empty() {
                true => over.in_words().to_owned(),
                false => format!("{}; {}", over.in_words(), complaints.join("; ")),
            },
        };
        let is_clean = complaints.is_empty();
        if over != EndReason::Orphaned
            && let Err(error) = close_hold(&orders.root.join("results.json"), ended, is_clean, left)
        {
            complaints.push(chain(&error));
        }
        if over != EndReason::Orphaned {
            for (path, error) in RunDirs::remove_working(&orders.root) {
                complaints.push(format!("`{}`: {error}", path.display()));
            }
        }
        drop(live);
        match complaints.is_empty() {
            true => {
                remove_if_empty(&log(&orders.root));
                Ok(())
            }
            false => Err(complaints.join("; ")),
        }
    }
}

/// Returns where a holder says what went wrong.
pub(crate) fn log(root: &Path) -> std::path::PathBuf {
    root.join("hold.log")
}

fn remove_if_empty(path: &Path) {
    if path.metadata().is_ok_and(|meta| meta.len() == 0) {
        drop(std::fs::remove_file(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::GO;
    use engine::dirs::HostDirs;
    use engine::lock::Probe;
    use engine::wait::Stopwatch;

    /// A run at its end, on an engine that is gone.
    struct Scene {
        _root: tempfile::TempDir,
        host: HostDirs,
        dirs: RunDirs,
        domain: Domain,
        near: Line,
        far: Line,
    }

    impl Scene {
        /// Makes one that has sent its orders, and has let go of its locks if it is over.
        fn new(span: Duration) -> Self {
            let root = tempfile::tempdir().unwrap();
            let host = HostDirs::with_locks(root.path());
            let dirs = RunDirs::create(&host, &"7".parse().unwrap()).unwrap();
            let domain = Domain::parse("note-0a1b2c.z", &"z".parse().unwrap()).unwrap();
            let (near, far) = Line::pair().unwrap();
            let orders = Orders {
                run: "7".to_owned(),
                root: dirs.root.clone(),
                host: host.clone(),
                zone: "z".to_owned(),
                domains: vec![domain.to_string()],
                docker_host: format!("unix://{}/no-engine", root.path().display()),
                span,
                until: "2026-12-01T15:04:05Z".to_owned(),
            };
            let app = DomainLock::of_test(&host, &domain);
            let path = RunDirs::live_lock(&dirs.root);
            let run = SectionLock::try_acquire(&path).unwrap().unwrap();
            let orders = serde_json::to_string(&orders).unwrap();
            near.send(&orders, &[app.locked(), run.locked()]).unwrap();
            app.locked().leave_to_heir();
            run.locked().leave_to_heir();
            Self {
                _root: root,
                host,
                dirs,
                domain,
                near,
                far: Line::of(far).unwrap(),
            }
        }

        fn is_free(&self) -> bool {
            DomainLock::probe(&self.host, &self.domain).unwrap() == Probe::Free
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_holder_whose_run_is_killed_before_its_end_lets_go() {
        let scene = Scene::new(Duration::from_secs(3600));
        assert!(!scene.is_free());
        let Scene {
            host,
            dirs,
            domain,
            near,
            far,
            _root,
        } = scene;
        let (ended, ()) = tokio::join!(hold_on(far), async {
            let came = near.receive_within(Duration::from_secs(60)).await.unwrap();
            assert!(matches!(came, Received::Message(text, _) if text == READY));
            match DomainLock::probe(&host, &domain).unwrap() {
                Probe::Held { holder, .. } => {
                    assert!(holder.starts_with("hold of run 7 until 2026-12-01T15:04:05Z"));
                }
                Probe::Free => panic!("nobody has it"),
            }
            drop(near);
        });
        // The engine is gone; what it left is the supervisor's, whose files it did not touch.
        assert!(ended.unwrap_err().contains(domain.as_str()));
        assert_eq!(DomainLock::probe(&host, &domain).unwrap(), Probe::Free);
        assert!(dirs.state.exists());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_time_of_a_hold_is_over_and_its_run_is_closed() {
        let span = Duration::from_millis(200);
        let watch = Stopwatch::start();
        let scene = Scene::new(span);
        scene.near.send(GO, &[]).unwrap();
        let Scene {
            host,
            dirs,
            domain,
            near,
            far,
            _root,
        } = scene;
        let ended = hold_on(far).await;
        assert!(watch.elapsed() >= span);
        // No engine, and no report either.
        assert!(ended.unwrap_err().contains("results.json"));
        assert_eq!(DomainLock::probe(&host, &domain).unwrap(), Probe::Free);
        assert!(!dirs.state.exists());
        drop(near);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_no_order_of_a_run_is_answered_with_why() {
        let (near, far) = Line::pair().unwrap();
        near.send("{}", &[]).unwrap();
        let why = hold_on(Line::of(far).unwrap()).await.unwrap_err();
        assert!(why.contains("missing field"), "{why}");
        match near.receive_within(Duration::from_secs(60)).await.unwrap() {
            Received::Message(said, _) => assert_eq!(said, why),
            Received::End => panic!("nothing was said"),
        }
    }
}
