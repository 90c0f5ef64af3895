//! What `recipe-ci run` does about processes and the lock, and nothing else: for `tests/bench/locks`.
//!
//!     lock LOCK-DIR DOMAIN [hold]
//!
//! Supervisor and worker arm their guards as in a run. The worker says
//! `waiting` when somebody has the lock and `acquired` when it is its own; then it ends, or holds it until a
//! signal comes.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use harness::dirs::HostDirs;
use harness::lifetime::supervisor::{Ended, Request, Side, supervise};
use harness::lifetime::worker::Signals;
use harness::lock::{Attempt, DomainLock};
use harness::name::{Domain, Zone};

fn main() -> ExitCode {
    let side = supervise(&Request {
        deadline: Duration::from_secs(600),
        teardown_budget: Duration::from_secs(60),
        detached: false,
    });
    let _notes = match side {
        Ok(Side::Worker(notes)) => notes,
        Ok(Side::Supervisor(Ended::Exited(code))) => return ExitCode::from(code),
        _ => return ExitCode::FAILURE,
    };
    let args: Vec<_> = std::env::args().skip(1).collect();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(own(
            &args[0],
            &args[1],
            args.get(2).is_some_and(|word| word == "hold"),
        ));
    ExitCode::SUCCESS
}

async fn own(locks: &str, domain: &str, hold: bool) {
    let mut signals = Signals::listen().unwrap();
    let zone: Zone = domain.split_once('.').unwrap().1.parse().unwrap();
    let domain = Domain::parse(domain, &zone).unwrap();
    let host = HostDirs {
        locks: PathBuf::from(locks),
        runs: PathBuf::new(),
        state: PathBuf::new(),
        rooms: PathBuf::new(),
        abra: PathBuf::new(),
        warm: PathBuf::new(),
    };
    let run = "bench".parse().unwrap();
    let _lock = match DomainLock::try_acquire(&host, &domain, &run).unwrap() {
        Attempt::Acquired(lock) => lock,
        Attempt::Held { .. } => {
            say("waiting");
            DomainLock::acquire(&host, &domain, &run).await.unwrap()
        }
    };
    say("acquired");
    if hold {
        signals.next().await;
    }
}

fn say(word: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{word}").and_then(|()| out.flush()).unwrap();
}
