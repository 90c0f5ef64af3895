//! Apps without an owner, and everything that only looks like one. The numbers are those of
//! docs/concurrency.md.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::cancel::{Phase, Scene, blocker, child_of, kill_both, remove_container, stop};
use crate::engine::{SwarmEnv, docker, names, objects_of};
use crate::support::{Mount, Run, TestEnv, binary, is_locked, read_results};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// Leaves an app whose supervisor and worker were both killed, before they could tear it down.
fn leave_an_app() -> Scene {
    let scene = Scene::new(Phase::Converge);
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    wait_until(LONG, "there is a container", || {
        let objects = objects_of(&scene.env.zone);
        objects
            .iter()
            .any(|object| object.starts_with("container"))
            .then_some(())
    });
    kill_both(run);
    assert!(!objects_of(&scene.env.zone).is_empty());
    scene
}

/// Makes the least that an app can be, a volume and an env file, as after a reboot: there is no lock file.
/// Returns its domain.
pub(crate) fn orphan(env: &SwarmEnv, name: &str) -> String {
    let domain = format!("{name}.{}", env.zone);
    let stack = domain.replace('.', "_");
    let label = format!("com.docker.stack.namespace={stack}");
    docker(&["volume", "create", "--label", &label, &volume(&domain)]);
    let file = format!("home/.abra/servers/default/{domain}.env");
    env.write(&file, "TYPE=notes\n");
    std::fs::create_dir_all(env.root.join("locks")).unwrap();
    domain
}

fn volume(domain: &str) -> String {
    format!("{}_data", domain.replace('.', "_"))
}

pub(crate) fn lock_file(env: &TestEnv, domain: &str) -> PathBuf {
    env.root.join(format!("locks/cc-ci-app-{domain}.lock"))
}

/// Returns the names in the lock directory.
pub(crate) fn lock_files(env: &TestEnv) -> Vec<String> {
    names(&env.root.join("locks"))
}

fn exists(env: &SwarmEnv, domain: &str) -> bool {
    objects_of(&env.zone).contains(&format!("volume {}", volume(domain)))
}

/// An orphan that a janitor cannot finish with, because somebody else's container has its volume.
struct SlowReap {
    domain: String,
    blocker: String,
    janitor: Run,
}

impl SlowReap {
    fn start(env: &SwarmEnv) -> Self {
        let domain = orphan(env, "note-0a1b2c");
        let blocker = blocker(env);
        let mount = format!("{}:/data", volume(&domain));
        docker(&[
            "run",
            "--detach",
            "--name",
            &blocker,
            "--volume",
            &mount,
            "recipe-ci/notes:1",
            "sleep",
            "9999",
        ]);
        let janitor = env.start(["janitor"]);
        wait_until(LONG, "the janitor holds the lock", || {
            let text = harness::host_file::text(lock_file(env, &domain)).ok()?;
            text.contains("run janitor-").then_some(())
        });
        Self {
            domain,
            blocker,
            janitor,
        }
    }

    /// Lets the janitor finish; it must have removed the app.
    fn finish(self) {
        remove_container(&self.blocker);
        let swept = self.janitor.finish();
        swept.expect(0);
        assert_eq!(
            swept.stdout,
            format!("{}: owner was dead, removed", self.domain)
        );
    }
}

#[test]
fn t05_an_orphan_is_reaped_once_and_its_lock_file_unlinked() {
    let mut scene = leave_an_app();
    // Where locks prove nothing, it is not known whether the run behind it is dead.
    scene.env.preload("FAKE_NFS", "runs");
    let dry = scene.env.run(["janitor", "--dry-run"]);
    dry.expect(4);
    let unknown = format!(
        "skipping lock directory `{}` is on a network file system",
        scene.env.root.join("runs").display()
    );
    assert!(dry.stdout.contains(&unknown), "{}", dry.stdout);
    scene.env.set("FAKE_NFS", "/nowhere");
    let env = &scene.env;
    assert_eq!(lock_files(env).len(), 1);
    let dry = env.run(["janitor", "--dry-run"]);
    dry.expect(0);
    assert!(dry.stdout.contains("would be removed"), "{}", dry.stdout);
    assert!(!objects_of(&env.zone).is_empty());
    let swept = env.run(["janitor"]);
    swept.expect(0);
    assert!(swept.stdout.contains("removed"), "{}", swept.stdout);
    assert_eq!(lock_files(env), [""; 0]);
    env.assert_nothing_left();
    let again = env.run(["janitor"]);
    again.expect(0);
    assert_eq!((again.stdout, again.stderr), (String::new(), String::new()));
}

