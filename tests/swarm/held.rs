//! Apps that are held after their run: they are entered, survive sweeps and other runs, and go.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cancel::{child_of, kill_both, wait_gone};
use crate::dependencies::Pair;
use crate::engine::{SwarmEnv, names, objects_of};
use crate::support::read_results;
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// Runs a recipe, with an id and a hold.
fn run(env: &SwarmEnv, recipe: &str, id: &str, keep: &str, code: i32) -> Value {
    let recipe = match env.root.join("recipes").join(recipe) {
        there if there.exists() => there,
        _ => env.recipe(recipe),
    };
    let words = ["--run-id", id, "--keep", keep].map(std::ffi::OsString::from);
    let words = ["run".into(), recipe.into_os_string()]
        .into_iter()
        .chain(words);
    env.run(words).expect(code);
    read_results(&directory(env, id))
}

fn directory(env: &SwarmEnv, id: &str) -> PathBuf {
    env.root.join("runs").join(id)
}

fn ps(env: &SwarmEnv) -> Value {
    let done = env.run(["ps", "--json"]);
    done.expect(0);
    serde_json::from_str(&done.stdout).unwrap()
}

/// Returns the holder of the only app that is held.
fn holder(env: &SwarmEnv) -> Pid {
    let seen = ps(env);
    assert_eq!(seen["runs"][0]["phase"], "held", "{seen:#}");
    let pid = seen["runs"][0]["process"]["pid"].as_i64().unwrap();
    Pid::from_raw(i32::try_from(pid).unwrap())
}

/// Returns the stacks that have a service.
fn stacks(env: &SwarmEnv) -> Vec<String> {
    let services = objects_of(&env.zone).into_iter();
    let services = services.filter_map(|one| Some(one.strip_prefix("service ")?.to_owned()));
    let mut stacks: Vec<String> = services
        .map(|name| name[..name.rfind('_').unwrap()].to_owned())
        .collect();
    stacks.dedup();
    stacks
}

fn wait_nothing_left(env: &SwarmEnv) {
    wait_until(LONG, "the app is gone", || {
        (objects_of(&env.zone).is_empty() && env.processes().is_empty()).then_some(())
    });
    env.assert_nothing_left();
}

#[test]
fn the_app_of_a_red_run_is_held_through_sweeps_and_another_run_is_entered_and_released() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,custom");
    let results = run(&env, "test-fails", "red", "failed=1h", 1);
    assert_eq!(results["verdict"], "failed");
    let hold = &results["hold"];
    assert_eq!(hold["domain"], results["domain"], "{hold:#}");
    assert_eq!(hold["release"], "recipe-ci release red");
    assert_eq!(hold["ended"], Value::Null);
    assert!(
        hold["url"].as_str().unwrap().starts_with("http://"),
        "{hold:#}"
    );
    assert_eq!(results["teardown"]["clean"], Value::Null);
    let app = stacks(&env);
    assert_eq!(app.len(), 1, "{app:?}");

    // It has nothing of the step that started the run, and nothing of the run but what says what is held.
    let pid = holder(&env);
    let open = format!("/proc/{pid}/fd");
    for file in harness::host_file::entries(&open).unwrap().flatten() {
        let to = std::fs::read_link(file.path()).unwrap_or_default();
        let to = to.display().to_string();
        assert!(!to.starts_with("pipe:"), "{to}");
    }
    let stat = harness::host_file::text(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit_once(')').unwrap().1;
    let session = session.split_whitespace().nth(3).unwrap();
    assert_eq!(session, pid.to_string());
    let red = directory(&env, "red");
    assert_eq!(
        names(&red.join("state")),
        ["held.json", "live.json", "live.lock", "mark.json"]
    );
    use std::os::unix::fs::PermissionsExt as _;
    let mode = red.join("state/held.json").metadata().unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    for _ in 0..2 {
        let done = env.run(["janitor", "--json"]);
        done.expect(0);
        let swept: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(swept["findings"][0]["decision"], "live", "{swept:#}");
        let holder = swept["findings"][0]["holder"].as_str().unwrap();
        assert!(holder.starts_with("hold of run red until 20"), "{holder}");
    }
    env.set("STAGES", "install");
    run(&env, "notes", "other", "never", 0);
    assert_eq!(stacks(&env), app);
    assert_eq!(holder(&env), pid);
    let seen = ps(&env);
    assert_eq!(seen["leaked"], Value::Array(Vec::new()), "{seen:#}");
    assert_eq!(seen["held_by_others"], Value::Array(Vec::new()));
    let left = seen["runs"][0]["deadline_left_s"].as_u64().unwrap();
    assert!((3000..=3600).contains(&left), "{left}");

    let reached = |words: &[&str]| {
        let words = ["app", "--run", "red"].iter().chain(words);
        let done = env.run(words);
        done.expect(0);
        done.stdout
    };
    assert_eq!(
        reached(&["exec", "--", "sh", "-c", "echo in $((40 + 2))"]).trim(),
        "in 42"
    );
    assert!(!reached(&["http", "/"]).is_empty());
    assert!(reached(&["env", "DOMAIN"]).contains(hold["domain"].as_str().unwrap()));
    reached(&["logs"]);
    // With a terminal it has one in the container as well. script(1) of util-linux makes one.
    let binary = crate::support::binary();
    let line = format!("{binary} app --run red exec -- sh -c 'test -t 0 && tty && exit 7'");
    let mut script = env.program("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let done = env.follow(script).finish();
    done.expect(7);
    assert!(done.stdout.contains("/dev/pts/"), "{}", done.stdout);
    env.run(["app", "--run", "other", "exec", "true"])
        .refused(&["run other holds no app", "--keep failed=2h"]);

    let released = env.run(["release"]);
    released.expect(0);
    env.assert_nothing_left();
    let results = read_results(&red);
    assert_eq!(results["hold"]["ended"]["why"], "released");
    assert_eq!(results["teardown"]["clean"], true);
    assert_eq!(results["verdict"], "failed");
    assert!(!red.join("state").exists() && !red.join("hold.log").exists());
    env.run(["release"]).refused(&["no app is held"]);
    env.run(["app", "--run", "red", "env"])
        .refused(&["run red holds no app"]);
    assert_eq!(ps(&env)["runs"], Value::Array(Vec::new()));
}

#[test]
fn a_hold_ends_at_its_time_without_anybody() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let results = run(&env, "notes", "green", "always=4s", 0);
    assert_eq!(results["verdict"], "passed");
    let pid = holder(&env);
    wait_gone(pid);
    wait_nothing_left(&env);
    let results = read_results(&directory(&env, "green"));
    assert_eq!(results["hold"]["ended"]["why"], "its time was over");
    assert_eq!(results["teardown"]["clean"], true);
    // A sweep finds nothing to do.
    let done = env.run(["janitor", "--json"]);
    done.expect(0);
    let swept: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(swept["findings"], Value::Array(Vec::new()));
    assert_eq!(swept["dead_runs"], Value::Array(Vec::new()));
}

