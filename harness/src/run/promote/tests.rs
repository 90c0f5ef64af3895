use super::*;
use crate::run::testing::{HEAD, Scene};
use ground::outcome::Status;
use recipe::trust::Grant;
use recipe::trust::grant::Bind;

#[test]
fn an_older_release_never_replaces_a_newer_one() {
    let recipe = "notes".parse().unwrap();
    let canonical = Canonical::new(
        &recipe,
        "0.9.0+1",
        CommitId::sample('c'),
        "warm-notes.z",
        "default",
    );
    assert!(not_newer("0.10.0+1", &canonical, CommitId::sample('d')).is_none());
    assert!(not_newer("0.8.0+1", &canonical, CommitId::sample('b')).is_some());
    assert!(not_newer("0.9.0+1", &canonical, CommitId::sample('c')).is_some());
    // The tag was moved, and what it names now is green.
    assert!(not_newer("0.9.0+1", &canonical, CommitId::sample('e')).is_none());
}

#[test]
fn a_tier_that_proved_nothing_is_left_out() {
    let tier = |status| crate::tier::without(Stage::Upgrade, status, "because");
    assert!(nothing_left_out(&[tier(Status::Pass), tier(Status::Skip)]));
    for status in [Status::Unver, Status::Flaky] {
        assert!(!nothing_left_out(&[tier(Status::Pass), tier(status)]));
    }
}

/// Returns why the head of `scene` does not become the canonical.
fn why_not(scene: &Scene) -> String {
    let candidate = Candidate {
        version: HEAD.to_owned(),
        fetched: scene.fetched(),
    };
    let came = scene.run(async |run| {
        let mut begun = None;
        let mut promoting = Promoting::new(run, candidate, &mut begun).unwrap();
        let came = flow::steps(PROMOTION.steps, &mut promoting).await;
        came.map_err(reason_of)
    });
    let reason = came.expect_err("it is no canonical");
    assert!(!scene.has_lock(), "the lock was wanted: {reason}");
    let asked = scene.asked.lock().unwrap();
    assert!(asked.iter().all(|one| one.contains("/info")), "{asked:?}");
    reason
}

#[test]
fn a_promotion_is_refused_before_its_lock_is_taken() {
    let capable = "    cap_add: [\"${CAP:-CHOWN}\"]\n";
    let scene = Scene::new("    cap_add: [SYS_ADMIN]\n", Grant::default());
    let reason = why_not(&scene);
    assert!(reason.contains("P014"), "{reason}");
    // Over what is kept, whose variables are its own.
    let scene = Scene::new(capable, Grant::default());
    scene.keep("CAP=SYS_ADMIN\n");
    let reason = why_not(&scene);
    assert!(reason.contains("P014"), "{reason}");
}

#[test]
fn a_canonical_that_no_grant_covers_is_not_promoted_over_by_the_heads_grant() {
    let grant = || Grant {
        binds: vec![Bind {
            path: "/srv/operators".into(),
            write: true,
        }],
        ..Grant::default()
    };
    let scene = Scene::new("    volumes: ['/srv/operators:/mnt']\n", grant());
    scene.keep("");
    let reason = why_not(&scene);
    for word in ["cannot be upgraded to it", "grants.yml", "P003"] {
        assert!(reason.contains(word), "no `{word}` in {reason}");
    }
}
