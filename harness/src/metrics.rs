//! What a host's runs and sweeps come to, for Prometheus: a file that the textfile collector of its node exporter reads
//! (<https://github.com/prometheus/node_exporter#textfile-collector>), in the text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Times are points in time and not ages: an age would be that of the last write.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::janitor::record::{SweepRecord, last};
use crate::live::{self, Roster};
use crate::report::results::Results;
use crate::runs::{self, Run};
use engine::dirs::HostDirs;
use engine::record::replace_shared;
use ground::outcome::Verdict;

/// A metric with its series.
struct Metric {
    name: &'static str,
    help: &'static str,
    /// The labels of each series, and its value.
    series: Vec<(Vec<(&'static str, String)>, u64)>,
}

/// Writes the metrics of `host` to `file`, which other users may read. Who reads it meanwhile sees the old file or the
/// new one.
///
/// # Errors
/// What the system says of the file, or of the records of sweeps.
pub fn write(host: &HostDirs, file: &Path) -> io::Result<()> {
    let runs = runs::list(&host.runs);
    let sweeps = last(&host.state)?;
    let text = text(&runs.runs, &sweeps, &live::list(host));
    replace_shared(file, text.as_bytes())
}

/// Returns the metrics as text.
fn text(runs: &[Run], sweeps: &[SweepRecord], alive: &Roster) -> String {
    let mut text = String::new();
    for metric in of_host(runs, sweeps, alive)
        .into_iter()
        .chain(of_recipes(runs))
    {
        let Metric { name, help, series } = metric;
        // No series is no metric: a header alone says nothing.
        if series.is_empty() {
            continue;
        }
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in series {
            let labels: Vec<String> = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            let _ = match labels.as_slice() {
                [] => writeln!(text, "{name} {value}"),
                labels => writeln!(text, "{name}{{{}}} {value}", labels.join(",")),
            };
        }
    }
    text
}

fn of_host(runs: &[Run], sweeps: &[SweepRecord], alive: &Roster) -> Vec<Metric> {
    let mut verdicts: BTreeMap<String, u64> = BTreeMap::new();
    // A run that has not ended is no orphan yet.
    let ended = runs.iter().filter(|run| run.results.finished_at.is_some());
    for run in ended {
        *verdicts.entry(run.results.verdict.to_string()).or_default() += 1;
    }
    let verdicts = verdicts
        .into_iter()
        .map(|(verdict, count)| (vec![("verdict", verdict)], count));
    let held = alive.runs.iter().filter(|run| run.is_held()).count();
    let of_sweeps = |value: fn(&SweepRecord) -> Option<u64>| {
        let series = sweeps.iter().filter_map(|sweep| {
            let by = format!("{:?}", sweep.by).to_lowercase();
            let labels = vec![("by", by), ("zone", sweep.zone.clone())];
            Some((labels, value(sweep)?))
        });
        series.collect::<Vec<_>>()
    };
    vec![
        Metric {
            name: "recipe_ci_info",
            help: "The version of recipe-ci that wrote this.",
            series: vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1)],
        },
        Metric {
            name: "recipe_ci_runs",
            help: "Runs whose record is on this host, by how they ended.",
            series: verdicts.collect(),
        },
        Metric {
            name: "recipe_ci_runs_alive",
            help: "Runs that go on now.",
            series: vec![(Vec::new(), (alive.runs.len() - held) as u64)],
        },
        Metric {
            name: "recipe_ci_apps_held",
            help: "Apps that are held after their run for a look at them.",
            series: vec![(Vec::new(), held as u64)],
        },
        Metric {
            name: "recipe_ci_unreadable",
            help: "Records of live runs that could not be read.",
            series: vec![(Vec::new(), alive.unreadable.len() as u64)],
        },
        Metric {
            name: "recipe_ci_last_sweep_timestamp_seconds",
            help: "When the last sweep ended.",
            series: of_sweeps(|sweep| seconds(&sweep.at)),
        },
        Metric {
            name: "recipe_ci_leftovers",
            help: "What the last sweep could not remove, or not decide on.",
            series: of_sweeps(|sweep| Some(sweep.failed as u64)),
        },
        Metric {
            name: "recipe_ci_reaped",
            help: "Apps of dead runs that the last sweep removed.",
            series: of_sweeps(|sweep| Some(sweep.reaped as u64)),
        },
    ]
}

