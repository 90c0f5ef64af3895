//! The upgrade tier: the head is deployed in place, and it is proven that it moved.

use std::collections::BTreeMap;

use super::mounts::{self, Seen};
use super::{Bench, Tally, TierError, app_fault, hook, recipe_fault, still_good};
use crate::driver::stack::Stamp;
use crate::event::Event;
use engine::swarm::converge::NotConverged;
use engine::swarm::crash::Crashes;
use engine::swarm::service::{Service, StackState, Task, UpdateState, familiar_image};
use engine::wait::Deadline;
use ground::outcome::{Stage, TierOutcome};
use recipe::app_commands::After;
use recipe::backup::BackupPlan;
use recipe::release::Release;
use recipe::secret::SecretSpec;

/// What the app is to become.
#[derive(Debug)]
pub struct Target {
    /// The head, read with the app's own env file: what an operator's upgrade deploys.
    pub release: Release,
    /// The images that a new app of the head would have, by service: what an upgrade should arrive at.
    pub images: BTreeMap<String, String>,
    /// How it is labelled.
    pub stamp: Stamp,
}

/// Upgrades the app in place and judges it.
///
/// # Errors
/// [`TierError`] when the host fails.
pub async fn run(
    bench: &mut Bench,
    target: Target,
    plan: Option<&BackupPlan>,
    secrets: &mut Vec<SecretSpec>,
) -> Result<TierOutcome, TierError> {
    let events = bench.events.clone();
    let mut tally = Tally::start(&events, Stage::Upgrade);
    if !hook(bench, &mut tally, "pre", Stage::Upgrade).await? {
        return Ok(tally.end());
    }
    let targets = super::seed::targets(&bench.current.project, plan, Stage::Upgrade);
    match app_fault(bench.seed(&targets, "upgrade").await)? {
        Ok(left_out) => super::seed::note_left_out(&mut tally, &left_out),
        Err(reason) => {
            tally.check("generic: data seeded", Err(reason));
            return Ok(tally.end());
        }
    }
    super::database::seed_for_upgrade(bench, &mut tally).await?;

    let before = bench.state().await?;
    bench.converged.borrow_mut().note_before(&before);
    let held = bench.mounts_of(&before).await?;
    let Target {
        release,
        mut images,
        stamp,
    } = target;
    let pins = bench.pins();
    for image in images.values_mut() {
        *image = pins.name_of(pins.pinned(image)).to_owned();
    }
    let base = std::mem::replace(&mut bench.current, release.clone());
    let strayed = bench.strayed(&base.project, &release.project).await?;
    let deployed = async {
        *secrets = bench
            .driver
            .make_secrets(&bench.lock, &release, secrets)
            .await?;
        if let Some(remark) = bench.driver.deploy(&bench.lock, &release, &stamp).await? {
            bench.events.warn(remark);
        }
        bench.driver.note_version(&bench.lock, &release, &stamp)
    }
    .await;
    if let Err(error) = deployed {
        let (reason, tail) = recipe_fault(error)?;
        tally.show("what refused it", tail);
        tally.check("generic: deploy", Err(reason));
        return Ok(tally.end());
    }

    let deadline = Deadline::after(bench.timeout(&release));
    let after = match bench.converge(deadline, Crashes::since(&before)).await {
        Ok(state) => state,
        Err(NotConverged::Engine(error)) => return Err(error.into()),
        Err(error) => {
            bench.show_logs(&error.services()).await;
            tally.check("generic: converged", Err(error.to_string()));
            return Ok(tally.end());
        }
    };
    tally.check(
        "generic: converged",
        Ok(Some(format!("{} of {0} services", after.services.len()))),
    );
    let stayed = tally.check("generic: not rolled back", not_rolled_back(&after));
    if !stayed {
        bench.show_logs(&rolled_back(&after)).await;
    } else {
        let ran = bench.run_app_commands(After::Upgrade, &after, deadline);
        let said = |count| (count > 0).then(|| format!("{count} ended with 0"));
        match ran.await?.map(said) {
            Ok(None) => {}
            ran => drop(tally.check("generic: commands after the upgrade", ran)),
        }
    }
    let paused: Vec<&Service> = after
        .services
        .values()
        .filter(|service| is_paused(&before, service))
        .collect();
    for service in &paused {
        events.warn(format!(
            "Swarm paused the update of service `{}`: {}",
            service.name, service.update_message
        ));
    }
    let stack = bench.lock.domain().stack();
    tally.check(
        "generic: it moved",
        moved(&after, &images, &stamp, &release, stack.as_str()),
    );
    let moved_on = tally.check("generic: no task of before", no_old_task(&before, &after));
    if !moved_on {
        let paused: Vec<String> = paused.iter().map(|service| service.name.clone()).collect();
        bench.show_logs(&paused).await;
    }
    tally.check(
        "generic: dropped services are gone",
        pruned(&after, &release),
    );
    data_is_in_place(bench, &mut tally, &held, strayed, &after).await?;
    bench.learn_of_upgrade(&base.project, &before).await;
    still_good(bench, &mut tally, deadline, "generic: data survived").await?;
    Ok(tally.end())
}

