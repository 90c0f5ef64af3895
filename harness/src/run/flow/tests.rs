use super::*;
use crate::run::teardown::TornDown;
use ground::outcome::Residual;
use scribe::{Hang, Script, run, steps};

mod fresh;
mod others;
mod rows;
mod scribe;

/// Returns what follows the line `from`, which is left out.
fn after(lines: &[String], from: &str) -> Vec<String> {
    let at = lines.iter().position(|line| line == from);
    let at = at.unwrap_or_else(|| panic!("no `{from}` in {lines:#?}"));
    lines[at + 1..].to_vec()
}

/// Returns the steps of a flow in their order, those of its blocks among them.
fn all_steps(flow: &Flow) -> Vec<Step> {
    fn flat(steps: &[Step], all: &mut Vec<Step>) {
        for step in steps {
            match step {
                Step::Where(_, those) => flat(those, all),
                step => all.push(*step),
            }
        }
    }
    let mut all = Vec::new();
    for steps in [flow.opening, flow.steps, flow.work, flow.closing] {
        flat(steps, &mut all);
    }
    all
}

const FLOWS: [&Flow; 3] = [&COLD, &QUICK, &PROMOTION];

#[test]
fn a_cold_run_makes_nothing_before_it_has_judged_everything() {
    assert_eq!(
        run(&COLD, Script::default()),
        [
            "Fetch",
            "Judge",
            "Announce",
            "DryRun",
            "Lint",
            "RedAtOnce",
            "Gateway",
            "TestTools",
            "Engine",
            "Host",
            "Sweep",
            "Lock(New)",
            "Lock(Fresh)",
            "Lock(Other)",
            "Lock(Dependency)",
            "Leftovers",
            "Firewall",
            "Claim",
            "Images",
            "Network",
            "Up(Dependency)",
            "Up(New)",
            "Tier(Install)",
            "  install pass: it ran",
            "Tier(Upgrade)",
            "  upgrade pass: it ran",
            "Tier(Backup)",
            "  backup pass: it ran",
            "Tier(Restore)",
            "  restore pass: it ran",
            "Tier(Custom)",
            "  custom pass: it ran",
            "Deploys",
            "Candidate",
            "teardown of a run that is passed",
            "promotion",
            "report: passed, 0",
        ]
    );
}

#[test]
fn a_quick_run_is_judged_before_the_engine_is_asked_and_again_where_the_canonical_has_moved() {
    let quick = [
        "Place",
        "Fetch",
        "Canonical",
        "JudgeAsNew",
        "Judge",
        "DryRun",
        "Lint",
        "RedAtOnce",
        "Gateway",
        "TestTools",
        "Engine",
        "Host",
        "Sweep",
        "Lock(Warm)",
        "Recover",
        "Announce",
        "Firewall",
        "Claim",
        "ImagesAndData",
        "Up(Warm)",
        "  install unver: quick",
        "Tier(Upgrade)",
        "  upgrade pass: it ran",
        "  backup unver: quick",
        "  restore unver: quick",
        "Tier(Custom)",
        "  custom pass: it ran",
        "Deploys",
        "teardown of a run that is passed",
        "promotion",
        "report: passed, 0",
    ];
    assert_eq!(run(&QUICK, Script::default()), quick);
    let again = ["Judge", "Lint", "RedAtOnce", "TestTools", "Host"];
    let moves = Script {
        moves: true,
        ..Script::default()
    };
    let with_again = [&quick[..15], &again, &quick[15..]].concat();
    assert_eq!(run(&QUICK, moves), with_again);
    // What cannot be read before its lock is held is judged behind it.
    let unknown = Script {
        unknown: true,
        ..Script::default()
    };
    let late = ["Gateway", "Engine", "Sweep", "Lock(Warm)", "Recover"];
    let judged_late = [&quick[..4], &late, &again, &quick[15..]].concat();
    assert_eq!(run(&QUICK, unknown), judged_late);
}

