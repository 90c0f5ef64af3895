//! `recipe-ci run`: the supervisor, and its worker.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use harness::dirs::RunDirs;
use harness::event::Event;
use harness::host_file;
use harness::janitor::{self, Decision};
use harness::lifetime::supervisor::{self, Ended, Request, Side, SupervisorError};
use harness::lifetime::worker::{Notes, Signals};
use harness::lifetime::{Note, domains};
use harness::name::{Domain, RecipeName};
use harness::outcome::{Residual, Verdict};
use harness::report::file::{Closing, close_as_orphaned};
use harness::report::redact::Redactor;
use harness::run::clean_logs;
use harness::run::settings::Settings;
use harness::swarm::Engine;
use harness::wait::{Deadline, retry_while};
use harness::warm::{self, Recovered};

use super::{block_on, infra, usage};
use crate::cli::RunArgs;
use crate::env;
use crate::exit::Exit;
use crate::settings::{self, resolve};
use crate::ui::symbols::Charset;
use crate::ui::{self, Console, Mode};

/// How long the lock of a dead worker's app may be held by somebody else before the supervisor leaves it to him.
const HELD_LIMIT: Duration = Duration::from_secs(5);

/// Runs a recipe, as two processes: this one becomes the supervisor of a worker.
pub(crate) fn run(args: &RunArgs) -> Exit {
    match resolve(args) {
        Ok(settings) => {
            if let Some(note) = settings::taken_for_a_name(args) {
                ui::say(&note);
            }
            supervise(args, &settings)
        }
        Err(error) => usage(&error),
    }
}

async fn work(args: &RunArgs, settings: &Settings, mut notes: Notes) -> Exit {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return infra(&error, &[]),
    };
    let charset = if env::is_utf8() {
        Charset::Unicode
    } else {
        Charset::Ascii
    };
    let mode = if std::io::stderr().is_terminal() {
        Mode::Progress
    } else {
        Mode::Plain
    };
    let seen: Rc<RefCell<Option<PathBuf>>> = Rc::default();
    let ended = harness::run::run(settings, &mut notes, &mut signals, |events, redactor| {
        let seen = Rc::clone(&seen);
        events.add(Box::new(move |event| {
            if let Event::RunStarted(started) = event {
                *seen.borrow_mut() = Some(started.run_dir.clone());
            }
        }));
        let mut console = Console::new(mode, charset, redactor.clone()).consumer();
        let dry_run = settings.dry_run;
        events.add(Box::new(move |event| {
            // A dry run has no tiers to show; what is wrong with the input, it says.
            if !dry_run || says_what_is_wrong(event) {
                console(event);
            }
        }));
    })
    .await;
    let run_dir = seen.borrow_mut().take();
    let end = match ended {
        Ok(end) => end,
        Err(error) if error.is_usage() => {
            let hint =
                "choose other places with CCCI_RUNS_DIR, CCCI_STATE_DIR, CCCI_APP_LOCK_DIR and ABRA_DIR (or HOME)"
                    .to_owned();
            ui::print_error(&error, &[hint], &Redactor::default());
            return Exit::Usage;
        }
        Err(error) => {
            return infra(
                &error,
                &["is the disk full? `recipe-ci doctor` looks".to_owned()],
            );
        }
    };
    if let Some(plan) = &end.plan_json {
        drop(ui::print_data(plan));
    } else if args.json
        && let Some(dir) = &run_dir
        && let Ok(text) = host_file::text(dir.join("results.json"))
    {
        drop(ui::print_data(text.trim_end()));
    }
    if settings.dry_run
        && let Some(dir) = &run_dir
    {
        // A dry run leaves nothing, not even its record; also where it ends red.
        drop(std::fs::remove_dir_all(dir));
    }
    Exit::from_code(end.exit_code).unwrap_or(Exit::Infra)
}

