//! The end of a run: children, app, files; then the audit.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;

use super::context::Context;
use super::error::AnyError;
use super::hold;
use super::own_engine;
use super::step::Role;
use crate::abra::AbraError;
use crate::event::Event;
use crate::lifetime::worker::{EndSignal, Signals};
use crate::tier::timed;
use crate::warm::WarmError;
use engine::app;
use engine::dirs::RunDirs;
use engine::swarm::object::Object;
use engine::swarm::teardown::DeployerState;
use engine::wait::Deadline;
use ground::outcome::{Phase, Residual};

/// How long children may take to end before they are killed.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// How long a teardown may take beyond its budget to say what is left: removal ends at the budget, with a last pass
/// and a last listing. It must be less than what the supervisor waits for a wedged worker.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// What teardown came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TornDown {
    /// Nothing is left.
    Clean,
    /// The app is held on purpose, and nothing else is left.
    Kept,
    /// Something would not go.
    Left(Residual),
    /// What is left cannot be known.
    Unknown(String),
}

/// What a run leaves on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    /// The app, for a look at it, for so long.
    pub(super) hold: Option<Duration>,
    /// What a quick run did to the warm app's data; else the snapshot is put back.
    pub(super) warm_data: bool,
}

/// Ends every child and removes everything of the run's app; signals are only noted meanwhile. The warm app of
/// a quick run is undeployed instead, and its last good data put back unless it is to be left.
pub(super) async fn tear_down(
    context: &Context<'_>,
    why: &str,
    left: Left,
    maker: DeployerState,
    signals: &mut Signals,
) -> TornDown {
    let (mut locks, engine, own_engine, driver, touched, warm, audit) = {
        let mut held = context.held.borrow_mut();
        let warm = held.warm.take();
        held.rested
            .extend(warm.iter().map(|warm| warm.app.lock.clone()));
        // A warm app is brought to rest.
        let apps = held.apps.iter().filter(|app| app.role != Role::Warm);
        (
            apps.map(|app| Rc::clone(&app.lock)).collect::<Vec<_>>(),
            held.engine.clone(),
            held.own_engine.take(),
            held.driver.clone(),
            held.touched,
            warm,
            held.audit.take(),
        )
    };
    // A run that made nothing and was not interrupted has nothing to announce.
    if touched || why != "finished" {
        context.events.emit(&Event::TeardownStarted {
            why: why.to_owned(),
        });
    }
    let deadline = Deadline::after(context.settings.teardown_budget);
    let work = timed(&context.events, Phase::Teardown, "", async {
        let stubborn = context.processes.end_all(GRACE).await;
        let mut residual = Residual::default();
        residual.add("processes", stubborn);
        if let Some(own_engine) = own_engine {
            let left = own_engine::end(context, own_engine, &locks).await?;
            for (kind, names) in left.left {
                residual.add(&kind, names);
            }
            return Ok((residual, Vec::new()));
        }
        if let Some(warm) = warm {
            return match warm.app.settle(warm.canonical, left.warm_data).await {
                Ok(_) => Ok((residual, Vec::new())),
                Err(WarmError::Stuck {
                    residual: stuck, ..
                }) => {
                    for (kind, names) in stuck.left {
                        residual.add(&kind, names);
                    }
                    Ok((residual, Vec::new()))
                }
                Err(error) => Err(error.into()),
            };
        }
        let (Some(engine), true) = (engine, touched) else {
            return Ok((residual, Vec::new()));
        };
        if let Some(span) = left.hold {
            hold::hand_over(context, &engine, span, &mut locks).await;
        }
        // What is held is there now and was not before.
        let is_held = context.held.borrow().heir.is_some();
        let mut audit = audit.filter(|_| !is_held);
        let mut failed = None;
        if let Some(audit) = &mut audit
            && let Err(error) = audit.note_mounts(&engine).await
        {
            failed = Some(error);
        }
        // All together: what the app depends on is on its network, and one that cannot be removed keeps no other.
        let mut complaints = Vec::new();
        for lock in &locks {
            if let Some(driver) = &driver {
                undeployed(context, driver.undeploy(lock).await);
            }
        }
        let host = &context.settings.host;
        let removals = locks
            .iter()
            .map(|lock| app::remove(&engine, host, lock, maker, deadline));
        let removals = join_all(removals).await;
        for (lock, removal) in locks.iter().zip(removals) {
            match removal {
                Ok(removal) => {
                    for (kind, names) in removal.residual.left {
                        residual.add(&kind, names);
                    }
                    complaints.extend(removal.complaints);
                    let was_there = |object: &&Object| {
                        audit.as_ref().is_some_and(|audit| audit.was_there(object))
                    };
                    for object in removal.foreign.iter().filter(was_there) {
                        context.events.warn(format!(
                            "{object} bears the label of {}, which did not make it: left alone",
                            lock.domain()
                        ));
                    }
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(audit) = audit {
            match audit.leaks(&engine, &residual).await {
                Ok(leaks) => {
                    for leak in leaks {
                        complaints.push(format!(
                            "{leak} is there now and was not before this run, and no record says that it may be removed: look, and remove it by hand"
                        ));
                        residual.add(leak.kind.plural(), vec![leak.name]);
                    }
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => Err::<_, AnyError>(error.into()),
            None => Ok((residual, complaints)),
        }
    });
    let noted = |signal: EndSignal| {
        context.events.notice(format!(
            "{} received during teardown: noted, teardown goes on",
            signal.name()
        ));
    };
    let signal = async || signals.next().await;
    let done = in_time(work, deadline, LAST_LOOK, signal, noted).await;
    let (residual, torn_down) = match done {
        Ok((residual, remarks)) => {
            if residual.is_empty() {
                let is_held = context.held.borrow().heir.is_some();
                let torn_down = match is_held {
                    true => TornDown::Kept,
                    false => TornDown::Clean,
                };
                (residual, torn_down)
            } else {
                for remark in remarks {
                    context.events.warn(remark);
                }
                (residual.clone(), TornDown::Left(residual))
            }
        }
        Err(None) => unknown(format!(
            "not done after {} s",
            context.settings.teardown_budget.as_secs()
        )),
        Err(Some(error)) => unknown(ground::error::chain(&*error)),
    };
    if torn_down != TornDown::Kept {
        context.events.emit(&Event::TeardownFinished { residual });
    }
    torn_down
}

/// Says that a driver could not take its app down. Everything is removed and looked for through the engine next.
pub(super) fn undeployed(context: &Context<'_>, done: Result<(), AbraError>) {
    if let Err(error) = done {
        context.events.warn(format!(
            "{}; the app is removed through the engine",
            ground::error::chain(&error)
        ));
    }
}

/// Does `work`, which is to end by itself at `deadline`, whatever signals come: those are only `noted`. When it has not
/// ended a `last_look` later it is given up, with nothing for an error.
async fn in_time<T>(
    work: impl Future<Output = Result<T, AnyError>>,
    deadline: Deadline,
    last_look: Duration,
    mut next_signal: impl AsyncFnMut() -> EndSignal,
    noted: impl Fn(EndSignal),
) -> Result<T, Option<AnyError>> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done.map_err(Some),
            signal = next_signal() => noted(signal),
            () = tokio::time::sleep_until(deadline.instant() + last_look) => return Err(None),
        }
    }
}

fn unknown(reason: String) -> (Residual, TornDown) {
    let mut residual = Residual::default();
    residual.add("unknown", vec![reason.clone()]);
    (residual, TornDown::Unknown(reason))
}

/// Removes the run's files that are no record, and what the record must not hold.
pub(super) fn clean_up(context: &Context<'_>) {
    remove_working_dirs(context);
    clean_record(context);
}

/// Removes what is not part of the record: checkouts, snapshots, state.
pub(super) fn remove_working_dirs(context: &Context<'_>) {
    let kept: &[&str] = match context.held.borrow().heir {
        Some(_) => &hold::KEPT,
        None => &[],
    };
    for (path, error) in RunDirs::remove_working_but(&context.dirs.root, kept) {
        context
            .events
            .warn(format!("failed to remove `{}`: {error}", path.display()));
    }
}

/// Leaves a record without empty logs, and without any secret that some test or tool wrote into a file.
fn clean_record(context: &Context<'_>) {
    let dirs = &context.dirs;
    drop_empty(&dirs.logs);
    // What is there while the app is held has names and addresses, which some test may have taken for a secret.
    let alone: &[&str] = match context.held.borrow().heir {
        Some(_) => &["state"],
        None => &[],
    };
    if let Err(error) = context.redactor.sweep_dir(&dirs.root, alone) {
        context.events.warn(format!(
            "failed to look for secrets in `{}`: {error}",
            dirs.root.display()
        ));
    }
}

/// Removes the empty logs in `dir` and below it, and directories in which none is left: a test that wrote nothing has no
/// log to read.
fn drop_empty(dir: &Path) {
    let entries = ground::host_file::entries(dir).into_iter().flatten();
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(meta) = entry.metadata() else {
            continue;
        };
        if meta.is_dir() {
            drop_empty(&path);
            // One in which something is stays.
            drop(std::fs::remove_dir(path));
        } else if meta.is_file() && meta.len() == 0 {
            drop(std::fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use super::*;
    use engine::dirs::HostDirs;
    use engine::lock::DomainLock;
    use engine::swarm::testing::stuck;
    use ground::name::Domain;

    #[tokio::test(flavor = "current_thread")]
    async fn a_teardown_that_never_ends_is_given_up_and_signals_are_noted_meanwhile() {
        let seen = RefCell::new(Vec::new());
        let mut signals = vec![EndSignal::Hangup, EndSignal::Terminate];
        let done = in_time::<()>(
            pending(),
            Deadline::after(Duration::from_millis(100)),
            Duration::from_millis(100),
            async || match signals.pop() {
                Some(signal) => signal,
                None => pending().await,
            },
            |signal| seen.borrow_mut().push(signal),
        );
        assert!(matches!(done.await, Err(None)));
        assert_eq!(*seen.borrow(), [EndSignal::Terminate, EndSignal::Hangup]);
    }

    /// Its removal ends at the budget as well; a caller that gave it up then would never say what is left.
    #[tokio::test(flavor = "current_thread")]
    async fn what_is_left_at_the_end_of_the_budget_is_named_and_not_unknown() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::with_locks(root.path());
        let domain = Domain::parse("note-0a1b2c.z", &"z".parse().unwrap()).unwrap();
        let lock = DomainLock::of_test(&host, &domain);
        let engine = stuck(root.path(), domain.stack());
        let deadline = Deadline::after(Duration::from_millis(300));
        let work = async {
            let removal = app::remove(&engine, &host, &lock, DeployerState::Done, deadline).await?;
            Ok(removal.residual.to_string())
        };
        // Longer than a busy host may stall.
        let done = in_time(work, deadline, LAST_LOOK * 6, pending, |_| {}).await;
        assert_eq!(done.unwrap(), "volumes: note-0a1b2c_z_data");
    }
}
