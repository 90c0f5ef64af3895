//! What a run leaves beside its app when supervisor and worker are both killed: a daemon that a test started in
//! a session of its own, and the working files.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::Value;

use crate::cancel::{child_of, kill_both};
use crate::engine::{SwarmEnv, names};
use crate::support::{Mount, Run, read_results};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// Runs that stay in their custom tier, each with an unknown daemon.
struct Place {
    env: SwarmEnv,
    recipe: PathBuf,
}

impl Place {
    fn new() -> Self {
        let mut env = SwarmEnv::new();
        env.set("STAGES", "custom");
        let recipe = env.recipe("notes");
        env.fifo();
        // Forked twice and in a session of its own; it ignores what may be ignored and holds a file. The other one has
        // cleared its environment as well.
        let test = "#!/bin/sh\n\
            daemon() { at=$1; shift\n\
            (\"$@\" setsid sh -c 'trap \"\" TERM HUP INT; exec 9>'$at'-file; echo $$ >'$at'.new; mv '$at'.new '$at'\n\
            while :; do sleep 0.5; done' >/dev/null 2>&1 &)\n\
            }\n\
            daemon ROOT/daemon-$CCCI_RUN_ID env\n\
            daemon ROOT/hidden-$CCCI_RUN_ID env -i\n\
            read -r go <ROOT/fifo\n"
            .replace("ROOT", env.root.to_str().unwrap());
        env.overlay("notes", "custom/test_hold.sh", &test);
        Self { env, recipe }
    }

    fn start(&self, id: &str) -> Run {
        // An app of its own for each.
        let pr = match id {
            "dead" => "1",
            "alive" => "2",
            _ => "3",
        };
        let args = [
            "run",
            self.recipe.to_str().unwrap(),
            "--run-id",
            id,
            "--pr",
            pr,
        ];
        self.env.start(args)
    }

    /// Returns the daemon of a run, once it is there.
    fn daemon(&self, id: &str) -> Pid {
        self.said("daemon", id)
    }

    fn said(&self, what: &str, id: &str) -> Pid {
        let file = self.env.root.join(format!("{what}-{id}"));
        wait_until(LONG, "the daemon says its pid", || {
            let pid = harness::host_file::text(&file).ok()?;
            Some(Pid::from_raw(pid.trim().parse().ok()?))
        })
    }

    fn run_dir(&self, id: &str) -> PathBuf {
        self.env.root.join("runs").join(id)
    }

    fn janitor(&self, code: i32, more: &[&str]) -> Value {
        let done = self.env.run(["janitor", "--json"].iter().chain(more));
        done.expect(code);
        serde_json::from_str(&done.stdout).unwrap()
    }
}

fn lives(pid: Pid) -> bool {
    kill(pid, None).is_ok()
}