/// What is known of a recipe by the newest run that judged it, and by the newest that passed. Proposals say nothing of it.
fn of_recipes(runs: &[Run]) -> Vec<Metric> {
    let mut newest: BTreeMap<&str, &Results> = BTreeMap::new();
    let mut passed: BTreeMap<&str, &Results> = BTreeMap::new();
    let results = runs.iter().map(|run| &run.results);
    for results in results.filter(|results| results.pr.is_none()) {
        if !matches!(results.verdict, Verdict::Passed | Verdict::Failed) {
            continue;
        }
        let recipe = results.recipe.as_str();
        // The first is the newest.
        newest.entry(recipe).or_insert(results);
        if results.verdict == Verdict::Passed {
            passed.entry(recipe).or_insert(results);
        }
    }
    let of = |found: &BTreeMap<&str, &Results>, value: fn(&Results) -> Option<u64>| {
        let series = found.iter().filter_map(|(recipe, results)| {
            let labels = vec![("recipe", (*recipe).to_owned())];
            Some((labels, value(results)?))
        });
        series.collect::<Vec<_>>()
    };
    vec![
        Metric {
            name: "recipe_ci_recipe_level",
            help: "The level of the recipe, 0 to 5, by the newest run that judged it.",
            series: of(&newest, |results| Some(u64::from(results.level))),
        },
        Metric {
            name: "recipe_ci_recipe_passed",
            help: "Whether that run passed.",
            series: of(&newest, |results| {
                Some(u64::from(results.verdict == Verdict::Passed))
            }),
        },
        Metric {
            name: "recipe_ci_recipe_last_run_timestamp_seconds",
            help: "When that run ended.",
            series: of(&newest, |results| seconds(results.finished_at.as_ref()?)),
        },
        Metric {
            name: "recipe_ci_recipe_last_pass_timestamp_seconds",
            help: "When the newest run that passed ended.",
            series: of(&passed, |results| seconds(results.finished_at.as_ref()?)),
        },
    ]
}

fn seconds(at: &str) -> Option<u64> {
    let at: Timestamp = at.parse().ok()?;
    u64::try_from(at.as_second()).ok()
}

