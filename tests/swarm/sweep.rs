//! Sweeps: the newest release of each enrolled recipe, once.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::forge::Forge;
use crate::quick::Scene;
use crate::support::{Done, git};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// The enrolled recipes of the test that has two.
const BOTH: [&str; 2] = ["notes", "other"];

/// Returns a recipe's line of the table.
fn row(done: &Done, recipe: &str) -> String {
    let line = done.stdout.lines().find(|line| line.starts_with(recipe));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    words.join(" ")
}

#[test]
fn a_sweep_runs_the_newest_releases_and_nothing_twice() {
    let mut scene = Scene::new();
    let forge = scene.env.root.join("forge");
    let clone = |name: &str, from: &Path| {
        let at = forge.join(format!("coop-cloud/{name}.git"));
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let from = from.to_str().unwrap();
        git(
            Path::new("/"),
            &["clone", "-q", "--bare", from, at.to_str().unwrap()],
        );
        at
    };
    clone("notes", &scene.recipe);
    let unreleased = scene.env.recipe("no-upgrade-base");
    for tag in git(&unreleased, &["tag"]).lines() {
        git(&unreleased, &["tag", "-d", tag]);
    }
    clone("fresh", &unreleased);
    scene
        .env
        .set("CCCI_FORGE_URL", format!("file://{}", forge.display()));
    scene
        .env
        .overlay("fresh", "recipe-ci.yml", "canonical: true\n");
    scene
        .env
        .overlay("other", "custom/test_x.sh", "#!/bin/sh\nexit 0\n");
    let done = scene.env.run(["sweep", "--dry-run"]);
    done.expect(0);
    assert!(
        done.stdout.contains("would run") && !done.stdout.contains("other"),
        "{}",
        done.stdout
    );
    assert!(scene.env.run_dirs().is_empty());
    let done = scene.env.run(["sweep"]);
    done.expect(0);
    assert_eq!(
        row(&done, "notes"),
        "notes 0.2.0+1.1.0 0.2.0+1.1.0 run:passed",
        "{}",
        done.stderr
    );
    assert_eq!(row(&done, "fresh"), "fresh - - skip:never-released");
    scene.assert_at_rest("idle");
    let done = scene.env.run(["sweep"]);
    done.expect(0);
    assert_eq!(
        row(&done, "notes"),
        "notes 0.2.0+1.1.0 0.2.0+1.1.0 skip:no-new-version"
    );

    // A source that is gone, and a record that is none, are no skips.
    scene
        .env
        .overlay("gone", "recipe-ci.yml", "canonical: true\n");
    let done = scene.env.run(["sweep"]);
    done.expect(3);
    assert!(row(&done, "gone").contains("error: "), "{}", done.stdout);

    // A sweep without an enrolled recipe is a mistake, not green.
    let empty = scene.env.root.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let done = scene
        .env
        .run(["sweep", "--overlays", empty.to_str().unwrap()]);
    done.expect(2);
    assert!(
        done.stderr.contains(empty.to_str().unwrap()) && done.stderr.contains("canonical: true"),
        "{}",
        done.stderr
    );
    let nowhere = scene.env.root.join("nowhere");
    let done = scene
        .env
        .run(["sweep", "--overlays", nowhere.to_str().unwrap()]);
    done.expect(3);
    assert!(
        done.stderr.contains(nowhere.to_str().unwrap()),
        "{}",
        done.stderr
    );
}

#[test]
fn a_cancelled_sweep_takes_its_run_with_it() {
    let mut scene = Scene::new();
    let at = scene.env.root.join("forge/coop-cloud/notes.git");
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    let from = scene.recipe.to_str().unwrap();
    git(
        Path::new("/"),
        &["clone", "-q", "--bare", from, at.to_str().unwrap()],
    );
    let forge = format!("file://{}/forge", scene.env.root.display());
    scene.env.set("CCCI_FORGE_URL", forge);
    // The zone and the deadline of the sweep are those of its runs.
    let zone = format!("part.{}", scene.env.zone);
    let late = scene
        .env
        .run(["sweep", "--zone", &zone, "--deadline", "1s"]);
    late.expect(3);
    assert!(
        row(&late, "notes").contains("exit code 142"),
        "{}",
        late.stdout
    );
    let run = scene.env.results();
    assert_eq!(run["verdict"], "deadline", "{run:#}");
    let domain = run["domain"].as_str().unwrap();
    assert!(domain.ends_with(&format!(".{zone}")), "{domain}");
    std::fs::remove_dir_all(scene.env.run_dirs().remove(0)).unwrap();

    let reached = scene.hold("ops/pre_upgrade");
    let sweep = scene.env.start(["sweep"]);
    wait_until(LONG, "the upgrade holds", || reached.exists().then_some(()));
    kill(sweep.pid, Signal::SIGTERM).unwrap();
    sweep.finish().expect(143);
    let run = scene.env.results();
    assert_eq!(run["verdict"], "cancelled", "{run:#}");
    scene.env.assert_nothing_left();
}

