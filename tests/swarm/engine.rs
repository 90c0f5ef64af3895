//! The engine as the tests see it: what is left of a zone, and how many tests use it at once.

use std::cell::Cell;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use crate::support::{TestEnv, command};
use crate::wait::wait_for;

/// Where the engine is.
pub(crate) const SOCKET: &str = "/var/run/docker.sock";

/// How many tests use the engine at once, however many cores there are.
const SLOTS: usize = 6;

thread_local! {
    /// Whether the test of this thread has an environment.
    static HAS_SLOTS: Cell<bool> = const { Cell::new(false) };
}

/// What an engine holds: the request that lists it, where the list is in the answer, and where a name is in an entry.
const KINDS: [(&str, &str, &str, &str); 6] = [
    ("service", "/services", "", "/Spec/Name"),
    ("container", "/containers/json?all=true", "", "/Names/0"),
    ("network", "/networks", "", "/Name"),
    ("volume", "/volumes", "/Volumes", "/Name"),
    ("secret", "/secrets", "", "/Spec/Name"),
    ("config", "/configs", "", "/Spec/Name"),
];

/// An environment with the engine, one of [`SLOTS`] at a time.
pub(crate) struct SwarmEnv {
    env: TestEnv,
    _slots: Vec<File>,
}

impl std::ops::Deref for SwarmEnv {
    type Target = TestEnv;

    fn deref(&self) -> &TestEnv {
        &self.env
    }
}

impl std::ops::DerefMut for SwarmEnv {
    fn deref_mut(&mut self) -> &mut TestEnv {
        &mut self.env
    }
}

impl Drop for SwarmEnv {
    fn drop(&mut self) {
        HAS_SLOTS.set(false);
    }
}

impl SwarmEnv {
    /// Waits for a slot and creates the environment. Without an engine the test fails: it would prove
    /// nothing.
    pub(crate) fn new() -> Self {
        Self::with(|| vec![free_slot()])
    }

    /// Waits for as many slots as the test has runs at once.
    pub(crate) fn of(runs: usize) -> Self {
        Self::with(|| {
            // One test at a time: two that have some of theirs would wait for each other for ever.
            let _turn = slot("many");
            (0..runs).map(|_| free_slot()).collect()
        })
    }

    fn with(slots: impl FnOnce() -> Vec<File>) -> Self {
        // Tests that wait for a second slot with one in hand wait for each other for ever.
        assert!(
            !HAS_SLOTS.replace(true),
            "a test has one environment at a time: drop the other first"
        );
        let slots = slots();
        // Once: the engine starts two programs to answer.
        static STATE: LazyLock<Value> =
            LazyLock::new(|| ask("/info")["Swarm"]["LocalNodeState"].clone());
        assert_eq!(
            *STATE, "active",
            "these tests need an engine whose swarm is active; tests/run prepares one"
        );
        let mut env = TestEnv::new(&format!("unix://{SOCKET}"));
        // As tests/on_ci has it; SOCKET is that engine's then.
        if let Some(shared) = crate::support::variable("RECIPE_CI_TEST_ENGINE") {
            go_to_ci(&mut env, Path::new(&shared));
        }
        env.sweep = Some(sweep);
        Self { env, _slots: slots }
    }

    /// Asserts that nothing of this test's zone is left anywhere.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let left = objects_of(&self.zone);
        assert!(left.is_empty(), "left on the engine: {left:?}");
        self.assert_quiet();
    }

    /// Writes an overlay's file for a recipe, and gives every run the overlays.
    pub(crate) fn overlay(&mut self, recipe: &str, path: &str, text: &str) {
        self.write(&format!("overlays/{recipe}/{path}"), text);
        let dir = self.root.join("overlays").display().to_string();
        self.set("CCCI_TESTS_DIR", dir);
    }

    /// Gives a recipe a test or hook, at `path` of its overlay, that says that it has begun and then waits for a line
    /// in the pipe `fifo`; returns the file that is there from its beginning on.
    pub(crate) fn hold(&mut self, recipe: &str, path: &str) -> PathBuf {
        let reached = self.root.join("reached");
        let (begun, pipe) = (reached.display(), self.fifo());
        let text = format!("#!/bin/sh\n: >{begun}\nread -r go <{}\n", pipe.display());
        self.overlay(recipe, path, &text);
        reached
    }

    /// Returns the pipe `fifo` below the root, where programs wait for [`SwarmEnv::release`]; makes it where there is
    /// none yet.
    pub(crate) fn fifo(&self) -> PathBuf {
        let path = self.root.join("fifo");
        if !path.exists() {
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        path
    }

    /// Lets what waits for a line in the pipe go on, now or when it gets there; it must stay open until it has been read.
    pub(crate) fn release(&self) -> File {
        // For reading, too: to open a pipe without a reader would wait for ever.
        let pipe = harness::host_file::options()
            .read(true)
            .write(true)
            .open(self.root.join("fifo"));
        let mut pipe = pipe.unwrap();
        pipe.write_all(b"go on\n").unwrap();
        pipe
    }
}

