use super::*;
use crate::event::OtherApp;
use crate::hold::Ended;
use ground::outcome::Owner;
use recipe::lint::{Finding, Severity, Skipped};

/// Appends every key of `value`, as a path, in the order of the file.
fn keys(value: &serde_json::Value, path: &str, all: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                all.push(path.clone());
                keys(value, &path, all);
            }
        }
        serde_json::Value::Array(list) => list
            .iter()
            .for_each(|value| keys(value, &format!("{path}[]"), all)),
        _ => {}
    }
}

/// Returns results with something in each of their lists.
fn full() -> Results {
    let mut results = Results::default();
    let message = Some("seen".to_owned());
    let test = Test {
        id: String::new(),
        name: "generic: serving".to_owned(),
        owner: Owner::Generic,
        file: None,
        status: Status::Pass,
        kind: None,
        started_at: String::new(),
        duration_ms: 12,
        message,
        log: None,
    };
    results.tier_mut(Stage::Install).tests.push(test);
    let id = || "R001".to_owned();
    results.lint.findings.push(Finding {
        id: id(),
        severity: Severity::Warning,
        title: String::new(),
        file: None,
        line: None,
        column: None,
        source: None,
        message: String::new(),
        why: String::new(),
        fix: String::new(),
    });
    results.attempts.push(Attempt {
        what: String::new(),
        reason: String::new(),
        tiers: Vec::new(),
    });
    results.findings.push(ground::finding::Finding {
        id: id(),
        service: None,
        message: String::new(),
        fix: String::new(),
    });
    results.output.push(Output {
        tier: None,
        app: None,
        title: String::new(),
        lines: Vec::new(),
        log: None,
    });
    let reason = "offline".to_owned();
    results.lint.skipped.push(Skipped { id: id(), reason });
    results.dependencies.push(DependencyOutcome {
        recipe: String::new(),
        domain: String::new(),
        version: None,
        required: false,
        status: Status::Pass,
        reason: None,
    });
    let other = PlannedOther {
        app: OtherApp::default(),
        domain: String::new(),
        how: String::new(),
        why: None,
    };
    let mut app = AppResults::of(&other);
    app.tiers = results.tiers.clone();
    results.apps.push(app);
    results.fresh = Some(other);
    results.hold = Some(Hold {
        domain: String::new(),
        dependencies: vec![String::new()],
        url: None,
        shell: String::new(),
        release: String::new(),
        until: String::new(),
        ended: Some(Ended {
            at: String::new(),
            why: String::new(),
        }),
    });
    results.trust = Some(TrustView {
        level: "stranger".to_owned(),
        source: String::new(),
        why: String::new(),
    });
    results
}

/// Fills every text of `value` with `secret`, as far as the results can still be read; `at` leads there.
fn fill(value: &mut serde_json::Value, at: &str, secret: &str) {
    let below: Vec<String> = match value.pointer(at).unwrap() {
        serde_json::Value::Object(map) => map.keys().map(|key| format!("{at}/{key}")).collect(),
        serde_json::Value::Array(list) => (0..list.len()).map(|n| format!("{at}/{n}")).collect(),
        serde_json::Value::Null | serde_json::Value::String(_) => {
            let mut filled = value.clone();
            *filled.pointer_mut(at).unwrap() = format!("x {secret} x").into();
            if serde_json::from_value::<Results>(filled.clone()).is_ok() {
                *value = filled;
            }
            return;
        }
        _ => return,
    };
    below.iter().for_each(|at| fill(value, at, secret));
}

/// Notes where `secret` is.
fn where_is(value: &serde_json::Value, at: &str, secret: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| where_is(value, &format!("{at}.{key}"), secret, found)),
        serde_json::Value::Array(list) => list
            .iter()
            .for_each(|value| where_is(value, at, secret, found)),
        serde_json::Value::String(text) if text.contains(secret) => found.push(at.to_owned()),
        _ => {}
    }
}

#[test]
fn no_text_of_a_report_holds_a_secret() {
    let mut results = full();
    results.policy.push(Violation {
        rule: "P002".to_owned(),
        file: Some(String::new()),
        line: None,
        column: None,
        source: Some(String::new()),
        key: String::new(),
        value: String::new(),
        message: String::new(),
        grant: Some(String::new()),
        refused: true,
    });
    results.warnings.push(String::new());
    results.output[0].lines.push(String::new());
    let secret = "hunter2-9f3b";
    let mut value = serde_json::to_value(&results).unwrap();
    fill(&mut value, "", secret);
    let filled: Results = serde_json::from_value(value).unwrap();
    let redactor = super::super::redact::Redactor::default();
    redactor.add(secret);
    let clean = serde_json::to_value(filled.redacted(&redactor)).unwrap();
    let mut found = Vec::new();
    where_is(&clean, "", secret, &mut found);
    // What has a grammar of its own, or comes from this program.
    assert_eq!(
        found.join(" "),
        ".version .host .run_id .recipe .trust.level .base_kind .domain .fresh.domain .fresh.how .driver .lint.findings.id \
         .lint.skipped.id .tiers.tests.started_at .apps.domain .apps.how .apps.tiers.tests.started_at .dependencies.recipe .dependencies.domain \
         .hold.domain .hold.dependencies .hold.until .hold.ended.at .policy.rule .findings.id .run_dir .started_at .finished_at"
    );
}

