//! Quick runs, promotions and sweeps: what is known to be good is the same, bit for bit, after each of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cancel::{child_of, wait_gone};
use crate::deployed;
use crate::engine::{SwarmEnv, docker, objects_of};
use crate::joined::Gateway;
use crate::support::{Done, Mount, Run, git, read_results};
use crate::together::{self, Next};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// What a file is: its kind and mode, its owner, its content or where it leads.
pub(crate) type Files = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>;

/// An enrolled recipe with two releases and a head.
pub(crate) struct Scene {
    pub(crate) env: SwarmEnv,
    pub(crate) recipe: PathBuf,
    name: &'static str,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::of("notes")
    }

    /// Of a recipe whose releases are those of `notes`.
    fn of(name: &'static str) -> Self {
        let mut env = SwarmEnv::new();
        let recipe = env.recipe(name);
        env.overlay(name, "recipe-ci.yml", "canonical: true\n");
        Self { env, recipe, name }
    }

    /// With the canonical 0.2.0.
    pub(crate) fn promoted() -> Self {
        Self::promoted_of("notes")
    }

    fn promoted_of(name: &'static str) -> Self {
        let scene = Self::of(name);
        let (done, results) = scene.run("promote", &["--ref", "0.2.0+1.1.0"]);
        done.expect(0);
        assert_eq!(
            results["promotion"], "promoted 0.2.0+1.1.0",
            "{}",
            done.stderr
        );
        scene
    }

    pub(crate) fn start(&self, id: &str, more: &[&str]) -> Run {
        let args = ["run".into(), self.recipe.clone().into_os_string()];
        let more = ["--run-id", id].into_iter().chain(more.iter().copied());
        let more = more.map(OsString::from);
        self.env.start(args.into_iter().chain(more))
    }

    pub(crate) fn results(&self, id: &str) -> Value {
        read_results(&self.env.root.join("runs").join(id))
    }

    pub(crate) fn run(&self, id: &str, more: &[&str]) -> (Done, Value) {
        let done = self.start(id, more).finish();
        (done, self.results(id))
    }

    fn place(&self) -> PathBuf {
        self.env.root.join("warm").join(self.name)
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.place().join("canonical.json")
    }

    pub(crate) fn canonical(&self) -> Value {
        serde_json::from_slice(&harness::host_file::bytes(self.record()).unwrap()).unwrap()
    }

    pub(crate) fn objects(&self, kind: &str) -> Vec<String> {
        let all = objects_of(&self.env.zone);
        let ours = all.iter().filter_map(|object| object.strip_prefix(kind));
        ours.map(|name| name.trim().to_owned()).collect()
    }

    /// Everything of the warm app that must never change: its volumes, its secrets, its env file, its snapshot.
    pub(crate) fn good(&self) -> (Files, Vec<String>, Vec<u8>, Files) {
        let mut volumes = Files::new();
        for name in self.objects("volume") {
            let root = docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &name]);
            files(Path::new(&root), Path::new(&name), &mut volumes);
        }
        assert!(volumes.len() > 1, "{volumes:?}");
        let mut snapshot = Files::new();
        files(&self.place(), Path::new("warm"), &mut snapshot);
        snapshot.remove(Path::new("warm/canonical.json"));
        let mut secrets = self.objects("secret");
        secrets.sort();
        let env = format!(
            "home/.abra/servers/default/warm-{}.{}.env",
            self.name, self.env.zone
        );
        let env = harness::host_file::bytes(self.env.root.join(env)).unwrap();
        (volumes, secrets, env, snapshot)
    }

    /// Asserts that nothing of anything is deployed: a warm app at rest is volumes and secrets.
    #[track_caller]
    pub(crate) fn assert_at_rest(&self, status: &str) {
        self.assert_undeployed(status);
        assert_eq!(self.env.processes(), []);
    }

    /// The same while a run waits.
    #[track_caller]
    fn assert_undeployed(&self, status: &str) {
        let all = objects_of(&self.env.zone);
        let stays = |object: &&String| {
            (object.starts_with("volume ") || object.starts_with("secret "))
                && object.contains(&format!("warm-{}", self.name))
        };
        let deployed: Vec<_> = all.iter().filter(|object| !stays(object)).collect();
        assert!(deployed.is_empty(), "{deployed:?}");
        assert_eq!(self.canonical()["status"], status);
        assert_eq!(self.canonical()["version"], "0.2.0+1.1.0");
    }

    /// Makes the upgrade write into the app's data and stay there; returns the file that says that it does.
    pub(crate) fn hold(&mut self, hook: &str) -> PathBuf {
        let (reached, fifo) = (self.env.root.join("reached"), self.env.fifo());
        drop(std::fs::remove_file(&reached));
        let text = format!(
            "#!/bin/sh\nset -e\nrecipe-ci app exec -- sh -c 'echo spoiled >/data/spoiled; chmod 0777 /data; rm -f /data/.recipe-ci-marker'\n\
             : >{}\nread -r never <{}\n",
            reached.display(),
            fifo.display()
        );
        self.env.overlay("notes", hook, &text);
        reached
    }

    pub(crate) fn let_go(&self, hook: &str) {
        std::fs::remove_file(self.env.root.join("overlays/notes").join(hook)).unwrap();
    }

    /// Changes one bit of the snapshot's archive; returns where it is, and what it was.
    pub(crate) fn flip_a_bit(&self) -> (PathBuf, Vec<u8>) {
        let canonical = self.canonical();
        let name = canonical["snapshot"]["dir"].as_str().unwrap();
        let entries = harness::host_file::entries(self.place().join(name)).unwrap();
        let mut paths = entries.flatten().map(|entry| entry.path());
        let archive = paths
            .find(|path| path.extension().is_some_and(|end| end == "tar"))
            .unwrap();
        let whole = harness::host_file::bytes(&archive).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        std::fs::write(&archive, &flipped).unwrap();
        (archive, whole)
    }

    /// Kills both processes of a run and everything that it started, before any of them can tidy up.
    pub(crate) fn kill_both(&self, run: Run) {
        let worker = child_of(run.pid);
        let pids: Vec<_> = self
            .env
            .processes()
            .into_iter()
            .map(|(pid, _)| pid)
            .collect();
        assert!(pids.contains(&worker.as_raw()));
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
        }
        kill(run.pid, Signal::SIGKILL).unwrap();
        kill(worker, Signal::SIGKILL).unwrap();
        for (pid, _) in self.env.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        run.finish();
        wait_gone(worker);
    }
}

