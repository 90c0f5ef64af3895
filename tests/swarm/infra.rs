//! The host fails: exit 3, never the recipe's fault. (A swarm that is not active cannot be tested here
//! without ending the swarm of every other test.)

use std::path::Path;

use nix::sys::signal::{Signal, kill};

use crate::cancel::{Phase, Scene, child_of, stop};
use crate::dependencies::ABSENT;
use crate::engine::{SOCKET, SwarmEnv, objects_of};
use crate::gateway::{Answer, gateway};
use crate::hold::Proxy;
use crate::janitor::{lock_file, lock_files, orphan};
use crate::support::{Mount, binary, command};

/// Cuts the engine off in a phase; returns the scene after the run's end, with the engine back.
fn cut_during(phase: Phase) -> Scene {
    let mut scene = Scene::new(phase);
    let proxy = Proxy::start(scene.env.root.join("engine.sock"));
    scene.env.set("DOCKER_HOST", proxy.address());
    let run = scene.start(&[]);
    scene.wait_reached(&run);
    let worker = child_of(run.pid);
    stop(worker);
    if phase == Phase::Teardown {
        scene.unblock();
    }
    proxy.cut();
    kill(worker, Signal::SIGCONT).unwrap();
    run.finish().expect(3);
    let results = scene.env.results();
    assert_eq!(results["verdict"], "infra", "{results:#}");
    assert_eq!(results["teardown"]["clean"], false, "{results:#}");
    assert!(
        results["hints"].to_string().contains("recipe-ci janitor"),
        "{results:#}"
    );
    // While it is away, the janitor says so.
    scene.env.run(["janitor"]).expect(3);
    scene.env.set("DOCKER_HOST", format!("unix://{SOCKET}"));
    scene
}

#[test]
fn an_engine_that_goes_away_while_converging() {
    let scene = cut_during(Phase::Converge);
    assert!(!objects_of(&scene.env.zone).is_empty());
    scene.env.run(["janitor"]).expect(0);
    scene.env.assert_nothing_left();
}

#[test]
fn an_engine_that_goes_away_during_teardown() {
    let scene = cut_during(Phase::Teardown);
    scene.env.run(["janitor"]).expect(0);
    scene.env.assert_nothing_left();
}

#[test]
fn no_engine_at_all() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let nowhere = env.root.join("nowhere.sock").display().to_string();
    env.set("DOCKER_HOST", format!("unix://{nowhere}"));
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(3);
    let results = env.results();
    assert_eq!(results["verdict"], "infra");
    let reason = results["reason"].as_str().unwrap();
    assert!(reason.contains(&nowhere), "{reason}");
    assert!(done.stderr.contains("recipe-ci doctor"), "{}", done.stderr);
    env.assert_nothing_left();
}

/// `docker system prune` removes it while no app is there; every recipe was red then. Only abra leaves the app on it.
#[test]
fn a_host_without_the_gateways_network() {
    let mut env = SwarmEnv::new();
    env.with_abra("", "");
    let recipe = env.recipe("notes");
    let socket = env.root.join("engine.sock");
    let proxy = Proxy::renaming(socket, "/networks/proxy", "/networks/prune");
    env.set("DOCKER_HOST", proxy.address());
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(3);
    let results = env.results();
    assert_eq!(results["verdict"], "infra", "{results:#}");
    let reason = results["reason"].as_str().unwrap();
    assert!(
        reason.contains("this host has no network `proxy`"),
        "{reason}"
    );
    let hints = results["hints"].to_string();
    assert!(hints.contains("docker network create"), "{hints}");
    assert_eq!(results["deploy_count"], 0, "{results:#}");
    env.assert_nothing_left();
}

/// It is the host's fault where none runs, and the command line's where it is not clear which one is meant.
#[test]
fn a_host_whose_gateway_is_not_found() {
    let mut env = SwarmEnv::new();
    let address = gateway(|_| Answer::Own("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"));
    let port = address.rsplit(':').next().unwrap();
    env.set("CCCI_GATEWAY", format!("http://{address}"));
    let recipe = env.recipe("notes");
    for (service, code, said) in [
        (
            "",
            3,
            format!("no container on network `proxy` publishes port {port}"),
        ),
        (
            "nobody-has-this-name",
            2,
            "no service and no container `nobody-has-this-name`".to_owned(),
        ),
    ] {
        env.set("CCCI_GATEWAY_SERVICE", service);
        let done = env.run(["run".as_ref(), recipe.as_os_str()]);
        done.expect(code);
        assert!(done.stderr.contains(&said), "{}", done.stderr);
        assert!(done.stderr.contains("--gateway-service"), "{}", done.stderr);
    }
    env.assert_nothing_left();
}

/// Writes into `file` until there is no room, as a shell command.
fn fill(file: &Path) -> String {
    format!(
        "dd if=/dev/zero of={} bs=4k 2>/dev/null; true",
        file.display()
    )
}

#[test]
fn a_disk_that_is_full_from_the_start() {
    let env = SwarmEnv::new();
    let disk = Mount::tmpfs(env.root.join("runs"), "size=1m");
    let recipe = env.recipe("notes");
    let script = fill(&disk.0.join("fill"));
    assert!(
        command("sh")
            .args(["-c", &script])
            .status()
            .unwrap()
            .success()
    );
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(3);
    assert!(done.stderr.contains("No space left"), "{}", done.stderr);
    env.assert_nothing_left();
}

