//! `recipe-ci demo`: the bundled recipe through every tier, on a host that `--setup` makes fit for it.
//!
//! [`prepare`] must be called before this process supervises a run: an engine that it starts would come back
//! to a child subreaper, and be killed as a stray.

use std::path::PathBuf;

use harness::demo::image::Fallback;
use harness::demo::{self, RECIPE};
use harness::doctor::{self, Check, Status, Subject};
use harness::host::{SetUp, SetUpError, Step, set_up};
use harness::report::printable;
use harness::report::redact::Redactor;
use harness::swarm::Engine;

use crate::exit::Exit;
use crate::ui;

/// The arguments of `recipe-ci demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Prepare this host first: as root install and start a Docker engine where there is none (Debian's
    /// docker.io), make it a swarm of one, create the `proxy` network and the demo's images, close overlay networks
    /// to containers with two `iptables` rules. What is there already is left as it is.
    #[arg(long)]
    setup: bool,
}

/// Prepares the host where asked, and writes the demo's repository; returns its path.
///
/// # Errors
/// How the program has to end; everything has been said.
pub(crate) async fn prepare(args: &DemoArgs, subject: &Subject) -> Result<PathBuf, Exit> {
    if args.setup {
        prepare_host(subject).await?;
    }
    let unfit: Vec<Check> = doctor::examine(subject)
        .await
        .into_iter()
        .filter(|check| check.status == Status::Fail)
        .collect();
    if !unfit.is_empty() {
        ui::say(&refusal(&unfit, args.setup));
        return Err(Exit::Infra);
    }
    if !args.setup {
        make_images(subject).await?;
    }
    let path = subject.dirs.state.join("demo").join(RECIPE);
    demo::write_repository(&path).map_err(|error| {
        ui::print_error(&error, &[], &Redactor::default());
        Exit::Infra
    })?;
    Ok(path)
}

async fn prepare_host(subject: &Subject) -> Result<(), Exit> {
    let host = SetUp {
        docker_host: subject.docker_host.clone(),
        dirs: subject.dirs.clone(),
        processes: subject.processes.clone(),
    };
    let mut progress = |step: Step| ui::say(&told(&step));
    set_up(&host, &mut progress).await.map_err(|error| {
        ui::print_error(&error, &hints(&error), &Redactor::default());
        Exit::Infra
    })
}

/// Makes the demo's images without touching the host: from a busybox that is here, or the registry's.
async fn make_images(subject: &Subject) -> Result<(), Exit> {
    let make = async {
        let engine = Engine::connect(&subject.docker_host)?;
        let dir = subject.dirs.state.join("demo");
        demo::images(&engine, &subject.processes, &dir, Fallback::None).await
    };
    match make.await {
        Ok(_) => Ok(()),
        Err(error) => {
            let hint = "`recipe-ci demo --setup` takes one from Debian's busybox-static".to_owned();
            ui::print_error(&error, &[hint], &Redactor::default());
            Err(Exit::Infra)
        }
    }
}

fn told(step: &Step) -> String {
    match step {
        Step::Found(what) => format!("  there   {what}"),
        Step::Doing(what) => format!("  ...     {what}"),
        Step::Done(what) => format!("  done    {what}"),
    }
}

/// Returns what the output of the failed command and the error itself suggest.
fn hints(error: &SetUpError) -> Vec<String> {
    let mut hints: Vec<String> = error
        .tail()
        .iter()
        .map(|line| format!("it said: {}", printable(line)))
        .collect();
    if let SetUpError::NotRoot { .. } = error {
        hints.push("run this command again as root, or let root do only what it takes:".to_owned());
        hints.extend(
            error
                .commands()
                .iter()
                .map(|command| format!("  {command}")),
        );
    }
    if let SetUpError::Engine(error) = error {
        hints.push(error.advice().to_owned());
    }
    if let SetUpError::NoApt = error {
        hints.push(
            "install Docker 20.10 or newer by hand (https://docs.docker.com/engine/install/), then run this again"
                .to_owned(),
        );
    }
    hints
}

/// Returns what is missing and which of the two commands helps.
fn refusal(unfit: &[Check], after_setup: bool) -> String {
    let mut text = String::from("error: this host is not ready for the demo\n");
    for check in unfit {
        text.push_str(&format!("  {}: {}\n", check.title, printable(&check.found)));
        if let Some(fix) = check.fix.as_ref().filter(|_| after_setup) {
            text.push_str(&format!("      fix: {}\n", fix.command));
        }
    }
    text.push('\n');
    text.push_str(if after_setup {
        "hint: `recipe-ci doctor` shows everything that was looked at"
    } else {
        "hint: `recipe-ci demo --setup` prepares a Debian host (as root where it installs); \
         `recipe-ci doctor` says what is missing and the command that fixes it"
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_is_not_root_is_told_the_commands() {
        let error = SetUpError::NotRoot {
            what: "start the Docker engine",
            commands: vec!["systemctl start docker".to_owned()],
        };
        assert_eq!(
            hints(&error),
            [
                "run this command again as root, or let root do only what it takes:",
                "  systemctl start docker"
            ]
        );
    }

    #[test]
    fn a_host_that_is_not_ready_is_told_what_is_missing_and_what_helps() {
        let check = Check {
            id: "engine",
            title: "Docker engine",
            status: Status::Fail,
            found: "there is none".to_owned(),
            fix: None,
        };
        let text = refusal(std::slice::from_ref(&check), false);
        assert!(text.contains("Docker engine: there is none"), "{text}");
        assert!(text.contains("demo --setup"), "{text}");
        assert!(!refusal(&[check], true).contains("demo --setup"));
    }
}
