//! The pipeline files that people copy: `.drone.yml` and every example of the documentation.
//!
//! Each must be what its runner reads, start the run in the foreground, set `HOME` where the runner takes it away,
//! and use only variables that the program knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use crate::support::repository;
use crate::tidy::{files, read, sources_of_settings, variables};

/// The runners, each known by keys that only it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Runner {
    Drone,
    Woodpecker,
    GitLab,
    Buildkite,
    Actions,
}

impl Runner {
    fn of(document: &Map<String, Value>) -> Self {
        let step = &document.get("steps").unwrap_or(&Value::Null)[0];
        match () {
            () if document.contains_key("kind") => Self::Drone,
            () if document.contains_key("jobs") => Self::Actions,
            () if step["image"].is_string() => Self::Woodpecker,
            () if step.is_object() => Self::Buildkite,
            () => Self::GitLab,
        }
    }

    /// The keys of a pipeline and of a step that the examples may use, from the runners' references.
    fn keys(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Drone => (
                &[
                    "kind", "type", "name", "platform", "trigger", "clone", "steps",
                ],
                &["name", "commands", "environment"],
            ),
            Self::Woodpecker => (
                &["when", "labels", "skip_clone", "steps"],
                &["name", "image", "environment", "commands"],
            ),
            Self::GitLab => (
                &["recipe-ci"],
                &[
                    "tags",
                    "rules",
                    "variables",
                    "timeout",
                    "script",
                    "retry",
                    "allow_failure",
                    "artifacts",
                ],
            ),
            Self::Actions => (&["name", "on", "jobs"], &["if", "run"]),
            Self::Buildkite => (
                &["steps"],
                &[
                    "label",
                    "command",
                    "agents",
                    "env",
                    "timeout_in_minutes",
                    "retry",
                ],
            ),
        }
    }

    /// Whether steps get a `HOME` that is deleted under the run.
    fn takes_home_away(self) -> bool {
        matches!(self, Self::Drone | Self::Woodpecker)
    }

    /// Variables that are the runner's and not ours.
    fn own_variables(self) -> &'static [&'static str] {
        match self {
            Self::GitLab => &["GIT_STRATEGY", "RUNNER_SCRIPT_TIMEOUT"],
            _ => &[],
        }
    }
}

/// A step that says `recipe-ci`.
#[derive(Debug)]
struct Step {
    runner: Runner,
    commands: Vec<String>,
    variables: Vec<String>,
    keys: Value,
}

/// Returns the texts of a value that is one or a list of them.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn unknown<'a>(keys: impl IntoIterator<Item = &'a String>, known: &[&str]) -> Result<(), String> {
    match keys.into_iter().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("`{key}` is not one of {known:?}")),
        None => Ok(()),
    }
}

/// Returns the steps of a file that start the program.
fn steps(yaml: &str) -> Result<Vec<Step>, String> {
    let documents: Vec<Map<String, Value>> =
        serde_yaml::from_multiple(yaml).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for document in &documents {
        let runner = Runner::of(document);
        let (pipeline, step) = runner.keys();
        unknown(document.keys(), pipeline)?;
        let list: Vec<&Value> = match document.get("steps") {
            Some(list) => list
                .as_array()
                .ok_or("`steps` is no list")?
                .iter()
                .collect(),
            None => document.values().collect(),
        };
        // Those of Actions have their variables with the job.
        let jobs = document.get("jobs").and_then(Value::as_object);
        let mut shared = Vec::new();
        let list: Vec<&Value> = match jobs {
            None => list,
            Some(jobs) => {
                let of_job = ["runs-on", "timeout-minutes", "env", "steps"];
                let mut steps = Vec::new();
                for job in jobs.values() {
                    unknown(
                        job.as_object().ok_or("a job is no mapping")?.keys(),
                        &of_job,
                    )?;
                    let env = job["env"].as_object().into_iter();
                    shared.extend(env.flat_map(|env| env.keys().cloned()));
                    steps.extend(job["steps"].as_array().into_iter().flatten());
                }
                steps
            }
        };
        for item in list {
            let keys = item.as_object().ok_or("a step is no mapping")?;
            unknown(keys.keys(), step)?;
            let commands: Vec<String> = ["commands", "command", "script", "run"]
                .iter()
                .flat_map(|key| texts(&item[key]))
                .collect();
            let variables = ["environment", "env", "variables"]
                .iter()
                .filter_map(|key| item[key].as_object())
                .flat_map(|vars| vars.keys().cloned())
                .chain(shared.clone())
                .collect();
            if commands.is_empty() {
                return Err("a step has no command".to_owned());
            }
            let is_report = |command: &String| command.starts_with("recipe-ci report ");
            if commands.iter().any(|command| command.contains("recipe-ci"))
                && !commands.iter().all(is_report)
            {
                let keys = item.clone();
                found.push(Step {
                    runner,
                    commands,
                    variables,
                    keys,
                });
            }
        }
    }
    Ok(found)
}

