//! An engine that does nothing and remembers what it was asked: Docker's client deploys a stack to it as to an empty
//! swarm, in milliseconds.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::locked;

/// The newest API that it claims to speak; clients of every age agree on an older one.
const API: &str = "1.49";

/// A kind of object, as the API's paths have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Network,
    Secret,
    Config,
    Service,
}

impl Kind {
    fn of(path: &str) -> Option<Self> {
        match path {
            "networks" => Some(Self::Network),
            "secrets" => Some(Self::Secret),
            "configs" => Some(Self::Config),
            "services" => Some(Self::Service),
            _ => None,
        }
    }
}

/// A request that concerns objects: everything but the greeting.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// `POST`, `GET` or `DELETE`.
    pub(crate) method: String,
    /// The path without the version of the API and without the query: `secrets/create`.
    pub(crate) path: String,
    /// The body, `null` where there is none.
    pub(crate) body: Value,
}

impl Request {
    /// Whether it changes something.
    pub(crate) fn changes(&self) -> bool {
        self.method != "GET" && self.method != "HEAD"
    }

    /// The name of the object: in the body of one that is created, otherwise in the path.
    pub(crate) fn name(&self) -> &str {
        let in_body = self.body.get("Name").and_then(Value::as_str);
        in_body.unwrap_or_else(|| self.path.split('/').nth(1).unwrap_or_default())
    }
}

type Objects = BTreeMap<(Kind, String), Value>;

/// What the connections share.
struct State {
    /// The nodes of its swarm beside itself.
    others: Vec<Value>,
    /// How many tasks of a replica its swarm keeps.
    task_history: i64,
    objects: Mutex<Objects>,
    requests: Mutex<Vec<Request>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            others: Vec::new(),
            task_history: 5,
            objects: Mutex::default(),
            requests: Mutex::default(),
        }
    }
}

/// The engine.
pub(crate) struct Recorder {
    path: PathBuf,
    state: Arc<State>,
}

impl Recorder {
    /// Listens at `path`; the objects of `existing` are there already.
    pub(crate) fn start(path: PathBuf, existing: &[(Kind, &str)]) -> Self {
        Self::start_as(path, existing, State::default())
    }

    /// The same in a swarm that keeps so many tasks of a replica.
    pub(crate) fn start_with_history(path: PathBuf, kept: i64) -> Self {
        let state = State {
            task_history: kept,
            ..State::default()
        };
        Self::start_as(path, &[], state)
    }

    /// The same in a swarm with other nodes, as the API shows them.
    pub(crate) fn start_beside(
        path: PathBuf,
        existing: &[(Kind, &str)],
        others: Vec<Value>,
    ) -> Self {
        let state = State {
            others,
            ..State::default()
        };
        Self::start_as(path, existing, state)
    }

    fn start_as(path: PathBuf, existing: &[(Kind, &str)], state: State) -> Self {
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path).expect("the socket can be made");
        let state = Arc::new(state);
        locked(&state.objects).extend(existing.iter().map(|(kind, name)| {
            (
                (*kind, (*name).to_owned()),
                object(*kind, &json!({"Name": name})),
            )
        }));
        let ours = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&ours);
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { path, state }
    }

    /// What `--host` has to be.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Forgets what was asked and made, apart from what existed at the start; returns what was asked.
    pub(crate) fn take(&self) -> Vec<Request> {
        locked(&self.state.objects).retain(|_, object| object["Existed"] == true);
        std::mem::take(&mut *locked(&self.state.requests))
    }
}

/// Returns an object as the engine shows it. Its id follows from its name, so that two deploys of one stack are alike.
fn object(kind: Kind, spec: &Value) -> Value {
    let name = spec["Name"].as_str().unwrap_or_default();
    let id = format!("{kind:?}-{name}").to_lowercase();
    json!({
        "ID": id, "Id": id, "Name": name, "Scope": "swarm", "Driver": "overlay",
        "Version": {"Index": 1}, "Spec": {"Name": name, "Labels": {}}, "Existed": true,
    })
}

fn serve(stream: UnixStream, state: &State) {
    let mut out = stream.try_clone().expect("a socket can be cloned");
    let mut input = BufReader::new(stream);
    while let Some((method, target, body)) = read(&mut input) {
        let (status, answer) = state.answer(&method, &target, body);
        let answer = match &answer {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nApi-Version: {API}\r\nOstype: linux\r\nDocker-Experimental: false\r\n\
             Swarm: active/manager\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        let answer = if method == "HEAD" { "" } else { &answer };
        if out.write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

/// Returns method, target and body of the next request.
fn read(input: &mut BufReader<UnixStream>) -> Option<(String, String, Value)> {
    let mut line = String::new();
    input.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        input
            .read_line(&mut header)
            .ok()
            .filter(|count| *count > 0)?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        assert!(
            !header.starts_with("transfer-encoding"),
            "the clients send whole bodies"
        );
        if let Some(text) = header.strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some((method, target, body))
}

impl State {
    fn answer(&self, method: &str, target: &str, body: Value) -> (&'static str, Value) {
        const OK: &str = "200 OK";
        let path = target.split('?').next().unwrap_or_default();
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if parts.first().is_some_and(|first| first.starts_with("v1.")) {
            parts.remove(0);
        }
        let Some(kind) = parts.first().copied().and_then(Kind::of) else {
            return match parts[..] {
                ["_ping"] => (OK, "OK".into()),
                ["info"] => (
                    OK,
                    json!({"ID": "n", "OSType": "linux", "Swarm": {
                        "NodeID": "n", "LocalNodeState": "active", "ControlAvailable": true,
                        "Nodes": self.others.len() + 1,
                        "Cluster": {"Spec": {"Orchestration": {"TaskHistoryRetentionLimit": self.task_history}}},
                    }}),
                ),
                ["nodes"] => (
                    OK,
                    [vec![json!({"ID": "n"})], self.others.clone()]
                        .concat()
                        .into(),
                ),
                ["containers", "json"] => (OK, json!([])),
                ["version"] => (
                    OK,
                    json!({"Version": "28.2.2", "ApiVersion": API, "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"}),
                ),
                _ => panic!("the recorder has no answer to {method} {target}"),
            };
        };
        let created = method == "POST" && parts.get(1) == Some(&"create");
        let request = Request {
            method: method.to_owned(),
            path: parts.join("/"),
            body,
        };
        let mut objects = locked(&self.objects);
        let answer = match (method, &parts[1..]) {
            ("POST", ["create"]) => {
                let mut made = object(kind, &request.body);
                made["Existed"] = false.into();
                objects.insert((kind, request.name().to_owned()), made.clone());
                ("201 Created", json!({"ID": made["ID"], "Id": made["ID"]}))
            }
            ("GET", []) => {
                // Nothing of the stack is deployed yet; secrets and configs are looked up by name.
                let by_name = matches!(kind, Kind::Secret | Kind::Config);
                let found = objects
                    .iter()
                    .filter(|((of, _), _)| *of == kind && by_name)
                    .map(|(_, object)| object.clone());
                (OK, found.collect())
            }
            ("GET", [name]) => match objects.get(&(kind, (*name).to_owned())) {
                Some(object) => (OK, object.clone()),
                None => (
                    "404 Not Found",
                    json!({"message": format!("{} {name} not found", parts[0])}),
                ),
            },
            ("POST" | "DELETE", _) => (OK, json!({})),
            _ => panic!("the recorder has no answer to {method} {target}"),
        };
        drop(objects);
        // What is listed is told by what the stack's label is; that is no object's name.
        if created || parts.len() > 1 {
            locked(&self.requests).push(request);
        }
        answer
    }
}
