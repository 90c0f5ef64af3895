use super::*;
use crate::run::error::usage;
use ground::outcome::{Residual, Stage, TierOutcome};
use std::time::Duration;

fn tier(stage: Stage, status: Status, blames_recipe: bool) -> TierOutcome {
    TierOutcome {
        stage,
        status,
        reason: Some("because".to_owned()),
        duration: Duration::ZERO,
        tests: Vec::new(),
        blames_recipe,
    }
}

fn held(tiers: &[TierOutcome]) -> Resources {
    Resources {
        tiers: tiers.to_vec(),
        ..Resources::default()
    }
}

fn done() -> Ending {
    Ending::Walked(Ok(End::Done))
}

#[test]
fn a_tier_that_could_not_be_verified_for_another_cause_does_not_fail_the_run() {
    let broken_base = [
        tier(Stage::Install, Status::Pass, false),
        tier(Stage::Upgrade, Status::Unver, false),
    ];
    assert_eq!(decide(&done(), &held(&broken_base)).exit_code, 0);
    let skipped_tests = [tier(Stage::Custom, Status::Unver, true)];
    assert_eq!(decide(&done(), &held(&skipped_tests)).exit_code, 1);
}

#[test]
fn a_required_dependency_that_is_missing_reddens_a_green_run_alone() {
    let mut held = held(&[tier(Stage::Custom, Status::Unver, false)]);
    held.missing = Some(Missing {
        recipe: "keycloak".to_owned(),
        reason: "converged: no".to_owned(),
    });
    let red = decide(&done(), &held);
    assert_eq!(
        (red.exit_code, red.reason.as_deref()),
        (
            1,
            Some("required dependency `keycloak` failed: converged: no")
        )
    );
    assert!(
        red.hints[0].contains("`recipe-ci run keycloak`"),
        "{:?}",
        red.hints
    );
    held.tiers[0].blames_recipe = true;
    assert_eq!(decide(&done(), &held).reason.unwrap(), "custom: because");
}

#[test]
fn only_a_green_run_is_known_to_have_had_every_answer_of_the_engine() {
    let mut held = Resources::default();
    assert_eq!(maker(Verdict::Passed, &held), DeployerState::Done);
    for verdict in [
        Verdict::Failed,
        Verdict::Cancelled,
        Verdict::Deadline,
        Verdict::Infra,
        Verdict::Usage,
    ] {
        assert_eq!(maker(verdict, &held), DeployerState::CutOff, "{verdict:?}");
    }
    held.dependency_failed = true;
    assert_eq!(maker(Verdict::Passed, &held), DeployerState::CutOff);
}

#[test]
fn every_ending_has_its_own_code() {
    let red = [tier(Stage::Install, Status::Fail, true)];
    assert_eq!(decide(&done(), &held(&red)).exit_code, 1);
    for (signal, code) in [
        (EndSignal::Hangup, 129),
        (EndSignal::Interrupt, 130),
        (EndSignal::Quit, 131),
        (EndSignal::Terminate, 143),
    ] {
        let decision = decide(&Ending::Stopped(Stopped::Signal(signal)), &held(&red));
        assert_eq!(
            (decision.verdict, decision.exit_code),
            (Verdict::Cancelled, code)
        );
    }
    assert_eq!(
        decide(&Ending::Stopped(Stopped::Deadline), &held(&red)).exit_code,
        142
    );
    assert_eq!(
        decide(&Ending::Walked(Err(usage("x"))), &held(&[])).exit_code,
        2
    );
    assert_eq!(
        decide(&Ending::Walked(Err(RunError::infra("x"))), &held(&[])).exit_code,
        3
    );
}

#[test]
fn a_deadline_is_said_in_minutes_from_the_first_one_on() {
    let said = |seconds| {
        why(
            &Ending::Stopped(Stopped::Deadline),
            Duration::from_secs(seconds),
        )
    };
    assert_eq!(said(3600), "run exceeded 60-minute hard deadline");
    assert_eq!(said(60), "run exceeded 1-minute hard deadline");
    assert_eq!(said(59), "run exceeded 59-second hard deadline");
}

#[test]
fn a_leak_reddens_a_green_run_and_never_hides_a_first_failure() {
    let mut residual = Residual::default();
    residual.add("volumes", vec!["v".to_owned()]);
    let mut green = decide(&done(), &held(&[]));
    green.after(TornDown::Left(residual.clone()));
    assert_eq!((green.verdict, green.exit_code), (Verdict::Failed, 4));
    let mut green = decide(&done(), &held(&[]));
    green.after(TornDown::Unknown("not done after 600 s".to_owned()));
    assert_eq!(
        (green.verdict, green.exit_code, green.reason.as_deref()),
        (
            Verdict::Infra,
            3,
            Some("teardown could not be verified: not done after 600 s")
        )
    );
    let mut red = decide(&done(), &held(&[tier(Stage::Install, Status::Fail, true)]));
    red.after(TornDown::Left(residual));
    assert_eq!(
        (red.exit_code, red.reason.as_deref()),
        (1, Some("install: because"))
    );
    let mut cancelled = decide(
        &Ending::Stopped(Stopped::Signal(EndSignal::Terminate)),
        &held(&[]),
    );
    cancelled.after(TornDown::Unknown("engine gone".to_owned()));
    assert_eq!(cancelled.exit_code, 143);
}
