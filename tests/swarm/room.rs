//! An engine of CI's own: what it keeps from whom, and what is left of it.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::room::Room;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use crate::engine::{SOCKET, SwarmEnv};
use crate::support::{Done, command, is_locked};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// Returns this host's own addresses of version 4.
pub(crate) fn addresses() -> Vec<String> {
    let listed = command("hostname").arg("-I").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let all = listed.split_whitespace();
    all.filter(|one| !one.contains(':'))
        .map(str::to_owned)
        .collect()
}

/// What the operator's files, processes and sockets are known by.
const CANARY: &str = "canary-of-the-operator";

/// A test's own engine of CI, which is brought down at its end.
pub(crate) struct Rooms {
    pub(crate) env: SwarmEnv,
}

impl Drop for Rooms {
    fn drop(&mut self) {
        let mut down = self.env.program(crate::support::binary());
        let down = down.args(["engine", "down"]).output().unwrap();
        // A failed test may fail at this as well; it has said so already.
        assert!(
            std::thread::panicking() || down.status.success(),
            "{down:?}"
        );
    }
}

impl Rooms {
    pub(crate) fn new() -> Self {
        Self {
            env: SwarmEnv::new(),
        }
    }

    #[track_caller]
    pub(crate) fn engine(&self, args: &[&str]) -> Done {
        self.env.run(["engine"].iter().chain(args))
    }

    /// Brings it up; returns what was printed.
    #[track_caller]
    pub(crate) fn up(&self, args: &[&str]) -> String {
        let done = self.engine(&[&["up"], args].concat());
        done.expect(0);
        done.stdout
    }

