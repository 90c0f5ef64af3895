//! `recipe-ci engine`: an engine of CI's own beside the operator's.

use std::path::Path;

use harness::error::chain;
use harness::lifetime::worker::Signals;
use harness::process::{Cmd, Processes};
use harness::room::{
    self, Brought, Ceilings, Ended, Event, Over, Record, Room, RoomError, State, bring_down,
    bring_up,
};
use harness::swarm::Engine;
use harness::trust::size;
use serde_json::json;

use super::{infra, usage};
use crate::env;
use crate::exit::Exit;
use crate::settings::{self, UsageError, operators_dirs};
use crate::ui;

/// What to do with CI's own engine.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum EngineCommand {
    /// See to it that it runs: start it, or bring it back where it died.
    Up(UpArgs),
    /// End it and whatever runs on it, and remove what it holds.
    Down {
        /// Keep its images and volumes for the next one.
        #[arg(long)]
        keep_data: bool,
    },
    /// Say how it is: exit 0 when it answers, else 3.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// The arguments of `recipe-ci engine up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Stay, and end it when told to stop: for a service.
    #[arg(long)]
    foreground: bool,
    /// The most memory that all of it may take [default: three quarters of the host's].
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// The most processes and threads.
    #[arg(long, value_name = "N", default_value_t = Ceilings::PIDS, value_parser = clap::value_parser!(u64).range(256..))]
    pids: u64,
    /// The most that it keeps of images, containers and volumes; `none` for as much as there is [default: half of what
    /// the disk has left when it begins].
    #[arg(long, env = "CCCI_ENGINE_DISK", value_name = "SIZE|none")]
    disk: Option<String>,
    /// The most CPUs [default: all, at half the weight of whatever else wants them].
    #[arg(long, value_name = "N")]
    cpus: Option<String>,
}

/// Does what the command says.
pub(crate) async fn engine(command: &EngineCommand) -> Exit {
    let room = settings::room();
    match command {
        EngineCommand::Up(args) => match ceilings(args) {
            Err(error) => usage(&error),
            Ok(ceilings) if args.foreground => foreground(&room, ceilings).await,
            Ok(ceilings) => up(&room, ceilings).await,
        },
        EngineCommand::Down { keep_data } => down(&room, *keep_data).await,
        EngineCommand::Status { json } => status(&room, *json).await,
    }
}

fn ceilings(args: &UpArgs) -> Result<Ceilings, UsageError> {
    let wrong = |error: String, hint: &str| UsageError {
        error: error.into(),
        hints: vec![hint.to_owned()],
    };
    let all = Ceilings::of_host(&settings::operators_dirs().state);
    let memory = match &args.memory {
        Some(text) => {
            size::bytes(text).map_err(|error| wrong(error, "give it as `--memory 8g`"))?
        }
        None => {
            let hint = "say with `--memory` how much CI may take";
            all.map_err(|error| wrong(error, hint))?.memory
        }
    };
    let cpus = match &args.cpus {
        Some(text) => {
            let nano =
                size::nano_cpus(text).map_err(|error| wrong(error, "give it as `--cpus 1.5`"))?;
            // Of less than a hundredth nothing would run.
            u32::try_from(nano / 10_000_000)
                .unwrap_or(u32::MAX / 1000)
                .max(1)
        }
        None => 0,
    };
    Ok(Ceilings {
        memory,
        pids: args.pids,
        cpus,
        disk: settings::disk(args.disk.as_deref())?,
    })
}

async fn up(room: &Room, ceilings: Ceilings) -> Exit {
    let exe = match settings::own_program() {
        Ok(exe) => exe,
        Err(error) => return infra(&error, &[]),
    };
    let mut cmd = Cmd::new(exe, Path::new("/"))
        .args(["engine", "up", "--foreground"])
        .args(["--memory", &ceilings.memory.to_string()])
        .args(["--pids", &ceilings.pids.to_string()])
        .args(["--disk", &in_disk(ceilings.disk)]);
    if ceilings.cpus != 0 {
        cmd = cmd.args(["--cpus", &in_cpus(ceilings.cpus)]);
    }
    let cmd = settings::places(&operators_dirs())
        .into_iter()
        .fold(cmd, |cmd, (name, value)| cmd.env(name, value));
    let processes = Processes::new(env::for_children());
    match bring_up(room, &processes, &cmd).await {
        Ok(up) => {
            let how = match &up.brought {
                // What it keeps was bounded when its data began.
                Brought::Already
                    if up.record.ceilings
                        == (Ceilings {
                            disk: up.record.ceilings.disk,
                            ..ceilings
                        }) =>
                {
                    "runs".to_owned()
                }
                Brought::Already => {
                    "runs, with other ceilings; `recipe-ci engine down --keep-data` first for these"
                        .to_owned()
                }
                Brought::Started => {
                    format!("started in {:.1} s", f64::from(ms(&up.record)) / 1000.0)
                }
                Brought::Back(left) => format!("brought back; left of the last: {}", join(left)),
            };
            say(&format!("{how}: {}", about(room, &up.record)))
        }
        Err(error) => failed(room, &error),
    }
}

