use super::tree::find;
use super::*;

const UNIFIED: &str =
    "24 30 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

const HYBRID: &str = "20 19 0:5 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
    21 20 0:6 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
    22 20 0:7 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
    23 20 0:8 / /sys/fs/cgroup/unified rw shared:7 master:2 - cgroup2 cgroup2 rw\n";

#[test]
fn a_process_is_found_in_the_tree_of_either_version() {
    let found =
        |mounts, groups, name| find(mounts, groups, name).map(|path| path.display().to_string());
    let unit = Some("/sys/fs/cgroup/system.slice/drone.service".to_owned());
    assert_eq!(found(UNIFIED, "0::/system.slice/drone.service\n", ""), unit);
    assert_eq!(
        found(UNIFIED, "0::/\n", "").as_deref(),
        Some("/sys/fs/cgroup/")
    );
    assert_eq!(found(UNIFIED, "0::/\n", "memory"), None);

    let groups = "3:freezer:/unit\n2:cpu,cpuacct:/unit\n0::/a/unit\n";
    assert_eq!(
        found(HYBRID, groups, "").as_deref(),
        Some("/sys/fs/cgroup/unified/a/unit")
    );
    assert_eq!(
        found(HYBRID, groups, "freezer").as_deref(),
        Some("/sys/fs/cgroup/freezer/unit")
    );
    assert_eq!(
        found(HYBRID, groups, "cpuacct").as_deref(),
        Some("/sys/fs/cgroup/cpu,cpuacct/unit")
    );
    assert_eq!(found(HYBRID, groups, "memory"), None);

    // A container that sees the tree from its own group on, and one that was started outside of what it sees.
    let part = "24 30 0:22 /docker/a1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    assert_eq!(
        found(part, "0::/docker/a1/x\n", "").as_deref(),
        Some("/sys/fs/cgroup/x")
    );
    assert_eq!(found(part, "0::/docker/b2\n", ""), None);
    assert_eq!(found(UNIFIED, "0::/../../init.scope\n", ""), None);
}

#[test]
fn a_run_that_is_started_in_a_run_has_its_group_beside_that_and_not_in_it() {
    let inside = Path::new("/sys/fs/cgroup/unit/recipe-ci/12/0/recipe-ci/13/1");
    assert_eq!(outside(inside), Path::new("/sys/fs/cgroup/unit"));
    assert_eq!(home(inside), Path::new("/sys/fs/cgroup/unit/recipe-ci"));
    let unit = Path::new("/sys/fs/cgroup/unit");
    assert_eq!(outside(unit), unit);
}

#[test]
fn no_other_process_that_has_or_had_the_pid_of_a_worker_has_its_group() {
    let own = Identity::own().unwrap();
    let later = Identity {
        started: own.started + 1,
        ..own.clone()
    };
    assert_ne!(name(&own).unwrap(), name(&later).unwrap());
    // In a container that sees the same tree another run's worker has the pid at the same time.
    let namespace = format!("-{}", pid_namespace().unwrap());
    assert!(name(&own).unwrap().ends_with(&namespace));
}

#[test]
fn only_groups_of_workers_that_are_proven_dead_are_tidied_away() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join(HOME);
    let own = Identity::own().unwrap();
    let namespace = pid_namespace().unwrap();
    let alive = name(&own).unwrap();
    // Whose pid is another process's by now, and one whose pid is free.
    let dead = [
        format!("{}-{}-{namespace}", own.pid, own.started - 1),
        format!("{}-1-{namespace}", i32::MAX),
    ];
    let elsewhere = format!("{}-1-{}", i32::MAX, namespace + 1);
    let others = ["12", "x-1-2", "1-2", "1-2-3-4"];
    for name in dead.iter().chain([&alive, &elsewhere]) {
        std::fs::create_dir_all(home.join(name).join("0")).unwrap();
    }
    for name in others {
        std::fs::create_dir_all(home.join(name)).unwrap();
    }
    tidy(&home);
    for name in [&*alive, &*elsewhere].iter().chain(&others) {
        assert!(home.join(name).exists(), "{name}");
    }
    assert!(home.join(&alive).join("0").exists());
    for name in &dead {
        assert!(!home.join(name).exists(), "{name}");
    }
}

/// Each takes the place of all runs away at its end, where the other may be about to begin.
#[test]
fn a_run_that_ends_does_not_take_the_ground_from_one_that_begins() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join(HOME);
    let runs = |name: &str| {
        (0..2000).try_for_each(|_| {
            make(&home.join(name).join("0"))?;
            remove(&home.join(name));
            Ok::<(), io::Error>(())
        })
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| runs("4-5-6"));
        runs("1-2-3").unwrap();
        other.join().unwrap().unwrap();
    });
}

