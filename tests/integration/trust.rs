//! Whom the host trusts: by the source, never by the recipe's name.

use std::path::Path;

use serde_json::Value;

use crate::forge::Forge;
use crate::support::{Done, TestEnv, git};

/// An environment whose engine does not answer, with a forge on which `team/notes` is, and a copy as `evil/notes`.
struct Scene {
    env: TestEnv,
    forge: Forge,
}

fn scene() -> Scene {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    let recipe = env.recipe("notes");
    let forge = Forge::start(env.root.join("forge"));
    for name in ["team/notes", "evil/notes"] {
        let at = forge.publish_as(name, &recipe);
        git(&at, &["branch", "feature", "main"]);
        git(&at, &["tag", "v9", "main"]);
        git(&at, &["update-ref", "refs/pull/7/head", "main"]);
    }
    let mut scene = Scene { env, forge };
    let url = scene.forge.url();
    scene.env.set("CCCI_FORGE_URL", url);
    scene
}

impl Scene {
    /// Writes what the operator grants to `team/notes`.
    fn grant(&mut self, grant: &str) {
        let host = self.forge.url().replace("http://", "");
        let text = format!("sources:\n  {host}/team/notes: {{{grant}}}\n");
        let file = self.env.write("grants.yml", &text);
        self.env.set("CCCI_GRANTS", file.display().to_string());
    }

    fn plan(&self, src: &str, more: &[&str]) -> Value {
        let done = self.dry_run(src, more);
        done.expect(0);
        serde_json::from_str(&done.stdout).unwrap()
    }

    fn dry_run(&self, src: &str, more: &[&str]) -> Done {
        let args = ["run", "--dry-run", "--src", src];
        self.env.run(args.iter().chain(more))
    }
}

/// Returns the level of a plan, after making sure that its tests go by it.
#[track_caller]
fn level(plan: &Value) -> &str {
    let level = plan["trust"]["level"].as_str().unwrap();
    let withheld = plan["customization"].to_string().contains("(not run: ");
    assert_eq!(withheld, level == "stranger", "{plan:#}");
    level
}

/// Asserts that an argument was refused before anything was made.
#[track_caller]
fn refused(env: &TestEnv, done: &Done, words: &[&str]) {
    done.refused(words);
    done.refused(&["hint: "]);
    for dir in ["runs", "locks", "state"] {
        assert!(!env.root.join(dir).exists(), "{dir} was made");
    }
}

#[test]
fn a_grant_holds_for_a_branch_or_a_commit_of_one_source_and_nothing_else() {
    let mut scene = scene();
    assert_eq!(level(&scene.plan("team/notes", &[])), "stranger");
    scene.grant("branches: [main], run_code: true");
    let host = scene.forge.url().replace("http://", "");
    let granted = scene.plan("team/notes", &[]);
    assert_eq!(level(&granted), "granted");
    assert_eq!(granted["trust"]["source"], format!("{host}/team/notes"));
    let why = granted["trust"]["why"].as_str().unwrap();
    assert!(
        why.contains("grants.yml") && why.contains("`main`"),
        "{why}"
    );
    let url = format!("{}/team/notes", scene.forge.url());
    assert_eq!(level(&scene.plan(&url, &["--ref", "main"])), "granted");
    assert_eq!(
        level(&scene.plan("team/notes", &["--ref", "refs/heads/main"])),
        "granted"
    );
    // All of these are the commit that `main` is at.
    let commit = git(
        &scene.env.root.join("recipes/notes"),
        &["rev-parse", "main"],
    );
    for reference in ["v9", "feature", "refs/pull/7/head", &commit] {
        let plan = scene.plan("team/notes", &["--ref", reference]);
        assert_eq!(level(&plan), "stranger", "{reference}");
    }
    assert_eq!(
        level(&scene.plan("evil/notes", &["--ref", "main"])),
        "stranger"
    );
    scene.grant(&format!("commits: ['{commit}'], run_code: true"));
    for reference in ["v9", "feature", &commit] {
        let plan = scene.plan("team/notes", &["--ref", reference]);
        assert_eq!(level(&plan), "granted", "{reference}");
    }
    assert_eq!(
        level(&scene.plan("evil/notes", &["--ref", &commit])),
        "stranger"
    );
}

