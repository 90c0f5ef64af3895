//! Removing a stack: whatever order, however half-made, however often.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::object::{Belongings, Kind, Listing, Object, residual};
use super::watch::Watch;
use super::{Engine, EngineError};
use crate::wait::{Deadline, Stopwatch, pause};
use ground::outcome::Residual;

/// How long an engine may be silent before a removal gives up: a restart of dockerd takes a few seconds.
const RESTART_LIMIT: Duration = Duration::from_secs(20);

/// How long a request of a killed process may still be on its way through the engine: what it makes is
/// not listed before.
pub const IN_FLIGHT: Duration = Duration::from_millis(200);

/// How the process that made a stack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployerState {
    /// It has had the answer to its last request.
    Done,
    /// In the middle of whatever it did: killed, cancelled, past its deadline.
    CutOff,
}

/// What a removal came to.
#[derive(Debug, Clone, Default)]
pub struct Removal {
    /// What is still there; empty when two listings in a row were.
    pub residual: Residual,
    /// What the engine last said about objects that would not go.
    pub complaints: Vec<String>,
    /// What bears the label of the stack and was not made for it, so that it was left alone.
    pub foreign: Vec<Object>,
}

/// Removes everything of `app` until two listings in a row are empty or `deadline` passes. Where its maker was
/// cut off, [`IN_FLIGHT`] lies between the two.
///
/// The containers are killed: an app under test needs no grace, and Swarm would wait for each one's
/// `stop_grace_period` (10 s by default) while it holds networks and volumes. They are killed before their
/// services are removed: a task that runs when its service goes is shut down by Swarm itself, which takes
/// it 3 s even when the container is gone already; a task that has failed is simply dropped.
///
/// # Errors
/// [`EngineError`] when the engine cannot be asked what is there for longer than it needs to restart; a
/// single object that will not go is not an error but a residual.
pub async fn remove_stack(
    engine: &Engine,
    app: &Belongings,
    maker: DeployerState,
    deadline: Deadline,
) -> Result<Removal, EngineError> {
    remove_all_but(engine, app, |_| false, maker, deadline).await
}

/// Removes everything of `app` except what is `kept`, as [`remove_stack`] does.
///
/// # Errors
/// As [`remove_stack`].
pub async fn remove_all_but(
    engine: &Engine,
    app: &Belongings,
    kept: impl Fn(&Object) -> bool,
    maker: DeployerState,
    deadline: Deadline,
) -> Result<Removal, EngineError> {
    let stack = app.stack();
    let mut watch = Watch::new(engine, stack);
    let mut empty_listings = 0;
    let mut answered = Stopwatch::start();
    let mut emptied = Emptied::default();
    let mut too_deep = BTreeMap::new();
    loop {
        // Asked before the look: what is left is what is there after the deadline.
        let is_last = deadline.passed();
        let Listing {
            own: mut objects,
            foreign,
            tasks,
        } = match engine.listing_of(app).await {
            Ok(listing) => {
                answered = Stopwatch::start();
                listing
            }
            Err(error) if deadline.passed() || answered.elapsed() > RESTART_LIMIT => {
                return Err(error);
            }
            Err(_) => {
                watch
                    .changed(Duration::from_millis(500).min(deadline.left()))
                    .await;
                continue;
            }
        };
        objects.retain(|object| !kept(object));
        if objects.is_empty() {
            empty_listings += 1;
            if empty_listings == 2 {
                return Ok(Removal {
                    foreign,
                    ..Removal::default()
                });
            }
            if maker == DeployerState::CutOff {
                pause(IN_FLIGHT.min(deadline.left())).await;
            }
            continue;
        }
        empty_listings = 0;
        tracing::debug!(%stack, left = %residual(&objects), "removing");
        if !is_last {
            emptied.empty(engine, &mut objects, &tasks).await;
        }
        let complaints = pass(engine, &objects, &mut too_deep).await;
        let goes = |object: &Object| !too_deep.contains_key(&object.id);
        if is_last || !objects.iter().any(goes) {
            return Ok(Removal {
                residual: residual(&objects),
                complaints,
                foreign,
            });
        }
        watch
            .changed(Duration::from_millis(200).min(deadline.left()))
            .await;
    }
}

/// How many tasks of a slot Swarm keeps, unless an operator sets another limit
/// (`docker swarm update --task-history-limit`). With the next one its task reaper deletes the oldest.
const TASK_HISTORY: usize = 5;

/// How long a service's tasks may take to go before the service is removed in spite of them.
const EMPTYING: Duration = Duration::from_secs(5);

