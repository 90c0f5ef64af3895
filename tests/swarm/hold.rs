//! What holds a run in a phase until the test has done what it came for.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::locked;

/// A server that keeps whoever asks waiting for ever.
pub(crate) struct Server {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    asked: Arc<AtomicBool>,
    waiting: Arc<Mutex<Vec<TcpStream>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let server = Self {
            address,
            asked: Arc::default(),
            waiting: Arc::default(),
        };
        let (asked, waiting) = (Arc::clone(&server.asked), Arc::clone(&server.waiting));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, waiting) = (Arc::clone(&asked), Arc::clone(&waiting));
                std::thread::spawn(move || serve(stream, &asked, &waiting));
            }
        });
        server
    }

    /// Whether somebody waits.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        locked(&self.waiting).clear();
    }
}

/// Refuses TLS, answers the engine's greeting of a registry, and holds everything else.
fn serve(mut stream: TcpStream, asked: &AtomicBool, waiting: &Mutex<Vec<TcpStream>>) {
    let mut head = [0; 512];
    let Ok(length) = stream.read(&mut head) else {
        return;
    };
    if length == 0 || head[0] == 0x16 {
        return;
    }
    if head.starts_with(b"GET /v2/ ") {
        let answer = b"HTTP/1.1 200 OK\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
            Content-Length: 0\r\nConnection: close\r\n\r\n";
        drop(stream.write_all(answer));
        return;
    }
    locked(waiting).push(stream);
    asked.store(true, Ordering::SeqCst);
}