    /// Returns what its supervisor wrote down.
    #[track_caller]
    fn record(&self) -> Value {
        let text = harness::host_file::text(self.dir().join("record.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn supervisor(&self) -> Pid {
        let pid = self.record()["process"]["pid"].as_i64().unwrap();
        Pid::from_raw(i32::try_from(pid).unwrap())
    }

    pub(crate) fn link(&self) -> String {
        format!("rci{}", self.record()["block"])
    }

    fn dir(&self) -> PathBuf {
        self.env.root.join("state/engine")
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}/socket/docker.sock", self.dir().display())
    }

    /// Runs `docker` there.
    pub(crate) fn try_docker(&self, args: &[&str]) -> std::process::Output {
        let mut docker = command("docker");
        docker.args(["-H", &self.host()]).args(args);
        docker.output().unwrap()
    }

    #[track_caller]
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        let output = self.try_docker(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(
            output.status.success(),
            "docker {args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Gives it an image of the operator's engine.
    #[track_caller]
    pub(crate) fn hand_over(&self, image: &str) {
        let given = command("sh")
            .args([
                "-c",
                "docker -H \"$1\" save \"$3\" | docker -H \"$2\" load -q",
                "sh",
            ])
            .args([&format!("unix://{SOCKET}"), &self.host(), image])
            .output()
            .unwrap();
        assert!(given.status.success(), "{given:?}");
    }

    /// Runs a script in a container there; returns what it printed on both streams.
    #[track_caller]
    pub(crate) fn sh(&self, args: &[&str], script: &str) -> String {
        let script = format!("exec 2>&1; {script}; :");
        let run = ["run", "--rm", "--init"];
        let image = ["recipe-ci/notes:1", "sh", "-c", &script];
        self.docker(&[&run[..], args, &image].concat())
    }

    /// Asserts that nothing of it is on the host, whose link was `link`.
    #[track_caller]
    fn assert_gone(&self, link: &str) {
        assert_gone(&self.env, &self.room(), link);
    }

    fn room(&self) -> Room {
        Room::of(&self.env.root.join("state"))
    }
}

/// Asserts that nothing of an engine is on the host, whose link was `link`.
#[track_caller]
pub(crate) fn assert_gone(env: &SwarmEnv, room: &Room, link: &str) {
    let left = env.processes();
    assert_eq!(left, [], "processes are left");
    let mounts = harness::host_file::text("/proc/self/mountinfo").unwrap();
    let root = env.root.display().to_string();
    assert!(!mounts.contains(&root), "{mounts}");
    // Another test's engine may have taken the name of the link since, with rules of its own.
    wait_until(LONG, &format!("{link} and its rules are gone"), || {
        let rules = command("iptables-save").output().unwrap();
        let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
        let mut words = rules.lines().flat_map(str::split_whitespace);
        let named = words.any(|word| word.trim_start_matches(':') == link);
        let alias = format!("/sys/class/net/{link}/ifalias");
        match harness::host_file::text(alias) {
            Ok(owner) => !owner.contains(&room.name()) && !owner.trim().is_empty(),
            Err(_) => !named,
        }
        .then_some(())
    });
    let loops = command("losetup")
        .args(["--list", "--output", "BACK-FILE"])
        .output()
        .unwrap();
    let loops = String::from_utf8_lossy(&loops.stdout).into_owned();
    assert!(!loops.contains(&root), "{loops}");
    assert_eq!(groups(room), [""; 0], "control groups are left");
}

/// Returns the control groups of an engine, in every tree.
pub(crate) fn groups(room: &Room) -> Vec<String> {
    let found = command("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name", &room.name()])
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    found.lines().map(str::to_owned).collect()
}

#[test]
fn nothing_is_left_of_an_engine_that_was_brought_down() {
    let rooms = Rooms::new();
    rooms.engine(&["status"]).expect(3);
    assert!(rooms.up(&[]).starts_with("started in"));
    let (supervisor, link) = (rooms.supervisor(), rooms.link());
    assert!(rooms.up(&[]).starts_with("runs: "));
    assert_eq!(rooms.supervisor(), supervisor);
    let status = rooms.engine(&["status", "--json"]);
    status.expect(0);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["state"], "ready");
    assert_eq!(status["host"], rooms.host());
    rooms.hand_over("recipe-ci/notes:1");
    rooms.docker(&["volume", "create", "kept"]);
    rooms.docker(&["run", "-d", "recipe-ci/notes:1", "sleep", "100000"]);
    assert_ne!(groups(&rooms.room()), [""; 0]);

    let down = rooms.engine(&["down", "--keep-data"]);
    down.expect(0);
    assert!(down.stdout.contains("are kept"), "{}", down.stdout);
    rooms.assert_gone(&link);
    rooms.engine(&["status"]).expect(3);
    rooms.up(&[]);
    assert_eq!(rooms.docker(&["volume", "ls", "-q"]), "kept");
    rooms.docker(&["image", "inspect", "recipe-ci/notes:1"]);

    rooms.engine(&["down"]).expect(0);
    rooms.assert_gone(&link);
    assert!(!rooms.dir().exists());
    let none = rooms.engine(&["down"]);
    none.expect(0);
    assert_eq!(none.stdout, "there is none");
}

#[test]
fn an_engine_ends_with_its_supervisor_and_the_next_command_brings_it_back_or_takes_it_away() {
    let rooms = Rooms::new();
    rooms.up(&[]);
    let link = rooms.link();
    rooms.hand_over("recipe-ci/notes:1");
    rooms.docker(&["volume", "create", "kept"]);
    rooms.docker(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        "app",
        "recipe-ci/notes:1",
        "sleep",
        "100000",
    ]);
    let dies = || {
        kill(rooms.supervisor(), Signal::SIGKILL).unwrap();
        wait_until(LONG, "the kernel ends all of it", || {
            rooms.env.processes().is_empty().then_some(())
        });
        let status = rooms.engine(&["status"]);
        status.expect(3);
        assert!(
            status.stdout.starts_with("died: left are "),
            "{}",
            status.stdout
        );
    };
    dies();
    let back = rooms.up(&[]);
    assert!(back.starts_with("brought back; left of the last"), "{back}");
    assert_eq!(rooms.link(), link);
    assert_eq!(rooms.docker(&["volume", "ls", "-q"]), "kept");
    // Its swarm goes on: what a dead run left there is the janitor's to find.
    assert_eq!(
        rooms.docker(&["service", "ls", "--format", "{{.Name}}"]),
        "app"
    );
    dies();
    let down = rooms.engine(&["down"]);
    down.expect(0);
    assert!(
        down.stdout.starts_with("took back what was left"),
        "{}",
        down.stdout
    );
    rooms.assert_gone(&link);
    assert!(!rooms.dir().exists());
}

