use super::*;

fn host() -> (tempfile::TempDir, HostDirs, Domain, RunId) {
    let root = tempfile::tempdir().unwrap();
    let host = HostDirs::with_locks(root.path());
    let domain =
        Domain::parse("note-012345.ci.localhost", &"ci.localhost".parse().unwrap()).unwrap();
    (root, host, domain, "7".parse().unwrap())
}

fn acquired(attempt: Attempt) -> DomainLock {
    match attempt {
        Attempt::Acquired(lock) => lock,
        Attempt::Held { holder, .. } => panic!("held by {holder}"),
    }
}

#[test]
fn a_second_try_finds_the_holder_and_a_drop_frees_it() {
    let (_root, host, domain, run) = host();
    let lock = acquired(DomainLock::try_acquire(&host, &domain, &run).unwrap());
    let Attempt::Held { holder, .. } = DomainLock::try_acquire(&host, &domain, &run).unwrap()
    else {
        panic!("two own it")
    };
    assert_eq!(holder, format!("run 7 (pid {})", std::process::id()));
    drop(lock);
    let _lock = acquired(DomainLock::try_acquire(&host, &domain, &run).unwrap());
}

#[test]
fn a_look_makes_no_file_and_takes_nothing() {
    let (_root, host, domain, run) = host();
    assert_eq!(DomainLock::probe(&host, &domain).unwrap(), Probe::Free);
    assert!(!host.lock_file(&domain).exists());
    let lock = acquired(DomainLock::try_acquire(&host, &domain, &run).unwrap());
    let Probe::Held { holder, since } = DomainLock::probe(&host, &domain).unwrap() else {
        panic!("a held lock looks free")
    };
    assert!(holder.starts_with("run 7 (pid "), "{holder}");
    assert!(since.is_some());
    drop(lock);
    assert_eq!(DomainLock::probe(&host, &domain).unwrap(), Probe::Free);
}

/// As between fork and exec of another thread's child, which made every test that looked for a lock
/// just let go fail now and then.
#[test]
fn a_lock_is_let_go_at_once_though_a_forked_child_still_has_a_copy() {
    let (_root, host, domain, run) = host();
    let lock = acquired(DomainLock::try_acquire(&host, &domain, &run).unwrap());
    let _copy = lock.file.try_clone().unwrap();
    drop(lock);
    assert_eq!(DomainLock::probe(&host, &domain).unwrap(), Probe::Free);
    let section = SectionLock::try_acquire(&host.locks.join("s"))
        .unwrap()
        .unwrap();
    let _copy = section.file.try_clone().unwrap();
    drop(section);
    assert!(
        SectionLock::try_acquire(&host.locks.join("s"))
            .unwrap()
            .is_some()
    );
}

#[test]
fn who_looks_at_a_claimed_lock_sees_neither_the_last_owner_nor_its_time() {
    let (_root, host, domain, _run) = host();
    let path = host.lock_file(&domain);
    for text in ["run 4711 (pid 123456)\n", ""] {
        std::fs::write(&path, text).unwrap();
        let file = ground::host_file::options()
            .write(true)
            .open(&path)
            .unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let claim = DomainLock::try_claim(&host, &domain).unwrap().unwrap();
        let Probe::Held { holder, since } = DomainLock::probe(&host, &domain).unwrap() else {
            panic!("a claimed lock looks free")
        };
        assert_eq!(holder, "");
        assert!(since.unwrap().elapsed().unwrap().as_secs() < 60);
        claim.leave(Left::Nothing).unwrap();
        assert!(!path.exists());
        // Another janitor was first.
        assert!(DomainLock::try_claim(&host, &domain).unwrap().is_none());
        assert!(!path.exists());
    }
}

#[test]
fn an_owner_leaves_nothing_of_a_longer_text_and_sets_the_time() {
    let (_root, host, domain, run) = host();
    let path = host.lock_file(&domain);
    std::fs::write(&path, "run 4711-of-somebody-else (pid 123456)\nand more\n").unwrap();
    let old = SystemTime::UNIX_EPOCH;
    let file = ground::host_file::options()
        .write(true)
        .open(&path)
        .unwrap();
    file.set_modified(old).unwrap();
    let _lock = acquired(DomainLock::try_acquire(&host, &domain, &run).unwrap());
    let text = format!("run 7 (pid {})\n", std::process::id());
    assert_eq!(ground::host_file::text(&path).unwrap(), text);
    let age = path.metadata().unwrap().modified().unwrap().elapsed();
    assert!(age.is_ok_and(|age| age.as_secs() < 60));
}

#[tokio::test(flavor = "current_thread")]
async fn a_waiter_that_wins_an_unlinked_inode_takes_the_live_path() {
    let (_root, host, domain, run) = host();
    let reaper = acquired(DomainLock::try_acquire(&host, &domain, &run).unwrap());
    let mut waiting = std::pin::pin!(DomainLock::acquire(&host, &domain, &run));
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(50), waiting.as_mut())
            .await
            .is_err()
    );
    reaper.unlink().unwrap();
    let lock = waiting.await.unwrap();
    assert!(
        LockPath::of(&host.lock_file(&domain))
            .names(Inode::of(&lock.file).unwrap())
            .unwrap()
    );
}