/// Returns what the program reads from the environment.
fn known_variables() -> BTreeSet<String> {
    sources_of_settings()
        .iter()
        .flat_map(|source| variables(source))
        .collect()
}

/// Judges one step.
fn judge(step: &Step, known: &BTreeSet<String>) -> Result<(), String> {
    let commands: Vec<&str> = step.commands.iter().map(String::as_str).collect();
    let Some((&last, before)) = commands.split_last() else {
        return Err("it has no command".to_owned());
    };
    // Exactly this: anything around it (`&`, `|| true`, `nohup`, a pipe) loses the exit code or the cancel.
    if last != "recipe-ci run" {
        return Err(format!("`{last}` is not `recipe-ci run` in the foreground"));
    }
    let mut home = false;
    for command in before {
        let value = command
            .strip_prefix("export HOME=")
            .ok_or(format!("`{command}` has no place before the run"))?;
        if !value.starts_with('/')
            || value.contains(|c: char| c.is_whitespace() || "&;|$`".contains(c))
        {
            return Err(format!("`{command}` sets no fixed home"));
        }
        home = true;
    }
    if step.runner.takes_home_away() != home {
        return Err(format!("{:?}: HOME is set: {home}", step.runner));
    }
    for name in &step.variables {
        if !known.contains(name) && !step.runner.own_variables().contains(&name.as_str()) {
            return Err(format!("`{name}` is never read"));
        }
    }
    Ok(())
}