#[test]
fn a_promotion_is_judged_before_its_lock_and_takes_the_data_last() {
    let promotion = [
        "Engine",
        "Place",
        "Canonical",
        "Judge",
        "Lock(Warm)",
        "Recover",
        "Host",
        "Claim",
        "Data",
        "Images",
        "Up(Warm)",
        "Promote",
    ];
    assert_eq!(steps(PROMOTION.steps, Script::default()), promotion);
    let moves = Script {
        moves: true,
        ..Script::default()
    };
    let again = [&promotion[..6], &["Judge"], &promotion[6..]].concat();
    assert_eq!(steps(PROMOTION.steps, moves), again);
    let skipped = Script {
        ends: vec![(
            Step::Recover,
            End::Skipped("it is the canonical".to_owned()),
        )],
        ..Script::default()
    };
    assert_eq!(steps(PROMOTION.steps, skipped), promotion[..6]);
}

/// Each app is locked before it is claimed, and claimed before it is brought up; nothing comes before the first lock but
/// what makes nothing.
#[test]
fn every_app_of_a_flow_is_locked_claimed_and_brought_up_in_this_order() {
    for flow in FLOWS {
        let all = all_steps(flow);
        let at = |step: Step| {
            let at = all.iter().position(|one| *one == step);
            at.unwrap_or_else(|| panic!("{} has no {step:?}", flow.name))
        };
        for role in flow.apps {
            assert!(at(Step::Lock(*role)) < at(Step::Claim), "{}", flow.name);
            let up = match role {
                Role::Other => Step::Others(Turn::First),
                role => Step::Up(*role),
            };
            assert!(at(Step::Claim) < at(up), "{}", flow.name);
        }
        let ups: Vec<Role> = all
            .iter()
            .filter_map(|step| match step {
                Step::Up(role) => Some(*role),
                Step::Others(Turn::Beside) => Some(Role::Other),
                _ => None,
            })
            .collect();
        assert_eq!(ups, flow.apps, "{}", flow.name);
        let first_lock = at(Step::Lock(*flow.apps.last().unwrap()));
        for makes in [
            Step::Recover,
            Step::Leftovers,
            Step::Claim,
            Step::Images,
            Step::ImagesAndData,
            Step::Data,
            Step::Network,
        ] {
            let at = all.iter().position(|one| *one == makes);
            assert!(
                at.is_none_or(|at| at > first_lock),
                "{}: {makes:?}",
                flow.name
            );
        }
    }
}

/// A step finds what those before it found out; this is what each asks for.
#[test]
fn no_step_comes_before_what_it_needs() {
    let needs = |step: Step, flow: &Flow| -> Vec<Step> {
        let images = match flow.name {
            "quick" => Step::ImagesAndData,
            _ => Step::Images,
        };
        match step {
            Step::Announce | Step::DryRun | Step::Lint | Step::RedAtOnce | Step::TestTools => {
                vec![Step::Judge]
            }
            Step::Host => vec![Step::Judge, Step::Engine],
            Step::Lock(Role::Warm) => vec![Step::Engine, Step::Canonical],
            Step::Lock(_) => vec![Step::Judge],
            Step::Recover => vec![Step::Lock(Role::Warm)],
            Step::Sweep => vec![Step::Engine],
            Step::Images | Step::ImagesAndData => vec![Step::Claim, Step::Host],
            // A promotion follows a run that closed it.
            Step::Up(_) if flow.name != "promotion" => vec![images, Step::Firewall],
            Step::Up(_) => vec![images],
            Step::Network | Step::Candidate => vec![Step::Judge, images],
            Step::Promote => vec![Step::Up(Role::Warm)],
            _ => Vec::new(),
        }
    };
    for flow in FLOWS {
        let all = all_steps(flow);
        for (at, step) in all.iter().enumerate() {
            for needed in needs(*step, flow) {
                let is_there = all[..at].contains(&needed);
                assert!(is_there, "{}: {step:?} before {needed:?}", flow.name);
            }
        }
    }
}

/// Returns what is kept of the tiers of a cold run.
fn tiers(script: Script) -> Vec<String> {
    let lines = run(&COLD, script).into_iter();
    let tiers = lines.filter_map(|line| line.strip_prefix("  ").map(str::to_owned));
    tiers.collect()
}

