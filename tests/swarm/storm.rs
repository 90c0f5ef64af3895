//! The kill storm: runs that end at a random moment in a random way, three at a time; then one sweep, and
//! nothing may be left but what was never a run's.
//!
//! `RECIPE_CI_STORM_RUNS` says how many, `RECIPE_CI_STORM_SEED` repeats a storm; the seed is printed. A seed
//! fixes what is done when, not what the runs have reached by then: that is the machine's part.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::engine::{SwarmEnv, docker, objects_of};
use crate::support::{Run, TestEnv, binary, is_locked, pids, read_results, variable};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(240);

/// How many runs there are at once.
const ABREAST: usize = 3;

/// How long after its start a run is ended, at most: somewhat longer than most of them take.
const LATEST: Duration = Duration::from_secs(11);

/// The ways in which a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    ByItself,
    Terminate,
    Interrupt,
    Hangup,
    Thrice,
    KillShell,
    KillGroup,
    TermThenKillGroup,
    KillWorker,
    KillSupervisor,
    KillBoth,
}

const ENDS: [End; 11] = [
    End::ByItself,
    End::Terminate,
    End::Interrupt,
    End::Hangup,
    End::Thrice,
    End::KillShell,
    End::KillGroup,
    End::TermThenKillGroup,
    End::KillWorker,
    End::KillSupervisor,
    End::KillBoth,
];

/// What a run of the storm does, all of it from the seed.
#[derive(Debug, Clone)]
struct Strike {
    index: usize,
    end: End,
    /// When, after the start of the run.
    after: Duration,
    /// Whether it is cancelled first, so that its end meets it while it tears down.
    in_teardown: bool,
    /// What is between two signals.
    grace: Duration,
    /// The pull request. There are few, so that runs wait for each other.
    pr: u32,
}

impl Strike {
    fn new(seed: u64, index: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(index as u64));
        // Each in its turn, so that a short storm has them all.
        let end = ENDS[index % ENDS.len()];
        Self {
            index,
            end,
            in_teardown: end != End::ByItself && rng.random_ratio(1, 3),
            after: Duration::from_millis(rng.random_range(0..LATEST.as_millis() as u64)),
            grace: Duration::from_millis(rng.random_range(0..1000)),
            pr: rng.random_range(1..=4),
        }
    }
}

