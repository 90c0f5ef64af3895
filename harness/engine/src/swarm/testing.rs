//! Engines for tests, which answer as they are told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ground::label::NAMESPACE;
use ground::name::StackName;

pub use super::ask::testing::{Asked, hangs_up};

use super::Engine;
use super::teardown::IN_FLIGHT;
use crate::wait::Stopwatch;

/// Returns an engine that gives each request (`DELETE /v1.43/networks/n1 HTTP/1.1`) the status and body that
/// `answer` has for it.
pub fn engine(dir: &Path, answer: impl FnMut(&str) -> (u16, String) + Send + 'static) -> Engine {
    let socket = dir.join("engine.sock");
    let listener = UnixListener::bind(&socket).expect("a directory of the test's");
    let answer = Arc::new(Mutex::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // A client whose request was dropped while it connected keeps the connection, and asks nothing on it.
            std::thread::spawn(move || reply(stream, &answer));
        }
    });
    Engine::connect(&format!("unix://{}", socket.display())).expect("a socket of a file")
}

/// Answers one request, and hangs up for the status 0; `None` when there was none.
fn reply(mut stream: UnixStream, answer: &Mutex<impl FnMut(&str) -> (u16, String)>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let request = lines.next()?;
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let length = head.iter().find_map(|line| {
        let line = line.to_ascii_lowercase();
        line.strip_prefix("content-length:")?.trim().parse().ok()
    });
    // A socket that is closed with something unread takes the answer with it.
    reader.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
    let (status, body) = answer.lock().expect("no answer panics")(&request);
    if status == 0 {
        return None;
    }
    let length = body.len();
    let head = "Connection: close\r\nContent-Type: application/json";
    write!(
        stream,
        "HTTP/1.1 {status} -\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .ok()
}

/// What an engine says that has nothing of what is asked for.
pub(super) fn nothing(request: &str) -> (u16, String) {
    let body = if request.contains("/events") {
        // A stream that ends at once.
        ""
    } else if request.contains("/volumes") {
        "{}"
    } else {
        "[]"
    };
    (200, body.to_owned())
}

/// Returns an engine in which nothing of `stack` is until a moment after it was first asked: then there is a
/// network, until that is removed; and whether it has been.
pub fn late(dir: &Path, stack: StackName) -> (Engine, Arc<AtomicBool>) {
    let network = format!(
        r#"[{{"Id": "n1", "Name": "{stack}_net", "Labels": {{"{NAMESPACE}": "{stack}"}}}}]"#
    );
    let removed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&removed);
    let mut asked: Option<Stopwatch> = None;
    let engine = engine(dir, move |request| {
        let asked = asked.get_or_insert_with(Stopwatch::start);
        let there = asked.elapsed() >= IN_FLIGHT * 3 / 4 && !seen.load(Ordering::SeqCst);
        if request.starts_with("DELETE ") {
            assert!(request.contains("/networks/n1"), "{request}");
            seen.store(true, Ordering::SeqCst);
            (200, String::new())
        } else if request.contains("/networks") && there {
            (200, network.clone())
        } else {
            nothing(request)
        }
    });
    (engine, removed)
}

/// Returns an engine in which a volume of `stack` is in use for ever.
pub fn stuck(dir: &Path, stack: StackName) -> Engine {
    with_volume(dir, stack, || (409, "volume is in use"))
}

/// Returns an engine that has a volume of `stack`, and never answers its removal.
pub fn silent(dir: &Path, stack: StackName) -> Engine {
    with_volume(dir, stack, || {
        loop {
            std::thread::park();
        }
    })
}

/// Returns an engine that has a volume of `stack` until `removal` says 204; otherwise it says why it refuses.
pub(super) fn with_volume(
    dir: &Path,
    stack: StackName,
    mut removal: impl FnMut() -> (u16, &'static str) + Send + 'static,
) -> Engine {
    let volume = format!(
        r#"{{"Volumes": [{{"Name": "{stack}_data", "Driver": "local", "Mountpoint": "/v", "Scope": "local",
            "Options": {{}}, "Labels": {{"{NAMESPACE}": "{stack}"}}}}]}}"#
    );
    let mut there = true;
    engine(dir, move |request| {
        if request.starts_with("DELETE ") {
            let (status, reason) = removal();
            there = status != 204;
            (status, format!(r#"{{"message": "{reason}"}}"#))
        } else if request.contains("/volumes") && there {
            (200, volume.clone())
        } else {
            nothing(request)
        }
    })
}