/// Services whose tasks go before they do.
///
/// Swarm's manager reads a removed service's tasks and then marks each one. If the task reaper deletes one in
/// between, the manager follows a nil pointer, and dockerd ends with all apps of the host (`SetServiceTasksRemove` in
/// swarmkit's `manager/orchestrator/service.go`; seen with 20.10.24 on a busy host). The reaper deletes only tasks of
/// services that have failed again and again, a quarter of a second after each new one.
#[derive(Default)]
struct Emptied(BTreeMap<String, Option<Stopwatch>>);

impl Emptied {
    /// Scales services with a long history to none, and takes those that still have tasks out of `objects`.
    async fn empty(
        &mut self,
        engine: &Engine,
        objects: &mut Vec<Object>,
        tasks: &BTreeMap<String, usize>,
    ) {
        for object in &*objects {
            let count = tasks.get(&object.id).copied().unwrap_or_default();
            if object.kind != Kind::Service
                || count < TASK_HISTORY
                || self.0.contains_key(&object.id)
            {
                continue;
            }
            let since = match engine.scale_to_none(object).await {
                Ok(true) => Some(Stopwatch::start()),
                Ok(false) => None,
                // It is removed with its tasks, as every service was before.
                Err(error) => {
                    tracing::debug!(%error, "not scaled to none");
                    None
                }
            };
            self.0.insert(object.id.clone(), since);
        }
        objects.retain(|object| {
            let has_tasks = tasks.contains_key(&object.id);
            let since = self.0.get(&object.id).and_then(Option::as_ref);
            object.kind != Kind::Service
                || !has_tasks
                || since.is_none_or(|since| since.elapsed() > EMPTYING)
        });
    }
}

/// Returns whether the engine says that it removes directories that are deeper than it has descriptors: `os.RemoveAll`
/// of Go opens each one below its parent, which stays open (`openfdat` in `removeall_at.go`). Each try takes all that the
/// engine has from everybody else, so there is one. Whoever else meets that shortage, such as another run's app that is
/// removed meanwhile, is asked for again.
fn is_too_deep(said: &str) -> bool {
    said.contains("openfdat ") && said.contains("too many open files")
}

/// Asks for the removal of every object that can go now; returns what the engine objected to. What is `too_deep`, with
/// what was said of it, is not asked for again.
async fn pass(
    engine: &Engine,
    objects: &[Object],
    too_deep: &mut BTreeMap<String, String>,
) -> Vec<String> {
    if objects.iter().any(|object| object.kind == Kind::Service) {
        // One that cannot be killed is not running, or is removed by force below.
        let containers = objects
            .iter()
            .filter(|object| object.kind == Kind::Container);
        join_all(containers.map(|container| engine.kill(container))).await;
    }
    let mut complaints = Vec::new();
    // What is in one group does not hold anything else of it.
    for kinds in [
        &[Kind::Service][..],
        &[Kind::Container],
        &[Kind::Network, Kind::Volume, Kind::Secret, Kind::Config],
    ] {
        let removals = objects
            .iter()
            .filter(|object| kinds.contains(&object.kind) && !too_deep.contains_key(&object.id))
            .map(async |object| (object, engine.remove(object).await));
        for (object, result) in join_all(removals).await {
            let Err(error) = result else {
                continue;
            };
            let said = describe(&error);
            if is_too_deep(&said) {
                let told = format!(
                    "{said}: its directories are deeper than the engine can open; as root on its host: `rm -rf` what \
                     `docker inspect` shows as its place, then `recipe-ci janitor`"
                );
                too_deep.insert(object.id.clone(), told);
            } else {
                complaints.push(said);
            }
        }
    }
    complaints.extend(too_deep.values().cloned());
    tracing::debug!(?complaints, "one pass");
    complaints
}

