//! The runs of a host that are over: listed, shown, and removed.

use serde_json::Value;

use crate::support::TestEnv;

/// Returns a host that has had two runs which were refused, `first` and `second`.
fn host() -> TestEnv {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    let recipe = env.recipe("bad-yaml");
    for id in ["first", "second"] {
        let words = ["run", &recipe.display().to_string(), "--run-id", id].map(str::to_owned);
        env.run(words).expect(2);
    }
    env
}

#[test]
fn past_runs_are_listed_and_shown_with_their_logs() {
    let env = host();
    let done = env.run(["runs", "--json"]);
    done.expect(0);
    let listed: Value = serde_json::from_str(&done.stdout).unwrap();
    let ids = listed["runs"].as_array().unwrap().iter();
    let ids: Vec<&str> = ids.map(|run| run["run_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["second", "first"]);
    assert_eq!(listed["runs"][0]["verdict"], "refused", "{listed:#}");
    let table = env.run(["runs", "-n", "1"]).stdout;
    assert!(
        table.starts_with("RUN ") && table.contains("second"),
        "{table}"
    );
    assert!(!table.contains("first"), "{table}");
    let none = env.run(["runs", "--recipe", "other"]).stdout;
    assert!(none.starts_with("no run in "), "{none}");

    let shown = env.run(["show", "first"]);
    shown.expect(0);
    assert!(
        shown
            .stdout
            .starts_with("bad-yaml is refused on this host: "),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stdout.contains("  again    recipe-ci run "),
        "{}",
        shown.stdout
    );
    let json = env.run(["show", "latest", "--json"]).stdout;
    assert_eq!(
        serde_json::from_str::<Value>(&json).unwrap()["run_id"],
        "second"
    );

    let log = env.run(["logs", "first"]);
    log.expect(0);
    assert!(log.stdout.contains("bad-yaml"), "{}", log.stdout);
    env.write("runs/first/logs/custom/test_login.log", "it said this\n");
    let listed = env.run(["logs", "first", "--list"]).stdout;
    assert_eq!(listed.trim(), "run.log\ncustom/test_login.log");
    let log = env.run(["logs", "first", "custom/test_login.log"]).stdout;
    assert_eq!(log, "it said this");
    env.write("secret", "not a log\n");
    env.run(["logs", "first", "../../secret"])
        .refused(&["run first has no log", "--list"]);
    env.run(["show", "third"]).refused(&["recipe-ci runs"]);
}

#[test]
fn old_records_go_when_somebody_says_which_stay() {
    let mut env = host();
    env.run(["gc"])
        .refused(&["nothing says which", "--keep-days"]);
    env.run(["gc", "--keep-days", "few"])
        .refused(&["whole number"]);
    let dry = env.run(["gc", "--keep-runs", "1", "--dry-run"]);
    dry.expect(0);
    assert_eq!(dry.stdout, "records: 1 would be removed, 1 kept");
    assert_eq!(env.run_dirs().len(), 2);
    // Young enough, whatever their number.
    env.run(["gc", "--keep-runs", "0", "--keep-days", "1"])
        .expect(0);
    assert_eq!(env.run_dirs().len(), 2);
    // What a person keeps beside them.
    env.write("runs/mine/notes.txt", "look at this\n");
    env.set("CCCI_KEEP_RUNS", "1");
    env.set("CCCI_KEEP_DAYS", "");
    let done = env.run(["gc", "--json"]);
    done.expect(0);
    let done: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(done["removed"], serde_json::json!(["first"]));
    let mut left: Vec<String> = env
        .run_dirs()
        .iter()
        .map(|dir| dir.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left, ["mine", "second"]);
}

#[test]
fn what_failed_last_is_run_again_and_repeated_as_such() {
    let mut env = host();
    let recipe = env.recipe("notes").display().to_string();
    let plan = |env: &TestEnv, said: &str| {
        let done = env.run(["run", &recipe, "--last-failed", "--dry-run"]);
        done.expect(0);
        let said = format!("== last failed: {said} ==");
        assert!(done.stderr.contains(&said), "{}", done.stderr);
        let plan: Value = serde_json::from_str(&done.stdout).unwrap();
        let tiers = plan["tiers"].as_array().unwrap().iter();
        let asked = tiers.filter(|tier| tier["will"] != "unver");
        let names = asked.map(|tier| tier["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(plan(&env, "no run judged notes here: all stages").len(), 5);
    let path = env.root.join("runs/second/results.json");
    let mut results: Value =
        serde_json::from_str(&harness::host_file::text(path).unwrap()).unwrap();
    results["recipe"] = "notes".into();
    results["verdict"] = "failed".into();
    results["tiers"] = serde_json::json!([
        { "name": "install", "status": "pass", "reason": null, "duration_ms": 1, "tests": [] },
        { "name": "custom", "status": "fail", "reason": "no", "blames_recipe": true, "duration_ms": 1, "tests": [] },
    ]);
    env.write("runs/second/results.json", &results.to_string());
    assert_eq!(plan(&env, "custom, after run second"), ["custom"]);
    // Another ref of it is red in the same place.
    let wrong = [
        "run",
        &recipe,
        "--last-failed",
        "--run-id",
        "third",
        "--ref",
        "no-such-ref",
    ];
    assert_ne!(env.run(wrong).code, Some(0));
    let shown = env.run(["show", "third"]).stdout;
    assert!(shown.contains("--stages=custom"), "{shown}");
    env.set("STAGES", "install");
    env.run(["run", &recipe, "--last-failed"])
        .refused(&["chooses the stages", "leave one of them out"]);
    env.set("STAGES", "");
    env.run(["run", &recipe, "--last-failed", "--dry-run"])
        .expect(0);
}

/// Also where the engine does not answer: that is what somebody wants to see.
#[test]
fn the_janitor_removes_old_records_and_writes_metrics_where_it_is_told_to() {
    let mut env = host();
    let file = env.root.join("recipe_ci.prom");
    let name = file.display().to_string();
    let words = ["janitor", "--metrics", &name, "--keep-runs", "1"];
    let dry = env.run(words.iter().chain(&["--dry-run"]));
    dry.expect(3);
    assert!(!file.exists() && env.run_dirs().len() == 2);
    env.run(words).expect(3);
    assert_eq!(env.run_dirs().len(), 1);
    let text = harness::host_file::text(&file).unwrap();
    assert!(
        text.contains("recipe_ci_runs{verdict=\"refused\"} 1\n"),
        "{text}"
    );
    // Without a word of it nothing of both is done; an empty variable is none.
    std::fs::remove_file(&file).unwrap();
    env.set("CCCI_METRICS", "");
    env.set("CCCI_KEEP_RUNS", "");
    env.run(["janitor"]).expect(3);
    assert!(!file.exists() && env.run_dirs().len() == 1);
    let nowhere = env.root.join("none/x.prom").display().to_string();
    env.set("CCCI_METRICS", nowhere);
    let done = env.run(["janitor"]);
    done.expect(3);
    let units = env.run(["janitor", "install", "--print"]).stdout;
    assert!(
        units.contains("CCCI_METRICS=") && units.contains("/none"),
        "{units}"
    );
}