/// After a reboot the swarm brings the app back, and its lock file is gone with `/run`.
#[test]
fn what_a_killed_holder_held_goes_with_the_next_sweep_after_a_reboot_too() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    for reboot in [false, true] {
        let id = if reboot { "rebooted" } else { "killed" };
        run(&env, "notes", id, "always", 0);
        let pid = holder(&env);
        kill(pid, Signal::SIGKILL).unwrap();
        wait_gone(pid);
        if reboot {
            for lock in names(&env.root.join("locks")) {
                std::fs::remove_file(env.root.join("locks").join(lock)).unwrap();
            }
        }
        let seen = ps(&env);
        assert_eq!(seen["runs"], Value::Array(Vec::new()), "{seen:#}");
        assert_eq!(seen["leaked"].as_array().unwrap().len(), 1, "{seen:#}");
        let done = env.run(["janitor", "--json"]);
        done.expect(0);
        let swept: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(swept["findings"][0]["decision"], "reaped", "{swept:#}");
        assert_eq!(swept["dead_runs"][0]["run"], id, "{swept:#}");
        env.assert_nothing_left();
        let results = read_results(&directory(&env, id));
        assert_eq!(results["verdict"], "passed");
        assert_eq!(results["hold"]["ended"]["why"], "its holder was killed");
        assert!(!directory(&env, id).join("state").exists());
    }
}

/// Between the hand-over and the end of the run its worker removes the other app and writes the report.
#[test]
fn a_run_that_is_killed_after_it_handed_its_app_over_leaves_nothing() {
    let env = SwarmEnv::new();
    let recipe = env.recipe("notes").display().to_string();
    for both in [false, true] {
        let id = if both { "both" } else { "worker" };
        let run = env.start(["run", &recipe, "--run-id", id, "--keep", "always"]);
        let live = directory(&env, id).join("state/live.json");
        wait_until(LONG, "the app is handed over", || {
            let text = harness::host_file::text(&live).unwrap_or_default();
            text.contains("\"phase\": \"held\"").then_some(())
        });
        if both {
            kill_both(run);
            // The holder hears of it, and removes what it has; a sweep does the rest.
            env.run(["janitor"]).expect(0);
            wait_until(LONG, "its holder ends", || {
                env.processes().is_empty().then_some(())
            });
            env.run(["janitor"]).expect(0);
        } else {
            kill(child_of(run.pid), Signal::SIGKILL).unwrap();
            run.finish().expect(137);
        }
        env.assert_nothing_left();
        let results = read_results(&directory(&env, id));
        assert_eq!(results["verdict"], "orphaned", "{results:#}");
        assert_eq!(results["hold"], Value::Null, "{results:#}");
    }
}