fn says_what_is_wrong(event: &Event) -> bool {
    match event {
        Event::Warning(_) | Event::PolicyFound(_) => true,
        Event::RunFinished(end) => end.verdict != Verdict::Passed,
        _ => false,
    }
}

fn supervise(args: &RunArgs, settings: &Settings) -> Exit {
    let request = Request {
        deadline: settings.deadline,
        teardown_budget: settings.teardown_budget,
        detached: args.detached || env::started_by_init(),
    };
    match supervisor::supervise(&request) {
        Ok(Side::Worker(notes)) => block_on(work(args, settings, notes)),
        Ok(Side::Supervisor(Ended::Exited(code))) => Exit::from_code(code).unwrap_or(Exit::Infra),
        Ok(Side::Supervisor(Ended::Killed { how, notes })) => {
            ui::say(&format!(
                "== worker {how} — its app is torn down by the supervisor =="
            ));
            let reason = format!("the worker was {how}");
            block_on(reap(
                settings,
                notes,
                Verdict::Orphaned,
                Exit::Orphaned,
                reason,
            ))
        }
        Ok(Side::Supervisor(Ended::Wedged { notes })) => {
            ui::say(
                "== worker wedged long after its deadline — killed; its app is torn down by the supervisor ==",
            );
            let reason = "the worker was wedged past the deadline and was killed".to_owned();
            block_on(reap(
                settings,
                notes,
                Verdict::Deadline,
                Exit::Deadline,
                reason,
            ))
        }
        Err(error @ SupervisorError::Orphaned) => {
            let hint = "start it from a shell or a runner that waits for it, or with `--detached`"
                .to_owned();
            infra(&error, &[hint])
        }
        Err(error @ SupervisorError::Descriptors { .. }) => {
            let hint = "raise the hard limit: `ulimit -n 1024`, LimitNOFILE= of the runner's unit"
                .to_owned();
            infra(&error, &[hint])
        }
        Err(error) => infra(&error, &[]),
    }
}

/// Brings the warm app that a dead worker was at to rest; returns why it is not, if so.
async fn rest_warm_app(settings: &Settings, recipe: &RecipeName) -> Option<String> {
    let engine = match Engine::connect(&settings.docker_host) {
        Ok(engine) => engine,
        Err(error) => return Some(harness::error::chain(&error)),
    };
    let (host, zone) = (&settings.host, &settings.zone);
    let recovered = retry_while(
        Deadline::after(HELD_LIMIT),
        Duration::from_millis(20),
        |recovered| matches!(recovered, Recovered::Live),
        || warm::recover(&engine, host, zone, recipe, &settings.run_id, false),
    );
    match recovered.await {
        Recovered::Yes => ui::say(&format!(
            "== the warm app of {recipe} is undeployed and has its last good data =="
        )),
        Recovered::AtRest => {}
        // Another run that waited for its lock does the same, but this process sees nothing of it.
        Recovered::Live => {
            return Some(format!(
                "the warm app of {recipe} is held by somebody, so it is not known whether it is at rest"
            ));
        }
        Recovered::Failed(error) => {
            let error = format!("{}; {}", harness::error::chain(&error), error.advice());
            return Some(format!("the warm app of {recipe} is not at rest: {error}"));
        }
    }
    None
}

/// Says that `domain` could not be looked at, because somebody has had its lock all the time.
fn held_by(domain: &Domain, holder: &str) -> String {
    let holder = match holder {
        "" => "somebody",
        holder => holder,
    };
    format!("{domain} is held by {holder}, so it is not known whether it is torn down")
}

