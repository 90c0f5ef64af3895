//! For the tests of this module: a git server on the loopback, and what it serves.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use git2::{Oid, Signature};

use super::Fixture;

/// What only the tests of this module ask of a repository.
impl Fixture {
    /// The directory that a server serves: the repository is `notes` in it.
    pub(in super::super) fn served(&self) -> PathBuf {
        self.outside("served")
    }

    /// A commit that no ref leads to, with one file.
    pub(in super::super) fn stray_commit(&self, content: &str, parent: Oid) -> Oid {
        let blob = self.repo.blob(content.as_bytes()).unwrap();
        let mut tree = self.repo.treebuilder(None).unwrap();
        tree.insert("stray", blob, 0o100_644).unwrap();
        let tree = self.repo.find_tree(tree.write().unwrap()).unwrap();
        let me = Signature::now("test", "test@example.org").unwrap();
        let parent = self.repo.find_commit(parent).unwrap();
        self.repo
            .commit(None, &me, &me, "a stray", &tree, &[&parent])
            .unwrap()
    }

    /// What changes when someone touches the index.
    pub(in super::super) fn index_state(&self) -> (Vec<u8>, SystemTime) {
        let index = self.path().join(".git/index");
        (
            crate::host_file::bytes(&index).unwrap(),
            fs::metadata(&index).unwrap().modified().unwrap(),
        )
    }

    /// Every file below the repository with its time and size.
    pub(in super::super) fn everything(&self) -> Vec<(PathBuf, SystemTime, u64)> {
        let entries = walkdir::WalkDir::new(self.path())
            .sort_by_file_name()
            .into_iter()
            .map(Result::unwrap);
        entries
            .map(|entry| {
                let meta = entry.metadata().unwrap();
                (
                    entry.path().to_owned(),
                    meta.modified().unwrap(),
                    meta.len(),
                )
            })
            .collect()
    }
}

/// How the server behaves besides serving.
#[derive(Default, Clone)]
pub(in super::super) struct Rules {
    /// The password without which everything is 401.
    pub(in super::super) password: Option<String>,
    /// The beginning of paths that are redirected, and of the address that they are redirected to.
    pub(in super::super) redirect: Option<(String, String)>,
    /// Whether the answer with the pack ends in its middle.
    pub(in super::super) cut: bool,
    /// Whether the server has more and more to say instead of the pack.
    pub(in super::super) endless: bool,
    /// A status that every request gets.
    pub(in super::super) status: Option<u16>,
}

/// A request that the server got.
#[derive(Debug, Clone)]
pub(in super::super) struct Seen {
    pub(in super::super) target: String,
    pub(in super::super) authorization: Option<String>,
}

/// Real git behind HTTP on a port of the loopback, until it is dropped.
pub(in super::super) struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(in super::super) fn start(root: &Path, rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, stop) = (
            Arc::<Mutex<Vec<Seen>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let (log, ended, root) = (Arc::clone(&seen), Arc::clone(&stop), root.to_owned());
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // A client may go away, or speak TLS.
                let Ok(connection) = connection else { continue };
                answer(&connection, &root, &rules, &log).unwrap_or_default();
            }
        });
        Self {
            port,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    pub(in super::super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(in super::super) fn port(&self) -> u16 {
        self.port
    }

    pub(in super::super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn answer(
    connection: &TcpStream,
    root: &Path,
    rules: &Rules,
    log: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    connection.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(());
    };
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let authorization = headers.get("authorization").cloned();
    log.lock().unwrap().push(Seen {
        target: target.clone(),
        authorization: authorization.clone(),
    });
    let mut out = connection;
    let mut refuse = |status: u16, more: &str| {
        write!(
            out,
            "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n{more}\r\n"
        )
    };
    if let Some(status) = rules.status {
        return refuse(status, "");
    }
    if let Some((from, to)) = &rules.redirect
        && let Some(rest) = target.strip_prefix(from.as_str())
    {
        return refuse(301, &format!("Location: {to}{rest}\r\n"));
    }
    if let Some(password) = &rules.password
        && authorization != Some(basic("oauth2", password))
    {
        return refuse(401, "WWW-Authenticate: Basic\r\n");
    }
    let (status, head, body) = backend(root, &method, &target, headers.get("content-type"), &body)?;
    if rules.endless && method == "POST" {
        write!(
            out,
            "HTTP/1.1 {status}\r\n{head}Connection: close\r\n\r\n0008NAK\n"
        )?;
        // A packet of the band for progress, as large as one may be.
        let mut packet = b"fff0\x02".to_vec();
        packet.resize(0xfff0, b'.');
        loop {
            // Until the other side has had enough.
            out.write_all(&packet)?;
        }
    }
    write!(
        out,
        "HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    let end = if rules.cut && method == "POST" {
        body.len() / 2
    } else {
        body.len()
    };
    out.write_all(&body[..end])
}

/// The header of HTTP's basic authentication.
fn basic(user: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = format!("{user}:{password}").into_bytes();
    let mut text = String::from("Basic ");
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

/// Runs `git http-backend` as a web server would; returns status, headers and body.
#[expect(
    clippy::disallowed_methods,
    reason = "a test server needs the real git; it is waited for"
)]
fn backend(
    root: &Path,
    method: &str,
    target: &str,
    content_type: Option<&String>,
    body: &[u8],
) -> std::io::Result<(String, String, Vec<u8>)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("CONTENT_TYPE", content_type.map_or("", String::as_str))
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().unwrap().write_all(body)?;
    let output = child.wait_with_output()?.stdout;
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or(0);
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK")
        .to_owned();
    let head: String = head
        .lines()
        .filter(|line| !line.starts_with("Status:"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    Ok((status, head, output[(end + 4).min(output.len())..].to_vec()))
}