#[test]
fn t06_a_live_run_is_never_reaped_and_said_to_live() {
    let scene = Scene::new(Phase::Converge);
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    let before = objects_of(&scene.env.zone);
    let swept = scene.env.run(["janitor"]);
    swept.expect(0);
    let owner = format!(
        "live (run manual-{} (pid {})), left alone",
        run.pid,
        child_of(run.pid)
    );
    assert!(swept.stdout.contains(&owner), "{owner}: {}", swept.stdout);
    let after = objects_of(&scene.env.zone);
    assert!(!before.is_empty());
    assert!(
        before.iter().all(|object| after.contains(object)),
        "{after:?}"
    );
    kill(run.pid, Signal::SIGTERM).unwrap();
    run.finish().expect(143);
    scene.env.assert_nothing_left();
}

#[test]
fn t07_a_new_run_waits_for_a_slow_reap_and_then_holds_a_fresh_inode() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let reached = env.hold("notes", "test_install.sh");
    let reap = SlowReap::start(&env);
    let path = lock_file(&env, &reap.domain);
    // An open inode cannot be given to the next file.
    let old = harness::host_file::open(&path).unwrap();
    env.set("CCCI_APP_DOMAIN", &reap.domain);
    let run = env.start(["run".as_ref(), recipe.as_os_str()]);
    run.wait_line("is in flight (run janitor-");
    reap.finish();
    wait_until(LONG, "the run holds", || reached.exists().then_some(()));
    let fresh = std::fs::metadata(&path).unwrap();
    assert_eq!(old.metadata().unwrap().nlink(), 0);
    assert_ne!(fresh.ino(), old.metadata().unwrap().ino());
    assert!(is_locked(&path));
    let _open = env.release();
    run.finish().expect(0);
    env.assert_nothing_left();
}

#[test]
fn t08_of_two_janitors_one_reaps() {
    let env = SwarmEnv::new();
    let reap = SlowReap::start(&env);
    let second = env.run(["janitor"]);
    second.expect(0);
    let lives = format!("{}: live (run janitor-", reap.domain);
    assert!(second.stdout.starts_with(&lives), "{}", second.stdout);
    reap.finish();
    // And side by side, with nothing that slows either.
    let domains: Vec<String> = (0..8)
        .map(|n| orphan(&env, &format!("note-00000{n}")))
        .collect();
    let both = [env.start(["janitor"]), env.start(["janitor"])].map(|janitor| {
        let done = janitor.finish();
        done.expect(0);
        done.stdout
    });
    for domain in domains {
        let line = format!("{domain}: owner was dead, removed");
        let reaps: usize = both.iter().map(|text| text.matches(&line).count()).sum();
        assert_eq!(reaps, 1, "{domain}: {both:#?}");
    }
    assert_eq!(lock_files(&env), [""; 0]);
    env.assert_nothing_left();
}

#[test]
fn t09_without_a_lock_file_as_after_a_reboot_an_app_is_reaped_at_once() {
    let env = SwarmEnv::new();
    let domain = orphan(&env, "note-0a1b2c");
    let swept = env.run(["janitor"]);
    swept.expect(0);
    assert_eq!(swept.stdout, format!("{domain}: owner was dead, removed"));
    assert_eq!(lock_files(&env), [""; 0]);
    env.assert_nothing_left();
}

/// Holds a domain's lock with flock(1).
pub(crate) fn hold(env: &SwarmEnv, domain: &str) -> Run {
    let path = lock_file(env, domain);
    let mut flock = env.program("flock");
    flock.arg("--no-fork").arg(&path).args(["sleep", "9999"]);
    let run = env.follow(flock);
    wait_until(LONG, "flock(1) holds the lock", || {
        is_locked(&path).then_some(())
    });
    run
}

