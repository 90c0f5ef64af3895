//! What an operator sees of runs that go on: `ps`, the janitor's table, the banner.

use std::time::Duration;

use serde_json::Value;

use crate::cancel::kill_both;
use crate::dependencies::Pair;
use crate::engine::{SwarmEnv, objects_of};
use crate::forge::Forge;
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// Makes every run of `notes` in `env` hold in its custom tier until [`SwarmEnv::release`].
fn held(env: &mut SwarmEnv) -> std::path::PathBuf {
    env.set("STAGES", "install,custom");
    let recipe = env.recipe("notes");
    let root = env.root.display().to_string();
    env.fifo();
    let test = format!(
        "#!/bin/sh\nif mkdir {root}/once; then : >{root}/reached; read -r go <{root}/fifo; fi\n"
    );
    env.overlay("notes", "custom/test_hold.sh", &test);
    recipe
}

fn wait_held(env: &SwarmEnv) {
    wait_until(LONG, "the run holds", || {
        env.root.join("reached").exists().then_some(())
    });
}

fn ps(env: &SwarmEnv) -> Value {
    let done = env.run(["ps", "--json"]);
    done.expect(0);
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn ps_shows_phase_age_deadline_and_who_waits_for_whom() {
    let mut env = SwarmEnv::new();
    let recipe = held(&mut env);
    assert_eq!(ps(&env)["runs"], Value::Array(Vec::new()));
    let mut args: Vec<std::ffi::OsString> = vec!["run".into(), recipe.into(), "--run-id".into()];
    args.push("first".into());
    let first = env.start(&args);
    // Nothing sweeps this test's state directory, and the run says so.
    first.wait_line("!! nothing sweeps this host: no timer, no watcher, the janitor never swept");
    wait_held(&env);
    // Nor does a watcher that died, and the next run says that.
    let record = serde_json::json!({
        "process": { "pid": 4711, "started": 1, "boot": "another" }, "lock": [0, 1], "zone": env.zone,
        "every_s": 600, "poll_ms": 10_000, "beat_at": "2026-11-29T15:00:00Z", "sweeps": 3, "last": null,
    });
    let record = env.write("state/watcher.json", &record.to_string());
    *args.last_mut().unwrap() = "second".into();
    let second = env.start(&args);
    second.wait_line(
        "!! nothing sweeps this host: no timer, a watcher that died (pid 4711, it last said",
    );
    second.wait_line("— waiting ==");
    std::fs::remove_file(record).unwrap();
    let seen = wait_until(LONG, "both are listed, one as waiting", || {
        let seen = ps(&env);
        (seen["runs"][1]["phase"] == "lock_wait").then_some(seen)
    });
    let (owner, waiter) = (&seen["runs"][0], &seen["runs"][1]);
    assert_eq!(
        (&owner["run_id"], &waiter["run_id"]),
        (&"first".into(), &"second".into())
    );
    assert_eq!(owner["phase"], "custom");
    assert_eq!(owner["waits_for"], Value::Null);
    assert_eq!(waiter["waits_for"], "run first");
    assert_eq!(owner["recipe"], "notes");
    assert_eq!(owner["trust"]["level"], "by hand", "{owner:#}");
    let left = owner["deadline_left_s"].as_u64().unwrap();
    assert!((3000..=3600).contains(&left), "{left}");
    assert!(owner["age_s"].is_u64());
    assert_eq!(
        seen["leaked"],
        Value::Array(Vec::new()),
        "a live run is no leak"
    );
    assert_eq!(seen["sweeping"]["covered"], false);

    let table = env.run(["ps"]).stdout;
    assert!(table.starts_with("RUN "), "{table}");
    let row = table
        .lines()
        .find(|line| line.starts_with("second"))
        .unwrap();
    assert!(
        row.contains("lock_wait ") && row.contains(" by hand ") && row.ends_with("run first"),
        "{row}"
    );
    // The janitor sees the same: live, and left alone.
    let json: Value = serde_json::from_str(&env.run(["janitor", "--json"]).stdout).unwrap();
    assert_eq!(json["findings"][0]["decision"], "live");
    assert_eq!(json["findings"][0]["long_held"], false);
    // It has swept by now: the banner is gone, and the age of the sweep is there instead.
    let table = env.run(["ps"]).stdout;
    assert!(table.contains("ago by the janitor"), "{table}");
    assert!(!table.contains("nothing sweeps"), "{table}");

    let _open = env.release();
    first.finish().expect(0);
    second.finish().expect(0);
    assert_eq!(ps(&env)["runs"], Value::Array(Vec::new()));
    env.assert_nothing_left();
}

/// Who looks at a host sees whose proposal takes it, while it does.
#[test]
fn ps_shows_how_far_the_source_of_a_run_is_trusted() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,custom");
    let recipe = env.recipe("notes");
    let forge = Forge::start(env.root.join("forge"));
    let host = forge.url().replace("http://", "");
    let grants = format!("sources: {{'{host}/team/notes': {{branches: [main]}}}}\n");
    let grants = env.write("grants.yml", &grants).display().to_string();
    env.set("CCCI_FORGE_URL", forge.url());
    env.set("CCCI_GRANTS", grants);
    let reached = env.hold("notes", "custom/test_hold.sh");
    for (source, level) in [("evil/notes", "stranger"), ("team/notes", "granted")] {
        forge.publish_as(source, &recipe);
        drop(std::fs::remove_file(&reached));
        let run = env.start(["run", "--src", source, "--ref", "main", "--run-id", level]);
        wait_until(LONG, "the run holds", || reached.exists().then_some(()));
        let seen = ps(&env);
        let trust = &seen["runs"][0]["trust"];
        assert_eq!(trust["level"], level, "{seen:#}");
        assert_eq!(trust["source"], format!("{host}/{source}"), "{seen:#}");
        let table = env.run(["ps"]).stdout;
        let row = table.lines().find(|line| line.starts_with(level)).unwrap();
        assert!(row.contains(&format!(" {level} ")), "{table}");
        let _open = env.release();
        run.finish().expect(0);
    }
    env.assert_nothing_left();
}

