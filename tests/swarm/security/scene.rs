//! A host with a victim and a forge that strangers propose on.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use crate::engine::{SwarmEnv, docker, objects_of};
use crate::forge::Forge;
use crate::hold::Proxy;
use crate::rows::{Row, Way};
use crate::support::{Done, command, git, locked};
use crate::victim::{CANARY, Victim};

/// What the operator gives to whom he grants it.
pub(crate) const SUPPLIED: &str = "supplied-5c1d9e";

/// The three ways to run a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Stranger,
    Granted,
    ByHand,
}

impl Who {
    pub(crate) const ALL: [Self; 3] = [Self::Stranger, Self::Granted, Self::ByHand];

    pub(crate) fn way(self, row: &Row) -> Way {
        match self {
            Self::Stranger => row.stranger,
            Self::Granted => row.granted,
            Self::ByHand => row.by_hand,
        }
    }
}

/// Which engine runs are on; the victim is always on the operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Operators,
    Ci,
    Run,
}

impl Place {
    /// Returns whether all that a row names and has not made is there.
    pub(crate) fn has(self, row: &Row, who: Who) -> bool {
        let shown = match who.way(row) {
            Way::Works(shown) => shown,
            Way::Refused(_) | Way::Not(_) => "",
        };
        let there = |text: &str| {
            !["VICTIM", "ROOT", "LOOKALIKE", "FRESH"]
                .map(|name| text.contains(name))
                .contains(&true)
        };
        self == Self::Operators
            || ([row.app, row.top, row.services].into_iter().all(there)
                && !shown.contains("VICTIM")
                && !shown.contains("LOOKALIKE"))
    }
}