#[test]
fn what_a_dead_engine_left_is_taken_back_without_those_who_took_its_link_since() {
    let rooms = Rooms::new();
    // Not the first one, which any other test may take.
    rooms.env.write("state/engine/block", "61\n");
    rooms.up(&[]);
    let link = rooms.link();
    assert_eq!(link, "rci61");
    kill(rooms.supervisor(), Signal::SIGKILL).unwrap();
    wait_until(LONG, "the kernel takes the link", || {
        (!Path::new("/sys/class/net").join(&link).exists()).then_some(())
    });
    // As another engine of this host: its link, and a rule of its chain.
    let made = |args: &str| {
        let done = command("sh").args(["-c", args]).output().unwrap();
        assert!(done.status.success(), "{args}: {done:?}");
    };
    made(&format!(
        "ip link add {link} type veth peer name {link}x && ip link set {link} alias recipe-ci/engine-other && \
         {{ iptables -w -t mangle -N {link} || :; }} && iptables -w -t mangle -A {link} -d 192.0.2.77 -j DROP"
    ));
    let down = rooms.engine(&["down"]);
    let rules = command("iptables")
        .args(["-w", "-t", "mangle", "-S", &link])
        .output()
        .unwrap();
    made(&format!(
        "while iptables -w -t mangle -D PREROUTING -i {link} -j {link} 2>/dev/null; do :; done
         iptables -w -t mangle -F {link}; iptables -w -t mangle -X {link}; ip link del {link}"
    ));
    down.expect(0);
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(rules.contains("192.0.2.77"), "{rules}");
}

#[test]
fn of_many_who_want_an_engine_one_starts_it_and_all_get_it() {
    let rooms = Rooms::new();
    let all: Vec<_> = (0..6).map(|_| rooms.env.start(["engine", "up"])).collect();
    let said: Vec<String> = all
        .into_iter()
        .map(|one| {
            let done = one.finish();
            done.expect(0);
            done.stdout
        })
        .collect();
    let started = said.iter().filter(|line| line.starts_with("started"));
    assert_eq!(started.count(), 1, "{said:#?}");
    let pid = format!("supervisor pid {},", rooms.supervisor());
    assert!(said.iter().all(|line| line.contains(&pid)), "{said:#?}");
    rooms.engine(&["status"]).expect(0);
    // None of those that came too late is still there to start one when this ends.
    let link = rooms.link();
    rooms.engine(&["down"]).expect(0);
    rooms.assert_gone(&link);
}

#[test]
fn a_lock_that_somebody_else_holds_is_not_taken_for_an_engine_and_its_holder_is_left_alone() {
    let rooms = Rooms::new();
    let lock = rooms.env.write("state/engine.lock", "");
    let mut holder = rooms.env.program("flock");
    let script = "echo held >&2; exec sleep 100000";
    holder.arg(&lock).args(["sh", "-c", script]);
    let holder = rooms.env.follow(holder);
    holder.wait_line("held");
    let status = rooms.engine(&["status"]);
    status.expect(3);
    assert!(status.stdout.starts_with("busy: "), "{}", status.stdout);
    let down = rooms.engine(&["down"]);
    down.expect(3);
    assert!(
        down.stderr.contains("`lslocks` names the holder"),
        "{}",
        down.stderr
    );
    kill(holder.pid, None).expect("it lives");
    killpg(holder.pid, Signal::SIGKILL).unwrap();
    wait_until(LONG, "the lock is free", || {
        (!is_locked(&lock)).then_some(())
    });
}

