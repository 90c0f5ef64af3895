//! A stranger's proposal beside a victim: every row of what once harmed the host, as a stranger, with a grant, and by
//! hand. Whatever the run comes to, the victim's objects, their versions, labels and contents stay, and its canary is
//! in no output and in no file of the run.
//!
//! What is refused costs a tenth of a second. What runs is wanted by one recipe for all rows of a way, but for those with
//! which two apps would meet on the host.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::rows::{ELSEWHERE, ROWS, Row, UPDATES_SAID, Way};
use crate::scene::{Place, Scene, Who, members, merge};
use crate::support::{Done, command, git, read_results};

/// Names of the findings that the table is about.
const FINDINGS: std::ops::RangeInclusive<u8> = 1..=16;

#[test]
fn every_finding_goes_all_three_ways_or_says_why_not() {
    let mut missing = Vec::new();
    for finding in FINDINGS {
        let prefix = format!("a{finding}-");
        let rows: Vec<&Row> = ROWS
            .iter()
            .filter(|row| row.name.starts_with(&prefix))
            .collect();
        for who in Who::ALL {
            let goes = rows.iter().any(|row| !matches!(who.way(row), Way::Not(_)));
            // A path is not fetched, and Way::Not has said so.
            let cannot = finding == 16 && who == Who::ByHand;
            if !goes && !cannot {
                missing.push(format!("A{finding} {who:?}"));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
    for row in ROWS {
        for who in Who::ALL {
            let way = who.way(row);
            if let Way::Not(why) = way {
                assert!(why.len() > 15, "{}: {who:?} has no reason", row.name);
            }
            // What a grant allows is no grant for what is beside it.
            if who == Who::Granted
                && matches!((row.stranger, way), (Way::Refused(_), Way::Works(_)))
                && !row.private
            {
                assert!(
                    !row.grant.is_empty() && !row.near.is_empty(),
                    "{}",
                    row.name
                );
            }
        }
        let names = ROWS.iter().filter(|other| other.name == row.name);
        assert_eq!(names.count(), 1, "{}", row.name);
    }
}

/// Asserts that a row was refused before anything was made.
#[track_caller]
fn assert_refused(scene: &Scene, what: &str, word: &str, done: &Done) {
    assert_eq!(done.code, Some(2), "{what}: {}", done.stderr);
    let word = scene.fill(word);
    let said = done.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains(&word),
        "{what} lacks `{word}`: {}",
        done.stderr
    );
    let is_rule = word.len() == 4 && word.starts_with('P');
    if is_rule {
        let results = read_results(scene.env.run_dirs().last().unwrap());
        assert_eq!(results["verdict"], "refused", "{what}: {results:#}");
        let found = results["policy"].as_array().unwrap();
        let refuses = |one: &Value| one["rule"] == word.as_str() && one["refused"] == true;
        assert!(found.iter().any(refuses), "{what}: {results:#}");
    }
    // Without a number that is one there is no run.
    if !what.starts_with("a14-") {
        let results = read_results(scene.env.run_dirs().last().unwrap());
        assert_eq!(results["deploy_count"], 0, "{what}: {results:#}");
    }
    assert_eq!(scene.changes(), [""; 0], "{what}");
    scene.assert_silent(what, done);
}

#[test]
fn what_the_table_refuses_makes_nothing_and_the_victim_stays() {
    let mut scene = Scene::new();
    refused(&mut scene, Place::Operators, &Who::ALL);
    scene.end();
}

/// Runs all that is refused of these people, one by one.
fn refused(scene: &mut Scene, place: Place, people: &[Who]) {
    let image = scene.private_image();
    for who in people.iter().copied() {
        for row in ROWS {
            let Way::Refused(word) = who.way(row) else {
                continue;
            };
            // An object or an image that is there already is not there elsewhere.
            if ["P002", UPDATES_SAID].contains(&word) && !place.has(row, who) {
                continue;
            }
            let grant = (who == Who::Granted).then(|| scene.grant(&[row]));
            let done = scene.run(who, &[row], grant.as_ref());
            assert_refused(scene, &format!("{} {who:?}", row.name), word, &done);
        }
        scene.assert_unharmed();
    }
    drop(image);
}

#[test]
fn a_grant_allows_nothing_beside_what_it_names() {
    let mut scene = Scene::new();
    let image = scene.private_image();
    for row in ROWS.iter().filter(|row| !row.near.is_empty()) {
        let Way::Refused(word) = row.stranger else {
            panic!("{} is not refused", row.name);
        };
        let mut near = json!({"branches": ["main"], "images": ["recipe-ci"]});
        merge(&mut near, members(&scene.fill(row.near)));
        let done = scene.run(Who::Granted, &[row], Some(&near));
        assert_refused(&scene, row.name, word, &done);
    }
    scene.assert_unharmed();
    drop(image);
    scene.end();
}

/// Returns what works in one way, and with two apps at once (`parallel`) or with one after the other (`serial`). Of a
/// stranger's apps nothing meets.
fn working(who: Who, how: &str) -> Vec<&'static Row> {
    let serial = |row: &Row| row.meets && who != Who::Stranger;
    let rows = ROWS.iter();
    rows.filter(|row| matches!(who.way(row), Way::Works(_)))
        .filter(|row| serial(row) == (how == "serial"))
        .collect()
}

/// Runs all that works in one way, as one recipe, and asserts of each row what shows it: of the head that is installed
/// afresh, which is deployed `how`, and of the base that becomes the head.
fn together(who: Who, how: &str) -> (Scene, Value) {
    let mut scene = Scene::new();
    let results = all_that_works(&mut scene, Place::Operators, who, how);
    (scene, results)
}

fn all_that_works(scene: &mut Scene, place: Place, who: Who, how: &str) -> Value {
    let image = scene.private_image();
    let rows = match place {
        Place::Operators => working(who, how),
        Place::Ci | Place::Run => {
            let there = ROWS.iter().filter(|row| place.has(row, who));
            let there = there.chain(ELSEWHERE);
            there
                .filter(|row| matches!(who.way(row), Way::Works(_)))
                .collect()
        }
    };
    let mut script = format!(
        "#!/bin/sh\ncanary=$(cat '{root}/victim/canary')\nstack=$(echo \"$CCCI_APP_DOMAIN\" | tr . _)\n\
         of() {{ docker service inspect \"${{stack}}_$1\"; }}\nspec() {{ of app | grep -qF -- \"$1\"; }}\n\
         id() {{ docker ps -q --filter \"label=com.docker.swarm.service.name=$1\" | head -n 1; }}\n\
         task() {{ docker inspect \"$(id \"${{stack}}_$1\")\"; }}\n\
         inside() {{ docker exec \"$(id \"${{stack}}_app\")\" sh -c \"$1\"; }}\n\
         answers() {{ docker exec \"$(id {victim}_db)\" nslookup -type=a {victim}_web 127.0.0.11 | grep '^Address: '; }}\n",
        root = scene.env.root.display(),
        victim = scene.victim().stack,
    );
    let to = scene.env.root.join("shown");
    for row in &rows {
        if let Way::Works(shown) = who.way(row) {
            let (shown, name) = (scene.fill(shown), row.name);
            script += &format!(
                "if {{ {shown}; }} >/dev/null 2>&1; then echo 'ok {name}'; else echo 'no {name}'; fi >>'{}'.$CCCI_APP_DOMAIN\n",
                to.display()
            );
        }
    }
    // The first meets the head that is installed afresh, the second the base that has become the head.
    scene.env.overlay("matrix", "test_install.sh", &script);
    scene.env.overlay("matrix", "custom/test_shown.sh", &script);
    scene.env.write("overlays/approved.txt", "matrix\n");
    scene
        .env
        .set("STAGES", "install,upgrade,backup,restore,custom");
    let grant = scene.grant(&rows);
    let done = scene.run(who, &rows, (who == Who::Granted).then_some(&grant));
    drop(image);
    done.expect(0);
    let results = scene.env.results();
    let domain = results["domain"].as_str().unwrap();
    let fresh = results["fresh"]["domain"].as_str().unwrap();
    assert_eq!(results["fresh"]["how"], how, "{}", results["fresh"]);
    assert_eq!(results["rungs"]["upgrade"], "pass", "{results:#}");
    let wanted: Vec<String> = rows.iter().map(|row| format!("ok {}", row.name)).collect();
    let times = if fresh == domain { 2 } else { 1 };
    for app in BTreeSet::from([domain, fresh]) {
        let shown = format!("{}.{app}", to.display());
        let shown = harness::host_file::text(shown).unwrap();
        let shown: Vec<&str> = shown.lines().collect();
        assert_eq!(
            shown,
            vec![&wanted[..]; times].concat(),
            "{app}: {}",
            done.stderr
        );
    }
    let changes = scene.changes();
    if place == Place::Operators {
        let seen = changes.iter().any(|head| head.contains("/services/create"));
        assert!(seen, "the engine was asked elsewhere: {changes:?}");
    } else {
        assert_eq!(changes, [""; 0], "the operator's engine was changed");
    }
    scene.assert_silent("all that works", &done);
    scene.assert_unharmed();
    for dir in ["stand-in", "stand-in-w"] {
        // What is seeded is a file with a name of its own.
        let names = crate::engine::names(&scene.env.root.join(dir));
        assert_eq!(names, ["there"], "{dir}");
    }
    results
}

/// The same on an engine of CI's own: the operator's is asked to change nothing, and with the host's root and the engine's
/// socket granted nothing of the operator's is seen. Strangers and what they are granted; everybody with the feature.
fn elsewhere(place: Place) {
    let people = if cfg!(feature = "full") {
        &Who::ALL[..]
    } else {
        &[Who::Stranger]
    };
    let mut scene = Scene::at(place);
    refused(&mut scene, place, people);
    drop(std::fs::remove_dir_all(scene.env.root.join("runs")));
    all_that_works(&mut scene, place, Who::Granted, "serial");
    scene.end();
}

#[test]
fn on_cis_engine_the_table_holds_and_what_is_granted_of_the_host_is_not_the_operators() {
    elsewhere(Place::Ci);
}

#[test]
fn on_a_runs_own_engine_the_table_holds_and_what_is_granted_of_the_host_is_not_the_operators() {
    elsewhere(Place::Run);
}

#[test]
fn what_is_contained_of_a_strangers_proposal_runs_and_the_victim_stays() {
    let (scene, results) = together(Who::Stranger, "parallel");
    assert_eq!(results["trust"]["level"], "stranger", "{results:#}");
    scene.end();
}

#[test]
fn what_is_granted_works_stays_inside_the_grant_and_the_victim_stays() {
    let (scene, results) = together(Who::Granted, "serial");
    assert_eq!(results["trust"]["level"], "granted", "{results:#}");
    // The data that it was given is not the run's to seed and restore.
    for stage in ["backup", "restore"] {
        let tiers = results["tiers"].as_array().unwrap();
        let tier = tiers.iter().find(|tier| tier["name"] == stage).unwrap();
        assert_eq!(tier["status"], "unver", "{tier:#}");
        let reason = tier["reason"].as_str().unwrap();
        assert!(reason.contains("is not this run's"), "{reason}");
    }
    assert_eq!(scene.forge.authorized(), [""; 0]);
    scene.end();
}

#[test]
fn what_is_granted_and_does_not_meet_works_in_two_apps_at_once() {
    let (scene, results) = together(Who::Granted, "parallel");
    assert_eq!(results["trust"]["level"], "granted", "{results:#}");
    let asked = scene.forge.authorized();
    let own = |target: &String| target.starts_with("/private/matrix.git/");
    assert!(!asked.is_empty() && asked.iter().all(own), "{asked:?}");
    scene.end();
}

#[test]
fn by_hand_it_works_and_is_warned_of_by_the_same_rules_and_the_victim_stays() {
    by_hand("serial");
}

#[test]
fn by_hand_what_does_not_meet_works_in_two_apps_at_once_and_is_warned_of() {
    by_hand("parallel");
}

fn by_hand(how: &str) {
    let (scene, results) = together(Who::ByHand, how);
    assert_eq!(results["trust"]["level"], "by hand", "{results:#}");
    let found = results["policy"].as_array().unwrap();
    for row in working(Who::ByHand, how) {
        if let Way::Refused(rule) = row.stranger
            && rule.starts_with('P')
            // Only a pull says the first, and by hand an image of this host is as good as any; who runs it by hand has
            // set the secret himself.
            && !["a7-image", "a5-supplied"].contains(&row.name)
        {
            let warns = |one: &Value| one["rule"] == rule && one["refused"] == false;
            assert!(found.iter().any(warns), "{}: {results:#}", row.name);
        }
    }
    scene.end();
}

/// abra deploys the recipe's own files: what a grant lists would not be taken as it is, but updated, and removed.
#[test]
fn abra_takes_nothing_over_that_a_grant_lists() {
    let mut scene = Scene::new();
    scene.env.with_abra("", "");
    scene.env.set("STAGES", "install");
    let row = ROWS.iter().find(|row| row.name == "a1-secret").unwrap();
    let mut grant = scene.grant(&[row]);
    merge(&mut grant, json!({"driver": "abra"}));
    let done = scene.run(Who::Granted, &[row], Some(&grant));
    let word = "exists already, and this run did not make it";
    assert_refused(&scene, row.name, word, &done);
    assert!(done.stderr.contains("driver abra"), "{}", done.stderr);
    let deviations = read_results(scene.env.run_dirs().last().unwrap())["deviations"].to_string();
    assert!(
        deviations.contains("ceilings are not filled in"),
        "{deviations}"
    );
    scene.assert_unharmed();
    scene.end();
}

/// Engines before 25 let an app write to what is mounted below a directory that it may read.
#[test]
fn a_directory_that_is_granted_to_be_read_is_not_deployed_with_something_mounted_below_it() {
    let mut scene = Scene::new();
    scene.env.set("STAGES", "install");
    let row = ROWS.iter().find(|row| row.name == "a7-bind").unwrap();
    let grant = scene.grant(&[row]);
    let mounted = Mounted::at(scene.env.root.join("stand-in/inner"));
    let done = scene.run(Who::Granted, &[row], Some(&grant));
    let assert_ended = |scene: &Scene, done: &Done| {
        done.expect(3);
        let place = mounted.0.display();
        for words in [
            format!("could write to `{place}`, which is mounted below it"),
            "grant a directory without mounts below it".to_owned(),
        ] {
            assert!(done.stderr.contains(&words), "{words}: {}", done.stderr);
        }
        let made = |head: &String| head.contains("/create");
        let changes = scene.changes();
        assert!(!changes.iter().any(made), "{changes:?}");
        scene.assert_unharmed();
    };
    assert_ended(&scene, &done);

    // Nor is what a recipe needs, which has a grant of its own.
    let board = scene.repository("board", &[row]);
    git(&board, &["tag", "0.2.0+1.0.0"]);
    scene.forge.publish_as("coop-cloud/board", &board);
    let mut own = scene.grant(&[row]);
    merge(
        &mut own,
        json!({"commits": [git(&board, &["rev-parse", "HEAD"])]}),
    );
    let host = scene.forge.url().replace("http://", "");
    let grants = json!({"sources": {format!("{host}/coop-cloud/board"): own}});
    let grants = scene.env.write("grants.yml", &grants.to_string());
    scene.env.set("CCCI_GRANTS", grants.display().to_string());
    let plain = ROWS.iter().find(|row| row.name == "a8-lookalike").unwrap();
    let needs = "dependencies: [board]\n";
    scene.env.overlay(plain.name, "recipe-ci.yml", needs);
    let done = scene.run(Who::Stranger, &[plain], None);
    assert_ended(&scene, &done);

    drop(mounted);
    let done = scene.run(Who::Granted, &[row], Some(&grant));
    done.expect(0);
    scene.assert_unharmed();
    scene.end();
}

/// A file system of its own at a directory, until this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn at(dir: PathBuf) -> Self {
        std::fs::create_dir(&dir).unwrap();
        let mounted = command("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(&dir)
            .status();
        assert!(mounted.unwrap().success());
        Self(dir)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(command("umount").arg(&self.0).status());
    }
}
