//! A warm recipe whose head is granted something, for tests of what is judged before the engine has a part in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::context::Context;
use super::fetched::Fetched;
use super::fetched::{Checkout, Subject};
use super::settings::{Bases, Fresh, Keep, Lane, Origin, Published, Repeat, Settings, Variants};
use super::warm::embedded;
use crate::driver::Choice;
use crate::driver::stack::HostTraits;
use crate::event::Events;
use crate::lifetime::worker::Notes;
use engine::dirs::{HostDirs, RunDirs};
use engine::process::Processes;
use ground::git::source::Source;
use ground::git::testing::Fixture;
use ground::name::{Domain, RecipeName, Zone};
use ground::outcome::Stage;
use recipe::release::Tree;
use recipe::trust::{Grant, Grants, Level, SourceKey, Trust};

/// The versions of the canonical and of the head.
pub(super) const CANONICAL: &str = "0.1.0+1";
pub(super) const HEAD: &str = "0.2.0+1";

/// What the host can do.
const TRAITS: HostTraits = HostTraits {
    ipvs: true,
    detach_flag: true,
    schema: "3.9",
    // Docker's own opinion is not asked.
    stack_config: false,
};

/// A recipe with two releases, a host, and an engine that says nothing but that it is alone.
pub(super) struct Scene {
    dir: tempfile::TempDir,
    recipe: Fixture,
    pub(super) settings: Settings,
    trust: Trust,
    /// What the engine was asked.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    /// Returns one whose service `app` has these lines in both releases, and whose head has this grant, for its commit
    /// alone.
    pub(super) fn new(app: &str, grant: Grant) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let recipe = Fixture::new();
        let sample = "TYPE=notes\nDOMAIN=x\nLETS_ENCRYPT_ENV=\n";
        for version in [CANONICAL, HEAD] {
            let compose = format!(
                "version: '3.8'\nservices:\n  app:\n    image: nginx:1.27\n{app}    deploy:\n      labels:\n        \
                 - coop-cloud.${{STACK_NAME}}.version={version}\n"
            );
            let commit = recipe.commit(&[("compose.yml", &compose), (".env.sample", sample)]);
            recipe.annotated_tag(version, commit);
        }
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let engine = engine::swarm::testing::engine(dir.path(), move |request| {
            seen.lock().unwrap().push(request.to_owned());
            (200, json!({"Swarm": {"Nodes": 1}}).to_string())
        });
        let name: RecipeName = "notes".parse().unwrap();
        let zone: Zone = "ci.localhost".parse().unwrap();
        let published = Published {
            url: "https://git.example.org".to_owned(),
            owner: "coop-cloud".to_owned(),
            staged: false,
        };
        let source = published.source(&name).unwrap();
        let Source::Forge { url, .. } = &source else {
            panic!("{source:?}");
        };
        let key = SourceKey::of_url(url);
        let head = ground::git::checkout::commit_of(recipe.path(), "HEAD").unwrap();
        let grant = Grant {
            commits: vec![head.to_string()],
            ..grant
        };
        let trust = Trust {
            level: Level::Granted(Box::new(grant.clone())),
            source: key.to_string(),
            why: "its commit is granted".to_owned(),
            has_entry: true,
        };
        let grants = Grants {
            sources: BTreeMap::from([(key, grant)]),
            ..Grants::default()
        };
        let at = |name: &str| dir.path().join(name);
        let settings = Settings {
            domain: Domain::for_run(&name, "", "", &zone),
            recipe: name,
            origin: Origin::Repository(source),
            published,
            grants: Arc::new(grants),
            accept_shared_engine: false,
            local_images: Vec::new(),
            build_url: None,
            repeat: Repeat::default(),
            copies: Vec::new(),
            reference: None,
            pr: None,
            stages: Stage::ALL.to_vec(),
            lane: Lane::Cold,
            base: None,
            bases: Bases::One,
            variants: Variants::All,
            variant: None,
            fresh: Fresh::default(),
            zone,
            driver: Choice::Stack,
            server: "default".to_owned(),
            gateway: None,
            gateway_service: None,
            overlays: None,
            deadline: Duration::from_secs(600),
            teardown_budget: Duration::from_secs(60),
            keep: Keep::Never,
            run_id: "test".parse().unwrap(),
            docker_host: engine.host().to_owned(),
            on_ci: None,
            host: HostDirs {
                locks: at("locks"),
                runs: at("runs"),
                state: at("state"),
                rooms: at("state/rooms"),
                warm: at("warm"),
                abra: at("abra"),
            },
            child_env: BTreeMap::new(),
            token: None,
            by_hand: false,
            exe: PathBuf::from("/nowhere/recipe-ci"),
            supplied_secrets: BTreeMap::new(),
            as_shipped: false,
            retries: 0,
            dry_run: false,
        };
        for path in [
            &settings.host.locks,
            &settings.host.state,
            &settings.host.warm,
        ] {
            std::fs::create_dir(path).unwrap();
        }
        Self {
            dir,
            recipe,
            settings,
            trust,
            asked,
        }
    }

    /// Returns the domain of the warm app.
    pub(super) fn domain(&self) -> Domain {
        Domain::warm(&self.settings.recipe, &self.settings.zone).unwrap()
    }

    /// Returns whether somebody took the warm app's lock, or made its file.
    pub(super) fn has_lock(&self) -> bool {
        self.settings.host.lock_file(&self.domain()).exists()
    }

    /// Returns what was fetched: the head.
    fn checkout(&self) -> Checkout {
        let commit_of = |name: &str| ground::git::checkout::commit_of(self.recipe.path(), name);
        let tags = [CANONICAL, HEAD].map(|tag| (tag.to_owned(), commit_of(tag).unwrap()));
        Checkout {
            tree: Tree {
                root: self.recipe.path().to_owned(),
                commit: commit_of("HEAD").unwrap(),
                dirty: false,
            },
            tags: tags.into(),
            shallow: false,
            tip: None,
            remarks: Vec::new(),
            trust: self.trust.clone(),
            barred: None,
        }
    }

    /// Returns what a run knows of it before anything is planned.
    pub(super) fn fetched(&self) -> Fetched {
        Fetched {
            checkout: self.checkout(),
            traits: TRAITS,
            chosen: embedded(),
        }
    }

    /// Leaves a canonical of the first release with these lines in its env file, as a promotion does.
    pub(super) fn keep(&self, more: &str) {
        let domain = self.domain();
        let env = format!("TYPE=notes\nDOMAIN={domain}\nLETS_ENCRYPT_ENV=\n{more}");
        let digest = |text: &str| hex::encode(Sha256::digest(text));
        let meta = json!({
            "version": CANONICAL, "volumes": [], "env_sha256": digest(&env), "secrets": [], "images": [],
        })
        .to_string();
        let commit = ground::git::checkout::commit_of(self.recipe.path(), CANONICAL).unwrap();
        let record = json!({
            "schema": 1, "recipe": "notes", "version": CANONICAL, "commit": commit, "status": "idle",
            "ts": "20260101T000000Z", "domain": domain.as_str(), "server": "default",
            "snapshot": {"dir": "snapshot-0a", "sha256": digest(&meta)},
        })
        .to_string();
        let place = self.settings.host.warm.join("notes");
        let snapshot = place.join("snapshot-0a");
        std::fs::create_dir_all(&snapshot).unwrap();
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        write(&snapshot.join("env"), &env);
        write(&snapshot.join("meta.json"), &meta);
        write(&place.join("canonical.json"), &record);
    }

    /// Has `work` done in the context of a run of the head.
    pub(super) fn run<T>(&self, work: impl AsyncFnOnce(&Context<'_>) -> T) -> T {
        let dirs = RunDirs::create(&self.settings.host, &self.settings.run_id).unwrap();
        let mut notes = Notes::unheard();
        let context = Context {
            live: None,
            settings: Rc::new(self.settings.clone()),
            subject: Subject::Proposal,
            row: None,
            dirs,
            events: Events::default(),
            redactor: self.settings.redactor(),
            processes: Processes::new(BTreeMap::new()),
            held: Rc::default(),
            notes: Rc::new(RefCell::new(&mut notes)),
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        assert!(self.dir.path().exists());
        runtime.block_on(work(&context))
    }
}
