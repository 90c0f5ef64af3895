//! The janitor and lock files without an app: many, one that is held, and one that gets an app meanwhile.

use std::fs::File;
use std::io::{Read as _, Write as _, copy};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::{SOCKET, SwarmEnv, docker, objects_of};
use crate::support::binary;

/// Starts a way to the engine on which every listing of the volumes is counted and `before` is called with
/// its number, from 1, before the engine hears of it.
fn listings(path: &Path, before: impl Fn(usize) + Send + Sync + 'static) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(path).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let (counter, before) = (Arc::clone(&count), Arc::new(before));
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = UnixStream::connect(SOCKET).unwrap();
            let (mut back, mut out) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || {
                drop(copy(&mut back, &mut out));
                drop(out.shutdown(Shutdown::Write));
            });
            let (counter, before) = (Arc::clone(&counter), Arc::clone(&before));
            std::thread::spawn(move || forward(near, far, &counter, &*before));
        }
    });
    count
}

fn forward(mut near: UnixStream, mut far: UnixStream, count: &AtomicUsize, before: &dyn Fn(usize)) {
    let mut buffer = [0; 16 << 10];
    while let Ok(n) = near.read(&mut buffer)
        && n > 0
    {
        // A request without a body is one write of the client.
        let line = buffer[..n].split(|byte| *byte == b'\r').next().unwrap();
        if line.starts_with(b"GET ") && String::from_utf8_lossy(line).contains("/volumes") {
            before(count.fetch_add(1, Ordering::SeqCst) + 1);
        }
        if far.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    drop(far.shutdown(Shutdown::Write));
}

fn lock_file(env: &SwarmEnv, name: &str) -> PathBuf {
    env.write(&format!("locks/cc-ci-app-{name}.{}.lock", env.zone), "")
}

fn left(env: &SwarmEnv) -> Vec<String> {
    let entries = std::fs::read_dir(env.root.join("locks")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_thousand_free_lock_files_go_with_a_few_listings() {
    let mut env = SwarmEnv::new();
    let socket = env.root.join("engine.sock");
    let listings = listings(&socket, |_| {});
    env.set("DOCKER_HOST", format!("unix://{}", socket.display()));
    for number in 0..1000 {
        lock_file(&env, &format!("note-{number:06x}"));
    }
    let held = lock_file(&env, "note-fffffe");
    let lock = File::open(&held).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test is a live owner")]
    lock.lock().unwrap();
    let foreign = lock_file(&env, "warm-notes");
    env.run(["janitor"]).expect(0);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(left(&env), [name(&held), name(&foreign)]);
    // One for the candidates and one for each batch; it was one for each file.
    let count = listings.load(Ordering::SeqCst);
    assert!((2..=8).contains(&count), "{count} listings");
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

/// Between the listing of the candidates and the probe a run may come, make its app and die.
#[test]
fn a_lock_file_that_gets_an_app_during_the_sweep_keeps_it() {
    let mut env = SwarmEnv::new();
    let file = lock_file(&env, "note-0a1b2c");
    let volume = format!("note-0a1b2c_{}_data", env.zone.replace('.', "_"));
    let socket = env.root.join("engine.sock");
    let listings = listings(&socket, move |number| {
        if number == 2 {
            docker(&["volume", "create", &volume]);
        }
    });
    env.set("DOCKER_HOST", format!("unix://{}", socket.display()));
    env.run(["janitor"]).expect(0);
    assert_eq!(listings.load(Ordering::SeqCst), 2);
    assert!(file.exists(), "the file went with an app behind it");
    assert_eq!(objects_of(&env.zone).len(), 1);
    env.run(["janitor"]).expect(0);
    assert_eq!(left(&env), [""; 0]);
    env.assert_nothing_left();
}