fn describe(error: &EngineError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::testing::{engine, late, nothing, with_volume};
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn what_a_request_makes_after_its_maker_was_cut_off_is_removed_too() {
        let root = tempfile::tempdir().unwrap();
        let domain = ground::name::Domain::parse("note-0a1b2c.z", &"z".parse().unwrap()).unwrap();
        let (engine, removed) = late(root.path(), domain.stack());
        let limit = Deadline::after(Duration::from_secs(20));
        let app = Belongings::of(domain.stack());
        let removal = remove_stack(&engine, &app, DeployerState::CutOff, limit).await;
        assert!(removal.unwrap().residual.is_empty());
        assert!(
            removed.load(Ordering::SeqCst),
            "it came after two empty listings"
        );
    }

    /// A breaker's app made directories in directories. Each try to remove them took all descriptors of the engine.
    #[tokio::test(flavor = "current_thread")]
    async fn what_is_deeper_than_the_engine_can_open_is_asked_for_once_and_said() {
        let (removal, asked) = removal_of_volume(|_| (500, "openfdat /v/d/d: too many open files"));
        let removal = removal.await;
        assert!(!removal.residual.is_empty());
        let complaints = removal.complaints.join("; ");
        assert!(
            complaints.contains("deeper than the engine can open"),
            "{complaints}"
        );
        assert_eq!(asked.try_iter().count(), 1);
    }

    /// While it tries that, others meet its shortage for a moment: what is theirs is not given up.
    #[tokio::test(flavor = "current_thread")]
    async fn what_the_engine_has_no_descriptor_for_at_the_moment_is_asked_for_again() {
        let (removal, asked) = removal_of_volume(|count| match count {
            0..3 => (500, "open /v: too many open files"),
            _ => (204, ""),
        });
        assert!(removal.await.residual.is_empty());
        assert_eq!(asked.try_iter().count(), 4);
    }

    /// Removes a stack of one volume from an engine that gives `answer` to the requests for that, which are counted from
    /// 0; returns what that comes to, and one word for each request.
    fn removal_of_volume(
        answer: fn(u32) -> (u16, &'static str),
    ) -> (impl Future<Output = Removal>, std::sync::mpsc::Receiver<()>) {
        let (said, heard) = std::sync::mpsc::channel();
        let removal = async move {
            let root = tempfile::tempdir().unwrap();
            let zone = "z".parse().unwrap();
            let domain = ground::name::Domain::parse("note-0a1b2c.z", &zone).unwrap();
            let mut count = 0;
            let engine = with_volume(root.path(), domain.stack(), move || {
                said.send(()).unwrap();
                count += 1;
                answer(count - 1)
            });
            let limit = Deadline::after(Duration::from_secs(600));
            let app = Belongings::of(domain.stack());
            let removal = remove_stack(&engine, &app, DeployerState::Done, limit);
            removal.await.unwrap()
        };
        (removal, heard)
    }

    /// See [`Emptied`]. The fake asserts the order; on a real engine it is a race of the engine's.
    #[tokio::test(flavor = "current_thread")]
    async fn a_service_with_a_long_history_loses_its_tasks_first() {
        let root = tempfile::tempdir().unwrap();
        let domain = ground::name::Domain::parse("note-0a1b2c.z", &"z".parse().unwrap()).unwrap();
        let stack = domain.stack();
        let labels = format!(r#"{{"{}": "{stack}"}}"#, ground::label::NAMESPACE);
        let service = format!(
            r#"{{"ID": "s1", "Version": {{"Index": 7}}, "Spec": {{"Name": "{stack}_app", "Labels": {labels}, "Mode": {{"Replicated": {{"Replicas": 1}}}}}}}}"#
        );
        let task = r#"{"ID": "t", "ServiceID": "s1", "Status": {"State": "failed"}}"#;
        let (mut left, mut there, mut asked) = (6, true, Vec::new());
        let (said, heard) = std::sync::mpsc::channel();
        let engine = engine(root.path(), move |request| {
            let (method, path) = request.split_once(' ').unwrap();
            if path.contains("/services/s1") {
                asked.push(format!("{method} with {left} tasks"));
                said.send(asked.join(", ")).unwrap();
            }
            if path.contains("/tasks") {
                let body = vec![task; left].join(", ");
                // Swarm takes its time.
                left = if asked.is_empty() { left } else { left / 2 };
                return (200, format!("[{body}]"));
            }
            match (
                method,
                path.contains("/services/s1"),
                path.contains("/services"),
            ) {
                ("GET", true, _) => (200, service.clone()),
                ("POST", true, _) => (200, "{}".to_owned()),
                ("DELETE", true, _) => {
                    there = false;
                    (200, String::new())
                }
                (_, false, true) if there => (200, format!("[{service}]")),
                _ => nothing(request),
            }
        });
        let limit = Deadline::after(Duration::from_secs(20));
        let app = Belongings::of(stack);
        let removal = remove_stack(&engine, &app, DeployerState::Done, limit).await;
        assert!(removal.unwrap().residual.is_empty());
        assert_eq!(
            heard.try_iter().last().unwrap(),
            "GET with 6 tasks, POST with 6 tasks, DELETE with 0 tasks"
        );
    }
}
