//! What is somebody else's stays as it is, whatever name or label it has; and what a run made is known for its own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::cancel::{Phase, Scene, blocker, child_of, kill_both, remove_container};
use crate::engine::{SwarmEnv, docker, objects_of};
use crate::janitor::{lock_files, orphan};
use crate::support::git;
use crate::victim::Victim;
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// Runs `recipe-ci run` by hand on a work tree.
fn run(env: &SwarmEnv, recipe: &Path) -> crate::support::Done {
    env.run(["run".as_ref(), recipe.as_os_str()])
}

fn compose_of(recipe: &Path) -> PathBuf {
    recipe.join("compose.yml")
}

fn part(env: &SwarmEnv) -> String {
    env.zone.replace('.', "_")
}

/// Creates a secret that bears the label of `stack`; returns its id.
fn secret(env: &SwarmEnv, name: &str, stack: &str) -> String {
    let file = env.write("a-secret", "canary").display().to_string();
    let label = format!("com.docker.stack.namespace={stack}");
    docker(&["secret", "create", "--label", &label, name, &file])
}

#[test]
fn a_name_of_somebody_elses_object_is_refused_before_anything_is_made() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let victim = Victim::deploy(&env);
    let recipe = env.recipe("notes");
    std::fs::write(recipe.join("empty"), "").unwrap();
    let compose = compose_of(&recipe);
    let plain = harness::host_file::text(&compose).unwrap();
    let data = victim.object("data");
    for (from, to, object) in [
        (
            "secrets:\n  admin_token:",
            format!(
                "secrets:\n  s: {{file: ./empty, name: {}}}\n  admin_token:",
                victim.object("unused")
            ),
            format!("secret `{}`", victim.object("unused")),
        ),
        (
            "configs:\n  app_notes:",
            format!(
                "configs:\n  c: {{file: ./empty, name: {}}}\n  app_notes:",
                victim.object("used")
            ),
            format!("config `{}`", victim.object("used")),
        ),
        (
            "volumes:\n  data:\n",
            format!("volumes:\n  data: {{name: {data}}}\n"),
            format!("volume `{data}`"),
        ),
    ] {
        assert!(plain.contains(from), "{from}");
        std::fs::write(&compose, plain.replace(from, &to)).unwrap();
        let done = run(&env, &recipe);
        done.expect(2);
        for words in [&object, &format!("stack `{}`", victim.stack)] {
            assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
        }
        victim.assert_untouched();
    }
    drop(victim);
    env.assert_nothing_left();
}

#[test]
fn what_only_bears_the_label_survives_teardown_janitor_and_supervisor_and_is_said() {
    let mut scene = Scene::new(Phase::Converge);
    let env = &mut scene.env;
    let domain = format!("note-0a1b2c.{}", env.zone);
    let stack = domain.replace('.', "_");
    env.set("CCCI_APP_DOMAIN", &domain);
    // As Docker's client leaves a secret that a compose file named.
    let name = format!("victim_{}_pw", part(env));
    let id = secret(env, &name, &stack);
    let there = || docker(&["secret", "inspect", "--format", "{{.ID}}", &name]);

    // Teardown.
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    kill(run.pid, Signal::SIGTERM).unwrap();
    let done = run.finish();
    done.expect(143);
    let said = format!("secret `{name}` bears the label of {domain}");
    assert!(done.stderr.contains(&said), "{}", done.stderr);
    assert_eq!(there(), id);

    // Supervisor.
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    kill(child_of(run.pid), Signal::SIGKILL).unwrap();
    let done = run.finish();
    done.expect(137);
    assert!(done.stderr.contains("torn down =="), "{}", done.stderr);
    assert_eq!(there(), id);

    // Janitor: what is of the app goes, and of the secret alone there is no app.
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    kill_both(run);
    let swept = scene.env.run(["janitor"]);
    swept.expect(0);
    for line in [
        format!("{domain}: owner was dead, removed"),
        format!("{said}, which did not make it: left alone"),
    ] {
        assert!(swept.stdout.contains(&line), "{}", swept.stdout);
    }
    assert_eq!(there(), id);
    let swept = scene.env.run(["janitor"]);
    swept.expect(0);
    assert!(!swept.stdout.contains("owner was dead"), "{}", swept.stdout);
    docker(&["secret", "rm", &name]);
    scene.env.assert_nothing_left();
}

