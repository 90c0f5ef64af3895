//! `recipe-ci janitor install`: a systemd service and timer that sweep between runs.
//!
//! Where the units go is said on stderr with what to do next; the units themselves, with `--print`, are data
//! and go to stdout.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::coverage::TOO_OLD;
use harness::janitor::units::{self, Plan, Unit, UnitsError, Written};
use harness::process::Processes;

use super::super::{infra, usage};
use crate::env;
use crate::exit::Exit;
use crate::settings::{self, UsageError, host_dirs};
use crate::ui;

/// Sweeping more often than this only keeps the engine busy.
const SHORTEST: Duration = Duration::from_secs(60);

/// Twice this without a sweep, and every run says that nothing sweeps the host.
const LONGEST: Duration = Duration::from_secs(TOO_OLD.as_secs() / 2);

/// The arguments of `recipe-ci janitor install`.
#[derive(Debug, clap::Args)]
pub(crate) struct InstallArgs {
    /// Where the units go.
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    dir: PathBuf,
    /// The time between two sweeps, from a minute to half an hour.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    every: String,
    /// The zone of the run apps' domains [default: ci.localhost].
    #[arg(long, env = "CCCI_ZONE", value_name = "ZONE")]
    zone: Option<String>,
    /// Print the units and write nothing.
    #[arg(long, conflicts_with_all = ["force", "enable"])]
    print: bool,
    /// Replace units that were changed by hand.
    #[arg(long)]
    force: bool,
    /// Start the timer, too, with `systemctl`.
    #[arg(long)]
    enable: bool,
}

/// Writes the units, or prints them, and says what to do next.
pub(crate) async fn install(args: &InstallArgs) -> Exit {
    let plan = match plan(args) {
        Ok(plan) => plan,
        Err(error) => return usage(&error),
    };
    let units = match units::render(&plan) {
        Ok(units) => units,
        Err(error) => return refuse(error, args),
    };
    if args.print {
        return print(&units, &args.dir);
    }
    match write(args, &units).await {
        Ok(()) => Exit::Passed,
        Err(error) => refuse(error, args),
    }
}

async fn write(args: &InstallArgs, units: &[Unit; 2]) -> Result<(), UnitsError> {
    let processes = Processes::new(env::for_children());
    // Before anything is written: half of what was asked for helps with nothing.
    let systemctl = match args.enable {
        true => Some(units::systemctl(&processes, Path::new("/"))?),
        false => None,
    };
    for (path, written) in units::write(units, &args.dir, args.force)? {
        let word = match written {
            Written::Created => "created",
            Written::Updated => "updated",
            Written::Unchanged => "unchanged",
        };
        ui::say(&format!("{word}: {}", path.display()));
    }
    match systemctl {
        Some(systemctl) => {
            units::enable(&processes, &systemctl).await?;
            ui::say(&format!("enabled: {}", units::TIMER));
        }
        None => {
            let next: Vec<String> = units::commands().map(|command| command.join(" ")).into();
            ui::say(&format!("next: {}", next.join(" && ")));
        }
    }
    Ok(())
}

fn print(units: &[Unit; 2], dir: &Path) -> Exit {
    let text: Vec<String> = units
        .iter()
        .map(|unit| format!("# {}\n{}", dir.join(unit.name).display(), unit.text))
        .collect();
    match ui::print_data(text.join("\n").trim_end()) {
        Ok(()) => Exit::Passed,
        Err(error) => infra(&error, &[]),
    }
}

/// Works out what the units are made from: every place in force here is in force there.
fn plan(args: &InstallArgs) -> Result<Plan, UsageError> {
    let wrong = |error: Box<dyn std::error::Error>, hint: &str| UsageError {
        error,
        hints: vec![hint.to_owned()],
    };
    let every = duration(&args.every).map_err(|error| {
        let hint = "write it like `10m` or `90s` in `--every`";
        wrong(error.into(), hint)
    })?;
    let zone = settings::zone(&args.zone)?;
    // It goes into the service as it is, and would fail every sweep there.
    settings::deadline_or_default(&env::var("CCCI_DEADLINE"))?;
    if !args.dir.is_dir() {
        return Err(wrong(
            format!("`{}` is no directory", args.dir.display()).into(),
            "give an existing one with `--dir`, or look at the units with `--print`",
        ));
    }
    let exe = settings::own_program().map_err(|error| {
        let error = format!("this program cannot find itself: {error}");
        wrong(error.into(), "start it by its absolute path")
    })?;
    let dirs = host_dirs();
    let text = |value: &OsStr| value.to_string_lossy().into_owned();
    let mut environment = vec![
        ("HOME".to_owned(), text(env::home().as_os_str())),
        ("CCCI_ZONE".to_owned(), zone.to_string()),
    ];
    let metrics = env::path("CCCI_METRICS").filter(|file| file.is_absolute());
    let metrics = metrics.and_then(|file| file.parent().map(Path::to_owned));
    let places = settings::places(&dirs).into_iter();
    environment.extend(places.map(|(name, value)| (name.to_owned(), text(&value))));
    Ok(Plan {
        exe,
        user: user(),
        environment,
        writable: [dirs.locks, dirs.runs, dirs.state, dirs.warm, dirs.abra]
            .into_iter()
            .chain(metrics)
            .collect(),
        every,
    })
}

/// Returns who must sweep, so that locks and files keep their owner: `None` for root.
fn user() -> Option<String> {
    let uid = nix::unistd::geteuid();
    if uid.is_root() {
        return None;
    }
    let found = nix::unistd::User::from_uid(uid).ok().flatten();
    Some(found.map_or_else(|| uid.to_string(), |user| user.name))
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is not a duration"))?;
    match Duration::try_from(span) {
        Ok(span) if (SHORTEST..=LONGEST).contains(&span) => Ok(span),
        _ => Err(format!("`{text}` is not between a minute and half an hour")),
    }
}

fn refuse(error: UnitsError, args: &InstallArgs) -> Exit {
    let is_usage = error.is_usage();
    let hint = match &error {
        UnitsError::Unwritable { .. } => "give it another value, or move the program".to_owned(),
        UnitsError::Changed { .. } => format!(
            "compare it with `recipe-ci janitor install --print --dir {}`; `--force` replaces it",
            args.dir.display()
        ),
        UnitsError::File { .. } => {
            "run it as root, give another directory with `--dir`, or use `--print`".to_owned()
        }
        UnitsError::NoSystemd(_) => {
            "leave `--enable` away to only write the units, or start `recipe-ci janitor` from cron"
                .to_owned()
        }
        UnitsError::Systemctl(_) | UnitsError::Refused { .. } => {
            format!(
                "the units are written; see `systemctl status {}`",
                units::TIMER
            )
        }
    };
    if is_usage {
        usage(&UsageError {
            error: error.into(),
            hints: vec![hint],
        })
    } else {
        infra(&error, &[hint])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_within_reason() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("29m 60s"), Ok(Duration::from_secs(1800)));
        for bad in ["", "0s", "59s", "-10m", "31m", "200h", "often"] {
            assert!(duration(bad).is_err(), "{bad} was accepted");
        }
    }
}
