//! Dependencies without an engine: what is wrong with them is known before anything is made, and what is deployed
//! is said.

use std::path::{Path, PathBuf};

use crate::support::{Done, TestEnv, copy, git};

/// An environment whose engine does not answer, with a recipe `client` and a forge that has `notes` and `board`.
fn env() -> (TestEnv, PathBuf) {
    let mut env = TestEnv::new("unix:///nowhere/docker.sock");
    let notes = env.recipe("notes");
    let client = copy(&notes, env.root.join("recipes/client"));
    std::fs::remove_dir_all(client.join("tests")).unwrap();
    for name in ["notes", "board"] {
        copy(&notes, published(&env, name));
    }
    let root = env.root.display().to_string();
    env.set("CCCI_FORGE_URL", format!("file://{root}/forge"));
    env.set("CCCI_TESTS_DIR", format!("{root}/overlays"));
    (env, client)
}

fn published(env: &TestEnv, name: &str) -> PathBuf {
    env.root.join(format!("forge/coop-cloud/{name}.git"))
}

fn declare(env: &TestEnv, recipe: &str, dependencies: &str) {
    env.write(
        &format!("overlays/{recipe}/recipe-ci.yml"),
        &format!("dependencies: [{dependencies}]\n"),
    );
}

fn run(env: &TestEnv, client: &Path) -> Done {
    env.run(["run", client.to_str().unwrap(), "--stages", "install"])
}

/// Returns the warnings of the only run, which came as far as the engine that does not answer.
#[track_caller]
fn warnings(env: &TestEnv, client: &Path) -> Vec<String> {
    run(env, client).expect(3);
    let results = env.results();
    let warnings = results["warnings"].as_array().unwrap().iter();
    warnings
        .map(|line| line.as_str().unwrap().to_owned())
        .filter(|line| line.starts_with("dependency ") && !line.contains("granted"))
        .collect()
}

#[test]
fn a_need_that_cannot_be_met_is_refused_before_anything_is_made() {
    for (file, said) in [
        (
            "dependencies: [notes, client]\n",
            "`client` cannot need itself",
        ),
        (
            "recipe: client\ndependencies: [client]\n",
            "a recipe cannot need itself",
        ),
        (
            "dependencies: [notes, {recipe: notes, required: true}]\n",
            "`notes` is named twice",
        ),
    ] {
        let (env, client) = env();
        env.write("overlays/client/recipe-ci.yml", file);
        let done = run(&env, &client);
        // An engine that was asked for would be exit 3.
        done.expect(2);
        assert!(done.stderr.contains(said), "{}", done.stderr);
        let place = "overlays/client/recipe-ci.yml:";
        assert!(done.stderr.contains(place), "{}", done.stderr);
        assert!(done.stderr.contains("hint"), "{}", done.stderr);
        let locks = harness::host_file::entries(env.root.join("locks")).unwrap();
        assert_eq!(locks.count(), 0, "a lock file was made");
        env.assert_quiet();
    }
}

#[test]
fn an_unknown_dependency_is_wrong_input() {
    let (mut env, client) = env();
    declare(&env, "client", "nobody");
    let done = run(&env, &client);
    done.expect(2);
    assert!(
        done.stderr.contains("dependency `nobody`: "),
        "{}",
        done.stderr
    );
    env.set("CCCI_SKIP_FETCH", "1");
    let done = run(&env, &client);
    done.expect(2);
    assert!(
        done.stderr.contains("dependency `nobody`: ") && done.stderr.contains("stage the recipe's"),
        "{}",
        done.stderr
    );
}

#[test]
fn without_a_published_version_the_default_branch_is_taken_and_said() {
    let (env, client) = env();
    let board = published(&env, "board");
    git(&board, &["tag", "-d", "0.1.0+1.0.0", "0.2.0+1.1.0"]);
    // A tag that is no version of a recipe is none.
    git(&board, &["tag", "-a", "-m", "x", "v7"]);
    declare(&env, "client", "board, notes");
    assert_eq!(
        warnings(&env, &client),
        ["dependency `board` has no published version; its default branch is deployed"]
    );
    let customization = env.results()["customization"].to_string();
    for line in [
        "dependency: board its default branch",
        "dependency: notes 0.2.0+1.1.0",
    ] {
        assert!(customization.contains(line), "{customization}");
    }
}

/// One level is deployed, and what is left out is said: but not of what is there anyway.
#[test]
fn dependencies_of_a_dependency_are_said_to_be_left_out_where_they_are() {
    let (env, client) = env();
    declare(&env, "client", "board, notes");
    declare(&env, "board", "notes, elsewhere, client");
    declare(&env, "notes", "board");
    assert_eq!(
        warnings(&env, &client),
        [
            "dependency `board` has dependencies of its own (elsewhere), which are not deployed: name them in the recipe under test as well"
        ]
    );
}