/// Removes what a dead worker may have made, and closes its report.
async fn reap(
    settings: &Settings,
    notes: Vec<Note>,
    verdict: Verdict,
    exit: Exit,
    reason: String,
) -> Exit {
    let strays = supervisor::kill_strays().await;
    // Signals reach the worker's end only; an engine that stalls must not keep the supervisor for ever.
    let budget = settings.teardown_budget;
    let mut residual = tokio::time::timeout(budget, clean_up(settings, &notes))
        .await
        .unwrap_or_else(|_| {
            let seconds = budget.as_secs();
            ui::say(&format!(
                "!! the teardown is not done after {seconds} s, and is given up; run `recipe-ci janitor`"
            ));
            None
        });
    if let Some(residual) = residual.as_mut() {
        residual.add("processes", strays);
    }
    close(settings, &notes, verdict, exit, &reason, residual.as_ref())
}

/// Removes the apps that `notes` name; returns what is left, or nothing when that is not known.
async fn clean_up(settings: &Settings, notes: &[Note]) -> Option<Residual> {
    let mut residual = Some(Residual::default());
    for domain in domains(notes, &settings.zone) {
        let decision = match Engine::connect(&settings.docker_host) {
            Ok(engine) => {
                let (host, run) = (&settings.host, &settings.run_id);
                janitor::decide_within(HELD_LIMIT, &engine, host, &domain, run).await
            }
            Err(error) => Decision::Failed(error),
        };
        let complaint = match decision {
            Decision::Reaped | Decision::Gone => {
                ui::say(&format!("== {domain} torn down =="));
                continue;
            }
            // Another run that waited for this lock removes what it finds, but this process sees nothing of it.
            Decision::Live { holder, .. } => {
                residual = None;
                held_by(&domain, &holder)
            }
            Decision::Incomplete(left) => {
                let text = format!("{domain} is not torn down: {left}");
                if let Some(residual) = residual.as_mut() {
                    left.left
                        .into_iter()
                        .for_each(|(kind, names)| residual.add(&kind, names));
                }
                text
            }
            Decision::Skipped(error) => {
                residual = None;
                harness::error::chain(&error)
            }
            Decision::Failed(error) => {
                residual = None;
                harness::error::chain(&error)
            }
            // Only a sweep has a budget.
            Decision::Postponed => {
                residual = None;
                format!("{domain} was not looked at")
            }
        };
        ui::say(&format!("!! {complaint}; run `recipe-ci janitor`"));
    }
    for recipe in notes.iter().filter_map(|note| match note {
        Note::Warm { recipe } => recipe.parse::<RecipeName>().ok(),
        _ => None,
    }) {
        if let Some(left) = rest_warm_app(settings, &recipe).await {
            ui::say(&format!("!! {left}; run `recipe-ci janitor`"));
            residual = None;
        }
    }
    residual
}

/// Closes the reports of a dead worker, and removes its working files; returns the exit code.
fn close(
    settings: &Settings,
    notes: &[Note],
    verdict: Verdict,
    mut exit: Exit,
    reason: &str,
    residual: Option<&Residual>,
) -> Exit {
    let roots = notes.iter().filter_map(|note| match note {
        Note::Run { root } => Some(root),
        Note::App { .. } | Note::Warm { .. } => None,
    });
    for root in roots {
        let closing = Closing {
            verdict,
            exit_code: exit.code(),
            reason: reason.to_owned(),
            residual: residual.cloned(),
            finished_at: jiff::Timestamp::now().to_string(),
        };
        match close_as_orphaned(&root.join("results.json"), closing) {
            // A worker that was killed after its report was done keeps the code that it reported.
            Ok(results) => exit = Exit::from_code(results.exit_code).unwrap_or(exit),
            Err(error) => ui::say(&format!(
                "!! its report could not be closed: {}",
                harness::error::chain(&error)
            )),
        }
        // The dead worker would have done so: its children wrote what they liked.
        if let Err(error) = clean_logs(root, &settings.redactor()) {
            ui::say(&format!(
                "!! failed to look for secrets in `{}`: {error}",
                root.display()
            ));
        }
        // What would not go is found again by the janitor, and said there.
        drop(RunDirs::remove_working(root));
    }
    exit
}
