//! What holds a run in a phase until the test has done what it came for.

use std::io::{Read as _, Write as _, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::engine::SOCKET;
use crate::support::locked;

/// A server that keeps every caller waiting for ever.
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

/// The engine's socket through this process, which can cut it, or keep one request for itself.
pub(crate) struct Proxy {
    path: PathBuf,
    open: Arc<Mutex<Option<Vec<UnixStream>>>>,
    reached: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) fn start(path: PathBuf) -> Self {
        Self::through(path, |_| true)
    }

    /// Every `from` of the harness's requests is a `to`, which must be as long.
    pub(crate) fn renaming(path: PathBuf, from: &'static str, to: &'static str) -> Self {
        assert_eq!(from.len(), to.len());
        Self::through(path, move |request| {
            let found: Vec<usize> = request
                .windows(from.len())
                .enumerate()
                .filter(|(_, window)| *window == from.as_bytes())
                .map(|(at, _)| at)
                .collect();
            for at in found {
                request[at..at + to.len()].copy_from_slice(to.as_bytes());
            }
            true
        })
    }

    /// Lets one request of the harness for each of `steps` pass, the head of which has all of its words, and holds the one
    /// of the last step: it is never answered, and the engine never hears of it. The docker client's requests pass.
    pub(crate) fn holding(path: PathBuf, steps: &'static [&'static [&'static str]]) -> Self {
        let done = AtomicUsize::new(0);
        Self::through(path, move |request| {
            let text = String::from_utf8_lossy(request);
            let step = done.load(Ordering::SeqCst);
            let words = steps[step.min(steps.len() - 1)];
            if text.contains("Docker-Client") || !words.iter().all(|word| text.contains(word)) {
                return true;
            }
            done.store(step + 1, Ordering::SeqCst);
            step + 1 < steps.len()
        })
    }

    /// Shows `pass` every request; the first one that it does not let pass is held. A request without a body is one
    /// write of the client.
    pub(crate) fn through(
        path: PathBuf,
        pass: impl Fn(&mut [u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let reached = Arc::new(AtomicBool::new(false));
        let (streams, held) = (Arc::clone(&open), Arc::clone(&reached));
        let pass = Arc::new(pass);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let mut open = locked(&streams);
                let Some(open) = open.as_mut() else { return };
                let far = UnixStream::connect(SOCKET).unwrap();
                let (mut back, mut out) = (far.try_clone().unwrap(), near.try_clone().unwrap());
                std::thread::spawn(move || {
                    drop(copy(&mut back, &mut out));
                    drop(out.shutdown(Shutdown::Write));
                });
                let (from, to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (held, pass) = (Arc::clone(&held), Arc::clone(&pass));
                std::thread::spawn(move || pass_on(from, to, &*pass, &held));
                open.extend([near, far]);
            }
        });
        Self {
            path,
            open,
            reached,
        }
    }

    /// What `DOCKER_HOST` has to be.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Whether the request came.
    pub(crate) fn reached(&self) -> bool {
        self.reached.load(Ordering::SeqCst)
    }

    /// The engine is gone: connections end, and there is nothing to connect to.
    pub(crate) fn cut(&self) {
        std::fs::remove_file(&self.path).unwrap();
        for stream in locked(&self.open).take().into_iter().flatten() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn pass_on(
    mut from: UnixStream,
    mut to: UnixStream,
    pass: &dyn Fn(&mut [u8]) -> bool,
    reached: &AtomicBool,
) {
    let mut buffer = [0; 64 << 10];
    while let Ok(count) = from.read(&mut buffer)
        && count > 0
    {
        let request = &mut buffer[..count];
        if !pass(request) && !reached.swap(true, Ordering::SeqCst) {
            return;
        }
        if to.write_all(request).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}