/// What a recipe is refused even by hand is granted here: the host's root, the engine's socket, the operator's.
#[test]
fn a_container_of_cis_engine_sees_nothing_of_the_operators_whatever_it_is_given() {
    let rooms = Rooms::new();
    let canary = rooms.env.write(&format!("locks/{CANARY}"), CANARY);
    let mut process = command("env");
    process.args([
        "sh",
        "-c",
        "echo up >&2; while :; do sleep 1000; done",
        CANARY,
    ]);
    let process = rooms.env.follow(process);
    process.wait_line("up");
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Who comes in is let go at once.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    rooms.up(&[]);
    rooms.hand_over("recipe-ci/notes:1");

    // The control: the operator's own engine shows all of it to a container that is given the same.
    let look = format!(
        // Not by its name, which would be in this command's own line.
        "cat /host{}/*; cat /host/proc/[0-9]*/cmdline | tr '\\0' ' '; ls /host/home /host/root /host/etc; :",
        canary.parent().unwrap().display()
    );
    let controls = crate::engine::docker(&[
        "run",
        "--rm",
        "--init",
        "-v=/:/host",
        "recipe-ci/notes:1",
        "sh",
        "-c",
        &look,
    ]);
    assert!(controls.matches(CANARY).count() >= 2, "{controls}");

    let seen = rooms.sh(&["-v=/:/host"], &look);
    assert!(!seen.contains(CANARY), "{seen}");
    let found = rooms.sh(
        &["-v=/:/host"],
        "find /host -xdev -name '*canary*'; find /host/run /host/var /host/tmp -name '*.sock' | sort",
    );
    let own = "/host/run/ci/docker.sock\n/host/run/docker.sock";
    assert!(!found.contains("canary"), "{found}");
    assert!(found.contains(own), "{found}");
    // What a recipe is granted that names the operator's socket is this engine's own.
    let number = rooms.sh(&[&format!("-v={SOCKET}:/s")], "stat -c %i /s");
    let operators = std::fs::metadata(SOCKET).unwrap().ino();
    assert_ne!(number, operators.to_string());
    assert!(number.parse::<u64>().is_ok(), "{number}");

    // What would reach around the namespaces: the kernel's own knobs, disks, and a fresh view of its processes.
    let disk = std::fs::metadata("/").unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(disk), nix::sys::stat::minor(disk));
    let knobs = rooms.sh(
        &["-v=/:/host"],
        &format!(
            "for file in proc/sys/kernel/core_pattern proc/sysrq-trigger proc/sys/vm/drop_caches etc/ld.so.preload \
                 sys/class/net/lo/mtu usr/bin/new; do
                 echo 1 >/host/$file && echo WROTE $file; done
             ls /host/dev; mknod /disk b {major} {minor}; head -c 1 /disk >/dev/null && echo READ disk"
        ),
    );
    // What asks for all devices gets no container.
    let all = ["run", "--rm", "--privileged", "recipe-ci/notes:1", "true"];
    assert!(!rooms.try_docker(&all).status.success());
    assert!(!knobs.contains("WROTE"), "{knobs}");
    assert!(!knobs.contains("READ"), "{knobs}");
    assert!(!knobs.contains("vda") && !knobs.contains("sda"), "{knobs}");

    // No address of the host's answers; the harness's own way there, and the reply to it, are another direction.
    let list = addresses();
    assert!(
        list.iter().any(|one| one.starts_with("198.18.")),
        "{list:?}"
    );
    let ask = format!(
        "for one in {}; do nc -w 2 $one {port} </dev/null && echo REACHED $one; done; :",
        list.join(" ")
    );
    for network in ["bridge", "host"] {
        let reached = rooms.sh(&["--network", network], &ask);
        assert!(!reached.contains("REACHED"), "{network}: {reached}");
    }
    // The control: the same from the operator's engine.
    let ask = format!("nc -w 2 {} {port} </dev/null && echo REACHED", list[0]);
    let reached = crate::engine::docker(&[
        "run",
        "--rm",
        "--init",
        "--network=host",
        "recipe-ci/notes:1",
        "sh",
        "-c",
        &ask,
    ]);
    assert!(reached.contains("REACHED"), "{reached}");
    kill(process.pid, None).expect("the operator's process lives");
}

