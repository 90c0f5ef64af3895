//! Tests that failed and were run again on request.

use super::{Ran, SuiteError};
use ground::outcome::Status;

/// Runs tests, and all of them again while one fails, at most `retries` times.
///
/// # Errors
/// As `once`.
pub(super) async fn repeated(
    retries: u32,
    once: impl AsyncFn() -> Result<Vec<Ran>, SuiteError>,
) -> Result<Vec<Ran>, SuiteError> {
    let mut ran = once().await?;
    for _ in 0..retries {
        if !has_failed(&ran) {
            break;
        }
        ran = again(ran, once().await?);
    }
    Ok(ran)
}

fn has_failed(ran: &[Ran]) -> bool {
    ran.iter().any(|ran| ran.outcome.status == Status::Fail)
}

/// Returns what came of tests that were run, some of which failed, and then all of them again: one that failed and
/// passed, or the other way round, is flaky. A test that one of the two does not know stays as it was.
fn again(first: Vec<Ran>, second: Vec<Ran>) -> Vec<Ran> {
    let known: Vec<String> = first.iter().map(|ran| ran.outcome.name.clone()).collect();
    // A file that could not be collected stands for its tests, and these for it.
    let all_good = !has_failed(&second);
    let now = |name: &str| {
        let same = second.iter().find(|ran| ran.outcome.name == name);
        same.map(|ran| ran.outcome.status)
    };
    let mut ran: Vec<Ran> = first
        .into_iter()
        .filter_map(|mut ran| {
            let failed = ran.outcome.status == Status::Fail;
            match now(&ran.outcome.name) {
                Some(Status::Pass) if failed => {
                    let why = ran.outcome.message.take().unwrap_or_default();
                    let why = why.lines().next().unwrap_or_default().to_owned();
                    ran.outcome.status = Status::Flaky;
                    ran.outcome.message = Some(format!("passed when it was run again: {why}"));
                    ran.tail.clear();
                }
                Some(Status::Fail) if ran.outcome.status == Status::Pass => {
                    ran.outcome.status = Status::Flaky;
                    ran.outcome.message = Some("failed when it was run again".to_owned());
                }
                None if failed && all_good => return None,
                _ => {}
            }
            Some(ran)
        })
        .collect();
    let more = second
        .into_iter()
        .filter(|now| !known.contains(&now.outcome.name));
    ran.extend(more.map(|mut now| {
        if now.outcome.status == Status::Pass {
            now.outcome.status = Status::Flaky;
            now.outcome.message = Some("could not be run at first".to_owned());
        }
        now
    }));
    ran
}