/// A dependency's app is its run's: not one that somebody unknown holds.
#[test]
fn ps_shows_dependencies_as_part_of_the_run_that_needs_them() {
    let mut pair = Pair::new("board, notes");
    pair.publish("board");
    pair.without_image("board");
    pair.env.hold("client", "custom/test_hold.sh");
    let run = pair.start(&[]);
    wait_held(&pair.env);
    let seen = ps(&pair.env);
    assert_eq!(seen["held_by_others"], Value::Array(Vec::new()), "{seen:#}");
    assert_eq!(seen["runs"].as_array().unwrap().len(), 1, "{seen:#}");
    let listed = &seen["runs"][0]["dependencies"];
    let shown = |index: usize| (&listed[index]["recipe"], &listed[index]["status"]);
    assert_eq!(shown(0), (&"board".into(), &"fail".into()), "{seen:#}");
    assert_eq!(shown(1), (&"notes".into(), &"pass".into()));
    let domain = listed[1]["domain"].as_str().unwrap();
    let table = pair.env.run(["ps"]).stdout;
    let below: Vec<&str> = table.lines().skip(2).take(2).collect();
    assert!(
        below[0].starts_with("└") && below[0].ends_with("needed: failed"),
        "{table}"
    );
    assert!(
        below[1].contains("notes") && below[1].contains(domain) && below[1].ends_with("needed: up"),
        "{table}"
    );
    assert!(!table.contains("held:"), "{table}");
    let _open = pair.env.release();
    run.finish().expect(0);
    assert_eq!(ps(&pair.env)["runs"], Value::Array(Vec::new()));
    pair.env.assert_nothing_left();
}

#[test]
fn ps_shows_what_dead_runs_left_and_a_dry_sweep_makes_no_file() {
    let mut env = SwarmEnv::new();
    let recipe = held(&mut env);
    let run = env.start(["run".as_ref(), recipe.as_os_str()]);
    wait_held(&env);
    assert_eq!(kill_both(run).signal, Some(9));
    let seen = ps(&env);
    assert_eq!(
        seen["runs"],
        Value::Array(Vec::new()),
        "a dead run is listed"
    );
    let leaked = seen["leaked"][0].as_str().unwrap().to_owned();
    assert!(leaked.starts_with("note-"), "{leaked}");
    let table = env.run(["ps"]).stdout;
    assert!(
        table.contains(&format!("leaked: {leaked}: its owner is dead")),
        "{table}"
    );
    // As after a reboot: no lock file. A dry sweep must not make one.
    let lock = env.root.join(format!("locks/cc-ci-app-{leaked}.lock"));
    std::fs::remove_file(&lock).unwrap();
    let dry: Value =
        serde_json::from_str(&env.run(["janitor", "--dry-run", "--json"]).stdout).unwrap();
    assert_eq!(dry["findings"][0]["decision"], "would_reap");
    assert!(!lock.exists() && !objects_of(&env.zone).is_empty());
    assert_eq!(
        ps(&env)["sweeping"]["last_sweeps"][0]["by"],
        "run",
        "a dry sweep is no sweep"
    );

    let swept: Value = serde_json::from_str(&env.run(["janitor", "--json"]).stdout).unwrap();
    assert_eq!(swept["findings"][0]["decision"], "reaped");
    env.assert_nothing_left();
}

#[test]
fn a_lock_that_is_held_for_too_long_is_reported_and_not_stolen() {
    let mut env = SwarmEnv::new();
    let recipe = held(&mut env);
    let run = env.start(["run".as_ref(), recipe.as_os_str()]);
    wait_held(&env);
    let domain = ps(&env)["runs"][0]["domain"].as_str().unwrap().to_owned();
    let lock = env.root.join(format!("locks/cc-ci-app-{domain}.lock"));
    let old = std::time::SystemTime::now() - Duration::from_secs(121 * 60);
    harness::host_file::options()
        .write(true)
        .open(&lock)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let warning =
        format!("!! lock for {domain} held >120min — possible leaked run; inspect with lslocks");
    let swept = env.run(["janitor"]);
    swept.expect(0);
    assert!(swept.stderr.contains(&warning), "{}", swept.stderr);
    assert!(
        swept.stdout.contains("live (run manual-"),
        "{}",
        swept.stdout
    );
    assert!(env.run(["ps"]).stdout.contains(&warning));
    assert_eq!(ps(&env)["long_held"][0], domain.as_str());
    // With a longer deadline the same age is no news.
    let patient = env.run(["janitor", "--deadline", "2h"]);
    assert!(!patient.stderr.contains("!! lock"), "{}", patient.stderr);
    let _open = env.release();
    run.finish().expect(0);
    env.assert_nothing_left();
}
