//! Quick runs and promotions that are cut short: nothing stays deployed, and what was known to be good is the same,
//! bit for bit.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::dependencies::ABSENT;
use crate::engine::{SOCKET, docker};
use crate::hold::Proxy;
use crate::quick::{Files, Scene};
use crate::support::{Run, git};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// Requests of the harness that pass one after another; the last is held.
type Steps = &'static [&'static [&'static str]];

/// The promotion has deployed the release onto the canonical's data and looks for the first time whether it is up.
const DEPLOYED: Steps = &[&["/services?", "warm-notes"]];

/// It has undeployed the app again, and takes the snapshot through a container that holds the volume.
const SNAPSHOT: Steps = &[
    &["POST ", "/containers/create?", "warm-notes"],
    &["GET ", "/archive?", "recipe-ci-volume"],
];

/// What [`Scene::good`] returns.
type Good = (Files, Vec<String>, Vec<u8>, Files);

/// A canonical, and a newer release that is about to replace it.
struct Promotion {
    scene: Scene,
    count: u32,
}

impl Promotion {
    fn new() -> Self {
        let scene = Scene::promoted();
        git(&scene.recipe, &["tag", "0.3.0+1.2.0"]);
        Self { scene, count: 0 }
    }

    /// Brings a run to where its promotion has changed the canonical's data and goes no further; returns its id.
    fn hold(&mut self, at: Steps) -> (String, Run) {
        self.count += 1;
        let id = format!("run-{}", self.count);
        let proxy = Proxy::holding(self.scene.env.root.join("engine.sock"), at);
        self.scene.env.set("DOCKER_HOST", proxy.address());
        let run = self.scene.start(&id, &[]);
        wait_until(LONG, &format!("{at:?}: {}", run.stderr()), || {
            assert!(!run.stderr().contains("verdict"), "{}", run.stderr());
            proxy.reached().then_some(())
        });
        self.scene
            .env
            .set("DOCKER_HOST", format!("unix://{SOCKET}"));
        assert_eq!(self.scene.canonical()["status"], "busy");
        let deployed = !self.scene.objects("service").is_empty();
        assert_eq!(deployed, at == DEPLOYED);
        // As a release would that changes its data.
        let volume = self.scene.objects("volume").remove(0);
        let root = docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &volume]);
        std::fs::write(Path::new(&root).join("spoiled"), "spoiled").unwrap();
        (id, run)
    }

    /// Makes the promotion at last.
    fn done(self) {
        let (done, results) = self.scene.run("at-last", &[]);
        done.expect(0);
        assert_eq!(
            results["promotion"], "promoted 0.3.0+1.2.0",
            "{}",
            done.stderr
        );
        assert_eq!(self.scene.canonical()["version"], "0.3.0+1.2.0");
    }
}

#[test]
fn a_promotion_that_is_cut_short_leaves_the_canonical_of_before() {
    let mut promotion = Promotion::new();
    let good = promotion.scene.good();
    let record = harness::host_file::bytes(promotion.scene.record()).unwrap();
    // Cancelled: it is undone by the run itself.
    for at in [DEPLOYED, SNAPSHOT] {
        let (id, run) = promotion.hold(at);
        kill(run.pid, Signal::SIGTERM).unwrap();
        // The run itself was over, and green.
        let done = run.finish();
        done.expect(0);
        let results = promotion.scene.results(&id);
        let report = format!("{at:?} {results:#}\n{}", done.stderr);
        assert_eq!(
            results["promotion"], "failed: 0.3.0+1.2.0: SIGTERM received",
            "{report}"
        );
        assert_eq!(results["verdict"], "passed", "{report}");
        promotion.scene.assert_at_rest("idle");
        assert_eq!(promotion.scene.good(), good, "{report}");
        assert_eq!(
            harness::host_file::bytes(promotion.scene.record()).unwrap(),
            record
        );
    }
    // With its processes killed: by the next sweep.
    for at in [DEPLOYED, SNAPSHOT] {
        let (_, run) = promotion.hold(at);
        promotion.scene.kill_both(run);
        let scene = &promotion.scene;
        // A container that runs, or the one that holds the volume. The engine makes the one when it comes to it.
        wait_until(LONG, &format!("{at:?}: a container"), || {
            (!scene.objects("container").is_empty()).then_some(())
        });
        assert_ne!(scene.good().0, good.0, "{at:?}");
        let done = scene.env.run(["janitor"]);
        done.expect(0);
        assert!(
            done.stdout.contains("warm notes: owner was dead"),
            "{}",
            done.stdout
        );
        scene.assert_at_rest("idle");
        assert_eq!(scene.good(), good, "{at:?}");
        assert_eq!(harness::host_file::bytes(scene.record()).unwrap(), record);
    }
    promotion.done();
}

/// Each of them leaves the canonical as it was, so one promotion is enough for all.
#[test]
fn the_good_data_is_back_whatever_cuts_a_quick_run_short() {
    let mut scene = Scene::promoted();
    let good = scene.good();
    crate::policy::assert_refused_over_a_canonical(&scene);
    the_hard_deadline(&mut scene, &good);
    an_engine_that_goes_away(&mut scene, &good);
    a_snapshot_that_is_spoiled_is_not_put_back(&mut scene, &good);
    an_image_that_cannot_be_pulled(&scene, &good);
}