/// Finding A2: a name is anybody's.
#[test]
fn a_name_on_the_old_list_counts_for_the_published_repository_only() {
    let mut scene = scene();
    let recipe = scene.env.root.join("recipes/notes");
    scene.forge.publish("notes", &recipe);
    let list = scene.env.write("approved", "notes\n");
    scene
        .env
        .set("CCCI_APPROVED_FILE", list.display().to_string());
    assert_eq!(level(&scene.plan("evil/notes", &[])), "stranger");
    let evil = scene.plan("evil/notes", &["--recipe", "notes"]);
    assert_eq!(level(&evil), "stranger");
    for src in [
        "coop-cloud/notes",
        &format!("{}/coop-cloud/notes.git/", scene.forge.url()),
    ] {
        let ours = scene.plan(src, &[]);
        assert_eq!(level(&ours), "granted", "{src}");
        let warnings = ours["warnings"].to_string();
        assert!(
            warnings.contains("deprecated") && warnings.contains("run_code: true"),
            "{warnings}"
        );
    }
    let done = scene.env.run(["run", "notes", "--dry-run"]);
    done.expect(0);
    assert_eq!(
        level(&serde_json::from_str(&done.stdout).unwrap()),
        "granted"
    );
    // A proposal in the published repository itself.
    let at = scene.env.root.join("forge/coop-cloud/notes.git");
    git(&at, &["update-ref", "refs/pull/7/head", "main"]);
    git(&at, &["branch", "feature", "0.2.0+1.1.0"]);
    for reference in ["refs/pull/7/head", "feature"] {
        let plan = scene.plan("coop-cloud/notes", &["--ref", reference]);
        assert_eq!(plan["trust"]["level"], "stranger", "{reference}");
    }
}

#[test]
fn a_recipe_is_called_as_its_repository_or_as_the_operator_says() {
    let mut scene = scene();
    for (src, name) in [("evil/notes", "gitea"), ("team/notes", "notes2")] {
        let done = scene.dry_run(src, &["--recipe", name]);
        refused(
            &scene.env,
            &done,
            &["`notes`", name, "RECIPE", "aliases: ["],
        );
    }
    // A recipe's name on the command line is no other thing.
    let done = scene.env.run(["run", "gitea", "--src", "evil/notes"]);
    refused(&scene.env, &done, &["`notes`", "`gitea`"]);
    scene.grant("branches: [main], aliases: [gitea]");
    assert_eq!(
        scene.plan("team/notes", &["--recipe", "gitea"])["recipe"],
        "gitea"
    );
    // A person's own directory may be called anything.
    let recipe = scene.env.root.join("recipes/notes");
    let done = scene.env.run([
        "run".as_ref(),
        recipe.as_os_str(),
        "--recipe".as_ref(),
        "gitea".as_ref(),
        "--dry-run".as_ref(),
    ]);
    done.expect(0);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(level(&plan), "by hand");
    let scene = self::scene();
    let done = scene.dry_run("evil/notes", &["--recipe", "gitea"]);
    refused(&scene.env, &done, &["`gitea`"]);
}