#[test]
fn the_file_has_the_documented_fields() {
    let results = full();
    let value = serde_json::to_value(&results).unwrap();
    let mut all = Vec::new();
    keys(&value, "", &mut all);
    assert_eq!(
        all.join(" "),
        "schema version host build_url repeat repeat_tier run_id recipe pr ref trust trust.level trust.source trust.why head_commit head_version base_version base_kind quick promotion domain fresh fresh.kind fresh.name fresh.domain fresh.how fresh.why driver driver_reason \
         verdict exit_code reason hints level \
         rungs rungs.install rungs.upgrade rungs.backup_restore rungs.custom rungs.lint \
         lint lint.status lint.reason lint.findings lint.findings[].id lint.findings[].severity \
         lint.findings[].title lint.findings[].file lint.findings[].line lint.findings[].column lint.findings[].source lint.findings[].message \
         lint.findings[].why lint.findings[].fix lint.skipped lint.skipped[].id lint.skipped[].reason \
         lint.passed \
         tiers tiers[].name tiers[].status tiers[].reason tiers[].blames_recipe tiers[].duration_ms \
         tiers[].tests tiers[].tests[].id tiers[].tests[].name tiers[].tests[].owner tiers[].tests[].file tiers[].tests[].status tiers[].tests[].kind tiers[].tests[].started_at tiers[].tests[].duration_ms tiers[].tests[].message tiers[].tests[].log \
         apps apps[].kind apps[].name apps[].domain apps[].how apps[].why apps[].tiers apps[].tiers[].name apps[].tiers[].status apps[].tiers[].reason apps[].tiers[].blames_recipe \
         apps[].tiers[].duration_ms apps[].tiers[].tests apps[].tiers[].tests[].id apps[].tiers[].tests[].name apps[].tiers[].tests[].owner apps[].tiers[].tests[].file apps[].tiers[].tests[].status apps[].tiers[].tests[].kind apps[].tiers[].tests[].started_at apps[].tiers[].tests[].duration_ms apps[].tiers[].tests[].message apps[].tiers[].tests[].log \
         apps[].phases apps[].phases.fetch_ms apps[].phases.plan_ms apps[].phases.lint_ms apps[].phases.lock_wait_ms \
         apps[].phases.warm_ms apps[].phases.prepull_ms apps[].phases.deploy_ms apps[].phases.converge_ms \
         apps[].phases.upgrade_ms apps[].phases.backup_ms apps[].phases.restore_ms apps[].phases.custom_ms \
         apps[].phases.teardown_ms apps[].phases.promote_ms \
         attempts attempts[].what attempts[].reason attempts[].tiers \
         output output[].tier output[].app output[].title output[].lines output[].log \
         dependencies dependencies[].recipe dependencies[].domain dependencies[].version \
         dependencies[].required dependencies[].status dependencies[].reason \
         phases phases.fetch_ms phases.plan_ms phases.lint_ms phases.lock_wait_ms phases.warm_ms phases.prepull_ms phases.deploy_ms \
         phases.converge_ms phases.upgrade_ms phases.backup_ms phases.restore_ms phases.custom_ms \
         phases.teardown_ms phases.promote_ms deploy_count teardown teardown.clean teardown.residual \
         hold hold.domain hold.dependencies hold.url hold.shell hold.release hold.until hold.ended hold.ended.at hold.ended.why \
         customization deviations policy findings findings[].id findings[].service findings[].message \
         findings[].fix warnings resources resources.peak_rss_bytes \
         resources.cpu_ms resources.children_cpu_ms resources.peak_memory_bytes \
         run_dir started_at finished_at"
    );
    let page = include_str!("../../../../docs/results.md");
    for key in &all {
        let name = key.rsplit('.').next().unwrap_or(key);
        assert!(
            page.contains(&format!("`{name}`")) || page.contains(&format!("`{key}`")),
            "docs/results.md lacks {key}"
        );
    }
    assert_eq!(serde_json::from_value::<Results>(value).unwrap(), results);
}

#[test]
fn what_is_left_stands_by_kind() {
    let residual = Residual {
        left: [("volumes".to_owned(), vec!["x_data".to_owned()])].into(),
    };
    let text = serde_json::to_string(&Teardown::from(residual)).unwrap();
    assert_eq!(text, r#"{"clean":false,"residual":{"volumes":["x_data"]}}"#);
}

#[test]
fn tiers_stand_in_the_order_of_a_run() {
    let mut results = Results::default();
    for stage in [
        Stage::Custom,
        Stage::Install,
        Stage::Restore,
        Stage::Install,
    ] {
        results.tier_mut(stage);
    }
    let names: Vec<Stage> = results.tiers.iter().map(|tier| tier.name).collect();
    assert_eq!(names, [Stage::Install, Stage::Restore, Stage::Custom]);
}
