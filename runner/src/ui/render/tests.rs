//! Whole runs as they look.

use harness::event::{OtherApp, Planned, PlannedOther, RunFinished};
use harness::lint::Finding;
use harness::outcome::{TestOutcome, TierOutcome, Verdict};

use super::*;

const STEP: Duration = Duration::from_millis(400);
const AGAIN: &str = "recipe-ci run notes --stages=install";

fn started() -> Event {
    Event::RunStarted(Box::new(RunStarted {
        run_id: "4711".to_owned(),
        recipe: "notes".to_owned(),
        pr: Some("7".to_owned()),
        reference: Some("1a2b3c4d".to_owned()),
        domain: "note-0a1b2c.ci.localhost".to_owned(),
        host: "ci1".to_owned(),
        build_url: None,
        repeat: "recipe-ci run notes".to_owned(),
        run_dir: "/var/lib/cc-ci-runs/4711".into(),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
    }))
}

fn planned() -> Event {
    Event::Planned(Box::new(Planned {
        head_commit: "1a2b3c4d".repeat(5).parse().unwrap(),
        head_version: Some("0.2.0+1.1.0".to_owned()),
        base_version: Some("0.1.0+1.0.0".to_owned()),
        base_kind: Some("tag".to_owned()),
        driver: "stack".to_owned(),
        driver_reason: "no abra on PATH".to_owned(),
        stages: Stage::ALL.to_vec(),
        customization: vec!["tests/test_install.py".to_owned()],
        dependencies: Vec::new(),
        fresh: Some(PlannedOther {
            app: OtherApp::fresh(),
            domain: "note-0d1e2f.ci.localhost".to_owned(),
            how: "parallel".to_owned(),
            why: None,
        }),
        others: Vec::new(),
        deploys_expected: 2,
    }))
}

/// Returns the lint's event with `warnings` findings, and errors before them where it failed.
fn linted(status: Status, warnings: usize) -> Event {
    let finding = |severity, id: &str, line| Finding {
        id: id.to_owned(),
        severity,
        title: String::new(),
        file: Some("compose.yml".to_owned()),
        line: Some(line),
        column: None,
        source: None,
        message: "image `notes` has no tag".to_owned(),
        why: String::new(),
        fix: String::new(),
    };
    let mut findings = Vec::new();
    if status == Status::Fail {
        findings.push(finding(Severity::Error, "C004", 12));
    }
    let lines = (1..).take(warnings);
    findings.extend(lines.map(|line| finding(Severity::Warning, "R003", line)));
    Event::LintFinished(Box::new(Lint {
        status,
        reason: None,
        findings,
        skipped: Vec::new(),
        passed: vec!["R001".to_owned(), "R002".to_owned()],
    }))
}

fn phase(phase: Phase, detail: &str) -> Event {
    Event::PhaseStarted {
        phase,
        detail: detail.to_owned(),
    }
}

fn done(phase: Phase, millis: u64) -> Event {
    Event::PhaseFinished {
        phase,
        elapsed: Duration::from_millis(millis),
    }
}

fn outcome(name: &str, status: Status, message: Option<&str>) -> TestOutcome {
    let took = Duration::from_millis(12);
    TestOutcome::ended(name, status, took, message.map(ToOwned::to_owned))
}

fn test(stage: Stage, name: &str, status: Status, message: Option<&str>) -> Event {
    Event::TestFinished {
        stage,
        test: outcome(name, status, message),
    }
}

fn tier(stage: Stage, status: Status, millis: u64, reason: Option<&str>) -> Event {
    let tests = if millis == 0 {
        Vec::new()
    } else {
        vec![outcome("generic: serving", status, None)]
    };
    Event::TierFinished(TierOutcome {
        stage,
        status,
        reason: reason.map(ToOwned::to_owned),
        duration: Duration::from_millis(millis),
        tests,
        blames_recipe: true,
    })
}