/// What the base kept on volumes the head keeps there too, and no two servers wrote one volume on the way.
async fn data_is_in_place(
    bench: &Bench,
    tally: &mut Tally<'_>,
    before: &Seen,
    strayed: Vec<String>,
    after: &StackState,
) -> Result<(), TierError> {
    let stack = bench.lock.domain().stack();
    let now = bench.mounts_of(after).await?;
    let found = |found: Vec<String>| match found.is_empty() {
        true => Ok(None),
        false => Err(found.join("; ")),
    };
    let mut forsaken = mounts::forsaken(before, &now, stack.as_str());
    forsaken.extend(strayed);
    tally.check("generic: data stays on its volumes", found(forsaken));
    let mut told = mounts::moved(before, &now, stack.as_str());
    told.extend(mounts::anonymous(&now));
    for told in told {
        bench.events.emit(&Event::Found(Box::new(told)));
    }
    let beside = bench.servers_beside(before, after).await?;
    if !beside.is_empty() {
        tally.check("generic: one server on its files", found(beside));
    }
    Ok(())
}

fn rolled_back(state: &StackState) -> Vec<String> {
    let gave_up = |update| matches!(update, UpdateState::RolledBack | UpdateState::RollingBack);
    state
        .services
        .values()
        .filter(|service| gave_up(service.update))
        .map(|service| service.name.clone())
        .collect()
}

/// Swarm reverts a failed update, labels included, while the old task goes on serving: health alone would
/// pass. A paused update is none of these: one flicker pauses it for ever, though its tasks are the head's;
/// [`no_old_task`] sees one that stopped half-way.
fn not_rolled_back(state: &StackState) -> Result<Option<String>, String> {
    let names = rolled_back(state);
    let Some(service) = names.first().and_then(|name| state.services.get(name)) else {
        return Ok(None);
    };
    Err(format!(
        "Swarm rolled back service `{}`: {}",
        names.join("`, `"),
        service.update_message
    ))
}

/// The labels say head and every service has the head's image.
fn moved(
    state: &StackState,
    images: &BTreeMap<String, String>,
    stamp: &Stamp,
    release: &Release,
    stack: &str,
) -> Result<Option<String>, String> {
    let label = |name: &str| {
        let key = format!("coop-cloud.{stack}.{name}");
        state
            .services
            .values()
            .find_map(|service| service.labels.get(&key))
            .map(String::as_str)
    };
    let chaos = release.chaos_version();
    // abra may have another idea of how many digits are short, or of what is uncommitted.
    if stamp.chaos && !label("chaos-version").is_some_and(|label| release.is_chaos_version(label)) {
        return Err(format!(
            "label chaos-version is `{}`, the head is `{chaos}`",
            label("chaos-version").unwrap_or("absent")
        ));
    }
    if stamp.version.is_some() && label("version") != stamp.version.as_deref() {
        return Err(format!(
            "label version is `{}`, the head's is `{}`",
            label("version").unwrap_or("absent"),
            stamp.version.as_deref().unwrap_or_default()
        ));
    }
    have_images(state, images)?;
    Ok(Some(format!(
        "chaos-version {chaos}, {} images",
        images.len()
    )))
}

/// The spec's image is what Docker's client made of the compose file's, which names the same in other words.
fn have_images(state: &StackState, images: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, image) in images {
        let Some(service) = state.services.get(name) else {
            continue;
        };
        if service.image != familiar_image(image) {
            return Err(format!(
                "service `{name}` still has image `{}`, a new app of the head has `{image}`",
                service.image
            ));
        }
    }
    Ok(())
}

/// Whether Swarm paused the update of `service` that the upgrade began; an older one may have stayed so.
fn is_paused(before: &StackState, service: &Service) -> bool {
    let began = before
        .services
        .get(&service.name)
        .and_then(|old| old.update_started.as_ref());
    service.update == UpdateState::Paused && began != service.update_started.as_ref()
}