/// Has every run go to the engine of the state directory `shared`, which is CI's own, with the places of this test.
fn go_to_ci(env: &mut TestEnv, shared: &Path) {
    let state = env.root.join("state");
    let engine = state.join("engine");
    std::fs::create_dir_all(engine.join("socket")).expect("the root is new");
    let ours = [
        (shared.join("engine/record.json"), "record.json"),
        (shared.join("engine/block"), "block"),
        (state.clone(), "state"),
        (env.root.join("warm"), "warm"),
        (SOCKET.into(), "socket/docker.sock"),
    ];
    for (from, to) in ours {
        std::os::unix::fs::symlink(from, engine.join(to)).expect("it can be made");
    }
    // A lock is never a link.
    let lock = std::fs::hard_link(shared.join("engine.lock"), state.join("engine.lock"));
    lock.expect("the engine's state directory is on the file system of temporary directories");
    env.set("CCCI_ENGINE", "ci");
}

/// Waits for one lock of the engine.
fn slot(name: &str) -> File {
    let file = slot_file(name);
    #[expect(clippy::disallowed_methods, reason = "the tests' door")]
    file.lock().expect("flock works");
    file
}

/// Waits for whichever of the engine's slots is free first. To give each test the next one in turn left slots
/// idle beside tests that waited for a longer one: a fifth of the time of them all.
fn free_slot() -> File {
    let files: Vec<_> = (0..SLOTS)
        .map(|number| slot_file(&number.to_string()))
        .collect();
    let free = || {
        files.iter().position(|file| {
            #[expect(clippy::disallowed_methods, reason = "the tests' door")]
            match file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(error)) => panic!("flock: {error}"),
            }
        })
    };
    // Whatever waits behind the storm, or behind all tests of another process, waits for long.
    let found =
        wait_for(Duration::from_secs(3600), free).expect("a slot of the engine within an hour");
    files.into_iter().nth(found).expect("it is one of them")
}

fn slot_file(name: &str) -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("engine-slot-{name}"));
    File::create(path).expect("the target directory is writable")
}

/// Returns the names in a directory, in order.
#[track_caller]
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = harness::host_file::entries(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Returns the id of what the engine has under an image's name.
#[track_caller]
pub(crate) fn id_of(image: &str) -> String {
    docker(&["image", "inspect", "--format", "{{.Id}}", image])
}

/// Returns the engine's answer to a GET. Every test asks a dozen times what there is: `docker` for each of these was an
/// eighth of what all tests together computed.
#[track_caller]
fn ask(path: &str) -> Value {
    let mut stream = UnixStream::connect(SOCKET).expect("an engine answers");
    // Of this version an answer ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
    assert!(head.contains(" 200 OK"), "{path}: {answer}");
    serde_json::from_str(body).unwrap()
}

/// Runs `docker` and returns what it prints.
#[track_caller]
pub(crate) fn docker(args: &[&str]) -> String {
    let output = command("docker")
        .args(args)
        .output()
        .expect("docker starts");
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Returns `service NAME` and so on for everything whose name holds the zone.
pub(crate) fn objects_of(zone: &str) -> Vec<String> {
    let part = zone.replace('.', "_");
    let mut found = Vec::new();
    for (kind, path, list, name) in KINDS {
        let answer = ask(path);
        let all = answer.pointer(list).and_then(Value::as_array);
        // A container that is being removed may have lost its name.
        let all = all.into_iter().flatten();
        let names = all.filter_map(|one| one.pointer(name).and_then(Value::as_str));
        let ours = names.filter(|name| name.contains(&part));
        let ours = ours.map(|name| format!("{kind} {}", name.trim_start_matches('/')));
        let mut ours: Vec<String> = ours.collect();
        ours.sort();
        found.extend(ours);
    }
    found
}

/// Removes what a test left: witnesses, or what its failure stopped it from removing.
fn sweep(zone: &str) {
    // Networks and volumes go once their containers are gone.
    wait_for(Duration::from_secs(60), || {
        let objects = objects_of(zone);
        for object in &objects {
            let (kind, name) = object.split_once(' ').expect("a kind and a name");
            let force: &[&str] = match kind {
                // With the volumes that have no name: nothing else leads to them.
                "container" => &["rm", "-f", "-v"],
                "volume" => &["rm", "-f"],
                _ => &["rm"],
            };
            // A failed test may fail to clean up as well; it has said so already.
            drop(command("docker").arg(kind).args(force).arg(name).output());
        }
        objects.is_empty().then_some(())
    });
}
