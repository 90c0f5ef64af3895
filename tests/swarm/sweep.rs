//! Sweeps: the newest release of each enrolled recipe, once.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::quick::{Scene, git};
use crate::support::Done;
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

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
    let row = |done: &Done, recipe: &str| {
        let line = done.stdout.lines().find(|line| line.starts_with(recipe));
        let words: Vec<String> = line
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        words.join(" ")
    };
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

    // Nobody enrolled is a mistake, not a green sweep.
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
    let reached = scene.hold("ops/pre_upgrade");
    let sweep = scene.env.start(["sweep"]);
    wait_until(LONG, "the upgrade holds", || reached.exists().then_some(()));
    kill(sweep.pid, Signal::SIGTERM).unwrap();
    sweep.finish().expect(143);
    let run = scene.env.results();
    assert_eq!(run["verdict"], "cancelled", "{run:#}");
    scene.env.assert_nothing_left();
}
