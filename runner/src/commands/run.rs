//! `recipe-ci run`: the supervisor, and its worker.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::rc::Rc;

use harness::event::Event;
use harness::host_file;
use harness::lifetime::reap;
use harness::lifetime::supervisor::{self, Ended, Request, Side, SupervisorError};
use harness::lifetime::worker::{Notes, Signals};
use harness::outcome::Verdict;
use harness::report::redact::Redactor;
use harness::run::settings::Settings;
use harness::runs::{self, LastFailed};

use super::{block_on, infra, usage};
use crate::cli::RunArgs;
use crate::env;
use crate::exit::Exit;
use crate::settings::{self, UsageError, resolve};
use crate::ui::symbols::Charset;
use crate::ui::{self, Console, Mode};

/// Runs a recipe, as two processes: this one becomes the supervisor of a worker.
pub(crate) fn run(args: &RunArgs) -> Exit {
    let resolved = match args.last_failed {
        true => of_last_failed(args),
        false => resolve(args),
    };
    match resolved {
        Ok(settings) => {
            if let Some(note) = settings::taken_for_a_name(args) {
                ui::say(&note);
            }
            supervise(args, &settings)
        }
        Err(error) => usage(&error),
    }
}

/// Resolves the arguments of a run of what failed in the last one, and says what that is.
fn of_last_failed(args: &RunArgs) -> Result<Settings, UsageError> {
    if args
        .stages
        .as_ref()
        .is_some_and(|stages| !stages.is_empty())
    {
        return Err(UsageError {
            error: "`--last-failed` chooses the stages, and so does `--stages` (STAGES)".into(),
            hints: vec!["leave one of them out".to_owned()],
        });
    }
    let settings = resolve(args)?;
    let recipe = &settings.recipe;
    let (said, stages) = match runs::last_failed(&settings.host.runs, recipe) {
        None => (format!("no run judged {recipe} here: all stages"), None),
        Some(LastFailed { run, stages }) if stages.is_empty() => {
            (format!("nothing failed in run {run}: all stages"), None)
        }
        Some(LastFailed { run, stages }) => {
            let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
            let said = format!("{}, after run {run}", names.join(", "));
            (said, Some(names.join(",")))
        }
    };
    ui::say(&format!("== last failed: {said} =="));
    // As if they had been typed, so that what repeats this run means the same stages.
    resolve(&RunArgs {
        stages,
        ..args.clone()
    })
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
        let console = Console::new(mode, charset, redactor.clone());
        let mut console = console.quiet(args.quiet).consumer();
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
    let mut failed_copy = false;
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
    for (copy, dir) in settings.copies.iter().zip(run_dir.iter().cycle()) {
        if let Err(error) = copy.write(dir) {
            ui::print_error(&error, &[], &Redactor::default());
            // A report that was asked for and does not exist must not look like a pass.
            failed_copy = true;
        }
    }
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
    if failed_copy && end.exit_code == 0 {
        return Exit::Infra;
    }
    Exit::from_code(end.exit_code).unwrap_or(Exit::Infra)
}

fn says_what_is_wrong(event: &Event) -> bool {
    match event.what() {
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
        Ok(Side::Supervisor(ended)) => block_on(async {
            let code = reap::after(ended, settings, &ui::say).await;
            Exit::from_code(code).unwrap_or(Exit::Infra)
        }),
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
