//! A forge on the loopback, as far as recipes are fetched from one: real git behind HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use crate::support::{command, git, locked};

/// A server of bare repositories; its thread ends with the tests.
pub(crate) struct Forge {
    root: PathBuf,
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    /// The targets of requests that came with a token.
    authorized: Arc<Mutex<Vec<String>>>,
}

impl Forge {
    /// Serves what is below `root`; what is below `private` there only to who has a token. The last target that came
    /// with one is in the file `tokens`.
    pub(crate) fn start(root: PathBuf) -> Self {
        std::fs::create_dir_all(&root).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let authorized = Arc::<Mutex<Vec<String>>>::default();
        let (log, tokens, served) = (Arc::clone(&asked), Arc::clone(&authorized), root.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, tokens, served) = (Arc::clone(&log), Arc::clone(&tokens), served.clone());
                // A client may go away.
                std::thread::spawn(move || drop(answer(&stream, &served, (&log, &tokens))));
            }
        });
        Self {
            root,
            address,
            asked,
            authorized,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Publishes a repository as a recipe; returns where it is.
    pub(crate) fn publish(&self, recipe: &str, from: &Path) -> PathBuf {
        self.publish_as(&format!("coop-cloud/{recipe}"), from)
    }

    /// Publishes a repository as `owner/name`; returns where it is.
    pub(crate) fn publish_as(&self, name: &str, from: &Path) -> PathBuf {
        let at = self.root.join(format!("{name}.git"));
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let (from, to) = (from.to_str().unwrap(), at.to_str().unwrap());
        git(Path::new("/"), &["clone", "-q", "--bare", from, to]);
        at
    }

    /// Returns the targets of all requests.
    pub(crate) fn asked(&self) -> Vec<String> {
        locked(&self.asked).clone()
    }

    /// Returns the targets of all requests that came with a token.
    pub(crate) fn authorized(&self) -> Vec<String> {
        locked(&self.authorized).clone()
    }
}

fn answer(
    stream: &TcpStream,
    root: &Path,
    (log, tokens): (&Mutex<Vec<String>>, &Mutex<Vec<String>>),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(());
    };
    locked(log).push(target.to_owned());
    let (mut length, mut kind, mut has_token) = (0, String::new(), false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "content-type" => value.trim().clone_into(&mut kind),
            "authorization" => {
                has_token = true;
                locked(tokens).push(target.to_owned());
                std::fs::write(root.join("tokens"), target)?;
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if target.starts_with("/private/") && !has_token {
        let mut out = stream;
        let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"forge\"";
        return write!(out, "{head}\r\nContent-Length: 0\r\n\r\n");
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut backend = command("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("CONTENT_TYPE", kind)
        .env("CONTENT_LENGTH", length.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    backend.stdin.take().unwrap().write_all(&body)?;
    let output = backend.wait_with_output()?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, content) = output.split_at(end.map_or(0, |end| end + 4));
    let head = String::from_utf8_lossy(head);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: "));
    let headers = head
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Status:"))
        .map(|line| format!("{line}\r\n"));
    let mut out = stream;
    write!(
        out,
        "HTTP/1.1 {}\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n",
        status.unwrap_or("200 OK"),
        headers.collect::<String>(),
        content.len()
    )?;
    out.write_all(content)
}