/// A group of this test's, where one can be made.
fn group() -> Option<Group> {
    group_in(&check().ok()?)
}

fn group_in(home: &Path) -> Option<Group> {
    // No worker has such a name.
    let path = home.join(format!(
        "test-{}-{}",
        std::process::id(),
        rand::random::<u32>()
    ));
    std::fs::create_dir_all(path.join("0")).ok()?;
    let inode = path.metadata().unwrap().ino();
    let boot = Identity::own().unwrap().boot;
    Some(Group { path, inode, boot })
}

/// Starts a process in the group `below` of a group; returns who it is.
fn sleeper(group: &Group, below: &str) -> Identity {
    let at = group.path.join(below);
    std::fs::create_dir_all(&at).unwrap();
    let script = format!(
        "echo 0 >{}/cgroup.procs && echo $$ && exec sleep 600 >/dev/null",
        at.display()
    );
    #[expect(clippy::disallowed_methods, reason = "a process to look at")]
    let mut child = std::process::Command::new("/bin/sh")
        .args(["-c", &script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    let identity = Identity::of(text.trim().parse().unwrap()).unwrap();
    // A child that is dead and was not waited for has ended, too.
    std::thread::spawn(move || drop(child.wait()));
    identity
}

#[tokio::test(flavor = "current_thread")]
async fn what_moved_into_a_group_below_the_runs_is_ended_with_it_and_what_is_of_another_boot_is_not()
 {
    let Some(group) = group() else { return };
    let deep = sleeper(&group, "0/of-its-own/deep");
    let earlier = Group {
        boot: "another".to_owned(),
        ..group.clone()
    };
    assert_eq!(earlier.members(), [""; 0]);
    assert_eq!(earlier.end().await, [""; 0]);
    assert!(deep.is_alive());
    assert_eq!(group.members().len(), 1);
    assert_eq!(group.end().await, [""; 0]);
    assert!(!deep.is_alive());
    assert!(!group.path.exists());
}

/// As a janitor leaves it that was killed between two steps of its own.
#[tokio::test(flavor = "current_thread")]
async fn what_was_left_frozen_is_ended_in_the_trees_of_both_versions() {
    let homes = ["", "freezer"].map(|name| tree(name).map(|at| home(&at)));
    for home in homes.into_iter().flatten() {
        let Some(group) = group_in(&home) else {
            continue;
        };
        let frozen = sleeper(&group, "0");
        for (file, text) in [("cgroup.freeze", "1"), ("freezer.state", "FROZEN")] {
            drop(write(&group.path.join("0").join(file), text));
        }
        assert_eq!(group.end().await, [""; 0], "{}", home.display());
        assert!(!frozen.is_alive(), "{}", home.display());
        assert!(!group.path.exists(), "{}", home.display());
    }
}

/// As a user without a tree of his own or in a container there is none to be had; `tests/swarm/dead.rs` shows the same
/// of a whole run, and is not left out.
#[tokio::test(flavor = "current_thread")]
async fn who_cleared_its_environment_and_left_group_and_session_is_ended_and_nobody_else() {
    let Some(group) = group() else { return };
    let script = format!(
        "echo 0 >{}/0/cgroup.procs; env -i setsid --fork sh -c 'trap \"\" TERM HUP; while :; do sleep 600; done'",
        group.path.display()
    );
    #[expect(clippy::disallowed_methods, reason = "a process to look at")]
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", &script])
        .status();
    assert!(status.unwrap().success());
    let limit = Deadline::after(Duration::from_secs(60));
    while !group
        .members()
        .iter()
        .any(|name| name.starts_with("sleep "))
    {
        assert!(!limit.passed(), "{:?}", group.members());
        wait::pause(Duration::from_millis(5)).await;
    }
    let stays = Group {
        inode: group.inode + 1,
        ..group.clone()
    };
    assert_eq!(stays.members(), [""; 0], "another group at its path");
    assert_eq!(stays.end().await, [""; 0]);
    let before = members(&group.path);
    assert_eq!(before.len(), 2, "{before:?}");

    assert_eq!(group.end().await, [""; 0]);
    assert!(before.iter().all(|one| !one.is_alive()), "{before:?}");
    assert!(!group.path.exists());
    assert_eq!(group.members(), [""; 0]);
}