fn ms(record: &Record) -> u32 {
    u32::try_from(record.ready_ms).unwrap_or(u32::MAX)
}

async fn foreground(room: &Room, ceilings: Ceilings) -> Exit {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return infra(&error, &[]),
    };
    let processes = Processes::new(env::for_children());
    let stop = async {
        signals.next().await;
    };
    let over = room::supervise(room, &processes, ceilings, stop, |event| match event {
        Event::Cleared(left) => ui::say(&format!("took back what was left: {}", join(&left))),
        Event::Ready(record) => ui::say(&format!("ready: {}", about(room, &record))),
    });
    match over.await {
        Ok(Over::Stopped) => Exit::Passed,
        Ok(Over::Taken) => {
            ui::say("== CI's engine has a supervisor already: `recipe-ci engine status` ==");
            Exit::Passed
        }
        Ok(Over::Displaced) => {
            ui::say("!! the lock file was replaced: this engine ends, another may be there");
            Exit::Infra
        }
        // What the engine said is in the same log.
        Err(error) => infra(&error, &[]),
    }
}

async fn down(room: &Room, keep_data: bool) -> Exit {
    let processes = Processes::new(env::for_children());
    match bring_down(room, &processes, keep_data).await {
        Ok(Ended::Nothing) => say("there is none"),
        Ok(Ended::Stopped) if keep_data => say("ended; its images and volumes are kept"),
        Ok(Ended::Stopped) => say("ended; nothing of it is left"),
        Ok(Ended::Cleared(left)) => say(&format!("took back what was left: {}", join(&left))),
        Err(error) => failed(room, &error),
    }
}

async fn status(room: &Room, in_json: bool) -> Exit {
    let state = match room.state() {
        Ok(state) => state,
        Err(error) => return failed(room, &error),
    };
    let answers = match &state {
        State::Ready(_) => match Engine::connect(&room.docker_host()) {
            Ok(engine) => engine.info().await.map(drop),
            Err(error) => Err(error),
        }
        .map_err(|error| chain(&error)),
        _ => Ok(()),
    };
    let (word, text) = match (&state, &answers) {
        (State::Ready(record), Ok(())) => ("ready", format!("ready: {}", about(room, record))),
        (State::Ready(record), Err(why)) => {
            ("silent", format!("silent: {}; {why}", about(room, record)))
        }
        (State::Busy { why }, _) => ("busy", format!("busy: its lock is held, {why}")),
        (State::Died(left), _) => (
            "died",
            format!(
                "died: left are {}; `recipe-ci engine up` brings it back, `engine down` takes it away",
                join(left)
            ),
        ),
        (State::Absent { kept: true }, _) => (
            "absent",
            "absent; images and volumes are kept for the next one".to_owned(),
        ),
        (State::Absent { kept: false }, _) => ("absent", "absent".to_owned()),
    };
    let exit = if word == "ready" {
        Exit::Passed
    } else {
        Exit::Infra
    };
    let shown = if in_json {
        let record = match &state {
            State::Ready(record) => Some(record),
            _ => None,
        };
        json!({ "schema": 1, "state": word, "said": text, "host": room.docker_host(), "record": record })
            .to_string()
    } else {
        text
    };
    drop(ui::print_data(&shown));
    exit
}

fn about(room: &Room, record: &Record) -> String {
    let of = &record.ceilings;
    let cpus = match of.cpus {
        0 => "all CPUs at half weight".to_owned(),
        cpus => format!("{} CPUs", in_cpus(cpus)),
    };
    format!(
        "Docker engine {} at {}, supervisor pid {}, addresses {}, at most {} of memory, {} of disk, {} processes, {cpus}",
        record.version,
        room.docker_host(),
        record.process.pid,
        record.addresses(),
        size::in_words(of.memory),
        match of.disk {
            0 => "any amount".to_owned(),
            disk => size::in_words(disk),
        },
        of.pids,
    )
}

fn in_disk(disk: u64) -> String {
    match disk {
        0 => "none".to_owned(),
        disk => disk.to_string(),
    }
}

fn in_cpus(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn join(left: &[String]) -> String {
    left.join(", ")
}

fn say(line: &str) -> Exit {
    drop(ui::print_data(line));
    Exit::Passed
}

fn failed(room: &Room, error: &RoomError) -> Exit {
    let hints: Vec<String> = error.advice().map(str::to_owned).into_iter().collect();
    let exit = infra(error, &hints);
    if let RoomError::Over { log, .. } = error {
        for line in log {
            ui::say(&format!("  {line}"));
        }
    }
    if room.log_file().exists() {
        ui::say(&format!("its log: {}", room.log_file().display()));
    }
    match error {
        RoomError::Left { .. } => Exit::Leftovers,
        _ => exit,
    }
}