/// What the operator's containers send there comes with the host's own address, for which there is a way in.
#[test]
fn a_container_of_cis_engine_is_reached_by_the_host_and_by_none_of_the_operators_containers() {
    let rooms = Rooms::new();
    rooms.up(&[]);
    rooms.hand_over("recipe-ci/notes:1");
    let serve = "mkdir /w && echo hello >/w/index.html && exec httpd -f -p 8080 -h /w";
    let run = ["run", "-d", "--init", "--network=docker_gwbridge"];
    let id = rooms.docker(&[&run[..], &["recipe-ci/notes:1", "sh", "-c", serve]].concat());
    let format = "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = rooms.docker(&["inspect", format, &id]);
    wait_until(LONG, "the host reaches it", || {
        std::net::TcpStream::connect((address.as_str(), 8080)).ok()
    });
    let ask = format!("timeout 3 nc -w 2 {address} 8080 </dev/null && echo REACHED; :");
    let sh = ["recipe-ci/notes:1", "sh", "-c", &ask];
    // The last is the control: a container with the host's own network.
    for (network, reaches) in [
        ("bridge", false),
        ("docker_gwbridge", false),
        ("host", true),
    ] {
        let network = format!("--network={network}");
        let run = ["run", "--rm", "--init", &network];
        let reached = crate::engine::docker(&[&run[..], &sh].concat());
        assert_eq!(reached.contains("REACHED"), reaches, "{network}: {reached}");
    }
}

#[test]
fn what_eats_memory_and_processes_on_cis_engine_meets_its_ceiling() {
    let rooms = Rooms::new();
    rooms.up(&["--memory", "600m", "--pids", "400"]);
    rooms.hand_over("recipe-ci/notes:1");
    // The group that has the ceiling is out of sight: the one that is in sight may say what it likes.
    let raised = rooms.sh(
        &["-v=/:/host"],
        "for file in /host/sys/fs/cgroup/memory/memory.limit_in_bytes /host/sys/fs/cgroup/memory.max; do
            [ ! -e $file ] || echo 100000000000 >$file; done",
    );
    assert_eq!(raised, "");
    let eat = "head -c 900000000 /dev/zero | tail -c 900000000 >/dev/null";
    let eaten = rooms.try_docker(&["run", "--rm", "recipe-ci/notes:1", "sh", "-c", eat]);
    assert!(!eaten.status.success(), "{eaten:?}");
    rooms.engine(&["status"]).expect(0);
    let forked =
        "n=0; while [ $n -lt 600 ]; do sleep 100 & n=$((n + 1)); done 2>&1; echo all of them";
    let forked = rooms.try_docker(&["run", "--rm", "recipe-ci/notes:1", "sh", "-c", forked]);
    let said = String::from_utf8_lossy(&forked.stdout).into_owned();
    assert!(!said.contains("all of them"), "{said}");
}

#[test]
fn ceilings_that_mean_nothing_are_refused() {
    let rooms = Rooms::new();
    for (option, value) in [
        ("--memory", "lots"),
        ("--cpus", "none"),
        ("--pids", "3"),
        ("--disk", "lots"),
        ("--disk", "1m"),
    ] {
        rooms.engine(&["up", option, value]).refused(&[value]);
    }
    assert!(!rooms.dir().exists());
}
