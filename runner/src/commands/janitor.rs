//! `recipe-ci janitor`: one sweep.

use harness::janitor::{self, Decision};
use harness::name::Zone;
use harness::swarm::Engine;

use super::{infra, usage};
use crate::cli::JanitorArgs;
use crate::exit::Exit;
use crate::settings::{UsageError, docker_host, host_dirs};
use crate::ui;

pub(crate) async fn janitor(args: &JanitorArgs) -> Exit {
    let zone: Zone = match crate::settings::zone_or_default(&args.zone).parse() {
        Ok(zone) => zone,
        Err(error) => {
            let error: harness::name::NameError = error;
            return usage(&UsageError {
                error: error.into(),
                hints: Vec::new(),
            });
        }
    };
    let run = format!("janitor-{}", std::process::id())
        .parse()
        .expect("a word and a number are a run id");
    let swept = match Engine::connect(&docker_host()) {
        Ok(engine) => janitor::sweep(&engine, &host_dirs(), &zone, &run, args.dry_run).await,
        Err(error) => Err(error),
    };
    let sweep = match swept {
        Ok(sweep) => sweep,
        Err(error) => {
            return infra(
                &error,
                &["`recipe-ci doctor` says what is wrong with this host".to_owned()],
            );
        }
    };
    for finding in &sweep.findings {
        let domain = &finding.domain;
        let line = match &finding.decision {
            Decision::Reaped if args.dry_run => {
                format!("{domain}: owner is dead, would be removed")
            }
            Decision::Reaped => format!("{domain}: owner was dead, removed"),
            Decision::Incomplete(left) => format!("{domain}: would not go: {left}"),
            Decision::Live { holder, .. } if holder.is_empty() => {
                format!("{domain}: live, left alone")
            }
            Decision::Live { holder, .. } => format!("{domain}: live ({holder}), left alone"),
            Decision::Skipped(error) => {
                format!("{domain}: skipping: {}", harness::error::chain(error))
            }
            Decision::Failed(error) => format!("{domain}: {}", harness::error::chain(error)),
        };
        drop(ui::print_data(&line));
    }
    for place in &sweep.unreadable {
        drop(ui::print_data(&format!("skipping {place}")));
    }
    if sweep.is_clean() {
        Exit::Passed
    } else {
        Exit::Leftovers
    }
}