#[test]
fn a_volume_that_is_only_called_like_a_run_apps_is_no_candidate() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let blocker = blocker(&env);
    let names: Vec<String> = (0..5)
        .map(|n| format!("evil-00000{n}_{}_x", part(&env)))
        .collect();
    let mut args = vec!["run", "--detach", "--name", &blocker];
    let mounts: Vec<String> = names.iter().map(|name| format!("{name}:/{name}")).collect();
    for mount in &mounts {
        args.extend(["--volume", mount]);
    }
    args.extend(["recipe-ci/notes:1", "sleep", "9999"]);
    docker(&args);
    std::fs::create_dir(env.root.join("locks")).unwrap();
    let swept = env.run(["janitor"]);
    swept.expect(0);
    assert_eq!((swept.stdout.as_str(), swept.stderr.as_str()), ("", ""));
    let done = run(&env, &recipe);
    done.expect(0);
    assert!(!done.stderr.contains("evil-"), "{}", done.stderr);
    remove_container(&blocker);
    let objects = objects_of(&env.zone);
    let volumes: Vec<String> = names.iter().map(|name| format!("volume {name}")).collect();
    assert_eq!(objects, volumes);
    for name in &names {
        docker(&["volume", "rm", name]);
    }
    env.assert_nothing_left();
}

#[test]
fn an_orphan_that_is_stuck_costs_a_run_a_few_seconds_and_is_left_to_the_janitor() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let stuck: Vec<String> = (0..4)
        .map(|n| orphan(&env, &format!("note-00000{n}")))
        .collect();
    let blocker = blocker(&env);
    let mut args = vec!["run", "--detach", "--name", &blocker];
    let mounts: Vec<String> = stuck
        .iter()
        .map(|domain| domain.replace('.', "_"))
        .map(|stack| format!("{stack}_data:/{stack}"))
        .collect();
    for mount in &mounts {
        args.extend(["--volume", mount]);
    }
    args.extend(["recipe-ci/notes:1", "sleep", "9999"]);
    docker(&args);
    let done = run(&env, &recipe);
    done.expect(0);
    let first = format!("janitor: {} would not go: volumes:", stuck[0]);
    let last = format!("janitor: {} is left to `recipe-ci janitor`", stuck[3]);
    for words in [first, last] {
        assert!(done.stderr.contains(&words), "{words}: {}", done.stderr);
    }
    remove_container(&blocker);
    let swept = env.run(["janitor"]);
    swept.expect(0);
    assert_eq!(swept.stdout.matches("owner was dead, removed").count(), 4);
    env.assert_nothing_left();
}

#[test]
fn an_external_volume_that_did_not_exist_is_the_runs_own_and_goes_with_it() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let name = format!("fresh_{}", part(&env));
    let to = format!("volumes:\n  data: {{external: true, name: {name}}}\n");
    env.edit(&compose_of(&recipe), "volumes:\n  data:\n", &to);
    let reached = env.hold("notes", "test_install.sh");
    let held = env.start(["run".as_ref(), recipe.as_os_str()]);
    wait_until(LONG, "the run holds", || reached.exists().then_some(()));
    assert!(objects_of(&env.zone).contains(&format!("volume {name}")));
    let _open = env.release();
    held.finish().expect(0);
    assert_eq!(records(&env), [""; 0]);
    env.assert_nothing_left();
}

/// Returns the records of what was made for apps.
fn records(env: &SwarmEnv) -> Vec<String> {
    let dir = env.root.join("state/made");
    if dir.exists() {
        crate::engine::names(&dir)
    } else {
        Vec::new()
    }
}

