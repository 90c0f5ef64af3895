//! Whatever can be judged without an engine is judged before one is asked, on every way to a deploy.

use serde_json::json;

use crate::support::{TestEnv, digest, git};

/// Gives `notes` a canonical of its first version, as a promotion leaves it.
pub(crate) fn canonical(env: &TestEnv, commit: &str) {
    let domain = format!("warm-notes.{}", env.zone);
    let kept =
        format!("TYPE=notes\nDOMAIN={domain}\nLETS_ENCRYPT_ENV=\nSECRET_ADMIN_TOKEN_VERSION=v1\n");
    let file = env.write("warm/notes/snapshot-0a/env", &kept);
    let meta = json!({
        "version": "0.1.0+1.0.0", "volumes": [], "env_sha256": digest(&file), "secrets": [], "images": [],
    });
    let meta = env.write("warm/notes/snapshot-0a/meta.json", &meta.to_string());
    let record = json!({
        "schema": 1, "recipe": "notes", "version": "0.1.0+1.0.0", "commit": commit, "status": "busy",
        "ts": "20260101T000000Z", "domain": domain, "server": "default",
        "snapshot": {"dir": "snapshot-0a", "sha256": digest(&meta)},
    });
    env.write("warm/notes/canonical.json", &record.to_string());
}

#[test]
fn a_quick_run_is_refused_before_the_engine_is_asked_and_the_warm_app_is_touched() {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    let recipe = env.recipe("notes");
    let first = git(&recipe, &["rev-parse", "0.1.0+1.0.0^{commit}"]);
    canonical(&env, &first);
    let record = env.root.join("warm/notes/canonical.json");
    let before = harness::host_file::text(&record).unwrap();
    // Over the canonical there is an engine to ask, and it is not there.
    let run = || env.run(["run", "--quick", "--src", recipe.to_str().unwrap()]);
    run().expect(3);
    std::fs::remove_dir_all(env.root.join("runs")).unwrap();
    let compose = recipe.join("compose.yml");
    for (from, to, rule) in [
        (
            "    init: true",
            "    privileged: true\n    init: true",
            "P034",
        ),
        // Only a new app has the value of .env.sample, and the run may become one.
        (
            "command: [",
            "cap_add: [\"${CAP:-CHOWN}\"]\n    command: [",
            "P014",
        ),
    ] {
        env.edit(&compose, from, to);
        std::fs::write(recipe.join(".env.sample"), {
            let text = harness::host_file::text(recipe.join(".env.sample")).unwrap();
            text + "CAP=SYS_ADMIN\n"
        })
        .unwrap();
        git(&recipe, &["commit", "-qam", "evil"]);
        let done = run();
        done.expect(2);
        assert!(done.stderr.contains(rule), "no {rule} in\n{}", done.stderr);
        let results = env.results();
        assert_eq!(results["verdict"], "refused");
        assert_eq!(
            results["policy"].as_array().unwrap().len(),
            1,
            "{results:#}"
        );
        assert_eq!(harness::host_file::text(&record).unwrap(), before);
        let locks = harness::host_file::entries(env.root.join("locks")).unwrap();
        let apps = locks
            .flatten()
            .filter(|lock| lock.file_name().to_string_lossy().contains("notes"));
        assert_eq!(apps.count(), 0, "a lock was made");
        std::fs::remove_dir_all(env.root.join("runs")).unwrap();
        git(&recipe, &["reset", "-q", "--hard", "HEAD~1"]);
        env.assert_quiet();
    }
}
