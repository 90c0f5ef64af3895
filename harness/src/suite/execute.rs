//! One test file at a time: how it is started and what its end means.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::needs::{PLUGIN, unverified};
use super::{Ran, Source, SuiteError, TEST_LIMIT, TestSetup};
use crate::report::pytest;
use engine::process::{Cmd, Finished, ProcessError};
use engine::wait::Stopwatch;
use ground::host_file;
use ground::outcome::{Failure, Stage, Status, TestOutcome};

/// The exit code by which an executable says that it does not apply (autopkgtest and automake use it too).
const SKIP: i32 = 77;

/// pytest's exit code for `no tests collected`.
const PYTEST_NOTHING: i32 = 5;

/// A script that lost its executable bit (a forge's archive, a careless commit) is run by its kind's
/// interpreter; everything else must be executable itself.
pub(super) fn executable(file: &Path, dir: &Path) -> Cmd {
    match (is_executable(file), extension(file)) {
        (false, Some("sh")) => Cmd::new("/bin/sh", dir).arg(file),
        (false, Some("py")) => Cmd::new("python3", dir).arg(file),
        _ => Cmd::new(file, dir),
    }
}

/// Whether a file has a way to be started; a bad first line is only found when it is.
pub(super) fn can_start(file: &Path) -> bool {
    is_executable(file) || matches!(extension(file), Some("sh" | "py"))
}

/// Whether a file could not be started for its own sake, and not because the host has nothing left for a process.
pub(super) fn is_the_files(error: &std::io::Error) -> bool {
    use nix::libc::{EAGAIN, EMFILE, ENFILE, ENOMEM};
    !error
        .raw_os_error()
        .is_some_and(|code| [EAGAIN, EMFILE, ENFILE, ENOMEM].contains(&code))
}

/// Returns why a file could not be started. The system calls an interpreter that it does not find a missing file.
pub(super) fn unstartable(file: &Path, error: &std::io::Error) -> String {
    let first = first_line(file).unwrap_or_default();
    let interpreter = first.strip_prefix("#!").map(str::trim_start);
    match interpreter {
        Some(line) if line.ends_with('\r') => format!(
            "cannot be started: its first line ends with a carriage return, so the system looks for `#!{}\\r`; save it with the line ends of Unix",
            line.trim_end()
        ),
        Some(line) if error.kind() == std::io::ErrorKind::NotFound && file.exists() => {
            format!(
                "cannot be started: there is no interpreter `{line}`, which its first line names"
            )
        }
        _ => format!("cannot be started: {error}"),
    }
}

/// Returns the first line of a file, with a carriage return at its end; at most 256 bytes of it.
fn first_line(file: &Path) -> Option<String> {
    use std::io::{BufRead as _, Read as _};
    let mut line = Vec::new();
    let mut reader = std::io::BufReader::new(host_file::open(file).ok()?.take(256));
    reader.read_until(b'\n', &mut line).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    Some(line.trim_end_matches('\n').to_owned())
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
}

fn extension(file: &Path) -> Option<&str> {
    file.extension().and_then(|extension| extension.to_str())
}

/// Returns the path of a file below its directory of tests.
pub(super) fn below(file: &Path, source: &Source) -> String {
    let below = file.strip_prefix(&source.dir).unwrap_or(file);
    below.display().to_string()
}

pub(super) async fn run_executable(
    means: TestSetup<'_>,
    file: &Path,
    source: &Source,
) -> Result<Ran, SuiteError> {
    let name = below(file, source);
    let log = format!("{}-{}.log", source.origin.name(), name.replace('/', "-"));
    let cmd = executable(file, &source.dir)
        .envs(means.env.iter().cloned())
        .label(name.clone())
        .log_to(&means.logs.join(&log));
    let watch = Stopwatch::start();
    let outcome = |status, message| TestOutcome {
        owner: source.origin.owner(),
        file: Some(name.clone()),
        log: Some(log.clone()),
        ..TestOutcome::ended(&name, status, watch.elapsed(), message)
    };
    if let Some(reason) = means.needs.unmet_by(file) {
        return Ok(Ran {
            outcome: TestOutcome {
                log: None,
                ..outcome(Status::Unver, Some(reason))
            },
            tail: Vec::new(),
        });
    }
    let failed = |kind, message| TestOutcome {
        failure: Some(kind),
        ..outcome(Status::Fail, Some(message))
    };
    Ok(match means.processes.run(&cmd, TEST_LIMIT).await {
        Ok(finished) if finished.success() => Ran {
            outcome: outcome(Status::Pass, None),
            tail: Vec::new(),
        },
        Ok(finished) if finished.status.code() == Some(SKIP) => {
            let reason = last_line(&finished)
                .unwrap_or_else(|| "skipped itself without a reason".to_owned());
            Ran {
                outcome: outcome(Status::Skip, Some(reason)),
                tail: Vec::new(),
            }
        }
        Ok(finished) => Ran {
            outcome: outcome(Status::Fail, Some(how_it_failed(&finished))),
            tail: finished.tail,
        },
        Err(ProcessError::TimedOut { limit, tail, .. }) => Ran {
            outcome: failed(
                Failure::Timeout,
                format!("not ended after {} s", limit.as_secs()),
            ),
            tail,
        },
        // A test that cannot even be started is the recipe's fault: no interpreter, not executable.
        Err(ProcessError::Spawn { source, .. }) if is_the_files(&source) => Ran {
            outcome: failed(Failure::Error, unstartable(file, &source)),
            tail: Vec::new(),
        },
        Err(error) => return Err(error.into()),
    })
}

