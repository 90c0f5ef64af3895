//! Promotion: a release that a cold run found green becomes the recipe's canonical.
//!
//! It comes after the run's own teardown and never changes its verdict. The release is deployed onto the data
//! of the canonical before it, as an operator would upgrade; the first one is a new app. Then the app is
//! undeployed and its snapshot taken. Whatever goes wrong leaves the canonical of before, or nothing.

mod prospect;

use std::rc::Rc;

use super::body;
use super::locks::wait_for_lock;
use super::plan::{Checkout, NoBase, Plan};
use super::quick::{embedded, kept_secrets, stack_driver};
use super::settings::Settings;
use super::{AnyError, Context, RunError, network, ownership, tiers};
use crate::driver::stack::{HostTraits, Means, Stamp};
use crate::error::chain;
use crate::event::Event;
use crate::event::Promotion;
use crate::lifetime::Note;
use crate::lifetime::worker::Signals;
use crate::name::Domain;
use crate::outcome::{Phase, Stage, Status, TierOutcome};
use crate::policy::Refused;
use crate::recipe::release::Release;
use crate::recipe::version::Version;
use crate::suite::Needs;
use crate::swarm::Engine;
use crate::tier::{self, timed};
use crate::wait::Deadline;
use crate::warm::canonical::{Canonical, Place, Status as WarmStatus};
use crate::warm::enrolled::is_enrolled;
use crate::warm::snapshot::{Snapshot, Take, Verified};
use crate::warm::{WarmApp, WarmError};
use prospect::{Head, Prospect, prospect};

/// A release that may become the canonical.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Its tag.
    version: String,
    /// Its repository, at the tag's commit.
    checkout: Checkout,
    /// What the host can do.
    traits: HostTraits,
}

/// Returns the head as a candidate, if it is the release of an enrolled recipe in a whole cold run.
pub(super) fn candidate(
    context: &Context<'_>,
    checkout: &Checkout,
    plan: &Plan,
    traits: HostTraits,
) -> Option<Candidate> {
    let settings = &context.settings;
    let enrolled = settings.overlays.as_deref().map_or(Ok(false), |overlays| {
        is_enrolled(overlays, &settings.recipe).map_err(|error| chain(&error))
    });
    let head = Head {
        enrolled,
        has_dependencies: !plan.declared.dependencies().is_empty(),
        stages: &settings.stages,
        is_proposal: settings.pr.is_some(),
        keep: settings.keep,
        version: plan.head_version.as_deref(),
        tags: &checkout.tags,
        tree: &checkout.tree,
        promotable: settings.promotable,
    };
    match prospect(&head) {
        Prospect::Canonical(version) => Some(Candidate {
            version,
            checkout: checkout.clone(),
            traits,
        }),
        Prospect::Nothing => None,
        Prospect::Warning(what) => {
            context.events.warn(what);
            None
        }
        Prospect::Skipped(why) => {
            let event = Event::Promotion(Promotion::Skipped(why));
            context.events.emit(&event);
            None
        }
    }
}

/// Returns whether every tier ran, or did not apply.
pub(super) fn nothing_left_out(tiers: &[TierOutcome]) -> bool {
    tiers
        .iter()
        .all(|tier| matches!(tier.status, Status::Pass | Status::Skip))
}

/// What is to be undone when a promotion does not end well.
struct Begun {
    app: WarmApp,
    before: Option<Canonical>,
}

/// Makes the candidate the canonical, and says what came of it.
pub(super) async fn promote(
    context: &Context<'_>,
    candidate: Candidate,
    signals: &mut Signals,
    deadline: Deadline,
) {
    let version = candidate.version.clone();
    let mut begun = None;
    let came = {
        let work = timed(
            &context.events,
            Phase::Promote,
            version.clone(),
            work(context, candidate, &mut begun),
        );
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            signal = signals.next() => Err(format!("{} received", signal.name())),
            () = tokio::time::sleep_until(deadline.instant()) => Err("the hard deadline passed".to_owned()),
            done = &mut work => done.map_err(|error| with_advice(&*error)),
        }
    };
    let promotion = match came {
        Ok(promotion) => promotion,
        Err(reason) => {
            let mut reason = format!("{version}: {reason}");
            if let Some(begun) = begun.take() {
                drop(context.processes.end_all(super::teardown::GRACE).await);
                if let Err(error) = undo(begun, context, signals).await {
                    reason.push_str(&format!("; and then: {error}"));
                }
            }
            Promotion::Failed(reason)
        }
    };
    if let Promotion::Failed(reason) = &promotion {
        context.events.warn(format!("promotion: failed: {reason}"));
    }
    context.events.emit(&Event::Promotion(promotion));
}