/// Returns the value of a label as the format has it.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::janitor::Sweep;
    use crate::janitor::record::Sweeper;
    use ground::host_file;
    use regex::Regex;

    fn run(recipe: &str, pr: Option<&str>, verdict: Verdict, level: u8, at: &str) -> Run {
        let mut results = Results::default();
        results.recipe = recipe.to_owned();
        results.pr = pr.map(str::to_owned);
        results.verdict = verdict;
        results.level = level;
        results.finished_at = Some(at.to_owned());
        let dir = "/runs/7".into();
        Run { dir, results }
    }

    /// Holds a text against the grammar: every series has a header before it, a metric is in one piece, and no series is
    /// there twice. Returns the series with their values.
    fn parsed(text: &str) -> BTreeMap<String, u64> {
        let name = "[a-zA-Z_:][a-zA-Z0-9_:]*";
        let label = r#"[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*""#;
        let sample = format!(r"^({name})(\{{{label}(?:,{label})*\}})? (\d+)$");
        let sample = Regex::new(&sample).unwrap();
        let header = Regex::new(&format!(r"^# (HELP|TYPE) ({name}) (.+)$")).unwrap();
        assert!(text.ends_with('\n'), "the last line must end");
        let mut series = BTreeMap::new();
        let (mut helped, mut typed) = (Vec::new(), Vec::new());
        for line in text.lines() {
            if let Some(found) = header.captures(line) {
                let name = found[2].to_owned();
                let seen = if &found[1] == "HELP" {
                    &mut helped
                } else {
                    assert_eq!(&found[3], "gauge", "{line}");
                    &mut typed
                };
                assert!(!seen.contains(&name), "{name} is in two pieces");
                seen.push(name);
                continue;
            }
            let found = sample.captures(line);
            let found = found.unwrap_or_else(|| panic!("no sample: {line}"));
            let last = Some(found[1].to_owned());
            assert_eq!(
                (helped.last(), typed.last()),
                (last.as_ref(), last.as_ref())
            );
            let key = line.rsplit_once(' ').unwrap().0.to_owned();
            let value = found[3].parse().unwrap();
            assert_eq!(series.insert(key, value), None, "{line} is there twice");
        }
        assert_eq!(helped, typed);
        series
    }

    #[test]
    fn runs_sweeps_and_recipes_are_in_the_text_format() {
        // The newest first, as they are listed.
        let mut open = run("notes", None, Verdict::Orphaned, 0, "");
        open.results.finished_at = None;
        let runs = [
            open,
            run(
                "notes",
                Some("12"),
                Verdict::Failed,
                1,
                "2026-12-01T05:00:00Z",
            ),
            run("notes", None, Verdict::Cancelled, 0, "2026-12-01T04:00:00Z"),
            run("notes", None, Verdict::Failed, 3, "2026-12-01T03:00:00Z"),
            run("notes", None, Verdict::Passed, 5, "2026-12-01T02:00:00Z"),
            run(
                "a\"b\\c\nd",
                None,
                Verdict::Passed,
                4,
                "2026-12-01T01:00:00Z",
            ),
        ];
        let zone = "ci.localhost".parse().unwrap();
        let mut sweep = SweepRecord::of(&Sweep::default(), Sweeper::Janitor, &zone);
        sweep.at = "2026-12-01T00:00:00Z".to_owned();
        sweep.failed = 2;
        let roster = Roster::default();
        let series = parsed(&text(&runs, &[sweep], &roster));
        let midnight = 1_796_083_200;
        for (key, value) in [
            ("recipe_ci_runs{verdict=\"failed\"}", 2),
            ("recipe_ci_runs{verdict=\"passed\"}", 2),
            ("recipe_ci_runs{verdict=\"cancelled\"}", 1),
            ("recipe_ci_runs_alive", 0),
            ("recipe_ci_apps_held", 0),
            (
                "recipe_ci_leftovers{by=\"janitor\",zone=\"ci.localhost\"}",
                2,
            ),
            (
                "recipe_ci_last_sweep_timestamp_seconds{by=\"janitor\",zone=\"ci.localhost\"}",
                midnight,
            ),
            ("recipe_ci_recipe_level{recipe=\"notes\"}", 3),
            ("recipe_ci_recipe_passed{recipe=\"notes\"}", 0),
            (
                "recipe_ci_recipe_last_run_timestamp_seconds{recipe=\"notes\"}",
                midnight + 3 * 3600,
            ),
            (
                "recipe_ci_recipe_last_pass_timestamp_seconds{recipe=\"notes\"}",
                midnight + 2 * 3600,
            ),
            ("recipe_ci_recipe_level{recipe=\"a\\\"b\\\\c\\nd\"}", 4),
        ] {
            assert_eq!(series.get(key), Some(&value), "{key}: {series:#?}");
        }
        assert!(!series.contains_key("recipe_ci_runs{verdict=\"orphaned\"}"));
        // A host that never had a run.
        parsed(&text(&[], &[], &roster));
    }

    #[test]
    fn the_file_is_replaced_whole_and_others_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::below(root.path());
        let file = root.path().join("recipe_ci.prom");
        std::fs::write(&file, "x".repeat(100_000)).unwrap();
        write(&host, &file).unwrap();
        parsed(&host_file::text(&file).unwrap());
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        let others = host_file::entries(root.path()).unwrap().count();
        assert_eq!(others, 1, "a temporary file was left");
        assert!(write(&host, &root.path().join("none/x.prom")).is_err());
    }
}