/// Returns how a file failed. One that wrote nothing is said to have, or its reader would look for what is not there.
pub(super) fn how_it_failed(finished: &Finished) -> String {
    match last_line(finished) {
        Some(_) => finished.how(),
        None => format!("{}, and it wrote nothing", finished.how()),
    }
}

fn last_line(finished: &Finished) -> Option<String> {
    finished
        .tail
        .iter()
        .rev()
        .find(|line| !line.trim().is_empty())
        .cloned()
}

pub(super) async fn run_pytest(
    means: TestSetup<'_>,
    files: &[PathBuf],
    source: &Source,
    stage: Stage,
) -> Result<Vec<Ran>, SuiteError> {
    let shown: Vec<String> = files.iter().map(|file| below(file, source)).collect();
    let name = shown.join(" ");
    if means.processes.which("pytest").is_none() {
        return Err(SuiteError::NoPytest { file: name });
    }
    let junit = means
        .logs
        .join(format!("junit-{}-{stage}.xml", source.origin.name()));
    let log = format!("pytest-{}-{stage}.log", source.origin.name());
    let tests = source.dir.parent().unwrap_or(&source.dir);
    let mut path = means.needs.write_plugin(tests)?.into_os_string();
    if let Some(inherited) = means.processes.base_var("PYTHONPATH") {
        path.push(":");
        path.push(inherited);
    }
    let cmd = Cmd::new("pytest", &source.dir)
        .args(["-q", "-p", "no:cacheprovider", "-p", PLUGIN, "--junitxml"])
        .arg(&junit)
        .args(files)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONPATH", path)
        .envs(means.env.iter().cloned())
        .label(format!("pytest {name}"))
        .log_to(&means.logs.join(&log));
    let watch = Stopwatch::start();
    let ours = |file: Option<&String>, outcome| TestOutcome {
        owner: source.origin.owner(),
        file: file.cloned(),
        log: Some(log.clone()),
        ..outcome
    };
    let broke = |kind, message: String, tail: Vec<String>| {
        let file = shown.first().filter(|_| shown.len() == 1);
        let ended = TestOutcome::ended(&name, Status::Fail, watch.elapsed(), Some(message));
        vec![Ran {
            outcome: TestOutcome {
                failure: Some(kind),
                ..ours(file, ended)
            },
            tail,
        }]
    };
    let failed = |message, tail| broke(Failure::Error, message, tail);
    let finished = match means.processes.run(&cmd, TEST_LIMIT).await {
        Ok(finished) => finished,
        Err(ProcessError::TimedOut { limit, tail, .. }) => {
            let message = format!("not ended after {} s", limit.as_secs());
            return Ok(broke(Failure::Timeout, message, tail));
        }
        Err(error) => return Err(error.into()),
    };
    if finished.status.code() == Some(PYTEST_NOTHING) {
        return Ok(failed(
            "pytest collected no test although the file is there".to_owned(),
            finished.tail,
        ));
    }
    let text = match host_file::text(&junit) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("pytest ended with {} and wrote no report", finished.how());
            return Ok(failed(message, finished.tail));
        }
        Err(error) => {
            let message = format!("pytest's report cannot be read: {error}");
            return Ok(failed(message, finished.tail));
        }
    };
    let mut outcomes = match pytest::parse_junit(&text, means.redactor) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            return Ok(failed(
                format!("pytest left no usable report: {error}"),
                finished.tail,
            ));
        }
    };
    let all_good = outcomes
        .iter()
        .all(|outcome| outcome.status != Status::Fail);
    if outcomes.is_empty() || (all_good && !finished.success()) {
        return Ok(failed(
            format!(
                "pytest ended with {} and reports no failure",
                finished.how()
            ),
            finished.tail,
        ));
    }
    // pytest runs one after the other and does not say when; what it does besides is mostly before the first.
    let mut began = SystemTime::now();
    for outcome in outcomes.iter_mut().rev() {
        began -= outcome.duration;
        outcome.began = began;
    }
    let without = shown
        .iter()
        .filter(|file| !outcomes.iter().any(|outcome| is_of(outcome, file, means)));
    let without: Vec<Ran> = without
        .map(|file| Ran {
            outcome: TestOutcome {
                failure: Some(Failure::Error),
                ..ours(
                    Some(file),
                    TestOutcome::ended(
                        file,
                        Status::Fail,
                        Duration::ZERO,
                        Some("pytest collected no test in it".to_owned()),
                    ),
                )
            },
            tail: finished.tail.clone(),
        })
        .collect();
    Ok(outcomes
        .into_iter()
        .map(|outcome| {
            let file = shown.iter().find(|file| is_of(&outcome, file, means));
            let mut outcome = ours(file, outcome);
            let kept = outcome.message.as_deref().and_then(unverified);
            if outcome.status == Status::Skip
                && let Some(reason) = kept.map(str::to_owned)
            {
                outcome.status = Status::Unver;
                outcome.message = Some(reason);
            }
            let tail = if outcome.status == Status::Fail {
                outcome
                    .message
                    .as_deref()
                    .unwrap_or_default()
                    .lines()
                    .map(str::to_owned)
                    .collect()
            } else {
                Vec::new()
            };
            Ran { outcome, tail }
        })
        .chain(without)
        .collect())
}

/// Whether a row of pytest's report is of this file: `custom.test_x.TestIt::test_one` is of `custom/test_x.py`.
fn is_of(outcome: &TestOutcome, file: &str, means: TestSetup<'_>) -> bool {
    let module = file.rsplit('/').next().unwrap_or(file);
    let module = means
        .redactor
        .apply(module.strip_suffix(".py").unwrap_or(module));
    let (class, _) = outcome.name.split_once("::").unwrap_or((&outcome.name, ""));
    format!(".{class}.").contains(&format!(".{module}."))
}
