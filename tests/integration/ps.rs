//! What `ps` shows of a run and of a lock that is no run's, with real processes and without an engine.

use std::net::TcpListener;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::support::{TestEnv, binary, is_locked};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn ps_watch_looks_again_until_it_is_ended_and_shows_pull_requests_and_locks_of_others() {
    let mut env = TestEnv::new("unix:///nonexistent/docker.sock");
    // As another harness would hold it: no run on the roster has that domain, and the file says nothing.
    let domain = format!("note-012345.{}", env.zone);
    let lock = env.write(&format!("locks/cc-ci-app-{domain}.lock"), "");
    let mut flock = env.program("flock");
    flock.arg("--no-fork").arg(&lock).args(["sleep", "600"]);
    let _other = env.follow(flock);
    wait_until(LONG, "the lock is held", || is_locked(&lock).then_some(()));
    // It connects, and no answer ever comes: the run stays in its fetch.
    let forge = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/alice/notes.git", forge.local_addr().unwrap());
    env.set("PR", "12");
    env.set(
        "CCCI_FORGES",
        format!("http://{}", forge.local_addr().unwrap()),
    );
    let run = env.start(["run", "--src", &url]);
    run.wait_line("] fetch");

    let mut watch = env.program("sh");
    watch.args(["-c", "exec \"$0\" ps --watch --json >looks", binary()]);
    let watch = env.follow(watch);
    // The last line may be half there.
    let looks = || -> Vec<Value> {
        let text = harness::host_file::text(env.root.join("looks")).unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let first = wait_until(LONG, "it shows the run in its fetch", || {
        let mut looks = looks().into_iter();
        looks.find(|look| look["runs"][0]["phase"] == "fetch")
    });
    assert_eq!(first["runs"].as_array().unwrap().len(), 1, "{first:#}");
    assert_eq!(first["runs"][0]["pr"], "12", "{first:#}");
    let held = &first["held_by_others"];
    assert_eq!(held.as_array().unwrap().len(), 1, "{first:#}");
    assert_eq!(held[0]["domain"], *domain);
    assert_eq!(held[0]["holder"], "");
    assert!(held[0]["held_for_s"].is_u64(), "{first:#}");

    let table = env.run(["ps"]).stdout;
    let row = table.lines().find(|line| line.contains(" notes "));
    let pr = row.and_then(|row| row.split_whitespace().nth(2));
    assert_eq!(pr, Some("12"), "{table}");
    let line = format!("held: {domain} by an unknown process, for ");
    assert!(table.contains(&line), "{table}");

    kill(run.pid, Signal::SIGTERM).unwrap();
    run.finish().expect(143);
    wait_until(LONG, "it looks again, and the run is gone", || {
        looks()
            .last()
            .is_some_and(|look| look["runs"] == json!([]))
            .then_some(())
    });
    kill(watch.pid, Signal::SIGTERM).unwrap();
    // Its last look decides: without an engine what leaked is unknown.
    watch.finish().expect(3);
    assert!(looks().len() >= 2);
}
