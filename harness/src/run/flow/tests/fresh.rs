//! The fresh install of the head beside an upgrade: which app decides which tier.

use super::scribe::{Script, run};
use super::{COLD, after};
use crate::run::step::{Turn, Up};
use ground::outcome::{Stage, Status};

fn beside() -> Script {
    Script {
        fresh: Some(Turn::Beside),
        ..Script::default()
    }
}

fn first() -> Script {
    Script {
        fresh: Some(Turn::First),
        ..Script::default()
    }
}

fn broken() -> Up {
    Up::BrokenBase("1.0.0 did not come up".to_owned())
}

/// Returns what is done with the apps of a cold run.
fn work(script: Script) -> Vec<String> {
    after(&run(&COLD, script), "Up(Dependency)")
}

#[test]
fn both_apps_come_up_at_once_and_the_install_is_judged_before_the_upgrade() {
    let work = work(beside());
    assert_eq!(
        work[..6],
        [
            "both",
            "Up(Fresh)",
            "Up(New)",
            "Tier(Install)",
            "  install pass: it ran",
            "Tier(Upgrade)",
        ]
    );
    assert_eq!(work.last().unwrap(), "report: passed, 0");
}

#[test]
fn a_head_that_is_installed_first_makes_way_for_the_base() {
    assert_eq!(
        work(first())[..6],
        [
            "Up(Fresh)",
            "Tier(Install)",
            "  install pass: it ran",
            "make way",
            "Up(New)",
            "Tier(Upgrade)",
        ]
    );
}

/// A red run ends soon: nobody waits for an upgrade to what nobody can install.
#[test]
fn a_head_that_cannot_be_installed_is_not_upgraded_to() {
    let red = |script: Script| Script {
        fresh_ups: [Up::Red].into(),
        tiers: vec![(Stage::Install, Status::Fail)],
        ..script
    };
    let ends = [
        "  install fail: it ran",
        "  upgrade unver: the install failed",
        "  backup unver: the install failed",
        "  restore unver: the install failed",
        "  custom unver: the install failed",
    ];
    let work_beside = work(red(beside()));
    assert_eq!(
        work_beside[..4],
        ["both", "Up(Fresh)", "Red", "Tier(Install)"]
    );
    assert_eq!(work_beside[4..9], ends);
    let work_first = work(red(first()));
    assert_eq!(work_first[..3], ["Up(Fresh)", "Red", "Tier(Install)"]);
    assert_eq!(work_first[3..8], ends);
    for work in [work_beside, work_first] {
        assert_eq!(work.last().unwrap(), "report: failed, 1");
    }
}

/// Its tests are red though it came up.
#[test]
fn a_head_whose_install_tests_fail_is_not_upgraded_to() {
    for script in [beside(), first()] {
        let red = Script {
            tiers: vec![(Stage::Install, Status::Fail)],
            ..script
        };
        let work = work(red);
        let rest = after(&work, "  install fail: it ran");
        assert_eq!(rest[0], "  upgrade unver: the install failed");
        assert!(!work.contains(&"make way".to_owned()), "{work:#?}");
    }
}

#[test]
fn a_broken_base_is_no_fault_of_a_head_that_is_up_and_goes_on_alone() {
    let script = Script {
        ups: [broken()].into(),
        ..beside()
    };
    let rest = after(&work(script), "BrokenBase(\"1.0.0 did not come up\")");
    assert_eq!(
        rest[..4],
        [
            "adopt: 1.0.0 did not come up",
            "Tier(Install)",
            "  install pass: it ran",
            "Tier(Upgrade)",
        ]
    );
    // The head was removed before the base came: it is made again, and its install counts once.
    let script = Script {
        ups: [broken()].into(),
        ..first()
    };
    let rest = after(&work(script), "BrokenBase(\"1.0.0 did not come up\")");
    assert_eq!(
        rest[..4],
        [
            "anew: base-broken: 1.0.0 did not come up",
            "Up(New)",
            "Tier(Install)",
            "  install pass: it ran",
        ]
    );
    assert_eq!(rest.last().unwrap(), "report: passed, 0");
}

/// What the engine has is not what was planned; that is no base's fault, and no install of the head makes up for it.
#[test]
fn an_app_that_is_another_than_was_planned_is_red_whatever_the_head_does() {
    for script in [beside(), first()] {
        let red = Script {
            ups: [Up::Red].into(),
            tiers: vec![(Stage::Install, Status::Fail)],
            ..script
        };
        let work = work(red);
        assert_eq!(work.last().unwrap(), "report: failed, 1");
        assert!(
            work.contains(&"  install fail: it ran".to_owned()),
            "{work:#?}"
        );
    }
}

#[test]
fn an_install_that_is_red_for_its_pace_is_repeated_with_both_apps() {
    for (script, of_what) in [(beside(), "both"), (first(), "Up(Fresh)")] {
        let red = Script {
            fresh_ups: [Up::Red].into(),
            pace: [true].into(),
            ..script
        };
        let rest = after(&work(red), "Red");
        assert_eq!(
            rest[..3],
            [
                "as shipped: install: a task was killed",
                "anew: repeated as shipped: install: a task was killed",
                of_what,
            ]
        );
        assert_eq!(rest.last().unwrap(), "report: passed, 0");
    }
}
