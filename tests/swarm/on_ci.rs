//! Runs on an engine of CI's own.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::cancel::kill_both;
use crate::engine::{SOCKET, objects_of};
use crate::room::Rooms;
use crate::support::{Run, command};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

impl Rooms {
    /// Returns the names that hold this test's zone of all kinds of things there.
    pub(crate) fn objects(&self) -> Vec<String> {
        let part = self.env.zone.replace('.', "_");
        let kinds: [&[&str]; 6] = [
            &["service", "ls", "--format", "{{.Name}}"],
            &["ps", "--all", "--format", "{{.Names}}"],
            &["network", "ls", "--format", "{{.Name}}"],
            &["volume", "ls", "--format", "{{.Name}}"],
            &["secret", "ls", "--format", "{{.Name}}"],
            &["config", "ls", "--format", "{{.Name}}"],
        ];
        let listed = kinds.map(|kind| self.docker(kind)).join("\n");
        let ours = listed.lines().filter(|name| name.contains(&part));
        ours.map(str::to_owned).collect()
    }

    /// Starts a run of `notes` there that stays in its install tier.
    pub(crate) fn held(&mut self) -> (Run, PathBuf) {
        self.env.fifo();
        let reached = self.env.hold("notes", "test_install.sh");
        let recipe = self.env.recipe("notes");
        let run = self
            .env
            .start(["run", "--engine", "ci", recipe.to_str().unwrap()]);
        wait_until(LONG, "the run holds", || reached.exists().then_some(()));
        (run, recipe)
    }
}

#[test]
fn a_run_on_cis_engine_goes_all_the_way_and_the_operators_engine_has_nothing_of_it() {
    let mut rooms = Rooms::new();
    rooms.up(&[]);
    let root = rooms.env.root.display().to_string();
    // What a test asks without saying more is the engine of its run.
    let look = format!(
        "#!/bin/sh\nset -eu\nstack=$(echo \"$CCCI_APP_DOMAIN\" | tr . _)\n\
         docker info --format '{{{{.Name}}}}' >{root}/name\n\
         docker -H unix://{SOCKET} ps -aq --filter name=$stack >{root}/operators\n\
         docker ps -q --filter name=$stack >{root}/own\n"
    );
    rooms.env.overlay("notes", "custom/test_look.sh", &look);
    let recipe = rooms.env.recipe("notes");
    let done = rooms
        .env
        .run(["run", "--engine", "ci", recipe.to_str().unwrap()]);
    done.expect(0);
    let results = rooms.env.results();
    assert_eq!(results["verdict"], "passed");
    assert_eq!(results["level"], 5, "{results:#}");
    let read = |name: &str| harness::host_file::text(rooms.env.root.join(name)).unwrap();
    assert_eq!(read("name").trim(), "recipe-ci");
    assert_eq!(read("operators"), "");
    assert_ne!(read("own"), "");
    assert_eq!(rooms.objects(), [""; 0]);
    assert_eq!(objects_of(&rooms.env.zone), [""; 0]);
}

#[test]
fn a_stranger_runs_on_cis_engine_as_long_as_the_hosts_addresses_are_closed_to_it() {
    let mut rooms = Rooms::new();
    rooms.up(&[]);
    rooms.env.set("STAGES", "install");
    rooms.env.set("CCCI_ENGINE", "ci");
    let recipe = rooms.env.recipe("notes");
    let run = || rooms.env.run(["run", "--src", recipe.to_str().unwrap()]);
    run().expect(0);
    // A firewall that is loaded anew.
    let link = rooms.link();
    let flushed = command("iptables")
        .args(["-w", "-t", "mangle", "-D", "PREROUTING", "-i", &link])
        .args(["-j", &link])
        .status();
    assert!(flushed.unwrap().success());
    let open = run();
    open.expect(3);
    assert!(
        open.stderr.contains("may reach this host's own addresses"),
        "{}",
        open.stderr
    );
    let doctor = rooms.env.run(["doctor", "--json"]);
    assert!(
        doctor.stdout.contains("it may reach this host's addresses"),
        "{}",
        doctor.stdout
    );
    assert_eq!(rooms.objects(), [""; 0]);
    rooms.engine(&["down", "--keep-data"]).expect(0);
    rooms.up(&[]);
    run().expect(0);
}

#[test]
fn what_a_dead_run_left_on_cis_engine_is_seen_and_reaped_by_the_hosts_janitor() {
    let mut rooms = Rooms::new();
    rooms.up(&[]);
    let (run, _) = rooms.held();
    let live = rooms.env.run(["janitor"]);
    live.expect(0);
    assert!(live.stdout.contains("left alone"), "{}", live.stdout);
    let before = rooms.objects();
    assert_ne!(before, [""; 0]);
    kill_both(run);
    let seen = rooms.env.run(["ps"]);
    assert!(seen.stdout.contains(&rooms.env.zone), "{}", seen.stdout);
    rooms.env.run(["janitor"]).expect(0);
    assert_eq!(rooms.objects(), [""; 0]);
    rooms.env.run(["janitor"]).expect(0);
}

#[test]
fn an_engine_that_dies_under_a_run_is_the_hosts_fault_and_no_recipes() {
    let mut rooms = Rooms::new();
    rooms.up(&[]);
    let (run, recipe) = rooms.held();
    kill(rooms.supervisor(), Signal::SIGKILL).unwrap();
    wait_until(LONG, "the engine is gone", || {
        rooms
            .engine(&["status"])
            .stdout
            .starts_with("died")
            .then_some(())
    });
    let _open = rooms.env.release();
    run.finish().expect(3);
    let next = rooms
        .env
        .run(["run", "--engine", "ci", recipe.to_str().unwrap()]);
    next.expect(3);
    assert!(
        next.stderr.contains("recipe-ci engine up"),
        "{}",
        next.stderr
    );
    // Its swarm goes on where it ended, and what the run left in it is found.
    rooms.up(&[]);
    assert_ne!(rooms.objects(), [""; 0]);
    rooms.env.run(["janitor"]).expect(0);
    assert_eq!(rooms.objects(), [""; 0]);
}

#[test]
fn an_engine_that_there_is_not_is_said_before_anything_is_made() {
    let mut rooms = Rooms::new();
    let recipe = rooms.env.recipe("notes");
    let none = rooms
        .env
        .run(["run", "--engine", "ci", recipe.to_str().unwrap()]);
    none.expect(3);
    assert!(
        none.stderr.contains("recipe-ci engine up"),
        "{}",
        none.stderr
    );
    rooms
        .env
        .run(["run", "--engine", "mars", recipe.to_str().unwrap()])
        .refused(&["mars"]);
    rooms.env.set("CCCI_ENGINE", "mars");
    rooms.env.run(["janitor"]).refused(&["CCCI_ENGINE", "mars"]);
    rooms.env.set("CCCI_ENGINE", "");
}
