//! What an upgrade may start from, where a grant covers the head and not the base.

use serde_json::Value;

use crate::forge::Forge;
use crate::support::{TestEnv, git};

/// An engine that does not answer, and `alice/app` on a forge: `main` is at 0.3.0 and has 0.2.0 in its history.
struct Scene {
    env: TestEnv,
    forge: Forge,
    head: String,
}

/// What a version's files say beyond the image.
#[derive(Clone, Copy)]
struct Says<'a> {
    /// Lines of the service `app`.
    app: &'a str,
    /// Lines of the compose file.
    top: &'a str,
    /// Lines of `.env.sample`.
    env: &'a str,
}

fn scene(head: Says<'_>) -> Scene {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    let mut scene = Scene {
        forge: Forge::start(env.root.join("forge")),
        env,
        head: String::new(),
    };
    let dir = scene.env.root.join("recipes/app");
    std::fs::create_dir_all(&dir).unwrap();
    git(&dir, &["init", "-q", "-b", "main"]);
    let env = head.env;
    scene.commit("0.2.0+1", Says { env, ..HARMLESS });
    git(&dir, &["tag", "0.2.0+1"]);
    scene.commit("0.3.0+1", head);
    scene.head = git(&dir, &["rev-parse", "main"]);
    scene.forge.publish_as("alice/app", &dir);
    let url = scene.forge.url();
    scene.env.set("CCCI_FORGE_URL", url);
    scene.env.set("CCCI_SECRET_SMTP_PASSWORD", "hunter2");
    scene
}

impl Scene {
    /// Commits a version where the work tree is.
    fn commit(&self, version: &str, says: Says<'_>) {
        let Says { app, top, env } = says;
        let text = format!(
            "version: '3.8'\nservices:\n  app:\n    image: nginx:1.27\n    deploy:\n      labels:\n        \
             - coop-cloud.${{STACK_NAME}}.version={version}\n{app}{top}"
        );
        self.env.write("recipes/app/compose.yml", &text);
        let text = format!("TYPE=app\nDOMAIN=app.example.org\nLETS_ENCRYPT_ENV=production\n{env}");
        self.env.write("recipes/app/.env.sample", &text);
        let dir = self.env.root.join("recipes/app");
        git(&dir, &["add", "-A"]);
        git(&dir, &["commit", "-q", "-m", version]);
    }

    /// Pushes a tag with a commit that no branch has; returns the commit.
    fn push_tag(&self, version: &str, says: Says<'_>) -> String {
        let dir = self.env.root.join("recipes/app");
        git(&dir, &["checkout", "-q", "--orphan", "unread"]);
        self.commit(version, says);
        git(&dir, &["tag", version]);
        let forge = format!("{}/forge/alice/app.git", self.env.root.display());
        git(&dir, &["push", "-q", &forge, version]);
        let commit = git(&dir, &["rev-parse", "HEAD"]);
        git(&dir, &["checkout", "-q", "main"]);
        git(&dir, &["branch", "-q", "-D", "unread"]);
        commit
    }

    /// Plans the head, named by what `grant` grants to `alice/app`: a branch or a commit.
    fn plan(&mut self, grant: &str, more: &[&str]) -> Value {
        let host = self.forge.url().replace("http://", "");
        let text = format!("sources:\n  {host}/alice/app: {{{grant}}}\n");
        let file = self.env.write("grants.yml", &text);
        self.env.set("CCCI_GRANTS", file.display().to_string());
        let named = match grant.starts_with("branches") {
            true => "main",
            false => self.head.as_str(),
        };
        let args = ["run", "--dry-run", "--src", "alice/app", "--ref", named];
        let done = self.env.run(args.iter().chain(more));
        done.expect(0);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(plan["trust"]["level"], "granted", "{plan:#}");
        plan
    }
}

/// Asserts that the upgrade has no base, which is not the recipe's fault, and returns why.
#[track_caller]
fn why_none(plan: &Value) -> String {
    assert_eq!(plan["base_version"], Value::Null, "{plan:#}");
    let tiers = plan["tiers"].as_array().unwrap().iter();
    let upgrade = tiers
        .clone()
        .find(|tier| tier["name"] == "upgrade")
        .unwrap();
    assert_eq!(upgrade["will"], "unver", "{plan:#}");
    let why = plan["no_base"].as_str().unwrap().to_owned();
    assert!(why.starts_with("base-withheld: "), "{why}");
    assert!(
        why.contains("no grant in grants.yml covers its commit"),
        "{why}"
    );
    why
}

const HARMLESS: Says<'static> = Says {
    app: "",
    top: "",
    env: "",
};

