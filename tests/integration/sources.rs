//! Sources that are not whole, made by the real git: shallow and partial clones, pointers of Git LFS, submodules. Each is
//! said with the way out, in a dry run, a run and a lint alike, and nothing is made.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::dry_run::stage;
use crate::support::{Done, TestEnv, git};

/// What Git LFS commits in the place of a file: `docs/spec.md` of git-lfs/git-lfs.
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
    oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

fn env() -> TestEnv {
    TestEnv::new("unix:///nowhere/docker.sock")
}

/// Clones `recipe` with the real git, as from a server.
fn clone(env: &TestEnv, recipe: &Path, name: &str, how: &[&str]) -> PathBuf {
    let (from, to) = (format!("file://{}", recipe.display()), env.root.join(name));
    for allowed in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        git(recipe, &["config", allowed, "true"]);
    }
    let to = to.to_str().unwrap();
    git(&env.root, &[&["clone", "-q"], how, &[&from, to]].concat());
    PathBuf::from(to)
}

fn dry_run(env: &TestEnv, recipe: &Path, more: &[&str]) -> Done {
    let args = [
        "run",
        recipe.to_str().unwrap(),
        "--recipe",
        "notes",
        "--dry-run",
    ];
    env.run(args.into_iter().chain(more.iter().copied()))
}

#[track_caller]
fn refused(done: &Done, words: &[&str]) {
    done.refused(words);
    let verdict = done.stderr.lines().find(|line| line.contains("verdict"));
    assert!(!verdict.unwrap().contains("/runs/"), "{}", done.stderr);
}

#[track_caller]
fn base(done: &Done) -> Value {
    done.expect(0);
    serde_json::from_str::<Value>(&done.stdout).unwrap()["base_version"].take()
}