#[test]
fn a_disk_that_fills_up_before_the_backup() {
    let mut env = SwarmEnv::new();
    let disk = Mount::tmpfs(env.root.join("runs"), "size=1m");
    let recipe = env.recipe("notes");
    env.set("STAGES", "install,backup");
    let hook = format!("#!/bin/sh\n{}\n", fill(&disk.0.join("fill")));
    env.overlay("notes", "ops/pre_backup", &hook);
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(3);
    std::fs::remove_file(disk.0.join("fill")).unwrap();
    let results = env.results();
    assert_eq!(results["verdict"], "infra", "{results:#}\n{}", done.stderr);
    let reason = results["reason"].as_str().unwrap();
    assert!(reason.contains("No space left"), "{reason}");
    env.assert_nothing_left();
}

#[test]
fn a_registry_that_is_down() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let image = ABSENT.to_owned();
    env.set("STAGES", "install");
    env.edit(&recipe.join("compose.yml"), "recipe-ci/notes:2", &image);
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(3);
    let results = env.results();
    assert_eq!(results["verdict"], "infra");
    let reason = results["reason"].as_str().unwrap();
    assert!(reason.contains(&image), "{reason}");
    env.assert_nothing_left();
}

/// A process that looks at a lock there learns nothing of its owner.
#[test]
fn t29_a_lock_directory_on_a_network_file_system_is_refused_by_runs_and_janitors() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    let domain = orphan(&env, "note-0a1b2c");
    // One with an app, and one that a janitor would tidy.
    for domain in [&domain, &domain.replace("0a1b2c", "000000")] {
        std::fs::write(lock_file(&env, domain), "").unwrap();
    }
    let before = (lock_files(&env), objects_of(&env.zone));
    env.preload("FAKE_NFS", "locks");
    let words = "is on a network file system, where a lock does not prove a live owner";
    for (args, code) in [
        (&["janitor", "--dry-run"][..], 4),
        (&["janitor"], 4),
        (&["run", recipe.to_str().unwrap()], 3),
    ] {
        let done = env.run(args);
        done.expect(code);
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(said.contains(words), "{args:?}: {said}");
        let after = (lock_files(&env), objects_of(&env.zone));
        assert_eq!(after, before, "{args:?}");
    }
    env.set("FAKE_NFS", "/nowhere");
    env.run(["janitor"]).expect(0);
    env.assert_nothing_left();
}

/// The lock directory's file system has no room: for the file, or for the line in it.
#[test]
fn t30_a_full_disk_in_the_lock_directory() {
    for (options, filler) in [("size=64k,nr_inodes=1", None), ("size=64k", Some("fill"))] {
        let env = SwarmEnv::new();
        let recipe = env.recipe("notes");
        let locks = Mount::tmpfs(env.root.join("locks"), options);
        if let Some(name) = filler {
            let script = fill(&locks.0.join(name));
            assert!(
                command("sh")
                    .args(["-c", &script])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let done = env.run(["run".as_ref(), recipe.as_os_str()]);
        done.expect(3);
        assert!(done.stderr.contains("No space left"), "{}", done.stderr);
        assert!(done.stderr.contains("locks"), "{}", done.stderr);
        env.assert_nothing_left();
    }
}

/// A run whose descriptors ran out half-way could not even connect to the engine to remove its app, so it
/// does not begin.
#[test]
fn t30_no_file_descriptors() {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let recipe = env.recipe("notes");
    let limited = |limit: &str| {
        let mut command = env.program("prlimit");
        command.arg(format!("--nofile={limit}")).arg(binary());
        command.arg("run").arg(&recipe);
        env.follow(command).finish()
    };
    for limit in ["8", "20", "127"] {
        let done = limited(limit);
        done.expect(3);
        for words in [&format!("may open {limit} files"), "ulimit"] {
            assert!(done.stderr.contains(words), "{}", done.stderr);
        }
        assert!(env.run_dirs().is_empty());
    }
    // As many as there must be, by raising what may be raised.
    limited("8:128").expect(0);
    env.assert_nothing_left();
}

/// Of an image that a registry does not have a second try is no use: its name in the recipe is wrong.
#[test]
fn an_image_that_the_registry_does_not_have_is_the_recipes_failure() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("pull-missing");
    let real = command("sh").args(["-c", "command -v docker"]).output();
    let real = String::from_utf8(real.unwrap().stdout).unwrap();
    // No registry is to be had here: the client says what it says of one that lacks the tag.
    let program = env.write(
        "client/docker",
        &format!(
            "#!/bin/sh\ncase \" $* \" in *' pull '*) echo 'Error response from daemon: manifest for \
             127.0.0.1:1/recipe-ci/absent:1 not found: manifest unknown: manifest unknown' >&2; exit 1;; esac\n\
             exec {} \"$@\"\n",
            real.trim()
        ),
    );
    env.prepend_path(program.parent().unwrap());
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(1);
    let results = env.results();
    assert_eq!(results["verdict"], "failed", "{results:#}");
    let reason = results["tiers"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("manifest unknown"), "{reason}");
    assert_eq!(results["deploy_count"], 0, "{results:#}");
    env.assert_nothing_left();
}
