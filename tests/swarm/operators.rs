//! The operator's engine and CI's on one machine: what happens to one is not the other's.

use std::time::{Duration, Instant};

use harness::room::Room;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::engine::SOCKET;
use crate::room::Rooms;
use crate::support::{Done, Run, binary, command};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// A second engine of this machine that stands for the operator's: the machine's own is everybody's.
struct Operators<'a> {
    rooms: &'a Rooms,
}

impl Operators<'_> {
    fn state(&self) -> std::path::PathBuf {
        self.rooms.env.root.join("operator")
    }

    #[track_caller]
    fn engine(&self, args: &[&str]) -> Done {
        let mut engine = self.rooms.env.program(binary());
        engine.arg("engine").args(args);
        engine.env("CCCI_STATE_DIR", self.state());
        self.rooms.env.follow(engine).finish()
    }

    fn host(&self) -> String {
        Room::of(&self.state()).docker_host()
    }

    #[track_caller]
    fn docker(&self, args: &[&str]) -> String {
        let output = command("docker")
            .args(["-H", &self.host()])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The supervisor of it, which holds all of it.
    fn kill(&self) {
        let record = harness::host_file::text(Room::of(&self.state()).dir().join("record.json"));
        let record: Value = serde_json::from_str(&record.unwrap()).unwrap();
        let pid = record["process"]["pid"].as_i64().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        kill(pid, Signal::SIGKILL).unwrap();
    }
}

impl Drop for Operators<'_> {
    fn drop(&mut self) {
        let down = self.engine(&["down"]);
        assert!(std::thread::panicking() || down.code == Some(0), "{down:?}");
    }
}

/// What came of the run is what comes of any.
#[track_caller]
fn passes(rooms: &Rooms, run: Run) {
    let _open = rooms.env.release();
    run.finish().expect(0);
    assert_eq!(rooms.objects(), [""; 0]);
}

#[test]
fn the_operators_engine_is_pruned_ends_and_comes_back_and_no_run_on_cis_notices() {
    let mut rooms = Rooms::new();
    rooms.up(&[]);
    rooms.hand_over("recipe-ci/notes:1");
    rooms.hand_over("recipe-ci/notes:2");
    let operators = Operators { rooms: &rooms };
    operators.engine(&["up"]).expect(0);
    let host = operators.host();
    std::mem::forget(operators);
    rooms.env.set("DOCKER_HOST", &host);
    let (run, _) = rooms.held();
    let before = rooms.objects();
    assert_ne!(before, [""; 0]);
    let operators = Operators { rooms: &rooms };
    operators.docker(&["volume", "create", "operators"]);
    operators.docker(&["system", "prune", "--all", "--force", "--volumes"]);
    assert_eq!(operators.docker(&["volume", "ls", "-q"]), "");
    // As an upgrade of it does, and as a crash.
    operators.engine(&["down", "--keep-data"]).expect(0);
    assert_eq!(rooms.objects(), before);
    operators.engine(&["up"]).expect(0);
    operators.kill();
    passes(&rooms, run);
}

/// The other way round: everything that CI's engine may be told to do with its own.
#[test]
fn cis_engine_is_pruned_and_ends_and_the_operators_has_what_it_had() {
    let rooms = Rooms::new();
    let volume = format!("operators-{}", rooms.env.zone.replace('.', "_"));
    crate::engine::docker(&["volume", "create", &volume]);
    let images =
        crate::engine::docker(&["image", "inspect", "--format={{.Id}}", "recipe-ci/notes:1"]);
    rooms.up(&[]);
    rooms.hand_over("recipe-ci/notes:1");
    rooms.docker(&["system", "prune", "--all", "--force", "--volumes"]);
    rooms.docker(&["swarm", "leave", "--force"]);
    rooms.engine(&["down"]).expect(0);
    let there =
        crate::engine::docker(&["volume", "ls", "-q", "--filter", &format!("name={volume}")]);
    assert_eq!(there, volume);
    assert_eq!(
        crate::engine::docker(&["image", "inspect", "--format={{.Id}}", "recipe-ci/notes:1"]),
        images
    );
    crate::engine::docker(&["volume", "rm", &volume]);
}

