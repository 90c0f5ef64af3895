//! The janitor and lock files without an app: many, one that is held, and one that gets an app meanwhile.

use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::{SwarmEnv, docker, names};
use crate::hold::Proxy;
use crate::support::binary;

/// Starts a way to the engine on which every listing of the volumes is counted and `before` is called with
/// its number, from 1, before the engine hears of it.
fn listings(path: &Path, before: impl Fn(usize) + Send + Sync + 'static) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    Proxy::through(path.to_owned(), move |request| {
        let line = request.split(|byte| *byte == b'\r').next().unwrap();
        if line.starts_with(b"GET ") && String::from_utf8_lossy(line).contains("/volumes") {
            before(counter.fetch_add(1, Ordering::SeqCst) + 1);
        }
        true
    });
    count
}

fn lock_file(env: &SwarmEnv, name: &str) -> PathBuf {
    env.write(&format!("locks/cc-ci-app-{name}.{}.lock", env.zone), "")
}

fn left(env: &SwarmEnv) -> Vec<String> {
    names(&env.root.join("locks"))
}

#[test]
fn a_thousand_free_lock_files_go_with_one_listing() {
    let mut env = SwarmEnv::new();
    let socket = env.root.join("engine.sock");
    let listings = listings(&socket, |_| {});
    env.set("DOCKER_HOST", format!("unix://{}", socket.display()));
    for number in 0..1000 {
        lock_file(&env, &format!("note-{number:06x}"));
    }
    let held = lock_file(&env, "note-fffffe");
    let lock = harness::host_file::open(&held).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test is a live owner")]
    lock.lock().unwrap();
    let foreign = lock_file(&env, "warm-notes");
    env.run(["janitor"]).expect(0);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(left(&env), [name(&held), name(&foreign)]);
    // One for all of them, which is that of the candidates, too; it was seven requests for each file.
    assert_eq!(listings.load(Ordering::SeqCst), 1);
}

/// A lock that is held is an open file: the janitor takes no more of them than it may have.
#[test]
fn few_descriptors_are_enough_for_many_lock_files() {
    let env = SwarmEnv::new();
    for number in 0..300 {
        lock_file(&env, &format!("note-{number:06x}"));
    }
    let mut command = env.program("prlimit");
    command.args(["--nofile=128", binary(), "janitor"]);
    env.follow(command).finish().expect(0);
    assert_eq!(left(&env), [""; 0]);
}

/// Between a listing that came first and the probe a run could come, make its app and die; then its lock
/// file would go with the app behind it. So the locks are taken before the engine is asked.
#[test]
fn free_locks_are_held_while_the_apps_are_listed() {
    let mut env = SwarmEnv::new();
    let file = lock_file(&env, "note-0a1b2c");
    let stack = format!("note-0a1b2c_{}", env.zone.replace('.', "_"));
    let label = format!("com.docker.stack.namespace={stack}");
    let volume = format!("{stack}_data");
    let socket = env.root.join("engine.sock");
    let held = Arc::new(AtomicUsize::new(0));
    let (seen, looked_at) = (Arc::clone(&held), file.clone());
    let listings = listings(&socket, move |number| {
        if number > 1 {
            return;
        }
        let lock = harness::host_file::open(&looked_at).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test is the run that comes")]
        if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        docker(&["volume", "create", "--label", &label, &volume]);
    });
    env.set("DOCKER_HOST", format!("unix://{}", socket.display()));
    let done = env.run(["janitor"]);
    done.expect(0);
    assert_eq!(held.load(Ordering::SeqCst), 1, "a free lock at the listing");
    // What the listing then shows is an app whose owner is dead.
    assert!(done.stdout.contains("note-0a1b2c"), "{}", done.stdout);
    assert!(listings.load(Ordering::SeqCst) > 1, "it is removed");
    assert_eq!(left(&env), [""; 0]);
    env.assert_nothing_left();
}
