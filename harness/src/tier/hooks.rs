//! Hooks: commands of the backup labels, and of the recipe's own tests. What each wrote is kept, because one that ends
//! with 0 may have said `Access denied`.

use std::path::Path;

use super::{Bench, Tally, TierError};
use crate::driver::backup::{HookKind, run_hooks};
use crate::event::Event;
use ground::outcome::{Stage, Status, TierOutcome};
use recipe::backup::BackupPlan;

/// What a hook that ended well wrote in a tier.
#[derive(Debug)]
pub struct Said {
    stage: Stage,
    title: String,
    lines: Vec<String>,
}

impl Bench {
    fn note_said(&self, stage: Stage, title: String, lines: Vec<String>) {
        if lines.iter().any(|line| !line.trim().is_empty()) {
            let said = Said {
                stage,
                title,
                lines,
            };
            self.said.borrow_mut().push(said);
        }
    }

    pub(super) fn note_hooks(&self, stage: Stage, said: Vec<(String, Vec<String>)>) {
        for (title, lines) in said {
            self.note_said(stage, title, lines);
        }
    }

    /// Shows what the hooks of a tier that did not pass wrote, and before a restore those of its backup.
    pub fn explain(&self, outcome: &TierOutcome) {
        if !matches!(outcome.status, Status::Fail | Status::Unver) {
            return;
        }
        let of_this = |said: &mut Said| {
            said.stage == outcome.stage
                || (outcome.stage == Stage::Restore && said.stage == Stage::Backup)
        };
        for said in self.said.borrow_mut().extract_if(.., of_this) {
            self.events.emit(&Event::FailureOutput {
                title: format!("{}, which ended with 0", said.title),
                lines: said.lines,
                log: None,
            });
        }
    }
}

/// Runs the `pre_` or `verify_` hook of an operation, if there is one; returns whether the tier may go on.
pub(super) async fn hook(
    bench: &Bench,
    tally: &mut Tally<'_>,
    kind: &str,
    stage: Stage,
) -> Result<bool, TierError> {
    let name = format!("ops/{kind}_{stage}");
    let env = bench.env_for(stage);
    let mut hooked = bench.suite.hook(&name, bench.means(&env)).await?;
    bench.note_hooks(stage, std::mem::take(&mut hooked.said));
    Ok(tally.hooked(&name, hooked))
}

/// Runs the hooks that the backup labels name, where the driver does not; returns whether all ended with 0.
pub(super) async fn label_hooks(
    bench: &Bench,
    tally: &mut Tally<'_>,
    plan: &BackupPlan,
    kind: HookKind,
) -> Result<bool, TierError> {
    if bench.driver.runs_label_hooks() {
        return Ok(true);
    }
    let state = bench.state().await?;
    let name = format!("generic: {kind}s");
    let (mut said, mut log) = (Vec::new(), None);
    let ran = run_hooks(bench.engine(), &state, plan, kind, &mut said).await?;
    for said in said {
        let title = format!("{kind} of service `{}`", said.service);
        let file = format!(
            "hook-{}-{}.log",
            said.service,
            kind.to_string().replace(' ', "-")
        );
        let mut text = format!("$ {}\n", said.command);
        for line in &said.lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&format!("exit code {}\n", said.code));
        keep(&bench.dirs().logs.join(&file), &bench.redactor.apply(&text))?;
        // The one that failed is the last.
        log = Some(file);
        if said.code == 0 {
            bench.note_said(tally.stage, title, said.lines);
        }
    }
    Ok(match ran {
        Ok(0) => true,
        Ok(count) => tally.check(&name, Ok(Some(format!("{count} ended with 0")))),
        Err(fault) => {
            tally.show_with(kind.to_string(), fault.tail, log);
            tally.check(&name, Err(fault.reason))
        }
    })
}

/// Adds `text` to a log: a backup that is made again runs its hooks again, and a service is looked at more than once.
pub(super) fn keep(path: &Path, text: &str) -> Result<(), TierError> {
    use std::io::Write as _;
    let write = || {
        let mut file = ground::host_file::options()
            .create(true)
            .append(true)
            .open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|source| TierError::State {
        path: path.to_owned(),
        source,
    })
}