const WANTS_SECRET: Says<'static> = Says {
    app: "    secrets: [smtp_password]\n",
    top: "secrets:\n  smtp_password:\n    name: ${STACK_NAME}_smtp_password_${SECRET_SMTP_PASSWORD_VERSION}\n    external: true\n",
    env: "SECRET_SMTP_PASSWORD_VERSION=v1 # generate=false\n",
};

/// What a version asks for in its service, and what grants it.
const ASKED: [(Says<'static>, &str); 5] = [
    (
        Says {
            app: "    volumes: ['/srv/operators:/mnt']\n",
            ..HARMLESS
        },
        "binds: [{path: /srv/operators, write: true}]",
    ),
    (WANTS_SECRET, "secrets: [smtp_password]"),
    (
        Says {
            app: "    dns: [192.0.2.1]\n",
            ..HARMLESS
        },
        "keys: [dns]",
    ),
    (
        Says {
            app: "    cap_add: [NET_ADMIN]\n",
            ..HARMLESS
        },
        "capabilities: [NET_ADMIN]",
    ),
    // Its limits are the grant's.
    (HARMLESS, "ceilings: {memory: 2g}"),
];

/// Anyone who may push a tag would else have what the operator granted to a reviewed commit.
#[test]
fn a_base_that_no_grant_covers_gets_nothing_of_the_heads_grant() {
    for (says, grant) in ASKED {
        let mut scene = scene(HARMLESS);
        let unread = scene.push_tag("0.2.9+1", says);
        let head = format!("commits: ['{}']", scene.head);
        let why = why_none(&scene.plan(&format!("{head}, {grant}"), &[]));
        let line = format!("`commits: [\"{unread}\"]`");
        for word in ["0.2.9+1", &line] {
            assert!(why.contains(word), "no `{word}` in {why}");
        }
        why_none(&scene.plan(&format!("{head}, {grant}"), &["--base", "0.2.9+1"]));
        // Once somebody has read it, it has the same.
        let both = format!("commits: ['{}', '{unread}'], {grant}", scene.head);
        let plan = scene.plan(&both, &[]);
        assert_eq!(plan["base_version"], "0.2.9+1", "{plan:#}");
    }
}

/// The upgrade keeps the base's env file, and the head is deployed with it.
#[test]
fn what_a_base_without_a_grant_writes_into_the_env_file_does_not_use_the_heads_grant() {
    let mut scene = scene(Says {
        app: "    volumes: ['${WHERE:-data}:/mnt']\n",
        top: "volumes:\n  data:\n",
        env: "",
    });
    scene.push_tag(
        "0.2.9+1",
        Says {
            env: "WHERE=/srv/operators\n",
            ..HARMLESS
        },
    );
    let grant = format!(
        "commits: ['{}'], binds: [{{path: /srv/operators, write: true}}]",
        scene.head
    );
    let why = why_none(&scene.plan(&grant, &[]));
    assert!(why.contains("/srv/operators"), "{why}");
}

/// What has no part in the grant is as good a base as a stranger's.
#[test]
fn a_base_that_needs_no_grant_is_upgraded_from() {
    let mut scene = scene(HARMLESS);
    scene.push_tag("0.2.9+1", HARMLESS);
    let head = format!("commits: ['{}']", scene.head);
    for grant in ["run_code: true", "secrets: [smtp_password]"] {
        let plan = scene.plan(&format!("{head}, {grant}"), &[]);
        assert_eq!(plan["base_version"], "0.2.9+1", "{plan:#}");
    }
    // The head is what the grant is for, so nothing may be upgraded to it that was not read.
    let mut scene = self::scene(WANTS_SECRET);
    let grant = format!("commits: ['{}'], secrets: [smtp_password]", scene.head);
    let why = why_none(&scene.plan(&grant, &[]));
    assert!(why.contains("`smtp_password`"), "{why}");
    let read = git(
        &scene.env.root.join("recipes/app"),
        &["rev-parse", "0.2.0+1"],
    );
    let grant = grant.replace("']", &format!("', '{read}']"));
    let plan = scene.plan(&grant, &[]);
    assert_eq!(plan["base_version"], "0.2.0+1", "{plan:#}");
}

/// An unprotected tag would else keep the upgrade from being tested.
#[test]
fn a_tag_beside_the_granted_branch_is_no_base_where_one_in_its_history_is() {
    let mut scene = scene(WANTS_SECRET);
    scene.push_tag("0.2.9+1", WANTS_SECRET);
    let grant = "branches: [main], secrets: [smtp_password]";
    let plan = scene.plan(grant, &[]);
    assert_eq!(plan["base_version"], "0.2.0+1", "{plan:#}");
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("0.2.9+1"), "{warnings}");
    why_none(&scene.plan(grant, &["--base", "0.2.9+1"]));
}