#[test]
fn what_is_there_at_the_end_and_was_not_before_is_a_leak_whatever_made_it() {
    // Of two apps the head that is installed afresh is the one that this test meets.
    for (stages, of) in [("install", "/domain"), ("install,upgrade", "/fresh/domain")] {
        let mut env = SwarmEnv::new();
        env.set("STAGES", stages);
        let recipe = env.recipe("notes");
        let volume = "#!/bin/sh\nset -eu\nstack=$(echo \"$CCCI_APP_DOMAIN\" | tr . _)\n\
            docker volume create \"${stack}_extra\"\n";
        env.overlay("notes", "test_install.sh", volume);
        let done = run(&env, &recipe);
        done.expect(4);
        let results = env.results();
        let left = results["teardown"]["residual"]["volumes"][0]
            .as_str()
            .unwrap();
        let stack = results.pointer(of).and_then(|domain| domain.as_str());
        let stack = stack.unwrap().replace('.', "_");
        assert_eq!(left, format!("{stack}_extra"), "{results:#}");
        if stages.contains("upgrade") {
            assert_eq!(results["fresh"]["how"], "parallel", "{results:#}");
        }
        docker(&["volume", "rm", left]);
        env.assert_nothing_left();
    }
}

#[test]
fn nothing_is_seeded_wiped_or_restored_in_a_volume_of_somebody_else() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,backup,restore");
    let victim = Victim::deploy(&env);
    let recipe = env.recipe("notes");
    std::fs::remove_dir_all(recipe.join("tests")).unwrap();
    let compose = compose_of(&recipe);
    let plain = harness::host_file::text(&compose).unwrap();
    let host = env.root.join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("canary"), "canary").unwrap();
    let external = format!("{{external: true, name: {}}}", victim.object("data"));
    let bound = format!(
        "{{driver_opts: {{type: none, o: bind, device: {}}}}}",
        host.display()
    );
    for volume in [external, bound] {
        let to = format!("volumes:\n  data: {volume}\n");
        std::fs::write(&compose, plain.replace("volumes:\n  data:\n", &to)).unwrap();
        let done = run(&env, &recipe);
        done.expect(0);
        let dirs = env.run_dirs();
        let results = crate::support::read_results(dirs.last().unwrap());
        for stage in ["backup", "restore"] {
            let tiers = results["tiers"].as_array().unwrap();
            let tier = tiers.iter().find(|tier| tier["name"] == stage).unwrap();
            assert_eq!(tier["status"], "unver", "{stage}: {results:#}");
            let reason = tier["reason"].as_str().unwrap();
            assert!(reason.contains("is not this run's"), "{reason}");
        }
        // The app itself may write there, as its operator wants.
        victim.assert_same_but_data();
        assert!(!victim.files().contains("recipe-ci"), "{}", victim.files());
        let text = harness::host_file::text(host.join("canary")).unwrap();
        assert_eq!(text, "canary");
        let names = crate::engine::names(&host);
        assert!(
            !names.iter().any(|name| name.contains("recipe-ci")),
            "{names:?}"
        );
    }
    // The app may write to the victim's volume, and has links on its own that lead there.
    let label = "- \"backupbot.backup=${ENABLE_BACKUPS:-true}\"";
    let named = "- \"backupbot.backup.volumes.data.path=link/sub\"";
    let victims = format!("other: {{external: true, name: {}}}", victim.object("data"));
    let links = "mkdir -p /v; ln -sfn . /v/sub; ln -sfn /v /data/link";
    let mut linked = plain;
    for (from, to) in [
        (label, format!("{label}\n        {named}")),
        (
            "      - data:/data\n",
            "      - data:/data\n      - other:/v\n".to_owned(),
        ),
        (
            "volumes:\n  data:\n",
            format!("volumes:\n  data:\n  {victims}\n"),
        ),
        (
            r#"["httpd", "-f", "-p", "8080", "-h", "/www"]"#,
            format!(r#"["sh", "-c", "{links}; exec httpd -f -p 8080 -h /www"]"#),
        ),
    ] {
        assert!(linked.contains(from), "{from}");
        linked = linked.replace(from, &to);
    }
    std::fs::write(&compose, linked).unwrap();
    let done = run(&env, &recipe);
    done.expect(1);
    let words = "volume `data` has no `link/sub`";
    assert!(done.stderr.contains(words), "{}", done.stderr);
    victim.assert_same_but_data();
    let files = victim.files();
    assert!(files.contains("sub"), "the links lead there: {files}");
    assert!(!files.contains("recipe-ci"), "{files}");
    drop(victim);
    env.assert_nothing_left();
}