/// It is the dependency that fails, later and for those who need it; the input of this run is not wrong.
#[test]
fn a_published_version_that_cannot_be_read_is_a_broken_dependency_and_not_wrong_input() {
    for (file, from, to) in [
        ("compose.yml", "services:", "services: ["),
        (".env.sample", "length=32", "size=32"),
        ("tests/recipe-ci.yml", "", "helth: {path: /}\n"),
    ] {
        let (env, client) = env();
        let board = published(&env, "board");
        let path = board.join(file);
        let text = harness::host_file::text(&path).unwrap_or_default();
        let edited = text.replacen(from, to, 1);
        assert_ne!(text, edited);
        std::fs::write(path, edited).unwrap();
        git(&board, &["add", "-A", "-f"]);
        git(&board, &["commit", "-q", "-m", "chore: publish"]);
        git(&board, &["tag", "-a", "-m", "it", "9.0.0+9.0.0"]);
        declare(&env, "client", "board");
        // As far as the engine, which does not answer.
        run(&env, &client).expect(3);
        // What the operator wrote about it is input.
        env.write("overlays/board/recipe-ci.yml", "helth: {path: /}\n");
        if file != "tests/recipe-ci.yml" {
            std::fs::write(board.join(file), text).unwrap();
            git(&board, &["commit", "-q", "-a", "-m", "chore: publish"]);
            git(&board, &["tag", "-a", "-m", "it", "9.0.1+9.0.0"]);
            let done = run(&env, &client);
            done.expect(2);
            let said = "overlays/board/recipe-ci.yml:1:1: there is no key `helth`";
            assert!(done.stderr.contains(said), "{}", done.stderr);
        }
    }
}

/// What the policy has against a dependency is said as what it has against the recipe: on the console, in the report,
/// and with the line that grants it to the dependency's own source.
#[test]
fn a_dependency_that_the_policy_refuses_is_named_with_its_rule_in_the_report() {
    let (mut env, client) = env();
    let board = published(&env, "board");
    env.edit(
        &board.join("compose.yml"),
        "services:\n",
        "services:\n  evil:\n    image: nginx:1.27\n    volumes: ['/etc:/mnt']\n",
    );
    git(&board, &["commit", "-q", "-am", "chore: publish"]);
    git(&board, &["tag", "-a", "-m", "it", "9.0.0+9.0.0"]);
    declare(&env, "client", "board");
    env.set("STAGES", "install");
    let src = client.to_str().unwrap();
    let done = env.run(["run", "--src", src]);
    done.expect(2);
    let results = env.results();
    assert_eq!(results["verdict"], "refused", "{results:#}");
    let found = &results["policy"][0];
    assert_eq!(
        (&found["rule"], &found["refused"]),
        (&"P003".into(), &true.into())
    );
    let message = found["message"].as_str().unwrap();
    assert!(message.starts_with("dependency `board`: "), "{message}");
    for words in [
        "refused",
        "P003",
        "coop-cloud/board",
        "binds: [{path: /etc, write: true}]",
    ] {
        assert!(
            done.stderr.contains(words),
            "no `{words}` in\n{}",
            done.stderr
        );
    }
    assert_eq!(
        harness::host_file::entries(env.root.join("locks"))
            .unwrap()
            .count(),
        0
    );
    std::fs::remove_dir_all(env.root.join("runs")).unwrap();
    // By hand it is said, and the run goes on, as far as the engine that does not answer.
    let done = run(&env, &client);
    done.expect(3);
    assert_eq!(env.results()["policy"][0]["rule"], "P003");
    assert!(done.stderr.contains("P003"), "{}", done.stderr);
}

/// What a stranger's dependency is limited to is a deviation of the run.
#[test]
fn the_ceilings_of_a_dependency_are_deviations_of_the_run() {
    let (env, client) = env();
    declare(&env, "client", "board");
    let args = [
        "run",
        "--stages",
        "install",
        "--src",
        client.to_str().unwrap(),
    ];
    env.run(args).expect(3);
    let deviations = env.results()["deviations"].to_string();
    assert!(
        deviations.contains("dependency `board`: limited to memory 1g a task"),
        "{deviations}"
    );
}

/// What is said of a dependency's own names may have a variable of the operator's in it.
#[test]
fn what_is_wrong_with_a_dependency_shows_no_secret_of_its_overlay() {
    const CANARY: &str = "canary-91be04";
    let (env, client) = env();
    let board = published(&env, "board");
    env.edit(
        &board.join("compose.yml"),
        "_app_notes_${APP_NOTES_VERSION}",
        &format!("_${{SMTP_PASSWORD}}_{}", "x".repeat(60)),
    );
    git(&board, &["commit", "-q", "-am", "chore: publish"]);
    git(&board, &["tag", "-a", "-m", "it", "9.0.0+9.0.0"]);
    declare(&env, "client", "board");
    env.write(
        "overlays/board/recipe-ci.yml",
        &format!("env:\n  SMTP_PASSWORD: {CANARY}\n"),
    );
    let done = run(&env, &client);
    done.expect(2);
    assert!(done.stderr.contains("_[redacted]_xxx"), "{}", done.stderr);
    for text in [&done.stdout, &done.stderr] {
        assert!(!text.contains(CANARY), "{text}");
    }
    let results = env.results().to_string();
    assert!(!results.contains(CANARY), "{results}");
}
