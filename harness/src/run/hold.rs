//! The app of a run that is over, handed to a process that holds it.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;

use super::app::App;
use super::context::Context;
use super::error::AnyError;
use super::step::Role;
use crate::event::Event;
use crate::hold::heir::Heir;
use crate::hold::{Hold, Orders, READY, STATE, holder};
use crate::live;
use crate::tier::state::AppState;
use engine::dirs::{DirsError, RunDirs};
use engine::lock::heir::{Line, Received};
use engine::lock::{DomainLock, SectionLock};
use engine::process::{Cmd, Daemon, Identity, Processes};
use engine::record::write_private;
use engine::swarm::Engine;
use ground::error::chain;
use ground::name::Domain;
use ground::outcome::{Status, TierOutcome};

/// The state files that stay while the app is held.
pub(super) const KEPT: [&str; 2] = [live::RECORD, STATE];

/// How many apps are held on a host at once: who opens pull requests that fail must not take the host with them.
const MOST_HELD: usize = 8;

/// How long a holder may take to say that it has the locks: as long as a busy host starts a program.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Hands over what is to be held, and leaves in `locks` those of the apps that are to be removed. When nothing can be
/// held, that is said, and all are.
pub(super) async fn hand_over(
    context: &Context<'_>,
    engine: &Engine,
    span: Duration,
    locks: &mut Vec<Rc<DomainLock>>,
) {
    let Some(domain) = looked_at(context) else {
        return;
    };
    match begin(context, engine, span, &domain).await {
        Ok((hold, holder, heir)) => {
            locks.retain(|lock| !heir.has(lock));
            context.held.borrow_mut().heir = Some(heir);
            let hold = Box::new(hold);
            context.events.emit(&Event::Held { hold, holder });
        }
        Err(error) => context
            .events
            .warn(format!("the app {domain} is not held: {}", chain(&*error))),
    }
}

/// Returns the app to look at: that of which a tier failed, else that under test which was judged last. Of the other apps
/// those that made way are gone.
fn looked_at(context: &Context<'_>) -> Option<Domain> {
    let held = context.held.borrow();
    let is_red = |tier: &TierOutcome| tier.blames_recipe && tier.status != Status::Pass;
    let mut judged = held.judged.iter().rev();
    let found = match held.tiers.iter().find(|tier| is_red(tier)) {
        Some(red) => judged.find(|(stage, _)| *stage == red.stage),
        None => {
            let red = held.others.iter().filter(|(_, tier)| is_red(tier));
            let mut red = red.map(|(app, _)| context.settings.domain_of(app));
            let is_there = |domain: &Domain| {
                held.locks_of(Role::Other)
                    .iter()
                    .any(|lock| lock.domain() == domain)
            };
            if let Some(domain) = red.find(is_there) {
                return Some(domain);
            }
            judged.next()
        }
    };
    found.map(|(_, domain)| domain.clone())
}

/// Returns the places of the app at `domain`.
fn dirs_of(context: &Context<'_>, app: &App) -> Result<RunDirs, DirsError> {
    match app.role {
        Role::Fresh => context.dirs.of_fresh(),
        Role::Other => {
            let held = context.held.borrow();
            let domain = app.lock.domain();
            let mut others = held.others.iter().map(|(other, _)| other);
            let other = others.find(|other| context.settings.domain_of(other) == *domain);
            other.map_or_else(
                || Ok(context.dirs.clone()),
                |other| context.dirs.of_other(&other.dir_name()),
            )
        }
        _ => Ok(context.dirs.clone()),
    }
}

async fn begin(
    context: &Context<'_>,
    engine: &Engine,
    span: Duration,
    domain: &Domain,
) -> Result<(Hold, Identity, Heir), AnyError> {
    let settings = &context.settings;
    let runs = live::list(&settings.host).runs;
    let held = runs.iter().filter(|run| run.is_held()).count();
    if held >= MOST_HELD {
        return Err(format!(
            "{held} apps are held on this host already; `recipe-ci release` lets one go"
        )
        .into());
    }
    let run = context
        .live
        .clone()
        .ok_or("the run could not say that it lives")?;
    let (app, needed) = {
        let held = context.held.borrow();
        let mut apps = held.apps.iter();
        let app = apps.find(|app| app.lock.domain() == domain).cloned();
        (
            app.ok_or("its lock is not this run's")?,
            held.locks_of(Role::Dependency),
        )
    };
    let dirs = dirs_of(context, &app)?;
    let state = AppState::read(&dirs.state_file("op-state"))?;
    let text = serde_json::to_vec_pretty(&state)?;
    write_private(&context.dirs.state.join(STATE), &text)?;

    let apps: Vec<Rc<DomainLock>> = std::iter::once(app.lock).chain(needed).collect();
    let names: Vec<String> = apps.iter().map(|lock| lock.domain().to_string()).collect();
    let until = Timestamp::now().saturating_add(span)?;
    let until = until.round(jiff::Unit::Second)?.to_string();
    let orders = Orders {
        run: context.dirs.id.to_string(),
        root: context.dirs.root.clone(),
        host: settings.host.clone(),
        zone: settings.zone.to_string(),
        domains: names.clone(),
        docker_host: settings.docker_host.clone(),
        span,
        until: until.clone(),
    };
    let (line, far) = Line::pair()?;
    // Without the mark of this run: it is no part of it.
    let processes = Processes::new(settings.child_env.clone());
    let cmd = Cmd::new(&settings.exe, Path::new("/")).arg("holder");
    let mut daemon = processes.spawn_on_line(&cmd, far, &holder::log(&context.dirs.root))?;
    let holder = match answer(&line, &orders, (&apps, &run), &daemon).await {
        Ok(holder) => holder,
        Err(error) => {
            // Two must not remove one app.
            drop(daemon.kill());
            return Err(error);
        }
    };
    let id = &context.dirs.id;
    let service = state.main_service.as_deref().unwrap_or("app");
    let hold = Hold {
        domain: domain.to_string(),
        dependencies: names[1..].to_vec(),
        url: state.url(engine).await,
        shell: format!("recipe-ci app --run {id} exec --service {service} -- sh"),
        release: format!("recipe-ci release {id}"),
        until,
        ended: None,
    };
    Ok((hold, holder, Heir::new(line, apps, run)))
}

/// Gives the orders with the locks, and waits for the answer.
async fn answer(
    line: &Line,
    orders: &Orders,
    (apps, run): (&[Rc<DomainLock>], &SectionLock),
    daemon: &Daemon,
) -> Result<Identity, AnyError> {
    let locks = apps.iter().map(|app| app.locked());
    let locks: Vec<_> = locks.chain([run.locked()]).collect();
    line.send(&serde_json::to_string(orders)?, &locks)?;
    match line.receive_within(READY_LIMIT).await? {
        Received::Message(text, _) if text == READY => Ok(Identity::of(daemon.pid())?),
        Received::Message(why, _) => Err(why.into()),
        Received::End => {
            Err("its holder ended at once; `hold.log` in the run's directory says why".into())
        }
    }
}