fn torn_down(left: &[&str]) -> Event {
    let mut residual = Residual::default();
    residual.add(
        "volumes",
        left.iter().map(|name| (*name).to_owned()).collect(),
    );
    Event::TeardownFinished { residual }
}

fn teardown(why: &str) -> Event {
    Event::TeardownStarted {
        why: why.to_owned(),
    }
}

pub(crate) fn finished(
    verdict: Verdict,
    exit_code: u8,
    reason: Option<&str>,
    hints: &[&str],
) -> Event {
    Event::RunFinished(Box::new(RunFinished {
        verdict,
        exit_code,
        reason: reason.map(ToOwned::to_owned),
        hints: hints.iter().map(|hint| (*hint).to_owned()).collect(),
        repeat_tier: (verdict == Verdict::Failed).then(|| AGAIN.to_owned()),
        finished_at: "2026-01-02T03:05:05Z".to_owned(),
        elapsed: Duration::from_millis(24_120),
        used: harness::process::Usage::default(),
    }))
}

pub(crate) fn green_run() -> Vec<Event> {
    vec![
        started(),
        phase(Phase::Fetch, "PR head of coop-cloud/notes"),
        done(Phase::Fetch, 400),
        planned(),
        phase(Phase::Lint, ""),
        done(Phase::Lint, 9),
        linted(Status::Pass, 1),
        phase(Phase::Prepull, "2 images present"),
        done(Phase::Prepull, 20),
        phase(Phase::Deploy, "0.1.0+1.0.0"),
        done(Phase::Deploy, 700),
        Event::DeployCounted(1),
        Event::TierStarted(Stage::Install),
        phase(Phase::Converge, "1 service"),
        Event::Progress("app 0/1 starting".to_owned()),
        done(Phase::Converge, 1800),
        test(
            Stage::Install,
            "generic: serving",
            Status::Pass,
            Some("200 at /"),
        ),
        tier(Stage::Install, Status::Pass, 2900, None),
        Event::TierStarted(Stage::Upgrade),
        phase(Phase::Upgrade, "0.2.0+1.1.0"),
        test(Stage::Upgrade, "generic: it moved", Status::Pass, None),
        done(Phase::Upgrade, 5100),
        tier(Stage::Upgrade, Status::Pass, 5100, None),
        tier(
            Stage::Backup,
            Status::Skip,
            0,
            Some("no service has backup labels"),
        ),
        tier(
            Stage::Restore,
            Status::Skip,
            0,
            Some("nothing was backed up"),
        ),
        Event::TierStarted(Stage::Custom),
        test(
            Stage::Custom,
            "custom/test_old.sh",
            Status::Skip,
            Some("needs 2.0"),
        ),
        tier(Stage::Custom, Status::Pass, 63_000, None),
        teardown("finished"),
        torn_down(&[]),
        finished(Verdict::Passed, 0, None, &[]),
    ]
}

pub(crate) fn red_run() -> Vec<Event> {
    vec![
        started(),
        planned(),
        Event::Deviation("no IPVS: services get endpoint_mode dnsrr".to_owned()),
        Event::Warning("variable `SMTP_HOST` is not set".to_owned()),
        linted(Status::Fail, 13),
        Event::TierStarted(Stage::Install),
        test(
            Stage::Install,
            "generic: serving",
            Status::Pass,
            Some("200 at /"),
        ),
        test(
            Stage::Install,
            "tests.test_install::test_title",
            Status::Fail,
            Some("def test_title():\n>   assert title() == 'Notes'\nE   AssertionError"),
        ),
        test(
            Stage::Install,
            "test_install.sh",
            Status::Fail,
            Some("exit code 3"),
        ),
        Event::FailureOutput {
            title: "test_install.sh".to_owned(),
            lines: vec![
                "\u{1b}[31mno title\u{1b}[0m".to_owned(),
                String::new(),
                "bye".to_owned(),
            ],
            log: Some("recipe-test_install.sh.log".to_owned()),
        },
        Event::FailureOutput {
            title: "service app".to_owned(),
            lines: Vec::new(),
            log: None,
        },
        tier(Stage::Install, Status::Fail, 2900, Some("2 tests failed")),
        tier(Stage::Upgrade, Status::Unver, 0, Some("install failed")),
        teardown("finished"),
        torn_down(&["note-0a1b2c_ci_localhost_data"]),
        finished(
            Verdict::Failed,
            1,
            Some("install: 2 tests failed"),
            &["run `recipe-ci janitor` to remove what is left"],
        ),
    ]
}