#[test]
fn t26_a_daemon_and_the_working_files_of_a_dead_run_go_and_a_living_run_keeps_its_own() {
    let place = Place::new();
    let (dead, alive) = (place.start("dead"), place.start("alive"));
    let (theirs, ours) = (place.daemon("dead"), place.daemon("alive"));
    let hidden = place.said("hidden", "dead");
    // While both live, a sweep touches neither.
    assert_eq!(place.janitor(0, &[])["dead_runs"], Value::Array(Vec::new()));
    assert!(lives(theirs) && lives(ours));

    assert_eq!(kill_both(dead).signal, Some(9));
    assert!(
        lives(theirs) && lives(hidden),
        "the test is void: a daemon died with its run"
    );
    let listed = place.env.run(["ps"]).stdout;
    assert!(
        listed.contains("left: run dead is dead") && listed.contains(&format!("(pid {theirs})")),
        "{listed}"
    );
    let dry = place.janitor(0, &["--dry-run"]);
    assert_eq!(dry["dead_runs"].as_array().unwrap().len(), 1, "{dry}");
    assert!(
        dry["dead_runs"][0]
            .to_string()
            .contains(&format!("(pid {theirs})"))
    );
    assert!(
        dry.to_string().contains(&format!("(pid {hidden})")),
        "{dry}"
    );
    assert!(lives(theirs) && place.run_dir("dead").join("state/mark.json").exists());

    // What cannot be removed is said, and keeps the proof for the next sweep.
    let stuck = Mount::tmpfs(place.run_dir("dead").join("bin/in-use"), "size=64k");
    let swept = place.janitor(4, &[]);
    let row = &swept["dead_runs"][0];
    assert_eq!(row["run"], "dead");
    assert!(
        row["processes"]
            .to_string()
            .contains(&format!("(pid {theirs})")),
        "{row}"
    );
    assert!(
        row["left"][0].as_str().unwrap().starts_with("bin: "),
        "{row}"
    );
    assert!(
        row.to_string().contains(&format!("(pid {hidden})")),
        "{row}"
    );
    wait_until(LONG, "both daemons are gone", || {
        (!lives(theirs) && !lives(hidden)).then_some(())
    });
    assert!(place.run_dir("dead").join("state/mark.json").exists());
    drop(stuck);

    let swept = place.env.run(["janitor"]);
    swept.expect(0);
    assert!(
        swept
            .stdout
            .contains("run dead: its processes were dead; removed its working files: bin, state"),
        "{}",
        swept.stdout
    );
    assert_eq!(
        names(&place.run_dir("dead")),
        [
            "badge.json",
            "badge.svg",
            "junit.xml",
            "logs",
            "report.html",
            "results.json",
            "run.log"
        ]
    );
    // Nobody else could close it.
    let closed = read_results(&place.run_dir("dead"));
    assert_eq!(closed["verdict"], "orphaned");
    assert!(closed["finished_at"].is_string(), "{closed:#}");
    let xml = harness::host_file::text(place.run_dir("dead").join("junit.xml")).unwrap();
    assert!(xml.contains("the janitor closed its report"), "{xml}");

    assert!(lives(ours), "a living run's daemon was ended");
    assert!(place.run_dir("alive").join("abra").exists());
    std::fs::write(place.env.root.join("fifo"), "go\n").unwrap();
    alive.finish().expect(0);
    wait_until(LONG, "its run ends it", || (!lives(ours)).then_some(()));
    place.env.assert_nothing_left();
}

#[test]
fn t26_the_next_run_ends_what_a_dead_one_left_running() {
    let place = Place::new();
    let dead = place.start("dead");
    let theirs = place.daemon("dead");
    assert_eq!(kill_both(dead).signal, Some(9));
    let next = place.start("next");
    let ours = place.daemon("next");
    wait_until(LONG, "the daemon is gone", || {
        (!lives(theirs)).then_some(())
    });
    assert!(lives(ours));
    std::fs::write(place.env.root.join("fifo"), "go\n").unwrap();
    let done = next.finish();
    done.expect(0);
    // It may have found more: what the kill was not done with yet.
    let said = done
        .stderr
        .lines()
        .find(|line| line.contains("== janitor: ended what run dead had left: "));
    let named = said.is_some_and(|line| line.contains(&format!("sh (pid {theirs})")));
    assert!(named, "{}", done.stderr);
    assert!(!place.run_dir("dead").join("state").exists());
    place.env.assert_nothing_left();
}

/// A run or a watcher that a run's hook starts is no part of that run: it ends what it made by itself.
#[test]
fn a_command_with_apps_of_its_own_sheds_the_mark_of_the_run_around_it() {
    let place = Place::new();
    let mut command = place.env.program(crate::support::binary());
    command
        .args(["run", place.recipe.to_str().unwrap(), "--run-id", "inner"])
        .env("RECIPE_CI_RUN", "0".repeat(32));
    let inner = place.env.follow(command);
    let daemon = place.daemon("inner");
    let marks = |pid: Pid| -> Vec<String> {
        let environ = harness::host_file::bytes(format!("/proc/{pid}/environ")).unwrap();
        let entries = environ
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy);
        entries
            .filter_map(|entry| Some(entry.strip_prefix("RECIPE_CI_RUN=")?.to_owned()))
            .collect()
    };
    assert_eq!(marks(inner.pid), [""; 0]);
    assert_eq!(marks(child_of(inner.pid)), [""; 0]);
    let mark = harness::host_file::text(place.run_dir("inner").join("state/mark.json")).unwrap();
    let mark: Value = serde_json::from_str(&mark).unwrap();
    assert_eq!(marks(daemon), [mark["token"].as_str().unwrap()]);
    std::fs::write(place.env.root.join("fifo"), "go\n").unwrap();
    inner.finish().expect(0);
    place.env.assert_nothing_left();
}