fn files(root: &Path, shown: &Path, found: &mut Files) {
    let meta = root.symlink_metadata().unwrap();
    let content = if meta.is_symlink() {
        std::fs::read_link(root)
            .unwrap()
            .into_os_string()
            .into_encoded_bytes()
    } else if meta.is_file() {
        harness::host_file::bytes(root).unwrap()
    } else {
        Vec::new()
    };
    let mode = meta.permissions().mode();
    found.insert(shown.to_owned(), (mode, meta.uid(), meta.gid(), content));
    if meta.is_dir() {
        for entry in harness::host_file::entries(root).unwrap() {
            let name = entry.unwrap().file_name();
            files(&root.join(&name), &shown.join(&name), found);
        }
    }
}

fn tier<'a>(results: &'a Value, name: &str) -> &'a Value {
    let tiers = results["tiers"].as_array().unwrap();
    tiers.iter().find(|tier| tier["name"] == name).unwrap()
}

#[test]
fn a_green_release_is_promoted_and_quick_runs_leave_it_as_it_is() {
    let mut scene = Scene::new();
    // There is none yet: the whole cold run, and it is said.
    let (done, results) = scene.run("early", &["--quick", "--ref", "0.2.0+1.1.0"]);
    done.expect(0);
    assert!(
        done.stderr.contains("no quick run") && done.stderr.contains("has no canonical"),
        "{}",
        done.stderr
    );
    assert_eq!(results["quick"], false);
    assert_eq!(tier(&results, "backup")["status"], "pass");
    // Asked for as a quick run, it was a whole cold one, and so it counts.
    assert_eq!(
        results["promotion"], "promoted 0.2.0+1.1.0",
        "{}",
        done.stderr
    );
    scene.assert_at_rest("idle");
    let commit = git(&scene.recipe, &["rev-parse", "0.2.0+1.1.0^{commit}"]);
    assert_eq!(scene.canonical()["commit"], commit);
    let good = scene.good();

    scene.env.set("CCCI_QUICK", "1");
    let gateway = Gateway::start(&mut scene.env);
    let (done, results) = scene.run("pass", &[]);
    scene.env.set("CCCI_QUICK", "0");
    done.expect(0);
    gateway.end(&mut scene.env, &results);
    let report = format!("{results:#}\n{}", done.stderr);
    assert_eq!(results["quick"], true, "{report}");
    assert_eq!(results["domain"], format!("warm-notes.{}", scene.env.zone));
    assert_eq!(results["base_kind"], "canonical");
    assert_eq!(results["base_version"], "0.2.0+1.1.0");
    for (name, status) in [
        ("install", "unver"),
        ("upgrade", "pass"),
        ("backup", "unver"),
        ("restore", "unver"),
        ("custom", "pass"),
    ] {
        assert_eq!(tier(&results, name)["status"], status, "{report}");
    }
    assert_eq!(tier(&results, "backup")["reason"], "quick");
    assert_eq!(results["level"], 0, "{report}");
    let tests = tier(&results, "upgrade")["tests"].to_string();
    assert!(
        tests.contains("it moved") && tests.contains("data survived"),
        "{report}"
    );
    assert_eq!(results["promotion"], Value::Null);
    scene.assert_at_rest("used");
    let used = scene.good();
    assert_eq!((&used.1, &used.3), (&good.1, &good.3));
    assert_ne!(used.0, good.0, "a passed quick run leaves its data");

    // The next one starts from what is known to be good, and fails.
    scene.env.edit(
        &scene.recipe.join("compose.yml"),
        "\"CMD\", \"wget\"",
        "\"CMD\", \"false\"",
    );
    scene.env.edit(
        &scene.recipe.join("compose.yml"),
        "start_period: 10s",
        "start_period: 1s",
    );
    let (done, results) = scene.run("fail", &["--quick"]);
    done.expect(1);
    assert_eq!(
        tier(&results, "upgrade")["status"],
        "fail",
        "{}",
        done.stderr
    );
    assert_eq!(results["teardown"]["clean"], true);
    scene.assert_at_rest("idle");
    assert_eq!(scene.good(), good);

    // A cold run starts from the canonical, and steps back when it is the head.
    let plan = |args: &[&str]| {
        let mut all = vec!["run", scene.recipe.to_str().unwrap(), "--dry-run"];
        all.extend(args);
        let done = scene.env.run(all);
        done.expect(0);
        serde_json::from_str::<Value>(&done.stdout).unwrap()
    };
    let head = plan(&[]);
    assert_eq!(
        (&head["base_kind"], &head["base_version"]),
        (&"canonical".into(), &"0.2.0+1.1.0".into())
    );
    let same = plan(&["--ref", "0.2.0+1.1.0"]);
    assert_eq!(
        (&same["base_kind"], &same["base_version"]),
        (&"tag".into(), &"0.1.0+1.0.0".into())
    );
    let quick = plan(&["--quick"]);
    assert_eq!(
        (&quick["quick"], &quick["base_version"]),
        (&true.into(), &"0.2.0+1.1.0".into())
    );
    // A plan says what the run would be: with dependencies a cold one.
    scene.env.write(
        "overlays/notes/recipe-ci.yml",
        "canonical: true\ndependencies: [board]\n",
    );
    let cold = plan(&["--quick", "--stages", "upgrade"]);
    assert_eq!(
        (&cold["quick"], &cold["dependencies"][0]["recipe"]),
        (&false.into(), &"board".into())
    );
    assert_eq!(cold["tiers"][2]["reason"], "not asked for");
    assert_eq!(scene.good(), good);
}