#[test]
fn what_a_tier_came_to_decides_which_of_the_next_are_run() {
    let red = |stage| Script {
        tiers: vec![(stage, Status::Fail)],
        ..Script::default()
    };
    assert_eq!(
        tiers(red(Stage::Install)),
        [
            "install fail: it ran",
            "upgrade unver: the install failed",
            "backup unver: the install failed",
            "restore unver: the install failed",
            "custom unver: the install failed",
        ]
    );
    assert_eq!(
        tiers(red(Stage::Upgrade))[1..],
        [
            "upgrade fail: it ran",
            "backup unver: the upgrade failed",
            "restore unver: the upgrade failed",
            "custom unver: the upgrade failed",
        ]
    );
    assert_eq!(
        tiers(red(Stage::Backup))[2..],
        [
            "backup fail: it ran",
            "restore pass: it ran",
            "custom pass: it ran"
        ]
    );
    let unver = Script {
        tiers: vec![(Stage::Upgrade, Status::Unver)],
        ..Script::default()
    };
    assert_eq!(
        tiers(unver)[1..3],
        ["upgrade unver: it ran", "backup pass: it ran"]
    );
    // What does not apply does not for another tier's sake.
    let spared = Script {
        spared: vec![Stage::Backup],
        ..red(Stage::Install)
    };
    assert_eq!(tiers(spared)[2], "backup skip: it does not apply");
}

#[test]
fn what_is_not_asked_for_is_left_out_but_an_install_that_is_red() {
    let unasked = || Script {
        unasked: vec![Stage::Install, Stage::Backup],
        ..Script::default()
    };
    assert_eq!(
        tiers(unasked())[..3],
        [
            "install unver: not asked for",
            "upgrade pass: it ran",
            "backup unver: not asked for",
        ]
    );
    let red = Script {
        ups: [Up::Red].into(),
        tiers: vec![(Stage::Install, Status::Fail)],
        ..unasked()
    };
    assert_eq!(
        tiers(red)[..2],
        ["install fail: it ran", "upgrade unver: the install failed"]
    );
    let red = Script {
        ups: [Up::Red].into(),
        tiers: vec![(Stage::Install, Status::Fail)],
        ..Script::default()
    };
    let quick = after(&run(&QUICK, red), "Tier(Install)");
    assert_eq!(
        quick[..2],
        [
            "  install fail: it ran",
            "  upgrade unver: the install failed"
        ]
    );
}

#[test]
fn a_base_that_does_not_come_up_makes_way_for_the_head() {
    let broken = || Script {
        ups: [Up::BrokenBase("1.0.0 did not come up".to_owned())].into(),
        ..Script::default()
    };
    assert_eq!(
        after(&run(&COLD, broken()), "Up(Dependency)")[..5],
        [
            "Up(New)",
            "BrokenBase(\"1.0.0 did not come up\")",
            "anew: base-broken: 1.0.0 did not come up",
            "Up(New)",
            "Tier(Install)",
        ]
    );
    let quick = after(&run(&QUICK, broken()), "Up(Warm)");
    assert_eq!(
        quick[1..4],
        [
            "cold: base-broken: 1.0.0 did not come up",
            "Judge",
            "Announce",
        ]
    );
    assert_eq!(quick.last().unwrap(), "report: passed, 0");
}

#[test]
fn what_is_red_for_its_pace_is_repeated_as_shipped_and_only_then_red() {
    let red = |stage, pace: &[bool]| Script {
        tiers: vec![(stage, Status::Fail)],
        pace: pace.iter().copied().collect(),
        ..Script::default()
    };
    let cold = run(&COLD, red(Stage::Backup, &[true]));
    assert_eq!(
        after(&cold, "  backup fail: it ran")[..4],
        [
            "as shipped: backup: a task was killed",
            "anew: repeated as shipped: backup: a task was killed",
            "Up(New)",
            "Tier(Install)",
        ]
    );
    assert_eq!(cold.last().unwrap(), "report: passed, 0");
    // A task may be killed for the pace after the tier that it made red.
    let later = run(&COLD, red(Stage::Backup, &[false, true]));
    assert_eq!(
        after(&later, "  restore pass: it ran")[0],
        "as shipped: backup: a task was killed"
    );
    let quick = run(&QUICK, red(Stage::Upgrade, &[true]));
    assert_eq!(
        after(&quick, "  upgrade fail: it ran")[..3],
        [
            "as shipped: upgrade: a task was killed",
            "cold: repeated as shipped: upgrade: a task was killed",
            "Judge",
        ]
    );
    let at_once = Script {
        ups: [Up::Red].into(),
        pace: [true].into(),
        ..Script::default()
    };
    let cold = run(&COLD, at_once);
    assert_eq!(
        after(&cold, "Red")[0],
        "as shipped: install: a task was killed"
    );
    let other = run(&COLD, red(Stage::Backup, &[]));
    assert!(!other.iter().any(|line| line.starts_with("as shipped")));
    assert_eq!(other.last().unwrap(), "report: failed, 1");
}

