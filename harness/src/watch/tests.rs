use super::*;

/// Three of them without a heartbeat count as silence, which a busy machine must not come to.
const POLL: Duration = Duration::from_secs(60);

async fn claim(state: &Path) -> Option<Watcher> {
    claim_polling(state, POLL).await
}

async fn claim_polling(state: &Path, poll: Duration) -> Option<Watcher> {
    Watcher::claim(state, "ci.localhost", Duration::from_secs(600), poll)
        .await
        .unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn who_looks_at_the_lock_is_no_watcher() {
    let root = tempfile::tempdir().unwrap();
    let path = lock_file(root.path());
    let look = std::fs::File::create(&path).unwrap();
    #[expect(clippy::disallowed_methods, reason = "as a look does")]
    look.try_lock_shared().unwrap();
    assert!(SectionLock::try_acquire(&path).unwrap().is_none());
    let (claimed, ()) = futures_util::join!(claim(root.path()), async {
        // The other one has tried for the first time.
        look.unlock().unwrap();
    });
    assert!(claimed.is_some(), "a look is taken for a watcher");
}

#[tokio::test(flavor = "current_thread")]
async fn a_watcher_sweeps_says_so_and_takes_its_record_back_when_it_is_told_to_stop() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let watcher = claim(dir).await.unwrap();
    assert_eq!(state(dir).unwrap(), State::Silent(None));
    assert!(claim(dir).await.is_none(), "two watch one directory");
    let (swept, stop) = tokio::sync::oneshot::channel::<()>();
    let mut swept = Some(swept);
    let watching = watcher.watch(
        || async { Ok("removed 2".to_owned()) },
        async { drop(stop.await) },
        |event| {
            assert!(matches!(event, Event::Swept(ref done) if done == "removed 2"));
            let State::Healthy(beat) = state(dir).unwrap() else {
                panic!("it sweeps and does not live")
            };
            assert_eq!(beat.process, Identity::own().unwrap());
            drop(swept.take());
        },
    );
    let ended = tokio::time::timeout(Duration::from_secs(60), watching).await;
    assert_eq!(ended.unwrap().unwrap(), Ended::Stopped);
    assert_eq!(state(dir).unwrap(), State::Absent);
    assert!(!heartbeat_file(dir).exists());
}

#[tokio::test(flavor = "current_thread")]
async fn a_watcher_whose_lock_file_is_replaced_leaves_quietly() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let watcher = claim(dir).await.unwrap();
    std::fs::remove_file(lock_file(dir)).unwrap();
    let _next = claim(dir).await.expect("the path is free");
    let ended = watcher
        .watch(
            || async { Ok(String::new()) },
            std::future::pending(),
            |_| panic!("a displaced watcher does nothing more"),
        )
        .await;
    assert_eq!(ended.unwrap(), Ended::Displaced);
}

#[tokio::test(flavor = "current_thread")]
async fn a_sweep_that_hangs_does_not_stop_the_heartbeat() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let watcher = claim_polling(dir, Duration::from_millis(200))
        .await
        .unwrap();
    let beats = async {
        let first = heartbeat(dir).unwrap().map(|beat| beat.beat_at);
        engine::wait::poll_until(
            Deadline::after(Duration::from_secs(60)),
            Duration::from_millis(5),
            || async {
                let now = heartbeat(dir).unwrap().map(|beat| beat.beat_at);
                Ok::<_, std::convert::Infallible>(if now.is_some() && now != first {
                    engine::wait::Poll::Ready(())
                } else {
                    engine::wait::Poll::NotYet(String::new())
                })
            },
        )
        .await
        .unwrap();
    };
    let ended = watcher
        .watch(
            std::future::pending::<Result<String, String>>,
            beats,
            |_| {},
        )
        .await;
    assert_eq!(ended.unwrap(), Ended::Stopped);
}

fn record(dir: &Path, process: Identity, lock: (u64, u64), beat_at: Timestamp) {
    let beat = Heartbeat {
        process,
        lock,
        zone: "ci.localhost".to_owned(),
        every_s: 600,
        poll_ms: 100_000,
        beat_at: beat_at.to_string(),
        sweeps: 0,
        last: None,
        failed: false,
    };
    std::fs::write(
        heartbeat_file(dir),
        serde_json::to_string_pretty(&beat).unwrap(),
    )
    .unwrap();
}