#[test]
fn objects_with_names_of_their_own_of_a_killed_run_are_swept_by_its_record() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let part = part(&env);
    let compose = compose_of(&recipe);
    // Beside them somebody else's, which bears no label and which the recipe mounts: the record alone tells them apart.
    let theirs = format!("theirs_{part}");
    docker(&["volume", "create", &theirs]);
    let inspect = || docker(&["volume", "inspect", &theirs]);
    let as_it_was = inspect();
    env.edit(
        &compose,
        "volumes:\n  data:\n",
        &format!(
            "volumes:\n  data: {{name: own_{part}_data}}\n  theirs: {{external: true, name: {theirs}}}\n"
        ),
    );
    env.edit(
        &compose,
        "      - data:/data\n",
        "      - data:/data\n      - theirs:/theirs\n",
    );
    env.edit(
        &compose,
        "name: ${STACK_NAME}_app_notes_",
        &format!("name: own_{part}_notes_"),
    );
    let root = env.root.display();
    let copy = format!("/bin/cp -r {root}/state/made {root}/at-the-deploy");
    crate::deployed::client(&mut env, &copy);
    let reached = env.hold("notes", "test_install.sh");
    let run = env.start(["run".as_ref(), recipe.as_os_str()]);
    wait_until(LONG, "the run holds", || reached.exists().then_some(()));
    kill_both(run);
    let own = |env: &SwarmEnv| -> Vec<String> {
        let mut own = objects_of(&env.zone);
        own.retain(|object| object.contains(" own_"));
        own
    };
    assert_eq!(own(&env).len(), 2, "{:?}", objects_of(&env.zone));
    let [record] = records(&env).try_into().unwrap();
    // A run that is killed while it deploys leaves the record, too.
    let before = harness::host_file::text(env.root.join("at-the-deploy").join(&record)).unwrap();
    for name in [format!("own_{part}_data"), format!("own_{part}_notes_")] {
        assert!(before.contains(&name), "{before}");
    }

    // A record that cannot be read is said, and what is not known is not touched.
    let file = env.root.join("state/made").join(&record);
    let good = harness::host_file::bytes(&file).unwrap();
    std::fs::write(&file, "{").unwrap();
    let swept = env.run(["janitor"]);
    swept.expect(4);
    assert!(swept.stdout.contains(&record), "{}", swept.stdout);
    assert_eq!(own(&env).len(), 2, "{:?}", objects_of(&env.zone));
    std::fs::write(&file, good).unwrap();
    let swept = env.run(["janitor"]);
    swept.expect(0);
    assert!(
        swept.stdout.contains("owner was dead, removed"),
        "{}",
        swept.stdout
    );
    assert_eq!((records(&env), lock_files(&env)), (Vec::new(), Vec::new()));
    assert_eq!(inspect(), as_it_was);
    docker(&["volume", "rm", &theirs]);
    env.assert_nothing_left();
}

#[test]
fn secrets_that_abra_made_for_a_killed_run_are_swept_by_its_record() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    env.with_abra("", "");
    let recipe = env.recipe("notes");
    // What abra deploys is committed.
    git(&recipe, &["status"]);
    let reached = env.hold("notes", "test_install.sh");
    let run = env.start(["run".as_ref(), recipe.as_os_str()]);
    wait_until(LONG, "the run holds", || reached.exists().then_some(()));
    let filter = format!("name={}", part(&env));
    let labels = docker(&[
        "secret",
        "ls",
        "-q",
        "--filter",
        "label=com.docker.stack.namespace",
        "--filter",
        &filter,
    ]);
    assert_eq!(labels, "", "abra gives secrets no label");
    kill_both(run);
    assert_eq!(records(&env).len(), 1);
    env.run(["janitor"]).expect(0);
    assert_eq!(records(&env), [""; 0]);
    env.assert_nothing_left();
}

/// Asserts that nobody but its owner may read, write or enter anything at or below `path`.
#[track_caller]
fn assert_private(path: &Path) {
    let meta = path.symlink_metadata().unwrap();
    if meta.is_symlink() {
        return;
    }
    let mode = meta.permissions().mode() & 0o7777;
    assert_eq!(mode & 0o077, 0, "{mode:o} {}", path.display());
    if meta.is_dir() {
        for entry in harness::host_file::entries(path).unwrap() {
            assert_private(&entry.unwrap().path());
        }
    } else {
        assert_eq!(mode & !0o700, 0, "{mode:o} {}", path.display());
    }
}

