//! Whether a healthcheck fails when its tier ends, though its service had converged.
//!
//! Swarm kills the container when it has failed as often as the recipe allows, which mostly takes longer than a run. So a
//! look at tasks alone finds such a service running, and an operator finds it down an hour later. One failure is no proof:
//! a test or a restore may have stopped what it asks for, and software that migrates may say that it is not there. What
//! fails is waited for until it passes, until Swarm kills it, or until the containers of the app are at rest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Bench, TierError};
use engine::swarm::rest::{INTERVAL, Rest};
use engine::swarm::service::{Service, StackState, Task};

/// The services whose checks fail, and whether the app is at rest meanwhile.
#[derive(Debug, Default)]
pub(super) struct Failing {
    resting: BTreeMap<String, Rest>,
}

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The service whose check does not pass any more, and why.
    pub(super) died: Option<(String, String)>,
    /// How long to wait until the next look; zero where no check fails.
    pub(super) left: Duration,
    /// For how long the recipe lets what fails fail.
    pub(super) patience: Duration,
}

impl Failing {
    /// Looks at the checks of `services`, which have some.
    ///
    /// # Errors
    /// [`TierError::Engine`].
    pub(super) async fn look(
        &mut self,
        bench: &Bench,
        state: &StackState,
        services: &[&Service],
    ) -> Result<Look, TierError> {
        let mut look = Look::default();
        for service in services {
            let mut said = None;
            for task in state.tasks_of(service).filter(|task| task.is_up()) {
                let Task {
                    container_id: Some(container),
                    ..
                } = task
                else {
                    continue;
                };
                let checked = bench.engine().health(container).await?;
                if let Some(last) = checked.probes.last().filter(|last| last.code != 0) {
                    look.patience = look.patience.max(checked.patience);
                    said = Some((last.words(), last.said()));
                }
            }
            let Some((words, said)) = said else {
                self.resting.remove(&service.name);
                continue;
            };
            look.left = INTERVAL;
            let rest = self.resting.entry(service.name.clone()).or_default();
            if let Some(how) = rest.measure(bench.engine(), state, &words).await? {
                let reason = format!(
                    "the healthcheck of service `{}` passed and does not pass any more: {said}; {how}",
                    service.name
                );
                look.died.get_or_insert((service.name.clone(), reason));
            }
        }
        Ok(look)
    }
}