#[test]
fn only_the_process_that_wrote_the_record_under_this_lock_is_ended() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let lock = SectionLock::try_acquire(&lock_file(dir)).unwrap().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a bystander")]
    let mut bystander = std::process::Command::new("/bin/sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let theirs = Identity::of(i32::try_from(bystander.id()).unwrap()).unwrap();
    let now = Timestamp::now();
    let spared = |bystander: &mut std::process::Child| bystander.try_wait().unwrap().is_none();

    // The pid is another process's by now.
    let reused = Identity {
        started: theirs.started + 1,
        ..theirs.clone()
    };
    record(dir, reused, lock.inode().unwrap(), now);
    assert_eq!(end(dir, Duration::ZERO).unwrap(), None);
    assert!(matches!(state(dir).unwrap(), State::Silent(Some(_))));
    // The record was copied from another directory, whose watcher lives.
    record(dir, theirs.clone(), (0, 1), now);
    assert_eq!(end(dir, Duration::ZERO).unwrap(), None);
    assert!(matches!(state(dir).unwrap(), State::Silent(Some(_))));
    // Nothing is recorded that can be read.
    std::fs::write(heartbeat_file(dir), "{").unwrap();
    assert_eq!(end(dir, Duration::ZERO).unwrap(), None);
    assert!(spared(&mut bystander));

    record(dir, theirs.clone(), lock.inode().unwrap(), now);
    assert!(matches!(state(dir).unwrap(), State::Healthy(_)));
    let old = now - SignedDuration::from_secs(301);
    record(dir, theirs, lock.inode().unwrap(), old);
    assert!(matches!(state(dir).unwrap(), State::Silent(Some(_))));
    assert!(end(dir, Duration::from_secs(60)).unwrap().is_some());
    assert!(!spared(&mut bystander));
}

/// As the next watcher finds it between its lock and its first heartbeat.
#[test]
fn a_fresh_record_of_a_killed_watcher_that_nobody_waited_for_is_no_life() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let lock = SectionLock::try_acquire(&lock_file(dir)).unwrap().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the watcher that was killed")]
    let mut killed = std::process::Command::new("/bin/sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let theirs = Identity::of(i32::try_from(killed.id()).unwrap()).unwrap();
    record(dir, theirs.clone(), lock.inode().unwrap(), Timestamp::now());
    assert!(matches!(state(dir).unwrap(), State::Healthy(_)));
    let process = theirs.open().unwrap().unwrap();
    process.kill().unwrap();
    assert!(process.wait(Duration::from_secs(60)).unwrap());
    assert!(matches!(state(dir).unwrap(), State::Silent(Some(_))));
    killed.wait().unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn who_takes_the_lock_removes_what_the_last_one_said() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    drop(claim(dir).await);
    let inode = inode(&lock_file(dir)).unwrap();
    // This process lives, and it is not the one that watched.
    record(dir, Identity::own().unwrap(), inode, Timestamp::now());
    let _watcher = claim(dir).await.unwrap();
    assert_eq!(state(dir).unwrap(), State::Silent(None));
}

#[tokio::test(flavor = "current_thread")]
async fn a_free_lock_means_that_nobody_is_ended_whatever_is_recorded() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    drop(claim(dir).await);
    let inode = inode(&lock_file(dir)).unwrap();
    record(dir, Identity::own().unwrap(), inode, Timestamp::now());
    assert_eq!(end(dir, Duration::ZERO).unwrap(), None);
    assert!(matches!(state(dir).unwrap(), State::Died(Some(_))));
}

#[tokio::test(flavor = "current_thread")]
async fn a_record_under_a_free_lock_is_that_of_a_watcher_that_died() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    assert_eq!(state(dir).unwrap(), State::Absent);
    drop(claim(dir).await);
    assert_eq!(state(dir).unwrap(), State::Absent, "it left no record");
    let dead = Identity {
        started: Identity::own().unwrap().started + 1,
        ..Identity::own().unwrap()
    };
    record(
        dir,
        dead.clone(),
        inode(&lock_file(dir)).unwrap(),
        Timestamp::now(),
    );
    assert!(matches!(state(dir).unwrap(), State::Died(Some(beat)) if beat.process == dead));
    // With the host's temporary files the lock may be gone, too.
    std::fs::remove_file(lock_file(dir)).unwrap();
    assert!(matches!(state(dir).unwrap(), State::Died(Some(_))));
    std::fs::write(heartbeat_file(dir), "{").unwrap();
    assert_eq!(state(dir).unwrap(), State::Died(None));
    // One that was copied here from the directory of a watcher that lives.
    record(dir, Identity::own().unwrap(), (0, 1), Timestamp::now());
    assert_eq!(state(dir).unwrap(), State::Absent);
}