#[test]
fn a_path_in_src_is_taken_from_listed_directories_only_and_is_a_strangers() {
    let mut env = TestEnv::new("unix:///nowhere/docker.sock");
    let recipe = env.recipe("notes");
    let elsewhere = env.root.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let run = |env: &TestEnv, src: &Path| {
        env.run([
            "run".as_ref(),
            "--dry-run".as_ref(),
            "--src".as_ref(),
            src.as_os_str(),
        ])
    };
    let url = format!("file://{}", recipe.display());
    for dirs in ["", "/no/such/directory", elsewhere.to_str().unwrap()] {
        env.set("CCCI_SRC_DIRS", dirs);
        for src in [
            recipe.as_path(),
            Path::new(&url),
            Path::new("./recipes/notes"),
        ] {
            refused(&env, &run(&env, src), &["SRC", "CCCI_SRC_DIRS"]);
        }
    }
    env.set("CCCI_SRC_DIRS", "recipes");
    refused(&env, &run(&env, &recipe), &["CCCI_SRC_DIRS", "relative"]);
    // A link, and a work tree whose repository is somewhere else, lead out of the directory.
    env.set("CCCI_SRC_DIRS", elsewhere.display().to_string());
    std::os::unix::fs::symlink(&recipe, elsewhere.join("notes")).unwrap();
    refused(
        &env,
        &run(&env, &elsewhere.join("notes")),
        &["CCCI_SRC_DIRS"],
    );
    std::fs::remove_file(elsewhere.join("notes")).unwrap();
    git(
        &recipe,
        &[
            "worktree",
            "add",
            "-q",
            elsewhere.join("notes").to_str().unwrap(),
            "--detach",
        ],
    );
    refused(
        &env,
        &run(&env, &elsewhere.join("notes")),
        &["CCCI_SRC_DIRS"],
    );
    // So does a repository that uses the objects of another.
    let borrowed = elsewhere.join("borrowed/notes");
    let words = [
        "clone",
        "-q",
        "--shared",
        recipe.to_str().unwrap(),
        borrowed.to_str().unwrap(),
    ];
    git(&elsewhere, &words);
    refused(
        &env,
        &run(&env, &borrowed),
        &["SRC", "objects", "which is in no directory"],
    );
    // Inside it is taken, and nothing that it ships runs, whatever grants.yml says of the path.
    let text = format!(
        "sources: {{{}: {{branches: [main], run_code: true}}}}\n",
        recipe.display()
    );
    let grants = env.write("grants.yml", &text);
    env.set("CCCI_GRANTS", grants.display().to_string());
    env.set(
        "CCCI_SRC_DIRS",
        format!(
            "{}:{}",
            elsewhere.display(),
            recipe.parent().unwrap().display()
        ),
    );
    for src in [recipe.as_path(), Path::new(&url)] {
        let done = run(&env, src);
        done.expect(0);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(level(&plan), "stranger");
    }
}

#[test]
fn only_listed_forges_are_asked() {
    let mut scene = scene();
    let other = Forge::start(scene.env.root.join("other"));
    other.publish_as("alice/notes", &scene.env.root.join("recipes/notes"));
    let url = format!("{}/alice/notes.git", other.url());
    refused(
        &scene.env,
        &scene.dry_run(&url, &[]),
        &[&url, "forges:", "CCCI_FORGES"],
    );
    scene.env.set(
        "CCCI_FORGES",
        format!(
            "{}0",
            other.url().trim_end_matches(|c: char| c.is_ascii_digit())
        ),
    );
    refused(&scene.env, &scene.dry_run(&url, &[]), &["CCCI_FORGES"]);
    assert_eq!(other.asked(), [""; 0]);
    scene.env.set(
        "CCCI_FORGES",
        format!("https://git.example.org, {}", other.url()),
    );
    assert_eq!(level(&scene.plan(&url, &[])), "stranger");
    scene.env.set("CCCI_FORGES", "git.example.org");
    scene.dry_run(&url, &[]).expect(2);
    scene.env.set("CCCI_FORGES", "");
    let file = scene
        .env
        .write("grants.yml", &format!("forges: ['{}']\n", other.url()));
    scene.env.set("CCCI_GRANTS", file.display().to_string());
    assert_eq!(level(&scene.plan(&url, &[])), "stranger");
    // Who types an address lists it.
    scene.env.set("CCCI_GRANTS", "");
    let done = scene.env.run(["run", &url, "--dry-run"]);
    done.expect(0);
    assert_eq!(
        level(&serde_json::from_str(&done.stdout).unwrap()),
        "stranger"
    );
}

/// Finding A16: a pipeline that sets SRC could have any private repository of the forge tested, and read.
#[test]
fn the_forges_token_goes_to_the_published_recipes_and_to_granted_sources() {
    let mut scene = scene();
    scene
        .forge
        .publish("notes", &scene.env.root.join("recipes/notes"));
    scene.env.set("CCCI_FORGE_TOKEN", "t0ken-of-the-forge");
    scene.plan("evil/notes", &[]);
    scene.plan("team/notes", &[]);
    let url = format!("{}/team/notes.git", scene.forge.url());
    scene.plan(&url, &[]);
    scene.env.run(["run", &url, "--dry-run"]).expect(0);
    assert!(!scene.forge.asked().is_empty());
    assert_eq!(scene.forge.authorized(), [""; 0]);
    scene.plan("coop-cloud/notes", &[]);
    let published = scene.forge.authorized().len();
    assert!(
        published > 0
            && scene
                .forge
                .authorized()
                .iter()
                .all(|target| target.starts_with("/coop-cloud/notes"))
    );
    scene.grant("branches: [main], token: true");
    // Whatever the ref: who may push to the source is the operator's own.
    scene.plan("team/notes", &["--ref", "feature"]);
    assert!(scene.forge.authorized().len() > published);
    scene.plan("evil/notes", &[]);
    let evil = |target: &String| target.starts_with("/evil");
    assert!(!scene.forge.authorized().iter().any(evil));
}