/// Brings back what was there before: the canonical with its data, or nothing at all.
async fn undo(begun: Begun, context: &Context<'_>, signals: &mut Signals) -> Result<(), String> {
    let app = begun.app;
    context.held.borrow_mut().rested.push(Rc::clone(&app.lock));
    let work = async {
        match begun.before {
            Some(before) => app.settle(before, false).await.map(drop),
            None => app.discard().await,
        }
    };
    let deadline = Deadline::after(context.settings.teardown_budget);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                return done.map_err(|error| format!("{}; {}", chain(&error), error.advice()));
            }
            signal = signals.next() => {
                context.events.notice(format!("{} received while the warm app is undeployed: noted", signal.name()));
            }
            () = tokio::time::sleep_until(deadline.instant()) => {
                return Err("the warm app was not at rest in time; run `recipe-ci janitor`".to_owned());
            }
        }
    }
}

async fn work(
    run: &Context<'_>,
    candidate: Candidate,
    begun: &mut Option<Begun>,
) -> Result<Promotion, AnyError> {
    let settings = &run.settings;
    let version = candidate.version.clone();
    let engine = Engine::connect(&settings.docker_host)?;
    engine.is_alone().await?;
    let domain = Domain::warm(&settings.recipe, &settings.zone)?;
    // Judged before the lock is taken and the warm app is touched, by what its record says.
    let place = Place::of(&settings.host, &settings.recipe);
    place.ensure_writable()?;
    let on_disk = match place.read()?.filter(|one| one.snapshot.is_some()) {
        Some(canonical) => {
            let env = Snapshot::read(&place, &canonical).and_then(|snapshot| snapshot.env());
            env.ok().map(|env| Kept::of(&canonical, env))
        }
        None => None,
    };
    let is_due = on_disk.as_ref().is_none_or(|kept| {
        not_newer(&version, &kept.canonical, &candidate.checkout.tree.commit).is_none()
    });
    let first = match is_due {
        true => Some(Step::judged(run, &domain, &candidate, on_disk).await?),
        false => None,
    };
    // The run's own app is gone, and no quick run waits for a run app's lock while it holds a warm one.
    let lock = wait_for_lock(run, &domain).await.map_err(in_words)?;
    let lock = Rc::new(lock);
    run.held.borrow_mut().rested.push(Rc::clone(&lock));
    run.notes.borrow_mut().tell(&Note::Warm {
        recipe: settings.recipe.to_string(),
    });
    let app = WarmApp::new(&engine, &settings.host, &settings.recipe, lock);
    let before = before(run, &app).await?;
    if let Some((canonical, _)) = &before
        && let Some(reason) = not_newer(&version, canonical, &candidate.checkout.tree.commit)
    {
        return Ok(Promotion::Skipped(reason));
    }
    let kept = match &before {
        Some((canonical, snapshot)) => Some(Kept::of(canonical, snapshot.env()?)),
        None => None,
    };
    let step = match first.filter(|first| first.is_over(kept.as_ref())) {
        Some(first) => first,
        None => Step::judged(run, &domain, &candidate, kept).await?,
    };
    let Step {
        context,
        plan,
        release,
        mut means,
        stamp,
        ..
    } = step;
    let gateway = network::gateway(&engine, &context.settings, &means).await;
    let gateway = gateway.map_err(in_words)?;
    let commit = candidate.checkout.tree.commit;
    ownership::claim_warm(&context, &engine, &app.lock, &[&release], &plan.trust.level)
        .await
        .map_err(in_words)?;
    let laid = tiers::Laid {
        suite: plan.suite,
        declared: plan.declared,
        head_root: plan.head.root,
        needs: Needs::default(),
    };
    let mut values = before
        .as_ref()
        .map(|(_, snapshot)| snapshot.secret_values())
        .unwrap_or_default();
    values.iter().for_each(|value| run.redactor.add(value));

    *begun = Some(Begun {
        app: app.clone(),
        before: before.as_ref().map(|(canonical, _)| canonical.clone()),
    });
    let mut canonical = Canonical::new(
        &settings.recipe,
        &version,
        &commit,
        domain.as_str(),
        &settings.server,
    );
    let snapshot = match before {
        Some((before, snapshot)) => {
            app.begin(before, &snapshot).await?;
            Some(snapshot)
        }
        None => {
            app.place.write(&canonical)?;
            None
        }
    };
    let images = release.project.images();
    for image in &images {
        let puller = means.terms.puller(image);
        let pinned = engine.ensure_image(&settings.host, &run.processes, image, puller);
        means.terms.pins.insert(image.clone(), pinned.await?);
    }
    let driver = stack_driver(&context, engine, means, gateway).map_err(in_words)?;
    let lock = Rc::clone(&app.lock);
    let mut bench = tiers::bench(&context, driver, lock, laid, release).map_err(in_words)?;
    let supplied: Vec<&String> = settings.supplied_secrets.values().collect();
    let redactor = run.redactor.clone();
    let mut keep = |value: &str| {
        redactor.add(value);
        if !supplied.iter().any(|supplied| *supplied == value) {
            values.push(value.to_owned());
        }
    };
    let up = match &snapshot {
        Some(snapshot) => {
            let mut secrets = kept_secrets(&bench, snapshot);
            tier::install::reattach(&mut bench, &stamp, &mut secrets, &mut keep).await?
        }
        None => {
            let mut secrets = Vec::new();
            tier::install::bring_up(&mut bench, &stamp, &mut secrets, &mut keep).await?
        }
    };
    if let Err(not_up) = up {
        return Err(format!("{}: {}", not_up.what, not_up.reason).into());
    }
    let take = Take {
        version: &version,
        images,
        secret_values: &values,
    };
    canonical.snapshot = Some(app.take(&canonical, take).await?);
    canonical.status = WarmStatus::Idle;
    // This is the promotion: before it the old canonical is the good one, after it the new one is.
    app.place.write(&canonical)?;
    *begun = None;
    if let Err(error) = app.place.sweep(Some(&canonical)) {
        let error = chain(&error);
        run.events.warn(format!("an old snapshot is left: {error}"));
    }
    Ok(Promotion::Promoted(version))
}

