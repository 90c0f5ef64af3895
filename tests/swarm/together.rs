//! Runs beside each other: each has its own places, and one domain is one run's at a time. The numbers are
//! those of docs/concurrency.md.

use std::os::unix::fs::DirEntryExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::engine::{SOCKET, SwarmEnv};
use crate::hold::Proxy;
use crate::quick::Scene;
use crate::support::{Run, command, locked, read_results};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// A test that waits until another run is there as well, and notes what its own run has.
const MEETING: &str = r#"#!/bin/sh
set -eu
root=ROOT me=$CCCI_RUN_ID
: >"$root/here-$me"
tries=0
until [ -e "$root/here-a" ] && [ -e "$root/here-b" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 1200 ] || { echo "the other run never came"; exit 1; }
    sleep 0.05
done
cat "$ABRA_DIR/recipes/notes/WHICH" >"$root/tree-$me"
env_file=servers/default/$CCCI_APP_DOMAIN.env
[ "$ABRA_DIR/$env_file" -ef "$HOME/.abra/$env_file" ] || { echo "the env file is not canonical"; exit 1; }
cat "$CCCI_DEPLOY_COUNT_FILE" >"$root/count-$me"
for file in "$CCCI_DEPLOY_COUNT_FILE" "$CCCI_OP_STATE_FILE" "$CCCI_DEPS_FILE" "$CCCI_DEPS_SKIP_REPORT"; do
    case $file in
        *"${CCCI_APP_DOMAIN%%.*}"*) echo "$file has the domain"; exit 1 ;;
        "$root/runs/$me/"*) ;;
        *) echo "$file is not the run's"; exit 1 ;;
    esac
done
"#;

/// Two proposals for one recipe. Each run has its tree, its `ABRA_DIR` and its files, and the canonical
/// checkout of the recipe is nobody's.
#[test]
fn t18_two_runs_of_one_recipe_at_two_refs_have_two_trees_and_leave_the_canonical_one() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,custom");
    let recipe = env.recipe("notes");
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        let mut git = command("git");
        git.arg("-C").arg(&recipe).args(identity).args(args);
        assert!(git.output().unwrap().status.success(), "git {args:?}");
    };
    for branch in ["a", "b"] {
        git(&["checkout", "--quiet", "-B", branch, "main"]);
        std::fs::write(recipe.join("WHICH"), branch).unwrap();
        git(&["add", "WHICH"]);
        git(&["commit", "--quiet", "--message", branch]);
    }
    git(&["checkout", "--quiet", "main"]);
    // An error of the lint, in the work tree alone.
    let compose = recipe.join("compose.yml");
    env.edit(&compose, "interval: 1s", "interval: ${EVERY:-1s}");
    let root = env.root.display().to_string();
    let meeting = MEETING.replace("ROOT", &root);
    // The first child that a run starts for a recipe; whatever came before it had the same directory.
    let first = format!("#!/bin/sh\necho \"$ABRA_DIR\" >{root}/abra-$CCCI_RUN_ID\n");
    env.overlay("notes", "install_steps.sh", &first);
    env.overlay("notes", "custom/test_meeting.sh", &meeting);
    let places = env.root.join("home/.abra/recipes");
    let canonical = env.write("home/.abra/recipes/notes/WHICH", "canonical");
    let seen = || {
        let listing = command("find")
            .arg(&places)
            .args(["-printf", "%P %i %s %T@ %C@\n"])
            .output()
            .unwrap();
        (
            String::from_utf8(listing.stdout).unwrap(),
            harness::host_file::bytes(&canonical).unwrap(),
        )
    };
    let before = seen();
    let path = recipe.display().to_string();
    // The ref alone makes them two apps.
    let runs = ["a", "b"].map(|id| env.start(["run", &path, "--run-id", id, "--ref", id]));
    for run in runs {
        run.finish().expect(0);
    }
    for id in ["a", "b"] {
        let read =
            |what: &str| harness::host_file::text(env.root.join(format!("{what}-{id}"))).unwrap();
        assert_eq!(read("tree"), id);
        assert_eq!(read("count"), "1\n");
        assert_eq!(read("abra").trim(), format!("{root}/runs/{id}/abra"));
        let results = read_results(&env.root.join("runs").join(id));
        assert_eq!(results["deploy_count"], 1);
        assert_eq!(results["lint"]["status"], "pass", "{results:#}");
    }
    assert_eq!(seen(), before);
    env.assert_nothing_left();
}

#[test]
fn two_recipes_at_once_are_both_green() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,backup");
    let runs = ["notes", "ledger"].map(|name| {
        let recipe = env.recipe(name);
        env.start(["run".as_ref(), recipe.as_os_str()])
    });
    for run in runs {
        let done = run.finish();
        done.expect(0);
        // The other run's janitor may hold a lock file for a moment that is made and not held yet, and says no name.
        assert!(!done.stderr.contains("in flight (run"), "{}", done.stderr);
    }
    env.assert_nothing_left();
}