pub(crate) struct Scene {
    pub(crate) victim: Option<Victim>,
    pub(crate) forge: Forge,
    pub(crate) env: SwarmEnv,
    place: Place,
    port: u16,
    listener: Greeter,
    /// The first lines of requests by which the run that was the last asked the engine to change something.
    changes: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::at(Place::Operators)
    }

    pub(crate) fn at(place: Place) -> Self {
        let mut env = SwarmEnv::new();
        let victim = Victim::deploy(&env);
        let forge = Forge::start(env.root.join("forge"));
        env.set("CCCI_FORGE_URL", forge.url());
        env.set("CCCI_FORGE_TOKEN", SUPPLIED);
        env.set("CCCI_SECRET_SMTP_PASSWORD", SUPPLIED);
        env.set(
            "HTTP_PROXY",
            format!("http://operator:{CANARY}@127.0.0.1:9"),
        );
        env.set("NO_PROXY", "127.0.0.1");
        for dir in ["stand-in", "stand-in-w"] {
            env.write(&format!("{dir}/there"), "there");
        }
        // One that nothing listens on now; nothing here is published before the tests ask for it.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let changes: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&changes);
        let engine = Proxy::through(env.root.join("engine.sock"), move |request| {
            let text = String::from_utf8_lossy(request);
            let heads = text.lines().filter(|line| line.ends_with(" HTTP/1.1"));
            let changing =
                heads.filter(|head| !head.starts_with("GET ") && !head.starts_with("HEAD "));
            locked(&noted).extend(changing.map(str::to_owned));
            true
        });
        env.set("DOCKER_HOST", engine.address());
        match place {
            Place::Operators => {}
            Place::Ci => {
                env.run(["engine", "up"]).expect(0);
                env.set("CCCI_ENGINE", "ci");
            }
            Place::Run => env.set("CCCI_ENGINE", "run"),
        }
        Self {
            place,
            victim: Some(victim),
            forge,
            env,
            port,
            listener: Greeter::start(),
            changes,
        }
    }

    pub(crate) fn victim(&self) -> &Victim {
        self.victim.as_ref().expect("it is there until the end")
    }

    /// Removes the victim and asserts that nothing else is left.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.victim = None;
        if self.place == Place::Ci {
            self.env.run(["engine", "down"]).expect(0);
        }
        self.env.assert_nothing_left();
    }

    /// Returns a text of the table with this scene's names.
    pub(crate) fn fill(&self, text: &str) -> String {
        let victim = self.victim();
        text.replace("VICTIM", &victim.stack)
            .replace("ROOT", self.env.root.to_str().unwrap())
            .replace("LOOKALIKE", &victim.lookalikes[0])
            .replace(
                "FRESH",
                &format!("fresh_{}", self.env.zone.replace('.', "_")),
            )
            .replace("LISTENER", &self.listener.port.to_string())
            .replace("PORT", &self.port.to_string())
    }

    /// Gives the victim an image that lies on this host alone, for as long as what is returned lives.
    pub(crate) fn private_image(&self) -> PrivateImage {
        let image = PrivateImage(self.fill("VICTIM/private:1"));
        docker(&["tag", "recipe-ci/notes:1", &image.0]);
        image
    }

    /// Makes the repository of a recipe that wants what all of `rows` want, over a published version that wants nothing.
    pub(crate) fn repository(&self, name: &str, rows: &[&Row]) -> PathBuf {
        let dir = self.env.root.join("recipes").join(name);
        drop(std::fs::remove_dir_all(&dir));
        let mut compose = json!({"version": "3.8", "services": {"app": {}}});
        let at = format!("recipes/{name}");
        let own: String = rows.iter().map(|row| self.fill(row.env)).collect();
        // An operator upgrades with the env file that he has.
        let sample = format!("TYPE={name}\nDOMAIN=x\nLETS_ENCRYPT_ENV=\n{own}");
        self.env.write(&format!("{at}/file"), "of the recipe");
        let base = json!({"version": "3.8", "services": {"app": idle()}});
        let file = format!("{at}/compose.yml");
        self.env.write(&file, &format!("{base:#}"));
        self.env.write(&format!("{at}/.env.sample"), &sample);
        git(&dir, &["init", "-q", "-b", "main"]);
        git(&dir, &["add", "-A"]);
        git(&dir, &["commit", "-q", "-m", "base"]);
        git(&dir, &["tag", "0.1.0+1.0.0"]);
        for row in rows {
            merge(&mut compose, members(&self.fill(row.top)));
            merge(
                &mut compose["services"]["app"],
                members(&self.fill(row.app)),
            );
            merge(&mut compose["services"], members(&self.fill(row.services)));
            for (path, text) in row.files {
                self.env.write(&format!("{at}/{path}"), &self.fill(text));
            }
        }
        for service in compose["services"].as_object_mut().unwrap().values_mut() {
            let mut whole = idle();
            let own = service.as_object().unwrap().clone();
            whole.as_object_mut().unwrap().extend(own);
            *service = whole;
        }
        self.env.write(&file, &format!("{compose:#}"));
        self.env.write(&format!("{at}/.env.sample"), &sample);
        for (path, to) in rows.iter().flat_map(|row| row.links) {
            let path = dir.join(path);
            drop(std::fs::remove_file(&path));
            symlink(self.fill(to), path).unwrap();
        }
        git(&dir, &["add", "-A"]);
        // Of some rows all is in the variables.
        git(&dir, &["commit", "-q", "--allow-empty", "-m", "x"]);
        dir
    }

    /// Runs a recipe that wants what all of `rows` want; `grant` is what its source is granted, if anything.
    pub(crate) fn run(&mut self, who: Who, rows: &[&Row], grant: Option<&Value>) -> Done {
        let name = match rows {
            [row] => row.name,
            _ => "matrix",
        };
        let dir = self.repository(name, rows);
        let private = rows.iter().any(|row| row.private);
        let owner = if private { "private" } else { "stranger" };
        let vars = rows.iter().flat_map(|row| row.vars);
        let vars: Vec<(&str, String)> = vars
            .map(|(name, value)| (*name, self.fill(value)))
            .collect();
        for (name, value) in &vars {
            self.env.set(name, value);
        }
        locked(&self.changes).clear();
        let done = if who == Who::ByHand {
            self.env.run(["run".as_ref(), dir.as_os_str()])
        } else {
            let proposal = format!("{owner}/{name}");
            let at = self.env.root.join("forge").join(format!("{proposal}.git"));
            drop(std::fs::remove_dir_all(at));
            self.forge.publish_as(&proposal, &dir);
            if let Some(grant) = grant {
                let host = self.forge.url().replace("http://", "");
                let text = json!({"sources": {format!("{host}/{proposal}"): grant}});
                let file = self.env.write("grants.yml", &text.to_string());
                self.env.set("CCCI_GRANTS", file.display().to_string());
                self.env.set("REF", "main");
            }
            self.env.set("SRC", proposal);
            self.env.run(["run"])
        };
        for name in vars
            .iter()
            .map(|(name, _)| *name)
            .chain(["SRC", "REF", "CCCI_GRANTS"])
        {
            self.env.set(name, "");
        }
        // What an engine refuses changes nothing, and was tried all the same.
        let victims = self.victim().keys();
        let tried = |head: &String| {
            head.split(['/', '?', ' '])
                .any(|part| victims.contains(part))
        };
        let tried: Vec<String> = self.changes().into_iter().filter(tried).collect();
        assert_eq!(tried, [""; 0], "{name} {who:?}");
        done
    }

    /// Returns what the last run asked the engine to change.
    pub(crate) fn changes(&self) -> Vec<String> {
        locked(&self.changes).clone()
    }

    /// Returns the grants that `rows` need, as one.
    pub(crate) fn grant(&self, rows: &[&Row]) -> Value {
        let mut grant = json!({"branches": ["main"], "images": ["recipe-ci"]});
        for row in rows {
            merge(&mut grant, members(&self.fill(row.grant)));
        }
        grant
    }

    /// Asserts that what is secret is in nothing that a run said, and that it looked at nothing of the victim's.
    #[track_caller]
    pub(crate) fn assert_silent(&self, what: &str, done: &Done) {
        for text in [&done.stdout, &done.stderr] {
            assert!(
                !text.contains(CANARY) && !text.contains(SUPPLIED),
                "{what}: {text}"
            );
            // No sweep looks at what only is called like a run app's.
            assert!(!text.contains("evil-00000"), "{what}: {text}");
        }
    }

    /// Asserts that the victim is as it was, that no file of a run has what is secret, and that nothing of any run is
    /// left.
    #[track_caller]
    pub(crate) fn assert_unharmed(&self) {
        self.victim().assert_untouched();
        for dir in ["runs", "state", "warm", "locks", "home"] {
            let dir = self.env.root.join(dir);
            if dir.exists() {
                assert_no_canary(&dir);
            }
        }
        let mut left = objects_of(&self.env.zone);
        left.retain(|object| {
            !self
                .victim()
                .lookalikes
                .iter()
                .any(|name| object.ends_with(name))
        });
        assert_eq!(left, [""; 0]);
    }
}