/// The canonical that a promotion builds on, with the env file of its app.
struct Kept {
    canonical: Canonical,
    env: String,
}

impl Kept {
    fn of(canonical: &Canonical, env: String) -> Self {
        Self {
            canonical: canonical.clone(),
            env,
        }
    }

    fn key(&self) -> (&str, &str, &str) {
        let canonical = &self.canonical;
        (&canonical.version, &canonical.commit, &self.env)
    }
}

/// A promotion that was judged, and of which nothing is done yet.
struct Step<'a> {
    context: Context<'a>,
    plan: Plan,
    release: Release,
    means: Means,
    stamp: Stamp,
    over: Option<Kept>,
}

impl<'a> Step<'a> {
    /// Plans the candidate over what is kept, as a new app where nothing is, and judges it.
    async fn judged(
        run: &Context<'a>,
        domain: &Domain,
        candidate: &Candidate,
        over: Option<Kept>,
    ) -> Result<Self, AnyError> {
        let settings = &run.settings;
        // An upgrade keeps the env file, so that secrets keep the versions that the data was made with.
        let (stages, base, kept_env) = match &over {
            Some(kept) => (
                vec![Stage::Upgrade],
                Some(kept.canonical.version.clone()),
                Some(kept.env.clone()),
            ),
            None => (vec![Stage::Install], None, None),
        };
        let context = Context {
            settings: Rc::new(Settings {
                domain: domain.clone(),
                stages,
                base,
                kept_env,
                ..Settings::clone(settings)
            }),
            ..run.clone()
        };
        body::start_over(run).map_err(in_words)?;
        let checkout = candidate.checkout.clone();
        let plan = body::make_plan(&context, checkout, candidate.traits, &embedded()).await;
        let mut plan = plan.map_err(in_words)?;
        // Such a plan was made without the overlay, and the canonical would be an app that nobody tested.
        if let Some(reason) = plan.masks {
            return Err(reason.into());
        }
        let release = match (&over, plan.base.take()) {
            (None, _) => plan.head.clone(),
            (Some(_), Some(base)) => base.upgraded?,
            (Some(kept), None) => {
                let canonical = &kept.canonical.version;
                let why = match &plan.no_base {
                    Some(NoBase::Broken(why)) => format!(": {why}"),
                    _ => String::new(),
                };
                let reason = format!("the canonical {canonical} cannot be upgraded to it{why}");
                return Err(reason.into());
            }
        };
        let context = network::without_gateway(&context, &plan).unwrap_or(context);
        let means = body::means(&context, &plan.trust, candidate.traits, &embedded());
        let stamp = Stamp {
            recipe: settings.recipe.clone(),
            version: Some(candidate.version.clone()),
            chaos: false,
        };
        means.resolve(&release, &domain.stack(), &stamp)?;
        Ok(Self {
            context,
            plan,
            release,
            means,
            stamp,
            over,
        })
    }