fn the_hard_deadline(scene: &mut Scene, good: &Good) {
    let mut seconds = 8;
    loop {
        let reached = scene.hold("ops/verify_upgrade");
        let id = format!("deadline-{seconds}");
        let run = scene.start(&id, &["--quick", "--deadline", &format!("{seconds}s")]);
        wait_until(LONG, "the deadline", || {
            run.stderr().contains("hard deadline").then_some(())
        });
        let in_time = reached.exists();
        let done = run.finish();
        done.expect(142);
        let results = scene.results(&id);
        assert_eq!(results["verdict"], "deadline", "{results:#}");
        assert_eq!(results["teardown"]["clean"], true, "{results:#}");
        scene.assert_at_rest("idle");
        assert_eq!(&scene.good(), good, "{}", done.stderr);
        if in_time {
            assert_eq!(results["quick"], true, "{results:#}");
            return;
        }
        // Wherever it ended, that held; but the data was to be spoiled once.
        seconds *= 2;
        assert!(seconds < 100, "the upgrade is never reached");
    }
}

fn an_engine_that_goes_away(scene: &mut Scene, good: &Good) {
    scene.let_go("ops/verify_upgrade");
    let proxy = Proxy::start(scene.env.root.join("engine.sock"));
    scene.env.set("DOCKER_HOST", proxy.address());
    // The hook spoils the canonical's data; what comes after it asks the engine.
    let reached = scene.hold("ops/pre_upgrade");
    let run = scene.start("cut", &["--quick"]);
    wait_until(LONG, &format!("the hook: {}", run.stderr()), || {
        reached.exists().then_some(())
    });
    proxy.cut();
    let _open = scene.env.release();
    let done = run.finish();
    done.expect(3);
    let results = scene.results("cut");
    let report = format!("{results:#}\n{}", done.stderr);
    assert_eq!(results["verdict"], "infra", "{report}");
    assert_eq!(results["quick"], true, "{report}");
    assert_eq!(results["teardown"]["clean"], false, "{report}");
    assert!(
        results["hints"].to_string().contains("recipe-ci janitor"),
        "{report}"
    );
    // What could not be done is on record, so that somebody else does it.
    assert_eq!(scene.canonical()["status"], "busy");
    assert_ne!(scene.good().0, good.0);
    scene.env.run(["janitor"]).expect(3);
    assert_eq!(scene.canonical()["status"], "busy");
    scene.env.set("DOCKER_HOST", format!("unix://{SOCKET}"));
    scene.env.run(["janitor"]).expect(0);
    scene.assert_at_rest("idle");
    assert_eq!(&scene.good(), good, "{report}");
}

/// The checksums were right when the run began. They are compared again before its data is thrown away.
fn a_snapshot_that_is_spoiled_is_not_put_back(scene: &mut Scene, good: &Good) {
    scene.let_go("ops/pre_upgrade");
    let reached = scene.hold("ops/verify_upgrade");
    let run = scene.start("spoiled", &["--quick"]);
    wait_until(LONG, "the upgrade holds", || reached.exists().then_some(()));
    let (archive, whole) = scene.flip_a_bit();
    kill(run.pid, Signal::SIGTERM).unwrap();
    let done = run.finish();
    done.expect(143);
    let results = scene.results("spoiled");
    let report = format!("{results:#}\n{}", done.stderr);
    assert_eq!(results["teardown"]["clean"], false, "{report}");
    assert!(
        results["teardown"].to_string().contains("is corrupt"),
        "{report}"
    );
    // Undeployed, on record as not at rest, and no volume was touched.
    scene.assert_at_rest("busy");
    let left = scene.good().0;
    assert!(
        left.keys().any(|path| path.ends_with("spoiled")),
        "{:?}",
        left.keys()
    );
    let done = scene.env.run(["janitor"]);
    done.expect(4);
    assert!(done.stdout.contains("is corrupt"), "{}", done.stdout);
    assert_eq!(scene.good().0, left);

    std::fs::write(&archive, &whole).unwrap();
    scene.env.run(["janitor"]).expect(0);
    scene.assert_at_rest("idle");
    assert_eq!(&scene.good(), good);
}

/// Images are pulled while the data of an earlier quick run is replaced; when there is none, that is not left half done.
fn an_image_that_cannot_be_pulled(scene: &Scene, good: &Good) {
    scene.let_go("ops/verify_upgrade");
    scene.run("used", &["--quick"]).0.expect(0);
    scene.assert_at_rest("used");
    assert_ne!(scene.good().0, good.0);
    let image = ABSENT.to_owned();
    let compose = scene.recipe.join("compose.yml");
    scene.env.edit(&compose, "recipe-ci/notes:2", &image);
    let (done, results) = scene.run("absent", &["--quick"]);
    done.expect(3);
    let report = format!("{results:#}\n{}", done.stderr);
    assert_eq!(results["quick"], true, "{report}");
    assert!(
        results["reason"].as_str().unwrap().contains(&image),
        "{report}"
    );
    assert_eq!(results["teardown"]["clean"], true, "{report}");
    scene.assert_at_rest("idle");
    assert_eq!(&scene.good(), good, "{report}");
}
