//! Which version an upgrade starts from, where the recipe has no older release.

use serde_json::Value;

use crate::engine::SwarmEnv;
use crate::forge::Forge;
use crate::support::git;

/// What a run of these stages would start of a recipe that it trusts, everywhere.
const HOSTILE: [&str; 7] = [
    "install_steps.sh",
    "provide.sh",
    "setup_custom_tests.sh",
    "test_install.sh",
    "test_upgrade.sh",
    "ops/pre_upgrade",
    "ops/verify_upgrade",
];

#[test]
fn without_an_older_release_the_base_is_the_tip_of_the_default_branch() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,upgrade");
    let recipe = env.recipe("notes");
    let commit = |name: &str| git(&recipe, &["rev-parse", &format!("{name}^{{commit}}")]);
    // The published versions become plain commits: `main` is what was 0.2.0, the proposal is on top of it.
    let (old, tip) = (commit("0.1.0+1.0.0"), commit("0.2.0+1.1.0"));
    git(&recipe, &["checkout", "-q", "-b", "proposal"]);
    git(&recipe, &["branch", "-q", "-f", "main", &tip]);
    git(&recipe, &["checkout", "-q", "main"]);
    git(&recipe, &["tag", "-d", "0.1.0+1.0.0", "0.2.0+1.1.0"]);
    // It is not approved, so nothing of what it ships may run on this host.
    git(&recipe, &["checkout", "-q", "proposal"]);
    let ran = env.root.join("ran");
    for name in HOSTILE {
        let text = format!("#!/bin/sh\necho {name} >>'{}'\n", ran.display());
        env.write(&format!("recipes/notes/tests/{name}"), &text);
    }
    git(&recipe, &["add", "tests"]);
    git(&recipe, &["commit", "-q", "-m", "Run on every host"]);
    git(&recipe, &["checkout", "-q", "main"]);
    let head = commit("proposal");
    // A forge says which branch is the default one; a work tree that came from none has `main`, see below.
    let forge = Forge::start(env.root.join("forge"));
    let published = forge.publish("notes", &recipe);
    let url = format!("{}/coop-cloud/notes.git", forge.url());
    env.set("CCCI_FORGES", forge.url());
    let args = ["run", "--src", &url, "--ref", "proposal"];

    let done = env.run(args);
    done.expect(0);
    let results = env.results();
    let report = format!("{results:#}\n{}", done.stderr);
    let shown = format!("default branch ({})", &tip[..8]);
    assert_eq!(results["base_kind"], "ref", "{report}");
    assert_eq!(results["base_version"], shown.as_str(), "{report}");
    assert_eq!(results["ref"], "proposal", "{report}");
    assert_eq!(results["head_commit"], head.as_str(), "{report}");
    let tiers = results["tiers"].as_array().unwrap();
    let upgrade = tiers.iter().find(|tier| tier["name"] == "upgrade").unwrap();
    assert_eq!(upgrade["status"], "pass", "{report}");
    let rows = upgrade["tests"].as_array().unwrap();
    for name in ["generic: it moved", "generic: data survived"] {
        let row = rows.iter().find(|row| row["name"] == name);
        assert_eq!(row.unwrap()["status"], "pass", "{report}");
    }
    let ran = harness::host_file::text(&ran).unwrap_or_default();
    assert_eq!(ran, "", "{report}");
    let customization = results["customization"].to_string();
    for name in HOSTILE {
        let line = format!("recipe: {name} (not run: ");
        assert!(customization.contains(&line), "no `{line}`: {report}");
    }
    env.assert_nothing_left();

    // An older release comes first, a newer one or the head's own is none, and the tip itself has no base.
    let plan = |reference: &str| {
        let done = env.run(["run", "--src", &url, "--ref", reference, "--dry-run"]);
        done.expect(0);
        serde_json::from_str::<Value>(&done.stdout).unwrap()
    };
    git(&published, &["tag", "0.9.0+2.0.0", &old]);
    git(&published, &["tag", "0.3.0+1.2.0", &head]);
    let newer = plan("proposal");
    assert_eq!(
        (&newer["base_kind"], &newer["base_version"]),
        (&"ref".into(), &shown.as_str().into())
    );
    let itself = plan("main");
    assert_eq!(itself["base_version"], Value::Null);
    let reason = itself["no_base"].as_str().unwrap();
    assert!(
        reason.contains("every published version is newer"),
        "{reason}"
    );
    git(&published, &["tag", "0.1.0+1.0.0", &old]);
    let older = plan("proposal");
    assert_eq!(
        (&older["base_kind"], &older["base_version"]),
        (&"tag".into(), &"0.1.0+1.0.0".into())
    );

    // The same of a work tree without any remote; changes over the tip that are not committed are no proposal.
    let local = |reference: &str| {
        git(&recipe, &["checkout", "-q", reference]);
        let done = env.run(["run", recipe.to_str().unwrap(), "--dry-run"]);
        done.expect(0);
        serde_json::from_str::<Value>(&done.stdout).unwrap()
    };
    let proposal = local("proposal");
    assert_eq!(
        (&proposal["base_kind"], &proposal["base_version"]),
        (&"ref".into(), &shown.as_str().into())
    );
    std::fs::write(recipe.join("NOTE"), "not committed").unwrap();
    assert_eq!(local("main")["base_version"], Value::Null);
    std::fs::remove_file(recipe.join("NOTE")).unwrap();
    // What the branch has gone beyond is no proposal either: to deploy it over the tip would be a downgrade.
    let passed = local(&old);
    assert_eq!(passed["base_version"], Value::Null, "{passed:#}");
}