#[track_caller]
pub(crate) fn let_go(holder: Run) {
    kill(holder.pid, Signal::SIGKILL).unwrap();
    assert_eq!(holder.finish().signal, Some(9));
}

#[test]
fn t10_a_lock_that_is_held_too_long_is_flagged_and_never_stolen() {
    let env = SwarmEnv::new();
    let domain = orphan(&env, "note-0a1b2c");
    let holder = hold(&env, &domain);
    let path = lock_file(&env, &domain);
    let flagged =
        format!("!! lock for {domain} held >120min — possible leaked run; inspect with lslocks");
    let sweep = || {
        let swept = env.run(["janitor"]);
        swept.expect(0);
        assert!(
            exists(&env, &domain) && is_locked(&path),
            "{}",
            swept.stdout
        );
        format!("{}\n{}", swept.stdout, swept.stderr)
    };
    let young = sweep();
    assert!(!young.contains("!!"), "{young}");
    let ago = std::time::SystemTime::now() - Duration::from_secs(3 * 3600);
    harness::host_file::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(ago)
        .unwrap();
    let old = sweep();
    assert!(old.lines().any(|line| line == flagged), "{old}");
    let_go(holder);
    env.run(["janitor"]).expect(0);
    env.assert_nothing_left();
}

#[test]
fn t11_warm_and_foreign_names_are_left_alone_and_get_no_lock_file() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let part = env.zone.replace('.', "_");
    // Names that look almost like a run app's, in this very zone.
    for name in [
        format!("notes-0a1b2c_{part}_data"),
        format!("note-0a1b2_{part}_data"),
        format!("warm-notes_{part}_data"),
    ] {
        docker(&["volume", "create", &name]);
    }
    let service = format!("warm-notes_{part}_app");
    docker(&[
        "service",
        "create",
        "--quiet",
        "--detach",
        "--name",
        &service,
        "recipe-ci/notes:1",
        "sleep",
        "9999",
    ]);
    let warm = env.write(
        &format!("home/.abra/servers/default/warm-notes.{}.env", env.zone),
        "TYPE=notes\n",
    );
    let stale = format!("cc-ci-app-warm-notes.{}.lock", env.zone);
    env.write(&format!("locks/{stale}"), "");
    let objects = |kind: &str| -> Vec<String> {
        let mut all = objects_of(&env.zone);
        all.retain(|object| object.starts_with(kind));
        all
    };
    let before = (objects("volume"), objects("service"));
    env.run(["run".as_ref(), recipe.as_os_str()]).expect(0);
    let run = lock_files(&env);
    assert_eq!(run.len(), 2, "its own besides the stale one: {run:?}");
    env.run(["janitor"]).expect(0);
    assert_eq!(lock_files(&env), [stale]);
    assert_eq!((objects("volume"), objects("service")), before);
    assert!(!objects("container").is_empty(), "its task was removed");
    assert_eq!(harness::host_file::text(&warm).unwrap(), "TYPE=notes\n");
    std::fs::remove_file(warm).unwrap();
    env.assert_quiet();
}

#[test]
fn t12_what_cannot_be_probed_or_read_is_said_and_left_alone() {
    let mut env = SwarmEnv::new();
    let garbled = orphan(&env, "note-000001");
    let plain = orphan(&env, "note-000002");

    let at = |root: &Path, name: &str| root.join(name).display().to_string();
    let absent = at(&env.root, "absent");
    env.set("CCCI_APP_LOCK_DIR", &absent);
    let swept = env.run(["janitor"]);
    swept.expect(4);
    for domain in [&garbled, &plain] {
        let line = format!("{domain}: skipping: ");
        assert!(swept.stdout.contains(&line), "{}", swept.stdout);
        assert!(exists(&env, domain));
    }
    assert!(swept.stdout.contains(&absent), "{}", swept.stdout);

    let locks = at(&env.root, "locks");
    env.set("CCCI_APP_LOCK_DIR", locks);
    std::fs::create_dir_all(lock_file(&env, &garbled)).unwrap();
    // To look is not to know either.
    let dry = env.run(["janitor", "--dry-run"]);
    dry.expect(4);
    for line in [
        format!("{garbled}: skipping: "),
        format!("{plain}: owner is dead, would be removed"),
    ] {
        assert!(dry.stdout.contains(&line), "{}", dry.stdout);
    }
    let swept = env.run(["janitor"]);
    swept.expect(4);
    let line = format!(
        "{garbled}: skipping: lock file `{}`",
        lock_file(&env, &garbled).display()
    );
    assert!(swept.stdout.contains(&line), "{}", swept.stdout);
    assert!(exists(&env, &garbled));
    assert!(!exists(&env, &plain), "one bad lock stopped the sweep");
    std::fs::remove_dir(lock_file(&env, &garbled)).unwrap();
    env.run(["janitor"]).expect(0);
    env.assert_nothing_left();
}

