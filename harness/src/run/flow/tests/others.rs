//! The other apps of a run: when they are there, and what comes of them.

use super::scribe::{Script, run};
use super::{COLD, after};
use crate::run::step::{Turn, Up};
use ground::outcome::{Stage, Status};

fn broken() -> Up {
    Up::BrokenBase("1.0.0 did not come up".to_owned())
}

/// Returns what is done with the apps of a cold run.
fn work(script: Script) -> Vec<String> {
    after(&run(&COLD, script), "Up(Dependency)")
}

fn with(others: &[(Turn, Up)]) -> Script {
    Script {
        others: others.to_vec(),
        ..Script::default()
    }
}

#[test]
fn what_is_beside_the_app_is_judged_after_it_and_what_is_not_makes_way_for_it() {
    let script = with(&[
        (Turn::Beside, Up::Serves),
        (Turn::First, Up::Serves),
        (Turn::First, Up::Serves),
        (Turn::Beside, Up::Serves),
    ]);
    let work = work(Script {
        fresh: Some(Turn::First),
        ..script
    });
    assert_eq!(
        work[..13],
        [
            "Up(Fresh)",
            "Tier(Install)",
            "  install pass: it ran",
            "make way",
            "Others(First)",
            "up 1",
            "1: upgrade pass: it ran",
            "judged 1",
            "Others(First)",
            "up 2",
            "2: upgrade pass: it ran",
            "judged 2",
            "make way",
        ]
    );
    assert_eq!(
        after(&work, "  custom pass: it ran")[..8],
        [
            "Others(Beside)",
            "up 0",
            "0: upgrade pass: it ran",
            "judged 0",
            "Others(Beside)",
            "up 3",
            "3: upgrade pass: it ran",
            "judged 3",
        ]
    );
    assert_eq!(work.last().unwrap(), "report: passed, 0");
}

/// One that cannot deploy is no fault of the head, and hides no other.
#[test]
fn a_broken_base_is_so_for_itself_and_a_red_upgrade_makes_the_run_red() {
    for turn in [Turn::First, Turn::Beside] {
        let others = [(turn, broken()), (turn, Up::Serves)];
        let green = run(&COLD, with(&others));
        let lines: Vec<&str> = green.iter().map(String::as_str).collect();
        assert!(lines.contains(&"0 lacks its base: 1.0.0 did not come up"));
        assert!(lines.contains(&"1: upgrade pass: it ran"), "{lines:#?}");
        assert_eq!(green.last().unwrap(), "report: passed, 0");
        let red = run(
            &COLD,
            Script {
                other_tiers: vec![(1, Status::Fail)],
                ..with(&others)
            },
        );
        assert!(red.contains(&"  custom pass: it ran".to_owned()));
        assert_eq!(red.last().unwrap(), "report: failed, 1");
        // Something else was deployed than was planned, whatever the head does.
        let another = run(
            &COLD,
            Script {
                other_tiers: vec![(0, Status::Fail)],
                ..with(&[(turn, Up::Red)])
            },
        );
        let rest = after(&another, "up 0");
        assert_eq!(
            rest[..3],
            [
                "0: install fail: it ran",
                "0: upgrade unver: the install failed",
                "judged 0"
            ]
        );
        assert_eq!(another.last().unwrap(), "report: failed, 1");
    }
}

/// Nobody can install the head: no upgrade to it is tried. One that fails says nothing of another.
#[test]
fn a_red_install_ends_the_others_and_a_red_upgrade_does_not() {
    for turn in [Turn::First, Turn::Beside] {
        let script = |stage| Script {
            fresh: Some(Turn::First),
            tiers: vec![(stage, Status::Fail)],
            ..with(&[(turn, Up::Serves)])
        };
        let install = work(script(Stage::Install));
        assert!(!install.contains(&"up 0".to_owned()), "{install:#?}");
        assert!(install.contains(&"0: upgrade unver: the install failed".to_owned()));
        let upgrade = work(script(Stage::Upgrade));
        assert!(upgrade.contains(&"0: upgrade pass: it ran".to_owned()));
    }
}

#[test]
fn an_upgrade_that_is_red_for_its_pace_repeats_the_run_and_all_of_its_apps() {
    for turn in [Turn::First, Turn::Beside] {
        let script = Script {
            other_tiers: vec![(1, Status::Fail)],
            pace: [true].into(),
            ..with(&[(turn, Up::Serves), (turn, Up::Serves)])
        };
        let lines = run(&COLD, script);
        let again = after(&lines, "as shipped: upgrade: a task was killed");
        assert!(again.contains(&"0: upgrade pass: it ran".to_owned()));
        assert!(again.contains(&"1: upgrade pass: it ran".to_owned()));
        assert_eq!(lines.last().unwrap(), "report: passed, 0");
    }
}
