use super::*;
use crate::run::testing::Scene;
use recipe::trust::Grant;
use recipe::trust::grant::Bind;

#[test]
fn a_canonical_that_no_grant_covers_is_not_run_over_by_the_heads_grant() {
    let grant = Grant {
        binds: vec![Bind {
            path: "/srv/operators".into(),
            write: true,
        }],
        ..Grant::default()
    };
    for (app, word) in [("    volumes: ['/srv/operators:/mnt']\n", "P003"), ("", "")] {
        let scene = Scene::new(app, grant.clone());
        scene.keep("");
        let fetched = scene.fetched();
        let reason = scene.run(async |run| {
            let Ok(mut over) = Over::read(run, &fetched).unwrap() else {
                panic!("there is a canonical")
            };
            assert!(over.is_unjudged());
            let ready = over.judge(run).await;
            assert_eq!(over.is_unjudged(), !word.is_empty());
            ready.map(|ready| ready.map(drop))
        });
        match word {
            // What needs no grant is as good as a stranger's.
            "" => assert!(reason.is_ok_and(|ready| ready.is_ok())),
            word => {
                let reason = reason.unwrap().unwrap_err();
                let has = |word: &str| reason.contains(word);
                assert!(has("grants.yml") && has(word), "{reason}");
            }
        }
    }
}
