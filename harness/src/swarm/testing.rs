//! Engines for tests, which answer as they are told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use super::Engine;

/// Returns an engine that gives each request (`DELETE /v1.43/networks/n1 HTTP/1.1`) the status and body that
/// `answer` has for it.
pub(crate) fn engine(
    dir: &std::path::Path,
    answer: impl FnMut(&str) -> (u16, String) + Send + 'static,
) -> Engine {
    let socket = dir.join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = Arc::new(Mutex::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // A client whose request was dropped while it connected keeps the connection, and asks nothing on it.
            std::thread::spawn(move || reply(stream, &answer));
        }
    });
    Engine::connect(&format!("unix://{}", socket.display())).unwrap()
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
    let (status, body) = answer.lock().unwrap()(&request);
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