fn child_of(of: Pid) -> Option<Pid> {
    pids().into_iter().find_map(|pid| {
        let stat = harness::host_file::text(format!("/proc/{pid}/stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
        (parent.parse() == Ok(of.as_raw())).then_some(Pid::from_raw(pid))
    })
}

/// Sends a signal to a process that may have ended meanwhile.
fn send(pid: Option<Pid>, signal: Signal) {
    if let Some(pid) = pid {
        let _ = kill(pid, signal);
    }
}

/// Waits until `span` has passed since `start`, or the process is gone; returns whether it is there.
fn wait_for_moment(pid: Pid, start: Instant, span: Duration) -> bool {
    let proc = format!("/proc/{pid}");
    wait_until(LONG, "the moment", || {
        let here = std::path::Path::new(&proc).exists();
        (!here || start.elapsed() >= span).then_some(here)
    })
}

/// Starts one run in a step's shell, strikes, and waits until none of its processes is left.
fn strike(env: &TestEnv, recipe: &str, strike: &Strike) {
    let step = env.root.join(format!("step-{}", strike.index));
    std::fs::create_dir(&step).unwrap();
    let id = format!("storm-{}", strike.index);
    let script = "\"$0\" run \"$1\" --pr \"$2\" --run-id \"$3\"; exit $?";
    let mut shell = env.program("sh");
    shell
        .args(["-c", script, binary(), recipe, &strike.pr.to_string(), &id])
        .current_dir(&step);
    let start = Instant::now();
    let run = env.follow(shell);
    if wait_for_moment(run.pid, start, strike.after) {
        end(&run, strike, &step);
    }
    run.ended();
    // The worker outlives the step's shell while it tears down.
    let mark = format!("--run-id\0{id}\0");
    wait_until(LONG, &format!("{strike:?} ends"), || {
        let left = pids().into_iter().any(|pid| {
            harness::host_file::bytes(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(mark.len()).any(|part| part == mark.as_bytes()))
        });
        (!left).then_some(())
    });
}

fn end(run: &Run, strike: &Strike, step: &std::path::Path) {
    let supervisor = child_of(run.pid);
    let worker = supervisor.and_then(child_of);
    // Whether the step is there still; a pid that is gone may be somebody else's soon.
    let again = || wait_for_moment(run.pid, Instant::now(), strike.grace);
    if strike.in_teardown {
        send(supervisor, Signal::SIGTERM);
        if !again() {
            return;
        }
    }
    match strike.end {
        End::ByItself => {}
        End::Terminate => send(supervisor, Signal::SIGTERM),
        End::Interrupt => send(supervisor, Signal::SIGINT),
        End::Hangup => send(supervisor, Signal::SIGHUP),
        End::Thrice => {
            for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
                send(supervisor, signal);
                if !again() {
                    return;
                }
            }
        }
        End::KillShell => {
            send(Some(run.pid), Signal::SIGKILL);
            drop(std::fs::remove_dir_all(step));
        }
        End::KillGroup => {
            let _ = killpg(run.pid, Signal::SIGKILL);
        }
        End::TermThenKillGroup => {
            let _ = killpg(run.pid, Signal::SIGTERM);
            // The shell is gone at once, its group may not be.
            again();
            let _ = killpg(run.pid, Signal::SIGKILL);
        }
        End::KillWorker => send(worker, Signal::SIGKILL),
        End::KillSupervisor => send(supervisor, Signal::SIGKILL),
        End::KillBoth => {
            // A supervisor that is stopped cannot reap.
            send(supervisor, Signal::SIGSTOP);
            send(worker, Signal::SIGKILL);
            send(supervisor, Signal::SIGKILL);
        }
    }
}

/// What the storm must not touch: a foreign stack, a warm app, volumes made by hand.
struct Witnesses {
    volumes: Vec<String>,
    services: Vec<String>,
    env_file: std::path::PathBuf,
}

impl Witnesses {
    fn make(env: &SwarmEnv) -> Self {
        let part = env.zone.replace('.', "_");
        let foreign = format!("foreign_{part}");
        let warm = format!("warm-notes_{part}");
        let compose = "services:\n  web:\n    image: recipe-ci/notes:1\n    \
            command: [\"sleep\", \"99999\"]\n    volumes: [\"data:/data\"]\n\
            volumes:\n  data:\n";
        let file = env.write("foreign.yml", &format!("version: \"3.8\"\n{compose}"));
        for stack in [&foreign, &warm] {
            let file = file.display().to_string();
            docker(&["stack", "deploy", "--compose-file", &file, stack]);
        }
        let by_hand = [format!("note-0a1b2_{part}_data"), format!("notes_{part}")];
        for volume in &by_hand {
            docker(&["volume", "create", volume]);
        }
        let services = [&foreign, &warm]
            .map(|stack| format!("{stack}_web"))
            .to_vec();
        for service in &services {
            wait_until(LONG, service, || {
                (!containers(service).is_empty()).then_some(())
            });
        }
        let volumes: Vec<String> = [&foreign, &warm]
            .map(|stack| format!("{stack}_data"))
            .into_iter()
            .chain(by_hand)
            .collect();
        for volume in &volumes {
            let mount = format!("{volume}:/data");
            let script = format!("echo {volume} >/data/witness");
            docker(&[
                "run",
                "--rm",
                "-v",
                &mount,
                "recipe-ci/notes:1",
                "sh",
                "-c",
                &script,
            ]);
        }
        let env_file = env.write(
            &format!("home/.abra/servers/default/warm-notes.{}.env", env.zone),
            "TYPE=notes\n",
        );
        Self {
            volumes,
            services,
            env_file,
        }
    }

    /// Returns what they are: ids, times of creation, contents.
    fn seen(&self) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        for volume in &self.volumes {
            let mount = format!("{volume}:/data");
            let content = docker(&[
                "run",
                "--rm",
                "-v",
                &mount,
                "recipe-ci/notes:1",
                "cat",
                "/data/witness",
            ]);
            let made = docker(&["volume", "inspect", "-f", "{{.CreatedAt}}", volume]);
            seen.insert(volume.clone(), format!("{made} {content}"));
        }
        for service in &self.services {
            let made = [
                "service",
                "inspect",
                "-f",
                "{{.ID}} {{.Version.Index}} {{.CreatedAt}}",
            ];
            let made = docker(&[&made[..], &[service]].concat());
            seen.insert(service.clone(), format!("{made} {}", containers(service)));
        }
        let text = harness::host_file::text(&self.env_file).unwrap();
        let changed = self.env_file.metadata().unwrap().modified().unwrap();
        seen.insert("env file".to_owned(), format!("{text} {changed:?}"));
        seen
    }
}