    /// Returns whether it was judged over what is kept now.
    fn is_over(&self, kept: Option<&Kept>) -> bool {
        self.over.as_ref().map(Kept::key) == kept.map(Kept::key)
    }
}

/// Returns an error in words; of one of the warm app with what to do about it.
fn with_advice(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<WarmError>() {
        Some(warm) => format!("{}; {}", chain(error), warm.advice()),
        None => chain(error),
    }
}

fn in_words(error: RunError) -> AnyError {
    match error {
        RunError::Usage { error, .. } | RunError::Infra { error, .. } => error,
        RunError::Refused { found, .. } => Refused { violations: found }.into(),
    }
}

/// Returns the canonical of before with its snapshot. One whose data is lost counts as none.
async fn before(
    run: &Context<'_>,
    app: &WarmApp,
) -> Result<Option<(Canonical, Verified)>, WarmError> {
    match app.recover().await {
        Err(error) if error.is_lost_data() => {
            run.events.warn(format!(
                "promotion: the canonical of before cannot be built on, a new app is made: {}",
                chain(&error)
            ));
            app.discard().await?;
            Ok(None)
        }
        found => found,
    }
}

/// Returns why `version` does not replace `canonical`, if it does not.
fn not_newer(version: &str, canonical: &Canonical, commit: &str) -> Option<String> {
    if canonical.commit == commit && canonical.version == version {
        return Some(format!("{version} is the canonical already"));
    }
    match (
        version.parse::<Version>(),
        canonical.version.parse::<Version>(),
    ) {
        (Ok(ours), Ok(theirs)) if ours < theirs => {
            Some(format!("the canonical {} is newer", canonical.version))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::testing::{HEAD, Scene, TRAITS};
    use crate::trust::Grant;
    use crate::trust::grant::Bind;

    #[test]
    fn an_older_release_never_replaces_a_newer_one() {
        let recipe = "notes".parse().unwrap();
        let canonical = Canonical::new(&recipe, "0.9.0+1", "c", "warm-notes.z", "default");
        assert!(not_newer("0.10.0+1", &canonical, "d").is_none());
        assert!(not_newer("0.8.0+1", &canonical, "b").is_some());
        assert!(not_newer("0.9.0+1", &canonical, "c").is_some());
        // The tag was moved, and what it names now is green.
        assert!(not_newer("0.9.0+1", &canonical, "e").is_none());
    }

    #[test]
    fn a_tier_that_proved_nothing_is_left_out() {
        let tier = |status| tier::without(Stage::Upgrade, status, "because");
        assert!(nothing_left_out(&[tier(Status::Pass), tier(Status::Skip)]));
        assert!(!nothing_left_out(&[
            tier(Status::Pass),
            tier(Status::Unver)
        ]));
    }

    /// Returns why the head of `scene` does not become the canonical.
    fn why_not(scene: &Scene) -> String {
        let candidate = Candidate {
            version: HEAD.to_owned(),
            checkout: scene.checkout(),
            traits: TRAITS,
        };
        let came = scene.run(async |run| {
            let came = work(run, candidate, &mut None).await;
            came.map_err(|error| with_advice(&*error))
        });
        let reason = came.expect_err("it is no canonical");
        assert!(!scene.has_lock(), "the lock was wanted: {reason}");
        let asked = scene.asked.lock().unwrap();
        assert!(asked.iter().all(|one| one.contains("/info")), "{asked:?}");
        reason
    }

    #[test]
    fn a_promotion_is_refused_before_its_lock_is_taken() {
        let capable = "    cap_add: [\"${CAP:-CHOWN}\"]\n";
        let scene = Scene::new("    cap_add: [SYS_ADMIN]\n", Grant::default());
        let reason = why_not(&scene);
        assert!(reason.contains("P014"), "{reason}");
        // Over what is kept, whose variables are its own.
        let scene = Scene::new(capable, Grant::default());
        scene.keep("CAP=SYS_ADMIN\n");
        let reason = why_not(&scene);
        assert!(reason.contains("P014"), "{reason}");
    }

    #[test]
    fn a_canonical_that_no_grant_covers_is_not_promoted_over_by_the_heads_grant() {
        let grant = || Grant {
            binds: vec![Bind {
                path: "/srv/operators".into(),
                write: true,
            }],
            ..Grant::default()
        };
        let scene = Scene::new("    volumes: ['/srv/operators:/mnt']\n", grant());
        scene.keep("");
        let reason = why_not(&scene);
        for word in ["cannot be upgraded to it", "grants.yml", "P003"] {
            assert!(reason.contains(word), "no `{word}` in {reason}");
        }
    }
}
