//! Work of the library that is done once for all who want it at the same time.

use std::future::Future;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{OnceError, TaskId, now_ms};
use crate::lock::SectionLock;
use crate::process::Identity;
use crate::record::replace_shared;
use ground::host_file;

/// What work came to, in a form that others can be told: a failure is what they read.
pub type Outcome = Result<(), String>;

/// An outcome, for those who wanted it before it was there.
#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    boot: String,
    ended_ms: u64,
    failure: Option<String>,
}

/// Does `work` unless another process is doing it, in which case that outcome counts for all that asked before
/// it was there.
///
/// Unlike a task it is done by the caller: no command, no runner. A caller that is killed or dropped in the middle
/// leaves no outcome, and the next one in the queue does the work. An outcome is no cache: who asks after it
/// was there does the work, so the work begins with a look at whether there is anything to do.
///
/// # Errors
/// What the work failed with where it concerns this caller alone; the next one in the queue tries for itself.
pub async fn shared<E: From<OnceError>>(
    dir: &Path,
    id: &TaskId,
    work: impl Future<Output = Result<Outcome, E>>,
) -> Result<Outcome, E> {
    let asked = now_ms();
    let boot = Identity::own().map_err(OnceError::unusable(dir))?.boot;
    std::fs::create_dir_all(dir).map_err(OnceError::unusable(dir))?;
    let lock = dir.join(format!("{id}.lock"));
    let _lock = SectionLock::acquire(&lock).await.map_err(OnceError::from)?;
    let path = dir.join(format!("{id}.exit"));
    if let Some(noted) = read(&path)
        && noted.boot == boot
        && noted.ended_ms > asked
    {
        return Ok(noted.failure.map_or(Ok(()), Err));
    }
    let outcome = work.await?;
    note(&path, boot, &outcome);
    Ok(outcome)
}

/// Tells those who asked meanwhile what the work came to. Without it the next one does the work.
fn note(path: &Path, boot: String, outcome: &Outcome) {
    let noted = Noted {
        boot,
        ended_ms: now_ms(),
        failure: outcome.as_ref().err().cloned(),
    };
    let text = serde_json::to_string(&noted).expect("it is plain data");
    if let Err(error) = replace_shared(path, text.as_bytes()) {
        // Then the others do it for themselves.
        tracing::warn!(path = %path.display(), %error, "the outcome cannot be noted");
    }
}

/// Reads what was noted; what cannot be read is nothing, and costs only work.
fn read(path: &Path) -> Option<Noted> {
    let mut text = String::new();
    host_file::open(path)
        .ok()?
        .take(64 << 10)
        .read_to_string(&mut text)
        .ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::wait;

    /// Long enough for all who ask at once to have asked, also on a busy machine.
    const WORK: std::time::Duration = std::time::Duration::from_millis(500);

    async fn refused(dir: &Path, done: &Cell<u32>) -> Result<Outcome, OnceError> {
        let id = "x".parse()?;
        let work = async {
            done.set(done.get() + 1);
            wait::pause(WORK).await;
            Ok(Err(format!("refusal {}", done.get())))
        };
        shared(dir, &id, work).await
    }

    #[tokio::test(flavor = "current_thread")]
    async fn those_who_ask_meanwhile_get_one_outcome_and_later_ones_their_own() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("images");
        let done = Cell::new(0);
        let ask = || refused(&dir, &done);
        let outcomes = tokio::join!(ask(), ask(), ask(), ask());
        for outcome in [outcomes.0, outcomes.1, outcomes.2, outcomes.3] {
            assert_eq!(outcome.unwrap(), Err("refusal 1".to_owned()));
        }
        assert_eq!(ask().await.unwrap(), Err("refusal 2".to_owned()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn work_that_was_dropped_or_failed_for_one_alone_is_done_by_the_next() {
        let root = tempfile::tempdir().unwrap();
        let (dir, id) = (root.path(), "x".parse().unwrap());
        let done = Cell::new(0);
        {
            let mut dropped = std::pin::pin!(refused(dir, &done));
            while done.get() == 0 {
                drop(tokio::time::timeout(WORK / 20, dropped.as_mut()).await);
            }
        }
        // Two who ask at once may be served in either order, so the second asks when the first works.
        let begun = tokio::sync::Notify::new();
        let alone = async {
            begun.notify_one();
            wait::pause(WORK).await;
            Err(OnceError::NoCommand { id: "x".parse()? })
        };
        let next = async {
            begun.notified().await;
            refused(dir, &done).await
        };
        let (first, second) = tokio::join!(shared(dir, &id, alone), next);
        assert!(matches!(first, Err(OnceError::NoCommand { .. })));
        assert_eq!(second.unwrap(), Err("refusal 2".to_owned()));
    }
}