/// A pipeline that is run again after a fix must not wait for somebody's look at what is red no more.
#[test]
fn a_newer_run_of_the_same_app_ends_its_hold() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    run(&env, "notes", "first", "always=1h", 0);
    let first = holder(&env);
    let results = run(&env, "notes", "second", "always=1h", 0);
    wait_gone(first);
    assert_eq!(results["phases"]["lock_wait_ms"], 0, "{results:#}");
    let before = read_results(&directory(&env, "first"));
    assert_eq!(before["hold"]["ended"]["why"], "released");
    assert_eq!(stacks(&env).len(), 1);
    // Its holder, and nobody else.
    env.run(["release", "first"])
        .refused(&["run first holds nothing"]);
    env.run(["release", "second"]).expect(0);
    env.assert_nothing_left();
}

/// Of the two apps of a run the one that failed is held, and the other one goes.
#[test]
fn of_two_apps_the_one_that_failed_is_held() {
    let env = SwarmEnv::new();
    let results = run(&env, "fresh-first-boot-fails", "red", "failed", 1);
    let fresh = results["fresh"]["domain"].as_str().unwrap();
    assert_eq!(results["hold"]["domain"], fresh, "{results:#}");
    let left: Vec<String> = objects_of(&env.zone)
        .into_iter()
        .filter(|object| !object.contains(&fresh.replace('.', "_")))
        .collect();
    assert_eq!(left, [""; 0]);
    assert!(!stacks(&env).is_empty());
    env.run(["app", "--run", "red", "env"]).expect(0);
    env.run(["release", "red"]).expect(0);
    env.assert_nothing_left();
}

#[test]
fn a_run_without_a_holder_removes_its_app_and_says_so() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    // What the run starts as its holder is no program any more.
    let copy = env.root.join("recipe-ci");
    let copied = crate::support::command("cp")
        .arg(crate::support::binary())
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    let reached = env.hold("notes", "test_install.sh");
    let recipe = env.recipe("notes");
    let mut command = env.program(&copy);
    command.arg("run").arg(&recipe).args(["--keep", "always"]);
    let held = env.follow(command);
    wait_until(LONG, "the run holds", || reached.exists().then_some(()));
    std::fs::remove_file(&copy).unwrap();
    let _open = env.release();
    let done = held.finish();
    done.expect(0);
    assert!(
        done.stderr.contains("is not held: failed to start"),
        "{}",
        done.stderr
    );
    let results = env.results();
    assert_eq!(results["hold"], Value::Null);
    assert_eq!(results["teardown"]["clean"], true);
    env.assert_nothing_left();
}

#[test]
fn what_a_held_app_needs_is_held_with_it() {
    let pair = Pair::new("notes");
    let env = &pair.env;
    let words = ["--run-id", "both", "--keep", "always"];
    pair.start(&words).finish().expect(0);
    let results = read_results(&directory(env, "both"));
    let needed = results["dependencies"][0]["domain"].as_str().unwrap();
    assert_eq!(results["hold"]["dependencies"], serde_json::json!([needed]));
    assert_eq!(stacks(env).len(), 2, "{:?}", stacks(env));
    env.run(["janitor"]).expect(0);
    assert_eq!(stacks(env).len(), 2);
    let seen = ps(env);
    assert_eq!(seen["held_by_others"], Value::Array(Vec::new()), "{seen:#}");
    env.run(["release"]).expect(0);
    env.assert_nothing_left();
}

/// Who opens pull requests that fail must not take the host with them.
#[test]
fn beyond_the_eighth_app_nothing_is_held_and_that_is_said() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let mut locks = Vec::new();
    for number in 0..8 {
        let record = serde_json::json!({
            "run_id": number.to_string(), "recipe": "notes", "pr": null, "reference": null, "phase": "held",
            "domain": format!("note-00000{number}.{}", env.zone), "phase_since": "", "started_at": "", "deadline_at": "",
            "process": { "pid": 1, "started": 1, "boot": "another" },
        });
        let state = format!("runs/{number}/state");
        let live = env.write(&format!("{state}/live.json"), &record.to_string());
        let lock = harness::lock::SectionLock::try_acquire(&live.with_file_name("live.lock"));
        locks.extend(lock.unwrap());
    }
    let results = run(&env, "notes", "ninth", "always", 0);
    assert_eq!(results["hold"], Value::Null);
    let warnings = results["warnings"].to_string();
    assert!(
        warnings.contains("8 apps are held on this host already"),
        "{warnings}"
    );
    env.assert_nothing_left();
    drop(locks.pop());
    let results = run(&env, "notes", "eighth", "always", 0);
    assert_eq!(results["hold"]["ended"], Value::Null);
    assert!(results["hold"]["domain"].is_string(), "{results:#}");
    env.run(["release", "eighth"]).expect(0);
    env.assert_nothing_left();
}
