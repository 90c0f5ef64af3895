//! The results file: read, replaced, and closed for a worker that was killed.
//!
//! It is whole at any kill, because it is only ever replaced by a rename.

use std::io;
use std::path::{Path, PathBuf};

use super::papers;
use super::redact::Redactor;
use super::results::{Results, Teardown};
use crate::hold::Ended;
use engine::record::{Durability, replace};
use ground::host_file;
use ground::outcome::{Residual, Verdict};

/// Why a results file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// It could not be read.
    #[error("cannot read results file `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not a results file of this schema.
    #[error("results file `{}` is malformed", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It could not be replaced.
    #[error("cannot write results file `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why; [`io::ErrorKind::StorageFull`] when the disk is full.
        #[source]
        source: io::Error,
    },
}

impl Results {
    /// Replaces the file at `path` by these results; of a run that has ended its other forms, too.
    pub(super) fn write(&self, path: &Path, redactor: &Redactor) -> Result<(), ResultsError> {
        let failed = |source| ResultsError::Write {
            path: path.to_owned(),
            source,
        };
        let clean = self.redacted(redactor);
        let mut text = serde_json::to_string_pretty(&clean).map_err(|e| failed(e.into()))?;
        text.push('\n');
        let durability = if self.finished_at.is_some() {
            Durability::Power
        } else {
            Durability::Kill
        };
        replace(path, text.as_bytes(), durability).map_err(failed)?;
        if self.finished_at.is_none() {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(Path::new("."));
        papers::write(&clean, dir).map_err(|(path, source)| ResultsError::Write { path, source })
    }
}

/// Reads the results file at `path`.
///
/// # Errors
/// [`ResultsError::Read`], or [`ResultsError::Parse`] when it is not a results file.
pub fn read(path: &Path) -> Result<Results, ResultsError> {
    let text = host_file::bytes(path).map_err(|source| ResultsError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| ResultsError::Parse {
        path: path.to_owned(),
        source,
    })
}

/// How a supervisor ends the record of a worker that cannot do so itself.
#[derive(Debug, Clone)]
pub struct Closing {
    /// [`Verdict::Orphaned`], or [`Verdict::Deadline`] for a wedged worker.
    pub verdict: Verdict,
    /// The supervisor's own exit code.
    pub exit_code: u8,
    /// One line that says what happened.
    pub reason: String,
    /// What the reap left; `None` when it could not find out.
    pub residual: Option<Residual>,
    /// Wall-clock end, RFC 3339 in UTC.
    pub finished_at: String,
}

impl Closing {
    /// Returns how a janitor ends the record of a run both processes of which were killed.
    #[must_use]
    pub fn by_janitor() -> Self {
        Self {
            verdict: Verdict::Orphaned,
            exit_code: 137,
            reason: "both processes of the run were killed; the janitor closed its report"
                .to_owned(),
            // Its apps are reaped apart from its files.
            residual: None,
            finished_at: jiff::Timestamp::now().to_string(),
        }
    }
}

/// Ends the record of a run whose worker was killed, keeping everything that the worker wrote, and returns
/// it.
///
/// A record that the worker has ended already is returned as it is, but for a hold that is over: the run was over, and
/// the exit code to use is the one that stands in it.
///
/// # Errors
/// When the file cannot be read (a worker killed before its run began leaves none) or replaced.
pub fn close_as_orphaned(path: &Path, closing: Closing) -> Result<Results, ResultsError> {
    let mut results = read(path)?;
    if results.finished_at.is_some() {
        // Whoever closes it has found nobody who holds the app.
        if let Some(hold) = results.hold.as_mut().filter(|hold| hold.ended.is_none()) {
            hold.ended = Some(Ended {
                at: closing.finished_at,
                why: "its holder was killed".to_owned(),
            });
            results.write(path, &Redactor::default())?;
        }
        return Ok(results);
    }
    // It was to begin with the end of the run.
    results.hold = None;
    results.verdict = closing.verdict;
    results.exit_code = closing.exit_code;
    results.reason = Some(closing.reason);
    results.finished_at = Some(closing.finished_at);
    if let Some(residual) = closing.residual {
        results.teardown = residual.into();
    }
    results.settle_tiers("the worker was killed");
    results.climb();
    // The supervisor knows no secrets; what is in the file was redacted by the worker.
    results.write(path, &Redactor::default())?;
    Ok(results)
}

/// Says in the report of a run that ended how the hold of its app ended, and what that left.
///
/// # Errors
/// When the file cannot be read or replaced.
pub fn close_hold(
    path: &Path,
    ended: Ended,
    is_clean: bool,
    left: Residual,
) -> Result<(), ResultsError> {
    let mut results = read(path)?;
    if let Some(hold) = &mut results.hold {
        hold.ended = Some(ended);
    }
    results.teardown = Teardown {
        // What could not be asked about is not known to be gone.
        clean: (is_clean || !left.is_empty()).then_some(is_clean),
        residual: left,
    };
    results.write(path, &Redactor::default())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::report::tiers::RUNNING;
    use ground::outcome::{Stage, Status};

    #[test]
    fn a_killed_workers_record_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        let mut results = Results {
            run_id: "4711".to_owned(),
            ..Results::default()
        };
        let install = results.tier_mut(Stage::Install);
        (install.status, install.reason) = (Status::Pass, None);
        results.tier_mut(Stage::Upgrade).reason = Some(RUNNING.to_owned());
        results.tier_mut(Stage::Custom);
        results.write(&path, &Redactor::default()).unwrap();

        let closing = Closing {
            verdict: Verdict::Orphaned,
            exit_code: 137,
            reason: "the worker was killed (SIGKILL)".to_owned(),
            residual: Some(Residual::default()),
            finished_at: "2026-01-02T03:04:05Z".to_owned(),
        };
        let closed = close_as_orphaned(&path, closing.clone()).unwrap();
        assert_eq!(read(&path).unwrap(), closed);
        assert_eq!(
            (closed.run_id.as_str(), closed.level, closed.teardown.clean),
            ("4711", 1, Some(true))
        );
        let reasons: Vec<Option<&str>> = closed
            .tiers
            .iter()
            .map(|tier| tier.reason.as_deref())
            .collect();
        assert_eq!(
            reasons,
            [
                None,
                Some("was running when the worker was killed"),
                Some("had not started when the worker was killed")
            ]
        );

        // What has ended is not ended again.
        let again = close_as_orphaned(
            &path,
            Closing {
                exit_code: 142,
                ..closing
            },
        )
        .unwrap();
        assert_eq!(again, closed);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        assert!(matches!(read(&path), Err(ResultsError::Read { .. })));
        fs::write(&path, "{\"schema\": 1").unwrap();
        assert!(matches!(read(&path), Err(ResultsError::Parse { .. })));
    }
}