/// What would not go: a directory in the place of an env file, which is not removed as a file is.
#[test]
fn an_app_that_would_not_go_is_exit_4_of_the_run_and_of_every_janitor_until_it_does() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let test = "#!/bin/sh\nset -eu\n\
        file=$HOME/.abra/servers/default/$CCCI_APP_DOMAIN.env\nrm \"$file\"\nmkdir \"$file\"\n";
    env.overlay("notes", "test_install.sh", test);
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(4);
    let results = env.results();
    assert_eq!(results["verdict"], "failed", "{results:#}");
    let teardown = &results["teardown"];
    assert_eq!(teardown["clean"], false, "{results:#}");
    let file = teardown["residual"]["env_files"][0].as_str().unwrap();
    for words in [file, "recipe-ci janitor"] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }

    let [lock] = lock_files(&env).try_into().unwrap();
    let swept = env.run(["janitor"]);
    swept.expect(4);
    let line = format!(": owner was dead, would not go: env_files: {file}");
    assert!(swept.stdout.ends_with(&line), "{}", swept.stdout);
    assert_eq!(lock_files(&env), [lock]);
    let swept = env.run(["janitor", "--json"]);
    swept.expect(4);
    let table: serde_json::Value = serde_json::from_str(&swept.stdout).unwrap();
    assert_eq!(table["findings"][0]["decision"], "incomplete", "{table}");
    assert_eq!(table["exit_code"], 4, "{table}");
    std::fs::remove_dir(file).unwrap();
    env.run(["janitor"]).expect(0);
    assert_eq!(lock_files(&env), [""; 0]);
    env.assert_nothing_left();
}

#[test]
fn t12_a_servers_entry_that_cannot_be_read_is_said() {
    let env = SwarmEnv::new();
    orphan(&env, "note-000001");
    let servers = env.root.join("home/.abra/servers");
    // A link to itself.
    std::os::unix::fs::symlink("loop", servers.join("loop")).unwrap();
    let line = format!("skipping `{}`: ", servers.join("loop").display());
    for args in [&["janitor", "--dry-run"][..], &["janitor"]] {
        let swept = env.run(args);
        swept.expect(4);
        assert!(swept.stdout.contains(&line), "{}", swept.stdout);
    }
    std::fs::remove_file(servers.join("loop")).unwrap();

    // Root reads everything, so this one is root without that power.
    let closed = servers.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = env.program("setpriv");
    command.arg("--bounding-set=-dac_override,-dac_read_search");
    command.args([binary(), "janitor"]);
    let swept = env.follow(command).finish();
    swept.expect(4);
    let line = format!("skipping `{}`: Permission denied", closed.display());
    assert!(swept.stdout.contains(&line), "{}", swept.stdout);
    std::fs::remove_dir(closed).unwrap();
    env.run(["janitor"]).expect(0);
    env.assert_nothing_left();
}

