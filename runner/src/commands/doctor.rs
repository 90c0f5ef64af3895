//! `recipe-ci doctor`: is this host fit for runs, and what repairs it where it is not.
//!
//! The table and the JSON are the command's data and go to stdout; what `--fix` does is told on stderr.

use std::fmt::Write as _;

use harness::abra::contract::{self, Assumption, Standing};
use harness::doctor::{Applied, Check, Status, Subject, apply, examine};
use harness::report::printable;
use serde_json::json;

use crate::exit::Exit;
use crate::ui;

/// The arguments of `recipe-ci doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Do what can be done safely: missing directories, a swarm where there is none, the `proxy` network,
    /// the `iptables` rules that close overlay networks to containers.
    #[arg(long)]
    fix: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Hold this host's abra against what the abra driver assumes of it, instead. No app changes; where it holds,
    /// `--driver auto` takes this abra from now on.
    #[arg(long, conflicts_with = "fix")]
    abra: bool,
}

/// Holds abra against its contract: exit 0 when nothing is broken, 3 when something is.
async fn contract(args: &DoctorArgs, subject: &Subject) -> Exit {
    let checked = contract::check(&subject.processes, &subject.dirs, &subject.docker_host).await;
    let text = if args.json {
        let (holds, assumptions) = (checked.holds, &checked.assumptions);
        json!({ "schema": 1, "holds": holds, "assumptions": assumptions }).to_string()
    } else {
        contract_table(&checked.assumptions)
    };
    if let Err(error) = ui::print_data(&text) {
        ui::say(&format!("error: cannot write to standard output: {error}"));
        return Exit::Infra;
    }
    if let Some(error) = checked.unwritten {
        ui::say(&format!(
            "error: the result cannot be written to {}, so `--driver auto` does not know it: {error}",
            subject.dirs.state.display()
        ));
        return Exit::Infra;
    }
    if checked.holds {
        Exit::Passed
    } else {
        Exit::Infra
    }
}

/// Returns a line per assumption, what was found below it, and what it comes to.
fn contract_table(assumptions: &[Assumption]) -> String {
    let mut text = String::new();
    for assumption in assumptions {
        let word = match assumption.standing {
            Standing::Held => "held   ",
            Standing::Broken => "BROKEN ",
            Standing::Unknown => "unknown",
        };
        line(&mut text, &format!("{word}  {}", assumption.what));
        line(
            &mut text,
            &format!("         {}", printable(&assumption.found)),
        );
    }
    let count = |standing| {
        assumptions
            .iter()
            .filter(|one| one.standing == standing)
            .count()
    };
    let (broken, unknown) = (count(Standing::Broken), count(Standing::Unknown));
    text.push('\n');
    text.push_str(&match broken {
        0 => format!(
            "Nothing that the abra driver assumes is broken; {unknown} are not known. \
             `--driver auto` takes this abra from now on."
        ),
        // Without its version nothing else is looked at.
        1 if assumptions.len() == 1 => {
            "There is no abra to ask, so `--driver auto` takes the embedded driver. Put abra on PATH for the other; \
             please report this line if it is there."
                .to_owned()
        }
        broken => format!(
            "{} broken: `--driver auto` does not take this abra. Please report this list.",
            if broken == 1 {
                "1 assumption is".to_owned()
            } else {
                format!("{broken} assumptions are")
            }
        ),
    });
    text
}

/// Examines the host, repairs it where asked, and prints how it stands.
pub(crate) async fn doctor(args: &DoctorArgs, subject: &Subject) -> Exit {
    if args.abra {
        return contract(args, subject).await;
    }
    let mut checks = examine(subject).await;
    let mut applied = Vec::new();
    if args.fix {
        applied = apply(subject, &checks).await;
        for fix in &applied {
            ui::say(&told(fix));
        }
        if !applied.is_empty() {
            checks = examine(subject).await;
        }
    }
    let fit = checks.iter().all(|check| check.status != Status::Fail);
    let text = if args.json {
        json!({ "schema": 1, "fit": fit, "checks": checks, "applied": applied }).to_string()
    } else {
        table(&checks)
    };
    if let Err(error) = ui::print_data(&text) {
        ui::say(&format!("error: cannot write to standard output: {error}"));
        return Exit::Infra;
    }
    if fit { Exit::Passed } else { Exit::Infra }
}

fn told(fix: &Applied) -> String {
    match &fix.error {
        None => format!("fixed: {}", fix.command),
        Some(error) => format!("not fixed: {}: {}", fix.command, printable(error)),
    }
}

/// Returns the table for people: a line per check, its fix below it, and what it comes to.
fn table(checks: &[Check]) -> String {
    let width = checks
        .iter()
        .map(|check| check.title.len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for check in checks {
        let word = match check.status {
            Status::Ok => "ok  ",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        line(
            &mut text,
            &format!(
                "{word}  {:width$}  {}",
                check.title,
                printable(&check.found)
            ),
        );
        if let Some(fix) = check.fix.as_ref().filter(|_| check.status != Status::Ok) {
            line(
                &mut text,
                &format!("      {:width$}  fix: {}", "", fix.command),
            );
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (failed, warned) = (count(Status::Fail), count(Status::Warn));
    let fixable = checks
        .iter()
        .filter(|check| check.fix.as_ref().is_some_and(|fix| fix.safe))
        .count();
    text.push('\n');
    text.push_str(&match (failed, warned) {
        (0, 0) => "This host is fit for runs.".to_owned(),
        (0, warned) => format!("This host is fit for runs; {} to look at.", things(warned)),
        (failed, _) => format!(
            "This host is not fit for runs: {} to repair.",
            things(failed)
        ),
    });
    if fixable > 0 {
        write!(
            text,
            " `recipe-ci doctor --fix` repairs {fixable} of them by itself."
        )
        .expect("writing to a string succeeds");
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn things(count: usize) -> String {
    if count == 1 {
        "1 thing".to_owned()
    } else {
        format!("{count} things")
    }
}

#[cfg(test)]
mod tests {
    use harness::doctor::Fix;

    use super::*;

    fn check(title: &'static str, status: Status, found: &str, fix: Option<(&str, bool)>) -> Check {
        Check {
            id: "x",
            title,
            status,
            found: found.to_owned(),
            fix: fix.map(|(command, safe)| Fix {
                command: command.to_owned(),
                safe,
            }),
        }
    }

    #[test]
    fn the_table_names_each_check_its_finding_and_its_fix() {
        let checks = [
            check("Docker engine", Status::Ok, "20.10 at unix:///s", None),
            check(
                "swarm",
                Status::Fail,
                "this engine is in no swarm",
                Some(("docker swarm init", true)),
            ),
            check(
                "pytest",
                Status::Warn,
                "not on PATH",
                Some(("apt-get install python3-pytest", false)),
            ),
        ];
        insta::assert_snapshot!(table(&checks), @r"
        ok    Docker engine  20.10 at unix:///s
        FAIL  swarm          this engine is in no swarm
                             fix: docker swarm init
        warn  pytest         not on PATH
                             fix: apt-get install python3-pytest

        This host is not fit for runs: 1 thing to repair. `recipe-ci doctor --fix` repairs 1 of them by itself.
        ");
        insta::assert_snapshot!(table(&checks[..1]), @r"
        ok    Docker engine  20.10 at unix:///s

        This host is fit for runs.
        ");
    }
}