/// A service that was updated has no task from before the update.
///
/// That is one whose container spec changed, and one whose update was paused, whatever in its spec it was for.
/// While an update is paused convergence counts tasks of either spec, so those are compared as well.
fn no_old_task(before: &StackState, after: &StackState) -> Result<Option<String>, String> {
    for service in after.services.values() {
        let Some(old) = before.services.get(&service.name) else {
            continue;
        };
        let paused = is_paused(before, service);
        if old.container_spec == service.container_spec && !paused {
            continue;
        }
        let is_old = |task: &&Task| {
            before.tasks.iter().any(|old| old.id == task.id)
                || (paused && task.container_spec != service.container_spec)
        };
        let stale = after
            .tasks_of(service)
            .filter(|task| task.is_up())
            .find(is_old);
        if let Some(task) = stale {
            let why = if paused {
                format!(", which Swarm paused half-way: {}", service.update_message)
            } else {
                String::new()
            };
            return Err(format!(
                "service `{}` still runs task {} from before the update{why}",
                service.name, task.id
            ));
        }
    }
    Ok(None)
}

fn pruned(state: &StackState, release: &Release) -> Result<Option<String>, String> {
    let left: Vec<&str> = state
        .services
        .keys()
        .map(String::as_str)
        .filter(|name| release.project.service(name).is_none())
        .collect();
    if left.is_empty() {
        Ok(None)
    } else {
        Err(format!(
            "the head dropped `{}`, which still runs",
            left.join("`, `")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::swarm::service::samples;
    use serde_json::json;

    fn service(image: &str) -> Service {
        Service {
            image: image.to_owned(),
            container_spec: json!({"Image": image}),
            ..samples::service("app")
        }
    }

    fn state(service: Service, tasks: Vec<Task>) -> StackState {
        StackState {
            services: BTreeMap::from([(service.name.clone(), service)]),
            tasks,
        }
    }

    fn task(id: &str, image: &str) -> Task {
        Task {
            container_spec: json!({"Image": image}),
            exit_code: None,
            ..samples::task(id, "app", "running")
        }
    }

    fn paused(image: &str) -> Service {
        Service {
            update: UpdateState::Paused,
            update_message: "update paused due to failure of task 2".to_owned(),
            update_started: Some("2026-01-02".to_owned()),
            ..service(image)
        }
    }

    #[test]
    fn a_paused_update_passes_when_every_task_is_of_the_head() {
        let before = state(service("x:1"), vec![task("1", "x:1")]);
        // The flickering task is gone, the next one is up.
        let mut flickered = task("2", "x:2");
        "failed".clone_into(&mut flickered.state);
        "shutdown".clone_into(&mut flickered.desired);
        let after = state(paused("x:2"), vec![task("3", "x:2"), flickered]);
        assert!(is_paused(&before, &after.services["app"]));
        assert_eq!(not_rolled_back(&after), Ok(None));
        assert_eq!(no_old_task(&before, &after), Ok(None));

        for gave_up in [UpdateState::RolledBack, UpdateState::RollingBack] {
            let update = Service {
                update: gave_up,
                ..paused("x:2")
            };
            not_rolled_back(&state(update, Vec::new())).unwrap_err();
        }
    }

    #[test]
    fn a_paused_update_that_left_a_task_of_before_fails() {
        let before = state(service("x:1"), vec![task("1", "x:1")]);
        let judge = |service: Service, tasks: Vec<Task>| {
            no_old_task(&before, &state(service, tasks)).map_err(|reason| {
                assert!(
                    reason.contains("paused half-way: update paused"),
                    "{reason}"
                );
            })
        };
        // One of two replicas moved.
        judge(paused("x:2"), vec![task("2", "x:2"), task("1", "x:1")]).unwrap_err();
        // It came up between the two looks, so its id is new.
        judge(paused("x:2"), vec![task("2", "x:2"), task("9", "x:1")]).unwrap_err();
        // Something beside the container changed: a limit, a network.
        judge(paused("x:1"), vec![task("2", "x:1"), task("1", "x:1")]).unwrap_err();

        // The base's update was paused, and the head changes nothing in that service.
        let before = state(paused("x:1"), vec![task("1", "x:1")]);
        let after = before.clone();
        assert!(!is_paused(&before, &after.services["app"]));
        assert_eq!(no_old_task(&before, &after), Ok(None));
    }

    #[test]
    fn an_image_that_is_written_in_other_words_has_moved() {
        let judge = |spec: &str, written: &str| {
            let images = BTreeMap::from([("app".to_owned(), written.to_owned())]);
            have_images(&state(service(spec), Vec::new()), &images)
        };
        for (spec, written) in [
            ("redis:7", "docker.io/library/redis:7"),
            ("valkey/valkey:8", "docker.io/valkey/valkey:8"),
            ("foo:latest", "foo"),
            ("host:5000/foo:latest", "host:5000/foo"),
            ("redis:7", &format!("redis:7@sha256:{}", "0".repeat(64))),
        ] {
            assert_eq!(judge(spec, written), Ok(()), "{written}");
        }
        let reason = judge("redis:6", "docker.io/library/redis:7").unwrap_err();
        assert!(reason.contains("still has image `redis:6`"), "{reason}");
    }
}