#[test]
fn a_directory_as_lock_file_and_a_missing_directory_are_errors_that_name_the_path() {
    let (root, mut host, domain, run) = host();
    std::fs::create_dir(host.lock_file(&domain)).unwrap();
    let error = DomainLock::try_acquire(&host, &domain, &run).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cc-ci-app-note-012345.ci.localhost.lock"),
        "{error}"
    );
    host.locks = root.path().join("absent");
    assert!(DomainLock::try_acquire(&host, &domain, &run).is_err());
}

/// `/run/lock` is everybody's to write to.
#[tokio::test(flavor = "current_thread")]
async fn a_link_in_the_place_of_a_lock_file_is_refused_and_its_target_stays_as_it_is() {
    let (root, host, domain, run) = host();
    let foreign = root.path().join("foreign");
    std::fs::write(&foreign, "of somebody else").unwrap();
    let path = host.lock_file(&domain);
    std::os::unix::fs::symlink(&foreign, &path).unwrap();
    let unusable = [
        DomainLock::try_acquire(&host, &domain, &run).map(drop),
        DomainLock::acquire(&host, &domain, &run).await.map(drop),
        DomainLock::probe(&host, &domain).map(drop),
        DomainLock::try_claim(&host, &domain).map(drop),
        SectionLock::try_acquire(&path).map(drop),
        probe(&path).map(drop),
    ];
    for (at, result) in unusable.into_iter().enumerate() {
        let error = result.expect_err(&format!("{at} followed the link"));
        assert!(matches!(error, LockError::Unusable { .. }), "{at}: {error}");
    }
    assert_eq!(
        ground::host_file::text(&foreign).unwrap(),
        "of somebody else"
    );
    // Nor is a link to the locked file that file.
    std::fs::remove_file(&path).unwrap();
    let lock = SectionLock::try_acquire(&path).unwrap().unwrap();
    std::fs::rename(&path, &foreign).unwrap();
    std::os::unix::fs::symlink(&foreign, &path).unwrap();
    assert!(!lock.is_current().unwrap());
}

#[tokio::test(flavor = "current_thread")]
async fn a_hard_link_in_the_place_of_a_lock_file_is_refused_and_its_target_stays_as_it_is() {
    let (root, host, domain, run) = host();
    let foreign = root.path().join("foreign");
    std::fs::write(&foreign, "of somebody else").unwrap();
    let path = host.lock_file(&domain);
    std::fs::hard_link(&foreign, &path).unwrap();
    let unusable = [
        DomainLock::try_acquire(&host, &domain, &run).map(drop),
        DomainLock::acquire(&host, &domain, &run).await.map(drop),
        DomainLock::try_claim(&host, &domain).map(drop),
        SectionLock::try_acquire(&path).map(drop),
    ];
    for (at, result) in unusable.into_iter().enumerate() {
        let error = result.expect_err(&format!("{at} took the link"));
        assert!(matches!(error, LockError::Unusable { .. }), "{at}: {error}");
    }
    let text = ground::host_file::text(&foreign).unwrap();
    assert_eq!(text, "of somebody else");
}

/// It fails without the care for it where `fs.protected_regular` is on, as Debian has it; `place` tests the same
/// on every host.
#[test]
fn a_lock_file_of_another_user_in_a_directory_of_everybody_stops_nobody() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (_root, host, domain, run) = host();
    std::fs::set_permissions(&host.locks, PermissionsExt::from_mode(0o1777)).unwrap();
    let path = host.lock_file(&domain);
    std::fs::write(&path, "").unwrap();
    std::os::unix::fs::chown(&path, Some(1000), Some(1000)).unwrap();
    let lock = acquired(DomainLock::try_acquire(&host, &domain, &run).unwrap());
    drop(lock);
    let _section = SectionLock::try_acquire(&path).unwrap().unwrap();
}

#[test]
fn a_pipe_in_the_place_of_a_lock_file_keeps_nobody() {
    let (_root, host, domain, _run) = host();
    let path = host.lock_file(&domain);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = DomainLock::probe(&host, &domain).unwrap_err();
    assert!(matches!(error, LockError::Unusable { .. }), "{error}");
    let error = SectionLock::try_acquire(&path).unwrap_err();
    assert!(matches!(error, LockError::Unusable { .. }), "{error}");
}

/// None of them can be mounted in a test, so this holds the numbers against those of `statfs(2)`.
#[test]
fn t29_network_file_systems_are_known() {
    for (magic, name) in [
        (0x6969, "nfs"),
        (0x517b, "smb"),
        (0xff53_4d42, "cifs"),
        (0xfe53_4d42, "smb2"),
        (0x00c3_6400, "ceph"),
        (0x5346_414f, "afs"),
        (0x6b41_4653, "afs of Linux"),
        (0x0bd0_0bd0, "lustre"),
        (0x0102_1997, "9p"),
    ] {
        assert!(is_network(FsType(magic)), "{name}");
    }
    for (magic, name) in [
        (0x0102_1994, "tmpfs"),
        (0xef53, "ext4"),
        (0x794c_7630, "overlay"),
        (0x6573_5546, "fuse"),
    ] {
        assert!(!is_network(FsType(magic)), "{name}");
    }
    let root = tempfile::tempdir().unwrap();
    refuse_network_file_system(root.path()).unwrap();
}