fn cancelled_run() -> Vec<Event> {
    vec![
        started(),
        planned(),
        Event::TierStarted(Stage::Install),
        phase(Phase::Converge, "1 service"),
        Event::Progress("app 0/1 starting".to_owned()),
        teardown("SIGTERM received (cancel / parent death)"),
        torn_down(&[]),
        finished(
            Verdict::Cancelled,
            143,
            Some("SIGTERM received (cancel / parent death)"),
            &[],
        ),
    ]
}

/// Returns the lines of a run whose events are `step` apart.
fn shown(mode: Mode, charset: Charset, events: &[Event], step: Duration) -> String {
    let mut renderer = Renderer::new(mode, charset);
    let lines: String = (1..)
        .zip(events)
        .map(|(n, event)| renderer.event(event, step * n))
        .collect();
    assert_eq!(renderer.live(), None, "something still goes on at the end");
    anstream::adapter::strip_str(&lines).to_string()
}

#[test]
fn a_green_run() {
    insta::assert_snapshot!(shown(Mode::Plain, Charset::Unicode, &green_run(), STEP), @r#"
    recipe-ci run 4711: notes (PR 7) at 1a2b3c4d → note-0a1b2c.ci.localhost
      files      /var/lib/cc-ci-runs/4711
    [   0.8s] fetch      PR head of coop-cloud/notes
      plan       base 0.1.0+1.0.0 → head 0.2.0+1.1.0 (1a2b3c4d), driver stack (no abra on PATH)
      stages     install, upgrade, backup, restore, custom
      fresh      install of the head as note-0d1e2f.ci.localhost, parallel to the base
      added      tests/test_install.py
    [   2.8s] lint       warning R003 compose.yml:1 image `notes` has no tag
    [   2.8s] lint       ✔ pass — 0 errors, 1 warning; 2 rules passed, 0 skipped
    [   3.2s] prepull    2 images present
    [   4.0s] deploy     0.1.0+1.0.0
    [   5.6s] converge   1 service
    [   6.4s] converge   took 1.8 s
    [   6.8s] install    ✔ generic: serving — 200 at / (12 ms)
    [   7.2s] install    ✔ pass in 2.9 s, 1 of 1 test passed
    [   8.0s] upgrade    0.2.0+1.1.0
    [   8.4s] upgrade    ✔ generic: it moved (12 ms)
    [   9.2s] upgrade    ✔ pass in 5.1 s, 1 of 1 test passed
    [   9.6s] backup     - skip — no service has backup labels
    [  10.0s] restore    - skip — nothing was backed up
    [  10.8s] custom     - skip custom/test_old.sh — needs 2.0 (12 ms)
    [  11.2s] custom     ✔ pass in 1 min 03 s, 1 of 1 test passed
    [  11.6s] teardown   removing the app
    [  12.0s] teardown   ✔ nothing is left

      tier     status         time passed  why
      install  ✔ pass        2.9 s    1/1
      upgrade  ✔ pass        5.1 s    1/1
      backup   - skip            -      -  no service has backup labels
      restore  - skip            -      -  nothing was backed up
      custom   ✔ pass   1 min 03 s    1/1

      level    5 of 5 (install pass, upgrade pass, backup+restore skip, custom pass, lint pass)
      verdict  ✔ passed, exit code 0, after 24.1 s
      results  /var/lib/cc-ci-runs/4711/results.json
    "#);
}

#[test]
fn a_green_run_on_a_terminal() {
    insta::assert_snapshot!(shown(Mode::Progress, Charset::Unicode, &green_run()[1..12], STEP), @r#"
    [   0.8s] fetch      PR head of coop-cloud/notes (400 ms)
      plan       base 0.1.0+1.0.0 → head 0.2.0+1.1.0 (1a2b3c4d), driver stack (no abra on PATH)
      stages     install, upgrade, backup, restore, custom
      fresh      install of the head as note-0d1e2f.ci.localhost, parallel to the base
      added      tests/test_install.py
    [   2.4s] lint       warning R003 compose.yml:1 image `notes` has no tag
    [   2.4s] lint       ✔ pass — 0 errors, 1 warning; 2 rules passed, 0 skipped
    [   3.2s] prepull    2 images present (20 ms)
    [   4.0s] deploy     0.1.0+1.0.0 (700 ms)
    "#);
}

#[test]
fn a_red_run() {
    insta::assert_snapshot!(shown(Mode::Plain, Charset::Unicode, &red_run(), STEP), @r#"
    recipe-ci run 4711: notes (PR 7) at 1a2b3c4d → note-0a1b2c.ci.localhost
      files      /var/lib/cc-ci-runs/4711
      plan       base 0.1.0+1.0.0 → head 0.2.0+1.1.0 (1a2b3c4d), driver stack (no abra on PATH)
      stages     install, upgrade, backup, restore, custom
      fresh      install of the head as note-0d1e2f.ci.localhost, parallel to the base
      added      tests/test_install.py
    [   1.2s] deviation  no IPVS: services get endpoint_mode dnsrr
    [   1.6s] warning    variable `SMTP_HOST` is not set
    [   2.0s] lint       error C004 compose.yml:12 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:1 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:2 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:3 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:4 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:5 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:6 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:7 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:8 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:9 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:10 image `notes` has no tag
    [   2.0s] lint       warning R003 compose.yml:11 image `notes` has no tag
    [   2.0s] lint       and 2 more, see results.json
    [   2.0s] lint       ✘ fail — 1 error, 13 warnings; 2 rules passed, 0 skipped
    [   2.8s] install    ✔ generic: serving — 200 at / (12 ms)
    [   3.2s] install    ✘ fail tests.test_install::test_title (12 ms)
               │ def test_title():
               │ >   assert title() == 'Notes'
               │ E   AssertionError
    [   3.6s] install    ✘ fail test_install.sh — exit code 3 (12 ms)
               test_install.sh:
               │ no title
               │
               │ bye
               service app: no output
    [   4.8s] install    ✘ fail in 2.9 s, 0 of 1 test passed
    [   5.2s] upgrade    ? unver — install failed
    [   5.6s] teardown   removing the app
    [   6.0s] teardown   ✘ left behind
               │ volumes: note-0a1b2c_ci_localhost_data

      tier     status         time passed  why
      install  ✘ fail        2.9 s    0/1  generic: serving
      upgrade  ? unver           -      -  install failed
      backup   ? unver           -      -  did not start
      restore  ? unver           -      -  did not start
      custom   ? unver           -      -  did not start

      level    0 of 5 (install fail, upgrade unver, backup+restore unver, custom unver, lint fail)
      verdict  ✘ failed, exit code 1, after 24.1 s
      left     volumes: note-0a1b2c_ci_localhost_data
      results  /var/lib/cc-ci-runs/4711/results.json
      failed   install: generic: serving
      said     test_install.sh: bye
      log      /var/lib/cc-ci-runs/4711/logs/recipe-test_install.sh.log
      hint     run `recipe-ci janitor` to remove what is left
      again    recipe-ci run notes --stages=install
    "#);
}

#[test]
fn a_red_run_without_utf_8() {
    let text = shown(Mode::Plain, Charset::Ascii, &red_run(), STEP);
    assert!(text.is_ascii(), "{text}");
}

#[test]
fn a_cancelled_run() {
    insta::assert_snapshot!(shown(Mode::Plain, Charset::Unicode, &cancelled_run(), STEP), @r#"
    recipe-ci run 4711: notes (PR 7) at 1a2b3c4d → note-0a1b2c.ci.localhost
      files      /var/lib/cc-ci-runs/4711
      plan       base 0.1.0+1.0.0 → head 0.2.0+1.1.0 (1a2b3c4d), driver stack (no abra on PATH)
      stages     install, upgrade, backup, restore, custom
      fresh      install of the head as note-0d1e2f.ci.localhost, parallel to the base
      added      tests/test_install.py
    [   1.6s] converge   1 service
    [   2.4s] converge   stopped after 800 ms, while app 0/1 starting
    [   2.4s] == SIGTERM received (cancel / parent death) — tearing down ==
    [   2.8s] teardown   ✔ nothing is left

      tier     status         time passed  why
      install  ? unver           -      -  did not get to its end
      upgrade  ? unver           -      -  did not start
      backup   ? unver           -      -  did not start
      restore  ? unver           -      -  did not start
      custom   ? unver           -      -  did not start

      level    0 of 5 (install unver, upgrade unver, backup+restore unver, custom unver, lint unver)
      verdict  ✘ cancelled, exit code 143, after 24.1 s — SIGTERM received (cancel / parent death)
      results  /var/lib/cc-ci-runs/4711/results.json
    "#);
}

#[test]
fn a_run_that_waits_for_a_lock() {
    let domain = "note-0a1b2c.ci.localhost";
    let mut events = vec![
        started(),
        planned(),
        phase(Phase::LockWait, "run 4710 (pid 312)"),
        Event::Notice(format!(
            "== app lock: another run of {domain} is in flight — waiting =="
        )),
    ];
    events
        .extend([(); 4].map(|()| Event::Progress("run 4710 (pid 312) holds the lock".to_owned())));
    events.push(done(Phase::LockWait, 65_000));
    events.push(Event::Notice(format!("== app lock: acquired {domain} ==")));
    insta::assert_snapshot!(shown(Mode::Plain, Charset::Unicode, &events, Duration::from_secs(15)), @r#"
    recipe-ci run 4711: notes (PR 7) at 1a2b3c4d → note-0a1b2c.ci.localhost
      files      /var/lib/cc-ci-runs/4711
      plan       base 0.1.0+1.0.0 → head 0.2.0+1.1.0 (1a2b3c4d), driver stack (no abra on PATH)
      stages     install, upgrade, backup, restore, custom
      fresh      install of the head as note-0d1e2f.ci.localhost, parallel to the base
      added      tests/test_install.py
    [  45.0s] lock_wait  run 4710 (pid 312)
    [  60.0s] == app lock: another run of note-0a1b2c.ci.localhost is in flight — waiting ==
    [  90.0s] lock_wait  still waiting: run 4710 (pid 312) holds the lock
    [ 120.0s] lock_wait  still waiting: run 4710 (pid 312) holds the lock
    [ 135.0s] lock_wait  took 1 min 05 s
    [ 150.0s] == app lock: acquired note-0a1b2c.ci.localhost ==
    "#);
}

#[test]
fn a_run_that_never_began() {
    let events = [finished(
        Verdict::Usage,
        2,
        Some("ref `x` does not exist"),
        &[],
    )];
    insta::assert_snapshot!(shown(Mode::Plain, Charset::Unicode, &events, STEP), @r#"
    verdict  ✘ usage, exit code 2, after 24.1 s — ref `x` does not exist
    "#);
}

#[test]
fn the_live_line_says_what_is_waited_for() {
    let mut renderer = Renderer::new(Mode::Progress, Charset::Unicode);
    let mut said = Vec::new();
    for event in green_run() {
        renderer.event(&event, STEP);
        said.push(
            renderer
                .live()
                .map(|(label, detail)| format!("{label}: {detail}"))
                .unwrap_or_default(),
        );
    }
    said.dedup();
    insta::assert_snapshot!(said.join("\n"), @r#"
    fetch: PR head of coop-cloud/notes

    lint: 

    prepull: 2 images present

    deploy: 0.1.0+1.0.0

    install: assertions
    converge: 1 service
    converge: app 0/1 starting (1 service)
    install: assertions

    upgrade: assertions
    upgrade: 0.2.0+1.1.0
    upgrade: assertions

    custom: assertions

    teardown:
    "#);
}

#[test]
fn a_finding_is_said_once_with_what_to_do_about_it() {
    let found = |message: &str| {
        Event::Found(Box::new(harness::finding::Finding {
            id: "F001".to_owned(),
            service: Some("app".to_owned()),
            message: message.to_owned(),
            fix: "start the server with `exec`".to_owned(),
        }))
    };
    let events = [
        found("it was killed after 10 s"),
        found("it was killed after 11 s"),
    ];
    insta::assert_snapshot!(shown(Mode::Plain, Charset::Unicode, &events, STEP), @"
    [   0.4s] finding    F001 service `app`: it was killed after 10 s
               fix: start the server with `exec`
    ");
}

#[test]
fn what_is_refused_has_its_grant_and_a_path_has_none() {
    let trusted = |source: &str| {
        Event::Trusted(Box::new(TrustView {
            level: "stranger".to_owned(),
            source: source.to_owned(),
            why: "nothing says otherwise".to_owned(),
        }))
    };
    let refused = Event::PolicyFound(Box::new(harness::policy::Violation {
        grant: Some("keys: [dns]".to_owned()),
        ..harness::policy::refusal("P021", "services.app.dns", "`dns` needs a grant")
    }));
    let said = |source: &str| {
        let events = [trusted(source), refused.clone()];
        shown(Mode::Plain, Charset::Unicode, &events, STEP)
    };
    insta::assert_snapshot!(said("git.example.org/alice/notes"), @"
      trust      stranger: git.example.org/alice/notes, nothing says otherwise
    [   0.8s] refused    P021 recipe: services.app.dns: `dns` needs a grant
               grants.yml: keys: [dns]
    ");
    insta::assert_snapshot!(said("/srv/notes"), @"
      trust      stranger: /srv/notes, nothing says otherwise
    [   0.8s] refused    P021 recipe: services.app.dns: `dns` needs a grant
               grants.yml grants nothing to a path
    ");
}

#[test]
fn an_app_that_is_held_is_said_with_what_to_type() {
    let hold = Hold {
        domain: "note-0a1b2c.ci.localhost".to_owned(),
        dependencies: Vec::new(),
        url: Some("http://172.18.0.7:8080/".to_owned()),
        shell: "recipe-ci app --run 4711 exec --service app -- sh".to_owned(),
        release: "recipe-ci release 4711".to_owned(),
        until: "2026-12-01T15:04:05Z".to_owned(),
        ended: None,
    };
    let events = [
        Event::Held {
            hold: Box::new(hold),
            holder: harness::process::Identity::own().unwrap(),
        },
        finished(Verdict::Failed, 1, Some("custom: test_colour"), &[]),
    ];
    insta::assert_snapshot!(shown(Mode::Plain, Charset::Unicode, &events, STEP), @"
    [   0.4s] held       note-0a1b2c.ci.localhost until 2026-12-01T15:04:05Z

      verdict  ✘ failed, exit code 1, after 24.1 s — custom: test_colour
      held     until 2026-12-01T15:04:05Z
      open     http://172.18.0.7:8080/
      shell    recipe-ci app --run 4711 exec --service app -- sh
      let go   recipe-ci release 4711
      again    recipe-ci run notes --stages=install
    ");
}