#[test]
fn every_end_of_a_quick_run_brings_the_good_data_back() {
    let mut scene = Scene::promoted();
    let good = scene.good();

    // A cancel, after the head was deployed.
    let reached = scene.hold("ops/verify_upgrade");
    let run = scene.start("term", &["--quick"]);
    wait_until(LONG, "the upgrade holds", || reached.exists().then_some(()));
    assert_eq!(scene.canonical()["status"], "busy");
    together::assert_left_alone(&scene);
    let next = Next::waiting(&mut scene, "kill");
    kill(run.pid, Signal::SIGTERM).unwrap();
    run.finish().expect(143);
    next.wait();
    scene.assert_undeployed("idle");
    assert_eq!(scene.good(), good);

    // The worker is killed: its supervisor does the same.
    let reached = scene.hold("ops/verify_upgrade");
    let run = next.go_on();
    wait_until(LONG, "the upgrade holds", || reached.exists().then_some(()));
    kill(child_of(run.pid), Signal::SIGKILL).unwrap();
    let done = run.finish();
    done.expect(137);
    assert_eq!(
        scene.results("kill")["teardown"]["clean"],
        true,
        "{}",
        done.stderr
    );
    scene.assert_at_rest("idle");
    assert_eq!(scene.good(), good);

    // Both are killed: the janitor finds the record, not the name.
    let kill_both = |scene: &mut Scene, id: &str| {
        let reached = scene.hold("ops/pre_upgrade");
        let run = scene.start(id, &["--quick"]);
        wait_until(LONG, "the upgrade holds", || reached.exists().then_some(()));
        scene.kill_both(run);
        assert!(!scene.objects("service").is_empty());
        assert_eq!(scene.canonical()["status"], "busy");
        assert_ne!(scene.good().0, good.0);
        scene.let_go("ops/pre_upgrade");
    };
    scene.let_go("ops/verify_upgrade");
    kill_both(&mut scene, "both");
    // Without the record's word, a warm app is left alone.
    let hidden = scene.env.root.join("hidden");
    std::fs::rename(scene.record(), &hidden).unwrap();
    let done = scene.env.run(["janitor"]);
    done.expect(0);
    assert!(!scene.objects("service").is_empty(), "{}", done.stdout);
    std::fs::rename(&hidden, scene.record()).unwrap();
    let done = scene.env.run(["janitor", "--dry-run"]);
    assert!(
        done.stdout.contains("warm notes: owner is dead"),
        "{}",
        done.stdout
    );
    assert!(!scene.objects("service").is_empty());
    let done = scene.env.run(["janitor"]);
    done.expect(0);
    assert!(
        done.stdout.contains("warm notes: owner was dead"),
        "{}",
        done.stdout
    );
    scene.assert_at_rest("idle");
    assert_eq!(scene.good(), good);

    // Both are killed: the next quick run begins with what is good.
    kill_both(&mut scene, "both-again");
    let (done, results) = scene.run("after", &["--quick"]);
    done.expect(0);
    assert_eq!(results["quick"], true, "{}", done.stderr);
    scene.assert_at_rest("used");
    let end = scene.good();
    let spoiled = |files: &Files| files.keys().any(|path| path.ends_with("spoiled"));
    assert!(!spoiled(&end.0), "{:?}", end.0.keys());
    assert_eq!((end.1, end.3), (good.1, good.3));
}

