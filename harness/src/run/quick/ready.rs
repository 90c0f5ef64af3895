//! A quick run that was judged, and of which nothing is done yet.

use super::{Quick, embedded, on_warm_app, unfit_plan};
use crate::driver::stack::{HostTraits, Means};
use crate::event::Event;
use crate::lint::Lint;
use crate::name::Domain;
use crate::run::plan::{Checkout, Plan};
use crate::run::{
    Context, RunError, body, images, lint, network, plan_view, resolved, routing, tiers,
};
use crate::swarm::Engine;
use crate::warm::canonical::Canonical;

/// What a quick run is judged with.
pub(super) struct Way<'a, 'w> {
    pub(super) cold: &'w Context<'a>,
    pub(super) domain: &'w Domain,
    pub(super) checkout: &'w Checkout,
    pub(super) traits: HostTraits,
}

/// A quick run that was judged, and of which nothing is done yet.
pub(super) struct Ready<'a> {
    pub(super) context: Context<'a>,
    pub(super) plan: Plan,
    pub(super) means: Means,
    resolved: resolved::Releases,
    lint: Option<Lint>,
    /// The canonical's version and commit, and its env file, that it was judged with.
    version: String,
    commit: String,
    env: String,
    announced: bool,
}

impl<'a> Way<'a, '_> {
    /// Says that the run is at its own app again.
    pub(super) fn moved_back(&self) {
        self.cold.events.emit(&Event::Moved {
            quick: false,
            domain: self.cold.settings.domain.to_string(),
        });
    }

    /// Judges the head as the new app that it becomes when nothing comes of the quick run. It is not said: whoever
    /// makes the cold run says it.
    pub(super) async fn judge_as_new(&self) -> Result<(), RunError> {
        let context = self.cold;
        let plan =
            body::make_plan(context, self.checkout.clone(), self.traits, &embedded()).await?;
        let means = body::means(context, &plan.trust, self.traits, &embedded());
        let judged = match resolved::refuse(context, &plan, &means) {
            Ok(()) => resolved::taken_by_docker(context, &plan, &means).await,
            refused => refused,
        };
        // Another plan is made next, whatever this one came to.
        body::start_over(context)?;
        judged
    }

    /// Plans and judges the head over the canonical with this env file; returns why it is no quick run, if it is none.
    pub(super) async fn ready(
        &self,
        canonical: &Canonical,
        env: String,
        secrets: &[String],
    ) -> Result<Result<Ready<'a>, String>, RunError> {
        for value in secrets {
            self.cold.redactor.add(value);
        }
        let context = on_warm_app(self.cold, self.domain, canonical, env.clone());
        let say_lane = || {
            if !context.settings.dry_run {
                context.events.emit(&Event::Moved {
                    quick: true,
                    domain: self.domain.to_string(),
                });
            }
        };
        let plan = body::make_plan(&context, self.checkout.clone(), self.traits, &embedded()).await;
        let plan = plan.inspect_err(|error| {
            // What is refused before its base is read was a quick run all the same.
            if matches!(error, RunError::Refused { .. }) {
                say_lane();
            }
        })?;
        let version = canonical.version.clone();
        if let Some(reason) = unfit_plan(&plan, &version) {
            body::start_over(&context)?;
            return Ok(Err(reason));
        }
        say_lane();
        let context = network::without_gateway(&context, &plan).unwrap_or(context);
        let means = body::means(&context, &plan.trust, self.traits, &embedded());
        let resolved = resolved::judged(&context, &plan, &means)?;
        resolved::taken_by_docker(&context, &plan, &means).await?;
        let mut lint = None;
        if !context.settings.dry_run {
            // A quick run deploys with the embedded driver, whatever the host has.
            lint = Some(lint::found(&context, &plan).await?);
            body::can_test(&context, &plan).await?;
        }
        Ok(Ok(Ready {
            context,
            plan,
            means,
            resolved,
            lint,
            version,
            commit: canonical.commit.clone(),
            env,
            announced: false,
        }))
    }
}

impl Ready<'_> {
    /// Returns whether it was judged as what the canonical is now.
    pub(super) fn is_of(&self, canonical: &Canonical, env: &str) -> bool {
        (
            self.version.as_str(),
            self.commit.as_str(),
            self.env.as_str(),
        ) == (canonical.version.as_str(), canonical.commit.as_str(), env)
    }

    /// Makes sure, without a change to anything, that the engine has what the run is deployed on, and that images
    /// which lie there are everybody's.
    pub(super) async fn judge_by(&self, engine: &Engine) -> Result<(), RunError> {
        network::gateway(engine, &self.context.settings, &self.means).await?;
        images::judge(&self.context, engine, &self.plan, &self.means).await
    }

    /// Says what the run is going to do, once.
    pub(super) fn say(&mut self) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        let context = &self.context;
        let lines = self.resolved.deviations();
        plan_view::announce(context, &self.plan, &[], &embedded(), &lines);
        if let Some(lint) = self.lint.take() {
            context.events.emit(&Event::LintFinished(Box::new(lint)));
        }
    }

    /// Ends a run that no engine has a part in: a dry one, and one that is red before the deploy.
    pub(super) fn without_engine(&mut self, dry_run: bool) -> Option<Quick> {
        let context = &self.context;
        let faults = routing::faults(&self.plan, &context.settings);
        if dry_run {
            self.say();
            let (lines, chosen) = (self.resolved.deviations(), embedded());
            let (plan, resolved) = (&self.plan, &self.resolved);
            let view = plan_view::view(&self.context, plan, resolved, &[], &chosen, lines, &faults);
            routing::is_red(&self.context, &faults);
            return Some(Quick::Done(Some(view)));
        }
        if let Some(reason) = self.plan.masks.clone() {
            self.say();
            tiers::red_before_the_deploy(&self.context, &reason);
            return Some(Quick::Done(None));
        }
        if faults.is_empty() {
            return None;
        }
        self.say();
        routing::is_red(&self.context, &faults).then_some(Quick::Done(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::testing::{Scene, TRAITS};
    use crate::trust::Grant;
    use crate::trust::grant::Bind;
    use crate::warm::canonical::Place;
    use crate::warm::snapshot::Snapshot;

    #[test]
    fn a_canonical_that_no_grant_covers_is_not_run_over_by_the_heads_grant() {
        let grant = Grant {
            binds: vec![Bind {
                path: "/srv/operators".into(),
                write: true,
            }],
            ..Grant::default()
        };
        for (app, word) in [("    volumes: ['/srv/operators:/mnt']\n", "P003"), ("", "")] {
            let scene = Scene::new(app, grant.clone());
            scene.keep("");
            let (domain, checkout) = (scene.domain(), scene.checkout());
            let reason = scene.run(async |run| {
                let way = Way {
                    cold: run,
                    domain: &domain,
                    checkout: &checkout,
                    traits: TRAITS,
                };
                let place = Place::of(&run.settings.host, &run.settings.recipe);
                let canonical = place.read().unwrap().unwrap();
                let env = Snapshot::read(&place, &canonical).unwrap().env().unwrap();
                let ready = way.ready(&canonical, env, &[]).await;
                ready.map(|ready| ready.map(drop))
            });
            match word {
                // What needs no grant is as good as a stranger's.
                "" => assert!(reason.is_ok_and(|ready| ready.is_ok())),
                word => {
                    let reason = reason.unwrap().unwrap_err();
                    let has = |word: &str| reason.contains(word);
                    assert!(has("grants.yml") && has(word), "{reason}");
                }
            }
        }
    }
}