#[test]
fn t21_stale_lock_files_are_tidied_and_nothing_else() {
    let env = SwarmEnv::new();
    let name = |domain: &str| format!("cc-ci-app-{domain}.lock");
    let stale = name(&format!("note-000001.{}", env.zone));
    env.write(&format!("locks/{stale}"), "");
    let held = format!("note-000002.{}", env.zone);
    let mut others = vec![
        name(&held),
        name("note-000001.another.zone"),
        name(&format!("warm-notes.{}", env.zone)),
        "somebody.lock".to_owned(),
    ];
    others.sort();
    let holder = hold(&env, &held);
    for file in others.iter().filter(|file| **file != name(&held)) {
        env.write(&format!("locks/{file}"), "");
    }
    env.run(["janitor", "--dry-run"]).expect(0);
    assert!(lock_files(&env).contains(&stale), "a dry run removed it");
    env.run(["janitor"]).expect(0);
    assert_eq!(lock_files(&env), others);
    let_go(holder);
    env.assert_nothing_left();
}

#[test]
fn t26_what_two_killed_processes_left_is_removed_by_the_next_run() {
    let scene = leave_an_app();
    let recipe = scene.env.root.join("recipes/notes");
    let compose = recipe.join("compose.yml");
    scene
        .env
        .edit(&compose, "\"CMD\", \"false\"", "\"CMD\", \"wget\"");
    let done = scene.env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(0);
    assert!(
        done.stderr.contains("== janitor: reaped orphan note-"),
        "{}",
        done.stderr
    );
    scene.env.assert_nothing_left();
}

/// No janitor comes between: the run waits for the lock already.
#[test]
fn t26_what_two_killed_processes_left_is_removed_by_the_run_that_waited_for_them() {
    let scene = Scene::new(Phase::Converge);
    let first = scene.start(&[]);
    scene.wait_reached(&first);
    let compose = scene.env.root.join("recipes/notes/compose.yml");
    scene
        .env
        .edit(&compose, "\"CMD\", \"false\"", "\"CMD\", \"wget\"");
    let waiter = scene.start(&[]);
    waiter.wait_line("— waiting ==");
    let report = scene.env.root.join(format!("runs/manual-{}", waiter.pid));
    kill_both(first);
    let done = waiter.finish();
    done.expect(0);
    assert!(
        done.stderr
            .contains(" is still there though its last run is dead: removing it first =="),
        "{}",
        done.stderr
    );
    assert_eq!(read_results(&report)["deploy_count"], 1);
    scene.env.assert_nothing_left();
}

#[test]
fn t29_a_janitor_with_a_read_only_lock_directory_removes_nothing() {
    let env = SwarmEnv::new();
    let domain = orphan(&env, "note-0a1b2c");
    let locks = Mount::tmpfs(env.root.join("locks"), "size=64k,ro");
    let swept = env.run(["janitor"]);
    swept.expect(4);
    assert!(
        swept.stdout.contains("Read-only file system"),
        "{}",
        swept.stdout
    );
    assert!(exists(&env, &domain));
    drop(locks);
    env.run(["janitor"]).expect(0);
    env.assert_nothing_left();
}

/// Kills a worker and holds its app's lock as who looks at it does for a moment, before the supervisor can have it;
/// returns the run and the file.
fn killed_while_looked_at(scene: &Scene) -> (Run, File) {
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    let worker = child_of(run.pid);
    // Stopped, so that the look comes first.
    stop(run.pid);
    let name = lock_files(&scene.env).remove(0);
    let look = harness::host_file::open(scene.env.root.join("locks").join(name)).unwrap();
    kill(worker, Signal::SIGKILL).unwrap();
    wait_until(LONG, "the worker's lock is free", || {
        #[expect(clippy::disallowed_methods, reason = "as a look does")]
        look.try_lock_shared().ok()
    });
    kill(run.pid, Signal::SIGCONT).unwrap();
    (run, look)
}

#[test]
fn a_supervisor_says_so_when_the_lock_of_its_dead_workers_app_is_held() {
    let scene = Scene::new(Phase::Converge);
    let (run, look) = killed_while_looked_at(&scene);
    let done = run.finish();
    done.expect(137);
    assert!(done.stderr.contains(" is held by "), "{}", done.stderr);
    assert!(!done.stderr.contains(" torn down =="), "{}", done.stderr);
    assert!(scene.env.results()["teardown"]["clean"].is_null());
    assert!(!objects_of(&scene.env.zone).is_empty());
    look.unlock().unwrap();
    scene.env.run(["janitor"]).expect(0);
    scene.env.assert_nothing_left();
}
