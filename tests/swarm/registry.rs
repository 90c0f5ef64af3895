//! A registry on the loopback, which the engine takes without TLS: an image is under whatever name it is asked for.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{command, digest, locked};

/// What it has, by digest; what every tag of it is now; which tags it was asked for.
#[derive(Default)]
struct State {
    blobs: BTreeMap<String, Vec<u8>>,
    tag: String,
    asked: Vec<String>,
}

/// The server; its thread ends with the tests.
pub(crate) struct Registry {
    address: String,
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Registry {
    /// Serves what is below `dir`, which is made.
    pub(crate) fn start(dir: PathBuf) -> Self {
        std::fs::create_dir_all(&dir).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::<Mutex<State>>::default();
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                std::thread::spawn(move || drop(answer(&stream, &served)));
            }
        });
        Self {
            address,
            dir,
            state,
        }
    }

    /// Returns what an image of this registry is called.
    pub(crate) fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    /// Makes every tag the image that the engine has under `image`.
    pub(crate) fn tag(&self, image: &str) {
        let dir = self.dir.join(image.replace(['/', ':'], "-"));
        std::fs::create_dir_all(&dir).unwrap();
        let save = format!("docker save {image} | tar -x -C {}", dir.display());
        let saved = command("sh").args(["-ec", &save]).status();
        assert!(saved.is_ok_and(|status| status.success()), "{save}");
        let read = |name: &str| harness::host_file::bytes(dir.join(name)).unwrap();
        let saved: Value = serde_json::from_slice(&read("manifest.json")).unwrap();
        let mut state = locked(&self.state);
        let mut blob = |name: &Value, kind: &str| {
            let name = name.as_str().unwrap();
            let (digest, content) = (format!("sha256:{}", digest(&dir.join(name))), read(name));
            let size = content.len();
            state.blobs.insert(digest.clone(), content);
            json!({"mediaType": kind, "size": size, "digest": digest})
        };
        let config = blob(
            &saved[0]["Config"],
            "application/vnd.docker.container.image.v1+json",
        );
        let layers = saved[0]["Layers"].as_array().unwrap().iter();
        // The engine looks itself whether it is packed.
        let kind = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        let layers: Vec<Value> = layers.map(|layer| blob(layer, kind)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        let file = dir.join("served.json");
        std::fs::write(&file, manifest.to_string()).unwrap();
        state.tag = format!("sha256:{}", digest(&file));
        let key = state.tag.clone();
        state.blobs.insert(key, manifest.to_string().into_bytes());
    }

    /// Returns the tags that were asked for since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.state).asked)
    }
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn answer(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut input = BufReader::new(stream);
    let mut request = String::new();
    input.read_line(&mut request)?;
    let mut line = String::new();
    while input.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut words = request.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let last = target.rsplit('/').next().unwrap_or_default().to_owned();
    let is_manifest = target.contains("/manifests/");
    let found = {
        let mut state = locked(state);
        if is_manifest && !last.starts_with("sha256:") {
            state.asked.push(target.to_owned());
        }
        let key = match is_manifest && !last.starts_with("sha256:") {
            true => state.tag.clone(),
            false => last,
        };
        match target {
            "/v2/" => Some((key, b"{}".to_vec())),
            _ => state.blobs.get(&key).cloned().map(|blob| (key, blob)),
        }
    };
    let mut output = stream;
    let Some((key, blob)) = found else {
        return output.write_all(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    };
    let kind = match is_manifest {
        true => MANIFEST,
        false => "application/octet-stream",
    };
    write!(
        output,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {key}\r\n\
         Connection: close\r\n\r\n",
        blob.len()
    )?;
    match method {
        "GET" => output.write_all(&blob),
        _ => Ok(()),
    }
}