#[test]
fn nothing_of_a_run_is_for_another_user_to_read_while_it_goes_on_and_after() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.write("overlays/notes/custom/test_more.sh", "#!/bin/sh\nexit 0\n");
    // By then there are a base, a backup, states, logs, copies of tests.
    let reached = env.hold("notes", "ops/pre_restore");
    for driver in ["stack", "abra"] {
        if driver == "abra" {
            env.with_abra("", "");
            std::fs::remove_file(&reached).unwrap();
        }
        let held = env.start(["run".as_ref(), recipe.as_os_str()]);
        wait_until(LONG, "the run holds", || reached.exists().then_some(()));
        let root = env.run_dirs().pop().unwrap();
        for part in [
            "backups",
            "state",
            "logs",
            "tests",
            "results.json",
            "run.log",
        ] {
            assert!(root.join(part).exists(), "{part}");
        }
        assert_private(&root);
        let locks = lock_files(&env);
        // The embedded driver has a fresh install of the head beside the base; with abra it may be there.
        match driver {
            "stack" => assert_eq!(locks.len(), 2, "{locks:?}"),
            _ => assert!(!locks.is_empty()),
        }
        for lock in &locks {
            let domain = lock.strip_prefix("cc-ci-app-");
            let domain = domain.and_then(|rest| rest.strip_suffix(".lock"));
            let file = format!("home/.abra/servers/default/{}.env", domain.unwrap());
            assert_private(&env.root.join(file));
            // Who looks for runs must be able to open the lock.
            let lock = env.root.join("locks").join(lock).metadata().unwrap();
            assert_eq!(lock.permissions().mode() & 0o777, 0o644);
        }
        let open = env.release();
        held.finish().expect(0);
        drop(open);
        assert_private(&root);
    }
    let sweep = env
        .root
        .join("state/last-sweep-run.json")
        .metadata()
        .unwrap();
    assert_eq!(sweep.permissions().mode() & 0o777, 0o644);
    env.assert_nothing_left();
}

/// A promotion makes an app of a name that anybody can compute, and keeps it.
#[test]
fn a_promotion_leaves_what_is_called_like_the_warm_apps_and_is_not_its_own() {
    let scene = crate::quick::Scene::new();
    let env = &scene.env;
    let stack = format!("warm-notes_{}", part(env));
    let file = env.write("foreign", "foreign-canary").display().to_string();
    let (volume, config) = (format!("{stack}_data"), format!("{stack}_app_notes_v2"));
    let secret = format!("{stack}_admin_token_v1");
    docker(&["volume", "create", "--label", "whose=theirs", &volume]);
    let mount = format!("{volume}:/v");
    let inside = |script: &str| {
        let args = ["run", "--rm", "--network=none", "--volume", &mount];
        docker(&[&args[..], &["recipe-ci/notes:1", "sh", "-c", script]].concat())
    };
    inside("echo foreign-canary >/v/theirs");
    docker(&["config", "create", &config, &file]);
    docker(&["secret", "create", &secret, &file]);
    let facts = || {
        let objects = [
            ("volume", &volume),
            ("config", &config),
            ("secret", &secret),
        ];
        let objects = objects.map(|(kind, name)| docker(&[kind, "inspect", name]));
        (objects, inside("ls -A /v; cat /v/*"))
    };
    let before = facts();
    let (done, results) = scene.run("promote", &["--ref", "0.2.0+1.1.0"]);
    // The recipe is innocent.
    done.expect(0);
    let promotion = results["promotion"].as_str().unwrap();
    assert!(promotion.starts_with("failed"), "{promotion}");
    for text in [promotion, &done.stderr] {
        let said = "of no stack exists already, and this run did not make it";
        assert!(text.contains(said) && text.contains(&stack), "{text}");
    }
    assert!(!done.stderr.contains("foreign-canary"), "{}", done.stderr);
    assert!(!scene.record().exists(), "{results:#}");
    assert_eq!(facts(), before);
    let mut left = objects_of(&env.zone);
    left.retain(|object| {
        ![&volume, &config, &secret]
            .iter()
            .any(|name| object.ends_with(*name))
    });
    assert_eq!(left, [""; 0]);
    for (kind, name) in [
        ("volume", &volume),
        ("config", &config),
        ("secret", &secret),
    ] {
        docker(&[kind, "rm", name]);
    }
    env.assert_nothing_left();
}