/// Returns id, time of creation and name of every running container of a service.
fn containers(service: &str) -> String {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let format = "{{.ID}} {{.CreatedAt}} {{.Names}}";
    docker(&["ps", "--no-trunc", "--filter", &filter, "--format", format])
}

/// Returns how many runs a storm has, `few` where nothing is said, and its seed.
fn size_and_seed(few: u64) -> (usize, u64) {
    let number = |name: &str| variable(name).map(|text| text.parse::<u64>().expect("a number"));
    let runs = usize::try_from(number("RECIPE_CI_STORM_RUNS").unwrap_or(few)).unwrap();
    let seed = number("RECIPE_CI_STORM_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    (runs, seed)
}

/// Has all runs of a storm end in their ways, [`ABREAST`] at a time.
fn rage(env: &TestEnv, recipe: &str, runs: usize, seed: u64) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..ABREAST {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= runs {
                        return;
                    }
                    strike(env, recipe, &Strike::new(seed, index));
                }
            });
        }
    });
}

/// Each run has an engine of its own, so that there is more to be left of it than of an app.
#[test]
fn storm_of_kills_on_engines_of_their_own_leaves_nothing_after_one_sweep() {
    let (runs, seed) = size_and_seed(5);
    let mut env = SwarmEnv::of(ABREAST);
    let said = format!(
        "storm: RECIPE_CI_STORM_RUNS={runs} RECIPE_CI_STORM_SEED={seed} with engines of their own, in {}\n",
        env.root.display()
    );
    drop(std::io::stderr().write_all(said.as_bytes()));
    env.set("CCCI_ENGINE", "run");
    let recipe = env.recipe("notes").display().to_string();
    rage(&env, &recipe, runs, seed);
    wait_until(LONG, "every process ends", || {
        env.processes().is_empty().then_some(())
    });
    env.run(["janitor"]).expect(0);
    let rooms = env.root.join("state/rooms");
    assert_eq!(crate::engine::names(&rooms), [""; 0], "seed {seed}");
    for index in 0..runs {
        let id = format!("storm-{index}").parse().unwrap();
        let room = harness::room::Room::of_run(&rooms, &id);
        assert_eq!(crate::room::groups(&room), [""; 0], "seed {seed}");
    }
    let devices = harness::host_file::entries("/sys/class/net").unwrap();
    let alias =
        |name: &std::path::Path| harness::host_file::text(name.join("ifalias")).unwrap_or_default();
    for device in devices.flatten() {
        for index in 0..runs {
            let id = format!("storm-{index}").parse().unwrap();
            let room = harness::room::Room::of_run(&rooms, &id);
            assert!(!alias(&device.path()).contains(&room.name()), "seed {seed}");
        }
    }
    let root = env.root.display().to_string();
    let mounts = harness::host_file::text("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&root), "seed {seed}: {mounts}");
    for entry in harness::host_file::entries("/sys/block").unwrap().flatten() {
        let file = entry.path().join("loop/backing_file");
        let file = harness::host_file::text(file).unwrap_or_default();
        assert!(!file.contains(&root), "seed {seed}: {file}");
    }
    env.assert_nothing_left();
}

#[test]
fn storm_of_kills_leaves_nothing_after_one_sweep() {
    let (runs, seed) = size_and_seed(12);
    let env = SwarmEnv::of(ABREAST);
    // Not only when it fails: a storm that hangs must be repeatable as well.
    drop(writeln!(
        std::io::stderr(),
        "storm: RECIPE_CI_STORM_RUNS={runs} RECIPE_CI_STORM_SEED={seed} in {}",
        env.root.display()
    ));
    let recipe = env.recipe("notes").display().to_string();
    let witnesses = Witnesses::make(&env);
    let before = witnesses.seen();
    let kept = objects_of(&env.zone);

    let began = Instant::now();
    rage(&env, &recipe, runs, seed);
    let took = began.elapsed();
    let files = |dir: &str| -> Vec<std::path::PathBuf> {
        let entries = harness::host_file::entries(env.root.join(dir)).unwrap();
        entries.flatten().map(|entry| entry.path()).collect()
    };

    // A process that was killed shows no command line any more before it lets go of its locks.
    wait_until(LONG, "every lock is let go", || {
        let mut locks: Vec<_> = files("locks");
        locks.extend(files("runs").iter().map(|run| run.join("state/live.lock")));
        let held = locks.iter().any(|lock| lock.exists() && is_locked(lock));
        (!held).then_some(())
    });
    let swept = env.run(["janitor"]);
    swept.expect(0);
    let mut left = objects_of(&env.zone);
    left.retain(|object| !kept.contains(object));
    assert_eq!(left, [""; 0], "seed {seed}: {}", swept.stdout);
    assert_eq!(witnesses.seen(), before, "seed {seed}");
    assert_eq!(
        files("locks"),
        [""; 0].map(std::path::PathBuf::from),
        "seed {seed}"
    );
    assert_eq!(
        files("home/.abra/servers/default"),
        std::slice::from_ref(&witnesses.env_file),
        "seed {seed}"
    );
    wait_until(LONG, "every process ends", || {
        env.processes().is_empty().then_some(())
    });
    let mut verdicts: BTreeMap<(End, String), usize> = BTreeMap::new();
    for index in 0..runs {
        let dir = env.root.join(format!("runs/storm-{index}"));
        let verdict = if dir.join("results.json").exists() {
            read_results(&dir)["verdict"].as_str().unwrap().to_owned()
        } else {
            "not begun".to_owned()
        };
        let strike = Strike::new(seed, index);
        // What must hold whatever the moment was.
        let fits = match verdict.as_str() {
            "not begun" | "passed" => true,
            // A worker that is killed can say so only of an earlier cancel.
            "cancelled" => match strike.end {
                End::ByItself => false,
                End::KillWorker | End::KillBoth => strike.in_teardown,
                _ => true,
            },
            "orphaned" => matches!(strike.end, End::KillWorker | End::KillBoth),
            _ => false,
        };
        assert!(fits, "seed {seed}: {strike:?} came to `{verdict}`");
        *verdicts.entry((strike.end, verdict)).or_default() += 1;
    }
    let mut text = format!(
        "storm: {runs} runs in {:.0} s, one sweep, nothing left\n",
        took.as_secs_f64()
    );
    for ((end, verdict), count) in &verdicts {
        text.push_str(&format!("storm:   {end:?} {verdict} {count}\n"));
    }
    text.push_str(&format!(
        "storm:   the sweep removed {}\n",
        swept.stdout.lines().count()
    ));
    drop(std::io::stderr().write_all(text.as_bytes()));
    std::fs::remove_file(&witnesses.env_file).unwrap();
}