/// Two recipes over HTTP, one green and one red: one after the other unless more is asked for.
#[test]
fn a_sweep_lists_over_http_and_runs_as_many_at_once_as_it_is_told() {
    let mut scene = Scene::new();
    let forge = Forge::start(scene.env.root.join("forge"));
    scene.env.set("CCCI_FORGE_URL", forge.url());
    forge.publish("notes", &scene.recipe);
    forge.publish("other", &scene.recipe);
    scene
        .env
        .overlay("other", "recipe-ci.yml", "canonical: true\n");
    // One that is enrolled and not there is an error, whatever the others are.
    scene
        .env
        .overlay("gone", "recipe-ci.yml", "canonical: true\n");
    let done = scene.env.run(["sweep", "--dry-run"]);
    done.expect(3);
    for recipe in BOTH {
        let expected = format!("{recipe} 0.2.0+1.1.0 - would run");
        assert_eq!(row(&done, recipe), expected, "{}", done.stderr);
    }
    assert!(row(&done, "gone").contains("error: "), "{}", done.stdout);
    let asked = forge.asked();
    for recipe in ["notes", "other", "gone"] {
        let listing = format!("/coop-cloud/{recipe}.git/info/refs?service=git-upload-pack");
        assert!(asked.contains(&listing), "{asked:?}");
    }
    // To list is not to fetch.
    assert!(
        !asked
            .iter()
            .any(|target| target.contains("notes.git/objects")),
        "{asked:?}"
    );
    std::fs::remove_dir_all(scene.env.root.join("overlays/gone")).unwrap();

    // Each stays in its install until it is told to go on; that of the promotion passes. Two apps of a run would need two
    // words.
    scene.env.set("CCCI_FRESH", "never");
    let root = scene.env.root.clone();
    let reached = |recipe: &str| root.join(format!("reached-{recipe}"));
    let go_on = |recipe: &str| root.join(format!("go-on-{recipe}"));
    for recipe in BOTH {
        nix::unistd::mkfifo(&go_on(recipe), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let hook = format!(
            "#!/bin/sh\ncase $CCCI_APP_DOMAIN in warm-*) exit 0 ;; esac\n: >{}\nread -r never <{}\n",
            reached(recipe).display(),
            go_on(recipe).display(),
        );
        scene.env.overlay(recipe, "install_steps.sh", &hook);
    }
    scene
        .env
        .overlay("other", "custom/test_red.sh", "#!/bin/sh\nexit 1\n");

    let sweep = scene.env.start(["sweep"]);
    wait_until(LONG, "the first run holds", || {
        reached("notes").exists().then_some(())
    });
    // The second one would have made its directory long ago.
    assert_eq!(scene.env.run_dirs().len(), 1, "{}", sweep.stderr());
    kill(sweep.pid, Signal::SIGTERM).unwrap();
    sweep.finish().expect(143);
    scene.env.assert_nothing_left();
    std::fs::remove_file(reached("notes")).unwrap();

    let sweep = scene.env.start(["sweep", "--parallel", "2"]);
    wait_until(LONG, "both runs hold", || {
        BOTH.iter()
            .all(|recipe| reached(recipe).exists())
            .then_some(())
    });
    for recipe in BOTH {
        std::fs::write(go_on(recipe), "go on\n").unwrap();
    }
    let done = sweep.finish();
    done.expect(1);
    assert_eq!(
        row(&done, "notes"),
        "notes 0.2.0+1.1.0 0.2.0+1.1.0 run:passed",
        "{}",
        done.stderr
    );
    assert_eq!(
        row(&done, "other"),
        "other 0.2.0+1.1.0 - run:failed (exit code 1)",
        "{}",
        done.stderr
    );
    scene.assert_at_rest("idle");
    assert!(!scene.env.root.join("warm/other/canonical.json").exists());
}