/// Finding A5: a line in `.env.sample` was enough for any recipe to get a secret of the operator's.
#[test]
fn a_supplied_secret_goes_to_sources_that_are_granted_it() {
    const VALUE: &str = "hunter2-of-the-operator";
    let mut scene = scene();
    let recipe = scene.env.root.join("recipes/notes");
    scene.env.edit(
        &recipe.join(".env.sample"),
        "SECRET_",
        "SECRET_SMTP_PASSWORD_VERSION=v1 # generate=false\nSECRET_",
    );
    scene.env.edit(&recipe.join("compose.yml"), "\nsecrets:\n", "\nsecrets:\n  smtp_password:\n    name: ${STACK_NAME}_smtp_password_${SECRET_SMTP_PASSWORD_VERSION}\n    external: true\n");
    git(&recipe, &["commit", "-q", "-am", "Ask for a secret"]);
    for owner in ["team", "evil"] {
        let at = scene.env.root.join(format!("forge/{owner}/notes.git"));
        git(
            &at,
            &["fetch", "-q", recipe.to_str().unwrap(), "+main:main"],
        );
    }
    scene.env.set("CCCI_SECRET_SMTP_PASSWORD", VALUE);
    scene.grant("branches: [main], run_code: true, secrets: [smtp_password]");
    assert_eq!(level(&scene.plan("team/notes", &[])), "granted");
    for (src, more) in [
        ("evil/notes", vec![]),
        ("team/notes", vec!["--ref", "refs/pull/7/head2"]),
        ("team/notes", vec!["--ref", "feature2"]),
    ] {
        let at = scene.env.root.join("forge/team/notes.git");
        git(&at, &["update-ref", "refs/pull/7/head2", "main"]);
        git(&at, &["update-ref", "refs/heads/feature2", "main"]);
        let done = scene.dry_run(src, &more);
        done.expect(2);
        for word in [
            "`smtp_password`",
            "generate=false",
            "not granted",
            "hint",
            "secrets: [smtp_password]",
        ] {
            assert!(
                done.stderr.contains(word),
                "no `{word}` in\n{}",
                done.stderr
            );
        }
        assert!(!done.stderr.contains(VALUE) && !done.stdout.contains(VALUE));
    }
    // One that is granted and not set is another matter, and a hand gets all.
    let done = scene
        .env
        .run(["run".as_ref(), recipe.as_os_str(), "--dry-run".as_ref()]);
    done.expect(0);
    scene.env.set("CCCI_SECRET_SMTP_PASSWORD", "");
    let done = scene.dry_run("team/notes", &[]);
    done.expect(2);
    assert!(
        done.stderr.contains("set CCCI_SECRET_SMTP_PASSWORD"),
        "{}",
        done.stderr
    );
}

/// Finding A14.
#[test]
fn what_a_pipeline_passes_on_is_bounded_and_free_of_control_characters() {
    let long = "9".repeat(5000);
    for (name, value) in [
        ("PR", "7\rerror: forged"),
        ("PR", "7\n::error::forged"),
        ("PR", "seven"),
        ("PR", "-7"),
        ("PR", "٧"),
        ("PR", &long),
        ("REF", "main\rforged"),
        ("REF", "main\u{85}forged"),
        ("REF", &"a/".repeat(2500)),
        ("RECIPE", "notes\nforged"),
        ("RECIPE", &long),
        ("SRC", "team/notes\nforged"),
        ("SRC", "http://127.0.0.1:1/team/no\ntes"),
        ("SRC", &long),
        ("CCCI_RUN_ID", "7\rforged"),
        ("CCCI_RUN_ID", &long),
    ] {
        let mut env = TestEnv::new("unix:///nowhere/docker.sock");
        env.set("CCCI_FORGE_URL", "http://127.0.0.1:1");
        env.set("SRC", "team/notes");
        env.set(name, value);
        let done = env.run(["run", "--dry-run"]);
        refused(&env, &done, &["error"]);
        assert!(
            !done.stderr.contains(['\r', '\u{85}']),
            "{name}: {:?}",
            done.stderr
        );
        let forged = |line: &str| line.starts_with("forged") || line.starts_with("::error");
        assert!(!done.stderr.lines().any(forged), "{name}: {}", done.stderr);
        assert!(done.stderr.len() < 2000, "{name} is repeated whole");
    }
}