/// Swarm's agent asks a registry before every task elsewhere: seconds where none answers.
#[test]
fn no_registry_is_asked_for_an_image_that_cis_engine_has() {
    let rooms = Rooms::new();
    rooms.up(&[]);
    rooms.hand_over("recipe-ci/notes:1");
    let registry = "mkdir /w && exec httpd -f -vv -p 127.0.0.1:5000 -h /w";
    let run = ["run", "-d", "--init", "--network=host", "--name=registry"];
    rooms.docker(&[&run[..], &["recipe-ci/notes:1", "sh", "-c", registry]].concat());
    let asked = || {
        let output = rooms.try_docker(&["logs", "registry"]);
        String::from_utf8_lossy(&output.stderr)
            .matches("/v2")
            .count()
    };
    // The control: one who pulls is seen.
    wait_until(LONG, "the registry is asked", || {
        let pulled = rooms.try_docker(&["pull", "127.0.0.1:5000/none:1"]);
        assert!(!pulled.status.success());
        (asked() > 0).then_some(())
    });
    let before = asked();
    let image = "127.0.0.1:5000/notes:1";
    rooms.docker(&["tag", "recipe-ci/notes:1", image]);
    let create = [
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name=app",
    ];
    rooms.docker(&[&create[..], &[image, "sleep", "100000"]].concat());
    wait_until(LONG, "its task runs", || {
        let list = rooms.docker(&["service", "ls", "--format={{.Replicas}}"]);
        (list == "1/1").then_some(())
    });
    assert_eq!(asked(), before);
}

/// A container of the operator's that answers on its address, and how long that takes.
struct Answering {
    name: String,
    address: String,
}

impl Answering {
    fn start(rooms: &Rooms) -> Self {
        let name = format!("victim-{}", rooms.env.zone.replace('.', "_"));
        let serve = "mkdir /w && echo hello >/w/index.html && exec httpd -f -p 8080 -h /w";
        let run = ["run", "-d", "--init", "--name", &name];
        crate::engine::docker(&[&run[..], &["recipe-ci/notes:1", "sh", "-c", serve]].concat());
        let format = "--format={{.NetworkSettings.IPAddress}}";
        let address = crate::engine::docker(&["inspect", format, &name]);
        let answering = Self { name, address };
        wait_until(LONG, "it answers", || answering.ask());
        answering
    }

    fn ask(&self) -> Option<()> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect((self.address.as_str(), 8080)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains("hello").then_some(())
    }

    /// Returns the median of many answers.
    #[track_caller]
    fn usual(&self) -> Duration {
        let mut times: Vec<Duration> = (0..100)
            .map(|_| {
                let begin = Instant::now();
                self.ask().expect("it answers");
                begin.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        drop(command("docker").args(["rm", "-f", &self.name]).output());
    }
}

#[test]
fn who_eats_everything_on_cis_engine_meets_its_ceiling_while_the_operators_apps_answer_as_before() {
    let rooms = Rooms::new();
    rooms.up(&["--memory", "600m", "--pids", "400", "--disk", "512m"]);
    rooms.hand_over("recipe-ci/notes:1");
    let victim = Answering::start(&rooms);
    let before = victim.usual();
    let free = || rustix::fs::statvfs(&rooms.env.root).unwrap().f_bavail;
    let free_before = free();

    // More than there is, of a file and of many small ones.
    let full = rooms.sh(
        &["-v=full:/data"],
        "dd if=/dev/zero of=/data/x bs=1M count=2000",
    );
    assert!(full.contains("No space left"), "{full}");
    let file = rooms.env.root.join("state/engine/disk");
    use std::os::unix::fs::MetadataExt as _;
    let taken = file.metadata().unwrap().blocks() * 512;
    assert!(taken < 540 << 20, "{taken}");
    assert!(
        free() + (700 << 20) / 4096 > free_before,
        "the operator's disk"
    );
    rooms.docker(&["volume", "rm", "full"]);
    let many = rooms.sh(
        &["-v=many:/data"],
        "n=0; while echo >/data/$n; do n=$((n + 1)); done 2>&1 | tail -n 1",
    );
    assert!(many.contains("No space left"), "{many}");
    rooms.docker(&["volume", "rm", "many"]);
    rooms.engine(&["status"]).expect(0);

    // All at once, and for as long as somebody looks.
    let eaters = [
        "while :; do :; done",
        "while :; do :; done",
        "while :; do head -c 900000000 /dev/zero | tail -c 900000000 >/dev/null; done",
        "while :; do n=0; while [ $n -lt 600 ]; do sleep 1 & n=$((n + 1)); done; wait; done 2>/dev/null",
        "while :; do dd if=/dev/zero of=/data/x bs=1M count=2000; done 2>/dev/null",
    ];
    for eater in eaters {
        let run = ["run", "-d", "--init", "-v=/data"];
        rooms.docker(&[&run[..], &["recipe-ci/notes:1", "sh", "-c", eater]].concat());
    }
    let during = victim.usual();
    let ratio = during.as_secs_f64() / before.as_secs_f64();
    let said = format!(
        "ceilings: the victim's median was {before:?}, and {during:?} beside the eaters ({ratio:.1})\n"
    );
    drop(std::io::Write::write_all(
        &mut std::io::stderr(),
        said.as_bytes(),
    ));
    // A machine with other work on it is slower by itself now and then.
    assert!(during < before * 10 + Duration::from_millis(20), "{said}");
    rooms.engine(&["down"]).expect(0);
    let there = std::path::Path::new(SOCKET).exists();
    assert!(there);
}