/// An image of the victim's.
#[must_use]
pub(crate) struct PrivateImage(String);

impl Drop for PrivateImage {
    fn drop(&mut self) {
        drop(command("docker").args(["rmi", &self.0]).output());
    }
}

/// A service that does nothing.
fn idle() -> Value {
    json!({
        "image": "recipe-ci/notes:1", "init": true, "healthcheck": {"disable": true},
        "command": ["sh", "-c", "exec sleep 10000"],
    })
}

/// Returns the object with these members.
pub(crate) fn members(text: &str) -> Value {
    serde_json::from_str(&format!("{{{text}}}")).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Lays `more` over `into`: objects entry by entry, lists one after the other.
pub(crate) fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(more)) => {
            let new: Vec<Value> = more
                .into_iter()
                .filter(|item| !into.contains(item))
                .collect();
            into.extend(new);
        }
        (into, more) => {
            *into = if more.is_null() {
                Map::new().into()
            } else {
                more
            }
        }
    }
}

#[track_caller]
fn assert_no_canary(dir: &Path) {
    for entry in harness::host_file::entries(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap();
        if path.ends_with("state/engine") {
            // What it holds is of its apps, which were given the secret.
        } else if kind.is_dir() {
            assert_no_canary(&path);
        } else if kind.is_file() {
            let content = harness::host_file::bytes(&path).unwrap();
            let content = String::from_utf8_lossy(&content);
            for secret in [CANARY, SUPPLIED] {
                assert!(
                    !content.contains(secret),
                    "{} has `{secret}`",
                    path.display()
                );
            }
        }
    }
}

/// A program on the host that listens at all of its addresses, and greets who connects.
struct Greeter {
    port: u16,
    socket: std::net::TcpListener,
}

impl Greeter {
    fn start() -> Self {
        let socket = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let accepting = socket.try_clone().unwrap();
        std::thread::spawn(move || {
            for connection in accepting.incoming() {
                let Ok(mut connection) = connection else {
                    return;
                };
                drop(std::io::Write::write_all(
                    &mut connection,
                    CANARY.as_bytes(),
                ));
            }
        });
        Self { port, socket }
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        // `accept` of the other thread ends with it.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}