/// Returns the YAML examples of a page.
fn examples(page: &Path) -> Vec<String> {
    let text = read(page);
    text.split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// Returns every step, by the file it is in.
fn every_step() -> BTreeMap<String, Vec<Step>> {
    let root = repository();
    let mut sources = vec![(".drone.yml".to_owned(), read(&root.join(".drone.yml")))];
    let mut pages = files("docs", "md");
    pages.push(root.join("README.md"));
    for page in pages {
        let name = page.strip_prefix(&root).unwrap().display().to_string();
        sources.extend(examples(&page).into_iter().map(|yaml| (name.clone(), yaml)));
    }
    let mut found: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    for (name, yaml) in sources {
        // Other YAML of the documentation (a recipe's compose file) starts nothing.
        if yaml.contains("recipe-ci run") {
            let steps = steps(&yaml).unwrap_or_else(|error| panic!("{name}: {error}\n{yaml}"));
            assert!(!steps.is_empty(), "{name}: no step\n{yaml}");
            found.entry(name).or_default().extend(steps);
        }
    }
    found
}

#[test]
fn every_example_runs_in_the_foreground_at_home_and_with_known_variables() {
    let known = known_variables();
    for name in ["CCCI_FORGE_URL", "RECIPE", "CCCI_ZONE"] {
        assert!(known.contains(name), "{name} is read nowhere");
    }
    let found = every_step();
    for (file, steps) in &found {
        for step in steps {
            judge(step, &known).unwrap_or_else(|error| panic!("{file}: {error}: {step:?}"));
        }
    }
    let runners =
        |file: &str| -> Vec<Runner> { found[file].iter().map(|step| step.runner).collect() };
    assert_eq!(runners(".drone.yml"), [Runner::Drone]);
    assert_eq!(runners("README.md"), [Runner::Drone]);
    assert_eq!(
        runners("docs/runners.md"),
        [
            Runner::Woodpecker,
            Runner::GitLab,
            Runner::Buildkite,
            Runner::Actions
        ]
    );
}

/// Exit 3 is the host's: GitLab and Buildkite can be told, and a red recipe must not be retried away.
#[test]
fn runners_that_can_tell_codes_apart_are_told() {
    let found = every_step();
    let step = |runner| {
        found["docs/runners.md"]
            .iter()
            .find(|step| step.runner == runner)
            .unwrap()
    };
    let gitlab = &step(Runner::GitLab).keys;
    assert_eq!(gitlab["retry"]["exit_codes"], 3);
    assert_eq!(gitlab["allow_failure"]["exit_codes"], 3);
    assert_eq!(gitlab["timeout"], "90m");
    let buildkite = &step(Runner::Buildkite).keys;
    assert_eq!(
        buildkite["retry"]["automatic"],
        serde_json::json!([{ "exit_status": 3, "limit": 1 }])
    );
    assert_eq!(buildkite["timeout_in_minutes"], 90);
}

/// What this repository itself does on a push, and that a recipe's parameters do not start it.
#[test]
fn this_repository_is_tested_on_push() {
    let documents: Vec<Value> =
        serde_yaml::from_multiple(&read(&repository().join(".drone.yml"))).unwrap();
    let on = |event: &str| -> Vec<&Value> {
        let has = |found: &&Value| {
            texts(&found["trigger"]["event"])
                .iter()
                .any(|found| found == event)
        };
        documents.iter().filter(has).collect()
    };
    for document in &documents {
        assert_eq!(
            (&document["kind"], &document["type"]),
            (&"pipeline".into(), &"exec".into())
        );
    }
    let [test] = on("push")[..] else {
        panic!("one pipeline is for pushes");
    };
    let commands = texts(&test["steps"][0]["commands"]);
    assert_eq!(commands.last().unwrap(), ".ci/run");
    assert!(
        commands
            .iter()
            .any(|command| command == "export HOME=/root"),
        "{commands:?}"
    );
    for event in ["custom", "promote"] {
        let [recipe] = on(event)[..] else {
            panic!("one pipeline is for {event}");
        };
        assert_eq!(recipe["name"], "recipe-ci");
        assert_eq!(recipe["clone"]["disable"], true);
    }
}

/// A push names no recipe: it would be exit 2.
#[test]
fn the_pipelines_that_people_copy_for_drone_do_not_start_on_a_push() {
    let found = examples(&repository().join("README.md"));
    let found: Vec<&String> = found.iter().filter(|yaml| yaml.contains("kind:")).collect();
    assert_eq!(found.len(), 1);
    let document: Value = serde_yaml::from_str(found[0]).unwrap();
    let events = texts(&document["trigger"]["event"]);
    assert_eq!(events, ["custom", "promote"]);
}

/// The judge sees what is wrong: a check that cannot fail says nothing about the examples.
#[test]
fn what_loses_a_cancel_an_exit_code_or_a_home_is_seen() {
    let known = known_variables();
    let drone = "kind: pipeline\nsteps:\n  - name: run\n    commands:\n      - export HOME=/root\n      - recipe-ci run\n";
    let gitlab = "recipe-ci:\n  script:\n    - recipe-ci run\n  variables:\n    CCCI_ZONE: x\n";
    let verdict = |yaml: &str| -> Result<(), String> {
        let steps = steps(yaml)?;
        if steps.is_empty() {
            return Err("no step".to_owned());
        }
        steps.iter().try_for_each(|step| judge(step, &known))
    };
    assert_eq!(verdict(drone), Ok(()));
    assert_eq!(verdict(gitlab), Ok(()));
    for (yaml, from, to) in [
        (drone, "recipe-ci run", "recipe-ci run &"),
        (drone, "recipe-ci run", "recipe-ci run || true"),
        (drone, "recipe-ci run", "nohup recipe-ci run"),
        (drone, "recipe-ci run", "setsid recipe-ci run"),
        (drone, "recipe-ci run", "recipe-ci run | tee log"),
        (drone, "recipe-ci run", "recipe-ci run\n      - wait"),
        (drone, "      - export HOME=/root\n", ""),
        (drone, "export HOME=/root", "export HOME=$DRONE_WORKSPACE"),
        (drone, "export HOME=/root", "trap 'kill 0' EXIT"),
        (drone, "commands", "comands"),
        (drone, "steps", "stages"),
        (gitlab, "CCCI_ZONE", "CCCI_ZONES"),
        (gitlab, "script", "scripts"),
        (gitlab, "  variables", "   variables"),
    ] {
        let wrong = yaml.replace(from, to);
        assert_ne!(wrong, yaml, "{from}");
        assert!(verdict(&wrong).is_err(), "accepted:\n{wrong}");
    }
}