/// With `CCCI_SKIP_FETCH=1` the checkout says itself whose it is: nothing of a proposal can write there.
#[test]
fn a_staged_checkout_is_trusted_by_where_it_was_cloned_from_and_what_is_checked_out() {
    let mut scene = scene();
    scene.grant("branches: [main], run_code: true");
    scene.env.set("CCCI_SKIP_FETCH", "1");
    scene.env.set("RECIPE", "notes");
    let staged = scene.env.root.join("home/.abra/recipes/notes");
    let clone = |scene: &Scene, owner: &str| {
        drop(std::fs::remove_dir_all(&staged));
        let url = format!("{}/{owner}/notes.git", scene.forge.url());
        std::fs::create_dir_all(staged.parent().unwrap()).unwrap();
        git(
            Path::new("/"),
            &["clone", "-q", &url, staged.to_str().unwrap()],
        );
    };
    let plan = |scene: &Scene| -> Value {
        let done = scene.env.run(["run", "--dry-run"]);
        done.expect(0);
        serde_json::from_str(&done.stdout).unwrap()
    };
    clone(&scene, "team");
    assert_eq!(level(&plan(&scene)), "granted");
    // Somebody's proposal, merged, checked out or only copied over it.
    std::fs::write(staged.join("tests/custom/test_evil.sh"), "").unwrap();
    assert_eq!(level(&plan(&scene)), "stranger");
    git(&staged, &["add", "."]);
    git(&staged, &["commit", "-q", "-m", "x"]);
    assert_eq!(level(&plan(&scene)), "stranger");
    clone(&scene, "evil");
    assert_eq!(level(&plan(&scene)), "stranger");
    // Another repository of the same owner, staged under this name.
    clone(&scene, "team");
    git(
        &staged,
        &[
            "remote",
            "set-url",
            "origin",
            &format!("{}/team/other.git", scene.forge.url()),
        ],
    );
    assert_eq!(level(&plan(&scene)), "stranger");
}

/// abra deploys a dependency's own files as well, unjudged: that is not granted with the recipe that needs it.
#[test]
fn a_dependency_is_deployed_by_abra_where_that_is_granted_to_its_own_source() {
    let mut scene = scene();
    scene.env.with_abra("", "");
    let recipe = scene.env.root.join("recipes/notes");
    scene.forge.publish_as("coop-cloud/board", &recipe);
    let overlays = scene.env.root.join("overlays").display().to_string();
    scene.env.set("CCCI_TESTS_DIR", overlays);
    scene
        .env
        .write("overlays/notes/recipe-ci.yml", "dependencies: [board]\n");
    let run = |scene: &Scene, driver| {
        let args = ["run", "--src", "team/notes", "--ref", "main"];
        let more = ["--stages", "install", "--driver", driver];
        scene.env.run(args.iter().chain(&more))
    };
    scene.grant("branches: [main], driver: abra, foreign: {networks: [proxy]}");
    let done = run(&scene, "abra");
    done.expect(2);
    for words in ["dependency `board`: abra", "--driver stack", "driver: abra"] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    // As far as the engine, which does not answer.
    run(&scene, "stack").expect(3);
    let host = scene.forge.url().replace("http://", "");
    let commit = git(&recipe, &["rev-parse", "0.2.0+1.1.0^{}"]);
    let grants = harness::host_file::text(scene.env.root.join("grants.yml")).unwrap();
    let own = format!("  {host}/coop-cloud/board: {{commits: ['{commit}'], driver: abra}}\n");
    scene.env.write("grants.yml", &(grants + &own));
    run(&scene, "abra").expect(3);
}