#[test]
fn a_record_or_snapshot_that_is_not_sound_is_left_alone() {
    let mut scene = Scene::promoted();
    let good = scene.good();

    // A canonical that does not come up is not the head's fault.
    let broken = scene.place().join("canonical.json");
    let record = harness::host_file::bytes(&broken).unwrap();
    for (text, what) in [("{\"recipe\": \"no", "garbled"), ("", "empty")] {
        std::fs::write(&broken, text).unwrap();
        let done = scene.start(what, &["--quick"]).finish();
        done.expect(3);
        let path = broken.display().to_string();
        assert!(
            done.stderr.contains(&path) && done.stderr.contains("remove"),
            "{}",
            done.stderr
        );
        assert_eq!(harness::host_file::text(&broken).unwrap(), text);
        // A cold run goes on, and says what it could not know.
        let done = scene.env.run([
            "run".as_ref(),
            scene.recipe.as_os_str(),
            "--dry-run".as_ref(),
        ]);
        done.expect(0);
        assert!(
            done.stdout.contains("last-green version is not known"),
            "{}",
            done.stdout
        );
    }
    std::fs::write(&broken, &record).unwrap();
    deployed::assert_red_over_a_canonical(&mut scene);
    assert_eq!(scene.good(), good);

    // One bit of the snapshot.
    let (archive, whole) = scene.flip_a_bit();
    let (done, results) = scene.run("corrupt", &["--quick"]);
    done.expect(0);
    assert!(
        done.stderr.contains("is corrupt") && done.stderr.contains(archive.to_str().unwrap()),
        "{}",
        done.stderr
    );
    assert_eq!(
        (&results["quick"], &results["level"]),
        (&false.into(), &5.into()),
        "{}",
        done.stderr
    );
    assert!(results["warnings"].to_string().contains("is corrupt"));
    std::fs::write(&archive, &whole).unwrap();
    scene.assert_at_rest("idle");
    assert_eq!(scene.good(), good);

    // A place that cannot be written: root may write anywhere but below a file.
    let file = scene.env.write("file", "");
    scene
        .env
        .set("CCCI_WARM_DIR", file.join("warm").display().to_string());
    let done = scene.start("unwritable", &["--quick"]).finish();
    done.expect(2);
    assert!(
        done.stderr.contains(file.to_str().unwrap()) && done.stderr.contains("CCCI_WARM_DIR"),
        "{}",
        done.stderr
    );
    let place = scene.env.root.join("warm").display().to_string();
    scene.env.set("CCCI_WARM_DIR", place);
    assert_eq!(scene.good(), good);
}