fn skipped(lint: &Done, rule: &str) -> String {
    let lint: Value = serde_json::from_str(&lint.stdout).unwrap();
    let skipped = lint["skipped"].as_array().unwrap().iter();
    let one = skipped
        .filter(|one| one["id"] == rule)
        .map(|one| one["reason"].clone());
    one.map(|reason| reason.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_shallow_clone_that_may_hide_the_base_is_refused_with_the_command_that_gets_it() {
    let env = env();
    let recipe = env.recipe("notes");
    let shallow = clone(&env, &recipe, "shallow", &["--depth=1"]);
    assert_eq!(git(&shallow, &["tag"]), "");
    let command = format!("git -C {} fetch --unshallow --tags", shallow.display());
    let done = dry_run(&env, &shallow, &[]);
    refused(
        &done,
        &[
            "is a shallow clone",
            &command,
            "--stages install,backup,restore,custom",
        ],
    );
    // The address of a directory is no other case, nor is a run that is no dry one.
    let url = format!("file://{}", shallow.display());
    refused(
        &env.run(["run", "--src", &url]),
        &["is a shallow clone", &command],
    );
    assert_eq!(env.results()["verdict"], "usage");
    let lint = || env.run(["lint".as_ref(), shallow.as_os_str(), "--json".as_ref()]);
    for rule in ["R014", "C002"] {
        assert!(skipped(&lint(), rule).contains("shallow clone"), "{rule}");
    }
    // Without an upgrade nothing is missing.
    dry_run(&env, &shallow, &["--stages", "install"]).expect(0);
    let named = dry_run(&env, &shallow, &["--base", "0.2.0+1.1.0"]);
    refused(&named, &["is not a tag of this recipe", &command]);
    // The way out is one.
    git(&shallow, &["fetch", "-q", "--unshallow", "--tags"]);
    assert_eq!(base(&dry_run(&env, &shallow, &[])), "0.2.0+1.1.0");
    assert_eq!(skipped(&lint(), "R014"), "");
}

#[test]
fn a_shallow_clone_with_an_older_version_is_upgraded_from_it_and_that_is_said() {
    let env = env();
    let recipe = env.recipe("notes");
    let deep = format!("--shallow-exclude={}", "0.1.0+1.0.0");
    let shallow = clone(&env, &recipe, "shallow", &[&deep]);
    assert_eq!(
        git(&shallow, &["rev-parse", "--is-shallow-repository"]),
        "true"
    );
    let done = dry_run(&env, &shallow, &[]);
    assert_eq!(base(&done), "0.2.0+1.1.0");
    assert!(
        done.stdout
            .contains("a version newer than 0.2.0+1.1.0 may be missing"),
        "{}",
        done.stdout
    );
}

#[test]
fn what_a_partial_clone_lacks_is_named_with_the_command_that_gets_it() {
    let env = env();
    let recipe = env.recipe("notes");
    let partial = clone(&env, &recipe, "partial", &["--filter=blob:none"]);
    let command = format!(
        "git -C {} fetch --refetch --no-filter --tags",
        partial.display()
    );
    let done = dry_run(&env, &partial, &[]);
    refused(
        &done,
        &[
            "is a partial clone",
            "lacks the content of `",
            "in published version 0.2.0+1.1.0",
            &command,
        ],
    );
    // The head is whole: git fetched its files when it checked them out.
    dry_run(&env, &partial, &["--stages", "install"]).expect(0);
    let bare = clone(&env, &recipe, "bare", &["--filter=blob:none", "--bare"]);
    let done = dry_run(&env, &bare, &["--stages", "install"]);
    refused(
        &done,
        &["is a partial clone", "the content of `", "is not there"],
    );
    let trees = clone(
        &env,
        &recipe,
        "trees",
        &["--filter=tree:0", "--no-checkout"],
    );
    let done = dry_run(
        &env,
        &trees,
        &["--ref", "0.1.0+1.0.0", "--stages", "install"],
    );
    refused(&done, &["is a partial clone", "is not there"]);
    git(
        &partial,
        &["fetch", "-q", "--refetch", "--no-filter", "--tags"],
    );
    assert_eq!(base(&dry_run(&env, &partial, &[])), "0.2.0+1.1.0");
}

/// Has `file` be a pointer in the newest commit, with the content that Git LFS has put into the work tree.
fn point(recipe: &Path, file: &str) {
    let path = recipe.join(file);
    let content = harness::host_file::bytes(&path).unwrap();
    std::fs::write(&path, POINTER).unwrap();
    git(recipe, &["add", "-A"]);
    git(recipe, &["commit", "-qm", "a pointer"]);
    std::fs::write(&path, content).unwrap();
}

#[test]
fn a_pointer_of_git_lfs_is_refused_where_the_recipe_uses_it() {
    for (file, at) in [
        ("notes.cgi.sh", "P037 compose.yml:"),
        (".env.sample", "P037 .env.sample"),
        ("abra.sh", "P037 abra.sh"),
        ("compose.yml", "P037 compose.yml"),
        (
            "tests/custom/test_limits.sh",
            "P037 tests/custom/test_limits.sh",
        ),
    ] {
        let env = env();
        let recipe = env.recipe("notes");
        point(&recipe, file);
        // Pulled or not: the commit is what an operator gets.
        for pulled in [true, false] {
            if !pulled {
                git(&recipe, &["checkout", "-q", "--", file]);
            }
            let said = ["is a pointer of Git LFS", at, "git lfs untrack"];
            refused(&dry_run(&env, &recipe, &[]), &said);
            let lint = env.run(["lint".as_ref(), recipe.as_os_str()]);
            assert_ne!(lint.code, Some(0), "{file}: {}", lint.stdout);
            let said = lint.stdout + &lint.stderr;
            assert!(
                said.contains("a pointer of Git LFS") && said.contains(file),
                "{said}"
            );
        }
        env.assert_quiet();
    }
}

/// Neither what Git LFS nor what somebody else has put in the place of a pointer is the commit's, which trust is about.
#[test]
fn a_staged_checkout_has_its_pointers_and_not_what_lies_in_their_place() {
    for file in ["notes.cgi.sh", "abra.sh"] {
        let mut env = env();
        let recipe = env.recipe("notes");
        point(&recipe, file);
        let staged = stage(&mut env, &recipe);
        let before = harness::host_file::text(staged.join(file)).unwrap();
        let done = env.run(["run", "--dry-run"]);
        refused(&done, &["is a pointer of Git LFS", file]);
        let after = harness::host_file::text(staged.join(file)).unwrap();
        assert_eq!(after, before, "the staged checkout is the user's");
    }
}

#[test]
fn a_pointer_of_git_lfs_that_nothing_uses_is_no_matter() {
    let env = env();
    let recipe = env.recipe("notes");
    std::fs::write(recipe.join("logo.png"), "an image").unwrap();
    point(&recipe, "logo.png");
    let done = dry_run(&env, &recipe, &[]);
    assert_eq!(base(&done), "0.2.0+1.1.0");
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(plan["uncommitted_changes"], false, "git calls it clean");
    env.run(["lint".as_ref(), recipe.as_os_str()]).expect(0);
}

#[test]
fn a_pointer_in_the_base_is_the_bases_fault() {
    let env = env();
    let recipe = env.recipe("notes");
    let content = harness::host_file::bytes(recipe.join("notes.cgi.sh")).unwrap();
    point(&recipe, "notes.cgi.sh");
    git(&recipe, &["tag", "0.2.1+1.1.0"]);
    std::fs::write(recipe.join("notes.cgi.sh"), content).unwrap();
    git(&recipe, &["commit", "-qam", "the file itself"]);
    let done = dry_run(&env, &recipe, &[]);
    done.expect(0);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    let reason = plan["no_base"].as_str().unwrap();
    assert!(
        reason.contains("base-broken") && reason.contains("a pointer of Git LFS"),
        "{reason}"
    );
}

/// Adds a real submodule at `at`, with a file `conf` and a test.
fn submodule(env: &TestEnv, recipe: &Path, at: &str) {
    let theirs = env.root.join("theirs");
    std::fs::create_dir_all(theirs.join("custom")).unwrap();
    std::fs::write(theirs.join("conf"), "x").unwrap();
    std::fs::write(theirs.join("custom/test_x.sh"), "#!/bin/sh\n").unwrap();
    git(&theirs, &["init", "-q", "-b", "main"]);
    git(&theirs, &["add", "-A"]);
    git(&theirs, &["commit", "-qm", "first"]);
    let url = format!("file://{}", theirs.display());
    git(
        recipe,
        &[
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "add",
            "-q",
            &url,
            at,
        ],
    );
}

#[test]
fn a_file_in_a_submodule_is_refused_and_its_address_is_not_followed() {
    let env = env();
    let recipe = env.recipe("notes");
    submodule(&env, &recipe, "sub");
    git(&recipe, &["commit", "-qm", "a submodule"]);
    // One that nothing uses is no matter.
    assert_eq!(base(&dry_run(&env, &recipe, &[])), "0.2.0+1.1.0");
    env.run(["lint".as_ref(), recipe.as_os_str()]).expect(0);
    let compose = recipe.join("compose.yml");
    env.edit(&compose, "file: notes.cgi.sh", "file: ./sub/conf");
    git(&recipe, &["commit", "-qam", "use it"]);
    let fresh = clone(&env, &recipe, "fresh", &[]);
    for place in [&recipe, &fresh] {
        let said = [
            "P037 compose.yml:",
            "`sub` is an empty directory, as a submodule is",
            "git subtree add",
        ];
        refused(&dry_run(&env, place, &[]), &said);
        let lint = env.run(["lint".as_ref(), place.as_os_str()]);
        lint.expect(1);
        assert!(
            lint.stdout.contains("submodule") && lint.stdout.contains("sub"),
            "{}",
            lint.stdout
        );
    }
    env.assert_quiet();
}

#[test]
fn tests_in_a_submodule_are_refused_and_not_left_out() {
    for at in ["tests", "tests/helpers"] {
        let env = env();
        let recipe = env.recipe("notes");
        if at == "tests" {
            git(&recipe, &["rm", "-rq", "tests"]);
        }
        submodule(&env, &recipe, at);
        git(&recipe, &["commit", "-qm", "a submodule"]);
        let rule = format!("P037 {at}");
        refused(
            &dry_run(&env, &recipe, &[]),
            &[&rule, "is a submodule", "git subtree add"],
        );
        let lint = env.run(["lint".as_ref(), recipe.as_os_str()]);
        lint.expect(1);
        assert!(lint.stdout.contains("C025"), "{}", lint.stdout);
    }
}
