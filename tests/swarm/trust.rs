//! What a stranger's code and a granted source's code can do on this host, on a real engine.

use std::path::Path;

use harness::host_file;
use serde_json::Value;

use crate::engine::SwarmEnv;
use crate::forge::Forge;
use crate::support::git;

/// Finding A2: a repository of anybody that is called as an approved recipe ran its hooks as root.
#[test]
fn the_code_of_a_namesake_never_runs_and_a_granted_sources_does_without_the_operators_secrets() {
    const SECRET: &str = "hunter2-of-the-operator";
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let ran = env.root.join("ran");
    for name in [
        "install_steps.sh",
        "custom/test_delete.sh",
        "ops/pre_upgrade",
    ] {
        let text = format!(
            "#!/bin/sh\necho {name} >>'{0}'\nenv >>'{0}.env'\n",
            ran.display()
        );
        env.write(&format!("recipes/notes/tests/{name}"), &text);
    }
    git(&recipe, &["add", "tests"]);
    git(&recipe, &["commit", "-q", "-m", "Run on every host"]);
    let forge = Forge::start(env.root.join("forge"));
    for name in ["evil/notes", "team/notes"] {
        forge.publish_as(name, &recipe);
    }
    let host = forge.url().replace("http://", "");
    let grants =
        format!("sources: {{'{host}/team/notes': {{branches: [main], run_code: true}}}}\n");
    env.write("overlays/grants.yml", &grants);
    env.write("overlays/approved.txt", "notes\n");
    let overlays = env.root.join("overlays").display().to_string();
    for (name, value) in [
        ("CCCI_FORGE_URL", forge.url()),
        ("CCCI_TESTS_DIR", overlays),
        ("CCCI_SECRET_SMTP", SECRET.to_owned()),
        ("CCCI_FORGE_TOKEN", SECRET.to_owned()),
        ("STAGES", "install,custom".to_owned()),
    ] {
        env.set(name, value);
    }
    let results = |run: &str| -> Value {
        let text = host_file::text(env.root.join(format!("runs/{run}/results.json")));
        serde_json::from_str(&text.unwrap()).unwrap()
    };

    let done = env.run(["run", "--src", "evil/notes", "--run-id", "1"]);
    done.expect(0);
    assert!(!ran.exists(), "{}", host_file::text(&ran).unwrap());
    let stranger = results("1");
    assert_eq!(stranger["trust"]["level"], "stranger", "{stranger:#}");
    assert_eq!(stranger["trust"]["source"], format!("{host}/evil/notes"));
    assert!(
        done.stderr.contains("trust      stranger: "),
        "{}",
        done.stderr
    );

    let done = env.run(["run", "--src", "team/notes", "--run-id", "2"]);
    done.expect(0);
    let granted = results("2");
    assert_eq!(granted["trust"]["level"], "granted", "{granted:#}");
    let steps = host_file::text(&ran).unwrap();
    assert!(
        steps.contains("install_steps.sh") && steps.contains("test_delete.sh"),
        "{steps}"
    );
    let seen = host_file::text(Path::new(&format!("{}.env", ran.display()))).unwrap();
    assert!(
        !seen.contains(SECRET) && !seen.contains("CCCI_SECRET_"),
        "{seen}"
    );
    assert!(
        !forge.authorized().iter().any(|_| true),
        "{:?}",
        forge.authorized()
    );
    env.assert_nothing_left();
}