#[test]
fn a_quick_run_of_which_nothing_comes_is_a_cold_one_whatever_it_was_at() {
    for step in [Step::Canonical, Step::Judge, Step::Recover] {
        let cold = Script {
            ends: vec![(step, End::Cold("there is no canonical".to_owned()))],
            ..Script::default()
        };
        let lines = run(&QUICK, cold);
        let rest = after(&lines, "cold: there is no canonical");
        // What was fetched is the same recipe.
        assert_eq!(rest, run(&COLD, Script::default())[1..], "{step:?}");
    }
}

#[test]
fn a_run_that_is_over_before_the_deploy_makes_nothing() {
    for (flow, step) in [
        (&COLD, Step::DryRun),
        (&COLD, Step::RedAtOnce),
        (&QUICK, Step::DryRun),
        (&QUICK, Step::RedAtOnce),
        (&COLD, Step::Images),
        (&QUICK, Step::ImagesAndData),
    ] {
        let over = Script {
            ends: vec![(step, End::Over(None))],
            ..Script::default()
        };
        let rest = after(&run(flow, over), &format!("{step:?}"));
        assert_eq!(
            rest,
            [
                "teardown of a run that is passed",
                "promotion",
                "report: passed, 0"
            ],
            "{step:?}"
        );
    }
}

#[test]
fn teardown_and_report_follow_wherever_a_run_ends() {
    for flow in [&COLD, &QUICK] {
        for step in all_steps(flow) {
            let is_fresh = step == Step::Up(Role::Fresh);
            let with = || Script {
                fresh: is_fresh.then_some(Turn::First),
                others: match step {
                    Step::Others(turn) => vec![(turn, Up::Serves)],
                    _ => Vec::new(),
                },
                ..Script::default()
            };
            let hangs = |hang| Script {
                hangs: Some((step, hang)),
                ..with()
            };
            let fails = Script {
                fails: Some(step),
                ..with()
            };
            for (script, verdict, code) in [
                (hangs(Hang::Signal), "cancelled", 143),
                (hangs(Hang::Deadline), "deadline", 142),
                (fails, "infra", 3),
            ] {
                let lines = run(flow, script);
                // A tier that a quick run leaves out neither hangs nor fails.
                if flow.name == "quick" && !lines.contains(&format!("{step:?}")) {
                    continue;
                }
                assert_eq!(
                    after(&lines, &format!("{step:?}")),
                    [
                        format!("teardown of a run that is {verdict}"),
                        format!("report: {verdict}, {code}"),
                    ],
                    "{}: {step:?}",
                    flow.name
                );
            }
        }
    }
}

#[test]
fn a_signal_just_after_a_red_end_is_why_it_is_red() {
    let red = |late_signal| Script {
        tiers: vec![(Stage::Custom, Status::Fail)],
        late_signal,
        ..Script::default()
    };
    assert_eq!(
        run(&COLD, red(true)).last().unwrap(),
        "report: cancelled, 143"
    );
    assert_eq!(run(&COLD, red(false)).last().unwrap(), "report: failed, 1");
    let green = Script {
        late_signal: true,
        ..Script::default()
    };
    assert_eq!(run(&COLD, green).last().unwrap(), "report: passed, 0");
}

#[test]
fn what_is_not_green_after_its_teardown_is_not_promoted() {
    let mut residual = Residual::default();
    residual.add("volumes", vec!["v".to_owned()]);
    let leaks = Script {
        torn_down: Some(TornDown::Left(residual)),
        ..Script::default()
    };
    let red = Script {
        tiers: vec![(Stage::Custom, Status::Fail)],
        ..Script::default()
    };
    for (script, end) in [(leaks, "report: failed, 4"), (red, "report: failed, 1")] {
        let lines = run(&COLD, script);
        assert!(!lines.contains(&"promotion".to_owned()), "{lines:#?}");
        assert_eq!(lines.last().unwrap(), end);
    }
}