#[test]
fn a_promotion_that_fails_leaves_what_was_there_before() {
    let mut scene = Scene::new();
    let _tiny = Mount::tmpfs(scene.env.root.join("warm"), "size=2m");
    // There was nothing before: nothing is left. Green all the same.
    let only_cold = "#!/bin/sh\ncase $CCCI_APP_DOMAIN in warm-*) echo no; exit 9;; esac\n";
    scene.env.overlay("notes", "install_steps.sh", only_cold);
    let (done, results) = scene.run("first", &["--ref", "0.2.0+1.1.0"]);
    done.expect(0);
    let said = results["promotion"].as_str().unwrap();
    assert!(
        said.starts_with("failed: 0.2.0+1.1.0: install_steps"),
        "{said}"
    );
    assert!(
        results["warnings"]
            .to_string()
            .contains("promotion: failed")
    );
    scene.env.assert_nothing_left();
    assert!(!scene.record().exists());
    scene.let_go("install_steps.sh");

    scene.run("second", &["--ref", "0.2.0+1.1.0"]).0.expect(0);
    scene.assert_at_rest("idle");
    let good = scene.good();
    // The next release, whose data does not fit where snapshots are.
    git(&scene.recipe, &["tag", "0.3.0+1.2.0"]);
    let volume = scene.objects("volume").remove(0);
    let root = docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &volume]);
    std::fs::write(Path::new(&root).join("big"), vec![7; 3 << 20]).unwrap();
    let (done, results) = scene.run("full", &[]);
    done.expect(0);
    let said = results["promotion"].as_str().unwrap();
    assert!(
        said.starts_with("failed: 0.3.0+1.2.0") && said.contains("write"),
        "{said}\n{}",
        done.stderr
    );
    scene.assert_at_rest("idle");
    assert_eq!(scene.good(), good);
    // With room it is promoted, onto the data that is there, and the old snapshot goes.
    let (done, results) = scene.run("room", &[]);
    done.expect(0);
    assert_eq!(
        results["promotion"], "promoted 0.3.0+1.2.0",
        "{}",
        done.stderr
    );
    assert_eq!(scene.canonical()["version"], "0.3.0+1.2.0");
    assert_eq!(
        scene.canonical()["commit"],
        git(&scene.recipe, &["rev-parse", "HEAD"])
    );
    let entries = harness::host_file::entries(scene.place()).unwrap().count();
    assert_eq!(entries, 2, "a record and a snapshot");
    // Again is not needed.
    let (_, results) = scene.run("again", &[]);
    assert_eq!(
        results["promotion"],
        "skipped: 0.3.0+1.2.0 is the canonical already"
    );
}

/// What quick runs are for. Both sides have the same stages; the recipe waits 12 s in its first boot, which is
/// most of what a cold run takes, and the margin is a quarter of that.
#[test]
fn a_recipe_with_a_slow_first_boot_is_tested_sooner_by_a_quick_run() {
    let mut scene = Scene::promoted_of("slow-start");
    scene.env.set("STAGES", "upgrade,custom");
    let took = |id: &str, more: &[&str]| {
        let begun = Instant::now();
        let (done, results) = scene.run(id, more);
        let took = begun.elapsed();
        done.expect(0);
        let report = format!("{results:#}\n{}", done.stderr);
        assert_eq!(results["quick"], !more.is_empty(), "{report}");
        assert_eq!(tier(&results, "upgrade")["status"], "pass", "{report}");
        assert_eq!(tier(&results, "custom")["status"], "pass", "{report}");
        (
            took,
            results["phases"]["converge_ms"].as_u64().unwrap(),
            report,
        )
    };
    let cold = took("cold", &[]);
    // From what the promotion left, and from what a quick run left; the machine may be busy during one of them.
    let quick = ["idle", "used"].map(|id| took(id, &["--quick"]));
    // The 12 s begin with the container, which may be a while before the run looks.
    assert!(cold.1 >= 9_000, "{}", cold.2);
    let best = quick.iter().min_by_key(|run| run.1).unwrap();
    // The phase that is saved, and not the whole run: the machine may be busy in any of them.
    assert!(
        best.1 + 3_000 < cold.1,
        "cold {:?}, quick {:?} and {:?}\n{}",
        cold.0,
        quick[0].0,
        quick[1].0,
        best.2
    );
}
