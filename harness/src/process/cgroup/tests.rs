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

/// A group of this test's, where one can be made.
fn group() -> Option<Group> {
    let home = check().ok()?;
    // No worker has such a name.
    let path = home.join(format!(
        "test-{}-{}",
        std::process::id(),
        rand::random::<u32>()
    ));
    std::fs::create_dir_all(path.join("0")).unwrap();
    let inode = path.metadata().unwrap().ino();
    Some(Group { path, inode })
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