#[test]
fn t20c_two_runs_of_one_domain_take_turns_and_each_keeps_its_own_deploy_count() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install,custom");
    let recipe = env.recipe("notes");
    let root = env.root.display().to_string();
    env.fifo();
    // The first run reads its count when the second has been waiting for a while.
    let hook = format!(
        "#!/bin/sh\nif mkdir {root}/once; then : >{root}/reached; read -r go <{root}/fifo; fi\n\
         cat \"$CCCI_DEPLOY_COUNT_FILE\" >>{root}/counts\n"
    );
    env.overlay("notes", "custom/test_wait.sh", &hook);
    let args = ["run".as_ref(), recipe.as_os_str()];
    let first = env.start(args);
    wait_until(LONG, "the first run holds", || {
        env.root.join("reached").exists().then_some(())
    });
    let second = env.start(args);
    let line = second.wait_line("== app lock: another run of note-");
    assert!(line.contains("is in flight (run manual-"), "{line}");
    assert!(line.ends_with("— waiting =="), "{line}");
    let _open = env.release();
    first.finish().expect(0);
    let second = second.finish();
    second.expect(0);
    assert!(
        second.stderr.contains("== app lock: acquired"),
        "{}",
        second.stderr
    );
    let reports: Vec<_> = env.run_dirs().iter().map(|dir| read_results(dir)).collect();
    let waited = reports
        .iter()
        .filter(|results| results["phases"]["lock_wait_ms"] != 0)
        .count();
    assert_eq!(waited, 1, "{reports:#?}");
    assert!(reports.iter().all(|results| results["deploy_count"] == 1));
    let counts = harness::host_file::text(env.root.join("counts")).unwrap();
    assert_eq!(counts, "1\n1\n");
    env.assert_nothing_left();
}

/// A registry is asked once per host and not once per run, also for what it does not have.
#[test]
fn of_two_runs_that_want_one_image_one_pulls_and_both_are_told_what_that_came_to() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("pull-missing");
    let root = env.root.display().to_string();
    env.fifo();
    // This host's docker, but pulls wait for the test and then fail, each with its own words, of a kind that is not
    // tried again.
    let docker = format!(
        "#!/bin/sh\ncase \" $* \" in *' pull '*) ;; *) PATH=${{PATH#*:}}; exec docker \"$@\" ;; esac\n\
         echo $$ >>{root}/pulls\nread -r go <{root}/fifo\necho \"unauthorized: refusal $$.\" >&2\nexit 1\n"
    );
    let docker = env.write("bin/docker", &docker);
    env.prepend_path(docker.parent().unwrap());
    let path = recipe.display().to_string();
    let start = |pr: &str| env.start(["run", &path, "--pr", pr]);
    let pulls = || -> Vec<String> {
        let text = harness::host_file::text(env.root.join("pulls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let first = start("1");
    wait_until(LONG, "the first run pulls", || {
        (!pulls().is_empty()).then_some(())
    });
    let second = start("2");
    let images = env.root.join("state/images");
    wait_until(LONG, "the second run waits for the first or pulls", || {
        let files = harness::host_file::entries(&images)
            .into_iter()
            .flatten()
            .flatten();
        let inodes: Vec<_> = files.map(|file| format!(":{} ", file.ino())).collect();
        let locks = harness::host_file::text("/proc/locks").unwrap();
        let mut waiters = locks.lines().filter(|line| line.contains("-> FLOCK"));
        let waits = waiters.any(|line| inodes.iter().any(|inode| line.contains(inode)));
        (waits || pulls().len() > 1).then_some(())
    });
    assert_eq!(pulls().len(), 1, "each pulls for itself");
    let _open = env.release();
    for run in [first, second] {
        let done = run.finish();
        done.expect(3);
        let refusal = format!("refusal {}.", pulls()[0]);
        assert!(done.stderr.contains(&refusal), "{refusal}: {}", done.stderr);
    }
    assert_eq!(pulls().len(), 1, "{:?}", pulls());
    env.assert_nothing_left();
}

/// Asserts that a janitor leaves the warm app alone that a quick run is at.
#[track_caller]
pub(crate) fn assert_left_alone(scene: &Scene) {
    let state = || (scene.objects("service"), scene.good(), scene.canonical());
    let before = state();
    assert!(!before.0.is_empty());
    for args in [&["janitor", "--dry-run"][..], &["janitor"]] {
        let done = scene.env.run(args);
        done.expect(0);
        assert_eq!(done.stdout, "warm notes: live, left alone", "{args:?}");
        assert_eq!(state(), before, "{args:?}");
    }
}

/// A quick run that waits for the one that is at the warm app.
pub(crate) struct Next {
    run: Run,
    has_its_turn: Receiver<()>,
    /// It goes on when this is dropped.
    gate: Sender<()>,
}

impl Next {
    /// Starts it; returns once it waits.
    pub(crate) fn waiting(scene: &mut Scene, id: &str) -> Self {
        let (here, has_its_turn) = channel();
        let (gate, opened) = channel();
        let opened = Mutex::new(opened);
        let waits = Arc::new(AtomicBool::new(false));
        let had_waited = Arc::clone(&waits);
        // The first that it asks the engine with the app's lock in hand, and what it asks meanwhile.
        let proxy = Proxy::through(scene.env.root.join("next.sock"), move |_| {
            if had_waited.load(Ordering::SeqCst) {
                let _ = here.send(());
                let _ = locked(&opened).recv();
            }
            true
        });
        scene.env.set("DOCKER_HOST", proxy.address());
        let run = scene.start(id, &["--quick"]);
        scene.env.set("DOCKER_HOST", format!("unix://{SOCKET}"));
        let domain = format!("warm-notes.{}", scene.env.zone);
        run.wait_line(&format!("another run of {domain} is in flight"));
        waits.store(true, Ordering::SeqCst);
        Self {
            run,
            has_its_turn,
            gate,
        }
    }

    /// Waits until it has the app, and has not touched it.
    #[track_caller]
    pub(crate) fn wait(&self) {
        let come = self.has_its_turn.recv_timeout(LONG);
        assert!(come.is_ok(), "{}", self.run.stderr());
    }

    /// Lets it be a quick run like any other.
    pub(crate) fn go_on(self) -> Run {
        drop(self.gate);
        self.run
    }
}
